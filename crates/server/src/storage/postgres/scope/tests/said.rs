//! What tokens say, and queries that ask for it.

use serde_json::{Value as Json, json};

use super::*;

/// The type of a column, its literal, the claims that are its value and some that are not.
const SAID: &[(&str, &str, &[&str], &[&str])] = &[
    ("int4", "7", &["\"7\"", "7", "7.0"], &["\"07\"", "7.5"]),
    ("int2", "1", &["true", "1"], &["65537", "\"true\""]),
    (
        "numeric",
        "1.50",
        &["\"1.5\"", "1.5"],
        &["\"1.51\"", "\"1,5\""],
    ),
    ("text", "'red'", &["\"red\""], &["\"Red\"", "\"red \""]),
    ("char(5)", "'red'", &["\"red\"", "\"red  \""], &["\" red\""]),
    ("mood", "'so so'", &["\"so so\""], &["\"gone\""]),
    (
        "uuid",
        "'0190b3a1-5c1e-7cc3-98a1-0123456789ab'",
        &["\"0190b3a1-5c1e-7cc3-98a1-0123456789AB\""],
        &["\"0190b3a15c1e7cc398a10123456789ab\""],
    ),
    (
        "bool",
        "true",
        &["true", "\"true\"", "1"],
        &["0", "false", "2"],
    ),
    (
        "date",
        "'2026-01-01'",
        &["\"2026-01-01\""],
        &["\"1.1.2026\""],
    ),
    (
        "timestamptz",
        "'2026-01-01Z'",
        &["\"2026-01-01T01:00:00+01:00\""],
        &["\"now\""],
    ),
];

const HOSTILE: &[&str] = &[
    "\"'); DROP TABLE t; --\"",
    "\"$1\"",
    "\":user\"",
    "\"\\u0000\"",
    "\"red\\u0000\"",
    "\"NULL\"",
    "null",
    "[]",
    "[\"red\"]",
    "{\"a\": 1}",
    "\"\\\\x00\"",
    "\"infinity\"",
    "1e308",
    "18446744073709551615",
    "\"99999999999999999999999999999999999999999999999999999999999999999999999999999\"",
];

/// What a token says is the value of the column that it spells, or nothing; never SQL, never an
/// error.
#[test]
fn p7_what_a_token_says_is_a_value_or_nothing() {
    let mut bench = Bench::new(TYPES);
    for (kind, literal, held, others) in SAID {
        bench.run(&format!(
            "DROP TABLE IF EXISTS t, p; CREATE TABLE t (id int PRIMARY KEY, c {kind}); INSERT INTO \
             t VALUES (1, {literal}), (2, NULL); CREATE TABLE p (k {kind}, c {kind}); \
             INSERT INTO p SELECT c, c FROM t"
        ));
        let claim = || Holds::Claim("team".into());
        let straight = bench.compile(&[], condition("c", &[], claim())).unwrap();
        let path = [("p", "k", "c")];
        let led = bench.compile(&[], condition("c", &path, claim())).unwrap();
        let held = held.iter().map(|json| (*json, true));
        let others = others.iter().chain(HOSTILE).map(|json| (*json, false));
        for (json, is_held) in held.chain(others) {
            let mut caller = Caller::user("red");
            let json: Json = serde_json::from_str(json).unwrap();
            caller.claims.insert("team".into(), json.clone());
            for scope in [&straight, &led] {
                let rows = bench.rows(scope, asking(&caller));
                let expected = [(1, is_held, is_held), (2, false, false)];
                assert_eq!(rows, expected, "{kind} {json}");
            }
        }
        let nobody = Caller::user("red");
        let rows = bench.rows(&straight, asking(&nobody));
        assert!(rows.iter().all(|row| !row.1 && !row.2));
    }
}

#[test]
fn queries_of_every_shape_are_asked() {
    let mut bench = Bench::new(refused::TABLES);
    let ada = "INSERT INTO m VALUES ('7', 1, 'a', 1, NULL, '0190b3a1-5c1e-7cc3-98a1-0123456789ab')";
    bench.run(ada);
    for (query, held) in [
        (
            "SELECT n FROM m WHERE user_id = :user AND w IS DISTINCT FROM :claim_team -- a",
            1,
        ),
        ("WITH x AS (SELECT n FROM m) SELECT n FROM x; ", 1),
        ("VALUES (1), (2)", 2),
        (
            "SELECT n::smallint FROM m UNION ALL SELECT n FROM m UNION SELECT 9",
            2,
        ),
        ("SELECT :user::int", 1),
        ("SELECT n FROM m WHERE id = :claim_id", 1),
        ("SELECT n FROM m WHERE id = :claim_team", 0),
        (
            "SELECT n FROM m WHERE n = :claim_one AND 1 = :claim_one AND :claim_one::text = '1'",
            1,
        ),
        ("SELECT n FROM m WHERE true = :claim_yes", 1),
        (
            "SELECT n FROM m WHERE current_date >= :claim_day AND 2 > :claim_half::numeric",
            1,
        ),
        ("SELECT n FROM m ORDER BY n LIMIT :claim_one", 1),
        ("TABLE m_n", 1),
    ] {
        bench.run("DROP VIEW IF EXISTS m_n; CREATE VIEW m_n AS SELECT n FROM m");
        let scope = bench.compile(&[named(query)], condition("n", &[], by_query()));
        let scope = scope.unwrap_or_else(|error| panic!("{query}: {error}"));
        let mut caller = Caller::user("7");
        for (name, claim) in [
            ("id", json!("0190B3A1-5C1E-7CC3-98A1-0123456789AB")),
            ("one", json!("1")),
            ("yes", json!(true)),
            ("day", json!("2026-01-01")),
            ("half", json!(0.5)),
            ("team", json!("'; DROP TABLE m; --")),
        ] {
            caller.claims.insert(name.into(), claim);
        }
        let now = bench.now(&scope, asking(&caller));
        assert_eq!(now.all().count(), held, "{query}");
        bench.rows(&scope, asking(&caller));
    }
}

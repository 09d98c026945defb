//! What cannot be compared exactly.

use afield_protocol::Type;

use super::*;

pub(super) const TABLES: &str = "
    CREATE EXTENSION IF NOT EXISTS citext SCHEMA public;
    CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TYPE mood AS ENUM ('ok'); CREATE TYPE other AS ENUM ('ok');
    CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
    CREATE TABLE t (id int PRIMARY KEY, n int, w text, c citext, l text COLLATE loose, f float8,
      j jsonb, a int[], b bytea, ch char(3), e mood, i interval, d numeric);
    CREATE TABLE p (id int PRIMARY KEY, code text, loose text COLLATE loose, n int, ch char(3),
      e other, f float8);
    CREATE TABLE m (user_id text, n int, w text, f float8, ip inet, id uuid, even even);";

/// A column, the path from it, a query, and what is said of them.
type Wrong = (
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
    &'static str,
    &'static str,
);

const COLUMNS: &[Wrong] = &[
    ("gone", &[], "SELECT 1", "`t.gone`, which does not exist"),
    ("c", &[], "SELECT 'a'", "of the type `citext`"),
    ("l", &[], "SELECT 'a'", "not deterministic"),
    ("f", &[], "SELECT 1", "of the type `float8`"),
    ("j", &[], "SELECT 1", "of the type `jsonb`"),
    ("a", &[], "SELECT 1", "of the type `_int4`"),
    ("i", &[], "SELECT 1", "of the type `interval`"),
    (
        "n",
        &[],
        "SELECT w FROM m",
        "(integers) with `scope `s`` (text)",
    ),
    ("w", &[], "SELECT n FROM m", "CAST in the query"),
    ("d", &[], "SELECT n FROM m", "CAST in the query"),
    ("n", &[], "SELECT f FROM m", "of the type `float8`"),
    ("e", &[], "SELECT e FROM p", "(words of `mood`)"),
    (
        "n",
        &[("p", "code", "n")],
        "",
        "`t.n` (integers) with `p.code` (text)",
    ),
    ("w", &[("p", "ch", "n")], "", "`p.ch` (bpchar)"),
    ("e", &[("p", "e", "n")], "", "(words of `other`)"),
    ("w", &[("p", "loose", "n")], "", "not deterministic"),
    (
        "n",
        &[("p", "id", "f")],
        "",
        "`p.f`, which is of the type `float8`",
    ),
    (
        "n",
        &[("p", "id", "code")],
        "SELECT n FROM m",
        "`p.code` (text)",
    ),
    ("n", &[("q", "id", "code")], "", "no table `q`"),
];

const QUERIES: &[(&str, &str)] = &[
    ("SELECT n, w FROM m", "one column"),
    ("DELETE FROM m", "one column"),
    (
        "DELETE FROM m RETURNING n",
        "reading the query of the scope `s`",
    ),
    (
        "SELECT n FROM m FOR UPDATE",
        "reading the query of the scope `s`",
    ),
    ("SELECT n FROM m WHERE w = $1", "`$1`"),
    ("SELECT n FROM m WHERE w = :me", "`:me`"),
    ("SELECT n FROM m WHERE w = :value", "`:value`"),
    ("SELECT n FROM m WHERE ip = :user", "for a `inet`"),
    ("SELECT n FROM m WHERE even = :user::even", "for a `even`"),
    ("SELECT n FROM", "the query of the scope `s`"),
    ("SELECT 1; DELETE FROM m", "the query of the scope `s`"),
    ("SELECT 1) UNION (SELECT 2", "the query of the scope `s`"),
    ("SELECT 'open", "does not end"),
];

const CHOSEN: &[(&str, Type, &str)] = &[
    ("n", Type::Text, "SELECT true FROM m WHERE w = :value"),
    ("w", Type::Integer, "SELECT true FROM m WHERE n = :value"),
    ("b", Type::Bytes, "SELECT true"),
    (
        "n",
        Type::Integer,
        "SELECT true FROM m AS afield_value WHERE n = :value",
    ),
    ("n", Type::Integer, "SELECT true FROM m WHERE w = :value"),
    (
        "n",
        Type::Integer,
        "SELECT true, false FROM m WHERE n = :value",
    ),
];

#[test]
fn what_cannot_be_compared_exactly_is_refused() {
    let mut bench = Bench::new(TABLES);
    let queries = QUERIES
        .iter()
        .map(|(query, word)| ("n", &[][..], *query, *word));
    for (column, path, query, word) in COLUMNS.iter().copied().chain(queries) {
        let wrong = condition(column, path, by_query());
        let error = bench.compile(&[named(query)], wrong).unwrap_err();
        assert!(error.message.contains(word), "{query}: {error}");
        assert!(!error.is_retryable);
    }
    for (holds, word) in [
        (Holds::Claim("x".into()), "never bytes"),
        (Holds::Scope("x".into()), "no scope `x`"),
    ] {
        let error = bench.compile(&[], condition("b", &[], holds)).unwrap_err();
        assert!(error.message.contains(word), "{error}");
    }
    for (column, kind, query) in CHOSEN {
        let scope = NamedScope {
            chosen: Some(*kind),
            ..named(query)
        };
        let error = bench
            .compile(&[scope], condition(column, &[], by_query()))
            .unwrap_err();
        assert!(!error.is_retryable, "{query}: {error}");
    }
}

//! Values as the command line prints them, and takes them.

use std::collections::BTreeMap;

use afield::protocol::{Type, Value};
use serde_json::{Value as Json, json};

use super::stations::{Stations, Way, printed, repl, seen, short};
use super::table::{COLUMNS, End, Line, lines};
use crate::support::Repl;

/// Integers beyond this are strings.
const EXACT: u64 = 1 << 53;

/// What JSON says of a value of a column; written down once more, without the program's own code.
pub(super) fn as_printed(at: &str, value: &Value) -> Json {
    let kind = kind(at);
    match (kind, value) {
        (_, Value::Null) => Json::Null,
        _ if !kind.accepts(value.as_ref()) => json!({ "stored": untyped(value) }),
        (Type::Boolean, Value::Integer(n)) => Json::Bool(*n == 1),
        (_, Value::Integer(n)) if n.unsigned_abs() > EXACT => json!(n.to_string()),
        (_, Value::Real(x)) if x.is_infinite() => {
            json!(if *x > 0.0 { "Infinity" } else { "-Infinity" })
        }
        (_, Value::Bytes(bytes)) => json!(base64(bytes)),
        (_, other) => untyped(other),
    }
}

fn untyped(value: &Value) -> Json {
    match value {
        Value::Bytes(bytes) => json!({ "base64": base64(bytes) }),
        Value::Integer(n) => json!(n),
        Value::Real(x) => json!(x),
        Value::Text(text) => json!(text),
        Value::Null => Json::Null,
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let byte = |at: usize| u32::from(part.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = bits >> (18 - 6 * at) & 63;
            let is_there = at <= part.len();
            text.push(if is_there {
                char::from(DIGITS[digit as usize])
            } else {
                '='
            });
        }
    }
    text
}

fn kind(at: &str) -> Type {
    match at {
        "scaled" | "exact" => Type::Decimal,
        "json_text" => Type::Json,
        "one_of" => Type::Text,
        word => Type::parse(word).unwrap(),
    }
}

/// The lines that the team may write, which are all, by the names of their rows.
fn rows() -> Vec<(Line, Value, String)> {
    let named = |(n, line): (usize, Line)| match line.team.clone() {
        End::Is(value) => (line, value, format!("row {n}")),
        other => panic!("{other:?}"),
    };
    lines().into_iter().enumerate().map(named).collect()
}

#[test]
fn every_value_goes_through_json_and_back() {
    let stations = Stations::new();
    let rows = rows();
    for (line, _, id) in &rows {
        stations.write(Way::Team, line.at, id, &line.given).unwrap();
    }
    stations.sync();
    let mut tables: BTreeMap<&str, BTreeMap<String, Json>> = BTreeMap::new();
    for (at, _) in COLUMNS {
        let sql = format!("SELECT id, v FROM \"{at}\"");
        let answer = printed(&stations.world, "there", "ben", &["sql", &sql]);
        let rows = answer["rows"].as_array().unwrap().iter();
        let rows = rows.map(|row| (row[0].as_str().unwrap().to_owned(), row[1].clone()));
        tables.insert(at, rows.collect());
    }
    let mut process = repl(&stations.world, "there", "ben");
    for (line, value, id) in &rows {
        let expected = as_printed(line.at, value);
        let said = &tables[line.at][id];
        assert_eq!(said, &expected, "{} {}", line.at, short(value));
        come_back(&mut process, line.at, id, said, value);
    }
    assert_eq!(process.end().0, Some(0));
    stations.sync();
    for (line, value, id) in &rows {
        let there = seen(&stations.here, line.at, &format!("{id} again"));
        let is_kept = line.action != End::Parked("type-mismatch");
        let may_be = kind(line.at).accepts(value.as_ref()) && is_allowed(line.at, value);
        let expected = (may_be && is_kept).then_some(value.clone());
        // What the column would change stays on the device that wrote it.
        if is_kept {
            assert_eq!(there, expected, "{} {}", line.at, short(value));
        }
    }
}

/// Makes another row of what was printed; gives the same, or is refused for what is no value.
fn come_back(process: &mut Repl, at: &str, id: &str, said: &Json, value: &Value) {
    let id = format!("{id} again");
    let create = json!({
        "do": "action", "entity": at, "action": "create", "row": { "id": id, "v": said },
    });
    let answer = process.ask(&create);
    if kind(at).accepts(value.as_ref()) && is_allowed(at, value) {
        assert_eq!(answer["ok"], true, "{at} {}: {answer}", short(value));
        let get = json!({ "do": "action", "entity": at, "action": "get", "id": id });
        assert_eq!(
            &process.ask(&get)["row"]["v"],
            said,
            "{at} {}",
            short(value)
        );
    } else {
        let is_word = at == "one_of" && kind(at).accepts(value.as_ref());
        let code = if is_word {
            "not-one-of"
        } else {
            "type-mismatch"
        };
        assert_eq!(
            answer["error"]["code"],
            code,
            "{at} {}: {answer}",
            short(value)
        );
        assert_eq!(answer["error"]["attribute"], "v", "{answer}");
    }
}

/// Whether a device may write a canonical value: not every word, and no JSON that is too deep.
fn is_allowed(at: &str, value: &Value) -> bool {
    if matches!(value, Value::Text(text) if text.starts_with(&"[".repeat(1_001))) {
        return false;
    }
    let words = [Value::Null, "draft".into(), "sent".into()];
    at != "one_of" || words.contains(value)
}

/// What JSON may say of a value besides its own form, and what it may not; by column.
const TYPED: &[(&str, &str, Option<&str>)] = &[
    ("text", "7", None),
    ("text", "true", None),
    ("text", "[]", None),
    ("text", "\"a\\u0000b\"", None),
    ("text", "\"\\ud83d\\ude00\"", Some("\"\u{1f600}\"")),
    ("text", "{\"base64\":\"YQ==\"}", None),
    ("integer", "\"12\"", Some("12")),
    (
        "integer",
        "\"-9223372036854775808\"",
        Some("\"-9223372036854775808\""),
    ),
    (
        "integer",
        "9223372036854775807",
        Some("\"9223372036854775807\""),
    ),
    ("integer", "9223372036854775808", None),
    ("integer", "\"9223372036854775808\"", None),
    ("integer", "1.0", None),
    ("integer", "1e3", None),
    ("integer", "true", None),
    ("integer", "\"0x10\"", None),
    ("integer", "\"\"", None),
    ("real", "5", Some("5.0")),
    ("real", "9007199254740992", Some("9007199254740992.0")),
    ("real", "9007199254740993", None),
    ("real", "18446744073709551615", None),
    ("real", "-0.0", None),
    ("real", "5e-324", Some("5e-324")),
    ("real", "\"NaN\"", Some("\"NaN\"")),
    ("real", "\"nan\"", None),
    ("real", "\"Infinity\"", Some("\"Infinity\"")),
    ("real", "\"1.5\"", None),
    ("real", "{\"real\":\"-Infinity\"}", Some("\"-Infinity\"")),
    ("exact", "12", Some("\"12\"")),
    ("exact", "12.5", None),
    ("exact", "1e2", None),
    ("exact", "\"1e2\"", None),
    ("boolean", "1", None),
    ("boolean", "\"true\"", None),
    ("date", "20240229", None),
    (
        "instant",
        "\"2026-11-23T10:30:00+01:00\"",
        Some("\"2026-11-23T09:30:00.000000Z\""),
    ),
    ("instant", "0", None),
    (
        "uuid",
        "\"0190B3A1-5C1E-7CC3-98A1-0123456789AB\"",
        Some("\"0190b3a1-5c1e-7cc3-98a1-0123456789ab\""),
    ),
    ("bytes", "\"%%\"", None),
    ("bytes", "\"_w==\"", None),
    ("bytes", "\"/w\"", None),
    ("bytes", "\"/x==\"", None),
    ("bytes", "[255]", None),
    ("bytes", "{\"base64\":\"/w==\"}", Some("\"/w==\"")),
    ("json", "{\"a\":1}", None),
    ("json", "[1]", None),
    ("json", "7", None),
    ("json", "\"{\\\"a\\\":1}\"", Some("\"{\\\"a\\\":1}\"")),
];

#[test]
fn json_that_says_a_value_otherwise_is_understood_or_refused() {
    let stations = Stations::new();
    let mut process = repl(&stations.world, "there", "ben");
    for (n, (at, typed, expected)) in TYPED.iter().enumerate() {
        let id = format!("row {n}");
        // As text: a number must come to the program with all its digits.
        let create = format!(
            "{{\"do\":\"action\",\"entity\":\"{at}\",\"action\":\"create\",\
             \"row\":{{\"id\":\"{id}\",\"v\":{typed}}}}}"
        );
        let answer = process.line(&create);
        let get = json!({ "do": "action", "entity": at, "action": "get", "id": id });
        let row = process.ask(&get)["row"].take();
        match expected {
            Some(expected) => {
                assert_eq!(answer["ok"], true, "{at} {typed}: {answer}");
                let expected: Json = serde_json::from_str(expected).unwrap();
                assert_eq!(row["v"], expected, "{at} {typed}");
            }
            None => {
                assert_eq!(
                    answer["error"]["code"], "type-mismatch",
                    "{at} {typed}: {answer} {row}"
                );
                assert_eq!(answer["error"]["attribute"], "v", "{answer}");
                assert_eq!(row, Json::Null);
            }
        }
    }
    assert_eq!(process.end().0, Some(0));
}

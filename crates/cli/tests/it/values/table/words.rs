//! Text, UUIDs, bytes, JSON, and texts of which only some are allowed.

use afield::protocol::Value;
use rusqlite::types::Value as Cell;

use super::{End, Line, bad, form, is, same, unkept};

/// A megabyte.
const LONG: usize = 1 << 20;

const UUID: &str = "0190b3a1-5c1e-7cc3-98a1-0123456789ab";

pub(super) fn lines() -> Vec<Line> {
    [text(), one_of(), uuid(), bytes(), json(), json_text()].concat()
}

fn text() -> Vec<Line> {
    let texts = [
        "",
        "a",
        " ",
        "\t\r\n",
        "null",
        "NULL",
        "007",
        "1e5",
        "1.0",
        "-0",
        "NaN",
        "it's \"quoted\"; -- \\ %_* ?1 :name",
        "e\u{301}",
        "\u{e9}",
        "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f466}",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{202e}abc",
        "\u{feff}mark",
        "\u{1}\u{1f}\u{7f}\u{85}\u{2028}",
        "\u{d7ff}\u{e000}\u{fffd}\u{fffe}\u{ffff}",
        "\u{10ffff}",
    ];
    let mut lines: Vec<Line> = texts.map(|text| same("text", text)).into();
    lines.extend([
        same("text", "x".repeat(LONG)),
        same("text", "\u{10ffff}".repeat(LONG / 4)),
        bad("text", "a\0b"),
        bad("text", "\0"),
        // A lone surrogate as bytes, bytes that are no UTF-8, and bytes that are.
        bad("text", Value::Bytes(vec![0xed, 0xa0, 0x80])),
        bad("text", Value::Bytes(vec![0xff])),
        bad("text", Value::Bytes(b"a".to_vec())),
        // A TEXT column makes text of numbers, here and there.
        bad("text", 7)
            .sql(is("7"))
            .team(is("7"))
            .column("7".to_owned()),
        bad("text", 1.5)
            .sql(is("1.5"))
            .team(is("1.5"))
            .column("1.5".to_owned()),
    ]);
    lines
}

fn one_of() -> Vec<Line> {
    let other = |word: &str| {
        let refused = End::Refused("not-one-of");
        same("one_of", word).action(refused.clone()).sql(refused)
    };
    vec![
        same("one_of", "draft"),
        same("one_of", "sent"),
        other("Draft"),
        other("sent "),
        other(""),
        bad("one_of", Value::Bytes(b"sent".to_vec())),
    ]
}

fn uuid() -> Vec<Line> {
    let sixteen = Value::Bytes((0..16).collect());
    vec![
        same("uuid", UUID),
        same("uuid", "00000000-0000-0000-0000-000000000000"),
        same("uuid", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        form("uuid", "0190B3A1-5C1E-7CC3-98A1-0123456789AB", UUID),
        bad("uuid", "0190b3a15c1e7cc398a10123456789ab").team(is(UUID)),
        bad("uuid", sixteen).team(is("00010203-0405-0607-0809-0a0b0c0d0e0f")),
        bad("uuid", "{0190b3a1-5c1e-7cc3-98a1-0123456789ab}"),
        bad("uuid", "urn:uuid:0190b3a1-5c1e-7cc3-98a1-0123456789ab"),
        bad("uuid", "0190b3a1-5c1e-7cc3-98a1-0123456789a"),
        bad("uuid", "0190b3a1-5c1e-7cc3-98a1-0123456789ag"),
        bad("uuid", ""),
        bad("uuid", Value::Bytes(vec![1; 15])),
    ]
}

fn bytes() -> Vec<Line> {
    vec![
        same("bytes", Value::Bytes(Vec::new())),
        same("bytes", Value::Bytes(vec![0])),
        same("bytes", Value::Bytes((0..=255).collect())),
        same("bytes", Value::Bytes(vec![0xed, 0xa0, 0x80])),
        same("bytes", Value::Bytes(vec![0xa5; LONG])),
        bad("bytes", "text"),
        bad("bytes", ""),
        bad("bytes", 7),
        bad("bytes", 1.5),
    ]
}

/// JSON that no column takes for a number.
const DOCUMENTS: [&str; 17] = [
    "{}",
    "[]",
    "null",
    "true",
    "\"\"",
    "\"7\"",
    "\"\\u0000\\ud83d\\ude00\"",
    "\"\u{10ffff}\"",
    " { \"b\" : 1 ,\t\"a\":2\r\n} ",
    "{\"a\":1,\"a\":2,\"a\":{\"a\":3}}",
    "{\"z\":1,\"a\":2,\"\":3}",
    "[1.0,1e5,-0,0.10,1E+2]",
    "[123456789012345678901234567890,9007199254740993,0.1000000000000000055511151231257827]",
    "[1e400,-1e-400]",
    "{\"n\":{\"n\":{\"n\":[[[[[]]]]]}}}",
    "[\"\u{202e}\", \"a\\/b\"]",
    "[\n]",
];

fn documents(at: &'static str) -> Vec<Line> {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut lines: Vec<Line> = DOCUMENTS.map(|text| same(at, text)).into();
    lines.push(same(at, deep(100)));
    lines.push(same(at, format!("[{}0]", "0,".repeat(LONG / 2))));
    // SQLite's check, which every program on the device passes, goes no deeper than this.
    lines.push(same(at, deep(1_000)));
    lines.push(bad(at, deep(1_001)));
    lines.extend(
        [
            "",
            " ",
            "nul",
            "{a:1}",
            "{'a':1}",
            "[1,]",
            "[1",
            "\"",
            "NaN",
            "{}{}",
            "[1]\0",
            "\u{feff}{}",
        ]
        .map(|text| bad(at, text)),
    );
    lines.push(bad(at, Value::Bytes(b"{}".to_vec())));
    lines
}

/// A column declared JSON takes a text that is a number for a number.
fn json() -> Vec<Line> {
    let mut lines = documents("json");
    lines.extend([
        same("json", "1").column(1),
        same("json", "-7").column(-7),
        same("json", "9223372036854775807").column(i64::MAX),
        same("json", "1.5").column(1.5),
        same("json", "1e300").column(1e300),
        unkept("json", "1.0", "1").column(1),
        unkept("json", "1e5", "100000").column(100_000),
        unkept("json", "-0", "0").column(0),
        unkept("json", " 12 ", "12").column(12),
        unkept("json", "0.10", "0.1").column(0.1),
        unkept("json", "9007199254740993.5", "9007199254740994").column(9_007_199_254_740_994_i64),
        unkept("json", "12345678901234567890", "1.2345678901234567e19")
            .column(12_345_678_901_234_567_890.0),
        unkept("json", "1e400", "Infinity").column(f64::INFINITY),
        // Numbers that are no text are the same to such a column.
        bad("json", 7).sql(is("7")).team(is("7")).column(7),
        bad("json", 1.5).sql(is("1.5")).team(is("1.5")).column(1.5),
        bad("json", "+1").team(is("1")).column(1),
    ]);
    lines
}

/// A column whose declared type has the word TEXT in it keeps it as it is written.
fn json_text() -> Vec<Line> {
    let mut lines = documents("json_text");
    let numbers = [
        "1",
        "1.0",
        "1e5",
        "-0",
        " 12 ",
        "0.10",
        "1e400",
        "12345678901234567890",
    ];
    lines.extend(numbers.map(|text| same("json_text", text)));
    let text = |text: &str| Cell::Text(text.to_owned());
    lines.extend([
        bad("json_text", 7)
            .sql(is("7"))
            .team(is("7"))
            .column(text("7")),
        bad("json_text", "+1"),
    ]);
    lines
}

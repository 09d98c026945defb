//! Integers, reals, decimals and truth values.

use afield::protocol::Value;
use rusqlite::types::Value as Cell;

use super::{Line, MISTYPED, bad, is, same, unkept};

/// Beyond this not every integer is a double.
const EXACT: i64 = 1 << 53;

pub(super) fn lines() -> Vec<Line> {
    [integer(), real(), decimal(), scaled(), exact(), boolean()].concat()
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn integer() -> Vec<Line> {
    let numbers = [
        0,
        1,
        -1,
        EXACT,
        -EXACT,
        EXACT + 1,
        -EXACT - 1,
        i64::MAX,
        i64::MIN,
    ];
    let mut lines: Vec<Line> = numbers.map(|n| same("integer", n)).into();
    let too_large = 9_223_372_036_854_775_808.0;
    lines.extend([
        // An INTEGER column makes integers of what looks like one, here and there.
        bad("integer", 5.0).sql(is(5)).team(is(5)).column(5),
        bad("integer", "12").sql(is(12)).team(is(12)).column(12),
        bad("integer", "1e3")
            .sql(is(1_000))
            .team(is(1_000))
            .column(1_000),
        bad("integer", 1.5),
        bad("integer", 1e300),
        bad("integer", "abc"),
        bad("integer", ""),
        bad("integer", "0x10"),
        bad("integer", "9223372036854775808")
            .team(is(too_large))
            .column(too_large),
        bad("integer", Value::Bytes(vec![7])),
    ]);
    lines
}

fn real() -> Vec<Line> {
    let numbers = [
        0.0,
        0.1,
        -0.1,
        1.0 / 3.0,
        5e-324,
        -5e-324,
        f64::MIN_POSITIVE,
        1e308,
        f64::MAX,
        f64::MIN,
        9_007_199_254_740_992.0,
        1e15,
        1e21,
        123_456_789.123_456_78,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let mut lines: Vec<Line> = numbers.map(|x| same("real", x)).into();
    let rounded = 9_007_199_254_740_992.0;
    lines.extend([
        same("real", "NaN"),
        // SQLite has neither a negative zero in a table nor a NaN.
        bad("real", -0.0).sql(is(0.0)).team(is(0.0)).column(0.0),
        same("real", f64::NAN)
            .action(is("NaN"))
            .sql(is(Value::Null))
            .team(is(Value::Null)),
        same("real", 5)
            .action(is(5.0))
            .sql(is(5.0))
            .team(is(5.0))
            .column(5.0),
        bad("real", EXACT + 1)
            .sql(is(rounded))
            .team(is(rounded))
            .column(rounded),
        bad("real", "1.5").sql(is(1.5)).team(is(1.5)).column(1.5),
        bad("real", "1e999")
            .sql(is(f64::INFINITY))
            .team(is(f64::INFINITY))
            .column(f64::INFINITY),
        bad("real", "nan"),
        bad("real", "Infinity"),
        bad("real", "inf"),
        bad("real", "1,5"),
        bad("real", ""),
        bad("real", Value::Bytes(vec![0; 8])),
    ]);
    lines
}

/// A DECIMAL column of SQLite keeps numbers: fifteen digits for certain, and no zeros at the end.
fn decimal() -> Vec<Line> {
    let mut lines = vec![
        same("decimal", "0").column(0),
        same("decimal", "-1").column(-1),
        same("decimal", "12.5").column(12.5),
        same("decimal", "0.1").column(0.1),
        same("decimal", "-0.001").column(-0.001),
        same("decimal", "123456789012.345").column(123_456_789_012.345),
        same("decimal", "9223372036854775807").column(i64::MAX),
        same("decimal", "12.50")
            .action(is("12.5"))
            .sql(is("12.5"))
            .team(is("12.5"))
            .column(12.5),
        same("decimal", "3.00")
            .action(is("3"))
            .sql(is("3"))
            .team(is("3"))
            .column(3),
        unkept("decimal", "1234567890.1234567891", "1234567890.1234567")
            .column(1_234_567_890.123_456_7),
        unkept("decimal", "12345678901234567890", "12345678901234567000")
            .column(12_345_678_901_234_567_000.0),
        unkept("decimal", "0.1000000000000000055511151231257827", "0.1").column(0.1),
        same("decimal", 7)
            .action(is("7"))
            .sql(is("7"))
            .team(is("7"))
            .column(7),
        bad("decimal", 12.5)
            .sql(is("12.5"))
            .team(is("12.5"))
            .column(12.5),
    ];
    let spelled =
        |given: &str, there: &str, cell: i64| bad("decimal", given).team(is(there)).column(cell);
    lines.extend([
        spelled("1e5", "100000", 100_000),
        spelled("1E+2", "100", 100),
        spelled("+5", "5", 5),
        spelled("007", "7", 7),
        spelled("-0", "0", 0),
        spelled(" 1 ", "1", 1),
        spelled("5.", "5", 5),
        bad("decimal", ".5").team(is("0.5")).column(0.5),
    ]);
    lines.extend(NO_DECIMALS.map(|given| bad("decimal", given)));
    lines.push(bad("decimal", Value::Bytes(b"1".to_vec())));
    lines
}

const NO_DECIMALS: [&str; 8] = ["", "abc", "NaN", "Infinity", "1,5", "1 000", "1.2.3", "--1"];

/// A DECIMAL(10,2) column: eight digits before the point and two behind it.
fn scaled() -> Vec<Line> {
    let padded = |given: &str, all: &str| {
        same("scaled", given)
            .action(is(all))
            .sql(is(all))
            .team(is(all))
    };
    vec![
        same("scaled", "12.50").column(12.5),
        same("scaled", "0.00").column(0),
        same("scaled", "-0.01").column(-0.01),
        same("scaled", "99999999.99").column(99_999_999.99),
        padded("12.5", "12.50").column(12.5),
        padded("7", "7.00").column(7),
        padded("12.5000", "12.50").column(12.5),
        unkept("scaled", "12.345", "12.345").column(12.345),
        unkept("scaled", "100000000.00", "100000000.00").column(100_000_000),
        unkept("scaled", "-100000000", "-100000000.00").column(-100_000_000),
        unkept("scaled", "0.001", "0.001").column(0.001),
        bad("scaled", "1e5").team(is("100000.00")).column(100_000),
    ]
}

/// A column whose declared type has the word TEXT in it keeps every digit.
fn exact() -> Vec<Line> {
    let padded = |given: &str, all: &str| {
        same("exact", given)
            .action(is(all))
            .sql(is(all))
            .team(is(all))
    };
    let mut lines = vec![
        same("exact", "12.5000000000"),
        same("exact", "0.0000000000"),
        same("exact", "-0.0000000001"),
        same(
            "exact",
            "12345678901234567890123456789012345678901234567890.1234567891",
        ),
        padded("12.5", "12.5000000000"),
        padded("7", "7.0000000000"),
        unkept("exact", "0.00000000001", "0.00000000001"),
        unkept(
            "exact",
            "123456789012345678901234567890123456789012345678901",
            "123456789012345678901234567890123456789012345678901.0000000000",
        ),
    ];
    lines.push(bad("exact", "5.").team(is("5.0000000000")));
    let spellings = ["1e5", "+5", "007", "-0", " 1 ", ".5"];
    lines.extend(spellings.map(|given| bad("exact", given)));
    lines.extend(NO_DECIMALS.map(|given| bad("exact", given)));
    lines
}

fn boolean() -> Vec<Line> {
    let word = |given: &str, truth: bool| bad("boolean", given).team(is(truth)).column(text(given));
    vec![
        same("boolean", true),
        same("boolean", false),
        bad("boolean", 2),
        bad("boolean", -1),
        bad("boolean", 0.5),
        bad("boolean", 1.0).sql(is(true)).team(is(true)).column(1),
        bad("boolean", "1").sql(is(true)).team(is(true)).column(1),
        word("true", true),
        word("FALSE", false),
        word("t", true),
        bad("boolean", "yes"),
        bad("boolean", "2").sql(MISTYPED).team(is(2)).column(2),
        bad("boolean", ""),
        bad("boolean", Value::Bytes(vec![1])),
    ]
}

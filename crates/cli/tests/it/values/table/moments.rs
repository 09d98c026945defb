//! Dates, times of day, instants, and dates with times and without a zone.

use afield::protocol::Value;

use super::{Line, bad, form, is, same};

pub(super) fn lines() -> Vec<Line> {
    [date(), time(), instant(), datetime()].concat()
}

fn date() -> Vec<Line> {
    let days = [
        "0001-01-01",
        "1582-10-10",
        "1900-02-28",
        "1969-12-31",
        "2000-02-29",
        "2024-02-29",
        "9999-12-31",
    ];
    let none = [
        "0000-01-01",
        "0000-12-31",
        "-0044-03-15",
        "0044-03-15 BC",
        "10000-01-01",
        "1900-02-29",
        "2023-02-29",
        "2024-02-30",
        "2024-04-31",
        "2024-13-01",
        "2024-00-01",
        "2024-01-00",
        "2024-1-1",
        "20240229",
        "29.02.2024",
        "infinity",
        "now",
        "",
        "2024-02-29T10:00:00",
    ];
    let mut lines: Vec<Line> = days.map(|day| same("date", day)).into();
    // A DATE column takes a text that is a number for a number.
    lines.extend(none.map(|text| match text {
        "20240229" => bad("date", text).team(is("20240229")).column(20_240_229),
        _ => bad("date", text),
    }));
    lines.extend([
        bad("date", "2024-02-29T00:00:00").team(is("2024-02-29")),
        bad("date", "2024-02-29 ").team(is("2024-02-29")),
        bad("date", 20_240_229).team(is("20240229")),
        bad("date", Value::Bytes(b"2024-02-29".to_vec())),
    ]);
    lines
}

fn time() -> Vec<Line> {
    let none = [
        "24:00:00",
        "24:00:00.000000",
        "23:59:60",
        "23:59:60.000000",
        "23:60:00",
        "9:30",
        "09",
        "0930",
        "09:30:00+01:00",
        "09:30:00Z",
        "09:30:00,5",
        "09:30:00.",
        "09:30:00.0000000001",
        "-01:00:00",
        "now",
        "",
    ];
    let mut lines: Vec<Line> = none.map(|text| bad("time", text)).into();
    for line in &mut lines {
        if let Value::Text(text) = &line.given
            && let Ok(number) = text.parse::<i64>()
        {
            line.team = is(number.to_string());
            line.column = Some(number.into());
        }
    }
    lines.extend([
        same("time", "00:00:00.000000"),
        same("time", "09:30:00.000001"),
        same("time", "23:59:59.999999"),
        form("time", "09:30", "09:30:00.000000"),
        form("time", "09:30:01", "09:30:01.000000"),
        form("time", "09:30:01.5", "09:30:01.500000"),
        form("time", "23:59:59.9999999", "23:59:59.999999"),
        bad("time", 34_200).team(is("34200")),
    ]);
    lines
}

/// What stands behind the date in no canonical text.
const NO_CLOCKS: [&str; 8] = [
    "T24:00:00",
    "T24:00:00.000000",
    "T23:59:60",
    "T23:59:60.000000",
    "T23:60:00",
    "T9:30",
    "",
    "T",
];

fn instant() -> Vec<Line> {
    let utc = "2026-11-23T09:30:00.000000Z";
    let mut lines = vec![
        same("instant", "0001-01-01T00:00:00.000000Z"),
        same("instant", "0001-01-01T00:00:00.000001Z"),
        same("instant", "1969-12-31T23:59:59.999999Z"),
        same("instant", "2026-03-29T01:30:00.123456Z"),
        same("instant", "2038-01-19T03:14:08.000000Z"),
        same("instant", "9999-12-31T23:59:59.999999Z"),
        form("instant", "2026-11-23T09:30:00Z", utc),
        form("instant", "2026-11-23T10:30:00+01:00", utc),
        form("instant", "2026-11-23 09:30+00", utc),
        form(
            "instant",
            "2026-11-23T00:00:00.5-09:30",
            "2026-11-23T09:30:00.500000Z",
        ),
        form("instant", "2026-11-24T09:29:00+23:59", utc),
        form("instant", "2026-11-23T10:30:00+01:00[Europe/Berlin]", utc),
        form("instant", "2026-11-23T09:30:00.0000009Z", utc),
        form(
            "instant",
            "0001-01-01T01:00:00+01:00",
            "0001-01-01T00:00:00.000000Z",
        ),
        form(
            "instant",
            "9999-12-31T22:59:59.999999-01:00",
            "9999-12-31T23:59:59.999999Z",
        ),
        // Without a zone it is none that a device can send; the team's are taken for UTC.
        bad("instant", "2026-11-23T09:30:00").team(is(utc)),
        bad("instant", "2026-11-23 09:30:00").team(is(utc)),
        bad("instant", 1_763_890_200).team(is("1763890200")),
    ];
    let none = [
        "0001-01-01T00:30:00+01:00",
        "9999-12-31T23:30:00-01:00",
        "0000-12-31T23:59:59Z",
        "10000-01-01T00:00:00Z",
        "-0044-03-15T12:00:00Z",
        "2023-02-29T09:30:00Z",
        "2026-11-23T09:30:00+24:00",
        "2026-11-23T09:30:00+01:60",
        "infinity",
        "now",
    ];
    lines.extend(none.map(|text| bad("instant", text)));
    lines.extend(NO_CLOCKS.map(|clock| bad("instant", format!("2026-11-23{clock}Z"))));
    lines
}

fn datetime() -> Vec<Line> {
    let mut lines = vec![
        same("datetime", "0001-01-01T00:00:00.000000"),
        same("datetime", "2026-03-29T02:30:00.000001"),
        same("datetime", "9999-12-31T23:59:59.999999"),
        form(
            "datetime",
            "2026-11-23T09:30:00",
            "2026-11-23T09:30:00.000000",
        ),
        form("datetime", "2026-11-23 09:30", "2026-11-23T09:30:00.000000"),
        form("datetime", "2026-11-23", "2026-11-23T00:00:00.000000"),
        form(
            "datetime",
            "2026-11-23 09:30:00.1234567",
            "2026-11-23T09:30:00.123456",
        ),
        bad("datetime", 1_763_890_200).team(is("1763890200")),
    ];
    let none = [
        "2026-11-23T09:30:00Z",
        "2026-11-23T09:30:00+01:00",
        "0000-12-31T23:59:59",
        "10000-01-01T00:00:00",
        "-0044-03-15T12:00:00",
        "2023-02-29T09:30:00",
        "infinity",
        "",
    ];
    lines.extend(none.map(|text| bad("datetime", text)));
    let clocks = NO_CLOCKS.into_iter().filter(|clock| !clock.is_empty());
    lines.extend(clocks.map(|clock| bad("datetime", format!("2026-11-23{clock}"))));
    lines.push(bad("datetime", Value::Bytes(b"2026-11-23".to_vec())));
    lines
}

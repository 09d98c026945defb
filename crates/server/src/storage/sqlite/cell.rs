//! Between a cell of the team's table and a canonical value of its attribute.
//!
//! SQLite stores what a program gave it, so one table may hold dates with a blank and with a `T`,
//! and UUIDs in capitals, without dashes or as sixteen bytes. Reading brings a cell into canonical
//! form where that loses nothing, and leaves it as it is stored where not. Writing uses the
//! spelling that the column has already, so that the team's own programs find what they expect.
//! A cell whose canonical form did not change is never written.

use afield_protocol::{Type, Value, ValueRef};
use rusqlite::types::ValueRef as Stored;
use rusqlite::{Connection, OptionalExtension};

use super::column::{decimal, number_text};
use super::raw::Raw;
use super::schema::{Affinity, Column};
use super::sql_text::quote;

/// How many rows are looked at to learn a column's spelling.
const SAMPLE_ROWS: u32 = 100;

/// How the canonical values of an attribute are stored in its column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Form {
    pub kind: Type,
    /// Digits after the point of a decimal.
    pub scale: Option<u32>,
    pub spelling: Spelling,
    /// What the column makes of numbers and of texts that look like one.
    pub affinity: Affinity,
    /// The column's type as it was declared.
    pub declared: String,
    /// Whether a window compares it with a time.
    pub is_bounded: bool,
}

/// How a column spells the values of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    Canonical,
    /// A UUID in capitals.
    Capitals,
    /// A UUID without dashes.
    NoDashes,
    /// A UUID as sixteen bytes.
    Bytes,
    /// A date and time as SQLite's own functions write it: with a blank, without a zone, with a
    /// fraction only where there is one.
    Blank,
}

/// A value that is borrowed where it is stored in canonical form.
#[derive(Debug)]
pub(super) enum Canonical<'a> {
    Borrowed(ValueRef<'a>),
    Owned(Value),
}

impl Canonical<'_> {
    pub(super) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Borrowed(value) => *value,
            Self::Owned(value) => value.as_ref(),
        }
    }
}

impl Form {
    /// Finds out how `column` of `table` spells values of `kind`.
    pub(super) fn learn(
        conn: &Connection,
        table: &str,
        column: &Column,
        kind: Type,
        scale: Option<u32>,
    ) -> rusqlite::Result<Self> {
        let can_differ = matches!(kind, Type::Uuid | Type::Datetime | Type::Instant);
        let sample = if can_differ {
            sample(conn, table, &column.name)?
        } else {
            None
        };
        let spelling = match (kind, sample) {
            (Type::Uuid, Some(Raw::Blob(_))) => Spelling::Bytes,
            (Type::Uuid, Some(Raw::Text(text))) if text.len() == 32 => Spelling::NoDashes,
            (Type::Uuid, Some(Raw::Text(text))) if text.iter().any(u8::is_ascii_uppercase) => {
                Spelling::Capitals
            }
            (Type::Uuid, None) if is_declared_bytes(column) => Spelling::Bytes,
            (Type::Uuid, None) if column.declared.contains("(32)") => Spelling::NoDashes,
            (Type::Datetime | Type::Instant, Some(Raw::Text(text))) if is_blank(&text) => {
                Spelling::Blank
            }
            (Type::Datetime | Type::Instant, None) if has_clock_default(column) => Spelling::Blank,
            _ => Spelling::Canonical,
        };
        Ok(Self {
            kind,
            scale,
            spelling,
            affinity: column.affinity,
            declared: column.declared.clone(),
            is_bounded: false,
        })
    }

    /// The canonical value of a stored cell, or the cell as it is stored if it has none; a number
    /// becomes text where devices have a column of text, which would make that of it anyway; or
    /// bytes, where a window could take that for a time.
    pub(super) fn read<'a>(&self, stored: Stored<'a>) -> Canonical<'a> {
        let value = match stored {
            Stored::Null => ValueRef::Null,
            Stored::Integer(n) => ValueRef::Integer(n),
            // Negative zero equals zero, and is no canonical real.
            Stored::Real(0.0) => ValueRef::Real(0.0),
            Stored::Real(x) => ValueRef::Real(x),
            Stored::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => ValueRef::Text(text),
                Err(_) => ValueRef::Bytes(text),
            },
            Stored::Blob(bytes) => ValueRef::Bytes(bytes),
        };
        let is_scaled = self.kind == Type::Decimal && self.scale.is_some();
        if self.kind.accepts(value) && !is_scaled {
            return Canonical::Borrowed(value);
        }
        match self.convert(value) {
            Some(converted) if self.kind.accepts(converted.as_ref()) => Canonical::Owned(converted),
            _ => match number_text(value) {
                Some(Value::Text(text)) if self.is_bounded => {
                    Canonical::Owned(Value::Bytes(text.into_bytes()))
                }
                Some(text) if self.kind.sqlite() == "TEXT" => Canonical::Owned(text),
                _ => Canonical::Borrowed(value),
            },
        }
    }

    fn convert(&self, value: ValueRef<'_>) -> Option<Value> {
        match (self.kind, value) {
            (_, ValueRef::Null) => None,
            (Type::Text | Type::Json, ValueRef::Integer(_) | ValueRef::Real(_)) => {
                number_text(value)
            }
            (Type::Integer, ValueRef::Real(x)) => whole_number(x),
            (Type::Boolean, ValueRef::Real(x)) => whole_number(x),
            (Type::Boolean, ValueRef::Text(text)) => truth(text),
            (Type::Decimal, value) => decimal(value, self.scale),
            (Type::Date, ValueRef::Text(text)) => date(text),
            (Type::Uuid, ValueRef::Text(text)) => dashed(text),
            (Type::Uuid, ValueRef::Bytes(bytes)) if bytes.len() == 16 => dashed(&hex(bytes)),
            (Type::Instant, ValueRef::Text(text)) => {
                let given = self.kind.normalise(text.into());
                let utc = || {
                    self.kind
                        .normalise(format!("{}Z", text.replacen(' ', "T", 1)).into())
                };
                given.or_else(|_| utc()).ok()
            }
            (kind, value) => kind.normalise(value.to_value()).ok(),
        }
    }

    /// What to store for a canonical value.
    pub(super) fn write(&self, value: &Value) -> Raw {
        self.write_as(self.spelling, value)
    }

    /// Every way in which a canonical value may be stored already, the column's own first.
    pub(super) fn spellings(&self) -> &'static [Spelling] {
        match self.kind {
            Type::Uuid => &[
                Spelling::Canonical,
                Spelling::Capitals,
                Spelling::NoDashes,
                Spelling::Bytes,
            ],
            Type::Datetime | Type::Instant => &[Spelling::Canonical, Spelling::Blank],
            _ => &[],
        }
    }

    /// What to store for a canonical value in one spelling; a value that has no such spelling
    /// stays as it is.
    pub(super) fn write_as(&self, spelling: Spelling, value: &Value) -> Raw {
        let (true, Value::Text(text)) = (self.kind.accepts(value.as_ref()), value) else {
            return Raw::from_value(value);
        };
        match (self.kind, spelling) {
            (Type::Uuid, Spelling::Capitals) => Raw::Text(text.to_ascii_uppercase().into()),
            (Type::Uuid, Spelling::NoDashes) => self.kept(text.replace('-', ""), text),
            (Type::Uuid, Spelling::Bytes) => Raw::Blob(unhex(text)),
            (Type::Datetime | Type::Instant, Spelling::Blank) => {
                let text = text.trim_end_matches('Z').replacen('T', " ", 1);
                Raw::Text(text.strip_suffix(".000000").unwrap_or(&text).into())
            }
            _ => Raw::Text(text.as_bytes().to_vec()),
        }
    }
}

fn sample(conn: &Connection, table: &str, column: &str) -> rusqlite::Result<Option<Raw>> {
    let sql = format!(
        "SELECT c FROM (SELECT {} AS c FROM {} LIMIT {SAMPLE_ROWS}) WHERE c IS NOT NULL LIMIT 1",
        quote(column),
        quote(table)
    );
    conn.query_row(&sql, [], |row| Ok(Raw::from_stored(row.get_ref(0)?)))
        .optional()
}

fn is_declared_bytes(column: &Column) -> bool {
    let declared = column.declared.to_ascii_uppercase();
    declared.contains("BINARY") || (column.affinity == Affinity::Blob && declared == "BLOB")
}

fn has_clock_default(column: &Column) -> bool {
    column.default.as_ref().is_some_and(|default| {
        let default = default.to_ascii_lowercase();
        default.contains("current_timestamp") || default.contains("datetime(")
    })
}

fn is_blank(text: &[u8]) -> bool {
    let is_time = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.');
    text.get(10) == Some(&b' ') && text.iter().skip(11).all(is_time)
}

fn whole_number(x: f64) -> Option<Value> {
    let is_exact = x.abs() < 9_007_199_254_740_992.0 && x.fract() == 0.0;
    is_exact.then_some(Value::Integer(x as i64))
}

fn truth(text: &str) -> Option<Value> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Some(Value::Integer(1)),
        "false" | "f" | "0" => Some(Value::Integer(0)),
        _ => None,
    }
}

/// A date, also one with the time of midnight behind it.
fn date(text: &str) -> Option<Value> {
    let (date, time) = text.split_at_checked(10)?;
    let is_midnight =
        time.starts_with([' ', 'T']) && time.chars().skip(1).all(|c| matches!(c, '0' | ':' | '.'));
    is_midnight.then(|| date.into())
}

/// A UUID in lower case with its dashes.
fn dashed(text: &str) -> Option<Value> {
    let text = text.to_ascii_lowercase();
    if text.len() != 32 || !text.is_ascii() {
        return Some(Value::Text(text));
    }
    let part = |from, to| text.get(from..to);
    Some(Value::Text(format!(
        "{}-{}-{}-{}-{}",
        part(0, 8)?,
        part(8, 12)?,
        part(12, 16)?,
        part(16, 20)?,
        part(20, 32)?
    )))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|byte| char::from(byte).to_digit(16)?.try_into().ok())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(kind: Type, scale: Option<u32>, spelling: Spelling) -> Form {
        Form {
            kind,
            scale,
            spelling,
            affinity: Affinity::Blob,
            declared: String::new(),
            is_bounded: false,
        }
    }

    fn read(form: &Form, stored: Stored<'_>) -> Value {
        form.read(stored).as_ref().to_value()
    }

    #[test]
    fn cells_become_canonical_where_nothing_is_lost() {
        let text = |text: &'static str| Stored::Text(text.as_bytes());
        let uuid = "0190b3a1-5c1e-7cc3-98a1-0123456789ab";
        for (kind, scale, stored, expected) in [
            (Type::Decimal, Some(2), Stored::Real(12.5), "12.50"),
            (Type::Decimal, Some(2), Stored::Integer(-3), "-3.00"),
            (Type::Decimal, Some(2), Stored::Real(1.125), "1.125"),
            (Type::Decimal, Some(2), text("7.1"), "7.10"),
            (Type::Decimal, None, Stored::Real(-0.0), "0"),
            (Type::Text, None, Stored::Integer(7), "7"),
            (Type::Date, None, text("2024-02-29 00:00:00"), "2024-02-29"),
            (
                Type::Datetime,
                None,
                text("2024-02-29 10:00:00"),
                "2024-02-29T10:00:00.000000",
            ),
            (
                Type::Instant,
                None,
                text("2024-02-29 10:00:00"),
                "2024-02-29T10:00:00.000000Z",
            ),
            (
                Type::Instant,
                None,
                text("2024-02-29T10:00:00+02:00"),
                "2024-02-29T08:00:00.000000Z",
            ),
            (
                Type::Uuid,
                None,
                text("0190B3A15C1E7CC398A10123456789AB"),
                uuid,
            ),
            (
                Type::Uuid,
                None,
                text("0190B3A1-5C1E-7CC3-98A1-0123456789AB"),
                uuid,
            ),
        ] {
            let form = form(kind, scale, Spelling::Canonical);
            assert_eq!(
                read(&form, stored),
                Value::from(expected),
                "{kind} {stored:?}"
            );
        }
        let boolean = form(Type::Boolean, None, Spelling::Canonical);
        assert_eq!(read(&boolean, text("TRUE")), Value::Integer(1));
    }

    #[test]
    fn odd_cells_stay_as_they_are_stored() {
        for (kind, stored, expected) in [
            (Type::Integer, Stored::Text(b"abc"), Value::from("abc")),
            (
                Type::Date,
                Stored::Text(b"2024-02-30"),
                Value::from("2024-02-30"),
            ),
            (
                Type::Date,
                Stored::Text(b"2024-02-29 10:00:00"),
                "2024-02-29 10:00:00".into(),
            ),
            (Type::Decimal, Stored::Text(b"1e5"), Value::from("1e5")),
            (Type::Text, Stored::Text(b"\xff"), Value::Bytes(vec![0xff])),
            (Type::Boolean, Stored::Integer(2), Value::Integer(2)),
        ] {
            let form = form(kind, None, Spelling::Canonical);
            assert_eq!(read(&form, stored), expected, "{kind} {stored:?}");
        }
    }

    #[test]
    fn every_spelling_reads_back_as_it_was_written() {
        for (kind, canonical) in [
            (Type::Uuid, "0190b3a1-5c1e-7cc3-98a1-0123456789ab"),
            (Type::Datetime, "2024-02-29T10:00:00.000000"),
            (Type::Datetime, "2024-02-29T10:00:00.000100"),
            (Type::Instant, "2024-02-29T10:00:00.250000Z"),
        ] {
            let form = form(kind, None, Spelling::Canonical);
            for spelling in form.spellings() {
                let raw = form.write_as(*spelling, &canonical.into());
                assert_eq!(
                    read(&form, raw.as_stored()),
                    canonical.into(),
                    "{spelling:?}"
                );
            }
        }
    }
}

//! What a column makes of the values that devices write into it.
//!
//! A column of SQLite whose declared type says neither TEXT nor BLOB takes a text that looks like a
//! number for a number: a column declared JSON makes 1 of `1.0`, and one declared DECIMAL keeps
//! fifteen digits of a decimal for certain. No error says so. So what would come back as another
//! value is refused before it is written.

use afield_protocol::{Attributes, Change, Code, Op, Type, Value, ValueRef, Verdict};
use rusqlite::Connection;

use super::catalog::precision_and_scale;
use super::cell::Form;
use super::entity::{EntityTable, Row};
use super::raw::Raw;
use super::schema::Affinity;
use crate::storage::push::made_by;

/// Longest text that a refusal shows, in characters.
const SHOWN_CHARS: usize = 40;

/// The refusal of a change of which the columns would make something else. What the row has
/// already is not written.
pub(super) fn unkept(
    conn: &Connection,
    table: &EntityTable,
    change: &Change,
    row: Option<&Row>,
    set: &Attributes,
) -> rusqlite::Result<Option<Verdict>> {
    let local = &table.entity.local;
    let is_new = change.op == Op::Create && row.is_none();
    let has_key = is_new && made_by(table, change).is_none();
    let attributes = local.attributes.iter().enumerate();
    for (at, attribute) in attributes.filter(|(_, attribute)| !attribute.lookup) {
        let value = match at < local.key_width {
            true => change.key.get(at).filter(|_| has_key),
            false => set.get(&attribute.name),
        };
        let has = row.and_then(|row| row.values.get(at));
        let Some(value) = value.filter(|value| has != Some(*value)) else {
            continue;
        };
        if let Some(reason) = table.form(at).refuses(conn, value)? {
            return Ok(Some(Verdict {
                attribute: Some(attribute.name.clone()),
                ..Verdict::rejected(
                    Code::TYPE_MISMATCH,
                    format!("`{}` {reason}", attribute.name),
                )
            }));
        }
    }
    Ok(None)
}

impl Form {
    /// A decimal with the zeros at its end that the column gives it.
    pub(super) fn spelled(&self, value: &Value) -> Option<Value> {
        if self.kind != Type::Decimal || !self.kind.accepts(value.as_ref()) {
            return None;
        }
        let scale = match self.prefers_numbers() {
            true => Some(self.scale.unwrap_or(0)),
            false => self.scale,
        };
        decimal(value.as_ref(), scale)
    }

    /// Why this value, canonical for its type, cannot be in the column.
    fn refuses(&self, conn: &Connection, value: &Value) -> rusqlite::Result<Option<String>> {
        if let (Type::Decimal, Value::Text(text)) = (self.kind, value)
            && let (Some(digits), scale) = precision_and_scale(&self.declared)
        {
            let scale = scale.unwrap_or(0);
            let (whole, fraction) = places(text);
            if fraction > scale || whole > digits.saturating_sub(scale) {
                return Ok(Some(format!(
                    "expects a decimal number of at most {digits} digits, {scale} of them \
                     behind the point"
                )));
            }
        }
        let Some(stored) = self.stored(conn, &self.write(value))? else {
            return Ok(None);
        };
        if self.read(stored.as_stored()).as_ref() == value.as_ref() {
            return Ok(None);
        }
        let shown: String = stored.to_value().to_string();
        let shown: String = shown.chars().take(SHOWN_CHARS).collect();
        Ok(Some(format!(
            "would become {shown}: the column of the server's database is declared {}, which \
             stores numbers; a declared type with TEXT in it, like {}_TEXT, would keep every digit",
            self.declared,
            self.kind.as_str().to_ascii_uppercase(),
        )))
    }

    /// A spelling that the column keeps: this one, or the other if it takes the first for a
    /// number. One of a million UUIDs without dashes looks like one.
    pub(super) fn kept(&self, text: String, other: &str) -> Raw {
        let is_number = self.prefers_numbers() && looks_like_a_number(text.as_bytes());
        Raw::Text(match is_number {
            true => other.as_bytes().to_vec(),
            false => text.into_bytes(),
        })
    }

    fn prefers_numbers(&self) -> bool {
        !matches!(self.affinity, Affinity::Text | Affinity::Blob)
    }

    /// What the column stores in place of this cell; `None` if it stores the cell itself.
    fn stored(&self, conn: &Connection, cell: &Raw) -> rusqlite::Result<Option<Raw>> {
        let sql = match (self.affinity, cell) {
            (Affinity::Text, Raw::Integer(_) | Raw::Real(_)) => "SELECT CAST(?1 AS TEXT)",
            (Affinity::Real, Raw::Integer(_)) => "SELECT CAST(?1 AS REAL)",
            (_, Raw::Text(text)) if self.prefers_numbers() && looks_like_a_number(text) => {
                "SELECT CAST(?1 AS NUMERIC)"
            }
            _ => return Ok(None),
        };
        let mut statement = conn.prepare_cached(sql)?;
        let stored = |row: &rusqlite::Row<'_>| Ok(Raw::from_stored(row.get_ref(0)?));
        let stored = statement.query_row([cell], stored)?;
        Ok(Some(match (self.affinity, stored) {
            (Affinity::Integer | Affinity::Numeric, Raw::Real(x)) => whole(x),
            (_, stored) => stored,
        }))
    }
}

/// A number as a column that prefers integers has it; a cast leaves large ones as they are.
fn whole(x: f64) -> Raw {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    match x.fract() == 0.0 && x.abs() < BEYOND {
        true => Raw::Integer(x as i64),
        false => Raw::Real(x),
    }
}

/// Decimal text with `scale` digits behind the point, more where they are no zeros: SQLite keeps
/// numbers, and drops the zeros at their end. Without a scale the zeros stay as they are.
pub(super) fn decimal(value: ValueRef<'_>, scale: Option<u32>) -> Option<Value> {
    let mut text = match value {
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(x) if x.is_finite() => x.to_string(),
        ValueRef::Text(text) => text.to_owned(),
        _ => return None,
    };
    let Some(scale) = scale else {
        return Some(Value::Text(text));
    };
    let scale = usize::try_from(scale).ok()?;
    if let Some((whole, fraction)) = text.split_once('.') {
        let digits = fraction.trim_end_matches('0').len().max(scale);
        let length = whole.len() + 1 + digits;
        text.truncate(length.min(text.len()));
    } else if scale > 0 {
        text.push('.');
    }
    let digits = text.split_once('.').map_or(0, |(_, f)| f.len());
    text.extend(std::iter::repeat_n('0', scale.saturating_sub(digits)));
    let text = text.strip_suffix('.').unwrap_or(&text);
    Some(Value::Text(text.to_owned()))
}

/// How many digits canonical text has before and behind the point.
fn places(text: &str) -> (u32, u32) {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let count = |part: &str| u32::try_from(part.len()).unwrap_or(u32::MAX);
    (count(whole.trim_start_matches('0')), count(fraction))
}

/// The text of a number.
pub(super) fn number_text(value: ValueRef<'_>) -> Option<Value> {
    match value {
        ValueRef::Integer(n) => Some(Value::Text(n.to_string())),
        ValueRef::Real(f64::INFINITY) => Some("Infinity".into()),
        ValueRef::Real(f64::NEG_INFINITY) => Some("-Infinity".into()),
        ValueRef::Real(x) => Some(Value::Text(format!("{x:?}"))),
        _ => None,
    }
}

/// Whether SQLite takes a text for a number where a column prefers numbers: blanks around it, a
/// sign, digits with a point, an exponent.
fn looks_like_a_number(text: &[u8]) -> bool {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let from = text.iter().position(|byte| !is_blank(byte));
    let to = text.iter().rposition(|byte| !is_blank(byte));
    let (Some(from), Some(to)) = (from, to) else {
        return false;
    };
    let unsigned = |part: &'_ [u8]| usize::from(matches!(part.first(), Some(b'+' | b'-')));
    let number = &text[from..=to];
    let number = &number[unsigned(number)..];
    let at = number.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (digits, exponent) = match at {
        Some(at) => (&number[..at], Some(&number[at + 1..])),
        None => (number, None),
    };
    let points = digits.iter().filter(|byte| **byte == b'.').count();
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let exponent = exponent.map(|part| &part[unsigned(part)..]);
    points <= 1
        && digits.iter().any(is_digit)
        && digits.iter().all(|byte| is_digit(byte) || *byte == b'.')
        && exponent.is_none_or(|part| !part.is_empty() && part.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: &[&str] = &[
        "",
        " ",
        "0",
        "-0",
        "+1",
        "1",
        "007",
        "1.0",
        "1.",
        ".5",
        ".",
        "-",
        "+",
        "e5",
        "1e5",
        "1E+2",
        "1e-2",
        "1e",
        "1e+",
        "1e5.0",
        "1.5e3",
        "0.10",
        " 12 ",
        "\t1\r\n",
        "\u{b}1\u{c}",
        "1 2",
        "1x",
        "0x10",
        "--1",
        "1.2.3",
        "1_000",
        "NaN",
        "Infinity",
        "inf",
        "1e400",
        "-1e400",
        "1e-400",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "9007199254740993.5",
        "12345678901234567890123",
        "0.1000000000000000055511151231257827",
        "123456789012.345",
        "1\u{a0}",
        "\u{661}",
        "{}",
        "2024-02-29",
        "00000000000000000000000000000001",
        "1234567890123456789012345678e123",
        "9007199254740994.0",
        "1e18",
        "9.2233720368547748e18",
        "9.3e18",
        "-9223372036854775808.0",
        "-9223372036854774784.0",
        "4503599627370497.0",
        "1e15",
    ];

    fn form(declared: &str, affinity: Affinity) -> Form {
        Form {
            kind: Type::Text,
            scale: None,
            spelling: super::super::cell::Spelling::Canonical,
            affinity,
            declared: declared.to_owned(),
            is_bounded: false,
        }
    }

    #[test]
    fn what_a_column_stores_is_known_before() {
        let conn = Connection::open_in_memory().unwrap();
        let columns = [
            ("JSON", Affinity::Numeric),
            ("INTEGER", Affinity::Integer),
            ("TEXT", Affinity::Text),
            ("BLOB", Affinity::Blob),
        ];
        let numbers = [Raw::Integer(5), Raw::Real(1.5), Raw::Real(1e300)];
        let texts = TEXTS.iter().map(|text| Raw::Text(text.as_bytes().to_vec()));
        let cells: Vec<Raw> = texts.chain(numbers).collect();
        for (declared, affinity) in columns {
            conn.execute_batch(&format!("CREATE TABLE \"{declared}\" (v {declared})"))
                .unwrap();
            let form = form(declared, affinity);
            for cell in &cells {
                let sql = format!("INSERT INTO \"{declared}\" VALUES (?1) RETURNING v");
                let stored = conn
                    .query_row(&sql, [cell], |row| Ok(Raw::from_stored(row.get_ref(0)?)))
                    .unwrap();
                let told = form.stored(&conn, cell).unwrap();
                let told = told.unwrap_or_else(|| cell.clone());
                assert_eq!(told, stored, "{cell:?} in a column declared {declared}");
            }
        }
    }

    #[test]
    fn zeros_at_the_end_of_a_decimal_are_those_of_its_scale() {
        for (given, scale, expected) in [
            ("12.5", Some(2), "12.50"),
            ("12.5000", Some(2), "12.50"),
            ("12.345", Some(2), "12.345"),
            ("7", Some(2), "7.00"),
            ("12.50", Some(0), "12.5"),
            ("3.00", Some(0), "3"),
            ("300", Some(0), "300"),
            ("0.00", Some(0), "0"),
            ("12.50", None, "12.50"),
        ] {
            let found = decimal(ValueRef::Text(given), scale);
            assert_eq!(found, Some(expected.into()), "{given} {scale:?}");
        }
    }
}

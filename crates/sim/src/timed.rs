//! Rows that come and go by time, or count as deleted and stay in the team's tables: which those
//! are, by the model and by the oracle's own reckoning, and the values in them.
//!
//! ```text
//! event  at > now - 14 days    everyone's; leave as time passes
//! shift  due <= now + 7 days   its owner's; come in as time passes. Deleted where `removed_at`,
//!                              a column that no device gets, is not null. Refers to a card
//! card   always                everyone's; deleted where `active` is false
//! ```

use afield_protocol::{Comparison, Type, Value};
use afield_server::resolved::{DeletedWhen, Keep, ServerColumn, SoftDelete};

use crate::app::{self, CARD, EVENT, SHIFT};
use crate::environment::BEGINNING_MS;
use crate::scoped;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How far from the instant of a pull the bounds lie.
const EVENT_KEPT: i64 = -14 * DAY;
const SHIFT_AHEAD: i64 = 7 * DAY;

/// Cards and events at first.
const FIRST: u32 = 12;

/// Shifts at first: enough for a user's download to have several pages.
const FIRST_SHIFTS: u32 = 24;

/// Indexes, as `serve` asks for them.
pub(crate) const SCHEMA: &str = "CREATE INDEX shift_due ON shift (due_on);\n\
                                 CREATE INDEX shift_owner ON shift (owner);\n";

/// The place of the attribute that decides how long rows of an entity stay.
pub(crate) fn time_place(entity: usize) -> Option<usize> {
    match entity {
        EVENT => Some(1),
        SHIFT => Some(2),
        _ => None,
    }
}

/// Which rows devices have, as the model says it.
pub(crate) fn keep(entity: usize) -> Option<Keep> {
    let (comparison, seconds) = match entity {
        EVENT => (Comparison::After, EVENT_KEPT),
        SHIFT => (Comparison::UpTo, SHIFT_AHEAD),
        _ => return None,
    };
    Some(Keep {
        attribute: time_place(entity)?,
        comparison,
        seconds,
    })
}

/// Which rows count as deleted, as the model says it.
pub(crate) fn delete(entity: usize) -> Option<SoftDelete> {
    let column = |name: &str, kind| ServerColumn {
        name: name.to_owned(),
        kind,
        scale: None,
    };
    match entity {
        SHIFT => Some(SoftDelete {
            column: column("removed_at", Type::Instant),
            when: DeletedWhen::NotNull,
            revived: Value::Null,
        }),
        CARD => Some(SoftDelete {
            column: column("is_active", Type::Boolean),
            when: DeletedWhen::Is(Value::Integer(0)),
            revived: Value::Integer(1),
        }),
        _ => None,
    }
}

/// Whether rows of an entity may count as deleted.
pub(crate) fn is_soft(entity: usize) -> bool {
    [SHIFT, CARD].contains(&entity)
}

/// The oracle's own word on it: the condition that a row does not count as deleted. It is one `of`
/// a table, OLD or NEW.
pub(crate) fn is_alive(entity: usize, of: &str) -> String {
    match entity {
        SHIFT => format!("{of}.removed_at IS NULL"),
        CARD => format!("{of}.is_active IS NOT 0"),
        _ => "1".to_owned(),
    }
}

/// Whether the attributes of a row already say that it counts as deleted.
pub(crate) fn says_deleted(entity: usize, row: &[Value]) -> bool {
    entity == CARD && row.get(1) == Some(&Value::Integer(0))
}

/// The team's statement that makes a row count as deleted, or no longer.
pub(crate) fn bury(entity: usize, is_deleted: bool) -> &'static str {
    match (entity, is_deleted) {
        (SHIFT, true) => "UPDATE shift SET removed_at = '2026-11-20T08:00:00.000000Z' WHERE id = ?",
        (SHIFT, false) => "UPDATE shift SET removed_at = NULL WHERE id = ?",
        (_, true) => "UPDATE card SET is_active = 0 WHERE card_code = ?",
        (_, false) => "UPDATE card SET is_active = 1 WHERE card_code = ?",
    }
}

/// Whether a device has a row at an instant, in seconds since 1970, as far as time decides it.
pub(crate) fn stays(entity: usize, row: &[Value], at: i64) -> bool {
    let Some(place) = time_place(entity) else {
        return true;
    };
    let Some(micros) = row.get(place).and_then(micros) else {
        return false;
    };
    match entity {
        EVENT => micros > (at + EVENT_KEPT) * 1_000_000,
        _ => micros <= (at + SHIFT_AHEAD) * 1_000_000,
    }
}

/// The instant of a pull that told this bound.
pub(crate) fn instant(entity: usize, bound: &str) -> Option<i64> {
    let micros = micros(&Value::Text(bound.to_owned()))?;
    let seconds = (micros % 1_000_000 == 0).then_some(micros / 1_000_000)?;
    match entity {
        EVENT => Some(seconds - EVENT_KEPT),
        SHIFT => Some(seconds - SHIFT_AHEAD),
        _ => None,
    }
}

/// What a number stands for, in a world whose server's clock has not moved yet.
pub(crate) fn value(attribute: &str, n: u32) -> Value {
    // Edits make each number of eight.
    let n_of_edit = n / 8;
    match attribute {
        "at" => Value::Text(text(moment(n_of_edit, EVENT_KEPT), n) + "Z"),
        "due" => Value::Text(text(moment(n_of_edit, SHIFT_AHEAD), n)),
        "owner" => Value::Text(scoped::user((n_of_edit % scoped::USERS) as usize)),
        "active" => Value::Integer(i64::from(!n_of_edit.is_multiple_of(3))),
        "card" => Value::Text(format!("c{}", n_of_edit % 9 + 1)),
        _ => Value::Text(format!("w{n}")),
    }
}

/// A value of such an attribute, now that the server's clock has moved by so many seconds.
pub(crate) fn moved(value: &Value, seconds: i64) -> Value {
    let (Value::Text(old), Some(micros)) = (value, micros(value)) else {
        return value.clone();
    };
    let (at, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let end = if old.ends_with('Z') { "Z" } else { "" };
    let fraction = u32::try_from(fraction).unwrap_or(0);
    Value::Text(text(at + seconds, fraction) + end)
}

/// Some moment as it interests somebody whose window ends so far from now: mostly close to that.
fn moment(n: u32, end: i64) -> i64 {
    let off = [
        -3 * MINUTE,
        5 * MINUTE,
        -2 * HOUR,
        4 * HOUR,
        -2 * DAY,
        DAY,
        6 * DAY,
        -9 * DAY,
        20 * DAY,
        -30 * DAY,
    ];
    BEGINNING_MS / 1000 + end + off[n as usize % off.len()]
}

/// A moment in canonical form; the fraction tells who wrote it.
fn text(seconds: i64, micros: u32) -> String {
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / HOUR, rest % HOUR / MINUTE, rest % MINUTE);
    let micros = micros % 1_000_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// Microseconds since 1970 of a date and time, in UTC whether it says so or not.
fn micros(value: &Value) -> Option<i64> {
    let Value::Text(text) = value else {
        return None;
    };
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let days = days(number(0..4)?, number(5..7)?, number(8..10)?);
    let time = number(11..13)? * HOUR + number(14..16)? * MINUTE + number(17..19)?;
    Some((days * DAY + time) * 1_000_000 + number(20..26)?)
}

/// Days since 1970 of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leaps = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let is_leap = leaps(year) > leaps(year - 1);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let place = usize::try_from(month - 1).unwrap_or(0).min(11);
    let leap_day = i64::from(is_leap && month > 2);
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    years + before[place] + leap_day + day - 1
}

/// The date of a day.
fn civil(number: i64) -> (i64, i64, i64) {
    let mut year = 1970 + number / 366;
    while days(year + 1, 1, 1) <= number {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= number);
    let month = month.unwrap_or(1);
    (year, month, number - days(year, month, 1) + 1)
}

/// What a world with such rows begins with.
pub(crate) fn beginnings() -> String {
    let mut sql = String::new();
    for id in 1..=FIRST {
        let (at, key, is_active) = (value("at", id * 8), app::uuid(id), u8::from(id % 4 > 0));
        sql += &format!(
            "INSERT INTO card VALUES ('c{id}', {is_active}, 'card {id}', NULL);\n\
             INSERT INTO event VALUES ('{key}', '{at}', 'event {id}', NULL);\n"
        );
    }
    for id in 1..=FIRST_SHIFTS {
        let (due, owner) = (value("due", id * 8), id % scoped::USERS);
        let removed = match id % 5 {
            0 => "'2026-11-01T00:00:00.000000Z'",
            _ => "NULL",
        };
        sql += &format!(
            "INSERT INTO shift \
             VALUES ({id}, 'user{owner}', '{due}', 'shift {id}', NULL, {removed});\n"
        );
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_the_same_forth_and_back() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000007"),
            (951_782_400, "2000-02-29T00:00:00.000007"),
            (1_795_000_000, "2026-11-18T11:06:40.000007"),
            (1_798_761_599, "2026-12-31T23:59:59.000007"),
        ] {
            assert_eq!(text(seconds, 7), expected);
            let value = Value::Text(expected.to_owned() + "Z");
            assert_eq!(micros(&value), Some(seconds * 1_000_000 + 7));
            assert_eq!(moved(&value, 0), value);
        }
        for day in 0..30_000 {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
    }

    #[test]
    fn the_oracle_knows_on_which_side_of_a_bound_a_row_is() {
        let now = BEGINNING_MS / 1000;
        let event = |at: &str| vec![Value::Null, Value::Text(at.into())];
        // Fourteen days before 2026-11-18T11:06:40.
        assert!(!stays(EVENT, &event("2026-11-04T11:06:40.000000Z"), now));
        assert!(stays(EVENT, &event("2026-11-04T11:06:40.000001Z"), now));
        assert!(!stays(
            EVENT,
            &event("2026-11-04T11:06:40.000001Z"),
            now + 1
        ));
        assert!(!stays(EVENT, &[Value::Null, Value::Null], now));
        let shift = |due: &str| vec![Value::Null, Value::Null, Value::Text(due.into())];
        assert!(stays(SHIFT, &shift("2026-11-25T11:06:40.000000"), now));
        assert!(!stays(SHIFT, &shift("2026-11-25T11:06:40.000001"), now));
        assert!(stays(SHIFT, &shift("2026-11-25T11:06:40.000001"), now + 1));
        assert_eq!(instant(EVENT, "2026-11-04T11:06:40.000000Z"), Some(now));
        assert_eq!(instant(SHIFT, "2026-11-25T11:06:40.000000"), Some(now));
    }
}

//! Dates, times and instants as text: the canonical forms, and how what an app writes becomes one.
//!
//! Canonical text has one width, so that the order of the text is the order in time. What an app
//! writes may leave out seconds or fractions, use a blank for the `T`, and give an instant any
//! offset; digits beyond the microsecond are cut off. Everything else is refused: nothing is
//! guessed, and no part is read past.

use std::ops::RangeInclusive;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};

/// Microseconds since 1970 of the first and the last instant: years 1 to 9999.
pub const MICROS: RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Whether it is `YYYY-MM-DD`, a day of the years 1 to 9999.
pub(crate) fn is_date(text: &str) -> bool {
    date(text).is_some()
}

/// Whether it is `HH:MM:SS.ffffff`.
pub(crate) fn is_time(text: &str) -> bool {
    text.len() == 15 && time(text).is_some()
}

/// Whether it is `YYYY-MM-DDTHH:MM:SS.ffffff`.
pub(crate) fn is_datetime(text: &str) -> bool {
    text.as_bytes().get(10) == Some(&b'T')
        && text.get(..10).is_some_and(is_date)
        && text.get(11..).is_some_and(is_time)
}

/// The canonical text of a time of day.
pub(crate) fn time_text(text: &str) -> Option<String> {
    Some(format_time(time(text)?))
}

/// The canonical text of a date and time without a zone; a date alone is its midnight.
pub(crate) fn datetime_text(text: &str) -> Option<String> {
    if text.len() == 10 {
        return Some(format_datetime(date(text)?.at(0, 0, 0, 0)));
    }
    let (date, time_text) = split(text)?;
    Some(format_datetime(date.to_datetime(time(time_text)?)))
}

/// The canonical text of an instant written with any offset. `None` too if it is not in the years
/// 1 to 9999 once it is UTC.
pub(crate) fn instant_text(text: &str) -> Option<String> {
    let text = match text.split_once('[') {
        Some((text, zone)) if zone.ends_with(']') => text,
        Some(_) => return None,
        None => text,
    };
    let (date, rest) = split(text)?;
    let (time_text, offset) = match rest.strip_suffix(['Z', 'z']) {
        Some(time_text) => (time_text, 0),
        None => {
            let at = rest.rfind(['+', '-'])?;
            (rest.get(..at)?, offset_seconds(rest.get(at..)?)?)
        }
    };
    let local = date.to_datetime(time(time_text.trim_end())?);
    let utc = local.checked_sub(SignedDuration::from_secs(offset)).ok()?;
    (1..=9999)
        .contains(&utc.year())
        .then(|| format!("{}Z", format_datetime(utc)))
}

/// The canonical text of microseconds since 1970, without the `Z`. Outside [`MICROS`], where there
/// is none, it is that of the nearest.
pub fn from_micros(micros: i64) -> String {
    let micros = micros.clamp(*MICROS.start(), *MICROS.end());
    let (days, of_day) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let mut text = String::with_capacity(27);
    push_date(&mut text, year, month, day);
    text.push('T');
    push_time(&mut text, of_day);
    text
}

/// Year, month and day of so many days since 1970; the year before 1 is 0.
///
/// The calendar by hand: a download has millions of these. Years are counted from March, so that
/// the leap day is the last of a year, in eras of 400 years, which all have the same days.
pub fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// The microseconds since 1970 of canonical text without the `Z`.
pub fn to_micros(text: &str) -> Option<i64> {
    let (date, time_text) = split(text)?;
    let since = date.to_datetime(time(time_text)?).duration_since(EPOCH);
    i64::try_from(since.as_micros()).ok()
}

/// A date, and what follows the letter or blank after it.
fn split(text: &str) -> Option<(Date, &str)> {
    let rest = text.get(10..)?.strip_prefix(['T', 't', ' '])?;
    Some((date(text.get(..10)?)?, rest))
}

fn date(text: &str) -> Option<Date> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else {
        return None;
    };
    let year = digits(&[*y1, *y2, *y3, *y4])?;
    let (month, day) = (digits(&[*m1, *m2])?, digits(&[*d1, *d2])?);
    let date = Date::new(narrow(year)?, narrow(month)?, narrow(day)?).ok()?;
    (year >= 1).then_some(date)
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.f…`. There is no leap second and no 24:00: a reader would have
/// to change them.
fn time(text: &str) -> Option<Time> {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) if clock.len() == 8 => (clock, fraction),
        Some(_) => return None,
        None => (text, "0"),
    };
    let (minutes, second) = match clock.as_bytes() {
        [minutes @ .., b':', s1, s2] if minutes.len() == 5 => (minutes, digits(&[*s1, *s2])?),
        minutes => (minutes, 0),
    };
    let [h1, h2, b':', m1, m2] = minutes else {
        return None;
    };
    let (hour, minute) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
    let nanos = nanoseconds(fraction)?;
    Time::new(narrow(hour)?, narrow(minute)?, narrow(second)?, nanos).ok()
}

fn nanoseconds(fraction: &str) -> Option<i32> {
    if fraction.len() > 9 {
        return None;
    }
    let zeros = 10_i32.pow(9 - u32::try_from(fraction.len()).ok()?);
    Some(digits(fraction.as_bytes())? * zeros)
}

/// The offset `±HH`, `±HHMM` or `±HH:MM` in seconds.
fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, hours_minutes) = match text.as_bytes() {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match hours_minutes {
        [h1, h2] => (digits(&[*h1, *h2])?, 0),
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?),
        _ => return None,
    };
    let seconds = i64::from(hours * 3600 + minutes * 60);
    (hours < 24 && minutes < 60).then_some(sign * seconds)
}

/// The number that one to nine ASCII digits write.
fn digits(text: &[u8]) -> Option<i32> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
    let number = text
        .iter()
        .try_fold(0, |number, byte| Some(number * 10 + digit(byte)?));
    number.filter(|_| !text.is_empty())
}

fn narrow<T: TryFrom<i32>>(number: i32) -> Option<T> {
    T::try_from(number).ok()
}

fn format_datetime(datetime: DateTime) -> String {
    let date = datetime.date();
    let mut text = String::with_capacity(27);
    push_date(
        &mut text,
        date.year().into(),
        date.month().into(),
        date.day().into(),
    );
    text.push('T');
    text.push_str(&format_time(datetime.time()));
    text
}

fn format_time(time: Time) -> String {
    let minutes = i64::from(time.hour()) * 60 + i64::from(time.minute());
    let seconds = minutes * 60 + i64::from(time.second());
    let micros = seconds * 1_000_000 + i64::from(time.subsec_nanosecond() / 1_000);
    let mut text = String::with_capacity(15);
    push_time(&mut text, micros);
    text
}

fn push_date(text: &mut String, year: i64, month: i64, day: i64) {
    push_digits::<4>(text, year);
    text.push('-');
    push_digits::<2>(text, month);
    text.push('-');
    push_digits::<2>(text, day);
}

/// Appends the time of day of so many microseconds since midnight.
fn push_time(text: &mut String, micros: i64) {
    let seconds = micros / 1_000_000;
    push_digits::<2>(text, seconds / 3600);
    text.push(':');
    push_digits::<2>(text, seconds / 60 % 60);
    text.push(':');
    push_digits::<2>(text, seconds % 60);
    text.push('.');
    push_digits::<6>(text, micros % 1_000_000);
}

/// Appends the last `N` digits of a number that is not negative.
fn push_digits<const N: usize>(text: &mut String, number: i64) {
    let mut digits = [0; N];
    let mut rest = number.unsigned_abs();
    for digit in digits.iter_mut().rev() {
        *digit = u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    text.extend(digits.map(|digit| char::from(b'0' + digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_to_the_microsecond() {
        for canonical in [
            "0001-01-01T00:00:00.000000",
            "0001-01-01T00:00:00.000001",
            "1969-12-31T23:59:59.999999",
            "2026-11-23T09:30:00.123456",
            "9999-12-31T23:59:59.999999",
        ] {
            let micros = to_micros(canonical).unwrap();
            assert_eq!(from_micros(micros), canonical);
        }
        let limits = ["0001-01-01T00:00:00.000000", "9999-12-31T23:59:59.999999"];
        assert_eq!(
            limits.map(to_micros),
            [Some(*MICROS.start()), Some(*MICROS.end())]
        );
    }

    #[test]
    fn every_day_has_its_date() {
        let mut date = Date::constant(1, 1, 1);
        for day in MICROS.start() / DAY.. {
            let text = from_micros(day * DAY);
            assert_eq!(text, format!("{date}T00:00:00.000000"));
            assert_eq!(to_micros(&text), Some(day * DAY));
            date = match date.tomorrow() {
                Ok(next) => next,
                Err(_) => break,
            };
        }
        assert_eq!(date.to_string(), "9999-12-31");
    }

    #[test]
    fn an_instant_may_have_any_offset() {
        for (given, canonical) in [
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000000Z"),
            ("2026-11-23 09:30+00", "2026-11-23T09:30:00.000000Z"),
            ("2026-11-23 09:30:00.5 -0130", "2026-11-23T11:00:00.500000Z"),
            (
                "2026-11-23t09:30:00.1234567z",
                "2026-11-23T09:30:00.123456Z",
            ),
            (
                "2026-01-01T00:30:00+01:00[Europe/Berlin]",
                "2025-12-31T23:30:00.000000Z",
            ),
        ] {
            assert_eq!(instant_text(given).as_deref(), Some(canonical), "{given}");
        }
    }

    #[test]
    fn what_would_have_to_be_changed_is_refused() {
        for instant in [
            "0001-01-01T00:30:00+01:00",
            "9999-12-31T23:30:00-01:00",
            "2026-11-23T09:30:00",
            "2026-11-23T23:59:60Z",
            "2026-11-23T09:30:00+24:00",
            "2026-11-23Z",
            "2026-W47-1T09:30:00Z",
            "2026-11-23T09:30:00Z[",
        ] {
            assert_eq!(instant_text(instant), None, "{instant}");
        }
        for datetime in [
            "2026-11-23T09:30:00+01:00",
            "2026-11-23T24:00",
            "2026-11-2é",
        ] {
            assert_eq!(datetime_text(datetime), None, "{datetime}");
        }
        for time in [
            "09:30:00+01:00",
            "2026-11-23T09:30",
            "9:30",
            "09:30:00.",
            "09:30.5",
            "09",
        ] {
            assert_eq!(time_text(time), None, "{time}");
        }
    }
}

//! PostgreSQL's `numeric` in its binary format: four numbers of 16 bits (how many digits follow,
//! the weight of the first, the sign, how many decimal digits stand behind the point), then
//! digits to the base of 10,000.

use std::fmt::Write as _;

/// Decimal digits of a digit.
const WIDTH: usize = 4;

const NEGATIVE: u16 = 0x4000;

/// The text of a numeric: no exponent, the digits behind the point that it keeps.
pub(super) fn read(raw: &[u8]) -> Option<String> {
    let (head, digits) = raw.split_first_chunk::<8>()?;
    let [n1, n2, w1, w2, s1, s2, d1, d2] = *head;
    let weight = i16::from_be_bytes([w1, w2]);
    let sign = u16::from_be_bytes([s1, s2]);
    let scale = usize::from(u16::from_be_bytes([d1, d2]));
    match sign {
        0 | NEGATIVE => {}
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
    }
    let (digits, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || digits.len() != usize::from(u16::from_be_bytes([n1, n2])) {
        return None;
    }
    let digit = |power: i32| {
        let at = usize::try_from(i32::from(weight) - power).ok();
        let digit = at.and_then(|at| digits.get(at));
        digit.map_or(0, |digit| u16::from_be_bytes(*digit))
    };
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    let _ = write!(text, "{}", digit(i32::from(weight.max(0))));
    for power in (0..i32::from(weight)).rev() {
        let _ = write!(text, "{:04}", digit(power));
    }
    if scale > 0 {
        text.push('.');
        let point = text.len();
        let mut power = -1;
        while text.len() - point < scale {
            let _ = write!(text, "{:04}", digit(power));
            power -= 1;
        }
        text.truncate(point + scale);
    }
    Some(text)
}

/// The numeric of a decimal in canonical form; `None` if no numeric is so long.
pub(super) fn write(text: &str) -> Option<Vec<u8>> {
    match text {
        "NaN" => return Some(head(0, 0, 0xC000, 0)),
        "Infinity" => return Some(head(0, 0, 0xD000, 0)),
        "-Infinity" => return Some(head(0, 0, 0xF000, 0)),
        _ => {}
    }
    let (sign, number) = match text.strip_prefix('-') {
        Some(number) => (NEGATIVE, number),
        None => (0, text),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let before = whole.len().next_multiple_of(WIDTH) - whole.len();
    let behind = fraction.len().next_multiple_of(WIDTH) - fraction.len();
    let zeros = |n| std::iter::repeat_n(b'0', n);
    let decimals: Vec<u8> = zeros(before)
        .chain(whole.bytes().chain(fraction.bytes()))
        .chain(zeros(behind))
        .collect();
    let (groups, _) = decimals.as_chunks::<WIDTH>();
    let mut digits = Vec::with_capacity(groups.len());
    for group in groups {
        digits.push(std::str::from_utf8(group).ok()?.parse::<u16>().ok()?);
    }
    let weight = i16::try_from((whole.len() + before) / WIDTH).ok()? - 1;
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = digits.get(leading..)?;
    let trailing = digits.iter().rev().take_while(|digit| **digit == 0).count();
    let digits = digits.get(..digits.len() - trailing)?;
    let weight = match digits.is_empty() {
        true => 0,
        false => weight.checked_sub(i16::try_from(leading).ok()?)?,
    };
    let sign = if digits.is_empty() { 0 } else { sign };
    // PostgreSQL keeps no more digits than these behind the point.
    let scale = u16::try_from(fraction.len()).ok().filter(|n| *n < 0x4000)?;
    let mut bytes = head(u16::try_from(digits.len()).ok()?, weight, sign, scale);
    digits
        .iter()
        .for_each(|digit| bytes.extend(digit.to_be_bytes()));
    Some(bytes)
}

fn head(digits: u16, weight: i16, sign: u16, scale: u16) -> Vec<u8> {
    let parts = [digits.to_be_bytes(), weight.to_be_bytes()];
    let more = [sign.to_be_bytes(), scale.to_be_bytes()];
    [parts, more].concat().concat()
}

//! The canonical text of decimals, UUIDs and JSON.

/// Whether it is a decimal without exponent, without needless zeros in front, and not minus zero.
/// Zeros at the end are part of the value: they are its scale.
pub(crate) fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let no_leading_zero = whole == "0" || !whole.starts_with('0');
    let not_negative_zero =
        !text.starts_with('-') || digits.bytes().any(|b| (b'1'..=b'9').contains(&b));
    all_digits(whole) && no_leading_zero && fraction.is_none_or(all_digits) && not_negative_zero
}

/// Whether it is a UUID in lower case, with its hyphens.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// Whether it is one JSON text, of any shape and depth.
pub(crate) fn is_json(text: &str) -> bool {
    !text.contains('\0') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

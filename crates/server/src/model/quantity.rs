//! Durations and sizes with units, as people write them: `"15 min"`, `"4 MiB"`.

use std::time::Duration;

/// Reads `"90 days"`, `"2 s"`, `"500 ms"`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "{text:?} is no duration: write a whole number and a unit, like \"15 min\"; \
             units: ms, s, min, h, days"
        )
    };
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "day" | "days" => 86_400_000,
        _ => return Err(wrong()),
    };
    let total = number.checked_mul(millis);
    total
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is too long a time"))
}

/// Reads `"32 MiB"`, in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{text:?} is no size: write a whole number and a unit, like \"4 MiB\"; \
             units: B, KiB, MiB, GiB"
        )
    };
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(bytes)
        .ok_or_else(|| format!("{text:?} is too large"))
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text.get(..end)?.parse().ok()?;
    Some((number, text.get(end..)?.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required_and_known() {
        assert_eq!(duration("90 days"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(size("4 MiB"), Ok(4 << 20));
        for wrong in [
            "",
            "5",
            "s",
            "-1 s",
            "1.5 h",
            "5 fortnights",
            "99999999999999999999 s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(duration("18446744073709551615 days").is_err());
        for wrong in ["4", "4 MB", "4 mib", "18446744073709551615 GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}

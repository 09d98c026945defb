//! Pauses before something is tried again.

/// A pause that doubles with each attempt before it up to the longest, minus up to half of it by
/// `random`, so that many devices do not come back at once. Milliseconds.
pub(crate) fn pause(first_ms: i64, longest_ms: i64, attempts: u32, random: u64) -> i64 {
    let full = first_ms
        .saturating_mul(1 << attempts.min(40))
        .min(longest_ms);
    full - i64::try_from(random % (full.unsigned_abs() / 2 + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_lose_half_at_most() {
        let full: Vec<i64> = (0..5).map(|n| pause(5_000, 30_000, n, 0)).collect();
        assert_eq!(full, [5_000, 10_000, 20_000, 30_000, 30_000]);
        assert_eq!(pause(5_000, 30_000, u32::MAX, 0), 30_000);
        assert_eq!(pause(5_000, 30_000, 0, 2_500), 2_500);
        assert_eq!(pause(5_000, 30_000, 0, 2_501), 5_000);
        let least = (0..10_000)
            .map(|random| pause(5_000, 30_000, 1, random * 7))
            .min();
        assert_eq!(least, Some(5_000));
    }
}

//! Turns: when whom is told to synchronise, so that no change makes all devices call at once.

/// One turn behind the other, evenly spaced.
#[derive(Debug)]
pub(super) struct Turns {
    apart_us: u64,
    /// From when on there is room.
    free_us: u64,
}

impl Turns {
    /// So many in a second.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            // Rounded up, so that there are never more.
            apart_us: 1_000_000_u64.div_ceil(u64::from(rate.max(1))),
            free_us: 0,
        }
    }

    /// The next free turn, in milliseconds; `now_ms` if there is room.
    pub(super) fn take(&mut self, now_ms: u64) -> u64 {
        let at = self.free_us.max(now_ms.saturating_mul(1_000));
        self.free_us = at.saturating_add(self.apart_us);
        at.div_ceil(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most turns of any second, of turns in order.
    fn busiest(turns: &[u64]) -> usize {
        let from = |(at, first): (usize, &u64)| {
            let later = turns.iter().skip(at);
            later.take_while(|turn| **turn < first + 1_000).count()
        };
        turns.iter().enumerate().map(from).max().unwrap_or(0)
    }

    #[test]
    fn p9_two_thousand_at_once_get_turns_of_the_rate() {
        for rate in [1, 7, 100, 250] {
            let mut turns = Turns::new(rate);
            let all: Vec<u64> = (0..2_000).map(|_| turns.take(5_000)).collect();
            assert_eq!(all.first(), Some(&5_000), "the first need not wait");
            assert!(all.is_sorted());
            assert!(busiest(&all) <= rate as usize, "{rate}: {}", busiest(&all));
            let last = all.last().unwrap() - 5_000;
            let even = 1_999_000 / u64::from(rate);
            assert!(last.abs_diff(even) <= 5, "{rate}: {last} of {even}");
        }
    }

    #[test]
    fn p9_nothing_is_saved_up_while_nobody_comes() {
        let mut turns = Turns::new(10);
        assert_eq!(turns.take(0), 0);
        assert_eq!(turns.take(0), 100);
        // A quiet hour.
        let later: Vec<u64> = (0..30).map(|_| turns.take(3_600_000)).collect();
        assert!(busiest(&later) <= 10);
        // Who comes while turns are ahead is behind all of them.
        assert_eq!(turns.take(3_601_000), 3_603_000);
    }
}

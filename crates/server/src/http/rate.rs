//! How often a device may ask: a bucket for each, by user and device.
//!
//! What a device calls itself is its own word. So this bounds devices that run wild, not liars:
//! who has a token can invent devices, and is bounded by what one user may have open at once.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};

/// Devices remembered in each of two halves: 2 MiB in all. Those that did not ask for the longest
/// time are forgotten, and begin with a full bucket.
const DEVICES_MAX: usize = 32_768;

const MINUTE_MS: i64 = 60_000;

/// A bucket for each device. It holds a minute's requests and fills at an even pace.
pub(super) struct Rates {
    /// Requests in a minute.
    rate: i64,
    devices_max: usize,
    /// Keyed at random, so that nobody finds two devices that share a bucket.
    hasher: RandomState,
    seen: Mutex<Seen>,
}

/// For each device the time, in milliseconds, at which its bucket is full again.
#[derive(Default)]
struct Seen {
    young: HashMap<u64, i64>,
    old: HashMap<u64, i64>,
}

impl Rates {
    pub(super) fn new(rate: u32) -> Self {
        Self {
            rate: i64::from(rate.max(1)),
            devices_max: DEVICES_MAX,
            hasher: RandomState::new(),
            seen: Mutex::default(),
        }
    }

    /// Takes a request from a device's bucket; if it is empty, says after how many seconds it is
    /// not.
    pub(super) fn take(&self, user: &str, device: &str, now_s: i64) -> Result<(), u32> {
        let key = self.hasher.hash_one((user, device));
        let now = now_s.saturating_mul(1_000);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.young.get(&key).or_else(|| seen.old.get(&key)).copied();
        // A clock that was set back must not shut a device out.
        let full_at = known
            .unwrap_or(now)
            .clamp(now, now.saturating_add(MINUTE_MS));
        // Rounded up, so that the pace is never faster than the rate.
        let next = full_at.saturating_add((MINUTE_MS + self.rate - 1) / self.rate);
        let over = next.saturating_sub(now.saturating_add(MINUTE_MS));
        if seen.young.len() >= self.devices_max && !seen.young.contains_key(&key) {
            seen.old = std::mem::take(&mut seen.young);
        }
        let is_empty = over > 0;
        seen.young
            .insert(key, if is_empty { full_at } else { next });
        if is_empty {
            return Err(u32::try_from((over + 999) / 1_000).unwrap_or(u32::MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_a_bucket_holds_a_minute_and_fills_evenly() {
        let rates = Rates::new(6);
        let ask = |device, now| rates.take("ann", device, now);
        for _ in 0..6 {
            assert_eq!(ask("d1", 100), Ok(()));
        }
        assert_eq!(ask("d1", 100), Err(10));
        assert_eq!(ask("d1", 109), Err(1));
        assert_eq!(ask("d2", 100), Ok(()), "another device");
        assert_eq!(rates.take("bob", "d1", 100), Ok(()), "another user");
        assert_eq!(ask("d1", 110), Ok(()));
        assert_eq!(ask("d1", 110), Err(10));
        for _ in 0..6 {
            assert_eq!(
                ask("d1", 10_000),
                Ok(()),
                "no more than a minute is saved up"
            );
        }
        assert_eq!(ask("d1", 10_000), Err(10));
        assert_eq!(ask("d1", 50), Err(10), "a clock that was set back");
        assert_eq!(ask("d1", 60), Ok(()));
    }

    #[test]
    fn p9_buckets_are_bounded_and_those_in_use_stay() {
        let rates = Rates {
            devices_max: 100,
            ..Rates::new(1)
        };
        assert_eq!(rates.take("ann", "busy", 0), Ok(()));
        for n in 0..10_000 {
            assert_eq!(rates.take("eve", &n.to_string(), 0), Ok(()));
            let seen = rates.seen.lock().unwrap();
            assert!(seen.young.len() <= 100 && seen.old.len() <= 100);
        }
        assert_eq!(rates.take("eve", "9999", 0), Err(60));
        assert_eq!(rates.take("ann", "busy", 0), Ok(()), "forgotten by now");
    }
}

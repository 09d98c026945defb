//! When a device synchronises by itself: a while after a write, again and again, when the app comes
//! to the front.
//!
//! It performs nothing; a driver tells it what happened and asks when it is due. Times are
//! milliseconds of any clock that only goes forward.
//!
//! Writes in quick succession are one sync: each begins the pause anew, until ten pauses after the
//! first of them the sync is due whatever comes. What fails is not tried again by this.

use afield_protocol::SyncConfig;

/// How many pauses a write may wait for others.
const PAUSES: i64 = 10;

/// What makes the next sync due.
#[derive(Debug, Default)]
pub struct Schedule {
    /// `None` as long as nothing is due by itself.
    config: Option<SyncConfig>,
    /// When the first and the last write came that no sync was begun for since.
    wrote: Option<(i64, i64)>,
    /// When the last sync was over, or the schedule began.
    last: i64,
    has_resumed: bool,
    is_suspended: bool,
}

impl Schedule {
    /// From `now` on syncs are due by this configuration; by none if it is `None`. What was
    /// written before counts as written now.
    pub fn configure(&mut self, config: Option<SyncConfig>, now: i64) {
        if self.config.is_none() {
            self.last = now;
        }
        self.config = config;
    }

    /// The configuration.
    pub fn config(&self) -> Option<SyncConfig> {
        self.config
    }

    /// Something was written that waits to be sent.
    pub fn wrote(&mut self, now: i64) {
        let first = self.wrote.map_or(now, |(first, _)| first);
        self.wrote = Some((first, now));
    }

    /// The app went to the back: nothing is due until it comes to the front.
    pub fn suspended(&mut self) {
        self.is_suspended = true;
    }

    /// The app came to the front.
    pub fn resumed(&mut self) {
        self.is_suspended = false;
        self.has_resumed = true;
    }

    /// A sync that sends begins, whoever asked for it: what was written goes with it.
    pub fn sends(&mut self) {
        self.wrote = None;
    }

    /// A sync of all units is over, whoever asked for it.
    pub fn finished(&mut self, now: i64) {
        self.last = now;
    }

    /// When a sync is due, if nothing else happens.
    pub fn due(&self) -> Option<i64> {
        let config = self.config.filter(|_| !self.is_suspended)?;
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let after_write = || {
            let (pause, (first, last)) = (ms(config.on_write_ms?), self.wrote?);
            let at_most = first.saturating_add(pause.saturating_mul(PAUSES));
            Some(last.saturating_add(pause).min(at_most))
        };
        let again = config
            .interval_ms
            .map(|every| self.last.saturating_add(ms(every)));
        let at_once = (self.has_resumed && config.on_resume).then_some(i64::MIN);
        [after_write(), again, at_once].into_iter().flatten().min()
    }

    /// Whether a sync is due now; it is begun then, as far as this is concerned.
    pub fn take(&mut self, now: i64) -> bool {
        let is_due = self.due().is_some_and(|at| at <= now);
        if is_due {
            self.wrote = None;
            self.last = now;
        }
        // Who came to the front without a sync being due does not get one later.
        self.has_resumed &= self.is_suspended;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SyncConfig {
        SyncConfig {
            on_resume: true,
            on_write_ms: Some(2_000),
            interval_ms: Some(60_000),
            live: false,
        }
    }

    fn begun(config: SyncConfig) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.configure(Some(config), 1_000);
        schedule
    }

    #[test]
    fn without_a_configuration_nothing_is_due() {
        let mut schedule = Schedule::default();
        schedule.wrote(0);
        schedule.resumed();
        assert_eq!((schedule.due(), schedule.take(i64::MAX)), (None, false));
    }

    #[test]
    fn writes_in_quick_succession_are_one_sync_and_wait_not_for_ever() {
        let mut schedule = begun(config());
        schedule.wrote(5_000);
        assert_eq!(schedule.due(), Some(7_000));
        schedule.wrote(6_500);
        assert!(!schedule.take(8_499));
        assert!(schedule.take(8_500));
        assert_eq!(schedule.due(), Some(68_500), "the interval alone is left");
        for at in 0..40 {
            schedule.wrote(10_000 + at * 1_000);
        }
        assert_eq!(schedule.due(), Some(30_000));
    }

    #[test]
    fn an_interval_begins_when_a_sync_is_over() {
        let mut schedule = begun(config());
        assert_eq!(schedule.due(), Some(61_000));
        schedule.finished(40_000);
        assert_eq!(schedule.due(), Some(100_000));
        assert!(schedule.take(100_000));
        assert!(!schedule.take(100_000));
    }

    #[test]
    fn in_the_back_nothing_is_due_and_the_front_makes_up_for_it() {
        let mut schedule = begun(config());
        schedule.suspended();
        schedule.wrote(2_000);
        assert_eq!(schedule.due(), None);
        schedule.resumed();
        assert!(schedule.take(2_001), "at once");
        assert!(!schedule.take(2_001));
        let mut schedule = begun(SyncConfig {
            on_resume: false,
            ..config()
        });
        schedule.suspended();
        schedule.wrote(2_000);
        schedule.resumed();
        assert_eq!(schedule.due(), Some(4_000), "by its own time");
    }

    #[test]
    fn what_is_switched_off_is_not_due() {
        let mut schedule = begun(SyncConfig {
            on_resume: false,
            on_write_ms: None,
            interval_ms: None,
            live: false,
        });
        schedule.wrote(2_000);
        schedule.suspended();
        schedule.resumed();
        assert_eq!(schedule.due(), None);
        assert!(
            !schedule.take(3_000),
            "and the front is not made up for later"
        );
        schedule.configure(Some(config()), 9_000);
        assert_eq!(schedule.due(), Some(4_000), "written is written");
        schedule.configure(None, 9_000);
        assert_eq!(schedule.due(), None);
    }
}

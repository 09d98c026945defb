//! When a device synchronises by itself: a while after a write, again and again, when the app comes
//! to the front, after a failure.
//!
//! It performs nothing; a driver tells it what happened and asks what is due. Times are
//! milliseconds of any clock that only goes forward.
//!
//! Writes in quick succession are one sync: each begins the pause anew, until ten pauses after the
//! first of them the sync is due whatever comes. While a sync of all units is to be tried again,
//! writes and the interval wait for that: a server that is in trouble, or has asked for some time,
//! is not called more often because somebody types. A person who takes the device out of the
//! pocket does not wait.

use afield_protocol::SyncConfig;

use crate::engine::Direction;
use crate::queue::{Purpose, Wanted};
use crate::retry::{Ending, FailureClass, Retries};

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
    has_signed_in: bool,
    is_suspended: bool,
    /// Whether the server can be reached again, and no sync was begun for that.
    is_back: bool,
    /// Whether the platform says that there is no network.
    is_without_network: bool,
    retries: Retries,
    /// When the first group that failed alone may be sent again.
    alone: Option<i64>,
}

/// Why the next sync begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The app came to the front.
    Resume,
    /// Somebody signed in.
    Login,
    /// The server can be reached again.
    Online,
    /// Something was written.
    Write,
    /// The interval is over.
    Interval,
    /// A sync failed, or a group that was sent alone.
    Retry,
}

impl Reason {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Login => "login",
            Self::Online => "online",
            Self::Write => "write",
            Self::Interval => "interval",
            Self::Retry => "retry",
        }
    }
}

impl Schedule {
    /// From `now` on syncs are due by this configuration; by none if it is `None`. What was
    /// written before counts as written now.
    pub fn configure(&mut self, config: Option<SyncConfig>, now: i64) {
        if self.config.is_none() {
            self.last = now;
        }
        if config.is_none_or(|config| config.retry.is_none()) {
            self.retries.clear();
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

    /// A sync is over, whoever asked for it; `random` spreads what comes of it. `alone` is in how
    /// many milliseconds the first group that failed alone may be sent again.
    pub fn ended(
        &mut self,
        wanted: &Wanted,
        ending: Ending,
        alone: Option<i64>,
        (now, random): (i64, u64),
    ) {
        if *wanted == Wanted::everything() {
            self.last = now;
        }
        self.alone = alone.map(|ms| now.saturating_add(ms));
        if let Some(retry) = self.config.and_then(|config| config.retry) {
            self.retries.ended(wanted, ending, retry, (now, random));
        }
    }

    /// The server can be reached again, which a sync has found out: what failed for want of the
    /// network is due.
    pub fn reached(&mut self, now: i64) {
        self.retries.hurry(FailureClass::Transient, now);
    }

    /// The same, which a probe has found out: a sync of everything is due.
    pub fn online(&mut self, now: i64) {
        self.is_back = true;
        self.reached(now);
    }

    /// The network is not metered any more: what waited for that is due.
    pub fn unmetered(&mut self) {
        self.is_back = true;
    }

    /// Whether the platform says that there is no network: nothing is due as long as it does.
    pub fn without_network(&mut self, is_without: bool) {
        self.is_without_network = is_without;
    }

    /// Somebody signed in: a sync is due, and what a token was missing for.
    pub fn signed_in(&mut self, now: i64) {
        self.has_signed_in = true;
        self.retries.hurry(FailureClass::SignIn, now);
    }

    /// When a sync is due and why, if nothing else happens.
    pub fn due(&self) -> Option<(i64, Reason)> {
        let is_held = self.is_suspended || self.is_without_network;
        let config = self.config.filter(|_| !is_held)?;
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let after_write = || {
            let (pause, (first, last)) = (ms(config.on_write_ms?), self.wrote?);
            let at_most = first.saturating_add(pause.saturating_mul(PAUSES));
            Some(last.saturating_add(pause).min(at_most))
        };
        let again = config
            .interval_ms
            .map(|every| self.last.saturating_add(ms(every)));
        let is_usual = !self.retries.has_everything();
        let at_once = (self.has_resumed && config.on_resume).then_some(i64::MIN);
        let login = (self.has_signed_in && config.on_login).then_some(i64::MIN);
        let is_back = (self.is_back && config.on_online).then_some(i64::MIN);
        let alone = self.alone.filter(|_| config.retry.is_some());
        let found = [
            (at_once, Reason::Resume),
            (login, Reason::Login),
            (is_back, Reason::Online),
            (after_write().filter(|_| is_usual), Reason::Write),
            (again.filter(|_| is_usual), Reason::Interval),
            (self.retries.due(), Reason::Retry),
            (alone, Reason::Retry),
        ];
        let found = found
            .into_iter()
            .filter_map(|(at, reason)| Some((at?, reason)));
        found.min_by_key(|(at, _)| *at)
    }

    /// The syncs that are due now; they are begun then, as far as this is concerned.
    pub fn take(&mut self, now: i64) -> Vec<Wanted> {
        let mut due = Vec::new();
        while let Some((_, reason)) = self.due().filter(|(at, _)| *at <= now) {
            match reason {
                Reason::Retry => {
                    due.extend(self.retries.take(now));
                    if self.alone.take_if(|at| *at <= now).is_some() {
                        due.push(Wanted {
                            purpose: Purpose::Sync(Direction::Send),
                            ..Wanted::everything()
                        });
                    }
                }
                Reason::Resume
                | Reason::Login
                | Reason::Online
                | Reason::Write
                | Reason::Interval => {
                    (self.wrote, self.last) = (None, now);
                    (self.has_resumed, self.has_signed_in, self.is_back) = (false, false, false);
                    due.push(Wanted::everything());
                }
            }
        }
        // Who came to the front without a sync being due does not get one later.
        let is_held = self.is_suspended || self.is_without_network;
        self.has_resumed &= is_held;
        self.is_back &= is_held;
        // Who signed in before syncs begin by themselves gets one when they do.
        self.has_signed_in &= is_held || self.config.is_none();
        due
    }
}

#[cfg(test)]
mod tests {
    use afield_protocol::RetryConfig;

    use super::*;

    fn config() -> SyncConfig {
        SyncConfig {
            on_online: true,
            on_login: true,
            on_resume: true,
            on_write_ms: Some(2_000),
            interval_ms: Some(60_000),
            retry: Some(RetryConfig::default()),
            live: false,
        }
    }

    /// When something is due.
    fn at(schedule: &Schedule) -> Option<i64> {
        schedule.due().map(|(at, _)| at)
    }

    /// Takes what is due; true if that is one sync of everything.
    fn takes(schedule: &mut Schedule, now: i64) -> bool {
        let due = schedule.take(now);
        assert!(due.is_empty() || due == [Wanted::everything()], "{due:?}");
        !due.is_empty()
    }

    fn failed(schedule: &mut Schedule, now: i64, class: FailureClass) {
        let ending = Ending::Failed {
            class,
            retry_after_ms: None,
        };
        schedule.ended(&Wanted::everything(), ending, None, (now, 0));
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
        assert_eq!(
            (at(&schedule), takes(&mut schedule, i64::MAX)),
            (None, false)
        );
    }

    #[test]
    fn writes_in_quick_succession_are_one_sync_and_wait_not_for_ever() {
        let mut schedule = begun(config());
        schedule.wrote(5_000);
        assert_eq!(at(&schedule), Some(7_000));
        schedule.wrote(6_500);
        assert!(!takes(&mut schedule, 8_499));
        assert!(takes(&mut schedule, 8_500));
        assert_eq!(at(&schedule), Some(68_500), "the interval alone is left");
        for at in 0..40 {
            schedule.wrote(10_000 + at * 1_000);
        }
        assert_eq!(at(&schedule), Some(30_000));
    }

    #[test]
    fn an_interval_begins_when_a_sync_is_over() {
        let mut schedule = begun(config());
        assert_eq!(at(&schedule), Some(61_000));
        schedule.ended(&Wanted::everything(), Ending::Done, None, (40_000, 0));
        assert_eq!(at(&schedule), Some(100_000));
        assert!(takes(&mut schedule, 100_000));
        assert!(!takes(&mut schedule, 100_000));
    }

    #[test]
    fn in_the_back_nothing_is_due_and_the_front_makes_up_for_it() {
        let mut schedule = begun(config());
        schedule.suspended();
        schedule.wrote(2_000);
        assert_eq!(at(&schedule), None);
        schedule.resumed();
        assert!(takes(&mut schedule, 2_001), "at once");
        assert!(!takes(&mut schedule, 2_001));
        let mut schedule = begun(SyncConfig {
            on_resume: false,
            ..config()
        });
        schedule.suspended();
        schedule.wrote(2_000);
        schedule.resumed();
        assert_eq!(at(&schedule), Some(4_000), "by its own time");
    }

    #[test]
    fn what_is_switched_off_is_not_due() {
        let mut schedule = begun(SyncConfig {
            on_online: false,
            on_login: false,
            on_resume: false,
            on_write_ms: None,
            interval_ms: None,
            retry: None,
            live: false,
        });
        schedule.wrote(2_000);
        schedule.suspended();
        schedule.resumed();
        assert_eq!(at(&schedule), None);
        assert!(
            !takes(&mut schedule, 3_000),
            "and the front is not made up for later"
        );
        schedule.configure(Some(config()), 9_000);
        assert_eq!(at(&schedule), Some(4_000), "written is written");
        schedule.configure(None, 9_000);
        assert_eq!(at(&schedule), None);
    }

    #[test]
    fn p8_what_fails_is_tried_again_and_typing_does_not_hurry_it() {
        let mut schedule = begun(config());
        failed(&mut schedule, 10_000, FailureClass::Transient);
        schedule.wrote(10_001);
        assert_eq!(schedule.due(), Some((15_000, Reason::Retry)));
        assert!(takes(&mut schedule, 15_000));
        failed(&mut schedule, 15_010, FailureClass::Transient);
        schedule.wrote(15_011);
        assert_eq!(schedule.due(), Some((25_010, Reason::Retry)));
        schedule.suspended();
        assert_eq!(schedule.due(), None);
        schedule.resumed();
        assert_eq!(schedule.due(), Some((i64::MIN, Reason::Resume)));
        assert!(takes(&mut schedule, 15_020));
        schedule.ended(&Wanted::everything(), Ending::Done, None, (15_030, 0));
        schedule.wrote(15_040);
        assert_eq!(schedule.due(), Some((17_040, Reason::Write)), "as usual");
    }

    #[test]
    fn p8_who_comes_back_into_the_network_does_not_wait_for_a_pause() {
        let mut schedule = begun(config());
        failed(&mut schedule, 10_000, FailureClass::Transient);
        schedule.without_network(true);
        schedule.wrote(11_000);
        assert_eq!(schedule.due(), None);
        assert!(!takes(&mut schedule, 400_000));
        schedule.without_network(false);
        schedule.online(400_000);
        assert_eq!(schedule.due(), Some((i64::MIN, Reason::Online)));
        let due = schedule.take(400_000);
        assert!(due.iter().all(|it| *it == Wanted::everything()), "{due:?}");
        assert!(due.len() <= 2, "equal ones that wait are one");
        schedule.ended(&Wanted::everything(), Ending::Done, None, (400_010, 0));
        assert_eq!(schedule.due(), Some((460_010, Reason::Interval)));
    }

    #[test]
    fn who_signs_in_is_not_kept_waiting() {
        let mut schedule = begun(config());
        failed(&mut schedule, 10_000, FailureClass::SignIn);
        assert_eq!(schedule.due(), Some((310_000, Reason::Retry)));
        schedule.signed_in(20_000);
        let due = schedule.take(20_000);
        assert!(!due.is_empty() && due.iter().all(|it| *it == Wanted::everything()));
    }

    #[test]
    fn who_signed_in_before_gets_a_sync_when_they_begin_by_themselves() {
        let mut schedule = Schedule::default();
        schedule.signed_in(0);
        assert!(!takes(&mut schedule, 5));
        schedule.configure(Some(config()), 10);
        assert_eq!(schedule.due(), Some((i64::MIN, Reason::Login)));
        assert!(takes(&mut schedule, 10));
        assert!(!takes(&mut schedule, 10));
        schedule.configure(
            Some(SyncConfig {
                on_login: false,
                ..config()
            }),
            20,
        );
        schedule.signed_in(20);
        assert!(!takes(&mut schedule, 20));
    }

    #[test]
    fn a_group_that_failed_alone_is_sent_when_its_pause_is_over() {
        let mut schedule = begun(config());
        let all = Wanted::everything();
        schedule.ended(&all, Ending::Done, Some(5_000), (10_000, 0));
        assert_eq!(schedule.due(), Some((15_000, Reason::Retry)));
        assert_eq!(schedule.take(14_999), []);
        let sends = Wanted {
            purpose: Purpose::Sync(Direction::Send),
            ..all.clone()
        };
        assert_eq!(schedule.take(15_000), std::slice::from_ref(&sends));
        schedule.ended(&sends, Ending::Done, None, (15_010, 0));
        assert_eq!(schedule.due(), Some((70_000, Reason::Interval)));
    }

    #[test]
    fn without_retry_nothing_is_tried_again() {
        let mut schedule = begun(SyncConfig {
            retry: None,
            ..config()
        });
        failed(&mut schedule, 10_000, FailureClass::Transient);
        let all = Wanted::everything();
        schedule.ended(&all, Ending::Done, Some(5_000), (10_000, 0));
        assert_eq!(schedule.due(), Some((70_000, Reason::Interval)));
        schedule.configure(Some(config()), 11_000);
        failed(&mut schedule, 12_000, FailureClass::Transient);
        assert_eq!(schedule.due(), Some((17_000, Reason::Retry)));
        schedule.configure(None, 13_000);
        schedule.configure(Some(config()), 14_000);
        assert_eq!(schedule.due(), Some((74_000, Reason::Interval)));
    }
}

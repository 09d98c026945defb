//! When a sync that failed is tried again.
//!
//! - *Transient*: the network, or a server that is busy or has trouble. After a pause that doubles,
//!   or as late as the server asks for.
//! - *Sign-in*: the token is refused, or there is none. When there is another one, and after the
//!   longest pause.
//! - *Permanent*: what only somebody can mend, on the device or on the server. After the longest
//!   pause.
//!
//! Nothing is given up for good: what a person mends on the server drains within the longest pause,
//! without anybody touching the device.

use afield_protocol::{Code, RetryConfig};

use crate::backoff::pause;
use crate::engine::Direction;
use crate::error::is_passing;
use crate::queue::{Purpose, Wanted};

/// The longest pause that a server may ask for: a mistaken header must not silence a device for
/// good.
pub const RETRY_AFTER_MAX_MS: i64 = 5 * 60 * 1_000;

/// What a sync that failed needs to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// Time: the network or the server may be better soon.
    Transient,
    /// A token that the server takes.
    SignIn,
    /// Somebody who changes something.
    Permanent,
}

impl FailureClass {
    /// The class of a sync that failed with this code.
    pub fn of(code: &Code) -> Self {
        match code {
            _ if *code == Code::SIGN_IN => Self::SignIn,
            _ if is_passing(code) => Self::Transient,
            _ => Self::Permanent,
        }
    }

    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::SignIn => "sign-in",
            Self::Permanent => "permanent",
        }
    }
}

/// How a sync ended, as far as trying again is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It went through, whatever became of the changes.
    Done,
    /// It did not.
    Failed {
        /// Why.
        class: FailureClass,
        /// How long the server asks to wait, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// Somebody did not want it any more.
    Cancelled,
}

/// The syncs that failed and are to be tried again.
#[derive(Debug, Default)]
pub struct Retries {
    waiting: Vec<Retry>,
}

#[derive(Debug)]
struct Retry {
    wanted: Wanted,
    class: FailureClass,
    attempts: u32,
    at: i64,
    /// The longest pause when it failed.
    longest: i64,
}

impl Retries {
    /// A sync is over.
    pub fn ended(
        &mut self,
        wanted: &Wanted,
        ending: Ending,
        config: RetryConfig,
        (now, random): (i64, u64),
    ) {
        let (class, retry_after_ms) = match ending {
            Ending::Failed {
                class,
                retry_after_ms,
            } if matches!(wanted.purpose, Purpose::Sync(_)) => (class, retry_after_ms),
            _ => {
                self.waiting.retain(|it| !covers(wanted, &it.wanted));
                return;
            }
        };
        let same = self
            .waiting
            .iter()
            .position(|it| covers(&it.wanted, wanted));
        let attempts = same.map_or(0, |at| match self.waiting[at].class == class {
            true => self.waiting[at].attempts + 1,
            // Another trouble: the old one is over.
            false => 0,
        });
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let (first, longest) = (ms(config.first_ms), ms(config.longest_ms));
        let own = match class {
            FailureClass::Transient => pause(first, longest, attempts, random),
            FailureClass::SignIn | FailureClass::Permanent => pause(longest, longest, 0, random),
        };
        let asked = retry_after_ms.unwrap_or(0).clamp(0, RETRY_AFTER_MAX_MS);
        let next = |wanted: &Wanted| Retry {
            wanted: Wanted {
                deadline_ms: None,
                ..wanted.clone()
            },
            class,
            attempts,
            at: now.saturating_add(own.max(asked)),
            longest,
        };
        match same {
            Some(at) => self.waiting[at] = next(&self.waiting[at].wanted),
            None => {
                self.waiting.retain(|it| !covers(wanted, &it.wanted));
                self.waiting.push(next(wanted));
            }
        }
    }

    /// When the next one is due.
    pub fn due(&self) -> Option<i64> {
        self.waiting.iter().map(|it| it.at).min()
    }

    /// Whether all units are among what is to be tried again: whatever is written is sent then.
    pub fn has_everything(&self) -> bool {
        self.waiting
            .iter()
            .any(|it| it.wanted == Wanted::everything())
    }

    /// Those that are due. One that is not begun after all, since somebody discarded it, is due
    /// again after the longest pause.
    pub fn take(&mut self, now: i64) -> Vec<Wanted> {
        let due = self.waiting.iter_mut().filter(|it| it.at <= now);
        due.map(|it| {
            it.at = now.saturating_add(it.longest);
            it.wanted.clone()
        })
        .collect()
    }

    /// What stood in the way of this class is gone: those are due now.
    pub fn hurry(&mut self, class: FailureClass, now: i64) {
        for it in self.waiting.iter_mut().filter(|it| it.class == class) {
            (it.at, it.attempts) = (now, 0);
        }
    }

    /// Nothing is tried again.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// Whether a sync of `one` does all that one of `other` does.
fn covers(one: &Wanted, other: &Wanted) -> bool {
    let (Purpose::Sync(direction), Purpose::Sync(of_other)) = (one.purpose, other.purpose) else {
        return false;
    };
    // What is sent is of all units.
    let same_unit = one.unit.is_none() || one.unit == other.unit || of_other == Direction::Send;
    same_unit && (direction == Direction::Both || direction == of_other)
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    const CONFIG: RetryConfig = RetryConfig {
        first_ms: 5_000,
        longest_ms: 300_000,
    };

    const TRANSIENT: Ending = Ending::Failed {
        class: FailureClass::Transient,
        retry_after_ms: None,
    };

    fn unit(name: &str, direction: Direction) -> Wanted {
        Wanted {
            unit: Some(name.to_owned()),
            purpose: Purpose::Sync(direction),
            deadline_ms: Some(7),
        }
    }

    fn ended(retries: &mut Retries, wanted: &Wanted, ending: Ending, now: i64) {
        retries.ended(wanted, ending, CONFIG, (now, 0));
    }

    #[test]
    fn pauses_double_and_success_ends_them() {
        let (mut retries, all) = (Retries::default(), Wanted::everything());
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            ended(&mut retries, &all, TRANSIENT, now);
            let due = retries.due().unwrap();
            assert_eq!(retries.take(due - 1), []);
            assert_eq!(retries.take(due), slice::from_ref(&all));
            assert_eq!(retries.due(), Some(due + 300_000), "should it not run");
            pauses.push((due - now) / 1_000);
            now = due + 10;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        ended(&mut retries, &all, Ending::Done, now);
        assert_eq!(retries.due(), None);
        ended(&mut retries, &all, TRANSIENT, now);
        assert_eq!(retries.due(), Some(now + 5_000), "from the start");
        ended(&mut retries, &all, Ending::Cancelled, now);
        assert_eq!(retries.due(), None);
    }

    #[test]
    fn a_server_is_given_the_time_it_asks_for_within_reason() {
        let asks = |retry_after_ms| Ending::Failed {
            class: FailureClass::Transient,
            retry_after_ms: Some(retry_after_ms),
        };
        for (asked, due) in [
            (0, 5_000),
            (-7, 5_000),
            (60_000, 60_000),
            (i64::MAX, RETRY_AFTER_MAX_MS),
        ] {
            let mut retries = Retries::default();
            ended(&mut retries, &Wanted::everything(), asks(asked), 0);
            assert_eq!(retries.due(), Some(due));
        }
    }

    #[test]
    fn p8_what_somebody_must_mend_is_tried_after_the_longest_pause_and_not_before() {
        for class in [FailureClass::SignIn, FailureClass::Permanent] {
            let (mut retries, all) = (Retries::default(), Wanted::everything());
            let failed = Ending::Failed {
                class,
                retry_after_ms: None,
            };
            for now in [0, 400_000, 800_000] {
                ended(&mut retries, &all, failed, now);
                assert_eq!(retries.due(), Some(now + 300_000));
            }
            retries.hurry(FailureClass::Transient, 800_001);
            assert_eq!(retries.due(), Some(1_100_000), "another trouble is over");
            retries.hurry(class, 800_001);
            assert_eq!(retries.take(800_001), [all]);
        }
    }

    #[test]
    fn what_a_larger_one_does_anyway_is_not_tried_on_its_own() {
        let mut retries = Retries::default();
        let (work, send) = (unit("work", Direction::Both), unit("x", Direction::Send));
        ended(&mut retries, &work, TRANSIENT, 0);
        ended(&mut retries, &send, TRANSIENT, 1);
        assert_eq!(retries.waiting.len(), 1, "sending is of all units");
        ended(
            &mut retries,
            &unit("home", Direction::Receive),
            TRANSIENT,
            2,
        );
        assert_eq!(retries.waiting.len(), 2);
        assert!(!retries.has_everything());
        ended(&mut retries, &Wanted::everything(), TRANSIENT, 3);
        assert_eq!(retries.waiting.len(), 1);
        assert!(retries.has_everything());
        ended(&mut retries, &work, Ending::Done, 4);
        assert!(retries.has_everything(), "a part is not the whole");
        let all = Wanted::everything();
        assert_eq!(
            retries.take(i64::MAX),
            slice::from_ref(&all),
            "and without a deadline"
        );
        ended(&mut retries, &all, Ending::Done, 5);
        assert_eq!(retries.due(), None);
    }

    #[test]
    fn a_comparison_is_not_tried_again() {
        let mut retries = Retries::default();
        let verify = Wanted {
            purpose: Purpose::Verify { repair: true },
            ..Wanted::everything()
        };
        ended(&mut retries, &verify, TRANSIENT, 0);
        assert_eq!(retries.due(), None);
    }

    #[test]
    fn every_code_has_a_class() {
        for (code, class) in [
            (Code::UNREACHABLE, FailureClass::Transient),
            (Code::TIMEOUT, FailureClass::Transient),
            (Code::BUSY, FailureClass::Transient),
            (Code::INTERNAL, FailureClass::Transient),
            (Code::SIGN_IN, FailureClass::SignIn),
            (Code::FORBIDDEN, FailureClass::Permanent),
            (Code::UPDATE_REQUIRED, FailureClass::Permanent),
            (Code::parse("from-later"), FailureClass::Permanent),
        ] {
            assert_eq!(FailureClass::of(&code), class, "{code}");
        }
    }
}

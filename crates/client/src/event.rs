//! What happens while a device synchronises, for a status line and for decisions of the app.
//!
//! Events are numbered and kept in memory, the newest [`KEPT`] of them: a stream of them that is
//! read too slowly goes on with the oldest that is left, and its numbers show the gap. Progress
//! that nobody has read yet is replaced by newer progress of the same, so that it takes no place of
//! what matters. Nothing that must not be missed is in events alone: conflicts and refusals stay in
//! the store until somebody decides.

use std::collections::VecDeque;

use afield_protocol::{Code, Key};

use crate::engine::{Phase, Progress, Report, SyncStatus};
use crate::network::NetworkStatus;
use crate::queue::Wanted;
use crate::retry::FailureClass;
use crate::store::OutcomeInfo;

/// Events that are kept.
pub const KEPT: usize = 1_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum SyncEvent {
    /// A sync began; `unit` is `None` if it is of all units, here and below.
    Started {
        /// The unit.
        unit: Option<String>,
    },
    /// It came so far.
    Progress(Progress),
    /// All rows of one unit of a sync of all units are here.
    UnitCompleted {
        /// The unit.
        unit: String,
    },
    /// A sync went through.
    Completed {
        /// The unit.
        unit: Option<String>,
        /// `Completed` or `Incomplete`.
        status: SyncStatus,
        /// Changes that were applied.
        pushed: u64,
        /// Rows received.
        pulled: u64,
    },
    /// A sync did not go through; what it did is kept.
    Failed {
        /// The unit.
        unit: Option<String>,
        /// What it needs to go through; `None` if somebody cancelled it.
        class: Option<FailureClass>,
        /// Why.
        code: Code,
        /// For a person.
        message: String,
    },
    /// Somebody else changed the row of a change of this device too: a person decides.
    Conflict(Verdict),
    /// The server refused a change.
    Rejected(Verdict),
    /// What is known of the network is something else now.
    Network(NetworkStatus),
    /// Whether a unit is up to date is something else now.
    UpToDate {
        /// The unit.
        unit: String,
        /// Whether it is.
        is_up_to_date: bool,
    },
    /// A hook of the app was not through by its deadline: the queue went on without it.
    HookLate {
        /// `before-send` or `after-apply`.
        hook: &'static str,
        /// The unit.
        unit: Option<String>,
    },
    /// Whether a person must sign in is something else now.
    SignIn {
        /// Whether somebody must.
        is_needed: bool,
    },
}

/// What the server said of a change that it did not apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The change's name.
    pub change: String,
    /// The local entity.
    pub entity: String,
    /// The row.
    pub key: Key,
    /// Why.
    pub code: Option<Code>,
    /// The attribute that the code speaks of.
    pub attribute: Option<String>,
    /// For a person.
    pub message: Option<String>,
}

impl From<&OutcomeInfo> for Verdict {
    fn from(outcome: &OutcomeInfo) -> Self {
        Self {
            change: outcome.change.clone(),
            entity: outcome.entity.clone(),
            key: outcome.key.clone(),
            code: outcome.code.clone(),
            attribute: outcome.attribute.clone(),
            message: outcome.message.clone(),
        }
    }
}

impl SyncEvent {
    /// The stable word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Progress(_) => "progress",
            Self::UnitCompleted { .. } => "unit-completed",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Conflict(_) => "conflict",
            Self::Rejected(_) => "rejected",
            Self::Network(_) => "network",
            Self::UpToDate { .. } => "up-to-date",
            Self::HookLate { .. } => "hook-late",
            Self::SignIn { .. } => "sign-in",
        }
    }

    /// How a sync ended.
    pub fn ended(wanted: &Wanted, report: &Report) -> Self {
        let unit = wanted.unit.clone();
        match &report.error {
            Some((code, message)) => Self::Failed {
                unit,
                class: report.class.filter(|_| !report.is_cancelled),
                code: code.clone(),
                message: message.clone(),
            },
            None => Self::Completed {
                unit,
                status: report.status,
                pushed: report.pushed,
                pulled: report.pulled,
            },
        }
    }

    /// Whether `newer` says all that this says, so that nobody needs to read this any more.
    fn is_overtaken_by(&self, newer: &Self) -> bool {
        match (self, newer) {
            (Self::Progress(old), Self::Progress(new)) => {
                old.unit == new.unit && (old.phase == new.phase || old.phase == Phase::Sending)
            }
            _ => false,
        }
    }
}

/// An event and its number; they are numbered from 1 in the order in which they happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbered {
    /// Its number.
    pub n: u64,
    /// What happened.
    pub event: SyncEvent,
}

/// The newest events.
#[derive(Debug, Default)]
pub struct Events {
    newest: u64,
    kept: VecDeque<Numbered>,
}

impl Events {
    /// Notes what happened; gives it with its number.
    pub fn add(&mut self, event: SyncEvent) -> Numbered {
        if let Some(last) = self.kept.back()
            && last.event.is_overtaken_by(&event)
        {
            self.kept.pop_back();
        }
        while self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.newest += 1;
        let numbered = Numbered {
            n: self.newest,
            event,
        };
        self.kept.push_back(numbered.clone());
        numbered
    }

    /// The number of the newest.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// The oldest one behind number `since` that is kept.
    pub fn after(&self, since: u64) -> Option<&Numbered> {
        let from = self.kept.partition_point(|event| event.n <= since);
        self.kept.get(from)
    }

    /// All behind number `since` that are kept.
    pub fn since(&self, since: u64) -> Vec<Numbered> {
        let from = self.kept.partition_point(|event| event.n <= since);
        self.kept.range(from..).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(unit: usize) -> SyncEvent {
        SyncEvent::Started {
            unit: Some(unit.to_string()),
        }
    }

    fn progress(unit: &str, phase: Phase, rows: u64) -> SyncEvent {
        SyncEvent::Progress(Progress {
            unit: Some(unit.to_owned()),
            phase,
            rows,
            ..Progress::default()
        })
    }

    #[test]
    fn events_are_numbered_and_the_oldest_go_first() {
        let mut events = Events::default();
        for n in 1..=KEPT + 5 {
            assert_eq!(events.add(started(n)).n, n as u64);
        }
        assert_eq!(events.newest(), 1_005);
        assert_eq!(events.after(0).unwrap().n, 6, "the gap shows");
        assert_eq!(events.after(1_004).unwrap().event, started(1_005));
        assert_eq!(events.after(1_005), None);
        assert_eq!(events.since(1_003).len(), 2);
        assert_eq!(events.since(u64::MAX), []);
    }

    #[test]
    fn progress_takes_the_place_of_older_progress_alone() {
        let mut events = Events::default();
        events.add(started(1));
        events.add(progress("a", Phase::Sending, 0));
        for rows in 1..=3 {
            events.add(progress("a", Phase::Receiving, rows));
        }
        events.add(progress("b", Phase::Receiving, 1));
        events.add(started(2));
        events.add(progress("b", Phase::Receiving, 2));
        let kept: Vec<_> = events.since(0).into_iter().map(|it| it.n).collect();
        assert_eq!(kept, [1, 5, 6, 7, 8]);
    }
}

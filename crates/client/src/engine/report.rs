//! What a sync is asked for and how it ended.

use afield_protocol::{Code, Problem, VerdictKind, zoo};

use super::verify::Verified;
use crate::retry::FailureClass;
use crate::store::OutcomeInfo;

/// Which way a sync moves data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Sends changes and receives rows.
    #[default]
    Both,
    /// Only sends changes, of all units.
    Send,
    /// Only receives rows.
    Receive,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable code.
    pub code: Code,
    /// For a person.
    pub message: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// How long the server asks to wait.
    pub retry_after_ms: Option<i64>,
    /// Whether the server itself said so, and nobody who stands before it.
    pub is_the_servers: bool,
}

/// What a sync does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It sends changes.
    #[default]
    Sending,
    /// It receives rows.
    Receiving,
    /// It compares rows with the server's.
    Comparing,
}

impl Phase {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Receiving => "receiving",
            Self::Comparing => "comparing",
        }
    }
}

/// How far a sync has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The unit at hand.
    pub unit: Option<String>,
    /// What it does.
    pub phase: Phase,
    /// Rows received so far, of all units.
    pub rows: u64,
    /// Rows received so far, of this unit.
    pub unit_rows: u64,
    /// Rows of this unit still to come, as far as the server knows.
    pub remaining: Option<u64>,
    /// The part of this unit's rows that is here, if the server said how many there are. It never
    /// goes back, and is 100 only when none is to come.
    pub percent: Option<u8>,
    /// Bytes received so far, of all units, as the network carried them.
    pub bytes: u64,
    /// Changes settled so far.
    pub settled: u64,
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncStatus {
    /// Everything it sent was applied, everything there was to receive is here.
    #[default]
    Completed,
    /// It went through, but a change sent in it was not applied, or units were left out.
    Incomplete,
    /// It did not go through; what it did is kept.
    Failed,
}

impl SyncStatus {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// How it ended.
    pub status: SyncStatus,
    /// Why it failed.
    pub error: Option<(Code, String)>,
    /// Changes that were applied.
    pub pushed: u64,
    /// Rows received, removed ones included.
    pub pulled: u64,
    /// Bytes of request bodies.
    pub bytes_sent: u64,
    /// Bytes of answers, as they came: packed ones count packed.
    pub bytes_received: u64,
    /// Outcomes stored, in order.
    pub outcomes: Vec<OutcomeInfo>,
    /// What it needs to go through, if it failed.
    pub class: Option<FailureClass>,
    /// How long the server asked to wait before the next attempt, in milliseconds.
    pub retry_after_ms: Option<i64>,
    /// Whether the server itself had the last word, whatever it said.
    pub has_answered: bool,
    /// Whether somebody did not want it any more.
    pub is_cancelled: bool,
    /// Groups that failed alone and wait.
    pub backed_off: u64,
    /// Units of which all rows are here.
    pub units: Vec<String>,
    /// Units whose rows it did not ask for, because the network is metered.
    pub left_out: Vec<String>,
    /// Whether another model was installed.
    pub model_changed: bool,
    /// What comparing rows with the server's found, if that was asked for or due.
    pub verified: Option<Box<Verified>>,
    /// Rows that were repaired in the unit at hand.
    pub(super) repaired: Vec<(String, Vec<u8>)>,
    /// Rows still to come, as the server last said, without those that came since.
    pub(super) remaining: Option<u64>,
    /// Whether a download of the unit at hand began in this sync.
    pub(super) has_begun: bool,
}

impl Report {
    /// `all_settled` says whether every group that was sent took effect.
    pub(super) fn conclude(&mut self, error: Option<(Code, String)>, all_settled: bool) {
        let applied = |outcome: &&OutcomeInfo| outcome.result == VerdictKind::Applied;
        self.pushed = self.outcomes.iter().filter(applied).count() as u64;
        let all_applied = zoo::planted("completed-anyway")
            || all_settled
                && self.left_out.is_empty()
                && self.pushed == self.outcomes.len() as u64
                && self.backed_off == 0;
        self.status = match (&error, all_applied) {
            (Some(_), _) => SyncStatus::Failed,
            (None, true) => SyncStatus::Completed,
            (None, false) => SyncStatus::Incomplete,
        };
        let class = self.class.take();
        let of_code = |(code, _): &(Code, String)| class.unwrap_or(FailureClass::of(code));
        self.class = error.as_ref().map(of_code);
        self.error = error;
    }
}

impl Failure {
    /// A failure without an answer.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            status: None,
            retry_after_ms: None,
            is_the_servers: false,
        }
    }

    pub(super) fn from_problem(problem: Problem) -> Self {
        // A problem inside an answer is one of the server: it came too late for a status.
        Self {
            status: Some(500),
            ..Self::new(problem.code, problem.message)
        }
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        match self.status {
            Some(status) => status == 408 || status == 429 || status >= 500,
            None => [Code::UNREACHABLE, Code::TIMEOUT, Code::INTERRUPTED].contains(&self.code),
        }
    }

    /// What the request needs to go through.
    pub(super) fn class(&self) -> FailureClass {
        match self.is_passing() {
            true => FailureClass::Transient,
            false => FailureClass::of(&self.code),
        }
    }

    /// Whether the request may have been longer than the connection lived, or than the server
    /// waited.
    pub(super) fn may_be_the_size(&self) -> bool {
        match self.status {
            Some(status) => status == 408,
            None => self.code == Code::INTERRUPTED,
        }
    }

    /// Whether the server takes no group as large as one that was sent.
    pub(super) fn is_a_group_too_large(&self) -> bool {
        self.status == Some(413) && self.code == Code::GROUP_TOO_LARGE
    }

    /// Whether one of the groups sent may be what the server stumbles over.
    pub(super) fn may_be_a_groups_fault(&self) -> bool {
        if self.code == Code::TOO_MANY_CHOSEN {
            return false;
        }
        match self.status {
            Some(429 | 503) => false,
            Some(status) => matches!(status, 400 | 413 | 422) || status >= 500,
            None => self.code == Code::TIMEOUT,
        }
    }
}

//! What a sync is asked for and how it ended.

use afield_protocol::{Code, Problem, VerdictKind, zoo};

use super::verify::Verified;
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
}

/// How far a sync has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows received so far.
    pub rows: u64,
    /// Rows still to come, if the server said.
    pub remaining: Option<u64>,
    /// Changes settled so far.
    pub settled: u64,
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncStatus {
    /// Everything it sent was applied, everything there was to receive is here.
    #[default]
    Completed,
    /// It went through, but a change sent in it was not applied.
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
    /// Groups that failed alone and wait.
    pub backed_off: u64,
    /// Whether another model was installed.
    pub model_changed: bool,
    /// What comparing rows with the server's found, if that was asked for or due.
    pub verified: Option<Box<Verified>>,
    /// Rows that were repaired in the unit at hand.
    pub(super) repaired: Vec<(String, Vec<u8>)>,
    /// Rows still to come, as the server last said.
    pub(super) remaining: Option<u64>,
}

impl Report {
    pub(super) fn progress(&self) -> Progress {
        Progress {
            rows: self.pulled,
            remaining: self.remaining,
            settled: self.outcomes.len() as u64,
        }
    }

    /// `all_settled` says whether every group that was sent took effect.
    pub(super) fn conclude(&mut self, error: Option<(Code, String)>, all_settled: bool) {
        let applied = |outcome: &&OutcomeInfo| outcome.result == VerdictKind::Applied;
        self.pushed = self.outcomes.iter().filter(applied).count() as u64;
        let all_applied = zoo::planted("completed-anyway")
            || all_settled && self.pushed == self.outcomes.len() as u64 && self.backed_off == 0;
        self.status = match (&error, all_applied) {
            (Some(_), _) => SyncStatus::Failed,
            (None, true) => SyncStatus::Completed,
            (None, false) => SyncStatus::Incomplete,
        };
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

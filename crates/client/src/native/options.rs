//! What a client is opened with, and what a sync is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use afield_protocol::Model;

use super::http::Timeouts;
use super::key_source::KeySource;
use super::sign_in::TokenSource;
use crate::engine::{CheckPolicy, Direction};
use crate::queue::{Purpose, Wanted};

/// How often a sync compares all rows of a unit with the server's, unless the app says otherwise.
/// It costs the server a pass over the user's rows; what it would find is rare.
pub const CHECK_EVERY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How to open a [`Client`](super::Client).
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The folder of this device's stores; it is made if it does not exist.
    pub folder: PathBuf,
    /// Whose store to open.
    pub user: String,
    /// The server's address, remembered in the store; `None` takes the one remembered.
    pub server: Option<String>,
    /// The token to sign in with; `None` takes the one remembered in the folder, if any.
    pub token: Option<String>,
    /// Whether to keep tokens in the folder, in a file that only its owner may read. An app
    /// that has a key store keeps it there instead.
    pub remember_token: bool,
    /// Where the next token comes from when the server refuses the one at hand; `None` leaves that
    /// to a person.
    pub token_source: Option<TokenSource>,
    /// The model for a store that has none, so that it works before the first sync.
    pub model: Option<Model>,
    /// PEM file of root certificates to trust besides the public ones.
    pub root_certificates: Option<PathBuf>,
    /// How long the network may be silent.
    pub timeouts: Timeouts,
    /// How syncs compare the rows of the device with the server's by themselves: each unit once in
    /// [`CHECK_EVERY`], and repairing what differs, unless the app says otherwise. `None`: never.
    pub check: Option<CheckPolicy>,
    /// Where the store's key comes from; `None` for a store that is not encrypted. A store that
    /// is not encrypted yet is when it is first opened with a key. It needs the feature
    /// `encryption`.
    pub key: Option<KeySource>,
}

impl ClientOptions {
    /// Options for `user`'s store in `folder`, with everything else as remembered.
    pub fn new(folder: impl Into<PathBuf>, user: impl Into<String>) -> Self {
        Self {
            folder: folder.into(),
            user: user.into(),
            server: None,
            token: None,
            remember_token: false,
            token_source: None,
            model: None,
            root_certificates: None,
            timeouts: Timeouts::default(),
            check: Some(CheckPolicy {
                every_ms: i64::try_from(CHECK_EVERY.as_millis()).unwrap_or(i64::MAX),
                repair: true,
            }),
            key: None,
        }
    }

    /// With the server's address.
    #[must_use]
    pub fn server(mut self, address: impl Into<String>) -> Self {
        self.server = Some(address.into());
        self
    }

    /// With a token to sign in.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// With the key of an encrypted store.
    #[must_use]
    pub fn key(mut self, source: KeySource) -> Self {
        self.key = Some(source);
        self
    }
}

/// What to synchronise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncOptions {
    /// The unit; all units in the model's order if `None`.
    pub unit: Option<String>,
    /// Which way.
    pub direction: Direction,
    /// When to give up at the latest; what was done by then is kept. `None` goes on for as long
    /// as bytes arrive.
    pub deadline: Option<Duration>,
}

/// What to verify.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// The unit; all units in the model's order if `None`.
    pub unit: Option<String>,
    /// Whether to repair what differs. What stood in its place stays readable:
    /// [`Store::uncaptured`](crate::Store::uncaptured).
    pub repair: bool,
    /// When to give up at the latest. `None` goes on for as long as bytes arrive.
    pub deadline: Option<Duration>,
}

impl SyncOptions {
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            unit: self.unit.clone(),
            purpose: Purpose::Sync(self.direction),
            deadline_ms: self.deadline.map(in_ms),
        }
    }
}

impl VerifyOptions {
    pub(super) fn wanted(&self) -> Wanted {
        let repair = self.repair;
        Wanted {
            unit: self.unit.clone(),
            purpose: Purpose::Verify { repair },
            deadline_ms: self.deadline.map(in_ms),
        }
    }
}

fn in_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

//! Tokens that run out: whether another one is needed, and where it comes from.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::retry::{Ending, FailureClass};

/// Gives the next token; see [`TokenSource::callback`].
type Callback = dyn Fn(Option<&str>) -> Result<Option<String>, Error> + Send + Sync;

/// Where tokens come from when the server refuses the one at hand.
#[derive(Clone)]
pub struct TokenSource(Arc<Callback>);

impl TokenSource {
    /// Asks the app. It gets the token that was refused, if there was one, and gives another one,
    /// or `None` if a person must sign in. It is called on the thread that runs the syncs, holds
    /// nothing up but them, and may ask the network.
    ///
    /// It is asked once each time that a token runs out: if the server refuses what it gave as
    /// well, or if it gives none, it is not asked again until somebody gives a token
    /// ([`Client::set_token`](super::Client::set_token)) or the server has taken one.
    ///
    /// An error that may pass (`unreachable`) fails the sync like the network would, which is tried
    /// again then.
    pub fn callback(
        next: impl Fn(Option<&str>) -> Result<Option<String>, Error> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(next))
    }

    pub(super) fn token(&self, refused: Option<&str>) -> Result<Option<String>, Error> {
        (self.0)(refused)
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource(callback)")
    }
}

/// What is known of the token at hand.
#[derive(Debug, Default)]
pub(super) struct SignIn {
    is_needed: bool,
    /// Whether the callback was asked since the server last took a token.
    has_asked: bool,
}

impl SignIn {
    /// A sync is over.
    pub(super) fn ended(&mut self, ending: Ending) {
        match ending {
            Ending::Done => *self = Self::default(),
            Ending::Failed {
                class: FailureClass::SignIn,
                ..
            } => self.is_needed = true,
            // Who does not get so far learns nothing of the token.
            Ending::Failed { .. } | Ending::Cancelled => {}
        }
    }

    /// Somebody gave a token.
    pub(super) fn signed_in(&mut self) {
        *self = Self::default();
    }

    /// Whether a person must sign in before anything is sent or received.
    pub(super) fn is_needed(&self) -> bool {
        self.is_needed
    }

    /// Whether the callback may be asked.
    pub(super) fn may_ask(&self) -> bool {
        !self.has_asked
    }

    /// The callback has answered.
    pub(super) fn asked(&mut self) {
        self.has_asked = true;
    }
}

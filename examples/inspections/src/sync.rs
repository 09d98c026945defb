//! Synchronising: the library does it by itself; this begins it, and passes on what it tells.

use std::sync::Arc;
use std::time::Duration;

use afield::Error;
use afield::event::SyncEvent;
use afield::native::{Client, EventStream, SyncOptions};

/// What the library tells, until the program ends. A sync that is cut off continues with the next.
pub(crate) struct Syncer {
    client: Arc<Client>,
    events: EventStream,
}

impl Syncer {
    /// From now on the device synchronises as the model says: after a write, when the server has
    /// news, when the network is back, and what failed again. The first sync begins at once.
    pub(crate) fn start(client: Arc<Client>) -> Result<Self, Error> {
        let events = client.events();
        client.start()?;
        let syncer = Self { client, events };
        syncer.sync_now()?;
        Ok(syncer)
    }

    /// What was told since.
    pub(crate) fn news(&mut self) -> Vec<SyncEvent> {
        let events = std::iter::from_fn(|| self.events.next_within(Duration::ZERO));
        events.map(|numbered| numbered.event).collect()
    }

    /// The next news.
    #[cfg(test)]
    pub(crate) fn wait(&mut self) -> SyncEvent {
        let patience = Duration::from_secs(30);
        self.events
            .next_within(patience)
            .expect("something happens")
            .event
    }

    pub(crate) fn sync_now(&self) -> Result<(), Error> {
        self.client
            .trigger(&SyncOptions::default(), false)
            .map(drop)
    }
}

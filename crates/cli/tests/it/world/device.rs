//! A device in this process, through the real driver.

use std::path::{Path, PathBuf};

use afield::engine::Report;
use afield::native::{Client, ClientOptions, SyncOptions};
use afield::protocol::{Model, Value};
use afield::{ChangeInfo, ChangeState, Params};
use rusqlite::Connection;

use super::{PATIENCE, reader};

/// A device in this process.
pub(crate) struct Device {
    /// The store and what synchronises it.
    pub(crate) client: Client,
}

impl Device {
    /// Opens a store.
    pub(crate) fn open(options: ClientOptions) -> Self {
        Self {
            client: Client::open(options).unwrap(),
        }
    }

    /// Opens the store of `user` in a folder that knows its server and token.
    pub(crate) fn reopen(folder: &Path, user: &str) -> Self {
        Self::open(ClientOptions::new(folder, user))
    }

    /// Synchronises everything.
    pub(crate) fn sync(&self) -> Report {
        let options = SyncOptions {
            deadline: Some(PATIENCE),
            ..SyncOptions::default()
        };
        self.client.sync_with(&options, &mut |_| {}).unwrap()
    }

    /// Runs statements as one transaction, thus one group.
    pub(crate) fn write(&self, sql: &str) {
        let mut store = self.client.store();
        store
            .transaction(|tx| tx.execute(sql, &Params::none()))
            .unwrap();
    }

    /// Makes a visit; gives its identifier.
    pub(crate) fn create_visit(&self, place: &str, note: &str) -> String {
        let row = [("place", place), ("note", note)];
        let row = row.map(|(name, value)| (name.to_owned(), Value::from(value)));
        let key = self.client.store().create("visit", &row.into()).unwrap();
        key[0].to_string()
    }

    /// The first cell that a query finds, as text; none if there is no row or it is NULL.
    pub(crate) fn read(&self, sql: &str) -> Option<String> {
        let rows = self.client.store().query(sql, &Params::none()).unwrap();
        let cell = rows.rows.first()?.first()?;
        (!cell.is_null()).then(|| cell.to_string())
    }

    /// Every change that the store keeps.
    pub(crate) fn changes(&self) -> Vec<ChangeInfo> {
        self.client.store().changes().unwrap()
    }

    /// How many changes are in this state.
    pub(crate) fn count(&self, state: ChangeState) -> usize {
        let changes = self.changes();
        changes
            .iter()
            .filter(|change| change.state == state)
            .count()
    }

    /// The states of the changes that set `attribute` to `value`.
    pub(crate) fn states(&self, attribute: &str, value: &str) -> Vec<ChangeState> {
        let changes = self.changes();
        let sets = |change: &&ChangeInfo| change.set.get(attribute) == Some(&Value::from(value));
        changes
            .iter()
            .filter(sets)
            .map(|change| change.state)
            .collect()
    }

    /// The model of the store.
    pub(crate) fn model(&self) -> Model {
        self.client.store().model().unwrap()
    }

    /// The database file.
    pub(crate) fn file(&self) -> PathBuf {
        self.client.folder().database(self.client.user()).unwrap()
    }

    /// A connection of somebody else to the store, who only reads.
    pub(crate) fn raw(&self) -> Connection {
        reader(&self.file())
    }
}

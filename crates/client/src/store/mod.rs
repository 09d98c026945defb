//! The local store: the only place that names SQLite.
//!
//! Order for a first reading: [`tables`] (what is in the file), [`seal`] (how a write becomes a
//! change), [`overlay`] (what the user sees), [`outbox`] (what is sent), [`outcome`] and [`page`]
//! (what comes back), [`conflict`] and [`decide`] (what is not applied).

mod actions;
mod again;
mod changed;
mod checked;
mod checkpoint;
mod checks;
mod chosen;
mod cipher;
mod conflict;
mod course;
mod db;
mod decide;
mod doubt;
#[cfg(test)]
mod edit_cost;
mod erase;
mod export;
#[cfg(test)]
mod full;
mod held;
mod history;
mod ids;
mod import;
mod inbox;
mod install;
mod left;
mod log;
mod lookups;
mod lost;
mod network;
mod new_file;
mod outbox;
mod outcome;
mod overlaid;
mod overlay;
mod page;
mod query;
mod rebase;
#[cfg(feature = "encryption")]
mod rewrite;
mod rules;
mod scope;
mod seal;
mod session;
mod sql;
mod stage;
mod statements;
mod states;
mod status;
mod sync_store;
mod tables;
mod target;
mod triggers;
mod uncaptured;
mod undo;
mod unit;
mod upgrade;
mod upgrade_failed;
mod vacuum;
mod verify;
mod waits;
mod watch;
mod window;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use afield_protocol::{Attributes, Entity, Model, Value, zoo};
use rusqlite::config::DbConfig;

pub use changed::{CHANGED_MAX, Changed};
pub use checked::{Checked, VerifyStatus};
pub use chosen::ChosenValue;
pub use conflict::{ConflictInfo, Resolution};
pub use course::Begun;
pub use export::{ExportOptions, Exported, FileChanges};
pub use import::Imported;
pub use inbox::{DecidedInfo, DecidedWhat};
pub use log::{LOG_KEPT, LOG_KEPT_BYTES};
pub use lost::Offer;
#[cfg(feature = "native")]
pub(crate) use new_file::private as private_file;
pub(crate) use outbox::GROUP_PAUSE_MAX_MS;
pub use outbox::{FrozenGroup, Outgoing, RequestCaps};
pub use page::PageApplied;
pub use query::{Executed, Origin, Params, Rows};
pub use session::Unsent;
pub use status::{ChangeInfo, ChangeState, OutcomeInfo, RowState, Status};
pub use sync_store::{SyncEnd, SyncStore};
pub use uncaptured::{Repaired, UncapturedRow};
pub use unit::UnitStatus;
pub use upgrade_failed::UpgradeFailed;
pub use verify::{Difference, DifferentRow, Found, FoundWhat};
pub use watch::{Watch, Watches};

pub(crate) use sql::quoted;

use self::db::{Db, Loaded};
use self::seal::Mention;
use crate::environment::Environment;
use crate::error::Error;
use crate::key::Key;

/// The app's side of a local store.
///
/// Its connection writes durably (`synchronous=FULL`): once a call returned, what it wrote
/// survives a crash and a power cut.
pub struct Store {
    db: Db,
}

/// A write transaction: all of it becomes one change group, or nothing happened.
pub struct Transaction<'a> {
    db: &'a mut Db,
    loaded: Option<Arc<Loaded>>,
    mentions: HashSet<Mention>,
}

impl Store {
    /// Opens or makes the store at `path` for `user`.
    ///
    /// # Errors
    /// The file cannot be read, or belongs to another user.
    pub fn open(path: &Path, user: &str, env: Box<dyn Environment>) -> Result<Self, Error> {
        Self::open_with(path, user, None, env)
    }

    /// Opens or makes the store at `path` for `user`, encrypted under `key` if there is one. A
    /// store that is not encrypted yet is encrypted before anything else happens, with all it
    /// has; it takes the space of the store once more for that time. `None` is [`Store::open`].
    ///
    /// # Errors
    /// The file cannot be read, or belongs to another user; `key-wrong`, or `key-missing` if the
    /// store is encrypted and there is no key, and then no byte of it was changed; `store-locked`
    /// if it would have to be encrypted while somebody else uses it; `no-encryption` if this
    /// build is without the feature `encryption`.
    pub fn open_with(
        path: &Path,
        user: &str,
        key: Option<&Key>,
        env: Box<dyn Environment>,
    ) -> Result<Self, Error> {
        Ok(Self {
            db: Db::open(path, user, key, env)?,
        })
    }

    /// Gives the encrypted store at `path` the key `new` in place of `old`. Whenever the process
    /// dies, one of both opens it, and everything is in it. Nobody may have the store open, this
    /// process included; it takes the space of the store once more for that time. To do it again
    /// does no harm.
    ///
    /// # Errors
    /// Those of [`Store::open_with`], or `store-locked` if somebody has the store open; `old` is
    /// its key then.
    pub fn rekey(
        path: &Path,
        user: &str,
        old: &Key,
        new: &Key,
        env: Box<dyn Environment>,
    ) -> Result<(), Error> {
        cipher::rekey(path, old, new, |key| {
            Db::open(path, user, Some(key), env).map(drop)
        })
    }

    /// Gives a new store its model without asking a server; a store that has one keeps it.
    ///
    /// # Errors
    /// The model is unusable, or the store cannot be written.
    pub fn install_first(&mut self, model: &Model) -> Result<(), Error> {
        self.db.write("install", |db| {
            if db.has_model() {
                Ok(())
            } else {
                install::install(db, model)
            }
        })
    }

    /// The model that the tables were made from.
    ///
    /// # Errors
    /// There is none yet.
    pub fn model(&mut self) -> Result<Model, Error> {
        self.db.reload()?;
        Ok(self.db.loaded()?.model.clone())
    }

    /// The entity of this name.
    ///
    /// # Errors
    /// There is none; the message names those there are.
    pub fn entity(&mut self, name: &str) -> Result<Entity, Error> {
        self.db.reload()?;
        Ok(self.db.loaded()?.table(name)?.entity.clone())
    }

    /// Runs `step` as one transaction. If it fails, nothing happened.
    ///
    /// # Errors
    /// Those of `step`, or the store cannot be written.
    pub fn transaction<T>(
        &mut self,
        step: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.db.write("user-write", |db| {
            let loaded = if db.has_model() {
                Some(db.loaded()?)
            } else {
                None
            };
            let (result, mentions) = db.guarded(|db| {
                let mut transaction = Transaction {
                    db,
                    loaded,
                    mentions: HashSet::new(),
                };
                transaction.db.app_begins();
                let result = step(&mut transaction)?;
                transaction.db.app_ended();
                Ok((result, transaction.mentions))
            })?;
            if !zoo::planted("seal-later") {
                seal::seal(db, Some(&mentions))?;
            }
            Ok(result)
        })
    }

    /// Where the device's changes stand.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn status(&mut self) -> Result<Status, Error> {
        self.db.write("status", status::status)
    }

    /// Logs the user out: from now on the store is opened for who signs in alone. Gives how many
    /// changes are not settled; see [`Unsent`] for what becomes of them. Local-only rows stay.
    ///
    /// # Errors
    /// `unsent-work`, with their number, if there are such changes and nothing is said about them;
    /// or the store cannot be written. Nobody is logged out then.
    pub fn log_out(&mut self, unsent: Unsent) -> Result<u64, Error> {
        self.db.write("log-out", |db| session::log_out(db, unsent))
    }

    /// Whether the user has logged out.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_signed_out(&self) -> Result<bool, Error> {
        session::is_signed_out(&self.db)
    }

    /// The user has signed in.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn sign_in(&mut self) -> Result<(), Error> {
        session::sign_in(&self.db)
    }

    /// Where each sync unit stands, in the model's order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn units(&mut self) -> Result<Vec<UnitStatus>, Error> {
        self.db.write("units", unit::status)
    }

    /// A change by its name; or, where it was folded into a later edit of its row, that one.
    ///
    /// # Errors
    /// There is none, or no more: `unknown-change`. The store cannot be read.
    pub fn change(&mut self, name: &str) -> Result<ChangeInfo, Error> {
        self.db.write("change", |db| status::named(db, name))
    }

    /// Every change that is kept, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn changes(&mut self) -> Result<Vec<ChangeInfo>, Error> {
        self.db.write("changes", |db| {
            if db.has_model() {
                status::changes(db)
            } else {
                Ok(Vec::new())
            }
        })
    }

    /// Every outcome after number `since`; 0 gives all.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn outcomes(&self, since: i64) -> Result<Vec<OutcomeInfo>, Error> {
        status::outcomes(&self.db, since)
    }

    /// Every open conflict, oldest first, with the server's newest row of each. A decision is
    /// about the row that was shown here last.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn conflicts(&mut self) -> Result<Vec<ConflictInfo>, Error> {
        self.db.write("conflicts", |db| match db.has_model() {
            true => conflict::conflicts(db),
            false => Ok(Vec::new()),
        })
    }

    /// Settles a conflict: the user's version, the server's, or values put together from both.
    /// Unless it is the server's, the change goes with the next sync as if it had been made on
    /// the row that [`Store::conflicts`] showed; the new name of the change is given back. It is
    /// the old one while other conflicts of its transaction are open: the change goes when the last
    /// of them is decided. What was decided about stays among the changes, as dropped.
    ///
    /// # Errors
    /// `unknown-change`, or `not-parked` if there is no conflict to decide; a merged value has
    /// another type or may not be written. Nothing is changed then.
    pub fn resolve(
        &mut self,
        conflict: &str,
        resolution: &Resolution,
    ) -> Result<Option<String>, Error> {
        let own = Uncaptured::new(&mut self.db)?;
        own.db
            .write("resolve", |db| decide::resolve(db, conflict, resolution))
    }

    /// Sends a refused change again with its transaction, with `set` in place of the values it
    /// names. Gives the change's new name.
    ///
    /// # Errors
    /// `unknown-change`, `not-parked`, or `conflict-open` if it waits for [`Store::resolve`].
    pub fn retry(&mut self, change: &str, set: Option<&Attributes>) -> Result<String, Error> {
        let own = Uncaptured::new(&mut self.db)?;
        own.db.write("retry", |db| decide::retry(db, change, set))
    }

    /// Gives a refused change up, or takes the server's version of a conflict. The row is as it
    /// was without it, the rest of its transaction goes again, and what depends on a row that was
    /// never made goes with it. All of it stays among the changes, as dropped.
    ///
    /// # Errors
    /// `unknown-change`, `not-parked`, or `waits-for` while a change that depends on it is on
    /// its way.
    pub fn drop_change(&mut self, change: &str) -> Result<(), Error> {
        let own = Uncaptured::new(&mut self.db)?;
        own.db.write("drop", |db| decide::drop_change(db, change))
    }

    /// Takes back a change that was not sent, with its transaction: the rows are as they would be
    /// without it, edits of the same rows in later transactions stay, and so does what it changed
    /// in local-only entities. Gives the names of the changes; they stay among the changes, as
    /// dropped. The newest edits of a row may be one change: all of them are taken back.
    ///
    /// ```no_run
    /// # fn undo(store: &mut afield::Store, change: &str) -> Result<(), afield::Error> {
    /// match store.undo(change) {
    ///     Err(error) if error.code().as_str() == "already-sent" => println!("{error}"),
    ///     taken_back => println!("{} changes", taken_back?.len()),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `unknown-change`; `already-sent` if it was sent, whatever became of it: what was refused is
    /// given up with [`Store::drop_change`]; `already-decided` if it was given up before;
    /// `waits-for` if a change of another transaction needs a row that this one makes. Nothing is
    /// changed then.
    pub fn undo(&mut self, change: &str) -> Result<Vec<String>, Error> {
        let own = Uncaptured::new(&mut self.db)?;
        // What others wrote becomes a change whatever is said of this one, which may name it.
        own.db.write("seal", |_| Ok(()))?;
        own.db.write("undo", |db| undo::undo(db, change))
    }

    /// Notes that there is no network: entities with `edit = "online"` are read-only until the
    /// server has answered again.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn network_lost(&mut self) -> Result<(), Error> {
        network::note(&mut self.db, false)
    }

    /// How a row stands to the server.
    ///
    /// # Errors
    /// There is no such entity, or the identifier has another shape.
    pub fn row_state(&mut self, entity: &str, key: &[Value]) -> Result<RowState, Error> {
        self.db
            .write("row-state", |db| status::row_state(db, entity, key))
    }
}

/// The app's connection with its triggers off, and with no say of the app's own references: what
/// a decision does to rows is no new change, and must not fail on data.
struct Uncaptured<'a> {
    db: &'a mut Db,
    foreign_keys: bool,
}

impl<'a> Uncaptured<'a> {
    fn new(db: &'a mut Db) -> Result<Self, Error> {
        let conn = &db.conn;
        let foreign_keys = conn.pragma_query_value(None, "foreign_keys", |row| row.get(0))?;
        conn.pragma_update(None, "foreign_keys", false)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        Ok(Self { db, foreign_keys })
    }
}

impl Drop for Uncaptured<'_> {
    fn drop(&mut self) {
        // Both are switches in memory, which cannot fail on an open connection.
        let conn = &self.db.conn;
        let on = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true);
        let _ = conn.pragma_update(None, "foreign_keys", self.foreign_keys);
        debug_assert!(on.is_ok(), "{on:?}");
    }
}

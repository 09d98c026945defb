//! Watching: to be told when what a query reads has changed.
//!
//! ```text
//! commit of ours ────► which entities and tables? ──► watches that read them
//!                                   ▲
//! commit of another process ──► look (a driver calls it now and then)
//! ```
//!
//! What changed of an entity is told by its counter `afield_entity.touched`, which every
//! transaction that writes the entity raises, in whatever process; so rolled-back work never
//! shows. Of other tables, our own writes are seen by SQLite's update hook, and what that does
//! not see is taken to concern every watch of such tables. A connection of its
//! own, the *observer*, tells by `data_version` whether anybody else committed: it looks right
//! before and right after each commit of ours, while the write lock keeps others out, so that a
//! commit is told exactly once and none between is missed.

mod observer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use afield_protocol::Code;
use rusqlite::hooks::Action;

pub(super) use self::observer::data_version;
use self::observer::{Observer, touched};
use super::Store;
use super::db::Db;
use super::waits;
use crate::error::Error;
use crate::key::Key;

/// A query that is watched. Dropping it ends that.
#[derive(Debug)]
pub struct Watch {
    watched: Arc<Watched>,
}

impl Watch {
    /// Waits until a transaction that touched what the query reads was committed, and says how
    /// many were since the last call: 0 if none came in time.
    pub fn wait(&self, timeout: Duration) -> u64 {
        let count = held(&self.watched.count);
        let waited = self
            .watched
            .more
            .wait_timeout_while(count, timeout, |count| *count == 0);
        let mut count = match waited {
            Ok((count, _)) => count,
            Err(poisoned) => poisoned.into_inner().0,
        };
        std::mem::take(&mut *count)
    }

    /// Says how many such transactions were committed since the last call, without waiting.
    pub fn take(&self) -> u64 {
        std::mem::take(&mut *held(&self.watched.count))
    }
}

/// The watches of one store file in this process, shared by its connections and its driver.
#[derive(Clone, Debug, Default)]
pub struct Watches(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    watching: Vec<Weak<Watched>>,
    observer: Option<Observer>,
    foreign: Option<Foreign>,
    /// The counters as the watches were told of them.
    told: BTreeMap<String, i64>,
}

/// Who is told that others commit.
struct Foreign(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Foreign")
    }
}

/// One watched query.
#[derive(Debug)]
struct Watched {
    sql: String,
    reads: Mutex<Reads>,
    count: Mutex<u64>,
    more: Condvar,
}

/// What a query reads, views resolved; names in lower case.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reads {
    entities: BTreeSet<String>,
    tables: BTreeSet<String>,
}

impl Reads {
    fn is_empty(&self) -> bool {
        self.entities.is_empty() && self.tables.is_empty()
    }
}

/// What a connection's current transaction wrote, as far as its hook sees it.
#[derive(Debug, Default)]
pub(super) struct Written {
    seen: Arc<Mutex<Seen>>,
    hooked: bool,
    /// Rows changed, and rows seen, when the app's own statements began.
    before: (u64, u64),
    /// Whether the app's statements changed rows that the hook did not see.
    unseen: bool,
}

#[derive(Debug, Default)]
struct Seen {
    /// Whether the hook is there.
    hooked: bool,
    /// Whether a watch asks for tables and rows.
    watched: bool,
    tables: BTreeSet<String>,
    rows: u64,
    outbox: waits::Written,
}

impl Seen {
    fn note(&mut self, action: Action, table: &str, n: i64) {
        self.outbox.note(action, table, n);
        if self.watched {
            self.rows += 1;
            if !self.tables.contains(table) {
                self.tables.insert(table.to_owned());
            }
        }
    }
}

impl Store {
    /// Watches what `sql` reads, through views and joins. The watch counts each committed
    /// transaction of this store that touched it: one of the app's, a page or outcomes that a
    /// sync stored; and what another process commits, once a driver has looked for it.
    ///
    /// # Errors
    /// The query is wrong, writes, or reads no table of the store's file.
    pub fn watch(&mut self, sql: &str) -> Result<Watch, Error> {
        let path = self.db.conn.path().unwrap_or_default().to_owned();
        let key = self.db.key.as_ref();
        self.db.watches.add(Path::new(&path), key, sql)
    }

    /// The watches of this store, to share them with the engine's side and a driver.
    pub fn watches(&self) -> Watches {
        self.db.watches.clone()
    }
}

impl Store {
    /// Has `told` be told whenever somebody may have written: at once of this side's commits, and
    /// of other processes' once a driver has looked for them ([`Watches::look`]). It must not wait
    /// for anything; the last one who asked is told.
    ///
    /// # Errors
    /// The file cannot be opened once more, to look.
    pub fn on_writes(&mut self, told: Arc<dyn Fn() + Send + Sync>) -> Result<(), Error> {
        let path = self.db.conn.path().unwrap_or_default().to_owned();
        let place = (Path::new(&path), self.db.key.as_ref());
        self.db.watches.on_foreign(place, Arc::clone(&told))?;
        self.db.on_commit = Some(told);
        Ok(())
    }
}

impl super::SyncStore {
    /// Tells `store`'s watches what this side commits.
    pub fn share_watches(&mut self, store: &Store) {
        self.db.watches = store.watches();
    }
}

impl Watches {
    /// Looks for commits of other processes and tells the watches. Cheap when there was none.
    pub fn look(&self) {
        if self.is_any() {
            let mut state = self.state();
            if state.somebody_committed() {
                state.tell_others();
            }
        }
    }

    /// Has `told` be told whenever somebody else has committed, once a driver has looked for it.
    pub(super) fn on_foreign(
        &self,
        (path, key): (&Path, Option<&Key>),
        told: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<(), Error> {
        let mut state = self.state();
        if state.observer.is_none() {
            state.observer = Some(Observer::open(path, key)?);
        }
        state.foreign = Some(Foreign(told));
        self.0.any.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn is_any(&self) -> bool {
        self.0.any.load(Ordering::SeqCst)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        held(&self.0.state)
    }

    fn add(&self, path: &Path, key: Option<&Key>, sql: &str) -> Result<Watch, Error> {
        let mut state = self.state();
        state.watching.retain(|watched| watched.strong_count() > 0);
        if state.observer.is_none() {
            state.observer = Some(Observer::open(path, key)?);
        }
        // Commits up to here are not for the new watch.
        if state.somebody_committed() {
            state.tell_others();
        }
        let reads = match &mut state.observer {
            Some(observer) => observer.reads(sql)?,
            None => Reads::default(),
        };
        if reads.is_empty() {
            let message = "the query reads no table, so there is nothing to watch";
            return Err(Error::new(Code::SQL, message));
        }
        let watched = Arc::new(Watched {
            sql: sql.to_owned(),
            reads: Mutex::new(reads),
            count: Mutex::new(0),
            more: Condvar::new(),
        });
        state.watching.push(Arc::downgrade(&watched));
        self.0.any.store(true, Ordering::SeqCst);
        Ok(Watch { watched })
    }

    /// Commits the transaction of `db` and tells the watches of it.
    pub(super) fn commit(&self, db: &Db) -> Result<(), Error> {
        if !self.is_any() {
            db.run("COMMIT")?;
            return Ok(());
        }
        let mut state = self.state();
        state.watching.retain(|watched| watched.strong_count() > 0);
        if state.watching.is_empty() && state.foreign.is_none() {
            self.0.any.store(false, Ordering::SeqCst);
        }
        if state.somebody_committed() {
            state.tell_others();
        }
        let touched = touched(&db.conn)?;
        let version = data_version(&db.conn)?;
        db.run("COMMIT")?;
        let own = || data_version(&db.conn).ok();
        let looks = || {
            state.somebody_committed();
        };
        if slipped_in(version, own, looks) {
            state.tell_others();
        }
        let seen = held(&db.written.seen);
        let tables = seen.tables.iter().map(|name| name.to_ascii_lowercase());
        state.tell_own(touched, &tables.collect(), db.written.unseen);
        Ok(())
    }
}

/// How often it is asked whether another commit came in between two questions.
const ASKED_MAX: usize = 20;

/// Lets the observer look behind a commit of ours, and says whether somebody else's slipped in that
/// it will not tell of any more. Before ours the connection's number was `version`, and only the
/// commits of others change it.
///
/// A commit between the two questions is told of here, and the observer looks once more: else it
/// would tell of it too.
fn slipped_in(
    version: i64,
    mut own: impl FnMut() -> Option<i64>,
    mut observer_looks: impl FnMut(),
) -> bool {
    let mut any = false;
    for _ in 0..ASKED_MAX {
        let before = own();
        observer_looks();
        let after = own();
        any |= before != Some(version) || after != Some(version);
        if before == after {
            break;
        }
    }
    any
}

impl State {
    /// Whether anybody committed since the last question. An observer that cannot tell is taken
    /// to say yes: a watch that fires for nothing costs a query, one that does not fire a screen
    /// that lies.
    fn somebody_committed(&mut self) -> bool {
        self.observer
            .as_mut()
            .is_none_or(Observer::somebody_committed)
    }

    /// Tells of a commit that was not ours: of entities what changed, of other tables that
    /// something did.
    fn tell_others(&mut self) {
        if let Some(Foreign(told)) = &self.foreign {
            told();
        }
        self.resolve_again();
        let Some(observer) = &self.observer else {
            return;
        };
        let touched = touched(&observer.conn).unwrap_or_default();
        let changed = self.changed(touched);
        self.tell(|reads| !reads.tables.is_empty() || !reads.entities.is_disjoint(&changed));
    }

    fn tell_own(
        &mut self,
        touched: BTreeMap<String, i64>,
        tables: &BTreeSet<String>,
        unseen: bool,
    ) {
        self.resolve_again();
        let changed = self.changed(touched);
        self.tell(|reads| {
            !reads.entities.is_disjoint(&changed)
                || !reads.tables.is_disjoint(tables)
                || unseen && !reads.tables.is_empty()
        });
    }

    /// The entities whose counters are not what the watches were told; they are told now.
    fn changed(&mut self, touched: BTreeMap<String, i64>) -> BTreeSet<String> {
        let is_new = |(name, count): &(&String, &i64)| self.told.get(*name) != Some(*count);
        let mut changed: BTreeSet<_> = (touched.iter().filter(is_new))
            .map(|(name, _)| name.clone())
            .collect();
        let gone = self.told.keys().filter(|name| !touched.contains_key(*name));
        changed.extend(gone.cloned());
        self.told = touched;
        changed
    }

    /// Resolves the queries anew if the schema changed: a view may read other tables now.
    fn resolve_again(&mut self) {
        let Some(observer) = &mut self.observer else {
            return;
        };
        if !observer.schema_changed() {
            return;
        }
        for watched in self.watching.iter().filter_map(Weak::upgrade) {
            // A query that fails now keeps what it read, so that its reader hears of it.
            if let Ok(reads) = observer.reads(&watched.sql) {
                *held(&watched.reads) = reads;
            }
        }
    }

    fn tell(&self, concerns: impl Fn(&Reads) -> bool) {
        for watched in self.watching.iter().filter_map(Weak::upgrade) {
            if concerns(&held(&watched.reads)) {
                *held(&watched.count) += 1;
                watched.more.notify_all();
            }
        }
    }
}

impl Db {
    /// Sees to it, before a transaction, that the hook of this connection notes what the watches
    /// need, and what is written of the outbox.
    pub(super) fn hook_writes(&mut self) -> Result<(), Error> {
        let hooked = self.watches.is_any();
        let mut seen = held(&self.written.seen);
        let is_new = !seen.hooked;
        *seen = Seen {
            hooked: true,
            watched: hooked,
            ..Seen::default()
        };
        drop(seen);
        self.written.unseen = false;
        self.written.hooked = hooked;
        if is_new {
            let seen = self.written.seen.clone();
            let note = move |action: Action, _: &str, table: &str, n| {
                held(&seen).note(action, table, n);
            };
            self.conn.update_hook(Some(note))?;
        }
        Ok(())
    }

    /// What this transaction wrote of the outbox.
    pub(super) fn outbox_written(&self) -> waits::Written {
        held(&self.written.seen).outbox
    }

    /// Takes the whole outbox for written.
    pub(super) fn outbox_changed(&self) {
        held(&self.written.seen).outbox.note_all();
    }
}

impl Db {
    /// The app's statements begin here.
    pub(super) fn app_begins(&mut self) {
        self.written.before = (self.conn.total_changes(), held(&self.written.seen).rows);
    }

    /// They end here. SQLite counts every row they changed; where the hook saw another number,
    /// it was kept out: by a table without rowids, or a whole table deleted at once.
    pub(super) fn app_ended(&mut self) {
        let (changes, rows) = self.written.before;
        let changed = self.conn.total_changes() - changes;
        let seen = held(&self.written.seen).rows - rows;
        self.written.unseen = self.written.hooked && changed != seen;
    }
}

/// What a mutex guards; a panic elsewhere cannot leave these half written.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Whenever somebody commits while ours is told, it is told once.
    #[test]
    fn a_commit_behind_ours_is_told_exactly_once() {
        for at in 0..8 {
            let (questions, committed) = (Cell::new(0), Cell::new(0));
            let goes_on = || {
                if questions.replace(questions.get() + 1) == at {
                    committed.set(committed.get() + 1);
                }
            };
            let seen = Cell::new(0);
            let own = || {
                goes_on();
                Some(committed.get())
            };
            let looks = || {
                goes_on();
                seen.set(committed.get());
            };
            let told = u32::from(slipped_in(0, own, looks));
            while questions.get() <= at {
                goes_on();
            }
            // The observer's next look.
            let told = told + u32::from(seen.get() != committed.get());
            assert_eq!(told, 1, "before question {at}");
        }
    }
}

//! Import: the groups of a file come into this outbox, behind what is there.
//!
//! ```text
//!   ready ───► sent      the same id, the same bytes: whoever sends them, they take effect once
//!   held ────► pending   a new id that absorbs the one in the file: it is rebased here, as there
//!   parked ──► parked    with what the server said; its user decides, here or there
//! ```
//!
//! The file is read twice: before anything is written it is known to be whole. Then all of it is
//! one write transaction.

mod decided;
mod numbers;
mod rows;
mod typed;

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;

use afield_protocol::codec::cbor::write_key;
use afield_protocol::outbox_file::{
    FileGroup, FileHead, FileItem, FileProblem, FileReader, FileState,
};
use afield_protocol::{Code, Group, GroupId, GroupOutcome};
use rusqlite::params;

use self::numbers::Numbers;
use super::db::{Db, Loaded};
use super::export::FileChanges;
use super::left::Way;
use super::new_file::unusable;
use super::seal::insert_values;
use super::{Store, Uncaptured, left, outbox, outcome};
use crate::error::Error;

pub(super) use self::rows::lay_arrived;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// Checkpoints that a request may tell.
const TOLD_MAX: i64 = 64;

/// What was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The device that made the file, as it calls itself.
    pub device: String,
    /// When, by its clock, in milliseconds since 1970.
    pub made_at_ms: i64,
    /// Groups that came.
    pub groups: u64,
    /// Their changes.
    pub changes: FileChanges,
    /// Changes of groups that were here before: nothing became of them now.
    pub known: u64,
    /// Changes among those that came that name what the model here does not know. They are sent as
    /// they are, and the server says what becomes of them.
    pub unknown: u64,
    /// Whether the file was made under another model than the one here.
    pub is_other_model: bool,
}

impl Store {
    /// Takes the groups of a file that [`Store::export`] made into this outbox, behind what is
    /// there: the next sync sends them, and their outcomes come here as for changes made here.
    /// What is here already is passed over, so that a file may be imported again.
    ///
    /// ```no_run
    /// # fn take(store: &mut afield::Store) -> Result<(), afield::Error> {
    /// let imported = store.import(std::path::Path::new("/media/stick/ann.outbox"))?;
    /// println!("{} changes came, {} were here", imported.changes.all(), imported.known);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `file-damaged`, `file-version` or `file-unusable`; `other-user`; `model-changed` if the
    /// store has no model yet, or one in which rows are identified otherwise; `temporary-taken` if
    /// both devices called different rows the same. Nothing of the file is here then.
    pub fn import(&mut self, path: &Path) -> Result<Imported, Error> {
        let mut file = File::open(path).map_err(|error| unusable(path, &error))?;
        let mut head = None;
        each(path, &mut file, |item| {
            if let FileItem::Head(found) = item {
                head = Some(found);
            }
            Ok(())
        })?;
        let head = head.ok_or_else(|| Error::new(Code::FILE_DAMAGED, "the file has no head"))?;
        let rewound = file.rewind();
        rewound.map_err(|error| unusable(path, &error))?;
        let own = Uncaptured::new(&mut self.db)?;
        own.db.write("import", |db| {
            check_user(db, &head)?;
            let mut import = Import::begin(db, &head)?;
            each(path, &mut file, |item| match item {
                FileItem::Group(group) => import.group(db, *group),
                FileItem::Head(again) if again != head => Err(is_other(path)),
                FileItem::Head(_) | FileItem::End(_) => Ok(()),
            })?;
            import.end(db, &head)
        })
    }
}

/// Gives the pieces of a file in order.
fn each(
    path: &Path,
    file: &mut File,
    mut take: impl FnMut(FileItem) -> Result<(), Error>,
) -> Result<(), Error> {
    let located =
        |problem: FileProblem| Error::new(problem.code(), format!("{}: {problem}", path.display()));
    let mut reader = FileReader::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer);
        let read = read.map_err(|error| unusable(path, &error))?;
        if read == 0 {
            return reader.finish().map_err(located);
        }
        reader.push(buffer.get(..read).unwrap_or(&[]));
        while let Some(item) = reader.next_item().map_err(located)? {
            take(item)?;
        }
    }
}

/// Somebody wrote another file over it while it was read.
fn is_other(path: &Path) -> Error {
    let message = format!(
        "{} was written over while it was read: import it again; nothing was imported",
        path.display()
    );
    Error::new(Code::FILE_DAMAGED, message)
}

fn check_user(db: &Db, head: &FileHead) -> Result<(), Error> {
    let sql = "SELECT user FROM afield_meta";
    let user: String = db.conn.query_row(sql, [], |row| row.get(0))?;
    if user == head.user {
        return Ok(());
    }
    let message = format!(
        "the file has changes of `{}`, and this is the store of `{user}`: import it into a store \
         of that user's, or on the server; nothing was imported",
        head.user
    );
    Err(Error::new(Code::OTHER_USER, message))
}

/// An import under way.
struct Import {
    /// Ids of groups that are here or were here, and of those in whose place they stand.
    known: HashSet<[u8; 16]>,
    numbers: Numbers,
    done: Imported,
}

impl Import {
    fn begin(db: &Db, head: &FileHead) -> Result<Self, Error> {
        let loaded = db.loaded()?;
        Ok(Self {
            known: known(db)?,
            numbers: Numbers::default(),
            done: Imported {
                device: head.device.clone(),
                made_at_ms: head.made_at_ms,
                groups: 0,
                changes: FileChanges::default(),
                known: 0,
                unknown: 0,
                is_other_model: head.model != loaded.fingerprint,
            },
        })
    }

    fn group(&mut self, db: &mut Db, file: FileGroup) -> Result<(), Error> {
        let loaded = db.loaded()?;
        let mut now = file.content.now().clone();
        let here: Vec<[u8; 16]> = now.absorbed.iter().map(|id| id.0).collect();
        let is_version = here.iter().any(|id| self.known.contains(id));
        let decided = decided::parked_here(db, &now)?.filter(|_| !self.known.contains(&now.id.0));
        let is_known = self.known.contains(&now.id.0)
            || is_version && decided.is_none() && is_same(db, &loaded, &now)?;
        let is_ours = is_known || is_version;
        self.numbers.add(db, &loaded, &now.changes, is_ours)?;
        left::note(db, now.id.0, Way::Imported)?;
        if is_known {
            self.done.known += now.changes.len() as u64;
            return typed::since(db, &loaded, file);
        }
        for change in &mut now.changes {
            self.done.unknown += u64::from(!rows::fit(db, &loaded, change)?);
        }
        if let Some(parked) = decided {
            decided::make_way(db, &loaded, parked)?;
        }
        let n = insert(db, &file, &now, decided)?;
        if file.state == FileState::Parked {
            let outcome = GroupOutcome {
                group: now.id,
                verdicts: file.verdicts,
            };
            outcome::store(db, 0, &[outcome])?;
        }
        rows::lay(db, &loaded, n)?;
        self.known.insert(now.id.0);
        self.done.groups += 1;
        self.done.changes.add(file.state, now.changes.len());
        db.crash_point("import-group")
    }

    fn end(self, db: &mut Db, head: &FileHead) -> Result<Imported, Error> {
        let loaded = db.loaded()?;
        self.numbers.end(db, &loaded)?;
        if self.done.groups > 0 {
            // If the server was set back since, it must be asked what it still has.
            let sql = "INSERT OR IGNORE INTO afield_told (checkpoint) \
                       SELECT ?1 WHERE (SELECT count(*) FROM afield_told) < ?2";
            for checkpoint in head.checkpoints.iter().filter(|it| !it.is_empty()) {
                let values = params![checkpoint, TOLD_MAX];
                db.conn.prepare_cached(sql)?.execute(values)?;
            }
        }
        db.crash_point("import-end")?;
        Ok(self.done)
    }
}

/// Every id under which a group is here or was here.
fn known(db: &Db) -> Result<HashSet<[u8; 16]>, Error> {
    let sql = "SELECT id FROM afield_group UNION ALL SELECT id FROM afield_left";
    let mut statement = db.conn.prepare_cached(sql)?;
    let ids = statement.query_map([], |row| row.get(0))?;
    let mut known: HashSet<[u8; 16]> = ids.collect::<Result<_, _>>()?;
    let sql = "SELECT absorbed FROM afield_group WHERE length(absorbed) > 0";
    let mut statement = db.conn.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let absorbed: Vec<u8> = row.get(0)?;
        known.extend(absorbed.as_chunks::<16>().0);
    }
    Ok(known)
}

/// Whether a group that stands in the place of one that is here says what that one says here.
fn is_same(db: &Db, loaded: &Loaded, group: &Group) -> Result<bool, Error> {
    let sql = "SELECT n FROM afield_group WHERE state IN ('pending', 'sent', 'parked') \
               AND (id = ?1 OR instr(absorbed, ?1) > 0)";
    let mut statement = db.conn.prepare_cached(sql)?;
    for id in &group.absorbed {
        let here = statement.query_map([id.0], |row| row.get(0))?;
        for n in here.collect::<Result<Vec<i64>, _>>()? {
            let waiting = outbox::waiting(db, n)?;
            let here = waiting.map(|it| it.group(&loaded.model)).transpose()?;
            if here.is_some_and(|here| here.hash() == group.hash()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Writes a group and its changes, at a place of the outbox if that is given; gives its place.
fn insert(db: &mut Db, file: &FileGroup, now: &Group, place: Option<i64>) -> Result<i64, Error> {
    let ids = |ids: &[GroupId]| ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>();
    let (mut id, mut absorbed) = (now.id.0, ids(&now.absorbed));
    if file.state == FileState::Held {
        absorbed.extend(id);
        id = db.random_id();
    }
    let sent = file.content.sent();
    // The same whether or not the rows have other names here: it is of what was sent.
    let (frozen, hash) = sent.map(|(bytes, group)| (bytes, group.hash())).unzip();
    let state = match file.state {
        FileState::Held => "pending",
        FileState::Ready | FileState::Parked => "sent",
    };
    let sql = "INSERT INTO afield_group \
               (id, absorbed, state, frozen, hash, made_at, checkpoint, n) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    db.conn.prepare_cached(sql)?.execute(params![
        id,
        absorbed,
        state,
        frozen,
        hash,
        file.made_at_ms,
        now.checkpoint,
        place
    ])?;
    let n = db.conn.last_insert_rowid();
    for (at, change) in now.changes.iter().enumerate() {
        let key = write_key(&change.key);
        let values = (&change.base, &change.set);
        insert_values(db, (n, at), (&change.entity, &key), change.op, values)?;
        db.crash_point("import-change")?;
    }
    Ok(n)
}

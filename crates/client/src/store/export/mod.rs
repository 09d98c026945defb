//! Export: what is not settled goes into a file, to be imported elsewhere.
//!
//! ```text
//!   nothing in its way ──► frozen here as well, `ready`: the same bytes, whoever sends them first
//!   held ────────────────► `held`; here it goes on under a new id that absorbs the one in the file
//!   parked ──────────────► `parked`, with what the server said; here it stays as it is
//! ```
//!
//! All of that is one write transaction, which is durable before the file has its name; the file is
//! on disk before it has it. So what is in a file is either sent from here as the very same group,
//! which takes effect once, or as one that stands in its place, of which likewise one takes effect.

mod stored;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use afield_protocol::dependence::Blocked;
use afield_protocol::outbox_file::{FileContent, FileGroup, FileHead, FileState, FileWriter};
use afield_protocol::{Code, GroupId, Verdict};

use self::stored::{Stored, verdicts};
use super::db::{Db, Loaded};
use super::left::Way;
use super::new_file::NewFile;
use super::outbox::{freeze, waiting};
use super::session::Unsent;
use super::watch::data_version;
use super::{Store, Uncaptured, again, checkpoint, doubt, left, session};
use crate::error::Error;

/// How a file of changes may be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Whether it may replace a file of the same name.
    pub force: bool,
    /// Whether it may be made of an encrypted store, although whoever has it can read it.
    pub plain: bool,
}

/// Changes by where they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileChanges {
    /// Sent as they are.
    pub ready: u64,
    /// Waiting for parked ones.
    pub held: u64,
    /// Refused or in conflict.
    pub parked: u64,
}

impl FileChanges {
    /// All of them.
    pub fn all(self) -> u64 {
        self.ready + self.held + self.parked
    }

    pub(super) fn add(&mut self, state: FileState, changes: usize) {
        let count = match state {
            FileState::Ready => &mut self.ready,
            FileState::Held => &mut self.held,
            FileState::Parked => &mut self.parked,
        };
        *count += changes as u64;
    }
}

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The file; `None` if there was nothing for it, and then there is none.
    pub path: Option<PathBuf>,
    /// Groups in it.
    pub groups: u64,
    /// Their changes.
    pub changes: FileChanges,
    /// Changes of groups that are too large for a file, and for every server: they are not in it.
    pub too_large: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Store {
    /// Writes everything that is not settled into a file, to be imported on another device of the
    /// same user ([`Store::import`]) or on the server (`afield import`). Nothing changes for the
    /// user here: it is still sent from here, too, and whoever comes first, each change takes
    /// effect once. The file is readable by its owner only, and by nobody before it is whole.
    ///
    /// Local-only rows, rows of the server's and the log are not in it.
    ///
    /// ```no_run
    /// # fn carry(store: &mut afield::Store) -> Result<(), afield::Error> {
    /// let path = std::path::Path::new("/media/stick/ann.outbox");
    /// let exported = store.export(path, &afield::ExportOptions::default())?;
    /// println!("{} changes in {} bytes", exported.changes.all(), exported.bytes);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `file-exists`; `plain-file` if the store is encrypted and nothing is said about that;
    /// `file-unusable` or `store-full` if the file cannot be written. There is no new file then.
    pub fn export(&mut self, path: &Path, options: &ExportOptions) -> Result<Exported, Error> {
        self.export_seen(path, options)
            .map(|(exported, _)| exported)
    }

    /// The same, and then logs the user out, unless something was left out or has changed since:
    /// what is here may be given up then.
    ///
    /// # Errors
    /// Those of [`Store::export`]; `unsent-work` if something is too large for a file, and
    /// `overtaken` if somebody else wrote meanwhile. Nobody is logged out then.
    pub fn log_out_exported(
        &mut self,
        path: &Path,
        options: &ExportOptions,
    ) -> Result<Exported, Error> {
        let (exported, seen) = self.export_seen(path, options)?;
        if exported.too_large > 0 {
            let message = format!(
                "changes of transactions that are too large for a file: {}; they are here alone: \
                 decide about them first",
                exported.too_large
            );
            return Err(Error::new(Code::UNSENT_WORK, message));
        }
        self.db.write("log-out", |db| {
            if data_version(&db.conn)? != seen {
                let message = "something was written or received while the file was made: export \
                               again";
                return Err(Error::new(Code::OVERTAKEN, message));
            }
            session::log_out(db, Unsent::Keep)
        })?;
        Ok(exported)
    }

    /// Exports; gives SQLite's number for what others had written when the outbox was read.
    fn export_seen(
        &mut self,
        path: &Path,
        options: &ExportOptions,
    ) -> Result<(Exported, i64), Error> {
        if self.db.key.is_some() && !options.plain {
            let message = "the store is encrypted, and a file of its changes would not be: say \
                           that it may be readable, and keep it where nobody else reads it";
            return Err(Error::new(Code::PLAIN_FILE, message));
        }
        if is_store(&self.db, path) {
            let message = format!(
                "{} is the store itself: choose another name",
                path.display()
            );
            return Err(Error::new(Code::FILE_EXISTS, message));
        }
        let tag = GroupId(self.db.random_id()).to_string();
        let mut file = NewFile::create(path, options.force, &tag)?;
        let own = Uncaptured::new(&mut self.db)?;
        let (mut exported, seen) = own.db.write("export", |db| {
            let exported = match db.has_model() {
                true => outbox_to(db, &mut file)?,
                false => Exported::default(),
            };
            Ok((exported, data_version(&db.conn)?))
        })?;
        drop(own);
        if exported.groups > 0 {
            file.publish()?;
            exported.path = Some(path.to_owned());
        }
        Ok((exported, seen))
    }
}

/// Whether a file of this name would take the place of the store, or of a file that belongs to it.
fn is_store(db: &Db, path: &Path) -> bool {
    let store = db.conn.path().map(Path::new);
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = std::fs::canonicalize(folder.unwrap_or(Path::new(".")));
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().to_lowercase());
        folder.ok().zip(name)
    };
    let places = store.and_then(place).zip(place(path));
    places.is_some_and(|(store, file)| store.0 == file.0 && file.1.starts_with(&store.1))
}

/// Writes the outbox.
fn outbox_to(db: &mut Db, file: &mut NewFile) -> Result<Exported, Error> {
    let mut buffer = Vec::new();
    let head = head(db)?;
    let mut export = Export {
        loaded: db.loaded()?,
        doubted: doubt::entities(db)?,
        blocked: Blocked::default(),
        writer: FileWriter::begin(&head, &mut buffer),
        done: Exported::default(),
    };
    let sql = "SELECT n FROM afield_group WHERE state IN ('pending', 'sent', 'parked') ORDER BY n";
    let mut statement = db.conn.prepare_cached(sql)?;
    let groups = statement.query_map([], |row| row.get(0))?;
    let groups: Vec<i64> = groups.collect::<Result<_, _>>()?;
    drop(statement);
    for n in groups {
        export.group(db, n, &mut buffer)?;
        export.done.bytes += buffer.len() as u64;
        file.write(&buffer)?;
        buffer.clear();
    }
    let mut done = export.done;
    done.groups = export.writer.end(&mut buffer).groups;
    done.bytes += buffer.len() as u64;
    file.write(&buffer)?;
    db.crash_point("export-written")?;
    if done.groups == 0 {
        done.bytes = 0;
    }
    Ok(done)
}

fn head(db: &mut Db) -> Result<FileHead, Error> {
    let sql = "SELECT user, device FROM afield_meta";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (user, device) = db.conn.query_row(sql, [], row)?;
    Ok(FileHead {
        user,
        device,
        model: db.loaded()?.fingerprint.clone(),
        made_at_ms: db.env.now_ms(),
        checkpoints: checkpoint::told(db)?,
    })
}

/// A file that is being written, group by group.
struct Export {
    loaded: Arc<Loaded>,
    /// Entities of whose rows nobody knows whether they are still those.
    doubted: HashSet<String>,
    /// What stands in the way of later groups.
    blocked: Blocked,
    writer: FileWriter,
    done: Exported,
}

impl Export {
    /// Appends a group, and does here what that asks for.
    fn group(&mut self, db: &mut Db, n: i64, out: &mut Vec<u8>) -> Result<(), Error> {
        let Some(waiting) = waiting(db, n)? else {
            return Ok(());
        };
        let (state, verdicts) = if waiting.state == "parked" {
            (FileState::Parked, verdicts(db, n)?)
        } else if waiting.is_doubted(&self.loaded, &self.doubted)? {
            (FileState::Parked, other_row(waiting.changes.len()))
        } else if waiting.is_held(&self.blocked, &self.loaded.model)? {
            (FileState::Held, Vec::new())
        } else {
            freeze(db, &self.loaded, &waiting)?;
            (FileState::Ready, Vec::new())
        };
        if state != FileState::Ready {
            waiting.block(&mut self.blocked)?;
        }
        let stored = Stored::read(db, n)?;
        let changes = stored.now.changes.len();
        if changes == 0 {
            return Ok(());
        }
        if stored.is_too_large() || !self.write(stored, state, verdicts, out)? {
            self.done.too_large += changes as u64;
            return waiting.block(&mut self.blocked);
        }
        self.done.changes.add(state, changes);
        left::note(db, waiting.id, Way::Exported)?;
        if state != FileState::Ready && waiting.state == "pending" && !waiting.is_frozen {
            // It may still be rebased here: what is in the file is another group.
            again::rename(db, n)?;
        }
        db.crash_point("export-group")
    }

    /// Says whether the group is small enough for a file.
    fn write(
        &mut self,
        stored: Stored,
        state: FileState,
        verdicts: Vec<Verdict>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        let mut group = FileGroup {
            state,
            made_at_ms: stored.made_at,
            content: stored.content(&self.loaded, state)?,
            verdicts,
        };
        if self.writer.group(&group, out) {
            return Ok(true);
        }
        // With the whole rows it is too large. Without them nothing that was typed is missing.
        match group.content {
            FileContent::Changed {
                bytes, group: sent, ..
            } if state == FileState::Ready => {
                group.content = FileContent::Sent { bytes, group: sent };
                Ok(self.writer.group(&group, out))
            }
            _ => Ok(false),
        }
    }
}

/// A group that waits here until its rows have been compared with those of a server that was set
/// back. Nobody else can compare them: its user looks at the rows, and decides.
fn other_row(changes: usize) -> Vec<Verdict> {
    let message = "the server was set back, and nobody has looked yet whether the row is what it \
                   was";
    vec![Verdict::rejected(Code::OTHER_ROW, message); changes]
}

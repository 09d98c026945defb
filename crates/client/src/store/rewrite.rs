//! Giving a store a key, or another one: a copy under the new key takes the place of the file.
//!
//! ```text
//!   lock: nobody else has it open, no log is left; nobody gets in until the end
//!     │   STORE-new   the copy under the new key
//!     │   compare     every row of every table, read back from the disk
//!     │   on disk     the copy, and then its name
//!     ▼
//!   rename ─────────── before it the store is what it was, after it what it is to be
//!     │   STORE-old   a second name of the old file, to find it by after a crash
//!     ▼
//!   the old file is overwritten, and its second name removed
//! ```
//!
//! Writing in place would need the old pages in a journal, in the open. A copy needs the space
//! once more, and no recovery: whenever the process dies, one whole file has the store's name.
//!
//! A process that had opened the old file, but never read it, would still have it after the
//! rename. It finds zeros there, and, if we died before they were written, SQLite refuses its
//! writes: the file has no log, and without one SQLite looks whether the file has moved.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use afield_protocol::{Code, zoo};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, Row};

use super::cipher::{beside, connect, opens, unusable};
use super::sql::quoted;
use crate::error::Error;
use crate::key::Key;

/// How often to start anew because somebody wrote in between.
const ATTEMPTS: u32 = 3;

/// How long somebody's transaction is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes that are overwritten at once.
const WIPED: usize = 64 * 1_024;

/// Replaces the store, which opens with `from`, by the same under the key `to`.
///
/// # Errors
/// `store-locked` if anybody has it open; there is no space, or the copy is not the same. The
/// store is as it was then.
pub(super) fn rewrite(path: &Path, from: Option<&Key>, to: &Key) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        let result = attempt(path, from, to);
        // A simulated crash leaves what a dead process leaves.
        if result.as_ref().is_err_and(|e| *e.code() != Code::INTERNAL) {
            let _ = remove_copy(path);
        }
        match result? {
            Attempt::Done => return Ok(()),
            Attempt::Again if opens(path, Some(to))? => return Ok(()),
            Attempt::Again => {}
        }
    }
    Err(in_use("somebody writes to it again and again"))
}

/// Removes what a process that died in [`rewrite`] left behind. For whoever has a connection that
/// keeps others from rewriting the store meanwhile.
pub(super) fn finish(path: &Path) -> Result<(), Error> {
    let old = beside(path, "-old");
    remove_copy(path)?;
    let found = match fs::metadata(&old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|error| unusable(&old, &error))?,
    };
    let store = fs::metadata(path).map_err(|error| unusable(path, &error))?;
    // If the process died before the rename, it is a second name of the store, and must not even
    // be opened: to close it would drop the locks that SQLite has on the store.
    if identity(&found) != identity(&store) {
        match OpenOptions::new().write(true).open(&old) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.and_then(|file| wipe(&file)),
        }
        .map_err(|error| unusable(&old, &error))?;
    }
    remove(&old)
}

enum Attempt {
    Done,
    Again,
}

fn attempt(path: &Path, from: Option<&Key>, to: &Key) -> Result<Attempt, Error> {
    let before = fs::metadata(path).map_err(|error| unusable(path, &error))?;
    let conn = connect(path, from)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    let hold = || hold(&conn, path, &before);
    if !leave_log(&conn)? || !hold()? {
        return Ok(Attempt::Again);
    }
    let (copy, old) = (beside(path, "-new"), beside(path, "-old"));
    finish(path)?;
    zoo::crash_point("rewrite-begins")?;
    export(&conn, &copy, to)?;
    zoo::crash_point("copied")?;
    // To commit the copy was to let the store go for a moment.
    if !hold()? || !is_same(&conn, &connect(&copy, Some(to))?)? {
        remove_copy(path)?;
        return Ok(Attempt::Again);
    }
    let file = |path: &Path, error: io::Error| unusable(path, &error);
    let on_disk = File::open(&copy).and_then(|copy| copy.sync_all());
    on_disk.map_err(|error| file(&copy, error))?;
    zoo::crash_point("copy-on-disk")?;
    // Closing it lets the locks go that SQLite has on the file, so it stays open until the end.
    let replaced = OpenOptions::new().write(true).open(path);
    let replaced = replaced.map_err(|error| file(path, error))?;
    // Not every file system can do this; then a crash in the next moment leaves the old file to
    // be reused by the system instead of overwriting it.
    let _ = fs::hard_link(path, &old);
    zoo::crash_point("old-named")?;
    let permissions = fs::set_permissions(&copy, before.permissions());
    let renamed = permissions.and_then(|()| fs::rename(&copy, path));
    renamed.map_err(|error| file(path, error))?;
    zoo::crash_point("renamed")?;
    // Only once the new name is on disk may the old file go.
    sync_folder(path).map_err(|error| file(path, error))?;
    zoo::crash_point("rename-on-disk")?;
    wipe(&replaced).map_err(|error| file(&old, error))?;
    zoo::crash_point("wiped")?;
    remove(&old)?;
    drop(conn);
    drop(replaced);
    Ok(Attempt::Done)
}

/// Moves the log into the file and does without one, which SQLite only does while nobody else
/// has the store open. False if somebody wrote at this moment.
fn leave_log(conn: &Connection) -> Result<bool, Error> {
    let sql = "PRAGMA journal_mode = DELETE";
    match conn.query_row(sql, [], |row| row.get::<_, String>(0)) {
        Ok(mode) => Ok(mode == "delete"),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Err(in_use("somebody has it open").caused_by(error))
            }
            // Somebody replaced it since it was looked at.
            Some(ErrorCode::NotADatabase) => Ok(false),
            _ => Err(error.into()),
        },
    }
}

/// Keeps everybody from the store until this connection ends. False if it is not the store any
/// more, or has a log again.
fn hold(conn: &Connection, path: &Path, before: &fs::Metadata) -> Result<bool, Error> {
    let begun = conn.execute_batch("BEGIN EXCLUSIVE");
    begun.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy) => in_use("somebody writes to it").caused_by(error),
        _ => error.into(),
    })?;
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let now = fs::metadata(path).map_err(|error| unusable(path, &error))?;
    let has_log = ["-wal", "-journal"].map(|ending| beside(path, ending).exists());
    Ok(mode == "delete" && identity(before) == identity(&now) && has_log == [false; 2])
}

fn in_use(why: &str) -> Error {
    let message = format!(
        "a store gets its key while nobody else uses it, and {why}: end the other program, or \
         close the other connection, and try again; nothing was changed"
    );
    Error::new(Code::STORE_LOCKED, message)
}

/// Copies everything into a new file under `key`, and commits it.
fn export(conn: &Connection, copy: &Path, key: &Key) -> Result<(), Error> {
    // SQLite's error would show what is bound.
    let literal = key.literal();
    let name = copy.to_str().ok_or_else(|| {
        let message = format!("{} is no name in UTF-8", copy.display());
        Error::new(Code::STORE_DAMAGED, message)
    })?;
    conn.execute_batch("COMMIT")?;
    conn.execute("ATTACH ?1 AS fresh KEY ?2", [name, literal.as_str()])?;
    // Until it is renamed the copy is nothing: what it needs on disk is there before.
    conn.execute_batch("PRAGMA fresh.journal_mode = OFF; PRAGMA fresh.synchronous = OFF")?;
    for setting in ["auto_vacuum", "user_version", "application_id"] {
        let value = header(conn, setting)?;
        conn.execute_batch(&format!("PRAGMA fresh.{setting} = {value}"))?;
    }
    conn.execute_batch("BEGIN EXCLUSIVE")?;
    conn.query_row("SELECT sqlcipher_export('fresh')", [], |_| Ok(()))?;
    for table in tables(conn)?.iter().filter(|table| table.is_renumbered) {
        table.copy_with_rowids(conn)?;
    }
    zoo::crash_point("copying")?;
    conn.execute_batch("COMMIT")?;
    conn.execute_batch("DETACH fresh")?;
    Ok(())
}

fn header(conn: &Connection, setting: &str) -> rusqlite::Result<i64> {
    conn.query_row(&format!("PRAGMA main.{setting}"), [], |row| row.get(0))
}

/// A table with content of its own.
struct Stored {
    name: String,
    /// How to name the row's number, if it has one.
    rowid: Option<&'static str>,
    /// Whether copying gives its rows other numbers: nothing refers to them but what an app
    /// made of them.
    is_renumbered: bool,
}

impl Stored {
    fn copy_with_rowids(&self, conn: &Connection) -> Result<(), Error> {
        let Some(rowid) = self.rowid else {
            return Ok(());
        };
        let table = quoted(&self.name);
        let sql = "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0";
        let mut columns = conn.prepare(sql)?;
        let columns = columns.query_map([&self.name], |row| row.get::<_, String>(0))?;
        let columns: Vec<_> = columns.collect::<Result<_, _>>()?;
        let columns: Vec<_> = columns.iter().map(|name| quoted(name)).collect();
        let columns = format!("{rowid}, {}", columns.join(", "));
        let sql = format!(
            "DELETE FROM fresh.{table}; \
             INSERT INTO fresh.{table} ({columns}) SELECT {columns} FROM main.{table}"
        );
        Ok(conn.execute_batch(&sql)?)
    }

    /// Its rows in an order that both files share.
    fn rows(&self) -> String {
        let table = quoted(&self.name);
        match self.rowid {
            Some(rowid) => format!("SELECT {rowid}, * FROM {table} ORDER BY {rowid}"),
            None => format!("SELECT * FROM {table}"),
        }
    }
}

fn tables(conn: &Connection) -> Result<Vec<Stored>, Error> {
    let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND rootpage > 0";
    let mut names = conn.prepare(sql)?;
    let names = names.query_map([], |row| row.get::<_, String>(0))?;
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    names.into_iter().map(|name| stored(conn, name)).collect()
}

fn stored(conn: &Connection, name: String) -> Result<Stored, Error> {
    let sql = "SELECT (SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1), \
               EXISTS (SELECT 1 FROM pragma_index_list(?1)), \
               EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE pk > 0)";
    let (without, indexed, keyed): (bool, bool, bool) = conn.query_row(sql, [&name], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let sql = "SELECT 1 FROM pragma_table_xinfo(?1) WHERE name = ?2 COLLATE NOCASE";
    let mut rowid = None;
    for alias in ["rowid", "_rowid_", "oid"] {
        if rowid.is_none() && !without && !conn.prepare_cached(sql)?.exists([&*name, alias])? {
            rowid = Some(alias);
        }
    }
    Ok(Stored {
        is_renumbered: !without && !indexed && !keyed,
        name,
        rowid,
    })
}

/// Whether the copy has exactly what the store has: the same tables, triggers and the rest, and
/// in every table the same rows.
fn is_same(store: &Connection, copy: &Connection) -> Result<bool, Error> {
    let schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";
    for setting in ["auto_vacuum", "user_version", "application_id"] {
        if header(store, setting)? != header(copy, setting)? {
            return Ok(false);
        }
    }
    let mut is_same = answers_equal(store, copy, schema)?;
    for table in tables(store)? {
        is_same = is_same && answers_equal(store, copy, &table.rows())?;
    }
    Ok(is_same)
}

fn answers_equal(one: &Connection, other: &Connection, sql: &str) -> Result<bool, Error> {
    let (mut one, mut other) = (one.prepare(sql)?, other.prepare(sql)?);
    let width = one.column_count();
    if other.column_count() != width {
        return Ok(false);
    }
    let (mut one, mut other) = (one.query([])?, other.query([])?);
    loop {
        match (one.next()?, other.next()?) {
            (None, None) => return Ok(true),
            (Some(one), Some(other)) if rows_equal(one, other, width)? => {}
            _ => return Ok(false),
        }
    }
}

fn rows_equal(one: &Row<'_>, other: &Row<'_>, width: usize) -> rusqlite::Result<bool> {
    for at in 0..width {
        let is_equal = match (one.get_ref(at)?, other.get_ref(at)?) {
            (ValueRef::Real(one), ValueRef::Real(other)) => one.to_bits() == other.to_bits(),
            (one, other) => one == other,
        };
        if !is_equal {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove_copy(path: &Path) -> Result<(), Error> {
    for ending in ["-new", "-new-journal"] {
        remove(&beside(path, ending))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(path, &error)),
        _ => Ok(()),
    }
}

/// Overwrites the file with zeros. (That the medium keeps no copy elsewhere is not in our hands.)
fn wipe(mut file: &File) -> io::Result<()> {
    let zeros = [0; WIPED];
    let mut left = file.metadata()?.len();
    while left > 0 {
        let now = zeros.len().min(usize::try_from(left).unwrap_or(WIPED));
        file.write_all(&zeros[..now])?;
        left -= now as u64;
    }
    file.sync_all()
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// What tells one file from another, whatever its name.
#[cfg(unix)]
fn identity(file: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (file.dev(), file.ino())
}

/// Nothing does: a file that is open cannot be replaced there.
#[cfg(not(unix))]
fn identity(_file: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}

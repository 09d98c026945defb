//! Giving a store a key, or another one: a copy under the new key takes the place of the file.
//!
//! ```text
//!   lock: nobody else has it open, no log is left; until the end nobody writes
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
//! The lock is the one of a write transaction on the old file that writes nothing. Whoever makes or
//! removes a file beside the store has it, or has the store open with a log, and then nobody gets
//! the lock.
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

/// How often to start anew because others came in between.
const ATTEMPTS: u32 = 3;

/// How long somebody's transaction is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// What a file says of itself, beside its tables.
const SETTINGS: [&str; 4] = ["auto_vacuum", "user_version", "application_id", "encoding"];

/// Bytes that are overwritten at once.
const WIPED: usize = 64 * 1_024;

/// Replaces the store, which opens with `from`, by the same under the key `to`.
///
/// # Errors
/// `store-locked` if anybody has it open; there is no space, or the copy is not the same. The
/// store is as it was then.
pub(super) fn rewrite(path: &Path, from: Option<&Key>, to: &Key) -> Result<(), Error> {
    let path = &fs::canonicalize(path).map_err(|error| unusable(path, &error))?;
    for _ in 0..ATTEMPTS {
        if let Some(store) = lock(path, from)? {
            return replace(&store, path, from, to);
        }
        // Somebody who came first may have done the same.
        if opens(path, Some(to))? {
            return Ok(());
        }
    }
    Err(in_use("others come in between again and again"))
}

/// Removes what a process that died in [`rewrite`] left behind. For whoever has the lock, or the
/// store open under its key.
pub(super) fn finish(path: &Path) -> Result<(), Error> {
    let path = &fs::canonicalize(path).map_err(|error| unusable(path, &error))?;
    remove_copy(path)?;
    let old = beside(path, "-old");
    match is_second_name(&old, path)? {
        None => Ok(()),
        // The process died before the rename. The file must not even be opened: to close it would
        // drop the locks that SQLite has on the store.
        Some(true) => remove(&old),
        Some(false) => {
            let wiped = sync_folder(path).and_then(|()| OpenOptions::new().write(true).open(&old));
            match wiped.and_then(|file| wipe(&file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(unusable(&old, &error))
                }
                _ => remove(&old),
            }
        }
    }
}

/// Whether `old` is the store itself under a second name; `None` if there is no such file.
fn is_second_name(old: &Path, path: &Path) -> Result<Option<bool>, Error> {
    let found = match fs::metadata(old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(|error| unusable(old, &error))?,
    };
    let store = fs::metadata(path).map_err(|error| unusable(path, &error))?;
    Ok(Some(identity(&found) == identity(&store)))
}

/// The store, locked. `None` if others came in between: it is to be looked at again.
fn lock(path: &Path, from: Option<&Key>) -> Result<Option<Connection>, Error> {
    let before = fs::metadata(path).map_err(|error| unusable(path, &error))?;
    let store = connect(path, from)?;
    store.busy_timeout(BUSY_TIMEOUT)?;
    store.pragma_update(None, "temp_store", "MEMORY")?;
    store.pragma_update(None, "synchronous", "FULL")?;
    if !leave_log(&store)? {
        return Ok(None);
    }
    let begun = store.execute_batch("BEGIN IMMEDIATE");
    begun.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy) => in_use("somebody writes to it").caused_by(error),
        _ => error.into(),
    })?;
    let mode: String = store.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let now = fs::metadata(path).map_err(|error| unusable(path, &error))?;
    let is_store = identity(&before) == identity(&now);
    let has_log = ["-wal", "-journal"].map(|ending| beside(path, ending).exists());
    Ok((mode == "delete" && is_store && has_log == [false; 2]).then_some(store))
}

fn replace(store: &Connection, path: &Path, from: Option<&Key>, to: &Key) -> Result<(), Error> {
    finish(path)?;
    zoo::crash_point("rewrite-begins")?;
    // To close it lets the locks go that SQLite has on the file, so it stays open until the end.
    let old = OpenOptions::new().write(true).open(path);
    let old = old.map_err(|error| unusable(path, &error))?;
    match copy(store, path, from, to).and_then(|()| rename(path, &old)) {
        Ok(()) => Ok(()),
        // A simulated crash leaves what a dead process leaves.
        Err(error) if *error.code() == Code::INTERNAL => Err(error),
        Err(error) => {
            let _ = remove_copy(path);
            let old = beside(path, "-old");
            if let Ok(Some(true)) = is_second_name(&old, path) {
                let _ = remove(&old);
            }
            Err(error)
        }
    }
}

/// Makes the copy, which is the same and on disk then.
fn copy(store: &Connection, path: &Path, from: Option<&Key>, to: &Key) -> Result<(), Error> {
    let copy = beside(path, "-new");
    export(store, path, from, &copy, to)?;
    zoo::crash_point("copied")?;
    if !is_same(store, &connect(&copy, Some(to))?)? {
        let message =
            "the copy under the new key is not the same as the store; nothing was changed";
        return Err(Error::new(Code::STORE_DAMAGED, message));
    }
    let on_disk = File::open(&copy).and_then(|copy| copy.sync_all());
    on_disk.map_err(|error| unusable(&copy, &error))?;
    Ok(zoo::crash_point("copy-on-disk")?)
}

/// Puts the copy in the place of the store, and overwrites what was there.
fn rename(path: &Path, replaced: &File) -> Result<(), Error> {
    let (copy, old) = (beside(path, "-new"), beside(path, "-old"));
    let failed = |error: io::Error| unusable(path, &error);
    let permissions = replaced.metadata().map_err(failed)?.permissions();
    // Not every file system can do this; then a crash in the next moment leaves the old file to
    // be reused by the system instead of overwriting it.
    let _ = fs::hard_link(path, &old);
    zoo::crash_point("old-named")?;
    fs::set_permissions(&copy, permissions).map_err(failed)?;
    fs::rename(&copy, path).map_err(failed)?;
    zoo::crash_point("renamed")?;
    // Only once the new name is on disk may the old file go.
    sync_folder(path).map_err(failed)?;
    zoo::crash_point("rename-on-disk")?;
    wipe(replaced).map_err(failed)?;
    zoo::crash_point("wiped")?;
    remove(&old)
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

fn in_use(why: &str) -> Error {
    let message = format!(
        "a store gets its key while nobody else uses it, and {why}: end the other program, or \
         close the other connection, and try again; nothing was changed"
    );
    Error::new(Code::STORE_LOCKED, message)
}

/// Copies everything into a new file under the key `to`. The lock on the store lets this read it
/// by a connection of its own.
fn export(
    store: &Connection,
    path: &Path,
    from: Option<&Key>,
    copy: &Path,
    to: &Key,
) -> Result<(), Error> {
    let name = path.to_str().ok_or_else(|| {
        let message = format!("{} is no name in UTF-8", path.display());
        Error::new(Code::STORE_DAMAGED, message)
    })?;
    let fresh = connect(copy, Some(to))?;
    // Until it is renamed the copy is nothing: what it needs on disk is there before.
    fresh.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    for setting in SETTINGS {
        let value = header(store, setting)?;
        fresh.execute_batch(&format!("PRAGMA {setting} = '{value}'"))?;
    }
    let literal = from.map(Key::literal);
    let literal = literal.as_ref().map_or("", |literal| literal);
    fresh.execute("ATTACH ?1 AS old KEY ?2", [name, literal])?;
    fresh.execute_batch("BEGIN")?;
    fresh.query_row("SELECT sqlcipher_export('main', 'old')", [], |_| Ok(()))?;
    for table in tables(store)?.iter().filter(|table| table.is_renumbered) {
        table.copy_with_rowids(&fresh)?;
    }
    if zoo::planted("copy-lacks-a-row") {
        let table = tables(store)?.swap_remove(0);
        fresh.execute_batch(&format!("DELETE FROM {}", quoted(&table.name)))?;
    }
    zoo::crash_point("copying")?;
    Ok(fresh.execute_batch("COMMIT")?)
}

fn header(conn: &Connection, setting: &str) -> rusqlite::Result<String> {
    let sql = format!("SELECT CAST({setting} AS TEXT) FROM pragma_{setting}");
    conn.query_row(&sql, [], |row| row.get(0))
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
    fn copy_with_rowids(&self, fresh: &Connection) -> Result<(), Error> {
        let Some(rowid) = self.rowid else {
            return Ok(());
        };
        let table = quoted(&self.name);
        let sql = "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0";
        let mut columns = fresh.prepare(sql)?;
        let columns = columns.query_map([&self.name], |row| row.get::<_, String>(0))?;
        let columns: Vec<_> = columns.collect::<Result<_, _>>()?;
        let columns: Vec<_> = columns.iter().map(|name| quoted(name)).collect();
        let columns = format!("{rowid}, {}", columns.join(", "));
        let sql = format!(
            "DELETE FROM main.{table}; \
             INSERT INTO main.{table} ({columns}) SELECT {columns} FROM old.{table}"
        );
        Ok(fresh.execute_batch(&sql)?)
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
    for setting in SETTINGS {
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
pub(super) fn identity(file: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (file.dev(), file.ino())
}

/// Nothing does: a file that is open cannot be replaced there.
#[cfg(not(unix))]
pub(super) fn identity(_file: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: &str = "CREATE TABLE a (word TEXT); CREATE TABLE b (n INTEGER PRIMARY KEY, x);
        INSERT INTO a (rowid, word) VALUES (1, 'one'), (5, 'five');
        INSERT INTO b VALUES (1, 0.0), (2, x'00'); PRAGMA user_version = 7";

    #[test]
    fn what_differs_in_anything_is_not_the_same() {
        let made = |more: &str| {
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(&format!("{SAME}; {more}")).unwrap();
            conn
        };
        let store = made("");
        assert!(is_same(&store, &made("")).unwrap());
        for more in [
            "UPDATE a SET word = 'two' WHERE rowid = 5",
            "UPDATE a SET rowid = 6 WHERE rowid = 5",
            "DELETE FROM b WHERE n = 2",
            "INSERT INTO b VALUES (3, NULL)",
            "UPDATE b SET x = -0.0 WHERE n = 1",
            "UPDATE b SET x = '0.0' WHERE n = 1",
            "PRAGMA user_version = 8",
            "PRAGMA application_id = 1",
            "CREATE INDEX i ON a (word)",
            "CREATE TRIGGER t AFTER DELETE ON a BEGIN DELETE FROM b; END",
            "DROP TABLE a; CREATE TABLE a (word TEXT, more); INSERT INTO a VALUES ('one', 1)",
        ] {
            let other = made(more);
            assert!(!is_same(&store, &other).unwrap(), "{more}");
            assert!(!is_same(&other, &store).unwrap_or_default(), "{more}");
        }
    }

    #[test]
    fn a_copy_that_is_not_the_same_takes_no_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(SAME).unwrap();
        drop(conn);
        let before = fs::read(&path).unwrap();
        let key = Key::from_hex(&"1f".repeat(32)).unwrap();
        zoo::plant(Some("copy-lacks-a-row"));
        let error = rewrite(&path, None, &key).unwrap_err();
        zoo::plant(None);
        assert_eq!(*error.code(), Code::STORE_DAMAGED);
        assert!(before == fs::read(&path).unwrap(), "a byte changed");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        rewrite(&path, None, &key).unwrap();
        assert!(opens(&path, Some(&key)).unwrap() && !opens(&path, None).unwrap());
    }
}

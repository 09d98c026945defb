//! Opening the file of a store, with a key or without one.
//!
//! The file is looked at before SQLite works on it: opening a database already recovers its log
//! and, at the end, moves it into the file, key or no key. So a look is a connection that takes
//! the file for one that never changes: it takes no lock, knows no log, and writes nothing.
//!
//! ```text
//!            look: does page 1 open?
//!   nothing there ──────────────────────────────► make a store, with the key if there is one
//!   with the key (or none, if none is given) ───► open it
//!   without, but a key is given ────────────────► encrypt it (`rewrite`), then open it
//!   neither; page 1 in the log does ────────────► open it: a power cut tore page 1 in the file
//!   neither ────────────────────────────────────► key-wrong, key-missing; no byte was touched
//! ```

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use afield_protocol::Code;
use rusqlite::{Connection, ErrorCode, OpenFlags};

#[cfg(feature = "encryption")]
use super::db::located;
use super::db::wait_for_lock;
use crate::error::Error;
use crate::key::Key;

/// The page size of encrypted stores, and of every file that may be one.
const PAGE: u64 = 4_096;

/// What a connection with a key keeps of its pages, in KiB: four times as much as without.
const CACHE_KIB: i64 = 8 * 1_024;

/// The header of a write-ahead log, and that of each frame in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// What a look at the file says.
enum Found {
    Nothing,
    Readable,
    Plain,
    Sealed,
}

/// Opens the database in `path`, or makes an empty one. With a key, a plain one is encrypted
/// first, if `is_ours` says nothing against it.
pub(super) fn open(
    path: &Path,
    key: Option<&Key>,
    is_ours: impl Fn(&Connection) -> Result<(), Error>,
) -> Result<Connection, Error> {
    if key.is_some() && !cfg!(feature = "encryption") {
        let message = "a key was given, but this build cannot encrypt a store: build with the \
                       feature `encryption`; nothing was stored";
        return Err(Error::new(Code::NO_ENCRYPTION, message));
    }
    match look(path, key)? {
        Found::Nothing | Found::Readable => {}
        Found::Plain => {
            let mut conn = connect(path, None)?;
            conn.busy_handler(Some(wait_for_lock))?;
            is_ours(&conn)?;
            drop(conn);
            encrypt(path, key)?;
        }
        Found::Sealed => return Err(sealed(key)),
    }
    let mut conn = connect(path, key)?;
    conn.busy_handler(Some(wait_for_lock))?;
    Ok(conn)
}

#[cfg(feature = "encryption")]
fn encrypt(path: &Path, key: Option<&Key>) -> Result<(), Error> {
    key.map_or(Ok(()), |key| super::rewrite::rewrite(path, None, key))
}

/// Without the feature there is no key: [`open`] has refused it.
#[cfg(not(feature = "encryption"))]
#[expect(clippy::unnecessary_wraps, reason = "as it is with the feature")]
fn encrypt(_path: &Path, _key: Option<&Key>) -> Result<(), Error> {
    Ok(())
}

/// Gives the store another key. `open` opens it with a key and closes it: that says whether it
/// is a store and whose, recovers its log and encrypts it if it never was.
#[cfg(feature = "encryption")]
pub(super) fn rekey(
    path: &Path,
    old: &Key,
    new: &Key,
    open: impl FnOnce(&Key) -> Result<(), Error>,
) -> Result<(), Error> {
    if !path.exists() {
        let message = format!("{}: there is no store to give a key", path.display());
        return Err(Error::new(Code::NOT_FOUND, message));
    }
    // Done already, by a process that died before it could say so.
    if opens(path, Some(new))? {
        return open(new);
    }
    open(old)?;
    super::rewrite::rewrite(path, Some(old), new).map_err(|error| located(path, error))
}

/// Without the feature no store has a key.
#[cfg(not(feature = "encryption"))]
pub(super) fn rekey(
    _path: &Path,
    old: &Key,
    _new: &Key,
    open: impl FnOnce(&Key) -> Result<(), Error>,
) -> Result<(), Error> {
    open(old)
}

/// Connects to a store that is known to be there and to open with `key`.
pub(super) fn connect(path: &Path, key: Option<&Key>) -> Result<Connection, Error> {
    let conn = Connection::open(path)?;
    unlock(&conn, key)?;
    Ok(conn)
}

/// Whether the first page of the file opens with `key`. Nothing is written and no lock is taken.
/// (Opening the file by hand and closing it would drop the locks that SQLite has on it.)
pub(super) fn opens(path: &Path, key: Option<&Key>) -> Result<bool, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(unchanging(path), flags)?;
    unlock(&conn, key)?;
    let read = conn.query_row("PRAGMA schema_version", [], |_| Ok(()));
    match read.map_err(|error| error.sqlite_error_code()) {
        Ok(()) => Ok(true),
        Err(Some(ErrorCode::NotADatabase)) => Ok(false),
        // The page is readable; that the rest is not there yet is the log's business.
        Err(_) => Ok(true),
    }
}

/// Whether it is what SQLite says of a file that it does not understand, or not with this key.
pub(super) fn is_unreadable(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    let code = cause.and_then(rusqlite::Error::sqlite_error_code);
    code == Some(ErrorCode::NotADatabase)
}

/// Tells whether the file was replaced by another one since it was asked before.
pub(super) fn which_file(path: &Path) -> Option<(u64, u64)> {
    #[cfg(feature = "encryption")]
    let found = std::fs::metadata(path).ok();
    #[cfg(feature = "encryption")]
    return found.map(|found| super::rewrite::identity(&found));
    #[cfg(not(feature = "encryption"))]
    {
        let _ = path;
        None
    }
}

fn look(path: &Path, key: Option<&Key>) -> Result<Found, Error> {
    // What is wrong with a file that cannot be asked about, opening it says better.
    let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
    if bytes == 0 {
        return Ok(Found::Nothing);
    }
    if opens(path, key)? {
        return Ok(Found::Readable);
    }
    if key.is_some() && opens(path, None)? {
        return Ok(Found::Plain);
    }
    if log_opens(path, key)? {
        return Ok(Found::Readable);
    }
    // A file that cannot be an encrypted store is none, and SQLite says what is wrong with it.
    match key.is_none() && !bytes.is_multiple_of(PAGE) {
        true => Ok(Found::Readable),
        false => Ok(Found::Sealed),
    }
}

/// Whether the newest copy of page 1 in the write-ahead log opens with `key`: a power cut while
/// the log was moved into the file may have torn the page there.
fn log_opens(path: &Path, key: Option<&Key>) -> Result<bool, Error> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let page = match first_page_in_log(&beside(&real, "-wal")) {
        Ok(Some(page)) => page,
        Ok(None) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unusable(path, &error)),
    };
    let probe = beside(&real, "-probe");
    std::fs::write(&probe, page).map_err(|error| unusable(&probe, &error))?;
    let opens = opens(&probe, key);
    let _ = std::fs::remove_file(&probe);
    opens
}

fn first_page_in_log(log: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut log = io::BufReader::new(std::fs::File::open(log)?);
    let mut header = [0; LOG_HEADER];
    let page = PAGE.try_into().unwrap_or(0);
    let is_read = |read: io::Result<()>| match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    };
    let mut found = None;
    if !is_read(log.read_exact(&mut header))? || header[8..12] != (PAGE as u32).to_be_bytes() {
        return Ok(None);
    }
    let mut frame = [0; FRAME_HEADER];
    while is_read(log.read_exact(&mut frame))? {
        // Frames of an earlier round of the log stay behind those of this one.
        if frame[8..16] != header[16..24] {
            break;
        }
        if frame[..4] != 1_u32.to_be_bytes() {
            log.seek_relative(PAGE as i64)?;
            continue;
        }
        let mut bytes = vec![0; page];
        if !is_read(log.read_exact(&mut bytes))? {
            break;
        }
        found = Some(bytes);
    }
    Ok(found)
}

/// Gives the connection its key, before anything is read.
#[cfg(feature = "encryption")]
pub(super) fn unlock(conn: &Connection, key: Option<&Key>) -> Result<(), Error> {
    let Some(key) = key else {
        // SQLCipher is built to keep temporary files in memory. Without a key nothing is to be as
        // it is not without the feature, nor to need the memory.
        return Ok(conn.pragma_update(None, "temp_store", "FILE")?);
    };
    let mut sql = zeroize::Zeroizing::new(String::with_capacity(128));
    // It would tell standard error of a wrong key; we say it ourselves.
    sql.push_str("PRAGMA cipher_log_level = NONE; PRAGMA key = \"");
    sql.push_str(&key.literal());
    sql.push('"');
    // SQLite's error would show the statement.
    conn.execute_batch(&sql).map_err(|error| {
        let code = error.sqlite_error_code();
        Error::new(Code::INTERNAL, format!("the key cannot be used: {code:?}"))
    })?;
    // A SQLite that knows no keys takes the statement for one it need not know.
    let version = conn.query_row("PRAGMA cipher_version", [], |row| row.get::<_, String>(0));
    if !version.is_ok_and(|version| !version.is_empty()) {
        let message = "this program runs with a SQLite that cannot encrypt: link SQLCipher";
        return Err(Error::new(Code::NO_ENCRYPTION, message));
    }
    // What SQLite puts aside in files is not encrypted.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

/// Lets the connection keep more pages at hand, if there is a key: each that is not is deciphered
/// anew whenever it is needed.
pub(super) fn raise_cache(conn: &Connection, key: Option<&Key>) -> Result<(), Error> {
    match key {
        Some(_) => Ok(conn.pragma_update(None, "cache_size", -CACHE_KIB)?),
        None => Ok(()),
    }
}

/// Without the feature there is no key: [`open`] has refused it.
#[cfg(not(feature = "encryption"))]
#[expect(clippy::unnecessary_wraps, reason = "as it is with the feature")]
pub(super) fn unlock(_conn: &Connection, _key: Option<&Key>) -> Result<(), Error> {
    Ok(())
}

/// The file as one that nobody changes.
fn unchanging(path: &Path) -> String {
    let mut uri = String::from("file:");
    let bytes = path.as_os_str().as_encoded_bytes();
    if cfg!(windows) && path.is_absolute() {
        uri.push_str("///");
    }
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b':' => {
                uri.push(char::from(*byte));
            }
            b'\\' if cfg!(windows) => uri.push('/'),
            // Writing to a String cannot fail.
            byte => _ = write!(uri, "%{byte:02x}"),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// The file of this name and ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

pub(super) fn unusable(path: &Path, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::STORE_FULL,
        _ => Code::STORE_DAMAGED,
    };
    let message = format!("{} cannot be used: {error}", path.display());
    Error::new(code, message)
}

fn sealed(key: Option<&Key>) -> Error {
    let (code, message) = match key {
        Some(_) => (
            Code::KEY_WRONG,
            "this key does not open the store, or the file is none; nothing was changed",
        ),
        None => (
            Code::KEY_MISSING,
            "the store is encrypted, or its first page is damaged: open it with its key; \
             nothing was changed",
        ),
    };
    Error::new(code, message)
}

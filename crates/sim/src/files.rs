//! The simulated disk: a folder in memory where there is one, and copies of SQLite files.

use std::io;
use std::path::{Path, PathBuf};

/// Where folders in memory are, on systems that have them.
const IN_MEMORY: &str = "/dev/shm";

/// A folder of its own for one world; it goes with the value.
pub(crate) fn folder() -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("afield-sim-");
    let in_memory = Path::new(IN_MEMORY);
    match in_memory.is_dir() {
        true => builder.tempdir_in(in_memory).or_else(|_| builder.tempdir()),
        false => builder.tempdir(),
    }
}

/// Copies a database and its write-ahead log as they are: what a process that died left behind,
/// or what somebody copied while it ran.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::copy(from, to)?;
    match std::fs::copy(beside(from, "-wal"), beside(to, "-wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            remove_one(&beside(to, "-wal"))?;
        }
        copied => {
            copied?;
        }
    }
    remove_one(&beside(to, "-shm"))
}

/// The bytes of a database and of its write-ahead log.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = std::fs::read(path)?;
    match std::fs::read(beside(path, "-wal")) {
        Ok(log) => bytes.extend(log),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(bytes)
}

/// Removes a database with its files.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    remove_one(path)?;
    remove_one(&beside(path, "-wal"))?;
    remove_one(&beside(path, "-shm"))
}

fn remove_one(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

//! A file that appears under its name when it is whole, and not before.
//!
//! It is written beside its name, brought to disk, and renamed. Whoever dies before that leaves
//! nothing under the name; what was there stays until something whole takes its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use afield_protocol::Code;

use crate::error::Error;

/// A file that is being written.
pub(super) struct NewFile {
    path: PathBuf,
    beside: PathBuf,
    out: BufWriter<File>,
    /// Whether it may take the place of one that is there.
    replaces: bool,
}

impl NewFile {
    /// Begins a file, readable by its owner only. `tag` makes its name beside `path` its own.
    pub(super) fn create(path: &Path, replaces: bool, tag: &str) -> Result<Self, Error> {
        is_free(path, replaces)?;
        let name = path.file_name().map(|name| name.to_string_lossy());
        let name = name.ok_or_else(|| {
            let message = format!("{} names no file: give the file a name", path.display());
            Error::new(Code::FILE_UNUSABLE, message)
        })?;
        if is_of_a_store(&name) {
            let message = format!(
                "{} is a name of a store's own files: choose another name",
                path.display()
            );
            return Err(Error::new(Code::FILE_UNUSABLE, message));
        }
        let beside = path.with_file_name(format!(".{name}.{tag}.part"));
        let file = private(&beside).map_err(|error| unusable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            beside,
            out: BufWriter::new(file),
            replaces,
        })
    }

    /// Appends to it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.out.write_all(bytes);
        written.map_err(|error| unusable(&self.path, &error))
    }

    /// Brings what was written to disk, and gives it its name, durably.
    pub(super) fn publish(mut self) -> Result<(), Error> {
        let flushed = self.out.flush();
        let synced = flushed.and_then(|()| self.out.get_ref().sync_all());
        synced.map_err(|error| unusable(&self.path, &error))?;
        is_free(&self.path, self.replaces)?;
        let renamed = fs::rename(&self.beside, &self.path);
        let named = renamed.and_then(|()| sync_folder(&self.path));
        named.map_err(|error| unusable(&self.path, &error))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // If it has its name by now, or cannot be removed, nothing is to be done about it.
        let _ = fs::remove_file(&self.beside);
    }
}

/// Whether a store, of whatever user, may have a file of this name beside it: its database with
/// what SQLite keeps there, its token. It would be overwritten, or go with its user.
fn is_of_a_store(name: &str) -> bool {
    name.ends_with(".token") || name.contains(".afield")
}

/// Whether a file of this name may be made.
fn is_free(path: &Path, replaces: bool) -> Result<(), Error> {
    if replaces || fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    let message = format!(
        "{} is there already: choose another name, or say that it may be replaced",
        path.display()
    );
    Err(Error::new(Code::FILE_EXISTS, message))
}

/// What a file cannot be used for.
pub(super) fn unusable(path: &Path, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull => Code::STORE_FULL,
        _ => Code::FILE_UNUSABLE,
    };
    Error::new(code, format!("{}: {error}", path.display()))
}

/// Makes a file that only its owner can read.
pub(crate) fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file; the system writes names through.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

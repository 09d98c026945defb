//! The folder that holds a device's stores: one database file for each user.
//!
//! ```text
//! STORE/ann.afield      Ann's database (with -wal and -shm beside it while open)
//! STORE/ann.token       Ann's token, readable by its owner only, if it is to be remembered
//! STORE/files/          files that rows refer to
//! ```

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use afield_protocol::Code;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::Error;
use crate::store::private_file;

/// What a file name writes as it is: the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Longest file name without its ending, in bytes; file systems take 255 with it.
const STEM_BYTES: usize = 230;

/// A folder of stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`; nothing is read or made yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder and what is in it, readable by its owner only.
    ///
    /// # Errors
    /// It cannot be made, or the path is a file.
    pub fn create(&self) -> Result<(), Error> {
        make_private_folder(&self.0.join("files"))
            .map_err(|error| self.failed("cannot make the store folder", &self.0, &error))
    }

    /// The users that have a store here, sorted; none if the folder does not exist.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn users(&self) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| self.failed("cannot read", &self.0, &error))?,
        };
        let mut users = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.failed("cannot read", &self.0, &error))?;
            let path = entry.path();
            let stem = path.file_stem().and_then(OsStr::to_str);
            if let (Some("afield"), Some(stem)) = (path.extension().and_then(OsStr::to_str), stem)
                && let Ok(user) = percent_decode_str(stem).decode_utf8()
            {
                users.push(user.into_owned());
            }
        }
        users.sort();
        Ok(users)
    }

    /// The database file of `user`.
    ///
    /// # Errors
    /// No file can carry this name.
    pub fn database(&self, user: &str) -> Result<PathBuf, Error> {
        self.file(user, "afield")
    }

    /// The token remembered for `user`, if any.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn token(&self, user: &str) -> Result<Option<String>, Error> {
        let path = self.file(user, "token")?;
        match fs::read_to_string(&path) {
            Ok(token) => Ok(Some(token.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("cannot read", &path, &error)),
        }
    }

    /// Remembers `token` for `user`, in a file that only its owner may read. The file is replaced
    /// whole: a reader finds the old token or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remember_token(&self, user: &str, token: &str) -> Result<(), Error> {
        let path = self.file(user, "token")?;
        let temporary = self.file(user, "token.new")?;
        let write = || -> io::Result<()> {
            // One that a crash left behind may have other permissions.
            let _ = fs::remove_file(&temporary);
            let mut file = private_file(&temporary)?;
            writeln!(file, "{token}")?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| self.failed("cannot write", &path, &error))
    }

    /// Forgets the token of `user`.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget_token(&self, user: &str) -> Result<(), Error> {
        let path = self.file(user, "token")?;
        remove(&path).map_err(|error| self.failed("cannot remove", &path, &error))
    }

    /// Removes everything of `user`'s: the database with what lies beside it, and the token.
    /// Nobody may have the store open.
    ///
    /// # Errors
    /// A file cannot be removed. The database goes first, so that the rest is nobody's.
    pub fn erase(&self, user: &str) -> Result<(), Error> {
        for ending in ["afield", "afield-wal", "afield-shm", "token"] {
            let path = self.file(user, ending)?;
            remove(&path).map_err(|error| self.failed("cannot remove", &path, &error))?;
        }
        Ok(())
    }

    fn file(&self, user: &str, ending: &str) -> Result<PathBuf, Error> {
        let mut stem = utf8_percent_encode(user, ENCODED).to_string();
        if stem.starts_with('.') {
            stem.replace_range(..1, "%2E");
        }
        if stem.is_empty() || stem.len() > STEM_BYTES {
            let message = format!(
                "a user's name must have 1 to {STEM_BYTES} bytes as a file name; `{user}` has {}",
                stem.len()
            );
            return Err(Error::new(Code::MALFORMED, message));
        }
        Ok(self.0.join(format!("{stem}.{ending}")))
    }

    fn failed(&self, what: &str, path: &Path, error: &io::Error) -> Error {
        let code = match error.kind() {
            io::ErrorKind::StorageFull => Code::STORE_FULL,
            _ => Code::STORE_DAMAGED,
        };
        Error::new(code, format!("{what} {}: {error}", path.display()))
    }
}

/// Removes a file that need not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(unix)]
fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(not(unix))]
fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_has_a_file_of_his_own_inside_the_folder() {
        let folder = Folder::new("/stores");
        let mut seen = std::collections::HashSet::new();
        for user in [
            "ann",
            "a/b",
            "../up",
            ".",
            "..",
            "ü",
            "a b",
            "a%20b",
            "ann@x.org",
            "\0",
        ] {
            let path = folder.database(user).unwrap();
            assert_eq!(path.parent(), Some(Path::new("/stores")), "{user}");
            assert!(seen.insert(path), "{user}");
        }
        assert_eq!(
            folder.database("ann@x.org").unwrap(),
            Path::new("/stores/ann%40x.org.afield")
        );
        assert!(folder.database("").is_err());
        assert!(folder.database(&"x".repeat(300)).is_err());
    }

    #[test]
    fn users_are_listed_by_their_names() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().join("new"));
        assert_eq!(folder.users().unwrap(), Vec::<String>::new());
        folder.create().unwrap();
        for user in ["ann@x.org", "..", "bob"] {
            fs::write(folder.database(user).unwrap(), "").unwrap();
            folder.remember_token(user, "secret").unwrap();
        }
        assert_eq!(folder.users().unwrap(), ["..", "ann@x.org", "bob"]);
    }

    #[test]
    fn a_token_is_replaced_and_is_private() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        assert_eq!(folder.token("ann").unwrap(), None);
        folder.remember_token("ann", "first").unwrap();
        folder.remember_token("ann", "second").unwrap();
        assert_eq!(folder.token("ann").unwrap().as_deref(), Some("second"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let path = place.path().join("ann.token");
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}

//! The secret that signs tokens, and its file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Fewest bytes: HS256 is as strong as its key, and a short one can be guessed (RFC 7518).
const SECRET_BYTES_MIN: usize = 32;

/// Most bytes read: anything larger is some other file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A key for HS256.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// The secret's file is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or made.
    #[error("secret file {path}: {source}; `afield init` makes one")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Too short or far too long for a key.
    #[error("secret file {path}: {size} bytes; a key has 32 bytes or more, like 64 random digits")]
    Size {
        /// The file.
        path: String,
        /// Its size in bytes.
        size: usize,
    },
}

impl Secret {
    /// A secret of these bytes; `None` if they are fewer than 32.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() >= SECRET_BYTES_MIN).then_some(Self(bytes))
    }

    /// Makes a file with a fresh secret, 32 random bytes in hexadecimal, readable by its owner
    /// alone. The text is the key, so that it can be pasted into whatever issues the tokens.
    ///
    /// # Errors
    /// The file exists already (it is left alone), or cannot be made.
    pub fn create(path: &Path) -> Result<Self, SecretError> {
        let failed = |source: io::Error| SecretError::File {
            path: path.display().to_string(),
            source,
        };
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error)))?;
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = private_file(path).map_err(failed)?;
        file.write_all(format!("{text}\n").as_bytes())
            .map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(Self(text.into_bytes()))
    }

    /// Reads a secret. The key is the file's bytes; a line break at the end of a text is not part
    /// of it.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let shown = || path.display().to_string();
        let failed = |source| SecretError::File {
            path: shown(),
            source,
        };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        let too_large = |size| SecretError::Size {
            path: shown(),
            size,
        };
        if size > SECRET_BYTES_MAX {
            return Err(too_large(usize::try_from(size).unwrap_or(usize::MAX)));
        }
        let mut bytes = std::fs::read(path).map_err(failed)?;
        let is_text = bytes
            .iter()
            .all(|byte| byte.is_ascii_graphic() || b" \r\n".contains(byte));
        while is_text && bytes.last().is_some_and(|byte| b"\r\n".contains(byte)) {
            bytes.pop();
        }
        let size = bytes.len();
        Self::from_bytes(bytes).ok_or_else(|| too_large(size))
    }

    /// Whether others than the owner may read the file; the caller warns.
    pub fn is_readable_by_others(path: &Path) -> bool {
        readable_by_others(path)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Never the secret itself.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(unix)]
fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(not(unix))]
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn readable_by_others(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_secret_is_private_random_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".afield/secret");
        let made = Secret::create(&path).unwrap();
        assert_eq!(made.bytes(), Secret::read(&path).unwrap().bytes());
        assert_eq!(made.bytes().len(), 64);
        assert!(!Secret::is_readable_by_others(&path));
        let before = std::fs::read(&path).unwrap();
        assert!(Secret::create(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let other = Secret::create(&folder.path().join("other")).unwrap();
        assert_ne!(made.bytes(), other.bytes());
        assert_eq!(format!("{made:?}"), "Secret(…)");
    }

    #[test]
    fn only_the_line_break_of_a_text_is_no_part_of_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Secret::read(&path).map(|secret| secret.bytes().to_vec())
        };
        assert_eq!(
            read(&[b"a".repeat(40), b"\r\n".to_vec()].concat()).unwrap(),
            b"a".repeat(40)
        );
        let binary = [vec![0xff; 31], b"\n".to_vec()].concat();
        assert_eq!(read(&binary).unwrap(), binary);
        let short = read(&[b"a".repeat(31), b"\n".to_vec()].concat()).unwrap_err();
        assert!(short.to_string().contains("31 bytes"), "{short}");
        assert!(read(&vec![b'a'; 70_000]).is_err());
        assert!(
            Secret::read(&folder.path().join("none"))
                .unwrap_err()
                .to_string()
                .contains("none")
        );
    }
}

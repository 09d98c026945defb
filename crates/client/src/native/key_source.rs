//! Where an app keeps the key of its store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use afield_protocol::Code;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::key::Key;

/// Where the key of an encrypted store comes from. It is asked once, when the store is opened.
///
/// An app on a phone or a desktop asks the system's key store in a callback; a file or an
/// environment variable is for servers and tests, and as safe as they are.
#[derive(Clone)]
pub enum KeySource {
    /// A file with the 32 bytes of the key, or with 64 hexadecimal digits and perhaps a newline.
    File(PathBuf),
    /// The environment variable of this name, with 64 hexadecimal digits.
    Environment(String),
    /// Whatever this answers; see [`KeySource::callback`].
    Callback(KeyCallback),
}

/// What answers with a key, or with why it cannot.
pub type KeyCallback = Arc<dyn Fn() -> Result<Key, Error> + Send + Sync>;

impl KeySource {
    /// A source that asks the app. What it answers as an error is what opening fails with;
    /// `key-missing` says that there is no key.
    pub fn callback(ask: impl Fn() -> Result<Key, Error> + Send + Sync + 'static) -> Self {
        Self::Callback(Arc::new(ask))
    }

    /// Asks for the key.
    ///
    /// # Errors
    /// `key-missing` if there is no such file or variable, `key-malformed` if it holds no key, or
    /// what the callback says.
    pub fn key(&self) -> Result<Key, Error> {
        match self {
            Self::File(path) => from_file(path),
            Self::Environment(name) => from_environment(name),
            Self::Callback(ask) => ask(),
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Environment(name) => f.debug_tuple("Environment").field(name).finish(),
            Self::Callback(_) => f.write_str("Callback(..)"),
        }
    }
}

fn from_file(path: &Path) -> Result<Key, Error> {
    let place = |error: &dyn fmt::Display| format!("the key file {}: {error}", path.display());
    let bytes = std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| Error::new(Code::KEY_MISSING, place(&error)).caused_by(error))?;
    let key = match <[u8; Key::BYTES]>::try_from(bytes.as_slice()) {
        Ok(raw) => Key::new(raw),
        Err(_) => Key::from_hex(std::str::from_utf8(&bytes).unwrap_or_default().trim()),
    };
    key.map_err(|error| Error::new(error.code().clone(), place(&error)))
}

fn from_environment(name: &str) -> Result<Key, Error> {
    let Some(digits) = std::env::var_os(name) else {
        let message = format!("the environment variable {name} has no key: it is not set");
        return Err(Error::new(Code::KEY_MISSING, message));
    };
    let digits = Zeroizing::new(digits.into_encoded_bytes());
    let key = Key::from_hex(std::str::from_utf8(&digits).unwrap_or_default().trim());
    key.map_err(|error| {
        let message = format!("the environment variable {name}: {error}");
        Error::new(error.code().clone(), message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &KeySource) -> Option<Code> {
        source.key().err().map(|error| error.code().clone())
    }

    #[test]
    fn a_file_holds_bytes_or_digits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let source = KeySource::File(path.clone());
        assert_eq!(code(&source), Some(Code::KEY_MISSING));
        let digits = "7e".repeat(32);
        for (content, expected) in [
            (&[7_u8; 32][..], None),
            (digits.as_bytes(), None),
            (format!("{digits}\r\n").as_bytes(), None),
            (b"", Some(Code::KEY_MALFORMED)),
            (b"secret", Some(Code::KEY_MALFORMED)),
            (&[7; 33], Some(Code::KEY_MALFORMED)),
            (&[0xff; 64], Some(Code::KEY_MALFORMED)),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(code(&source), expected, "{content:?}");
        }
        let error = source.key().unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }

    #[test]
    fn a_variable_that_is_not_set_is_no_key() {
        let source = KeySource::Environment("AFIELD_TEST_NO_SUCH_VARIABLE".into());
        assert_eq!(code(&source), Some(Code::KEY_MISSING));
        // One that every process has, and that holds no key.
        let source = KeySource::Environment("PATH".into());
        assert_eq!(code(&source), Some(Code::KEY_MALFORMED));
        let path = std::env::var("PATH").unwrap();
        assert!(!source.key().unwrap_err().to_string().contains(&path));
    }

    #[test]
    fn a_callback_is_asked_and_not_shown() {
        let key = Key::from_hex(&"5a".repeat(32)).unwrap();
        let source = KeySource::callback(move || Ok(key.clone()));
        assert_eq!(code(&source), None);
        assert_eq!(format!("{source:?}"), "Callback(..)");
        let locked = || Err(Error::new(Code::KEY_MISSING, "the key store is locked"));
        let source = KeySource::callback(locked);
        assert_eq!(code(&source), Some(Code::KEY_MISSING));
    }
}

//! Files that hold what the code makes: compared byte for byte, or written when asked to.
//!
//! `AFIELD_BLESS=1 cargo test -p afield-protocol` writes them. What it changes is a change of the
//! protocol, and is looked at as one.

use std::path::{Path, PathBuf};

/// A path from the root of the repository.
pub(crate) fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(relative)
}

/// Compares a file with what it should hold, or writes it.
#[track_caller]
pub(crate) fn check(relative: &str, expected: &[u8]) {
    let path = path(relative);
    if std::env::var_os("AFIELD_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, expected).expect("a file of the repository can be written");
        return;
    }
    let found = std::fs::read(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{relative} is not what the code makes:\n{}\ninstead of\n{}\n\
         (AFIELD_BLESS=1 writes it, if that is meant)",
        String::from_utf8_lossy(&found),
        String::from_utf8_lossy(expected)
    );
}

/// A text of the repository.
pub(crate) fn text(relative: &str) -> String {
    let text = std::fs::read_to_string(path(relative));
    text.unwrap_or_else(|error| panic!("{relative}: {error}"))
}

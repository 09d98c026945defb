//! SQLite: push.

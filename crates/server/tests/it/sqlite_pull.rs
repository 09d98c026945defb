//! SQLite: pull.

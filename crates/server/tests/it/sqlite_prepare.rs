//! SQLite: prepare.

//! SQLite: marks.

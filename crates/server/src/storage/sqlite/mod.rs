//! SQLite: a team's own file, or Afield's embedded default.

pub mod catalog;

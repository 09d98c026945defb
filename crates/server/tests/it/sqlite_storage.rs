//! The conformance suite on SQLite.

use crate::sqlite_database::SqliteDatabase;

afield_server::storage_conformance!(SqliteDatabase::new());

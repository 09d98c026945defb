//! The conformance suite on SQLite.

use afield_server::storage::conformance::{
    lookups_model, lookups_schema, rights_model, rights_schema,
};

use crate::sqlite_database::SqliteDatabase;

afield_server::storage_conformance!(SqliteDatabase::new());

mod rights {
    use super::*;

    afield_server::storage_rights_conformance!(SqliteDatabase::with(
        &rights_schema("INTEGER PRIMARY KEY AUTOINCREMENT"),
        rights_model()
    ));
}

mod lookups {
    use super::*;

    afield_server::storage_lookups_conformance!(SqliteDatabase::with(
        &lookups_schema(),
        lookups_model()
    ));
}

//! The conformance suite on SQLite.

use afield_server::storage::conformance::{
    chosen_model, chosen_schema, lookups_model, lookups_schema, rights_model, rights_schema,
    soft_delete_model, soft_delete_schema, windows_model, windows_schema,
};

use crate::sqlite_database::SqliteDatabase;

afield_server::storage_conformance!(SqliteDatabase::new());

mod soft_delete {
    use super::*;

    afield_server::storage_soft_delete_conformance!(SqliteDatabase::with(
        &soft_delete_schema("INTEGER PRIMARY KEY AUTOINCREMENT"),
        soft_delete_model()
    ));
}

mod windows {
    use super::*;

    afield_server::storage_windows_conformance!(SqliteDatabase::with(
        &windows_schema(),
        windows_model()
    ));
}

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

mod chosen {
    use super::*;

    afield_server::storage_chosen_conformance!(SqliteDatabase::with(
        &chosen_schema(),
        chosen_model()
    ));

    /// Without a memory, each device must say what it has.
    #[test]
    fn p5_devices_choose_apart_from_a_server_that_remembers_nothing() {
        let db = SqliteDatabase::with(&chosen_schema(), chosen_model());
        let mut db = db.list_memory(0);
        afield_server::storage::conformance::p5_devices_of_one_user_choose_apart(&mut db);
    }
}

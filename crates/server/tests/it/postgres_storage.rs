//! The conformance suite on PostgreSQL.

use afield_server::resolved::ServerModel;
use afield_server::storage::conformance::{
    chosen_model, chosen_schema, for_postgres, lookups_model, lookups_schema, rights_model,
    rights_schema, soft_delete_model, soft_delete_schema, windows_model, windows_schema,
};

use crate::postgres_database::PostgresDatabase;

/// With the tables of one of the suites.
fn with(schema: &str, model: ServerModel) -> PostgresDatabase {
    PostgresDatabase::with(&for_postgres(schema), model)
}

/// The same with a server of its own.
fn alone(schema: &str, model: ServerModel) -> PostgresDatabase {
    PostgresDatabase::alone_with(&for_postgres(schema), model)
}

/// As the schemas call a key that the database numbers; it becomes PostgreSQL's own.
const NUMBERED: &str = "INTEGER PRIMARY KEY AUTOINCREMENT";

afield_server::storage_conformance!(PostgresDatabase::new(), PostgresDatabase::alone());

mod soft_delete {
    use super::*;

    afield_server::storage_soft_delete_conformance!(with(
        &soft_delete_schema(NUMBERED),
        soft_delete_model()
    ));
}

mod windows {
    use super::*;

    afield_server::storage_windows_conformance!(
        with(&windows_schema(), windows_model()),
        alone(&windows_schema(), windows_model())
    );
}

mod rights {
    use super::*;

    afield_server::storage_rights_conformance!(with(&rights_schema(NUMBERED), rights_model()));
}

mod lookups {
    use super::*;

    afield_server::storage_lookups_conformance!(
        with(&lookups_schema(), lookups_model()),
        alone(&lookups_schema(), lookups_model())
    );
}

mod chosen {
    use super::*;

    afield_server::storage_chosen_conformance!(with(&chosen_schema(), chosen_model()));
}

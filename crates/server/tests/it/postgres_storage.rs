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

    afield_server::storage_windows_conformance!(with(&windows_schema(), windows_model()));
}

mod rights {
    use super::*;

    afield_server::storage_rights_conformance!(with(&rights_schema(NUMBERED), rights_model()));
}

mod lookups {
    use super::*;

    afield_server::storage_lookups_conformance!(with(&lookups_schema(), lookups_model()));
}

mod chosen {
    use super::*;

    afield_server::storage_chosen_conformance!(with(&chosen_schema(), chosen_model()));
}

mod lookups {
    use afield_server::storage::conformance::{
        for_postgres, lookups_model, lookups_schema, random_lookups,
    };

    use super::*;

    fn made() -> PostgresDatabase {
        PostgresDatabase::with(&for_postgres(&lookups_schema()), lookups_model())
    }

    /// Those that are everyone's, each seed by itself.
    #[test]
    fn p5_random_writes_against_random_pages_of_everyones_lookups() {
        let mut db = made();
        let asked = std::env::var("AFIELD_SEEDS").ok();
        let seeds = asked.and_then(|seeds| seeds.parse().ok()).unwrap_or(20);
        for seed in 0..seeds {
            let work = std::panic::AssertUnwindSafe(|| {
                random_lookups(&mut db, seed, &["job", "far_job", "whole_job", "tree"]);
            });
            assert!(std::panic::catch_unwind(work).is_ok(), "seed {seed}");
        }
    }
}

mod windows {
    use afield_server::storage::conformance::{
        for_postgres, random_windows, windows_model, windows_schema,
    };

    use super::*;

    fn made() -> PostgresDatabase {
        PostgresDatabase::with(&for_postgres(&windows_schema()), windows_model())
    }

    afield_server::storage_conformance! { @ made();
        p5_soft_deleted_rows_do_not_enter
        read_only_entities_start_over_when_a_row_enters
        p5_another_window_starts_over
    }

    /// Those that are everyone's.
    #[test]
    fn p5_random_windows_of_everyone_hold_exactly_what_they_should() {
        random_windows(&mut made(), &["log", "plan", "rota"]);
    }
}

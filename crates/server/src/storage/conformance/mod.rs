//! What every storage must do, as tests over the trait and a few things a test needs of the
//! database itself.
//!
//! A storage's own tests call [`storage_conformance!`](crate::storage_conformance) with its
//! [`Database`]; each case becomes one test.

#![expect(clippy::unwrap_used, reason = "a test suite")]

mod parts;
mod pulls;
mod pushes;
mod random;
mod refusals;
mod replica;

use afield_protocol::{Attribute, Entity, Identifier, Merge, Model, Pattern, Type, Unit, Value};

pub use self::parts::*;
pub use self::pulls::*;
pub use self::pushes::*;
pub use self::random::*;
pub use self::refusals::*;
pub use self::replica::{Replica, Rows};
use crate::resolved::{ServerColumn, ServerEntity, ServerModel};
use crate::storage::Storage;

/// A prepared database with the tables of [`SCHEMA`], and a server on it.
pub trait Database {
    /// The storage under test.
    fn storage(&self) -> &dyn Storage;

    /// The model it was opened with.
    fn model(&self) -> &ServerModel;

    /// Runs statements as another program would, beside the server, in one transaction.
    fn execute(&self, sql: &str);

    /// What a query of another program returns.
    fn query(&self, sql: &str) -> Vec<Vec<Value>>;

    /// Ends the server and starts another on the same database.
    fn restart(&mut self);

    /// Takes a copy of the whole database, as a backup would, while the server runs.
    fn copy(&mut self);

    /// Puts the copy back in the database's place and starts the server on it.
    fn restore(&mut self);
}

/// The tables that the cases work on; SQL that every database takes.
pub const SCHEMA: &str = "
    CREATE TABLE company (
      code TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, rank INTEGER CHECK (rank >= 0)
    );
    CREATE TABLE visit (
      id TEXT PRIMARY KEY, company TEXT REFERENCES company (code), note TEXT, minutes INTEGER
    );
    CREATE TABLE part (
      id INTEGER PRIMARY KEY NOT NULL,
      company TEXT REFERENCES company (code) ON DELETE CASCADE ON UPDATE CASCADE, name TEXT
    );
    CREATE TABLE line (
      visit_no INTEGER NOT NULL, pos INTEGER NOT NULL, words TEXT, PRIMARY KEY (visit_no, pos)
    );
    CREATE TABLE rate (id INTEGER PRIMARY KEY NOT NULL, value TEXT);
    CREATE TABLE stock (
      id INTEGER PRIMARY KEY NOT NULL, code TEXT UNIQUE, shelf INTEGER, bin INTEGER, words TEXT,
      UNIQUE (shelf, bin)
    );";

/// The model over [`SCHEMA`].
pub fn model() -> ServerModel {
    use Pattern::{LastWriteWins as Lww, ReadOnly, ReadOnlyOptimized};
    use Type::{Integer, Text, Uuid};
    server_model(vec![
        entity(
            "company",
            Lww,
            1,
            &[("code", Text), ("name", Text), ("rank", Integer)],
        ),
        entity(
            "visit",
            Lww,
            1,
            &[
                ("id", Uuid),
                ("company", Text),
                ("note", Text),
                ("minutes", Integer),
            ],
        ),
        entity(
            "part",
            ReadOnlyOptimized,
            1,
            &[("id", Integer), ("company", Text), ("name", Text)],
        ),
        entity(
            "line",
            Lww,
            2,
            &[("visit_no", Integer), ("pos", Integer), ("words", Text)],
        ),
        entity("rate", ReadOnly, 1, &[("id", Integer), ("value", Text)]),
        entity(
            "stock",
            Lww,
            1,
            &[
                ("id", Integer),
                ("code", Text),
                ("shelf", Integer),
                ("bin", Integer),
                ("words", Text),
            ],
        ),
    ])
}

/// A model of these entities in one unit.
pub fn server_model(entities: Vec<ServerEntity>) -> ServerModel {
    let names = entities
        .iter()
        .map(|entity| entity.local.name.clone())
        .collect();
    ServerModel {
        device: Model {
            version: 1,
            units: vec![Unit {
                name: "main".into(),
                entities: names,
            }],
            entities: entities.iter().map(|entity| entity.local.clone()).collect(),
        },
        entities,
    }
}

/// An entity whose table and columns have the names of its own.
pub fn entity(
    name: &str,
    pattern: Pattern,
    key_width: usize,
    attributes: &[(&str, Type)],
) -> ServerEntity {
    let attribute = |(name, kind): &(&str, Type)| Attribute {
        name: (*name).to_owned(),
        kind: *kind,
        read_only: false,
        counter: false,
        default: None,
    };
    let column = |(name, kind): &(&str, Type)| ServerColumn {
        name: (*name).to_owned(),
        kind: *kind,
        scale: None,
    };
    let is_uuid = attributes
        .first()
        .is_some_and(|(_, kind)| *kind == Type::Uuid);
    ServerEntity {
        local: Entity {
            name: name.to_owned(),
            pattern,
            merge: Merge::Record,
            identifier: if is_uuid {
                Identifier::Uuid
            } else {
                Identifier::Natural
            },
            key_width,
            attributes: attributes.iter().map(attribute).collect(),
            strict: false,
            insert_only: false,
            indexes: Vec::new(),
            references: Vec::new(),
        },
        table: name.to_owned(),
        columns: attributes.iter().map(column).collect(),
    }
}

/// What the table of `entity` holds, in the form of [`Replica::rows`].
pub fn table(db: &dyn Database, entity: &str) -> Rows {
    let model = db.model();
    let entity = model
        .entity(entity)
        .expect("the cases use entities of the model");
    let columns: Vec<String> = entity
        .columns
        .iter()
        .map(|c| format!("\"{}\"", c.name.replace('"', "\"\"")))
        .collect();
    let sql = format!(
        "SELECT {} FROM \"{}\"",
        columns.join(", "),
        entity.table.replace('"', "\"\"")
    );
    let key_width = entity.local.key_width;
    let key = |row: &Vec<Value>| replica::key_bytes(row.get(..key_width).unwrap_or(row));
    db.query(&sql)
        .into_iter()
        .map(|row| (key(&row), row))
        .collect()
}

/// Fails unless the replica holds exactly what the tables hold.
pub fn assert_same(db: &dyn Database, replica: &Replica, entities: &[&str]) {
    for entity in entities {
        assert_eq!(replica.rows(entity), &table(db, entity), "{entity} differs");
    }
}

/// Makes a test of every case for a database; the argument is an expression that makes one.
#[macro_export]
macro_rules! storage_conformance {
    ($make:expr) => {
        $crate::storage_conformance! { @ $make;
            p5_first_download_brings_every_row
            p5_delta_brings_inserts_updates_and_deletes
            p5_a_row_that_comes_back_comes_back
            p5_a_key_change_moves_the_row
            p5_pages_of_every_size_lose_nothing
            p5_small_pages_by_bytes_move_on
            p5_writes_between_pages_of_a_first_download_arrive
            p5_writes_between_pages_of_a_delta_arrive
            p5_cascades_are_marked
            read_only_starts_over_when_something_changed
            read_only_ends_its_download_while_writers_go_on
            p5_a_restart_continues
            p5_a_restored_copy_is_noticed
            p5_a_restored_copy_that_grew_past_the_device_is_noticed
            p5_a_restored_copy_is_noticed_in_its_last_epoch
            p5_a_restored_copy_is_noticed_in_the_middle_of_a_download
            p7_forged_positions_start_over
            p7_positions_of_another_entity_start_over
            unknown_entities_are_an_error_of_the_pull
            p6_create_update_and_delete_are_applied
            p2_a_repeat_gets_the_same_answer_and_no_effect
            p2_a_foreign_edit_between_lost_answer_and_repeat_stays
            p2_a_refusal_is_repeated_even_when_its_reason_is_gone
            p2_an_altered_repeat_is_refused
            p2_known_parts_of_a_folded_group_make_a_conflict
            p2_parts_of_a_folded_group_that_come_late_make_a_conflict
            p6_a_refused_change_refuses_its_group_and_no_other
            p6_constraints_become_codes
            p6_a_missing_reference_refuses_only_its_group
            p6_a_reference_that_a_delete_breaks_is_refused
            order_within_a_group_does_not_matter_to_references
            p6_what_last_write_wins_replaces_is_in_the_verdict
            p6_conflicts_carry_the_servers_row
            p6_unwritable_changes_are_rejected_with_a_code
            composite_and_text_keys_are_written
            ledgers_of_users_are_apart
            p2_parts_become_the_whole_in_whatever_order_they_come
            p2_parts_of_a_settled_group_get_its_outcome
            p9_parts_are_bounded
            p5_random_writers_against_random_pages
        }
    };
    (@ $make:expr; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            let mut database = $make;
            $crate::storage::conformance::$case(&mut database);
        })*
    };
}

//! What of Afield's a database has now.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;

use super::error::{While, lasting};
use super::quoted::{qualified, quote};
use crate::storage::StorageError;

const DOING: &str = "reading the schema `afield`";

/// Everything in the schema `afield`, and the triggers that call its functions.
#[derive(Default)]
pub(super) struct Present {
    pub has_schema: bool,
    /// The version of the bookkeeping; `None` if there is none.
    pub version: Option<i32>,
    /// Whether the bookkeeping was made in another database, and came here with a restored dump.
    pub is_copy: bool,
    pub captures: Vec<PresentCapture>,
    pub triggers: Vec<PresentTrigger>,
    /// Functions: name, arguments, body.
    pub functions: Vec<(String, String, String)>,
    /// Tables and indexes.
    pub relations: BTreeSet<String>,
    /// The number that the next new capture gets.
    pub next_id: i32,
}

/// A row of `afield.capture`.
pub(super) struct PresentCapture {
    pub id: i32,
    pub kind: String,
    pub relation: u32,
    pub table_name: String,
    pub key: Vec<String>,
    pub scope: Vec<String>,
    pub definition: String,
}

/// A trigger that calls a function of Afield's.
pub(super) struct PresentTrigger {
    pub on: (u32, String),
    pub name: String,
    pub enabled: String,
    pub function: String,
    /// Whether it came with the trigger of the table that this one is a partition of.
    pub is_inherited: bool,
}

const TRIGGERS: &str = "
    SELECT c.oid, n.nspname::text, c.relname::text, t.tgname::text, t.tgenabled::text,
           f.proname::text, t.tgparentid <> 0
    FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
    JOIN pg_namespace o ON o.oid = f.pronamespace AND o.nspname = 'afield'
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY 2, 3, 4";

const FUNCTIONS: &str = "
    SELECT f.proname::text, pg_get_function_identity_arguments(f.oid), f.prosrc
    FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace AND n.nspname = 'afield'
    ORDER BY 1";

const RELATIONS: &str = "
    SELECT c.relname::text FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'afield'
    WHERE c.relkind IN ('r', 'i')";

const NODE: &str = "
    SELECT n.schema_version, (n.system_identifier, n.database, n.itself)
      IS DISTINCT FROM (s.system_identifier, d.oid, 'afield.node'::regclass::oid)
    FROM afield.node n, pg_control_system() s, pg_database d WHERE d.datname = current_database()";

impl Present {
    pub(super) async fn read(tx: &Transaction<'_>) -> Result<Self, StorageError> {
        let schema = "SELECT FROM pg_namespace WHERE nspname = 'afield'";
        if tx.query_opt(schema, &[]).await.while_(DOING)?.is_none() {
            return Ok(Self {
                next_id: 1,
                ..Self::default()
            });
        }
        let relations = tx.query(RELATIONS, &[]).await.while_(DOING)?;
        let relations: BTreeSet<String> = relations.iter().map(|row| row.get(0)).collect();
        let mut present = Self {
            has_schema: true,
            relations,
            ..Self::default()
        };
        if !present.relations.contains("node") {
            return Err(lasting(
                "the database has a schema `afield` that is not Afield's: rename or drop it",
            ));
        }
        let Some(node) = tx.query_opt(NODE, &[]).await.while_(DOING)? else {
            return Err(lasting(
                "`afield.node` has lost its row: run `afield prepare --remove`, then `afield \
                 prepare`",
            ));
        };
        (present.version, present.is_copy) = (Some(node.get(0)), node.get(1));
        present.read_captures(tx).await?;
        present.read_code(tx).await?;
        Ok(present)
    }

    async fn read_captures(&mut self, tx: &Transaction<'_>) -> Result<(), StorageError> {
        let sql = "SELECT id, kind, relation, table_name, key_columns, scope_columns, definition \
                   FROM afield.capture ORDER BY id";
        let rows = tx.query(sql, &[]).await.while_(DOING)?;
        let read = |row: &tokio_postgres::Row| PresentCapture {
            id: row.get(0),
            kind: row.get(1),
            relation: row.get(2),
            table_name: row.get(3),
            key: row.get(4),
            scope: row.get(5),
            definition: row.get(6),
        };
        self.captures = rows.iter().map(read).collect();
        // Numbers are not used again: a reset of a capture that is gone says nothing of another.
        let sql = "SELECT greatest((SELECT max(id) FROM afield.capture), \
                   (SELECT max(capture) FROM afield.reset), 0) + 1";
        self.next_id = tx.query_one(sql, &[]).await.while_(DOING)?.get(0);
        Ok(())
    }

    async fn read_code(&mut self, tx: &Transaction<'_>) -> Result<(), StorageError> {
        let rows = tx.query(TRIGGERS, &[]).await.while_(DOING)?;
        let read = |row: &tokio_postgres::Row| PresentTrigger {
            on: (row.get(0), qualified(row.get(1), row.get(2))),
            name: row.get(3),
            enabled: row.get(4),
            function: row.get(5),
            is_inherited: row.get(6),
        };
        self.triggers = rows.iter().map(read).collect();
        let rows = tx.query(FUNCTIONS, &[]).await.while_(DOING)?;
        let read = |row: &tokio_postgres::Row| (row.get(0), row.get(1), row.get(2));
        self.functions = rows.iter().map(read).collect();
        Ok(())
    }

    /// Whether there is a function of this name with this body.
    pub(super) fn has_function(&self, name: &str, body: &str) -> bool {
        let mut functions = self.functions.iter();
        functions.any(|(known, _, text)| known == name && text == body)
    }

    /// A trigger by table and name.
    pub(super) fn trigger(&self, on: u32, name: &str) -> Option<&PresentTrigger> {
        let mut triggers = self.triggers.iter();
        triggers.find(|trigger| trigger.on.0 == on && trigger.name == name)
    }

    /// The triggers of a capture, those that came by inheritance left out.
    pub(super) fn triggers_of(&self, id: i32) -> impl Iterator<Item = &PresentTrigger> {
        let named = ["row", "statement", "truncate"].map(|word| format!("{word}_{id}"));
        let triggers = self.triggers.iter();
        triggers.filter(move |t| !t.is_inherited && named.contains(&t.function))
    }
}

impl PresentTrigger {
    /// What takes it away.
    pub(super) fn drop_sql(&self) -> String {
        format!("DROP TRIGGER {} ON {}", quote(&self.name), self.on.1)
    }
}

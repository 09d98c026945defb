//! What a push must know of a table beside its columns: what its constraints are about, what else
//! happens when it is written, and how its rows are numbered.

use std::collections::HashMap;

use tokio_postgres::Transaction;

use super::super::error::While;
use super::super::name::{TableName, literal};
use super::super::scope_reads::ScopeReads;
use super::super::shape::Shape;
use crate::resolved::{Scope, ServerEntity, ServerModel};
use crate::storage::StorageError;
use crate::storage::push::{ForeignKey, asked};

/// A table, for a push.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Learned {
    /// Constraints and unique indexes by schema-less name, those of its partitions included.
    pub constraints: HashMap<String, Constraint>,
    /// Whether a trigger or rule of the team's may change what a statement writes, or write more.
    pub has_triggers: bool,
    /// Whether an update of it may change other rows, or whose rows others are: it has triggers of
    /// the team's, others refer to it with an action, or a scope reads it.
    pub does_more: bool,
    /// What gives a new row its number, in SQL.
    pub next_number: Option<String>,
    /// Whether a number that is given must be said to be meant.
    pub is_always_numbered: bool,
    /// What its columns get in a new row, in SQL.
    pub defaults: HashMap<String, String>,
    /// For each reference of the entity, whether a push must ask for the row that it names.
    pub asked: Vec<bool>,
}

/// A constraint, or a unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Constraint {
    /// Its columns; none of an expression.
    pub columns: Vec<String>,
    /// How it was written, for people.
    pub definition: String,
}

const DOING: &str = "reading what a table's constraints are";

const CONSTRAINTS: &str = "
    WITH part AS (
      SELECT $1::text::regclass::oid AS oid
      UNION SELECT relid::oid FROM pg_partition_tree($1::text::regclass)
    )
    SELECT c.conname::text, coalesce((
        SELECT array_agg(a.attname::text ORDER BY k.ord)
        FROM unnest(c.conkey) WITH ORDINALITY k (num, ord)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num), '{}'),
      pg_get_constraintdef(c.oid)
    FROM part JOIN pg_constraint c ON c.conrelid = part.oid
    UNION ALL
    SELECT i.relname::text, coalesce((
        SELECT array_agg(a.attname::text ORDER BY k.ord)
        FROM unnest(x.indkey::int2[]) WITH ORDINALITY k (num, ord)
        JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.num
        WHERE k.ord <= x.indnkeyatts), '{}'),
      pg_get_indexdef(x.indexrelid)
    FROM part JOIN pg_index x ON x.indrelid = part.oid AND x.indisunique
    JOIN pg_class i ON i.oid = x.indexrelid
    WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid)";

const TRIGGERS: &str = "
    WITH part AS (
      SELECT $1::text::regclass::oid AS oid
      UNION SELECT relid::oid FROM pg_partition_tree($1::text::regclass)
    )
    SELECT EXISTS (
        SELECT FROM part JOIN pg_trigger t ON t.tgrelid = part.oid
        JOIN pg_proc f ON f.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
          AND f.pronamespace IS DISTINCT FROM to_regnamespace('afield'))
      OR EXISTS (SELECT FROM part JOIN pg_class r ON r.oid = part.oid WHERE r.relhasrules)";

const ACTIONS: &str = "
    SELECT EXISTS (
      SELECT FROM pg_constraint
      WHERE confrelid = $1::text::regclass AND confupdtype NOT IN ('a', 'r'))";

const NUMBERS: &str = "
    SELECT a.attidentity::text, pg_get_serial_sequence($1::text, a.attname::text),
      pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1::text::regclass AND a.attname = $2::text::name";

const DEFAULTS: &str = "
    SELECT a.attname::text, pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1::text::regclass AND a.attgenerated = '' AND NOT a.attisdropped";

const REFERENCES: &str = "
    SELECT n.nspname::text, r.relname::text,
      (SELECT array_agg(a.attname::text ORDER BY k.ord)
       FROM unnest(c.conkey) WITH ORDINALITY k (num, ord)
       JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num),
      (SELECT array_agg(a.attname::text ORDER BY k.ord)
       FROM unnest(c.confkey) WITH ORDINALITY k (num, ord)
       JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.num)
    FROM pg_constraint c JOIN pg_class r ON r.oid = c.confrelid
    JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE c.conrelid = $1::text::regclass AND c.contype = 'f' AND c.convalidated
    ORDER BY c.conname";

impl Learned {
    /// Looks at the table of an entity.
    ///
    /// # Errors
    /// The database failed.
    pub(in super::super) async fn of(
        tx: &Transaction<'_>,
        model: &ServerModel,
        entity: &ServerEntity,
        shape: &Shape,
        reads: &ScopeReads,
    ) -> Result<Self, StorageError> {
        let sql = shape.sql();
        let mut learned = Self::default();
        for row in tx.query(CONSTRAINTS, &[&sql]).await.while_(DOING)? {
            let constraint = Constraint {
                columns: row.get(1),
                definition: row.get(2),
            };
            learned.constraints.insert(row.get(0), constraint);
        }
        let row = tx.query_one(TRIGGERS, &[&sql]).await.while_(DOING)?;
        learned.has_triggers = row.get(0);
        learned.does_more = learned.has_triggers
            || tx.query_one(ACTIONS, &[&sql]).await.while_(DOING)?.get(0)
            || is_read_by_scopes(model, shape, reads);
        for row in tx.query(DEFAULTS, &[&sql]).await.while_(DOING)? {
            learned.defaults.insert(row.get(0), row.get(1));
        }
        if let Some(key) = entity.columns.first() {
            let rows = tx.query(NUMBERS, &[&sql, &key.name]).await.while_(DOING)?;
            if let Some(row) = rows.first() {
                let identity: &str = row.get(0);
                let sequence: Option<&str> = row.get(1);
                let default: Option<&str> = row.get(2);
                learned.is_always_numbered = identity == "a";
                learned.next_number = match sequence {
                    Some(sequence) => Some(format!("nextval({})", literal(sequence))),
                    None => default.map(str::to_owned),
                };
            }
        }
        let mut keys = Vec::new();
        for row in tx.query(REFERENCES, &[&sql]).await.while_(DOING)? {
            let (schema, table): (String, String) = (row.get(0), row.get(1));
            keys.push(ForeignKey {
                parent: TableName::new(schema, table).to_string(),
                from: row.get(2),
                to: row.get(3),
            });
        }
        learned.asked = asked(model, entity, &keys, str::to_owned);
        Ok(learned)
    }
}

/// Whether a scope reads the table, on the way to a value or in its query.
fn is_read_by_scopes(model: &ServerModel, shape: &Shape, reads: &ScopeReads) -> bool {
    let is_it = |name: &str| {
        let name = TableName::parse(name);
        name.is_some_and(|name| name.schema == shape.schema && name.table == shape.name)
    };
    let rules = model.entities.iter().flat_map(|entity| {
        [
            Some(&entity.scope),
            entity.write.as_ref(),
            entity.write_to.as_ref(),
        ]
    });
    let conditions = rules.flatten().flat_map(Scope::conditions);
    let mut hops = conditions.flat_map(|condition| &condition.path);
    reads.is_more || reads.tables.contains(&shape.oid) || hops.any(|hop| is_it(&hop.table))
}

/// Whether anything in the database is looked at only when a transaction ends.
///
/// # Errors
/// The database failed.
pub(in super::super) async fn has_deferrable(tx: &Transaction<'_>) -> Result<bool, StorageError> {
    let sql = "SELECT EXISTS (SELECT FROM pg_constraint WHERE condeferrable) \
               OR EXISTS (SELECT FROM pg_trigger WHERE tgdeferrable AND NOT tgisinternal)";
    Ok(tx.query_one(sql, &[]).await.while_(DOING)?.get(0))
}

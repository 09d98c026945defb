//! A table of the team's as PostgreSQL has it: what capture must know of it.

use tokio_postgres::{Row, Transaction};

use super::error::{While, lasting};
use super::name::TableName;
use super::quoted::qualified;
use crate::storage::StorageError;

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// `pg_class.relkind`.
    kind: String,
    /// `pg_class.relpersistence`.
    persistence: String,
    is_partition: bool,
    has_heirs: bool,
    owner: String,
    is_ours: bool,
    pub columns: Vec<Column>,
    /// Columns of each unique index over all rows, and whether it is checked at once.
    pub uniques: Vec<(Vec<String>, bool)>,
    /// All its partitions, of whatever depth, by oid and quoted name; none if it has no partitions.
    pub partitions: Vec<(u32, String)>,
}

/// A column, by the type below all domains.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub type_schema: String,
    pub type_name: String,
    pub is_enum: bool,
    /// `pg_type.typcategory`.
    category: String,
    pub collation: Option<(String, String)>,
    /// Whether only the same bytes are equal by its collation; true of what has none.
    pub is_deterministic: bool,
}

impl Column {
    /// Whether it is this type of PostgreSQL's own.
    pub(super) fn is(&self, name: &str) -> bool {
        self.is_own_type() && self.type_name == name
    }

    /// Whether its type is PostgreSQL's own.
    pub(super) fn is_own_type(&self) -> bool {
        self.type_schema == "pg_catalog"
    }

    /// Whether it holds arrays.
    pub(super) fn is_array(&self) -> bool {
        self.category == "A"
    }

    /// Whether it holds text, of whatever type.
    pub(super) fn is_string(&self) -> bool {
        self.category == "S"
    }
}

const FIND: &str = "
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
           c.relispartition, pg_get_userbyid(c.relowner)::text, pg_has_role(c.relowner, 'USAGE'),
           c.relkind <> 'p' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')";

const COLUMNS: &str = "
    SELECT a.attname::text, n.nspname::text, b.typname::text, b.typtype = 'e',
           b.typcategory::text, cn.nspname::text, c.collname::text,
           coalesce(c.collisdeterministic, true)
    FROM pg_attribute a
    CROSS JOIN LATERAL (
      WITH RECURSIVE d AS (
        SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid
        UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype
        FROM d JOIN pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd'
      ) SELECT d.oid FROM d WHERE d.typtype <> 'd'
    ) base
    JOIN pg_type b ON b.oid = base.oid JOIN pg_namespace n ON n.oid = b.typnamespace
    LEFT JOIN pg_collation c ON c.oid = a.attcollation
    LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const UNIQUES: &str = "
    SELECT i.indimmediate, array_agg(a.attname::text ORDER BY k.ord)
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k (num, ord)
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num
    WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
      AND i.indexprs IS NULL AND k.ord <= i.indnkeyatts
    GROUP BY i.indexrelid, i.indimmediate ORDER BY i.indexrelid";

const PARTITIONS: &str = "
    SELECT c.oid, n.nspname::text, c.relname::text
    FROM pg_partition_tree($1::oid::regclass) t JOIN pg_class c ON c.oid = t.relid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid <> $1 ORDER BY 2, 3";

const DOING: &str = "reading the schema";

impl Shape {
    /// The table that the model calls so.
    pub(super) async fn named(tx: &Transaction<'_>, name: &str) -> Result<Self, StorageError> {
        let missing = || lasting(format!("the database has no table `{name}`"));
        let TableName { schema, table } = TableName::parse(name).ok_or_else(missing)?;
        let sql = format!("{FIND} AND n.nspname = $1 AND c.relname = $2");
        match tx.query_opt(&sql, &[&schema, &table]).await.while_(DOING)? {
            Some(row) => Self::read(tx, &row).await,
            None => Err(missing()),
        }
    }

    /// The table of this oid.
    pub(super) async fn of(tx: &Transaction<'_>, oid: u32) -> Result<Self, StorageError> {
        let sql = format!("{FIND} AND c.oid = $1");
        let row = tx.query_one(&sql, &[&oid]).await.while_(DOING)?;
        Self::read(tx, &row).await
    }

    async fn read(tx: &Transaction<'_>, found: &Row) -> Result<Self, StorageError> {
        let oid: u32 = found.get(0);
        let columns = tx.query(COLUMNS, &[&oid]).await.while_(DOING)?;
        let uniques = tx.query(UNIQUES, &[&oid]).await.while_(DOING)?;
        let kind: String = found.get(3);
        let partitions = match kind == "p" {
            true => tx.query(PARTITIONS, &[&oid]).await.while_(DOING)?,
            false => Vec::new(),
        };
        let collation = |row: &Row| row.get::<_, Option<String>>(5).zip(row.get(6));
        Ok(Self {
            oid,
            schema: found.get(1),
            name: found.get(2),
            kind,
            persistence: found.get(4),
            is_partition: found.get(5),
            owner: found.get(6),
            is_ours: found.get(7),
            has_heirs: found.get(8),
            columns: (columns.iter())
                .map(|row| Column {
                    name: row.get(0),
                    type_schema: row.get(1),
                    type_name: row.get(2),
                    is_enum: row.get(3),
                    category: row.get(4),
                    collation: collation(row),
                    is_deterministic: row.get(7),
                })
                .collect(),
            uniques: (uniques.iter())
                .map(|row| (row.get(1), row.get(0)))
                .collect(),
            partitions: (partitions.iter())
                .map(|row| (row.get(0), qualified(row.get(1), row.get(2))))
                .collect(),
        })
    }

    /// Its name in SQL.
    pub(super) fn sql(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// Its name for people.
    pub(super) fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    pub(super) fn is_partitioned(&self) -> bool {
        self.kind == "p"
    }

    /// Whether triggers on it can see every write.
    pub(super) fn can_be_captured(&self) -> bool {
        self.obstacle().is_none()
    }

    /// Fails unless its rows can be captured, and by this role.
    pub(super) fn must_be_captured(&self) -> Result<(), StorageError> {
        let label = self.label();
        if let Some(obstacle) = self.obstacle() {
            return Err(lasting(format!("`{label}` {obstacle}")));
        }
        if !self.is_ours {
            return Err(lasting(format!(
                "`{label}` belongs to `{}`: capturing it takes its owner's rights; run `afield \
                 prepare` as that role, or `GRANT {} TO` the role that runs it",
                self.owner,
                super::quoted::quote(&self.owner),
            )));
        }
        Ok(())
    }

    fn obstacle(&self) -> Option<&'static str> {
        let found = match (self.kind.as_str(), self.persistence.as_str()) {
            ("v", _) => {
                "is a view: nobody can tell which of its rows a write touches; \
                 take the tables that it reads"
            }
            ("m", _) => {
                "is a materialized view: a refresh replaces its rows without a trace; \
                 take the tables that it reads"
            }
            ("f", _) => {
                "is a foreign table: what is written on the other server fires no trigger here; \
                 take the table where it lives"
            }
            (_, "t") => "is a temporary table, which other connections cannot see",
            (_, "u") => {
                "is unlogged: a crash empties it without a trace; \
                 make it a lasting one (`ALTER TABLE … SET LOGGED`)"
            }
            _ if self.is_partition => {
                "is a partition: take the partitioned table that it belongs to"
            }
            _ if self.has_heirs => {
                "has tables that inherit from it, whose rows count as its own and whose writes \
                 do not: take the heirs one by one, or make it a partitioned table"
            }
            _ => return None,
        };
        Some(found)
    }

    /// The column of this name.
    pub(super) fn column(&self, name: &str) -> Result<&Column, StorageError> {
        (self.columns.iter().find(|column| column.name == name))
            .ok_or_else(|| lasting(format!("`{}` has no column `{name}`", self.label())))
    }

    /// The unique index over exactly these columns: whether it is checked at once. `None`: there is
    /// none.
    pub(super) fn unique(&self, columns: &[String]) -> Option<bool> {
        let same = |index: &&(Vec<String>, bool)| {
            index.0.len() == columns.len() && index.0.iter().all(|name| columns.contains(name))
        };
        let found: Vec<_> = self.uniques.iter().filter(same).collect();
        found.iter().map(|(_, is_immediate)| *is_immediate).max()
    }

    /// `names` in the table's order, each once.
    pub(super) fn ordered(&self, names: &[String]) -> Vec<String> {
        let columns = self.columns.iter().map(|column| column.name.clone());
        columns.filter(|name| names.contains(name)).collect()
    }
}

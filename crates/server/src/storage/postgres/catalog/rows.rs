//! What `pg_catalog` says, row by row: a fixed number of queries, however many tables there are.
//!
//! `information_schema` is not asked: it hides what the asking role does not own.

use tokio_postgres::{Client, Row};

type Result<T> = std::result::Result<T, tokio_postgres::Error>;

/// A table, a view or something like them.
pub(super) struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// `pg_class.relkind`.
    pub kind: String,
    /// `pg_class.relpersistence`.
    pub persistence: String,
    pub is_partition: bool,
    /// It inherits from a table that is not partitioned.
    pub inherits: bool,
    /// A table that is not partitioned has heirs.
    pub is_inherited: bool,
    pub is_readable: bool,
}

/// A column.
pub(super) struct Attribute {
    pub relation: u32,
    pub number: i16,
    pub name: String,
    pub type_oid: u32,
    pub modifier: i32,
    pub declared: String,
    pub not_null: bool,
    /// `pg_attribute.attidentity`.
    pub identity: String,
    pub is_generated: bool,
    pub default: Option<String>,
    pub is_readable: bool,
    /// Its collation, if that takes different texts for the same.
    pub collation: Option<String>,
}

/// A type, or a domain over one.
pub(super) struct TypeRow {
    pub oid: u32,
    pub name: String,
    /// `pg_type.typtype`.
    pub sort: String,
    /// `pg_type.typcategory`.
    pub category: String,
    /// Whether it is PostgreSQL's own.
    pub is_built_in: bool,
    /// The type that a domain is over.
    pub base: u32,
    pub modifier: i32,
    pub not_null: bool,
    pub default: Option<String>,
    /// What an enum may be, in its order.
    pub labels: Vec<String>,
    /// The CHECK constraints of a domain.
    pub checks: Vec<String>,
}

/// A constraint.
pub(super) struct Constraint {
    pub relation: u32,
    /// `pg_constraint.contype`: p, f or c.
    pub sort: String,
    pub columns: Vec<i16>,
    pub target_schema: Option<String>,
    pub target_name: Option<String>,
    pub target_columns: Vec<String>,
    pub check: Option<String>,
}

/// An index that is no primary key and can be searched by its first column.
pub(super) struct Index {
    pub relation: u32,
    /// It covers all rows, and refuses duplicates at once.
    pub is_unique: bool,
    /// 0 is an expression.
    pub columns: Vec<i16>,
}

/// A sequence that gives a column its values.
pub(super) struct Sequence {
    pub relation: u32,
    pub column: i16,
    pub last: Option<i64>,
}

/// Everything but Afield's own, PostgreSQL's own, and what extensions brought.
pub(super) async fn relations(client: &Client) -> Result<Vec<Relation>> {
    let sql = "
        SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
            c.relispartition,
            c.relkind = 'r' AND NOT c.relispartition
                AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid),
            c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid),
            has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'afield')
            AND n.nspname !~ '^pg_toast'
            AND NOT EXISTS (
                SELECT FROM pg_depend d
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        ORDER BY n.nspname, c.relname";
    let relation = |row: Row| {
        Ok(Relation {
            oid: row.try_get(0)?,
            schema: row.try_get(1)?,
            name: row.try_get(2)?,
            kind: row.try_get(3)?,
            persistence: row.try_get(4)?,
            is_partition: row.try_get(5)?,
            inherits: row.try_get(6)?,
            is_inherited: row.try_get(7)?,
            is_readable: row.try_get(8)?,
        })
    };
    let rows = client.query(sql, &[]).await?;
    rows.into_iter().map(relation).collect()
}

pub(super) async fn attributes(client: &Client, of: &[u32]) -> Result<Vec<Attribute>> {
    let sql = "
        SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod,
            format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
            a.attgenerated <> '', pg_get_expr(d.adbin, d.adrelid),
            has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
            (SELECT l.collname::text FROM pg_collation l
             WHERE l.oid = a.attcollation AND NOT l.collisdeterministic)
        FROM pg_attribute a
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attrelid, a.attnum";
    let attribute = |row: Row| {
        Ok(Attribute {
            relation: row.try_get(0)?,
            number: row.try_get(1)?,
            name: row.try_get(2)?,
            type_oid: row.try_get(3)?,
            modifier: row.try_get(4)?,
            declared: row.try_get(5)?,
            not_null: row.try_get(6)?,
            identity: row.try_get(7)?,
            is_generated: row.try_get(8)?,
            default: row.try_get(9)?,
            is_readable: row.try_get(10)?,
            collation: row.try_get(11)?,
        })
    };
    let rows = client.query(sql, &[&of]).await?;
    rows.into_iter().map(attribute).collect()
}

/// The types of these relations' columns, and those that their domains are over.
pub(super) async fn types(client: &Client, of: &[u32]) -> Result<Vec<TypeRow>> {
    let sql = "
        WITH RECURSIVE used AS (
            SELECT a.atttypid AS oid FROM pg_attribute a
            WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
            UNION
            SELECT t.typbasetype FROM pg_type t JOIN used u ON u.oid = t.oid
            WHERE t.typtype = 'd'
        )
        SELECT t.oid, t.typname::text, t.typtype::text, t.typcategory::text,
            t.typnamespace = 'pg_catalog'::regnamespace, t.typbasetype, t.typtypmod, t.typnotnull,
            pg_get_expr(t.typdefaultbin, 0),
            ARRAY (SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid
                   ORDER BY e.enumsortorder),
            ARRAY (SELECT pg_get_expr(k.conbin, 0) FROM pg_constraint k
                   WHERE k.contypid = t.oid AND k.contype = 'c' ORDER BY k.oid)
        FROM pg_type t WHERE t.oid IN (SELECT oid FROM used)";
    let of_row = |row: Row| {
        Ok(TypeRow {
            oid: row.try_get(0)?,
            name: row.try_get(1)?,
            sort: row.try_get(2)?,
            category: row.try_get(3)?,
            is_built_in: row.try_get(4)?,
            base: row.try_get(5)?,
            modifier: row.try_get(6)?,
            not_null: row.try_get(7)?,
            default: row.try_get(8)?,
            labels: row.try_get(9)?,
            checks: row.try_get(10)?,
        })
    };
    let rows = client.query(sql, &[&of]).await?;
    rows.into_iter().map(of_row).collect()
}

/// Primary keys, foreign keys and checks, in the order in which they were made. What a reference
/// to a partitioned table says of each partition is left out.
pub(super) async fn constraints(client: &Client, of: &[u32]) -> Result<Vec<Constraint>> {
    let sql = "
        SELECT k.conrelid, k.contype::text, coalesce(k.conkey, '{}'),
            n.nspname::text, c.relname::text,
            ARRAY (SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS p(number, place)
                   JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = p.number
                   ORDER BY p.place),
            pg_get_expr(k.conbin, k.conrelid)
        FROM pg_constraint k
        LEFT JOIN pg_class c ON c.oid = k.confrelid
        LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.conrelid = ANY ($1)
            AND (k.contype IN ('p', 'c') OR k.contype = 'f' AND k.conparentid = 0)
        ORDER BY k.oid";
    let constraint = |row: Row| {
        Ok(Constraint {
            relation: row.try_get(0)?,
            sort: row.try_get(1)?,
            columns: row.try_get(2)?,
            target_schema: row.try_get(3)?,
            target_name: row.try_get(4)?,
            target_columns: row.try_get(5)?,
            check: row.try_get(6)?,
        })
    };
    let rows = client.query(sql, &[&of]).await?;
    rows.into_iter().map(constraint).collect()
}

/// Indexes that can be searched for a value, in the order in which they were made.
pub(super) async fn indexes(client: &Client, of: &[u32]) -> Result<Vec<Index>> {
    let sql = "
        SELECT i.indrelid, i.indisunique AND i.indimmediate AND i.indpred IS NULL,
            ARRAY (SELECT k.number FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
                   WHERE k.place <= i.indnkeyatts ORDER BY k.place)
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am m ON m.oid = c.relam
        WHERE i.indrelid = ANY ($1) AND i.indisvalid AND NOT i.indisprimary
            AND m.amname IN ('btree', 'hash')
        ORDER BY i.indexrelid";
    let index = |row: Row| {
        Ok(Index {
            relation: row.try_get(0)?,
            is_unique: row.try_get(1)?,
            columns: row.try_get(2)?,
        })
    };
    let rows = client.query(sql, &[&of]).await?;
    rows.into_iter().map(index).collect()
}

/// The sequences of identity columns and of defaults, with the last number that each gave, as far
/// as it may be read.
pub(super) async fn sequences(client: &Client, of: &[u32]) -> Result<Vec<Sequence>> {
    let sql = "
        WITH numbered AS (
            SELECT d.refobjid AS relation, d.refobjsubid AS number, d.objid AS sequence
            FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                AND d.deptype = 'i' AND d.refobjid = ANY ($1)
            UNION
            SELECT f.adrelid, f.adnum, d.refobjid
            FROM pg_attrdef f JOIN pg_depend d
                ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
            WHERE d.refclassid = 'pg_class'::regclass AND f.adrelid = ANY ($1)
        )
        SELECT m.relation, m.number::int2,
            CASE WHEN has_sequence_privilege(s.oid, 'USAGE, SELECT')
                THEN pg_sequence_last_value(s.oid) END
        FROM numbered m JOIN pg_class s ON s.oid = m.sequence
        WHERE s.relkind = 'S' AND s.relpersistence <> 't'";
    let sequence = |row: Row| {
        Ok(Sequence {
            relation: row.try_get(0)?,
            column: row.try_get(1)?,
            last: row.try_get(2)?,
        })
    };
    let rows = client.query(sql, &[&of]).await?;
    rows.into_iter().map(sequence).collect()
}

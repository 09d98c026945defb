//! Which tables a scope's query reads: PostgreSQL says so of a view.

use tokio_postgres::Transaction;

use super::error::{While, lasting};
use super::query::parameters::replaced;
use crate::resolved::NamedScope;
use crate::storage::StorageError;

/// The tables, through views of whatever depth. What functions read is not seen.
const READ: &str = "
    WITH RECURSIVE seen AS (
      SELECT to_regclass('pg_temp.afield_query')::oid AS oid
      UNION
      SELECT d.refobjid FROM seen s
      JOIN pg_rewrite r ON r.ev_class = s.oid
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> s.oid
    )
    SELECT c.oid FROM seen JOIN pg_class c ON c.oid = seen.oid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    ORDER BY n.nspname, c.relname";

/// Whether a function of the team's is called, in views of whatever depth too.
const CALLS: &str = "
    WITH RECURSIVE seen AS (
      SELECT to_regclass('pg_temp.afield_query')::oid AS oid
      UNION
      SELECT d.refobjid FROM seen s
      JOIN pg_rewrite r ON r.ev_class = s.oid
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> s.oid
    )
    SELECT p.oid FROM seen JOIN pg_rewrite r ON r.ev_class = seen.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_proc'::regclass
    JOIN pg_proc p ON p.oid = d.refobjid
    JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')";

/// What the queries of scopes read, all together.
#[derive(Debug, Default)]
pub(super) struct ScopeReads {
    /// The oids of tables.
    pub tables: Vec<u32>,
    /// Whether more may be read that nobody sees, by functions of the team's.
    pub is_more: bool,
}

impl ScopeReads {
    pub(super) async fn of(
        tx: &Transaction<'_>,
        scopes: &[NamedScope],
    ) -> Result<Self, StorageError> {
        let mut reads = Self::default();
        for scope in scopes {
            reads.tables.extend(found(tx, scope, READ).await?);
            reads.is_more |= !found(tx, scope, CALLS).await?.is_empty();
        }
        Ok(reads)
    }
}

/// The oids of the tables that a scope's query reads.
pub(super) async fn tables(
    tx: &Transaction<'_>,
    scope: &NamedScope,
) -> Result<Vec<u32>, StorageError> {
    found(tx, scope, READ).await
}

/// What `sql` finds about a view of a scope's query.
async fn found(
    tx: &Transaction<'_>,
    scope: &NamedScope,
    sql: &str,
) -> Result<Vec<u32>, StorageError> {
    let doing = format!("reading the query of the scope `{}`", scope.name);
    let query = replaced(&scope.query, |_| "NULL".to_owned());
    let query = query.trim().trim_end_matches(';');
    if query.contains('\0') {
        return Err(lasting(format!("{doing}: it has a zero byte")));
    }
    let view = format!("CREATE TEMPORARY VIEW afield_query (value) AS\n{query}\n");
    // A transaction inside this one: a query that is wrong must not undo what was read so far, and
    // nothing of the view stays.
    tx.execute("SAVEPOINT afield_query", &[])
        .await
        .while_(&doing)?;
    tx.execute(&view, &[]).await.while_(&doing)?;
    let rows = tx.query(sql, &[]).await.while_(&doing)?;
    let end = "ROLLBACK TO afield_query; RELEASE afield_query";
    tx.batch_execute(end).await.while_(&doing)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

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

/// The oids of the tables that a scope's query reads.
pub(super) async fn tables(
    tx: &Transaction<'_>,
    scope: &NamedScope,
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
    let rows = tx.query(READ, &[]).await.while_(&doing)?;
    let end = "ROLLBACK TO afield_query; RELEASE afield_query";
    tx.batch_execute(end).await.while_(&doing)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

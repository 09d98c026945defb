//! Running a preparation's statements: one preparation at a time, with the locks of all tables
//! taken first. Each is waited for a short while only, because writers queue behind a lock that is
//! waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::Transaction;

use super::error::{While, is_lock_timeout, lasting};
use crate::storage::StorageError;

/// One step of a preparation.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Exactly what is run.
    pub sql: String,
    /// Why, for `--dry-run`.
    pub reason: String,
    /// The table of the team's that it is about, in SQL.
    pub table: Option<String>,
}

impl Statement {
    pub(super) fn of(sql: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            reason: reason.into(),
            table: None,
        }
    }

    pub(super) fn on(mut self, table: String) -> Self {
        self.table = Some(table);
        self
    }
}

/// How long a table's lock is waited for: everybody who writes to it waits as long. Less than
/// PostgreSQL waits before it looks for deadlocks, so that none is resolved at a writer's cost.
const LOCK_TIMEOUT: &str = "500ms";

/// How often a lock is asked for before it is given up.
const LOCK_ATTEMPTS: u32 = 6;

/// Between two attempts: long enough for those who queued to go on.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// How long another preparation is waited for.
const TURN_TIMEOUT: &str = "30s";

/// What preparations of one database wait for each other by: "afield" in ASCII.
const TURN: i64 = 0x6166_6965_6c64;

const DOING: &str = "preparing the database";

/// Waits until no other preparation is at work in this database.
pub(super) async fn take_turn(tx: &Transaction<'_>) -> Result<(), StorageError> {
    let timeout = format!("SET LOCAL lock_timeout = '{TURN_TIMEOUT}'");
    tx.batch_execute(&timeout).await.while_(DOING)?;
    let turn = tx
        .execute("SELECT pg_advisory_xact_lock($1)", &[&TURN])
        .await;
    match turn {
        Err(error) if is_lock_timeout(&error) => Err(StorageError {
            is_retryable: true,
            ..lasting("another `afield prepare` has been at work in this database for long")
        }),
        turn => turn.map(drop).while_(DOING),
    }
}

/// Runs the statements, with the locks of all their tables taken first.
pub(super) async fn run(
    tx: &Transaction<'_>,
    statements: &[Statement],
) -> Result<(), StorageError> {
    let settings = format!(
        "SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL search_path = pg_catalog, pg_temp"
    );
    tx.batch_execute(&settings).await.while_(DOING)?;
    let tables: BTreeSet<&String> = statements.iter().filter_map(|s| s.table.as_ref()).collect();
    for table in tables {
        lock(tx, table).await?;
    }
    for Statement { sql, reason, table } in statements {
        let doing = format!(
            "{DOING} ({}: {reason})",
            table.as_deref().unwrap_or("afield")
        );
        tx.batch_execute(sql).await.while_(&doing)?;
    }
    Ok(())
}

/// Keeps others from writing to a table until this transaction ends.
#[expect(
    clippy::disallowed_methods,
    reason = "a preparation waits for a lock, between attempts"
)]
async fn lock(tx: &Transaction<'_>, table: &str) -> Result<(), StorageError> {
    let sql = format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE");
    for _ in 0..LOCK_ATTEMPTS {
        tx.batch_execute("SAVEPOINT afield_lock")
            .await
            .while_(DOING)?;
        match tx.batch_execute(&sql).await {
            Err(error) if is_lock_timeout(&error) => {
                let back = tx.batch_execute("ROLLBACK TO afield_lock").await;
                back.while_(DOING)?;
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            done => return done.while_(&format!("locking {table}")),
        }
    }
    let sql = "SELECT a.pid, coalesce(a.usename::text, '?'), coalesce(a.application_name, ''), \
               extract(epoch FROM clock_timestamp() - a.xact_start)::int8 \
               FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
               WHERE l.relation = $1::text::regclass AND l.granted AND l.mode <> 'AccessShareLock' \
               ORDER BY a.xact_start LIMIT 1";
    let holder = tx.query_opt(sql, &[&table]).await.while_(DOING)?;
    let holder = holder.map_or_else(
        // A prepared transaction has no process.
        || "a transaction".to_owned(),
        |row| {
            let (pid, user): (i32, String) = (row.get(0), row.get(1));
            let (program, age): (String, Option<i64>) = (row.get(2), row.get(3));
            let age = age.map_or_else(String::new, |age| format!(", open for {age} s"));
            format!("a transaction of `{user}` (process {pid}, `{program}`{age})")
        },
    );
    Err(StorageError {
        is_retryable: true,
        ..lasting(format!(
            "{table} is held by {holder}: nothing was changed; run it again when that has ended"
        ))
    })
}

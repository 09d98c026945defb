//! `afield prepare`: puts change capture into a team's database, and takes it out again.
//!
//! What is there is compared with what the model and the tables' present shape need. Where a
//! single trigger of a table differs, the table is captured anew, and its marks count only from
//! then on: nobody knows what was written unmarked in between, so devices start over with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::captures::{self, captures};
use super::error::{While, lasting};
use super::marks::{Object, mark_table, trigger_names};
use super::sql_text::{literal, quote};
use crate::resolved::ServerModel;
use crate::storage::StorageError;

/// The bookkeeping tables, documented column by column.
pub const TABLES_SQL: &str = include_str!("tables.sql");

/// The version of [`TABLES_SQL`].
pub const SCHEMA_VERSION: i64 = 4;

/// How long to wait for another program that is writing: longer than any sane transaction of a
/// team's program, shorter than a person's patience.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// One step of a preparation.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Exactly what is run; `?1` and so on stand for fresh random bytes.
    pub sql: String,
    /// Why, for `--dry-run`.
    pub reason: String,
    random: Vec<usize>,
}

/// What a preparation did.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The statements that were run; none if everything was in place.
    pub statements: Vec<Statement>,
    /// The tables that are captured now, as the database names them.
    pub tables: Vec<String>,
    /// What will be slow, each with the statement that would mend it.
    pub warnings: Vec<String>,
}

/// The statements that [`prepare`] would run. Changes nothing.
///
/// # Errors
/// The database cannot be read, or a table of the model cannot be captured.
pub fn plan(path: &Path, model: &ServerModel) -> Result<Vec<Statement>, StorageError> {
    let mut conn = open_existing(path)?;
    let tx = conn.transaction().while_("reading the database")?;
    Ok(plan_in(&tx, model)?.statements)
}

/// What pulls of `model` are slow for in this database, each with its remedy. Changes nothing.
///
/// # Errors
/// As [`plan`].
pub fn warnings(path: &Path, model: &ServerModel) -> Result<Vec<String>, StorageError> {
    let conn = open_existing(path)?;
    captures::warnings(&conn, model)
}

/// Installs or upgrades change capture for the tables of `model`; `random` fills a buffer with
/// random bytes. Running it twice is as good as once.
///
/// # Errors
/// The database cannot be written, or a table of the model cannot be captured; nothing is
/// changed then.
pub fn prepare(
    path: &Path,
    model: &ServerModel,
    mut random: impl FnMut(&mut [u8]),
) -> Result<Report, StorageError> {
    let doing = "preparing the database";
    let mut conn = open_existing(path)?;
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .while_(doing)?;
    let report = plan_in(&tx, model)?;
    for statement in report.statements.iter().filter(|s| !is_journal_mode(s)) {
        let bytes: Vec<Vec<u8>> = statement
            .random
            .iter()
            .map(|length| {
                let mut bytes = vec![0; *length];
                random(&mut bytes);
                bytes
            })
            .collect();
        tx.execute(&statement.sql, rusqlite::params_from_iter(bytes))
            .while_(&statement.reason)?;
    }
    tx.commit().while_(doing)?;
    set_journal_mode(&conn, "wal")?;
    Ok(report)
}

/// Says that this is another database than devices knew: they load their tables again. A server
/// that runs now must be started again.
///
/// # Errors
/// The database is not prepared, or cannot be written; nothing is changed then.
pub fn new_incarnation(path: &Path) -> Result<(), StorageError> {
    let doing = "beginning another history";
    let conn = open_existing(path)?;
    if !objects(&conn).while_(doing)?.contains_key("afield_node") {
        return Err(lasting(
            "the database is not prepared: run `afield prepare`",
        ));
    }
    conn.execute("DELETE FROM afield_epoch", []).while_(doing)?;
    Ok(())
}

/// Takes change capture out: nothing of Afield is left in the database, which is as it was but
/// for the rows that people changed meanwhile. Returns the statements that were run.
///
/// # Errors
/// The database cannot be written; nothing is changed then.
pub fn remove(path: &Path) -> Result<Vec<String>, StorageError> {
    let doing = "removing change capture";
    let mut conn = open_existing(path)?;
    if !objects(&conn).while_(doing)?.contains_key("afield_node") {
        return Ok(Vec::new());
    }
    let journal_mode: String = conn
        .query_row("SELECT former_journal_mode FROM afield_node", [], |row| {
            row.get(0)
        })
        .while_(doing)?;
    // First, because it fails while a server runs; and a prepared database can do without WAL
    // until the command is run again.
    set_journal_mode(&conn, &journal_mode)?;
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .while_(doing)?;
    let present = objects(&tx).while_(doing)?;
    let mut drops = Vec::new();
    for table in captured_tables(&tx).while_(doing)? {
        drops.extend(drop_capture(&present, &table));
    }
    let own = own_tables()
        .into_iter()
        .filter(|(name, _)| present.contains_key(*name));
    drops.extend(own.map(|(name, _)| format!("DROP TABLE {name}")));
    for sql in &drops {
        tx.execute(sql, []).while_(doing)?;
    }
    tx.commit().while_(doing)?;
    Ok(drops)
}

/// Fails unless change capture is installed for every table of `model`, exactly as their present
/// shape needs it.
pub(super) fn check(conn: &Connection, model: &ServerModel) -> Result<(), StorageError> {
    let present = objects(conn).while_("reading the schema")?;
    if !present.contains_key("afield_node") {
        return Err(lasting(
            "the database is not prepared: run `afield prepare`",
        ));
    }
    if let Some((name, _)) = (own_tables().iter()).find(|(name, _)| !present.contains_key(*name)) {
        return Err(lasting(format!(
            "the database was prepared by an earlier version of Afield (it has no `{name}`): run \
             `afield prepare`"
        )));
    }
    check_version(conn)?;
    let captured = captured_tables(conn).while_("reading the schema")?;
    for wanted in captures(conn, model)? {
        let schema = &wanted.schema;
        let is_captured = captured
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&wanted.name));
        let objects = wanted.objects();
        let missing = objects.iter().find(|object| !is_present(&present, object));
        if let Some(object) = missing.filter(|_| is_captured) {
            return Err(lasting(format!(
                "change capture of the table `{}` is missing or no longer fits it (`{}`): \
                 run `afield prepare`; devices will then load this table again",
                schema.name, object.name
            )));
        }
        if !is_captured {
            return Err(lasting(format!(
                "the table `{}` is not captured yet: run `afield prepare`",
                schema.name
            )));
        }
    }
    Ok(())
}

/// Opens a database that must exist.
pub(super) fn open_existing(path: &Path) -> Result<Connection, StorageError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let doing = format!("opening the database {}", path.display());
    let conn = Connection::open_with_flags(path, flags).while_(&doing)?;
    conn.busy_timeout(BUSY_TIMEOUT).while_(&doing)?;
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .while_(&doing)?;
    Ok(conn)
}

fn plan_in(conn: &Connection, model: &ServerModel) -> Result<Report, StorageError> {
    let present = objects(conn).while_("reading the schema")?;
    let mut report = Report {
        statements: Vec::new(),
        tables: Vec::new(),
        warnings: captures::warnings(conn, model)?,
    };
    for (name, sql) in own_tables() {
        if !present.contains_key(name) {
            report.run(sql, "bookkeeping; see the comments in it");
        }
    }
    let mut captured = Vec::new();
    if present.contains_key("afield_node") {
        match version(conn)? {
            Some(1) => {
                upgrade_first(&mut report);
                upgrade_second(&mut report);
                upgrade_third(&mut report);
            }
            Some(2) => {
                upgrade_second(&mut report);
                upgrade_third(&mut report);
            }
            Some(3) => upgrade_third(&mut report),
            _ => check_version(conn)?,
        }
        captured = captured_tables(conn).while_("reading the schema")?;
    } else {
        first_rows(conn, &mut report)?;
    }
    for wanted in captures(conn, model)? {
        let schema = &wanted.schema;
        let objects = wanted.objects();
        let is_known = captured
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&wanted.name));
        captured.retain(|name| !name.eq_ignore_ascii_case(&wanted.name));
        if !is_known || objects.iter().any(|object| !is_present(&present, object)) {
            capture(&mut report, &present, &wanted.name, &objects);
        }
        if !report.tables.contains(&schema.name) {
            report.tables.push(schema.name.clone());
        }
    }
    for table in captured {
        for sql in drop_capture(&present, &table) {
            report.run(&sql, &format!("`{table}` is no longer in the model"));
        }
        let sql = format!("DELETE FROM afield_table WHERE name = {}", literal(&table));
        report.run(&sql, &format!("`{table}` is no longer in the model"));
    }
    if journal_mode(conn)? != "wal" {
        report.run(
            "PRAGMA journal_mode = wal",
            "readers and writers do not wait for each other",
        );
    }
    Ok(report)
}

impl Report {
    fn run(&mut self, sql: &str, reason: &str) {
        self.statements.push(Statement {
            sql: sql.to_owned(),
            reason: reason.to_owned(),
            random: Vec::new(),
        });
    }
}

fn first_rows(conn: &Connection, report: &mut Report) -> Result<(), StorageError> {
    let mode = literal(&journal_mode(conn)?);
    report.statements.push(Statement {
        sql: format!(
            "INSERT INTO afield_node VALUES (1, {SCHEMA_VERSION}, ?1, ?2, 0, {mode}, 0, 0)"
        ),
        reason: "identity and key of this database: 8 and 32 random bytes".into(),
        random: vec![8, 32],
    });
    report.run(
        "INSERT INTO afield_clock VALUES (1, 0)",
        "the change number starts at 0",
    );
    Ok(())
}

/// Captures a table from now on.
fn capture(
    report: &mut Report,
    present: &BTreeMap<String, String>,
    table: &str,
    objects: &[Object],
) {
    for sql in drop_capture(present, table) {
        report.run(&sql, &format!("is made anew for `{table}` as it is now"));
    }
    for object in objects {
        report.run(&object.sql, &object.reason);
    }
    let reason = format!("positions in `{table}` from before start over");
    report.run("UPDATE afield_clock SET change = change + 1", &reason);
    let sql = format!(
        "INSERT INTO afield_table (name, since) SELECT {}, change FROM afield_clock WHERE 1 \
         ON CONFLICT (name) DO UPDATE SET since = excluded.since",
        literal(table)
    );
    report.run(&sql, &reason);
}

fn drop_capture(present: &BTreeMap<String, String>, table: &str) -> Vec<String> {
    let triggers = trigger_names(table)
        .filter(|name| present.contains_key(&name.to_ascii_lowercase()))
        .map(|name| format!("DROP TRIGGER {}", quote(&name)));
    let mark = mark_table(table);
    let table = present
        .contains_key(&mark.to_ascii_lowercase())
        .then(|| format!("DROP TABLE {}", quote(&mark)));
    triggers.chain(table).collect()
}

/// From version 1, which forgot nothing, to version 2.
fn upgrade_first(report: &mut Report) {
    let reason = "what is forgotten of the ledger goes by change numbers";
    report.run(
        "ALTER TABLE afield_ledger ADD COLUMN change INTEGER NOT NULL DEFAULT 0",
        reason,
    );
    report.run(
        "ALTER TABLE afield_node ADD COLUMN ledger_horizon INTEGER NOT NULL DEFAULT 0",
        reason,
    );
    report.run("UPDATE afield_node SET schema_version = 2", reason);
}

/// From version 2, which noted no refused changes, to version 3. Its tables are made before this.
fn upgrade_second(report: &mut Report) {
    let reason = "refused changes have numbers";
    report.run(
        "ALTER TABLE afield_node ADD COLUMN inbox_n INTEGER NOT NULL DEFAULT 0",
        reason,
    );
    report.run("UPDATE afield_node SET schema_version = 3", reason);
}

/// From version 3, which kept no logs of devices, to version 4. Its table is made before this.
fn upgrade_third(report: &mut Report) {
    report.run(
        "UPDATE afield_node SET schema_version = 4",
        "logs of devices have a table",
    );
}

fn version(conn: &Connection) -> Result<Option<i64>, StorageError> {
    conn.query_row("SELECT schema_version FROM afield_node", [], |row| {
        row.get(0)
    })
    .optional()
    .while_("reading the version of the bookkeeping")
}

fn check_version(conn: &Connection) -> Result<(), StorageError> {
    match version(conn)? {
        Some(SCHEMA_VERSION) => Ok(()),
        Some(1..=3) => Err(lasting(
            "the database was prepared by an earlier version of Afield: run `afield prepare`",
        )),
        Some(other) => Err(lasting(format!(
            "the database was prepared by another version of Afield (its bookkeeping is version \
             {other}, this program's {SCHEMA_VERSION}): use that version"
        ))),
        None => Err(lasting(
            "afield_node is empty: run `afield prepare --remove`, then `afield prepare`",
        )),
    }
}

/// Name and statement of each bookkeeping table.
fn own_tables() -> Vec<(&'static str, &'static str)> {
    let statement = |part: &'static str| {
        let sql = part.get(part.find("CREATE TABLE ")?..)?.trim_end();
        Some((sql.split_ascii_whitespace().nth(2)?, sql))
    };
    TABLES_SQL.split(";\n").filter_map(statement).collect()
}

/// Everything named afield_* in the schema: lower-case name and statement.
fn objects(conn: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut statement = conn.prepare(
        "SELECT lower(name), sql FROM sqlite_schema \
         WHERE lower(substr(name, 1, 7)) = 'afield_' AND sql IS NOT NULL",
    )?;
    statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn captured_tables(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("SELECT name FROM afield_table ORDER BY name")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn is_present(present: &BTreeMap<String, String>, object: &Object) -> bool {
    present.get(&object.name.to_ascii_lowercase()) == Some(&object.sql)
}

fn journal_mode(conn: &Connection) -> Result<String, StorageError> {
    conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .while_("reading the journal mode")
}

fn is_journal_mode(statement: &Statement) -> bool {
    statement.sql.starts_with("PRAGMA journal_mode")
}

fn set_journal_mode(conn: &Connection, mode: &str) -> Result<(), StorageError> {
    let now: String = conn
        .query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| {
            row.get(0)
        })
        .while_("setting the journal mode (stop the server and close other programs first)")?;
    if now.eq_ignore_ascii_case(mode) {
        Ok(())
    } else {
        Err(lasting(format!(
            "the journal mode stays `{now}` instead of `{mode}`; close other programs that use \
             the database and run the command again"
        )))
    }
}

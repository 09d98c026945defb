//! `afield prepare`: puts change capture into a team's database, and takes it out again.
//!
//! What is there is compared with what the model and the tables' present shape need. Where anything
//! of a table's capture differs, the table is captured anew and its marks count only from then on:
//! nobody knows what was written unmarked in between.
//!
//! Everything is one transaction.

use tokio_postgres::{Client, Transaction};

use super::bookkeeping::{self, SCHEMA_VERSION};
use super::capture::{Capture, mark_table};
use super::captures::captures;
use super::error::{While, lasting};
use super::present::{Present, PresentCapture};
use super::quoted::literal;
pub use super::run::Statement;
use super::run::{run, take_turn};
use crate::resolved::ServerModel;
use crate::storage::StorageError;

/// What a preparation did.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The statements that were run; none if everything was in place.
    pub statements: Vec<Statement>,
    /// The tables that are captured now.
    pub tables: Vec<String>,
}

const DOING: &str = "preparing the database";

/// The statements that [`prepare`] would run. Changes nothing.
///
/// # Errors
/// The database cannot be read, or a table of the model cannot be captured.
pub async fn plan(
    client: &mut Client,
    model: &ServerModel,
) -> Result<Vec<Statement>, StorageError> {
    let tx = client.transaction().await.while_(DOING)?;
    Ok(plan_in(&tx, model).await?.statements)
}

/// Installs or upgrades change capture for the tables of `model`. Running it twice is as good as
/// once.
///
/// It takes the owner's rights of each table, `TEMPORARY` on the database, and `CREATE` on it where
/// there is no schema `afield` yet; not a superuser's. Who writes to the tables needs no right on
/// the schema.
///
/// # Errors
/// A right is missing, a table of the model cannot be captured, or a transaction that stays open
/// holds a table; nothing is changed then.
pub async fn prepare(client: &mut Client, model: &ServerModel) -> Result<Report, StorageError> {
    let tx = client.transaction().await.while_(DOING)?;
    take_turn(&tx).await?;
    let report = plan_in(&tx, model).await?;
    may_create(&tx, &report.statements).await?;
    run(&tx, &report.statements).await?;
    tx.commit().await.while_(DOING)?;
    Ok(report)
}

/// Takes change capture out: nothing of Afield is left in the database, which is as it was but for
/// the rows that people changed meanwhile. Returns the statements that were run.
///
/// # Errors
/// A right is missing, a transaction that stays open holds a table, or something of the team's
/// depends on the schema; nothing is changed then.
pub async fn remove(client: &mut Client) -> Result<Vec<Statement>, StorageError> {
    let tx = client.transaction().await.while_(DOING)?;
    take_turn(&tx).await?;
    let present = Present::read(&tx).await?;
    if !present.has_schema {
        return Ok(Vec::new());
    }
    let mut statements = Vec::new();
    for capture in &present.captures {
        statements.extend(drop_capture(&present, capture));
    }
    for (name, _, made) in bookkeeping::functions() {
        let known = present.functions.iter().find(|known| known.0 == name);
        let drop = |(_, arguments, _): &(String, String, String)| {
            Statement::of(
                format!("DROP FUNCTION afield.{name}({arguments})"),
                made.reason,
            )
        };
        statements.extend(known.map(drop));
    }
    for table in [
        "device_log",
        "inbox",
        "inbox_group",
        "part",
        "number",
        "ledger",
        "epoch",
        "beacon",
        "reset",
        "capture",
        "node",
    ] {
        let sql = format!("DROP TABLE afield.{table}");
        statements.push(Statement::of(sql, "the bookkeeping"));
    }
    statements.push(Statement::of("DROP SCHEMA afield", "nothing is left in it"));
    run(&tx, &statements).await?;
    tx.commit().await.while_(DOING)?;
    Ok(statements)
}

/// Fails unless change capture is installed for every table of `model`, exactly as their present
/// shape needs it: what a server asks when it starts. Changes nothing.
///
/// # Errors
/// Something is missing or does not fit, or the database cannot be read.
pub async fn check(client: &mut Client, model: &ServerModel) -> Result<(), StorageError> {
    let tx = client.transaction().await.while_(DOING)?;
    installed(&tx, model).await.map(drop)
}

/// The captures of `model` with their numbers, if each is in place as [`check`] demands it.
pub(super) async fn installed(
    tx: &Transaction<'_>,
    model: &ServerModel,
) -> Result<Vec<Capture>, StorageError> {
    let present = Present::read(tx).await?;
    let Some(version) = present.version else {
        let message = "the database is not prepared: run `afield prepare`";
        return Err(lasting(message));
    };
    version_fits(version)?;
    if version != SCHEMA_VERSION {
        return Err(lasting(
            "the database was prepared by an earlier version of Afield: run `afield prepare`",
        ));
    }
    if present.is_copy {
        return Err(lasting(
            "the database is a copy of one that was prepared: run `afield prepare`; devices will \
             then load their tables again",
        ));
    }
    let captures = numbered(&present, captures(tx, model).await?);
    for capture in &captures {
        let label = capture.shape.label();
        let Some(known) = known(&present, capture) else {
            return Err(lasting(format!(
                "the table `{label}` is not captured yet: run `afield prepare`"
            )));
        };
        if let Some(what) = misfit(tx, &present, known, capture).await? {
            return Err(lasting(format!(
                "change capture of the table `{label}` is missing or no longer fits it ({what}): \
                 run `afield prepare`; devices will then load this table again"
            )));
        }
    }
    Ok(captures)
}

/// Says that this is another database than devices knew: its history begins anew, for servers that
/// run now too.
///
/// # Errors
/// The database is not prepared, or failed; nothing is changed then.
pub(super) async fn new_incarnation(client: &mut Client) -> Result<(), StorageError> {
    let doing = "beginning another history";
    let tx = client.transaction().await.while_(doing)?;
    take_turn(&tx).await?;
    if Present::read(&tx).await?.version.is_none() {
        return Err(lasting(
            "the database is not prepared: run `afield prepare`",
        ));
    }
    let sql = "UPDATE afield.node SET incarnation = gen_random_uuid(); DELETE FROM afield.epoch";
    tx.batch_execute(sql).await.while_(doing)?;
    tx.commit().await.while_(doing)
}

async fn may_create(tx: &Transaction<'_>, statements: &[Statement]) -> Result<(), StorageError> {
    if !statements
        .iter()
        .any(|s| s.sql.starts_with("CREATE SCHEMA"))
    {
        return Ok(());
    }
    let sql = "SELECT has_database_privilege(current_database(), 'CREATE'), current_user::text, \
               quote_ident(current_database()), quote_ident(current_user)";
    let row = tx.query_one(sql, &[]).await.while_(DOING)?;
    let (may, role, database, quoted): (bool, String, String, String) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    match may {
        true => Ok(()),
        false => Err(lasting(format!(
            "the role `{role}` may not make the schema `afield`: let somebody who may run `GRANT \
             CREATE ON DATABASE {database} TO {quoted}`, or `CREATE SCHEMA` is refused"
        ))),
    }
}

async fn plan_in(tx: &Transaction<'_>, model: &ServerModel) -> Result<Report, StorageError> {
    let present = Present::read(tx).await?;
    let wanted = numbered(&present, captures(tx, model).await?);
    let mut statements = match present.version {
        None => bookkeeping::creation(),
        Some(version) => {
            version_fits(version)?;
            bookkeeping::upgrades(version)
        }
    };
    if present.version.is_some() {
        let functions = bookkeeping::functions().into_iter();
        let differing = functions.filter(|(name, body, _)| !present.has_function(name, body));
        statements.extend(differing.map(|(_, _, made)| made));
    }
    if present.is_copy {
        statements.extend(incarnation());
    }
    let obsolete = (present.captures.iter())
        .filter(|known| !wanted.iter().any(|w| w.id == known.id && w.is(known)));
    for capture in obsolete {
        statements.extend(drop_capture(&present, capture));
    }
    for capture in &wanted {
        match known(&present, capture) {
            None => statements.extend(capture.statements()),
            Some(known) => match misfit(tx, &present, known, capture).await? {
                Some(_) => {
                    statements.extend(drop_capture(&present, known));
                    statements.extend(capture.statements());
                }
                None => statements.extend(new_partitions(&present, capture)),
            },
        }
    }
    Ok(Report {
        statements,
        tables: wanted.iter().map(|capture| capture.shape.label()).collect(),
    })
}

fn version_fits(version: i32) -> Result<(), StorageError> {
    match version > SCHEMA_VERSION {
        false => Ok(()),
        true => Err(lasting(format!(
            "the database was prepared by a later version of Afield ({version}; this one knows \
             {SCHEMA_VERSION}): use that one"
        ))),
    }
}

/// What a copy of a database needs: its marks and its ledger have numbers of transactions of
/// another one. What the other one's ledger had forgotten this one does not know either.
fn incarnation() -> Vec<Statement> {
    let sql = "UPDATE afield.node SET incarnation = gen_random_uuid(), horizon = '0', \
               ledger_horizon = CASE WHEN ledger_horizon = '0' THEN '0' \
               ELSE pg_current_xact_id() END, \
               system_identifier = s.system_identifier, database = d.oid, \
               itself = 'afield.node'::regclass FROM pg_control_system() s, pg_database d \
               WHERE d.datname = current_database();\n\
               UPDATE afield.ledger SET xid = pg_current_xact_id();\n\
               DELETE FROM afield.epoch;\n\
               DELETE FROM afield.beacon;\nDELETE FROM afield.reset";
    vec![Statement::of(
        sql,
        "this database is a copy: what the other one noted is not its own",
    )]
}

/// Gives each capture the number that it has, or a new one.
fn numbered(present: &Present, mut wanted: Vec<Capture>) -> Vec<Capture> {
    let mut next = present.next_id;
    for capture in &mut wanted {
        let known = present.captures.iter().find(|known| capture.is(known));
        capture.id = known.map_or(next, |known| known.id);
        next = next.max(capture.id + 1);
    }
    wanted
}

fn known<'a>(present: &'a Present, capture: &Capture) -> Option<&'a PresentCapture> {
    present.captures.iter().find(|known| capture.is(known))
}

impl Capture {
    /// Whether that is the capture of this table for this purpose.
    fn is(&self, known: &PresentCapture) -> bool {
        let is_from = |columns: &[super::kinds::MarkColumn], names: &[String]| {
            columns.iter().map(|column| &column.of).eq(names)
        };
        self.kind.word() == known.kind
            && self.shape.oid == known.relation
            && is_from(&self.key, &known.key)
            && is_from(&self.scope, &known.scope)
    }
}

/// Why a capture that is there is not what is needed, if it is not.
async fn misfit(
    tx: &Transaction<'_>,
    present: &Present,
    known: &PresentCapture,
    capture: &Capture,
) -> Result<Option<String>, StorageError> {
    if present.is_copy {
        return Ok(Some("the database is a copy".to_owned()));
    }
    let sql = "SELECT md5($1)";
    let definition: String = tx
        .query_one(sql, &[&capture.definition()])
        .await
        .while_(DOING)?
        .get(0);
    if known.definition != definition {
        return Ok(Some(
            "its columns, or the model's, are others now".to_owned(),
        ));
    }
    let missing = |name: &&String| !present.relations.contains(*name);
    if let Some(name) = capture.relations().iter().find(missing) {
        return Ok(Some(format!("`afield.{name}` is missing")));
    }
    let functions = capture.functions();
    let other = functions
        .iter()
        .find(|f| !present.has_function(&f.name, &f.body));
    if let Some(function) = other {
        return Ok(Some(format!(
            "`afield.{}` is missing or another",
            function.name
        )));
    }
    for trigger in capture.triggers() {
        let is_partition = trigger.on.0 != capture.shape.oid;
        match present.trigger(trigger.on.0, &trigger.name) {
            Some(known) if known.enabled == trigger.enabled => {}
            Some(_) => return Ok(Some(format!("`{}` was switched off or over", trigger.name))),
            // Partitions that came since: a truncation of one is seen by the check.
            None if is_partition => {}
            None => return Ok(Some(format!("`{}` is missing", trigger.name))),
        }
    }
    Ok(switched_off(present, capture))
}

/// The row triggers that partitions have from the table.
fn switched_off(present: &Present, capture: &Capture) -> Option<String> {
    let name = format!("afield_{}_row", capture.id);
    let tables = capture.shape.partitions.iter();
    let lacking = tables.filter(|(oid, _)| {
        let trigger = present.trigger(*oid, &name);
        trigger.is_none_or(|trigger| trigger.enabled != "A")
    });
    let (_, table) = lacking.into_iter().next()?;
    Some(format!("`{name}` is switched off or over on {table}"))
}

/// What partitions need that came after the capture.
fn new_partitions(present: &Present, capture: &Capture) -> Vec<Statement> {
    let triggers = capture.triggers().into_iter();
    let missing = triggers.filter(|t| present.trigger(t.on.0, &t.name).is_none());
    let made: Vec<Statement> = missing.flat_map(|t| capture.create_trigger(&t)).collect();
    if made.is_empty() {
        return made;
    }
    let before = "SELECT FROM afield.check_capture()";
    let after = format!(
        "UPDATE afield.capture c SET fingerprint = afield.fingerprint(c) WHERE c.id = {}",
        capture.id
    );
    let mut statements = vec![Statement::of(before, "notes what has changed until now")];
    statements.extend(made);
    statements.push(Statement::of(
        after,
        "the new triggers are no change to ask about",
    ));
    statements
}

/// What takes a capture away, whatever is left of it.
fn drop_capture(present: &Present, capture: &PresentCapture) -> Vec<Statement> {
    let id = capture.id;
    let reason = format!(
        "capture of {} for `{}` ends",
        capture.table_name, capture.kind
    );
    let mut statements: Vec<Statement> = (present.triggers_of(id))
        .map(|trigger| Statement::of(trigger.drop_sql(), reason.as_str()).on(trigger.on.1.clone()))
        .collect();
    for word in ["row", "statement", "truncate"] {
        let name = format!("{word}_{id}");
        if present.functions.iter().any(|known| known.0 == name) {
            let sql = format!("DROP FUNCTION afield.{name}()");
            statements.push(Statement::of(sql, reason.as_str()));
        }
    }
    if present.relations.contains(&format!("mark_{id}")) {
        let sql = format!("DROP TABLE {}", mark_table(id));
        statements.push(Statement::of(sql, reason.as_str()));
    }
    let kind = literal(&capture.kind);
    let sql = format!("DELETE FROM afield.capture WHERE id = {id} AND kind = {kind}");
    statements.push(Statement::of(sql, reason));
    statements
}

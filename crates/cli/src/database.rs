//! The team's database: what stands behind its URL.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use afield_protocol::Code;
use afield_server::catalog::Catalog;
use afield_server::model::file::{DatabaseUrl, PostgresUrl};
use afield_server::model::{Checked, ModelFile, check};
use afield_server::resolved::ServerModel;
use afield_server::storage::Storage;
use afield_server::storage::postgres::{PostgresStorage, Session};
use afield_server::storage::sqlite::{self, SqliteStorage, catalog};

use crate::failure::Failure;
use crate::model::random;

/// The SQLite file of a model; `doing` says what is not built on anything else: "serving from".
pub(crate) fn sqlite_file<'f>(file: &'f ModelFile, doing: &str) -> Result<&'f Path, Failure> {
    match &file.server.database {
        DatabaseUrl::Sqlite(path) => Ok(path),
        DatabaseUrl::Postgres(_) => Err(Failure::refused(
            Code::NOT_AVAILABLE.as_str(),
            format!("{doing} PostgreSQL is not built yet; with SQLite (sqlite:FILE) it works"),
        )),
    }
}

/// The storage over a model's database, which must be prepared, with the limits of the model file.
pub(crate) fn opened(file: &ModelFile, model: &ServerModel) -> Result<Arc<dyn Storage>, Failure> {
    let (values, changes) = (file.limits.scope_values, file.limits.group_changes_max);
    Ok(match &file.server.database {
        DatabaseUrl::Sqlite(path) => {
            Arc::new(SqliteStorage::open(path, model, random)?.with_limits(values, changes))
        }
        DatabaseUrl::Postgres(url) => {
            let connections = file.limits.database_connections;
            let storage = PostgresStorage::open_with(url, model, connections)?;
            Arc::new(storage.with_limits(values, changes))
        }
    })
}

/// The same for a look at the inbox and for decisions, beside servers or without one.
pub(crate) fn opened_beside(
    file: &ModelFile,
    model: &ServerModel,
) -> Result<Arc<dyn Storage>, Failure> {
    let (values, changes) = (file.limits.scope_values, file.limits.group_changes_max);
    match &file.server.database {
        DatabaseUrl::Sqlite(path) => {
            let storage = SqliteStorage::open_beside(path, model)?;
            Ok(Arc::new(storage.with_limits(values, changes)))
        }
        DatabaseUrl::Postgres(_) => opened(file, model),
    }
}

/// The database that `init --from` names: a file, `sqlite:FILE` or `postgres://…`.
pub(crate) fn named(from: &str) -> Result<DatabaseUrl, Failure> {
    if PostgresUrl::is_meant(from) {
        let url = PostgresUrl::parse(from, Path::new(""));
        let url = url.map_err(|problem| Failure::usage(format!("--from: the URL {problem}")))?;
        return Ok(DatabaseUrl::Postgres(url));
    }
    let path = match from.strip_prefix("sqlite:") {
        Some(path) => PathBuf::from(path.trim_start_matches("//")),
        None => PathBuf::from(from),
    };
    Ok(DatabaseUrl::Sqlite(path))
}

/// What a database has, and with bounds how much of it.
pub(crate) fn measured(database: &DatabaseUrl) -> Result<Catalog, Failure> {
    Ok(match database {
        DatabaseUrl::Sqlite(path) => catalog::read_file_measured(path)?,
        DatabaseUrl::Postgres(url) => Session::connect(url)?.catalog_measured()?,
    })
}

/// Holds a model file against its database.
pub(crate) fn held(file: &ModelFile) -> Result<Checked, Failure> {
    Ok(match &file.server.database {
        DatabaseUrl::Sqlite(path) => {
            let queries = catalog::SqliteQueries::open(path)?;
            check(file, &catalog::read_file(path)?, &queries)?
        }
        DatabaseUrl::Postgres(url) => {
            let session = Session::connect(url)?;
            check(file, &session.catalog()?, &session)?
        }
    })
}

/// A database as people call it, without a password.
pub(crate) fn shown(database: &DatabaseUrl) -> String {
    match database {
        DatabaseUrl::Sqlite(path) => path.display().to_string(),
        DatabaseUrl::Postgres(url) => url.to_string(),
    }
}

/// One step of a preparation.
pub(crate) struct Step {
    /// Exactly what is run.
    pub(crate) sql: String,
    /// Why.
    pub(crate) reason: String,
}

/// What a preparation did, or would do.
pub(crate) struct Prepared {
    /// The statements.
    pub(crate) steps: Vec<Step>,
    /// The tables that are captured then.
    pub(crate) tables: Vec<String>,
    /// What will be slow, each with its remedy.
    pub(crate) warnings: Vec<String>,
}

/// What [`prepare`] would do. Changes nothing.
pub(crate) fn plan(database: &DatabaseUrl, model: &ServerModel) -> Result<Prepared, Failure> {
    let (steps, warnings) = match database {
        DatabaseUrl::Sqlite(path) => {
            let steps = sqlite::plan(path, model)?.into_iter();
            let steps = steps.map(|it| Step::new(it.sql, it.reason)).collect();
            (steps, sqlite::warnings(path, model)?)
        }
        DatabaseUrl::Postgres(url) => {
            let steps = Session::connect(url)?.plan(model)?.into_iter();
            let steps = steps.map(|it| Step::new(it.sql, it.reason)).collect();
            (steps, Vec::new())
        }
    };
    Ok(Prepared {
        steps,
        tables: Vec::new(),
        warnings,
    })
}

/// Installs or upgrades change capture.
pub(crate) fn prepare(
    database: &DatabaseUrl,
    model: &ServerModel,
    random: impl FnMut(&mut [u8]),
) -> Result<Prepared, Failure> {
    Ok(match database {
        DatabaseUrl::Sqlite(path) => {
            let report = sqlite::prepare(path, model, random)?;
            let steps = report.statements.into_iter();
            Prepared {
                steps: steps.map(|it| Step::new(it.sql, it.reason)).collect(),
                tables: report.tables,
                warnings: report.warnings,
            }
        }
        DatabaseUrl::Postgres(url) => {
            let report = Session::connect(url)?.prepare(model)?;
            let steps = report.statements.into_iter();
            Prepared {
                steps: steps.map(|it| Step::new(it.sql, it.reason)).collect(),
                tables: report.tables,
                warnings: Vec::new(),
            }
        }
    })
}

/// Takes change capture out; gives the statements that were run.
pub(crate) fn remove(database: &DatabaseUrl) -> Result<Vec<String>, Failure> {
    Ok(match database {
        DatabaseUrl::Sqlite(path) => sqlite::remove(path)?,
        DatabaseUrl::Postgres(url) => {
            let removed = Session::connect(url)?.remove()?.into_iter();
            removed.map(|statement| statement.sql).collect()
        }
    })
}

/// Says that it is another database than devices knew.
pub(crate) fn new_incarnation(database: &DatabaseUrl) -> Result<(), Failure> {
    match database {
        DatabaseUrl::Sqlite(path) => sqlite::new_incarnation(path)?,
        DatabaseUrl::Postgres(url) => Session::connect(url)?.new_incarnation()?,
    }
    Ok(())
}

impl Step {
    fn new(sql: String, reason: String) -> Self {
        Self { sql, reason }
    }
}

//! The team's database: what stands behind its URL.

use std::path::{Path, PathBuf};

use afield_protocol::Code;
use afield_server::catalog::Catalog;
use afield_server::model::file::{DatabaseUrl, PostgresUrl};
use afield_server::model::{Checked, ModelFile, check};
use afield_server::storage::postgres::Session;
use afield_server::storage::sqlite::catalog;

use crate::failure::Failure;

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

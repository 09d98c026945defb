//! The team's database: what stands behind its URL.

use std::path::Path;

use afield_protocol::Code;
use afield_server::model::ModelFile;
use afield_server::model::file::DatabaseUrl;

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

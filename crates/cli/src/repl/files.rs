//! Requests that carry changes in a file.

use std::path::Path;

use afield::native::Client;
use afield::{Error, ExportOptions};
use serde_json::Value as Json;

use super::Answer;
use super::requests::{Request, malformed, object, text};
use crate::device::{exported_json, imported_json};

/// Writes what is not settled into a file.
pub(super) fn export(client: &Client, request: &Request) -> Result<Answer, Error> {
    let options = options(request)?;
    let exported = client.export(Path::new(text(request, "file")?), &options)?;
    Ok(object(exported_json(&exported)))
}

/// Takes the changes of a file.
pub(super) fn import(client: &Client, request: &Request) -> Result<Answer, Error> {
    let imported = client.import(Path::new(text(request, "file")?))?;
    Ok(object(imported_json(&imported)))
}

/// How a file may be made.
pub(super) fn options(request: &Request) -> Result<ExportOptions, Error> {
    let flag = |name: &str| match request.get(name) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(is)) => Ok(*is),
        Some(_) => Err(malformed(name, "true or false")),
    };
    Ok(ExportOptions {
        force: flag("force")?,
        plain: flag("plain")?,
    })
}

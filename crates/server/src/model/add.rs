//! `afield add`: one more table in an existing model file, which is otherwise left as it is.

use std::path::Path;

use afield_protocol::Code;

use super::error::{ModelError, Place, suggestion};
use super::file::{ModelFile, Overrides, Source};
use super::propose::{Names, Proposal, propose, quoted};
use super::resolve::table_problem;
use crate::catalog::{Catalog, Table};

/// The text with a section for `table` at its end. Where the file lists units, the entity joins
/// the first one.
///
/// # Errors
/// The file has mistakes, or the table is not there, cannot be synchronised, or stands in the
/// file already.
pub fn add(
    text: &str,
    path: &Path,
    overrides: &Overrides,
    catalog: &Catalog,
    table: &str,
) -> Result<String, Vec<ModelError>> {
    let file = ModelFile::parse(text, path, overrides)?;
    let wrong = |place, message| {
        vec![ModelError {
            code: Code::MODEL,
            file: path.display().to_string(),
            place,
            message,
        }]
    };
    let end = Place {
        line: text.lines().count() + 1,
        column: 1,
    };
    let known = catalog.table(table).ok_or_else(|| {
        let usable = catalog
            .tables
            .iter()
            .filter(|table| table_problem(table).is_none());
        let near = suggestion(table, usable.map(|table| table.name.as_str()));
        wrong(
            end,
            format!(
                "the database has no table `{}`; {near}",
                table.escape_debug()
            ),
        )
    })?;
    if let Some((place, name)) = already(&file, catalog, known) {
        let message = format!(
            "`{}` is in the model already, as [local.{name}]",
            known.name
        );
        return Err(wrong(place, message));
    }
    let mut names = Names::default();
    file.entities
        .iter()
        .for_each(|entity| names.add(&entity.name.value));
    let on_device = on_device(&file, catalog, known);
    let (name, section) = match propose(catalog, known, &on_device, &mut names) {
        Proposal::Entity { name, section } => (name, section),
        Proposal::LeftOut(reason) => {
            return Err(wrong(
                end,
                format!("`{}` is left out: {reason}", known.name),
            ));
        }
    };
    let extended = append(text, &file, &name, &section);
    match ModelFile::parse(&extended, path, overrides) {
        Ok(_) => Ok(extended),
        // An inline `local = { … }` cannot be continued further down.
        Err(mut errors) => {
            let message = "no section can be added behind this text; write each entity under \
                           its own [local.NAME]";
            errors.extend(wrong(end, message.to_owned()));
            Err(errors)
        }
    }
}

/// The tables of the file's entities, and the one that is added.
fn on_device(file: &ModelFile, catalog: &Catalog, added: &Table) -> Vec<String> {
    let entities = file.entities.iter();
    let from = entities.filter_map(|entity| match &entity.source {
        Source::Server(server) => Some(catalog.table(&server.from.value)?.name.clone()),
        Source::Device { .. } => None,
    });
    from.chain([added.name.clone()]).collect()
}

/// Where the table stands in the file, and under which name.
fn already<'f>(file: &'f ModelFile, catalog: &Catalog, table: &Table) -> Option<(Place, &'f str)> {
    let is_it = |name: &str| catalog.table(name).is_some_and(|it| it.name == table.name);
    file.entities
        .iter()
        .find_map(|entity| match &entity.source {
            Source::Server(server) if is_it(&server.from.value) => {
                Some((entity.name.place, entity.name.value.as_str()))
            }
            _ => None,
        })
}

fn append(text: &str, file: &ModelFile, name: &str, section: &str) -> String {
    let mut extended = text.to_owned();
    let section = if text.contains("\r\n") {
        section.replace('\n', "\r\n")
    } else {
        section.to_owned()
    };
    let line_break = if text.contains("\r\n") { "\r\n" } else { "\n" };
    if let Some(unit) = file.units.first() {
        // Behind the last name, so that commas and comments further on stay as they are.
        extended.insert_str(unit.last_end, &format!(", {}", quoted(name)));
    }
    if !extended.is_empty() && !extended.ends_with('\n') {
        extended.push_str(line_break);
    }
    if !extended.is_empty() {
        extended.push_str(line_break);
    }
    extended + &section
}

//! Hidden references: foreign keys that no reference of the model stands for.
//!
//! Whoever writes such an attribute asks the database whether a row is there that is on no device:
//! its foreign key takes the one value and refuses the other. So devices only read it, unless the
//! model lists it in `may_reference`.

use super::Resolver;
use super::structure::in_key_order;
use crate::catalog::{Catalog, ForeignKey, Table};
use crate::model::error::{Place, suggestion};
use crate::model::file::{At, FromServer, Source};
use crate::resolved::ServerEntity;

impl Resolver<'_> {
    /// Makes attributes of hidden references read-only, but for those that may be written.
    pub(super) fn hidden_references(&mut self, entities: &mut [ServerEntity]) {
        let file = self.file;
        let catalog = self.catalog;
        let on_device: Vec<String> = entities
            .iter()
            .filter(|entity| entity.local.is_synced())
            .map(|entity| entity.table.clone())
            .collect();
        for section in &file.entities {
            let Source::Server(server) = &section.source else {
                continue;
            };
            let mut known = entities.iter_mut();
            let entity = known.find(|entity| entity.local.name == section.name.value);
            let Some(entity) = entity else { continue };
            let Some(table) = catalog.table(&entity.table) else {
                continue;
            };
            let hidden = hidden(catalog, table, &on_device, &columns(entity));
            self.check_may_reference(server, entity, table, &hidden);
            if server.is_written() {
                self.hide(section.name.place, server, entity, table, &hidden);
            }
        }
    }

    fn check_may_reference(
        &mut self,
        server: &FromServer,
        entity: &ServerEntity,
        table: &Table,
        hidden: &[Hidden<'_>],
    ) {
        let name = &entity.local.name;
        for At { value, place } in &server.may_reference {
            let attributes = &entity.local.attributes;
            let at = attributes.iter().position(|a| a.name == *value);
            let column = at.and_then(|at| entity.columns.get(at));
            let key = column.and_then(|column| foreign_key_of(table, &column.name));
            let is_hidden = |column: &str| hidden.iter().any(|one| one.column == column);
            let problem = match (column, key) {
                (None, _) => {
                    let near = suggestion(value, attributes.iter().map(|a| a.name.as_str()));
                    format!("is none of `attributes`; {near}")
                }
                (Some(_), _) if !server.is_written() => {
                    let pattern = server.pattern.as_str();
                    format!("is only read with the pattern `{pattern}`; remove it here")
                }
                (Some(_), None) => {
                    "is no foreign key, so it refers to no other row; remove it here".to_owned()
                }
                (Some(_), _) if server.read_only.iter().any(|at| at.value == *value) => {
                    "is in `read_only` too; remove it from one of them".to_owned()
                }
                (Some(column), Some(key)) if !is_hidden(&column.name) => {
                    let message = format!(
                        "[local.{name}] may_reference: `{value}` refers to `{}`, which is on \
                         devices, so the row that it names is asked for anyway; remove it here",
                        key.table
                    );
                    self.warn(*place, message);
                    continue;
                }
                (Some(_), Some(_)) => continue,
            };
            let message = format!("[local.{name}] may_reference: `{value}` {problem}");
            self.wrong(*place, message);
        }
    }

    fn hide(
        &mut self,
        place: Place,
        server: &FromServer,
        entity: &mut ServerEntity,
        table: &Table,
        hidden: &[Hidden<'_>],
    ) {
        for (at, column) in entity.columns.iter().enumerate() {
            let Some(attribute) = entity.local.attributes.get_mut(at) else {
                continue;
            };
            let mut of_it = hidden.iter().filter(|one| one.column == column.name);
            let Some(one) = of_it.next() else { continue };
            let may = &server.may_reference;
            if attribute.read_only || may.iter().any(|at| at.value == attribute.name) {
                continue;
            }
            attribute.read_only = true;
            let name = &attribute.name;
            let message = format!(
                "[local.{}] attributes: `{name}` refers to {}, so {}",
                entity.local.name,
                one.why,
                consequence(table, &column.name),
            );
            let listed = server.attributes.iter();
            let mut listed = listed.filter(|listed| listed.local.value == *name);
            self.warn(listed.next().map_or(place, |at| at.local.place), message);
        }
    }
}

/// What follows for devices where a column refers to what is not there, and what to do.
fn consequence(table: &Table, column: &str) -> &'static str {
    if table.is_key(column) {
        return "devices create no rows; list it in `may_reference` to let them";
    }
    let is_required = table
        .column(column)
        .is_some_and(|known| known.not_null && known.default.is_none());
    match is_required {
        true => {
            "devices only read it, and create no rows, which need it; list it in `may_reference` \
             to let them write it, or in `read_only` to say the same"
        }
        false => {
            "devices only read it; list it in `may_reference` to let them write it, or in \
             `read_only` to say the same"
        }
    }
}

/// A column of a foreign key that no reference of the model stands for.
pub(in crate::model) struct Hidden<'a> {
    /// The column, as the table names it.
    pub column: &'a str,
    /// What it refers to, in words.
    pub why: String,
}

/// The columns of `table` among those that devices get which are part of a hidden reference.
pub(in crate::model) fn hidden<'a>(
    catalog: &Catalog,
    table: &'a Table,
    on_device: &[String],
    columns: &[String],
) -> Vec<Hidden<'a>> {
    let is_known = |name: &str| columns.iter().any(|known| known == name);
    let mut found: Vec<Hidden<'a>> = Vec::new();
    for key in &table.foreign_keys {
        let target = catalog.table(&key.table);
        let is_there = on_device.contains(&key.table);
        let by_key = target.and_then(|target| in_key_order(key, &target.primary_key));
        let to = key.table.escape_debug();
        let why = match (is_there, by_key) {
            (true, Some(_)) if key.columns.iter().all(|column| is_known(column)) => continue,
            (true, Some(_)) => format!("`{to}` with columns that are not on devices"),
            (true, None) => format!("`{to}` by what is not its identifier"),
            (false, _) => format!("`{to}`, which is not on devices"),
        };
        for column in key.columns.iter().filter(|column| is_known(column)) {
            let Some(column) = table.column(column) else {
                continue;
            };
            if !found.iter().any(|one| one.column == column.name) {
                found.push(Hidden {
                    column: &column.name,
                    why: why.clone(),
                });
            }
        }
    }
    found
}

fn columns(entity: &ServerEntity) -> Vec<String> {
    entity
        .columns
        .iter()
        .map(|column| column.name.clone())
        .collect()
}

fn foreign_key_of<'a>(table: &'a Table, column: &str) -> Option<&'a ForeignKey> {
    let has = |key: &&ForeignKey| key.columns.iter().any(|c| c == column);
    table.foreign_keys.iter().find(has)
}

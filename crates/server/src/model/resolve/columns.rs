//! Attributes and their columns: the identifier first, then what the file lists.

use afield_protocol::Attribute;

use super::Resolver;
use super::lookup::IS_LOOKUP;
use crate::catalog::{Column, Table};
use crate::model::error::{Place, suggestion};
use crate::model::file::{At, FromServer, Listed};
use crate::resolved::ServerColumn;

impl Resolver<'_> {
    /// Attributes and columns of an entity, in the same order.
    pub(super) fn columns(
        &mut self,
        name: &str,
        place: Place,
        server: &FromServer,
        table: &Table,
    ) -> (Vec<Attribute>, Vec<ServerColumn>) {
        let FromServer {
            attributes: listed,
            read_only,
            never,
            counter,
            ..
        } = server;
        self.check_never(name, table, never, listed);
        let chosen = self.chosen(name, table, listed, place);
        self.check_read_only(name, table, server, &chosen);
        self.check_counters(name, server, table, &chosen);
        let mut attributes = Vec::new();
        let mut columns = Vec::new();
        for (local, column) in chosen {
            let is_in = |names: &[At<String>]| names.iter().any(|at| at.value == local);
            attributes.push(Attribute {
                read_only: is_in(read_only) || column.generated || column.left_out.is_some(),
                counter: is_in(counter),
                default: column.default.clone(),
                ..Attribute::new(local, column.kind)
            });
            columns.push(ServerColumn {
                name: column.name.clone(),
                kind: column.kind,
                scale: column.scale,
            });
        }
        (attributes, columns)
    }

    /// Local name and column of each attribute: the key's in key order, then the others.
    fn chosen<'t>(
        &mut self,
        entity: &str,
        table: &'t Table,
        listed: &[Listed],
        place: Place,
    ) -> Vec<(String, &'t Column)> {
        let mut found: Vec<(At<String>, &'t Column)> = Vec::new();
        for Listed { local, column } in listed {
            self.check_attribute(entity, local);
            let Some(known) = table.column(&column.value) else {
                let near = suggestion(&column.value, table.columns.iter().map(|c| &*c.name));
                let message = format!(
                    "[local.{entity}] attributes: the table `{}` has no column `{}`; {near}",
                    table.name, column.value
                );
                self.wrong(column.place, message);
                continue;
            };
            if !known.is_readable {
                let message = format!(
                    "[local.{entity}] attributes: this database user may not read `{}`; remove it \
                     here, or GRANT SELECT",
                    known.name
                );
                self.wrong(column.place, message);
                continue;
            }
            if found.iter().any(|(_, other)| other.name == known.name) {
                let message = format!(
                    "[local.{entity}] attributes: the column `{}` stands twice; keep one",
                    known.name
                );
                self.wrong(column.place, message);
                continue;
            }
            found.push((local.clone(), known));
        }
        let mut chosen: Vec<(At<String>, &'t Column)> = Vec::new();
        for key in &table.primary_key {
            let Some(column) = table.column(key) else {
                continue;
            };
            let at = found
                .iter()
                .position(|(_, other)| other.name == column.name);
            chosen.push(match at {
                Some(at) => found.remove(at),
                None => {
                    // The identifier comes along unlisted; only then is its name unchecked.
                    let local = At {
                        value: column.name.clone(),
                        place,
                    };
                    self.check_attribute(entity, &local);
                    (local, column)
                }
            });
        }
        chosen.extend(found);
        self.check_local_names(entity, &chosen);
        chosen
            .into_iter()
            .map(|(local, column)| (local.value, column))
            .collect()
    }

    fn check_local_names(&mut self, entity: &str, chosen: &[(At<String>, &Column)]) {
        for (at, (local, _)) in chosen.iter().enumerate() {
            let mut others = chosen.iter().take(at);
            if others.any(|(other, _)| other.value.eq_ignore_ascii_case(&local.value)) {
                let message = format!(
                    "[local.{entity}] attributes: two are called `{}` (case does not count); \
                     rename one",
                    local.value
                );
                self.wrong(local.place, message);
            }
        }
    }

    fn check_never(
        &mut self,
        entity: &str,
        table: &Table,
        never: &[At<String>],
        listed: &[Listed],
    ) {
        for at in never {
            let Some(column) = table.column(&at.value) else {
                let near = suggestion(&at.value, table.columns.iter().map(|c| &*c.name));
                let message = format!(
                    "[local.{entity}] never: the table `{}` has no column `{}`; {near}",
                    table.name, at.value
                );
                self.wrong(at.place, message);
                continue;
            };
            if table.is_key(&column.name) {
                let message = format!(
                    "[local.{entity}] never: `{}` is the identifier, which always comes along; \
                     remove it here, or leave the entity out",
                    column.name
                );
                self.wrong(at.place, message);
            }
            let column_of = |l: &Listed| table.column(&l.column.value);
            let same = |l: &&Listed| column_of(l).is_some_and(|it| it.name == column.name);
            if let Some(listed) = listed.iter().find(same) {
                let message = format!(
                    "[local.{entity}] attributes: `{}` must never leave the server (`never`, \
                     line {}); remove it here",
                    column.name, at.place.line
                );
                self.wrong(listed.column.place, message);
            }
        }
    }

    fn check_read_only(
        &mut self,
        entity: &str,
        table: &Table,
        server: &FromServer,
        chosen: &[(String, &Column)],
    ) {
        for at in &server.read_only {
            let problem = match chosen.iter().find(|(local, _)| *local == at.value) {
                Some((_, column)) if table.is_key(&column.name) => {
                    "is the identifier, which is never changed anyway; remove it here".to_owned()
                }
                Some(_) => continue,
                None if server.is_lookup(&at.value) => IS_LOOKUP.to_owned(),
                None => {
                    let near = suggestion(&at.value, chosen.iter().map(|(local, _)| &**local));
                    format!("is none of `attributes`; {near}")
                }
            };
            let message = format!("[local.{entity}] read_only: `{}` {problem}", at.value);
            self.wrong(at.place, message);
        }
    }
}

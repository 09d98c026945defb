//! Lookups: read-only attributes that come through foreign keys, and what a user could read by
//! them.

use afield_protocol::Attribute;

use super::Resolver;
use super::scope::{Of, What};
use crate::catalog::{Column, Table};
use crate::model::file::{At, FromServer, Source, WrittenLookup};
use crate::resolved::{Hop, Lookup, ServerEntity};

/// Most foreign keys that a lookup goes through: more than anybody writes by hand, and a bound on
/// how deep statements are nested.
const STEPS_MAX: usize = 16;

/// Why a lookup may not stand in a list of attributes that says more of it.
pub(super) const IS_LOOKUP: &str = "is a lookup, which is read-only as it is; remove it here";

impl FromServer {
    /// Whether a local name is a lookup's.
    pub(super) fn is_lookup(&self, local: &str) -> bool {
        self.lookups
            .iter()
            .any(|lookup| lookup.local.value == local)
    }
}

impl<'a> Resolver<'a> {
    /// The lookups of an entity, in file order; their attributes are added to `attributes`.
    pub(super) fn lookups(
        &mut self,
        entity: &str,
        server: &FromServer,
        table: &'a Table,
        attributes: &mut Vec<Attribute>,
    ) -> Vec<Lookup> {
        let mut found = Vec::new();
        for written in &server.lookups {
            let WrittenLookup { local, path } = written;
            self.check_attribute(entity, local);
            let mut known = attributes.iter();
            if known.any(|other| other.name.eq_ignore_ascii_case(&local.value)) {
                let message = format!(
                    "[local.{entity}] lookup: an attribute is called `{}` already (case does not \
                     count); give the lookup another name",
                    local.value
                );
                self.wrong(local.place, message);
                continue;
            }
            let of = Of {
                entity,
                server,
                table,
                what: What::Lookup,
            };
            if let Some((lookup, column)) = self.lookup(&of, local, path) {
                let mut attribute = Attribute::new(local.value.clone(), column.kind);
                attribute.read_only = true;
                attribute.lookup = true;
                attributes.push(attribute);
                found.push(lookup);
            }
        }
        found
    }

    fn lookup(
        &mut self,
        of: &Of<'_>,
        local: &At<String>,
        written: &[At<String>],
    ) -> Option<(Lookup, &'a Column)> {
        let (entity, last) = (of.entity, written.last()?);
        let (name, place) = (&local.value, last.place);
        if of.server.insert_only.is_some() {
            let message = format!(
                "[local.{entity}] lookup: rows of an `insert_only` entity are never pulled, so \
                 that `{name}` would always be empty; remove it"
            );
            self.wrong(local.place, message);
            return None;
        }
        if written.len() == 1 {
            let message = format!(
                "[local.{entity}] lookup: `{}` goes through no foreign key; write \
                 `{name} = \"FOREIGN_KEY.COLUMN\"`, or list it in `attributes`",
                last.value
            );
            self.wrong(place, message);
            return None;
        }
        if written.len() > STEPS_MAX + 1 {
            let message = format!(
                "[local.{entity}] lookup: `{name}` goes through more than {STEPS_MAX} foreign \
                 keys; shorten it"
            );
            self.wrong(place, message);
            return None;
        }
        let (first, path, (_, column)) = self.path_of(of, written)?;
        let source = &path.last()?.table;
        if let Some(line) = self.never_line(source, column) {
            let message = format!(
                "[local.{entity}] lookup: `{source}.{}` must never leave the server (`never`, line \
                 {line}); remove `{name}`",
                column.name
            );
            self.wrong(place, message);
            return None;
        }
        self.advise_lookup(of, place, first, &path);
        let lookup = Lookup {
            column: first.name.clone(),
            path,
            scale: column.scale,
        };
        Some((lookup, column))
    }

    /// Where the file says that a column of a table never leaves the server.
    fn never_line(&self, table: &str, column: &Column) -> Option<usize> {
        let of_table = |server: &&FromServer| {
            let from = self.catalog.table(&server.from.value);
            from.is_some_and(|from| from.name == table)
        };
        let servers = self
            .file
            .entities
            .iter()
            .filter_map(|entity| match &entity.source {
                Source::Server(server) => Some(&**server),
                Source::Device { .. } => None,
            });
        let mut never = servers.filter(of_table).flat_map(|server| &server.never);
        let of = self.catalog.table(table)?;
        let names = |at: &&At<String>| {
            let named = of.column(&at.value);
            named.is_some_and(|named| named.name == column.name)
        };
        let found = never.find(names);
        found.map(|at| at.place.line)
    }

    /// Refuses lookups by which a user could read whatever he likes: those that go through a
    /// reference which he can set to a row that nobody checks. Called when attributes of hidden
    /// references are read-only.
    pub(super) fn check_reach(&mut self, entities: &[ServerEntity]) {
        for entity in entities {
            let name = &entity.local.name;
            let lookups = entity.local.attributes.iter().filter(|a| a.lookup);
            for (attribute, lookup) in lookups.zip(&entity.lookups) {
                let Some(hole) = hole(entities, entity, lookup) else {
                    continue;
                };
                let Some(place) = self.place_of_lookup(name, &attribute.name) else {
                    continue;
                };
                let message = format!(
                    "[local.{name}] lookup: `{}` goes through `{}.{}`, which devices may write \
                     (`may_reference`) and nobody checks: every user could read any row of `{}` by \
                     this lookup. Remove `{}` from `may_reference` of [local.{}], or remove the \
                     lookup",
                    attribute.name,
                    hole.entity.table,
                    hole.column,
                    hole.to.table,
                    hole.attribute,
                    hole.entity.local.name
                );
                self.wrong(place, message);
            }
        }
    }

    fn place_of_lookup(&self, entity: &str, local: &str) -> Option<super::Place> {
        let mut sections = self.file.entities.iter();
        let section = sections.find(|section| section.name.value == entity)?;
        let Source::Server(server) = &section.source else {
            return None;
        };
        let mut lookups = server.lookups.iter();
        let written = lookups.find(|lookup| lookup.local.value == local)?;
        Some(written.local.place)
    }
}

/// A reference that a user may set to anything.
struct Hole<'e> {
    /// The entity that has it.
    entity: &'e ServerEntity,
    column: &'e str,
    attribute: &'e str,
    to: &'e Hop,
}

/// The first step of a lookup that a user may set to a row which nobody checks.
fn hole<'e>(
    entities: &'e [ServerEntity],
    entity: &'e ServerEntity,
    lookup: &'e Lookup,
) -> Option<Hole<'e>> {
    let mut from = (entity.table.as_str(), lookup.column.as_str());
    for to in &lookup.path {
        let (table, column) = from;
        let mut owners = entities.iter().filter(|owner| owner.table == table);
        let open = owners.find_map(|owner| {
            let attribute = settable(owner, column)?;
            (!is_checked(entities, owner, attribute, to)).then_some(Hole {
                entity: owner,
                column,
                attribute,
                to,
            })
        });
        if open.is_some() {
            return open;
        }
        from = (&to.table, &to.column);
    }
    None
}

/// The attribute by which devices can give a column of an entity a value.
fn settable<'e>(owner: &'e ServerEntity, column: &str) -> Option<&'e str> {
    let mut columns = owner.columns.iter();
    let at = columns.position(|known| known.name == column)?;
    let attribute = owner.local.attributes.get(at)?;
    // A part of the identifier is given with a create.
    (owner.local.is_written() && !attribute.read_only).then_some(attribute.name.as_str())
}

/// Whether a push asks for the row that this attribute names, and whether the user may read it.
fn is_checked(entities: &[ServerEntity], owner: &ServerEntity, attribute: &str, to: &Hop) -> bool {
    owner.local.references.iter().any(|reference| {
        let mut targets = entities.iter();
        let target = targets.find(|target| target.local.name == reference.entity);
        reference.attributes == [attribute]
            && target.is_some_and(|target| {
                let key = target.columns.first();
                target.table == to.table && key.is_some_and(|key| key.name == to.key)
            })
    })
}

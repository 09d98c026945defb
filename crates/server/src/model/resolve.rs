//! Holds a model file against a database: every entity finds its table, every attribute its
//! column, or an error says which does not and what is near.

mod advice;
mod columns;
mod deletion;
mod hidden;
mod identifier;
mod lookup;
mod queries;
mod rules;
mod scope;
mod structure;
mod switches;
mod units;
mod window;

use std::collections::{HashMap, HashSet};

use afield_protocol::limits::NAME_BYTES;
use afield_protocol::{Attribute, Code, Entity, Identifier, Model, Pattern, Rule, Type};

pub(super) use self::hidden::{Hidden, hidden};
pub(super) use self::identifier::{identifier_of, too_high_problem};
pub(in crate::model) use self::rules::fitted as fitted_rule;
use super::error::{ModelError, Place, suggestion};
use super::file::{At, EntitySection, FromServer, LocalAttribute, ModelFile, Source};
use crate::catalog::{Catalog, Column, Queries, Table, TableKind};
use crate::resolved::{ServerEntity, ServerModel};

/// A model that fits its database.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The model as the server works with it.
    pub model: ServerModel,
    /// What is no mistake, and worth knowing.
    pub warnings: Vec<ModelError>,
}

/// The model as the server works with it; the queries of its scopes are taken as they are.
///
/// # Errors
/// Everything in the file that does not fit the database, in file order.
pub fn resolve(file: &ModelFile, catalog: &Catalog) -> Result<ServerModel, Vec<ModelError>> {
    Ok(hold(file, catalog, None)?.model)
}

/// The model as the server works with it; `queries` is asked about the queries of its scopes.
///
/// # Errors
/// Everything in the file that does not fit the database, in file order.
pub fn check(
    file: &ModelFile,
    catalog: &Catalog,
    queries: &dyn Queries,
) -> Result<Checked, Vec<ModelError>> {
    hold(file, catalog, Some(queries))
}

fn hold(
    file: &ModelFile,
    catalog: &Catalog,
    queries: Option<&dyn Queries>,
) -> Result<Checked, Vec<ModelError>> {
    let mut resolver = Resolver {
        file,
        catalog,
        errors: Vec::new(),
        warnings: Vec::new(),
        query_columns: HashMap::new(),
        used_scopes: HashSet::new(),
        chosen_kinds: HashMap::new(),
    };
    let mut scopes = resolver.named_scopes(queries);
    let mut entities = resolver.entities();
    let units = resolver.units();
    resolver.edit_online(&mut entities);
    resolver.check_used();
    let chosen = resolver.chosen_scopes(&mut scopes);
    let Resolver {
        mut errors,
        mut warnings,
        ..
    } = resolver;
    let mut device = Vec::new();
    let mut server = Vec::new();
    for entity in entities {
        device.push(entity.local.clone());
        if entity.local.is_synced() {
            server.push(entity);
        }
    }
    let device = Model {
        version: file.version,
        units,
        entities: device,
        chosen,
        limits: file.limits.of_devices(),
        sync: file.sync.of_devices(),
    };
    if errors.is_empty()
        && let Err(error) = device.check()
    {
        errors.push(error_at(
            file,
            Place { line: 1, column: 1 },
            error.to_string(),
        ));
    }
    if errors.is_empty() {
        warnings.sort_by_key(|warning| warning.place);
        let model = ServerModel {
            device,
            entities: server,
            scopes,
        };
        Ok(Checked { model, warnings })
    } else {
        errors.sort_by_key(|error| error.place);
        errors.dedup();
        Err(errors)
    }
}

/// Why devices cannot use a name, if they cannot: in words that continue "the name … ".
pub(super) fn name_problem(name: &str, is_attribute: bool) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
        return Some(format!(
            "must have 1 to {NAME_BYTES} bytes and no control characters"
        ));
    }
    if lower.starts_with("afield_") {
        return Some("begins with `afield_`, which is Afield's own".to_owned());
    }
    if !is_attribute && lower.starts_with("sqlite_") {
        return Some("begins with `sqlite_`, which SQLite reserves".to_owned());
    }
    if is_attribute && ["rowid", "oid", "_rowid_"].contains(&lower.as_str()) {
        return Some("is SQLite's own word for a row's number".to_owned());
    }
    None
}

/// Why a table cannot be synchronised whatever the model says, with what to do.
pub(super) fn table_problem(table: &Table) -> Option<&'static str> {
    match table.kind {
        TableKind::View => {
            Some("a view; changes of a view cannot be followed: use the tables behind it")
        }
        TableKind::Virtual => {
            Some("a virtual table; it takes no triggers: use the table it is filled from")
        }
        TableKind::Shadow => {
            Some("the inside of a virtual table: use the table that one is filled from")
        }
        TableKind::MaterializedView => Some(
            "a materialised view; it changes when it is refreshed, and nobody sees which rows: \
             use the tables behind it",
        ),
        TableKind::Foreign => Some(
            "a foreign table; changes in the other database cannot be followed from here: give \
             that one a server of its own",
        ),
        TableKind::Temporary => Some("a temporary table; it ends with its connection"),
        TableKind::Unlogged => Some(
            "an unlogged table; it is empty after a crash, and on no replica: make it an ordinary \
             one with ALTER TABLE … SET LOGGED",
        ),
        TableKind::Partition => {
            Some("a partition; use the partitioned table, which has its rows too")
        }
        TableKind::Inheriting => Some(
            "a table that inherits from another, through which its rows change as well: use \
             partitions, or a table of its own",
        ),
        TableKind::Inherited => Some(
            "a table that others inherit from, so that its key does not name one row: use \
             partitions, or tables of their own",
        ),
        TableKind::Unreadable => {
            Some("nothing that this database user may read: GRANT SELECT, and USAGE on its schema")
        }
        TableKind::Ordinary if table.primary_key.is_empty() => Some(
            "without a primary key, so that no device could name a row: give it one, or leave \
             it out",
        ),
        TableKind::Ordinary if has_key(table, |column| column.kind == Type::Real) => Some(
            "keyed by a floating-point number, which is no exact name of a row: give it \
             another primary key, or leave it out",
        ),
        TableKind::Ordinary if has_key(table, |column| column.left_out.is_some()) => Some(
            "keyed by a column that Afield has no type for: give it another primary key, or leave \
             it out",
        ),
        TableKind::Ordinary => None,
    }
}

fn has_key(table: &Table, is_odd: impl Fn(&Column) -> bool) -> bool {
    let mut keys = table.primary_key.iter().filter_map(|key| table.column(key));
    keys.any(is_odd)
}

struct Resolver<'a> {
    file: &'a ModelFile,
    catalog: &'a Catalog,
    errors: Vec<ModelError>,
    warnings: Vec<ModelError>,
    /// What the query of each named scope finds, where that is a column.
    query_columns: HashMap<String, (&'a Table, &'a Column)>,
    /// Names of the scopes that entities use.
    used_scopes: HashSet<String>,
    /// The type of the column that each chosen scope is compared with, and the column.
    chosen_kinds: HashMap<String, (Type, String)>,
}

fn error_at(file: &ModelFile, place: Place, message: String) -> ModelError {
    ModelError {
        code: Code::MODEL,
        file: file.path.display().to_string(),
        place,
        message,
    }
}

impl<'a> Resolver<'a> {
    fn wrong(&mut self, place: Place, message: String) {
        self.errors.push(error_at(self.file, place, message));
    }

    fn warn(&mut self, place: Place, message: String) {
        let warning = error_at(self.file, place, message);
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn not_yet(&mut self, place: Place, message: String) {
        let error = error_at(self.file, place, message);
        self.errors.push(ModelError {
            code: Code::NOT_AVAILABLE,
            ..error
        });
    }

    fn entities(&mut self) -> Vec<ServerEntity> {
        let file = self.file;
        let mut names: HashMap<String, Place> = HashMap::new();
        let mut tables: HashMap<String, &str> = HashMap::new();
        let mut entities = Vec::new();
        for section in &file.entities {
            let At { value: name, place } = &section.name;
            if let Some(problem) = name_problem(name, false) {
                self.wrong(
                    *place,
                    format!("[local.{name}]: the name {problem}; choose another"),
                );
            }
            if let Some(first) = names.insert(name.to_ascii_lowercase(), *place) {
                let line = first.line;
                self.wrong(
                    *place,
                    format!(
                        "[local.{name}]: line {line} has this name already (case does not \
                         count); choose another"
                    ),
                );
            }
            let entity = match &section.source {
                Source::Device { attributes } => self.local_only(section, attributes),
                Source::Server(server) => self.synced(&section.name, server),
            };
            let Some(entity) = entity else { continue };
            if entity.local.is_synced()
                && let Some(other) = tables.insert(entity.table.clone(), name)
            {
                let message = format!(
                    "[local.{name}]: `{other}` comes from the table `{}` too; two local \
                     entities of one table are not available yet: keep one of them",
                    entity.table
                );
                self.not_yet(*place, message);
            }
            entities.push(entity);
        }
        structure::add(&mut entities, self.catalog);
        self.hidden_references(&mut entities);
        self.add_rules(&mut entities);
        self.check_reach(&entities);
        entities
    }

    fn local_only(
        &mut self,
        section: &EntitySection,
        listed: &[LocalAttribute],
    ) -> Option<ServerEntity> {
        let At { value: name, place } = &section.name;
        let mut attributes: Vec<Attribute> = Vec::new();
        for LocalAttribute {
            name: at,
            kind,
            rule,
        } in listed
        {
            self.check_attribute(name, at);
            let taken = attributes
                .iter()
                .any(|a| a.name.eq_ignore_ascii_case(&at.value));
            if taken {
                let message = format!("[local.{name}]: `{}` stands twice; keep one", at.value);
                self.wrong(at.place, message);
            }
            let rule = rules::fitted(rule, *kind).unwrap_or_else(|problem| {
                self.wrong(
                    at.place,
                    format!("[local.{name}]: `{}` {problem}", at.value),
                );
                Rule::default()
            });
            attributes.push(Attribute {
                rule,
                ..Attribute::new(&at.value, *kind)
            });
        }
        let own_id = attributes
            .iter()
            .position(|a| a.name.eq_ignore_ascii_case("id"));
        let id = own_id.map_or_else(
            || Attribute::new("id", Type::Uuid),
            |at| attributes.remove(at),
        );
        if id.kind == Type::Real {
            let message = format!("[local.{name}]: `id` cannot be a real; use uuid or integer");
            self.wrong(*place, message);
        }
        let identifier = match id.kind {
            Type::Uuid => Identifier::Uuid,
            _ => Identifier::Natural,
        };
        attributes.insert(0, id);
        let local = Entity::new(name, Pattern::LocalOnly, identifier, 1, attributes);
        Some(ServerEntity::new(local, "", Vec::new()))
    }

    fn synced(&mut self, at: &At<String>, server: &FromServer) -> Option<ServerEntity> {
        let At { value: name, place } = at;
        let from = &server.from;
        let Some(table) = self.catalog.table(&from.value) else {
            let tables = self.catalog.tables.iter();
            let usable = tables.filter(|table| table_problem(table).is_none());
            let near = suggestion(&from.value, usable.map(|table| table.name.as_str()));
            let message = format!(
                "[local.{name}] from: the database has no table `{}`; {near}",
                from.value
            );
            self.wrong(from.place, message);
            return None;
        };
        if let Some(problem) = table_problem(table) {
            self.wrong(
                from.place,
                format!("[local.{name}] from: `{}` is {problem}", table.name),
            );
            return None;
        }
        let identifier = self.identifier(at, server, table);
        let (mut attributes, columns) = self.columns(name, *place, server, table);
        let lookups = self.lookups(name, server, table, &mut attributes);
        let scope = self.scope(name, server, table);
        let (write, write_to) = self.writes(name, server, table);
        let delete = self.deletion(name, server, table);
        let keep = self.window(name, server, table, &columns);
        let key_width = table.primary_key.len();
        let local = Entity {
            merge: self.merge(name, server),
            strict: self.strict(name, server),
            insert_only: self.insert_only(name, server),
            erase: server.erase,
            scope: scope.widths(),
            ..Entity::new(name, server.pattern, identifier, key_width, attributes)
        };
        Some(ServerEntity {
            scope,
            lookups,
            write,
            write_to,
            delete,
            keep,
            ..ServerEntity::new(local, &table.name, columns)
        })
    }

    fn check_attribute(&mut self, entity: &str, name: &At<String>) {
        if let Some(problem) = name_problem(&name.value, true) {
            let message = format!(
                "[local.{entity}]: the name `{}` {problem}; give it another local name: \
                 {{ NAME = {:?} }}",
                name.value.escape_debug(),
                name.value
            );
            self.wrong(name.place, message);
        }
    }
}

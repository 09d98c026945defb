//! Reads the catalog of a PostgreSQL database: any valid one, whatever its names, in a fixed number
//! of queries and one snapshot. Nothing is written.

mod checks;
mod defaults;
mod measure;
mod rows;
mod types;

use std::collections::HashMap;

use afield_protocol::{Code, Rule, Type};
use tokio_postgres::Client;

use self::rows::{Attribute, Constraint, Index, Relation, Sequence, TypeRow};
use self::types::{Meaning, meaning};
use super::connect::told;
use super::name::TableName;
use crate::catalog::{Catalog, Check, Column, ForeignKey, Identity, Table, TableKind};
use crate::storage::StorageError;

/// Expressions come with every name in full and in one form, whatever the role's settings are.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL search_path = '';
    SET LOCAL TimeZone = 'UTC';
    SET LOCAL DateStyle = 'ISO';
    SET LOCAL quote_all_identifiers = off;
    SET LOCAL extra_float_digits = 1";

/// Reads the catalog. Looks at no rows but the last of numbered tables.
///
/// # Errors
/// The database cannot be read.
pub async fn read(client: &Client) -> Result<Catalog, StorageError> {
    in_snapshot(client, false).await
}

/// Like [`read`], and looks at the rows too, with bounds: what `init` and `add` need.
///
/// # Errors
/// As [`read`].
pub async fn read_measured(client: &Client) -> Result<Catalog, StorageError> {
    in_snapshot(client, true).await
}

async fn in_snapshot(client: &Client, is_measured: bool) -> Result<Catalog, StorageError> {
    let read = async {
        client.batch_execute(BEGIN).await?;
        let mut catalog = structure(client).await?;
        measure::highest(client, &mut catalog).await?;
        if is_measured {
            measure::measure(client, &mut catalog).await?;
        }
        Ok(catalog)
    };
    let read: Result<Catalog, tokio_postgres::Error> = read.await;
    let ended = client.batch_execute("ROLLBACK").await;
    match (read, ended) {
        (Ok(catalog), Ok(())) => Ok(catalog),
        (Err(error), _) | (_, Err(error)) => Err(StorageError {
            code: Code::SQL,
            message: format!("the database's structure cannot be read: {}", told(&error)),
            is_retryable: false,
        }),
    }
}

async fn structure(client: &Client) -> Result<Catalog, tokio_postgres::Error> {
    let relations = rows::relations(client).await?;
    let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
    let types = rows::types(client, &oids).await?;
    let mut read = Read {
        attributes: grouped(rows::attributes(client, &oids).await?, |it| it.relation),
        constraints: grouped(rows::constraints(client, &oids).await?, |it| it.relation),
        indexes: grouped(rows::indexes(client, &oids).await?, |it| it.relation),
        sequences: grouped(rows::sequences(client, &oids).await?, |it| it.relation),
        types: types.into_iter().map(|one| (one.oid, one)).collect(),
    };
    let mut tables: Vec<Table> = relations.iter().map(|one| read.table(one)).collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Catalog { tables })
}

fn grouped<T>(all: Vec<T>, of: impl Fn(&T) -> u32) -> HashMap<u32, Vec<T>> {
    let mut groups: HashMap<u32, Vec<T>> = HashMap::new();
    for one in all {
        groups.entry(of(&one)).or_default().push(one);
    }
    groups
}

/// What was read, by the relation that it belongs to.
struct Read {
    attributes: HashMap<u32, Vec<Attribute>>,
    constraints: HashMap<u32, Vec<Constraint>>,
    indexes: HashMap<u32, Vec<Index>>,
    sequences: HashMap<u32, Vec<Sequence>>,
    types: HashMap<u32, TypeRow>,
}

impl Read {
    fn table(&mut self, relation: &Relation) -> Table {
        let name = TableName::new(&relation.schema, &relation.name);
        let attributes = self.attributes.remove(&relation.oid).unwrap_or_default();
        let constraints = self.constraints.remove(&relation.oid).unwrap_or_default();
        let indexes = self.indexes.remove(&relation.oid).unwrap_or_default();
        let mut table = Table::named(
            name.to_string(),
            name.title(),
            name.quoted(),
            kind(relation),
        );
        for attribute in &attributes {
            let meaning = meaning(attribute, &self.types);
            table.checks.extend(asked_by_type(attribute, &meaning));
            table.columns.push(column(attribute, &meaning));
        }
        let names = |numbers: &[i16]| named(&attributes, numbers);
        for constraint in &constraints {
            add_constraint(&mut table, constraint, names(&constraint.columns));
        }
        for index in indexes {
            if let Some(columns) = names(&index.columns) {
                if index.is_unique {
                    table.unique.push(columns.clone());
                }
                table.indexes.push(columns);
            }
        }
        self.number(relation.oid, &mut table, &attributes);
        // The key is left out of an insert wherever the database numbers it.
        for column in &mut table.columns {
            let is_computed = |one: &Attribute| one.name == column.name && one.is_generated;
            if table.primary_key.contains(&column.name) {
                column.generated = attributes.iter().any(is_computed);
            }
        }
        let may_read_key = |key: &String| table.column(key).is_some_and(|it| it.is_readable);
        if table.kind == TableKind::Ordinary && !table.primary_key.iter().all(may_read_key) {
            table.kind = TableKind::Unreadable;
        }
        table
    }

    /// Whether and how the database numbers the rows.
    fn number(&self, relation: u32, table: &mut Table, attributes: &[Attribute]) {
        let [key] = table.primary_key.as_slice() else {
            return;
        };
        let Some(attribute) = attributes.iter().find(|one| one.name == *key) else {
            return;
        };
        let column = table.column(key);
        if !column.is_some_and(|column| column.kind == Type::Integer) {
            return;
        }
        let computed = column.filter(|column| column.has_default && column.default.is_none());
        table.identity = match attribute.identity.as_str() {
            "a" => Identity::Always,
            "d" => Identity::ByDefault,
            _ if computed.is_none() => Identity::None,
            _ => match attribute
                .default
                .as_deref()
                .is_some_and(defaults::is_next_number)
            {
                true => Identity::Sequence,
                false => Identity::Computed,
            },
        };
        let sequences = self.sequences.get(&relation).into_iter().flatten();
        let own = sequences.filter(|one| one.column == attribute.number);
        table.highest_number = own.filter_map(|one| one.last).max();
    }
}

/// The names of columns; `None` if one of them is an expression.
fn named(attributes: &[Attribute], numbers: &[i16]) -> Option<Vec<String>> {
    let name = |number: &i16| {
        let found = attributes.iter().find(|one| one.number == *number)?;
        Some(found.name.clone())
    };
    numbers.iter().map(name).collect()
}

fn kind(relation: &Relation) -> TableKind {
    if relation.persistence == "t" {
        return TableKind::Temporary;
    }
    match relation.kind.as_str() {
        "v" => TableKind::View,
        "m" => TableKind::MaterializedView,
        "f" => TableKind::Foreign,
        _ if relation.is_partition => TableKind::Partition,
        _ if relation.persistence == "u" => TableKind::Unlogged,
        _ if relation.inherits => TableKind::Inheriting,
        _ if relation.is_inherited => TableKind::Inherited,
        _ if !relation.is_readable => TableKind::Unreadable,
        _ => TableKind::Ordinary,
    }
}

fn column(attribute: &Attribute, meaning: &Meaning<'_>) -> Column {
    let of_domain = || {
        meaning
            .domains
            .iter()
            .find_map(|domain| domain.default.as_ref())
    };
    let is_numbered = !attribute.identity.is_empty();
    let default = match attribute.is_generated {
        true => None,
        false => attribute.default.as_ref().or_else(of_domain),
    };
    let no_type = meaning
        .left_out
        .map(|what| format!("no type for {} ({what})", attribute.declared));
    Column {
        name: attribute.name.clone(),
        declared: attribute.declared.clone(),
        kind: meaning.kind,
        is_kind_known: true,
        precision: meaning.precision,
        scale: meaning.scale,
        not_null: attribute.not_null || meaning.domains.iter().any(|domain| domain.not_null),
        default: default.and_then(|text| match meaning.left_out {
            None => defaults::literal(text, meaning.kind),
            Some(_) => None,
        }),
        has_default: default.is_some_and(|text| !text.starts_with("NULL::")) || is_numbered,
        // An insert that gives a number to such a column is refused; of a key devices leave it out.
        generated: attribute.is_generated || attribute.identity == "a",
        left_out: match attribute.is_readable {
            true => no_type,
            false => Some("this database user may not read it (GRANT SELECT)".to_owned()),
        },
        is_readable: attribute.is_readable,
        collation: (meaning.collation.map(str::to_owned)).or_else(|| attribute.collation.clone()),
    }
}

/// What a column's type asks of its values: the words of an enum, a length, a domain's checks.
fn asked_by_type(attribute: &Attribute, meaning: &Meaning<'_>) -> Vec<Check> {
    let rule = |rule: Rule| Check {
        text: format!("{} {}", attribute.name, attribute.declared),
        rules: vec![(attribute.name.clone(), rule)],
    };
    let mut found = Vec::new();
    if let Some(base) = meaning
        .base
        .filter(|base| base.sort == "e" && !base.labels.is_empty())
    {
        let words = base
            .labels
            .iter()
            .cloned()
            .map(afield_protocol::Literal::Text);
        found.push(rule(Rule {
            one_of: words.collect(),
            ..Rule::default()
        }));
    }
    if meaning.max_length.is_some() {
        found.push(rule(Rule {
            max_length: meaning.max_length,
            ..Rule::default()
        }));
    }
    let checks = meaning.domains.iter().flat_map(|domain| &domain.checks);
    let is_exact = meaning.left_out.is_none() && meaning.collation.is_none();
    found.extend(checks.map(|text| {
        let mut check = checks::of_domain(text, &attribute.name, meaning.kind);
        if !is_exact {
            check.rules.clear();
        }
        check
    }));
    found
}

fn add_constraint(table: &mut Table, constraint: &Constraint, columns: Option<Vec<String>>) {
    let columns = columns.unwrap_or_default();
    match constraint.sort.as_str() {
        "p" => table.primary_key = columns,
        "c" => {
            let check = checks::of_table(constraint.check.as_deref().unwrap_or_default(), table);
            table.checks.push(check);
        }
        _ => {
            let (Some(schema), Some(name)) = (&constraint.target_schema, &constraint.target_name)
            else {
                return;
            };
            table.foreign_keys.push(ForeignKey {
                columns,
                table: TableName::new(schema, name).to_string(),
                targets: constraint.target_columns.clone(),
            });
        }
    }
}

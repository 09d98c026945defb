//! Lookups: attributes whose values other rows have, read where they are and never copied.
//!
//! ```text
//!   read:  row."company_id" ──► company."id" … "region_id" ──► region."id" … "name"
//!   back:  row  ◄── "company_id" = ?  ◄── company "region_id" = ?  ◄── a mark of region
//! ```
//!
//! Each table that a lookup reads, the ones on the way included, has marks of its own: one for
//! each row in which a key that is referred to, or a column that a lookup reads, changed. A pull
//! goes from such a mark *back*, in its own snapshot, to the rows that show it. One step back is
//! enough to be right, whatever moved: of a chain that leads elsewhere now, the first row that
//! changed has a mark, and all before it are as they were.

mod fan;
mod sources;

use afield_protocol::zoo::planted;
use rusqlite::Connection;

pub(super) use self::fan::{Begun, Fan, Walked, is_any_shown};
pub(super) use self::sources::{Source, sources};
use super::cell::Form;
use super::error::{While, lasting};
use super::marks::mark_table;
use super::schema::TableSchema;
use super::scope;
use super::sql_text::quote;
use crate::resolved::{Hop, Lookup, ServerEntity, ServerModel};
use crate::storage::StorageError;

/// The lookups of an entity over its table.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// For each lookup the expression for its value, over a row of the entity's table.
    pub selects: Vec<String>,
    /// For each lookup how its value is stored where it is.
    pub forms: Vec<Form>,
    /// The ways from rows that lookups read back to the rows that show them, each once.
    pub routes: Vec<Route>,
    /// The marks that the routes begin with, by the names under which they are captured.
    pub sources: Vec<String>,
    /// Says what the lookups mean: a position of another meaning is none of this entity.
    pub meaning: String,
}

/// A way from the marks of a table that lookups read back to the rows that show it.
#[derive(Debug)]
pub(super) struct Route {
    /// Change and key of the marks above one number and up to another, in the order of both.
    pub marks_above: String,
    /// The same from a mark on, which is given by number and key.
    pub marks_from: String,
    /// The same behind a mark.
    pub marks_behind: String,
    /// The tables between, that of the mark's own referrers first.
    pub steps: Vec<Step>,
    /// The column of the entity's own table that refers to the last of them.
    pub column: String,
}

/// One table on a route: the keys of its rows that refer to a value.
#[derive(Debug)]
pub(super) struct Step {
    /// All of them, in order.
    pub first: String,
    /// Those from a key on.
    pub from: String,
}

impl Lookups {
    /// Compiles the lookups of `entity`.
    ///
    /// # Errors
    /// A step of one does not exist, or cannot be compared exactly.
    pub(super) fn compile(
        conn: &Connection,
        model: &ServerModel,
        entity: &ServerEntity,
        schema: &TableSchema,
    ) -> Result<Self, StorageError> {
        let mut compiled = Self::default();
        if entity.lookups.is_empty() {
            return Ok(compiled);
        }
        let sources = sources(conn, model)?;
        let attributes = entity.local.attributes.iter().skip(entity.columns.len());
        let mut known: Vec<(String, &[Hop])> = Vec::new();
        for (lookup, attribute) in entity.lookups.iter().zip(attributes) {
            let name = &entity.local.name;
            scope::path_is_exact(conn, name, schema, &lookup.column, &lookup.path)?;
            let column = schema.column(&lookup.column);
            let column = column.map_or(lookup.column.clone(), |column| column.name.clone());
            compiled.selects.push(select(&schema.name, &column, lookup));
            let form = form(conn, lookup, attribute.kind)?;
            compiled.forms.push(form);
            compiled.meaning += &meaning(lookup);
            let depths = match planted("server-lookup-chain-half-watched") {
                true => 1,
                false => lookup.path.len(),
            };
            for depth in 1..=depths {
                let path = lookup.path.get(..depth).unwrap_or(&[]);
                if known
                    .iter()
                    .any(|(c, other)| *c == column && is_same_route(other, path))
                {
                    continue;
                }
                known.push((column.clone(), path));
                let source = Source::of(&sources, path)?;
                compiled.routes.push(route(&column, path, source));
                if !compiled.sources.contains(&source.name) {
                    compiled.sources.push(source.name.clone());
                }
            }
        }
        Ok(compiled)
    }

    /// The entity's own columns that routes end in, each once.
    pub(super) fn columns(&self) -> impl Iterator<Item = &String> {
        let routes = self.routes.iter().enumerate();
        let is_first = |(at, route): &(usize, &Route)| {
            let mut before = self.routes.iter().take(*at);
            !before.any(|known| known.column == route.column)
        };
        routes.filter(is_first).map(|(_, route)| &route.column)
    }
}

/// Whether two paths from the same column go through the same rows: which column of the last one
/// is shown makes no difference.
fn is_same_route(a: &[Hop], b: &[Hop]) -> bool {
    let ends = |hop: &Hop| (hop.table.to_lowercase(), hop.key.to_lowercase());
    let inner = |path: &[Hop]| -> Vec<String> {
        let all = path.iter().map(|hop| hop.column.to_lowercase());
        all.take(path.len().saturating_sub(1)).collect()
    };
    a.len() == b.len() && a.iter().map(ends).eq(b.iter().map(ends)) && inner(a) == inner(b)
}

/// What a lookup means, for the positions of its entity.
fn meaning(lookup: &Lookup) -> String {
    let hops = lookup.path.iter();
    let hops: String = hops
        .map(|hop| {
            format!(
                " {} {} {}",
                quote(&hop.table),
                quote(&hop.key),
                quote(&hop.column)
            )
        })
        .collect();
    format!("\n{}{hops}", quote(&lookup.column))
}

/// The value of a lookup, for a row of `table`: null if the path ends before.
fn select(table: &str, column: &str, lookup: &Lookup) -> String {
    let first = format!("{}.{}", quote(table), quote(column));
    let mut path = lookup.path.iter().enumerate();
    let Some((_, hop)) = path.next() else {
        return "NULL".to_owned();
    };
    // Names of Afield's own, since a table may lead to itself.
    let mut from = format!("{} AS afield_1", quote(&hop.table));
    let key = format!("afield_1.{} = {first}", quote(&hop.key));
    let mut value = format!("afield_1.{}", quote(&hop.column));
    for (at, hop) in path {
        let name = format!("afield_{}", at + 1);
        from += &format!(
            " CROSS JOIN {} AS {name} ON {name}.{} = {value}",
            quote(&hop.table),
            quote(&hop.key)
        );
        value = format!("{name}.{}", quote(&hop.column));
    }
    format!("(SELECT {value} FROM {from} WHERE {key})")
}

/// How the value of a lookup is stored.
fn form(
    conn: &Connection,
    lookup: &Lookup,
    kind: afield_protocol::Type,
) -> Result<Form, StorageError> {
    let missing = || lasting("a lookup leads nowhere");
    let hop = lookup.path.last().ok_or_else(missing)?;
    let schema = TableSchema::read(conn, &hop.table)?;
    let column = schema.column(&hop.column).ok_or_else(missing)?;
    Form::learn(conn, &schema.name, column, kind, lookup.scale)
        .while_("looking at how a column is spelled")
}

fn route(column: &str, path: &[Hop], source: &Source) -> Route {
    let marks = quote(&mark_table(&source.name));
    let mark = |condition: &str| {
        format!(
            "SELECT change, key1 FROM {marks} WHERE {condition} AND change <= ?3 \
             ORDER BY change, key1 LIMIT ?4"
        )
    };
    let between = path.split_last().map_or(&[][..], |(_, between)| between);
    let step = |hop: &Hop| {
        let (key, table) = (quote(&hop.key), quote(&hop.table));
        let sql = |more: &str| {
            let column = quote(&hop.column);
            format!("SELECT {key} FROM {table} WHERE {column} = ?1{more} ORDER BY {key}")
        };
        Step {
            // A row without such a key is referred to by nobody.
            first: sql(&format!(" AND {key} IS NOT NULL")),
            from: sql(&format!(" AND {key} >= ?2")),
        }
    };
    Route {
        marks_above: mark("change > ?1 AND ?2 IS NULL"),
        marks_from: mark("(change, key1) >= (?1, ?2)"),
        marks_behind: mark("(change, key1) > (?1, ?2)"),
        steps: between.iter().rev().map(step).collect(),
        column: column.to_owned(),
    }
}

/// What is slow for want of an index, each with the statement that would make it.
pub(super) fn missing_indexes(
    conn: &Connection,
    entity: &ServerEntity,
    schema: &TableSchema,
) -> Result<Vec<String>, StorageError> {
    let key = entity.columns.iter().take(entity.local.key_width);
    let key: Vec<String> = key.map(|column| column.name.clone()).collect();
    let mut found = Vec::new();
    for lookup in &entity.lookups {
        let between = lookup
            .path
            .split_last()
            .map_or(&[][..], |(_, between)| between);
        let own = (schema.name.as_str(), lookup.column.as_str(), key.as_slice());
        let others = between.iter().map(|hop| {
            let key = std::slice::from_ref(&hop.key);
            (hop.table.as_str(), hop.column.as_str(), key)
        });
        for (table, column, key) in std::iter::once(own).chain(others) {
            let missing = scope::missing_index(conn, table, column, key)?;
            found.extend(missing.map(|index| {
                let name = &entity.local.name;
                format!("the lookups of `{name}` have no index to find rows by `{column}`: {index}")
            }));
        }
    }
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use afield_protocol::{Attribute, Entity, Identifier, Pattern, Type};

    use super::super::captures::captures;
    use super::super::entity::EntityTable;
    use super::*;
    use crate::resolved::{ServerColumn, ServerEntity};
    use crate::storage::sqlite::prepare::TABLES_SQL;

    fn visit() -> ServerModel {
        let column = |name: &str, kind| ServerColumn {
            name: name.into(),
            kind,
            scale: None,
        };
        let hop = |table: &str, key: &str, column: &str| Hop {
            table: table.into(),
            key: key.into(),
            column: column.into(),
        };
        let mut region = Attribute::new("region", Type::Text);
        (region.read_only, region.lookup) = (true, true);
        let attributes = vec![
            Attribute::new("id", Type::Text),
            Attribute::new("firm", Type::Integer),
            region,
        ];
        let pattern = Pattern::ReadOnlyOptimized;
        let local = Entity::new("visit", pattern, Identifier::Natural, 1, attributes);
        let columns = vec![column("id", Type::Text), column("firm", Type::Integer)];
        let lookup = Lookup {
            column: "firm".into(),
            path: vec![hop("firm", "no", "region"), hop("region", "code", "name")],
            scale: None,
        };
        let entity = ServerEntity {
            lookups: vec![lookup],
            ..ServerEntity::new(local, "visit", columns)
        };
        ServerModel {
            device: afield_protocol::Model {
                version: 1,
                chosen: Vec::new(),
                units: Vec::new(),
                entities: vec![entity.local.clone()],
                limits: Default::default(),
                sync: Default::default(),
            },
            entities: vec![entity],
            scopes: Vec::new(),
        }
    }

    fn plan(conn: &Connection, sql: &str) -> String {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    /// The cost of a fan-out follows the marks and the rows that show them, never a table.
    #[test]
    fn p9_every_statement_of_a_fan_out_follows_an_index() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(TABLES_SQL).unwrap();
        conn.execute_batch(
            "CREATE TABLE region (id INTEGER PRIMARY KEY, code TEXT UNIQUE, name TEXT);
             CREATE TABLE firm (no INTEGER PRIMARY KEY, region TEXT);
             CREATE INDEX firm_region ON firm (region);
             CREATE TABLE visit (id TEXT PRIMARY KEY, firm INTEGER);
             CREATE INDEX visit_firm ON visit (firm, id);",
        )
        .unwrap();
        let model = visit();
        for captured in captures(&conn, &model).unwrap() {
            for object in captured.objects() {
                conn.execute_batch(&object.sql).unwrap();
            }
        }
        let table = EntityTable::load(&conn, &model, &model.entities[0]).unwrap();
        let referring = table.referring("firm", &[]).0;
        let behind = table
            .referring("firm", &[super::super::raw::Raw::Integer(1)])
            .0;
        let mut all = vec![table.shown(), referring, behind];
        assert_eq!(table.lookups.routes.len(), 2);
        for route in &table.lookups.routes {
            all.extend([&*route.marks_above, &route.marks_from, &route.marks_behind]);
            for step in &route.steps {
                all.extend([&*step.first, &step.from]);
            }
        }
        for sql in all {
            let plan = plan(&conn, sql);
            assert!(!plan.contains("SCAN"), "{sql}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
        assert_eq!(
            missing_indexes(&conn, &model.entities[0], &table.schema).unwrap(),
            Vec::<String>::new()
        );
        conn.execute_batch("DROP INDEX visit_firm; DROP INDEX firm_region")
            .unwrap();
        let missing = missing_indexes(&conn, &model.entities[0], &table.schema).unwrap();
        let wanted = [
            "CREATE INDEX \"visit_firm_id\" ON \"visit\" (\"firm\", \"id\")",
            "CREATE INDEX \"firm_region_no\" ON \"firm\" (\"region\", \"no\")",
        ];
        assert_eq!(missing.len(), 2, "{missing:?}");
        for (missing, wanted) in missing.iter().zip(wanted) {
            assert!(missing.ends_with(wanted), "{missing}");
        }
    }
}

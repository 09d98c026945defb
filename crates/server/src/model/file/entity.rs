//! `[local.NAME]`.

use afield_protocol::{Merge, Pattern, Rule, Type};

use super::At;
use super::rule::{self, WrittenRule};
use crate::model::condition::{self, WrittenDelete, WrittenKeep};
use crate::model::error::{Place, suggestion};
use crate::model::later;
use crate::model::reader::{Node, Section};
use crate::model::scope::{self, WrittenScope};

/// `[local.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct EntitySection {
    /// The local name.
    pub name: At<String>,
    /// Where its rows come from.
    pub source: Source,
}

/// Where the rows of a local entity come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A table of the server.
    Server(Box<FromServer>),
    /// The device alone.
    Device {
        /// Its attributes in file order.
        attributes: Vec<LocalAttribute>,
    },
}

/// What the file says about an entity that comes from a table of the server.
#[derive(Clone, Debug, PartialEq)]
pub struct FromServer {
    /// The table.
    pub from: At<String>,
    /// How it is synchronised.
    pub pattern: Pattern,
    /// Who makes its identifiers, if the file says so.
    pub id: Option<At<IdKind>>,
    /// What counts as a conflict, if the file says so.
    pub merge: Option<At<Merge>>,
    /// Whether an open conflict stops its syncs: where the file says so.
    pub strict: Option<Place>,
    /// Whether its rows are only created on devices: where the file says so.
    pub insert_only: Option<Place>,
    /// Whether rows that leave are erased from free space and log too.
    pub erase: bool,
    /// The attributes chosen, in file order.
    pub attributes: Vec<Listed>,
    /// Local names of attributes that are seen and not written.
    pub read_only: Vec<At<String>>,
    /// Columns that must not leave the server.
    pub never: Vec<At<String>>,
    /// Local names of numbers that are sent as differences.
    pub counter: Vec<At<String>>,
    /// Attributes that come through foreign keys, in file order.
    pub lookups: Vec<WrittenLookup>,
    /// Local names of attributes that devices may write although they refer to what is not there.
    pub may_reference: Vec<At<String>>,
    /// Whose rows.
    pub scope: Scoped,
    /// What the values of attributes must be like.
    pub rules: Vec<WrittenRule>,
    /// Which of them may be changed, if the file says so.
    pub write: Option<Scoped>,
    /// What they may become, if the file says so.
    pub write_to: Option<Scoped>,
    /// Which of them count as deleted, if the file says so.
    pub delete: Option<WrittenDelete>,
    /// Which of them devices have for a time, if the file says so.
    pub keep: Option<WrittenKeep>,
}

/// `NAME = "PATH"` of `[local.….lookup]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenLookup {
    /// The local name.
    pub local: At<String>,
    /// Foreign keys, then a column: never empty.
    pub path: Vec<At<String>>,
}

/// `scope = …`, and what is written like it: whose rows, and where that stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Scoped {
    /// What it says.
    pub written: WrittenScope,
    /// Where it stands.
    pub place: Place,
}

/// `id = …`: who makes new identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// The server, as numbers.
    Server,
    /// The app.
    Natural,
}

/// An attribute in `attributes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The local name.
    pub local: At<String>,
    /// The server's column.
    pub column: At<String>,
}

/// An attribute of a local-only entity.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalAttribute {
    /// Its name.
    pub name: At<String>,
    /// Its type.
    pub kind: Type,
    /// What its values must be like.
    pub rule: Rule,
}

pub(super) fn read(all: &Section<'_, '_>) -> Vec<EntitySection> {
    let entities = all.take_all().into_iter().filter_map(|(name, node)| {
        let section = node.section(format!("[local.{}]", name.value))?;
        Some(entity(name, &section))
    });
    entities.collect()
}

fn entity(name: At<String>, section: &Section<'_, '_>) -> EntitySection {
    let source = match section.take("from") {
        Some(from) => Source::Server(Box::new(synced(section, &from))),
        None => local_only(section),
    };
    section.refuse_later(later::ENTITY);
    section.finish();
    EntitySection { name, source }
}

fn synced(section: &Section<'_, '_>, from: &Node<'_, '_>) -> FromServer {
    let missing = |key: &str, remedy: &str| {
        let message = format!("{}: `{key}` is missing; {remedy}", section.name);
        section.reader.wrong(section.place, message);
    };
    let pattern = section.take("pattern");
    if pattern.is_none() {
        missing(
            "pattern",
            "write `pattern = \"read-only-optimized\"`, `\"last-write-wins\"` or \
             `\"detect-conflicts\"`",
        );
    }
    let scope = section.take("scope");
    if scope.is_none() {
        missing(
            "scope",
            "it is mandatory; write `scope = \"everyone\"` if every user may see every row",
        );
    }
    let attributes = section.take("attributes");
    if attributes.is_none() {
        missing("attributes", "list the attributes that go to devices");
    }
    if let Some(node) = section.take("attribute") {
        node.wrong("is for local-only entities; name the server's columns in `attributes`");
    }
    let texts = |key| {
        section
            .take(key)
            .and_then(|node| node.texts())
            .unwrap_or_default()
    };
    let rule = |key| section.take(key).and_then(|node| read_scope(&node));
    FromServer {
        from: from.at(from.text().unwrap_or_default()),
        pattern: pattern
            .and_then(|node| read_pattern(&node))
            .unwrap_or(Pattern::ReadOnlyOptimized),
        id: section.take("id").and_then(|node| read_id(&node)),
        attributes: attributes
            .and_then(|node| listed(&node))
            .unwrap_or_default(),
        read_only: texts("read_only"),
        never: texts("never"),
        counter: texts("counter"),
        lookups: lookups(section),
        may_reference: texts("may_reference"),
        merge: section.take("merge").and_then(|node| read_merge(&node)),
        strict: switched_on(section, "strict"),
        insert_only: switched_on(section, "insert_only"),
        rules: section
            .take("rule")
            .and_then(|node| node.section(format!("{} rule", section.name)))
            .map_or_else(Vec::new, |all| rule::read(&all)),
        erase: switched_on(section, "erase").is_some(),
        // Without one there is an error, and no model.
        scope: scope.and_then(|node| read_scope(&node)).unwrap_or(Scoped {
            written: WrittenScope::Everyone,
            place: section.place,
        }),
        write: rule("write"),
        write_to: rule("write_to"),
        delete: section.take("delete").and_then(|node| read_delete(&node)),
        keep: section.take("keep").and_then(|node| read_keep(&node)),
    }
}

/// Where a switch is on.
fn switched_on(section: &Section<'_, '_>, key: &'static str) -> Option<Place> {
    let node = section.take(key)?;
    node.truth()?.then_some(node.place)
}

fn read_merge(node: &Node<'_, '_>) -> Option<At<Merge>> {
    match node.text()?.as_str() {
        "record" => Some(node.at(Merge::Record)),
        "attribute" => Some(node.at(Merge::Attribute)),
        other => {
            let near = suggestion(other, ["record", "attribute"]);
            node.wrong(format!("unknown {other:?}; {near}"));
            None
        }
    }
}

fn read_pattern(node: &Node<'_, '_>) -> Option<Pattern> {
    let text = node.text()?;
    let patterns = [
        Pattern::ReadOnly,
        Pattern::ReadOnlyOptimized,
        Pattern::LastWriteWins,
        Pattern::DetectConflicts,
    ];
    match patterns
        .into_iter()
        .find(|pattern| pattern.as_str() == text)
    {
        Some(pattern) => Some(pattern),
        None => {
            let near = suggestion(&text, patterns.map(Pattern::as_str));
            node.wrong(format!("unknown pattern {text:?}; {near}"));
            None
        }
    }
}

fn read_id(node: &Node<'_, '_>) -> Option<At<IdKind>> {
    match node.text()?.as_str() {
        "server" => Some(node.at(IdKind::Server)),
        "natural" => Some(node.at(IdKind::Natural)),
        other => {
            node.wrong(format!(
                "unknown {other:?}; write \"server\" or \"natural\""
            ));
            None
        }
    }
}

fn read_scope(node: &Node<'_, '_>) -> Option<Scoped> {
    let text = node.placed_text()?;
    let written = scope::parse(&text).map_err(|error| node.wrong_at(&error));
    Some(Scoped {
        written: written.ok()?,
        place: text.place,
    })
}

fn read_delete(node: &Node<'_, '_>) -> Option<WrittenDelete> {
    let found = condition::parse_delete(&node.placed_text()?);
    found.map_err(|error| node.wrong_at(&error)).ok()
}

fn read_keep(node: &Node<'_, '_>) -> Option<WrittenKeep> {
    let found = condition::parse_keep(&node.placed_text()?);
    found.map_err(|error| node.wrong_at(&error)).ok()
}

/// `[local.NAME.lookup]`.
fn lookups(section: &Section<'_, '_>) -> Vec<WrittenLookup> {
    let Some(node) = section.take("lookup") else {
        return Vec::new();
    };
    let Some(table) = node.section(format!("{} lookup", section.name)) else {
        return Vec::new();
    };
    let written =
        table.take_all().into_iter().filter_map(|(local, node)| {
            match scope::parse_path(&node.placed_text()?) {
                Ok(path) => Some(WrittenLookup { local, path }),
                Err(At { value, place }) => {
                    let message = format!("{}: {value}", node.name);
                    node.reader.wrong(place, message);
                    None
                }
            }
        });
    written.collect()
}

fn listed(node: &Node<'_, '_>) -> Option<Vec<Listed>> {
    let mut attributes = Vec::new();
    for item in node.list()? {
        if item.is_text() {
            let name = item.text_at()?;
            attributes.push(Listed {
                local: name.clone(),
                column: name,
            });
            continue;
        }
        let Some(renamed) = item.section(node.name.clone()) else {
            continue;
        };
        for (local, column) in renamed.take_all() {
            if let Some(column) = column.text_at() {
                attributes.push(Listed { local, column });
            }
        }
    }
    Some(attributes)
}

fn local_only(section: &Section<'_, '_>) -> Source {
    const SYNCED: [&str; 18] = [
        "pattern",
        "scope",
        "write",
        "write_to",
        "may_reference",
        "attributes",
        "read_only",
        "never",
        "id",
        "merge",
        "strict",
        "insert_only",
        "erase",
        "counter",
        "delete",
        "keep",
        "rule",
        "lookup",
    ];
    for key in SYNCED {
        if let Some(node) = section.take(key) {
            node.wrong(
                "needs a server entity; add `from = \"TABLE\"`, or remove it for a local-only \
                 entity",
            );
        }
    }
    let Some(definitions) = section.take("attribute") else {
        let message = format!(
            "{}: neither `from` (a server's table) nor `attribute` (a local-only entity); add \
             one of them",
            section.name
        );
        section.reader.wrong(section.place, message);
        return Source::Device {
            attributes: Vec::new(),
        };
    };
    let Some(table) = definitions.section(format!("{} attribute", section.name)) else {
        return Source::Device {
            attributes: Vec::new(),
        };
    };
    let read = |(name, node): (At<String>, Node<'_, '_>)| {
        let (kind, rule) = local_attribute(&node)?;
        Some(LocalAttribute { name, kind, rule })
    };
    let attributes = table.take_all().into_iter().filter_map(read).collect();
    Source::Device { attributes }
}

fn local_attribute(node: &Node<'_, '_>) -> Option<(Type, Rule)> {
    if node.is_text() {
        return Some((read_type(node)?, Rule::default()));
    }
    let definition = node.section(node.name.clone())?;
    let kind = definition.take("type");
    definition.refuse_later(&[
        ("default", "remove it and set the value in the app"),
        ("matches", "remove it and check in the app"),
    ]);
    let rule = rule::beside(&definition);
    definition.finish();
    match kind {
        Some(kind) => Some((read_type(&kind)?, rule)),
        None => {
            node.wrong("`type` is missing; write for example `type = \"text\"`");
            None
        }
    }
}

fn read_type(node: &Node<'_, '_>) -> Option<Type> {
    const WORDS: [&str; 12] = [
        "text", "integer", "real", "decimal", "boolean", "date", "time", "instant", "datetime",
        "uuid", "bytes", "json",
    ];
    let text = node.text()?;
    let kind = Type::parse(&text);
    if kind.is_none() {
        node.wrong(format!(
            "unknown type {text:?}; {}",
            suggestion(&text, WORDS)
        ));
    }
    kind
}

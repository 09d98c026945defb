//! Rows by tag, and whether each one's references point to what its tag names.

use std::collections::HashMap;

use afield_protocol::{Value, is_temporary};

use crate::app;
use crate::rows::{Rows, display};
use crate::tag::{Tag, tag_place};
use crate::violation::{Promise, Violation};

/// A row with its tag.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaggedRow {
    pub(crate) tag: Tag,
    /// All attributes, the identifier's first.
    pub(crate) values: Vec<Value>,
}

impl TaggedRow {
    /// The row's identifier.
    pub(crate) fn key(&self) -> &[Value] {
        &self.values[..app::key_width(self.tag.entity())]
    }

    /// Whether the identifier is one that a device made meanwhile.
    pub(crate) fn is_temporary(&self) -> bool {
        self.values.first().is_some_and(is_temporary)
    }
}

/// The rows of a table that have tags; all should.
pub(crate) fn tagged(entity: usize, rows: &Rows) -> Result<Vec<TaggedRow>, Violation> {
    let at = tag_place(entity);
    let read = |row: &Vec<Value>| match Tag::of(&row[at]).filter(|tag| tag.entity() == entity) {
        Some(tag) => Ok(TaggedRow {
            tag,
            values: row.clone(),
        }),
        None => {
            let invariant = "every row is one that somebody made";
            let detail = format!("{}: {}", app::name(entity), display(entity, Some(row)));
            Err(Violation::new(Promise::P4, invariant, detail))
        }
    };
    rows.values().map(read).collect()
}

/// Checks that each reference points to the row that the tag names, unless that is gone. With
/// `is_restored` the server lost rows: one of them may be there again under another identifier,
/// and what a user did meanwhile points to where it was.
pub(crate) fn check_references(rows: &[TaggedRow], is_restored: bool) -> Result<(), Violation> {
    let found = Found::new(rows, is_restored);
    for row in rows {
        if let Some((what, id)) = found.wrong(row) {
            let invariant = "a reference points to the row that it was made for";
            let detail = format!(
                "{} ({}): its {what} is {id}, which is {}",
                row.tag,
                display(row.tag.entity(), Some(&row.values)),
                found.describe(row, what, id)
            );
            return Err(Violation::new(Promise::P4, invariant, detail));
        }
    }
    Ok(())
}

/// Names of numbered rows by their identifiers.
struct Found<'a> {
    orders: HashMap<i64, &'a str>,
    remarks: HashMap<i64, &'a str>,
    is_restored: bool,
}

impl<'a> Found<'a> {
    fn new(rows: &'a [TaggedRow], is_restored: bool) -> Self {
        let of = |entity| {
            let rows = rows.iter().filter(move |row| row.tag.entity() == entity);
            rows.filter_map(|row| Some((integer(&row.values[0])?, row.tag.name())))
                .collect()
        };
        Self {
            orders: of(app::ORDER),
            remarks: of(app::REMARK),
            is_restored,
        }
    }

    /// Whether `id` is that of the row with this name, or the row is gone.
    fn points(&self, rows: &HashMap<i64, &str>, id: &Value, name: Option<&str>) -> bool {
        let may_be_lost = self.is_restored && !is_temporary(id);
        match (integer(id), name) {
            (None, None) => true,
            (Some(id), Some(name)) => match rows.get(&id) {
                Some(found) => *found == name,
                None => may_be_lost || !rows.values().any(|known| *known == name),
            },
            _ => false,
        }
    }

    /// The reference that points elsewhere than the row's tag says.
    fn wrong<'b>(&self, row: &'b TaggedRow) -> Option<(&'static str, &'b Value)> {
        let values = &row.values;
        let order = row.tag.order_name();
        match row.tag.entity() {
            app::LINE if !self.points(&self.orders, &values[0], order) => {
                Some(("order", &values[0]))
            }
            app::REMARK if !self.points(&self.orders, &values[1], order) => {
                Some(("order", &values[1]))
            }
            app::REMARK if integer(&values[2]) != row.tag.line_number() => {
                Some(("line", &values[2]))
            }
            app::REMARK if !self.points(&self.remarks, &values[3], row.tag.parent_name()) => {
                Some(("remark", &values[3]))
            }
            _ => None,
        }
    }

    fn describe(&self, row: &TaggedRow, what: &str, id: &Value) -> String {
        let (rows, wanted) = match what {
            "remark" => (&self.remarks, row.tag.parent_name()),
            _ => (&self.orders, row.tag.order_name()),
        };
        let there = integer(id).and_then(|id| rows.get(&id));
        let wanted = rows.iter().find(|(_, name)| Some(**name) == wanted);
        format!("{there:?}; what the tag names is {wanted:?}")
    }
}

pub(crate) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(n) => Some(*n),
        _ => None,
    }
}

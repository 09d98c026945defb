//! Rows by tag, and whether each one's references point to what its tag names.

use std::collections::{HashMap, HashSet};

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

/// Rows that a reference may point to though they are not there, and a row of that name is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost {
    /// The server lost rows: one of them may be there again under another identifier, and what a
    /// user did meanwhile points to where it was.
    pub(crate) is_restored: bool,
    /// Rows that the user or somebody on the server deleted, by entity: a pull may have brought the
    /// row under its real identifier before the outcome that makes it one with the user's own,
    /// which is still there.
    pub(crate) deleted: HashSet<(usize, i64)>,
    /// Entities whose first download grows: the row will come under its real identifier, and what
    /// refers to it there was read later and is there already.
    pub(crate) growing: HashSet<usize>,
}

/// Checks that each reference points to the row that the tag names, unless that is gone.
pub(crate) fn check_references(rows: &[TaggedRow], lost: &Lost) -> Result<(), Violation> {
    let found = Found::new(rows, lost);
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
    lost: &'a Lost,
}

impl<'a> Found<'a> {
    fn new(rows: &'a [TaggedRow], lost: &'a Lost) -> Self {
        let of = |entity| {
            let rows = rows.iter().filter(move |row| row.tag.entity() == entity);
            rows.filter_map(|row| Some((integer(&row.values[0])?, row.tag.name())))
                .collect()
        };
        Self {
            orders: of(app::ORDER),
            remarks: of(app::REMARK),
            lost,
        }
    }

    /// Whether `id` is that of the row of this entity and name, or the row is gone.
    fn points(&self, entity: usize, id: &Value, name: Option<&str>) -> bool {
        let rows = match entity {
            app::ORDER => &self.orders,
            _ => &self.remarks,
        };
        match (integer(id), name) {
            (None, None) => true,
            (Some(id), Some(name)) => match rows.get(&id) {
                Some(found) => *found == name,
                None if self.lost.is_restored && !is_temporary(&Value::Integer(id)) => true,
                None => {
                    let mut others = rows.iter().filter(|(_, known)| **known == name);
                    others.all(|(other, _)| self.is_twin_missing(entity, id, *other))
                }
            },
            _ => false,
        }
    }

    /// Whether `id` is of the same row as `other`, and not there for a reason.
    fn is_twin_missing(&self, entity: usize, id: i64, other: i64) -> bool {
        let is_temporary = |id| is_temporary(&Value::Integer(id));
        let is_to_come = self.lost.growing.contains(&entity) && !is_temporary(id);
        is_temporary(id) != is_temporary(other)
            && (is_to_come || self.lost.deleted.contains(&(entity, id)))
    }

    /// The reference that points elsewhere than the row's tag says.
    fn wrong<'b>(&self, row: &'b TaggedRow) -> Option<(&'static str, &'b Value)> {
        let (values, tag) = (&row.values, &row.tag);
        let to_order = |at: usize| self.points(app::ORDER, &values[at], tag.order_name());
        match tag.entity() {
            app::LINE if !to_order(0) => Some(("order", &values[0])),
            app::REMARK if !to_order(1) => Some(("order", &values[1])),
            app::REMARK if integer(&values[2]) != tag.line_number() => Some(("line", &values[2])),
            app::REMARK if !self.points(app::REMARK, &values[3], tag.parent_name()) => {
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

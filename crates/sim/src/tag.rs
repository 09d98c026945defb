//! Tags: how the oracle knows rows whose identifiers the server makes.
//!
//! A tag is typed when a row is made, is unique, never changes, and says what the row belongs to:
//!
//! ```text
//! o17              an order
//! l23<o17          a line of that order; its place in it is part of its identifier
//! r30<o17.2        a remark about line 2 of that order
//! r31<o17.2^r30    another one, an answer to the first
//! ```
//!
//! Whatever becomes of identifiers on the way, the row that a row's references point to must be
//! the one that its tag names.

use std::fmt;

use afield_protocol::Value;

use crate::app;

/// The tag of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tag(String);

impl Tag {
    /// An order's.
    pub(crate) fn order(n: u32) -> Self {
        Self(format!("o{n}"))
    }

    /// A line's.
    pub(crate) fn line(n: u32, order: &str) -> Self {
        Self(format!("l{n}<{order}"))
    }

    /// A remark's.
    pub(crate) fn remark(n: u32, order: &str, line: i64, parent: Option<&str>) -> Self {
        let parent = parent.map_or_else(String::new, |parent| format!("^{parent}"));
        Self(format!("r{n}<{order}.{line}{parent}"))
    }

    /// The tag in a cell, if there is one.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) if text.starts_with(['o', 'l', 'r']) => Some(Self(text.clone())),
            _ => None,
        }
    }

    /// As a value.
    pub(crate) fn value(&self) -> Value {
        Value::Text(self.0.clone())
    }

    /// The part that names the row.
    pub(crate) fn name(&self) -> &str {
        self.0.split('<').next().unwrap_or_default()
    }

    /// The entity of the row.
    pub(crate) fn entity(&self) -> usize {
        match self.0.as_bytes().first() {
            Some(b'o') => app::ORDER,
            Some(b'l') => app::LINE,
            _ => app::REMARK,
        }
    }

    /// The name of the order that the row belongs to.
    pub(crate) fn order_name(&self) -> Option<&str> {
        let (_, owner) = self.0.split_once('<')?;
        owner.split(['.', '^']).next()
    }

    /// The place, in its order, of the line that a remark is about.
    pub(crate) fn line_number(&self) -> Option<i64> {
        let (_, line) = self.0.split_once('.')?;
        line.split('^').next()?.parse().ok()
    }

    /// The name of the remark that a remark answers.
    pub(crate) fn parent_name(&self) -> Option<&str> {
        Some(self.0.split_once('^')?.1)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The place of the attribute that holds the tag.
pub(crate) fn tag_place(entity: usize) -> usize {
    app::attribute_place(entity, "tag")
}

/// The attributes whose values users type, each unique.
pub(crate) fn typed_places(entity: usize) -> &'static [usize] {
    match entity {
        app::ORDER => &[2, 3],
        app::LINE => &[3, 4],
        _ => &[5],
    }
}

/// The place of an order's counter.
pub(crate) const HITS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_what_its_row_belongs_to() {
        let parent = Tag::remark(30, "o17", 2, None);
        let tag = Tag::remark(31, "o17", 2, Some(parent.name()));
        assert_eq!(tag.to_string(), "r31<o17.2^r30");
        assert_eq!((tag.name(), tag.entity()), ("r31", app::REMARK));
        assert_eq!(tag.order_name(), Some("o17"));
        assert_eq!(tag.line_number(), Some(2));
        assert_eq!(tag.parent_name(), Some("r30"));
        assert_eq!(parent.parent_name(), None);
        assert_eq!(Tag::line(23, "o17").order_name(), Some("o17"));
        assert_eq!(Tag::order(17).order_name(), None);
        for (entity, places) in app::TAGGED
            .map(|entity| (entity, typed_places(entity)))
            .iter()
        {
            assert!(places.iter().all(|at| *at < app::width(*entity)));
        }
        assert_eq!(app::attribute_name(app::ORDER, HITS), "hits");
    }
}

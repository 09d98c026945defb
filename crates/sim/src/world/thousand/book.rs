//! What should be there in the end: the scenario's own book, written while its users type.
//!
//! Of most rows it knows every value. A row that several wrote, or about which somebody decided,
//! is *contested*: it may hold any value that was ever typed into it. Where a deletion and another
//! write met, either may have won. The oracle judges those; the book must know most of the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use afield_protocol::Value;

use super::typist::Statement;
use crate::app;
use crate::deed::Kind;
use crate::oracle::tagged::rows::{TaggedRow, integer};
use crate::tag::{Tag, tag_place};
use crate::violation::{Promise, Violation};

/// Who writes into the server's database, among the devices.
pub(super) const TEAM: usize = usize::MAX;

/// Of a hundred orders, how many the book must know exactly: else the scenario shows nothing.
const EXACT_MIN: usize = 80;

/// With fewer orders there is nothing to be said about most of them.
const JUDGED_FROM: usize = 200;

/// All orders and lines that were ever made.
#[derive(Default)]
pub(super) struct Book {
    rows: BTreeMap<Tag, Row>,
    /// Whether two devices go on from one file by now.
    pub(super) is_copied: bool,
}

/// What is known of a row.
#[derive(Default)]
struct Row {
    /// A line's place in its order.
    place: Option<i64>,
    /// Everything that was typed into an attribute, in order.
    typed: BTreeMap<usize, Vec<Value>>,
    /// What was typed in place of values that were refused.
    corrections: HashMap<(usize, Value), Value>,
    /// Who wrote it since there was a copy.
    writers: BTreeSet<usize>,
    is_contested: bool,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Stays,
    Goes,
    /// Nobody can say.
    Either,
}

impl Book {
    /// A statement took effect.
    pub(super) fn wrote(&mut self, who: usize, done: &Statement) {
        let is_copied = self.is_copied;
        let row = self.rows.entry(done.tag.clone()).or_default();
        let is_deleted = row.fate == Fate::Goes;
        if is_copied || who == TEAM {
            row.writers.insert(who);
        }
        let is_shared = row.writers.len() > 1 || row.writers.contains(&TEAM);
        row.is_contested |= is_shared && !done.set.is_empty();
        row.place = row.place.or(done.place);
        for (at, value) in &done.set {
            row.typed.entry(*at).or_default().push(value.clone());
        }
        let is_doubtful = row.is_contested || is_shared || is_deleted;
        match done.kind {
            Kind::Delete if is_doubtful => self.doubt(&done.tag),
            Kind::Delete => row.fate = Fate::Goes,
            _ if is_deleted => self.doubt(&done.tag),
            _ => {}
        }
        // Somebody wrote to an order that somebody else deletes.
        let order = order_of(&done.tag);
        let is_gone = self.fate(&order) == Some(Fate::Goes);
        if is_gone && done.kind != Kind::Delete {
            self.doubt(&order);
        }
        if done.tag == order && done.kind == Kind::Delete && self.has_others(&order) {
            self.doubt(&order);
        }
    }

    /// Whether an order that is deleted has lines that its user did not delete, or that others
    /// wrote.
    fn has_others(&self, order: &Tag) -> bool {
        let mut rows = self.rows_of(order);
        rows.any(|(tag, row)| tag != order && (row.fate != Fate::Goes || row.writers.len() > 1))
    }

    fn rows_of<'a>(&'a self, order: &'a Tag) -> impl Iterator<Item = (&'a Tag, &'a Row)> {
        self.rows.iter().filter(|(tag, _)| order_of(tag) == *order)
    }

    fn fate(&self, tag: &Tag) -> Option<Fate> {
        Some(self.rows.get(tag)?.fate)
    }

    /// The user typed a value in place of a refused one, perhaps under what he typed later.
    pub(super) fn corrected(&mut self, who: usize, tag: &Tag, at: usize, from: &Value, to: &Value) {
        let is_copied = self.is_copied;
        let Some(row) = self.rows.get_mut(tag) else {
            return;
        };
        if is_copied {
            row.writers.insert(who);
        }
        row.is_contested |= row.writers.len() > 1;
        let typed = row.typed.entry(at).or_default();
        // A decision that its device died in is made again.
        if let Some(undone) = row.corrections.insert((who, from.clone()), to.clone()) {
            typed.retain(|value| *value != undone);
        }
        let place = typed.iter().position(|value| value == from);
        typed.insert(place.map_or(typed.len(), |place| place + 1), to.clone());
    }

    /// The user gave the order up, with all that belongs to it.
    pub(super) fn dropped(&mut self, order: &Tag) {
        for (tag, row) in &mut self.rows {
            if order_of(tag) == *order && row.fate == Fate::Stays {
                row.fate = Fate::Goes;
            }
        }
    }

    /// Several may have won.
    pub(super) fn contest(&mut self, tag: &Tag) {
        if let Some(row) = self.rows.get_mut(tag) {
            row.is_contested = true;
        }
    }

    /// Nobody can say whether the order of this row is there in the end, or its lines.
    pub(super) fn doubt(&mut self, tag: &Tag) {
        let order = order_of(tag);
        for (tag, row) in &mut self.rows {
            if order_of(tag) == order {
                row.is_contested = true;
                row.fate = Fate::Either;
            }
        }
    }

    /// Exactly the orders and lines are there that should be, with the right parents and values.
    /// Gives how many orders were made, and how many of them the book knows in every detail.
    pub(super) fn check(&self, rows: &[TaggedRow]) -> Result<(usize, usize), Violation> {
        let mut found: HashMap<&Tag, &TaggedRow> = HashMap::new();
        for row in rows {
            if found.insert(&row.tag, row).is_some() {
                let invariant = "each order and each line is there once";
                return Err(Violation::new(Promise::P2, invariant, row.tag.to_string()));
            }
            if !self.rows.contains_key(&row.tag) && !is_first(&row.tag) {
                let invariant = "only what somebody made is there";
                return Err(Violation::new(Promise::P4, invariant, row.tag.to_string()));
            }
        }
        for (tag, row) in &self.rows {
            match (row.fate, found.get(tag)) {
                (Fate::Stays | Fate::Either, Some(there)) => row.check(there, &found)?,
                (Fate::Goes, None) | (Fate::Either, None) => {}
                (Fate::Stays, None) => {
                    let invariant = "every order and every line that was made is there";
                    return Err(Violation::new(Promise::P1, invariant, tag.to_string()));
                }
                (Fate::Goes, Some(there)) => {
                    let invariant = "what was deleted or given up is not there";
                    let detail = format!("{tag}: {:?}", there.values);
                    return Err(Violation::new(Promise::P1, invariant, detail));
                }
            }
        }
        self.count()
    }

    fn count(&self) -> Result<(usize, usize), Violation> {
        let orders = || self.rows.keys().filter(|tag| tag.entity() == app::ORDER);
        let mut unclear = BTreeSet::new();
        for (tag, row) in &self.rows {
            if row.is_contested || row.fate == Fate::Either {
                unclear.insert(order_of(tag));
            }
        }
        let all = orders().count();
        let exact = all - unclear.len().min(all);
        if all >= JUDGED_FROM && exact * 100 < all * EXACT_MIN {
            let invariant = "most orders are known exactly";
            let detail = format!("{exact} of {all}");
            return Err(Violation::new(Promise::Sound, invariant, detail));
        }
        Ok((all, exact))
    }
}

impl Row {
    fn check(&self, there: &TaggedRow, found: &HashMap<&Tag, &TaggedRow>) -> Result<(), Violation> {
        let wrong = |invariant, detail: String| {
            let detail = format!("{}: {detail}: {:?}", there.tag, there.values);
            Err(Violation::new(Promise::P1, invariant, detail))
        };
        if there.tag.entity() == app::LINE {
            let order = found.get(&order_of(&there.tag));
            let id = order.and_then(|order| integer(&order.values[0]));
            if id.is_none() || id != integer(&there.values[0]) {
                return wrong(
                    "each line is its order's",
                    format!("its order is {order:?}"),
                );
            }
            if self.place != integer(&there.values[1]) {
                return wrong("each line is in its place", format!("{:?}", self.place));
            }
        }
        for at in crate::tag::typed_places(there.tag.entity()) {
            let typed = self.typed.get(at).map_or(&[][..], Vec::as_slice);
            let value = &there.values[*at];
            let is_right = match self.is_contested {
                true => value.is_null() || typed.contains(value),
                false => typed.last().unwrap_or(&Value::Null) == value,
            };
            if !is_right {
                let name = app::attribute_name(there.tag.entity(), *at);
                return wrong(
                    "each value is what was typed last",
                    format!("{name}: {typed:?}"),
                );
            }
        }
        Ok(())
    }
}

/// The order that a row is or belongs to.
pub(super) fn order_of(tag: &Tag) -> Tag {
    let order = tag.order_name().map(|name| Value::Text(name.to_owned()));
    order
        .and_then(|name| Tag::of(&name))
        .unwrap_or_else(|| tag.clone())
}

/// Whether the row was there before anybody typed: the first tags are the smallest numbers.
pub(super) fn is_first(tag: &Tag) -> bool {
    let number = tag.name()[1..].parse::<u32>();
    number.is_ok_and(|number| number < 10) && tag_place(tag.entity()) > 0
}

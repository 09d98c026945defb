//! What users do with orders, lines and remarks, as SQL or for entity actions. A row is picked by
//! number among those that are there, those made earlier in the same transaction included.

use std::collections::{BTreeMap, HashMap};

use afield_protocol::{Attributes, Key, Value};

use crate::action::{OrderEdit, OrderWhat};
use crate::app;
use crate::oracle::tagged::rows::{TaggedRow, integer};
use crate::statements::{Side, Statement};
use crate::tag::{HITS, Tag, tag_place, typed_places};

/// Most lines of an order.
const LINES_MAX: i64 = 4;

/// One statement's worth of work.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deed {
    pub(crate) kind: Kind,
    pub(crate) tag: Tag,
    /// The row's identifier; empty for a row that the server will number.
    pub(crate) key: Key,
    /// What is written, by place of the attribute.
    pub(crate) set: Vec<(usize, Value)>,
    /// By how much the counter goes up.
    pub(crate) by: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Make,
    Set,
    Delete,
}

/// The rows that somebody sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    pub(crate) rows: Vec<TaggedRow>,
    /// The identifiers under which the app made rows.
    pub(crate) remembered: HashMap<Tag, Key>,
}

impl Picture {
    /// Makes a deed of an edit, if there is a row for it.
    pub(crate) fn deed(&self, edit: &OrderEdit) -> Option<Deed> {
        let text = |place: usize| Value::Text(format!("w{}.{place}", edit.n));
        match edit.what {
            OrderWhat::Order => {
                let tag = Tag::order(edit.n);
                let mut set = vec![(1, tag.value()), (2, text(2))];
                if edit.n.is_multiple_of(2) {
                    set.push((3, text(3)));
                }
                let by = i64::from(edit.n % 4);
                set.push((HITS, Value::Integer(by)));
                Some(Deed {
                    by,
                    ..make(tag, Key::new(), set)
                })
            }
            OrderWhat::Line => {
                let order = self.pick(app::ORDER, edit.row)?;
                let n = self.free_place(order.tag.name(), edit.n)?;
                let tag = Tag::line(edit.n, order.tag.name());
                let key = vec![self.id(order, edit.old_id)?, Value::Integer(n)];
                Some(make(tag.clone(), key, vec![(2, tag.value()), (3, text(3))]))
            }
            OrderWhat::Remark => self.remark(edit, text(5)),
            OrderWhat::Set | OrderWhat::Bad | OrderWhat::Hit | OrderWhat::Delete => {
                self.change(edit)
            }
        }
    }

    fn remark(&self, edit: &OrderEdit, text: Value) -> Option<Deed> {
        let line = self.pick(app::LINE, edit.row)?;
        let parent = self
            .pick(app::REMARK, edit.row / 3)
            .filter(|_| edit.n.is_multiple_of(2));
        let parent_name = parent.map(|parent| parent.tag.name());
        let n = integer(&line.values[1])?;
        let tag = Tag::remark(edit.n, line.tag.order_name()?, n, parent_name);
        let order = self.id(line, edit.old_id)?;
        let mut set = vec![(1, order), (2, Value::Integer(n))];
        if let Some(parent) = parent {
            set.push((3, self.id(parent, edit.old_id)?));
        }
        set.extend([(4, tag.value()), (5, text)]);
        Some(make(tag, Key::new(), set))
    }

    /// A change of a row that is there.
    fn change(&self, edit: &OrderEdit) -> Option<Deed> {
        let entity = match edit.what {
            OrderWhat::Bad | OrderWhat::Hit => app::ORDER,
            _ => app::TAGGED[edit.row as usize % 3],
        };
        let row = self.pick(entity, edit.row / 3)?;
        let places = typed_places(entity);
        let at = places[edit.n as usize % places.len()];
        let (kind, set, by) = match edit.what {
            OrderWhat::Delete => (Kind::Delete, Vec::new(), 0),
            OrderWhat::Bad => {
                let value = Value::Text(format!("{}{}", app::BAD, edit.n));
                (Kind::Set, vec![(2, value)], 0)
            }
            OrderWhat::Hit => {
                let by = i64::from(edit.n % 7 + 1);
                let now = integer(&row.values[HITS]).unwrap_or(0);
                (Kind::Set, vec![(HITS, Value::Integer(now + by))], by)
            }
            _ => {
                let value = Value::Text(format!("w{}.{at}", edit.n));
                (Kind::Set, vec![(at, value)], 0)
            }
        };
        let key = match (edit.old_id && edit.by_action, self.remembered.get(&row.tag)) {
            (true, Some(key)) => key.clone(),
            _ => row.key().to_vec(),
        };
        Some(Deed {
            kind,
            tag: row.tag.clone(),
            key,
            set,
            by,
        })
    }

    fn pick(&self, entity: usize, n: u32) -> Option<&TaggedRow> {
        let rows = || self.rows.iter().filter(|row| row.tag.entity() == entity);
        rows().nth(n as usize % rows().count().max(1))
    }

    /// The first part of a row's identifier, as it is or as the app remembers it.
    fn id(&self, row: &TaggedRow, old: bool) -> Option<Value> {
        let remembered = self.remembered.get(&row.tag).filter(|_| old);
        remembered.map_or(row.key(), Vec::as_slice).first().cloned()
    }

    /// A place in an order that no line has.
    fn free_place(&self, order: &str, from: u32) -> Option<i64> {
        let is_taken = |n: &i64| {
            let mut rows = self.rows.iter();
            rows.any(|row| {
                row.tag.entity() == app::LINE
                    && row.tag.order_name() == Some(order)
                    && row.values[1] == Value::Integer(*n)
            })
        };
        let mut places = (0..LINES_MAX).map(|n| (n + i64::from(from)) % LINES_MAX + 1);
        places.find(|n| !is_taken(n))
    }

    /// What somebody sees once a deed is done; `id` is the identifier that a new row got.
    pub(crate) fn done(&mut self, deed: &Deed, id: Option<i64>) {
        match deed.kind {
            Kind::Make => {
                let mut values = vec![Value::Null; app::width(deed.tag.entity())];
                let key = deed.key.iter().cloned().chain(id.map(Value::Integer));
                for (at, value) in key.enumerate() {
                    values[at] = value;
                }
                for (at, value) in &deed.set {
                    values[*at] = value.clone();
                }
                let tag = deed.tag.clone();
                self.rows.push(TaggedRow { tag, values });
            }
            Kind::Set => {
                for row in self.rows.iter_mut().filter(|row| row.tag == deed.tag) {
                    for (at, value) in &deed.set {
                        row.values[*at] = value.clone();
                    }
                }
            }
            Kind::Delete => self.rows.retain(|row| row.tag != deed.tag),
        }
    }
}

impl Deed {
    /// As SQL; a new row's identifier comes back with `returning`.
    pub(crate) fn statement(&self, side: Side, returning: bool) -> Statement {
        let entity = self.tag.entity();
        let (table, columns) = match side {
            Side::Device => (
                format!("\"{}\"", app::name(entity)),
                app::attributes(entity),
            ),
            Side::Server => (app::table(entity), app::columns(entity)),
        };
        let width = app::key_width(entity);
        let found: Vec<String> = (columns[..width].iter())
            .map(|name| format!("{name} = ?"))
            .collect();
        let found = found.join(" AND ");
        let values = self.set.iter().map(|(_, value)| value.clone());
        let (sql, params): (String, Vec<Value>) = match self.kind {
            Kind::Make => {
                let names: Vec<&str> = (columns[..self.key.len()].iter())
                    .chain(self.set.iter().map(|(at, _)| &columns[*at]))
                    .map(String::as_str)
                    .collect();
                let marks = vec!["?"; names.len()].join(", ");
                let names = names.join(", ");
                let tail = match returning {
                    true => format!(" RETURNING {}", columns[0]),
                    false => String::new(),
                };
                let sql = format!("INSERT INTO {table} ({names}) VALUES ({marks}){tail}");
                (sql, self.key.iter().cloned().chain(values).collect())
            }
            Kind::Set if self.by != 0 => {
                let hits = &columns[HITS];
                let sql = format!("UPDATE {table} SET {hits} = {hits} + ? WHERE {found}");
                let by = std::iter::once(Value::Integer(self.by));
                (sql, by.chain(self.key.iter().cloned()).collect())
            }
            Kind::Set => {
                let sets: Vec<String> = (self.set.iter())
                    .map(|(at, _)| format!("{} = ?", columns[*at]))
                    .collect();
                let sql = format!("UPDATE {table} SET {} WHERE {found}", sets.join(", "));
                (sql, values.chain(self.key.iter().cloned()).collect())
            }
            Kind::Delete => (
                format!("DELETE FROM {table} WHERE {found}"),
                self.key.clone(),
            ),
        };
        Statement { sql, params }
    }

    /// What it writes, as an entity action takes it.
    pub(crate) fn attributes(&self) -> Attributes {
        let entity = self.tag.entity();
        let key = self
            .key
            .iter()
            .enumerate()
            .filter(|_| self.kind == Kind::Make);
        let set = self.set.iter().map(|(at, value)| (*at, value));
        key.chain(set)
            .map(|(at, value)| (app::attribute_name(entity, at).to_owned(), value.clone()))
            .collect()
    }

    /// Whether the server makes the new row's identifier.
    pub(crate) fn is_numbered(&self) -> bool {
        self.kind == Kind::Make && self.key.is_empty()
    }
}

fn make(tag: Tag, key: Key, set: Vec<(usize, Value)>) -> Deed {
    Deed {
        kind: Kind::Make,
        tag,
        key,
        set,
        by: 0,
    }
}

/// What a list of deeds leaves of each row: its last values, or nothing if it was deleted.
pub(crate) fn outcome(deeds: &[Deed]) -> BTreeMap<Tag, Option<BTreeMap<usize, Value>>> {
    let mut rows: BTreeMap<Tag, Option<BTreeMap<usize, Value>>> = BTreeMap::new();
    for deed in deeds {
        let row = rows.entry(deed.tag.clone()).or_default();
        match deed.kind {
            Kind::Delete => *row = None,
            Kind::Make | Kind::Set => {
                let typed = typed_places(deed.tag.entity());
                let is_typed =
                    |at: &usize| typed.contains(at) || *at == tag_place(deed.tag.entity());
                let set = deed.set.iter().filter(|(at, _)| is_typed(at)).cloned();
                row.get_or_insert_default().extend(set);
            }
        }
    }
    rows
}

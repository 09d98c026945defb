//! Which rows a sync brought or took, for an app that is told of them.

use std::collections::BTreeMap;

use afield_protocol::codec::cbor::Cell;
use afield_protocol::{Frame, Key, Model, PageEnd, Value};

use crate::error::Error;

/// Rows that are told by their identifiers; of more the app hears only that there are many. As many
/// identifiers as this take about a megabyte.
pub const CHANGED_MAX: usize = 10_000;

/// Rows that a sync brought or took, of each entity by its identifiers: those that the server
/// named, also where it had nothing new of them. `None` stands for any: too many of them, or rows
/// that left without being named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// By local entity.
    pub rows: BTreeMap<String, Option<Vec<Key>>>,
    count: usize,
}

impl Changed {
    /// Adds what a page names; `applied` is how many rows it wrote and removed.
    pub(super) fn add(
        &mut self,
        model: &Model,
        content: &[Frame],
        end: &PageEnd,
        applied: u64,
    ) -> Result<(), Error> {
        let mut named = 0;
        for frame in content {
            match frame {
                Frame::Rows(block) => {
                    let width = model.entity(&block.entity).map_or(0, |it| it.key().len());
                    let mut keys = Vec::new();
                    block.for_each(|cells| {
                        named += 1;
                        let key = cells.iter().take(width);
                        keys.push(key.map(value).collect());
                        Ok::<(), Error>(())
                    })?;
                    self.extend(&block.entity, keys);
                }
                Frame::Gone { entity, keys } => {
                    named += keys.len() as u64;
                    self.extend(entity, keys.clone());
                }
                _ => {}
            }
        }
        if applied > named {
            for (entity, _) in &end.to {
                self.any(entity);
            }
        }
        Ok(())
    }

    fn extend(&mut self, entity: &str, keys: Vec<Key>) {
        self.count = self.count.saturating_add(keys.len());
        if self.count > CHANGED_MAX {
            return self.any(entity);
        }
        let known = self
            .rows
            .entry(entity.to_owned())
            .or_insert_with(|| Some(Vec::new()));
        if let Some(known) = known {
            known.extend(keys);
        }
    }

    fn any(&mut self, entity: &str) {
        self.rows.insert(entity.to_owned(), None);
    }
}

fn value(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(integer) => Value::Integer(*integer),
        Cell::Real(real) => Value::Real(*real),
        Cell::Text(text) => Value::Text(text.clone().into_owned()),
        Cell::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

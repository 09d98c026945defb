//! Edits as SQL, in the names of a device's tables or in those of the team's.

use afield_protocol::codec::cbor::read_key;
use afield_protocol::{Attributes, Key, Value};
use rusqlite::Connection;

use crate::action::{Edit, What};
use crate::rows::{Bound, Rows};
use crate::{app, jobs, timed};

/// Whose tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Device,
    Server,
}

/// One statement with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) params: Vec<Value>,
}

impl Statement {
    /// Runs it.
    pub(crate) fn run(&self, conn: &Connection) -> rusqlite::Result<usize> {
        let params = rusqlite::params_from_iter(self.params.iter().map(Bound));
        conn.prepare_cached(&self.sql)?.execute(params)
    }
}

/// An edit with its row and values settled.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) entity: usize,
    pub(crate) what: What,
    pub(crate) key: Key,
    /// Attributes to write, by place.
    pub(crate) set: Vec<(usize, Value)>,
    /// The other row or identifier that a transfer or a new identifier needs.
    other: Key,
    pub(crate) amount: i64,
}

impl Settled {
    /// Settles `edit` on the rows that are there; `back` knows an older value of a cell.
    pub(crate) fn new(
        edit: &Edit,
        rows: &Rows,
        back: impl Fn(&[u8], usize) -> Option<Value>,
    ) -> Option<Self> {
        let entity = edit.entity;
        let pick = |n: u32| rows.keys().nth(n as usize % rows.len().max(1));
        let picked = pick(edit.row);
        let fresh = app::key(entity, edit.row);
        let key = match edit.what {
            What::Create => fresh,
            What::Displace => app::key(entity, edit.n),
            What::Upsert | What::Replace | What::Ignore if edit.n.is_multiple_of(3) => fresh,
            _ => read_key(picked?).ok()?,
        };
        let writable = app::writable(entity);
        let at = writable.start + edit.attribute as usize % writable.len();
        let one = |value: Value| vec![(at, value)];
        let value_at = |at: usize| app::value(entity, at, edit.n * 8 + place(at));
        let set = match edit.what {
            What::Update => one(value_at(at)),
            What::Back => one(back(picked?, at)?),
            What::Empty => one(Value::Null),
            What::Poison => vec![(2, Value::Text(format!("{}{}", app::POISON, edit.n)))],
            What::Refused => vec![(3, Value::Integer(-i64::from(edit.n) - 1))],
            What::Breaks => vec![jobs::broken(edit.n)],
            What::Create | What::Upsert | What::Replace | What::Ignore | What::Again => writable
                .filter(|other| *other == at || is_given(edit, *other))
                .map(|at| (at, value_at(at)))
                .collect(),
            What::Displace => vec![(3, rows.get(picked?)?.get(3)?.clone())],
            What::Delete | What::Rekey | What::Transfer => Vec::new(),
        };
        let other = match edit.what {
            What::Rekey => app::key(entity, edit.n),
            _ => read_key(pick(edit.row + 1 + edit.attribute % 3)?).unwrap_or_default(),
        };
        Some(Self {
            entity,
            what: edit.what,
            key,
            set,
            other,
            amount: i64::from(edit.n % 50 + 1),
        })
    }

    /// The same once the server's clock has moved: times that are typed are those of today.
    pub(crate) fn moved(mut self, seconds: i64) -> Self {
        let place = timed::time_place(self.entity).filter(|_| self.what != What::Back);
        for (_, value) in self.set.iter_mut().filter(|(at, _)| Some(*at) == place) {
            *value = timed::moved(value, seconds);
        }
        self
    }

    /// What it writes, by attribute name.
    pub(crate) fn attributes(&self) -> Attributes {
        let names = self.set.iter();
        names
            .map(|(at, value)| {
                (
                    app::attribute_name(self.entity, *at).to_owned(),
                    value.clone(),
                )
            })
            .collect()
    }

    /// The whole row as an entity action takes it.
    pub(crate) fn row(&self) -> Attributes {
        let mut row = self.attributes();
        for (at, value) in self.key.iter().enumerate() {
            row.insert(
                app::attribute_name(self.entity, at).to_owned(),
                value.clone(),
            );
        }
        row
    }

    /// As SQL.
    pub(crate) fn statements(&self, side: Side) -> Vec<Statement> {
        let names = Names::of(self.entity, side);
        match self.what {
            What::Create => vec![self.insert(&names, "INSERT", "")],
            What::Ignore => vec![self.insert(&names, "INSERT OR IGNORE", "")],
            What::Replace | What::Displace => vec![self.insert(&names, "REPLACE", "")],
            What::Upsert => vec![self.insert(&names, "INSERT", &self.on_conflict(&names))],
            What::Again => vec![self.delete(&names), self.insert(&names, "INSERT", "")],
            What::Delete => vec![self.delete(&names)],
            What::Rekey => vec![self.rekey(&names)],
            What::Transfer => vec![
                self.transfer(&names, &self.key, -self.amount),
                self.transfer(&names, &self.other, self.amount),
            ],
            What::Update
            | What::Back
            | What::Empty
            | What::Poison
            | What::Refused
            | What::Breaks => vec![self.update(&names)],
        }
    }

    fn insert(&self, names: &Names, verb: &str, tail: &str) -> Statement {
        let columns = names
            .key()
            .iter()
            .chain(self.set.iter().map(|(at, _)| &names.columns[*at]));
        let columns: Vec<&str> = columns.map(String::as_str).collect();
        let marks = vec!["?"; columns.len()].join(", ");
        let sql = format!(
            "{verb} INTO {} ({}) VALUES ({marks}){tail}",
            names.table,
            columns.join(", ")
        );
        let values = self.set.iter().map(|(_, value)| value);
        Statement {
            sql,
            params: self.key.iter().chain(values).cloned().collect(),
        }
    }

    fn on_conflict(&self, names: &Names) -> String {
        let sets = self.set.iter().map(|(at, _)| {
            let name = &names.columns[*at];
            format!("{name} = excluded.{name}")
        });
        let sets = sets.collect::<Vec<_>>().join(", ");
        format!(
            " ON CONFLICT ({}) DO UPDATE SET {sets}",
            names.key().join(", ")
        )
    }

    fn update(&self, names: &Names) -> Statement {
        let sets = self
            .set
            .iter()
            .map(|(at, _)| format!("{} = ?", names.columns[*at]));
        let sets = sets.collect::<Vec<_>>().join(", ");
        let sql = format!("UPDATE {} SET {sets} WHERE {}", names.table, names.found());
        let values = self.set.iter().map(|(_, value)| value);
        Statement {
            sql,
            params: values.chain(&self.key).cloned().collect(),
        }
    }

    fn delete(&self, names: &Names) -> Statement {
        Statement {
            sql: format!("DELETE FROM {} WHERE {}", names.table, names.found()),
            params: self.key.clone(),
        }
    }

    fn rekey(&self, names: &Names) -> Statement {
        let sets: Vec<String> = names
            .key()
            .iter()
            .map(|name| format!("{name} = ?"))
            .collect();
        let sets = sets.join(", ");
        Statement {
            sql: format!("UPDATE {} SET {sets} WHERE {}", names.table, names.found()),
            params: self.other.iter().chain(&self.key).cloned().collect(),
        }
    }

    fn transfer(&self, names: &Names, key: &Key, amount: i64) -> Statement {
        let mut params = vec![Value::Integer(amount)];
        params.extend(key.iter().cloned());
        Statement {
            sql: format!(
                "UPDATE {} SET balance = balance + ? WHERE {}",
                names.table,
                names.found()
            ),
            params,
        }
    }
}

/// Whether a new row gets a value of the attribute; one without a title is seldom made.
fn is_given(edit: &Edit, at: usize) -> bool {
    let is_title = edit.entity == app::JOB && app::attribute_name(app::JOB, at) == "title";
    (edit.n >> at) & 1 == 1 || is_title && !edit.n.is_multiple_of(8)
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(0)
}

struct Names {
    table: String,
    columns: Vec<String>,
    key_width: usize,
}

impl Names {
    fn of(entity: usize, side: Side) -> Self {
        let (table, columns) = match side {
            Side::Device => (app::name(entity).to_owned(), app::attributes(entity)),
            Side::Server => (app::table(entity), app::columns(entity)),
        };
        Self {
            table,
            columns,
            key_width: app::key_width(entity),
        }
    }

    fn key(&self) -> &[String] {
        &self.columns[..self.key_width]
    }

    fn found(&self) -> String {
        let parts: Vec<String> = self
            .key()
            .iter()
            .map(|name| format!("{name} = ?"))
            .collect();
        parts.join(" AND ")
    }
}

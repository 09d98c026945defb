//! Where a value is seen: on two devices, in the server's column, in what the program prints.

use std::collections::BTreeMap;

use afield::engine::SyncStatus;
use afield::protocol::{Attributes, Value};
use afield::{ChangeInfo, ChangeState, Error, Params};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::Value as Json;

use super::table::{COLUMNS, End, Line};
use crate::support::{Repl, afield, texts};
use crate::world::{Device, World, server_settings};

/// Rows in a page: few, so that the odd ones stand in every place of one.
const PAGE_ROWS: usize = 40;

/// The ways of writing a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Action,
    Sql,
    Team,
}

pub(super) const WAYS: [Way; 3] = [Way::Action, Way::Sql, Way::Team];

impl Line {
    /// What becomes of it when it is written in this way.
    pub(super) fn end(&self, way: Way) -> &End {
        match way {
            Way::Action => &self.action,
            Way::Sql => &self.sql,
            Way::Team => &self.team,
        }
    }

    /// What the server's column has when it was written in this way, and is this value.
    pub(super) fn cell(&self, way: Way, value: &Value) -> Cell {
        let plain = match way {
            Way::Team => &self.given,
            Way::Action | Way::Sql => value,
        };
        self.column.clone().unwrap_or_else(|| cell(plain))
    }
}

/// A team with a table for each column of the table of values, and two devices.
pub(super) struct Stations {
    pub(super) world: World,
    pub(super) team: Connection,
    pub(super) here: Device,
    pub(super) there: Device,
}

impl Stations {
    pub(super) fn new() -> Self {
        let world = World::of(&schema(), &model(), "");
        let here = world.downloaded("here", "ann");
        let there = world.downloaded("there", "ben");
        let team = world.team();
        Self {
            world,
            team,
            here,
            there,
        }
    }

    /// Sends what waits on both devices, and lets each have what the other wrote.
    pub(super) fn sync(&self) {
        for device in [&self.here, &self.there, &self.here] {
            self.drain(device);
        }
    }

    /// Synchronises until nothing waits to be sent.
    pub(super) fn drain(&self, device: &Device) {
        for _ in 0..9 {
            let report = device.sync();
            assert_ne!(report.status, SyncStatus::Failed, "{report:?}");
            if device.client.store().status().unwrap().pending == 0 {
                return;
            }
        }
        panic!("changes wait: {:?}", device.client.store().status());
    }

    /// Makes a row in this way.
    pub(super) fn write(&self, way: Way, at: &str, id: &str, value: &Value) -> Result<(), Error> {
        match way {
            Way::Action => {
                let row = Attributes::from([
                    ("id".to_owned(), Value::from(id)),
                    ("v".to_owned(), value.clone()),
                ]);
                self.here.client.store().create(at, &row).map(drop)
            }
            Way::Sql => {
                let params = Params::from([id.into(), value.clone()]);
                let sql = format!("INSERT INTO \"{at}\" (id, v) VALUES (?1, ?2)");
                execute(&self.here, &sql, &params)
            }
            Way::Team => {
                let sql = format!("INSERT INTO \"{at}\" (id, v) VALUES (?1, ?2)");
                assert_eq!(self.team.execute(&sql, (id, cell(value))).unwrap(), 1);
                Ok(())
            }
        }
    }

    /// The value that the server's column has; none if there is no row.
    pub(super) fn server(&self, at: &str, id: &str) -> Option<Cell> {
        let sql = format!("SELECT v FROM \"{at}\" WHERE id = ?1");
        let mut statement = self.team.prepare_cached(&sql).unwrap();
        let mut found = statement.query([id]).unwrap();
        found.next().unwrap().map(|row| row.get(0).unwrap())
    }
}

/// Runs a statement with parameters as a transaction.
pub(super) fn execute(device: &Device, sql: &str, params: &Params) -> Result<(), Error> {
    let mut store = device.client.store();
    store.transaction(|tx| tx.execute(sql, params)).map(drop)
}

/// Sets the value of a row by an entity action.
pub(super) fn update(device: &Device, at: &str, id: &str, value: &Value) {
    let set = Attributes::from([("v".to_owned(), value.clone())]);
    let done = device.client.store().update(at, &[id.into()], &set);
    done.unwrap_or_else(|error| panic!("{at} {id} {}: {error}", short(value)));
}

/// The value of a row on a device; none if there is no row.
pub(super) fn seen(device: &Device, at: &str, id: &str) -> Option<Value> {
    let row = device.client.store().get(at, &[id.into()]).unwrap();
    row.map(|mut row| row.remove("v").unwrap())
}

/// The changes of a device that are in this state, by entity and identifier.
pub(super) fn in_state(
    device: &Device,
    state: ChangeState,
) -> BTreeMap<(String, String), ChangeInfo> {
    let of = |change: ChangeInfo| ((change.entity.clone(), change.key[0].to_string()), change);
    let changes = device.changes().into_iter();
    changes
        .filter(|change| change.state == state)
        .map(of)
        .collect()
}

/// What a device command prints with `--json`.
pub(super) fn printed(world: &World, store: &str, user: &str, words: &[&str]) -> Json {
    let mut command = afield(world.path());
    command.args(["device", store, "--user", user, "--json"]);
    let output = command.args(words).output().unwrap();
    let (out, err) = texts(&output);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error}: {out}{err}"))
}

/// A device process for requests.
pub(super) fn repl(world: &World, store: &str, user: &str) -> Repl {
    let mut command = afield(world.path());
    command.args(["device", store, "--user", user, "--repl"]);
    Repl::start(command)
}

/// A value as SQLite stores it; a NaN is none there.
pub(super) fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Integer(n) => Cell::Integer(*n),
        Value::Real(x) if x.is_nan() => Cell::Null,
        Value::Real(x) => Cell::Real(*x),
        Value::Text(text) => Cell::Text(text.clone()),
        Value::Bytes(bytes) => Cell::Blob(bytes.clone()),
    }
}

/// A value for messages.
pub(super) fn short(value: &Value) -> String {
    format!("{value:?}").chars().take(120).collect()
}

fn schema() -> String {
    let table = |(at, declared): (&str, &str)| {
        format!("CREATE TABLE \"{at}\" (id TEXT NOT NULL PRIMARY KEY, v {declared}, note TEXT);\n")
    };
    COLUMNS.map(table).concat()
}

fn model() -> String {
    let entity = |(at, _): (&str, &str)| {
        format!(
            "[local.{at}]\nfrom = \"{at}\"\npattern = \"detect-conflicts\"\n\
             merge = \"attribute\"\nattributes = [\"v\", \"note\"]\nscope = \"everyone\"\n"
        )
    };
    let rule = "[local.one_of.rule]\nv = { one_of = [\"draft\", \"sent\"] }\n";
    server_settings(PAGE_ROWS) + &COLUMNS.map(entity).concat() + rule
}

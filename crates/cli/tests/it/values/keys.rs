//! Values as identifiers: each that a device may write names one row, everywhere the same.

use afield::protocol::{Attributes, Value};
use rusqlite::Connection;

use super::stations::short;
use super::table::{COLUMNS, End, lines};
use crate::world::{Device, World, server_settings};

/// The columns that are identifiers here. `prepare` refuses real numbers as one; a JSON text is
/// none that anybody would choose.
const KEYS: [&str; 11] = [
    "text", "integer", "decimal", "scaled", "exact", "boolean", "date", "time", "instant", "uuid",
    "bytes",
];

fn values(at: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for line in lines().into_iter().filter(|line| line.at == at) {
        if let End::Is(value) = line.action
            && !value.is_null()
            && !found.contains(&value)
        {
            found.push(value);
        }
    }
    found
}

fn world() -> World {
    let (mut schema, mut model) = (String::new(), server_settings(40));
    for (at, declared) in COLUMNS.into_iter().filter(|(at, _)| KEYS.contains(at)) {
        let (id, identifier) = match at {
            "integer" => (
                "INTEGER NOT NULL PRIMARY KEY".to_owned(),
                "id = \"natural\"\n",
            ),
            _ => (format!("{declared} NOT NULL PRIMARY KEY"), ""),
        };
        schema += &format!("CREATE TABLE \"{at}\" (id {id}, note TEXT);\n");
        model += &format!(
            "[local.{at}]\nfrom = \"{at}\"\npattern = \"detect-conflicts\"\n{identifier}\
             attributes = [\"note\"]\nscope = \"everyone\"\n"
        );
    }
    World::of(&schema, &model, "")
}

fn row(id: &Value, note: &str) -> Attributes {
    Attributes::from([
        ("id".to_owned(), id.clone()),
        ("note".to_owned(), note.into()),
    ])
}

fn notes(device: &Device, at: &str, id: &Value) -> Option<Value> {
    let row = device
        .client
        .store()
        .get(at, std::slice::from_ref(id))
        .unwrap();
    row.map(|mut row| row.remove("note").unwrap())
}

fn count(team: &Connection, at: &str, note: &str) -> usize {
    let sql = format!("SELECT count(*) FROM \"{at}\" WHERE note = ?1");
    let count: i64 = team.query_row(&sql, [note], |row| row.get(0)).unwrap();
    usize::try_from(count).unwrap()
}

fn sync(devices: [&Device; 3]) {
    for device in devices {
        let report = device.sync();
        assert!(report.error.is_none(), "{report:?}");
        let mut store = device.client.store();
        let status = store.status().unwrap();
        assert_eq!(
            (status.pending, status.parked),
            (0, 0),
            "{:?}",
            store.changes()
        );
    }
}

#[test]
fn p3_every_value_names_one_row_everywhere() {
    let world = world();
    let (here, there) = (
        world.downloaded("here", "ann"),
        world.downloaded("there", "ben"),
    );
    let team = world.team();
    for at in KEYS {
        for id in values(at) {
            let made = here.client.store().create(at, &row(&id, "made"));
            assert_eq!(made.unwrap(), std::slice::from_ref(&id), "{at}");
        }
    }
    sync([&here, &there, &here]);
    for at in KEYS {
        assert_eq!(count(&team, at, "made"), values(at).len(), "{at}");
        for id in values(at) {
            assert_eq!(
                notes(&there, at, &id),
                Some("made".into()),
                "{at} {}",
                short(&id)
            );
            let note = Attributes::from([("note".to_owned(), "seen".into())]);
            there.client.store().update(at, &[id], &note).unwrap();
        }
    }
    sync([&there, &here, &there]);
    for at in KEYS {
        assert_eq!(count(&team, at, "seen"), values(at).len(), "{at}");
        for id in values(at) {
            assert_eq!(
                notes(&here, at, &id),
                Some("seen".into()),
                "{at} {}",
                short(&id)
            );
            here.client.store().delete(at, &[id]).unwrap();
        }
    }
    sync([&here, &there, &here]);
    for at in KEYS {
        assert_eq!(count(&team, at, "seen"), 0, "{at}");
        for id in values(at) {
            assert_eq!(notes(&there, at, &id), None, "{at} {}", short(&id));
        }
    }
}

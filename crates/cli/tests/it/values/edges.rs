//! Values at the edges: text that is no text, defaults, what is mended, what is too large.

use afield::engine::SyncStatus;
use afield::protocol::{Attributes, Code, Value};
use afield::{ChangeState, Params, Resolution};
use rusqlite::types::Value as Cell;

use super::stations::{Stations, Way, execute, in_state, seen, update};
use super::table::{End, Line, MISTYPED, lines};
use crate::world::{World, server_settings};

fn v(value: impl Into<Value>) -> Attributes {
    Attributes::from([("v".to_owned(), value.into())])
}

/// SQLite keeps bytes as text if a program says so. Whoever reads them gets bytes, which are no
/// text: what a device wrote is refused, and what the team wrote comes as it is.
#[test]
fn p8_text_that_is_no_utf_8_is_refused_and_stops_nothing() {
    let stations = Stations::new();
    let broken = ["EDA080", "FF", "61C3", "C080", "F8888080"];
    for (n, hex) in broken.iter().enumerate() {
        for at in ["text", "json_text", "date", "real"] {
            let sql = |id: &str| {
                format!("INSERT INTO \"{at}\" (id, v) VALUES ('{id} {n}', CAST(X'{hex}' AS TEXT))")
            };
            stations.team.execute(&sql("theirs"), []).unwrap();
            let done = execute(&stations.here, &sql("mine"), &Params::none());
            if at != "text" {
                assert_eq!(done.unwrap_err().code(), &Code::TYPE_MISMATCH, "{at} {hex}");
            }
        }
        let good = format!("good {n}");
        stations
            .write(Way::Action, "text", &good, &"good".into())
            .unwrap();
    }
    stations.sync();
    let mut parked = in_state(&stations.here, ChangeState::Parked);
    for (n, hex) in broken.iter().enumerate() {
        let bytes = Value::Bytes(
            (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                .collect(),
        );
        for at in ["text", "json_text", "date", "real"] {
            let id = format!("theirs {n}");
            for device in [&stations.here, &stations.there] {
                assert_eq!(seen(device, at, &id).as_ref(), Some(&bytes), "{at} {hex}");
            }
        }
        let mine = format!("mine {n}");
        let told = parked.remove(&("text".to_owned(), mine.clone())).unwrap();
        assert_eq!(told.code, Some(Code::TYPE_MISMATCH), "{hex}");
        assert_eq!(told.attribute.as_deref(), Some("v"));
        assert_eq!(
            seen(&stations.here, "text", &mine),
            Some(bytes),
            "what was typed is kept"
        );
        assert_eq!(stations.server("text", &mine), None);
        let good = Cell::Text("good".to_owned());
        assert_eq!(stations.server("text", &format!("good {n}")), Some(good));
    }
    assert!(parked.is_empty(), "{parked:?}");
}

/// The lines that the server refuses, with what is refused as well and what a device could write.
fn unkept() -> Vec<(Line, String)> {
    let parked = |line: &Line| matches!(line.action, End::Parked(_));
    let found = lines().into_iter().filter(parked).enumerate();
    found.map(|(n, line)| (line, format!("row {n}"))).collect()
}

#[test]
fn p8_a_value_that_a_column_would_change_is_mended_and_sent() {
    let stations = Stations::new();
    let rows = unkept();
    assert!(rows.len() >= 12);
    for (line, id) in &rows {
        stations
            .write(Way::Action, line.at, id, &Value::Null)
            .unwrap();
    }
    stations.sync();
    // An update is refused like a create, and leaves the server's value in its place.
    for (line, id) in &rows {
        update(&stations.here, line.at, id, &line.given);
        let note = Attributes::from([("note".to_owned(), "fine".into())]);
        let mut store = stations.there.client.store();
        store.update(line.at, &[id.as_str().into()], &note).unwrap();
    }
    stations.sync();
    let parked = in_state(&stations.here, ChangeState::Parked);
    for (line, id) in &rows {
        let change = &parked[&(line.at.to_owned(), id.clone())];
        assert_eq!(change.set["v"], line.given);
        let message = change.message.as_ref().unwrap();
        assert!(message.starts_with("`v` "), "{message}");
        assert_eq!(stations.server(line.at, id), Some(Cell::Null));
        let mut store = stations.here.client.store();
        store.retry(&change.change, Some(&v("1"))).unwrap();
    }
    stations.sync();
    assert!(in_state(&stations.here, ChangeState::Parked).is_empty());
    for (line, id) in &rows {
        let (here, there) = (
            seen(&stations.here, line.at, id),
            seen(&stations.there, line.at, id),
        );
        assert_eq!(here, there);
        let expected = match line.at {
            "scaled" => "1.00",
            "exact" => "1.0000000000",
            _ => "1",
        };
        assert_eq!(here, Some(expected.into()), "{}", line.at);
    }
}

#[test]
fn p3_a_cell_of_the_teams_that_is_no_value_stands_in_a_conflict_as_it_is() {
    let stations = Stations::new();
    let odd: Vec<(Line, Value, String)> = (lines().into_iter().enumerate())
        .filter(|(_, line)| line.action == MISTYPED)
        .filter_map(|(n, line)| match line.team.clone() {
            End::Is(value) => Some((line, value, format!("row {n}"))),
            _ => None,
        })
        .collect();
    assert!(odd.len() > 100);
    for (line, _, id) in &odd {
        stations
            .write(Way::Action, line.at, id, &Value::Null)
            .unwrap();
    }
    stations.sync();
    let good = |line: &Line| {
        let kept = |it: &Line| it.at == line.at && it.action == End::Is(it.given.clone());
        let found = lines()
            .into_iter()
            .find(|it| kept(it) && !it.given.is_null());
        found.unwrap().given
    };
    for (line, _, id) in &odd {
        update(&stations.here, line.at, id, &good(line));
        let sql = format!("UPDATE \"{}\" SET v = ?1 WHERE id = ?2", line.at);
        let cell = super::stations::cell(&line.given);
        stations.team.execute(&sql, (cell, id)).unwrap();
    }
    stations.drain(&stations.here);
    let open = stations.here.client.store().conflicts().unwrap();
    let mut decided = 0;
    for conflict in open {
        let id = conflict.key[0].to_string();
        let (_, value, _) = (odd.iter())
            .find(|(line, _, row)| line.at == conflict.entity && *row == id)
            .unwrap();
        assert_eq!(
            &conflict.theirs.unwrap()["v"],
            value,
            "{} {id}",
            conflict.entity
        );
        let resolution = match decided % 2 {
            0 => Resolution::Theirs,
            _ => Resolution::Mine,
        };
        let mut store = stations.here.client.store();
        store.resolve(&conflict.conflict, &resolution).unwrap();
        decided += 1;
    }
    stations.sync();
    assert!(decided > 100, "{decided}");
    assert_eq!(stations.here.client.store().conflicts().unwrap(), []);
    for (line, _, id) in &odd {
        let (here, there) = (
            seen(&stations.here, line.at, id),
            seen(&stations.there, line.at, id),
        );
        assert_eq!(here, there, "{} {id}", line.at);
    }
}

/// Columns with a default, and what a row has that does not mention them.
const DEFAULTS: &[(&str, &str, Option<&str>)] = &[
    ("text", "TEXT DEFAULT 'it''s'", Some("it's")),
    ("integer", "INTEGER DEFAULT -7", None),
    ("real", "REAL DEFAULT 1.5", None),
    (
        "decimal",
        "DECIMAL_TEXT(10,2) DEFAULT '12.50'",
        Some("12.50"),
    ),
    ("boolean", "BOOLEAN DEFAULT TRUE", None),
    ("date", "DATE DEFAULT '2024-02-29'", Some("2024-02-29")),
    (
        "uuid",
        "UUID DEFAULT '0190b3a1-5c1e-7cc3-98a1-0123456789ab'",
        None,
    ),
    ("json", "JSON DEFAULT '{\"a\": 1}'", Some("{\"a\": 1}")),
    ("bytes", "BLOB DEFAULT X'00FF'", None),
    ("stamp", "DATETIME DEFAULT CURRENT_TIMESTAMP", None),
];

#[test]
fn what_is_absent_gets_the_default_and_null_stays_null() {
    let columns: String = DEFAULTS
        .iter()
        .map(|(name, declared, _)| format!(", {name} {declared}"))
        .collect();
    let names: Vec<&str> = DEFAULTS.iter().map(|(name, ..)| *name).collect();
    let model = format!(
        "[local.thing]\nfrom = \"thing\"\npattern = \"last-write-wins\"\n\
         attributes = {names:?}\nscope = \"everyone\"\n"
    );
    let schema = format!("CREATE TABLE thing (id TEXT NOT NULL PRIMARY KEY{columns})");
    let world = World::of(&schema, &(server_settings(50) + &model), "");
    let (here, there) = (
        world.downloaded("here", "ann"),
        world.downloaded("there", "ben"),
    );
    let row = |id: &str, others: &[&str]| -> Attributes {
        let others = others.iter().map(|name| ((*name).to_owned(), Value::Null));
        std::iter::once(("id".to_owned(), Value::from(id)))
            .chain(others)
            .collect()
    };
    here.client
        .store()
        .create("thing", &row("absent", &[]))
        .unwrap();
    here.client
        .store()
        .create("thing", &row("null", &names))
        .unwrap();
    here.write("INSERT INTO thing (id) VALUES ('sql')");
    // SQLite cannot tell that a NULL was written on purpose.
    let nulls = vec!["NULL"; names.len()].join(", ");
    here.write(&format!("INSERT INTO thing VALUES ('sql null', {nulls})"));
    assert_eq!(here.sync().status, SyncStatus::Completed);
    world.team_writes("INSERT INTO thing (id) VALUES ('theirs')");
    for device in [&here, &there] {
        assert_eq!(device.sync().status, SyncStatus::Completed);
    }
    let get = |device: &crate::world::Device, id: &str| {
        let row = device.client.store().get("thing", &[id.into()]).unwrap();
        row.unwrap()
    };
    let theirs = get(&there, "theirs");
    for (name, _, value) in DEFAULTS {
        assert!(!theirs[*name].is_null(), "{name}");
        if let Some(value) = value {
            assert_eq!(theirs[*name], (*value).into());
        }
        for device in [&here, &there] {
            assert!(get(device, "null")[*name].is_null(), "{name}");
            for id in ["absent", "sql", "sql null"] {
                let found = get(device, id).remove(*name).unwrap();
                let is_so = found == theirs[*name] || *name == "stamp" && !found.is_null();
                assert!(is_so, "{name} of {id}: {found:?}, not {:?}", theirs[*name]);
            }
        }
    }
}

/// A value that is larger than a request may be goes in parts.
#[test]
fn p8_a_value_larger_than_a_request_arrives() {
    let settings = server_settings(50).replace("[limits]", "[limits]\nbody = \"1 MiB\"");
    let model = "[local.photo]\nfrom = \"photo\"\npattern = \"last-write-wins\"\n\
                 attributes = [\"v\", \"words\"]\nscope = \"everyone\"\n";
    let schema = "CREATE TABLE photo (id TEXT NOT NULL PRIMARY KEY, v BLOB, words TEXT)";
    let world = World::of(schema, &(settings + model), "");
    let (here, there) = (
        world.downloaded("here", "ann"),
        world.downloaded("there", "ben"),
    );
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let words = "\u{e4}\u{1f600}".repeat(400_000);
    let row = Attributes::from([
        ("id".to_owned(), "large".into()),
        ("v".to_owned(), Value::Bytes(bytes.clone())),
        ("words".to_owned(), words.as_str().into()),
    ]);
    here.client.store().create("photo", &row).unwrap();
    let small = Attributes::from([("id".to_owned(), "small".into())]);
    here.client.store().create("photo", &small).unwrap();
    for _ in 0..9 {
        here.sync();
    }
    assert_eq!(there.sync().status, SyncStatus::Completed);
    for device in [&here, &there] {
        let seen = device
            .client
            .store()
            .get("photo", &["large".into()])
            .unwrap()
            .unwrap();
        assert!(seen["v"] == Value::Bytes(bytes.clone()) && seen["words"] == words.as_str().into());
        assert!(
            device
                .client
                .store()
                .get("photo", &["small".into()])
                .unwrap()
                .is_some()
        );
    }
    let told = in_state(&here, ChangeState::Parked);
    assert!(told.is_empty(), "{told:?}");
}

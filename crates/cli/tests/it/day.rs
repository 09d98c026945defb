//! The scripted day. What it says of itself is held against the files that it leaves, by plain SQL.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::Value as Json;

use crate::support::{afield, run, texts};
use crate::world::{reader, rows};

/// What the day tells, in its order.
const PARTS: [(&str, &str); 13] = [
    ("07:30", "login"),
    ("07:35", "first-download"),
    ("08:10", "offline-edits"),
    ("09:00", "restart"),
    ("10:15", "poor-network"),
    ("11:00", "refused-change"),
    ("11:30", "failing-server"),
    ("13:00", "conflict-on-the-device"),
    ("14:20", "conflict-at-the-desk"),
    ("15:30", "logout"),
    ("16:00", "user-switch"),
    ("17:00", "model-upgrade"),
    ("18:30", "end"),
];

/// What the auditors' table must hold, each exactly once.
const EFFECTS: [(&str, &str, &str); 23] = [
    ("inspection", "create", "In the cellar."),
    ("violation", "create", "No warm water at the hand basin."),
    ("violation", "create", "Crumbs behind the counter."),
    ("business", "update", "140"),
    ("business", "update", "139"),
    ("contact", "update", "030 4711"),
    ("inspection", "update", "In the cellar, by torchlight."),
    ("inspection", "create", "Second visit."),
    ("violation", "create", "No record of training."),
    ("business", "update", "141"),
    ("contact", "create", "030 4712"),
    ("violation", "create", "Traces of mice."),
    ("violation", "create", "Fly screen torn."),
    ("contact", "update", "030 4713"),
    ("inspection", "update", "Owner has ordered a new cooler."),
    (
        "inspection",
        "update",
        "Cold room at 9 °C. Owner has ordered a new cooler.",
    ),
    ("inspection", "update", "All points settled."),
    ("inspection", "update", "Mice in the store room."),
    ("violation", "create", "Mice."),
    ("business", "update", "142"),
    ("inspection", "create", "On the way home."),
    ("violation", "create", "Cleaning plan not filled in."),
    ("inspection", "update", "On the way home."),
];

/// A store that the day leaves, whose it is, and how many of its changes were applied.
const STORES: [(&str, &str, i64); 3] = [
    ("phone/ann.afield", "ann", 18),
    ("phone/cara.afield", "cara", 3),
    ("tablet/ben.afield", "ben", 2),
];

/// The businesses of a user, and the inspections there.
const BUSINESSES: &str = "(SELECT id FROM business WHERE district IN \
     (SELECT district FROM district_member WHERE login = '$user'))";
const INSPECTIONS: &str = "(SELECT id FROM inspection WHERE business_id IN $businesses)";

/// Each table of the devices: what of it is a user's, and its columns there.
const TABLES: [(&str, &str, &str); 6] = [
    ("district", "1", "code, name"),
    ("inspector", "1", "id, name, district, phone"),
    (
        "business",
        "id IN $businesses",
        "id, name, kind, street, city, district, latitude, longitude, seats, licensed_on, is_open",
    ),
    (
        "contact",
        "business_id IN $businesses",
        "id, business_id, name, role, phone, email",
    ),
    (
        "inspection",
        "business_id IN $businesses",
        "id, business_id, inspector_id, kind, planned_for, datetime(finished_at), result, score, \
         notes, follow_up_on",
    ),
    (
        "violation",
        "inspection_id IN $inspections",
        "inspection_id, number, code, severity, comment, fixed",
    ),
];

fn one(conn: &Connection, sql: &str) -> Cell {
    let found = rows(conn, sql);
    assert_eq!(found.len(), 1, "{sql}: {found:?}");
    found[0][0].clone()
}

fn number(conn: &Connection, sql: &str) -> i64 {
    match one(conn, sql) {
        Cell::Integer(n) => n,
        other => panic!("{sql}: {other:?}"),
    }
}

/// The day, told in words: in order, and what it leaves is as it says.
#[test]
fn p1_p2_p6_p7_p8_a_day_with_all_that_goes_wrong_ends_settled() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), "demo --day --folder day");
    let (told, complaints) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{told}{complaints}");
    assert_eq!(complaints, "", "it is quiet");
    let headlines: Vec<&str> = told.lines().filter(|line| is_headline(line)).collect();
    let times: Vec<&str> = headlines.iter().map(|line| &line[..5]).collect();
    assert_eq!(times, PARTS.map(|(at, _)| at), "{told}");
    for label in ["What happens", "On the screen", "The library", "Without it"] {
        let paragraphs = told.matches(&format!("\n   {label}")).count();
        assert_eq!(paragraphs, PARTS.len(), "{label}: {told}");
    }

    let day = folder.path().join("day");
    let team = reader(&day.join("inspections.db"));
    each_change_took_effect_once(&team);
    the_rows_are_as_they_were_decided(&team);
    nothing_is_open(&team);
    for (store, user, applied) in STORES {
        let store = reader(&day.join(store));
        is_settled(&store, user, applied);
        holds_what_the_team_has(&store, &team, user);
    }
    let model = std::fs::read_to_string(day.join("afield.toml")).unwrap();
    assert!(model.contains("version = 2\n"), "{model}");
}

fn is_headline(line: &str) -> bool {
    line.as_bytes().first().is_some_and(u8::is_ascii_digit) && line.get(2..3) == Some(":")
}

/// The team's own triggers have seen every change once, and one delete besides.
fn each_change_took_effect_once(team: &Connection) {
    let mut seen = BTreeMap::new();
    for row in rows(
        team,
        "SELECT entity, op, value FROM audit WHERE op <> 'delete'",
    ) {
        *seen.entry(words(row)).or_insert(0) += 1;
    }
    let expected = EFFECTS.map(|(entity, op, value)| (format!("{entity} {op} {value}"), 1));
    assert_eq!(seen, BTreeMap::from(expected));
    let deleted = rows(team, "SELECT entity FROM audit WHERE op = 'delete'");
    assert_eq!(deleted, [[Cell::from("contact".to_owned())]]);
}

fn the_rows_are_as_they_were_decided(team: &Connection) {
    for (sql, expected) in [
        ("SELECT count(*) FROM business WHERE seats > 139", 1),
        ("SELECT count(*) FROM business WHERE seats = 142", 1),
        (
            "SELECT count(*) FROM contact WHERE name = 'Olga Ueda' AND phone = '030 4712'",
            1,
        ),
        (
            "SELECT count(*) FROM contact WHERE phone IN ('030 4711', '030 4713')",
            1,
        ),
        ("SELECT count(*) FROM contact WHERE phone = '030 4713'", 1),
        (
            "SELECT score FROM inspection WHERE notes = 'Second visit.'",
            95,
        ),
        (
            "SELECT count(*) FROM violation AS v JOIN inspection AS i ON i.id = v.inspection_id \
             WHERE i.notes = 'In the cellar, by torchlight.'",
            4,
        ),
        (
            "SELECT count(*) FROM violation AS v JOIN inspection AS i ON i.id = v.inspection_id \
             WHERE i.notes = 'Mice in the store room.' AND i.result = 'fail' AND v.number = 90",
            1,
        ),
        (
            "SELECT count(*) FROM inspection WHERE result = 'pass with conditions' \
             AND notes = 'Cold room at 9 °C. Owner has ordered a new cooler.'",
            1,
        ),
        (
            "SELECT count(*) FROM inspection WHERE follow_up_on = '2026-12-08' \
             AND notes = 'On the way home.'",
            1,
        ),
        (
            "SELECT count(*) FROM inspection WHERE follow_up_on IS NOT NULL",
            1,
        ),
        (
            "SELECT count(*) FROM sqlite_schema WHERE name = 'tell_health_office'",
            0,
        ),
    ] {
        assert_eq!(number(team, sql), expected, "{sql}");
    }
}

/// Two conflicts and a refusal stood in the inbox: one sent again corrected, one decided on the
/// phone, one by Dora, who is the only one that has to be told of.
fn nothing_is_open(team: &Connection) {
    let sql = "SELECT state, decision, decided_by, told FROM afield_inbox_group ORDER BY n";
    let how: Vec<_> = rows(team, sql).into_iter().map(words).collect();
    assert_eq!(
        how,
        [
            "closed sent-again - 0",
            "closed merged - 0",
            "decided mine dora 1"
        ]
    );
}

/// A row as words.
fn words(row: Vec<Cell>) -> String {
    let word = |cell| match cell {
        Cell::Null => "-".to_owned(),
        Cell::Integer(n) => n.to_string(),
        Cell::Text(text) => text,
        other => format!("{other:?}"),
    };
    row.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Nothing in a store waits for anything, and every change has one outcome.
fn is_settled(store: &Connection, user: &str, applied: i64) {
    let states = "SELECT count(*) FROM afield_group WHERE state NOT IN ('settled', 'dropped')";
    assert_eq!(number(store, states), 0, "{user}");
    for table in ["afield_waits", "afield_closing"] {
        let left = number(store, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(left, 0, "{user}: {table}");
    }
    let settled = "SELECT count(*) FROM afield_change AS c JOIN afield_group AS g ON g.n = \
                   c.group_n WHERE g.state = 'settled'";
    assert_eq!(number(store, settled), applied, "{user}");
    let sql = "SELECT result, count(*) FROM afield_outcome GROUP BY result ORDER BY result";
    let outcomes: Vec<String> = rows(store, sql).into_iter().map(words).collect();
    let expected: &[String] = &match user {
        "ann" => vec![
            format!("applied {applied}"),
            "conflict 2".into(),
            "rejected 2".into(),
        ],
        _ => vec![format!("applied {applied}")],
    };
    assert_eq!(outcomes, expected, "{user}");
    let twice = "SELECT count(*) FROM (SELECT 1 FROM afield_outcome WHERE result = 'applied' \
                 GROUP BY group_id, at HAVING count(*) > 1)";
    assert_eq!(number(store, twice), 0, "{user}: one outcome each");
}

/// A store has exactly the rows of its user's districts, cell by cell, and so nobody else's.
fn holds_what_the_team_has(store: &Connection, team: &Connection, user: &str) {
    let businesses = BUSINESSES.replace("$user", user);
    let inspections = INSPECTIONS.replace("$businesses", &businesses);
    for (table, whose, columns) in TABLES {
        let whose = whose.replace("$businesses", &businesses);
        let whose = whose.replace("$inspections", &inspections);
        let all = format!("SELECT {columns} FROM {table}");
        let there = rows(team, &format!("{all} WHERE {whose} ORDER BY 1, 2"));
        let here = rows(store, &format!("{all} ORDER BY 1, 2"));
        assert!(!here.is_empty(), "{user}: {table}");
        assert!(
            here == there,
            "{user}: {table}: {} and {}",
            here.len(),
            there.len()
        );
    }
}

/// For scripts: one object a part, and what it counts is what is in the files.
#[test]
fn the_day_is_told_as_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), "demo --day --json");
    let (told, complaints) = texts(&output);
    assert!(output.status.success(), "{told}{complaints}");
    let parts: Vec<Json> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<(&str, &str)> = parts
        .iter()
        .map(|part| (part["at"].as_str().unwrap(), part["name"].as_str().unwrap()))
        .collect();
    assert_eq!(names, PARTS);
    for (at, part) in (1..).zip(&parts) {
        assert_eq!(part["part"], at);
        for field in ["happened", "on_the_screen", "the_library", "without_it"] {
            assert!(!part[field][0].as_str().unwrap().is_empty(), "{part}");
        }
    }
    let team = reader(&folder.path().join(".afield/demo/inspections.db"));
    let counted = &parts.last().unwrap()["counted"];
    let writes = number(&team, "SELECT count(*) FROM audit");
    assert_eq!(counted["effects"], writes, "{counted}");
    assert_eq!(counted["settled"], writes - 1, "and the desk's: {counted}");
    let download = &parts[1]["counted"];
    let steps = download["progress"].clone();
    let steps: Vec<(i64, Option<u8>)> = serde_json::from_value(steps).unwrap();
    assert!(steps.len() > 3 && steps.is_sorted(), "{download}");
    assert!(steps[0].1.is_some_and(|percent| percent < 50), "{download}");
    assert_eq!(download["rows"], steps.last().unwrap().0, "{download}");
    assert_eq!(steps.last().unwrap().1, Some(100), "{download}");
    let poor = &parts[4]["counted"];
    assert!(
        poor["requests"].as_i64() > poor["reached_the_server"].as_i64(),
        "{poor}"
    );
    assert!(poor["reached_the_server"].as_i64() > Some(1), "{poor}");
    assert_eq!(poor["effects"], poor["changes"], "{poor}");
}

/// Ctrl-C ends the day at once, says so, and the next one begins anew in the same folder's place.
#[test]
fn the_day_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let mut day = afield(folder.path())
        .args(["demo", "--day"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(day.stdout.take().unwrap()).lines();
    let first = lines.find(|line| is_headline(line.as_ref().unwrap()));
    assert!(first.unwrap().unwrap().starts_with("07:30"));
    let pid = day.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(
        !rest.iter().any(|line| line.starts_with("18:30")),
        "{rest:?}"
    );
    assert_eq!(day.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    day.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "afield: interrupted; the day is not over\n");
    is_a_database(&folder.path().join(".afield/demo/inspections.db"));
}

/// What an interrupted day leaves is whole.
fn is_a_database(path: &Path) {
    let team = Connection::open(path).unwrap();
    assert_eq!(
        one(&team, "PRAGMA integrity_check"),
        Cell::from("ok".to_owned())
    );
}

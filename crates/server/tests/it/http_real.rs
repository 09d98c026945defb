//! From a team's database to the first sync, with nothing edited in between.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use afield_protocol::codec::Format;
use afield_protocol::codec::Malformed;
use afield_protocol::{Change, Frame, Group, GroupId, Op, Value, VerdictKind};
use afield_server::model::file::Overrides;
use afield_server::model::init::{InitOptions, generate};
use afield_server::model::{ModelFile, resolve};
use afield_server::resolved::ServerModel;
use afield_server::storage::Storage;
use afield_server::storage::sqlite::catalog::read_file_measured;
use afield_server::storage::sqlite::{SqliteStorage, prepare};
use rusqlite::Connection;

use crate::http_support::client::Ask;
use crate::http_support::{Server, kinds, token};
use crate::model_catalog::NASTY;
use crate::model_init::{fill, random_database};

/// A database made of `sql`, with the model that `init` proposes, served.
pub(crate) fn served(folder: &Path, sql: &str) -> Server {
    let path = folder.join("team.db");
    let connection = Connection::open(&path).unwrap();
    fill(&connection, sql);
    drop(connection);
    let model = proposed(&path);
    let random = |bytes: &mut [u8]| bytes.fill(4);
    prepare(&path, &model, random).unwrap();
    // What Afield made there is no part of the team's database.
    assert_eq!(proposed(&path), model);
    let storage = SqliteStorage::open(&path, &model, random).unwrap();
    Server::start_on(Arc::new(storage) as Arc<dyn Storage>, model)
}

fn proposed(path: &Path) -> ServerModel {
    let catalog = read_file_measured(path).unwrap();
    let options = InitOptions {
        database_url: "sqlite:team.db",
        secret_file: "secret",
    };
    let text = generate(&catalog, &options);
    let file = ModelFile::parse(&text, Path::new("afield.toml"), &Overrides::default()).unwrap();
    resolve(&file, &catalog).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

/// A first sync of everything, with these changes.
fn first_sync(server: &Server, changes: Vec<Change>) -> Vec<Frame> {
    let names: Vec<&str> = server
        .model
        .entities
        .iter()
        .map(|e| &*e.local.name)
        .collect();
    let pull: Vec<_> = names.iter().map(|name| (*name, None)).collect();
    let mut frames = vec![Frame::Hello(server.hello(&pull))];
    if !changes.is_empty() {
        frames.push(Frame::Group(Group::new(GroupId([3; 16]), changes)));
    }
    frames.push(Frame::End);
    server.synced(&frames)
}

/// Rows by entity.
pub(crate) fn rows(frames: &[Frame]) -> HashMap<String, Vec<Vec<Value>>> {
    let mut rows: HashMap<String, Vec<Vec<Value>>> = HashMap::new();
    for frame in frames {
        if let Frame::Rows(block) = frame {
            let kept = rows.entry(block.entity.clone()).or_default();
            let read: Result<(), Malformed> = block.for_each(|cells| {
                kept.push(cells.iter().map(|cell| cell.as_ref().to_value()).collect());
                Ok(())
            });
            read.unwrap();
        }
    }
    rows
}

#[test]
fn a_nasty_database_synchronises_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let sql = format!(
        "{NASTY}
        INSERT INTO \"order\" VALUES (7, 'g', 'x', 1);
        INSERT INTO MixedCase VALUES ('p', NULL, 'Ann'), ('c', 'p', 'Bob');
        INSERT INTO numbered (\"quoted name\") VALUES ('one'), ('two');
        INSERT INTO composite VALUES ('b', 1, 0.5), ('b', 2, NULL);
        INSERT INTO \"\" VALUES ('', 'r', 'a');
        INSERT INTO made (id, n) VALUES ('0190b3a1-5c1e-7cc3-98a1-0123456789ab', 4);"
    );
    let server = served(folder.path(), &sql);
    let update = Change {
        entity: "MixedCase".into(),
        op: Op::Update,
        key: vec!["c".into()],
        base: [("NAME".to_owned(), "Bob".into())].into(),
        set: [("NAME".to_owned(), "Robert".into())].into(),
    };
    let frames = first_sync(&server, vec![update]);
    assert_eq!(frames.last(), Some(&Frame::End), "{:?}", kinds(&frames));
    let Some(Frame::Outcome(outcome)) = frames.iter().find(|f| matches!(f, Frame::Outcome(_)))
    else {
        panic!("no outcome");
    };
    assert_eq!(
        outcome.verdicts[0].kind,
        VerdictKind::Applied,
        "{outcome:?}"
    );
    let rows = rows(&frames);
    assert_eq!(rows["numbered"].len(), 2);
    assert_eq!(rows["composite"].len(), 2);
    assert_eq!(rows["unnamed"], [["", "r", "a"].map(Value::from)]);
    let expected = [Value::from("c"), "p".into(), "Robert".into()];
    assert!(
        rows["MixedCase"].contains(&expected.to_vec()),
        "{:?}",
        rows["MixedCase"]
    );
    let made = &rows["made"][0];
    assert_eq!(
        made[1..],
        [Value::Integer(4), Value::Integer(8), Value::Integer(5)]
    );
}

#[test]
fn a_download_of_many_pages_arrives_whole_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let server = served(
        folder.path(),
        "CREATE TABLE visit (id INTEGER PRIMARY KEY, note TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
         INSERT INTO visit SELECT i, 'note ' || i FROM n;",
    );
    let frames = first_sync(&server, Vec::new());
    let pages = kinds(&frames)
        .iter()
        .filter(|kind| **kind == "page")
        .count();
    assert!(pages >= 3, "{pages}");
    let mut ids: Vec<_> = rows(&frames)["visit"]
        .iter()
        .map(|row| row[0].clone())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 12_000);

    let request = [Frame::Hello(server.hello(&[("visit", None)])), Frame::End];
    let answer = Ask::sync(&token())
        .header("Accept", Format::JsonLines.media_type())
        .body(server.encode(Format::Cbor, &request))
        .send(server.address);
    let lines = server.decode(Format::JsonLines, &answer.body);
    assert_eq!(rows(&lines), rows(&frames));
}

#[test]
fn random_databases_arrive_whole() {
    for seed in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let server = served(folder.path(), &random_database(seed));
        let frames = first_sync(&server, Vec::new());
        assert_eq!(frames.last(), Some(&Frame::End), "seed {seed}");
        let rows = rows(&frames);
        let connection = Connection::open(folder.path().join("team.db")).unwrap();
        for entity in &server.model.entities {
            let sql = format!(
                "SELECT count(*) FROM \"{}\"",
                entity.table.replace('"', "\"\"")
            );
            let there: i64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            let arrived = rows.get(&entity.local.name).map_or(0, Vec::len) as i64;
            assert_eq!(arrived, there, "seed {seed}: {}", entity.table);
        }
    }
}

//! Chosen values that somebody writes by hand, over real HTTP.

use std::path::Path;
use std::sync::Arc;

use afield_protocol::codec::Format;
use afield_protocol::limits::{CHOSEN_VALUE_BYTES, CHOSEN_VALUES_MAX};
use afield_protocol::{Attributes, Change, Chosen, Code, Frame, Group, GroupId, Op, Value};
use afield_server::storage::Storage;
use afield_server::storage::conformance::{chosen_model, chosen_schema};
use afield_server::storage::sqlite::{SqliteStorage, prepare};
use rusqlite::Connection;
use serde_json::Map;

use crate::http_support::client::{Answer, Ask};
use crate::http_support::{NOW, Server, auth, kinds};

/// What stands in every row that is not Ada's.
const MARKER: &str = "marker-";

fn served(folder: &Path) -> (Server, Connection) {
    let path = folder.join("team.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(&chosen_schema()).unwrap();
    let model = chosen_model();
    let random = |bytes: &mut [u8]| bytes.fill(4);
    prepare(&path, &model, random).unwrap();
    let storage = SqliteStorage::open(&path, &model, random).unwrap();
    let storage = Arc::new(storage) as Arc<dyn Storage>;
    (Server::start_on(storage, model), conn)
}

fn ask(server: &Server, format: Format, frames: &[Frame]) -> Answer {
    let token = auth().issue("ada", NOW + 3_600, &Map::new()).unwrap();
    Ask::sync(&token)
        .header("Content-Type", format.media_type())
        .header("Accept", format.media_type())
        .body(server.encode(format, frames))
        .send(server.address)
}

fn chosen(scope: &str, values: Vec<Value>) -> Frame {
    Frame::Chosen(Chosen {
        scope: scope.into(),
        values,
    })
}

fn forged() -> Vec<Value> {
    vec![
        4.into(),
        5.into(),
        Value::Null,
        i64::MIN.into(),
        4.5.into(),
        "4".into(),
        "4 OR 1=1".into(),
        "4); DROP TABLE visit; --".into(),
        "'||(SELECT words FROM visit)||'".into(),
        ":value".into(),
        "x".repeat(CHOSEN_VALUE_BYTES).into(),
        Value::Bytes(vec![0; CHOSEN_VALUE_BYTES]),
        "0190b3a1-5c1e-7cc3-98a1-00000000000b".into(),
        "0190B3A1-5C1E-7CC3-98A1-00000000000B".into(),
    ]
}

#[test]
fn p7_forged_choices_bring_no_rows_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let (server, conn) = served(folder.path());
    let hello = || Frame::Hello(server.hello(&[("visit", None), ("remark", None), ("plan", None)]));
    let count = || -> i64 {
        let sql = "SELECT (SELECT count(*) FROM visit) * 100 + (SELECT count(*) FROM plan)";
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let before = count();
    for format in [Format::Cbor, Format::JsonLines] {
        let all = [
            hello(),
            chosen("projects", forged()),
            chosen("places", forged()),
            chosen("visit\" --", forged()),
            chosen("", Vec::new()),
            Frame::End,
        ];
        let answer = ask(&server, format, &all);
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains(MARKER), "{text}");
        let frames = server.decode(format, &answer.body);
        assert_eq!(
            kinds(&frames),
            ["welcome", "settled", "page", "page-end", "end"]
        );
        // Alone, what is hers comes all the same.
        let mut values = forged();
        values.push(1.into());
        let answer = ask(
            &server,
            format,
            &[hello(), chosen("projects", values), Frame::End],
        );
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.contains("one") && !text.contains(MARKER), "{text}");
    }
    assert_eq!(count(), before);
}

/// A pull and a push are apart: what is chosen opens nothing for a push of the same request.
#[test]
fn p7_a_choice_opens_nothing_for_a_push() {
    let folder = tempfile::tempdir().unwrap();
    let (server, conn) = served(folder.path());
    let group = Group {
        id: GroupId([1; 16]),
        absorbed: Vec::new(),
        origins: Vec::new(),
        changes: vec![Change {
            entity: "visit".into(),
            op: Op::Update,
            key: vec![40.into()],
            base: Attributes::new(),
            set: [("words".to_owned(), Value::from("mine"))].into(),
        }],
        checkpoint: Vec::new(),
    };
    let frames = [
        Frame::Hello(server.hello(&[("visit", None)])),
        chosen("projects", vec![4.into(), 1.into()]),
        Frame::Group(group),
        Frame::End,
    ];
    let answer = ask(&server, Format::Cbor, &frames);
    let outcome = server.decode(Format::Cbor, &answer.body).into_iter().nth(1);
    let Some(Frame::Outcome(outcome)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(outcome.verdicts[0].code, Some(Code::GONE), "{outcome:?}");
    let sql = "SELECT words FROM visit WHERE id = 40";
    let words: String = conn.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(words, "marker-eve");
}

#[test]
fn p9_too_many_choices_and_too_long_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _conn) = served(folder.path());
    let hello = || Frame::Hello(server.hello(&[("visit", None)]));
    let many = |count: usize| (0..count as i64).map(Value::from).collect::<Vec<_>>();
    let half = CHOSEN_VALUES_MAX / 2;
    let too_many = "too-many-chosen";
    for (frames, code) in [
        (
            vec![chosen("projects", many(CHOSEN_VALUES_MAX + 1))],
            too_many,
        ),
        (
            vec![
                chosen("projects", many(half + 1)),
                chosen("places", many(half)),
            ],
            too_many,
        ),
        (
            vec![chosen("x", vec!["x".repeat(CHOSEN_VALUE_BYTES + 1).into()])],
            too_many,
        ),
        (
            vec![chosen(
                "x",
                vec![Value::Bytes(vec![0; CHOSEN_VALUE_BYTES + 1])],
            )],
            too_many,
        ),
        (
            vec![chosen("projects", many(1)), chosen("projects", many(1))],
            "malformed",
        ),
        (vec![Frame::End, chosen("projects", many(1))], "malformed"),
    ] {
        let mut all = vec![hello()];
        all.extend(frames);
        all.push(Frame::End);
        let answer = ask(&server, Format::Cbor, &all);
        assert_eq!((answer.status, answer.code().as_str()), (400, code));
    }
    let frames = [
        hello(),
        chosen("projects", many(CHOSEN_VALUES_MAX)),
        Frame::End,
    ];
    let answer = ask(&server, Format::Cbor, &frames);
    assert_eq!(answer.status, 200, "{answer:?}");
}

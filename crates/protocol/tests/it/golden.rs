//! The golden files in `spec/golden`: every frame and every value in both formats, the model's
//! JSON, and a group's hash. What stands there is read by every later version.

use std::collections::BTreeSet;

use afield_protocol::codec::Format;
use afield_protocol::{
    Attribute, Attributes, Change, Chosen, ChosenScope, Code, Comparison, DeviceLimits, Entity,
    FIRST_TEMPORARY, Frame, Group, GroupId, GroupOutcome, Held, Hello, History, Identifier, Model,
    Op, Origin, PROTOCOL_VERSION, Page, PageEnd, Part, Pattern, Problem, Received, RetryConfig,
    RowBlock, RowBlockWriter, SyncConfig, Theirs, Type, Value, Verdict, Welcome, Window,
};
use sha2::{Digest, Sha256};

use crate::sample::{TYPES, model};
use crate::wire::{read, written};
use crate::{arbitrary, bless, golden_inbox, golden_log, golden_values, golden_verify};

const ID: &str = "0190b3a1-5c1e-7cc3-98a1-0123456789ab";

/// The bytes under the hash of [`group`], written down by hand from the rule.
const IDENTITY: &str = "82\
     84 66 73616d706c65 01\
     81 7824 30313930623361312d356331652d376363332d393861312d303132333435363738396162\
     a3 66 615f7265616c f93e00 66 615f74657874 65 4c616b6520 69 615f626f6f6c65616e 01\
     84 64 70617274 00 82 62 4137 02 a0";

fn attributes<const N: usize>(pairs: [(&str, Value); N]) -> Attributes {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The worked example: an update with base, and a create.
pub(crate) fn group() -> Group {
    Group {
        id: GroupId(*b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"),
        absorbed: vec![GroupId([0xaa; 16])],
        origins: vec![Origin {
            entity: "part".into(),
            temporary: FIRST_TEMPORARY + 1,
            group: GroupId([0xbb; 16]),
            at: 3,
        }],
        changes: vec![
            Change {
                entity: "sample".into(),
                op: Op::Update,
                key: vec![ID.into()],
                base: attributes([
                    ("a_boolean", 0.into()),
                    ("a_real", Value::Null),
                    ("a_text", "Lake".into()),
                    ("a_date", "2026-11-23".into()),
                ]),
                set: attributes([
                    ("a_boolean", 1.into()),
                    ("a_real", 1.5.into()),
                    ("a_text", "Lake ".into()),
                ]),
            },
            Change {
                entity: "part".into(),
                op: Op::Create,
                key: vec!["A7".into(), 2.into()],
                base: Attributes::new(),
                set: Attributes::new(),
            },
        ],
        checkpoint: b"seen".to_vec(),
    }
}

fn verdicts() -> Vec<Verdict> {
    let row = attributes([
        ("a_text", "Pond".into()),
        ("a_integer", ((1 << 53) + 1).into()),
    ]);
    vec![
        Verdict::applied(),
        Verdict {
            key: Some(vec!["A7".into(), 3.into()]),
            values: attributes([("quantity", "1.00".into())]),
            overwritten: attributes([("sample_id", Value::Null)]),
            ..Verdict::applied()
        },
        Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(row)),
        Verdict::conflict(Code::ABSORBED_KNOWN, Theirs::Gone),
        Verdict {
            attribute: Some("quantity".into()),
            ..Verdict::rejected(Code::NOT_NULL, "quantity needs a value")
        },
    ]
}

fn rows(entity: &str, columns: &[&str], rows: &[Vec<Value>]) -> RowBlock {
    let model = model();
    let entity = model.entity(entity).expect("the sample model has it");
    let typed: Vec<(String, Type)> = columns
        .iter()
        .map(|name| {
            (
                name.to_string(),
                entity.attribute(name).expect("it has that too").kind,
            )
        })
        .collect();
    let mut writer = RowBlockWriter::new(&entity.name, &typed);
    for row in rows {
        writer.push(row.iter().map(Value::as_ref));
    }
    writer.take()
}

/// All types in two rows: values, and nulls.
fn all_types() -> RowBlock {
    let names: Vec<String> = TYPES.iter().map(|kind| format!("a_{kind}")).collect();
    let mut columns = vec!["id"];
    columns.extend(names.iter().map(String::as_str));
    let full = TYPES
        .iter()
        .map(|kind| golden_values::canonical(*kind).swap_remove(1));
    let mut full: Vec<Value> = full.collect();
    let mut empty = vec![Value::Null; full.len()];
    full.insert(0, ID.into());
    empty.insert(0, "ffffffff-ffff-ffff-ffff-ffffffffffff".into());
    rows("sample", &columns, &[full, empty])
}

fn position(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn hello() -> Frame {
    Frame::Hello(Hello {
        protocol: PROTOCOL_VERSION,
        model: model().fingerprint(),
        device: "d-8f14e45f".into(),
        unit: "main".into(),
        pull: vec![("part".into(), position("opaque")), ("sample".into(), None)],
        checkpoints: vec![b"seen".to_vec()],
    })
}

fn welcome() -> Frame {
    Frame::Welcome(Welcome {
        protocol: PROTOCOL_VERSION,
        epoch: *b"\x10\x32\x54\x76\x98\xba\xdc\xfe",
    })
}

fn page() -> Frame {
    Frame::Page(Page {
        from: vec![("part".into(), position("opaque")), ("sample".into(), None)],
        reset: vec!["sample".into()],
    })
}

fn page_end() -> Frame {
    let to = [("part", "opaque 2"), ("sample", "opaque 3")];
    Frame::PageEnd(PageEnd {
        to: to.map(|(name, to)| (name.into(), to.into())).to_vec(),
        complete: true,
        remaining: None,
    })
}

fn gone() -> Frame {
    Frame::Gone {
        entity: "part".into(),
        keys: vec![
            vec!["A7".into(), 1.into()],
            vec!["".into(), i64::MIN.into()],
        ],
    }
}

fn outcome(verdicts: Vec<Verdict>) -> Frame {
    let group = group().id;
    Frame::Outcome(GroupOutcome { group, verdicts })
}

fn problem() -> Frame {
    Frame::Problem(Problem {
        code: Code::MODEL_CHANGED,
        message: "the model has changed; fetch it again".into(),
    })
}

fn part() -> Frame {
    Frame::Part(Part {
        group: group().id,
        hash: group().hash(),
        total: 300_000,
        at: 65_536,
        bytes: b"a piece".into(),
    })
}

fn received() -> Frame {
    Frame::Received(Received {
        group: group().id,
        bytes: 65_543,
    })
}

fn held() -> Frame {
    Frame::Held(Held {
        entity: "part".into(),
        gained: vec![1 << 60, 7],
        lost: vec![-1],
    })
}

fn window() -> Frame {
    Frame::Window(Window {
        entity: "part".into(),
        attribute: "made".into(),
        keep: Comparison::After,
        bound: "2026-11-14T10:30:00.000000Z".into(),
    })
}

fn chosen() -> Frame {
    Frame::Chosen(Chosen {
        scope: "projects".into(),
        values: vec![ID.into(), ((1 << 53) + 1).into(), 7.into()],
    })
}

fn history() -> Frame {
    Frame::History(History {
        checkpoint: b"seen".to_vec(),
        groups: vec![GroupId([0xaa; 16]), GroupId([0xbb; 16])],
    })
}

fn lost() -> Frame {
    Frame::Lost {
        groups: vec![GroupId([0xbb; 16])],
    }
}

/// A model with scopes whose values are chosen, and with rows that are erased.
fn choosing() -> Model {
    let scope = |name: &str, kind, keep_ms| ChosenScope {
        name: name.into(),
        kind,
        keep_ms,
    };
    let visit = Entity {
        erase: true,
        ..Entity::new(
            "visit",
            Pattern::ReadOnlyOptimized,
            Identifier::Natural,
            1,
            vec![Attribute::new("id", Type::Integer)],
        )
    };
    let mut model = Model::new(4, Vec::new(), vec![visit]);
    model.chosen = vec![
        scope("projects", Type::Uuid, 604_800_000),
        scope("years", Type::Integer, 3_600_000),
    ];
    model
}

/// A model that says something of limits.
fn limited() -> Model {
    let mut model = Model::new(5, Vec::new(), Vec::new());
    model.limits = DeviceLimits {
        batch_changes: 200,
        batch_bytes: 1_048_576,
        group_changes_max: 10_000,
        connect_timeout_ms: 5_000,
        idle_timeout_ms: 20_000,
        freshness_ms: 30_000,
    };
    model
}

/// A model that says when devices synchronise by themselves.
fn scheduled() -> Model {
    let mut model = Model::new(6, Vec::new(), Vec::new());
    model.sync = SyncConfig {
        on_resume: false,
        on_write_ms: None,
        interval_ms: Some(900_000),
        ..SyncConfig::default()
    };
    model
}

/// A model that says when what failed is tried again, and not when the network is back.
fn retrying() -> Model {
    let mut model = Model::new(7, Vec::new(), Vec::new());
    model.sync.on_online = false;
    model.sync.on_login = false;
    model.sync.retry = Some(RetryConfig {
        first_ms: 2_000,
        longest_ms: 60_000,
    });
    model
}

/// A model whose devices do not listen for news.
fn silent() -> Model {
    let mut model = Model::new(7, Vec::new(), Vec::new());
    model.sync.live = false;
    model
}

/// Every golden stream of frames by its name.
fn streams() -> Vec<(String, Vec<Frame>)> {
    let rows_of_part = rows("part", &["code", "line"], &[vec!["A7".into(), 2.into()]]);
    let frames = [
        ("frame-hello", hello()),
        ("frame-group", Frame::Group(group())),
        ("frame-welcome", welcome()),
        ("frame-outcome", outcome(verdicts())),
        (
            "frame-settled",
            Frame::Settled {
                checkpoint: b"seen".to_vec(),
            },
        ),
        ("frame-page", page()),
        ("frame-rows", Frame::Rows(rows_of_part)),
        ("frame-rows-all-types", Frame::Rows(all_types())),
        ("frame-gone", gone()),
        ("frame-page-end", page_end()),
        ("frame-end", Frame::End),
        ("frame-problem", problem()),
        ("frame-part", part()),
        ("frame-received", received()),
        ("frame-held", held()),
        ("frame-window", window()),
        ("frame-chosen", chosen()),
        ("frame-history", history()),
        ("frame-lost", lost()),
    ];
    let named = |(name, frame): (&str, Frame)| (name.to_owned(), vec![frame]);
    let mut streams: Vec<_> = frames
        .into_iter()
        .chain(empty_frames())
        .chain(golden_verify::frames())
        .chain(golden_inbox::frames())
        .chain(golden_log::frames())
        .map(named)
        .collect();
    streams.push(("request".to_owned(), request()));
    streams.push(("answer".to_owned(), answer()));
    for kind in TYPES {
        let (canonical, off) = (
            golden_values::canonical(kind),
            golden_values::off_type(kind),
        );
        streams.push((format!("value-{kind}"), column(kind, canonical)));
        streams.push((format!("value-{kind}-off-type"), column(kind, off)));
    }
    streams
}

/// Frames of which a list is empty, or a number at its limit.
fn empty_frames() -> [(&'static str, Frame); 6] {
    let group = Group::new(GroupId([0; 16]), Vec::new());
    let page = Page {
        from: Vec::new(),
        reset: Vec::new(),
    };
    let page_end = PageEnd {
        to: Vec::new(),
        complete: false,
        remaining: Some(u64::MAX),
    };
    let gone = Frame::Gone {
        entity: "part".into(),
        keys: Vec::new(),
    };
    [
        ("frame-group-empty", Frame::Group(group)),
        ("frame-outcome-empty", outcome(Vec::new())),
        ("frame-page-empty", Frame::Page(page)),
        (
            "frame-rows-empty",
            Frame::Rows(rows("part", &["code", "line"], &[])),
        ),
        ("frame-gone-empty", gone),
        ("frame-page-end-empty", Frame::PageEnd(page_end)),
    ]
}

fn request() -> Vec<Frame> {
    vec![hello(), Frame::Group(group()), Frame::End]
}

fn answer() -> Vec<Frame> {
    vec![
        welcome(),
        outcome(vec![Verdict::applied(), Verdict::applied()]),
        Frame::Settled {
            checkpoint: b"seen".to_vec(),
        },
        page(),
        Frame::Rows(all_types()),
        gone(),
        page_end(),
        Frame::End,
    ]
}

/// One attribute of this type, a row for each value.
fn column(kind: Type, values: Vec<Value>) -> Vec<Frame> {
    let cells: Vec<Vec<Value>> = values.into_iter().map(|value| vec![value]).collect();
    vec![Frame::Rows(rows("sample", &[&format!("a_{kind}")], &cells))]
}

fn file(name: &str, format: Format) -> String {
    let extension = match format {
        Format::Cbor => "cbor",
        Format::JsonLines => "jsonl",
    };
    format!("spec/golden/{name}.{extension}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("digits are ASCII");
        u8::from_str_radix(pair, 16).expect("two digits are a byte")
    };
    digits.chunks(2).map(byte).collect()
}

#[test]
fn the_files_are_what_the_code_writes() {
    let model = model();
    for (name, frames) in streams() {
        for format in crate::wire::FORMATS {
            bless::check(&file(&name, format), &written(format, &model, &frames));
        }
    }
    bless::check(
        "spec/golden/model.json",
        format!("{}\n", model.to_json()).as_bytes(),
    );
    bless::check(
        "spec/golden/model-chosen.json",
        format!("{}\n", choosing().to_json()).as_bytes(),
    );
    bless::check(
        "spec/golden/model-limits.json",
        format!("{}\n", limited().to_json()).as_bytes(),
    );
    bless::check(
        "spec/golden/model-sync.json",
        format!("{}\n", scheduled().to_json()).as_bytes(),
    );
    bless::check(
        "spec/golden/model-retry.json",
        format!("{}\n", retrying().to_json()).as_bytes(),
    );
    bless::check(
        "spec/golden/model-live.json",
        format!("{}\n", silent().to_json()).as_bytes(),
    );
    let group = group();
    let hash = serde_json::json!({
        "group": group.id.to_string(),
        "hashed": hex(&from_hex(IDENTITY)),
        "sha256": hex(&group.hash()),
    });
    bless::check(
        "spec/golden/group-hash.json",
        format!("{hash:#}\n").as_bytes(),
    );
}

#[test]
fn the_files_read_back_and_agree_in_both_formats() {
    let model = model();
    for (name, frames) in streams() {
        for format in crate::wire::FORMATS {
            let path = file(&name, format);
            let bytes = std::fs::read(bless::path(&path)).expect("the golden file is there");
            let found = read(format, &model, &bytes).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(found, frames, "{path}");
            assert_eq!(written(format, &model, &found), bytes, "{path}");
        }
    }
    for (file, model) in [
        ("model.json", model),
        ("model-chosen.json", choosing()),
        ("model-limits.json", limited()),
        ("model-sync.json", scheduled()),
        ("model-retry.json", retrying()),
        ("model-live.json", silent()),
    ] {
        let text = bless::text(&format!("spec/golden/{file}"));
        let found = Model::from_json(&text).expect("the golden model is a model");
        assert_eq!(found, model);
        assert_eq!(format!("{}\n", found.to_json()), text);
    }
}

/// A file that no test reads any more would be a promise that nobody keeps.
#[test]
fn every_file_is_known() {
    let mut known = BTreeSet::from(
        [
            "model.json",
            "model-chosen.json",
            "model-limits.json",
            "model-live.json",
            "model-sync.json",
            "model-retry.json",
            "group-hash.json",
            "row-hash.json",
            "outbox-file.cbor",
        ]
        .map(str::to_owned),
    );
    for (name, _) in streams() {
        known.insert(format!("{name}.cbor"));
        known.insert(format!("{name}.jsonl"));
    }
    let entries = std::fs::read_dir(bless::path("spec/golden")).unwrap();
    let found = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(found.collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_values_are_what_they_are_listed_as() {
    for kind in TYPES {
        for value in golden_values::canonical(kind) {
            assert!(kind.accepts(value.as_ref()), "{kind} {value:?}");
        }
        for value in golden_values::off_type(kind) {
            assert!(!kind.accepts(value.as_ref()), "{kind} {value:?}");
        }
    }
    assert_eq!(arbitrary::row_values(&all_types()).len(), 2);
}

#[test]
fn p2_the_hash_is_that_of_the_bytes_written_down_by_hand() {
    let expected: [u8; 32] = Sha256::digest(from_hex(IDENTITY)).into();
    assert_eq!(group().hash(), expected);
    let mut again = group();
    again.id = GroupId([9; 16]);
    again.absorbed.clear();
    again.changes[0].base.clear();
    assert_eq!(
        again.hash(),
        expected,
        "what was seen, and the ids, are not part of it"
    );
}

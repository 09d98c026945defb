//! A hundred pushes of a user who writes them by hand, over real HTTP: they change nothing, tell
//! nothing of another user's rows, and are no reason to fail.

use afield_protocol::codec::Format;
use afield_protocol::{
    Attributes, Change, FIRST_TEMPORARY, Frame, Group, GroupId, Op, Origin, Position, Value,
    Verdict, VerdictKind,
};
use afield_server::storage::conformance::{MARKER, eve};
use serde_json::json;

use crate::http_forged_behind::{Behind, on_postgres, on_sqlite};
use crate::http_support::client::Ask;
use crate::http_support::{NOW, Server, auth};

const MINE: &str = "0190b3a1-5c1e-7cc3-98a1-00000000000a";
const FOREIGN: &str = "0190b3a1-5c1e-7cc3-98a1-00000000000b";
const NEW: &str = "0190b3a1-5c1e-7cc3-98a1-00000000000d";
const T: i64 = FIRST_TEMPORARY;

/// A group that Eve really sent.
const OF_EVE: GroupId = GroupId([0xee; 16]);

fn change(op: Op, entity: &str, key: Vec<Value>, set: &[(&str, Value)]) -> Change {
    let named = |(name, value): &(&str, Value)| ((*name).to_owned(), value.clone());
    Change {
        entity: entity.into(),
        op,
        key,
        base: Attributes::new(),
        set: set.iter().map(named).collect(),
    }
}

/// Any edit of Ada's own site.
fn on_mine(name: &str, value: impl Into<Value>) -> Change {
    change(
        Op::Update,
        "site",
        vec![MINE.into()],
        &[(name, value.into())],
    )
}

fn rows_of_others() -> Vec<Change> {
    let mut changes = Vec::new();
    for (entity, key, name) in [
        ("site", vec![FOREIGN.into()], "title"),
        ("task", vec![2.into()], "label"),
        ("shelf", vec![2.into(), 2.into()], "words"),
        ("bin", vec![2.into()], "words"),
        ("pin", vec![2.into()], "kind"),
        ("box", vec!["b".into()], "words"),
        ("member", vec!["me".into()], "region"),
        ("project", vec![2.into()], "name"),
        ("seat", vec!["se".into()], "who"),
    ] {
        for op in [Op::Create, Op::Update, Op::Delete] {
            let set: &[(&str, Value)] = match op {
                Op::Delete => &[],
                _ => &[(name, "x".into())],
            };
            let mut forged = change(op, entity, key.clone(), set);
            if op != Op::Create {
                forged.base.insert(name.into(), "stale".into());
            }
            changes.push(forged);
        }
    }
    changes
}

fn moves_and_references() -> Vec<Change> {
    let create =
        |entity, key: Value, set: &[(&str, Value)]| change(Op::Create, entity, vec![key], set);
    let ada = || ("owner", Value::from("ada"));
    vec![
        on_mine("region", "south"),
        on_mine("region", "NORTH"),
        on_mine("region", "north' OR '1'='1"),
        on_mine("region", Value::Null),
        on_mine("region", 1),
        create("site", NEW.into(), &[("region", "south".into())]),
        create("site", NEW.into(), &[]),
        create("member", "x".into(), &[("who", "eve".into())]),
        create("member", "x".into(), &[("who", "ada' --".into())]),
        create("task", T.into(), &[("owner", "eve".into())]),
        create("task", 9.into(), &[("owner", "eve".into())]),
        create("project", T.into(), &[("name", "mine now".into())]),
        create("box", "n".into(), &[("words", "w".into())]),
        create("box", "n".into(), &[("team", "red".into())]),
        create(
            "seat",
            "n".into(),
            &[("who", "eve".into()), ("project", 1.into())],
        ),
        on_mine("buddy", FOREIGN),
        on_mine("buddy", NEW),
        create("task", T.into(), &[ada(), ("site", FOREIGN.into())]),
        create("task", T.into(), &[ada(), ("parent", 2.into())]),
        create("task", T.into(), &[ada(), ("parent", (T + 9).into())]),
        create(
            "pin",
            9.into(),
            &[ada(), ("hall", 2.into()), ("place", 2.into())],
        ),
        create("pin", 9.into(), &[ada(), ("kind", "' OR 1 --".into())]),
    ]
}

fn what_nobody_writes() -> Vec<Change> {
    let mut changes = Vec::new();
    for op in [Op::Create, Op::Update, Op::Delete] {
        changes.push(change(op, "region", vec!["south".into()], &[]));
        changes.push(change(op, "kind", vec!["k".into()], &[]));
    }
    for name in [
        "afield_scope_1",
        "rowid",
        "_rowid_",
        "oid",
        "id",
        "ID",
        "TITLE",
        "",
        "title\" = 'x', \"tally",
        "title = 'x' WHERE 1 --",
        "\0",
        "site.title",
    ] {
        changes.push(on_mine(name, 1));
    }
    for entity in [
        "afield_ledger",
        "afield_number",
        "afield_mark_site",
        "afield_clock",
        "afield_epoch",
        "afield_node",
        "sqlite_master",
        "sqlite_sequence",
        "SITE",
        "main.site",
        "",
        "site\"; DROP TABLE site; --",
        "site WHERE 1=1 --",
        "pragma_table_list",
    ] {
        changes.push(change(
            Op::Update,
            entity,
            vec![MINE.into()],
            &[("title", "x".into())],
        ));
    }
    changes
}

/// Rows that are read and not written, rows that are to become what they may not, what refers to
/// hidden tables.
fn beyond_the_rules() -> Vec<Change> {
    let on = |op, entity, key: Value, set: &[(&str, Value)]| change(op, entity, vec![key], set);
    let (create, update, delete) = (Op::Create, Op::Update, Op::Delete);
    let words = || ("words", Value::from("x"));
    let author = || ("author", Value::from("ada"));
    let red = || ("team", Value::from("red"));
    let blue = || ("team", Value::from("blue"));
    let ada = || ("owner", Value::from("ada"));
    let eve = || ("owner", Value::from("eve"));
    let secret = |code: &str| ("secret", Value::from(code));
    vec![
        on(update, "memo", "b".into(), &[words()]),
        on(update, "memo", "b".into(), &[author()]),
        on(update, "memo", "c".into(), &[words()]),
        on(update, "memo", "c".into(), &[red()]),
        on(update, "memo", "d".into(), &[author(), red()]),
        on(update, "memo", "a".into(), &[blue()]),
        on(create, "memo", "n".into(), &[author(), blue()]),
        on(create, "memo", "d".into(), &[author(), red()]),
        on(update, "wide", "b".into(), &[words()]),
        on(update, "wide", "b".into(), &[ada()]),
        on(create, "wide", "n".into(), &[eve()]),
        on(update, "wide", "a".into(), &[eve()]),
        on(update, "letter", "b".into(), &[words()]),
        on(update, "letter", "b".into(), &[("sender", "ada".into())]),
        on(update, "letter", "a".into(), &[("sender", "bob".into())]),
        on(create, "letter", "n".into(), &[("sender", "bob".into())]),
        on(update, "job", 1.into(), &[blue()]),
        on(update, "job", 1.into(), &[eve(), blue()]),
        on(update, "job", 2.into(), &[ada(), red()]),
        on(update, "job", 3.into(), &[ada()]),
        on(create, "job", T.into(), &[eve(), blue()]),
        on(create, "job", T.into(), &[eve()]),
        on(update, "step", "p3".into(), &[words()]),
        on(update, "step", "p3".into(), &[("job", 1.into())]),
        on(update, "step", "p1".into(), &[("job", 3.into())]),
        on(create, "step", "n".into(), &[("job", 2.into())]),
        on(update, "stamp", "t3".into(), &[("step", "p1".into())]),
        on(create, "badge", "m".into(), &[ada()]),
        on(create, "badge", "z".into(), &[ada()]),
        on(update, "badge", "k".into(), &[secret("m")]),
        on(update, "badge", "k".into(), &[secret("z")]),
        on(update, "secret", "k".into(), &[words()]),
        on(delete, "memo", "c".into(), &[]),
        on(delete, "wide", "b".into(), &[]),
        on(delete, "job", 3.into(), &[]),
    ]
}

/// Groups that hand on what is the user's, to get at what is not.
fn forged_hand_ons() -> Vec<Group> {
    let job = |id: i64, owner: &str| {
        change(
            Op::Update,
            "job",
            vec![id.into()],
            &[("owner", owner.into())],
        )
    };
    let step = |id: &str, set: &[(&str, Value)]| change(Op::Update, "step", vec![id.into()], set);
    let words = || [("words", Value::from("x"))];
    let plain = |id: u8, changes| Group::new(GroupId([id; 16]), changes);
    vec![
        plain(0xc0, vec![job(1, "bob"), step("p3", &words())]),
        plain(
            0xc1,
            vec![job(1, "bob"), job(3, "ada"), step("p3", &words())],
        ),
        plain(
            0xc2,
            vec![step("p1", &[("job", 3.into())]), step("p3", &words())],
        ),
        plain(0xc3, vec![job(1, "bob"), job(1, "ada")]),
        plain(
            0xc4,
            vec![
                job(1, "bob"),
                step("p1", &words()),
                change(Op::Update, "memo", vec!["b".into()], &words()),
            ],
        ),
        plain(
            0xc5,
            vec![
                job(1, "bob"),
                change(Op::Delete, "step", vec!["p1".into()], &[]),
                job(3, "ada"),
            ],
        ),
    ]
}

fn identifiers_and_values() -> Vec<Change> {
    let edit = |entity, key: Vec<Value>| change(Op::Update, entity, key, &[]);
    let mut changes: Vec<Change> = [
        "' OR 1=1 --",
        "x' OR '1'='1",
        "\"; DROP TABLE site; --",
        "",
        "%",
        "0190B3A1-5C1E-7CC3-98A1-00000000000A",
    ]
    .map(|id| {
        change(
            Op::Update,
            "site",
            vec![id.into()],
            &[("title", "x".into())],
        )
    })
    .into();
    changes.extend([
        edit("site", vec![1.into()]),
        edit("site", vec![Value::Null]),
        edit("site", vec![Value::Bytes(vec![0xff; 16])]),
        edit("site", Vec::new()),
        edit("site", vec![MINE.into(), MINE.into()]),
        edit("shelf", vec![1.into()]),
        edit("shelf", vec![1.into(), "1".into()]),
        edit("shelf", vec![1.into(), 1.into(), 1.into()]),
        edit("task", vec!["1".into()]),
        edit("task", vec![i64::MIN.into()]),
        edit("task", vec![T.into()]),
        edit("task", vec![1.5.into()]),
        on_mine("tally", "1; DROP TABLE site"),
        on_mine("tally", Value::Bytes(vec![1])),
        on_mine("title", Value::Bytes(b"7".to_vec())),
        on_mine("title", "a\0b"),
        on_mine("title", Value::Bytes(b"x".to_vec())),
    ]);
    changes
}

/// Groups that name Eve's: as what they absorb, where a row comes from, or as themselves.
fn naming_groups_of_others() -> Vec<Group> {
    let child = change(
        Op::Create,
        "task",
        vec![(T + 1).into()],
        &[("owner", "ada".into()), ("parent", T.into())],
    );
    let origin = Origin {
        entity: "task".into(),
        temporary: T,
        group: OF_EVE,
        at: 0,
    };
    let edit = change(Op::Update, "task", vec![T.into()], &[("label", "x".into())]);
    let plain = |id: u8, changes| Group {
        id: GroupId([id; 16]),
        absorbed: Vec::new(),
        origins: Vec::new(),
        changes,
        checkpoint: Vec::new(),
    };
    let from_eve = |id, changes| Group {
        origins: vec![origin.clone()],
        ..plain(id, changes)
    };
    vec![
        from_eve(0xe0, vec![child.clone()]),
        from_eve(0xe1, vec![edit.clone()]),
        Group {
            absorbed: vec![OF_EVE],
            ..from_eve(0xe2, vec![child])
        },
        Group {
            absorbed: vec![OF_EVE],
            ..plain(
                0xe3,
                vec![change(
                    Op::Update,
                    "task",
                    vec![3.into()],
                    &[("label", "x".into())],
                )],
            )
        },
        of_eve(),
        Group {
            id: OF_EVE,
            ..plain(0, vec![edit])
        },
        forged_grant(),
    ]
}

/// What Eve really sent.
fn of_eve() -> Group {
    let values = [("owner", "eve".into()), ("label", MARKER.into())];
    Group {
        id: OF_EVE,
        absorbed: Vec::new(),
        origins: Vec::new(),
        changes: vec![change(Op::Create, "task", vec![T.into()], &values)],
        checkpoint: Vec::new(),
    }
}

/// A shelf of another team that opens its hall, a look around, and away with it.
fn forged_grant() -> Group {
    let shelf = |op, set: &[(&str, Value)]| change(op, "shelf", vec![2.into(), 5.into()], set);
    let owner = [("owner", "blue".into()), ("words", "ada".into())];
    Group {
        id: GroupId([0xe9; 16]),
        absorbed: Vec::new(),
        origins: Vec::new(),
        changes: vec![
            shelf(Op::Create, &owner),
            change(Op::Update, "bin", vec![2.into()], &[("words", "x".into())]),
            shelf(Op::Delete, &[]),
        ],
        checkpoint: Vec::new(),
    }
}

fn forged() -> Vec<Group> {
    let changes = [
        rows_of_others(),
        moves_and_references(),
        what_nobody_writes(),
        identifiers_and_values(),
        beyond_the_rules(),
    ]
    .concat();
    let single = (0_u8..).zip(changes).map(|(id, change)| Group {
        id: GroupId([id; 16]),
        absorbed: Vec::new(),
        origins: Vec::new(),
        changes: vec![change],
        checkpoint: Vec::new(),
    });
    let groups = naming_groups_of_others().into_iter();
    single.chain(groups).chain(forged_hand_ons()).collect()
}

#[test]
fn p7_a_hundred_forged_pushes_change_nothing_and_tell_nothing() {
    let (server, behind) = on_sqlite(&(eve(), of_eve()));
    a_hundred_pushes(&server, &behind);
}

#[test]
fn p7_a_hundred_forged_pushes_to_postgresql_change_nothing_and_tell_nothing() {
    let (server, behind) = on_postgres(&(eve(), of_eve()));
    a_hundred_pushes(&server, &behind);
}

fn assert_tells_nothing(group: &Group, verdicts: &[Verdict]) {
    for (verdict, change) in verdicts.iter().zip(&group.changes) {
        let is_done = verdict.kind == VerdictKind::Applied;
        assert!(
            !is_done || change.op == Op::Delete,
            "{group:?}: {verdict:?}"
        );
        let is_bare = verdict.values.is_empty() && verdict.key.is_none();
        assert!(is_bare, "{verdict:?}");
    }
}

fn a_hundred_pushes(server: &Server, behind: &Behind) {
    let claims = json!({ "team": "red" });
    let token = auth()
        .issue("ada", NOW + 3_600, claims.as_object().unwrap())
        .unwrap();
    let send = |format: Format, frames: &[Frame]| {
        Ask::sync(&token)
            .header("Content-Type", format.media_type())
            .header("Accept", format.media_type())
            .body(server.encode(format, frames))
            .send(server.address)
    };
    let pull: [(&str, Option<Position>); 3] = [("site", None), ("task", None), ("bin", None)];
    let hello = || Frame::Hello(server.hello(&pull));
    let first = send(Format::JsonLines, &[hello(), Frame::End]);
    assert!(
        String::from_utf8_lossy(&first.body).contains(MINE),
        "Ada's own rows come"
    );
    let before = behind.dump();
    let forged = forged();
    assert!(forged.len() >= 100, "{}", forged.len());
    let mut answered = 0;
    for group in &forged {
        for format in [Format::Cbor, Format::JsonLines, Format::Cbor] {
            let answer = send(format, &[hello(), Frame::Group(group.clone()), Frame::End]);
            assert!(answer.status < 500, "{group:?}: {answer:?}");
            let text = String::from_utf8_lossy(&answer.body);
            assert!(!text.contains(MARKER), "{group:?}: {text}");
            assert_eq!(behind.dump(), before, "{group:?} changed something");
            if answer.status != 200 {
                continue;
            }
            answered += 1;
            for frame in server.decode(format, &answer.body) {
                if let Frame::Outcome(outcome) = frame {
                    assert_tells_nothing(group, &outcome.verdicts);
                }
            }
        }
    }
    assert!(answered >= 200, "most were read, and refused: {answered}");
    // Many in one request, where they may be decided together; each under another id.
    for (at, some) in forged.chunks(8).enumerate() {
        let renamed = some.iter().zip(0_u8..).map(|(group, number)| Group {
            id: match group.id == OF_EVE {
                true => OF_EVE,
                false => GroupId([number; 16].map(|byte| byte ^ u8::try_from(at).unwrap() ^ 0x5a)),
            },
            ..group.clone()
        });
        let frames = std::iter::once(hello()).chain(renamed.map(Frame::Group));
        let frames: Vec<Frame> = frames.chain([Frame::End]).collect();
        let answer = send(Format::Cbor, &frames);
        assert!(answer.status < 500, "{some:?}: {answer:?}");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains(MARKER), "{some:?}: {text}");
        assert_eq!(behind.dump(), before, "{some:?} changed something");
    }
}

#[test]
fn p7_forged_units_entities_and_positions_bring_no_rows_of_others() {
    for (server, behind) in [
        on_sqlite(&(eve(), of_eve())),
        on_postgres(&(eve(), of_eve())),
    ] {
        forged_units(&server, &behind);
    }
}

fn forged_units(server: &Server, behind: &Behind) {
    let claims = json!({ "team": ["red", "blue"], "sub": "eve", "user": "eve" });
    let mut claims = claims.as_object().unwrap().clone();
    claims.remove("sub");
    let token = auth().issue("ada", NOW + 3_600, &claims).unwrap();
    let there = behind.dump();
    let names = [
        "site",
        "shelf",
        "box",
        "afield_ledger",
        "sqlite_master",
        "site\" --",
        "",
    ];
    for name in names {
        for position in [None, Some(Position::from(b"forged".to_vec()))] {
            let mut hello = server.hello(&[(name, position)]);
            for unit in ["main", "main' OR '1'='1", "", "main\0"] {
                hello.unit = unit.into();
                let frames = [Frame::Hello(hello.clone()), Frame::End];
                let answer = Ask::sync(&token)
                    .body(server.encode(Format::Cbor, &frames))
                    .send(server.address);
                assert!(answer.status < 500, "{name} {unit}: {answer:?}");
                let text = String::from_utf8_lossy(&answer.body);
                assert!(!text.contains(MARKER), "{name} {unit}: {text}");
            }
        }
    }
    assert_eq!(behind.dump(), there);
}

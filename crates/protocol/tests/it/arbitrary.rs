//! Arbitrary values, frames and models: canonical, off-type, and what only looks like another.

use std::collections::BTreeMap;

use afield_protocol::{
    Attributes, Cell, Change, Chosen, Closed, Closing, Code, Comparison, Decided, Entity, Frame,
    Group, GroupId, GroupOutcome, Held, Hello, History, Key, Level, LogEntry, Model, Op, Origin,
    Page, PageEnd, Part, Position, Problem, Received, RowBlock, RowBlockWriter, Theirs, Type,
    Value, Verdict, VerdictKind, Welcome, Window,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::sample;

/// Text that is canonical for some type, nearly so, or awkward.
const TEXTS: [&str; 22] = [
    "",
    "NaN",
    "Infinity",
    "true",
    "0",
    "-0",
    "-0.00",
    "007",
    "1e5",
    "9007199254740993",
    "2024-02-29",
    "2023-02-29",
    "0001-01-01T00:00:00.000000Z",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59.999999",
    "24:00:00.000000",
    "0190B3A1-5C1E-7CC3-98A1-0123456789AB",
    "{\"a\": [1, \"\\ud800\"]}",
    "{\"a\": [1",
    "a\0b",
    "e\u{301}\u{1f600}\u{feff}",
    "2026-11-23T10:30:00+01:00",
];

/// Anything that SQLite stores. NaN is none: SQLite keeps it as null, Afield as text.
pub(crate) fn stored() -> BoxedStrategy<Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        (-2..3_i64).prop_map(Value::Integer),
        real().prop_map(Value::Real),
        any::<String>().prop_map(Value::Text),
        prop::sample::select(&TEXTS[..]).prop_map(Value::from),
        vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
    ]
    .boxed()
}

fn real() -> impl Strategy<Value = f64> {
    let special = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 5.0, 0.1, 1e300];
    prop_oneof![
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("a number", |x| !x.is_nan()),
        prop::sample::select(special.to_vec()),
    ]
}

/// A value that is canonical for `kind`, or null.
pub(crate) fn canonical(kind: Type) -> BoxedStrategy<Value> {
    let text = |strategy: BoxedStrategy<String>| strategy.prop_map(Value::Text).boxed();
    let value = match kind {
        Type::Text => text("[^\0]*".boxed()),
        Type::Integer => any::<i64>().prop_map(Value::Integer).boxed(),
        Type::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        Type::Real => prop_oneof![
            9 => real().prop_map(|x| Value::Real(if x == 0.0 { 0.0 } else { x })),
            1 => Just(Value::from("NaN")),
        ]
        .boxed(),
        Type::Decimal => text(prop_oneof!["0|-?[1-9][0-9]{0,40}", decimal()].boxed()),
        Type::Date => text(date().boxed()),
        Type::Time => text(time().boxed()),
        Type::Instant => text(
            (date(), time())
                .prop_map(|(d, t)| format!("{d}T{t}Z"))
                .boxed(),
        ),
        Type::Datetime => text(
            (date(), time())
                .prop_map(|(d, t)| format!("{d}T{t}"))
                .boxed(),
        ),
        Type::Uuid => text("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".boxed()),
        Type::Bytes => vec(any::<u8>(), 0..40).prop_map(Value::Bytes).boxed(),
        Type::Json => text("(true|null| -?[1-9][0-9]?|\\[1,\"x\"\\]|\\{\"a\":0\\.10\\})".boxed()),
    };
    prop_oneof![9 => value, 1 => Just(Value::Null)].boxed()
}

/// With a fraction, now and then of thousands of digits.
fn decimal() -> impl Strategy<Value = String> {
    let zeros = prop_oneof![9 => 0..30_usize, 1 => 900..1_200_usize];
    ("-?", "0|[1-9][0-9]{0,20}", zeros, "[0-9]{0,20}[1-9]")
        .prop_map(|(sign, whole, zeros, end)| format!("{sign}{whole}.{}{end}", "0".repeat(zeros)))
}

fn date() -> impl Strategy<Value = String> {
    let year = prop_oneof![Just(1), Just(9999), 1..=9999_i32];
    let month_day = prop_oneof![Just((1, 1)), Just((12, 31)), (1..=12, 1..=28)];
    (year, month_day).prop_map(|(year, (month, day))| format!("{year:04}-{month:02}-{day:02}"))
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("00:00:00.000000".to_owned()),
        Just("23:59:59.999999".to_owned()),
        (0..24, 0..60, 0..60, 0..1_000_000)
            .prop_map(|(h, m, s, us)| format!("{h:02}:{m:02}:{s:02}.{us:06}")),
    ]
}

/// A cell of an attribute of this type: mostly canonical, sometimes whatever.
pub(crate) fn cell(kind: Type) -> BoxedStrategy<Value> {
    prop_oneof![3 => canonical(kind), 1 => stored()].boxed()
}

pub(crate) fn kind() -> impl Strategy<Value = Type> {
    prop::sample::select(&sample::TYPES[..])
}

fn bytes_of<const N: usize>() -> impl Strategy<Value = [u8; N]> {
    any::<[u8; N]>()
}

/// Some attributes of `entity`, and now and then one that it does not have.
fn attributes(entity: &Entity) -> BoxedStrategy<Attributes> {
    let each: Vec<_> = entity
        .values()
        .iter()
        .map(|attribute| {
            let name = attribute.name.clone();
            option::of(cell(attribute.kind)).prop_map(move |value| Some((name.clone(), value?)))
        })
        .collect();
    let foreign = option::weighted(0.1, ("[a-zé]{1,30}", stored()));
    (each, foreign)
        .prop_map(|(known, foreign)| known.into_iter().flatten().chain(foreign).collect())
        .boxed()
}

pub(crate) fn key(entity: &Entity) -> BoxedStrategy<Key> {
    let cells: Vec<_> = entity.key().iter().map(|a| cell(a.kind)).collect();
    cells.boxed()
}

fn change(model: &Model) -> BoxedStrategy<Change> {
    let each = model.entities.iter().map(|entity| {
        let op = prop::sample::select(vec![Op::Create, Op::Update, Op::Delete]);
        let name = entity.name.clone();
        (op, key(entity), attributes(entity), attributes(entity))
            .prop_map(move |(op, key, base, set)| Change {
                entity: name.clone(),
                op,
                key,
                base,
                set,
            })
            .boxed()
    });
    proptest::strategy::Union::new(each).boxed()
}

/// A group of changes of the sample model's entities.
pub(crate) fn group(model: &Model) -> BoxedStrategy<Group> {
    let absorbed = vec(bytes_of::<16>().prop_map(GroupId), 0..3);
    let names: Vec<String> = model.entities.iter().map(|e| e.name.clone()).collect();
    let origin = (
        prop::sample::select(names),
        any::<i64>(),
        bytes_of::<16>(),
        any::<u32>(),
    );
    let origin = origin.prop_map(|(entity, temporary, group, at)| Origin {
        entity,
        temporary,
        group: GroupId(group),
        at,
    });
    let changes = vec(change(model), 0..4);
    (bytes_of::<16>(), absorbed, vec(origin, 0..3), changes)
        .prop_map(|(id, absorbed, origins, changes)| Group {
            id: GroupId(id),
            absorbed,
            origins,
            changes,
            checkpoint: Vec::new(),
        })
        .boxed()
}

fn positions() -> impl Strategy<Value = Vec<(String, Option<Position>)>> {
    btree_map("[a-z]{0,6}", option::of(vec(any::<u8>(), 0..50)), 0..4)
        .prop_map(|map: BTreeMap<_, _>| map.into_iter().collect())
}

fn verdict(model: &Model) -> BoxedStrategy<Verdict> {
    let kind = prop::sample::select(vec![
        VerdictKind::Applied,
        VerdictKind::Conflict,
        VerdictKind::Rejected,
    ]);
    let row = || attributes(&model.entities[0]);
    let theirs = prop_oneof![
        Just(None),
        Just(Some(Theirs::Gone)),
        row().prop_map(|row| Some(Theirs::Row(row))),
    ];
    let words = (
        option::of("[a-z-]{1,12}"),
        option::of(any::<String>()),
        option::of(any::<String>()),
    );
    (
        kind,
        words,
        option::of(key(&model.entities[1])),
        row(),
        theirs,
        row(),
    )
        .prop_map(
            |(kind, (code, attribute, message), key, values, theirs, overwritten)| Verdict {
                kind,
                code: code.map(|word| Code::parse(&word)),
                attribute,
                message,
                key,
                values,
                theirs,
                overwritten,
            },
        )
        .boxed()
}

/// Rows of the sample model's first entity, some of its columns, in any number.
pub(crate) fn rows(model: &Model) -> BoxedStrategy<RowBlock> {
    let entity = model.entities[0].clone();
    (1..=entity.attributes.len())
        .prop_flat_map(move |width| {
            let columns: Vec<_> = entity.columns().into_iter().take(width).collect();
            let row: Vec<_> = columns.iter().map(|(_, kind)| cell(*kind)).collect();
            let name = entity.name.clone();
            vec(row, 0..6).prop_map(move |rows| {
                let mut writer = RowBlockWriter::new(&name, &columns);
                for row in &rows {
                    writer.push(row.iter().map(Value::as_ref));
                }
                writer.take()
            })
        })
        .boxed()
}

fn page_end() -> impl Strategy<Value = PageEnd> {
    let to = btree_map("[a-z]{0,6}", vec(any::<u8>(), 0..50), 0..4);
    (to, any::<bool>(), option::of(any::<u64>())).prop_map(|(to, complete, remaining)| PageEnd {
        to: to.into_iter().collect(),
        complete,
        remaining,
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    let checkpoints = vec(vec(any::<u8>(), 0..40), 0..3);
    (any::<u32>(), any::<[String; 3]>(), positions(), checkpoints).prop_map(
        |(protocol, [model, device, unit], pull, checkpoints)| Hello {
            protocol,
            model,
            device,
            unit,
            pull,
            checkpoints,
        },
    )
}

/// A frame that needs no model.
fn small_frame() -> BoxedStrategy<Frame> {
    let part = (
        bytes_of::<16>(),
        bytes_of::<32>(),
        any::<[u32; 2]>(),
        vec(any::<u8>(), 0..50),
    );
    let part = part.prop_map(|(group, hash, [total, at], bytes)| {
        Frame::Part(Part {
            group: GroupId(group),
            hash,
            total,
            at,
            bytes,
        })
    });
    let received = (bytes_of::<16>(), any::<u32>()).prop_map(|(group, bytes)| {
        Frame::Received(Received {
            group: GroupId(group),
            bytes,
        })
    });
    let held = (
        "[a-z]{1,9}",
        vec(any::<i64>(), 0..9),
        vec(any::<i64>(), 0..3),
    );
    let held = held.prop_map(|(entity, gained, lost)| {
        Frame::Held(Held {
            entity,
            gained,
            lost,
        })
    });
    let keep = prop::sample::select(Comparison::ALL.to_vec());
    let window = ("[a-z]{1,9}", "[a-z]{1,9}", keep, "[0-9TZ:.-]{0,27}");
    let window = window.prop_map(|(entity, attribute, keep, bound)| {
        Frame::Window(Window {
            entity,
            attribute,
            keep,
            bound,
        })
    });
    let value = prop_oneof![
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,9}".prop_map(Value::from),
        vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
    ];
    let chosen = ("[a-z]{1,9}", vec(value, 0..5));
    let chosen = chosen.prop_map(|(scope, values)| Frame::Chosen(Chosen { scope, values }));
    let groups = || vec(bytes_of::<16>().prop_map(GroupId), 0..5);
    let history = (vec(any::<u8>(), 0..40), groups());
    let history =
        history.prop_map(|(checkpoint, groups)| Frame::History(History { checkpoint, groups }));
    let lost = groups().prop_map(|groups| Frame::Lost { groups });
    prop_oneof![
        part,
        received,
        held,
        chosen,
        window,
        history,
        lost,
        closed()
    ]
    .boxed()
}

fn inbox(model: &Model) -> BoxedStrategy<Frame> {
    let id = || any::<[u8; 16]>().prop_map(GroupId);
    let into = option::of(id());
    let decided = (
        id(),
        into,
        "[a-z ]{0,9}",
        any::<i64>(),
        vec(verdict(model), 0..3),
    );
    let decided = decided.prop_map(|(group, into, by, at_ms, verdicts)| Decided {
        group,
        into,
        by,
        at_ms,
        verdicts,
    });
    let decided = vec(decided, 0..3);
    decided.prop_map(|decided| Frame::Inbox { decided }).boxed()
}

fn log() -> BoxedStrategy<Frame> {
    let level = prop::sample::select(Level::ALL.to_vec());
    let entry = (
        any::<[u8; 16]>(),
        any::<[i64; 2]>(),
        level,
        "[a-z]{0,9}",
        ".{0,20}",
        any::<u32>(),
    );
    let entry = entry.prop_map(
        |(id, [n, at_ms], level, module, message, dropped)| LogEntry {
            id,
            n,
            at_ms,
            level,
            module,
            message,
            dropped,
        },
    );
    let log = vec(entry, 0..3).prop_map(|entries| Frame::Log { entries });
    let logged = any::<i64>().prop_map(|to| Frame::Logged { to });
    prop_oneof![log, logged].boxed()
}

fn closed() -> BoxedStrategy<Frame> {
    let how = prop::sample::select(Closing::ALL.to_vec());
    let closed = (any::<[u8; 16]>().prop_map(GroupId), how);
    let closed = closed.prop_map(|(group, how)| Closed { group, how });
    vec(closed, 0..3)
        .prop_map(|groups| Frame::Closed { groups })
        .boxed()
}

/// Any frame over the sample model.
pub(crate) fn frame(model: &Model) -> BoxedStrategy<Frame> {
    let page = (positions(), vec("[a-z]{0,6}", 0..3))
        .prop_map(|(from, reset)| Frame::Page(Page { from, reset }));
    let gone = prop::sample::select(model.entities.clone()).prop_flat_map(|entity| {
        let keys = vec(key(&entity), 0..5);
        keys.prop_map(move |keys| Frame::Gone {
            entity: entity.name.clone(),
            keys,
        })
    });
    let outcome = (bytes_of::<16>(), vec(verdict(model), 0..4)).prop_map(|(id, verdicts)| {
        Frame::Outcome(GroupOutcome {
            group: GroupId(id),
            verdicts,
        })
    });
    let problem = ("[a-z-]{1,12}", any::<String>()).prop_map(|(word, message)| {
        Frame::Problem(Problem {
            code: Code::parse(&word),
            message,
        })
    });
    let welcome = (any::<u32>(), bytes_of::<8>())
        .prop_map(|(protocol, epoch)| Frame::Welcome(Welcome { protocol, epoch }));
    prop_oneof![
            1 => prop::sample::select(vec![Frame::Settled {
     checkpoint: Vec::new(),
    }, Frame::End]),
            1 => hello().prop_map(Frame::Hello),
            1 => welcome,
            3 => small_frame(),
            2 => crate::golden_verify::any_frame(model),
            2 => group(model).prop_map(Frame::Group),
            2 => outcome,
            1 => page,
            2 => rows(model).prop_map(Frame::Rows),
            1 => gone,
            1 => page_end().prop_map(Frame::PageEnd),
            1 => problem,
            1 => inbox(model),
            1 => log(),
        ]
    .boxed()
}

/// The rows of a block as values.
pub(crate) fn row_values(block: &RowBlock) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    let read: Result<(), afield_protocol::codec::Malformed> = block.for_each(|cells| {
        let values = cells.iter().map(|cell: &Cell<'_>| cell.as_ref().to_value());
        rows.push(values.collect());
        Ok(())
    });
    read.expect("what the writer wrote can be read");
    rows
}

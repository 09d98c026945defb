//! Pushes to PostgreSQL: what is decided ahead of its writes ends as what is decided one by one.

use std::sync::atomic::{AtomicI64, Ordering};

use afield_protocol::{Attributes, Change, Group, GroupId, GroupOutcome, Op, Value, VerdictKind};
use afield_server::storage::conformance::{Database, table};
use afield_server::storage::postgres::PostgresStorage;
use afield_server::storage::{Caller, Storage};

use crate::postgres_database::PostgresDatabase;
use crate::sqlite_database::SqliteDatabase;

/// Rows that both databases begin with.
const ROWS: &str = "
    INSERT INTO orders (id) VALUES (1), (2);
    INSERT INTO stock (id, code, shelf, bin, words) VALUES
      (1, 'a', 1, 1, 'w'), (2, 'b', 1, 2, 'w'), (3, 'c', 2, 1, 'w'), (4, NULL, 3, 3, NULL);
    INSERT INTO paper VALUES (1, 1, 1, 1, 1), (2, 2, 2, 2, NULL), (3, 3, 3, 3, 2);
    INSERT INTO card VALUES (1, 1, 1, 1, 1), (2, 2, 2, 2, NULL), (3, 3, 3, 3, 2);
    INSERT INTO slip VALUES (1, 1, 1, 1, 1), (2, 2, 2, 2, NULL), (3, 3, 3, 3, 2);
    INSERT INTO own_task (id, owner, words)
      VALUES (1, 'ada', 'w'), (2, 'eve', 'w'), (3, 'ada', 'x');
    INSERT INTO company VALUES ('k', 'one', 1), ('l', 'two', 2);";

const ENTITIES: [&str; 6] = ["stock", "paper", "card", "slip", "own_task", "company"];

/// Groups as devices send them, good and bad, and the same outcomes and rows on either database.
#[test]
fn p2_p6_what_is_decided_ahead_ends_as_what_is_decided_one_by_one() {
    let seeds: u64 = std::env::var("AFIELD_SEEDS").map_or(12, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let (postgres, sqlite) = (PostgresDatabase::new(), SqliteDatabase::new());
        postgres.execute(ROWS);
        sqlite.execute(ROWS);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut sent: Vec<Group> = Vec::new();
        for turn in 0..12 {
            let is_plain = rng.u32(..4) > 0;
            let mut groups: Vec<Group> = (0..rng.usize(2..24))
                .map(|_| group(&mut rng, is_plain))
                .collect();
            if let Some(before) = rng.choice(&sent) {
                groups.push(before.clone());
            }
            if let (Some(before), Some(last)) = (rng.choice(&sent), groups.last_mut()) {
                last.absorbed.extend((turn % 3 == 0).then_some(before.id));
            }
            let ended = told(&push(&postgres, &groups));
            let expected = told(&push(&sqlite, &groups));
            assert_eq!(ended, expected, "seed {seed}, turn {turn}: {groups:?}");
            for entity in ENTITIES {
                let is_so = table(&postgres, entity) == table(&sqlite, entity);
                assert!(is_so, "seed {seed}, turn {turn}: {entity}: {groups:?}");
            }
            sent.extend(groups);
        }
        assert_eq!(noted(&postgres), noted(&sqlite), "seed {seed}");
    }
}

/// What both noted of refused groups, without the words and numbers, which differ.
fn noted(db: &dyn Database) -> Vec<String> {
    let query = afield_server::storage::inbox::InboxQuery {
        all: true,
        most: 10_000,
        ..Default::default()
    };
    let entries = db.storage().inbox(&query).unwrap().into_iter();
    let mut noted: Vec<String> = entries
        .map(|it| {
            let (base, mine, theirs) = (it.base, it.mine, it.theirs);
            let (group, place, state, into) = (it.group, it.place, it.state, it.into);
            let code = it.code;
            format!("{group} {place} {code:?} {base:?} {mine:?} {theirs:?} {state:?} {into:?}")
        })
        .collect();
    noted.sort();
    assert!(!noted.is_empty());
    noted
}

fn push(db: &dyn Database, groups: &[Group]) -> Vec<GroupOutcome> {
    let outcomes = db.storage().push(db.model(), &Caller::user("ada"), groups);
    outcomes.unwrap()
}

/// Outcomes without their words, which differ.
fn told(outcomes: &[GroupOutcome]) -> Vec<String> {
    let verdicts = outcomes.iter().map(|outcome| {
        let verdicts = outcome.verdicts.iter().map(|verdict| {
            let code = verdict.code.as_ref().map_or("", |code| code.as_str());
            let is_unique = code == "unique";
            // Of several columns either names the first that it finds.
            let attribute = verdict.attribute.clone().filter(|_| !is_unique);
            format!(
                "{:?} {code} {attribute:?} {:?} {:?} {:?} {:?}",
                verdict.kind, verdict.key, verdict.values, verdict.theirs, verdict.overwritten
            )
        });
        verdicts.collect::<Vec<_>>().join("; ")
    });
    verdicts.collect()
}

fn group(rng: &mut fastrand::Rng, is_plain: bool) -> Group {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let count = match rng.u32(..5) {
        0 => rng.usize(2..5),
        _ => 1,
    };
    let changes = (0..count).map(|_| change(rng, is_plain)).collect();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.to_be_bytes());
    Group::new(GroupId(bytes), changes)
}

fn change(rng: &mut fastrand::Rng, is_plain: bool) -> Change {
    let entity = ENTITIES[rng.usize(..ENTITIES.len())];
    let op = match rng.u32(..8) {
        _ if is_plain => Op::Update,
        0 | 1 => Op::Create,
        2 => Op::Delete,
        _ => Op::Update,
    };
    let key: Value = match entity {
        "company" => ["k", "l", "m"][rng.usize(..3)].into(),
        _ => rng.i64(1..6).into(),
    };
    let small = |rng: &mut fastrand::Rng| Value::Integer(rng.i64(-1..4));
    let word = |rng: &mut fastrand::Rng| Value::from(["w", "x", "y"][rng.usize(..3)]);
    let mut set = Attributes::new();
    let mut base = Attributes::new();
    for _ in 0..rng.usize(1..3) {
        let (name, value) = match (entity, rng.u32(..4)) {
            ("stock", 0) => ("code", ["a", "b", "c", "d"][rng.usize(..4)].into()),
            ("stock", 1) => ("shelf", small(rng)),
            ("stock", 2) => ("bin", small(rng)),
            ("stock", _) => ("words", word(rng)),
            ("own_task", 0) => ("owner", ["ada", "eve"][rng.usize(..2)].into()),
            ("own_task", 1) => ("nonsense", 1.into()),
            ("own_task", _) => ("words", word(rng)),
            ("company", 0) => ("name", ["one", "two", "three"][rng.usize(..3)].into()),
            ("company", 1) => ("name", Value::Null),
            ("company", _) => ("rank", small(rng)),
            (_, 0) => ("n", small(rng)),
            (_, 1) => ("a", small(rng)),
            (_, 2) => ("b", small(rng)),
            (_, _) => ("order_no", rng.i64(1..4).into()),
        };
        let before = match rng.u32(..3) {
            0 => Value::Null,
            1 => value.clone(),
            _ => small(rng),
        };
        set.insert(name.to_owned(), value);
        base.insert(name.to_owned(), before);
    }
    Change {
        entity: entity.into(),
        op,
        key: vec![key],
        base: if op == Op::Create {
            Attributes::new()
        } else {
            base
        },
        set: if op == Op::Delete {
            Attributes::new()
        } else {
            set
        },
    }
}

/// A request with one group twice is answered as if it came in two.
#[test]
fn p2_one_group_twice_in_a_request_takes_effect_once() {
    let db = PostgresDatabase::new();
    db.execute(ROWS);
    let count = Change {
        entity: "paper".into(),
        op: Op::Update,
        key: vec![1.into()],
        base: [("n".to_owned(), 1.into())].into(),
        set: [("n".to_owned(), 3.into())].into(),
    };
    let other = Change {
        key: vec![2.into()],
        ..count.clone()
    };
    let group = Group::new(GroupId([7; 16]), vec![count]);
    let other = Group::new(GroupId([8; 16]), vec![other]);
    let outcomes = push(&db, &[group.clone(), other, group]);
    assert_eq!(outcomes[0], outcomes[2]);
    let n = db.query("SELECT n FROM paper WHERE id = 1");
    assert_eq!(n, [[Value::Integer(3)]]);
}

/// The same group by two requests at once, from a device that was too impatient.
#[test]
fn p2_one_group_by_many_requests_at_once_takes_effect_once() {
    let db = PostgresDatabase::new();
    db.execute(ROWS);
    let groups: Vec<Group> = (1..=3)
        .map(|id| {
            let change = Change {
                entity: "paper".into(),
                op: Op::Update,
                key: vec![id.into()],
                base: [("n".to_owned(), id.into())].into(),
                set: [("n".to_owned(), (id + 10).into())].into(),
            };
            Group::new(GroupId([u8::try_from(id).unwrap(); 16]), vec![change])
        })
        .collect();
    let servers: Vec<_> = (0..4).map(|_| db.another()).collect();
    let push = |storage: &PostgresStorage| {
        let pushed = storage.push(&db.model, &Caller::user("ada"), &groups);
        pushed.unwrap()
    };
    let push = &push;
    let all: Vec<Vec<GroupOutcome>> = std::thread::scope(|scope| {
        let running: Vec<_> = (servers.iter())
            .map(|storage| scope.spawn(move || push(storage)))
            .collect();
        running.into_iter().map(|it| it.join().unwrap()).collect()
    });
    for outcomes in &all {
        assert_eq!(outcomes, &all[0]);
        let is_applied = |outcome: &GroupOutcome| outcome.verdicts[0].kind == VerdictKind::Applied;
        assert!(outcomes.iter().all(is_applied));
    }
    let n = db.query("SELECT n FROM paper ORDER BY id");
    assert_eq!(n, [[11], [12], [13]].map(|row| row.map(Value::Integer)));
}

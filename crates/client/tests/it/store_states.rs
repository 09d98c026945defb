//! How each row stands, in plain SQL: the views say what [`Store::row_state`] says.

use afield::protocol::{
    Attribute, Attributes, Code, Frame, Identifier, Model, Op, Pattern, Theirs, Type, Value,
    Verdict,
};
use afield::{Store, SyncStore};
use fastrand::Rng;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::ids::renamed;
use crate::world::{
    World, attributes, entity, execute, id, int, model, outcome, pull, query, refer, request,
    sample, settle, text,
};

/// Seeds in an ordinary test run.
const SEEDS: u64 = 25;

const STEPS: usize = 40;

/// Every row of every entity in its view, read without any of our code.
fn viewed(plain: &Connection, model: &Model) -> Vec<(String, Vec<Value>, String)> {
    let mut found = Vec::new();
    for entity in &model.entities {
        let sql = format!("SELECT * FROM \"afield_state_{}\"", entity.name);
        let mut select = plain.prepare(&sql).unwrap();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cell = |at| match row.get_ref(at).unwrap() {
                ValueRef::Integer(n) => Value::Integer(n),
                ValueRef::Text(text) => Value::from(std::str::from_utf8(text).unwrap()),
                ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
                other => panic!("{other:?}"),
            };
            let key: Vec<_> = (0..entity.key_width).map(cell).collect();
            let state = row.get(entity.key_width).unwrap();
            found.push((entity.name.clone(), key, state));
        }
        let sql = format!("SELECT count(*) FROM \"{}\"", entity.name);
        let rows: i64 = plain.query_row(&sql, [], |row| row.get(0)).unwrap();
        let of_it = found.iter().filter(|(name, ..)| *name == entity.name);
        assert_eq!(
            i64::try_from(of_it.count()).unwrap(),
            rows,
            "{}",
            entity.name
        );
    }
    found
}

/// Panics where a view says something else than the library.
pub(crate) fn agree(world: &World, store: &mut Store) -> Vec<String> {
    // It seals first what others wrote.
    store.status().unwrap();
    let mut states = Vec::new();
    for (entity, key, state) in viewed(&world.plain(), &world.model) {
        let said = store.row_state(&entity, &key).unwrap();
        assert_eq!(state, said.as_str(), "{entity} {key:?}");
        states.push(state);
    }
    states
}

/// Sheets in conflict, slips that the server numbers, notes about both, and identifiers of every
/// type that there is.
fn kinds() -> Model {
    use Pattern::{DetectConflicts, LastWriteWins};
    let sheet = [("id", Type::Text), ("a", Type::Text), ("b", Type::Text)];
    let sheet = entity("sheet", DetectConflicts, Identifier::Natural, 1, &sheet);
    let slip = [("id", Type::Integer), ("a", Type::Text)];
    let slip = entity("slip", LastWriteWins, Identifier::Server, 1, &slip);
    let note = [
        ("id", Type::Integer),
        ("sheet", Type::Text),
        ("slip", Type::Integer),
        ("a", Type::Text),
    ];
    let mut note = entity("note", LastWriteWins, Identifier::Natural, 1, &note);
    refer(&mut note, &["sheet"], "sheet");
    refer(&mut note, &["slip"], "slip");
    let thing = [
        ("n", Type::Integer),
        ("State", Type::Text),
        ("b", Type::Bytes),
        ("is", Type::Boolean),
        ("day", Type::Date),
        ("a", Type::Text),
    ];
    let thing = entity("thing", LastWriteWins, Identifier::Natural, 5, &thing);
    model(vec![sheet, slip, note, thing])
}

const NUMBERS: [i64; 14] = [
    0,
    23,
    24,
    255,
    256,
    65_535,
    65_536,
    4_294_967_295,
    4_294_967_296,
    i64::MAX,
    -1,
    -24,
    -257,
    i64::MIN,
];

fn thing(rng: &mut Rng) -> Attributes {
    let n = NUMBERS[rng.usize(..NUMBERS.len())];
    let word = ["", "é", "x\u{10ffff}", "0123456789abcdef01234567"][rng.usize(..4)];
    let long = word.repeat([1, 12, 70][rng.usize(..3)]);
    let bytes = vec![[0, 0x81, 0xff][rng.usize(..3)]; [0, 1, 23, 24, 300][rng.usize(..5)]];
    attributes([
        ("n", int(n)),
        ("State", text(&long)),
        ("b", Value::Bytes(bytes)),
        ("is", int(rng.i64(..2))),
        ("day", text("2024-02-29")),
    ])
}

struct Run {
    world: World,
    store: Store,
    sync: SyncStore,
    rng: Rng,
    given: i64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let world = World::with(kinds());
        // The views go by the clock that SQLite asks.
        let sql = "SELECT CAST(strftime('%s', 'now') AS INTEGER) * 1000";
        let now = world.plain().query_row(sql, [], |row| row.get(0)).unwrap();
        world.clock.store(now, std::sync::atomic::Ordering::Relaxed);
        let (store, sync) = (world.store(), world.sync());
        let rng = Rng::with_seed(seed);
        Self {
            world,
            store,
            sync,
            rng,
            given: 100,
        }
    }

    fn step(&mut self) {
        match self.rng.u32(..14) {
            0..5 => self.act(),
            5 => self.plainly(),
            6 | 7 => {
                request(&mut self.sync);
            }
            8..11 => self.answer(),
            11 => self.pause(),
            12 => self.decide(),
            _ => self.act_together(),
        }
    }

    fn act(&mut self) {
        let (rng, store) = (&mut self.rng, &mut self.store);
        let a = text(["x", "y", "z"][rng.usize(..3)]);
        let sheet = text(["s1", "s2", "s3"][rng.usize(..3)]);
        let slips = store.query("SELECT id FROM slip", &afield::Params::none());
        let slips = slips.unwrap().rows;
        let slip = slips
            .get(rng.usize(..4))
            .map_or(Value::Null, |row| row[0].clone());
        // What is refused here is no matter of this test.
        let _ = match rng.u32(..8) {
            0 => store.create("slip", &attributes([("a", a)])).map(|_| ()),
            1 => store.update("slip", &[slip], &attributes([("a", a)])),
            2 | 3 => {
                let row = attributes([("id", sheet), ("a", a)]);
                store.create_or_update("sheet", &row).map(|_| ())
            }
            4 => store.delete("sheet", &[sheet]),
            5 | 6 => {
                let id = int(rng.i64(..4));
                let row = [("id", id), ("sheet", sheet), ("slip", slip), ("a", a)];
                store.create_or_update("note", &attributes(row)).map(|_| ())
            }
            _ => {
                let mut row = thing(rng);
                row.insert("a".into(), a);
                store.create_or_update("thing", &row).map(|_| ())
            }
        };
    }

    fn act_together(&mut self) {
        let n = self.rng.i64(..4);
        let done = self.store.transaction(|tx| {
            let row = attributes([
                ("id", text("s1")),
                ("b", int(n).to_string().as_str().into()),
            ]);
            tx.create_or_update("sheet", &row)?;
            let row = attributes([("id", int(n)), ("sheet", text("s2"))]);
            tx.create_or_update("note", &row)
        });
        done.unwrap();
    }

    fn plainly(&mut self) {
        let sql = ["UPDATE sheet SET b = a", "DELETE FROM note WHERE id = 1"][self.rng.usize(..2)];
        self.world.plain().execute_batch(sql).unwrap();
    }

    /// Answers one group that was sent, in any order and any way.
    fn answer(&mut self) {
        let sent = request(&mut self.sync);
        if sent.groups.is_empty() {
            return;
        }
        let group = &sent.groups[self.rng.usize(..sent.groups.len())];
        let changes = self.world.group(group).changes;
        let kind = self.rng.u32(..4);
        let verdicts = changes.iter().map(|change| match kind {
            0 | 1 if change.entity == "slip" && change.op == Op::Create => {
                self.given += 1;
                renamed(&[int(self.given)])
            }
            0 | 1 => Verdict::applied(),
            2 => Verdict::rejected(Code::CHECK_FAILED, "no"),
            _ => Verdict::conflict(Code::ROW_CHANGED, Theirs::Gone),
        });
        let outcome = outcome(group.id, verdicts.collect());
        self.sync.store_outcomes(sent.request, &[outcome]).unwrap();
    }

    fn pause(&mut self) {
        let sent = request(&mut self.sync);
        if let Some(group) = sent.groups.first() {
            let pause = [60_000, -5, 120_000][self.rng.usize(..3)];
            self.sync.back_off(group.id, pause).unwrap();
        }
    }

    fn decide(&mut self) {
        let mut parked = self.store.changes().unwrap();
        parked.retain(|change| change.state.as_str() == "parked");
        if parked.is_empty() {
            return;
        }
        let change = &parked[self.rng.usize(..parked.len())].change;
        // One may be in the way of the other.
        let _ = match self.rng.u32(..3) {
            0 => self.store.drop_change(change),
            1 => self.store.retry(change, None).map(|_| ()),
            _ => (self.store.resolve(change, &afield::Resolution::Mine)).map(|_| ()),
        };
    }
}

#[test]
fn what_the_views_say_is_what_the_library_says() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let mut run = Run::new(seed);
        for step in 0..STEPS {
            run.step();
            let agree = || agree(&run.world, &mut run.store);
            let states = std::panic::catch_unwind(std::panic::AssertUnwindSafe(agree));
            match states {
                Ok(states) => seen.extend(states),
                Err(panic) => {
                    eprintln!("seed {seed}, step {step}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    let all = ["conflict", "held", "parked", "pending", "sent", "synced"];
    assert!(seen.iter().eq(all.iter()), "{seen:?}");
}

fn state(world: &World, n: u64) -> String {
    let sql = "SELECT s.state FROM contact AS c JOIN afield_state_contact AS s USING (id) \
               WHERE id = ?1";
    let plain = world.plain();
    plain
        .query_row(sql, [crate::world::uuid(n)], |row| row.get(0))
        .unwrap()
}

#[test]
fn what_another_program_wrote_is_pending_at_once() {
    let world = World::new();
    pull(&mut world.sync(), &[contacts(&world)], "t1");
    assert_eq!(state(&world, 1), "synced");
    let write = |sql: &str| world.plain().execute_batch(sql).unwrap();
    write("UPDATE contact SET name = 'b'");
    assert_eq!(state(&world, 1), "pending");
    write("UPDATE contact SET name = 'a'");
    assert_eq!(state(&world, 1), "synced");
    write("UPDATE contact SET name = 'b'");
    let sql = "SELECT state FROM afield_state_contact";
    assert_eq!(query(&world.store(), sql), [[text("pending")]]);
    agree(&world, &mut world.store());
    settle(
        &mut world.sync(),
        &request(&mut world.sync()),
        &Verdict::applied(),
    );
    assert_eq!(state(&world, 1), "synced");
}

fn contacts(world: &World) -> Frame {
    let null = Value::Null;
    let row = [id(1), null.clone(), text("a"), null.clone(), int(0), null];
    world.rows("contact", &[&row])
}

#[test]
fn a_row_is_found_by_an_index() {
    let world = World::new();
    let plain = world.plain();
    let sql = "EXPLAIN QUERY PLAN SELECT s.state FROM contact AS c \
               JOIN afield_state_contact AS s USING (id) WHERE c.name = 'x'";
    let mut select = plain.prepare(sql).unwrap();
    let steps = select.query_map([], |row| row.get::<_, String>(3)).unwrap();
    let steps: Vec<_> = steps.map(Result::unwrap).collect();
    let is_found = |step: &str| steps.iter().any(|it| it.contains(step));
    assert!(
        is_found("afield_change_row (entity=? AND key=?)"),
        "{steps:?}"
    );
    assert!(is_found("SEARCH t USING INDEX"), "{steps:?}");
    let of_us = ["t", "c", "g", "w", "b"].map(|name| format!("SCAN {name} "));
    let scans = steps
        .iter()
        .filter(|it| of_us.iter().any(|scan| format!("{it} ").starts_with(scan)));
    // The contacts by their name: the query asks for no index there.
    assert!(scans.count() <= 1, "{steps:?}");
}

#[test]
fn a_store_of_an_earlier_version_gets_them_when_it_is_opened() {
    let world = World::new();
    let mut store = world.store();
    store
        .create("contact", &attributes([("id", id(1))]))
        .unwrap();
    let refused = Verdict::rejected(Code::CHECK_FAILED, "no");
    settle(&mut world.sync(), &request(&mut world.sync()), &refused);
    let visit = attributes([("id", id(2)), ("contact_id", id(1))]);
    store.create("visit", &visit).unwrap();
    drop(store);
    let plain = world.plain();
    for entity in &world.model.entities {
        let sql = format!("DROP VIEW afield_state_{}", entity.name);
        plain.execute_batch(&sql).unwrap();
    }
    let sql = "DROP TABLE afield_waits; DROP INDEX afield_group_pause";
    plain.execute_batch(sql).unwrap();
    let mut store = world.store();
    assert_eq!(agree(&world, &mut store), ["held", "parked"]);
}

#[test]
fn another_model_brings_other_views() {
    let mut world = World::new();
    let mut store = world.store();
    execute(
        &mut store,
        "INSERT INTO draft (id, title) VALUES ('00000000-0000-7000-8000-000000000001', 'x')",
    )
    .unwrap();
    let word = attributes([("word", text("w"))]);
    store.create("label", &word).unwrap();
    let own = "CREATE VIEW own AS SELECT d.title, s.state FROM draft AS d \
               JOIN afield_state_draft AS s USING (id)";
    world.plain().execute_batch(own).unwrap();
    let mut other = sample();
    other.version += 1;
    let draft = other.entities.iter_mut().find(|it| it.name == "draft");
    let more = Attribute::new("more", Type::Text);
    draft.unwrap().attributes.push(more);
    other.entities.retain(|entity| entity.name != "visit");
    other.units[0].entities.retain(|name| name != "visit");
    world.sync().install(&other).unwrap();
    world.model = other;
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'afield_state_visit'";
    let left: i64 = world.plain().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    assert_eq!(agree(&world, &mut world.store()), ["pending", "synced"]);
    // Views that the app made of them go on.
    let found = query(&world.store(), "SELECT title, state FROM own");
    assert_eq!(found, [[text("x"), text("synced")]]);
}

/// A refused change holds back what comes behind it, until a pull takes its row away: then there is
/// nothing any more that the later change could be wrong about.
#[test]
fn what_waits_for_a_row_that_is_gone_waits_no_more() {
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    let cells: [&[Value]; 2] = [&[text("w")], &[text("v")]];
    pull(&mut sync, &[world.rows("label", &cells)], "t1");
    let rows: &[Value] = &[text("x"), int(1), int(5), Value::Null];
    pull(&mut sync, &[world.rows("stock", &[rows])], "t2");
    let key = [text("x"), int(1)];
    let amount = |n| attributes([("amount", int(n))]);
    store.update("stock", &key, &amount(-1)).unwrap();
    let refused = Verdict::rejected(Code::CHECK_FAILED, "no");
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &refused);
    store
        .transaction(|tx| {
            tx.update("stock", &key, &amount(-2))?;
            tx.delete("label", &[text("w")])?;
            tx.create("label", &attributes([("word", text("new"))]))
        })
        .unwrap();
    assert!(agree(&world, &mut store).contains(&"held".to_owned()));
    let gone = Frame::Gone {
        entity: "stock".to_owned(),
        keys: vec![key.to_vec()],
    };
    pull(&mut sync, &[gone], "t3");
    let states = agree(&world, &mut store);
    assert!(states.contains(&"pending".to_owned()), "{states:?}");
}

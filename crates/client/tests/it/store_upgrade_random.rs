//! Models drawn at random, one after another, under changes drawn at random: what was typed stays
//! readable, what the user sees is what he typed, and a process that dies leaves one model or the
//! other, whole.

use std::collections::BTreeMap;

use afield::protocol::zoo::crash_after;
use afield::protocol::{
    Attribute, Attributes, Code, Identifier, Merge, Model, Pattern, Theirs, Type, Value, Verdict,
};

use crate::world::{World, entity, id, int, outcome, pull, query, request, text};

const SEEDS: u64 = 40;
const HOPS: usize = 4;
const ROWS: u64 = 3;

/// Attributes that come, go and change their types.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const KINDS: [Type; 5] = [
    Type::Text,
    Type::Integer,
    Type::Real,
    Type::Decimal,
    Type::Boolean,
];

fn draw(random: &mut fastrand::Rng, version: u32) -> Model {
    let mut attributes = vec![("id", Type::Uuid)];
    for name in NAMES {
        if random.u8(..4) > 0 {
            attributes.push((name, KINDS[random.usize(..KINDS.len())]));
        }
    }
    random.shuffle(&mut attributes[1..]);
    let pattern = match random.bool() {
        true => Pattern::LastWriteWins,
        false => Pattern::DetectConflicts,
    };
    let mut item = entity("item", pattern, Identifier::Uuid, 1, &attributes);
    item.merge = match random.bool() {
        true => Merge::Record,
        false => Merge::Attribute,
    };
    let other = [("word", Type::Text)];
    let other = entity(
        "word",
        Pattern::LastWriteWins,
        Identifier::Natural,
        1,
        &other,
    );
    let mut model = crate::world::model(vec![item, other]);
    if random.u8(..8) == 0 {
        model.entities.remove(0);
        model.units[0].entities.remove(0);
    }
    model.version = version;
    model
}

fn value(random: &mut fastrand::Rng, attribute: &Attribute) -> Value {
    let n = random.i64(0..20);
    match attribute.kind {
        Type::Text => [text("x"), text("7"), text("1.5")][random.usize(..3)].clone(),
        Type::Integer => int(n),
        Type::Real => Value::Real(0.5 * f64::from(random.i8(1..20))),
        Type::Decimal => Value::from(format!("{n}.50")),
        _ => int(n % 2),
    }
}

/// One write of the user's.
fn edit(world: &World, model: &Model, random: &mut fastrand::Rng) {
    let Some(item) = model.entity("item") else {
        return;
    };
    let mut set = Attributes::new();
    for attribute in item.values() {
        if random.bool() {
            set.insert(attribute.name.clone(), value(random, attribute));
        }
    }
    let (mut store, key) = (world.store(), id(random.u64(..ROWS * 2)));
    if store
        .get("item", std::slice::from_ref(&key))
        .unwrap()
        .is_none()
    {
        set.insert("id".into(), key);
        store.create("item", &set).unwrap();
    } else if !set.is_empty() {
        store.update("item", &[key], &set).unwrap();
    }
}

/// Sends what there is; the outcomes of some of it come.
fn exchange(world: &World, random: &mut fastrand::Rng) {
    let mut sync = world.sync();
    let sent = request(&mut sync);
    for group in &sent.groups {
        // What is refused may hold back others, which no server applies then.
        let is_clear = world.store().status().unwrap().parked == 0;
        let verdict = match random.u8(..4) {
            0 => Verdict::rejected(Code::UNKNOWN_ATTRIBUTE, "no"),
            1 => Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(Attributes::new())),
            2 if is_clear => Verdict::applied(),
            _ => continue,
        };
        let verdicts = vec![verdict; group.changes];
        sync.store_outcomes(sent.request, &[outcome(group.id, verdicts)])
            .unwrap();
    }
}

/// What the changes set, by their places in the outbox.
fn typed(world: &World) -> Vec<Attributes> {
    let changes = world.store().changes().unwrap();
    changes.into_iter().map(|change| change.set).collect()
}

/// What the user sees, by row.
fn seen(world: &World, model: &Model) -> BTreeMap<String, Attributes> {
    let Some(item) = model.entity("item") else {
        return BTreeMap::new();
    };
    let mut store = world.store();
    let rows = query(&store, "SELECT id FROM item");
    let mut get = |row: Vec<Value>| {
        let mut found = store.get("item", &row).unwrap().unwrap();
        found.retain(|name, _| item.attribute(name).is_some());
        (row[0].to_string(), found)
    };
    rows.into_iter().map(&mut get).collect()
}

/// `values` as they must be under a model that has these types.
fn expected(values: &Attributes, new: &Model) -> Attributes {
    let kind = |name: &str| Some(new.entity("item")?.attribute(name)?.kind);
    let mut values = values.clone();
    for (name, value) in &mut values {
        if let Some(to) = kind(name) {
            *value = to.converted(value).unwrap_or_else(|| value.clone());
        }
    }
    values
}

fn check_seen(
    (before, after): (&BTreeMap<String, Attributes>, &BTreeMap<String, Attributes>),
    (old, new): (&Model, &Model),
    seed: u64,
) {
    if old.entity("item").is_none() || new.entity("item").is_none() {
        return;
    }
    assert!(before.keys().eq(after.keys()), "seed {seed}: rows left");
    for (key, row) in before {
        let now = &after[key];
        for (name, value) in expected(row, new) {
            if let Some(now) = now.get(&name) {
                let shown = |value: &Value| value.to_string();
                let number = |value: &Value| shown(value).parse::<f64>().ok();
                // SQLite makes a number of text in a column of numbers where it can.
                let is_same = shown(now) == shown(&value) || number(now) == number(&value);
                assert!(is_same, "seed {seed}: {key}.{name}: {value:?}, {now:?}");
            }
        }
    }
}

#[test]
fn p1_p3_p6_whatever_models_follow_each_other_what_was_typed_stays() {
    let mut died = 0;
    for seed in 0..SEEDS {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut model = draw(random, 1);
        let mut world = World::with(model.clone());
        if let Some(item) = model.entity("item") {
            let row = |n| -> Vec<Value> {
                let values = item.values().iter().map(|_| Value::Null);
                std::iter::once(id(n)).chain(values).collect()
            };
            let held: Vec<_> = (0..ROWS).map(row).collect();
            let held: Vec<&[Value]> = held.iter().map(Vec::as_slice).collect();
            pull(&mut world.sync(), &[world.rows("item", &held)], "t1");
        }
        for hop in 0..HOPS {
            for _ in 0..random.usize(1..6) {
                edit(&world, &model, random);
            }
            if random.bool() {
                exchange(&world, random);
            }
            let next = draw(random, u32::try_from(hop).unwrap() + 2);
            let before = (typed(&world), seen(&world, &model));
            crash_after(Some(random.u32(..120)));
            let first = world.sync().install(&next);
            crash_after(None);
            if first.is_err() {
                died += 1;
                let stored = world.store().model().unwrap();
                if stored == model {
                    assert_eq!((typed(&world), seen(&world, &model)), before, "seed {seed}");
                }
                world.sync().install(&next).unwrap();
            }
            let after = (typed(&world), seen(&world, &next));
            assert_eq!(
                before.0.len(),
                after.0.len(),
                "seed {seed}: a change is lost"
            );
            for (was, is) in before.0.iter().zip(&after.0) {
                let converted = expected(was, &next);
                assert!(
                    is == was || *is == converted,
                    "seed {seed}: {was:?}, {is:?}"
                );
            }
            check_seen((&before.1, &after.1), (&model, &next), seed);
            model = next;
            world.model = model.clone();
        }
        request(&mut world.sync());
    }
    assert!(died > 20, "only {died} upgrades died");
}

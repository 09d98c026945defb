//! Values of scopes that the app chooses: kept on the device, sent with each pull, for a while.

use afield::engine::{Command, Direction, Engine, Event};
use afield::protocol::codec::{Format, FrameReader};
use afield::protocol::limits::{CHOSEN_VALUE_BYTES, CHOSEN_VALUES_MAX};
use afield::protocol::{
    Chosen, ChosenScope, Code, Frame, Held, Identifier, Model, PROTOCOL_VERSION, Page, PageEnd,
    Pattern, Type, Value, Verdict, Welcome,
};
use afield::{RequestCaps, Store, SyncStore};

use crate::world::{
    World, answer, attributes, entity, int, model, pull, query, request, settle, text,
};

const KEEP_MS: i64 = 60_000;

fn choosing() -> Model {
    let visit = [("id", Type::Integer), ("words", Type::Text)];
    let mut visit = entity(
        "visit",
        Pattern::LastWriteWins,
        Identifier::Natural,
        1,
        &visit,
    );
    visit.scope = vec![1];
    let mut model = model(vec![visit]);
    let scope = |name: &str, kind| ChosenScope {
        name: name.into(),
        kind,
        keep_ms: KEEP_MS as u64,
    };
    model.chosen = vec![
        scope("projects", Type::Integer),
        scope("places", Type::Uuid),
    ];
    model
}

fn projects(store: &mut Store) -> Vec<(i64, i64)> {
    let chosen = store.chosen(Some("projects")).unwrap();
    let pair = |chosen: &afield::ChosenValue| match chosen.value {
        Value::Integer(id) => (id, chosen.until_ms),
        _ => panic!("{chosen:?}"),
    };
    chosen.iter().map(pair).collect()
}

fn sent(sync: &mut SyncStore) -> Vec<Chosen> {
    request(sync).chosen
}

fn chosen(scope: &str, values: &[Value]) -> Chosen {
    Chosen {
        scope: scope.into(),
        values: values.to_vec(),
    }
}

#[test]
fn p1_a_choice_is_durable_and_ends_by_the_drivers_clock() {
    let world = World::with(choosing());
    let start = 1_700_000_000_000;
    let mut store = world.store();
    store.choose("projects", 7).unwrap();
    world.pass_ms(KEEP_MS - 1);
    store.choose("projects", 8).unwrap();
    drop(store);
    let (mut store, mut sync) = (world.store(), world.sync());
    assert_eq!(
        projects(&mut store),
        [(7, start + KEEP_MS), (8, start + 2 * KEEP_MS - 1)]
    );
    assert_eq!(sent(&mut sync), [chosen("projects", &[int(7), int(8)])]);
    // Chosen again, it begins anew.
    store.choose("projects", 7).unwrap();
    world.pass_ms(KEEP_MS - 1);
    assert_eq!(sent(&mut sync), [chosen("projects", &[int(7), int(8)])]);
    world.pass_ms(1);
    assert_eq!(sent(&mut sync), []);
    assert_eq!(projects(&mut store), []);
}

#[test]
fn a_clock_that_was_ahead_keeps_nothing_for_ever() {
    let world = World::with(choosing());
    let mut store = world.store();
    let ahead = 20 * 365 * 86_400_000;
    world.pass_ms(ahead);
    store.choose("projects", 7).unwrap();
    world.pass_ms(-ahead);
    assert_eq!(sent(&mut world.sync()).len(), 1);
    world.pass_ms(KEEP_MS);
    assert_eq!(sent(&mut world.sync()), []);
}

#[test]
fn what_cannot_be_chosen_is_refused() {
    let world = World::with(choosing());
    let mut store = world.store();
    let long = "x".repeat(CHOSEN_VALUE_BYTES + 1);
    for (scope, value, code) in [
        ("regions", int(1), Code::UNKNOWN_SCOPE),
        ("projects", text("1"), Code::TYPE_MISMATCH),
        ("projects", Value::Null, Code::TYPE_MISMATCH),
        ("projects", Value::Real(1.0), Code::TYPE_MISMATCH),
        ("places", text("7"), Code::TYPE_MISMATCH),
        ("places", text(&long), Code::TYPE_MISMATCH),
    ] {
        let error = store.choose(scope, value.clone()).unwrap_err();
        assert_eq!(*error.code(), code, "{scope} {value:?}: {error}");
        let error = store.unchoose(scope, value).unwrap_err();
        assert_eq!(*error.code(), code, "{error}");
    }
    assert_eq!(store.chosen(None).unwrap(), []);
    assert_eq!(
        *store.chosen(Some("x")).unwrap_err().code(),
        Code::UNKNOWN_SCOPE
    );
    // A UUID in capitals is the same one.
    let id = "0190b3a1-5c1e-7cc3-98a1-0123456789ab";
    store.choose("places", id.to_uppercase()).unwrap();
    assert_eq!(sent(&mut world.sync()), [chosen("places", &[text(id)])]);
    assert!(store.unchoose("places", id).unwrap());
    assert!(!store.unchoose("places", id).unwrap());
}

#[test]
fn p9_so_many_are_chosen_and_no_more() {
    let world = World::with(choosing());
    let mut store = world.store();
    let most = i64::try_from(CHOSEN_VALUES_MAX).unwrap();
    for id in 0..most {
        store.choose("projects", id).unwrap();
    }
    let error = store.choose("projects", most).unwrap_err();
    assert_eq!(*error.code(), Code::TOO_MANY_CHOSEN, "{error}");
    assert_eq!(projects(&mut store).len(), CHOSEN_VALUES_MAX);
    // One that is there can be chosen again, and when one is given up there is room.
    store.choose("projects", 0).unwrap();
    assert!(store.unchoose("projects", 1).unwrap());
    store.choose("projects", most).unwrap();
}

#[test]
fn only_a_request_that_pulls_says_what_is_chosen() {
    let world = World::with(choosing());
    let (mut store, mut sync) = (world.store(), world.sync());
    store.choose("projects", 7).unwrap();
    let sends = sync.next_request(None, true, RequestCaps::default());
    assert_eq!(sends.unwrap().chosen, []);
    assert_eq!(sent(&mut sync).len(), 1);
}

#[test]
fn a_scope_that_the_model_knows_no_more_is_not_sent() {
    let world = World::with(choosing());
    let (mut store, mut sync) = (world.store(), world.sync());
    store.choose("projects", 7).unwrap();
    let mut other = world.model.clone();
    other.chosen[0].kind = Type::Text;
    sync.install(&other).unwrap();
    assert_eq!(sent(&mut sync), [], "it has another type now");
    other.chosen.remove(0);
    sync.install(&other).unwrap();
    assert_eq!(sent(&mut sync), []);
    sync.install(&world.model).unwrap();
    assert_eq!(sent(&mut sync).len(), 1);
}

#[test]
fn a_store_of_an_earlier_version_gets_the_table() {
    let world = World::with(choosing());
    world
        .plain()
        .execute_batch("DROP TABLE afield_chosen")
        .unwrap();
    let mut store = world.store();
    store.choose("projects", 7).unwrap();
    assert_eq!(projects(&mut store).len(), 1);
}

fn visit(world: &World, id: i64, words: &str) -> Frame {
    world.rows("visit", &[&[int(id), text(words), int(77)]])
}

fn held(gained: &[i64], lost: &[i64]) -> Frame {
    Frame::Held(Held {
        entity: "visit".into(),
        gained: gained.to_vec(),
        lost: lost.to_vec(),
    })
}

/// The choice ran out while an edit waited: it is sent as it was made, and settles.
#[test]
fn p1_an_edit_of_a_row_whose_choice_ran_out_is_sent_whole() {
    let world = World::with(choosing());
    let (mut store, mut sync) = (world.store(), world.sync());
    store.choose("projects", 7).unwrap();
    pull(
        &mut sync,
        &[visit(&world, 1, "as it was"), held(&[77], &[])],
        "a",
    );
    world.pass_ms(KEEP_MS);
    // The row has left when the edit is not even sent: it was made during the sync.
    let outgoing = request(&mut sync);
    assert!(outgoing.chosen.is_empty() && outgoing.groups.is_empty());
    let set = attributes([("words", text("typed"))]);
    store.update("visit", &[int(1)], &set).unwrap();
    answer(&mut sync, &outgoing, &[held(&[], &[77])], "b", true);
    let outgoing = request(&mut sync);
    let groups = world.groups(&outgoing);
    assert_eq!(groups.len(), 1);
    assert_eq!(
        groups[0].changes[0].base,
        attributes([("words", text("as it was"))])
    );
    assert_eq!(groups[0].changes[0].set, set);
    settle(&mut sync, &outgoing, &Verdict::applied());
    answer(&mut sync, &outgoing, &[], "c", true);
    assert_eq!(store.status().unwrap().pending, 0);
    assert_eq!(
        query(&store, "SELECT * FROM visit"),
        Vec::<Vec<Value>>::new()
    );
}

fn frames(world: &World, commands: &[Command]) -> Vec<Frame> {
    let body = commands.iter().find_map(|command| match command {
        Command::Send { body } => Some(body),
        _ => None,
    });
    let mut reader = FrameReader::new(Format::Cbor);
    reader.push(body.expect("a request is sent"));
    std::iter::from_fn(|| reader.next(&world.model).unwrap()).collect()
}

fn answered(world: &World, asked: &[Frame], complete: bool) -> Vec<u8> {
    let Frame::Hello(hello) = &asked[0] else {
        panic!("{asked:?}");
    };
    let to = hello
        .pull
        .iter()
        .map(|(name, _)| (name.clone(), b"p".to_vec()));
    let mut all = vec![
        Frame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            epoch: [7; 8],
        }),
        Frame::Settled {
            checkpoint: Vec::new(),
        },
        Frame::Page(Page {
            from: hello.pull.clone(),
            reset: Vec::new(),
        }),
        Frame::PageEnd(PageEnd {
            to: to.collect(),
            complete,
            remaining: None,
        }),
    ];
    all.extend(complete.then_some(Frame::End));
    let mut bytes = Vec::new();
    for frame in &all {
        Format::Cbor.write(&world.model, frame, &mut bytes);
    }
    bytes
}

/// What is chosen while a sync is under way goes with its next request.
#[test]
fn a_choice_during_a_sync_goes_with_the_next_request() {
    let world = World::with(choosing());
    let (mut store, mut sync, mut engine) = (world.store(), world.sync(), Engine::new());
    let start = || Event::Start {
        unit: None,
        direction: Direction::Both,
    };
    store.choose("projects", 7).unwrap();
    let commands = engine.handle(&mut sync, start()).unwrap();
    let asked = frames(&world, &commands);
    let of = |values: &[i64]| {
        let values: Vec<Value> = values.iter().map(|id| int(*id)).collect();
        Frame::Chosen(chosen("projects", &values))
    };
    assert_eq!(asked[1], of(&[7]), "behind hello, before the groups");
    store.choose("projects", 8).unwrap();
    // The answer breaks off behind a page; the rest is asked for anew.
    let bytes = answered(&world, &asked, false);
    engine.handle(&mut sync, Event::Bytes(&bytes)).unwrap();
    let mut commands = engine.handle(&mut sync, Event::Closed).unwrap();
    if commands.iter().any(|it| matches!(it, Command::Wait { .. })) {
        commands = engine.handle(&mut sync, Event::Waited).unwrap();
    }
    let asked = frames(&world, &commands);
    assert_eq!(asked[1], of(&[7, 8]));
    let bytes = answered(&world, &asked, true);
    engine.handle(&mut sync, Event::Bytes(&bytes)).unwrap();
    let commands = engine.handle(&mut sync, Event::Closed).unwrap();
    assert!(
        commands.iter().any(|it| matches!(it, Command::Finished(_))),
        "{commands:?}"
    );
}

//! Counters, rows that are only sent, and entities whose conflicts stop their syncs.

use afield::protocol::zoo::crash_after;
use afield::protocol::{Code, Merge, Value, Verdict};
use afield::{Resolution, Store, SyncStore};

use crate::sheets::{Desk, ends, set, sheet, sheets};
use crate::world::{attributes, execute, int, query, request, settle, text};

fn visits(n: i64) -> afield::protocol::Attributes {
    attributes([("visits", int(n))])
}

#[test]
fn a_counter_shows_the_servers_number_and_the_difference_made_here() {
    let mut desk = Desk::new();
    desk.mine("s1", &visits(6));
    desk.theirs("s1", "visits", int(10));
    desk.pull();
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 11));
    // A second edit adds to the first, on top of what the pull brought.
    desk.mine("s1", &visits(13));
    let change = desk.store.changes().unwrap().remove(0);
    assert_eq!(
        (&change.base["visits"], &change.set["visits"]),
        (&int(5), &int(8))
    );
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"]["visits"], int(13));
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 13));
}

#[test]
fn a_counter_that_is_counted_back_is_no_change() {
    let mut desk = Desk::new();
    desk.mine("s1", &visits(6));
    desk.theirs("s1", "visits", int(10));
    desk.pull();
    desk.mine("s1", &visits(10));
    assert!(desk.store.changes().unwrap().is_empty());
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 10));
}

#[test]
fn p2_what_the_server_made_of_a_counter_is_not_counted_twice() {
    let mut desk = Desk::new();
    desk.mine("s1", &visits(6));
    let outgoing = request(&mut desk.sync);
    desk.mine("s1", &visits(8));
    desk.theirs("s1", "visits", int(20));
    let mut applied = Verdict::applied();
    applied.values.insert("visits".into(), int(21));
    settle(&mut desk.sync, &outgoing, &applied);
    desk.theirs("s1", "visits", int(21));
    assert_eq!(
        desk.seen("s1"),
        sheet("a0", "b0", 8),
        "until a pull shows it"
    );
    let done = desk.round();
    let change = &done[0].0.changes[0];
    assert_eq!(
        (&change.base["visits"], &change.set["visits"]),
        (&int(6), &int(8))
    );
    assert_eq!(desk.rows["s1"]["visits"], int(23));
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 23));
}

#[test]
fn a_counter_in_a_decided_conflict_stays_a_difference() {
    let open = || {
        let mut desk = Desk::with(sheets(Merge::Record));
        let mut both = set("a", "mine");
        both.extend(visits(7));
        desk.mine("s1", &both);
        desk.theirs("s1", "b", text("theirs"));
        desk.theirs("s1", "visits", int(10));
        assert_eq!(ends(&desk.round()), ["conflict"]);
        let open = desk.store.conflicts().unwrap().remove(0);
        assert_eq!(open.mine, Some(sheet("mine", "theirs", 12)));
        assert_eq!(open.attributes, ["a", "visits"]);
        assert_eq!(desk.seen("s1"), sheet("mine", "theirs", 12));
        (desk, open.conflict)
    };
    let (mut desk, name) = open();
    desk.store.resolve(&name, &Resolution::Mine).unwrap();
    assert_eq!(desk.seen("s1"), sheet("mine", "theirs", 12));
    desk.theirs("s1", "visits", int(11));
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"], sheet("mine", "theirs", 13));
    let (mut desk, name) = open();
    let merged = Resolution::Merged(visits(11));
    desk.store.resolve(&name, &merged).unwrap();
    assert_eq!(desk.seen("s1"), sheet("a0", "theirs", 11));
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"], sheet("a0", "theirs", 11));
}

#[test]
fn p3_an_edit_of_a_counter_behind_a_conflict_adds_to_what_was_decided() {
    for (resolution, total) in [(Resolution::Mine, 13), (Resolution::Theirs, 11)] {
        let mut desk = Desk::new();
        let mut both = set("a", "mine");
        both.extend(visits(7));
        desk.mine("s1", &both);
        desk.theirs("s1", "b", text("theirs"));
        desk.theirs("s1", "visits", int(10));
        desk.round();
        desk.mine_together(&visits(13), &set("a", "mate"));
        let name = desk.conflict();
        desk.store.resolve(&name, &resolution).unwrap();
        assert_eq!(desk.seen("s1")["visits"], int(total));
        let done = desk.round();
        assert!(ends(&done).iter().all(|end| *end == "applied"), "{done:?}");
        assert_eq!(desk.rows["s1"]["visits"], int(total), "{resolution:?}");
    }
}

fn reading(n: i64) -> afield::protocol::Attributes {
    attributes([("id", int(n)), ("celsius", Value::Real(21.5))])
}

#[test]
fn rows_of_an_insert_only_entity_are_never_changed_whoever_tries() {
    let mut desk = Desk::new();
    desk.store.create("reading", &reading(1)).unwrap();
    for sql in [
        "UPDATE reading SET celsius = 1.0",
        "DELETE FROM reading",
        "REPLACE INTO reading VALUES (1, 2.0)",
        "INSERT INTO reading VALUES (1, 2.0) ON CONFLICT DO UPDATE SET celsius = 2.0",
    ] {
        let error = execute(&mut desk.store, sql).expect_err(sql);
        assert_eq!(error.code(), &Code::INSERT_ONLY, "{sql}");
        let error = desk.world.plain().execute_batch(sql).expect_err(sql);
        assert!(error.to_string().contains("afield:insert-only:"), "{error}");
    }
    assert_eq!(
        query(&desk.store, "SELECT * FROM reading"),
        [[int(1), Value::Real(21.5)]]
    );
    assert_eq!(desk.store.changes().unwrap().len(), 1);
}

/// A reading and a sheet in one transaction, a reading alone, all applied.
fn sent(store: &mut Store, sync: &mut SyncStore) -> Result<(), afield::Error> {
    store.transaction(|tx| {
        tx.create("reading", &reading(1))?;
        tx.update("sheet", &[text("s1")], &set("a", "mine"))
    })?;
    store.create("reading", &reading(2))?;
    let outgoing = sync.next_request(Some("main"), true, afield::RequestCaps::default())?;
    let outcomes: Vec<_> = (outgoing.groups.iter())
        .map(|group| crate::world::outcome(group.id, vec![Verdict::applied(); group.changes]))
        .collect();
    sync.store_outcomes(outgoing.request, &outcomes)?;
    let ids: Vec<_> = outgoing.groups.iter().map(|group| group.id).collect();
    assert!(sync.are_settled(&ids)?);
    Ok(())
}

#[test]
fn p1_an_applied_reading_leaves_the_device_with_its_change_and_is_never_pulled() {
    let mut desk = Desk::new();
    sent(&mut desk.store, &mut desk.sync).unwrap();
    assert!(query(&desk.store, "SELECT * FROM reading").is_empty());
    let changes = desk.store.changes().unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].entity, "sheet");
    assert_eq!(desk.store.outcomes(0).unwrap().len(), 3);
    let outgoing = request(&mut desk.sync);
    let pulled: Vec<_> = outgoing
        .pull
        .iter()
        .map(|(entity, _)| entity.as_str())
        .collect();
    assert_eq!(pulled, ["sheet", "remark"]);
    assert!(desk.store.status().unwrap().downloading.is_empty());
    // A refused one stays.
    desk.store.create("reading", &reading(3)).unwrap();
    let outgoing = request(&mut desk.sync);
    settle(
        &mut desk.sync,
        &outgoing,
        &Verdict::rejected(Code::FORBIDDEN, "no"),
    );
    assert_eq!(query(&desk.store, "SELECT id FROM reading"), [[int(3)]]);
}

#[test]
fn p1_readings_leave_whole_or_not_at_all() {
    for point in 0..200 {
        let mut desk = Desk::new();
        crash_after(Some(point));
        let result = sent(&mut desk.store, &mut desk.sync);
        crash_after(None);
        let mut store = desk.world.store();
        let rows = query(&store, "SELECT id FROM reading").len();
        let changes = store.changes().unwrap();
        let kept = changes.iter().filter(|it| it.entity == "reading").count();
        assert_eq!(rows, kept, "at point {point}");
        if result.is_ok() {
            assert!(point > 8, "only {point} points");
            return;
        }
    }
    panic!("the write never ends");
}

#[test]
fn conflicts_of_strict_entities_stop_their_unit() {
    let mut model = sheets(Merge::Record);
    model.entities[0].strict = true;
    model.units[0].entities.retain(|name| name != "remark");
    model.units.push(afield::protocol::Unit {
        name: "talk".into(),
        entities: vec!["remark".into()],
    });
    let mut desk = Desk::with(model);
    assert_eq!(desk.sync.stopped_by("main").unwrap(), None);
    desk.mine("s1", &set("a", "mine"));
    desk.theirs("s1", "a", text("theirs"));
    desk.round();
    let name = desk.conflict();
    let stopped = desk.sync.stopped_by("main").unwrap();
    assert_eq!(stopped, Some(("sheet".to_owned(), name.clone())));
    assert_eq!(desk.sync.stopped_by("talk").unwrap(), None);
    let error = desk.sync.stopped_by("nothing").unwrap_err();
    assert_eq!(error.code(), &Code::UNKNOWN_UNIT);
    engine_stops(&mut desk, &name);
    desk.store.resolve(&name, &Resolution::Theirs).unwrap();
    assert_eq!(desk.sync.stopped_by("main").unwrap(), None);
}

/// The engine asks nothing for the unit, goes on with the others, and says why in the end.
fn engine_stops(desk: &mut Desk, conflict: &str) {
    use afield::engine::{Command, Direction, Engine, Event, SyncStatus};
    let mut start = |unit: Option<&str>| {
        let start = Event::Start {
            unit: unit.map(str::to_owned),
            direction: Direction::Both,
        };
        Engine::new().handle(&mut desk.sync, start).unwrap()
    };
    let commands = start(Some("main"));
    let [Command::Finished(report)] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    assert_eq!(report.status, SyncStatus::Failed);
    let (code, message) = report.error.clone().unwrap();
    assert_eq!(code, Code::CONFLICT_OPEN);
    assert!(
        message.contains(conflict) && message.contains("`main`"),
        "{message}"
    );
    let commands = start(None);
    assert!(
        matches!(commands.as_slice(), [Command::Send { .. }]),
        "{commands:?}"
    );
}

//! Refused changes: sent back, sent again, given up.

use afield::protocol::zoo::plant;
use afield::protocol::{Code, Merge, Op, Value, Verdict, VerdictKind};
use afield::{ChangeInfo, ChangeState, Resolution, RowState};

use crate::sheets::{Desk, ends, set, sheet, sheets};
use crate::world::{World, attributes, execute, id, int, query, request, settle, text};

fn remark(id: i64, sheet: &str) -> afield::protocol::Attributes {
    attributes([("id", int(id)), ("sheet", text(sheet))])
}

fn waits_for() -> Verdict {
    Verdict::rejected(Code::WAITS_FOR, "something else comes first")
}

/// The user's value is refused, and a remark waits for nothing.
fn refused() -> (Desk, String) {
    let mut desk = Desk::new();
    let name = refused_in(&mut desk);
    (desk, name)
}

fn refused_in(desk: &mut Desk) -> String {
    desk.mine("s1", &set("a", "bad"));
    assert_eq!(ends(&desk.push()), ["rejected"]);
    desk.culprit()
}

/// A create is refused.
fn never_made() -> (Desk, String) {
    let mut desk = Desk::new();
    let row = attributes([("id", text("s3")), ("a", text("bad"))]);
    desk.store.create("sheet", &row).unwrap();
    assert_eq!(ends(&desk.push()), ["rejected"]);
    let name = desk.culprit();
    (desk, name)
}

fn of(changes: &[ChangeInfo], state: ChangeState) -> Vec<&ChangeInfo> {
    changes.iter().filter(|it| it.state == state).collect()
}

#[test]
fn p2_what_waits_for_another_goes_back_under_a_new_name() {
    let mut desk = Desk::new();
    let row = attributes([("id", text("s3")), ("a", text("bad"))]);
    desk.store.create("sheet", &row).unwrap();
    desk.store.create("remark", &remark(1, "s3")).unwrap();
    desk.store.create("remark", &remark(2, "s1")).unwrap();
    let outgoing = request(&mut desk.sync);
    let ids: Vec<_> = outgoing.groups.iter().map(|group| group.id).collect();
    let no = Verdict::rejected(Code::CHECK_FAILED, "no");
    let verdicts = [no, waits_for(), Verdict::applied()];
    let outcomes: Vec<_> = (ids.iter().zip(verdicts))
        .map(|(id, verdict)| crate::world::outcome(*id, vec![verdict]))
        .collect();
    let stored = desk.sync.store_outcomes(outgoing.request, &outcomes);
    assert_eq!(stored.unwrap().len(), 2, "no outcome of what waits");
    assert!(!desk.sync.are_settled(&ids[1..]).unwrap(), "incomplete");
    assert!(desk.sync.are_settled(&ids[2..]).unwrap());
    let changes = desk.store.changes().unwrap();
    let held = of(&changes, ChangeState::Held)[0];
    assert_eq!(held.code, Some(Code::WAITS_FOR));
    assert_eq!(held.waits_for.as_deref(), Some(changes[0].change.as_str()));
    assert_ne!(held.group, ids[1]);
    // Late and repeated answers about the old name find nothing.
    let late = [crate::world::outcome(ids[1], vec![Verdict::applied()])];
    assert!(
        desk.sync
            .store_outcomes(outgoing.request, &late)
            .unwrap()
            .is_empty()
    );
    assert!(request(&mut desk.sync).groups.is_empty());
    desk.store
        .retry(&changes[0].change, Some(&set("a", "good")))
        .unwrap();
    let sent = desk.world.groups(&request(&mut desk.sync));
    assert_eq!(sent.len(), 1, "what was sent back waits for the next sync");
    desk.sync.finished(None).unwrap();
    let sent = desk.world.groups(&request(&mut desk.sync));
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].absorbed, [ids[0]]);
    assert_eq!(sent[1].absorbed, [ids[1]]);
}

#[test]
fn p8_what_was_sent_back_and_is_not_held_waits_for_the_next_sync() {
    let mut desk = Desk::new();
    desk.mine("s1", &set("a", "mine"));
    let outgoing = request(&mut desk.sync);
    settle(&mut desk.sync, &outgoing, &waits_for());
    desk.mine("s1", &set("b", "too"));
    desk.mine("s2", &set("b", "another"));
    for _ in 0..2 {
        let again = desk.world.groups(&request(&mut desk.sync));
        assert_eq!(
            again.len(),
            1,
            "only what depends on nothing that was sent back"
        );
        assert_eq!(again[0].changes[0].key, [text("s2")]);
    }
    desk.sync.finished(None).unwrap();
    let done = desk.push();
    assert_eq!(done.len(), 2, "{done:?}");
    assert!(ends(&done).iter().all(|end| *end == "applied"), "{done:?}");
}

#[test]
fn retry_sends_the_group_again_with_better_values() {
    let mut desk = Desk::new();
    desk.mine_together(&set("a", "bad"), &set("a", "mate"));
    assert_eq!(ends(&desk.push()), ["rejected"]);
    let name = desk.culprit();
    let again = desk.store.retry(&name, Some(&set("a", "good"))).unwrap();
    assert_eq!(desk.seen("s1"), sheet("good", "b0", 5));
    let done = desk.round();
    assert_eq!(ends(&done), ["applied"]);
    assert_eq!(done[0].0.changes.len(), 2);
    assert!(again.starts_with(&done[0].0.id.to_string()));
    assert!(name.starts_with(&done[0].0.absorbed[0].to_string()));
    let changes = desk.store.changes().unwrap();
    let record = of(&changes, ChangeState::Dropped);
    assert_eq!(
        (&record[0].change, &record[0].set),
        (&name, &set("a", "bad"))
    );
    assert_eq!(record[0].code, Some(Code::CHECK_FAILED));
}

#[test]
fn retry_alone_sends_the_same_again() {
    let (mut desk, name) = refused();
    desk.store.retry(&name, None).unwrap();
    assert_eq!(
        desk.store.changes().unwrap().len(),
        1,
        "nothing was replaced"
    );
    assert_eq!(
        desk.store.row_state("sheet", &[text("s1")]).unwrap(),
        RowState::Pending
    );
    let done = desk.push();
    assert_eq!(done[0].0.changes[0].set, set("a", "bad"));
    assert_eq!(ends(&done), ["rejected"]);
    assert_eq!(desk.store.outcomes(0).unwrap().len(), 2);
}

#[test]
fn retry_checks_its_values_and_leaves_conflicts_to_resolve() {
    let (mut desk, name) = refused();
    for (values, code) in [
        (attributes([("visits", text("many"))]), Code::TYPE_MISMATCH),
        (set("made", "x"), Code::READ_ONLY),
        (set("nothing", "x"), Code::UNKNOWN_ATTRIBUTE),
        (set("id", "s2"), Code::IDENTIFIER_CHANGED),
    ] {
        let error = desk.store.retry(&name, Some(&values)).unwrap_err();
        assert_eq!(error.code(), &code);
    }
    assert_eq!(desk.culprit(), name);
    let error = desk.store.resolve(&name, &Resolution::Mine).unwrap_err();
    assert_eq!(error.code(), &Code::NOT_PARKED);
    assert!(error.to_string().contains("check"), "{error}");
    desk.store.drop_change(&name).unwrap();
    desk.mine("s2", &set("a", "mine"));
    desk.theirs("s2", "a", text("theirs"));
    desk.push();
    let name = desk.conflict();
    let error = desk.store.retry(&name, None).unwrap_err();
    assert_eq!(error.code(), &Code::CONFLICT_OPEN);
}

#[test]
fn a_decision_about_nothing_says_so() {
    let (mut desk, name) = refused();
    let unknown = "00000000000000000000000000000000.0";
    for (name, code) in [
        ("nonsense", Code::UNKNOWN_CHANGE),
        ("", Code::UNKNOWN_CHANGE),
        ("é.0", Code::UNKNOWN_CHANGE),
        (unknown, Code::UNKNOWN_CHANGE),
        (&format!("{name}9"), Code::UNKNOWN_CHANGE),
        (&name.replace(".0", ".-1"), Code::UNKNOWN_CHANGE),
    ] {
        let store = &mut desk.store;
        for error in [
            store.retry(name, None).unwrap_err(),
            store.drop_change(name).unwrap_err(),
            store.resolve(name, &Resolution::Theirs).unwrap_err(),
        ] {
            assert_eq!(error.code(), &code, "{name}: {error}");
        }
    }
    // Names of what is settled, on its way, sent again or given up.
    let again = desk.store.retry(&name, Some(&set("a", "good"))).unwrap();
    let mut refuse = |name: &str| {
        let error = desk.store.drop_change(name).unwrap_err();
        assert_eq!(error.code(), &Code::NOT_PARKED, "{error}");
    };
    refuse(&name);
    refuse(&again);
    desk.push();
    let error = desk.store.drop_change(&again).unwrap_err();
    assert_eq!(error.code(), &Code::NOT_PARKED, "{error}");
}

#[test]
fn p6_a_dropped_change_stays_in_the_history_and_the_row_is_without_it() {
    let (mut desk, name) = refused();
    desk.store.drop_change(&name).unwrap();
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 5));
    let change = desk.store.changes().unwrap().remove(0);
    assert_eq!(
        (change.state, &change.change),
        (ChangeState::Dropped, &name)
    );
    assert_eq!(
        (change.set, change.code),
        (set("a", "bad"), Some(Code::CHECK_FAILED))
    );
    assert!(desk.round().is_empty());
    let status = desk.store.status().unwrap();
    assert_eq!((status.parked, status.held, status.pending), (0, 0, 0));
    // It leaves with the rest of the history.
    desk.world.pass_ms(15 * 24 * 60 * 60 * 1_000);
    desk.sync.finished(None).unwrap();
    assert!(desk.store.changes().unwrap().is_empty());
}

#[test]
fn p6_what_is_left_of_a_group_goes_again_without_the_dropped_change() {
    let mut desk = Desk::new();
    desk.store
        .transaction(|tx| {
            tx.create("remark", &remark(1, "s1"))?;
            tx.update("sheet", &[text("s1")], &set("a", "bad"))?;
            tx.update("sheet", &[text("s2")], &set("a", "mate"))
        })
        .unwrap();
    assert_eq!(ends(&desk.push()), ["rejected"]);
    let name = desk.culprit();
    assert!(name.ends_with(".1"));
    desk.store.drop_change(&name).unwrap();
    let done = desk.round();
    assert_eq!(ends(&done), ["applied"]);
    let places: Vec<_> = done[0]
        .0
        .changes
        .iter()
        .map(|it| it.key[0].clone())
        .collect();
    assert_eq!(places, [int(1), text("s2")]);
    assert_eq!(done[0].0.absorbed.len(), 1);
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 5));
    assert_eq!(desk.seen("s2"), sheet("mate", "b0", 5));
    let changes = desk.store.changes().unwrap();
    assert_eq!(of(&changes, ChangeState::Settled).len(), 2);
    assert_eq!(of(&changes, ChangeState::Dropped)[0].change, name);
    // A verdict finds the change whose place it has, after others left before it.
    assert!(
        changes
            .iter()
            .all(|it| it.state == ChangeState::Dropped || it.change.len() == 34)
    );
}

#[test]
fn what_waited_for_a_dropped_edit_is_as_if_that_had_never_been() {
    let (mut desk, name) = refused();
    desk.mine("s1", &set("a", "better"));
    assert!(desk.push().is_empty(), "the same attribute waits");
    assert_eq!(
        desk.store.row_state("sheet", &[text("s1")]).unwrap(),
        RowState::Parked
    );
    desk.store.drop_change(&name).unwrap();
    assert_eq!(desk.seen("s1"), sheet("better", "b0", 5));
    let done = desk.round();
    assert_eq!(done[0].0.changes[0].base["a"], text("a0"));
    assert_eq!(ends(&done), ["applied"]);
    // Had somebody else written it meanwhile, nobody would have seen that.
    let (mut desk, name) = refused();
    desk.mine("s1", &set("a", "better"));
    desk.theirs("s1", "a", text("theirs"));
    desk.store.drop_change(&name).unwrap();
    assert_eq!(ends(&desk.round()), ["conflict"]);
}

#[test]
fn p8_other_edits_of_the_row_flow_and_nobody_conflicts_with_himself() {
    for retry in [true, false] {
        let mut desk = Desk::with(sheets(Merge::Attribute));
        let name = refused_in(&mut desk);
        desk.mine("s1", &set("b", "flows"));
        assert_eq!(
            ends(&desk.round()),
            ["applied"],
            "what was refused is not in its base"
        );
        assert_eq!(desk.seen("s1"), sheet("bad", "flows", 5));
        if retry {
            desk.store.retry(&name, Some(&set("a", "good"))).unwrap();
            assert_eq!(ends(&desk.round()), ["applied"]);
            assert_eq!(desk.rows["s1"], sheet("good", "flows", 5));
        } else {
            desk.store.drop_change(&name).unwrap();
            desk.round();
            assert_eq!(desk.rows["s1"], sheet("a0", "flows", 5));
        }
        assert_eq!(desk.seen("s1"), desk.rows["s1"]);
    }
    // The same for an edit that was made before the refusal came.
    let mut desk = Desk::with(sheets(Merge::Attribute));
    desk.mine("s1", &set("a", "bad"));
    let outgoing = request(&mut desk.sync);
    desk.mine("s1", &set("b", "flows"));
    desk.take(&outgoing);
    assert_eq!(ends(&desk.push()), ["applied"]);
}

/// Where a change of any attribute counts, the refused value would be in the way of every edit.
#[test]
fn p8_a_refused_edit_by_record_holds_its_row_until_it_is_decided() {
    for retry in [true, false] {
        let (mut desk, name) = refused();
        desk.mine("s1", &set("b", "later"));
        desk.mine("s2", &set("b", "flows"));
        let done = desk.round();
        assert_eq!((done.len(), ends(&done)[0]), (1, "applied"));
        assert_eq!(desk.rows["s2"]["b"], text("flows"));
        let changes = desk.store.changes().unwrap();
        let held = of(&changes, ChangeState::Held);
        assert_eq!(held.len(), 1, "{changes:?}");
        assert_eq!(held[0].waits_for.as_ref(), Some(&name));
        assert_eq!(desk.seen("s1"), sheet("bad", "later", 5));
        let a = if retry {
            desk.store.retry(&name, Some(&set("a", "good"))).unwrap();
            "good"
        } else {
            desk.store.drop_change(&name).unwrap();
            "a0"
        };
        let done = desk.round();
        assert!(ends(&done).iter().all(|end| *end == "applied"), "{done:?}");
        assert_eq!(desk.rows["s1"], sheet(a, "later", 5));
        assert_eq!(desk.seen("s1"), desk.rows["s1"]);
        assert_eq!(desk.store.status().unwrap().held, 0);
    }
}

#[test]
fn p6_with_a_create_goes_what_depends_on_its_row() {
    let (mut desk, name) = never_made();
    desk.store.create("remark", &remark(1, "s3")).unwrap();
    desk.store.create("remark", &remark(2, "s1")).unwrap();
    desk.mine("s3", &set("b", "later"));
    desk.store
        .transaction(|tx| {
            tx.create("remark", &remark(3, "s3"))?;
            tx.update("remark", &[int(2)], &set("sheet", "s3"))?;
            tx.update("sheet", &[text("s2")], &set("a", "mate"))
        })
        .unwrap();
    let sent = desk.push();
    assert_eq!(sent.len(), 1, "only the remark about another sheet flows");
    desk.store.drop_change(&name).unwrap();
    let changes = desk.store.changes().unwrap();
    let dropped = of(&changes, ChangeState::Dropped);
    let rows: Vec<_> = dropped
        .iter()
        .map(|it| (it.op, it.key[0].clone()))
        .collect();
    assert_eq!(
        rows,
        [
            (Op::Create, text("s3")),
            (Op::Create, int(1)),
            (Op::Update, text("s3")),
            (Op::Create, int(3)),
            (Op::Update, int(2)),
        ]
    );
    let visible = query(&desk.store, "SELECT id, sheet FROM remark");
    assert_eq!(visible, [[int(2), text("s1")]]);
    assert!(desk.store.get("sheet", &[text("s3")]).unwrap().is_none());
    let done = desk.round();
    assert_eq!(ends(&done), ["applied"]);
    assert_eq!(done[0].0.changes.len(), 1);
    assert_eq!(desk.rows["s2"], sheet("mate", "b0", 5));
}

#[test]
fn p8_a_create_is_given_up_with_what_was_sent_on_top_of_it() {
    let mut desk = Desk::new();
    let row = attributes([("id", text("s3")), ("a", text("bad"))]);
    desk.store.create("sheet", &row).unwrap();
    desk.store.create("remark", &remark(1, "s3")).unwrap();
    let outgoing = request(&mut desk.sync);
    let no = Verdict::rejected(Code::CHECK_FAILED, "no");
    let first = [crate::world::outcome(outgoing.groups[0].id, vec![no])];
    desk.sync.store_outcomes(outgoing.request, &first).unwrap();
    // The answer was cut here. The other one is held now, so no sync brings its outcome.
    assert!(request(&mut desk.sync).groups.is_empty());
    let name = desk.culprit();
    desk.store.drop_change(&name).unwrap();
    assert!(query(&desk.store, "SELECT * FROM remark").is_empty());
    // What the server said about it comes too late.
    let second = [crate::world::outcome(
        outgoing.groups[1].id,
        vec![waits_for()],
    )];
    desk.sync.store_outcomes(outgoing.request, &second).unwrap();
    assert!(request(&mut desk.sync).groups.is_empty());
    assert!(query(&desk.store, "SELECT * FROM remark").is_empty());
}

#[test]
fn a_row_made_again_after_a_refused_delete_is_updated() {
    let mut desk = Desk::new();
    desk.store.delete("sheet", &[text("s1")]).unwrap();
    let outgoing = request(&mut desk.sync);
    let again = attributes([("id", text("s1")), ("a", text("again"))]);
    desk.store.create("sheet", &again).unwrap();
    settle(
        &mut desk.sync,
        &outgoing,
        &Verdict::rejected(Code::FORBIDDEN, "no"),
    );
    let name = desk.culprit();
    desk.store.drop_change(&name).unwrap();
    let done = desk.round();
    assert_eq!(done[0].0.changes[0].op, Op::Update);
    assert_eq!(ends(&done), ["applied"]);
    let row = &desk.rows["s1"];
    assert_eq!(
        (&row["a"], &row["b"], &row["made"]),
        (&text("again"), &Value::Null, &text("m"))
    );
    assert_eq!(&desk.seen("s1"), row);
}

#[test]
fn p7_a_gone_row_can_be_dropped_or_tried_again() {
    for retry in [true, false] {
        let mut desk = Desk::new();
        desk.mine("s1", &set("a", "mine"));
        desk.rows.remove("s1");
        assert_eq!(ends(&desk.round()), ["rejected"]);
        let name = desk.culprit();
        if !retry {
            desk.store.drop_change(&name).unwrap();
            assert!(desk.store.get("sheet", &[text("s1")]).unwrap().is_none());
            continue;
        }
        desk.store.retry(&name, None).unwrap();
        assert!(
            desk.store.get("sheet", &[text("s1")]).unwrap().is_none(),
            "nothing comes back"
        );
        assert_eq!(ends(&desk.round()), ["rejected"]);
        let change = desk.store.changes().unwrap().remove(0);
        assert_eq!(
            (change.set, change.code),
            (set("a", "mine"), Some(Code::GONE))
        );
    }
}

#[test]
fn p2_of_two_processes_that_decide_one_does() {
    let (mut desk, name) = refused();
    let mut other = desk.world.store();
    let results: Vec<_> = std::thread::scope(|scope| {
        let store = &mut desk.store;
        let one = scope.spawn(|| store.retry(&name, Some(&set("a", "one"))).map(|_| ()));
        let two = scope.spawn(|| other.drop_change(&name));
        vec![one.join().unwrap(), two.join().unwrap()]
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let lost = results.into_iter().find_map(Result::err).unwrap();
    assert_eq!(lost.code(), &Code::NOT_PARKED);
    assert_eq!(desk.store.status().unwrap().parked, 0);
}

#[test]
fn p2_a_copy_of_the_device_decides_too_and_both_absorb_the_same_group() {
    let (mut desk, name) = refused();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy");
    desk.world
        .plain()
        .execute("VACUUM INTO ?1", [path.to_str().unwrap()])
        .unwrap();
    let mut copy = afield::Store::open(&path, crate::world::USER, desk.world.env()).unwrap();
    let mut copied = afield::SyncStore::open(&path, crate::world::USER, desk.world.env()).unwrap();
    desk.store.retry(&name, Some(&set("a", "here"))).unwrap();
    copy.retry(&name, Some(&set("a", "there"))).unwrap();
    let here = desk.world.groups(&request(&mut desk.sync)).remove(0);
    let there = desk.world.groups(&request(&mut copied)).remove(0);
    assert_eq!(here.absorbed, there.absorbed);
    assert!(name.starts_with(&here.absorbed[0].to_string()));
    assert_ne!(here.id, there.id);
}

#[test]
fn an_app_s_own_references_do_not_stand_against_a_decision() {
    let world = World::new();
    let mut store = world.store();
    execute(
        &mut store,
        "CREATE TABLE mark (contact TEXT REFERENCES contact (id))",
    )
    .unwrap();
    store
        .create("contact", &attributes([("id", id(1))]))
        .unwrap();
    let sql = "INSERT INTO mark SELECT id FROM contact";
    execute(&mut store, sql).unwrap();
    let mut sync = world.sync();
    let outgoing = request(&mut sync);
    settle(
        &mut sync,
        &outgoing,
        &Verdict::rejected(Code::FORBIDDEN, "no"),
    );
    let name = store.changes().unwrap().remove(0).change;
    store.drop_change(&name).unwrap();
    assert!(query(&store, "SELECT * FROM contact").is_empty());
    // What is written afterwards is captured as ever.
    store
        .create("contact", &attributes([("id", id(2))]))
        .unwrap();
    assert_eq!(request(&mut sync).groups.len(), 1);
}

#[test]
fn the_zoo_s_mistakes_in_decisions_show() {
    plant(Some("retry-same-id"));
    let (mut desk, name) = refused();
    desk.store.retry(&name, Some(&set("a", "good"))).unwrap();
    let sent = desk.world.groups(&request(&mut desk.sync));
    assert!(name.starts_with(&sent[0].id.to_string()));
    plant(Some("drop-forgets-record"));
    let (mut desk, name) = refused();
    desk.store.drop_change(&name).unwrap();
    plant(None);
    let changes = desk.store.changes().unwrap();
    assert!(changes.iter().all(|change| change.change != name));
    let outcomes = desk.store.outcomes(0).unwrap();
    assert_eq!(outcomes[0].result, VerdictKind::Rejected);
}

//! A group that a copy of the device sent too, in part: each of its changes is an open conflict,
//! and what is sent again is what was decided about, when all of it was.

use afield::protocol::{Attributes, Code, Merge, Op, Theirs, Value, Verdict, VerdictKind};
use afield::{ChangeState, Resolution, RowState};

use crate::sheets::{Desk, ends, set, sheet, sheets};
use crate::world::{attributes, int, outcome, request, text};

/// The user counts 5 up to 6 on both sheets, and so did the copy, whose part was applied. Gives
/// the names of both conflicts.
fn known(merge: Merge) -> (Desk, [String; 2]) {
    let mut desk = Desk::with(sheets(merge));
    desk.store
        .transaction(|tx| {
            for id in ["s1", "s2"] {
                let mut set = set("a", "mine");
                set.insert("visits".into(), int(6));
                tx.update("sheet", &[text(id)], &set)?;
            }
            Ok(())
        })
        .unwrap();
    let outgoing = request(&mut desk.sync);
    for id in ["s1", "s2"] {
        desk.rows.insert(id.into(), sheet("copy", "b0", 6));
    }
    let conflict = |id: &str| Verdict::conflict(Code::ABSORBED_KNOWN, theirs(&desk, id));
    let verdicts = vec![conflict("s1"), conflict("s2")];
    let stored = [outcome(outgoing.groups[0].id, verdicts)];
    desk.sync.store_outcomes(outgoing.request, &stored).unwrap();
    desk.pull();
    let names = desk.store.conflicts().unwrap();
    let names = names.into_iter().map(|open| open.conflict);
    let names: Vec<String> = names.collect();
    (desk, names.try_into().unwrap())
}

fn theirs(desk: &Desk, id: &str) -> Theirs {
    desk.rows.get(id).cloned().map_or(Theirs::Gone, Theirs::Row)
}

fn state(desk: &mut Desk, id: &str) -> RowState {
    desk.store.row_state("sheet", &[text(id)]).unwrap()
}

fn visits(row: &Attributes) -> &Value {
    &row["visits"]
}

#[test]
fn p2_nothing_of_a_group_goes_again_before_all_of_it_is_decided() {
    let (mut desk, names) = known(Merge::Record);
    let name = desk.store.resolve(&names[0], &Resolution::Mine).unwrap();
    assert_eq!(name.as_ref(), Some(&names[0]), "its name until it is sent");
    assert!(desk.push().is_empty(), "the other one is not decided");
    let status = desk.store.status().unwrap();
    assert_eq!(
        (status.conflicts, status.parked, status.held, status.pending),
        (1, 1, 1, 0)
    );
    assert_eq!(state(&mut desk, "s1"), RowState::Held);
    assert_eq!(state(&mut desk, "s2"), RowState::Conflict);
    let changes = desk.store.changes().unwrap();
    let decided = changes.iter().find(|it| it.change == names[0]).unwrap();
    assert_eq!(decided.state, ChangeState::Held);
    assert_eq!(decided.code, Some(Code::WAITS_FOR));
    assert_eq!(decided.waits_for.as_ref(), Some(&names[1]));
    // What was decided about is kept, and not decided again.
    let recorded = changes.iter().find(|it| it.state == ChangeState::Dropped);
    let recorded = recorded.unwrap();
    assert_eq!(recorded.code, Some(Code::ABSORBED_KNOWN));
    assert_eq!(recorded.theirs, Some(sheet("copy", "b0", 6)));
    for twice in [
        desk.store.resolve(&names[0], &Resolution::Theirs).map(drop),
        desk.store.retry(&names[0], None).map(drop),
        desk.store.drop_change(&names[0]),
    ] {
        let error = twice.unwrap_err();
        assert_eq!(error.code(), &Code::NOT_PARKED);
        assert!(error.to_string().contains("as soon as"), "{error}");
    }
    let last = desk.store.resolve(&names[1], &Resolution::Mine).unwrap();
    assert_ne!(last.as_ref(), Some(&names[1]));
    let done = desk.round();
    assert_eq!(ends(&done), ["applied"]);
    assert_eq!((done.len(), done[0].0.changes.len()), (1, 2));
    assert_eq!(done[0].0.absorbed.len(), 1, "itself alone");
    for id in ["s1", "s2"] {
        assert_eq!(desk.rows[id], sheet("mine", "b0", 6), "counted once");
        assert_eq!(desk.seen(id), sheet("mine", "b0", 6));
    }
    // Both records have the names under which they were decided.
    let changes = desk.store.changes().unwrap();
    for name in &names {
        let kept = changes.iter().find(|change| change.change == *name);
        assert_eq!(kept.unwrap().state, ChangeState::Dropped, "{name}");
    }
}

#[test]
fn p2_p6_what_is_dropped_keeps_its_name_and_the_others_theirs() {
    for first in [0, 1] {
        let (mut desk, names) = known(Merge::Record);
        let (dropped, other) = (&names[first], &names[1 - first]);
        desk.store.resolve(dropped, &Resolution::Theirs).unwrap();
        assert!(desk.push().is_empty());
        assert_eq!(&desk.conflict(), other, "the same name as before");
        let error = desk.store.drop_change(dropped).unwrap_err();
        assert_eq!(error.code(), &Code::NOT_PARKED, "{error}");
        desk.store.resolve(other, &Resolution::Mine).unwrap();
        let done = desk.round();
        assert_eq!(ends(&done), ["applied"]);
        assert_eq!(done[0].0.changes.len(), 1);
        let (id, mine) = if first == 0 {
            ("s1", "s2")
        } else {
            ("s2", "s1")
        };
        assert_eq!(desk.seen(id), sheet("copy", "b0", 6));
        assert_eq!(desk.seen(mine), sheet("mine", "b0", 6));
        let changes = desk.store.changes().unwrap();
        for name in &names {
            let kept = changes.iter().find(|change| change.change == *name);
            assert_eq!(kept.unwrap().state, ChangeState::Dropped, "{name}");
        }
    }
}

#[test]
fn p6_a_group_that_is_given_up_whole_is_one_in_the_history() {
    let (mut desk, names) = known(Merge::Record);
    for name in &names {
        desk.store.resolve(name, &Resolution::Theirs).unwrap();
    }
    assert!(desk.round().is_empty());
    let changes = desk.store.changes().unwrap();
    let kept: Vec<_> = changes.iter().map(|it| (&it.change, it.state)).collect();
    let expected: Vec<_> = (names.iter().map(|it| (it, ChangeState::Dropped))).collect();
    assert_eq!(kept, expected);
    assert_eq!(desk.seen("s1"), sheet("copy", "b0", 6));
    assert_eq!(state(&mut desk, "s1"), RowState::Synced);
}

#[test]
fn p2_a_mate_that_is_dropped_does_not_send_an_open_conflict() {
    let mut desk = Desk::new();
    desk.mine_together(&set("a", "mine"), &set("a", "mate"));
    desk.theirs("s1", "a", text("theirs"));
    assert_eq!(ends(&desk.round()), ["conflict"]);
    let open = desk.conflict();
    let changes = desk.store.changes().unwrap();
    let mate = changes.iter().find(|it| it.change != open).unwrap();
    desk.store.drop_change(&mate.change).unwrap();
    assert!(desk.push().is_empty());
    assert_eq!(desk.conflict(), open);
    desk.store.resolve(&open, &Resolution::Mine).unwrap();
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"]["a"], text("mine"));
    assert_eq!(desk.seen("s2"), sheet("a0", "b0", 5));
}

#[test]
fn p3_p8_a_later_edit_of_a_decided_row_waits_with_it() {
    for merge in [Merge::Record, Merge::Attribute] {
        let (mut desk, names) = known(merge);
        desk.store.resolve(&names[0], &Resolution::Mine).unwrap();
        // Another attribute, so that nothing but the row itself holds it.
        desk.mine("s1", &set("b", "later"));
        desk.mine("s1", &attributes([("visits", int(9))]));
        assert_eq!(desk.seen("s1"), sheet("mine", "later", 9));
        assert!(desk.round().is_empty(), "{merge:?}: never before it");
        assert_eq!(desk.seen("s1"), sheet("mine", "later", 9));
        let changes = desk.store.changes().unwrap();
        let later = changes.last().unwrap();
        assert_eq!(later.state, ChangeState::Held);
        desk.store.resolve(&names[1], &Resolution::Theirs).unwrap();
        let done = desk.round();
        assert!(ends(&done).iter().all(|end| *end == "applied"), "{done:?}");
        assert_eq!(desk.rows["s1"], sheet("mine", "later", 9));
        assert_eq!(desk.seen("s1"), sheet("mine", "later", 9));
    }
}

#[test]
fn p2_a_counter_is_what_the_user_sees_and_not_counted_onto_theirs() {
    let (mut desk, names) = known(Merge::Record);
    // Both counted one up, or the copy did: nobody can tell. The row stays as he sees it.
    assert_eq!(visits(&desk.seen("s1")), &int(6));
    let open = desk.store.conflicts().unwrap().remove(0);
    assert_eq!(visits(open.mine.as_ref().unwrap()), &int(6));
    assert_eq!(open.attributes, ["a"], "the counter is the same");
    // A later edit is folded into the version that he sees.
    desk.mine("s1", &attributes([("visits", int(8))]));
    desk.theirs("s1", "visits", int(7));
    desk.pull();
    assert_eq!(visits(&desk.seen("s1")), &int(8));
    let open = desk.store.conflicts().unwrap().remove(0);
    assert_eq!(visits(open.mine.as_ref().unwrap()), &int(8));
    assert_eq!(open.attributes, ["a", "visits"]);
    for name in &names {
        desk.store.resolve(name, &Resolution::Mine).unwrap();
    }
    assert_eq!(visits(&desk.seen("s1")), &int(8));
    // What is sent is the difference to theirs: who counts meanwhile counts too.
    desk.theirs("s1", "visits", int(17));
    let done = desk.round();
    assert_eq!(ends(&done), ["applied"]);
    let sent = &done[0].0.changes[0];
    assert_eq!((visits(&sent.base), visits(&sent.set)), (&int(7), &int(8)));
    assert_eq!(visits(&desk.rows["s1"]), &int(18));
    assert_eq!(visits(&desk.rows["s2"]), &int(6));
}

#[test]
fn p2_what_a_pull_added_before_the_outcome_is_part_of_what_the_user_sees() {
    let mut desk = Desk::new();
    desk.mine("s1", &attributes([("visits", int(6))]));
    let outgoing = request(&mut desk.sync);
    desk.theirs("s1", "visits", int(7));
    desk.pull();
    assert_eq!(visits(&desk.seen("s1")), &int(8));
    let verdicts = vec![Verdict::conflict(Code::ABSORBED_KNOWN, theirs(&desk, "s1"))];
    let stored = [outcome(outgoing.groups[0].id, verdicts)];
    desk.sync.store_outcomes(outgoing.request, &stored).unwrap();
    let open = desk.store.conflicts().unwrap().remove(0);
    assert_eq!(visits(open.mine.as_ref().unwrap()), &int(8));
    assert_eq!(visits(&desk.seen("s1")), &int(8));
}

#[test]
fn resolvers_settle_every_conflict_of_a_group() {
    let (mut desk, _) = known(Merge::Record);
    desk.sync.set_resolver("sheet", |open| {
        Some(match open.key == [text("s1")] {
            true => Resolution::Mine,
            false => Resolution::Theirs,
        })
    });
    let done = desk.round();
    assert_eq!(ends(&done), ["applied"]);
    assert_eq!(done[0].0.changes.len(), 1);
    assert_eq!(desk.rows["s1"], sheet("mine", "b0", 6));
    assert_eq!(desk.rows["s2"], sheet("copy", "b0", 6));
    assert_eq!(desk.store.status().unwrap().conflicts, 0);
}

#[test]
fn p2_a_decided_row_that_is_gone_is_counted_once_when_it_is_back() {
    let (mut desk, names) = known(Merge::Attribute);
    desk.mine("s1", &attributes([("visits", int(8))]));
    desk.store.resolve(&names[0], &Resolution::Mine).unwrap();
    let row = desk.rows.remove("s1").unwrap();
    desk.pull();
    desk.rows.insert("s1".into(), row);
    desk.pull();
    desk.store.resolve(&names[1], &Resolution::Theirs).unwrap();
    for _ in 0..3 {
        desk.round();
        for open in desk.store.conflicts().unwrap() {
            desk.store
                .resolve(&open.conflict, &Resolution::Mine)
                .unwrap();
        }
    }
    assert_eq!(visits(&desk.rows["s1"]), &int(8));
    assert_eq!(desk.seen("s1"), desk.rows["s1"]);
}

#[test]
fn a_decided_create_of_a_row_that_was_gone_is_seen_and_holds_the_row() {
    let (mut desk, names) = known(Merge::Record);
    desk.rows.remove("s1");
    desk.pull();
    desk.store.conflicts().unwrap();
    desk.store.resolve(&names[0], &Resolution::Mine).unwrap();
    assert_eq!(desk.seen("s1")["a"], text("mine"));
    desk.mine("s1", &set("b", "later"));
    assert!(desk.round().is_empty());
    desk.store.resolve(&names[1], &Resolution::Theirs).unwrap();
    let done = desk.round();
    assert!(ends(&done).iter().all(|end| *end == "applied"), "{done:?}");
    assert_eq!(done[0].0.changes[0].op, Op::Create);
    assert_eq!(desk.rows["s1"]["b"], text("later"));
}

#[test]
fn outcomes_of_an_earlier_name_do_not_stand_for_a_decision() {
    let mut desk = Desk::new();
    let bad = |tx: &mut afield::Transaction<'_>| {
        tx.update("sheet", &[text("s1")], &set("a", "bad"))?;
        tx.update("sheet", &[text("s2")], &set("a", "mate"))
    };
    desk.store.transaction(bad).unwrap();
    assert_eq!(ends(&desk.push()), ["rejected"]);
    let name = desk.culprit();
    desk.store.retry(&name, None).unwrap();
    let outgoing = request(&mut desk.sync);
    let conflict = |id| Verdict::conflict(Code::ABSORBED_KNOWN, theirs(&desk, id));
    let verdicts = vec![conflict("s1"), conflict("s2")];
    let stored = [outcome(outgoing.groups[0].id, verdicts)];
    desk.sync.store_outcomes(outgoing.request, &stored).unwrap();
    let open = desk.store.conflicts().unwrap();
    let names: Vec<_> = open.into_iter().map(|open| open.conflict).collect();
    desk.store
        .resolve(&names[0], &Resolution::Merged(set("a", "good")))
        .unwrap();
    assert_eq!(state(&mut desk, "s1"), RowState::Held);
    assert!(desk.push().is_empty());
    desk.store.resolve(&names[1], &Resolution::Mine).unwrap();
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"]["a"], text("good"));
    let outcomes = desk.store.outcomes(0).unwrap();
    let kinds: Vec<_> = outcomes.iter().map(|it| it.result).collect();
    use VerdictKind::{Applied, Conflict, Rejected};
    assert_eq!(
        kinds,
        [Rejected, Rejected, Conflict, Conflict, Applied, Applied]
    );
}

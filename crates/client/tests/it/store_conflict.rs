//! Conflicts: shown, kept, decided.

use afield::protocol::zoo::plant;
use afield::protocol::{Attributes, Code, Merge, Op, Theirs, Value, Verdict, VerdictKind};
use afield::{ChangeState, Resolution, RowState};

use crate::sheets::{Desk, ends, set, sheet, sheets};
use crate::world::{attributes, int, outcome, request, text};

/// The user set `a`; somebody else set `theirs` first.
fn in_conflict(merge: Merge, theirs: &str) -> Desk {
    let mut desk = Desk::with(sheets(merge));
    desk.mine("s1", &set("a", "mine"));
    desk.theirs("s1", theirs, text("theirs"));
    let done = desk.push();
    assert_eq!(ends(&done), ["conflict"]);
    desk
}

fn state(desk: &mut Desk, id: &str) -> RowState {
    desk.store.row_state("sheet", &[text(id)]).unwrap()
}

#[test]
fn a_conflict_shows_both_versions_and_the_row_stays_the_users() {
    let mut desk = in_conflict(Merge::Record, "b");
    desk.world.pass_ms(7);
    let open = desk.store.conflicts().unwrap().remove(0);
    assert_eq!(
        (open.entity.as_str(), &open.key),
        ("sheet", &vec![text("s1")])
    );
    assert_eq!(open.op, Op::Update);
    assert_eq!(open.base, sheet("a0", "b0", 5));
    assert_eq!(open.theirs, Some(sheet("a0", "theirs", 5)));
    assert_eq!(open.mine, Some(sheet("mine", "theirs", 5)));
    assert_eq!(open.attributes, ["a"]);
    assert_eq!(open.since_ms, 1_700_000_000_000);
    let change = desk.store.changes().unwrap().remove(0);
    assert_eq!(change.change, open.conflict);
    assert_eq!(change.code, Some(Code::ROW_CHANGED));
    assert_eq!(change.theirs, open.theirs);
    // Before the pull the row is as the device knew it, after it as the server has it, each time
    // with what the user typed on top.
    assert_eq!(desk.seen("s1"), sheet("mine", "b0", 5));
    desk.pull();
    assert_eq!(desk.seen("s1"), open.mine.unwrap());
    let status = desk.store.status().unwrap();
    assert_eq!((status.conflicts, status.parked), (1, 1));
    assert_eq!(state(&mut desk, "s1"), RowState::Conflict);
    assert_eq!(state(&mut desk, "s2"), RowState::Synced);
}

#[test]
fn mine_goes_again_on_the_row_that_was_shown() {
    for (merge, theirs) in [
        (Merge::Record, "b"),
        (Merge::Record, "a"),
        (Merge::Attribute, "a"),
    ] {
        let mut desk = in_conflict(merge, theirs);
        let name = desk.conflict();
        let again = desk.store.resolve(&name, &Resolution::Mine).unwrap();
        let again = again.expect("it goes again");
        assert_ne!(again, name);
        assert_eq!(state(&mut desk, "s1"), RowState::Pending);
        assert_eq!(desk.store.status().unwrap().conflicts, 0);
        let done = desk.round();
        assert_eq!(ends(&done), ["applied"]);
        assert_eq!(done[0].0.absorbed.len(), 1);
        assert!(name.starts_with(&done[0].0.absorbed[0].to_string()));
        assert!(again.starts_with(&done[0].0.id.to_string()));
        let expected = match theirs {
            "a" => sheet("mine", "b0", 5),
            _ => sheet("mine", "theirs", 5),
        };
        assert_eq!(desk.rows["s1"], expected);
        assert_eq!(desk.seen("s1"), expected);
    }
}

#[test]
fn p6_theirs_leaves_the_users_values_in_the_history() {
    let mut desk = in_conflict(Merge::Record, "a");
    let name = desk.conflict();
    assert_eq!(
        desk.store.resolve(&name, &Resolution::Theirs).unwrap(),
        None
    );
    desk.round();
    assert_eq!(desk.seen("s1"), sheet("theirs", "b0", 5));
    let kept = desk.store.changes().unwrap().remove(0);
    assert_eq!((kept.state, &kept.change), (ChangeState::Dropped, &name));
    assert_eq!(
        (&kept.set, &kept.base),
        (&set("a", "mine"), &sheet("a0", "b0", 5))
    );
    assert_eq!(kept.theirs, Some(sheet("theirs", "b0", 5)));
    assert_eq!(kept.code, Some(Code::ROW_CHANGED));
    assert_eq!(state(&mut desk, "s1"), RowState::Synced);
    let status = desk.store.status().unwrap();
    assert_eq!((status.parked, status.pending, status.conflicts), (0, 0, 0));
    let outcomes = desk.store.outcomes(0).unwrap();
    assert_eq!(
        (outcomes.len(), outcomes[0].result),
        (1, VerdictKind::Conflict)
    );
}

#[test]
fn p6_mine_and_merged_keep_a_record_of_what_was_decided_about() {
    for resolution in [Resolution::Mine, Resolution::Merged(set("a", "both"))] {
        let mut desk = in_conflict(Merge::Record, "a");
        let name = desk.conflict();
        desk.store.resolve(&name, &resolution).unwrap();
        let changes = desk.store.changes().unwrap();
        let record = changes.iter().find(|change| change.change == name).unwrap();
        assert_eq!(record.state, ChangeState::Dropped);
        assert_eq!(record.set, set("a", "mine"));
        assert_eq!(record.theirs, Some(sheet("theirs", "b0", 5)));
        assert_eq!(record.code, Some(Code::ROW_CHANGED));
        desk.round();
        let outcomes = desk.store.outcomes(0).unwrap();
        let ends: Vec<_> = outcomes
            .iter()
            .map(|it| (it.change == name, it.result))
            .collect();
        assert_eq!(
            ends,
            [(true, VerdictKind::Conflict), (false, VerdictKind::Applied)]
        );
    }
}

#[test]
fn merged_values_stand_and_the_rest_is_the_servers() {
    let mut desk = in_conflict(Merge::Record, "b");
    let name = desk.conflict();
    let merged = Resolution::Merged(set("b", "both"));
    desk.store.resolve(&name, &merged).unwrap();
    assert_eq!(desk.seen("s1"), sheet("a0", "both", 5));
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"], sheet("a0", "both", 5));
}

#[test]
fn what_equals_the_servers_row_needs_no_sending() {
    let mut desk = in_conflict(Merge::Record, "a");
    let name = desk.conflict();
    let same = Resolution::Merged(sheet("theirs", "b0", 5));
    assert_eq!(desk.store.resolve(&name, &same).unwrap(), None);
    assert!(desk.round().is_empty());
    assert_eq!(desk.store.status().unwrap().parked, 0);
}

#[test]
fn merged_values_are_checked_before_anything_is_changed() {
    let mut desk = in_conflict(Merge::Record, "a");
    let name = desk.conflict();
    for (values, code) in [
        (attributes([("visits", text("many"))]), Code::TYPE_MISMATCH),
        (set("nothing", "x"), Code::UNKNOWN_ATTRIBUTE),
        (set("made", "x"), Code::READ_ONLY),
        (set("id", "s9"), Code::IDENTIFIER_CHANGED),
    ] {
        let error = desk.store.resolve(&name, &Resolution::Merged(values));
        assert_eq!(error.unwrap_err().code(), &code);
    }
    assert_eq!(desk.conflict(), name);
    // The row as it was shown may be given whole.
    let mut whole = sheet("both", "b0", 5);
    whole.insert("id".into(), text("s1"));
    desk.store
        .resolve(&name, &Resolution::Merged(whole))
        .unwrap();
    assert_eq!(ends(&desk.round()), ["applied"]);
}

#[test]
fn a_delete_in_conflict_deletes_the_row_that_was_shown_or_brings_it_back() {
    let open = || {
        let mut desk = Desk::new();
        desk.store.delete("sheet", &[text("s1")]).unwrap();
        desk.theirs("s1", "b", text("theirs"));
        assert_eq!(ends(&desk.round()), ["conflict"]);
        let shown = desk.store.conflicts().unwrap().remove(0);
        assert_eq!((shown.mine.clone(), shown.op), (None, Op::Delete));
        assert_eq!(shown.attributes, ["b"]);
        assert!(desk.store.get("sheet", &[text("s1")]).unwrap().is_none());
        (desk, shown.conflict)
    };
    let (mut desk, name) = open();
    desk.store.resolve(&name, &Resolution::Mine).unwrap();
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert!(!desk.rows.contains_key("s1"));
    let (mut desk, name) = open();
    desk.store.resolve(&name, &Resolution::Theirs).unwrap();
    assert_eq!(desk.seen("s1"), sheet("a0", "theirs", 5));
    let (mut desk, name) = open();
    let values = Resolution::Merged(set("a", "kept"));
    desk.store.resolve(&name, &values).unwrap();
    assert_eq!(desk.seen("s1"), sheet("kept", "theirs", 5));
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"], sheet("kept", "theirs", 5));
}

#[test]
fn a_create_in_conflict_becomes_an_update_and_its_children_follow() {
    for resolution in [Resolution::Mine, Resolution::Theirs] {
        let mut desk = Desk::new();
        let row = attributes([("id", text("s3")), ("a", text("mine"))]);
        desk.store.create("sheet", &row).unwrap();
        let remark = attributes([("id", int(1)), ("sheet", text("s3"))]);
        desk.rows.insert("s3".into(), sheet("theirs", "b3", 3));
        let first = desk.round();
        assert_eq!(ends(&first), ["conflict"]);
        desk.store.create("remark", &remark).unwrap();
        assert!(desk.push().is_empty(), "it waits for the row");
        let name = desk.conflict();
        desk.store.resolve(&name, &resolution).unwrap();
        let done = desk.round();
        let ops: Vec<_> = done.iter().map(|(group, _)| group.changes[0].op).collect();
        let a = match resolution {
            Resolution::Mine => {
                assert_eq!(ops, [Op::Update, Op::Create]);
                "mine"
            }
            _ => {
                assert_eq!(ops, [Op::Create]);
                "theirs"
            }
        };
        assert!(ends(&done).iter().all(|end| *end == "applied"), "{done:?}");
        assert_eq!(desk.seen("s3"), sheet(a, "b3", 3));
    }
}

#[test]
fn p7_a_row_that_is_gone_meanwhile_is_made_again_from_what_was_typed() {
    let mut desk = in_conflict(Merge::Record, "b");
    desk.rows.remove("s1");
    desk.pull();
    let open = desk.store.conflicts().unwrap().remove(0);
    assert_eq!((&open.theirs, &open.base), (&None, &Attributes::new()));
    assert_eq!(open.mine, Some(set("a", "mine")));
    assert!(desk.store.get("sheet", &[text("s1")]).unwrap().is_none());
    desk.store
        .resolve(&open.conflict, &Resolution::Mine)
        .unwrap();
    let row = desk.seen("s1");
    assert_eq!((&row["a"], &row["b"]), (&text("mine"), &Value::Null));
    let done = desk.round();
    assert_eq!(done[0].0.changes[0].op, Op::Create);
    assert_eq!(ends(&done), ["applied"]);
    assert_eq!(desk.rows["s1"], set("a", "mine"));
}

#[test]
fn a_decision_is_about_the_row_that_was_shown_last() {
    let mut desk = in_conflict(Merge::Record, "b");
    let name = desk.conflict();
    desk.theirs("s1", "b", text("later"));
    desk.pull();
    // Nobody has looked since: what he decides on is the older row, and the server says so.
    desk.store.resolve(&name, &Resolution::Mine).unwrap();
    assert_eq!(ends(&desk.round()), ["conflict"]);
    desk.theirs("s1", "b", text("latest"));
    desk.pull();
    let open = desk.store.conflicts().unwrap().remove(0);
    assert_eq!(open.theirs, Some(sheet("a0", "latest", 5)));
    desk.store
        .resolve(&open.conflict, &Resolution::Mine)
        .unwrap();
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"], sheet("mine", "latest", 5));
}

#[test]
fn p3_a_later_edit_of_the_row_alone_is_folded_into_the_conflict() {
    let mut desk = in_conflict(Merge::Record, "b");
    let name = desk.conflict();
    desk.mine("s1", &set("b", "later"));
    desk.mine("s1", &set("a", "again"));
    assert_eq!(desk.seen("s1"), sheet("again", "later", 5));
    assert_eq!(desk.store.changes().unwrap().len(), 1);
    let open = desk.store.conflicts().unwrap().remove(0);
    assert_eq!(open.conflict, name);
    assert_eq!(open.attributes, ["a", "b"]);
    desk.store.resolve(&name, &Resolution::Mine).unwrap();
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"], sheet("again", "later", 5));
}

#[test]
fn p3_a_folded_delete_is_the_version_to_decide_about() {
    let mut desk = in_conflict(Merge::Record, "b");
    desk.store.delete("sheet", &[text("s1")]).unwrap();
    let open = desk.store.conflicts().unwrap().remove(0);
    assert_eq!((open.op, open.mine), (Op::Delete, None));
    desk.store
        .resolve(&open.conflict, &Resolution::Mine)
        .unwrap();
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert!(!desk.rows.contains_key("s1"));
}

/// An edit of two rows, one of them in conflict; then one of that row alone.
fn behind() -> Desk {
    let mut desk = in_conflict(Merge::Record, "b");
    desk.pull();
    desk.mine_together(&set("b", "second"), &set("b", "second"));
    desk.mine("s1", &set("a", "third"));
    assert!(desk.push().is_empty(), "the whole row waits");
    let waits: Vec<_> = desk.store.changes().unwrap();
    let name = desk.conflict();
    for change in &waits[1..] {
        assert_eq!(change.state, ChangeState::Held);
        assert_eq!(change.code, Some(Code::WAITS_FOR));
        assert_eq!(change.waits_for.as_ref(), Some(&name));
    }
    assert_eq!(waits.len(), 4);
    assert_eq!(state(&mut desk, "s2"), RowState::Held);
    assert_eq!(desk.seen("s1"), sheet("third", "second", 5));
    desk
}

#[test]
fn p3_other_later_edits_wait_and_follow_what_was_decided() {
    for (resolution, a) in [
        (Resolution::Mine, "mine"),
        (Resolution::Theirs, "a0"),
        (Resolution::Merged(set("a", "both")), "both"),
    ] {
        let mut desk = behind();
        let name = desk.conflict();
        desk.store.resolve(&name, &resolution).unwrap();
        assert_eq!(desk.seen("s1"), sheet("third", "second", 5));
        let done = desk.round();
        assert!(ends(&done).iter().all(|end| *end == "applied"), "{done:?}");
        let third = &done.last().unwrap().0.changes[0];
        assert_eq!(
            (&third.base["a"], &third.base["b"]),
            (&text(a), &text("second"))
        );
        assert_eq!(desk.rows["s1"], sheet("third", "second", 5));
        assert_eq!(desk.rows["s2"], sheet("a0", "second", 5));
    }
}

#[test]
fn p2_after_a_decision_edits_are_folded_as_ever() {
    let mut desk = in_conflict(Merge::Record, "b");
    let name = desk.conflict();
    desk.store.resolve(&name, &Resolution::Mine).unwrap();
    desk.mine("s1", &set("a", "after"));
    let done = desk.round();
    assert_eq!(ends(&done), ["applied"]);
    assert_eq!(done[0].0.absorbed.len(), 2);
    assert_eq!(desk.rows["s1"], sheet("after", "theirs", 5));
}

#[test]
fn mates_of_a_conflict_go_again_with_it() {
    for (resolution, groups) in [(Resolution::Mine, 2), (Resolution::Theirs, 1)] {
        let mut desk = Desk::new();
        desk.mine_together(&set("a", "mine"), &set("a", "mate"));
        desk.theirs("s1", "a", text("theirs"));
        assert_eq!(ends(&desk.round()), ["conflict"]);
        assert_eq!(state(&mut desk, "s2"), RowState::Parked);
        let name = desk.conflict();
        desk.store.resolve(&name, &resolution).unwrap();
        assert_eq!(desk.seen("s2"), sheet("mate", "b0", 5));
        let done = desk.round();
        assert_eq!(ends(&done), ["applied"]);
        assert_eq!(done[0].0.changes.len(), groups);
        assert_eq!(desk.rows["s2"], sheet("mate", "b0", 5));
        let status = desk.store.status().unwrap();
        assert_eq!((status.parked, status.pending), (0, 0));
    }
}

#[test]
fn an_absorbed_group_that_was_applied_does_not_stand_against_a_decision_for_ever() {
    let mut desk = Desk::new();
    desk.mine("s1", &set("a", "copied"));
    desk.store.changes().unwrap();
    desk.mine("s1", &set("a", "mine"));
    let outgoing = request(&mut desk.sync);
    let known = Verdict::conflict(Code::ABSORBED_KNOWN, Theirs::Row(sheet("copy", "b0", 5)));
    crate::world::settle(&mut desk.sync, &outgoing, &known);
    desk.theirs("s1", "a", text("copy"));
    let name = desk.conflict();
    desk.store.resolve(&name, &Resolution::Mine).unwrap();
    let done = desk.round();
    assert_eq!(done[0].0.absorbed, [outgoing.groups[0].id]);
    assert_eq!(desk.rows["s1"], sheet("mine", "b0", 5));
}

#[test]
fn resolvers_decide_when_a_conflict_arrives_and_keep_its_record() {
    let mut desk = Desk::new();
    desk.sync.set_resolver("sheet", |open| {
        let mine = open.mine.as_ref()?.get("a")?.to_string();
        (mine != "ask").then(|| Resolution::Merged(set("a", &format!("{mine} too"))))
    });
    for (typed, left) in [("mine", 0), ("ask", 1)] {
        desk.mine("s1", &set("a", typed));
        desk.theirs("s1", "b", text(typed));
        assert_eq!(ends(&desk.round()), ["conflict"]);
        assert_eq!(desk.store.status().unwrap().conflicts, left, "{typed}");
        desk.round();
    }
    assert_eq!(desk.rows["s1"], sheet("mine too", "ask", 5));
    let changes = desk.store.changes().unwrap();
    let record = changes.iter().find(|it| it.state == ChangeState::Dropped);
    assert_eq!(record.unwrap().set, set("a", "mine"));
    // One that comes later finds what is still open, with the next sync.
    desk.sync.set_resolver("sheet", |_| Some(Resolution::Mine));
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"], sheet("ask", "ask", 5));
}

#[test]
fn a_resolver_that_fails_leaves_the_conflict_to_a_person() {
    let mut desk = Desk::new();
    desk.sync.set_resolver("sheet", |open| {
        assert_ne!(open.key, [text("s1")], "a mistake of the app's");
        Some(Resolution::Merged(set("nothing", "x")))
    });
    for id in ["s1", "s2"] {
        desk.mine(id, &set("a", "mine"));
        desk.theirs(id, "b", text("theirs"));
    }
    assert_eq!(ends(&desk.round()), ["conflict", "conflict"]);
    assert_eq!(desk.store.status().unwrap().conflicts, 2);
    assert_eq!(desk.seen("s1"), sheet("mine", "theirs", 5));
}

#[test]
fn the_zoo_s_mistakes_in_conflicts_show() {
    plant(Some("resolve-keeps-old-base"));
    let mut desk = in_conflict(Merge::Record, "b");
    let name = desk.conflict();
    desk.store.resolve(&name, &Resolution::Mine).unwrap();
    assert_eq!(ends(&desk.round()), ["conflict"]);
    plant(Some("conflict-edit-lost"));
    let mut desk = in_conflict(Merge::Record, "b");
    desk.mine("s1", &set("b", "later"));
    desk.pull();
    plant(None);
    assert_eq!(desk.seen("s1"), sheet("mine", "theirs", 5));
}

/// Two copies of an app sync at the same time: the newer edit is settled, and no pull has shown it
/// yet, while the older one is in conflict. A still newer one lies on top of both.
#[test]
fn p3_an_edit_is_not_folded_into_a_conflict_below_a_settled_edit() {
    let mut desk = Desk::with(sheets(Merge::Attribute));
    desk.mine("s1", &set("a", "mine"));
    request(&mut desk.sync);
    desk.mine("s1", &set("b", "settled"));
    desk.theirs("s1", "a", text("theirs"));
    let sent = request(&mut desk.sync);
    // Rows of an answer to this one are the first that must contain what is applied.
    request(&mut desk.sync);
    let theirs = Theirs::Row(sheet("theirs", "settled", 5));
    let verdicts = [
        Verdict::conflict(Code::ROW_CHANGED, theirs),
        Verdict::applied(),
    ];
    let groups = desk.world.groups(&sent);
    let outcomes: Vec<_> = (groups.iter().zip(verdicts))
        .map(|(group, verdict)| outcome(group.id, vec![verdict]))
        .collect();
    assert_eq!(outcomes.len(), 2);
    desk.sync.store_outcomes(sent.request, &outcomes).unwrap();
    desk.mine("s1", &set("b", "later"));
    assert_eq!(desk.seen("s1"), sheet("mine", "later", 5));
    desk.pull_late(&sent);
    assert_eq!(desk.seen("s1"), sheet("mine", "later", 5));
    // It waits for the decision, and goes then.
    desk.theirs("s1", "b", text("settled"));
    let name = desk.conflict();
    desk.store.resolve(&name, &Resolution::Theirs).unwrap();
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.seen("s1"), sheet("theirs", "later", 5));
}

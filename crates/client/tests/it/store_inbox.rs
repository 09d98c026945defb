//! Decisions that are made on the server about changes that are parked here.

use afield::protocol::{
    Attributes, Closed, Closing, Code, Decided, Group, GroupId, Merge, Op, Verdict,
};
use afield::{ChangeInfo, ChangeState, DecidedWhat, Outgoing, Resolution, RowState};

use crate::sheets::{Desk, ends, set, sheet, sheets};
use crate::world::{attributes, int, outcome, request, text};

/// The group that stands in the place of refused ones.
pub(crate) const INTO: GroupId = GroupId([0xdd; 16]);

pub(crate) fn decided(group: GroupId, into: Option<GroupId>, verdicts: Vec<Verdict>) -> Decided {
    Decided {
        group,
        into,
        by: "dora".into(),
        at_ms: 5,
        verdicts,
    }
}

/// An applied change that ended with these values besides.
fn with(values: Attributes) -> Verdict {
    Verdict {
        values,
        ..Verdict::applied()
    }
}

/// The user set `a`, somebody else set `b` or whatever `theirs` is; and what was sent.
fn in_conflict(merge: Merge, theirs: &str) -> (Desk, Group) {
    let mut desk = Desk::with(sheets(merge));
    desk.mine("s1", &set("a", "mine"));
    desk.theirs("s1", theirs, text("theirs"));
    let done = desk.push();
    assert_eq!(ends(&done), ["conflict"]);
    let (group, _) = done.into_iter().next().unwrap();
    (desk, group)
}

/// The dispatcher applies what was sent, with `more`, on the server.
fn apply(desk: &mut Desk, group: &Group, more: &Attributes) -> Decided {
    for change in &group.changes {
        let row = desk.rows.get_mut("s1").unwrap();
        row.extend(change.set.clone());
        row.extend(more.clone());
    }
    let verdicts = vec![with(more.clone()); group.changes.len()];
    decided(group.id, Some(INTO), verdicts)
}

/// The answer to a request that asked, up to its rows.
fn tell_only(desk: &mut Desk, decided: &Decided) -> Outgoing {
    let outgoing = request(&mut desk.sync);
    let told = std::slice::from_ref(decided);
    desk.sync.store_decided(outgoing.request, told).unwrap();
    outgoing
}

/// The same with its rows.
fn tell(desk: &mut Desk, decided: &Decided) -> Outgoing {
    let outgoing = tell_only(desk, decided);
    desk.pull_late(&outgoing);
    outgoing
}

fn closed(group: &Group, how: Closing) -> Closed {
    Closed {
        group: group.id,
        how,
    }
}

fn state(desk: &mut Desk) -> RowState {
    desk.store.row_state("sheet", &[text("s1")]).unwrap()
}

fn change(desk: &mut Desk, name: &str) -> ChangeInfo {
    let mut all = desk.store.changes().unwrap();
    all.retain(|it| it.change == name);
    assert_eq!(all.len(), 1, "{name}");
    all.remove(0)
}

#[test]
fn p3_an_applied_decision_settles_the_change_and_its_value_never_flickers() {
    let (mut desk, group) = in_conflict(Merge::Record, "b");
    let name = desk.conflict();
    assert!(desk.sync.asks_inbox().unwrap());
    let before = request(&mut desk.sync);
    assert_eq!(before.closed, [], "whether it is understood is not known");
    let told = apply(&mut desk, &group, &Attributes::new());
    let rows = desk.rows.clone();
    let answered = tell_only(&mut desk, &told);
    assert_eq!(desk.seen("s1"), sheet("mine", "b0", 5));
    assert_eq!(state(&mut desk), RowState::Synced);
    // Rows that were read before say nothing about it, whenever they come.
    desk.theirs("s1", "a", text("a0"));
    desk.pull_late(&before);
    assert_eq!(desk.seen("s1"), sheet("mine", "theirs", 5));
    desk.rows = rows;
    desk.pull_late(&answered);
    assert_eq!(desk.seen("s1"), desk.rows["s1"]);
    let settled = change(&mut desk, &format!("{INTO}.0"));
    assert_eq!(settled.state, ChangeState::Settled);
    let by = settled.decided.clone().unwrap();
    assert_eq!((by.by.as_str(), by.at_ms), ("dora", 5));
    assert_eq!(by.what, DecidedWhat::Applied);
    let kept = change(&mut desk, &name);
    assert_eq!(kept.state, ChangeState::Dropped);
    assert_eq!(
        (kept.set, kept.decided),
        (set("a", "mine"), settled.decided)
    );
    assert_eq!(desk.store.status().unwrap().parked, 0);
    assert_eq!(desk.store.status().unwrap().decided, 2);
    // Told again until an answer came that says the server knows.
    for _ in 0..2 {
        let again = tell(&mut desk, &told);
        assert_eq!(again.closed, [closed(&group, Closing::Told)]);
        assert_eq!(
            change(&mut desk, &name).decided.unwrap().what.as_str(),
            "applied"
        );
    }
    let said = request(&mut desk.sync);
    desk.sync.closings_told(&said.closed).unwrap();
    assert_eq!(request(&mut desk.sync).closed, []);
    assert!(!desk.sync.asks_inbox().unwrap());
}

#[test]
fn a_corrected_value_is_what_the_user_sees() {
    let (mut desk, group) = in_conflict(Merge::Record, "b");
    let told = apply(
        &mut desk,
        &group,
        &attributes([("a", text("both")), ("visits", int(9))]),
    );
    tell(&mut desk, &told);
    assert_eq!(desk.seen("s1"), sheet("both", "theirs", 9));
    desk.round();
    assert_eq!(desk.seen("s1"), desk.rows["s1"]);
}

#[test]
fn p6_a_dropped_decision_leaves_the_users_values_in_the_history() {
    let (mut desk, group) = in_conflict(Merge::Record, "a");
    let name = desk.conflict();
    let outgoing = tell(&mut desk, &decided(group.id, None, Vec::new()));
    assert_eq!(desk.seen("s1"), sheet("theirs", "b0", 5));
    assert_eq!(outgoing.groups.len(), 0);
    let kept = change(&mut desk, &name);
    assert_eq!(
        (kept.state, kept.set),
        (ChangeState::Dropped, set("a", "mine"))
    );
    assert_eq!(kept.decided.unwrap().what, DecidedWhat::Dropped);
    assert_eq!(kept.code, Some(Code::ROW_CHANGED));
    let said = request(&mut desk.sync);
    assert_eq!(said.closed, [closed(&group, Closing::Told)]);
    assert!(said.groups.is_empty());
}

#[test]
fn p1_what_was_typed_since_goes_on_its_own() {
    for into in [Some(INTO), None] {
        let (mut desk, group) = in_conflict(Merge::Attribute, "a");
        desk.mine("s1", &set("b", "later"));
        assert_eq!(desk.store.changes().unwrap().len(), 1, "it is folded");
        let told = match into {
            Some(_) => apply(&mut desk, &group, &Attributes::new()),
            None => decided(group.id, None, Vec::new()),
        };
        tell(&mut desk, &told);
        let a = if into.is_some() { "mine" } else { "theirs" };
        assert_eq!(desk.seen("s1"), sheet(a, "later", 5));
        assert_eq!(state(&mut desk), RowState::Pending);
        assert_eq!(ends(&desk.round()), ["applied"]);
        assert_eq!(desk.seen("s1"), sheet(a, "later", 5));
        assert_eq!(desk.rows["s1"], sheet(a, "later", 5));
    }
}

/// The same value again, or taken back: it goes on where the decision is what the user saw, and he
/// is asked where it is not.
#[test]
fn p6_a_later_value_of_the_same_attribute_is_decided_by_what_the_user_saw() {
    for (later, more, end) in [
        ("later", Attributes::new(), "applied"),
        ("a0", Attributes::new(), "applied"),
        ("later", set("a", "both"), "conflict"),
        ("later", set("a", "later"), "applied"),
    ] {
        let (mut desk, group) = in_conflict(Merge::Attribute, "a");
        desk.mine("s1", &set("a", later));
        let told = apply(&mut desk, &group, &more);
        tell(&mut desk, &told);
        assert_eq!(desk.seen("s1")["a"], text(later));
        let done = desk.round();
        let ended = ends(&done);
        assert_eq!(ended, [end], "{later} {more:?}");
        assert_eq!(desk.seen("s1")["a"], text(later));
    }
    let (mut desk, group) = in_conflict(Merge::Attribute, "a");
    desk.mine("s1", &set("a", "later"));
    tell(&mut desk, &decided(group.id, None, Vec::new()));
    assert_eq!(desk.seen("s1")["a"], text("later"));
    assert_eq!(ends(&desk.round()), ["conflict"], "he never saw theirs");
}

#[test]
fn p1_a_row_that_was_deleted_since_is_deleted() {
    let (mut desk, group) = in_conflict(Merge::Record, "b");
    desk.pull();
    desk.store.delete("sheet", &[text("s1")]).unwrap();
    let told = apply(&mut desk, &group, &Attributes::new());
    tell(&mut desk, &told);
    desk.pull();
    let row = desk.store.get("sheet", &[text("s1")]).unwrap();
    assert_eq!(row, None, "it stays deleted");
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert!(!desk.rows.contains_key("s1"));
}

/// Counted before and after: each difference counts once.
#[test]
fn p2_counters_count_what_was_decided_and_what_came_since() {
    let mut desk = Desk::with(sheets(Merge::Record));
    desk.mine("s1", &attributes([("visits", int(6))]));
    desk.theirs("s1", "b", text("theirs"));
    let (group, _) = desk.push().remove(0);
    desk.mine("s1", &attributes([("visits", int(9))]));
    desk.rows
        .get_mut("s1")
        .unwrap()
        .insert("visits".into(), int(6));
    tell(
        &mut desk,
        &decided(group.id, Some(INTO), vec![Verdict::applied()]),
    );
    assert_eq!(desk.seen("s1")["visits"], int(9));
    let done = desk.push();
    let change = &done[0].0.changes[0];
    assert_eq!(
        (&change.base["visits"], &change.set["visits"]),
        (&int(6), &int(9))
    );
}

#[test]
fn p6_a_user_who_decided_first_is_told_and_keeps_his_decision() {
    for (resolution, how) in [
        (Resolution::Mine, Closing::Mine),
        (Resolution::Theirs, Closing::Theirs),
        (Resolution::Merged(set("a", "both")), Closing::Merged),
    ] {
        let (mut desk, group) = in_conflict(Merge::Record, "a");
        let name = desk.conflict();
        desk.sync.store_decided(0, &[]).unwrap();
        let again = desk.store.resolve(&name, &resolution).unwrap();
        let outgoing = request(&mut desk.sync);
        assert_eq!(outgoing.closed, [closed(&group, how)]);
        let seen = desk.seen("s1");
        let groups = desk.world.groups(&outgoing);
        tell_only(
            &mut desk,
            &decided(group.id, Some(INTO), vec![Verdict::applied()]),
        );
        assert_eq!(desk.seen("s1"), seen);
        assert_eq!(desk.world.groups(&request(&mut desk.sync)), groups);
        assert_eq!(
            change(&mut desk, &name).decided.unwrap().what,
            DecidedWhat::Late
        );
        assert_eq!(again.is_some(), !groups.is_empty());
        let said = request(&mut desk.sync);
        assert_eq!(said.closed, [closed(&group, Closing::Told)]);
    }
}

/// Retried and dropped ones are told too, and an older server is told nothing more.
#[test]
fn what_is_decided_here_is_told_until_the_server_has_heard_it() {
    let mut desk = Desk::new();
    desk.sync.store_decided(0, &[]).unwrap();
    desk.mine("s1", &set("a", "bad"));
    desk.mine("s2", &set("a", "bad"));
    let done = desk.push();
    let (first, second) = (done[0].0.clone(), done[1].0.clone());
    desk.store
        .retry(&format!("{}.0", first.id), Some(&set("a", "good")))
        .unwrap();
    desk.store.drop_change(&format!("{}.0", second.id)).unwrap();
    let mut said = request(&mut desk.sync).closed;
    said.sort_by_key(|closed| closed.group != first.id);
    let expected = [
        closed(&first, Closing::SentAgain),
        closed(&second, Closing::Dropped),
    ];
    assert_eq!(said, expected);
    desk.sync.closings_told(&said[..1]).unwrap();
    assert_eq!(request(&mut desk.sync).closed, expected[1..]);
    desk.sync.inbox_refused().unwrap();
    assert_eq!(request(&mut desk.sync).closed, []);
    desk.sync.store_decided(0, &[]).unwrap();
    assert_eq!(request(&mut desk.sync).closed, expected[1..]);
    desk.world.pass_ms(15 * 24 * 60 * 60 * 1_000);
    desk.sync.finished(None).unwrap();
    assert!(!desk.sync.asks_inbox().unwrap(), "nobody wanted to hear it");
}

/// The outcome was lost, and somebody decided before the group comes again.
#[test]
fn p2_a_decision_about_a_group_on_its_way_waits_for_its_outcome() {
    let mut desk = Desk::new();
    desk.mine("s1", &set("a", "mine"));
    let lost = request(&mut desk.sync);
    let group = desk.world.groups(&lost).remove(0);
    let told = decided(group.id, None, Vec::new());
    tell(&mut desk, &told);
    assert_eq!(desk.seen("s1"), sheet("mine", "b0", 5));
    assert_eq!(request(&mut desk.sync).closed, [], "it is told again");
    desk.theirs("s1", "a", text("theirs"));
    assert_eq!(ends(&desk.push()), ["conflict"]);
    tell(&mut desk, &told);
    assert_eq!(desk.seen("s1"), sheet("theirs", "b0", 5));
    assert_eq!(
        request(&mut desk.sync).closed,
        [closed(&group, Closing::Told)]
    );
}

/// A sheet that was refused, and a remark about it that is held.
fn refused_create() -> (Desk, Group) {
    let mut desk = Desk::new();
    let made = attributes([("id", text("s3")), ("a", text("bad"))]);
    desk.store.create("sheet", &made).unwrap();
    let (group, _) = desk.push().remove(0);
    let remark = attributes([("id", int(1)), ("sheet", text("s3")), ("text", text("r"))]);
    desk.store.create("remark", &remark).unwrap();
    assert_eq!(desk.store.status().unwrap().held, 1);
    (desk, group)
}

#[test]
fn p8_what_waited_for_a_decided_create_goes() {
    let (mut desk, group) = refused_create();
    desk.rows
        .insert("s3".into(), attributes([("a", text("good"))]));
    let told = decided(group.id, Some(INTO), vec![with(set("a", "good"))]);
    tell(&mut desk, &told);
    assert_eq!(desk.seen("s3")["a"], text("good"));
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.store.status().unwrap().held, 0);
}

/// Nobody who dropped the create knew of the remark: its user decides.
#[test]
fn p1_a_dropped_create_on_which_more_was_made_stays_parked() {
    let (mut desk, group) = refused_create();
    let name = desk.culprit();
    tell(&mut desk, &decided(group.id, None, Vec::new()));
    let parked = change(&mut desk, &name);
    assert_eq!(parked.state, ChangeState::Parked);
    assert_eq!(parked.decided.unwrap().what, DecidedWhat::Kept);
    assert_eq!(desk.store.status().unwrap().held, 1);
    let said = request(&mut desk.sync);
    assert_eq!(said.closed, [closed(&group, Closing::Told)]);
    desk.store.retry(&name, Some(&set("a", "good"))).unwrap();
    assert_eq!(ends(&desk.round()), ["applied", "applied"]);
}

/// One conflict of a group was decided here when the whole group was decided there.
#[test]
fn p6_a_group_that_was_decided_in_part_follows_the_decision() {
    let mut desk = Desk::new();
    desk.mine_together(&set("a", "mine"), &set("a", "mine"));
    let lost = request(&mut desk.sync);
    let group = desk.world.groups(&lost).remove(0);
    let known = Verdict::conflict(
        Code::ABSORBED_KNOWN,
        afield::protocol::Theirs::Row(sheet("copy", "b0", 5)),
    );
    let outcomes = [outcome(group.id, vec![known.clone(), known])];
    desk.sync.store_outcomes(lost.request, &outcomes).unwrap();
    let merged = Resolution::Merged(set("a", "both"));
    desk.store
        .resolve(&format!("{}.0", group.id), &merged)
        .unwrap();
    for id in ["s1", "s2"] {
        desk.theirs(id, "a", text("mine"));
    }
    let verdicts = vec![Verdict::applied(); 2];
    tell(&mut desk, &decided(group.id, Some(INTO), verdicts));
    // What he decided is typed later than what was sent.
    assert_eq!(desk.seen("s1")["a"], text("both"));
    assert_eq!(desk.seen("s2")["a"], text("mine"));
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"]["a"], text("both"));
}

/// The answer has one verdict too few: nothing of it is stored.
#[test]
fn a_decision_of_the_wrong_length_is_refused_whole() {
    let (mut desk, group) = in_conflict(Merge::Record, "a");
    let name = desk.conflict();
    let outgoing = request(&mut desk.sync);
    let odd = [decided(group.id, Some(INTO), Vec::new())];
    let error = desk.sync.store_decided(outgoing.request, &odd).unwrap_err();
    assert_eq!(*error.code(), Code::MALFORMED);
    let parked = change(&mut desk, &name);
    assert_eq!((parked.state, parked.op), (ChangeState::Parked, Op::Update));
    assert_eq!(parked.decided, None);
}

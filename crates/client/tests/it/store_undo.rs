//! Undo: what was not sent can be taken back, and nothing else.

use afield::protocol::{Attributes, Closing, Code, Verdict};
use afield::{ChangeState, ExportOptions, RowState};

use crate::sheets::{Desk, ends, set, sheet};
use crate::store_crash::{contents, dies_everywhere, edited};
use crate::world::{World, attributes, execute, id, int, query, request, settle, text};

/// Names of all changes in this state.
fn names(desk: &mut Desk, state: ChangeState) -> Vec<String> {
    let mut changes = desk.store.changes().unwrap();
    changes.retain(|change| change.state == state);
    changes.into_iter().map(|change| change.change).collect()
}

fn pending(desk: &mut Desk) -> Vec<String> {
    names(desk, ChangeState::Pending)
}

/// The code with which the undo of `name` is refused; the file is as before.
fn refused(desk: &mut Desk, name: &str) -> (Code, String) {
    let before = contents(&desk.world.plain());
    let error = desk.store.undo(name).unwrap_err();
    assert_eq!(contents(&desk.world.plain()), before);
    (error.code().clone(), error.to_string())
}

fn remark(n: i64, of: &str) -> Attributes {
    attributes([("id", int(n)), ("sheet", text(of))])
}

fn visits(n: i64) -> Attributes {
    attributes([("visits", int(n))])
}

#[test]
fn p1_what_is_taken_back_is_not_sent_and_stays_on_record() {
    let mut desk = Desk::new();
    desk.mine("s1", &set("a", "mine"));
    let name = pending(&mut desk).remove(0);
    assert_eq!(desk.store.undo(&name).unwrap(), [name.as_str()]);
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 5));
    let state = desk.store.row_state("sheet", &[text("s1")]).unwrap();
    assert_eq!(state, RowState::Synced);
    assert_eq!(desk.store.status().unwrap().pending, 0);
    assert!(request(&mut desk.sync).groups.is_empty());
    let kept = desk.store.change(&name).unwrap();
    assert_eq!(kept.state, ChangeState::Dropped);
    assert_eq!((kept.set, kept.code), (set("a", "mine"), None));
    let again = refused(&mut desk, &name);
    assert_eq!(again.0, Code::ALREADY_DECIDED);
}

#[test]
fn a_transaction_is_taken_back_whole() {
    let mut desk = Desk::new();
    desk.mine_together(&set("a", "mine"), &set("b", "mine"));
    let both = pending(&mut desk);
    assert_eq!(desk.store.undo(&both[1]).unwrap(), both);
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 5));
    assert_eq!(desk.seen("s2"), sheet("a0", "b0", 5));
    assert!(request(&mut desk.sync).groups.is_empty());
}

#[test]
fn p3_later_edits_of_the_row_stay_and_are_made_on_what_the_server_has() {
    let mut desk = Desk::new();
    desk.mine_together(&set("a", "first"), &set("a", "first"));
    let first = pending(&mut desk).remove(0);
    desk.mine("s1", &set("b", "later"));
    desk.store.undo(&first).unwrap();
    assert_eq!(desk.seen("s1"), sheet("a0", "later", 5));
    assert_eq!(desk.seen("s2"), sheet("a0", "b0", 5));
    // By record, a base with what was taken back would be in conflict with its own user.
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"], sheet("a0", "later", 5));
}

#[test]
fn a_count_that_is_taken_back_does_not_count_and_a_later_one_does() {
    let mut desk = Desk::new();
    desk.mine_together(&visits(6), &visits(6));
    let first = pending(&mut desk).remove(0);
    desk.mine("s1", &visits(8));
    desk.store.undo(&first).unwrap();
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 7));
    assert_eq!(ends(&desk.round()), ["applied"]);
    assert_eq!(desk.rows["s1"], sheet("a0", "b0", 7));
}

#[test]
fn a_deleted_row_is_there_again_as_the_server_has_it_by_now() {
    let mut desk = Desk::new();
    desk.store.delete("sheet", &[text("s1")]).unwrap();
    desk.theirs("s1", "b", text("theirs"));
    desk.pull();
    let name = pending(&mut desk).remove(0);
    desk.store.undo(&name).unwrap();
    assert_eq!(desk.seen("s1"), sheet("a0", "theirs", 5));
}

#[test]
fn a_row_that_others_need_is_taken_back_after_them() {
    let mut desk = Desk::new();
    let row = attributes([("id", text("s3")), ("a", text("new"))]);
    desk.store.create("sheet", &row).unwrap();
    desk.store.create("remark", &remark(1, "s3")).unwrap();
    desk.store.create("remark", &remark(2, "s1")).unwrap();
    let [made, needs, other] = pending(&mut desk).try_into().unwrap();
    let (code, message) = refused(&mut desk, &made);
    assert_eq!(code, Code::WAITS_FOR);
    assert!(message.contains(&needs), "{message}");
    desk.store.undo(&needs).unwrap();
    desk.store.undo(&made).unwrap();
    assert_eq!(desk.store.get("sheet", &[text("s3")]).unwrap(), None);
    assert_eq!(desk.store.get("remark", &[int(1)]).unwrap(), None);
    assert_eq!(pending(&mut desk), [other]);
}

#[test]
fn a_row_and_what_needs_it_go_together_if_they_were_made_together() {
    let mut desk = Desk::new();
    let row = attributes([("id", text("s3")), ("a", text("new"))]);
    let done = desk.store.transaction(|tx| {
        tx.create("sheet", &row)?;
        tx.create("remark", &remark(1, "s3"))
    });
    done.unwrap();
    let both = pending(&mut desk);
    assert_eq!(desk.store.undo(&both[0]).unwrap(), both);
    assert_eq!(desk.store.get("sheet", &[text("s3")]).unwrap(), None);
    assert_eq!(desk.store.get("remark", &[int(1)]).unwrap(), None);
}

#[test]
fn p2_what_may_have_arrived_is_not_taken_back() {
    let mut desk = Desk::new();
    desk.mine("s1", &set("a", "bad"));
    desk.mine("s2", &set("a", "good"));
    let [bad, good] = pending(&mut desk).try_into().unwrap();
    let outgoing = request(&mut desk.sync);
    for name in [&bad, &good] {
        let (code, message) = refused(&mut desk, name);
        assert_eq!(code, Code::ALREADY_SENT);
        assert!(message.contains("may have arrived"), "{message}");
    }
    assert_eq!(ends(&desk.take(&outgoing)), ["rejected", "applied"]);
    let (code, message) = refused(&mut desk, &bad);
    assert_eq!(code, Code::ALREADY_SENT);
    assert!(message.contains("drop"), "{message}");
    let (code, message) = refused(&mut desk, &good);
    assert_eq!(code, Code::ALREADY_SENT);
    assert!(message.contains("applied"), "{message}");
    assert_eq!(refused(&mut desk, "3f2a").0, Code::UNKNOWN_CHANGE);
}

#[test]
fn p2_what_is_in_a_file_may_be_sent_from_there_and_is_not_taken_back() {
    let mut desk = Desk::new();
    desk.mine("s1", &set("a", "bad"));
    assert_eq!(ends(&desk.push()), ["rejected"]);
    desk.mine("s1", &set("a", "behind it"));
    desk.mine("s2", &set("a", "alone"));
    let held = names(&mut desk, ChangeState::Held);
    assert_eq!(held.len(), 1);
    let file = desk.world.dir.path().join("file");
    let options = ExportOptions::default();
    desk.store.export(&file, &options).unwrap();
    let mut open = names(&mut desk, ChangeState::Held);
    assert_ne!(open, held, "it goes on under another name");
    open.extend(names(&mut desk, ChangeState::Sent));
    assert_eq!(open.len(), 2);
    for name in open {
        assert_eq!(refused(&mut desk, &name).0, Code::ALREADY_SENT);
    }
}

#[test]
fn p2_what_the_server_sent_back_can_be_taken_back_for_good() {
    let mut desk = Desk::new();
    desk.mine("s1", &set("a", "mine"));
    let outgoing = request(&mut desk.sync);
    let waits = Verdict::rejected(Code::WAITS_FOR, "something else comes first");
    settle(&mut desk.sync, &outgoing, &waits);
    let name = pending(&mut desk).remove(0);
    desk.store.undo(&name).unwrap();
    settle(&mut desk.sync, &outgoing, &Verdict::applied());
    assert!(desk.store.outcomes(0).unwrap().is_empty());
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 5));
    desk.sync.finished(None).unwrap();
    assert!(request(&mut desk.sync).groups.is_empty());
}

#[test]
fn p6_a_change_that_was_to_go_again_is_dropped_and_the_server_hears_that() {
    let mut desk = Desk::new();
    desk.mine("s1", &set("a", "bad"));
    assert_eq!(ends(&desk.push()), ["rejected"]);
    let refused = desk.culprit();
    // The server keeps an inbox, and is told.
    desk.sync.store_decided(1, &[]).unwrap();
    let again = desk.store.retry(&refused, Some(&set("a", "good"))).unwrap();
    desk.store.undo(&again).unwrap();
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 5));
    for name in [&refused, &again] {
        let state = desk.store.change(name).unwrap().state;
        assert_eq!(state, ChangeState::Dropped);
    }
    let told = request(&mut desk.sync).closed;
    let told: Vec<_> = told.iter().map(|closed| closed.how).collect();
    assert_eq!(told, [Closing::Dropped]);
}

#[test]
fn p1_a_later_edit_in_the_same_change_is_not_taken_back_unasked() {
    let mut desk = Desk::new();
    desk.mine("s1", &set("a", "first"));
    let first = pending(&mut desk).remove(0);
    let sql = "UPDATE sheet SET b = 'another program' WHERE id = 's1'";
    desk.world.plain().execute(sql, []).unwrap();
    let error = desk.store.undo(&first).unwrap_err();
    assert_eq!(*error.code(), Code::UNKNOWN_CHANGE);
    assert_eq!(desk.seen("s1"), sheet("first", "another program", 5));
    let both = pending(&mut desk).remove(0);
    assert!(error.to_string().contains(&both), "{error}");
    desk.store.undo(&both).unwrap();
    assert_eq!(desk.seen("s1"), sheet("a0", "b0", 5));
}

#[test]
fn what_is_local_only_stays() {
    let world = World::new();
    let mut store = world.store();
    let note = attributes([("id", id(7)), ("title", text("mine"))]);
    let label = attributes([("word", text("red"))]);
    let done = store.transaction(|tx| {
        tx.create("draft", &note)?;
        tx.create("label", &label)
    });
    done.unwrap();
    let name = store.changes().unwrap().remove(0).change;
    store.undo(&name).unwrap();
    assert_eq!(store.get("label", &[text("red")]).unwrap(), None);
    assert!(store.get("draft", &[id(7)]).unwrap().is_some());
}

#[test]
fn a_temporary_identifier_is_not_given_again() {
    let world = World::with(crate::ids::sheets());
    let mut store = world.store();
    let insert = "INSERT INTO sheet (title) VALUES ('one')";
    execute(&mut store, insert).unwrap();
    let name = store.changes().unwrap().remove(0).change;
    let first = query(&store, "SELECT id FROM sheet");
    store.undo(&name).unwrap();
    assert!(query(&store, "SELECT id FROM sheet").is_empty());
    execute(&mut store, insert).unwrap();
    assert_ne!(query(&store, "SELECT id FROM sheet"), first);
}

/// A transaction of an update, a create and a delete that was not sent, and one behind it.
fn unsent(world: &World) {
    edited(world);
    let mut sync = world.sync();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::applied());
    let amount = |n| attributes([("amount", int(n))]);
    let mut made = amount(3);
    made.extend(attributes([("place", text("w")), ("part", int(1))]));
    let mut store = world.store();
    let done = store.transaction(|tx| {
        tx.update("stock", &[text("x"), int(1)], &amount(7))?;
        tx.delete("stock", &[text("y"), int(1)])?;
        tx.create("stock", &made)
    });
    done.unwrap();
    let done = store.transaction(|tx| {
        tx.update("stock", &[text("x"), int(1)], &amount(8))?;
        tx.update("stock", &[text("z"), int(1)], &amount(8))
    });
    done.unwrap();
}

#[test]
fn p1_taking_a_transaction_back() {
    dies_everywhere(8, unsent, |world| {
        // Read past the store: asking is a write.
        let sql = "SELECT lower(hex(id)) || '.0' FROM afield_group WHERE state = 'pending' LIMIT 1";
        let name: String = world.plain().query_row(sql, [], |row| row.get(0)).unwrap();
        world.store().undo(&name).map(|_| ())
    });
}

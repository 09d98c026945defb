//! The oracle itself: each invariant is shown a world that breaks it.

use std::rc::Rc;

use std::collections::HashSet;

use afield_protocol::codec::cbor::write_key;
use afield_protocol::{
    Attributes, Change, Code, Group, GroupId, GroupOutcome, Key, Op, Value, Verdict, VerdictKind,
};
use rusqlite::Connection;

use super::Counts;
use super::audit::{self, Effect};
use super::device::DeviceRecord;
use super::push::Pushed;
use super::server::ServerRecord;
use super::tagged::device::TaggedDevice;
use super::view::{Entry, GroupState, View};
use crate::app;
use crate::rows::{RowName, Rows};
use crate::violation::{Promise, Violation};

const TOKEN: &[u8] = b"here";

/// The team's database, and the oracle's record of it.
pub(super) struct Server {
    pub(super) conn: Connection,
    pub(super) record: ServerRecord,
}

pub(super) fn server() -> Server {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(&app::server_schema(app::Kinds::ALL))
        .unwrap();
    conn.execute_batch(&audit::schema(app::Kinds::ALL)).unwrap();
    let mut record = ServerRecord::default();
    record.kinds = app::Kinds::ALL;
    record.observe(&conn).unwrap();
    for entity in app::synced(app::Kinds::ALL) {
        record.gave_position((0, entity), TOKEN, &Rc::default());
    }
    Server { conn, record }
}

impl Server {
    /// Runs what a push did, and lets the oracle judge it.
    fn pushed(
        &mut self,
        sql: &str,
        change: Change,
        verdict: Verdict,
        intents: &Counts,
        shown: &HashSet<(RowName, usize, Value)>,
    ) -> Result<(), Violation> {
        let before = self.record.now();
        self.conn.execute_batch(sql).unwrap();
        let lines = self.record.observe(&self.conn).unwrap();
        let group = Group {
            id: GroupId([1; 16]),
            absorbed: Vec::new(),
            origins: Vec::new(),
            changes: vec![change],
            checkpoint: Vec::new(),
        };
        let outcome = GroupOutcome {
            group: group.id,
            verdicts: vec![verdict],
        };
        self.record.check_push(&Pushed {
            groups: &[group],
            outcomes: Some(&[outcome]),
            lines: &lines,
            before,
            user: 0,
            intents,
            shown,
            tagged: &TaggedDevice::default(),
        })
    }

    /// What a device shows that has everything.
    fn view(&self) -> View {
        let visible: Vec<Rows> = (0..app::ENTITIES)
            .map(|entity| (*self.record.rows(self.record.now(), entity)).clone())
            .collect();
        View {
            has_model: true,
            visible,
            standing: vec![(Some(TOKEN.to_vec()), true); app::ENTITIES],
            ..View::default()
        }
    }
}

fn key() -> Key {
    app::key(app::SITE, 1)
}

fn site() -> RowName {
    (app::SITE, write_key(&key()))
}

fn note(value: &str) -> Attributes {
    Attributes::from([("note".to_owned(), value.into())])
}

fn update(base: &str, set: &str) -> Change {
    Change {
        entity: "site".into(),
        op: Op::Update,
        key: key(),
        base: note(base),
        set: note(set),
    }
}

fn entry(state: GroupState, set: &str) -> Entry {
    Entry {
        group: GroupId([1; 16]),
        absorbed: Vec::new(),
        state,
        at: 0,
        row: site(),
        op: Op::Update,
        base: note("before"),
        set: note(set),
    }
}

fn wanted(value: &str, times: usize) -> Counts {
    let mut counts = Counts::default();
    for _ in 0..times {
        counts.add(&site(), Effect::Set(2, value.into()));
    }
    counts
}

#[track_caller]
fn broken(result: Result<(), Violation>, promise: Promise, invariant: &str) {
    let violation = result.unwrap_err();
    assert_eq!(
        (violation.promise, violation.invariant),
        (promise, invariant)
    );
}

/// A view in which the user's edit is on top.
fn edited(server: &Server, state: GroupState) -> View {
    let mut view = server.view();
    view.log.push(entry(state, "mine"));
    view.visible[app::SITE].get_mut(&site().1).unwrap()[2] = "mine".into();
    view
}

const SET: &str = "UPDATE site SET note = 'mine' WHERE code = 'c1'";

#[test]
fn p1_what_was_written_and_is_not_in_the_outbox_is_noticed() {
    let server = server();
    let mut device = DeviceRecord::default();
    device.check(server.view(), &server.record).unwrap();
    let mut view = edited(&server, GroupState::Pending);
    device.wrote(&view, false, &mut Counts::default());
    device.clone().check(view.clone(), &server.record).unwrap();
    view.log.clear();
    let result = device.check(view, &server.record);
    broken(result, Promise::P1, "what was written is in the outbox");
}

#[test]
fn p1_a_group_that_vanishes_is_noticed() {
    let server = server();
    for state in [GroupState::Pending, GroupState::Sent] {
        let mut device = DeviceRecord::default();
        device
            .check(edited(&server, state), &server.record)
            .unwrap();
        let result = device.check(server.view(), &server.record);
        let invariant = "a group leaves the outbox only with its outcome";
        broken(result, Promise::P1, invariant);
    }
}

#[test]
fn p2_a_group_that_changes_is_noticed() {
    let server = server();
    let mut device = DeviceRecord::default();
    device
        .check(edited(&server, GroupState::Sent), &server.record)
        .unwrap();
    let mut view = edited(&server, GroupState::Sent);
    view.log[0].set = note("other");
    view.visible[app::SITE].get_mut(&site().1).unwrap()[2] = "other".into();
    let result = device.check(view, &server.record);
    broken(result, Promise::P2, "what a group says never changes");
}

#[test]
fn p2_an_effect_more_often_than_wanted_is_noticed() {
    let mut server = server();
    let shown = HashSet::from([(site(), 2, Value::Null)]);
    let change = update("before", "mine");
    let once = wanted("mine", 1);
    server
        .pushed(SET, change.clone(), Verdict::applied(), &once, &shown)
        .unwrap();
    let between = "UPDATE sim_context SET who = 'foreign'; \
                   UPDATE site SET note = 'theirs' WHERE code = 'c1'; \
                   UPDATE sim_context SET who = 'push'; ";
    let result = server.pushed(
        &(between.to_owned() + SET),
        change,
        Verdict::applied(),
        &once,
        &shown,
    );
    broken(
        result,
        Promise::P2,
        "what a user did takes effect at most once",
    );
}

#[test]
fn p2_a_refused_change_that_took_effect_is_noticed() {
    let verdict = Verdict::rejected(Code::CHECK_FAILED, "no");
    let result = server().pushed(
        SET,
        update("before", "mine"),
        verdict,
        &wanted("mine", 1),
        &HashSet::new(),
    );
    let invariant = "what is refused takes no effect, its whole group included";
    broken(result, Promise::P2, invariant);
}

#[test]
fn p1_an_applied_change_without_effect_is_noticed() {
    let result = server().pushed(
        "",
        update("before", "mine"),
        Verdict::applied(),
        &wanted("mine", 1),
        &HashSet::new(),
    );
    broken(result, Promise::P1, "what is called applied took effect");
}

#[test]
fn p3_an_edit_that_is_not_shown_is_noticed() {
    let server = server();
    let mut view = edited(&server, GroupState::Sent);
    view.visible = server.view().visible;
    let result = DeviceRecord::default().check(view, &server.record);
    let invariant = "what the user wrote stays on top until the server's rows contain it";
    broken(result, Promise::P3, invariant);
}

#[test]
fn p4_a_row_the_server_never_had_so_is_noticed() {
    let server = server();
    let mut view = server.view();
    view.visible[app::ACCOUNT].values_mut().next().unwrap()[2] = Value::Integer(1);
    let result = DeviceRecord::default().check(view, &server.record);
    let invariant = "a device shows a state that the server had, with its own changes on top";
    broken(result, Promise::P4, invariant);
    let mut view = server.view();
    view.standing[app::SITE].0 = Some(b"elsewhere".to_vec());
    let result = DeviceRecord::default().check(view, &server.record);
    let invariant = "a device stands only at positions that the server completed";
    broken(result, Promise::P4, invariant);
}

#[test]
fn p5_a_device_that_missed_something_is_noticed_in_the_end() {
    let mut server = server();
    let mut device = DeviceRecord::default();
    device.check(server.view(), &server.record).unwrap();
    device.check_converged(&server.record).unwrap();
    server.conn.execute_batch("DELETE FROM reading").unwrap();
    server.record.observe(&server.conn).unwrap();
    let result = device.check_converged(&server.record);
    broken(
        result,
        Promise::P5,
        "in the end every device has exactly the server's rows",
    );
}

#[test]
fn p6_an_outcome_that_nobody_gave_and_one_too_many_are_noticed() {
    let server = server();
    let mut view = edited(&server, GroupState::Settled);
    let invariant = "one outcome for each change, in the transaction that settles it";
    let result = DeviceRecord::default().check(view.clone(), &server.record);
    broken(result, Promise::P6, invariant);
    let ended = (VerdictKind::Applied, None);
    view.outcomes
        .insert((GroupId([1; 16]), 0), vec![ended.clone(), ended.clone()]);
    let result = DeviceRecord::default().check(view.clone(), &server.record);
    broken(result, Promise::P6, invariant);
    view.outcomes.insert((GroupId([1; 16]), 0), vec![ended]);
    let result = DeviceRecord::default().check(view, &server.record);
    broken(
        result,
        Promise::P6,
        "an outcome on a device is one that the server gave",
    );
}

#[test]
fn p6_a_value_that_is_replaced_unseen_is_noticed() {
    let intents = wanted("mine", 1);
    let typed = "UPDATE sim_context SET who = 'foreign'; \
                 UPDATE site SET note = 'theirs' WHERE code = 'c1'; \
                 UPDATE sim_context SET who = 'push'";
    let invariant = "what is overwritten unseen stands in the ledger";
    for (base, shown) in [("before", "theirs"), ("theirs", "before")] {
        let mut server = server();
        server.conn.execute_batch(typed).unwrap();
        server.record.observe(&server.conn).unwrap();
        let shown = HashSet::from([(site(), 2, Value::from(shown))]);
        let result = server.pushed(
            SET,
            update(base, "mine"),
            Verdict::applied(),
            &intents,
            &shown,
        );
        broken(result, Promise::P6, invariant);
    }
    let mut server = server();
    server.conn.execute_batch(typed).unwrap();
    server.record.observe(&server.conn).unwrap();
    let verdict = Verdict {
        overwritten: note("theirs"),
        ..Verdict::applied()
    };
    let change = update("before", "mine");
    server
        .pushed(SET, change, verdict, &intents, &HashSet::new())
        .unwrap();
}

#[test]
fn p8_what_waits_for_nothing_is_noticed() {
    let server = server();
    let mut device = DeviceRecord::default();
    device
        .check(edited(&server, GroupState::Sent), &server.record)
        .unwrap();
    let result = device.check_drained(false);
    broken(
        result,
        Promise::P8,
        "after the last fault everything drains",
    );
    let result = device.check_drained(true);
    broken(
        result,
        Promise::P8,
        "a bad change delays only what depends on it",
    );
}

#[test]
fn p8_what_depends_on_a_parked_change_may_wait_and_must_not_be_sent() {
    let mut server = server();
    let refused = Verdict::rejected(Code::CHECK_FAILED, "no");
    let (intents, shown) = (Counts::default(), HashSet::new());
    server
        .pushed("", update("before", "mine"), refused, &intents, &shown)
        .unwrap();
    let mut view = edited(&server, GroupState::Parked);
    let ended = (VerdictKind::Rejected, Some(Code::CHECK_FAILED));
    view.outcomes.insert((GroupId([1; 16]), 0), vec![ended]);
    let later = GroupId([2; 16]);
    view.log.push(Entry {
        group: later,
        ..entry(GroupState::Pending, "mine")
    });
    let mut device = DeviceRecord::default();
    device.check(view, &server.record).unwrap();
    device.check_drained(false).unwrap();
    let result = device.check_sent(&HashSet::from([later]), &server.record);
    broken(
        result,
        Promise::P8,
        "what depends on a parked change is held",
    );
}

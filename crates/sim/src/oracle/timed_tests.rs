//! The oracle's word on what time and soft deletes leave of rows: each invariant is shown what
//! breaks it.

use std::rc::Rc;

use afield_protocol::codec::cbor::write_key;
use afield_protocol::{
    Attributes, Change, Code, Comparison, Frame, Group, GroupId, GroupOutcome, Key, Op, Page,
    PageEnd, Position, RowBlockWriter, Value, Verdict, Window,
};
use afield_server::storage::PulledPage;
use rusqlite::Connection;

use super::Counts;
use super::audit::{self, Effect};
use super::device::DeviceRecord;
use super::push::Pushed;
use super::server::ServerRecord;
use super::tagged::device::TaggedDevice;
use super::view::{Entry, GroupState, View};
use crate::app;
use crate::environment::BEGINNING_MS;
use crate::timed;
use crate::violation::{Promise, Violation};

const TOKEN: &[u8] = b"here";

/// Whose device is looked at.
const USER: usize = 0;

/// The time by which it was given its rows, in seconds since 1970.
const NOW: i64 = BEGINNING_MS / 1000;

const DAY: i64 = 86_400;

struct Server {
    conn: Connection,
    record: ServerRecord,
}

fn server() -> Server {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(&app::server_schema(app::Kinds::ALL))
        .unwrap();
    conn.execute_batch(&audit::schema(app::Kinds::ALL)).unwrap();
    conn.execute_batch(&timed::beginnings()).unwrap();
    let mut record = ServerRecord::default();
    record.kinds = app::Kinds::ALL;
    record.observe(&conn).unwrap();
    let mut server = Server { conn, record };
    server.gives(NOW);
    server
}

/// The bound of an event's window at an instant.
fn bound(at: i64) -> String {
    let days = (at - NOW) / DAY;
    assert_eq!(days * DAY, at - NOW, "whole days are easier to read");
    format!("2026-11-{:02}T11:06:40.000000Z", 4 + days)
}

/// A page of events that goes on from a position.
fn page(bound: Option<String>, to: &[u8]) -> PulledPage {
    let window = bound.map(|bound| {
        Frame::Window(Window {
            entity: "event".into(),
            attribute: "at".into(),
            keep: Comparison::After,
            bound,
        })
    });
    let first = Frame::Page(Page {
        from: Vec::new(),
        reset: Vec::new(),
    });
    PulledPage {
        frames: std::iter::once(first).chain(window).collect(),
        end: PageEnd {
            to: vec![("event".into(), to.to_vec())],
            complete: true,
            remaining: None,
        },
        held: Vec::new(),
    }
}

fn from(token: &[u8]) -> Vec<(String, Option<Position>)> {
    vec![("event".into(), Some(token.to_vec()))]
}

impl Server {
    /// Gives the device a position of each entity, events by a time.
    fn gives(&mut self, at: i64) {
        for entity in app::synced(app::Kinds::ALL) {
            self.record
                .gave_position((USER, entity), TOKEN, &Rc::default());
        }
        let page = page(Some(bound(at)), TOKEN);
        self.record.check_bounds(USER, &[], &page, at).unwrap();
    }

    /// What a device shows that has what it should have; of shifts, which time decides too,
    /// nothing.
    fn view(&self) -> View {
        let rows = |entity| {
            let rows = self.record.rows_of(self.record.now(), USER, entity);
            let kept = self.record.kept(rows, (USER, entity), TOKEN);
            (*kept).clone()
        };
        View {
            has_model: true,
            visible: (0..app::ENTITIES).map(rows).collect(),
            standing: vec![(Some(TOKEN.to_vec()), true); app::ENTITIES],
            ..View::default()
        }
    }

    fn pushed(&mut self, sql: &str, change: Change, verdict: Verdict) -> Result<(), Violation> {
        let before = self.record.now();
        self.conn.execute_batch(sql).unwrap();
        let lines = self.record.observe(&self.conn).unwrap();
        let mut intents = Counts::default();
        let name = (app::place(&change.entity).unwrap(), write_key(&change.key));
        for effect in [Effect::Insert, Effect::Delete] {
            intents.add(&name, effect);
        }
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
            user: USER,
            intents: &intents,
            shown: &Default::default(),
            tagged: &TaggedDevice::default(),
        })
    }

    /// An event that is in the window, or is not.
    fn event(&self, stays: bool) -> Vec<Value> {
        let rows = self.record.rows(self.record.now(), app::EVENT);
        let mut rows = rows.values();
        let found = rows.find(|row| timed::stays(app::EVENT, row, NOW) == stays);
        found.unwrap().clone()
    }
}

fn change(entity: usize, op: Op, key: impl Into<Value>, set: &[(&str, Value)]) -> Change {
    let set = set
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    Change {
        entity: app::name(entity).into(),
        op,
        key: Key::from([key.into()]),
        base: Attributes::new(),
        set: set.collect(),
    }
}

#[track_caller]
fn broken(result: Result<(), Violation>, promise: Promise, invariant: &str) {
    let violation = result.unwrap_err();
    let found = (violation.promise, violation.invariant);
    assert_eq!(found, (promise, invariant), "{violation}");
}

const SHOWS: &str = "a device shows a state that the server had, with its own changes on top";

#[test]
fn p5_a_row_that_stays_too_long_or_is_missing_is_noticed() {
    let server = server();
    let (inside, outside) = (server.event(true), server.event(false));
    let check = |view: View| DeviceRecord::of(USER).check(view, &server.record);
    check(server.view()).unwrap();
    let mut view = server.view();
    view.visible[app::EVENT].insert(write_key(&outside[..1]), outside);
    broken(check(view), Promise::P4, SHOWS);
    let mut view = server.view();
    view.visible[app::EVENT].remove(&write_key(&inside[..1]));
    broken(check(view), Promise::P4, SHOWS);
    // A card that counts as deleted.
    let cards = server.record.rows(server.record.now(), app::CARD);
    let deleted = cards.iter().find(|(_, row)| row[1] == Value::Integer(0));
    let (key, row) = deleted.unwrap();
    let mut view = server.view();
    view.visible[app::CARD].insert(key.clone(), row.clone());
    broken(check(view), Promise::P4, SHOWS);
}

#[test]
fn p3_a_row_under_a_change_that_is_not_settled_has_to_stay() {
    let server = server();
    let outside = server.event(false);
    let key = write_key(&outside[..1]);
    let entry = |state| Entry {
        group: GroupId([1; 16]),
        absorbed: Vec::new(),
        state,
        at: 0,
        row: (app::EVENT, key.clone()),
        op: Op::Update,
        base: Attributes::from([("note".to_owned(), Value::Null)]),
        set: Attributes::from([("note".to_owned(), "x".into())]),
    };
    let mut edited = outside.clone();
    edited[3] = "x".into();
    let view = |state, shown: Option<&Vec<Value>>| {
        let mut view = server.view();
        view.log = vec![entry(state)];
        view.visible[app::EVENT].extend(shown.map(|row| (key.clone(), row.clone())));
        view
    };
    let check = |view: &View| {
        let mut device = DeviceRecord::of(USER);
        device.view = view.clone();
        device.check(view.clone(), &server.record)
    };
    check(&view(GroupState::Pending, Some(&edited))).unwrap();
    let invariant = "what the user wrote stays on top until the server's rows contain it";
    let dropped = view(GroupState::Pending, None);
    broken(check(&dropped), Promise::P3, invariant);
    let bare = view(GroupState::Pending, Some(&outside));
    broken(check(&bare), Promise::P3, invariant);
    // At last it must be gone.
    let converged = |view: View| {
        let mut device = DeviceRecord::of(USER);
        device.view = view;
        device.check_converged(&server.record)
    };
    converged(view(GroupState::Settled, None)).unwrap();
    let invariant = "in the end every device has exactly the server's rows";
    let stayed = converged(view(GroupState::Settled, Some(&edited)));
    broken(stayed, Promise::P5, invariant);
}

#[test]
fn p5_a_bound_by_another_clock_is_noticed() {
    let invariant = "a bound is that of the server's time, which never goes back";
    let told = |since: &[u8], at: Option<i64>, now| {
        let (mut server, page) = (server(), page(at.map(bound), b"there"));
        server.record.check_bounds(USER, &from(since), &page, now)
    };
    told(TOKEN, Some(NOW + DAY), NOW + DAY).unwrap();
    told(TOKEN, Some(NOW), NOW - DAY).unwrap();
    for (at, now) in [
        (Some(NOW + 2 * DAY), NOW + DAY),
        // Nothing is unfinished at a whole position: time has passed.
        (Some(NOW), NOW + DAY),
        (Some(NOW - DAY), NOW - DAY),
        (None, NOW),
    ] {
        broken(told(TOKEN, at, now), Promise::P5, invariant);
    }
    // An unfinished pull stands still, or goes on where nothing is left of it.
    let mut server = server();
    let unfinished = page(Some(bound(NOW)), b"half");
    let checked = server
        .record
        .check_bounds(USER, &from(TOKEN), &unfinished, NOW);
    checked.unwrap();
    for (at, is_so) in [(NOW, true), (NOW + DAY, true), (NOW + 2 * DAY, false)] {
        let page = page(Some(bound(at)), b"there");
        let half = from(b"half");
        let checked = server.record.check_bounds(USER, &half, &page, NOW + DAY);
        assert_eq!(checked.is_ok(), is_so, "{at}");
    }
    let device = DeviceRecord {
        view: server.view(),
        ..DeviceRecord::of(USER)
    };
    device.check_time(&server.record, NOW).unwrap();
    let invariant = "in the end every device has the rows of the server's time";
    broken(
        device.check_time(&server.record, NOW + 1),
        Promise::P5,
        invariant,
    );
}

#[test]
fn p7_a_row_that_counts_as_deleted_is_not_told() {
    let server = server();
    let model = app::model(app::Kinds::ALL);
    let local = &model.entity("card").unwrap().local;
    let told = |is_active: i64| {
        let cards = server.record.rows(server.record.now(), app::CARD);
        let mut cards = cards.values();
        let card = cards.find(|row| row[1] == Value::Integer(is_active));
        let mut block = RowBlockWriter::new(&local.name, &local.columns());
        block.push(card.unwrap().iter().map(Value::as_ref));
        let frames = [Frame::Rows(block.take())];
        server.record.check_page(USER, &frames)
    };
    told(1).unwrap();
    let invariant = "a row that counts as deleted is never told";
    broken(told(0), Promise::P7, invariant);
}

#[test]
fn p4_a_row_that_is_there_is_not_gone() {
    let server = server();
    let told = |entity: usize, key: Value| {
        let gone = Frame::Gone {
            entity: app::name(entity).into(),
            keys: vec![vec![key]],
        };
        server.record.check_page(USER, &[gone])
    };
    told(app::CARD, "c4".into()).unwrap();
    let invariant = "a row that is there is not told as gone";
    broken(told(app::CARD, "c1".into()), Promise::P4, invariant);
    let event = server.event(false)[0].clone();
    broken(told(app::EVENT, event), Promise::P4, invariant);
}

#[test]
fn p1_a_row_that_is_to_stay_and_is_removed_is_noticed() {
    let delete = || change(app::CARD, Op::Delete, "c1", &[]);
    let soft = "UPDATE card SET is_active = 0 WHERE card_code = 'c1'";
    server().pushed(soft, delete(), Verdict::applied()).unwrap();
    let hard = "DELETE FROM card WHERE card_code = 'c1'";
    let result = server().pushed(hard, delete(), Verdict::applied());
    let invariant = "no device removes a row that is to stay";
    broken(result, Promise::P1, invariant);
}

/// Every fourth card counts as deleted, and every fifth shift; every third shift is the user's.
#[test]
fn p6_an_outcome_that_is_not_so_is_noticed() {
    let invariant = "a change is applied or refused for a reason that is so";
    let note = [("note", Value::Text("x".into()))];
    let card = |op, key: &str| match op {
        Op::Delete => change(app::CARD, op, key, &[]),
        _ => change(app::CARD, op, key, &note),
    };
    let shift = |op, key: i64| change(app::SHIFT, op, key, &note);
    let made =
        |key: i64, owner: &str| change(app::SHIFT, Op::Create, key, &[("owner", owner.into())]);
    let refers = |code: &str| change(app::SHIFT, Op::Update, 3, &[("card", code.into())]);
    let no = |code: Code| Verdict::rejected(code, "no");
    for (change, verdict, is_so) in [
        (card(Op::Update, "c4"), no(Code::GONE), true),
        (card(Op::Update, "c1"), no(Code::GONE), false),
        (card(Op::Delete, "c4"), Verdict::applied(), true),
        (card(Op::Delete, "c1"), Verdict::applied(), false),
        (card(Op::Create, "c1"), no(Code::KEY_EXISTS), true),
        (card(Op::Create, "c4"), no(Code::KEY_EXISTS), false),
        (card(Op::Create, "c1"), no(Code::KEY_TAKEN), false),
        (shift(Op::Update, 3), no(Code::GONE), false),
        (shift(Op::Update, 1), no(Code::GONE), true),
        (made(1, "user0"), no(Code::KEY_TAKEN), true),
        (made(99, "user0"), no(Code::KEY_TAKEN), false),
        (made(99, "user1"), no(Code::FORBIDDEN), true),
        (made(99, "user0"), no(Code::FORBIDDEN), false),
        (refers("c4"), no(Code::REFERENCE), true),
        (refers("c1"), no(Code::REFERENCE), false),
    ] {
        let result = server().pushed("", change.clone(), verdict);
        match is_so {
            true => result.unwrap(),
            false => broken(result, Promise::P6, invariant),
        }
    }
    let edits = "UPDATE card SET note = 'x' WHERE card_code = 'c4'";
    let result = server().pushed(edits, card(Op::Update, "c4"), Verdict::applied());
    assert!(result.is_err());
}

#[test]
fn p7_shifts_are_their_owners() {
    let set = [("note", Value::Text("x".into()))];
    let note = |key: i64| change(app::SHIFT, Op::Update, key, &set);
    let push = |sql: &str, key| server().pushed(sql, note(key), Verdict::applied());
    let result = push("UPDATE shift SET card = 'c2' WHERE id = 1", 1);
    broken(result, Promise::P7, "nobody writes what is not his");
    let result = push("UPDATE shift SET owner = 'user1' WHERE id = 3", 3);
    broken(result, Promise::P7, "what somebody wrote is his");
    let result = push("UPDATE shift SET card = 'c4' WHERE id = 3", 3);
    let invariant = "nobody refers to what counts as deleted";
    broken(result, Promise::P7, invariant);
}

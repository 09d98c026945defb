//! The oracle's word on whose rows are: each invariant is shown what breaks it.

use std::collections::BTreeSet;
use std::rc::Rc;

use afield_protocol::codec::cbor::write_key;
use afield_protocol::{
    Attributes, Change, Code, Frame, Group, GroupId, GroupOutcome, Key, Op, RowBlockWriter, Theirs,
    Value, Verdict,
};
use rusqlite::Connection;

use super::Counts;
use super::device::DeviceRecord;
use super::files::{check_foreign, check_left};
use super::push::Pushed;
use super::server::ServerRecord;
use super::tagged::device::TaggedDevice;
use super::view::View;
use crate::app;
use crate::rows::Rows;
use crate::violation::{Promise, Violation};
use crate::{jobs, scoped};

const TOKEN: &[u8] = b"here";

/// The user whose rows are looked at: he has tasks, and shops of two of four districts.
const USER: usize = 0;

struct Server {
    conn: Connection,
    record: ServerRecord,
}

/// Every project is open.
fn all_open() -> Rc<BTreeSet<i64>> {
    Rc::new((1..=i64::from(jobs::PROJECTS)).collect())
}

fn server() -> Server {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(&app::server_schema(app::Kinds::ALL))
        .unwrap();
    conn.execute_batch(&super::audit::schema(app::Kinds::ALL))
        .unwrap();
    conn.execute_batch(&scoped::beginnings()).unwrap();
    conn.execute_batch(&jobs::beginnings()).unwrap();
    let mut record = ServerRecord::default();
    record.kinds = app::Kinds::ALL;
    record.observe(&conn).unwrap();
    for entity in app::synced(app::Kinds::ALL) {
        record.gave_position((USER, entity), TOKEN, &all_open());
    }
    Server { conn, record }
}

impl Server {
    fn rows(&self, entity: usize) -> Vec<Vec<Value>> {
        let rows = self.record.rows(self.record.now(), entity);
        rows.values().cloned().collect()
    }

    fn mine(&self, entity: usize) -> Rc<Rows> {
        self.record.rows_of(self.record.now(), USER, entity)
    }

    /// A row that is the user's, or one that is not.
    fn row(&self, entity: usize, is_mine: bool) -> Vec<Value> {
        let mine = self.mine(entity);
        let mut rows = self.rows(entity).into_iter();
        let found = rows.find(|row| mine.contains_key(&write_key(&row[..1])) == is_mine);
        found.unwrap()
    }

    fn happens(&mut self, sql: &str) {
        self.conn
            .execute_batch("UPDATE sim_context SET who = 'foreign'")
            .unwrap();
        self.conn.execute_batch(sql).unwrap();
        self.conn
            .execute_batch("UPDATE sim_context SET who = 'push'")
            .unwrap();
        self.record.observe(&self.conn).unwrap();
    }

    /// Runs what a push did, and lets the oracle judge it.
    fn pushed(&mut self, sql: &str, change: Change, verdict: Verdict) -> Result<(), Violation> {
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
            user: USER,
            intents: &Counts::default(),
            shown: &Default::default(),
            tagged: &TaggedDevice::default(),
        })
    }
}

fn change(entity: usize, op: Op, key: &Value, set: &[(&str, Value)]) -> Change {
    let set = set
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    Change {
        entity: app::name(entity).into(),
        op,
        key: Key::from([key.clone()]),
        base: Attributes::new(),
        set: set.collect(),
    }
}

fn rows_frame(entity: usize, row: &[Value]) -> Frame {
    let model = app::model(app::Kinds::ALL);
    let local = &model.entity(app::name(entity)).unwrap().local;
    let mut block = RowBlockWriter::new(&local.name, &local.columns());
    let numbers = local.columns().len() - row.len();
    let cells = row.iter().map(Value::as_ref);
    let nothing = Value::Null;
    block.push(cells.chain((0..numbers).map(|_| nothing.as_ref())));
    Frame::Rows(block.take())
}

#[track_caller]
fn broken(result: Result<(), Violation>, promise: Promise, invariant: &str) {
    let violation = result.unwrap_err();
    let found = (violation.promise, violation.invariant);
    assert_eq!(found, (promise, invariant), "{violation}");
}

#[test]
fn p7_what_a_page_tells_of_anothers_row_is_noticed() {
    let mut server = server();
    let told = |server: &Server, frame| server.record.check_page(USER, &[frame]);
    for entity in app::SCOPED {
        let (mine, theirs) = (server.row(entity, true), server.row(entity, false));
        told(&server, rows_frame(entity, &mine)).unwrap();
        let invariant = "a page has rows of its user alone";
        broken(
            told(&server, rows_frame(entity, &theirs)),
            Promise::P7,
            invariant,
        );
        let gone = |row: &[Value]| Frame::Gone {
            entity: app::name(entity).into(),
            keys: vec![row[..1].to_vec()],
        };
        told(&server, gone(&mine)).unwrap();
        let invariant = "nobody is told of a row that was never his";
        broken(told(&server, gone(&theirs)), Promise::P7, invariant);
    }
    // In between it was his; a mark says no more than that.
    let task = server.row(app::TASK, false);
    let gone = Frame::Gone {
        entity: "task".into(),
        keys: vec![task[..1].to_vec()],
    };
    let id = &task[0];
    server.happens(&format!(
        "BEGIN; UPDATE task SET owner = 'user{USER}' WHERE id = '{id}'; \
         UPDATE task SET owner = NULL WHERE id = '{id}'; COMMIT"
    ));
    told(&server, gone).unwrap();
}

/// Of the project and of its depot, and in the page of a device that may not read the project.
#[test]
fn p4_a_page_that_shows_what_another_row_had_is_noticed() {
    for renamed in ["project SET name = 'new'", "depot SET title = 'new'"] {
        let mut server = server();
        server.happens(&format!("DELETE FROM seat WHERE user = 'user{USER}'"));
        let is_whole = |row: &&Vec<Value>| row.iter().all(|value| !value.is_null());
        let mine = server.mine(app::JOB);
        let job = mine.values().find(is_whole).unwrap().clone();
        let told = |server: &Server| {
            server
                .record
                .check_page(USER, &[rows_frame(app::JOB, &job)])
        };
        told(&server).unwrap();
        server.happens(&format!("UPDATE {renamed}"));
        let invariant = "a page has rows of its user alone";
        broken(told(&server), Promise::P7, invariant);
    }
}

#[test]
fn p6_a_push_that_writes_what_breaks_a_rule_is_noticed() {
    let job = server().row(app::JOB, true)[0].clone();
    let change = |kind: &str| change(app::JOB, Op::Update, &job, &[("kind", kind.into())]);
    let written = |kind: &str| {
        let sql = format!("UPDATE job SET kind = '{kind}' WHERE id = '{job}'");
        server().pushed(&sql, change(kind), Verdict::applied())
    };
    written("big").unwrap();
    let invariant = "nobody writes what breaks a rule";
    broken(written("none"), Promise::P6, invariant);
    let refused =
        |kind: &str| server().pushed("", change(kind), Verdict::rejected(Code::NOT_ONE_OF, "no"));
    refused("none").unwrap();
    let invariant = "a change is refused for a reason that is so";
    broken(refused("big"), Promise::P6, invariant);
}

#[test]
fn p7_what_a_push_writes_and_refers_to_is_its_users() {
    let task = |is_mine| server().row(app::TASK, is_mine)[0].clone();
    let note = |id: &Value| change(app::TASK, Op::Update, id, &[("count", Value::Integer(7))]);
    let set = |what: &str, id: &Value| format!("UPDATE task SET {what} WHERE id = '{id}'");
    let (mine, theirs) = (task(true), task(false));
    let applied = Verdict::applied;
    let result = server().pushed(&set("team = 9", &theirs), note(&theirs), applied());
    broken(result, Promise::P7, "nobody writes what is not his");
    let leaves = set("owner = 'user2', team = NULL", &mine);
    let result = server().pushed(&leaves, note(&mine), applied());
    broken(result, Promise::P7, "what somebody wrote is his");
    let foreign = server().row(app::SHOP, false)[0].clone();
    let refers = set(&format!("owner = 'user{USER}', shop_id = {foreign}"), &mine);
    let result = server().pushed(&refers, note(&mine), applied());
    broken(result, Promise::P7, "nobody refers to what he cannot read");
    let told = Verdict {
        theirs: Some(Theirs::Row(Attributes::new())),
        ..Verdict::rejected(Code::KEY_EXISTS, "no")
    };
    let result = server().pushed("", note(&theirs), told);
    broken(
        result,
        Promise::P7,
        "a verdict tells of its user's rows alone",
    );
}

#[test]
fn p6_a_refusal_that_is_not_so_is_noticed() {
    let invariant = "a change is refused for a reason that is so";
    let shop = |is_mine| server().row(app::SHOP, is_mine)[0].clone();
    let to = |district: i64| [("district", Value::Integer(district))];
    let update = |id: &Value, district| change(app::SHOP, Op::Update, id, &to(district));
    let create = |id: &Value, district| change(app::SHOP, Op::Create, id, &to(district));
    let (mine, theirs, nobodys) = (shop(true), shop(false), Value::Integer(99));
    let no = |code: Code| Verdict::rejected(code, "no");
    for (change, code, is_so) in [
        (update(&mine, 4), Code::FORBIDDEN, true),
        (update(&mine, 1), Code::FORBIDDEN, false),
        (update(&theirs, 4), Code::FORBIDDEN, false),
        (update(&theirs, 4), Code::GONE, true),
        (update(&mine, 4), Code::GONE, false),
        (create(&nobodys, 4), Code::FORBIDDEN, true),
        (create(&nobodys, 2), Code::FORBIDDEN, false),
        (create(&theirs, 2), Code::KEY_TAKEN, true),
        (create(&nobodys, 2), Code::KEY_TAKEN, false),
        (create(&mine, 2), Code::KEY_TAKEN, false),
        (create(&nobodys, 2), Code::REFERENCE, false),
    ] {
        let result = server().pushed("", change.clone(), no(code.clone()));
        match is_so {
            true => result.unwrap(),
            false => broken(result, Promise::P6, invariant),
        }
    }
    let task = server().row(app::TASK, true)[0].clone();
    for (shop, is_so) in [(&theirs, true), (&nobodys, true), (&mine, false)] {
        let change = change(app::TASK, Op::Update, &task, &[("shop", shop.clone())]);
        let result = server().pushed("", change, no(Code::REFERENCE));
        match is_so {
            true => result.unwrap(),
            false => broken(result, Promise::P6, invariant),
        }
    }
}

#[test]
fn p7_what_must_not_be_in_a_device_is_found_there() {
    let mut server = server();
    let mut device = DeviceRecord::of(USER);
    let visible = (0..app::ENTITIES).map(|entity| match scoped::place(entity) {
        Some(_) => (*server.mine(entity)).clone(),
        None => (*server.record.rows(0, entity)).clone(),
    });
    let view = View {
        has_model: true,
        visible: visible.collect(),
        standing: vec![(Some(TOKEN.to_vec()), true); app::ENTITIES],
        ..View::default()
    };
    device.check(view.clone(), &server.record).unwrap();
    let (mine, theirs) = (server.row(app::SHOP, true), server.row(app::SHOP, false));
    let mut more = view;
    more.visible[app::SHOP].insert(write_key(&theirs[..1]), theirs.clone());
    let invariant = "a device shows a state that the server had, with its own changes on top";
    let result = DeviceRecord::of(USER).check(more, &server.record);
    broken(result, Promise::P4, invariant);

    let bytes = |row: &[Value]| format!("\0{}\0", row[2]).into_bytes();
    check_foreign(&bytes(&mine), &device, &server.record).unwrap();
    let invariant = "no byte of a device's file is of a row that never was its user's";
    let result = check_foreign(&bytes(&theirs), &device, &server.record);
    broken(result, Promise::P7, invariant);

    let file = Connection::open_in_memory().unwrap();
    let sql = "CREATE TABLE afield_group (n, state, frozen); \
               CREATE TABLE afield_change (n, group_n, op, overlay, base, entity, key); \
               INSERT INTO afield_group VALUES (1, 'parked', NULL)";
    file.execute_batch(sql).unwrap();
    let sql = "INSERT INTO afield_change VALUES (1, 1, 'update', 1, ?1, 'shop', x'')";
    file.execute(sql, [mine[2].to_string()]).unwrap();
    check_left(&file, &device, &server.record).unwrap();
    server.happens("DELETE FROM member WHERE user = 'user0'");
    server
        .record
        .gave_position((USER, app::SHOP), TOKEN, &all_open());
    let result = check_left(&file, &device, &server.record);
    broken(result, Promise::P7, "what left the scope left the device");
    device.typed.insert(mine[2].to_string());
    check_left(&file, &device, &server.record).unwrap();
}

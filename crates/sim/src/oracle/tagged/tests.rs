//! The oracle of tagged rows itself: each invariant is shown a world that breaks it.

use std::collections::{HashMap, HashSet};

use afield_protocol::codec::cbor::write_key;
use afield_protocol::{FIRST_TEMPORARY, Value};

use super::device::TaggedDevice;
use super::drained::Counters;
use super::rows::{Lost, TaggedRow, check_references};
use crate::app;
use crate::oracle::tests::{Server, server};
use crate::oracle::view::View;
use crate::tag::{HITS, Tag};
use crate::violation::{Promise, Violation};

impl Server {
    fn run(&mut self, sql: &str) -> Result<(), Violation> {
        self.conn.execute_batch(sql).unwrap();
        self.record.observe(&self.conn).map(drop)
    }

    /// What a device shows whose first download grows.
    fn growing(&self) -> View {
        let now = self.record.now();
        let rows = (0..app::ENTITIES).map(|entity| (*self.record.rows(now, entity)).clone());
        View {
            has_model: true,
            visible: rows.collect(),
            tagged: self.record.tagged_rows(now).unwrap(),
            standing: vec![(None, false); app::ENTITIES],
            ..View::default()
        }
    }
}

#[track_caller]
fn broken(result: Result<(), Violation>, promise: Promise, invariant: &str) {
    let violation = result.unwrap_err();
    assert_eq!(
        (violation.promise, violation.invariant),
        (promise, invariant)
    );
}

fn row(tag: Tag, values: &[Value]) -> TaggedRow {
    let values = values.to_vec();
    TaggedRow { tag, values }
}

#[test]
fn p4_a_reference_to_another_row_is_noticed_and_to_one_that_is_gone_is_not() {
    let order = |id: i64, n| row(Tag::order(n), &[id.into()]);
    let line = |id: i64| row(Tag::line(9, "o1"), &[id.into(), 1.into()]);
    let none = Lost::default();
    check_references(&[order(7, 1), line(7)], &none).unwrap();
    check_references(&[order(8, 2), line(7)], &none).unwrap();
    let invariant = "a reference points to the row that it was made for";
    let other = check_references(&[order(7, 1), order(8, 2), line(8)], &none);
    broken(other, Promise::P4, invariant);
    let nothing = check_references(&[order(7, 1), line(FIRST_TEMPORARY)], &none);
    broken(nothing, Promise::P4, invariant);
}

#[test]
fn p4_a_reference_to_a_row_that_was_lost_or_deleted_under_another_name_is_no_mistake() {
    let order = |id: i64, n| row(Tag::order(n), &[id.into()]);
    let line = |id: i64| row(Tag::line(9, "o1"), &[id.into(), 1.into()]);
    let restored = Lost {
        is_restored: true,
        ..Lost::default()
    };
    let lost = [order(8, 1), line(7)];
    check_references(&lost, &restored).unwrap();
    assert!(check_references(&lost, &Lost::default()).is_err());
    let temporary = [order(8, 1), line(FIRST_TEMPORARY)];
    assert!(check_references(&temporary, &restored).is_err());
    let deleted = Lost {
        deleted: HashSet::from([(app::ORDER, FIRST_TEMPORARY)]),
        ..Lost::default()
    };
    check_references(&temporary, &deleted).unwrap();
    let other = [order(8, 1), line(FIRST_TEMPORARY + 1)];
    assert!(check_references(&other, &deleted).is_err());
}

#[test]
fn p2_a_row_that_is_made_twice_is_noticed_unless_its_user_made_it_again() {
    let make = "INSERT INTO orders (tag) VALUES ('o9')";
    let touch = "UPDATE orders SET a = 'x' WHERE tag = 'o9'";
    let invariant = "a row is made at most once";
    let mut server = server();
    server.run(make).unwrap();
    server.run("DELETE FROM orders WHERE tag = 'o9'").unwrap();
    server.record.may_make_again(&Tag::order(9), 0);
    server.run(make).unwrap();
    broken(server.run(make), Promise::P2, invariant);
    // Who decides while the row is there cannot have been told that it has gone.
    server.record.may_make_again(&Tag::order(9), 0);
    broken(server.run(touch), Promise::P2, invariant);
}

#[test]
fn p2_copies_may_both_make_a_row_again_that_has_gone() {
    let make = "INSERT INTO orders (tag) VALUES ('o9')";
    let mut server = server();
    server.run(make).unwrap();
    server.run("DELETE FROM orders WHERE tag = 'o9'").unwrap();
    for device in [0, 1] {
        server.record.may_make_again(&Tag::order(9), device);
    }
    server.run(make).unwrap();
    server.run(make).unwrap();
    broken(server.run(make), Promise::P2, "a row is made at most once");
}

#[test]
fn p4_a_temporary_identifier_on_the_server_is_noticed() {
    let sql = format!("INSERT INTO orders (number, tag) VALUES ({FIRST_TEMPORARY}, 'o9')");
    let invariant = "no temporary identifier is ever on the server";
    broken(server().run(&sql), Promise::P4, invariant);
}

#[test]
fn p1_a_value_that_is_nowhere_any_more_is_noticed() {
    let server = server();
    let (before, mut after) = (server.growing(), server.growing());
    after.tagged[0].values[2] = "typed".into();
    let mut device = TaggedDevice::default();
    device.wrote(&before, &after);
    device.check(&after, &server.record).unwrap();
    let lost = device.check(&before, &server.record);
    broken(lost, Promise::P1, "what was typed is kept");
}

#[test]
fn p4_an_identifier_that_is_given_twice_is_noticed() {
    let server = server();
    let mut view = server.growing();
    let mut device = TaggedDevice::default();
    device.check(&view, &server.record).unwrap();
    view.tagged = vec![row(Tag::order(9), &view.tagged[0].values)];
    let twice = device.check(&view, &server.record);
    broken(
        twice,
        Promise::P4,
        "an identifier stands for one row for ever",
    );
}

#[test]
fn p4_a_replaced_identifier_that_still_stands_somewhere_is_noticed() {
    let server = server();
    let mut view = server.growing();
    let id = Value::Integer(FIRST_TEMPORARY);
    view.tagged = vec![row(Tag::line(9, "o1"), &[id, 1.into()])];
    view.ids = HashMap::from([((app::ORDER, FIRST_TEMPORARY), 1)]);
    let old = TaggedDevice::default().check(&view, &server.record);
    broken(
        old,
        Promise::P4,
        "a replaced identifier stands nowhere any more",
    );
}

#[test]
fn p2_a_difference_that_is_lost_or_counted_twice_is_noticed() {
    let server = server();
    let mut counters = Counters::default();
    let tag = Tag::order(2);
    counters.add(&tag, 5);
    counters.check(&server.record).unwrap();
    counters.add(&tag, 1);
    let invariant = "a counter is the sum of what everybody added, each once";
    broken(counters.check(&server.record), Promise::P2, invariant);
    counters.forget(&tag);
    counters.check(&server.record).unwrap();
    let row = server.record.tagged_row(0, &tag).unwrap();
    assert_eq!(
        (write_key(&row[..1]), &row[HITS]),
        (write_key(&[2.into()]), &5.into())
    );
}

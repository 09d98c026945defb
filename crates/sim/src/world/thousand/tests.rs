//! The story can fail: it finds what is planted, and tells what a book must tell.

use afield_protocol::Value;

use super::Size;
use super::book::Book;
use super::typist::Statement;
use crate::app;
use crate::deed::Kind;
use crate::oracle::tagged::rows::TaggedRow;
use crate::tag::Tag;
use crate::worlds::play_orders;

/// Seeds within which a small story must find a planted fault.
const SEEDS: u64 = 8;

fn size(seed: u64, orders: usize) -> Size {
    Size { seed, orders }
}

#[test]
fn small_stories_that_are_looked_at_every_step_end_well() {
    for seed in 0..4 {
        let ended = play_orders(size(seed, 24), None, false);
        assert_eq!(ended.violation, None, "seed {seed}");
        assert_eq!(ended.tally.of("order made"), 24, "seed {seed}");
    }
}

#[test]
fn planted_faults_are_found() {
    for fault in [
        "ids-forget-references",
        "dependants-not-held",
        "server-dependants-not-held",
        "retry-same-id",
        "server-counter-overwrites",
    ] {
        let is_found = |seed| {
            let ended = play_orders(size(seed, 60), Some(fault), false);
            ended.violation.is_some()
        };
        assert!((0..SEEDS).any(is_found), "{fault}");
    }
}

fn statement(kind: Kind, tag: &Tag, place: Option<i64>, set: &[(usize, &str)]) -> Statement {
    Statement {
        kind,
        tag: tag.clone(),
        place,
        set: set
            .iter()
            .map(|(at, text)| (*at, Value::from(*text)))
            .collect(),
        by: 0,
        by_action: true,
        old_id: true,
        n: 1,
    }
}

fn row(tag: &Tag, values: Vec<Value>) -> TaggedRow {
    let tag = tag.clone();
    TaggedRow { tag, values }
}

#[test]
fn the_book_notices_what_is_missing_too_much_wrong_or_elsewhere() {
    let (order, line) = (Tag::order(1_001), Tag::line(1_002, "o1001"));
    let mut book = Book::default();
    book.wrote(0, &statement(Kind::Make, &order, None, &[(2, "w1.2")]));
    book.wrote(0, &statement(Kind::Make, &line, Some(3), &[(3, "w2.3")]));
    let head = |a: &str| {
        let cells = [7.into(), order.value(), a.into(), Value::Null, 0.into()];
        row(&order, cells.to_vec())
    };
    let of = |id: i64, n: i64| {
        let cells = [
            id.into(),
            n.into(),
            line.value(),
            "w2.3".into(),
            Value::Null,
        ];
        row(&line, cells.to_vec())
    };
    let other = row(&Tag::order(1_003), head("w1.2").values);
    assert!(book.check(&[head("w1.2"), of(7, 3)]).is_ok());
    for (rows, what) in [
        (vec![head("w1.2")], "every order and every line"),
        (vec![head("w1.2"), of(7, 3), of(7, 4)], "there once"),
        (
            vec![head("w1.2"), of(7, 3), other],
            "only what somebody made",
        ),
        (vec![head("w9.2"), of(7, 3)], "what was typed last"),
        (vec![head("w1.2"), of(8, 3)], "its order's"),
        (vec![head("w1.2"), of(7, 4)], "in its place"),
    ] {
        let violation = book.check(&rows).unwrap_err();
        assert!(violation.invariant.contains(what), "{violation}");
    }
    book.wrote(0, &statement(Kind::Delete, &line, Some(3), &[]));
    assert!(
        book.check(&[head("w1.2"), of(7, 3)]).is_err(),
        "it was deleted"
    );
    book.dropped(&order);
    assert!(book.check(&[head("w1.2")]).is_err(), "it was given up");
    assert!(book.check(&[]).is_ok());
    assert_eq!(app::name(order.entity()), "order");
}

//! Stock in places: the entity that most tests of pages and outbox use.

use afield::Store;
use afield::protocol::{Attributes, Frame, Value};

use crate::world::{World, attributes, int, pull, query, text};

pub(crate) const X: &str = "SELECT amount FROM stock WHERE place = 'x' AND part = 1";

pub(crate) fn amount(n: i64) -> Attributes {
    attributes([("amount", int(n))])
}

pub(crate) fn key() -> [Value; 2] {
    [text("x"), int(1)]
}

pub(crate) fn stock(world: &World, rows: &[(&str, i64, i64)]) -> Frame {
    let rows: Vec<_> = rows
        .iter()
        .map(|(place, part, amount)| [text(place), int(*part), int(*amount), Value::Null])
        .collect();
    let rows: Vec<&[Value]> = rows.iter().map(|row| row.as_slice()).collect();
    world.rows("stock", &rows)
}

pub(crate) fn gone(keys: &[(&str, i64)]) -> Frame {
    Frame::Gone {
        entity: "stock".into(),
        keys: keys
            .iter()
            .map(|(place, part)| vec![text(place), int(*part)])
            .collect(),
    }
}

/// A store whose first download is through: stock x 1 has amount 5.
pub(crate) fn filled() -> (World, Store) {
    let world = World::new();
    pull(&mut world.sync(), &[stock(&world, &[("x", 1, 5)])], "t1");
    let store = world.store();
    (world, store)
}

/// Places and amounts that are visible.
pub(crate) fn listed(store: &Store) -> Vec<(String, i64)> {
    let rows = query(
        store,
        "SELECT place, amount FROM stock ORDER BY place, part",
    );
    rows.into_iter()
        .map(|row| match row.as_slice() {
            [Value::Text(place), Value::Integer(amount)] => (place.clone(), *amount),
            other => panic!("{other:?}"),
        })
        .collect()
}

pub(crate) fn pairs(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter()
        .map(|(place, n)| ((*place).to_owned(), *n))
        .collect()
}

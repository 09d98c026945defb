//! Entity actions and savepoints, at random.

use afield::protocol::codec::cbor::write_key;
use afield::protocol::{Attributes, Value};
use afield::{Error, Transaction};
use fastrand::Rng;

use super::device::{Mentions, RowId};
use crate::world::uuid;

/// An entity action with values that meet the statements'.
pub(super) fn action(
    tx: &mut Transaction<'_>,
    rng: &mut Rng,
    log: &mut Vec<String>,
    mentions: &mut Mentions,
) -> Result<(), Error> {
    let (entity, key) = row(rng);
    let others: &[&str] = match entity {
        "note" => &["a", "b"],
        "visit" => &["title", "done"],
        "cell" => &["v", "w"],
        "job" => &["title", "note_id"],
        "task" => &["job", "a"],
        "part" => &["v"],
        _ => &["name", "qty"],
    };
    let mut set = Attributes::new();
    for name in others {
        if rng.bool() {
            continue;
        }
        let value = match (*name, rng.u32(..3)) {
            (_, 0) => Value::Null,
            ("job", _) => job(rng),
            ("b" | "done" | "w" | "qty", n) => Value::Integer(i64::from(n) - 1),
            (_, n) => Value::Text(format!("t{n}")),
        };
        set.insert((*name).to_owned(), value);
    }
    let values: Vec<Value> = key.iter().map(|(_, value)| value.clone()).collect();
    let mut row = set.clone();
    row.extend(
        key.into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    let kind = rng.u32(..4);
    log.push(format!("  action {kind} {entity} {row:?}"));
    let is_new = values.contains(&Value::Null) || tx.get(entity, &values)?.is_none();
    let values = match kind {
        0 => tx.create(entity, &row)?,
        1 => tx.create_or_update(entity, &row)?,
        2 => return tx.update(entity, &values, &set),
        _ => return tx.delete(entity, &values),
    };
    if is_new {
        let row: RowId = (entity.to_owned(), write_key(&values));
        let nulls = set.iter().filter(|(_, value)| value.is_null());
        mentions.extend(nulls.map(|(name, _)| (row.clone(), name.clone())));
    }
    Ok(())
}

/// An entity and the identifier of one of its few rows.
fn row(rng: &mut Rng) -> (&'static str, Vec<(&'static str, Value)>) {
    match rng.u32(..7) {
        0 => (
            "note",
            vec![("id", Value::Text(format!("n{}", rng.u32(1..5))))],
        ),
        1 => ("visit", vec![("n", Value::Integer(rng.i64(1..5)))]),
        2 => {
            let col = if rng.bool() { "a" } else { "b" };
            (
                "cell",
                vec![("row", Value::Integer(rng.i64(1..3))), ("col", col.into())],
            )
        }
        3 => ("job", vec![("job", job(rng))]),
        4 => (
            "task",
            vec![("id", Value::Text(format!("n{}", rng.u32(1..5))))],
        ),
        5 => (
            "part",
            vec![("job", job(rng)), ("no", Value::Integer(rng.i64(1..3)))],
        ),
        _ => ("item", vec![("id", Value::Text(uuid(rng.u64(1..4))))]),
    }
}

fn job(rng: &mut Rng) -> Value {
    let literal = super::statements::job(rng);
    literal.parse().map_or(Value::Null, Value::Integer)
}

pub(super) fn savepoint(
    rng: &mut Rng,
    open: &mut u32,
    mut run: impl FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    if *open == 0 || rng.u32(..3) == 0 {
        *open += 1;
        return run(&format!("SAVEPOINT s{open}"));
    }
    match rng.bool() {
        true => run(&format!("ROLLBACK TO s{open}")),
        false => {
            let released = run(&format!("RELEASE s{open}"));
            *open -= 1;
            released
        }
    }
}

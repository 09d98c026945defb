//! The triggers' type checks agree with `Type::accepts`, through every way of writing.

use afield::protocol::{Code, Identifier, Pattern, Type, Value};
use rusqlite::types::Value as Sql;

use crate::world::{World, attributes, entity, int, model, query};

const ALL: [Type; 12] = [
    Type::Text,
    Type::Integer,
    Type::Real,
    Type::Decimal,
    Type::Boolean,
    Type::Date,
    Type::Time,
    Type::Instant,
    Type::Datetime,
    Type::Uuid,
    Type::Bytes,
    Type::Json,
];

/// Texts that are canonical for one type or another, or nearly.
const TEXTS: &[&str] = &[
    "",
    "a",
    "ü",
    "1",
    "0",
    "00",
    "-1",
    "-0",
    "-0.00",
    "--1",
    "1-",
    "1.5",
    "-12.50",
    ".5",
    "5.",
    "1.2.3",
    "1e5",
    "+1",
    " 1",
    "0.0",
    "00.5",
    "-00.5",
    "-.5",
    "-",
    ".",
    "NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "99999999999999999999.01",
    "2024-02-29",
    "2023-02-29",
    "2024-13-01",
    "2024-00-10",
    "2024-1-01",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "-001-01-01",
    "2024-02-30",
    "2024-04-31",
    "2024-02-29 ",
    "2460000.50",
    "now",
    "2024-02-2a",
    "00:00:00.000000",
    "23:59:59.999999",
    "24:00:00.000000",
    "23:60:00.000000",
    "23:59:60.000000",
    "09:30:00",
    "09:30:00.0",
    "9:30:00.000000",
    "09:30:00.0000000",
    "29:00:00.000000",
    "09:30:00,000000",
    "2026-11-23T09:30:00.000000Z",
    "2026-11-23T09:30:00.000000",
    "2026-11-23 09:30:00.000000",
    "2026-11-23T09:30:00Z",
    "2026-11-23T09:30:00.000000+00:00",
    "2026-11-31T09:30:00.000000",
    "2026-11-23T24:00:00.000000Z",
    "2026-11-23T09:30:00.000000z",
    "0000-11-23T09:30:00.000000Z",
    "0001-01-01T00:00:00.000000Z",
    "9999-12-31T23:59:59.999999Z",
    "0190b3a1-5c1e-7cc3-98a1-0123456789ab",
    "0190B3A1-5c1e-7cc3-98a1-0123456789ab",
    "0190b3a15c1e7cc398a10123456789ab",
    "0190b3a1-5c1e-7cc3-98a1-0123456789abc",
    "0190b3a1-5c1e-7cc3-98a1_0123456789ab",
    "{0190b3a1-5c1e-7cc3-98a1-0123456789ab}",
    "{}",
    "[]",
    "null",
    "true",
    "{\"a\": [1, 2]}",
    "{a: 1}",
    "{'a': 1}",
    "[1,]",
    "\"x",
    " {} ",
    "nul",
    "\"\\ud800\"",
    "\"\u{1}\"",
    "01",
    "{\"a\":1}x",
    "// c\n{}",
];

/// Values of every kind, made of them.
fn values() -> Vec<Value> {
    let mut values: Vec<Value> = TEXTS.iter().map(|text| Value::from(*text)).collect();
    // The same with something behind a NUL, where C strings end.
    values.extend(TEXTS.iter().map(|text| Value::Text(format!("{text}\0"))));
    values.extend(TEXTS.iter().map(|text| Value::Text(format!("{text}\0x"))));
    values.extend(
        TEXTS
            .iter()
            .map(|text| Value::Bytes(text.as_bytes().to_vec())),
    );
    values.extend([0, 1, 2, -1, i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1].map(Value::Integer));
    values.extend(
        [
            0.0,
            -0.0,
            1.0,
            1.5,
            -1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ]
        .map(Value::Real),
    );
    values.push(Value::Bytes(vec![0, 255]));
    values.push(Value::Null);
    values
}

fn sql(value: &Value) -> Sql {
    match value {
        Value::Null => Sql::Null,
        Value::Integer(n) => Sql::Integer(*n),
        Value::Real(x) => Sql::Real(*x),
        Value::Text(text) => Sql::Text(text.clone()),
        Value::Bytes(bytes) => Sql::Blob(bytes.clone()),
    }
}

/// One entity for each type, with it as value `v` and as one half of the identifier.
fn world() -> World {
    let of = |kind: Type| {
        let attributes = [("n", Type::Integer), ("v", kind)];
        entity(
            kind.as_str(),
            Pattern::LastWriteWins,
            Identifier::Natural,
            1,
            &attributes,
        )
    };
    let keyed = |kind: Type| {
        let name = format!("key_{kind}");
        let attributes = [("n", Type::Integer), ("v", kind), ("w", Type::Text)];
        entity(
            &name,
            Pattern::LastWriteWins,
            Identifier::Natural,
            2,
            &attributes,
        )
    };
    World::with(model(
        ALL.map(of).into_iter().chain(ALL.map(keyed)).collect(),
    ))
}

/// What SQLite makes of a value bound for a column of this type, before any trigger.
fn as_stored(kind: Type, value: &Value) -> Value {
    let conn = rusqlite::Connection::open_in_memory().unwrap();
    conn.execute_batch(&format!("CREATE TABLE t (v {})", kind.sqlite()))
        .unwrap();
    conn.execute("INSERT INTO t VALUES (?1)", [sql(value)])
        .unwrap();
    let stored: Sql = conn
        .query_row("SELECT v FROM t", [], |row| row.get(0))
        .unwrap();
    match stored {
        Sql::Null => Value::Null,
        Sql::Integer(n) => Value::Integer(n),
        Sql::Real(x) => Value::Real(x),
        Sql::Text(text) => Value::Text(text),
        Sql::Blob(bytes) => Value::Bytes(bytes),
    }
}

#[test]
fn plain_sql_takes_what_the_type_accepts_and_nothing_else() {
    let world = world();
    let plain = world.plain();
    for kind in ALL {
        plain.execute_batch("BEGIN").unwrap();
        let base = "INSERT OR REPLACE INTO";
        plain
            .execute(&format!("{base} \"{kind}\" VALUES (0, NULL)"), [])
            .unwrap();
        for value in values() {
            let stored = as_stored(kind, &value);
            let wanted = kind.accepts(stored.as_ref());
            for statement in [
                format!("{base} \"{kind}\" VALUES (1, ?1)"),
                format!("UPDATE \"{kind}\" SET v = ?1 WHERE n = 0"),
                format!("{base} \"key_{kind}\" (n, v) VALUES (1, ?1)"),
            ] {
                let done = plain.execute(&statement, [sql(&value)]);
                let wanted = wanted && !(value.is_null() && statement.contains("key_"));
                let what = format!("{statement} with {value:?}, stored as {stored:?}");
                assert_eq!(done.is_ok(), wanted, "{what}: {done:?}");
            }
        }
        plain.execute_batch("ROLLBACK").unwrap();
    }
}

#[test]
fn an_entity_action_takes_what_the_type_can_become_and_nothing_else() {
    let world = world();
    let mut store = world.store();
    for kind in ALL {
        let mut n = 0;
        let wrong: Result<(), afield::Error> = store.transaction(|tx| {
            for value in values() {
                n += 1;
                let row = attributes([("n", int(n)), ("v", value.clone())]);
                let done = tx.create(kind.as_str(), &row);
                match kind.normalise(value.clone()) {
                    Ok(normal) => {
                        done.unwrap_or_else(|error| panic!("{kind} {value:?}: {error}"));
                        let row = tx.get(kind.as_str(), &[int(n)])?.unwrap();
                        assert_eq!(row["v"], normal, "{kind}");
                    }
                    Err(_) => {
                        let error = done.expect_err("refused");
                        assert_eq!(*error.code(), Code::TYPE_MISMATCH, "{kind} {value:?}");
                        assert_eq!(error.attribute(), Some("v"));
                    }
                }
            }
            Ok(())
        });
        wrong.unwrap();
    }
}

#[test]
fn every_accepted_value_reaches_the_outbox_as_it_was_written() {
    let world = world();
    let plain = world.plain();
    for kind in ALL {
        let insert = format!("INSERT INTO \"{kind}\" VALUES (?1, ?2)");
        for (n, value) in values().into_iter().enumerate() {
            // A value that is refused is another test's matter.
            let _ = plain.execute(&insert, (i64::try_from(n).unwrap(), sql(&value)));
        }
    }
    let outgoing = crate::world::request(&mut world.sync());
    let groups = world.groups(&outgoing);
    assert_eq!(groups.len(), 1);
    let store = world.store();
    for change in &groups[0].changes {
        let sql = format!(
            "SELECT v FROM \"{}\" WHERE n = {}",
            change.entity, change.key[0]
        );
        let row = query(&store, &sql);
        let sent = change.set.get("v").cloned().unwrap_or(Value::Null);
        assert_eq!(row, [[sent]], "{}", change.entity);
    }
}

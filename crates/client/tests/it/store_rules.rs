//! Rules for values: the triggers agree with the protocol's function, and nothing else is in the
//! way of anybody.

use afield::protocol::rule::Matches;
use afield::protocol::{
    Attribute, Code, Identifier, Literal, Model, Pattern, Rule, Type, Value, Verdict,
};

use crate::world::{
    World, attributes, entity, execute, int, model, pull, query, request, settle, text,
};

fn none() -> Rule {
    Rule::default()
}

fn word(text: &str) -> Literal {
    Literal::Text(text.into())
}

/// Rules that SQL can check, each with its type.
fn rules() -> Vec<(Type, Rule)> {
    let range = |min, max| Rule { min, max, ..none() };
    let one_of = |one_of| Rule { one_of, ..none() };
    let mut rules = vec![
        (
            Type::Text,
            Rule {
                required: true,
                ..none()
            },
        ),
        (
            Type::Text,
            Rule {
                max_length: Some(3),
                ..none()
            },
        ),
        (Type::Text, one_of(vec![word("a"), word("it's"), word("")])),
        (
            Type::Integer,
            one_of(vec![Literal::Integer(1), Literal::Integer(-7)]),
        ),
        (
            Type::Integer,
            range(Some(Literal::Integer(-1)), Some(Literal::Integer(1 << 53))),
        ),
        (Type::Real, range(Some(Literal::Real(-0.5)), None)),
        (Type::Real, range(None, Some(Literal::Real(1e300)))),
        (
            Type::Date,
            range(Some(word("2024-02-29")), Some(word("2024-12-31"))),
        ),
        (Type::Time, range(Some(word("09:30:00.000000")), None)),
        (
            Type::Instant,
            range(None, Some(word("2024-02-29T09:30:00.000000Z"))),
        ),
    ];
    for bound in [
        "0",
        "-1.5",
        "1.50",
        "12",
        "-0.05",
        "99999999999999999999.01",
    ] {
        rules.push((Type::Decimal, range(Some(word(bound)), None)));
        rules.push((Type::Decimal, range(None, Some(word(bound)))));
    }
    rules
}

fn values() -> Vec<Value> {
    let texts = [
        "",
        "a",
        "it's",
        "abc",
        "abcd",
        "üüü",
        "üüüü",
        "0",
        "0.0",
        "1",
        "1.5",
        "1.50",
        "1.5000001",
        "-1.5",
        "-1.50",
        "-1.4",
        "-1.6",
        "-0.05",
        "-0.050",
        "-0.06",
        "-0.04",
        "12",
        "12.00",
        "12.01",
        "2",
        "112",
        "9",
        "-12",
        "99999999999999999999.01",
        "99999999999999999999.010",
        "99999999999999999999.02",
        "100000000000000000000",
        "2024-02-28",
        "2024-02-29",
        "2024-12-31",
        "2025-01-01",
        "09:29:59.999999",
        "09:30:00.000000",
        "23:00:00.000000",
        "2024-02-29T09:30:00.000000Z",
        "2024-02-29T09:30:00.000001Z",
        "NaN",
    ];
    let mut values: Vec<Value> = texts.map(text).into();
    values.extend([-7, -2, -1, 0, 1, 2, 1 << 53, (1 << 53) + 1].map(Value::Integer));
    let reals = [
        -0.6,
        -0.5,
        0.0,
        1e300,
        1e301,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    values.extend(reals.map(Value::Real));
    values.push(Value::Null);
    values
}

/// `rule_N` for each of the rules: identifier, the attribute with the rule, another one.
fn ruled() -> World {
    let entities = rules().into_iter().enumerate().map(|(n, (kind, rule))| {
        let name = format!("rule_{n}");
        let attributes = [("n", Type::Integer), ("v", kind), ("w", Type::Text)];
        let (pattern, id) = (Pattern::LastWriteWins, Identifier::Natural);
        let mut made = entity(&name, pattern, id, 1, &attributes);
        made.attributes[1].rule = rule;
        made
    });
    World::with(model(entities.collect()))
}

#[test]
fn plain_sql_is_refused_exactly_what_the_rule_refuses() {
    let world = ruled();
    let plain = world.plain();
    let mut refused = 0;
    for (n, (kind, rule)) in rules().into_iter().enumerate() {
        plain.execute_batch("BEGIN").unwrap();
        let first = values().into_iter().find(|value| {
            !value.is_null() && kind.accepts(value.as_ref()) && rule.check(kind, value).is_ok()
        });
        let insert = format!("INSERT INTO rule_{n} (n, v) VALUES (?1, ?2)");
        plain.execute(&insert, (0, sql(&first.unwrap()))).unwrap();
        for value in values() {
            // What SQLite would store as something else is another test's matter.
            if !value.is_null() && !kind.accepts(value.as_ref()) {
                continue;
            }
            let wanted = rule.check(kind, &value);
            refused += usize::from(wanted.is_err());
            let update = format!("UPDATE rule_{n} SET v = ?2 WHERE n = ?1");
            let replace = format!("INSERT OR REPLACE INTO rule_{n} (n, v) VALUES (?1, ?2)");
            for (statement, key) in [(&insert, 1), (&replace, 1), (&update, 0)] {
                plain.execute_batch("SAVEPOINT s").unwrap();
                let done = plain.execute(statement, (key, sql(&value)));
                let what = format!("{statement} with {value:?} under {rule:?}: {done:?}");
                assert_eq!(done.is_ok(), wanted.is_ok(), "{what}");
                if let (Err(done), Err(wanted)) = (done, &wanted) {
                    assert!(done.to_string().contains(wanted.code.as_str()), "{what}");
                }
                plain.execute_batch("ROLLBACK TO s").unwrap();
            }
        }
        plain.execute_batch("ROLLBACK").unwrap();
    }
    assert!(refused > 100, "{refused}");
}

fn sql(value: &Value) -> rusqlite::types::Value {
    match value {
        Value::Null => rusqlite::types::Value::Null,
        Value::Integer(n) => (*n).into(),
        Value::Real(x) => (*x).into(),
        Value::Text(text) => text.clone().into(),
        Value::Bytes(bytes) => bytes.clone().into(),
    }
}

/// `person`: a name that must be there, a phone that must look like one, a note.
fn people() -> Model {
    let columns = [
        ("id", Type::Integer),
        ("name", Type::Text),
        ("phone", Type::Text),
        ("note", Type::Text),
    ];
    let mut person = entity(
        "person",
        Pattern::LastWriteWins,
        Identifier::Natural,
        1,
        &columns,
    );
    person.attributes[1].rule = Rule {
        required: true,
        max_length: Some(5),
        ..none()
    };
    person.attributes[2].rule.matches = Some(Matches::new("^[0-9 ]+$").unwrap());
    model(vec![person])
}

#[test]
fn a_row_of_the_server_may_break_a_rule_and_the_rest_of_it_is_written() {
    let world = World::with(people());
    let long = world.rows(
        "person",
        &[&[int(1), text("far too long"), text("x"), Value::Null]],
    );
    pull(&mut world.sync(), &[long], "t1");
    let mut store = world.store();
    execute(&mut store, "UPDATE person SET note = 'hi', name = name").unwrap();
    let whole = "INSERT OR REPLACE INTO person VALUES (1, 'far too long', 'x', 'again')";
    execute(&mut store, whole).unwrap();
    let upsert = "INSERT INTO person VALUES (1, 'far too long', '1', 'b') \
                  ON CONFLICT DO UPDATE SET note = excluded.note";
    world.plain().execute(upsert, []).unwrap();
    assert_eq!(query(&store, "SELECT note FROM person"), [[text("b")]]);
    let error = execute(&mut store, "UPDATE person SET name = 'other and long'").unwrap_err();
    assert_eq!(
        (error.code(), error.attribute()),
        (&Code::TOO_LONG, Some("name"))
    );
    let error = execute(&mut store, "UPDATE person SET name = NULL").unwrap_err();
    assert_eq!(
        (error.code(), error.attribute()),
        (&Code::NOT_NULL, Some("name"))
    );
}

#[test]
fn what_sql_cannot_check_is_checked_when_our_transaction_ends() {
    let world = World::with(people());
    let mut store = world.store();
    let row = |phone| {
        attributes([
            ("id", int(1)),
            ("name", text("Ann")),
            ("phone", text(phone)),
        ])
    };
    let error = store.create("person", &row("call me")).unwrap_err();
    assert_eq!(
        (error.code(), error.attribute()),
        (&Code::NO_MATCH, Some("phone"))
    );
    let sql = "INSERT INTO person VALUES (1, 'Ann', 'x', NULL)";
    assert_eq!(
        execute(&mut store, sql).unwrap_err().code(),
        &Code::NO_MATCH
    );
    assert!(
        query(&store, "SELECT * FROM person").is_empty(),
        "nothing of it stays"
    );
    store.create("person", &row("030 1")).unwrap();
    // Another program's write is committed: it is captured as it is, and the server refuses it.
    world
        .plain()
        .execute("UPDATE person SET phone = 'ask'", [])
        .unwrap();
    let mut sync = world.sync();
    let asked = request(&mut sync);
    let groups = world.groups(&asked);
    let sent: Vec<&Value> = groups
        .iter()
        .filter_map(|g| g.changes[0].set.get("phone"))
        .collect();
    assert_eq!(sent, [&text("ask")]);
    let refused = Verdict {
        attribute: Some("phone".into()),
        ..Verdict::rejected(Code::NO_MATCH, "no")
    };
    settle(&mut sync, &asked, &refused);
    let change = store.changes().unwrap()[0].change.clone();
    let set = |value| attributes([("phone", text(value))]);
    let error = store.retry(&change, Some(&set("none"))).unwrap_err();
    assert_eq!(
        (error.code(), error.attribute()),
        (&Code::NO_MATCH, Some("phone"))
    );
    store.retry(&change, Some(&set("040 2"))).unwrap();
    assert_eq!(query(&store, "SELECT phone FROM person"), [[text("040 2")]]);
}

#[test]
fn p1_a_model_with_other_rules_keeps_rows_and_unsent_changes() {
    let world = World::with(people());
    let ann = world.rows("person", &[&[int(1), text("Ann"), text("1"), Value::Null]]);
    pull(&mut world.sync(), &[ann], "t1");
    let mut store = world.store();
    execute(&mut store, "UPDATE person SET note = 'unsent, and long'").unwrap();
    let mut stricter = world.model.clone();
    stricter.entities[0].attributes[3].rule.max_length = Some(3);
    stricter.entities[0].edit_online = true;
    let mut sync = world.sync();
    sync.install(&stricter).unwrap();
    let asked = request(&mut sync);
    assert_eq!(asked.groups.len(), 1, "the change is still there");
    assert!(asked.pull[0].1.is_some(), "nothing is fetched again");
    assert_eq!(
        query(&store, "SELECT note FROM person"),
        [[text("unsent, and long")]]
    );
    world
        .clock
        .store(i64::MAX / 2, std::sync::atomic::Ordering::Relaxed);
    sync.note_network(true).unwrap();
    let error = execute(&mut store, "UPDATE person SET note = 'longer'").unwrap_err();
    assert_eq!(error.code(), &Code::TOO_LONG);
}

#[test]
fn an_entity_that_is_edited_online_is_locked_until_the_server_has_answered() {
    let mut model = people();
    model.entities[0].edit_online = true;
    let world = World::with(model);
    let (mut store, mut sync, plain) = (world.store(), world.sync(), world.plain());
    let insert = "INSERT INTO person VALUES (1, 'Ann', NULL, NULL)";
    let locked = |store: &mut afield::Store, sql: &str| {
        let error = execute(store, sql).unwrap_err();
        assert_eq!(error.code(), &Code::EDIT_NEEDS_NETWORK, "{sql}");
        assert!(plain.execute(sql, []).is_err(), "{sql}");
    };
    locked(&mut store, insert);
    // Rows arrive all the same.
    let two = world.rows(
        "person",
        &[&[int(2), text("Ben"), Value::Null, Value::Null]],
    );
    pull(&mut sync, &[two], "t1");
    // An answer of long ago counts no more: the store's clock says when it was.
    sync.note_network(true).unwrap();
    locked(&mut store, insert);
    world
        .clock
        .store(i64::MAX / 2, std::sync::atomic::Ordering::Relaxed);
    sync.note_network(true).unwrap();
    execute(&mut store, insert).unwrap();
    plain
        .execute("UPDATE person SET note = 'x' WHERE id = 2", [])
        .unwrap();
    store.network_lost().unwrap();
    locked(&mut store, "UPDATE person SET note = 'y'");
    locked(&mut store, "DELETE FROM person");
    // What was written before is sent like anything else.
    assert_eq!(request(&mut sync).groups.len(), 2);
}

#[test]
fn a_local_only_entity_has_rules_too() {
    let mut draft = entity(
        "draft",
        Pattern::LocalOnly,
        Identifier::Natural,
        1,
        &[("id", Type::Integer), ("title", Type::Text)],
    );
    let synced = entity(
        "x",
        Pattern::ReadOnly,
        Identifier::Natural,
        1,
        &[("id", Type::Text)],
    );
    draft.attributes[1] = Attribute {
        rule: Rule {
            required: true,
            ..none()
        },
        ..Attribute::new("title", Type::Text)
    };
    let mut all = model(vec![synced]);
    all.entities.push(draft);
    let world = World::with(all);
    let error = world
        .store()
        .create("draft", &attributes([("id", int(1))]))
        .unwrap_err();
    assert_eq!(
        (error.code(), error.attribute()),
        (&Code::NOT_NULL, Some("title"))
    );
}

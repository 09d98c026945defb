//! What a write may not do is refused by the writing statement itself, whoever writes.

use afield::protocol::Code;
use rusqlite::Connection;

use crate::world::{World, execute, id, int, pull, query, sample, text, uuid};

/// A store with a row in every entity.
fn filled() -> World {
    let world = World::new();
    let content = [
        world.rows("company", &[&[int(1), text("Acme")]]),
        world.rows("code", &[&[text("a"), text("Alpha")]]),
        world.rows(
            "contact",
            &[&[id(1), int(1), text("Bo"), text("1"), int(0), text("chief")]],
        ),
        world.rows("stock", &[&[text("x"), int(1), int(5), text("n")]]),
    ];
    pull(&mut world.sync(), &content, "t1");
    world
}

/// Runs `sql` on our connection and on a plain one and expects both to refuse it with `code`,
/// and nothing to have changed.
fn refused(world: &World, sql: &str, code: &Code) {
    let mut store = world.store();
    let before = everything(&world.plain());
    let error = execute(&mut store, sql).expect_err(sql);
    assert_eq!(error.code(), code, "{sql}: {error}");
    let error = world.plain().execute_batch(sql).expect_err(sql);
    let wanted = format!("afield:{code}:");
    assert!(error.to_string().contains(&wanted), "{sql}: {error}");
    assert_eq!(everything(&world.plain()), before, "{sql}");
    assert!(store.changes().unwrap().is_empty(), "{sql}");
}

fn everything(conn: &Connection) -> Vec<String> {
    let dump = |sql: &str| {
        let mut statement = conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement
            .query_map([], |row| {
                let cells = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap()));
                Ok(cells.collect::<Vec<_>>().join("|"))
            })
            .unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    ["company", "code", "contact", "stock", "visit", "label"]
        .into_iter()
        .flat_map(|table| dump(&format!("SELECT * FROM {table}")))
        .collect()
}

#[test]
fn a_read_only_entity_refuses_every_kind_of_write() {
    let world = filled();
    for sql in [
        "INSERT INTO company VALUES (2, 'New')",
        "INSERT INTO company VALUES (1, 'Acme')",
        "INSERT OR IGNORE INTO company VALUES (2, 'New')",
        "INSERT OR REPLACE INTO company VALUES (1, 'Other')",
        "REPLACE INTO company VALUES (1, 'Other')",
        "INSERT INTO company VALUES (1, 'x') ON CONFLICT DO NOTHING",
        "INSERT INTO company VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'x'",
        "UPDATE company SET name = 'x'",
        "UPDATE OR IGNORE company SET name = 'x' WHERE id = 1",
        "UPDATE company SET name = name",
        "DELETE FROM company",
        "DELETE FROM company WHERE id = 1",
        "DELETE FROM code",
        "INSERT INTO code VALUES ('b', NULL)",
    ] {
        refused(&world, sql, &Code::READ_ONLY);
    }
}

#[test]
fn a_read_only_attribute_refuses_and_names_itself() {
    let world = filled();
    let new = uuid(9);
    for sql in [
        "UPDATE contact SET rank = 'boss'".to_owned(),
        "UPDATE contact SET rank = NULL, name = 'x'".to_owned(),
        "UPDATE OR IGNORE contact SET rank = 'boss'".to_owned(),
        format!("INSERT INTO contact (id, rank) VALUES ('{new}', 'boss')"),
        format!("INSERT OR IGNORE INTO contact (id, rank) VALUES ('{new}', 'boss')"),
    ] {
        refused(&world, &sql, &Code::READ_ONLY);
    }
    let error = execute(&mut world.store(), "UPDATE contact SET rank = 'boss'").unwrap_err();
    assert_eq!(error.attribute(), Some("rank"));
    assert!(error.to_string().contains("contact.rank"), "{error}");
    // Setting it to what it is, or leaving it out, is no write of it.
    execute(
        &mut world.store(),
        "UPDATE contact SET rank = rank, name = 'y'",
    )
    .unwrap();
    let sql = format!("INSERT INTO contact (id) VALUES ('{new}')");
    execute(&mut world.store(), &sql).unwrap();
}

#[test]
fn an_identifier_stays() {
    let world = filled();
    let (a, b) = (uuid(1), uuid(2));
    for sql in [
        format!("UPDATE contact SET id = '{b}' WHERE id = '{a}'"),
        format!("UPDATE OR REPLACE contact SET id = '{b}'"),
        format!("UPDATE OR IGNORE contact SET id = '{b}'"),
        format!("INSERT INTO contact (id) VALUES ('{a}') ON CONFLICT DO UPDATE SET id = '{b}'"),
        "UPDATE stock SET part = 2".to_owned(),
        "UPDATE stock SET place = 'X'".to_owned(),
        "UPDATE stock SET part = NULL".to_owned(),
    ] {
        refused(&world, &sql, &Code::IDENTIFIER_CHANGED);
    }
}

#[test]
fn an_identifier_is_needed() {
    let world = filled();
    for sql in [
        "INSERT INTO contact (name) VALUES ('x')",
        "INSERT OR IGNORE INTO contact (name) VALUES ('x')",
        "INSERT OR REPLACE INTO stock (place) VALUES ('x')",
        "INSERT INTO stock (part) VALUES (1)",
        "INSERT INTO label (word) VALUES (NULL)",
    ] {
        refused(&world, sql, &Code::IDENTIFIER_MISSING);
    }
}

#[test]
fn or_ignore_does_not_swallow_a_type_refusal() {
    let world = filled();
    let new = uuid(9);
    for sql in [
        format!("INSERT OR IGNORE INTO contact (id, vip) VALUES ('{new}', 2)"),
        format!("INSERT OR IGNORE INTO contact (id, name) VALUES ('{new}', x'00')"),
        "UPDATE OR IGNORE contact SET vip = 7".to_owned(),
        "INSERT OR IGNORE INTO label VALUES (x'01')".to_owned(),
        "INSERT OR REPLACE INTO stock VALUES ('x', 1, 'many', NULL)".to_owned(),
        "INSERT OR FAIL INTO stock VALUES ('y', 1, 1, NULL), ('y', 2, 'many', NULL)".to_owned(),
        format!(
            "INSERT INTO contact (id) VALUES ('{}')",
            uuid(9).replace("0000", "000G")
        ),
    ] {
        refused(&world, &sql, &Code::TYPE_MISMATCH);
    }
}

#[test]
fn a_refused_statement_leaves_its_transaction_usable_for_a_plain_writer() {
    let world = filled();
    let plain = world.plain();
    plain
        .execute_batch("BEGIN; UPDATE stock SET amount = 6")
        .unwrap();
    plain
        .execute_batch("UPDATE contact SET vip = 9")
        .unwrap_err();
    plain
        .execute_batch("UPDATE stock SET note = 'm'; COMMIT")
        .unwrap();
    let changes = world.store().changes().unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].entity, "stock");
    assert_eq!(query(&world.store(), "SELECT vip FROM contact"), [[int(0)]]);
}

/// Its rows are made by others: they are edited, replaced and deleted here.
#[test]
fn p7_rows_whose_identifier_is_read_only_are_never_created() {
    let mut sample = sample();
    for entity in &mut sample.entities {
        if ["stock", "label"].contains(&entity.name.as_str()) {
            entity.attributes[0].read_only = true;
        }
    }
    let world = World::with(sample);
    let rows = [world.rows("stock", &[&[text("x"), int(1), int(5), text("n")]])];
    pull(&mut world.sync(), &rows, "t1");
    for sql in [
        "INSERT INTO stock VALUES ('y', 1, 5, 'n')",
        "INSERT INTO stock VALUES ('x', 2, 5, 'n')",
        "INSERT OR REPLACE INTO stock VALUES ('x', 2, 5, 'n')",
        "INSERT INTO label VALUES ('new')",
        "DELETE FROM stock; INSERT INTO stock VALUES ('x', 1, 6, 'n')",
    ] {
        let error = execute(&mut world.store(), sql).expect_err(sql);
        assert_eq!(error.code(), &Code::READ_ONLY, "{sql}: {error}");
        let whole = format!("BEGIN; {sql}");
        world.plain().execute_batch(&whole).expect_err(sql);
    }
    let sql = "INSERT OR REPLACE INTO stock VALUES ('x', 1, 6, 'n'); \
               INSERT INTO stock VALUES ('x', 1, 7, 'n') ON CONFLICT DO UPDATE SET amount = 7; \
               UPDATE stock SET note = 'm'";
    execute(&mut world.store(), sql).unwrap();
    let found = query(&world.store(), "SELECT amount, note FROM stock");
    assert_eq!(found, [[int(7), text("m")]]);
    execute(&mut world.store(), "DELETE FROM stock").unwrap();
}

//! Entity actions and the transactions they run in.

use afield::protocol::{Code, Op, Value};
use afield::{Error, Params};

use crate::world::{World, attributes, execute, id, int, pull, query, request, text, uuid};

#[test]
fn explicit_null_is_mentioned_and_a_missing_attribute_is_not() {
    let world = World::new();
    let mut store = world.store();
    let row = attributes([("id", id(1)), ("vip", Value::Null), ("name", text("Bo"))]);
    store.create("contact", &row).unwrap();
    // The same by plain SQL: null counts as not mentioned, the default is.
    execute(
        &mut store,
        &format!(
            "INSERT INTO contact (id, vip, name) VALUES ('{}', NULL, 'Cy')",
            uuid(2)
        ),
    )
    .unwrap();
    store
        .create("contact", &attributes([("id", id(3))]))
        .unwrap();
    let changes = store.changes().unwrap();
    let sets: Vec<_> = changes.iter().map(|change| change.set.clone()).collect();
    assert_eq!(
        sets[0],
        attributes([("vip", Value::Null), ("name", text("Bo"))])
    );
    assert_eq!(sets[1], attributes([("name", text("Cy"))]));
    assert_eq!(sets[2], attributes([("vip", int(0))]));
}

#[test]
fn many_explicit_nulls_do_not_cost_the_square() {
    let world = World::new();
    let rows: Vec<_> = (0..20_000)
        .map(|n| {
            attributes([
                ("id", id(n)),
                ("title", Value::Null),
                ("score", Value::Null),
            ])
        })
        .collect();
    let mut store = world.store();
    store.create_or_update_all("visit", &rows).unwrap();
    let outgoing = request(&mut world.sync());
    let group = &world.groups(&outgoing)[0];
    assert_eq!(group.changes.len(), 20_000);
    let nulls = attributes([("title", Value::Null), ("score", Value::Null)]);
    assert!(group.changes.iter().all(|change| change.set == nulls));
}

#[test]
fn local_only_rows_never_reach_the_outbox() {
    let world = World::new();
    let mut store = world.store();
    store
        .create("draft", &attributes([("id", id(1)), ("title", text("x"))]))
        .unwrap();
    store
        .update("draft", &[id(1)], &attributes([("title", text("y"))]))
        .unwrap();
    world
        .plain()
        .execute_batch("UPDATE draft SET title = 'z'")
        .unwrap();
    assert!(store.changes().unwrap().is_empty());
    store.delete_all("draft", false).unwrap();
    let outgoing = request(&mut world.sync());
    assert!(outgoing.groups.is_empty());
    assert!(outgoing.pull.iter().all(|(entity, _)| entity != "draft"));
    assert!(query(&store, "SELECT * FROM draft").is_empty());
}

#[test]
fn a_transaction_that_fails_leaves_nothing() {
    let world = World::new();
    let mut store = world.store();
    let failed: Result<(), Error> = store.transaction(|tx| {
        tx.create("contact", &attributes([("id", id(1))]))?;
        tx.execute("INSERT INTO label VALUES ('a')", &Params::none())?;
        tx.update("visit", &[id(9)], &attributes([("score", int(1))]))
    });
    assert_eq!(*failed.unwrap_err().code(), Code::NOT_FOUND);
    assert!(store.changes().unwrap().is_empty());
    assert!(query(&store, "SELECT * FROM contact").is_empty());
    assert!(query(&store, "SELECT * FROM label").is_empty());
}

/// Every way in which a step could end or leave its transaction: nothing may be committed.
#[test]
fn p1_a_step_cannot_end_its_transaction() {
    for end in [
        "COMMIT",
        "END",
        "COMMIT; BEGIN",
        "ROLLBACK",
        "ROLLBACK; BEGIN",
        "/**/ cOmMiT",
    ] {
        for swallow in [false, true] {
            let world = World::new();
            let mut store = world.store();
            let result = store.transaction(|tx| {
                tx.execute("INSERT INTO label VALUES ('a')", &Params::none())?;
                let ended = tx.execute(end, &Params::none());
                if swallow {
                    let _ = tx.execute("INSERT INTO label VALUES ('b')", &Params::none());
                    return Ok(());
                }
                ended.map(|_| ())
            });
            let error = result.expect_err(end);
            assert_eq!(*error.code(), Code::SQL, "{end}");
            assert!(
                query(&store, "SELECT * FROM label").is_empty(),
                "{end} {swallow}"
            );
            assert!(store.changes().unwrap().is_empty(), "{end}");
            // The store is usable.
            execute(&mut store, "INSERT INTO label VALUES ('c')").unwrap();
            assert_eq!(store.changes().unwrap().len(), 1);
        }
    }
}

#[test]
fn a_swallowed_or_rollback_fails_the_transaction() {
    let world = World::new();
    let mut store = world.store();
    execute(&mut store, "INSERT INTO label VALUES ('a')").unwrap();
    let result = store.transaction(|tx| {
        tx.execute("INSERT INTO label VALUES ('b')", &Params::none())?;
        let again = "INSERT OR ROLLBACK INTO label VALUES ('a')";
        assert!(tx.execute(again, &Params::none()).is_err());
        let _ = tx.execute("INSERT INTO label VALUES ('c')", &Params::none());
        let _ = tx.create("label", &attributes([("word", text("d"))]));
        Ok(())
    });
    assert!(result.is_err());
    assert_eq!(query(&store, "SELECT * FROM label"), [[text("a")]]);
    assert_eq!(store.changes().unwrap().len(), 1);
}

#[test]
fn a_query_cannot_open_a_transaction_or_write() {
    let world = World::new();
    let mut store = world.store();
    for sql in [
        "BEGIN",
        "SAVEPOINT a",
        "BEGIN IMMEDIATE",
        "DELETE FROM label",
        "PRAGMA user_version = 3",
    ] {
        assert!(store.query(sql, &Params::none()).is_err(), "{sql}");
    }
    execute(&mut store, "INSERT INTO label VALUES ('a')").unwrap();
}

#[test]
fn a_savepoint_rolled_back_leaves_only_what_is_there() {
    let world = World::new();
    let mut store = world.store();
    execute(
        &mut store,
        "INSERT INTO label VALUES ('a'); SAVEPOINT s; INSERT INTO label VALUES ('b'); \
         DELETE FROM label; ROLLBACK TO s; RELEASE s; INSERT INTO label VALUES ('c')",
    )
    .unwrap();
    let changes = store.changes().unwrap();
    let keys: Vec<_> = changes.iter().map(|change| change.key[0].clone()).collect();
    assert_eq!(keys, [text("a"), text("c")]);
    assert_eq!(changes[0].group, changes[1].group);
}

#[test]
fn creates_come_in_the_order_of_references_and_deletes_the_other_way() {
    let world = World::new();
    let mut store = world.store();
    let create = |store: &mut afield::Store| {
        store.transaction(|tx| {
            tx.create("visit", &attributes([("id", id(2)), ("contact_id", id(1))]))?;
            tx.create("contact", &attributes([("id", id(1))]))
        })
    };
    create(&mut store).unwrap();
    let order = |world: &World, group: usize| -> Vec<(Op, String)> {
        let changes = world.store().changes().unwrap();
        let mut ids = changes.iter().map(|c| c.group).collect::<Vec<_>>();
        ids.dedup();
        let changes = changes.iter().filter(|c| c.group == ids[group]);
        changes.map(|c| (c.op, c.entity.clone())).collect()
    };
    let (contact, visit) = ("contact".to_owned(), "visit".to_owned());
    assert_eq!(
        order(&world, 0),
        [(Op::Create, contact.clone()), (Op::Create, visit.clone())]
    );
    store
        .transaction(|tx| {
            tx.delete("contact", &[id(1)])?;
            tx.delete("visit", &[id(2)])
        })
        .unwrap();
    assert_eq!(
        order(&world, 1),
        [(Op::Delete, visit), (Op::Delete, contact)]
    );
}

#[test]
fn an_off_type_cell_of_the_server_does_not_block_other_attributes() {
    let world = World::new();
    let odd = [id(1), text("one"), int(5), text("1"), text("maybe"), int(3)];
    pull(&mut world.sync(), &[world.rows("contact", &[&odd])], "t1");
    let mut store = world.store();
    store
        .update("contact", &[id(1)], &attributes([("phone", text("2"))]))
        .unwrap();
    world
        .plain()
        .execute_batch("UPDATE contact SET phone = '3', vip = vip")
        .unwrap();
    let changes = store.changes().unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].set, attributes([("phone", text("3"))]));
    assert_eq!(changes[0].base["vip"], text("maybe"));
}

#[test]
fn an_edit_may_be_taken_back_where_an_attribute_is_read_only() {
    let world = World::new();
    let row: &[Value] = &[id(1), int(1), text("Bo"), text("1"), int(0), text("chief")];
    pull(&mut world.sync(), &[world.rows("contact", &[row])], "t1");
    let mut store = world.store();
    for phone in ["2", "1"] {
        let phone = attributes([("phone", text(phone))]);
        store.update("contact", &[id(1)], &phone).unwrap();
    }
    assert!(store.changes().unwrap().is_empty());
}

/// Deleted and made again, in one transaction or two: what nobody here may write stays as it was,
/// and is not sent.
#[test]
fn p3_a_row_that_is_made_again_keeps_what_is_read_only() {
    let replace = |phone: &str| {
        let id = uuid(1);
        format!(
            "INSERT OR REPLACE INTO contact (id, company_id, name, phone, vip) \
             VALUES ('{id}', 1, 'Bo', '{phone}', 0)"
        )
    };
    for phone in ["1", "2"] {
        for is_deleted_before in [false, true] {
            let world = World::new();
            let row: &[Value] = &[id(1), int(1), text("Bo"), text("1"), int(0), text("chief")];
            pull(&mut world.sync(), &[world.rows("contact", &[row])], "t1");
            let mut store = world.store();
            if is_deleted_before {
                store.delete("contact", &[id(1)]).unwrap();
            }
            execute(&mut store, &replace(phone)).unwrap();
            let seen = query(&store, "SELECT phone, rank FROM contact");
            let place = format!("{phone} {is_deleted_before}");
            assert_eq!(seen, [[text(phone), text("chief")]], "{place}");
            let sent: Vec<_> = (store.changes().unwrap().into_iter())
                .map(|change| (change.op, change.set))
                .collect();
            match phone {
                "1" => assert!(sent.is_empty(), "{place}: {sent:?}"),
                _ => {
                    let set = attributes([("phone", text("2"))]);
                    assert_eq!(sent, [(Op::Update, set)], "{place}");
                }
            }
        }
    }
}

#[test]
fn p1_a_store_is_closed_in_good_order_after_a_panic_in_a_transaction() {
    let world = World::new();
    let mut store = world.store();
    let row = attributes([("word", text("half"))]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.transaction(|tx| {
            let key = tx.create("label", &row)?;
            assert!(key.is_empty(), "a mistake of the app's");
            Ok(())
        })
    }));
    assert!(panicked.is_err());
    drop(store);
    let mut store = world.store();
    assert!(store.get("label", &[text("half")]).unwrap().is_none());
    store.create("label", &row).unwrap();
}

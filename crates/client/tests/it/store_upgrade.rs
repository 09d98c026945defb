//! Another model under changes that are not through: nothing that was typed is lost, whatever it
//! changes.

use afield::protocol::{Attribute, Code, Frame, Literal, Merge, Pattern, RowBlockWriter};
use afield::protocol::{Model, Theirs, Type, Value, Verdict};
use afield::{ChangeState, Resolution};

use crate::store_install::{changed, filled, of};
use crate::world::{
    World, answer, attributes, decode, execute, id, int, outcome, page, pull, query, request,
    settle, text,
};

const KEY: &str = "place = 'x' AND part = 1";

/// The store with an edit of a row that the server has, and a row made here.
fn edited(world: &World) {
    let mut store = world.store();
    execute(&mut store, "UPDATE stock SET amount = 6").unwrap();
    let made = [("id", id(9)), ("name", text("Ann")), ("phone", text("12"))];
    store.create("contact", &attributes(made)).unwrap();
}

fn rows(world: &World, model: &Model, name: &str, rows: &[&[Value]]) -> Frame {
    assert_eq!(world.model.entities.len(), model.entities.len());
    let mut block = RowBlockWriter::new(name, &model.entity(name).unwrap().columns());
    for row in rows {
        block.push(row.iter().map(Value::as_ref));
    }
    Frame::Rows(block.take())
}

#[test]
fn p1_p3_an_attribute_is_added_under_pending_changes() {
    let world = filled();
    edited(&world);
    let model = changed(&world, |model| {
        for name in ["stock", "contact"] {
            let more = Attribute::new("more", Type::Text);
            of(model, name).attributes.push(more);
        }
    });
    let mut sync = world.sync();
    let before = world.store().changes().unwrap();
    sync.install(&model).unwrap();
    let mut store = world.store();
    assert_eq!(store.changes().unwrap(), before);
    let seen = query(&store, "SELECT amount, note, more FROM stock");
    assert_eq!(seen, [[int(6), text("n"), Value::Null]]);
    execute(&mut store, "UPDATE contact SET more = 'new'").unwrap();
    let seen = query(&store, "SELECT phone, more FROM contact");
    assert_eq!(seen, [[text("12"), text("new")]]);
    // The server's rows replace what was carried, those that left included, in one step.
    let sent = request(&mut sync);
    assert_eq!(sent.groups.len(), 2);
    settle(&mut sync, &sent, &Verdict::applied());
    let fresh = [text("y"), int(1), int(8), Value::Null, text("m")];
    let content = rows(&world, &model, "stock", &[&fresh]);
    answer(&mut sync, &sent, &[content], "p1", false);
    assert_eq!(query(&store, "SELECT place FROM stock"), [[text("x")]]);
    let from = crate::world::at(&sent.pull, "p1");
    page(&mut sync, sent.request, &from, &[], "t2", true, &[]).unwrap();
    let seen = query(&store, "SELECT place, more FROM stock");
    assert_eq!(seen, [[text("y"), text("m")]]);
    assert!(store.status().unwrap().downloading.is_empty());
}

#[test]
fn p1_rows_are_not_fetched_again_for_what_the_server_does_not_have() {
    let world = filled();
    edited(&world);
    let model = changed(&world, |model| {
        let stock = of(model, "stock");
        stock
            .attributes
            .retain(|attribute| attribute.name != "note");
        stock.pattern = Pattern::DetectConflicts;
        stock.merge = Merge::Attribute;
        stock.strict = true;
    });
    let mut sync = world.sync();
    sync.install(&model).unwrap();
    let mut store = world.store();
    assert!(store.status().unwrap().downloading.is_empty());
    assert_eq!(query(&store, "SELECT * FROM stock").len(), 1);
    let asked = request(&mut sync);
    assert!(asked.pull.iter().all(|(_, position)| position.is_some()));
    pull(&mut sync, &[], "t2");
    assert_eq!(query(&store, "SELECT * FROM stock").len(), 1);
}

#[test]
fn p6_what_was_typed_into_a_dropped_attribute_stays_and_a_retry_goes_without_it() {
    for sent_before in [false, true] {
        let world = filled();
        let mut store = world.store();
        let edit = "UPDATE stock SET amount = 6, note = 'typed'";
        execute(&mut store, edit).unwrap();
        let mut sync = world.sync();
        let frozen = sent_before.then(|| request(&mut sync).groups);
        let model = changed(&world, |model| {
            let stock = of(model, "stock");
            stock
                .attributes
                .retain(|attribute| attribute.name != "note");
        });
        sync.install(&model).unwrap();
        assert_eq!(query(&store, "SELECT amount FROM stock"), [[int(6)]]);
        let sent = request(&mut sync);
        if let Some(frozen) = frozen {
            assert_eq!(sent.groups, frozen, "the very bytes");
        }
        let typed = attributes([("amount", int(6)), ("note", text("typed"))]);
        let group = decode(&model, &sent.groups[0].bytes);
        assert_eq!(group.changes[0].set, typed);
        let refused = Verdict::rejected(Code::UNKNOWN_ATTRIBUTE, "no `note`");
        settle(&mut sync, &sent, &refused);
        let parked = store.changes().unwrap().remove(0);
        assert_eq!((parked.state, &parked.set), (ChangeState::Parked, &typed));
        store.retry(&parked.change, None).unwrap();
        let again = request(&mut sync);
        let again = decode(&model, &again.groups[0].bytes);
        assert_eq!(again.absorbed, [group.id]);
        assert_eq!(again.changes[0].set, attributes([("amount", int(6))]));
        let dropped = store.changes().unwrap().into_iter();
        let dropped: Vec<_> = dropped
            .filter(|it| it.state == ChangeState::Dropped)
            .collect();
        assert_eq!(dropped[0].set, typed, "on record");
    }
}

#[test]
fn p1_a_default_that_nobody_typed_does_not_park_a_create() {
    let world = filled();
    edited(&world);
    let mut sync = world.sync();
    let before = world.store().changes().unwrap();
    assert_eq!(before[1].set["vip"], int(0));
    let model = changed(&world, |model| {
        let contact = of(model, "contact");
        contact
            .attributes
            .retain(|attribute| attribute.name != "vip");
    });
    sync.install(&model).unwrap();
    let sent = request(&mut sync);
    let group = decode(&model, &sent.groups[1].bytes);
    let typed = [("name", text("Ann")), ("phone", text("12"))];
    assert_eq!(group.changes[0].set, attributes(typed));
    // A copy of this device may have sent it as it was.
    assert_eq!(group.absorbed, [before[1].group]);
}

#[test]
fn p2_p6_values_of_another_type_are_converted_if_nothing_is_lost() {
    let world = filled();
    let mut store = world.store();
    let mut sync = world.sync();
    execute(&mut store, "UPDATE stock SET amount = 6").unwrap();
    let frozen = request(&mut sync).groups;
    execute(&mut store, "UPDATE stock SET amount = 7, note = '12'").unwrap();
    let other = "INSERT INTO stock VALUES ('y', 2, 3, 'twelve')";
    execute(&mut store, other).unwrap();
    let before = store.changes().unwrap();
    let model = changed(&world, |model| {
        of(model, "stock").attributes[2].kind = Type::Text;
        of(model, "stock").attributes[3].kind = Type::Integer;
    });
    sync.install(&model).unwrap();
    let seen = query(&store, "SELECT amount, note FROM stock ORDER BY place");
    let twelve = [text("3"), text("twelve")];
    assert_eq!(seen, [[text("7"), int(12)], twelve]);
    let sent = request(&mut sync);
    assert_eq!(sent.groups[0], frozen[0]);
    let group = decode(&model, &sent.groups[1].bytes);
    let set = attributes([("amount", text("7")), ("note", int(12))]);
    assert_eq!(group.changes[0].set, set);
    assert_eq!(group.absorbed, [before[1].group]);
    let group = decode(&model, &sent.groups[2].bytes);
    assert_eq!(group.changes[0].set["note"], text("twelve"));
    // The other attribute of that row can be edited meanwhile.
    execute(
        &mut store,
        "UPDATE stock SET amount = '4' WHERE place = 'y'",
    )
    .unwrap();
}

#[test]
fn p5_what_was_never_seen_is_no_part_of_a_base() {
    let world = filled();
    let model = changed(&world, |model| {
        let stock = of(model, "stock");
        stock.pattern = Pattern::DetectConflicts;
        let mut more = Attribute::new("more", Type::Integer);
        more.default = Some(Literal::Integer(3));
        stock.attributes.push(more);
        stock.attributes.push(Attribute::new("other", Type::Text));
    });
    let mut sync = world.sync();
    sync.install(&model).unwrap();
    let mut store = world.store();
    execute(&mut store, "UPDATE stock SET amount = 6, other = 'x'").unwrap();
    let base = store.changes().unwrap().remove(0).base;
    let seen = [
        ("amount", int(5)),
        ("note", text("n")),
        ("other", Value::Null),
    ];
    assert_eq!(base, attributes(seen));
    // Once the rows are here, everything is.
    let asked = request(&mut sync);
    settle(&mut sync, &asked, &Verdict::applied());
    let row = [text("x"), int(1), int(6), text("n"), int(4), text("x")];
    let row = rows(&world, &model, "stock", &[&row]);
    answer(&mut sync, &asked, &[row], "t2", true);
    execute(&mut store, "UPDATE stock SET amount = 9").unwrap();
    let base = store.changes().unwrap().remove(1).base;
    assert_eq!(base["more"], int(4));
}

#[test]
fn p1_an_entity_that_leaves_the_model_and_comes_back() {
    let world = filled();
    edited(&world);
    let mut sync = world.sync();
    let without = changed(&world, |model| {
        for name in ["stock", "contact", "visit"] {
            model.entities.retain(|entity| entity.name != name);
            model.units[0].entities.retain(|unit| unit != name);
        }
    });
    let before = world.store().changes().unwrap();
    sync.install(&without).unwrap();
    let mut store = world.store();
    assert_eq!(store.changes().unwrap(), before, "still readable");
    assert!(store.entity("stock").is_err());
    // Back to the old model: what the user wrote is what he reads, before anything is fetched.
    sync.install(&world.model).unwrap();
    let seen = query(
        &store,
        &format!("SELECT amount, note FROM stock WHERE {KEY}"),
    );
    assert_eq!(seen, [[int(6), text("n")]]);
    let seen = query(&store, "SELECT phone FROM contact");
    assert_eq!(seen, [[text("12")]]);
    sync.install(&without).unwrap();
    let sent = request(&mut sync);
    assert_eq!(sent.groups.len(), 2);
    let refused = Verdict::rejected(Code::UNKNOWN_ENTITY, "no such entity");
    settle(&mut sync, &sent, &refused);
    let parked = store.changes().unwrap();
    assert!(parked.iter().all(|it| it.state == ChangeState::Parked));
    assert_eq!(parked[0].set, attributes([("amount", int(6))]));
    // It can be sent again, or given up, also without its entity.
    store.retry(&parked[0].change, None).unwrap();
    assert_eq!(request(&mut sync).groups.len(), 1);
    store.drop_change(&parked[1].change).unwrap();
    sync.finished(None).unwrap();
}

#[test]
fn p1_another_identifier_leaves_the_changes_readable() {
    let world = filled();
    edited(&world);
    let model = changed(&world, |model| {
        of(model, "stock").attributes[1].kind = Type::Text;
    });
    let mut sync = world.sync();
    sync.install(&model).unwrap();
    let mut store = world.store();
    assert!(query(&store, "SELECT * FROM stock").is_empty());
    let change = store.changes().unwrap().remove(0);
    assert_eq!(change.key, [text("x"), int(1)]);
    let sent = request(&mut sync);
    let refused = Verdict::rejected(Code::TYPE_MISMATCH, "`part` expects text");
    settle(&mut sync, &sent, &refused);
    let change = store.changes().unwrap().remove(0);
    assert_eq!(change.state, ChangeState::Parked);
    store.drop_change(&change.change).unwrap();
}

#[test]
fn a_pattern_becomes_read_only_under_a_pending_change() {
    let world = filled();
    edited(&world);
    let model = changed(&world, |model| {
        of(model, "stock").pattern = Pattern::ReadOnlyOptimized;
    });
    let mut sync = world.sync();
    sync.install(&model).unwrap();
    let mut store = world.store();
    assert_eq!(query(&store, "SELECT amount FROM stock"), [[int(6)]]);
    let error = execute(&mut store, "UPDATE stock SET amount = 7").unwrap_err();
    assert_eq!(*error.code(), Code::READ_ONLY);
    let sent = request(&mut sync);
    let refused = Verdict::rejected(Code::READ_ONLY, "`stock` is read-only");
    settle(&mut sync, &sent, &refused);
    let change = store.changes().unwrap().remove(0);
    store.drop_change(&change.change).unwrap();
    assert_eq!(query(&store, "SELECT amount FROM stock"), [[int(5)]]);
}

#[test]
fn what_the_app_made_on_a_table_stays() {
    let world = filled();
    world
        .plain()
        .execute_batch(
            "CREATE TABLE seen (n); CREATE INDEX by_note ON stock (note); \
             CREATE TRIGGER noticed AFTER UPDATE ON stock BEGIN \
             INSERT INTO seen VALUES (NEW.amount); END; \
             CREATE VIEW plenty AS SELECT place FROM stock WHERE amount > 3",
        )
        .unwrap();
    let mut model = changed(&world, |model| {
        let more = Attribute::new("more", Type::Text);
        of(model, "stock").attributes.push(more);
    });
    world.sync().install(&model).unwrap();
    let mut store = world.store();
    execute(&mut store, "UPDATE stock SET amount = 8").unwrap();
    assert_eq!(query(&store, "SELECT n FROM seen"), [[int(8)]]);
    assert_eq!(query(&store, "SELECT place FROM plenty"), [[text("x")]]);
    let index = "SELECT count(*) FROM sqlite_schema WHERE name = 'by_note'";
    assert_eq!(query(&store, index), [[int(1)]]);
    of(&mut model, "stock").attributes.remove(3);
    world.sync().install(&model).unwrap();
    assert_eq!(
        query(&store, index),
        [[int(0)]],
        "there is no note any more"
    );
    execute(&mut store, "UPDATE stock SET amount = 9").unwrap();
    assert_eq!(query(&store, "SELECT n FROM seen"), [[int(8)], [int(9)]]);
}

#[test]
fn p1_a_staged_download_is_forgotten_with_the_old_shape() {
    let world = filled();
    edited(&world);
    let mut sync = world.sync();
    let asked = request(&mut sync);
    let staged = world.rows("stock", &[&[text("z"), int(1), int(1), Value::Null]]);
    page(
        &mut sync,
        asked.request,
        &asked.pull,
        &[staged],
        "p1",
        false,
        &["stock"],
    )
    .unwrap();
    let model = changed(&world, |model| {
        let stock = of(model, "stock");
        stock
            .attributes
            .retain(|attribute| attribute.name != "note");
    });
    sync.install(&model).unwrap();
    let asked = request(&mut sync);
    let stock = asked.pull.iter().find(|(name, _)| name == "stock").unwrap();
    assert_eq!(stock.1.as_deref(), Some(b"t1".as_slice()));
}

/// A change in every state, and another program's that is not sealed yet.
fn unsettled(world: &World) {
    crate::store_crash::edited(world);
    let (mut store, mut sync) = (world.store(), world.sync());
    let sent = request(&mut sync);
    let theirs = attributes([("amount", int(9)), ("note", text("theirs"))]);
    let verdicts = [
        Verdict::applied(),
        Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs)),
    ];
    let groups = sent.groups.iter().zip(verdicts);
    let outcomes = groups.map(|(group, verdict)| outcome(group.id, vec![verdict]));
    let outcomes: Vec<_> = outcomes.collect();
    sync.store_outcomes(sent.request, &outcomes).unwrap();
    let note = "UPDATE stock SET note = '12' WHERE place = 'x'";
    execute(&mut store, note).unwrap();
    let made = [("id", id(9)), ("name", text("Ann"))];
    store.create("contact", &attributes(made)).unwrap();
    let plain = "UPDATE stock SET note = '13' WHERE place = 'x'";
    world.plain().execute_batch(plain).unwrap();
}

/// A model that differs in every way from [`World::model`].
fn other(world: &World) -> Model {
    changed(world, |model| {
        let stock = of(model, "stock");
        stock.attributes[2].kind = Type::Text;
        stock.attributes[3].kind = Type::Integer;
        stock.attributes.push(Attribute::new("more", Type::Text));
        let contact = of(model, "contact");
        contact.attributes.retain(|it| it.name != "vip");
        of(model, "company").pattern = Pattern::ReadOnly;
        of(model, "draft")
            .attributes
            .push(Attribute::new("more", Type::Text));
        for gone in ["label", "visit"] {
            model.entities.retain(|entity| entity.name != gone);
            model.units[0].entities.retain(|name| name != gone);
        }
        let extra = [("id", Type::Text), ("more", Type::Text)];
        let natural = of(model, "code").identifier;
        let extra = crate::world::entity("extra", Pattern::LastWriteWins, natural, 1, &extra);
        model.units[0].entities.push("extra".into());
        model.entities.push(extra);
    })
}

#[test]
fn p1_an_upgrade_with_changes_in_every_state_dies_at_every_statement() {
    crate::store_crash::dies_everywhere(60, unsettled, |world| {
        let model = other(world);
        world.sync().install(&model)
    });
}

#[test]
fn p1_p3_an_upgrade_there_and_back_keeps_what_the_user_wrote() {
    let world = World::new();
    unsettled(&world);
    let seen = |world: &World| {
        let sql = "SELECT place, amount, note FROM stock ORDER BY place";
        query(&world.store(), sql)
    };
    let (rows, changes) = (seen(&world), world.store().changes().unwrap());
    assert_eq!(rows[0], [text("x"), int(6), text("13")]);
    let mut sync = world.sync();
    let mut other = other(&world);
    // Rows of local-only entities are only ever extended.
    *of(&mut other, "draft") = of(&mut world.model.clone(), "draft").clone();
    sync.install(&other).unwrap();
    assert_eq!(seen(&world)[0], [text("x"), text("6"), int(13)]);
    assert_eq!(world.store().conflicts().unwrap().len(), 1);
    sync.install(&world.model).unwrap();
    assert_eq!(seen(&world), rows);
    let after = world.store().changes().unwrap();
    let typed = |changes: &[afield::ChangeInfo]| -> Vec<_> {
        let typed = changes.iter();
        typed
            .map(|it| (it.key.clone(), it.state, it.set.clone()))
            .collect()
    };
    let (mut before, after) = (typed(&changes), typed(&after));
    // A default that nobody typed went with its attribute.
    before[4].2.remove("vip");
    assert_eq!(after, before);
}

#[test]
fn p1_p3_a_row_without_its_number_yet_keeps_it_through_an_upgrade() {
    let item = [("id", Type::Integer), ("words", Type::Text)];
    let mut job = crate::world::entity(
        "job",
        Pattern::LastWriteWins,
        afield::protocol::Identifier::Server,
        1,
        &item,
    );
    let world = World::with(crate::world::model(vec![job.clone()]));
    let mut store = world.store();
    pull(&mut world.sync(), &[], "t1");
    execute(&mut store, "INSERT INTO job (words) VALUES ('one')").unwrap();
    let first = query(&store, "SELECT id FROM job").remove(0).remove(0);
    job.attributes.push(Attribute::new("more", Type::Text));
    let mut sync = world.sync();
    sync.install(&crate::world::model(vec![job])).unwrap();
    execute(&mut store, "INSERT INTO job (words) VALUES ('two')").unwrap();
    let seen = query(&store, "SELECT id, words FROM job ORDER BY id");
    let Value::Integer(n) = first else {
        panic!("{first:?}")
    };
    assert_eq!(seen, [[int(n), text("one")], [int(n + 1), text("two")]]);
    let sent = request(&mut sync);
    let given = |n| Verdict {
        key: Some(vec![int(n)]),
        ..Verdict::applied()
    };
    let groups = sent.groups.iter().zip([7, 8]);
    let outcomes: Vec<_> = groups
        .map(|(it, n)| outcome(it.id, vec![given(n)]))
        .collect();
    sync.store_outcomes(sent.request, &outcomes).unwrap();
    let seen = query(&store, "SELECT id, words FROM job ORDER BY id");
    assert_eq!(seen, [[int(7), text("one")], [int(8), text("two")]]);
}

#[test]
fn p6_a_conflict_that_was_open_is_decided_under_another_model() {
    for resolution in [Resolution::Mine, Resolution::Theirs] {
        let world = filled();
        let (mut store, mut sync) = (world.store(), world.sync());
        let edit = "UPDATE stock SET amount = 6, note = 'typed'";
        execute(&mut store, edit).unwrap();
        let sent = request(&mut sync);
        let theirs = attributes([("amount", int(9)), ("note", text("theirs"))]);
        let verdict = Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs));
        settle(&mut sync, &sent, &verdict);
        let model = changed(&world, |model| {
            let stock = of(model, "stock");
            stock.attributes[2].kind = Type::Text;
            stock.attributes.remove(3);
        });
        sync.install(&model).unwrap();
        let open = store.conflicts().unwrap().remove(0);
        assert_eq!(open.theirs.as_ref().unwrap()["amount"], text("9"));
        store.resolve(&open.conflict, &resolution).unwrap();
        let again = request(&mut sync);
        match resolution {
            Resolution::Mine => {
                let group = decode(&model, &again.groups[0].bytes);
                let change = &group.changes[0];
                assert_eq!(change.set, attributes([("amount", text("6"))]));
                assert_eq!(change.base["amount"], text("9"));
            }
            _ => assert!(again.groups.is_empty()),
        }
        let typed = store.changes().unwrap().into_iter();
        let mut typed = typed.filter(|it| it.state == ChangeState::Dropped);
        assert_eq!(typed.next().unwrap().set["note"], text("typed"));
    }
}

#[test]
fn p5_one_page_replaces_all_that_was_carried() {
    let world = filled();
    let model = changed(&world, |model| {
        let more = Attribute::new("more", Type::Text);
        of(model, "stock").attributes.push(more);
    });
    let mut sync = world.sync();
    sync.install(&model).unwrap();
    let asked = request(&mut sync);
    let fresh = [text("y"), int(1), int(8), Value::Null, text("m")];
    let content = rows(&world, &model, "stock", &[&fresh]);
    answer(&mut sync, &asked, &[content], "t2", true);
    let seen = query(&world.store(), "SELECT place FROM stock");
    assert_eq!(seen, [[text("y")]], "the row that left meanwhile");
}

//! Installing models: what stays, what is fetched again, what is refused.

use afield::protocol::{Attribute, Code, Literal, Model, Pattern, Type, Value, Verdict};

use crate::world::{
    World, attributes, entity, execute, id, int, pull, query, request, settle, text, uuid,
};

pub(crate) fn changed(world: &World, change: impl FnOnce(&mut Model)) -> Model {
    let mut model = world.model.clone();
    model.version += 1;
    change(&mut model);
    model.check().unwrap();
    model
}

pub(crate) fn of<'a>(model: &'a mut Model, name: &str) -> &'a mut afield::protocol::Entity {
    model
        .entities
        .iter_mut()
        .find(|entity| entity.name == name)
        .unwrap()
}

/// A store with rows of the server and of the user.
pub(crate) fn filled() -> World {
    let world = World::new();
    let content = [
        world.rows("company", &[&[int(1), text("Acme")]]),
        world.rows("stock", &[&[text("x"), int(1), int(5), text("n")]]),
    ];
    pull(&mut world.sync(), &content, "t1");
    let draft = attributes([("id", id(1)), ("title", text("mine"))]);
    world.store().create("draft", &draft).unwrap();
    world
}

#[test]
fn a_new_entity_is_added_and_the_others_stay() {
    let world = filled();
    let mut store = world.store();
    let model = changed(&world, |model| {
        let attributes = [("id", Type::Uuid), ("x", Type::Text)];
        let extra = entity(
            "extra",
            Pattern::LastWriteWins,
            of(model, "contact").identifier,
            1,
            &attributes,
        );
        model.units[0].entities.push("extra".into());
        model.entities.push(extra);
    });
    execute(&mut store, "UPDATE stock SET amount = 6").unwrap();
    world.sync().install(&model).unwrap();
    // A store that was open all the time goes on with the new model.
    store
        .create("extra", &attributes([("x", text("1"))]))
        .unwrap();
    assert_eq!(query(&store, "SELECT name FROM company"), [[text("Acme")]]);
    assert_eq!(query(&store, "SELECT title FROM draft"), [[text("mine")]]);
    let asked = request(&mut world.sync());
    for (entity, position) in &asked.pull {
        assert_eq!(position.is_some(), entity != "extra", "{entity}");
    }
    assert_eq!(asked.groups.len(), 2);
}

#[test]
fn a_changed_entity_keeps_its_rows_and_is_fetched_again() {
    let world = filled();
    let mut store = world.store();
    let model = changed(&world, |model| {
        of(model, "stock")
            .attributes
            .push(Attribute::new("colour", Type::Text));
    });
    execute(&mut store, "UPDATE stock SET amount = 6").unwrap();
    let mut sync = world.sync();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::applied());
    sync.install(&model).unwrap();
    // A settled edit stays an overlay.
    let rows = query(&store, "SELECT amount, note, colour FROM stock");
    assert_eq!(rows, [[int(6), text("n"), Value::Null]]);
    assert_eq!(store.status().unwrap().downloading, ["stock"]);
    let asked = request(&mut sync);
    let anew = asked.pull.iter().filter(|(_, at)| at.is_none());
    assert_eq!(anew.map(|(name, _)| name).collect::<Vec<_>>(), ["stock"]);
    assert_eq!(store.changes().unwrap().len(), 1, "the history stays");
}

#[test]
fn local_only_rows_are_kept_and_extended() {
    let world = filled();
    let mut store = world.store();
    let model = changed(&world, |model| {
        let mut flag = Attribute::new("flag", Type::Boolean);
        flag.default = Some(Literal::Integer(1));
        let draft = of(model, "draft");
        draft.attributes.push(flag);
        draft.indexes.push(vec!["flag".into()]);
    });
    world.sync().install(&model).unwrap();
    let rows = query(&store, "SELECT title, flag FROM draft");
    assert_eq!(rows, [[text("mine"), int(1)]]);
    let wrong = format!("INSERT INTO draft (id, flag) VALUES ('{}', 7)", uuid(2));
    assert!(
        execute(&mut store, &wrong).is_err(),
        "the new attribute is checked too"
    );
    store
        .update("draft", &[id(1)], &attributes([("flag", int(0))]))
        .unwrap();
    let indexes = "SELECT count(*) FROM sqlite_schema WHERE name = 'afield_draft_flag'";
    assert_eq!(query(&store, indexes), [[int(1)]]);
}

#[test]
fn p1_local_only_rows_survive_a_model_that_drops_or_changes_their_entity() {
    let world = filled();
    let (store, mut sync) = (world.store(), world.sync());
    let without = changed(&world, |model| {
        model.entities.retain(|entity| entity.name != "draft");
        model.units[0].entities.retain(|name| name != "draft");
    });
    for change in [
        (|draft| draft.attributes[1].kind = Type::Integer) as fn(&mut afield::protocol::Entity),
        |draft| draft.pattern = Pattern::LastWriteWins,
        |draft| draft.key_width = 2,
        |draft| drop(draft.attributes.remove(1)),
    ] {
        let model = changed(&world, |model| change(of(model, "draft")));
        for dropped_before in [false, true] {
            if dropped_before {
                sync.install(&without).unwrap();
            }
            let error = sync.install(&model).unwrap_err();
            assert_eq!(*error.code(), Code::UPDATE_REQUIRED, "{error}");
            assert_eq!(query(&store, "SELECT title FROM draft"), [[text("mine")]]);
        }
        sync.install(&world.model).unwrap();
    }
    // Dropped and back with one attribute more.
    sync.install(&without).unwrap();
    let model = changed(&world, |model| {
        of(model, "draft")
            .attributes
            .push(Attribute::new("more", Type::Text));
    });
    sync.install(&model).unwrap();
    assert_eq!(
        query(&store, "SELECT title FROM draft WHERE more IS NULL"),
        [[text("mine")]]
    );
}

#[test]
fn a_table_of_the_app_is_left_alone() {
    let world = filled();
    world
        .plain()
        .execute_batch("CREATE TABLE Extra (a); INSERT INTO Extra VALUES (1)")
        .unwrap();
    let model = changed(&world, |model| {
        let extra = entity(
            "extra",
            Pattern::ReadOnly,
            of(model, "code").identifier,
            1,
            &[("id", Type::Text)],
        );
        model.entities.push(extra);
    });
    let error = world.sync().install(&model).unwrap_err();
    assert_eq!(*error.code(), Code::UPDATE_REQUIRED);
    assert!(error.to_string().contains("`extra`"), "{error}");
    let mut store = world.store();
    assert_eq!(query(&store, "SELECT a FROM Extra"), [[int(1)]]);
    assert_eq!(store.model().unwrap(), world.model);
}

#[test]
fn an_entity_may_change_the_case_of_its_name() {
    let world = filled();
    let model = changed(&world, |model| {
        of(model, "company").name = "Company".into();
        of(model, "contact").references[0].entity = "Company".into();
        let unit = &mut model.units[0].entities;
        *unit.iter_mut().find(|name| *name == "company").unwrap() = "Company".into();
    });
    world.sync().install(&model).unwrap();
    assert_eq!(world.store().status().unwrap().downloading, ["Company"]);
}

#[test]
fn names_that_need_quotes_work() {
    use afield::protocol::Identifier::Natural;
    let odd = [
        ("i'd\"", Type::Text),
        ("select", Type::Integer),
        ("a:b%", Type::Date),
    ];
    let mut odd = entity(
        "order \"group's\"",
        Pattern::LastWriteWins,
        Natural,
        1,
        &odd,
    );
    odd.attributes[1].default = Some(Literal::Integer(3));
    odd.indexes.push(vec!["select".into(), "a:b%".into()]);
    let world = World::with(crate::world::model(vec![odd]));
    let mut store = world.store();
    let name = "order \"group's\"";
    store
        .create(name, &attributes([("i'd\"", text("k"))]))
        .unwrap();
    let set = attributes([("a:b%", text("nonsense"))]);
    assert!(store.update(name, &[text("k")], &set).is_err());
    let sql = "UPDATE \"order \"\"group's\"\"\" SET \"a:b%\" = 'nonsense'";
    let error = execute(&mut store, sql).unwrap_err();
    assert_eq!(
        (error.code(), error.attribute()),
        (&Code::TYPE_MISMATCH, Some("a:b%"))
    );
    let change = &world.groups(&request(&mut world.sync()))[0].changes[0];
    assert_eq!(change.set, attributes([("select", int(3))]));
}

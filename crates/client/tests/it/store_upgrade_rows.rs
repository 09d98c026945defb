//! What an upgrade does with the rows that are there: which of them stay, and under what names.

use afield::protocol::{Attribute, Identifier, Pattern, Type, Value};

use crate::store_install::{changed, filled, of};
use crate::world::{World, at, entity, execute, int, model, pull, query, request, text};

/// Rows are not shown by a scope that their user has perhaps nothing of.
#[test]
fn p7_rows_of_another_scope_are_not_carried() {
    let words = [("id", Type::Text), ("words", Type::Text)];
    let mut task = entity(
        "task",
        Pattern::LastWriteWins,
        Identifier::Natural,
        1,
        &words,
    );
    let world = World::with(model(vec![task.clone()]));
    let mut sync = world.sync();
    let rows = world.rows("task", &[&[text("a"), text("one")]]);
    pull(&mut sync, &[rows], "t1");
    task.attributes.push(Attribute::new("more", Type::Text));
    sync.install(&model(vec![task.clone()])).unwrap();
    let store = world.store();
    assert_eq!(query(&store, "SELECT id FROM task"), [[text("a")]]);
    task.scope = vec![1];
    sync.install(&model(vec![task])).unwrap();
    let none: Vec<Vec<Value>> = Vec::new();
    assert_eq!(query(&store, "SELECT id FROM task"), none);
}

/// A read-only entity is sent whole each time, others by what changed: the position of one says
/// nothing for the other.
#[test]
fn p5_another_way_of_sending_starts_over() {
    for (name, pattern) in [
        ("company", Pattern::ReadOnlyOptimized),
        ("stock", Pattern::ReadOnly),
    ] {
        let world = filled();
        let before = world.model.entity(name).unwrap().pattern;
        let is_whole = |pattern| pattern == Pattern::ReadOnly;
        let other = changed(&world, |model| of(model, name).pattern = pattern);
        let mut sync = world.sync();
        sync.install(&other).unwrap();
        let (_, position) = request(&mut sync)
            .pull
            .into_iter()
            .find(|(entity, _)| entity == name)
            .unwrap();
        let goes_on = is_whole(before) == is_whole(pattern);
        assert_eq!(position.is_some(), goes_on, "{name}");
        let seen = query(&world.store(), &format!("SELECT count(*) FROM {name}"));
        assert_eq!(seen, [[int(1)]], "{name}");
    }
}

/// A temporary identifier that is used up stays so: what was sent speaks of it.
#[test]
fn p1_temporary_identifiers_are_not_used_again_after_an_upgrade() {
    let item = [("id", Type::Integer), ("words", Type::Text)];
    let mut job = entity("job", Pattern::LastWriteWins, Identifier::Server, 1, &item);
    let world = World::with(model(vec![job.clone()]));
    let (mut store, mut sync) = (world.store(), world.sync());
    pull(&mut sync, &[], "t1");
    let mut made = |words: &str| {
        let sql = format!("INSERT INTO job (words) VALUES ('{words}')");
        execute(&mut store, &sql).unwrap();
        let sql = format!("SELECT id FROM job WHERE words = '{words}'");
        match query(&store, &sql).remove(0).remove(0) {
            Value::Integer(id) => id,
            other => panic!("{other:?}"),
        }
    };
    let (first, last) = (made("one"), made("two"));
    let sent = request(&mut sync);
    assert_eq!(sent.groups.len(), 2);
    execute(&mut world.store(), "DELETE FROM job WHERE words = 'two'").unwrap();
    job.attributes.push(Attribute::new("more", Type::Text));
    sync.install(&model(vec![job])).unwrap();
    let next = made("three");
    assert!(next > last && last > first, "{first}, {last}, {next}");
    let from = at(&sent.pull, "t1");
    assert_eq!(from.len(), 1);
}

//! Every write of several statements, failed at each of its points: nothing of it stays.

use afield::protocol::zoo::crash_after;
use afield::protocol::{Attribute, Code, Frame, Theirs, Type, Value, Verdict};
use afield::{Error, Params, RequestCaps};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;

use crate::world::{
    World, attributes, execute, id, int, outcome, page, pull, request, settle, text,
};

fn dump(world: &World) -> Vec<String> {
    contents(&world.plain())
}

/// Everything in the file, bookkeeping included.
pub(crate) fn contents(conn: &Connection) -> Vec<String> {
    let tables = "SELECT name, sql FROM sqlite_schema ORDER BY name";
    let mut found = Vec::new();
    let mut names = conn.prepare(tables).unwrap();
    let mut names = names.query([]).unwrap();
    while let Some(row) = names.next().unwrap() {
        let (name, sql): (String, Option<String>) = (row.get(0).unwrap(), row.get(1).unwrap());
        let is_table = sql
            .as_ref()
            .is_some_and(|sql| sql.starts_with("CREATE TABLE"));
        found.push(format!("{name}: {sql:?}"));
        if !is_table {
            continue;
        }
        let rowid = match sql.is_some_and(|sql| sql.ends_with("WITHOUT ROWID")) {
            true => "NULL",
            false => "rowid",
        };
        let mut rows = conn
            .prepare(&format!(
                "SELECT {rowid}, * FROM \"{}\"",
                name.replace('"', "\"\"")
            ))
            .unwrap();
        let width = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells: Vec<Sql> = (0..width).map(|at| row.get(at).unwrap()).collect();
            found.push(format!("{name} {cells:?}"));
        }
    }
    found
}

/// Runs `write` on fresh stores and lets it die at its first point, its second, and so on: the
/// file is as before, or, after the commit, as `write` leaves it. At least `least` points must
/// lie before the commit.
pub(crate) fn dies_everywhere(
    least: usize,
    prepare: impl Fn(&World),
    write: impl Fn(&World) -> Result<(), Error>,
) {
    dies_everywhere_in(World::new, least, prepare, write);
}

/// The same in stores of another kind.
pub(crate) fn dies_everywhere_in(
    new: fn() -> World,
    least: usize,
    prepare: impl Fn(&World),
    write: impl Fn(&World) -> Result<(), Error>,
) {
    let world = new();
    prepare(&world);
    write(&world).unwrap();
    let done = dump(&world);
    let mut undone = 0;
    for point in 0..1_000 {
        let world = new();
        prepare(&world);
        let before = dump(&world);
        assert_ne!(before, done, "the write does nothing");
        crash_after(Some(point));
        let result = write(&world);
        crash_after(None);
        let after = dump(&world);
        if result.is_ok() {
            assert!(undone >= least, "only {undone} points before the commit");
            return;
        }
        if after == done {
            continue;
        }
        assert_eq!(after, before, "half of it stayed, at point {point}");
        undone += 1;
    }
    panic!("the write never ends");
}

fn stock(world: &World, place: &str, amount: i64) -> Frame {
    world.rows("stock", &[&[text(place), int(1), int(amount), Value::Null]])
}

fn filled(world: &World) {
    let content = [
        stock(world, "x", 5),
        stock(world, "y", 5),
        stock(world, "z", 5),
    ];
    pull(&mut world.sync(), &content, "t1");
}

pub(crate) fn edited(world: &World) {
    filled(world);
    let mut store = world.store();
    for place in ["x", "y", "z"] {
        store
            .update(
                "stock",
                &[text(place), int(1)],
                &attributes([("amount", int(6))]),
            )
            .unwrap();
    }
}

#[test]
fn p1_a_transaction_with_several_rows() {
    // What another program wrote before is sealed in the same write.
    let prepare = |world: &World| {
        filled(world);
        world
            .plain()
            .execute_batch("UPDATE stock SET amount = 7 WHERE place = 'z'")
            .unwrap();
    };
    dies_everywhere(6, prepare, |world| {
        world.store().transaction(|tx| {
            tx.create(
                "contact",
                &attributes([("id", id(1)), ("name", Value::Null)]),
            )?;
            tx.create("visit", &attributes([("id", id(2)), ("contact_id", id(1))]))?;
            tx.delete("stock", &[text("x"), int(1)])?;
            tx.execute("UPDATE stock SET amount = 8", &Params::none())
                .map(|_| ())
        })
    });
}

#[test]
fn p1_folding_into_a_group() {
    let prepare = |world: &World| {
        filled(world);
        execute(
            &mut world.store(),
            "UPDATE stock SET amount = 6 WHERE place = 'x'",
        )
        .unwrap();
    };
    dies_everywhere(2, prepare, |world| {
        execute(
            &mut world.store(),
            "UPDATE stock SET amount = 7 WHERE place = 'x'",
        )
    });
}

#[test]
fn p1_folding_a_group_away() {
    let prepare = |world: &World| {
        filled(world);
        execute(
            &mut world.store(),
            "UPDATE stock SET amount = 6 WHERE place = 'x'",
        )
        .unwrap();
    };
    dies_everywhere(2, prepare, |world| {
        execute(
            &mut world.store(),
            "UPDATE stock SET amount = 5 WHERE place = 'x'",
        )
    });
}

#[test]
fn p1_freezing_the_groups_of_a_request() {
    dies_everywhere(4, edited, |world| {
        let caps = RequestCaps::default();
        world
            .sync()
            .next_request(Some("main"), true, caps)
            .map(|_| ())
    });
}

#[test]
fn p2_storing_outcomes() {
    dies_everywhere(
        6,
        |world| {
            edited(world);
            request(&mut world.sync());
        },
        |world| {
            let ids: Vec<_> = world.store().changes()?.iter().map(|c| c.group).collect();
            let theirs = attributes([("amount", int(9)), ("note", Value::Null)]);
            let verdicts = [
                Verdict::applied(),
                Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs)),
                Verdict::rejected(Code::GONE, "gone"),
            ];
            let outcomes = ids.into_iter().zip(verdicts);
            let outcomes: Vec<_> = outcomes.map(|(id, v)| outcome(id, vec![v])).collect();
            world.sync().store_outcomes(2, &outcomes).map(|_| ())
        },
    );
}

/// A store with an edit that is applied and not yet seen, one unsent, and the asked positions.
fn settled(world: &World) {
    edited(world);
    let mut sync = world.sync();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::applied());
    execute(
        &mut world.store(),
        "UPDATE stock SET note = 'n' WHERE place = 'y'",
    )
    .unwrap();
}

/// The positions of all entities of the unit.
fn positions(world: &World, token: &str) -> Vec<(String, Option<Vec<u8>>)> {
    let synced = world.model.units[0]
        .entities
        .iter()
        .filter(|name| *name != "draft");
    synced
        .map(|name| (name.clone(), Some(token.as_bytes().to_vec())))
        .collect()
}

/// Takes a page of the answer to request 3, the newest of [`settled`] with one more.
fn take(
    world: &World,
    from: &str,
    content: &[Frame],
    to: &str,
    complete: bool,
    reset: &[&str],
) -> Result<(), Error> {
    let from = positions(world, from);
    page(&mut world.sync(), 3, &from, content, to, complete, reset).map(|_| ())
}

fn asked(world: &World) {
    settled(world);
    request(&mut world.sync());
}

#[test]
fn p4_applying_a_page() {
    dies_everywhere(6, asked, |world| {
        let gone = Frame::Gone {
            entity: "stock".into(),
            keys: vec![vec![text("z"), int(1)]],
        };
        let content = [stock(world, "x", 6), stock(world, "w", 1), gone];
        take(world, "t1", &content, "t2", true, &[])
    });
}

#[test]
fn p4_staging_a_page() {
    dies_everywhere(4, asked, |world| {
        let content = [stock(world, "x", 6), stock(world, "w", 1)];
        take(world, "t1", &content, "p1", false, &["stock"])
    });
}

#[test]
fn p4_switching_what_was_staged() {
    let staged = |world: &World| {
        asked(world);
        let content = [stock(world, "x", 6), stock(world, "w", 1)];
        take(world, "t1", &content, "p1", false, &["stock"]).unwrap();
    };
    dies_everywhere(12, staged, |world| {
        take(world, "p1", &[stock(world, "v", 1)], "t2", true, &[])
    });
}

#[test]
fn p1_installing_a_model() {
    let prepare = |world: &World| {
        filled(world);
        world
            .store()
            .create("draft", &attributes([("id", id(1)), ("title", text("x"))]))
            .unwrap();
    };
    dies_everywhere(12, prepare, |world| {
        let mut model = world.model.clone();
        for entity in &mut model.entities {
            if ["stock", "draft"].contains(&entity.name.as_str()) {
                let more = Attribute::new("more", Type::Text);
                entity.attributes.push(more);
            }
        }
        model.entities.retain(|entity| entity.name != "label");
        model.units[0].entities.retain(|name| name != "label");
        world.sync().install(&model)
    });
}

#[test]
fn p1_ending_a_sync_and_pruning() {
    let prepare = |world: &World| {
        settled(world);
        pull(&mut world.sync(), &[stock(world, "x", 6)], "t2");
        world.pass_ms(20 * 24 * 60 * 60 * 1_000);
    };
    dies_everywhere(2, prepare, |world| world.sync().finished(None));
}

#[test]
fn p1_a_trigger_of_the_app_that_fails_takes_the_whole_transaction_with_it() {
    let world = World::new();
    filled(&world);
    world
        .plain()
        .execute_batch(
            "CREATE TRIGGER no AFTER INSERT ON label WHEN NEW.word = 'bad' BEGIN \
             SELECT RAISE(ROLLBACK, 'not this one'); END",
        )
        .unwrap();
    let before = dump(&world);
    let all = "UPDATE stock SET amount = 9; INSERT INTO label VALUES ('good'), ('bad')";
    execute(&mut world.store(), all).unwrap_err();
    assert_eq!(dump(&world), before);
}

#[test]
fn p1_a_step_that_panics_leaves_nothing_and_the_store_goes_on() {
    let world = World::new();
    let mut store = world.store();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _: Result<(), Error> = store.transaction(|tx| {
            tx.create("label", &attributes([("word", text("a"))]))?;
            panic!("the app's own mistake");
        });
    }));
    assert!(result.is_err());
    execute(&mut store, "INSERT INTO label VALUES ('b')").unwrap();
    let changes = store.changes().unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].key, [text("b")]);
}

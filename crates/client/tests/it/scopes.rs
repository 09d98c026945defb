//! Scopes: rows come with the values that brought them, and leave with the last way in.

use afield::protocol::{Code, Frame, Held, Identifier, Pattern, Type, Value};
use afield::{PageApplied, RequestCaps, Store, SyncStore};

use crate::store_crash::dies_everywhere_in;
use crate::world::{
    World, answer, attributes, entity, int, model, page, pull, query, refer, request, text,
};

/// Jobs come by their owner, or by region and team together; steps by their job.
pub(crate) fn world() -> World {
    let job = [
        ("id", Type::Integer),
        ("title", Type::Text),
        ("hours", Type::Integer),
    ];
    let mut job = entity("job", Pattern::LastWriteWins, Identifier::Natural, 1, &job);
    job.attributes[2].counter = true;
    job.scope = vec![1, 2];
    let step = [
        ("job_id", Type::Integer),
        ("no", Type::Integer),
        ("said", Type::Text),
    ];
    let mut step = entity(
        "step",
        Pattern::LastWriteWins,
        Identifier::Natural,
        2,
        &step,
    );
    step.scope = vec![1];
    refer(&mut step, &["job_id"], "job");
    let word = entity(
        "word",
        Pattern::LastWriteWins,
        Identifier::Natural,
        1,
        &[("word", Type::Text)],
    );
    World::with(model(vec![job, step, word]))
}

/// A job with the values of its ways in; 0 stands for none.
pub(crate) fn job(world: &World, rows: &[(i64, &str, [i64; 3])]) -> Frame {
    let value = |n: i64| if n == 0 { Value::Null } else { int(n) };
    let rows: Vec<Vec<Value>> = rows
        .iter()
        .map(|(id, title, ways)| {
            let row = [int(*id), text(title), int(0)].into_iter();
            row.chain(ways.map(value)).collect()
        })
        .collect();
    let rows: Vec<&[Value]> = rows.iter().map(Vec::as_slice).collect();
    world.rows("job", &rows)
}

pub(crate) fn held(entity: &str, gained: &[i64], lost: &[i64]) -> Frame {
    Frame::Held(Held {
        entity: entity.into(),
        gained: gained.to_vec(),
        lost: lost.to_vec(),
    })
}

pub(crate) fn listed(store: &Store) -> Vec<i64> {
    numbers(store, "SELECT id FROM job ORDER BY id")
}

fn values(store: &Store) -> Vec<i64> {
    let sql = "SELECT value FROM afield_held WHERE entity = 'job' ORDER BY value";
    numbers(store, sql)
}

fn numbers(store: &Store, sql: &str) -> Vec<i64> {
    let number = |row: Vec<Value>| match row.as_slice() {
        [Value::Integer(n)] => *n,
        other => panic!("{other:?}"),
    };
    query(store, sql).into_iter().map(number).collect()
}

/// Jobs 1 and 2 by owner 10; 2 and 3 by region 20 and team 30.
fn filled(world: &World) {
    let rows = [
        (1, "one", [10, 0, 0]),
        (2, "two", [10, 20, 30]),
        (3, "three", [0, 20, 30]),
    ];
    let content = [job(world, &rows), held("job", &[10, 20, 30], &[])];
    pull(&mut world.sync(), &content, "t1");
}

fn hold_asked(sync: &mut SyncStore) -> Vec<Held> {
    let caps = RequestCaps {
        held: true,
        ..RequestCaps::default()
    };
    sync.next_request(Some("main"), false, caps).unwrap().held
}

#[test]
fn p7_a_lost_value_takes_its_rows_along() {
    let world = world();
    filled(&world);
    let (mut store, mut sync) = (world.store(), world.sync());
    let watch = store.watch("SELECT * FROM job").unwrap();
    pull(&mut sync, &[held("job", &[], &[10])], "t2");
    assert_eq!(listed(&store), [2, 3]);
    store.watches().look();
    assert_eq!(watch.take(), 1, "who reads jobs is told");
    assert_eq!(values(&store), [20, 30]);
    let asked = request(&mut sync);
    let done = answer(&mut sync, &asked, &[held("job", &[], &[30])], "t3", true);
    assert_eq!(done, PageApplied::Applied { rows: 2 });
    assert!(listed(&store).is_empty());
    let left = query(&store, "SELECT * FROM afield_scope_job");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn p5_rows_that_a_value_brings_back_are_those_sent_anew() {
    let world = world();
    filled(&world);
    let (store, mut sync) = (world.store(), world.sync());
    pull(&mut sync, &[held("job", &[], &[30])], "t2");
    assert_eq!(listed(&store), [1, 2]);
    // 2 left the team meanwhile: only what is sent comes by it.
    let again = [
        job(&world, &[(3, "three", [0, 20, 30])]),
        held("job", &[30], &[]),
    ];
    pull(&mut sync, &again, "t3");
    pull(&mut sync, &[held("job", &[], &[10])], "t4");
    assert_eq!(listed(&store), [3]);
}

#[test]
fn p7_a_row_sent_anew_comes_by_its_new_ways_alone() {
    let world = world();
    filled(&world);
    let (store, mut sync) = (world.store(), world.sync());
    pull(&mut sync, &[job(&world, &[(2, "two", [0, 20, 30])])], "t2");
    let content = [
        held("job", &[11], &[10]),
        job(&world, &[(1, "one", [11, 0, 0])]),
    ];
    pull(&mut sync, &content, "t3");
    assert_eq!(listed(&store), [1, 2, 3]);
    let gone = Frame::Gone {
        entity: "job".into(),
        keys: vec![vec![int(3)]],
    };
    pull(&mut sync, &[gone, held("job", &[], &[20])], "t4");
    assert_eq!(listed(&store), [1]);
}

#[test]
fn p4_staged_values_count_at_the_switch() {
    let world = world();
    filled(&world);
    let (store, mut sync) = (world.store(), world.sync());
    let asked = request(&mut sync);
    let first = [
        job(&world, &[(4, "four", [11, 0, 0]), (5, "five", [12, 0, 0])]),
        held("job", &[11], &[10]),
    ];
    let done = answer(&mut sync, &asked, &first, "p1", false);
    assert_eq!(done, PageApplied::Staged { rows: 2 });
    assert_eq!(
        (listed(&store), values(&store)),
        (vec![1, 2, 3], vec![10, 20, 30])
    );
    let told = hold_asked(&mut sync);
    assert_eq!(told.len(), 2);
    assert_eq!(
        (told[0].gained.as_slice(), &told[0].lost),
        ([11, 20, 30].as_slice(), &vec![])
    );
    // 12 is lost while its rows come, 10 is gained again and brings only job 6.
    let asked = request(&mut sync);
    let second = [
        held("job", &[], &[12]),
        job(&world, &[(6, "six", [10, 0, 0])]),
    ];
    answer(&mut sync, &asked, &second, "p2", false);
    let asked = request(&mut sync);
    answer(&mut sync, &asked, &[held("job", &[10], &[])], "t2", true);
    assert_eq!(listed(&store), [2, 3, 4, 6]);
    assert_eq!(values(&store), [10, 11, 20, 30]);
    assert!(query(&store, "SELECT * FROM afield_held_staged").is_empty());
    // 2 is there by region and team alone.
    pull(&mut sync, &[held("job", &[], &[20])], "t3");
    assert_eq!(listed(&store), [4, 6]);
}

#[test]
fn p4_a_fresh_start_replaces_the_values_too() {
    let world = world();
    filled(&world);
    let (store, mut sync) = (world.store(), world.sync());
    let begin = |sync: &mut SyncStore, content: &[Frame], token: &str| {
        let asked = request(sync);
        let from = &asked.pull;
        page(sync, asked.request, from, content, token, false, &["job"]).unwrap();
    };
    let stale = [
        job(&world, &[(9, "nine", [9, 0, 0])]),
        held("job", &[9], &[]),
    ];
    begin(&mut sync, &stale, "r1");
    begin(&mut sync, &[job(&world, &[(1, "one", [10, 0, 0])])], "r2");
    assert!(
        hold_asked(&mut sync)[0].gained.is_empty(),
        "nothing is told as gained yet"
    );
    let asked = request(&mut sync);
    let last = [
        job(&world, &[(2, "two", [10, 0, 0])]),
        held("job", &[10], &[]),
    ];
    answer(&mut sync, &asked, &last, "t2", true);
    assert_eq!((listed(&store), values(&store)), (vec![1, 2], vec![10]));
    pull(&mut sync, &[held("job", &[], &[20, 30, 10])], "t3");
    assert!(listed(&store).is_empty());
}

#[test]
fn p7_a_first_download_lets_go_of_lost_rows_at_once() {
    let world = world();
    let (store, mut sync) = (world.store(), world.sync());
    let asked = request(&mut sync);
    let rows = [(1, "one", [10, 0, 0]), (2, "two", [10, 20, 30])];
    let first = [job(&world, &rows), held("job", &[10], &[])];
    answer(&mut sync, &asked, &first, "p1", false);
    // Region and team are on their way: job 2 may come by them, and the server sends it once.
    let asked = request(&mut sync);
    answer(&mut sync, &asked, &[held("job", &[], &[10])], "p2", false);
    assert_eq!(listed(&store), [2]);
    let told = hold_asked(&mut sync);
    assert!(told[0].gained.is_empty());
    let asked = request(&mut sync);
    let rest = [
        job(&world, &[(3, "three", [0, 20, 30])]),
        held("job", &[20, 30], &[]),
    ];
    answer(&mut sync, &asked, &rest, "t1", true);
    assert_eq!(listed(&store), [2, 3]);
}

#[test]
fn p7_a_way_that_came_to_nothing_ends_with_the_first_download() {
    let world = world();
    let (store, mut sync) = (world.store(), world.sync());
    let asked = request(&mut sync);
    let first = [
        job(&world, &[(2, "two", [10, 20, 30])]),
        held("job", &[10, 20], &[]),
    ];
    answer(&mut sync, &asked, &first, "p1", false);
    let asked = request(&mut sync);
    answer(&mut sync, &asked, &[held("job", &[], &[10])], "p2", false);
    assert_eq!(listed(&store), [2], "30 may be on its way");
    let asked = request(&mut sync);
    answer(&mut sync, &asked, &[], "t1", true);
    assert!(listed(&store).is_empty(), "30 was never gained");
}

#[test]
fn malformed_values_change_nothing() {
    let world = world();
    filled(&world);
    let (store, mut sync) = (world.store(), world.sync());
    let asked = request(&mut sync);
    let only = |name: &str| -> Vec<_> {
        let pull = asked.pull.iter().filter(|(entity, _)| entity == name);
        pull.cloned().collect()
    };
    let refused = [
        ("job", vec![held("nobody", &[1], &[])]),
        ("job", vec![held("step", &[1], &[])]),
        ("word", vec![held("word", &[1], &[])]),
        ("job", vec![held("job", &[1], &[1])]),
        ("job", vec![held("job", &[1], &[]), held("job", &[], &[1])]),
        ("job", vec![job(&world, &[(1, "x", [0, 20, 0])])]),
    ];
    for (entity, content) in refused {
        for complete in [true, false] {
            let from = only(entity);
            let done = page(
                &mut sync,
                asked.request,
                &from,
                &content,
                "t2",
                complete,
                &[],
            );
            assert_eq!(*done.unwrap_err().code(), Code::MALFORMED, "{content:?}");
        }
    }
    assert_eq!(
        (listed(&store), values(&store)),
        (vec![1, 2, 3], vec![10, 20, 30])
    );
    assert!(query(&store, "SELECT * FROM afield_held_staged").is_empty());
    assert_eq!(request(&mut sync).pull, asked.pull);
}

#[test]
fn p4_two_processes_apply_a_loss_once() {
    let world = world();
    filled(&world);
    let (mut one, mut two) = (world.sync(), world.sync());
    let store = world.store();
    let (first, second) = (request(&mut one), request(&mut two));
    let content = [
        held("job", &[11], &[10]),
        job(&world, &[(7, "x", [11, 0, 0])]),
    ];
    answer(&mut one, &first, &content, "t2", true);
    pull(
        &mut one,
        &[
            held("job", &[10], &[11]),
            job(&world, &[(1, "x", [10, 0, 0])]),
        ],
        "t3",
    );
    let late = answer(&mut two, &second, &content, "t2", true);
    assert_eq!(late, PageApplied::Overtaken);
    assert_eq!(
        (listed(&store), values(&store)),
        (vec![1, 2, 3], vec![10, 20, 30])
    );
}

#[test]
fn an_entity_whose_scope_changes_starts_over() {
    let mut world = world();
    filled(&world);
    let pulls = [(vec![1], 1), (vec![1, 2], 3), (vec![], 0), (vec![2], 2)];
    for (scope, width) in pulls {
        world.model.entities[0].scope = scope;
        let mut sync = world.sync();
        sync.install(&world.model).unwrap();
        let store = world.store();
        assert!(listed(&store).is_empty() && values(&store).is_empty());
        let asked = request(&mut sync);
        assert_eq!(asked.pull[0].1, None);
        let mut row = vec![int(1), text("one"), int(0)];
        row.extend((0..width).map(|_| int(10)));
        let mut content = vec![world.rows("job", &[&row])];
        if width > 0 {
            content.push(held("job", &[10], &[]));
        }
        answer(&mut sync, &asked, &content, &format!("m{width}"), true);
        assert_eq!(listed(&store), [1]);
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'afield_scope_job'";
        assert_eq!(query(&store, tables), [[int(i64::from(width > 0))]]);
    }
    // And leaves with all that it had.
    world.model.entities.retain(|it| it.name == "word");
    world.model.units[0].entities.retain(|it| it == "word");
    world.sync().install(&world.model).unwrap();
    let store = world.store();
    assert!(query(&store, "SELECT * FROM afield_held").is_empty());
    let tables = "SELECT name FROM sqlite_schema WHERE name LIKE '%job%'";
    assert!(query(&store, tables).is_empty());
}

#[test]
fn a_store_made_before_there_were_scopes_gets_what_it_lacks() {
    let world = World::new();
    let drop = "DROP TABLE afield_held; DROP TABLE afield_held_staged";
    world.plain().execute_batch(drop).unwrap();
    let mut store = world.store();
    assert!(query(&store, "SELECT * FROM afield_held").is_empty());
    assert!(store.status().unwrap().scope_values.is_empty());
}

#[test]
fn the_status_counts_values() {
    let world = world();
    filled(&world);
    let values = world.store().status().unwrap().scope_values;
    let expected = [("job".to_owned(), 3), ("step".to_owned(), 0)];
    assert_eq!(values.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn p4_a_page_with_values_is_applied_whole_or_not_at_all() {
    let edited = |world: &World| {
        filled(world);
        let hours = attributes([("hours", int(3))]);
        world.store().update("job", &[int(1)], &hours).unwrap();
    };
    let content = |world: &World| {
        [
            job(world, &[(4, "four", [11, 0, 0]), (2, "2", [10, 20, 30])]),
            held("job", &[11], &[10, 30]),
        ]
    };
    dies_everywhere_in(world, 5, edited, |world| {
        let mut sync = world.sync();
        let pull = stands("t1");
        page(&mut sync, 1, &pull, &content(world), "t2", true, &[]).map(|_| ())
    });
    // Staged, and switched by the last page.
    for reset in [false, true] {
        let staged = |world: &World| {
            edited(world);
            let mut sync = world.sync();
            let pull = stands("t1");
            let reset: &[&str] = if reset { &["job"] } else { &[] };
            page(&mut sync, 1, &pull, &content(world), "p1", false, reset).unwrap();
        };
        dies_everywhere_in(world, 5, staged, |world| {
            let mut sync = world.sync();
            let pull = stands("p1");
            let last = [held("job", &[10], &[20])];
            page(&mut sync, 1, &pull, &last, "t2", true, &[]).map(|_| ())
        });
    }
}

/// The positions after a page that ended at `token`.
fn stands(token: &str) -> Vec<(String, Option<Vec<u8>>)> {
    let names = ["job", "step", "word"];
    let position = Some(token.as_bytes().to_vec());
    names.map(|name| (name.to_owned(), position.clone())).into()
}

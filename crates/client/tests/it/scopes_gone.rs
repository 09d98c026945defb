//! P7: of rows that left with a value only what the user typed stays on the device.

use afield::ChangeState;
use afield::protocol::{Code, Frame, Value, Verdict};

use crate::scopes::{held, job, listed, world};
use crate::world::{World, answer, attributes, int, pull, query, request, settle, text};

/// What must not be found when the row has left.
const SECRET: &str = "secret-of-the-server";
/// What the user typed and may find again.
const TYPED: &str = "typed-by-the-user";

/// Jobs 1 and 2, and two steps of the first, all full of secrets.
fn with_steps() -> World {
    let world = world();
    let secret = format!("{SECRET}{}", "-padding".repeat(40));
    let rows = [(1, secret.as_str(), [10, 0, 0]), (2, "two", [11, 0, 0])];
    let steps: [&[Value]; 2] = [
        &[int(1), int(1), text(&secret), int(10)],
        &[int(1), int(2), text(&secret), int(10)],
    ];
    let content = [
        job(&world, &rows),
        held("job", &[10, 11], &[]),
        world.rows("step", &steps),
        held("step", &[10], &[]),
    ];
    pull(&mut world.sync(), &content, "t1");
    world
}

#[test]
fn p1_what_was_typed_on_a_row_that_left_stays_in_both_orders() {
    for page_first in [true, false] {
        let world = with_steps();
        let mut store = world.store();
        let hours = attributes([("hours", int(3))]);
        store.update("job", &[int(1)], &hours).unwrap();
        let said = attributes([("said", text(TYPED))]);
        store.update("step", &[int(1), int(1)], &said).unwrap();
        let mut sync = world.sync();
        let lost = [held("job", &[], &[10]), held("step", &[], &[10])];
        let verdict = Verdict::rejected(Code::GONE, "gone");
        let sent = if page_first {
            pull(&mut sync, &lost, "t2");
            // Until the outcome is here, the user sees what he did.
            assert_eq!(listed(&store), [1, 2]);
            let steps = query(&store, "SELECT no, said FROM step");
            assert_eq!(steps, [[int(1), text(TYPED)]]);
            let sent = request(&mut sync);
            assert_eq!(sent.groups.len(), 2);
            settle(&mut sync, &sent, &verdict);
            sent
        } else {
            let sent = request(&mut sync);
            settle(&mut sync, &sent, &verdict);
            answer(&mut sync, &sent, &lost, "t2", true);
            sent
        };
        assert_eq!(sent.groups.len(), 2);
        assert_eq!(listed(&store), [2], "page first: {page_first}");
        assert!(query(&store, "SELECT * FROM step").is_empty());
        let changes = store.changes().unwrap();
        assert_eq!(changes.len(), 2);
        for (change, set) in changes.iter().zip([hours, said]) {
            assert_eq!(
                (change.state, &change.code),
                (ChangeState::Parked, &Some(Code::GONE))
            );
            assert_eq!(change.set, set);
            assert!(change.base.is_empty() && change.theirs.is_none());
        }
        sync.finished(None).unwrap();
        nothing_of(&world, SECRET);
        let typed = std::fs::read(world.path()).unwrap();
        assert!(holds(&typed, TYPED));
    }
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes
        .windows(needle.len())
        .any(|at| at == needle.as_bytes())
}

/// Nothing of it stands in any file of the store.
fn nothing_of(world: &World, needle: &str) {
    for file in std::fs::read_dir(world.dir.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!holds(&bytes, needle), "{}", path.display());
    }
}

/// Many rows of two values in pages of the file that they share, long and short.
fn many(world: &World) -> Vec<Frame> {
    let rows: Vec<(i64, String, [i64; 3])> = (0..600)
        .map(|id| {
            let length = [1, 40, 900, 9_000][usize::try_from(id % 4).unwrap()];
            match id % 3 {
                0 => (id, format!("kept{}", "k".repeat(length)), [11, 0, 0]),
                _ => (id, format!("{SECRET}{}", "s".repeat(length)), [10, 0, 0]),
            }
        })
        .collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|(id, title, ways)| (*id, title.as_str(), *ways))
        .collect();
    vec![job(world, &rows), held("job", &[10, 11], &[])]
}

#[test]
fn p7_nothing_of_rows_that_left_stays_in_any_file() {
    for staged in [false, true] {
        let world = world();
        pull(&mut world.sync(), &many(&world), "t1");
        let (mut store, mut sync) = (world.store(), world.sync());
        // Secrets in history, in the copy beside an edited row, and in the stage.
        let hours = attributes([("hours", int(3))]);
        for id in [1, 2, 4] {
            store.update("job", &[int(id)], &hours).unwrap();
        }
        let sent = request(&mut sync);
        settle(&mut sync, &sent, &Verdict::applied());
        let again = job(&world, &[(1, &format!("{SECRET} again"), [10, 0, 0])]);
        answer(&mut sync, &sent, &[again], "t2", true);
        if staged {
            let asked = request(&mut sync);
            let more = job(&world, &[(5, &format!("{SECRET} staged"), [10, 0, 0])]);
            answer(&mut sync, &asked, &[more], "p1", false);
        }
        pull(&mut sync, &[held("job", &[], &[10])], "t3");
        assert_eq!(listed(&store).len(), 200);
        sync.finished(None).unwrap();
        nothing_of(&world, SECRET);
    }
}

#[test]
fn p7_a_reader_puts_the_emptying_of_the_log_off_and_keeps_nobody_waiting() {
    let world = world();
    pull(&mut world.sync(), &many(&world), "t1");
    let mut sync = world.sync();
    let reader = world.plain();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM job")
        .unwrap();
    let count = |conn: &rusqlite::Connection| -> i64 {
        conn.query_row("SELECT count(*) FROM job", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(&reader), 600);
    pull(&mut sync, &[held("job", &[], &[10])], "t2");
    assert!(!sync.empty_log().unwrap());
    assert_eq!(count(&reader), 600, "its snapshot stays");
    reader.execute_batch("COMMIT").unwrap();
    sync.finished(None).unwrap();
    nothing_of(&world, SECRET);
}

#[test]
fn p7_a_refused_edit_of_a_row_that_left_while_it_grew_is_erased_in_the_end() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    let asked = request(&mut sync);
    let first = [
        job(&world, &[(1, SECRET, [10, 0, 0])]),
        held("job", &[10], &[]),
    ];
    answer(&mut sync, &asked, &first, "p1", false);
    let hours = attributes([("hours", int(3))]);
    store.update("job", &[int(1)], &hours).unwrap();
    let sent = request(&mut sync);
    settle(
        &mut sync,
        &sent,
        &Verdict::rejected(Code::CHECK_FAILED, "no"),
    );
    answer(&mut sync, &sent, &[held("job", &[], &[10])], "p2", false);
    let asked = request(&mut sync);
    answer(&mut sync, &asked, &[], "t1", true);
    assert!(listed(&store).is_empty());
    let change = &store.changes().unwrap()[0];
    assert_eq!((&change.set, change.base.len()), (&hours, 0));
    sync.finished(None).unwrap();
    nothing_of(&world, SECRET);
}

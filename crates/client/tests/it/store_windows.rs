//! Windows on the device: rows leave in the transaction that applies a page, by what the page says.

use afield::protocol::zoo::crash_after;
use afield::protocol::{
    Comparison, Entity, Frame, Identifier, Model, Pattern, Type, Value, Verdict, Window,
};
use afield::{PageApplied, Store};

use crate::world::{
    World, answer, attributes, entity, execute, int, model, page, pull, query, request, settle,
    text,
};

/// Visits of the last days; meetings are of a scope with values.
fn windowed() -> Model {
    let made = |name| {
        let attributes = [
            ("id", Type::Integer),
            ("day", Type::Date),
            ("note", Type::Text),
        ];
        Entity {
            indexes: vec![vec!["day".into()]],
            ..entity(
                name,
                Pattern::LastWriteWins,
                Identifier::Natural,
                1,
                &attributes,
            )
        }
    };
    let meeting = Entity {
        scope: vec![1],
        ..made("meeting")
    };
    model(vec![made("visit"), meeting])
}

fn day(day: u32) -> String {
    format!("2026-11-{day:02}")
}

fn visits(world: &World, rows: &[(i64, u32)]) -> Frame {
    let rows: Vec<_> = rows
        .iter()
        .map(|(id, on)| [int(*id), text(&day(*on)), text("theirs")])
        .collect();
    let rows: Vec<&[Value]> = rows.iter().map(|row| row.as_slice()).collect();
    world.rows("visit", &rows)
}

/// What is after this day, stays.
fn after(entity: &str, on: u32) -> Frame {
    Frame::Window(Window {
        entity: entity.into(),
        attribute: "day".into(),
        keep: Comparison::After,
        bound: day(on),
    })
}

fn seen(store: &Store) -> Vec<Vec<Value>> {
    query(store, "SELECT id, note FROM visit ORDER BY id")
}

fn ids(store: &Store) -> Vec<Value> {
    let rows = query(store, "SELECT id FROM visit ORDER BY id");
    rows.into_iter().flatten().collect()
}

/// A store with visits of the 10th, 11th and 12th, and its sync.
fn filled() -> (World, Store) {
    let world = World::with(windowed());
    let rows = visits(&world, &[(10, 10), (11, 11), (12, 12)]);
    pull(&mut world.sync(), &[after("visit", 9), rows], "t1");
    let store = world.store();
    assert_eq!(ids(&store), [int(10), int(11), int(12)]);
    (world, store)
}

/// The bound moves with the page, and with nothing else: not with the device's own clock.
#[test]
fn p5_rows_leave_with_the_page_that_says_so_and_by_no_other_clock() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    world.pass_ms(1_000 * 86_400_000);
    pull(&mut sync, &[after("visit", 9)], "t2");
    assert_eq!(ids(&store).len(), 3);
    pull(&mut sync, &[after("visit", 11)], "t3");
    assert_eq!(ids(&store), [int(12)]);
    assert!(
        store.changes().unwrap().is_empty(),
        "nothing of it is captured"
    );
    assert!(request(&mut sync).groups.is_empty());
}

/// What a page brings although it does not stay, is never seen.
#[test]
fn p5_what_comes_and_does_not_stay_is_not_there() {
    let (world, store) = filled();
    let mut sync = world.sync();
    let rows = visits(&world, &[(1, 1), (11, 2), (20, 20)]);
    pull(&mut sync, &[after("visit", 10), rows], "t2");
    assert_eq!(ids(&store), [int(12), int(20)]);
}

/// Pages that wait for their switch change nothing before it, and the last one's bound counts.
#[test]
fn p5_staged_pages_evict_with_the_switch() {
    let (world, store) = filled();
    let mut sync = world.sync();
    let asked = request(&mut sync);
    let rows = visits(&world, &[(13, 13)]);
    let first = [after("visit", 11), rows];
    let applied = answer(&mut sync, &asked, &first, "t2", false);
    assert!(matches!(applied, PageApplied::Staged { .. }), "{applied:?}");
    assert_eq!(ids(&store), [int(10), int(11), int(12)]);
    let asked = request(&mut sync);
    let rows = visits(&world, &[(14, 14), (3, 3)]);
    answer(&mut sync, &asked, &[after("visit", 12), rows], "t3", true);
    assert_eq!(ids(&store), [int(13), int(14)]);
}

/// A first download shows itself as it grows, and nothing of it that does not stay.
#[test]
fn p5_a_growing_first_download_evicts_with_each_page() {
    let world = World::with(windowed());
    let mut sync = world.sync();
    let asked = request(&mut sync);
    let content = [after("visit", 9), visits(&world, &[(10, 10), (9, 9)])];
    answer(&mut sync, &asked, &content, "t1", false);
    assert_eq!(ids(&world.store()), [int(10)]);
}

/// An edit that nobody has answered yet keeps its row; when it is settled and a page has taken
/// effect, the row goes.
#[test]
fn p3_a_row_with_an_unsettled_change_stays_until_it_is_settled() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    let mine = attributes([("note", text("mine"))]);
    store.update("visit", &[int(10)], &mine).unwrap();
    pull(&mut sync, &[after("visit", 20)], "t2");
    assert_eq!(seen(&store), [[int(10), text("mine")]]);
    let outgoing = request(&mut sync);
    assert_eq!(outgoing.groups.len(), 1, "it is sent all the same");
    // The answer to the request that was made before: the change is not in it.
    page(
        &mut sync,
        outgoing.request - 1,
        &outgoing.pull,
        &[after("visit", 20)],
        "t3",
        true,
        &[],
    )
    .unwrap();
    assert_eq!(seen(&store), [[int(10), text("mine")]]);
    let outgoing = request(&mut sync);
    settle(&mut sync, &outgoing, &Verdict::applied());
    assert_eq!(seen(&store), [[int(10), text("mine")]]);
    // The row comes as the edit left it, though it does not stay.
    let rows = world.rows("visit", &[&[int(10), text(&day(10)), text("mine")]]);
    answer(
        &mut sync,
        &outgoing,
        &[after("visit", 20), rows],
        "t4",
        true,
    );
    assert!(seen(&store).is_empty());
    let copies = "SELECT count(*) FROM afield_server_visit";
    assert_eq!(query(&store, copies), [[int(0)]]);
}

/// A parked change keeps its row too, with what the server has below it; given up, the row goes.
#[test]
fn p3_a_parked_change_keeps_its_row_and_its_base() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    let mine = attributes([("note", text("mine"))]);
    store.update("visit", &[int(10)], &mine).unwrap();
    let outgoing = request(&mut sync);
    let refused = Verdict::rejected(afield::protocol::Code::FORBIDDEN, "no");
    settle(&mut sync, &outgoing, &refused);
    let rows = world.rows("visit", &[&[int(10), text(&day(2)), text("theirs, later")]]);
    answer(
        &mut sync,
        &outgoing,
        &[after("visit", 20), rows],
        "t2",
        true,
    );
    pull(&mut sync, &[after("visit", 21)], "t3");
    assert_eq!(seen(&store), [[int(10), text("mine")]]);
    let changes = store.changes().unwrap();
    assert_eq!(changes[0].base["note"], text("theirs"));
    let name = changes[0].change.clone();
    store.drop_change(&name).unwrap();
    assert_eq!(seen(&store), [[int(10), text("theirs, later")]]);
    pull(&mut sync, &[after("visit", 22)], "t4");
    assert!(seen(&store).is_empty());
}

/// A row that the user makes out of the window is his until it is settled.
#[test]
fn p6_a_new_row_out_of_the_window_leaves_when_it_is_settled() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    execute(
        &mut store,
        "INSERT INTO visit VALUES (1, '2026-01-01', 'old')",
    )
    .unwrap();
    let outgoing = request(&mut sync);
    settle(&mut sync, &outgoing, &Verdict::applied());
    assert_eq!(ids(&store).len(), 4);
    let rows = world.rows("visit", &[&[int(1), text("2026-01-01"), text("old")]]);
    answer(&mut sync, &outgoing, &[after("visit", 9), rows], "t2", true);
    assert_eq!(ids(&store), [int(10), int(11), int(12)]);
}

/// The values that brought a row go with it.
#[test]
fn p7_nothing_of_a_scope_stays_with_a_row_that_left() {
    let world = World::with(windowed());
    let mut sync = world.sync();
    let row = |id: i64, on: u32| [int(id), text(&day(on)), text("theirs"), int(7)];
    let rows = world.rows("meeting", &[&row(1, 10), &row(2, 12)]);
    let held = Frame::Held(afield::protocol::Held {
        entity: "meeting".into(),
        gained: vec![7],
        lost: Vec::new(),
    });
    pull(&mut sync, &[after("meeting", 9), rows, held], "t1");
    pull(&mut sync, &[after("meeting", 11)], "t2");
    let store = world.store();
    for table in ["meeting", "afield_scope_meeting"] {
        let sql = format!("SELECT id FROM {table}");
        assert_eq!(query(&store, &sql), [[int(2)]], "{table}");
    }
}

/// A page that keeps rows by what they do not have is refused whole.
#[test]
fn a_window_of_an_unknown_attribute_is_malformed() {
    let (world, store) = filled();
    let mut sync = world.sync();
    let asked = request(&mut sync);
    let Frame::Window(window) = after("visit", 20) else {
        panic!("it is a window");
    };
    let wrong = Frame::Window(Window {
        attribute: "hour".into(),
        ..window
    });
    let content = [visits(&world, &[(30, 30)]), wrong];
    let error = page(
        &mut sync,
        asked.request,
        &asked.pull,
        &content,
        "t2",
        true,
        &[],
    );
    assert_eq!(error.unwrap_err().code().as_str(), "malformed");
    assert_eq!(ids(&store).len(), 3);
}

/// Wherever the process dies, rows are those of one bound with the position that belongs to it.
#[test]
fn p4_a_crash_leaves_rows_and_position_of_one_bound() {
    for points in 0.. {
        let (world, store) = filled();
        let mut sync = world.sync();
        let asked = request(&mut sync);
        crash_after(Some(points));
        let rows = visits(&world, &[(13, 13)]);
        let content = [after("visit", 11), rows];
        let done = page(
            &mut sync,
            asked.request,
            &asked.pull,
            &content,
            "t2",
            true,
            &[],
        );
        let is_through = afield::protocol::zoo::crash_points_left().is_some();
        crash_after(None);
        drop(sync);
        let is_new = request(&mut world.sync()).pull[0].1.as_deref() == Some(b"t2");
        let expected = match is_new {
            true => vec![int(12), int(13)],
            false => vec![int(10), int(11), int(12)],
        };
        assert_eq!(ids(&store), expected, "{points}");
        if is_through {
            assert!(done.is_ok() && is_new && points > 2);
            break;
        }
    }
}

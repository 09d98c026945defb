//! Comparing rows with the server's: what is written dies whole or not at all, what does not speak
//! of this state is not compared, and a check that fails keeps no sync from getting through.

use afield::engine::{CheckPolicy, Command, Direction, Engine, Event, Failure, Report, SyncStatus};
use afield::protocol::codec::{Format, FrameReader};
use afield::protocol::digest::{RowHasher, Sum};
use afield::protocol::{
    Code, Digest, Fetch, Frame, PROTOCOL_VERSION, Page, PageEnd, Value, Verify, Welcome,
};
use afield::{Checked, Difference, DifferentRow, FoundWhat, SyncStore};
use rusqlite::config::DbConfig;

use crate::stock::{X, amount, filled, gone, key, stock};
use crate::store_crash::dies_everywhere;
use crate::world::{World, int, pull, query, request, text};

fn unseen(world: &World, sql: &str) {
    let conn = world.plain();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .unwrap();
    conn.execute_batch(sql).unwrap();
}

/// Three rows of stock, one of which is edited, one damaged below its edit, one written unseen.
fn damaged(world: &World) {
    let rows = stock(world, &[("x", 1, 5), ("y", 1, 5), ("z", 1, 5)]);
    pull(&mut world.sync(), &[rows], "t1");
    let mut store = world.store();
    store.update("stock", &key(), &amount(6)).unwrap();
    let sql = "UPDATE stock SET amount = 9 WHERE place IN ('x', 'y');
               UPDATE afield_server_stock SET amount = 3;
               INSERT INTO stock (place, part, amount) VALUES ('extra', 1, 1)";
    unseen(world, sql);
}

fn fetch(places: &[&str]) -> [Fetch; 1] {
    let key = |place: &&str| vec![text(place), int(1)];
    [Fetch {
        entity: "stock".into(),
        keys: places.iter().map(key).collect(),
    }]
}

/// Brings rows that were asked for, with a page that continues from where the store is.
fn repair(world: &World, sync: &mut SyncStore) -> Result<afield::Repaired, afield::Error> {
    let conn = world.plain();
    let sql = "SELECT name, position FROM afield_entity WHERE position IS NOT NULL ORDER BY name";
    let mut statement = conn.prepare(sql).unwrap();
    let at = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let from: Vec<(String, Option<Vec<u8>>)> = at.unwrap().map(Result::unwrap).collect();
    let content = [
        stock(world, &[("x", 1, 5), ("y", 1, 5)]),
        gone(&[("extra", 1)]),
    ];
    let end = PageEnd {
        to: (from.iter())
            .map(|(name, _)| (name.clone(), b"t2".to_vec()))
            .collect(),
        complete: true,
        remaining: None,
    };
    let page = Page {
        from,
        reset: Vec::new(),
    };
    let asked = fetch(&["x", "y", "extra", "never"]);
    let page = (&page, content.as_slice(), &end);
    sync.repair_page(9, page, &asked)
        .map(|(_, repaired)| repaired)
}

#[test]
fn p6_a_repair_and_its_notes_are_made_whole_or_not_at_all() {
    dies_everywhere(6, damaged, |world| {
        let mut sync = world.sync();
        repair(world, &mut sync).map(|_| ())
    });
    let world = World::new();
    damaged(&world);
    let repaired = repair(&world, &mut world.sync()).unwrap();
    let (rows, answered) = (repaired.rows.len(), repaired.answered.len());
    assert_eq!(
        (rows, answered),
        (3, 3),
        "what was not answered may be asked for again"
    );
    let store = world.store();
    assert_eq!(query(&store, X), [[int(6)]]);
    let noted = store.uncaptured().unwrap();
    let amounts = noted
        .iter()
        .map(|row| row.content.as_ref().unwrap()["amount"].clone());
    assert_eq!(amounts.collect::<Vec<_>>(), [int(9), int(9), int(1)]);
    assert!(noted.iter().all(|row| row.repaired_ms.is_some()));
}

#[test]
fn p6_noting_and_computing_again_are_done_whole_or_not_at_all() {
    let rows = |places: &[&str]| -> Vec<DifferentRow> {
        let row = |place: &&str| DifferentRow {
            key: vec![text(place), int(1)],
            difference: Difference::Changed,
            value: None,
        };
        places.iter().map(row).collect()
    };
    dies_everywhere(2, damaged, |world| {
        let noted = world
            .sync()
            .note_uncaptured("stock", &rows(&["y", "extra"]))?;
        assert_eq!(noted.len(), 2);
        Ok(())
    });
    dies_everywhere(2, damaged, |world| {
        let found = world.sync().check_overlaid("stock", true)?;
        assert_eq!(found.len(), 1);
        Ok(())
    });
    let checked = || Checked {
        equal: vec!["stock".into()],
        all_equal: true,
        found: 1,
        repaired: 1,
    };
    let noted = |world: &World| {
        damaged(world);
        world
            .sync()
            .note_uncaptured("stock", &rows(&["y"]))
            .unwrap();
    };
    dies_everywhere(1, noted, |world| {
        world.sync().note_checked("main", &checked())
    });
}

/// An answer to other positions says nothing of what is here now.
#[test]
fn p10_what_another_sync_overtook_is_not_compared() {
    let (world, _) = filled();
    let mut sync = world.sync();
    let outgoing = request(&mut sync);
    let end = |token: &str| PageEnd {
        to: (outgoing.pull.iter())
            .map(|(name, _)| (name.clone(), token.as_bytes().to_vec()))
            .collect(),
        complete: true,
        remaining: None,
    };
    let answers = [Frame::Digest(digest(&world, &[("x", 1, 5)]))];
    let found = sync
        .compare(&end("t1"), &[], &[], &answers)
        .unwrap()
        .unwrap();
    let FoundWhat::Buckets { differing, rows } = &found[0].what else {
        panic!("{found:?}");
    };
    assert_eq!((differing.len(), *rows), (0, 1));
    pull(&mut world.sync(), &[stock(&world, &[("y", 1, 5)])], "t2");
    assert_eq!(sync.compare(&end("t1"), &[], &[], &answers).unwrap(), None);
    let found = sync
        .compare(&end("t2"), &[], &[], &answers)
        .unwrap()
        .unwrap();
    assert!(matches!(&found[0].what, FoundWhat::Buckets { differing, .. } if differing.len() == 1));
}

/// Written by another program between the page and the comparison: captured, and not sealed yet.
#[test]
fn p3_what_is_not_sealed_yet_is_no_difference() {
    let (world, _) = filled();
    let mut sync = world.sync();
    let to = request(&mut sync).pull.into_iter();
    let end = PageEnd {
        to: to.map(|(name, _)| (name, b"t1".to_vec())).collect(),
        complete: true,
        remaining: None,
    };
    let sql = "UPDATE stock SET amount = 9; INSERT INTO stock (place, part) VALUES ('new', 1)";
    world.plain().execute_batch(sql).unwrap();
    let answers = [Frame::Digest(digest(&world, &[("x", 1, 5)]))];
    let found = sync.compare(&end, &[], &[], &answers).unwrap().unwrap();
    let is_equal = |what: &FoundWhat| match what {
        FoundWhat::Buckets { differing, .. } => differing.is_empty(),
        _ => false,
    };
    assert!(is_equal(&found[0].what), "{found:?}");
    world.plain().execute_batch("DELETE FROM stock").unwrap();
    let found = sync.compare(&end, &[], &[], &answers).unwrap().unwrap();
    assert!(is_equal(&found[0].what), "{found:?}");
}

fn digest(world: &World, rows: &[(&str, i64, i64)]) -> Digest {
    let entity = world.model.entity("stock").unwrap();
    let mut sum = Sum::default();
    for (place, part, amount) in rows {
        let row = [text(place), int(*part), int(*amount), Value::Null];
        sum.add(&RowHasher::new(entity).row(row.iter().map(Value::as_ref), &[]));
    }
    Digest {
        entity: "stock".into(),
        depth: 0,
        sums: vec![sum],
    }
}

/// What a request asks besides its pull, and the positions that it pulls from.
fn asked(world: &World, commands: &[Command]) -> (Vec<Verify>, Page) {
    let body = commands.iter().find_map(|command| match command {
        Command::Send { body } => Some(body),
        _ => None,
    });
    let mut frames = FrameReader::new(Format::Cbor);
    frames.push(body.unwrap_or_else(|| panic!("nothing is sent: {commands:?}")));
    let (mut verify, mut from) = (Vec::new(), Vec::new());
    while let Some(frame) = frames.next(&world.model).unwrap() {
        match frame {
            Frame::Hello(hello) => from = hello.pull,
            Frame::Verify(ask) => verify.push(ask),
            _ => {}
        }
    }
    let reset = Vec::new();
    (verify, Page { from, reset })
}

/// The bytes of an answer whose page changes nothing and says this of the rows.
fn answer(world: &World, page: Page, says: &[Frame]) -> Vec<u8> {
    let to = page
        .from
        .iter()
        .map(|(name, position)| (name.clone(), position.clone().unwrap()));
    let end = PageEnd {
        to: to.collect(),
        complete: true,
        remaining: None,
    };
    let epoch = [0; 8];
    let welcome = Welcome {
        protocol: PROTOCOL_VERSION,
        epoch,
    };
    let settled = Frame::Settled {
        checkpoint: Vec::new(),
    };
    let before = [Frame::Welcome(welcome), settled, Frame::Page(page)];
    let after = [Frame::PageEnd(end), Frame::End];
    let mut bytes = Vec::new();
    for frame in before.iter().chain(says).chain(&after) {
        Format::Cbor.write(&world.model, frame, &mut bytes);
    }
    bytes
}

fn finished(commands: &[Command]) -> Report {
    let report = commands.iter().find_map(|command| match command {
        Command::Finished(report) => Some(report.clone()),
        _ => None,
    });
    report.unwrap_or_else(|| panic!("not finished: {commands:?}"))
}

const START: Event<'_> = Event::Start {
    unit: None,
    direction: Direction::Both,
};

fn due(world: &World) -> Engine {
    let mut engine = Engine::new();
    engine.set_check(Some(CheckPolicy {
        every_ms: 60_000,
        repair: true,
    }));
    assert!(!world.sync().is_check_due("main", 60_000).unwrap());
    world.pass_ms(60_000);
    engine
}

/// A server that does not understand the question, or cannot answer it, stands in nobody's way.
#[test]
fn p8_a_check_that_fails_keeps_no_sync_from_getting_through() {
    for failure in [
        Failure {
            status: Some(400),
            ..Failure::new(Code::MALFORMED, "what is this?")
        },
        Failure {
            status: Some(500),
            ..Failure::new(Code::INTERNAL, "too much")
        },
        Failure::new(Code::TIMEOUT, "it counts and counts"),
    ] {
        let (world, _) = filled();
        let (mut engine, mut sync) = (due(&world), world.sync());
        let commands = engine.handle(&mut sync, START).unwrap();
        let (verify, _) = asked(&world, &commands);
        assert!(!verify.is_empty(), "it is due");
        let commands = engine.handle(&mut sync, Event::Failed(failure)).unwrap();
        let (verify, page) = asked(&world, &commands);
        assert_eq!(verify, [], "at once, and without");
        let bytes = answer(&world, page, &[]);
        engine.handle(&mut sync, Event::Bytes(&bytes)).unwrap();
        let report = finished(&engine.handle(&mut sync, Event::Closed).unwrap());
        assert_eq!(
            (report.status, report.verified),
            (SyncStatus::Completed, None)
        );
    }
}

/// What is not answered, or not counted, is not called equal; and it ends.
#[test]
fn p10_what_was_not_compared_is_not_called_equal() {
    let (world, _) = filled();
    let mut sync = world.sync();
    let not_counted = Digest {
        sums: Vec::new(),
        ..digest(&world, &[])
    };
    for says in [Vec::new(), vec![Frame::Digest(not_counted)]] {
        let mut engine = Engine::new();
        let start = Event::Verify {
            unit: None,
            repair: true,
        };
        let commands = engine.handle(&mut sync, start).unwrap();
        let bytes = answer(&world, asked(&world, &commands).1, &says);
        engine.handle(&mut sync, Event::Bytes(&bytes)).unwrap();
        let report = finished(&engine.handle(&mut sync, Event::Closed).unwrap());
        let verified = report.verified.unwrap();
        assert!(!verified.equal && !verified.equal_now, "{verified:?}");
        assert!(verified.unknown.contains(&"stock".to_owned()));
    }
    let status = world.store().status().unwrap().verify;
    assert_eq!(status.verified_ms, None);
}

/// Answers that contradict themselves for ever end in `unknown`.
#[test]
fn p9_a_difference_that_no_row_explains_ends() {
    let (world, _) = filled();
    let mut sync = world.sync();
    let mut engine = Engine::new();
    let start = Event::Verify {
        unit: None,
        repair: true,
    };
    let mut commands = engine.handle(&mut sync, start).unwrap();
    for steps in 1..100 {
        let (verify, page) = asked(&world, &commands);
        let says: Vec<Frame> = verify.iter().map(lie(&world)).collect();
        let bytes = answer(&world, page, &says);
        engine.handle(&mut sync, Event::Bytes(&bytes)).unwrap();
        commands = engine.handle(&mut sync, Event::Closed).unwrap();
        if !engine.is_running() {
            let verified = finished(&commands).verified.unwrap();
            assert!(!verified.equal_now && verified.found() == 0, "{verified:?}");
            assert!(steps < 20, "{steps}");
            return;
        }
    }
    panic!("it never ends");
}

/// Another sum for every entity as a whole, and the device's own rows in every list.
fn lie(world: &World) -> impl Fn(&Verify) -> Frame + '_ {
    |ask| match ask.buckets.is_empty() {
        true => Frame::Digest(Digest {
            entity: ask.entity.clone(),
            depth: ask.depth,
            sums: vec![Sum { rows: 1, sum: 7 }; 1 << ask.depth],
        }),
        false => {
            let mut rows = Vec::new();
            if ask.entity == "stock" {
                let sum = digest(world, &[("x", 1, 5)]).sums[0].sum;
                rows.push(afield::protocol::HashedRow {
                    key: key().to_vec(),
                    hash: sum.to_be_bytes(),
                    value: None,
                });
            }
            Frame::Hashes(afield::protocol::Hashes {
                entity: ask.entity.clone(),
                depth: ask.depth,
                complete: true,
                rows,
            })
        }
    }
}

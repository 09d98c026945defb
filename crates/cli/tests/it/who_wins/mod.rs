//! Every cell of "Who wins" through whole devices: two stores, the real driver, real HTTP, the
//! server's database. All lines of `table.rs` stand side by side in one world, each under the three
//! rules and once for each decision, so a world is one order of sync and one set of lost answers.
//!
//! ```text
//!   both download ─► both write ─► first syncs ─► second syncs ─► both again ─► look
//!                                  (answer lost?) (pulls alone?)                 │
//!                                                 (answer lost?)                 │
//!                       look ◄─ both sync ◄─ second decides ◄────────────────────┘
//! ```

mod cell;
mod decision;
mod look;
mod patterns;
mod table;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use afield::engine::{Direction, SyncStatus};

use self::cell::{Cell, cells};
use crate::proxy::{Fault, Gate};
use crate::world::{Device, World, eventually, server_settings};

const SCHEMA: &str = "
    CREATE TABLE shelf (id INTEGER NOT NULL PRIMARY KEY, tag TEXT);
    INSERT INTO shelf VALUES (1, 'the only one');
    CREATE TABLE paper (id INTEGER NOT NULL PRIMARY KEY, a INTEGER, b INTEGER, n INTEGER,
      shelf INTEGER REFERENCES shelf (id), lives BOOLEAN NOT NULL DEFAULT 1);
    CREATE TABLE card (id INTEGER NOT NULL PRIMARY KEY, a INTEGER, b INTEGER, n INTEGER,
      shelf INTEGER REFERENCES shelf (id), lives BOOLEAN NOT NULL DEFAULT 1);
    CREATE TABLE slip (id INTEGER NOT NULL PRIMARY KEY, a INTEGER, b INTEGER, n INTEGER,
      shelf INTEGER REFERENCES shelf (id), lives BOOLEAN NOT NULL DEFAULT 1);
    CREATE TABLE mate (id INTEGER NOT NULL PRIMARY KEY, a INTEGER);
    CREATE TABLE leaf (id INTEGER NOT NULL PRIMARY KEY, paper INTEGER REFERENCES paper (id),
      card INTEGER REFERENCES card (id), slip INTEGER REFERENCES slip (id));
";

/// The entities of the three rules, in the order of the table's columns.
const RULES: [(&str, &str); 3] = [
    ("paper", "pattern = \"last-write-wins\""),
    ("card", "pattern = \"detect-conflicts\"\nmerge = \"record\""),
    (
        "slip",
        "pattern = \"detect-conflicts\"\nmerge = \"attribute\"",
    ),
];

const OTHERS: &str = r#"
    [local.shelf]
    from = "shelf"
    pattern = "read-only"
    attributes = ["tag"]
    scope = "everyone"
    [local.mate]
    from = "mate"
    pattern = "detect-conflicts"
    attributes = ["a"]
    scope = "everyone"
    [local.leaf]
    from = "leaf"
    pattern = "last-write-wins"
    attributes = ["paper", "card", "slip"]
    scope = "everyone"
"#;

/// Which device is synchronised first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    AFirst,
    BFirst,
}

/// What else happens on the way.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// The answer to the first one is lost, after the server has done everything.
    first_lost: bool,
    /// The second one gets the first one's rows before it sends what it has: it is still what its
    /// user saw when he wrote that counts.
    pulls_alone: bool,
    /// The answer to the second one is lost.
    second_lost: bool,
    /// Rows that are deleted stay on the server, and count as deleted.
    is_soft: bool,
}

/// Two devices and their server. `first` and `second` are in the order of sync.
struct Pair {
    world: World,
    first: Device,
    second: Device,
}

fn world(is_soft: bool) -> World {
    let mut model = server_settings(5_000);
    let delete = if is_soft {
        "delete = \"lives = false\"\n"
    } else {
        ""
    };
    for (entity, rule) in RULES {
        model += &format!(
            "[local.{entity}]\nfrom = \"{entity}\"\n{rule}\n\
             attributes = [\"a\", \"b\", \"n\", \"shelf\"]\ncounter = [\"n\"]\n\
             scope = \"everyone\"\n{delete}"
        );
    }
    World::of(SCHEMA, &(model + OTHERS), "")
}

/// The server does what the request asks for, and the device dies before it hears of it.
fn lose_answer(world: &World, device: &Device) {
    let (gate, held) = (Gate::default(), AtomicBool::new(false));
    let at = gate.clone();
    world.proxy.rule(move |request| {
        match request.is_sync() && !held.swap(true, Ordering::SeqCst) {
            true => Fault::HoldAnswer(at.clone()),
            false => Fault::LoseRequest,
        }
    });
    let report = thread::scope(|scope| {
        let sync = scope.spawn(|| device.sync());
        gate.wait_reached();
        device.client.cancel();
        sync.join().unwrap()
    });
    assert_eq!(report.status, SyncStatus::Failed, "{report:?}");
    assert_eq!(report.outcomes, []);
    world.proxy.heal();
    gate.open();
}

impl Pair {
    fn send(&self, device: &Device, is_lost: bool) {
        match is_lost {
            true => lose_answer(&self.world, device),
            false => self.sync(device),
        }
    }

    fn sync(&self, device: &Device) {
        eventually("everything is sent", || {
            let report = device.sync();
            assert_ne!(report.status, SyncStatus::Failed, "{report:?}");
            device.client.store().status().unwrap().pending == 0
        });
    }

    fn pull(device: &Device) {
        let report = device.client.sync(None, Direction::Receive).unwrap();
        assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
        assert_eq!(report.outcomes, []);
    }

    /// Both, until each has what the other did.
    fn sync_both(&self) {
        self.sync(&self.first);
        self.sync(&self.second);
        self.sync(&self.first);
    }
}

fn check(order: Order, way: Way) {
    let world = world(way.is_soft);
    let cells = cells(order, way.is_soft);
    cells.iter().for_each(|cell| cell.seed(&world));
    let (first, second) = ("first", "second");
    let pair = Pair {
        first: world.downloaded(first, "ann"),
        second: world.downloaded(second, "ben"),
        world,
    };
    cells.iter().for_each(|cell| cell.write(&pair));
    // Of each cell the first surprise: the others follow from it.
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    let mut all = |check: &dyn Fn(&Cell) -> Result<(), String>| {
        for cell in &cells {
            if let Err(why) = check(cell) {
                wrong.entry(cell.name()).or_insert(why);
            }
        }
    };
    pair.send(&pair.first, way.first_lost);
    if way.pulls_alone {
        Pair::pull(&pair.second);
        all(&|cell| look::unsent(cell, &pair));
    }
    pair.send(&pair.second, way.second_lost);
    pair.sync_both();
    cells.iter().for_each(|cell| cell.write_more(&pair));
    all(&|cell| look::undecided(cell, &pair));
    all(&|cell| decision::make(cell, &pair));
    pair.sync(&pair.second);
    pair.sync_both();
    all(&|cell| decision::give_up(cell, &pair));
    pair.sync(&pair.second);
    pair.sync_both();
    all(&|cell| look::decided(cell, &pair));
    let told = wrong.iter().map(|(cell, why)| format!("\n{cell}: {why}"));
    let (count, told) = (wrong.len(), told.collect::<String>());
    assert!(wrong.is_empty(), "{order:?}, {way:?}: {count} wrong{told}");
}

fn check_both_orders(way: Way) {
    check(Order::AFirst, way);
    check(Order::BFirst, way);
}

#[test]
fn p6_every_cell_of_who_wins() {
    check_both_orders(Way::default());
}

#[test]
fn p2_p6_every_cell_of_who_wins_when_the_first_answer_is_lost() {
    check_both_orders(Way {
        first_lost: true,
        ..Way::default()
    });
}

#[test]
fn p2_p6_every_cell_of_who_wins_when_the_second_answer_is_lost() {
    check_both_orders(Way {
        second_lost: true,
        ..Way::default()
    });
}

#[test]
fn p2_p6_every_cell_of_who_wins_when_both_answers_are_lost() {
    check_both_orders(Way {
        first_lost: true,
        second_lost: true,
        ..Way::default()
    });
}

#[test]
fn p3_p6_every_cell_of_who_wins_when_rows_come_before_changes_go() {
    check_both_orders(Way {
        pulls_alone: true,
        ..Way::default()
    });
}

#[test]
fn p2_p3_p6_every_cell_of_who_wins_when_rows_come_before_and_both_answers_are_lost() {
    check_both_orders(Way {
        first_lost: true,
        pulls_alone: true,
        second_lost: true,
        is_soft: false,
    });
}

#[test]
fn p6_every_cell_of_who_wins_where_rows_count_as_deleted() {
    check_both_orders(Way {
        is_soft: true,
        ..Way::default()
    });
}

#[test]
fn p2_p3_p6_every_cell_where_rows_count_as_deleted_when_all_answers_are_lost() {
    check_both_orders(Way {
        first_lost: true,
        pulls_alone: true,
        second_lost: true,
        is_soft: true,
    });
}

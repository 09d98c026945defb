//! Cases of pulling.

use afield_protocol::{Code, Frame};

use super::{Database, Replica, assert_same, table};
use crate::storage::PullRequest;

const ALL: [&str; 6] = ["company", "visit", "part", "line", "rate", "stock"];

fn fill_rates(db: &dyn Database, rows: usize) {
    let values: Vec<String> = (1..=rows).map(|id| format!("({id}, 'v{id}')")).collect();
    db.execute(&format!(
        "INSERT INTO rate (id, value) VALUES {}",
        values.join(", ")
    ));
}

pub(super) fn fill_stock(db: &dyn Database, rows: usize) {
    let values: Vec<String> = (1..=rows)
        .map(|id| format!("({id}, 'c{id}', {id}, 0, 'w')"))
        .collect();
    db.execute(&format!(
        "INSERT INTO stock (id, code, shelf, bin, words) VALUES {}",
        values.join(", ")
    ));
}

/// A first download is no reset and ends with the tables as they are.
pub fn p5_first_download_brings_every_row(db: &mut dyn Database) {
    db.execute(
        "INSERT INTO company VALUES ('a', 'Able', 1); INSERT INTO company VALUES ('b', 'Bee', NULL);
         INSERT INTO line VALUES (2, 1, 'x'); INSERT INTO line VALUES (1, 2, 'y');",
    );
    fill_rates(db, 100);
    let mut device = Replica::default();
    let page = device.page(db, &ALL, 1_000, usize::MAX);
    assert!(page.end.complete);
    assert_eq!(device.resets, 0);
    assert_eq!(device.delivered, 104);
    assert_same(db, &device, &ALL);
    device.pull(db, &ALL, 1_000);
    assert_eq!(device.delivered, 104, "nothing changed, nothing is sent");
}

/// A delta brings what changed and nothing else.
pub fn p5_delta_brings_inserts_updates_and_deletes(db: &mut dyn Database) {
    fill_stock(db, 50);
    let mut device = Replica::default();
    device.pull(db, &ALL, 1_000);
    db.execute(
        "UPDATE stock SET words = 'new' WHERE id = 3; DELETE FROM stock WHERE id IN (4, 5);
         INSERT INTO stock (id, words) VALUES (51, 'more');",
    );
    device.pull(db, &ALL, 1_000);
    assert_eq!(device.delivered, 54);
    assert_same(db, &device, &ALL);
}

/// Delete and insert again, in one transaction and in two.
pub fn p5_a_row_that_comes_back_comes_back(db: &mut dyn Database) {
    fill_stock(db, 5);
    let mut device = Replica::default();
    device.pull(db, &["stock"], 1_000);
    db.execute("DELETE FROM stock WHERE id = 2");
    device.pull(db, &["stock"], 1_000);
    assert_eq!(device.rows("stock").len(), 4);
    db.execute("INSERT INTO stock (id, words) VALUES (2, 'again')");
    db.execute(
        "DELETE FROM stock WHERE id = 3; INSERT INTO stock (id, words) VALUES (3, 'at once')",
    );
    db.execute("INSERT INTO stock (id) VALUES (9); DELETE FROM stock WHERE id = 9");
    device.pull(db, &["stock"], 1_000);
    assert_same(db, &device, &["stock"]);
}

/// The old identifier goes, the new one comes; also when two rows swap theirs.
pub fn p5_a_key_change_moves_the_row(db: &mut dyn Database) {
    fill_stock(db, 5);
    db.execute("INSERT INTO line VALUES (1, 1, 'x'); INSERT INTO line VALUES (1, 2, 'y')");
    let mut device = Replica::default();
    device.pull(db, &["stock", "line"], 1_000);
    db.execute(
        "UPDATE stock SET id = 77 WHERE id = 2; UPDATE line SET pos = 9 WHERE pos = 1;
         UPDATE stock SET id = -1 WHERE id = 3; UPDATE stock SET id = 3 WHERE id = 4;
         UPDATE stock SET id = 4 WHERE id = -1;",
    );
    device.pull(db, &["stock", "line"], 1_000);
    assert_same(db, &device, &["stock", "line"]);
}

/// One transaction of a thousand rows, cut at every size: no page boundary loses a row.
pub fn p5_pages_of_every_size_lose_nothing(db: &mut dyn Database) {
    let mut watching = Replica::default();
    watching.pull(db, &["stock"], 1_000);
    fill_stock(db, 1_000);
    for rows_max in 1..=17 {
        let mut first = Replica::default();
        first.pull(db, &["stock", "rate"], rows_max);
        assert_same(db, &first, &["stock"]);
        let mut delta = watching.clone();
        delta.pull(db, &["stock"], rows_max);
        assert_same(db, &delta, &["stock"]);
        assert_eq!(delta.delivered, 1_000, "no row twice");
        let pages = 1_000_usize.div_ceil(rows_max);
        assert!(
            (pages..=pages + 1).contains(&first.pages),
            "{} pages",
            first.pages
        );
    }
}

/// A limit of bytes smaller than a row still lets one row through.
pub fn p5_small_pages_by_bytes_move_on(db: &mut dyn Database) {
    fill_rates(db, 30);
    for bytes_max in [0, 1, 10, 40] {
        let mut device = Replica::default();
        while !device.page(db, &["rate"], 1_000, bytes_max).end.complete {}
        assert_same(db, &device, &["rate"]);
        assert!(device.pages > 3);
    }
}

/// Rows that are written before and behind a download's cursor.
pub fn p5_writes_between_pages_of_a_first_download_arrive(db: &mut dyn Database) {
    fill_stock(db, 60);
    let mut device = Replica::default();
    device.pull_while(db, &["stock"], 7, |page| {
        db.execute(&format!(
            "UPDATE stock SET words = 'p{page}' WHERE id IN (1, {}, 60);
             DELETE FROM stock WHERE id = {};
             INSERT INTO stock (id, words) VALUES ({}, 'new');",
            page * 7,
            page * 7 + 3,
            -100 - i64::try_from(page).unwrap(),
        ));
        if page == 3 {
            db.execute(
                "UPDATE stock SET id = 0 WHERE id = 59; UPDATE stock SET id = 99 WHERE id = 2",
            );
        }
        assert!(page < 40, "the download ends while writers go on");
    });
    assert_eq!(device.resets, 0);
    assert_same(db, &device, &["stock"]);
}

/// Rows of a delta that change again while it is on its way, and rows behind it.
pub fn p5_writes_between_pages_of_a_delta_arrive(db: &mut dyn Database) {
    fill_stock(db, 60);
    let mut device = Replica::default();
    device.pull(db, &ALL, 1_000);
    db.execute("UPDATE stock SET words = 'all'");
    device.pull_while(db, &ALL, 10, |page| {
        if page < 5 {
            db.execute(&format!(
                "UPDATE stock SET words = 'p{page}' WHERE id IN (1, 30, 60);
                 DELETE FROM stock WHERE id = {};",
                5 + page * 10
            ));
        }
    });
    assert_same(db, &device, &ALL);
}

/// What the database does by itself, to rows that no statement names.
pub fn p5_cascades_are_marked(db: &mut dyn Database) {
    db.execute(
        "INSERT INTO company VALUES ('a', 'Able', 1); INSERT INTO company VALUES ('b', 'Bee', 2);
         INSERT INTO part VALUES (1, 'a', 'x'); INSERT INTO part VALUES (2, 'b', 'y');",
    );
    let mut device = Replica::default();
    device.pull(db, &ALL, 1_000);
    db.execute(
        "DELETE FROM company WHERE code = 'a'; UPDATE company SET code = 'c' WHERE code = 'b'",
    );
    device.pull(db, &ALL, 1_000);
    assert_eq!(device.rows("part").len(), 1);
    assert_same(db, &device, &ALL);
}

/// `read-only` sends its rows whole, and only when something in them changed.
pub fn read_only_starts_over_when_something_changed(db: &mut dyn Database) {
    fill_rates(db, 20);
    let mut device = Replica::default();
    device.pull(db, &["rate", "stock"], 1_000);
    db.execute("INSERT INTO stock (id) VALUES (1)");
    device.pull(db, &["rate", "stock"], 1_000);
    assert_eq!((device.resets, device.delivered), (0, 21));
    db.execute("DELETE FROM rate WHERE id = 7");
    device.pull(db, &["rate", "stock"], 1_000);
    assert_eq!((device.resets, device.delivered), (1, 40));
    assert_same(db, &device, &["rate", "stock"]);
}

/// Changes during the download of a `read-only` entity come as a delta at its end, or it would
/// start over for ever.
pub fn read_only_ends_its_download_while_writers_go_on(db: &mut dyn Database) {
    fill_rates(db, 40);
    let mut device = Replica::default();
    device.pull_while(db, &["rate"], 8, |page| {
        assert!(page < 20, "the download ends while writers go on");
        db.execute(&format!(
            "UPDATE rate SET value = 'p{page}' WHERE id IN (1, 40)"
        ));
    });
    assert_eq!(device.resets, 0);
    assert_same(db, &device, &["rate"]);
}

/// A restart begins a new epoch, and positions of the old one are continued: idle ones and those
/// in the middle of a download.
pub fn p5_a_restart_continues(db: &mut dyn Database) {
    fill_stock(db, 30);
    fill_rates(db, 30);
    let epoch = db.storage().epoch();
    let mut idle = Replica::default();
    idle.pull(db, &["stock"], 1_000);
    let mut halfway = Replica::default();
    halfway.page(db, &["rate"], 10, usize::MAX);
    db.restart();
    let is_same = db.storage().epoch() == epoch;
    assert_ne!(is_same, db.has_epochs_of_its_own());
    db.execute("DELETE FROM stock WHERE id = 1; UPDATE rate SET value = 'new' WHERE id = 1");
    idle.pull(db, &["stock"], 1_000);
    halfway.pull(db, &["rate"], 10);
    assert_eq!((idle.resets, idle.delivered), (0, 31));
    assert_eq!((halfway.resets, halfway.delivered), (0, 31));
    assert_same(db, &idle, &["stock"]);
    assert_same(db, &halfway, &["rate"]);
}

/// A device that is ahead of a restored database starts over; one that is not goes on.
pub fn p5_a_restored_copy_is_noticed(db: &mut dyn Database) {
    fill_stock(db, 10);
    let mut early = Replica::default();
    early.pull(db, &["stock"], 1_000);
    db.copy();
    db.execute("UPDATE stock SET words = 'lost' WHERE id = 1; INSERT INTO stock (id) VALUES (99)");
    let mut late = early.clone();
    late.pull(db, &["stock"], 1_000);
    db.restore();
    early.pull(db, &["stock"], 1_000);
    late.pull(db, &["stock"], 1_000);
    assert_eq!((early.resets, late.resets), (0, 1));
    assert_same(db, &early, &["stock"]);
    assert_same(db, &late, &["stock"]);
}

/// The same when the restored database has gone on to higher numbers than the device's, and
/// after further restarts.
pub fn p5_a_restored_copy_that_grew_past_the_device_is_noticed(db: &mut dyn Database) {
    fill_stock(db, 10);
    let mut device = Replica::default();
    device.pull(db, &["stock"], 1_000);
    db.copy();
    db.execute("UPDATE stock SET words = 'lost' WHERE id = 1; INSERT INTO stock (id) VALUES (99)");
    device.pull(db, &["stock"], 1_000);
    db.restore();
    for round in 0..5 {
        db.execute(&format!(
            "UPDATE stock SET words = 'r{round}' WHERE id BETWEEN 2 AND 4"
        ));
        Replica::default().pull(db, &["stock"], 1_000);
        db.restart();
    }
    device.pull(db, &["stock"], 1_000);
    assert_eq!(device.resets, 1);
    assert_same(db, &device, &["stock"]);
}

/// The device's number lies in an epoch that the copy knows, above what the copy knows of it.
pub fn p5_a_restored_copy_is_noticed_in_its_last_epoch(db: &mut dyn Database) {
    fill_stock(db, 10);
    let mut device = Replica::default();
    device.pull(db, &["stock"], 1_000);
    db.copy();
    db.execute("UPDATE stock SET words = 'lost' WHERE id = 1; INSERT INTO stock (id) VALUES (99)");
    device.pull(db, &["stock"], 1_000);
    db.restore();
    db.execute("UPDATE stock SET words = 'other' WHERE id BETWEEN 2 AND 9");
    device.pull(db, &["stock"], 1_000);
    assert_eq!(device.resets, 1);
    assert_same(db, &device, &["stock"]);
}

/// The download began before the copy was taken, but rows of it are from after that: changed,
/// new, or left out because they were deleted.
pub fn p5_a_restored_copy_is_noticed_in_the_middle_of_a_download(db: &mut dyn Database) {
    for lost in [
        "UPDATE stock SET words = 'lost' WHERE id = 4",
        "INSERT INTO stock (id) VALUES (0)",
        "DELETE FROM stock WHERE id = 5",
    ] {
        db.execute("DELETE FROM stock");
        fill_stock(db, 10);
        let mut device = Replica::default();
        device.page(db, &["stock"], 2, usize::MAX);
        let mut early = device.clone();
        db.copy();
        db.execute(lost);
        let mut late = device.clone();
        late.page(db, &["stock"], 100, usize::MAX);
        device.page(db, &["stock"], 4, usize::MAX);
        db.restore();
        for (replica, resets) in [(&mut early, 0), (&mut device, 1), (&mut late, 1)] {
            replica.pull(db, &["stock"], 3);
            assert_eq!(replica.resets, resets, "{lost}");
            assert_same(db, replica, &["stock"]);
        }
    }
}

/// Damaged, cut and invented positions never fail a pull and never skip a row.
pub fn p7_forged_positions_start_over(db: &mut dyn Database) {
    fill_stock(db, 5);
    let mut device = Replica::default();
    device.page(db, &["stock"], 2, usize::MAX);
    let token = device.positions.get("stock").unwrap().clone();
    let mut forged: Vec<Vec<u8>> = (0..token.len() * 8)
        .map(|bit| {
            let mut token = token.clone();
            token[bit / 8] ^= 1 << (bit % 8);
            token
        })
        .collect();
    forged.extend((0..token.len()).map(|length| token[..length].to_vec()));
    forged.extend([vec![0; 1_000], vec![0xff; 28]]);
    for position in forged {
        let mut victim = device.clone();
        victim.positions.insert("stock".into(), position);
        victim.pull(db, &["stock"], 1_000);
        assert_eq!(victim.resets, 1);
        assert_same(db, &victim, &["stock"]);
    }
}

/// A position says nothing about another entity.
pub fn p7_positions_of_another_entity_start_over(db: &mut dyn Database) {
    fill_stock(db, 5);
    fill_rates(db, 5);
    let mut device = Replica::default();
    device.pull(db, &["stock"], 1_000);
    let position = device.positions.get("stock").unwrap().clone();
    device.positions.insert("rate".into(), position);
    device.pull(db, &["stock", "rate"], 1_000);
    assert_eq!(device.resets, 1);
    assert_same(db, &device, &["stock", "rate"]);
}

/// The model names what may be pulled.
pub fn unknown_entities_are_an_error_of_the_pull(db: &mut dyn Database) {
    let request = PullRequest {
        caller: crate::storage::Caller::user("ada"),
        held: Vec::new(),
        now: 1_000,
        chosen: Vec::new(),
        entities: vec![("nothing".into(), None)],
        rows_max: 10,
        bytes_max: 1_000,
        compare: Default::default(),
    };
    let error = db
        .storage()
        .pull(db.model(), &request)
        .expect_err("there is no such entity");
    assert_eq!(error.code, Code::UNKNOWN_ENTITY);
    assert!(table(db, "stock").is_empty());
    let empty = PullRequest {
        entities: Vec::new(),
        ..request
    };
    let page = db
        .storage()
        .pull(db.model(), &empty)
        .expect("nothing is asked");
    assert!(matches!(
        page.frames.as_slice(),
        [Frame::Page(_), Frame::PageEnd(_)]
    ));
}

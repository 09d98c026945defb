//! Lookups on SQLite: what only its own statements do, and models that change.

use afield_server::storage::conformance::{Replica, ShowingDevice, lookups_model, lookups_schema};
use afield_server::storage::sqlite::{plan, prepare};

use crate::sqlite_database::SqliteDatabase;

fn database() -> SqliteDatabase {
    let db = SqliteDatabase::with(&lookups_schema(), lookups_model());
    db.foreign()
        .execute_batch(
            "INSERT INTO region VALUES (1, 'north', ''), (2, 'south', '');
             INSERT INTO firm VALUES ('f1', 'Adler', 1, 'a', ''), ('f2', 'Bauer', 2, 'b', '');
             INSERT INTO job VALUES (1, 'f1', 'b', 'ada', 1, 'w'), (2, 'f2', 'a', 'ada', 1, 'w')",
        )
        .unwrap();
    db
}

/// `REPLACE` deletes by every unique key, without a delete trigger.
#[test]
fn p5_sources_that_replace_deletes_are_marked() {
    for recursive in [false, true] {
        let db = database().recursive_triggers(recursive);
        let mut ada = ShowingDevice::of("ada");
        ada.pull(&db, &["job"], 500);
        for sql in [
            "INSERT OR REPLACE INTO firm VALUES ('f3', 'Cech', 1, 'a', '')",
            "UPDATE OR REPLACE firm SET id = 'f2' WHERE id = 'f3'",
            "UPDATE OR REPLACE region SET id = 1 WHERE id = 2",
            "REPLACE INTO firm VALUES ('f1', 'Adler', 1, 'b', '')",
        ] {
            db.foreign().execute_batch(sql).unwrap();
            assert!(ada.brought(&db, &["job"], 1) > 0, "{sql}");
        }
    }
}

/// Nothing is marked, and no table is captured anew: only the position can tell.
#[test]
fn p5_a_lookup_that_means_something_else_starts_over() {
    let mut db = database();
    let mut device = Replica::default();
    device.pull(&db, &["job"], 500);
    let shown = |device: &Replica| -> Vec<String> {
        let rows = device.rows("job").values();
        rows.map(|row| row[6].to_string()).collect()
    };
    assert_eq!(shown(&device), ["Adler", "Bauer"]);
    db.stop();
    let job = db
        .model
        .entities
        .iter_mut()
        .find(|it| it.local.name == "job")
        .unwrap();
    job.lookups.swap(0, 2);
    assert_eq!(plan(&db.path(), &db.model).unwrap(), []);
    db.start();
    device.pull(&db, &["job"], 500);
    assert_eq!(
        (device.resets, shown(&device)),
        (1, vec!["Bauer".into(), "Adler".into()])
    );
}

/// A lookup that comes later, or reads one column more, is captured from then on.
#[test]
fn p5_a_source_that_is_captured_later_starts_its_entities_over() {
    let mut db = database();
    let whole = db.model.clone();
    db.stop();
    let job = db
        .model
        .entities
        .iter_mut()
        .find(|it| it.local.name == "job")
        .unwrap();
    job.lookups[1].path[1].column = "note".into();
    prepare(&db.path(), &db.model, |bytes| bytes.fill(1)).unwrap();
    db.start();
    let (mut job, mut own) = (Replica::default(), ShowingDevice::of("ada"));
    job.pull(&db, &["job"], 500);
    own.pull(&db, &["own_job"], 500);
    db.stop();
    db.model = whole;
    let statements = plan(&db.path(), &db.model).unwrap();
    let sql: Vec<&str> = statements.iter().map(|it| it.sql.as_str()).collect();
    let sql = sql.join(";\n");
    // Both columns were read before, one of them is no more: the table is captured anew.
    assert!(
        sql.contains("DROP TABLE \"afield_source1_region\""),
        "{sql}"
    );
    assert!(
        !sql.contains("CREATE TABLE \"afield_source1_firm\""),
        "{sql}"
    );
    prepare(&db.path(), &db.model, |bytes| bytes.fill(1)).unwrap();
    db.start();
    job.pull(&db, &["job"], 500);
    own.pull(&db, &["own_job"], 500);
    assert_eq!((job.resets, own.resets), (1, 1));
}

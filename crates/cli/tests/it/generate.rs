//! `afield generate rust`: the committed file is what the command writes, and it works.

#[path = "generated/zoo.rs"]
mod zoo;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afield::native::SystemEnvironment;
use afield::protocol::{Attributes, Code, Value};
use afield::{Error, Store};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tempfile::TempDir;

use crate::support::{run, succeed, texts};
use zoo::{
    Create as _, Draft, Entity as _, Field, Member, MemberId, NewDraft, NewMember,
    NewOrderDetailsEntity, NewVisit, Office, OptionEntity, OrderDetailsEntity,
    OrderDetailsEntityId, OrderDetailsEntityPatch, Visit, VisitId, VisitPatch, Write as _,
};

/// A folder with the zoo's database and model file.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let database = Connection::open(folder.path().join("zoo.sqlite")).unwrap();
    database
        .execute_batch(include_str!("generated/zoo.sql"))
        .unwrap();
    let model = include_str!("generated/afield.toml");
    fs::write(folder.path().join("afield.toml"), model).unwrap();
    folder
}

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/generated/zoo.rs")
}

fn store(folder: &TempDir) -> Store {
    let path = folder.path().join("ann.afield");
    let mut store = Store::open(&path, "ann", Box::new(SystemEnvironment)).unwrap();
    store.install_first(&zoo::model().unwrap()).unwrap();
    store
}

fn titled(title: &str) -> NewVisit {
    NewVisit {
        title: title.into(),
        ..NewVisit::default()
    }
}

/// `AFIELD_BLESS=1 cargo test -p afield-cli generate` writes it anew.
#[test]
fn the_committed_file_is_what_the_command_writes() {
    let folder = folder();
    succeed(folder.path(), "generate rust --out zoo.rs");
    let written = fs::read_to_string(folder.path().join("zoo.rs")).unwrap();
    if std::env::var_os("AFIELD_BLESS").is_some_and(|value| value == "1") {
        fs::write(committed(), &written).unwrap();
    }
    assert!(
        written == fs::read_to_string(committed()).unwrap(),
        "the generator writes something else now; look at it, then bless it"
    );
    let printed = succeed(folder.path(), "generate rust");
    assert_eq!(printed, written);
    assert_eq!(zoo::model().unwrap().fingerprint(), zoo::FINGERPRINT);
}

#[test]
fn the_example_apps_model_is_what_the_command_writes() {
    let folder = tempfile::tempdir().unwrap();
    let database = Connection::open(folder.path().join("inspections.db")).unwrap();
    let tables = include_str!("../../src/demo/sample.sql");
    database.execute_batch(tables).unwrap();
    let model = include_str!("../../src/demo/sample.toml");
    fs::write(folder.path().join("afield.toml"), model).unwrap();
    let app = Path::new(env!("CARGO_MANIFEST_DIR"));
    let app = app.join("../../examples/inspections/src/model.rs");
    let written = succeed(folder.path(), "generate rust");
    if std::env::var_os("AFIELD_BLESS").is_some_and(|value| value == "1") {
        fs::write(&app, &written).unwrap();
    }
    assert!(written == fs::read_to_string(&app).unwrap(), "bless it");
}

#[test]
fn rustfmt_has_nothing_to_change() {
    let output = std::process::Command::new("rustfmt")
        .args(["--edition", "2024", "--check"])
        .arg(committed())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", texts(&output).0);
}

#[test]
fn a_file_of_somebody_else_is_left_alone_unless_forced() {
    let folder = folder();
    let path = folder.path().join("model.rs");
    fs::write(&path, "fn mine() {}\n").unwrap();
    let refused = run(folder.path(), "generate rust --out model.rs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(texts(&refused).1.contains("model.rs was not written by"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "fn mine() {}\n");
    succeed(folder.path(), "generate rust --out model.rs --force");
    let written = fs::read_to_string(&path).unwrap();
    // Our own file is written over when the model is another, and not touched when it is not.
    let told = succeed(folder.path(), "generate rust --out model.rs");
    assert!(told.contains("already"), "{told}");
    let model = include_str!("generated/afield.toml").replace("version = 7", "version = 8");
    fs::write(folder.path().join("afield.toml"), model).unwrap();
    let check = run(folder.path(), "generate rust --out model.rs --check");
    assert_eq!(check.status.code(), Some(1));
    assert!(texts(&check).1.contains("run `afield generate rust"));
    assert_eq!(fs::read_to_string(&path).unwrap(), written);
    succeed(folder.path(), "generate rust --out model.rs");
    succeed(folder.path(), "generate rust --out model.rs --check");
    let nowhere = run(folder.path(), "generate rust --out no/such/folder.rs");
    assert!(texts(&nowhere).1.contains("no/such/folder.rs"));
    let inside = run(folder.path(), "generate rust --out .");
    assert!(
        texts(&inside).1.contains("./model.rs"),
        "{}",
        texts(&inside).1
    );
}

#[test]
fn typed_actions_write_what_they_mention_and_nothing_else() {
    let folder = folder();
    let mut store = store(&folder);
    let id = Visit::create(&mut store, &titled("Roof")).unwrap();
    let row = Visit::get(&mut store, &id).unwrap().unwrap();
    assert_eq!(row.title.as_deref(), Some("Roof"));
    assert_eq!((row.seats, row.id()), (Some(4), id.clone()));
    let patch = VisitPatch {
        title: Field::Null,
        score: f64::NAN.into(),
        done: true.into(),
        sent: "2026-11-23T10:30:00+01:00".into(),
        photo: vec![1, 2].into(),
        ..VisitPatch::default()
    };
    Visit::update(&mut store, &id, &patch).unwrap();
    let row = Visit::get(&mut store, &id).unwrap().unwrap();
    assert_eq!(
        (row.title, row.done, row.seats),
        (None, Some(true), Some(4))
    );
    assert_eq!(row.sent.as_deref(), Some("2026-11-23T09:30:00.000000Z"));
    assert_eq!(row.photo, Some(vec![1, 2]));
    assert!(row.score.unwrap().is_nan());
    let changes = store.changes().unwrap();
    let set: Vec<_> = changes[0].set.keys().map(String::as_str).collect();
    // Both edits are one group that was not sent yet; a title that is null again is mentioned.
    assert_eq!(set, ["done", "photo", "score", "seats", "sent", "title"]);
    Visit::delete(&mut store, &id).unwrap();
    assert_eq!(Visit::get(&mut store, &id).unwrap(), None);
    let missing = Visit::update(
        &mut store,
        &"0190b3a1-5c1e-7cc3-98a1-0123456789ab".into(),
        &patch,
    );
    assert_eq!(*missing.unwrap_err().code(), Code::NOT_FOUND);
}

#[test]
fn typed_actions_in_a_transaction_happen_together_or_not() {
    let folder = folder();
    let mut store = store(&folder);
    let failed = store.transaction(|tx| {
        Visit::create(tx, &titled("Lost"))?;
        Visit::delete(tx, &VisitId::from("0190b3a1-5c1e-7cc3-98a1-0123456789ab"))
    });
    assert!(failed.is_err());
    assert_eq!(Visit::query(&mut store, "", []).unwrap(), []);
    let member = store.transaction(|tx| {
        let id = Visit::create(tx, &titled("Kept"))?;
        assert_eq!(
            Visit::query(tx, "WHERE title = ?1", ["Kept".into()])?.len(),
            1
        );
        let member = NewMember {
            visit_id: id.0.into(),
            option_id: 2.into(),
        };
        Member::create(tx, &member)
    });
    let member = member.unwrap();
    assert_eq!(member.option_id, 2);
    assert!(Member::get(&mut store, &member).unwrap().is_some());
    let rows = [titled("b"), titled("a")];
    Visit::create_or_update_all(&mut store, &rows).unwrap();
    let found = Visit::query(&mut store, "ORDER BY title LIMIT 2", []).unwrap();
    let found: Vec<_> = found.into_iter().filter_map(|row| row.title).collect();
    assert_eq!(found, ["Kept", "a"]);
    assert_eq!(Visit::delete_all(&mut store, false).unwrap(), 3);
    let again: Result<MemberId, Error> = Member::create_or_update(
        &mut store,
        &NewMember {
            option_id: 2.into(),
            ..NewMember::default()
        },
    );
    let error = again.unwrap_err();
    assert_eq!(*error.code(), Code::IDENTIFIER_MISSING);
    assert_eq!(error.attribute(), Some("visit_id"));
}

#[test]
fn odd_names_are_only_odd_in_the_database() {
    let folder = folder();
    let mut store = store(&folder);
    let row = NewOrderDetailsEntity {
        order: "A".into(),
        line_no_2: 1.into(),
        line_no: "one".into(),
        r#type: "t".into(),
        self_: "me".into(),
        a_quote_and_tick: "q".into(),
        u9867_u5ba2: "kokyaku".into(),
        a_name_that_is_much_longer_than_2: "again".into(),
        ..NewOrderDetailsEntity::default()
    };
    let id = OrderDetailsEntity::create_or_update(&mut store, &row).unwrap();
    let expected = OrderDetailsEntityId {
        order: "A".into(),
        line_no_2: 1,
    };
    assert_eq!(id, expected);
    let patch = OrderDetailsEntityPatch {
        grosse_cm: 1.5.into(),
        ..OrderDetailsEntityPatch::default()
    };
    OrderDetailsEntity::update(&mut store, &id, &patch).unwrap();
    let read = OrderDetailsEntity::get(&mut store, &id).unwrap().unwrap();
    assert_eq!(read.grosse_cm, Some(1.5));
    assert_eq!(read.line_no.as_deref(), Some("one"));
    let raw = store
        .get("order details", &["A".into(), 1.into()])
        .unwrap()
        .unwrap();
    let of = |name: &str| raw.get(name).cloned().unwrap();
    assert_eq!(of("a \"quote\" and `tick`"), Value::from("q"));
    assert_eq!(of("顧客"), Value::from("kokyaku"));
    let long = raw.keys().find(|name| name.ends_with("again")).unwrap();
    assert_eq!(of(long), Value::from("again"));
    let done = NewDraft {
        done: true.into(),
        ..NewDraft::default()
    };
    Draft::create(&mut store, &done).unwrap();
    assert_eq!(Draft::query(&mut store, "WHERE done", []).unwrap().len(), 1);
}

#[test]
fn watched_rows_are_told_of_and_read_again() {
    let folder = folder();
    let mut store = store(&folder);
    let watch = Visit::watch(&mut store, "WHERE title > ?1", ["M".into()]).unwrap();
    assert_eq!(watch.rows(&mut store).unwrap(), []);
    Visit::create(&mut store, &titled("Roof")).unwrap();
    assert_eq!(watch.wait(Duration::from_secs(10)), 1);
    assert_eq!(watch.rows(&mut store).unwrap().len(), 1);
    assert!(Visit::watch(&mut store, "WHERE no_such = 1", []).is_err());
}

#[test]
fn entities_that_the_device_only_reads_have_no_writing_types() {
    let code = fs::read_to_string(committed()).unwrap();
    for absent in [
        "NewOffice",
        "OfficePatch",
        "NewOptionEntity",
        "Create for Office",
    ] {
        assert!(!code.contains(absent), "{absent}");
    }
    let patch = code.split("pub struct VisitPatch").nth(1).unwrap();
    let patch = patch.split('}').next().unwrap();
    assert!(
        !patch.contains("office") && !patch.contains("pub id"),
        "{patch}"
    );
    let folder = folder();
    let mut store = store(&folder);
    assert_eq!(Office::get(&mut store, &"N".into()).unwrap(), None);
    assert_eq!(OptionEntity::query(&mut store, "", []).unwrap(), []);
}

#[test]
fn a_cell_that_does_not_fit_and_another_model_are_told_apart() {
    let folder = folder();
    let mut store = store(&folder);
    let id = Visit::create(&mut store, &titled("Roof")).unwrap();
    let raw = Connection::open(folder.path().join("ann.afield")).unwrap();
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .unwrap();
    raw.execute("UPDATE visit SET seats = 'many'", []).unwrap();
    let error = Visit::get(&mut store, &id).unwrap_err();
    assert_eq!(*error.code(), Code::TYPE_MISMATCH);
    assert!(
        error.to_string().contains("visit.seats holds text"),
        "{error}"
    );
    let wrong = Visit::query(&mut store, "WHERE no_such = 1", []).unwrap_err();
    assert_eq!(*wrong.code(), Code::SQL);
    let path = folder.path().join("ben.afield");
    let mut other = Store::open(&path, "ben", Box::new(SystemEnvironment)).unwrap();
    let mut model = zoo::model().unwrap();
    model.entities.retain(|entity| entity.name == "visit");
    model.entities[0].attributes.pop();
    model.units.clear();
    other.install_first(&model).unwrap();
    other.create("visit", &Attributes::new()).unwrap();
    let error = Visit::query(&mut other, "", []).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the attribute `office` of `visit`"),
        "{error}"
    );
    let error = Office::query(&mut other, "", []).unwrap_err();
    assert!(error.to_string().contains("the entity `office`"), "{error}");
}

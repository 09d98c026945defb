//! The values of a team's tables as devices see them, and back.

use afield_protocol::{
    Attributes, Change, Code, Group, GroupId, Op, Pattern, Type, Value, Verdict, VerdictKind,
};
use afield_server::resolved::ServerModel;
use afield_server::storage::conformance::{Database, Replica, entity, server_model};
use afield_server::storage::{Caller, Retention};

use crate::sqlite_database::SqliteDatabase;

const UUID: &str = "0190b3a1-5c1e-7cc3-98a1-0123456789ab";
const OTHER: &str = "0190b3a1-5c1e-7cc3-98a1-0123456789ff";

fn table(attributes: &[(&str, Type)]) -> ServerModel {
    server_model(vec![entity("t", Pattern::LastWriteWins, 1, attributes)])
}

fn download(db: &SqliteDatabase) -> Vec<Vec<Value>> {
    let mut device = Replica::default();
    device.pull(db, &["t"], 1);
    device.rows("t").values().cloned().collect()
}

fn push(db: &SqliteDatabase, id: u8, op: Op, key: &Value, set: Attributes) -> VerdictKind {
    let verdict = verdict(db, id, op, key, set);
    assert!(
        verdict.values.is_empty() && verdict.key.is_none(),
        "{verdict:?}"
    );
    verdict.kind
}

fn verdict(db: &SqliteDatabase, id: u8, op: Op, key: &Value, set: Attributes) -> Verdict {
    let group = Group::new(
        GroupId([id; 16]),
        vec![Change {
            entity: "t".into(),
            op,
            key: vec![key.clone()],
            base: Attributes::new(),
            set,
        }],
    );
    let caller = Caller::user("ada");
    let outcomes = db.storage().push(db.model(), &caller, &[group]).unwrap();
    outcomes[0].verdicts[0].clone()
}

/// A table of every type whose values databases spell in their own ways, with one row.
fn own_spellings() -> SqliteDatabase {
    let mut model = table(&[
        ("id", Type::Uuid),
        ("price", Type::Decimal),
        ("made", Type::Datetime),
        ("seen", Type::Instant),
        ("day", Type::Date),
        ("done", Type::Boolean),
        ("code", Type::Text),
        ("owner", Type::Uuid),
        ("odd", Type::Integer),
    ]);
    model.entities[0].columns[1].scale = Some(2);
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id CHAR(32) PRIMARY KEY, price DECIMAL(10,2), made DATETIME,
           seen TIMESTAMP, day DATE, done BOOLEAN, code STRING, owner BLOB, odd INTEGER)",
        model,
    );
    db.execute(
        "INSERT INTO t VALUES ('0190b3a15c1e7cc398a10123456789ab', 12.5, '2024-02-29 10:00:00',
           '2024-02-29 11:00:00', '2024-02-29 00:00:00', 'true', '007',
           X'0190b3a15c1e7cc398a10123456789ff', 'n/a')",
    );
    db
}

/// A row as other programs write it, read by a device and written back: nothing changes, but
/// what the user changed, and that in the column's own spelling.
#[test]
fn p3_values_written_back_unchanged_change_nothing() {
    let db = own_spellings();
    let stored = db.query("SELECT * FROM t");
    let row = download(&db).remove(0);
    let expected: [Value; 9] = [
        UUID.into(),
        "12.50".into(),
        "2024-02-29T10:00:00.000000".into(),
        "2024-02-29T11:00:00.000000Z".into(),
        "2024-02-29".into(),
        1.into(),
        "7".into(),
        OTHER.into(),
        "n/a".into(),
    ];
    assert_eq!(row, expected);
    // The server learns a column's spelling when it starts.
    let mut db = db;
    db.restart();
    let names = ["price", "made", "seen", "day", "done", "code", "owner"];
    let all: Attributes = names
        .iter()
        .zip(&row[1..])
        .map(|(name, value)| ((*name).into(), value.clone()))
        .collect();
    assert_eq!(
        push(&db, 1, Op::Update, &row[0], all.clone()),
        VerdictKind::Applied
    );
    assert_eq!(db.query("SELECT * FROM t"), stored, "all unchanged");
    let mut some = all;
    some.insert("made".into(), "2024-03-01T10:00:00.000000".into());
    some.insert("owner".into(), UUID.into());
    assert_eq!(
        push(&db, 2, Op::Update, &row[0], some),
        VerdictKind::Applied
    );
    let now = db.query("SELECT * FROM t");
    assert_eq!(now[0][2], "2024-03-01 10:00:00".into());
    assert_eq!(now[0][7].size(), 21, "sixteen bytes");
    for at in [0, 1, 3, 4, 5, 6, 8] {
        assert_eq!(now[0][at], stored[0][at], "column {at} keeps its spelling");
    }
    assert_eq!(
        push(&db, 3, Op::Create, &OTHER.into(), Attributes::new()),
        VerdictKind::Applied
    );
    let ids = db.query("SELECT id FROM t ORDER BY id");
    assert_eq!(ids[1][0], "0190b3a15c1e7cc398a10123456789ff".into());
    assert_eq!(
        push(&db, 4, Op::Delete, &row[0], Attributes::new()),
        VerdictKind::Applied
    );
    assert_eq!(db.query("SELECT * FROM t").len(), 1);
}

/// The author of a decimal is told with how many zeros the column has it, also when that is what it
/// has already.
#[test]
fn p3_the_zeros_that_a_column_gives_a_decimal_are_told() {
    let mut model = table(&[("id", Type::Integer), ("price", Type::Decimal)]);
    model.entities[0].columns[1].scale = Some(2);
    let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, price DECIMAL(10,2))";
    let db = SqliteDatabase::with(sql, model);
    let price = |text: &str| Attributes::from([("price".into(), text.into())]);
    for (id, op, given) in [
        (1, Op::Create, "12.5"),
        (2, Op::Update, "12.5000"),
        (3, Op::Create, "12.5"),
        (4, Op::Update, "12.5"),
    ] {
        let verdict = verdict(&db, id, op, &1.into(), price(given));
        assert_eq!(verdict.kind, VerdictKind::Applied, "{given}");
        assert_eq!(verdict.values, price("12.50"), "{id}");
    }
    for too_much in ["0.001", "123456789"] {
        let verdict = verdict(
            &db,
            too_much.len() as u8,
            Op::Create,
            &2.into(),
            price(too_much),
        );
        assert_eq!(verdict.code, Some(Code::TYPE_MISMATCH), "{too_much}");
        assert_eq!(verdict.attribute.as_deref(), Some("price"));
        let message = verdict.message.unwrap();
        assert!(message.contains("10 digits, 2 of them"), "{message}");
    }
}

/// What may have been applied before was, if the row has the same number: with how many zeros the
/// column has it, its author is told.
#[test]
fn p2_a_decimal_that_is_there_with_other_zeros_was_applied_before() {
    let mut model = table(&[("id", Type::Integer), ("price", Type::Decimal)]);
    model.entities[0].columns[1].scale = Some(2);
    let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, price DECIMAL(10,2))";
    let mut db = SqliteDatabase::with(sql, model);
    let price = |text: &str| Attributes::from([("price".into(), text.into())]);
    let forget = |db: &mut SqliteDatabase, now| {
        db.execute("INSERT INTO t (id) VALUES (99); DELETE FROM t WHERE id = 99");
        db.set_time(now);
        let purged = db.storage().purge(Retention::of(1_000), &mut || true);
        purged.unwrap();
    };
    let first = verdict(&db, 1, Op::Create, &1.into(), price("12.5"));
    assert_eq!(first.kind, VerdictKind::Applied);
    for now in [2_000, 20_000] {
        forget(&mut db, now);
    }
    for (id, op, given) in [
        (1, Op::Create, "12.5"),
        (2, Op::Update, "12.5000"),
        (3, Op::Update, "12.50"),
    ] {
        let verdict = verdict(&db, id, op, &1.into(), price(given));
        assert_eq!(verdict.kind, VerdictKind::Applied, "{given}: {verdict:?}");
        let told = match given {
            "12.50" => Attributes::new(),
            _ => price("12.50"),
        };
        assert_eq!(verdict.values, told, "{given}");
    }
    let verdict = verdict(&db, 4, Op::Update, &1.into(), price("12.51"));
    assert_eq!(verdict.code, Some(Code::UNKNOWN_BEFORE));
}

/// A table of UUIDs without dashes, in a column that takes what looks like a number for one: the
/// rare UUID that does keeps its dashes.
#[test]
fn p1_a_uuid_that_looks_like_a_number_is_kept() {
    let model = table(&[("id", Type::Uuid), ("owner", Type::Uuid)]);
    let mut db = SqliteDatabase::with("CREATE TABLE t (id UUID PRIMARY KEY, owner UUID)", model);
    let bare = UUID.replace('-', "");
    db.execute(&format!("INSERT INTO t VALUES ('{bare}', '{bare}')"));
    db.restart();
    let numbers = [
        "00000000-0000-0000-0000-000000000001",
        "12345678-9012-3456-7890-1234567e1234",
        "99999999-9999-9999-9999-999999999999",
    ];
    for (n, uuid) in (1..).zip(numbers) {
        let set = Attributes::from([("owner".into(), uuid.into())]);
        let created = push(&db, n, Op::Create, &uuid.into(), set);
        assert_eq!(created, VerdictKind::Applied, "{uuid}");
    }
    let set = Attributes::from([("owner".into(), OTHER.into())]);
    push(&db, 9, Op::Update, &numbers[0].into(), set);
    let mut rows = download(&db);
    rows.sort_by_key(|row| row[0].to_string());
    let owners = [OTHER, UUID, numbers[1], numbers[2]];
    let ids = [numbers[0], UUID, numbers[1], numbers[2]];
    let mut expected: Vec<Vec<Value>> = (ids.iter().zip(owners))
        .map(|(id, owner)| vec![(*id).into(), owner.into()])
        .collect();
    expected.sort_by_key(|row| row[0].to_string());
    assert_eq!(rows, expected);
    let others = db.query("SELECT owner FROM t WHERE owner NOT LIKE '%-%'");
    assert_eq!(others.len(), 2, "the others have the table's own spelling");
}

/// One identifier that changes its spelling is one row to a device, whichever mark is newer.
#[test]
fn p5_a_uuid_that_changes_its_spelling_stays() {
    let model = table(&[("id", Type::Uuid), ("n", Type::Integer)]);
    let upper = UUID.to_uppercase();
    for sql in [
        format!("UPDATE t SET id = '{upper}'"),
        format!("INSERT INTO t VALUES ('{upper}', 2); DELETE FROM t WHERE id = '{UUID}'"),
        format!("DELETE FROM t; INSERT INTO t VALUES ('{upper}', 2)"),
    ] {
        let db = SqliteDatabase::with(
            "CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER)",
            model.clone(),
        );
        db.execute(&format!("INSERT INTO t VALUES ('{UUID}', 1)"));
        let mut device = Replica::default();
        device.pull(&db, &["t"], 10);
        db.execute(&sql);
        device.pull(&db, &["t"], 10);
        assert_eq!(device.rows("t").len(), 1, "{sql}");
        let set = Attributes::from([("n".into(), 9.into())]);
        assert_eq!(
            push(&db, 1, Op::Update, &UUID.into(), set),
            VerdictKind::Applied
        );
        db.execute("DELETE FROM t");
        device.pull(&db, &["t"], 10);
        assert!(device.rows("t").is_empty());
    }
}

/// Text that is no UTF-8, NUL, infinity, numbers in text keys: everything arrives somehow, and
/// nothing stops a download.
#[test]
fn p8_odd_cells_and_keys_hold_no_row_back() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id BLOB PRIMARY KEY, x REAL)",
        table(&[("id", Type::Text), ("x", Type::Real)]),
    );
    db.execute(
        "INSERT INTO t VALUES (CAST(X'ff' AS TEXT), 1e999), (CAST(X'fffe' AS TEXT), -1e999),
           (X'ff', 'word'), (X'00', X'01'), (7, NULL), (7.5, 0.0), (char(0) || 'a', -0.0),
           ('', 5), ('z', 9e15)",
    );
    let mut device = Replica::blind();
    device.pull(&db, &["t"], 2);
    let rows = device.rows("t").len();
    assert_eq!(rows, 8, "text and bytes of 0xff are one key to a device");
    db.execute("DELETE FROM t WHERE typeof(id) <> 'text'; UPDATE t SET x = 1");
    device.pull(&db, &["t"], 2);
    db.execute("DELETE FROM t");
    device.pull(&db, &["t"], 2);
    assert!(device.rows("t").is_empty());
}

/// A large cell travels in a frame of its own.
#[test]
fn p9_frames_stay_small() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, words TEXT)",
        table(&[("id", Type::Integer), ("words", Type::Text)]),
    );
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO t SELECT i, printf('%.*c', CASE i % 100 WHEN 7 THEN 200000 ELSE 700 END, 'x')
         FROM n",
    );
    assert_eq!(download(&db).len(), 300);
    let mut device = Replica::default();
    device.pull(&db, &["t"], 1_000);
    assert_eq!(device.rows("t").len(), 300);
    let mut by_bytes = Replica::default();
    while !by_bytes.page(&db, &["t"], 1_000, 50_000).end.complete {}
    assert_eq!(by_bytes.rows("t"), device.rows("t"));
    assert!(by_bytes.pages > 5);
}

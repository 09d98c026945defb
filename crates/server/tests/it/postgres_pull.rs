//! What pulls from PostgreSQL must cope with that no other database has: transactions that end in
//! another order than they began, tables that change under the server, values without a word.

use afield_protocol::{Code, Type, Value};
use afield_server::model::file::PostgresUrl;
use afield_server::resolved::{Hop, Lookup, ServerModel};
use afield_server::storage::conformance::{
    Database, Replica, Rows, assert_same, entity, server_model, table,
};
use afield_server::storage::postgres::PostgresStorage;
use afield_server::storage::{Caller, PullRequest, Retention, Storage};

use crate::postgres_database::PostgresDatabase;

const STOCK: [&str; 1] = ["stock"];

/// A transaction stays open while thousands come and go behind it.
#[test]
fn p5_a_transaction_that_ends_late_is_not_missed() {
    let db = PostgresDatabase::new();
    db.execute("INSERT INTO stock (id, words) SELECT n, 'w' FROM generate_series(1, 10) n");
    let mut device = Replica::default();
    device.pull(&db, &STOCK, 100);
    let mut late = db.database.connect();
    late.batch_execute("BEGIN; UPDATE stock SET words = 'late' WHERE id = 5")
        .unwrap();
    let mut later = db.database.connect();
    later
        .batch_execute("BEGIN; UPDATE stock SET words = 'later' WHERE id = 6")
        .unwrap();
    db.execute("DELETE FROM stock WHERE id = 1");
    device.pull(&db, &STOCK, 100);
    db.foreign(|client| {
        let sql = "DO $$ BEGIN FOR n IN 1..3000 LOOP \
                   INSERT INTO stock (id, words) VALUES (1000 + n % 7, n) ON CONFLICT (id) \
                   DO UPDATE SET words = excluded.words; COMMIT; END LOOP; END $$";
        client.batch_execute(sql).unwrap();
    });
    device.pull(&db, &STOCK, 100);
    let before = device.delivered;
    assert_same(&db, &device, &STOCK);
    later.batch_execute("COMMIT").unwrap();
    device.pull(&db, &STOCK, 100);
    assert_eq!(device.delivered, before + 1, "that row and no other");
    late.batch_execute("COMMIT").unwrap();
    device.pull(&db, &STOCK, 100);
    assert_eq!(device.delivered, before + 2, "that row and no other");
    device.pull(&db, &STOCK, 100);
    assert_eq!(device.delivered, before + 2);
    assert_eq!(device.resets, 0);
    assert_same(&db, &device, &STOCK);
}

/// Writers that commit in any order while a large delta is told page by page.
#[test]
fn p5_rounds_end_and_lose_nothing_while_many_write() {
    let db = PostgresDatabase::new();
    db.execute("INSERT INTO stock (id, words) SELECT n, 'w' FROM generate_series(1, 400) n");
    let mut device = Replica::default();
    device.pull(&db, &STOCK, 1_000);
    db.execute("UPDATE stock SET words = 'all'");
    let mut open: Vec<postgres::Client> = Vec::new();
    let mut rng = fastrand::Rng::with_seed(3);
    device.pull_while(&db, &STOCK, 11, |page| {
        assert!(page < 500, "the pull never ends");
        if page > 60 {
            open.drain(..)
                .for_each(|mut client| client.batch_execute("COMMIT").unwrap());
            return;
        }
        let id = rng.u32(1..400);
        let mut client = db.database.connect();
        // Each row by one of them at a time.
        let sql = format!(
            "BEGIN; UPDATE stock SET words = 'p{page}' WHERE id IN \
             (SELECT id FROM stock WHERE id BETWEEN {id} AND {id} + 3 FOR UPDATE SKIP LOCKED)"
        );
        client.batch_execute(&sql).unwrap();
        open.push(client);
        if rng.bool() {
            let at = rng.usize(..open.len());
            open.swap_remove(at).batch_execute("COMMIT").unwrap();
        }
        let sql = format!(
            "DELETE FROM stock WHERE id IN (SELECT id FROM stock WHERE id = {} \
             FOR UPDATE SKIP LOCKED)",
            rng.u32(1..400)
        );
        db.execute(&sql);
    });
    assert_same(&db, &device, &STOCK);
    open.drain(..)
        .for_each(|mut client| client.batch_execute("COMMIT").unwrap());
    device.pull(&db, &STOCK, 11);
    assert_eq!(device.resets, 0);
    assert_same(&db, &device, &STOCK);
}

/// Everything that starts a table over.
#[test]
fn p5_what_is_not_marked_row_by_row_starts_over() {
    let db = PostgresDatabase::new();
    db.execute("INSERT INTO stock (id, words) SELECT n, 'w' FROM generate_series(1, 20) n");
    let mut device = Replica::default();
    device.pull(&db, &STOCK, 100);
    let mut halfway = Replica::default();
    halfway.page(&db, &STOCK, 5, usize::MAX);
    db.execute("TRUNCATE stock; INSERT INTO stock (id) VALUES (7)");
    device.pull(&db, &STOCK, 100);
    halfway.pull(&db, &STOCK, 100);
    assert_eq!((device.resets, halfway.resets), (1, 1));
    assert_same(&db, &device, &STOCK);
    assert_same(&db, &halfway, &STOCK);
    db.execute("ALTER TABLE stock DISABLE TRIGGER USER; DELETE FROM stock");
    db.execute("ALTER TABLE stock ENABLE TRIGGER USER");
    assert_eq!(db.own().duties().unwrap().len(), 1);
    assert!(db.own().duties().unwrap().is_empty(), "once");
    device.pull(&db, &STOCK, 100);
    assert_eq!(device.resets, 2);
}

/// The team changes its tables while the server runs, with plans and connections of before.
#[test]
fn tables_change_under_the_server() {
    let db = PostgresDatabase::new();
    db.execute("INSERT INTO line SELECT n, 1, 'w' FROM generate_series(1, 9) n");
    let mut device = Replica::default();
    device.pull(&db, &["line", "stock"], 4);
    for (sql, resets) in [
        (
            "ALTER TABLE line ADD late int; ALTER TABLE line DROP late",
            0,
        ),
        ("ALTER TABLE line ALTER words TYPE varchar(50)", 0),
        ("ALTER TABLE line ALTER pos TYPE int", 0),
        (
            "ALTER TABLE line RENAME TO lane; ALTER TABLE lane RENAME TO line",
            0,
        ),
        ("REINDEX TABLE line", 0),
    ] {
        db.execute(sql);
        db.execute("UPDATE line SET words = words || 'x' WHERE visit_no < 4");
        device.pull(&db, &["line", "stock"], 4);
        assert_eq!(device.resets, resets, "{sql}");
        assert_same(&db, &device, &["line"]);
    }
    // What the model needs is gone: an error that says so, until it is back.
    db.execute("ALTER TABLE stock RENAME words TO terms");
    let message = failed(&db, "stock");
    assert!(message.contains("words"), "{message}");
    device.pull(&db, &["line"], 4);
}

fn failed(db: &PostgresDatabase, name: &str) -> String {
    let request = PullRequest {
        caller: Caller::user("ada"),
        held: Vec::new(),
        now: 1_000,
        chosen: Vec::new(),
        entities: vec![(name.to_owned(), None)],
        rows_max: 10,
        bytes_max: 1_000,
        compare: afield_server::storage::Compare::default(),
    };
    let error = db.storage().pull(&db.model, &request).unwrap_err();
    assert_eq!(error.code, Code::INTERNAL);
    error.message
}

/// A connection that somebody ended is replaced; nobody notices.
#[test]
fn connections_that_were_ended_are_replaced() {
    let db = PostgresDatabase::new();
    db.execute("INSERT INTO stock (id, words) VALUES (1, 'w')");
    let mut device = Replica::default();
    for round in 0..5 {
        db.execute(&format!("UPDATE stock SET words = 'r{round}'"));
        device.pull(&db, &STOCK, 100);
        assert_same(&db, &device, &STOCK);
        db.foreign(|client| {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
            client.query(end, &[]).unwrap();
        });
    }
    db.storage().health().unwrap();
}

/// A table for each kind of key.
const KINDS: &str = r#"
    CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('zeal', 'bad', 'good');
    CREATE DOMAIN code AS varchar(20);
    CREATE COLLATION danish (provider = icu, locale = 'da');
    CREATE SCHEMA "Sales ""x""";
    CREATE TABLE "Sales ""x"""."Größe; --" ("a'b" code COLLATE danish PRIMARY KEY, words text);
    CREATE TABLE folded (id citext PRIMARY KEY, words text);
    CREATE TABLE feeling (id mood, n smallint, words text, PRIMARY KEY (n, id));
    CREATE TABLE price (id numeric PRIMARY KEY, words text);
    CREATE TABLE pad (id char(6) PRIMARY KEY, words text);
    CREATE TABLE thing (id uuid PRIMARY KEY, words text);
    CREATE TABLE day (id date, at timestamptz, ok boolean, words text, UNIQUE (at, ok, id));
    CREATE TABLE raw (id bytea PRIMARY KEY, words text);"#;

/// Keys of every kind, in every order that their columns have.
#[test]
fn p5_keys_of_every_kind_are_pulled_in_pages_of_every_size() {
    let db = PostgresDatabase::with(KINDS, kinds());
    let names = [
        "odd", "folded", "feeling", "price", "pad", "thing", "day", "raw",
    ];
    db.execute(
        r#"INSERT INTO "Sales ""x"""."Größe; --" SELECT chr(60 + n) || n, 'w'
          FROM generate_series(1, 60) n;
        INSERT INTO folded SELECT chr(64 + n), 'w' FROM generate_series(1, 26) n;
        INSERT INTO feeling SELECT m, n, 'w'
          FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 9) n;
        INSERT INTO price SELECT n / 3.0, 'w' FROM generate_series(-9, 9) n;
        INSERT INTO price VALUES ('NaN', 'w'), ('Infinity', 'w'), (1e40, 'w'), (1e-20, 'w');
        INSERT INTO pad SELECT n, 'w' FROM generate_series(1, 20) n;
        INSERT INTO thing SELECT md5(n::text)::uuid, 'w' FROM generate_series(1, 20) n;
        INSERT INTO day SELECT '2024-01-01'::date + n % 5,
          '2024-01-01'::timestamptz + n * interval '1h', n % 2 = 0, 'w'
          FROM generate_series(1, 20) n;
        INSERT INTO day VALUES ('infinity', 'infinity', true, 'w'),
          ('0044-03-15 BC', '-infinity', true, 'w');
        INSERT INTO day VALUES (NULL, now(), true, 'nobody''s'),
          ('2024-01-01', NULL, true, 'nobody''s');
        INSERT INTO raw SELECT decode(lpad(to_hex(n), 4, '0'), 'hex'), 'w'
          FROM generate_series(0, 20) n;
        INSERT INTO raw VALUES ('', 'w')"#,
    );
    let same = |device: &Replica| {
        for name in names {
            assert_eq!(device.rows(name), &rows(&db, name), "{name} differs");
        }
    };
    for rows_max in [1, 2, 3, 7, 1_000] {
        let mut device = Replica::blind();
        device.pull(&db, &names, rows_max);
        same(&device);
        db.execute(
            "UPDATE folded SET id = upper(id::text)::citext WHERE id < 'k'; \
             UPDATE folded SET id = lower(id::text)::citext WHERE id < 'd'; \
             UPDATE folded SET words = words || 'x' WHERE id > 'x'; \
             DELETE FROM feeling WHERE n = 1; UPDATE feeling SET n = n - 1; \
             INSERT INTO feeling SELECT m, 9, 'w' FROM unnest(enum_range(NULL::mood)) m; \
             UPDATE price SET id = id * 1.000 WHERE id < 0; \
             UPDATE price SET words = 'y' WHERE id > 2; \
             UPDATE pad SET id = id || 'z' WHERE length(id) < 5; \
             UPDATE thing SET words = words || '1'; \
             UPDATE day SET words = words || '1' WHERE id = 'infinity' OR ok; \
             UPDATE raw SET words = words || '1' WHERE id < '\\x0004'",
        );
        device.pull(&db, &names, rows_max);
        assert_eq!(device.resets, 0);
        same(&device);
        let delivered = device.delivered;
        device.pull(&db, &names, rows_max);
        assert_eq!(device.delivered, delivered, "nothing twice");
    }
}

/// Rows with a whole key, which are those that can be named.
fn rows(db: &PostgresDatabase, name: &str) -> Rows {
    let rows = match name {
        "odd" => {
            let sql = r#"SELECT "a'b", words FROM "Sales ""x"""."Größe; --""#;
            let rows = db.query(sql).into_iter();
            return rows.map(|row| (key(&row[..1]), row)).collect();
        }
        name => table(db, name),
    };
    let width = db.model().entity(name).unwrap().local.key_width;
    let is_whole = |row: &Vec<Value>| row[..width].iter().all(|cell| *cell != Value::Null);
    rows.into_iter().filter(|(_, row)| is_whole(row)).collect()
}

fn key(key: &[Value]) -> Vec<u8> {
    afield_protocol::codec::cbor::write_key(key)
}

fn kinds() -> ServerModel {
    use Type::{Boolean, Bytes, Date, Decimal, Instant, Integer, Text, Uuid};
    let plain = |name, width, attributes: &[(&str, Type)]| {
        entity(
            name,
            afield_protocol::Pattern::LastWriteWins,
            width,
            attributes,
        )
    };
    let words = ("words", Text);
    let mut odd = plain("odd", 1, &[("a'b", Text), words]);
    odd.table = "\"Sales \"\"x\"\"\".Größe; --".into();
    server_model(vec![
        odd,
        plain("folded", 1, &[("id", Text), words]),
        plain("feeling", 2, &[("id", Text), ("n", Integer), words]),
        plain("price", 1, &[("id", Decimal), words]),
        plain("pad", 1, &[("id", Text), words]),
        plain("thing", 1, &[("id", Uuid), words]),
        plain(
            "day",
            3,
            &[("id", Date), ("at", Instant), ("ok", Boolean), words],
        ),
        plain("raw", 1, &[("id", Bytes), words]),
    ])
}

/// Tens of thousands of rows show one that changes; page by page, each of them once.
#[test]
fn p9_a_large_fan_out_goes_on_where_it_ended() {
    for index in ["(firm, id)", "(firm)"] {
        let sql = format!(
            "CREATE TABLE firm (id int PRIMARY KEY, name text);
             CREATE TABLE visit (id int PRIMARY KEY, firm int); CREATE INDEX ON visit {index};
             INSERT INTO firm SELECT n, 'f' FROM generate_series(1, 200) n;
             INSERT INTO visit SELECT n, 1 + n % 2 FROM generate_series(1, 30000) n;"
        );
        let own = [("id", Type::Integer), ("firm", Type::Integer)];
        let mut visit = entity("visit", afield_protocol::Pattern::LastWriteWins, 1, &own);
        let mut shown = afield_protocol::Attribute::new("name", Type::Text);
        (shown.read_only, shown.lookup) = (true, true);
        visit.local.attributes.push(shown);
        visit.lookups.push(Lookup {
            column: "firm".into(),
            path: vec![Hop {
                table: "firm".into(),
                key: "id".into(),
                column: "name".into(),
            }],
            scale: None,
        });
        let db = PostgresDatabase::with(&sql, server_model(vec![visit]));
        let mut device = Replica::blind();
        device.pull(&db, &["visit"], 5_000);
        let names = |device: &Replica, name: &str| {
            let rows = device.rows("visit").values();
            rows.filter(|row| row[2] == Value::from(name)).count()
        };
        assert_eq!(names(&device, "f"), 30_000);
        // Those that nobody shows are gone through too.
        db.execute("UPDATE firm SET name = 'g' WHERE id <> 2");
        device.pull_while(&db, &["visit"], 4_000, |page| {
            if page == 1 {
                db.execute(
                    "UPDATE visit SET firm = 1 WHERE id = 2; DELETE FROM visit WHERE id = 29999",
                );
            }
            assert!(page < 20, "the pull never ends");
        });
        assert_eq!(
            (names(&device, "g"), names(&device, "f")),
            (15_000, 14_999),
            "{index}"
        );
        assert!(
            device.delivered <= 30_000 + 15_000 + 4,
            "{}",
            device.delivered
        );
        assert_eq!(device.resets, 0);
    }
}

/// Nothing that a server does takes more than the rights of the tables' owner.
#[test]
fn an_owner_who_is_no_superuser_can_serve() {
    let made = crate::postgres_support::database(&crate::postgres_database::tables());
    let model = afield_server::storage::conformance::model();
    crate::postgres_support::prepared(&made, &model);
    let url = crate::postgres_support::url(&made, "owner");
    let url = PostgresUrl::parse(&url, std::path::Path::new("")).unwrap();
    let storage = PostgresStorage::open(&url, &model).unwrap();
    made.execute("INSERT INTO stock (words) VALUES ('w')");
    let request = PullRequest {
        caller: Caller::user("ada"),
        held: Vec::new(),
        now: 1_000,
        chosen: Vec::new(),
        entities: vec![("stock".to_owned(), None), ("area_task".to_owned(), None)],
        rows_max: 10,
        bytes_max: 1_000,
        compare: afield_server::storage::Compare::default(),
    };
    assert!(storage.pull(&model, &request).unwrap().end.complete);
    assert!(storage.duties().unwrap().is_empty());
    let purged = storage.purge(Retention::of(1_000), &mut || true).unwrap();
    assert!(!purged.is_clock_behind);
    assert!(storage.knows(&storage.checkpoint()).unwrap());
    storage.health().unwrap();
}

/// The end of a page is not waited for, and it comes all the same: whoever changes a table next
/// waits for no pull that is over.
#[test]
fn a_pull_that_is_over_holds_nothing() {
    let db = PostgresDatabase::new();
    db.execute("INSERT INTO stock (id, words) VALUES (1, 'w')");
    let mut device = Replica::default();
    for round in 0..5 {
        device.pull(&db, &STOCK, 100);
        db.foreign(|client| {
            client.batch_execute("SET lock_timeout = '10s'").unwrap();
            let add = format!("ALTER TABLE stock ADD COLUMN more_{round} integer");
            client.batch_execute(&add).unwrap();
        });
    }
    assert_same(&db, &device, &STOCK);
}

/// Many requests share few connections, and wait for each other.
#[test]
fn p9_no_more_connections_are_open_than_may_be() {
    const MOST: usize = 2;
    let db = PostgresDatabase::new();
    db.execute("INSERT INTO stock (words) SELECT 'w' FROM generate_series(1, 100)");
    let storage = PostgresStorage::open_with(&db.url(), &db.model, MOST).unwrap();
    let request = |user: usize| PullRequest {
        caller: Caller::user(format!("u{user}")),
        held: Vec::new(),
        now: 1_000,
        chosen: Vec::new(),
        entities: vec![("stock".to_owned(), None)],
        rows_max: 1_000,
        bytes_max: 100_000,
        compare: afield_server::storage::Compare::default(),
    };
    let others = |client: &mut postgres::Client| {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND pid <> pg_backend_pid()";
        client.query_one(sql, &[]).unwrap().get::<_, i64>(0)
    };
    let before = db.foreign(others);
    let seen = std::thread::scope(|scope| {
        for user in 0..12 {
            let (storage, model) = (&storage, &db.model);
            scope.spawn(move || {
                for _ in 0..20 {
                    let page = storage.pull(model, &request(user)).unwrap();
                    assert!(page.end.complete);
                }
            });
        }
        db.foreign(|client| (0..50).map(|_| others(client)).max())
    });
    let most = before + i64::try_from(MOST).unwrap() - 1;
    assert!(seen.unwrap() <= most, "{seen:?} of {most}, {before} before");
}

//! `afield prepare` on PostgreSQL: what it makes, leaves and refuses, and with which rights.

use std::sync::mpsc;

use afield_protocol::Type;
use afield_server::resolved::{Holds, Hop, Lookup, NamedScope, Scope, ServerModel};
use afield_server::storage::postgres::{SCHEMA_VERSION, TABLES_SQL, check};
use afield_testbed::postgres::{Cluster, Database};

use crate::postgres_support::{
    by_columns, connect, database, made, model_of, plan_url, prepare_url, remove_url, run, texts,
    url,
};

const TEAM: &str = r#"
    CREATE TABLE company (id int PRIMARY KEY, name text, city varchar(40));
    CREATE TABLE member (user_id text, region text);
    CREATE VIEW membership AS SELECT * FROM member WHERE user_id IS NOT NULL;
    CREATE TABLE visit (
      id uuid PRIMARY KEY, company_id int REFERENCES company, region text, note text
    );
    CREATE SCHEMA "Sales ""x""";
    CREATE TABLE "Sales ""x"""."Größe; --" (
      "select" int, "a b" text, "Wert'" numeric, PRIMARY KEY ("select", "a b")
    );
    CREATE TABLE log (id bigint, day date, words text, PRIMARY KEY (id, day))
      PARTITION BY RANGE (day);
    CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
      PARTITION BY RANGE (day);
    CREATE TABLE log_1_1 PARTITION OF log_1 FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
    CREATE FUNCTION corn() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER afield_of_dreams AFTER INSERT ON company FOR EACH ROW EXECUTE FUNCTION corn();
"#;

fn model() -> ServerModel {
    let mut visit = made(
        "visit",
        1,
        &[
            ("id", Type::Uuid),
            ("company_id", Type::Integer),
            ("region", Type::Text),
            ("note", Type::Text),
        ],
    );
    visit.scope = by_columns(&["region"]);
    if let Scope::Ways(ways) = &mut visit.scope {
        ways[0][0].holds = Holds::Scope("regions".into());
    }
    visit.lookups.push(Lookup {
        column: "company_id".into(),
        path: vec![Hop {
            table: "company".into(),
            key: "id".into(),
            column: "city".into(),
        }],
        scale: None,
    });
    let company = made("company", 1, &[("id", Type::Integer), ("name", Type::Text)]);
    let mut odd = made(
        "odd",
        2,
        &[
            ("select", Type::Integer),
            ("a b", Type::Text),
            ("Wert'", Type::Decimal),
        ],
    );
    odd.table = "\"Sales \"\"x\"\"\".Größe; --".into();
    let log = made(
        "log",
        2,
        &[
            ("id", Type::Integer),
            ("day", Type::Date),
            ("words", Type::Text),
        ],
    );
    let mut model =
        afield_server::storage::conformance::server_model(vec![company, visit, odd, log]);
    model.scopes.push(NamedScope {
        name: "regions".into(),
        query: "SELECT region FROM membership WHERE user_id = :user -- :user".into(),
        chosen: None,
    });
    model
}

/// Every row of the catalogs that `prepare` could write to. A table that once had a trigger keeps a
/// note that it may have some (`relhastriggers`) until it is vacuumed.
fn catalog(database: &Database) -> Vec<String> {
    let sql = "
        SELECT concat('n ', nspname, nspacl) FROM pg_namespace
          WHERE nspname !~ '^pg_(toast_)?temp'
        UNION ALL SELECT concat('c ', oid, relname, relkind, relacl) FROM pg_class
          WHERE relnamespace <> 'pg_toast'::regnamespace
        UNION ALL SELECT concat('a ', attrelid, attname, atttypid) FROM pg_attribute
          WHERE attrelid >= 16384 AND attrelid NOT IN
            (SELECT oid FROM pg_class WHERE relnamespace = 'pg_toast'::regnamespace)
        UNION ALL SELECT concat('t ', oid, tgname, tgenabled) FROM pg_trigger
        UNION ALL SELECT concat('p ', oid, proname, proowner) FROM pg_proc
        UNION ALL SELECT concat('y ', oid, typname) FROM pg_type
        UNION ALL SELECT concat('d ', objoid, description) FROM pg_description WHERE objoid >= 16384
        UNION ALL SELECT concat('o ', conname, conrelid) FROM pg_constraint
        UNION ALL SELECT concat('s ', setdatabase, setrole, setconfig) FROM pg_db_role_setting
        ORDER BY 1";
    texts(database, sql)
}

#[test]
fn remove_leaves_nothing_behind() {
    let database = database(TEAM);
    let owner = url(&database, "owner");
    assert!(remove_url(&owner).unwrap().is_empty());
    let before = catalog(&database);
    prepare_url(&owner, &model()).unwrap();
    assert_ne!(catalog(&database), before);
    database.execute("INSERT INTO company VALUES (1, 'a', 'b'); DELETE FROM company");
    remove_url(&owner).unwrap();
    similar(&before, &catalog(&database));
    let error = run(async { check(&mut connect(&owner).await, &model()).await }).unwrap_err();
    assert!(error.message.contains("run `afield prepare`"), "{error}");
}

/// A database of version 1, which noted no refused changes: it says what to do, and is upgraded.
#[test]
fn p6_bookkeeping_without_an_inbox_is_upgraded() {
    let database = database(TEAM);
    let owner = url(&database, "owner");
    prepare_url(&owner, &model()).unwrap();
    let whole = catalog(&database).len();
    database.execute(
        "DROP TABLE afield.device_log; DROP TABLE afield.inbox; \
         DROP TABLE afield.inbox_group; UPDATE afield.node SET schema_version = 1",
    );
    let error = run(async { check(&mut connect(&owner).await, &model()).await }).unwrap_err();
    assert!(error.message.contains("run `afield prepare`"), "{error}");
    prepare_url(&owner, &model()).unwrap();
    assert_eq!(catalog(&database).len(), whole);
    run(async { check(&mut connect(&owner).await, &model()).await }).unwrap();
    assert!(plan_url(&owner, &model()).unwrap().is_empty());
}

/// A database of version 2, which kept no logs of devices.
#[test]
fn bookkeeping_without_logs_is_upgraded() {
    let database = database(TEAM);
    let owner = url(&database, "owner");
    prepare_url(&owner, &model()).unwrap();
    let whole = catalog(&database).len();
    let sql = "DROP TABLE afield.device_log; UPDATE afield.node SET schema_version = 2";
    database.execute(sql);
    let error = run(async { check(&mut connect(&owner).await, &model()).await }).unwrap_err();
    assert!(error.message.contains("run `afield prepare`"), "{error}");
    prepare_url(&owner, &model()).unwrap();
    assert_eq!(catalog(&database).len(), whole);
    run(async { check(&mut connect(&owner).await, &model()).await }).unwrap();
    assert!(plan_url(&owner, &model()).unwrap().is_empty());
}

fn similar(one: &[String], other: &[String]) {
    let more = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|l| !other.contains(l)).cloned().collect()
    };
    assert_eq!(
        (more(one, other), more(other, one)),
        (Vec::new(), Vec::new())
    );
}

#[test]
fn a_plan_changes_nothing_and_says_what_is_run_and_twice_is_as_good_as_once() {
    let database = database(TEAM);
    let owner = url(&database, "owner");
    let before = catalog(&database);
    let planned = plan_url(&owner, &model()).unwrap();
    assert_eq!(catalog(&database), before);
    assert!(planned.iter().all(|statement| !statement.reason.is_empty()));
    let report = prepare_url(&owner, &model()).unwrap();
    assert_eq!(report.statements, planned);
    assert_eq!(
        report.tables,
        [
            "public.company",
            "public.visit",
            "Sales \"x\".Größe; --",
            "public.log",
            "public.company",
            "public.member",
        ]
    );
    let once = catalog(&database);
    assert_eq!(prepare_url(&owner, &model()).unwrap().statements, []);
    assert_eq!(catalog(&database), once);
    run(async { check(&mut connect(&owner).await, &model()).await }).unwrap();

    // What a person copies from a dry run does the same.
    let other = crate::postgres_support::database(TEAM);
    for statement in &planned {
        let mut client = ::postgres::Client::connect(&url(&other, "owner"), ::postgres::NoTls);
        let done = client.as_mut().unwrap().batch_execute(&statement.sql);
        done.unwrap_or_else(|error| panic!("{}: {error:?}", statement.sql));
    }
    let by_hand = url(&other, "owner");
    assert_eq!(plan_url(&by_hand, &model()).unwrap(), []);
}

#[test]
fn everything_of_ours_is_documented() {
    let database = database(TEAM);
    prepare_url(&url(&database, "owner"), &model()).unwrap();
    let sql = "
        SELECT c.relname || '.' || a.attname FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'afield'::regnamespace AND c.relkind = 'r'
          AND col_description(c.oid, a.attnum) IS NULL
        UNION ALL SELECT relname::text FROM pg_class
        WHERE relnamespace = 'afield'::regnamespace AND relkind = 'r'
          AND obj_description(oid, 'pg_class') IS NULL";
    assert_eq!(texts(&database, sql), Vec::<String>::new());
    let sql = "SELECT col_description('afield.mark_3'::regclass, 2)";
    assert_eq!(texts(&database, sql), ["Value of \"a b\" in the row"]);
    let version = format!("SELECT {SCHEMA_VERSION}, ");
    assert!(TABLES_SQL.contains(&version.replace(", ", ",")));
}

#[test]
fn rights_are_an_owners_and_named_where_they_are_missing() {
    let database = database("CREATE TABLE item (id int PRIMARY KEY, name text)");
    let model = model_of("item", 1, &[("id", Type::Integer), ("name", Type::Text)]);
    let error = prepare_url(&url(&database, "other"), &model).unwrap_err();
    assert!(
        error.message.contains("`public.item` belongs to `owner`"),
        "{error}"
    );
    database.execute(&format!(
        "REVOKE CREATE ON DATABASE {} FROM owner",
        database.name
    ));
    let error = prepare_url(&url(&database, "owner"), &model).unwrap_err();
    let right = format!("GRANT CREATE ON DATABASE {} TO owner", database.name);
    assert!(error.message.contains(&right), "{error}");
    database.execute(&format!(
        "GRANT CREATE ON DATABASE {} TO owner",
        database.name
    ));
    prepare_url(&url(&database, "owner"), &model).unwrap();

    // The app writes without any right on the schema, and can neither read marks nor make them.
    let mut app = ::postgres::Client::connect(&url(&database, "app"), ::postgres::NoTls).unwrap();
    app.batch_execute(
        "INSERT INTO item VALUES (1, 'a'); UPDATE item SET name = 'b'; TRUNCATE item",
    )
    .unwrap();
    assert_eq!(
        texts(&database, "SELECT key1::text FROM afield.mark_1"),
        ["1"]
    );
    // Not even where somebody has opened the schema to all.
    database.execute("GRANT USAGE ON SCHEMA afield TO PUBLIC");
    for forbidden in [
        "SELECT * FROM afield.mark_1",
        "INSERT INTO afield.mark_1 VALUES (1, '1')",
        "CREATE TEMP TABLE t (id int, name text); CREATE TRIGGER t AFTER INSERT ON t \
         REFERENCING NEW TABLE AS afield_new EXECUTE FUNCTION afield.statement_1()",
    ] {
        let error = app.batch_execute(forbidden).unwrap_err();
        assert_eq!(
            error.code().map(|code| code.code()),
            Some("42501"),
            "{forbidden}"
        );
    }
}

#[test]
fn what_cannot_be_captured_is_refused_with_a_remedy() {
    let database = database(
        "CREATE TABLE nokey (id int, name text);
         CREATE TABLE item (id int PRIMARY KEY, name text);
         CREATE VIEW v AS SELECT * FROM item;
         CREATE MATERIALIZED VIEW m AS SELECT * FROM item;
         CREATE UNLOGGED TABLE fast (id int PRIMARY KEY, name text);
         CREATE TABLE parent (id int PRIMARY KEY, name text);
         CREATE TABLE heir () INHERITS (parent);
         CREATE TABLE whole (id int PRIMARY KEY, name text) PARTITION BY LIST (id);
         CREATE TABLE part PARTITION OF whole DEFAULT;
         CREATE TYPE pair AS (a int, b int);
         CREATE TABLE odd (id pair PRIMARY KEY, name text);
         RESET ROLE;
         CREATE EXTENSION postgres_fdw;
         CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw;
         CREATE FOREIGN TABLE far (id int, name text) SERVER away",
    );
    for (table, expected) in [
        ("nokey", "give the table a primary key"),
        ("v", "is a view"),
        ("m", "is a materialized view"),
        ("fast", "SET LOGGED"),
        ("parent", "inherit from it"),
        ("part", "take the partitioned table"),
        ("far", "is a foreign table"),
        ("odd", "`pair`"),
        ("missing", "no table `missing`"),
    ] {
        let model = model_of(table, 1, &[("id", Type::Integer), ("name", Type::Text)]);
        let error = prepare_url(&url(&database, "owner"), &model).unwrap_err();
        assert!(error.message.contains(expected), "{table}: {error}");
    }
    assert_eq!(
        texts(
            &database,
            "SELECT nspname::text FROM pg_namespace WHERE nspname = 'afield'"
        )
        .len(),
        0
    );
    database.execute("CREATE SCHEMA afield");
    let model = model_of("item", 1, &[("id", Type::Integer)]);
    let error = prepare_url(&url(&database, "owner"), &model).unwrap_err();
    assert!(error.message.contains("not Afield's"), "{error}");
}

#[test]
fn a_transaction_that_stays_open_is_named_and_nothing_is_changed() {
    let database = database(
        "CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE \"Busy one\" (id int PRIMARY KEY)",
    );
    let before = catalog(&database);
    let mut open = database.connect();
    open.batch_execute(
        "SET application_name = 'night run'; BEGIN; INSERT INTO \"Busy one\" VALUES (1)",
    )
    .unwrap();
    let item = made("item", 1, &[("id", Type::Integer)]);
    let busy = made("Busy one", 1, &[("id", Type::Integer)]);
    let model = afield_server::storage::conformance::server_model(vec![item, busy]);
    let error = prepare_url(&url(&database, "owner"), &model).unwrap_err();
    assert!(
        error.message.contains("\"public\".\"Busy one\" is held by"),
        "{error}"
    );
    assert!(error.message.contains("(process "), "{error}");
    assert!(error.is_retryable);
    assert_eq!(catalog(&database), before);
    open.batch_execute("COMMIT").unwrap();
    prepare_url(&url(&database, "owner"), &model).unwrap();
}

#[test]
fn two_preparations_at_once_end_as_one() {
    let database = database(TEAM);
    let (send, receive) = mpsc::channel();
    for _ in 0..4 {
        let (send, owner) = (send.clone(), url(&database, "owner"));
        std::thread::spawn(move || send.send(prepare_url(&owner, &model())));
    }
    let mut made = 0;
    for _ in 0..4 {
        let report = receive.recv().unwrap().unwrap();
        made += usize::from(!report.statements.is_empty());
    }
    assert_eq!(made, 1);
}

#[test]
fn an_earlier_version_is_brought_up_to_date_and_a_later_one_left_alone() {
    let database = database(TEAM);
    let owner = url(&database, "owner");
    prepare_url(&owner, &model()).unwrap();
    database.execute("INSERT INTO company VALUES (1, 'a', 'b')");
    let incarnation = texts(&database, "SELECT incarnation::text FROM afield.node");
    // As an earlier version would have it: another number, another function, another trigger.
    database.execute(
        "UPDATE afield.node SET schema_version = 0;
         DROP TABLE afield.device_log;
         DROP TABLE afield.inbox; DROP TABLE afield.inbox_group;
         UPDATE afield.capture SET definition = 'earlier' WHERE id = 2;
         CREATE OR REPLACE FUNCTION afield.fingerprint(c afield.capture) RETURNS text[]
           LANGUAGE sql AS 'SELECT NULL::text[]'",
    );
    let checked =
        |model: &ServerModel| run(async { check(&mut connect(&owner).await, model).await });
    let error = checked(&model()).unwrap_err();
    assert!(error.message.contains("earlier version"), "{error}");
    let report = prepare_url(&owner, &model()).unwrap();
    assert!(!report.statements.is_empty());
    checked(&model()).unwrap();
    assert_eq!(plan_url(&owner, &model()).unwrap(), []);
    assert_eq!(
        texts(&database, "SELECT incarnation::text FROM afield.node"),
        incarnation
    );
    // The capture that was as it should be kept its marks; the other one begins anew.
    assert_eq!(
        texts(&database, "SELECT key1::text FROM afield.mark_1"),
        ["1"]
    );
    let resets = "SELECT string_agg(capture::text, ' ' ORDER BY xid, capture) FROM afield.reset";
    assert_eq!(texts(&database, resets), ["1 2 3 4 5 6 2"]);

    database.execute("UPDATE afield.node SET schema_version = 1000");
    for error in [
        checked(&model()).unwrap_err(),
        prepare_url(&owner, &model()).unwrap_err(),
    ] {
        assert!(error.message.contains("later version"), "{error}");
    }
}

#[test]
fn a_model_that_lost_a_table_takes_its_capture_away() {
    let database = database(TEAM);
    let owner = url(&database, "owner");
    prepare_url(&owner, &model()).unwrap();
    let less = model_of("company", 1, &[("id", Type::Integer), ("name", Type::Text)]);
    prepare_url(&owner, &less).unwrap();
    let left = "SELECT DISTINCT t.tgrelid::regclass::text FROM pg_trigger t JOIN pg_proc p
                ON p.oid = t.tgfoid WHERE p.pronamespace = 'afield'::regnamespace";
    assert_eq!(texts(&database, left), ["company"]);
    assert_eq!(
        texts(&database, "SELECT id::text FROM afield.capture"),
        ["1"]
    );
    prepare_url(&owner, &model()).unwrap();
    // Numbers are not used twice.
    let ids = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM afield.capture";
    assert_eq!(texts(&database, ids), ["1 7 8 9 10 11"]);
}

#[test]
fn a_restored_dump_is_known_as_a_copy() {
    let database = database(TEAM);
    let owner = url(&database, "owner");
    prepare_url(&owner, &model()).unwrap();
    database.execute("INSERT INTO company VALUES (1, 'a', 'b')");
    let copy = format!("copy_of_{}", database.name);
    let create = format!("CREATE DATABASE {copy} TEMPLATE {}", database.name);
    Cluster::shared().database("SELECT 1").execute(&create);
    let copied = owner.replace(&database.name, &copy);
    let checked = |url: &str| run(async { check(&mut connect(url).await, &model()).await });
    checked(&owner).unwrap();
    let error = checked(&copied).unwrap_err();
    assert!(error.message.contains("is a copy"), "{error}");
    prepare_url(&copied, &model()).unwrap();
    checked(&copied).unwrap();
}

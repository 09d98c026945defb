//! What a prepared database is asked now and then: the check of the capture, the beacon, and what
//! is forgotten.

use std::time::Duration;

use afield_protocol::Type;
use afield_server::resolved::ServerModel;
use afield_server::storage::postgres::{
    Snapshot, beacon, check, check_capture, plan, prepare, purge, touched,
};
use afield_testbed::postgres::Database;
use tokio_postgres::Client;

use crate::postgres_support::{
    apart, by_columns, capture_of, connect, database, execute, model_of, prepared, run, texts, url,
};

const TABLES: &str = "
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE item (id int PRIMARY KEY, mood mood, name varchar(20), other int);
    CREATE TABLE log (id int, day int, name text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (10);
    CREATE TABLE log_2 (id int NOT NULL, day int NOT NULL, name text);
    INSERT INTO item VALUES (1, 'good', 'a'); INSERT INTO log VALUES (1, 1);
    INSERT INTO log_2 VALUES (2, 12)";

fn item() -> ServerModel {
    let mut model = model_of("item", 1, &[("id", Type::Integer), ("name", Type::Text)]);
    model.entities[0].scope = by_columns(&["mood"]);
    model
}

fn log() -> ServerModel {
    let day = ("day", Type::Integer);
    model_of(
        "log",
        2,
        &[("id", Type::Integer), day, ("name", Type::Text)],
    )
}

/// What happened to a capture, whether the check should note a reset, and whether the capture fits
/// afterwards.
type Case = (&'static str, bool, bool);

fn checks(model: &ServerModel, cases: &[Case]) {
    for (sql, is_reset, fits) in cases {
        let database = database(TABLES);
        prepared(&database, model);
        let old: Snapshot = texts(&database, "SELECT pg_current_snapshot()::text")[0]
            .parse()
            .unwrap();
        run(async {
            let mut client = connect(&url(&database, "owner")).await;
            let table = format!("public.{}", model.entities[0].table);
            let capture = capture_of(&client, &table).await;
            assert_eq!(check_capture(&client).await.unwrap(), [], "{sql}");
            database_execute(&database, sql);
            let changed = check_capture(&client).await.unwrap();
            assert_eq!(!changed.is_empty(), *is_reset, "{sql}: {changed:?}");
            assert_eq!(check_capture(&client).await.unwrap(), [], "{sql}: once");
            if *is_reset {
                let found = touched(&client, &capture, &old, None).await.unwrap();
                assert!(found.is_reset, "{sql}");
                let found = touched(&client, &capture, &found.snapshot, None)
                    .await
                    .unwrap();
                assert!(!found.is_reset, "{sql}");
            }
            let checked = check(&mut client, model).await;
            assert_eq!(checked.is_ok(), *fits, "{sql}: {checked:?}");
            prepare(&mut client, model).await.unwrap();
            check(&mut client, model).await.unwrap();
            assert_eq!(plan(&mut client, model).await.unwrap(), [], "{sql}");
            assert_eq!(check_capture(&client).await.unwrap(), [], "{sql}: prepared");
        });
    }
}

/// Each statement by itself: some cannot share a transaction.
fn database_execute(database: &Database, sql: &str) {
    for statement in sql.split("; ") {
        let role = match statement.starts_with("VACUUM") {
            true => "RESET ROLE",
            false => "SET ROLE owner",
        };
        let mut client = apart(|| database.connect());
        apart(move || {
            client.batch_execute(role).unwrap();
            let done = client.batch_execute(statement);
            done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        });
    }
}

/// What is done to a table, whether it is a reset, and whether the capture fits afterwards.
const CHANGES: &[Case] = &[
    (
        "INSERT INTO item VALUES (2, 'bad', 'b'); ANALYZE item; VACUUM item",
        false,
        true,
    ),
    (
        "ALTER TABLE item ADD late int; ALTER TABLE item DROP other",
        false,
        true,
    ),
    (
        "ALTER TABLE item ALTER name SET NOT NULL; CREATE INDEX ON item (name)",
        false,
        true,
    ),
    (
        "ALTER TABLE item RENAME TO thing; ALTER TABLE thing RENAME TO item",
        false,
        true,
    ),
    ("VACUUM FULL pg_trigger; VACUUM FULL pg_proc", false, true),
    (
        "ALTER TABLE item DISABLE TRIGGER afield_1_insert",
        true,
        false,
    ),
    (
        "ALTER TABLE item DISABLE TRIGGER ALL; INSERT INTO item VALUES (2); \
              ALTER TABLE item ENABLE TRIGGER ALL",
        true,
        false,
    ),
    (
        "ALTER TABLE item DISABLE TRIGGER afield_1_row; \
              ALTER TABLE item ENABLE REPLICA TRIGGER afield_1_row",
        true,
        true,
    ),
    ("DROP TRIGGER afield_1_delete ON item", true, false),
    (
        "CREATE OR REPLACE FUNCTION afield.statement_1() RETURNS trigger LANGUAGE plpgsql \
              AS 'BEGIN RETURN NULL;END'",
        true,
        false,
    ),
    ("VACUUM FULL item", true, true),
    ("ALTER TABLE item ALTER name TYPE text", true, true),
    ("ALTER TABLE item ALTER id TYPE bigint", true, true),
    ("ALTER TABLE item ALTER id TYPE numeric", true, false),
    (
        "ALTER TABLE item ALTER name TYPE text USING upper(name)",
        true,
        true,
    ),
    (
        "ALTER TABLE item RENAME name TO n; ALTER TABLE item ADD name text",
        true,
        true,
    ),
    (
        "ALTER TABLE item DROP name; ALTER TABLE item ADD name text",
        true,
        true,
    ),
    ("ALTER TYPE mood RENAME VALUE 'bad' TO 'worse'", true, true),
    (
        "DROP TABLE item; CREATE TABLE item (id int PRIMARY KEY, mood mood, name text); \
              ALTER TABLE item OWNER TO owner",
        true,
        false,
    ),
];

#[test]
fn a_hole_in_the_capture_of_a_table_is_a_reset() {
    checks(&item(), CHANGES);
}

#[test]
fn a_partition_that_comes_with_rows_or_goes_is_a_reset_and_an_empty_one_is_nothing() {
    checks(
        &log(),
        &[
            (
                "CREATE TABLE log_3 PARTITION OF log FOR VALUES FROM (20) TO (30)",
                false,
                true,
            ),
            (
                "CREATE TABLE log_3 PARTITION OF log FOR VALUES FROM (20) TO (30) \
              PARTITION BY RANGE (id)",
                false,
                true,
            ),
            (
                "ALTER TABLE log ATTACH PARTITION log_2 FOR VALUES FROM (10) TO (20)",
                true,
                true,
            ),
            (
                "DELETE FROM log_2; VACUUM log_2; \
              ALTER TABLE log ATTACH PARTITION log_2 FOR VALUES FROM (10) TO (20)",
                false,
                true,
            ),
            ("ALTER TABLE log DETACH PARTITION log_1", true, true),
            ("DROP TABLE log_1", true, true),
            (
                "ALTER TABLE log_1 DISABLE TRIGGER afield_1_row",
                true,
                false,
            ),
        ],
    );
    // A new partition that is emptied before it has a trigger for that.
    let new = "CREATE TABLE log_3 PARTITION OF log FOR VALUES FROM (20) TO (30)";
    let database = database(TABLES);
    prepared(&database, &log());
    run(async {
        let client = connect(&url(&database, "owner")).await;
        execute(&database, new);
        assert_eq!(check_capture(&client).await.unwrap(), []);
        execute(&database, "INSERT INTO log VALUES (1, 25)");
        assert_eq!(check_capture(&client).await.unwrap(), []);
        execute(&database, "TRUNCATE log_3");
        assert_eq!(check_capture(&client).await.unwrap().len(), 1);
    });
}

#[test]
fn a_restore_of_the_data_alone_is_a_reset() {
    // What `pg_restore --data-only --disable-triggers` runs.
    let sql = "ALTER TABLE item DISABLE TRIGGER ALL; INSERT INTO item VALUES (7); \
               ALTER TABLE item ENABLE TRIGGER ALL";
    let database = database(TABLES);
    prepared(&database, &item());
    run(async {
        let mut client = connect(&url(&database, "owner")).await;
        let capture = capture_of(&client, "public.item").await;
        let since = touched(&client, &capture, &"3:3:".parse().unwrap(), None)
            .await
            .unwrap();
        database_execute(&database, sql);
        // A device that pulls before anybody looked has missed the row, and makes up for it.
        let blind = touched(&client, &capture, &since.snapshot, None)
            .await
            .unwrap();
        assert_eq!((blind.is_reset, blind.keys.len()), (false, 0));
        check_capture(&client).await.unwrap();
        let found = touched(&client, &capture, &blind.snapshot, None)
            .await
            .unwrap();
        assert!(found.is_reset);
        // All triggers are in one mode now: replica mode is not captured any more.
        assert!(check(&mut client, &item()).await.is_err());
    });
}

#[test]
fn several_servers_may_check_at_once_and_one_reset_is_noted() {
    let database = database(TABLES);
    prepared(&database, &item());
    execute(&database, "VACUUM FULL item");
    run(async {
        let owner = url(&database, "owner");
        let (one, two) = (connect(&owner).await, connect(&owner).await);
        one.batch_execute("BEGIN").await.unwrap();
        assert_eq!(check_capture(&one).await.unwrap().len(), 1);
        let (second, committed) = tokio::join!(check_capture(&two), one.batch_execute("COMMIT"));
        committed.unwrap();
        assert_eq!(second.unwrap(), []);
    });
    assert_eq!(
        texts(&database, "SELECT count(*)::text FROM afield.reset"),
        ["2"]
    );
}

/// Other tests have transactions open, in databases of their own on the same server: waits until
/// none of them is older than the newest mark.
async fn until_seen_by_all(database: &Database, client: &Client) {
    let written = texts(database, "SELECT max(xid)::text FROM afield.mark_1").remove(0);
    let written: u64 = written.parse().unwrap();
    loop {
        let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text";
        let xmin: String = client.query_one(sql, &[]).await.unwrap().get(0);
        if xmin.parse::<u64>().unwrap() > written {
            return;
        }
    }
}

#[test]
fn marks_older_than_every_checkpoint_that_is_kept_are_forgotten() {
    let database = database("CREATE TABLE item (id int PRIMARY KEY, name text)");
    let model = model_of("item", 1, &[("id", Type::Integer), ("name", Type::Text)]);
    prepared(&database, &model);
    run(async {
        let mut client = connect(&url(&database, "owner")).await;
        let capture = capture_of(&client, "public.item").await;
        let none = "3:3:".parse().unwrap();
        let old = touched(&client, &capture, &none, None)
            .await
            .unwrap()
            .snapshot;
        let mut always = || true;
        let forgotten = purge(&mut client, Duration::ZERO, &mut always)
            .await
            .unwrap();
        assert_eq!((forgotten.marks, forgotten.horizon), (0, None));

        execute(
            &database,
            "INSERT INTO item SELECT i FROM generate_series(1, 20000) i",
        );
        until_seen_by_all(&database, &client).await;
        // A transaction that was open at the beacon: what it marks may be asked for later, and
        // nobody waits for it.
        let open = connect(&database.url).await;
        open.batch_execute("BEGIN; UPDATE item SET name = 'open' WHERE id <= 10")
            .await
            .unwrap();
        beacon(&client).await.unwrap();
        let held = touched(&client, &capture, &none, None)
            .await
            .unwrap()
            .snapshot;
        execute(&database, "UPDATE item SET name = 'new' WHERE id = 20000");
        let stopped = purge(&mut client, Duration::ZERO, &mut || false)
            .await
            .unwrap();
        assert_eq!(stopped.marks, 0);
        let hour = Duration::from_secs(3_600);
        assert_eq!(
            purge(&mut client, hour, &mut always).await.unwrap().marks,
            0
        );
        let (mut batches, before) = (0, "SELECT count(*)::text FROM afield.mark_1");
        let mut counted = || {
            batches += 1;
            true
        };
        let forgotten = purge(&mut client, Duration::ZERO, &mut counted)
            .await
            .unwrap();
        assert!(batches > 1, "{batches}");
        assert_eq!(forgotten.marks, 19_989);
        assert_eq!(texts(&database, before), ["11"]);
        open.batch_execute("COMMIT").await.unwrap();

        assert!(
            touched(&client, &capture, &old, None)
                .await
                .unwrap()
                .is_forgotten
        );
        let found = touched(&client, &capture, &held, None).await.unwrap();
        assert_eq!(
            (found.is_forgotten, found.is_reset, found.keys.len()),
            (false, false, 11)
        );
    });
}

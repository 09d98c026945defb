//! What a mark says: whatever writes, however, the rows that it touched are found from the snapshot
//! before, and those alone.

use std::io::Write;

use afield_protocol::Type;
use afield_server::resolved::{Hop, Lookup, ServerModel};
use afield_server::storage::postgres::{Kind, captured, explain};

use crate::postgres_support::{
    Watch, by_columns, connect, database, made, model_of, prepared, run, values,
};

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, region text, name text, seen int)";

fn item() -> ServerModel {
    let attributes = [
        ("id", Type::Integer),
        ("region", Type::Text),
        ("name", Type::Text),
    ];
    model_of("item", 1, &attributes)
}

/// Each kind of write, and the keys that it touches.
const WRITES: &[(&str, &str)] = &[
    (
        "INSERT INTO item VALUES (1, 'n', 'a'), (2, 'n', 'b'), (3, 'n', 'c')",
        "1 2 3",
    ),
    ("UPDATE item SET name = 'x' WHERE id = 2", "2"),
    ("UPDATE item SET name = 'x'", "1 3"),
    ("UPDATE item SET seen = 7", ""),
    ("UPDATE item SET name = 'x'", ""),
    ("DELETE FROM item WHERE id = 3", "3"),
    (
        "DELETE FROM item WHERE id = 1; INSERT INTO item VALUES (1, 'n', 'x')",
        "1",
    ),
    ("UPDATE item SET id = 9 WHERE id = 1", "1 9"),
    (
        "UPDATE item SET name = id::text; UPDATE item SET id = -id; \
              UPDATE item SET id = 11 + id",
        "-2 -9 2 9",
    ),
    (
        "INSERT INTO item VALUES (2, 'n', 'y') ON CONFLICT DO NOTHING",
        "",
    ),
    (
        "INSERT INTO item VALUES (2, 'n', 'y'), (4, 'n', 'y') \
                 ON CONFLICT (id) DO UPDATE SET name = 'z'",
        "2 4",
    ),
    (
        "MERGE INTO item USING (VALUES (4), (5), (9)) s (id) ON s.id = item.id \
              WHEN MATCHED AND s.id = 4 THEN DELETE WHEN MATCHED THEN UPDATE SET name = 'm' \
              WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
        "4 5 9",
    ),
    (
        "WITH gone AS (DELETE FROM item WHERE id = 5 RETURNING *), \
              came AS (INSERT INTO item VALUES (6)) \
              UPDATE item SET name = 'w' FROM gone WHERE item.id = 9",
        "5 6 9",
    ),
    (
        "BEGIN; INSERT INTO item VALUES (20); SAVEPOINT s; UPDATE item SET name = 's'; \
              INSERT INTO item VALUES (21); ROLLBACK TO s; COMMIT",
        "20",
    ),
    ("BEGIN; UPDATE item SET name = 'never'; ROLLBACK", ""),
    (
        "BEGIN; UPDATE item SET name = 'p' WHERE id = 20; PREPARE TRANSACTION 'p'",
        "",
    ),
    ("COMMIT PREPARED 'p'", "20"),
    (
        "SET session_replication_role = replica; UPDATE item SET name = 'r' WHERE id = 20; \
              UPDATE item SET seen = 8; DELETE FROM item WHERE id = 6; \
              INSERT INTO item VALUES (30); UPDATE item SET id = 31 WHERE id = 30; \
              RESET session_replication_role",
        "20 30 31 6",
    ),
    ("TRUNCATE item", "reset"),
    (
        "SET session_replication_role = replica; TRUNCATE item; \
              RESET session_replication_role",
        "reset",
    ),
];

#[test]
fn every_kind_of_write_is_marked() {
    let database = database(ITEM);
    prepared(&database, &item());
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        for (sql, expected) in WRITES {
            assert_eq!(watch.after(sql).await.join(" "), *expected, "{sql}");
        }
    });
}

#[test]
fn what_the_team_does_itself_is_marked_as_it_ends() {
    let database = database(
        "CREATE TABLE parent (id int PRIMARY KEY);
         CREATE TABLE item (id int PRIMARY KEY, region text, name text, \
           parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS \
           'BEGIN NEW.id := NEW.id + 100; RETURN NEW; END';
         CREATE TRIGGER turn BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION turn();
         INSERT INTO parent VALUES (1), (2), (3);
         INSERT INTO item SELECT i, 'n', 'a', 1 + i % 3 FROM generate_series(1, 6) i",
    );
    let mut model = item();
    let columns = &mut model.entities[0].columns;
    columns[2].name = "parent".into();
    prepared(&database, &model);
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        for (sql, expected) in [
            ("INSERT INTO item VALUES (50)", "150"),
            ("COPY item (id) FROM STDIN", "201 202"),
            ("DELETE FROM parent WHERE id = 1", "103 106"),
            ("UPDATE parent SET id = 9 WHERE id = 2", "101 104"),
            ("TRUNCATE parent CASCADE", "reset"),
        ] {
            if sql.starts_with("COPY") {
                copy(&database.url, sql, b"101\n102\n");
                assert_eq!(watch.all().await.join(" "), expected, "{sql}");
            } else {
                assert_eq!(watch.after(sql).await.join(" "), expected, "{sql}");
            }
        }
    });
}

/// Writes rows by COPY.
fn copy(url: &str, sql: &'static str, data: &'static [u8]) {
    let url = url.to_owned();
    // The blocking client has a runtime of its own.
    let done = std::thread::spawn(move || {
        let mut client = ::postgres::Client::connect(&url, ::postgres::NoTls).unwrap();
        let mut sink = client.copy_in(sql).unwrap();
        sink.write_all(data).unwrap();
        sink.finish().unwrap();
    });
    done.join().unwrap();
}

#[test]
fn a_row_is_marked_under_the_values_that_it_leaves_and_takes() {
    let database = database(ITEM);
    let mut model = item();
    model.entities[0].scope = by_columns(&["region"]);
    prepared(&database, &model);
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        for (sql, region, expected) in [
            (
                "INSERT INTO item VALUES (1, 'n'), (2, 's'), (3, NULL)",
                "n",
                "1",
            ),
            ("UPDATE item SET region = 's' WHERE id = 1", "n", "1"),
            (
                "UPDATE item SET region = 'n' WHERE id = 1; UPDATE item SET region = 'w'",
                "s",
                "1 2",
            ),
            ("UPDATE item SET region = NULL WHERE id = 1", "w", "1"),
            ("UPDATE item SET name = 'a' WHERE id = 1", "w", ""),
            ("UPDATE item SET name = 'a' WHERE id = 2", "n", ""),
        ] {
            watch.writer.batch_execute(sql).await.unwrap();
            let found = watch.of_scopes(Some(&values(0, &[region]))).await;
            assert_eq!(found.join(" "), expected, "{sql}");
        }
        assert_eq!(watch.of_scopes(Some(&[])).await, Vec::<String>::new());
    });
}

#[test]
fn several_columns_of_a_scope_are_marked_together_nulls_too() {
    let database =
        database("CREATE TABLE item (id int PRIMARY KEY, region text, owner int, name text)");
    let mut model = item();
    model.entities[0].scope = by_columns(&["owner", "region"]);
    prepared(&database, &model);
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        watch
            .writer
            .batch_execute(
                "INSERT INTO item VALUES (1, 'n', 7), (2, NULL, 7), (3, 'n', NULL), \
                   (4, NULL, NULL)",
            )
            .await
            .unwrap();
        for name in ["a", "b"] {
            let sql = format!("UPDATE item SET name = '{name}'");
            watch.writer.batch_execute(&sql).await.unwrap();
            let since = watch.since.clone();
            assert_eq!(
                watch.of_scopes(Some(&values(0, &["n", "x"]))).await,
                ["1", "3"]
            );
            watch.since = since.clone();
            assert_eq!(watch.of_scopes(Some(&values(1, &["7"]))).await, ["1", "2"]);
            watch.since = since;
            let both = [values(0, &["n"]), values(1, &["7"])].concat();
            assert_eq!(watch.of_scopes(Some(&both)).await, ["1", "2", "3"]);
        }
        let marks = watch
            .reader
            .query("SELECT FROM afield.mark_1", &[])
            .await
            .unwrap();
        assert_eq!(marks.len(), 3);
    });
}

#[test]
fn partitions_are_marked_whoever_writes_to_them() {
    let database = database(
        "CREATE TABLE item (id int, region text, name text, PRIMARY KEY (id, region))
           PARTITION BY LIST (region);
         CREATE TABLE item_n PARTITION OF item FOR VALUES IN ('n') PARTITION BY RANGE (id);
         CREATE TABLE item_n_1 PARTITION OF item_n FOR VALUES FROM (0) TO (100);
         CREATE TABLE item_s PARTITION OF item FOR VALUES IN ('s')",
    );
    let attributes = [
        ("id", Type::Integer),
        ("region", Type::Text),
        ("name", Type::Text),
    ];
    prepared(&database, &model_of("item", 2, &attributes));
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        for (sql, expected) in [
            ("INSERT INTO item VALUES (1, 'n'), (2, 's')", "1/n 2/s"),
            ("INSERT INTO item_n_1 VALUES (3, 'n')", "3/n"),
            (
                "UPDATE item_s SET name = 'a'; UPDATE item SET name = 'a'",
                "1/n 2/s 3/n",
            ),
            ("UPDATE item SET name = 'a'", ""),
            ("UPDATE item SET region = 's' WHERE id = 1", "1/n 1/s"),
            (
                "SET session_replication_role = replica; DELETE FROM item_s WHERE id = 2; \
              RESET session_replication_role",
                "2/s",
            ),
            (
                "CREATE TABLE item_n_2 PARTITION OF item_n FOR VALUES FROM (100) TO (200); \
              INSERT INTO item_n_2 VALUES (100, 'n')",
                "100/n",
            ),
            ("TRUNCATE item_n_1", "reset"),
            ("TRUNCATE item", "reset"),
        ] {
            assert_eq!(watch.after(sql).await.join(" "), expected, "{sql}");
        }
    });
}

/// Items that show their company's city, of regions that a query finds.
fn with_lookup() -> ServerModel {
    let mut item = made("item", 1, &[("id", Type::Integer), ("name", Type::Text)]);
    item.lookups.push(Lookup {
        column: "region".into(),
        path: vec![Hop {
            table: "company".into(),
            key: "code".into(),
            column: "city".into(),
        }],
        scale: None,
    });
    item.scope = by_columns(&["region"]);
    if let afield_server::resolved::Scope::Ways(ways) = &mut item.scope {
        ways[0][0].holds = afield_server::resolved::Holds::Scope("regions".into());
    }
    let mut model = afield_server::storage::conformance::server_model(vec![item]);
    model.scopes.push(afield_server::resolved::NamedScope {
        name: "regions".into(),
        query: "SELECT region FROM member WHERE who = :user".into(),
        chosen: None,
    });
    model
}

#[test]
fn what_lookups_and_queries_read_is_marked_by_itself() {
    let database = database(&format!(
        "CREATE TABLE company (code text PRIMARY KEY, city text, phone text);
         CREATE TABLE member (who text, region text); {ITEM}"
    ));
    prepared(&database, &with_lookup());
    run(async {
        let mut company = Watch::of(&database, "public.company").await;
        for (sql, expected) in [
            (
                "INSERT INTO company VALUES ('a', 'Bern'), ('b', 'Rome')",
                "a b",
            ),
            ("UPDATE company SET phone = '1'", ""),
            ("UPDATE company SET city = 'Rome'", "a"),
            ("UPDATE company SET code = 'c' WHERE code = 'a'", "a c"),
            ("DELETE FROM company WHERE code = 'b'", "b"),
        ] {
            assert_eq!(company.after(sql).await.join(" "), expected, "{sql}");
        }
        let kinds: Vec<Kind> = captured(&company.reader)
            .await
            .unwrap()
            .iter()
            .map(|c| c.kind)
            .collect();
        assert_eq!(kinds, [Kind::Rows, Kind::Source, Kind::Table]);
        let mut member = Watch::of(&database, "public.member").await;
        for (sql, expected) in [
            ("INSERT INTO member VALUES ('a', 'b'), ('a', 'b')", 1),
            ("UPDATE member SET region = 'c'; DELETE FROM member", 1),
            ("DELETE FROM member", 0),
            ("TRUNCATE member", 1),
            (
                "SET session_replication_role = replica; INSERT INTO member VALUES ('x', 'y')",
                1,
            ),
        ] {
            assert_eq!(member.after(sql).await.len(), expected, "{sql}");
        }
        // Two that write at once do not wait for each other.
        let other = connect(&database.url).await;
        let insert = "SET lock_timeout = '5s'; BEGIN; INSERT INTO member VALUES ('z', 'z')";
        member.writer.batch_execute(insert).await.unwrap();
        other.batch_execute(insert).await.unwrap();
        other.batch_execute("COMMIT").await.unwrap();
        assert_eq!(member.all().await.len(), 1);
        member.writer.batch_execute("COMMIT").await.unwrap();
        assert_eq!(member.all().await.len(), 1);
    });
}

#[test]
fn a_large_statement_after_a_small_one_keeps_no_plan_of_it() {
    let database = database(ITEM);
    prepared(&database, &item());
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        watch
            .after(
                "SET enable_hashjoin = off; INSERT INTO item VALUES (0); \
                    UPDATE item SET name = 'x'",
            )
            .await;
        // By a nested loop, which this session's setting asks for, these would be 900 million
        // comparisons.
        let sql = "SET statement_timeout = '60s'; \
                   INSERT INTO item SELECT i FROM generate_series(1, 30000) i; \
                   UPDATE item SET name = 'y'";
        assert_eq!(watch.after(sql).await.len(), 30_001);
    });
}

#[test]
fn marks_are_found_by_indexes_however_many_there_are() {
    let database = database(ITEM);
    let mut model = item();
    prepared(&database, &model);
    let many = "INSERT INTO item SELECT i, 'r' || i % 200, 'a' FROM generate_series(1, 100000) i; \
                ANALYZE afield.mark_1";
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        watch.after(many).await;
        let since = watch.since.clone();
        watch
            .after("INSERT INTO item SELECT -i, 'r1', 'a' FROM generate_series(1, 20) i")
            .await;
        let plan = explain(&watch.reader, &watch.capture, &since, None)
            .await
            .unwrap()
            .join("\n");
        assert!(!plan.contains("Seq Scan on mark_1"), "{plan}");
        assert!(plan.matches("mark_1_xid").count() == 2, "{plan}");
    });
    model.entities[0].scope = by_columns(&["region"]);
    prepared(&database, &model);
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        let id = watch.capture.id;
        let many = format!("UPDATE item SET name = 'b'; ANALYZE afield.mark_{id}");
        watch.after(&many).await;
        let since = watch.since.clone();
        watch.after("UPDATE item SET name = 'c' WHERE id < 0").await;
        let held = values(0, &["r1", "r2", "r3"]);
        let plan = explain(&watch.reader, &watch.capture, &since, Some(&held))
            .await
            .unwrap();
        let plan = plan.join("\n");
        assert!(!plan.contains(&format!("Seq Scan on mark_{id}")), "{plan}");
        assert_eq!(
            plan.matches(&format!("mark_{id}_scope1")).count(),
            2,
            "{plan}"
        );
    });
}

//! What keys and scopes may be made of, and what the team may do to the types of its columns.

use afield_protocol::Type;
use afield_server::resolved::ServerModel;

use crate::postgres_support::{Watch, by_columns, database, model_of, prepared, run, values};

fn item() -> ServerModel {
    let attributes = [
        ("id", Type::Integer),
        ("region", Type::Text),
        ("name", Type::Text),
    ];
    model_of("item", 1, &attributes)
}

#[test]
fn keys_of_every_kind_are_told_apart_as_devices_do() {
    for (kind, keys) in [
        ("smallint", ["1", "2", "-3"]),
        ("bigint", ["1", "9007199254740993", "-3"]),
        (
            "uuid",
            [
                "00000000-0000-0000-0000-000000000001",
                "00000000-0000-0000-0000-000000000002",
                "00000000-0000-0000-0000-00000000000a",
            ],
        ),
        ("text", ["a", "A", "ä"]),
        ("varchar(9)", ["a", "a ", "it's"]),
        ("char(3)", ["a  ", "b  ", "ccc"]),
        ("citext", ["a", "B", "c"]),
        ("mood", ["so so", "good", "bad"]),
        ("short", ["a", "b", "c"]),
        ("numeric", ["1.0", "2", "NaN"]),
        (
            "timestamptz",
            [
                "2024-01-01 00:00:00+00",
                "2024-01-01 00:00:00.000001+00",
                "infinity",
            ],
        ),
        ("date", ["2024-01-01", "2024-01-02", "2024-01-03"]),
        ("bytea", ["\\x00", "\\x01", "\\x"]),
        ("inet", ["10.0.0.1/32", "10.0.0.2/32", "::1/128"]),
        ("int[]", ["{1,2}", "{}", "{NULL}"]),
    ] {
        let database = database(&format!(
            "RESET ROLE; CREATE EXTENSION citext; SET ROLE owner;
             CREATE TYPE mood AS ENUM ('good', 'bad', 'so so');
             CREATE DOMAIN short AS varchar(5) CHECK (length(VALUE) < 4);
             CREATE TABLE item (id {kind} PRIMARY KEY, region {kind}, name text)"
        ));
        let mut model = item();
        let is_scope = !kind.ends_with("[]");
        if is_scope {
            model.entities[0].scope = by_columns(&["region"]);
        }
        prepared(&database, &model);
        run(async {
            let mut watch = Watch::of(&database, "public.item").await;
            let rows = keys.map(|key| format!("('{0}', '{0}')", key.replace('\'', "''")));
            let insert = format!(
                "SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; \
                                  INSERT INTO item VALUES {}",
                rows.join(", ")
            );
            let mut expected = keys.to_vec();
            expected.sort_unstable();
            assert_eq!(watch.after(&insert).await, expected, "{kind}");
            for change in ["UPDATE item SET name = 'x'", "DELETE FROM item"] {
                watch.writer.batch_execute(change).await.unwrap();
                let held = values(0, &keys[..2]);
                let of_two = watch.of_scopes(is_scope.then_some(held.as_slice())).await;
                let mut expected = keys[..if is_scope { 2 } else { 3 }].to_vec();
                expected.sort_unstable();
                assert_eq!(of_two, expected, "{kind}: {change}");
            }
        });
    }
}

#[test]
fn equal_values_that_differ_on_a_device_are_marked() {
    let database = database(
        "RESET ROLE; CREATE EXTENSION citext; SET ROLE owner;
         CREATE TABLE item (id citext PRIMARY KEY, region numeric, name json);
         INSERT INTO item VALUES ('a', 1.0, '{}')",
    );
    prepared(&database, &item());
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        for (sql, expected) in [
            ("UPDATE item SET id = 'A'", "A a"),
            ("UPDATE item SET region = 1.00", "A"),
            ("UPDATE item SET name = '{ }'", "A"),
            ("UPDATE item SET name = '{ }'", ""),
        ] {
            assert_eq!(watch.after(sql).await.join(" "), expected, "{sql}");
        }
    });
}

#[test]
fn an_update_between_equal_values_of_a_scope_is_marked_once() {
    let database = database(
        "RESET ROLE; CREATE EXTENSION citext; SET ROLE owner;
         CREATE TABLE item (id citext PRIMARY KEY, region citext, name numeric);
         INSERT INTO item VALUES ('a', 'n', 1.0), ('b', 'n', 2), ('c', NULL, NULL)",
    );
    for scope in [
        vec!["region"],
        vec!["id"],
        vec!["name"],
        vec!["region", "name"],
    ] {
        let mut model = item();
        model.entities[0].scope = by_columns(&scope);
        prepared(&database, &model);
        run(async {
            let mut watch = Watch::of(&database, "public.item").await;
            for (sql, expected) in [
                ("UPDATE item SET region = 'N' WHERE id = 'a'", "a"),
                ("UPDATE item SET name = 1.00 WHERE id = 'a'", "a"),
                ("UPDATE item SET id = 'A' WHERE id = 'a'", "A a"),
                ("UPDATE item SET id = 'x' WHERE id = 'A'", "A x"),
                ("UPDATE item SET region = region", ""),
                (
                    "UPDATE item SET id = 'a', region = 'n', name = 1.0 WHERE id = 'x'",
                    "a x",
                ),
            ] {
                let marked = watch.after(sql).await;
                let of_somebody: Vec<&str> = marked
                    .iter()
                    .map(String::as_str)
                    .filter(|key| *key != "c")
                    .collect();
                assert_eq!(of_somebody.join(" "), expected, "{scope:?}: {sql}");
            }
        });
    }
}

#[test]
fn rows_without_a_key_stand_for_no_other_row() {
    let database = database(
        "CREATE TABLE item (id bpchar UNIQUE, region text, name text);
         INSERT INTO item SELECT NULL, n FROM generate_series(1, 30000) n;
         INSERT INTO item VALUES ('', 'a')",
    );
    prepared(&database, &item());
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        let all = watch.after("UPDATE item SET name = 'x'").await;
        assert_eq!(all.len(), 1, "{all:?}");
    });
}

#[test]
fn rows_without_a_key_are_no_reason_to_refuse_a_write() {
    let database = database(
        "CREATE TABLE item (id int UNIQUE, region text, name text);
         CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED, region text, name text)",
    );
    prepared(&database, &item());
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        let sql = "INSERT INTO item VALUES (NULL), (NULL), (1)";
        assert_eq!(watch.after(sql).await, ["1"]);
        assert_eq!(
            watch.after("UPDATE item SET id = 2 WHERE id = 1").await,
            ["1", "2"]
        );
        assert_eq!(
            watch
                .after("UPDATE item SET id = NULL; DELETE FROM item")
                .await,
            ["2"]
        );
    });
    let mut model = item();
    model.entities[0].table = "late".into();
    prepared(&database, &model);
    run(async {
        let mut watch = Watch::of(&database, "public.late").await;
        let sql = "BEGIN; INSERT INTO late VALUES (1, 'a'), (1, 'b'); \
                   UPDATE late SET id = 2 WHERE region = 'b'; COMMIT";
        assert_eq!(watch.after(sql).await, ["1", "2"]);
        let sql = "BEGIN; UPDATE late SET id = 1 WHERE id = 2; \
                   DELETE FROM late WHERE region = 'a'; COMMIT";
        assert_eq!(watch.after(sql).await, ["1", "2"]);
    });
}

#[test]
fn the_team_may_widen_the_types_of_its_columns_and_still_write() {
    for (before, after) in [
        ("int", "bigint"),
        ("smallint", "int"),
        ("varchar(5)", "text"),
        ("varchar(5)", "varchar(9)"),
        ("char(3)", "text"),
        ("mood", "text"),
        ("mood", "mood2 USING id::text::mood2"),
        ("numeric(5)", "text"),
        ("int", "numeric"),
        ("int", "text"),
    ] {
        let database = database(&format!(
            "CREATE TYPE mood AS ENUM ('1', '2', '3', '4');
             CREATE TYPE mood2 AS ENUM ('1', '2', '3', '4');
             CREATE TABLE item (id {before} PRIMARY KEY, region {before}, name text)"
        ));
        let mut model = item();
        model.entities[0].scope = by_columns(&["region"]);
        prepared(&database, &model);
        run(async {
            let mut watch = Watch::of(&database, "public.item").await;
            // The writer's session has plans for the old type.
            let write = "INSERT INTO item VALUES ('1', '1'); UPDATE item SET name = 'a'; \
                         SET session_replication_role = replica; UPDATE item SET name = 'b'; \
                         RESET session_replication_role; DELETE FROM item";
            watch.after(write).await;
            let region = after.replace("USING id", "USING region");
            let alter =
                format!("ALTER TABLE item ALTER id TYPE {after}, ALTER region TYPE {region}");
            watch.after(&alter).await;
            let found = watch.after(write).await;
            assert_eq!(
                found.first().map(|key| key.trim()),
                Some("1"),
                "{before} to {after}"
            );
        });
    }
}

#[test]
fn a_renamed_column_stops_writes_until_it_is_prepared_again() {
    let database =
        database("CREATE TABLE item (id int PRIMARY KEY, region text, name text, seen int)");
    prepared(&database, &item());
    run(async {
        let mut watch = Watch::of(&database, "public.item").await;
        watch
            .after("INSERT INTO item VALUES (1); ALTER TABLE item RENAME name TO title")
            .await;
        let error = watch
            .writer
            .batch_execute("UPDATE item SET title = 'a'")
            .await
            .unwrap_err();
        assert!(
            error.as_db_error().unwrap().message().contains("name"),
            "{error:?}"
        );
        // A column that is not watched may come and go.
        watch
            .after("ALTER TABLE item RENAME title TO name; ALTER TABLE item DROP seen")
            .await;
        assert_eq!(watch.after("UPDATE item SET name = 'a'").await, ["1"]);
    });
}

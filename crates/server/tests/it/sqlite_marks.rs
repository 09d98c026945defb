//! Marks against everything that SQLite does to rows without saying so: after any statement of
//! any program, a device's next pull holds exactly the table.

use afield_protocol::{Pattern, Type};
use afield_server::resolved::ServerModel;
use afield_server::storage::conformance::{
    Database, Replica, assert_same, entity, random_writers, server_model,
};

use crate::sqlite_database::SqliteDatabase;

/// Runs statements one after another, each followed by a pull that must leave no difference.
fn follows(schema: &str, model: &ServerModel, start: &str, statements: &[&str]) {
    for recursive_triggers in [false, true] {
        let db = SqliteDatabase::with(schema, model.clone()).recursive_triggers(recursive_triggers);
        let names: Vec<String> = model
            .entities
            .iter()
            .map(|e| e.local.name.clone())
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        db.execute(start);
        let mut device = Replica::default();
        device.pull(&db, &names, 100);
        for sql in statements {
            db.execute(sql);
            device.pull(&db, &names, 2);
            for name in &names {
                let same =
                    device.rows(name) == &afield_server::storage::conformance::table(&db, name);
                assert!(
                    same,
                    "`{name}` differs after {sql} (recursive: {recursive_triggers})"
                );
            }
        }
        assert_eq!(device.resets, 0);
        assert_same(&db, &device, &names);
    }
}

fn one(attributes: &[(&str, Type)]) -> ServerModel {
    server_model(vec![entity("t", Pattern::ReadOnlyOptimized, 1, attributes)])
}

#[test]
fn p5_replace_marks_what_it_deletes_by_every_unique_key() {
    follows(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, code TEXT UNIQUE, a INT, b INT, UNIQUE (a, b))",
        &one(&[
            ("id", Type::Integer),
            ("code", Type::Text),
            ("a", Type::Integer),
        ]),
        "INSERT INTO t VALUES (1,'a',1,1),(2,'b',2,2),(3,'c',3,3),(4,'d',4,4),(5,'e',5,5)",
        &[
            "INSERT OR REPLACE INTO t VALUES (1, 'x', 9, 9)",
            "INSERT OR REPLACE INTO t VALUES (10, 'b', 10, 10)",
            "REPLACE INTO t VALUES (11, 'y', 3, 3)",
            "UPDATE OR REPLACE t SET code = 'd' WHERE id = 5",
            "UPDATE OR REPLACE t SET id = 10 WHERE id = 11",
            "REPLACE INTO t (code, a, b) VALUES ('x', 3, 3)",
            "INSERT OR IGNORE INTO t VALUES (5, 'n', 7, 7)",
            "INSERT OR IGNORE INTO t VALUES (6, 'd', 7, 7), (7, 'new', 7, 7)",
            "UPDATE OR IGNORE t SET code = 'd'",
            "INSERT INTO t VALUES (7, 'q', 8, 8) ON CONFLICT DO NOTHING",
            "INSERT INTO t VALUES (7, 'q', 8, 8) \
             ON CONFLICT (id) DO UPDATE SET id = 70, code = 'up'",
            "INSERT OR REPLACE INTO t SELECT id + 1, code, a, b FROM t",
            "DELETE FROM t",
        ],
    );
}

#[test]
fn p5_replace_by_rowid_and_by_the_default_of_a_null_is_marked() {
    follows(
        "CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER NOT NULL DEFAULT 7 UNIQUE)",
        &one(&[("id", Type::Text), ("n", Type::Integer)]),
        "INSERT INTO t (rowid, id, n) VALUES (1, 'a', 7), (2, 'b', 2), (3, 'c', 3)",
        &[
            "INSERT OR REPLACE INTO t (rowid, id, n) VALUES (2, 'x', 20)",
            "INSERT OR REPLACE INTO t (id, n) VALUES ('y', NULL)",
            "UPDATE OR REPLACE t SET rowid = 3 WHERE id = 'x'",
            "UPDATE OR REPLACE t SET n = NULL WHERE id = 'x'",
        ],
    );
}

#[test]
fn p5_conflict_clauses_of_the_table_itself_are_marked() {
    follows(
        "CREATE TABLE t (id INTEGER PRIMARY KEY ON CONFLICT REPLACE,
           code TEXT UNIQUE ON CONFLICT REPLACE, n INTEGER)",
        &one(&[
            ("id", Type::Integer),
            ("code", Type::Text),
            ("n", Type::Integer),
        ]),
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
        &[
            "INSERT INTO t VALUES (9, 'a', 9)",
            "UPDATE t SET code = 'b' WHERE id = 3",
            "UPDATE t SET id = 3 WHERE id = 9",
        ],
    );
}

#[test]
fn p5_partial_expression_and_collated_unique_indexes_are_marked() {
    follows(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, live INTEGER, mail TEXT);
         CREATE UNIQUE INDEX t_name ON t (name) WHERE live = 1 AND name <> 'a,(b';
         CREATE UNIQUE INDEX t_mail ON t (lower(trim(mail)) DESC, id % 2);
         CREATE UNIQUE INDEX t_nocase ON t (mail COLLATE NOCASE)",
        &one(&[
            ("id", Type::Integer),
            ("name", Type::Text),
            ("mail", Type::Text),
        ]),
        "INSERT INTO t VALUES (1,'n',1,'A@x'),(2,'n',0,'B@x'),(3,'m',1,'C@x'),(4,'o',1,'D@x')",
        &[
            "REPLACE INTO t VALUES (5, 'n', 1, 'new')",
            "REPLACE INTO t VALUES (7, 'z', 0, ' c@X ')",
            "UPDATE OR REPLACE t SET live = 1 WHERE id = 2",
            "UPDATE OR REPLACE t SET mail = 'd@X' WHERE id = 2",
            "REPLACE INTO t VALUES (8, 'zz', 0, ' d@x')",
        ],
    );
}

#[test]
fn p5_generated_columns_in_unique_keys_are_marked() {
    follows(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT,
           low TEXT GENERATED ALWAYS AS (lower(a)) VIRTUAL UNIQUE,
           kept TEXT AS (substr(a, 1, 2)) STORED)",
        &one(&[("id", Type::Integer), ("a", Type::Text)]),
        "INSERT INTO t (id, a) VALUES (1, 'One'), (2, 'Two'), (3, 'Three')",
        &[
            "REPLACE INTO t (id, a) VALUES (9, 'ONE')",
            "UPDATE OR REPLACE t SET a = 'tWO' WHERE id = 3",
        ],
    );
}

#[test]
fn p5_tables_without_rowid_and_composite_keys_are_marked() {
    let model = server_model(vec![entity(
        "t",
        Pattern::ReadOnlyOptimized,
        2,
        &[
            ("a", Type::Text),
            ("b", Type::Integer),
            ("n", Type::Integer),
        ],
    )]);
    follows(
        "CREATE TABLE t (b INTEGER, n INTEGER UNIQUE, a TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID",
        &model,
        "INSERT INTO t (a, b, n) VALUES ('x', 1, 1), ('x', 2, 2), ('y', 1, 3), ('y', 2, 4)",
        &[
            "REPLACE INTO t (a, b, n) VALUES ('x', 1, 4)",
            "UPDATE OR REPLACE t SET a = 'x' WHERE a = 'y'",
            "UPDATE OR REPLACE t SET b = b + 1",
            "DELETE FROM t WHERE n = 2",
        ],
    );
}

#[test]
fn p5_keys_that_change_only_their_case_are_other_keys_on_a_device() {
    follows(
        "CREATE TABLE t (id TEXT PRIMARY KEY COLLATE NOCASE, n INTEGER)",
        &one(&[("id", Type::Text), ("n", Type::Integer)]),
        "INSERT INTO t VALUES ('a', 1), ('B', 2), ('c', 3), ('D', 4)",
        &[
            "UPDATE t SET id = 'A' WHERE id = 'a'",
            "REPLACE INTO t VALUES ('b', 5)",
            "DELETE FROM t WHERE id = 'C'",
            "INSERT INTO t VALUES ('C', 6)",
        ],
    );
}

#[test]
fn p5_keys_that_differ_only_in_case_are_both_downloaded() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id TEXT COLLATE NOCASE, n INTEGER, PRIMARY KEY (id COLLATE BINARY))",
        one(&[("id", Type::Text), ("n", Type::Integer)]),
    );
    db.execute("INSERT INTO t VALUES ('a', 1), ('A', 2), ('B', 3), ('b', 4), ('c', 5)");
    let mut device = Replica::default();
    device.pull(&db, &["t"], 1);
    assert_same(&db, &device, &["t"]);
}

#[test]
fn p5_writes_of_the_teams_triggers_are_marked() {
    follows(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, code TEXT UNIQUE);
         CREATE TABLE log (id INTEGER PRIMARY KEY, t INTEGER, n INTEGER);
         CREATE TRIGGER t_i AFTER INSERT ON t BEGIN
           UPDATE t SET n = n + 100 WHERE id = NEW.id;
           INSERT INTO log (t, n) VALUES (NEW.id, NEW.n);
           UPDATE t SET n = n + 1 WHERE id = NEW.id - 1;
         END;
         CREATE TRIGGER t_u AFTER UPDATE ON t BEGIN
           DELETE FROM log WHERE t = OLD.id AND n > 5;
         END;
         CREATE TRIGGER t_d BEFORE DELETE ON t BEGIN
           UPDATE log SET n = -1 WHERE t = OLD.id;
         END",
        &server_model(vec![
            entity(
                "t",
                Pattern::ReadOnlyOptimized,
                1,
                &[("id", Type::Integer), ("n", Type::Integer)],
            ),
            entity(
                "log",
                Pattern::ReadOnlyOptimized,
                1,
                &[("id", Type::Integer), ("n", Type::Integer)],
            ),
        ]),
        "INSERT INTO t VALUES (1, 1, 'a')",
        &[
            "INSERT INTO t VALUES (2, 2, 'b'), (3, 9, 'c')",
            "INSERT OR REPLACE INTO t VALUES (2, 5, 'c')",
            "DELETE FROM t WHERE id = 1",
            "INSERT OR IGNORE INTO t VALUES (2, 5, 'c'), (7, 7, 'g')",
        ],
    );
}

#[test]
fn p5_names_that_need_quoting_are_marked() {
    let mut odd = entity(
        "Order \"x\"",
        Pattern::ReadOnlyOptimized,
        2,
        &[
            ("group", Type::Text),
            ("a b\"c", Type::Integer),
            ("select", Type::Text),
        ],
    );
    odd.table = "ORDER \"X\"".into();
    odd.local.name = "odd".into();
    follows(
        "CREATE TABLE \"Order \"\"x\"\"\" (\"group\" TEXT, \"a b\"\"c\" INTEGER, \
           \"select\" TEXT UNIQUE, PRIMARY KEY (\"group\", \"a b\"\"c\"))",
        &server_model(vec![odd]),
        "INSERT INTO \"order \"\"x\"\"\" VALUES ('a', 1, 'x'), ('a', 2, 'y'), ('b', 1, 'z')",
        &[
            "REPLACE INTO \"order \"\"x\"\"\" VALUES ('c', 1, 'x')",
            "UPDATE OR REPLACE \"order \"\"x\"\"\" SET \"GROUP\" = 'c' WHERE \"group\" = 'b'",
            "DELETE FROM \"order \"\"x\"\"\" WHERE \"select\" = 'y'",
        ],
    );
}

#[test]
fn rows_with_a_null_in_their_key_are_no_obstacle() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER)",
        one(&[("id", Type::Text), ("n", Type::Integer)]),
    );
    let mut device = Replica::default();
    db.execute("INSERT INTO t VALUES (NULL, 1), ('a', 2), (NULL, 3)");
    device.pull(&db, &["t"], 1);
    db.execute("UPDATE t SET id = 'b' WHERE n = 1; UPDATE t SET id = NULL WHERE n = 2");
    device.pull(&db, &["t"], 1);
    assert_eq!(device.rows("t").len(), 1);
    let mut fresh = Replica::default();
    fresh.pull(&db, &["t"], 1);
    assert_eq!(fresh.rows("t"), device.rows("t"));
}

/// Marks that share a number because one statement of a trigger wrote both.
#[test]
fn p5_a_page_is_never_cut_between_marks_of_one_number() {
    let db = SqliteDatabase::new();
    let mut device = Replica::default();
    db.execute(
        "INSERT INTO rate VALUES (1, 'a'), (2, 'b'), (3, 'c');
        INSERT INTO stock (id) VALUES (1), (2), (3)",
    );
    device.pull(&db, &["stock"], 10);
    db.execute(
        "UPDATE stock SET words = 'x'; UPDATE afield_mark_stock SET change = 100;
        UPDATE afield_clock SET change = 100",
    );
    let first = device.clone();
    let page = db.storage().pull(
        db.model(),
        &afield_server::storage::PullRequest {
            caller: afield_server::storage::Caller::user("ada"),
            held: Vec::new(),
            now: 1_000,
            chosen: Vec::new(),
            entities: vec![("stock".into(), first.positions.get("stock").cloned())],
            rows_max: 1,
            bytes_max: usize::MAX,
            compare: Default::default(),
        },
    );
    assert!(
        page.unwrap().end.complete,
        "all three rows stand under one number"
    );
}

/// Statements of a program that knows nothing of Afield, with every clause SQLite has.
fn sqlite_write(rng: &mut fastrand::Rng) -> String {
    let clause = ["", "OR REPLACE", "OR IGNORE", "OR REPLACE"][rng.usize(..4)];
    let conflict = ["REPLACE", "IGNORE"][rng.usize(..2)];
    let mut small = || rng.u32(1..9);
    let (id, code, shelf, bin, other) = (small(), small(), small() % 3, small() % 3, small());
    let word = rng.u32(..1_000);
    match rng.u32(..9) {
        0 | 1 => format!(
            "INSERT OR {conflict} INTO stock VALUES ({id}, 'c{code}', {shelf}, {bin}, 'w{word}')"
        ),
        2 => format!(
            "INSERT {clause} INTO stock (id, words) SELECT {id}, 'w{word}' \
             WHERE NOT EXISTS (SELECT 1 FROM stock WHERE id = {id})"
        ),
        3 => format!("UPDATE OR {conflict} stock SET code = 'c{code}' WHERE id >= {id}"),
        4 => format!("UPDATE OR {conflict} stock SET id = {id} WHERE id = {other}"),
        5 => format!("UPDATE OR {conflict} stock SET shelf = {shelf}, bin = {bin} WHERE id < {id}"),
        6 => format!(
            "INSERT INTO stock (id, code, words) VALUES ({id}, 'c{code}', 'u') \
             ON CONFLICT (code) DO UPDATE SET words = 'v{word}', shelf = NULL \
             ON CONFLICT (id) DO NOTHING"
        ),
        7 => format!("DELETE FROM stock WHERE id = {id} OR code = 'c{code}'"),
        _ => format!("REPLACE INTO line VALUES ({shelf}, {bin}, 'l{word}')"),
    }
}

/// `AFIELD_SEEDS` asks for more of them; most of their time is waiting for the disk.
#[test]
fn p5_random_replacing_writers_against_random_pages() {
    for recursive_triggers in [false, true] {
        let mut db = SqliteDatabase::new().recursive_triggers(recursive_triggers);
        let asked = std::env::var("AFIELD_SEEDS")
            .ok()
            .and_then(|seeds| seeds.parse().ok());
        let seeds = asked.unwrap_or(40);
        for seed in 0..seeds {
            random_writers(&mut db, seed, &sqlite_write);
        }
    }
}

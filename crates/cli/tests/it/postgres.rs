//! From a team's PostgreSQL to a model that is accepted with no edit, as a newcomer does it.

use std::fs;

use afield_testbed::postgres::{Cluster, Database};

use crate::support::{Site, afield, run, succeed, texts};

const SHOP: &str = "
    CREATE SCHEMA sales;
    CREATE TYPE state AS ENUM ('open', 'done');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE customers (
        customer_id varchar(5) PRIMARY KEY, company_name varchar(40) NOT NULL, picture bytea,
        tags text[]
    );
    CREATE TABLE employees (employee_id smallint PRIMARY KEY, reports_to smallint
        REFERENCES employees);
    CREATE TABLE orders (
        order_id serial PRIMARY KEY, customer_id varchar(5) REFERENCES customers,
        employee_id smallint REFERENCES employees, state state NOT NULL DEFAULT 'open',
        order_date date, freight real, changed timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE sales.details (
        order_id int REFERENCES orders, product_id int, quantity positive NOT NULL,
        price numeric(10, 2) NOT NULL CHECK (price >= 0), PRIMARY KEY (order_id, product_id)
    );
    CREATE TABLE member (employee_id smallint, user_id text);
    CREATE VIEW latest AS SELECT max(order_date) FROM orders;
    CREATE TABLE later (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), note text);
    INSERT INTO customers SELECT 'C' || g, 'Company ' || g FROM generate_series(1, 20) g;
";

fn shop() -> Database {
    Cluster::shared().database(SHOP)
}

/// The same address with a password, which this server does not ask for.
fn with_password(database: &Database) -> String {
    database.url.replacen("postgres@", "postgres:pass-word@", 1)
}

#[test]
fn init_proposes_a_model_that_is_accepted_with_no_edit() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), shop());
    let path = folder.path();
    let said = succeed(path, &format!("init --from {}", with_password(&shop)));
    assert!(said.contains("for 5 of 7 tables"), "{said}");
    assert!(said.contains("PGPASSWORD"), "{said}");
    assert!(!said.contains("pass-word"), "{said}");
    let text = fs::read_to_string(path.join("afield.toml")).unwrap();
    assert!(!text.contains("pass-word"), "{text}");
    assert!(
        text.contains(&shop.url),
        "the rest of the URL is there: {text}"
    );
    // The model is held against the database.
    let code = succeed(path, "generate rust");
    for name in [
        "pub struct Order",
        "pub struct SalesDetail",
        "pub struct Customer",
    ] {
        assert!(code.contains(name), "{name}\n{code}");
    }
    let again = run(path, &format!("init --from {}", shop.url));
    assert!(texts(&again).1.contains("exists already"));
}

#[test]
fn add_extends_a_model_and_a_change_of_the_database_is_noticed() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), shop());
    let path = folder.path();
    shop.execute("ALTER TABLE later RENAME TO aside");
    succeed(path, &format!("init --from {}", shop.url));
    shop.execute("CREATE TABLE sales.more (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)");
    succeed(path, "add sales.more");
    let text = fs::read_to_string(path.join("afield.toml")).unwrap();
    assert!(
        text.contains("[local.sales_more]\nfrom = \"sales.more\""),
        "{text}"
    );
    let (_, refusal) = texts(&run(path, "add latest"));
    assert!(
        refusal.contains("a view; changes of a view cannot be followed"),
        "{refusal}"
    );
    let (_, refusal) = texts(&run(path, "add member"));
    assert!(refusal.contains("without a primary key"), "{refusal}");

    succeed(path, "generate rust");
    shop.execute("ALTER TABLE sales.details DROP COLUMN price CASCADE");
    let (_, refusal) = texts(&run(path, "generate rust"));
    assert!(refusal.contains("has no column `price`"), "{refusal}");
}

#[test]
fn scope_queries_are_held_against_the_database() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), shop());
    let path = folder.path();
    let model = |query: &str| {
        format!(
            "[server]\ndatabase = \"{}\"\n[local.orders]\nfrom = \"orders\"\n\
             pattern = \"last-write-wins\"\nattributes = [\"employee_id\"]\n\
             scope = \"employee_id in mine\"\n[scope.mine]\nquery = \"{query}\"\n",
            shop.url
        )
    };
    let write = |query: &str| fs::write(path.join("afield.toml"), model(query)).unwrap();
    write("SELECT employee_id FROM member WHERE user_id = :user");
    succeed(path, "generate rust");
    write("SELECT employee_id FROM member WHERE user_name = :user");
    let (_, refusal) = texts(&run(path, "generate rust"));
    assert!(refusal.contains("afield.toml:9:"), "{refusal}");
    assert!(
        refusal.contains("column \"user_name\" does not exist"),
        "{refusal}"
    );
}

#[test]
fn capture_is_shown_installed_and_taken_out_again() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), shop());
    let path = folder.path();
    succeed(path, &format!("init --from {}", shop.url));
    let ours = || -> i64 {
        let sql = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'afield') + \
                   (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'afield%')";
        shop.connect().query_one(sql, &[]).unwrap().get(0)
    };
    let plan = succeed(path, "prepare --dry-run");
    assert!(plan.contains("CREATE TRIGGER"), "{plan}");
    assert_eq!(ours(), 0);
    let done = succeed(path, "prepare");
    assert!(done.contains("captured tables: "), "{done}");
    assert!(ours() > 0);
    let again = succeed(path, "prepare");
    assert!(again.starts_with("Nothing to do"), "{again}");
    let plan = succeed(path, "prepare --dry-run");
    assert!(plan.contains("Nothing to do"), "{plan}");
    let gone = succeed(path, "prepare --remove");
    assert!(gone.contains("nothing of Afield is left in"), "{gone}");
    assert_eq!(ours(), 0);
}

#[test]
fn what_is_not_built_on_postgresql_yet_says_so() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), shop());
    let path = folder.path();
    succeed(path, &format!("init --from {}", shop.url));
    let output = run(path, "why orders 1 --user ann");
    let (_, refusal) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{refusal}");
    let expected = "asking why of PostgreSQL is not built yet";
    assert!(refusal.contains(expected), "{refusal}");
}

/// The first minutes of a team: two devices and another program, with no edit of the model.
#[test]
fn p4_p5_p6_two_devices_and_another_program_are_in_sync() {
    let shop = Cluster::shared().database(&format!("{SHOP}{PARTS}"));
    let site = Site::on(&shop.url);
    let at = |store: &str, words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let output = site.device_of(store, &words);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{store} {words:?}: {out}{err}");
        out
    };
    at("phone", "sync");
    at("tablet", "sync");
    at("phone", "update customers C7 company_name=Seven");
    at(
        "phone",
        "create orders customer_id=C7 order_date=2026-11-29 state=done freight=0.1",
    );
    at("tablet", "create later note=from-the-tablet");
    at("tablet", "update job 2 5 state=done hours=2.5");
    shop.execute(
        "UPDATE customers SET company_name = 'Psql' WHERE customer_id = 'C9';
         DELETE FROM job WHERE region = 1 AND no = 3;
         INSERT INTO job (region, no, day) VALUES (9, 1, '2026-01-09')",
    );
    for store in ["phone", "tablet", "phone", "tablet"] {
        let said = at(store, "sync");
        assert!(said.contains("Up to date."), "{said}");
    }
    for store in ["phone", "tablet"] {
        let said = at(store, "verify");
        assert!(
            said.contains("exactly the server's rows"),
            "{store}: {said}"
        );
    }
    assert!(at("tablet", "get customers C7").contains("Seven"));
    assert!(at("phone", "get customers C9").contains("Psql"));
    assert!(at("phone", "get job 2 5").contains("2.50"));
    let mut client = shop.connect();
    let sql = "SELECT (SELECT count(*) FROM orders WHERE customer_id = 'C7' AND state = 'done' \
               AND freight = 0.1::real), (SELECT count(*) FROM later), (SELECT count(*) FROM job)";
    let row = client.query_one(sql, &[]).unwrap();
    let counts: [i64; 3] = [0, 1, 2].map(|at| row.get(at));
    assert_eq!(counts, [1, 1, 20]);
    // Edits that the database refuses say why, and nothing else waits for them.
    at("phone", "create orders customer_id=C7 employee_id=77");
    at("phone", "update customers C1 company_name=One");
    let output = site.device_of("phone", &["sync"]);
    let (said, _) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 change applied, 1 not"), "{said}");
    assert!(said.contains("reference (employee_id)"), "{said}");
}

#[test]
fn p5_a_new_incarnation_makes_devices_load_their_tables_again() {
    let shop = shop();
    let site = Site::on(&shop.url);
    let synced = || {
        let output = site.device_of("phone", &["--json", "sync"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["pulled"].as_i64().unwrap()
    };
    assert_eq!([synced(), synced()], [20, 0]);
    let said = succeed(site.path(), "new-incarnation");
    assert!(said.contains("loads its tables again"), "{said}");
    assert_eq!([synced(), synced()], [20, 0]);
}

/// A partitioned table with a key of two parts, an enum and a generated column.
const PARTS: &str = "
    CREATE TABLE job (
      region smallint, no int, day date NOT NULL, state state NOT NULL DEFAULT 'open',
      hours numeric(6, 2), double_hours numeric GENERATED ALWAYS AS (hours * 2) STORED,
      PRIMARY KEY (region, no)
    ) PARTITION BY LIST (region);
    CREATE TABLE job_1 PARTITION OF job FOR VALUES IN (1);
    CREATE TABLE job_2 PARTITION OF job FOR VALUES IN (2);
    CREATE TABLE job_rest PARTITION OF job DEFAULT;
    INSERT INTO job (region, no, day) SELECT r, n, '2026-01-01'::date + n
      FROM generate_series(1, 2) r, generate_series(1, 10) n;
";

#[test]
fn no_password_is_shown_and_one_in_the_file_is_warned_of() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), shop());
    let path = folder.path();
    succeed(path, &format!("init --from {}", shop.url));
    let (_, without) = texts(&run(path, "generate rust"));
    assert!(!without.contains("password"), "{without}");

    let text = fs::read_to_string(path.join("afield.toml")).unwrap();
    let text = text.replace(&shop.url, &with_password(&shop));
    fs::write(path.join("afield.toml"), text).unwrap();
    let output = run(path, "generate rust");
    assert!(output.status.success());
    let (_, warning) = texts(&output);
    assert!(
        warning.contains("afield.toml:5:12: [server] database: holds a password"),
        "{warning}"
    );
    assert!(!warning.contains("pass-word"), "{warning}");

    // The environment wins, and is no place to warn of.
    let nowhere = "postgres://postgres:pass-word@127.0.0.1:1/x";
    for (url, works) in [(with_password(&shop).as_str(), true), (nowhere, false)] {
        let mut command = afield(path);
        let output = command
            .args(["generate", "rust"])
            .env("AFIELD_DATABASE_URL", url)
            .output();
        let output = output.unwrap();
        let (_, err) = texts(&output);
        assert_eq!(output.status.success(), works, "{err}");
        assert!(
            !err.contains("pass-word") && !err.contains("holds a password"),
            "{err}"
        );
        assert_eq!(err.contains("that the server runs"), !works, "{err}");
    }
    let wrong = run(
        path,
        "init --force --from postgres://u:pass-word@h/x?sslmode=never",
    );
    let (_, err) = texts(&wrong);
    assert!(
        err.contains("unknown sslmode") && !err.contains("pass-word"),
        "{err}"
    );
}

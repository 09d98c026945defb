//! How PostgreSQL carries the statements of a pull out: by ranges and points of indexes, whatever
//! it believes of the tables.

use std::path::Path;

use afield_protocol::{Pattern, Type};
use afield_testbed::postgres::Cluster;

use super::entity::EntityTable;
use super::link::Link;
use super::pool::Pool;
use super::session::Session;
use super::statements::any_mark;
use super::tables::Tables;
use crate::model::file::PostgresUrl;
use crate::resolved::{Hop, Keep, Lookup, ServerModel};
use crate::storage::StorageError;
use crate::storage::conformance::{entity, server_model};

/// Ten rows when the statistics were made, ten thousand and more later.
const TEAM: &str = "
    CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('bad', 'good');
    CREATE DOMAIN code AS varchar(20);
    CREATE TABLE region (id int PRIMARY KEY, name text);
    CREATE TABLE firm (id code PRIMARY KEY, region_id int, name text);
    CREATE INDEX ON firm (region_id);
    CREATE TABLE visit (
      id uuid PRIMARY KEY, firm_id code, at timestamptz, words text
    );
    CREATE INDEX ON visit (firm_id, id); CREATE INDEX ON visit (at);
    CREATE TABLE line (b int, a text, words text, PRIMARY KEY (a, b));
    CREATE TABLE tag (id citext PRIMARY KEY, words text);
    CREATE TABLE feeling (id mood PRIMARY KEY, words text);
    CREATE TABLE price (id numeric PRIMARY KEY, words text);
    CREATE TABLE pad (id char(8) PRIMARY KEY, words text);
    CREATE TABLE part (id bigint, day date, words text, PRIMARY KEY (id, day))
      PARTITION BY RANGE (day);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    ANALYZE;";

/// What has come since, and nobody has counted yet.
const ROWS: &str = "
    INSERT INTO region SELECT n, 'r' FROM generate_series(1, 2000) n;
    INSERT INTO firm SELECT n, n % 2000, 'f' FROM generate_series(1, 9000) n;
    INSERT INTO visit SELECT gen_random_uuid(), n % 9000, now() FROM generate_series(1, 9000) n;
    INSERT INTO line SELECT n % 100, n, 'w' FROM generate_series(1, 9000) n;
    INSERT INTO tag SELECT n, 'w' FROM generate_series(1, 9000) n;
    INSERT INTO feeling VALUES ('bad', 'w'), ('good', 'w');
    INSERT INTO price SELECT n, 'w' FROM generate_series(1, 9000) n;
    INSERT INTO pad SELECT n, 'w' FROM generate_series(1, 9000) n;
    INSERT INTO part SELECT n, '2024-05-05', 'w' FROM generate_series(1, 9000) n;";

fn made() -> ServerModel {
    use Type::{Date, Decimal, Instant, Integer, Text, Uuid};
    let plain = |name, width, attributes: &[(&str, Type)]| {
        entity(name, Pattern::LastWriteWins, width, attributes)
    };
    let hop = |table: &str, key: &str, column: &str| Hop {
        table: table.into(),
        key: key.into(),
        column: column.into(),
    };
    let own = [("id", Uuid), ("firm_id", Text), ("at", Instant)];
    let mut visit = plain("visit", 1, &own);
    visit.keep = Some(Keep {
        attribute: 2,
        comparison: afield_protocol::Comparison::Before,
        seconds: 100,
    });
    let mut shown = afield_protocol::Attribute::new("region", Text);
    (shown.read_only, shown.lookup) = (true, true);
    visit.local.attributes.push(shown);
    visit.lookups.push(Lookup {
        column: "firm_id".into(),
        path: vec![hop("firm", "id", "region_id"), hop("region", "id", "name")],
        scale: None,
    });
    let words = ("words", Text);
    server_model(vec![
        visit,
        plain("line", 2, &[("a", Text), ("b", Integer), words]),
        plain("tag", 1, &[("id", Text), words]),
        plain("feeling", 1, &[("id", Text), words]),
        plain("price", 1, &[("id", Decimal), words]),
        plain("pad", 1, &[("id", Text), words]),
        plain("part", 2, &[("id", Integer), ("day", Date), words]),
    ])
}

pub(super) async fn plan(link: &Link, sql: &str) -> Result<String, StorageError> {
    let statement = link.prepare(sql, "planning").await?;
    let nulls = vec!["NULL"; statement.params().len()];
    let nulls = match nulls.is_empty() {
        true => String::new(),
        false => format!("({})", nulls.join(", ")),
    };
    let prepared = format!("PREPARE planned AS {sql}");
    link.run(&prepared, "planning").await?;
    let explained = format!("EXPLAIN (COSTS OFF) EXECUTE planned{nulls}");
    let rows = link.client.query(&explained, &[]).await;
    let rows = link.noted(rows, "planning")?;
    link.run("DEALLOCATE planned", "planning").await?;
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(lines.join("\n"))
}

fn statements(table: &EntityTable) -> Vec<(&'static str, String)> {
    let sql = &table.sql;
    let mut all = vec![
        ("scan first", sql.scan_first.clone()),
        ("scan after", sql.scan_after.clone()),
        ("shown", sql.shown.clone()),
    ];
    all.extend(sql.marks.iter().map(|sql| ("marks", sql.clone())));
    all.extend(
        table
            .captures()
            .map(|capture| ("any mark", any_mark(capture))),
    );
    if let Some((first, after)) = &sql.entering {
        all.push(("entering", first.clone()));
        all.push(("entering after", after.clone()));
    }
    for route in &table.lookups.routes {
        all.push(("route", route.marks.clone()));
        all.extend(route.levels.iter().map(|sql| ("route level", sql.clone())));
    }
    all
}

#[test]
fn p9_every_statement_of_a_pull_follows_indexes() {
    let database = Cluster::shared().database(TEAM);
    let url = PostgresUrl::parse(&database.url, Path::new("")).unwrap();
    let model = made();
    Session::connect(&url).unwrap().prepare(&model).unwrap();
    database.execute(ROWS);
    let pool = Pool::new(url, 2);
    let checked = pool.with(async |link| {
        let tables = Tables::load(link, &model).await?;
        let mut checked = 0;
        for entity in &model.entities {
            let table = tables.pulled(&entity.local.name)?;
            for (what, sql) in statements(table) {
                let plan = plan(link, &sql).await?;
                let name = &entity.local.name;
                assert!(!plan.contains("Seq Scan"), "{name}, {what}: {sql}\n{plan}");
                assert!(!plan.contains("Bitmap"), "{name}, {what}: {sql}\n{plan}");
                assert!(!plan.contains("Hash"), "{name}, {what}: {sql}\n{plan}");
                // Rows of one instant are put into the order of their keys.
                let may_sort = what.starts_with("entering") || what.starts_with("route");
                let sorts = plan
                    .lines()
                    .any(|line| line.trim_start_matches([' ', '-', '>']) == "Sort");
                assert!(!sorts || may_sort, "{name}, {what}: {sql}\n{plan}");
                // A condition of an index, not one that each row of it is held against.
                let is_filtered = plan.contains("Filter: ((r.id") && !plan.contains("IS NOT NULL");
                assert!(!is_filtered, "{name}, {what}: {sql}\n{plan}");
                if what == "marks" || what == "route" {
                    assert!(
                        plan.contains("Index Cond: (m.xid = $4)") || plan.contains("xid = $4"),
                        "{plan}"
                    );
                    assert!(plan.contains("xid >= s.lo"), "{plan}");
                }
                if std::env::var_os("AFIELD_PLANS").is_some() {
                    println!("--- {name}, {what}\n{sql}\n{plan}\n");
                }
                checked += 1;
            }
        }
        Ok(checked)
    });
    assert!(checked.unwrap() > 40);
}

/// A plan that was made over an empty table is not kept for a full one.
#[test]
fn p9_statements_are_planned_anew_when_a_table_grows() {
    let database = Cluster::shared().database(TEAM);
    let url = PostgresUrl::parse(&database.url, Path::new("")).unwrap();
    let kept = Pool::new(url, 2).with(async |link| {
        let mut kept = Vec::new();
        for size in [0, 8_192, 8_192, 90_000, 100_000, 200_000, 300_000, 600_000] {
            link.prepare("SELECT 1", "preparing").await?;
            link.has_sizes(&[1, 2], &[size, 0]);
            kept.push(link.kept());
        }
        Ok(kept)
    });
    assert_eq!(kept.unwrap(), [1, 1, 1, 0, 1, 1, 0, 1]);
}

//! How PostgreSQL carries the statements of a scoped pull out.

use std::path::Path;

use afield_protocol::{Pattern, Type};

use super::super::super::plan_tests::plan;
use super::super::super::pool::Pool;
use super::super::super::session::Session;
use super::super::super::tables::Tables;
use super::*;
use crate::model::file::PostgresUrl;
use crate::resolved::ServerModel;
use crate::storage::conformance::{entity, server_model};

/// Types of columns that decide, with the types of their values on devices. Of a domain over an
/// enum PostgreSQL uses no index.
const DECIDING: &[(&str, Type)] = &[
    ("int4", Type::Integer),
    ("int2", Type::Integer),
    ("numeric(9, 2)", Type::Decimal),
    ("text COLLATE \"POSIX\"", Type::Text),
    ("varchar(9)", Type::Text),
    ("name", Type::Text),
    ("char(9)", Type::Text),
    ("mood", Type::Text),
    ("uuid", Type::Uuid),
    ("bool", Type::Boolean),
    ("date", Type::Date),
    ("timestamptz", Type::Instant),
];

/// Tables that are empty when they are looked at; every second one has no index that follows the
/// order of a download too.
fn made() -> (String, ServerModel) {
    let mut sql = TYPES.to_owned();
    let mut entities = Vec::new();
    for (at, (kind, own)) in DECIDING.iter().enumerate() {
        let key = if at % 2 == 0 { ", b, a" } else { "" };
        sql += &format!(
            "CREATE TABLE t{at} (a int, b text, c {kind}, d int, PRIMARY KEY (b, a));
             CREATE INDEX ON t{at} (c{key}); CREATE INDEX ON t{at} (d{key});"
        );
        let attributes = [("a", Type::Integer), ("b", Type::Text), ("c", *own)];
        let made = entity(&format!("t{at}"), Pattern::LastWriteWins, 2, &attributes);
        let both = ["c", "d"].map(|column| condition(column, &[], Holds::User));
        entities.push(made.scoped(vec![both.to_vec()]));
    }
    (sql, server_model(entities))
}

#[test]
fn p9_every_statement_of_a_scoped_pull_follows_an_index() {
    let (sql, model) = made();
    let database = Cluster::shared().database(&sql);
    let url = PostgresUrl::parse(&database.url, Path::new("")).unwrap();
    Session::connect(&url).unwrap().prepare(&model).unwrap();
    for at in 0..DECIDING.len() {
        database.execute(&format!(
            "INSERT INTO t{at} SELECT n, n FROM generate_series(1, 4000) n"
        ));
    }
    let pool = Pool::new(url, 2);
    let checked = pool.with(async |link| {
        let tables = Tables::load(link, &model).await?;
        let mut checked = 0;
        for (at, (kind, _)) in DECIDING.iter().enumerate() {
            let (_, statements) = tables.pulled(&format!("t{at}"))?.scoped().unwrap();
            for of_column in statements {
                let rows = [&of_column.first, &of_column.after];
                for sql in rows {
                    let plan = plan(link, sql).await?;
                    let sorts = plan.contains("Sort Key");
                    assert_eq!(sorts, at % 2 == 1, "{kind}: {sql}\n{plan}");
                    // The other columns of the table have no index of such a name.
                    let index = ["_c_", "_d_"].map(|column| format!("t{at}{column}"));
                    let is_found = index.iter().any(|index| plan.contains(index));
                    assert!(
                        is_found && plan.contains("Index Cond"),
                        "{kind}: {sql}\n{plan}"
                    );
                }
                let marks = [&of_column.marks, &of_column.marks_of_all];
                for sql in rows.into_iter().chain(marks).chain([&of_column.every]) {
                    let plan = plan(link, sql).await?;
                    for wrong in ["Seq Scan", "Bitmap", "Hash Join", "Merge Join"] {
                        assert!(!plan.contains(wrong), "{kind}: {sql}\n{plan}");
                    }
                    checked += 1;
                }
                for sql in marks {
                    let plan = plan(link, sql).await?;
                    let is_range = plan.contains("AND (xid >= s.lo) AND (xid <= s.hi))")
                        || plan.contains("AND (m.xid >= s.lo) AND (m.xid <= s.hi))");
                    assert!(is_range, "{kind}: {sql}\n{plan}");
                    assert!(!plan.contains("Sort Key"), "{kind}: {sql}\n{plan}");
                }
            }
        }
        Ok(checked)
    });
    assert_eq!(checked.unwrap(), DECIDING.len() * 2 * 5);
}

//! The rules about rows that may be written, over the tables of the conformance suite.

use std::path::Path;

use super::super::super::pool::Pool;
use super::super::super::session::Session;
use super::super::super::tables::Tables;
use super::*;
use crate::model::file::PostgresUrl;
use crate::storage::conformance::{ada, eve, for_postgres, rights_model, rights_schema};

/// Entity and identifier; what Ada and Eve may do with the row: have, write, leave it so.
const ROWS: &[(&str, &[&str], &str, &str)] = &[
    (
        "site",
        &["0190b3a1-5c1e-7cc3-98a1-00000000000a"],
        "hwl",
        "-w-",
    ),
    (
        "site",
        &["0190b3a1-5c1e-7cc3-98a1-00000000000b"],
        "-w-",
        "hwl",
    ),
    (
        "site",
        &["0190b3a1-5c1e-7cc3-98a1-00000000000c"],
        "-w-",
        "-w-",
    ),
    ("shelf", &["1", "1"], "hwl", "-w-"),
    ("shelf", &["2", "2"], "-w-", "hwl"),
    ("job", &["1"], "hwl", "-w-"),
    ("job", &["3"], "-wl", "-w-"),
    ("step", &["p1"], "hwl", "-wl"),
    ("stamp", &["t1"], "hwl", "-wl"),
    ("stamp", &["t3"], "-wl", "-wl"),
    ("memo", &["a"], "hwl", "---"),
    ("memo", &["b"], "h-l", "---"),
    ("memo", &["c"], "-w-", "h-l"),
    ("wide", &["a"], "hwl", "-w-"),
    ("letter", &["a"], "hwl", "h--"),
    ("letter", &["b"], "h--", "h--"),
];

#[test]
fn p7_rules_are_asked_of_rows_by_their_keys() {
    let schema = for_postgres(&rights_schema("INTEGER PRIMARY KEY AUTOINCREMENT"));
    let database = Cluster::shared().database(&schema);
    let url = PostgresUrl::parse(&database.url, Path::new("")).unwrap();
    let model = rights_model();
    Session::connect(&url).unwrap().prepare(&model).unwrap();
    let asked = Pool::new(url).with(async |link| {
        let tables = Tables::load(link, &model).await?;
        for (entity, key, of_ada, of_eve) in ROWS {
            let table = tables.pulled(entity)?;
            let value = |(at, text): (usize, &&str)| match table.form(at).unwrap().kind {
                afield_protocol::Type::Integer => text.parse::<i64>().unwrap().into(),
                _ => (*text).into(),
            };
            let named: Vec<afield_protocol::Value> = key.iter().enumerate().map(value).collect();
            let key = match table.find(link, &named).await? {
                Some(row) => row.raw_key,
                None => RawKey(vec![vec![7; 16]]),
            };
            for (caller, expected) in [(ada(), of_ada), (eve(), of_eve)] {
                let mut found = String::new();
                let has = table.is_in_scope(link, &caller, &key).await?;
                found.push(if has { 'h' } else { '-' });
                let may_write = table.may_write(link, &caller, &key).await?;
                found.push(if may_write { 'w' } else { '-' });
                let may_become = table.may_become(link, &caller, &key).await?;
                found.push(if may_become { 'l' } else { '-' });
                assert_eq!(&found, expected, "{entity} {named:?} {}", caller.user);
            }
        }
        Ok(())
    });
    asked.unwrap();
}

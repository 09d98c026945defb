//! Any valid PostgreSQL database can be read.

use std::path::Path;

use afield_protocol::{Literal, Type};
use afield_server::catalog::{Catalog, Column, Identity, Table, TableKind};
use afield_server::model::file::PostgresUrl;
use afield_server::storage::postgres::Session;
use afield_testbed::postgres::{Cluster, Database};

/// A database with everything that PostgreSQL lets a team do to its tables.
pub(crate) fn nasty() -> (Database, Catalog) {
    let database = Cluster::shared().database(include_str!("postgres/nasty.sql"));
    let catalog = session(&database.url).catalog_measured().unwrap();
    (database, catalog)
}

pub(crate) fn session(url: &str) -> Session {
    Session::connect(&PostgresUrl::parse(url, Path::new("")).unwrap()).unwrap()
}

fn table<'c>(catalog: &'c Catalog, name: &str) -> &'c Table {
    let mut tables = catalog.tables.iter();
    tables
        .find(|table| table.name == name)
        .unwrap_or_else(|| panic!("{name}"))
}

fn column<'c>(catalog: &'c Catalog, name: &str) -> &'c Column {
    table(catalog, "every_type")
        .column(name)
        .unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn tables_have_a_name_for_models_one_for_devices_and_one_in_sql() {
    let (_database, catalog) = nasty();
    for (name, title, quoted) in [
        ("always", "always", r#""public"."always""#),
        ("Order", "Order", r#""public"."Order""#),
        (
            "sales.Order Line",
            "sales_Order Line",
            r#""sales"."Order Line""#,
        ),
        (r#""a.b""#, "a.b", r#""public"."a.b""#),
        (r#""Odd.Schema".t"#, "Odd.Schema_t", r#""Odd.Schema"."t""#),
        (
            r#""Odd.Schema"."""t""#,
            "Odd.Schema_\"t",
            r#""Odd.Schema"."""t""#,
        ),
    ] {
        let table = table(&catalog, name);
        assert_eq!((&*table.title, &*table.quoted), (title, quoted));
    }
    let odd = table(&catalog, r#""a.b""#);
    let names: Vec<&str> = odd.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(
        names,
        ["c.d", "q\"q", "new\nline", "💥", "rowid", "afield_x"]
    );
    assert_eq!(catalog.table("Order").unwrap().columns[1].name, "ID");
    assert_eq!(catalog.table("order").unwrap().columns[1].name, "upper");
}

#[test]
fn what_is_no_ordinary_table_is_known_as_what_it_is() {
    let (database, _) = nasty();
    let mut other = database.connect();
    other
        .batch_execute("CREATE TEMPORARY TABLE fading (id int PRIMARY KEY)")
        .unwrap();
    let catalog = session(&database.url).catalog().unwrap();
    for (name, kind) in [
        ("made", TableKind::Ordinary),
        ("parted", TableKind::Ordinary),
        ("parted_26", TableKind::Partition),
        ("heir", TableKind::Inheriting),
        ("heir_of", TableKind::Inherited),
        ("seen", TableKind::View),
        ("kept", TableKind::MaterializedView),
        ("fleeting", TableKind::Unlogged),
        ("elsewhere", TableKind::Foreign),
    ] {
        assert_eq!(table(&catalog, name).kind, kind, "{name}");
    }
    let mut tables = catalog.tables.iter();
    let fading = tables
        .find(|table| table.name.ends_with(".fading"))
        .unwrap();
    assert_eq!(fading.kind, TableKind::Temporary);
}

#[test]
fn keys_say_who_numbers_the_rows() {
    let (_database, catalog) = nasty();
    for (name, identity, highest) in [
        ("always", Identity::Always, Some(2)),
        ("by_default", Identity::ByDefault, None),
        ("serial_one", Identity::Sequence, None),
        ("shared_one", Identity::Sequence, None),
        ("computed_one", Identity::Computed, None),
        ("too_high", Identity::Sequence, Some(1 << 52)),
        ("natural_int", Identity::None, None),
        ("made", Identity::None, None),
        ("composite", Identity::None, None),
        ("numbered_parts", Identity::None, None),
    ] {
        let table = table(&catalog, name);
        assert_eq!(
            (table.identity, table.highest_number),
            (identity, highest),
            "{name}"
        );
        assert!(
            table.columns.iter().all(|column| !column.generated),
            "{name}"
        );
    }
    assert_eq!(table(&catalog, "composite").primary_key, ["a", "b"]);
    assert_eq!(table(&catalog, "parted").primary_key, ["id", "day"]);
    assert_eq!(
        table(&catalog, "sales.Order Line").primary_key,
        ["order", "select"]
    );
    assert!(table(&catalog, "no_key").primary_key.is_empty());
    assert_eq!(table(&catalog, "no_key").unique, [["b", "a"]]);
}

#[test]
fn types_follow_the_declaration_through_domains() {
    let (_database, catalog) = nasty();
    for (kind, names) in [
        (Type::Integer, "i2 i4 i8 dom twice num"),
        (Type::Real, "f4 f8"),
        (Type::Decimal, "n n_ps n_round dom_money"),
        (Type::Boolean, "flag"),
        (Type::Date, "d"),
        (Type::Time, "t"),
        (Type::Instant, "tz"),
        (Type::Datetime, "ts"),
        (Type::Bytes, "bin"),
        (Type::Json, "js jsb"),
        (Type::Uuid, "id u"),
        (Type::Text, "s v c ci m dom_code same"),
    ] {
        for name in names.split(' ') {
            let column = column(&catalog, name);
            assert_eq!((column.kind, &column.left_out), (kind, &None), "{name}");
        }
    }
    for name in "ttz span arr arr_needed p r pt ip cash bits x words o dom_tags".split(' ') {
        let column = column(&catalog, name);
        assert!(column.left_out.is_some(), "{name}");
        assert_eq!(column.kind, Type::Text, "{name}");
    }
    let digits = |name| {
        (
            column(&catalog, name).precision,
            column(&catalog, name).scale,
        )
    };
    assert_eq!(digits("n"), (None, None));
    assert_eq!(digits("n_ps"), (Some(10), Some(2)));
    assert_eq!(digits("n_round"), (Some(5), Some(0)));
    assert_eq!(digits("dom_money"), (Some(12), Some(3)));
    assert!(table(&catalog, "every_type").column("dropped").is_none());
    let generated = |name| column(&catalog, name).generated;
    assert!(generated("twice") && generated("num") && !generated("i4"));
    let collation = |name| column(&catalog, name).collation.as_deref();
    assert_eq!(collation("same"), Some("blind"));
    assert_eq!((collation("ci"), collation("s")), (Some("citext"), None));
}

#[test]
fn defaults_are_literals_or_computed() {
    let (_database, catalog) = nasty();
    let text = |text: &str| Some(Literal::Text(text.into()));
    for (name, default) in [
        ("i2", Some(Literal::Integer(0))),
        ("i4", Some(Literal::Integer(-1))),
        ("dom", Some(Literal::Integer(7))),
        ("f8", Some(Literal::Real(0.5))),
        ("n_ps", text("1.50")),
        ("flag", Some(Literal::Integer(1))),
        ("d", text("2026-01-31")),
        ("jsb", text("{}")),
        ("s", text("it's")),
        ("m", text("sad")),
    ] {
        let column = column(&catalog, name);
        assert_eq!(column.default, default, "{name}");
        assert!(column.has_default, "{name}");
    }
    for name in ["tz", "u", "span", "num"] {
        let column = column(&catalog, name);
        assert_eq!(
            (&column.default, column.has_default),
            (&None, true),
            "{name}"
        );
    }
    assert!(column(&catalog, "dom").not_null, "a domain may refuse null");
    assert!(!column(&catalog, "i8").has_default);
}

#[test]
fn references_and_indexes_name_their_columns() {
    let (_database, catalog) = nasty();
    let line = table(&catalog, "sales.Order Line");
    let keys: Vec<(Vec<String>, &str, Vec<String>)> = (line.foreign_keys.iter())
        .map(|key| (key.columns.clone(), &*key.table, key.targets.clone()))
        .collect();
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys,
        [
            (names(&["CustomerId"]), "sales.customer", names(&["id"])),
            (names(&["pb", "pa"]), "composite", names(&["b", "a"])),
        ]
    );
    assert_eq!(
        line.indexes,
        [names(&["CustomerId"]), names(&["pa"]), names(&["pb", "pa"])]
    );
    assert_eq!(line.unique, [names(&["pb", "pa"])]);
    assert_eq!(
        table(&catalog, "refers_parted").foreign_keys.len(),
        1,
        "none of a partition"
    );
}

#[test]
fn a_role_sees_what_it_may_not_read_as_that() {
    let (database, _) = nasty();
    let url = database.url.replace("postgres@", "half_blind@");
    let catalog = session(&url).catalog_measured().unwrap();
    for name in ["unreadable", "half_key", "hidden.t", "sales.customer"] {
        assert_eq!(table(&catalog, name).kind, TableKind::Unreadable, "{name}");
    }
    let half = table(&catalog, "half");
    assert_eq!(half.kind, TableKind::Ordinary);
    let readable: Vec<bool> = half
        .columns
        .iter()
        .map(|column| column.is_readable)
        .collect();
    assert_eq!(readable, [true, true, false]);
    assert_eq!(half.measured.as_ref().unwrap().rows, 0);
    assert_eq!(
        table(&catalog, "always").highest_number,
        Some(2),
        "of its rows"
    );
}

#[test]
fn rows_are_counted_and_bytes_measured() {
    let (_database, catalog) = nasty();
    let measured = |name| table(&catalog, name).measured.clone().unwrap();
    assert_eq!(measured("made").rows, 1_500);
    assert_eq!(measured("always").rows, 2);
    assert_eq!(
        measured("every_type").largest,
        [("bin".to_owned(), 200_000)]
    );
    assert_eq!(table(&catalog, "seen").measured, None);
}

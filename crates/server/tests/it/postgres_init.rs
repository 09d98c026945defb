//! The proposed model of a PostgreSQL: nothing to edit before it is accepted.

use std::path::Path;

use afield_protocol::{Identifier, Pattern};
use afield_server::catalog::Catalog;
use afield_server::model::add::add;
use afield_server::model::file::Overrides;
use afield_server::model::init::{InitOptions, generate};
use afield_server::model::{Checked, ModelFile, check, resolve};
use afield_server::resolved::ServerModel;

use crate::postgres_catalog::{nasty, session};

const OPTIONS: InitOptions<'_> = InitOptions {
    database_url: "postgres://team@db.example/shop",
    secret_file: ".afield/secret",
};

/// `AFIELD_BLESS=1 cargo test -p afield-server --test it postgres_init` writes it anew.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/postgres/nasty.toml");

fn parsed(text: &str) -> ModelFile {
    let file = ModelFile::parse(text, Path::new("afield.toml"), &Overrides::default());
    file.unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

fn resolved(text: &str, catalog: &Catalog) -> ServerModel {
    resolve(&parsed(text), catalog).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

#[test]
fn a_nasty_database_gets_the_committed_model() {
    let (_database, catalog) = nasty();
    let text = generate(&catalog, &OPTIONS);
    if std::env::var_os("AFIELD_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(GOLDEN, &text).unwrap();
    }
    assert!(
        text == std::fs::read_to_string(GOLDEN).unwrap(),
        "`init` proposes something else now; look at it, then bless it"
    );
}

#[test]
fn the_proposed_model_is_accepted_as_it_is() {
    let (database, catalog) = nasty();
    let file = parsed(&generate(&catalog, &OPTIONS));
    let session = session(&database.url);
    let Checked { model, .. } = check(&file, &session.catalog().unwrap(), &session).unwrap();
    let entity = |name: &str| &model.entity(name).unwrap_or_else(|| panic!("{name}")).local;
    for (name, identifier, pattern) in [
        ("always", Identifier::Server, Pattern::LastWriteWins),
        ("serial_one", Identifier::Server, Pattern::LastWriteWins),
        ("made", Identifier::Uuid, Pattern::LastWriteWins),
        ("by_code", Identifier::Natural, Pattern::LastWriteWins),
        (
            "numbered_parts",
            Identifier::Natural,
            Pattern::ReadOnlyOptimized,
        ),
    ] {
        let entity = entity(name);
        assert_eq!(
            (entity.identifier, entity.pattern),
            (identifier, pattern),
            "{name}"
        );
    }
    let line = entity("sales_Order Line");
    let references: Vec<(&str, Vec<String>)> = (line.references.iter())
        .map(|one| (&*one.entity, one.attributes.clone()))
        .collect();
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        references,
        [
            ("sales_customer", names(&["CustomerId"])),
            ("composite", names(&["pa", "pb"])),
        ]
    );
    // Names that differ in case alone.
    assert_eq!(entity("Order").references[0].attributes, ["ID_2"]);
    assert_eq!(entity("Order").references[0].entity, "Order");
    assert_eq!(entity("order_2").references[0].entity, "Order");
    assert_eq!(model.entity("order_2").unwrap().table, "order");
}

#[test]
fn adding_tables_one_by_one_gives_the_same_model() {
    let (_database, catalog) = nasty();
    let path = Path::new("afield.toml");
    let all = resolved(&generate(&catalog, &OPTIONS), &catalog);
    let mut text = generate(&Catalog::default(), &OPTIONS);
    // References to what is added later are hidden when a table comes alone.
    let mut names: Vec<&str> = catalog.tables.iter().map(|table| &*table.name).collect();
    names.sort_by_key(|name| name.contains("Line") || name.starts_with("refers"));
    for name in names {
        match add(&text, path, &Overrides::default(), &catalog, name) {
            Ok(longer) => text = longer,
            Err(errors) => {
                assert!(
                    !all.entities.iter().any(|entity| entity.table == name),
                    "{errors:?}"
                );
            }
        }
    }
    let mut one_by_one = resolved(&text, &catalog).entities;
    let mut at_once = all.entities;
    one_by_one.sort_by(|a, b| a.table.cmp(&b.table));
    at_once.sort_by(|a, b| a.table.cmp(&b.table));
    assert_eq!(one_by_one, at_once);
}

#[test]
fn the_schema_public_may_be_named() {
    let (_database, catalog) = nasty();
    let path = Path::new("afield.toml");
    let base = generate(&Catalog::default(), &OPTIONS);
    let add = |text: &str, table| add(text, path, &Overrides::default(), &catalog, table);
    let text = add(&base, "public.always").unwrap();
    assert_eq!(text, add(&base, "always").unwrap());
    let named = text.replace("from = \"always\"", "from = \"public.always\"");
    assert_eq!(
        resolved(&named, &catalog).entities,
        resolved(&text, &catalog).entities
    );
    let errors = add(&named, "always").unwrap_err();
    assert!(
        errors[0].message.contains("is in the model already"),
        "{errors:?}"
    );
}

/// What there is no type for is text to read; what may not be read cannot be listed.
#[test]
fn what_is_left_out_may_be_listed_and_is_only_read() {
    let (database, catalog) = nasty();
    let base = generate(&Catalog::default(), &OPTIONS);
    let text = format!(
        "{base}[local.every_type]\nfrom = \"every_type\"\npattern = \"last-write-wins\"\n\
         attributes = [\"arr\", \"span\", \"i4\"]\nscope = \"everyone\"\n"
    );
    let model = resolved(&text, &catalog);
    let entity = &model.entities[0].local;
    let is_only_read = |name: &str| {
        let mut attributes = entity.attributes.iter();
        attributes
            .find(|attribute| attribute.name == name)
            .unwrap()
            .read_only
    };
    assert!(is_only_read("arr") && is_only_read("span") && !is_only_read("i4"));

    let scoped = text.replace("scope = \"everyone\"", "scope = \"arr = :user\"");
    let errors = resolve(&parsed(&scoped), &catalog).unwrap_err();
    assert!(
        errors[0]
            .message
            .contains("`arr` is integer[], which has no one exact form")
    );

    let url = database.url.replace("postgres@", "half_blind@");
    let catalog = session(&url).catalog_measured().unwrap();
    let proposed = generate(&catalog, &OPTIONS);
    assert!(proposed.contains("# \"secret\",  # left out: this database user may not read it"));
    resolved(&proposed, &catalog);
    let listed = proposed.replacen("# \"secret\",", "\"secret\",", 1);
    let errors = resolve(&parsed(&listed), &catalog).unwrap_err();
    assert!(errors[0].message.contains("GRANT SELECT"), "{errors:?}");
}

#[test]
fn a_table_that_cannot_be_synchronised_is_refused_with_what_to_do() {
    let (_database, catalog) = nasty();
    let base = generate(&Catalog::default(), &OPTIONS);
    let path = Path::new("afield.toml");
    for (table, remedy) in [
        ("seen", "use the tables behind it"),
        ("kept", "use the tables behind it"),
        ("parted_26", "use the partitioned table"),
        ("fleeting", "SET LOGGED"),
        ("elsewhere", "a server of its own"),
        ("heir", "use partitions"),
        ("heir_of", "use partitions"),
        ("by_span", "give it another primary key"),
        ("no_key_at_all", "give it one, or leave it out"),
        (
            "no_key",
            "ALTER TABLE \"public\".\"no_key\" ADD PRIMARY KEY (\"b\", \"a\")",
        ),
        ("sales.customers", "did you mean `sales.customer`?"),
    ] {
        let errors = add(&base, path, &Overrides::default(), &catalog, table).unwrap_err();
        assert!(errors[0].message.contains(remedy), "{table}: {errors:?}");
    }
}

//! Whose rows, as the model file says it: the grammar, and paths through the database.

use std::path::Path;

use afield_server::catalog::Catalog;
use afield_server::model::file::Overrides;
use afield_server::model::{Checked, ModelError, ModelFile, check};
use afield_server::resolved::{Condition, Holds, Hop, Scope};
use afield_server::storage::sqlite::catalog::SqliteQueries;

use crate::model_catalog::database;

pub(crate) const SCHEMA: &str = r#"
CREATE TABLE region (id INTEGER PRIMARY KEY, code TEXT UNIQUE, name TEXT);
CREATE TABLE company (id INTEGER PRIMARY KEY, region_id INTEGER NOT NULL REFERENCES region,
  region_code TEXT REFERENCES region(code), owner TEXT COLLATE NOCASE, boss INTEGER);
CREATE INDEX company_region ON company(region_id);
CREATE TABLE visit (id TEXT PRIMARY KEY, company_id INTEGER NOT NULL REFERENCES company(id),
  user_id TEXT NOT NULL, city TEXT, fee REAL, photo BLOB, doc JSON, "Group By" TEXT NOT NULL,
  wrong TEXT REFERENCES company(id), two INTEGER REFERENCES company(id) REFERENCES region(id),
  a INTEGER, b INTEGER, lost INTEGER REFERENCES nowhere(id), name TEXT REFERENCES region(name),
  FOREIGN KEY (a, b) REFERENCES pair(a, b));
CREATE INDEX visit_user ON visit(user_id);
CREATE INDEX visit_company ON visit(company_id, city);
CREATE INDEX visit_group ON visit("Group By");
CREATE TABLE pair (a INTEGER, b INTEGER, PRIMARY KEY (a, b));
CREATE TABLE region_member (user_id TEXT, region_id INTEGER, region_code TEXT);
"#;

/// The named scopes of [`held`]; they begin in line 8.
pub(crate) const NAMED: &str = "[scope.regions]
query = \"SELECT region_id FROM region_member WHERE user_id = :user\"
[scope.codes]
query = \"SELECT region_code FROM region_member WHERE user_id = :user\"
";

/// The model with this scope, in line 7, held against the schema.
pub(crate) fn held(scope: &str, named: &str) -> Result<Checked, Vec<ModelError>> {
    let text = format!(
        "[server]\ndatabase = \"sqlite:x.db\"\n[local.visit]\nfrom = \"visit\"\n\
         pattern = \"last-write-wins\"\nattributes = [{{ town = \"city\" }}]\nscope = {scope}\n\
         {named}"
    );
    let (connection, catalog): (_, Catalog) = database(SCHEMA);
    let queries = SqliteQueries::new(connection).unwrap();
    let file = ModelFile::parse(&text, Path::new("afield.toml"), &Overrides::default())?;
    check(&file, &catalog, &queries)
}

fn ways(scope: &str) -> Vec<Vec<Condition>> {
    let toml = format!("'''{scope}'''");
    let checked = held(&toml, NAMED).unwrap_or_else(|errors| panic!("{scope}: {errors:#?}"));
    let visit = checked.model.entity("visit").unwrap();
    assert_eq!(visit.local.scope, visit.scope.widths());
    match &visit.scope {
        Scope::Ways(ways) => ways.clone(),
        Scope::Everyone => panic!("{scope} is everyone's"),
    }
}

fn column(column: &str, holds: Holds) -> Condition {
    Condition {
        column: column.to_owned(),
        path: Vec::new(),
        holds,
    }
}

fn hop(table: &str, key: &str, column: &str) -> Hop {
    Hop {
        table: table.to_owned(),
        key: key.to_owned(),
        column: column.to_owned(),
    }
}

#[test]
fn conditions_find_their_columns() {
    let user = || column("user_id", Holds::User);
    for text in [
        "user_id = :user",
        "USER_ID=:USER",
        " ( ((user_id\n= :user))) ",
    ] {
        assert_eq!(ways(text), [vec![user()]], "{text}");
    }
    let claim = |name: &str| column("Group By", Holds::Claim(name.to_owned()));
    assert_eq!(ways("\"Group By\" = :claim.team"), [vec![claim("team")]]);
    assert_eq!(
        ways("\"group by\" = :claim.\"https://x/\"\"y\""),
        [vec![claim("https://x/\"y")]]
    );
    let regions = Condition {
        column: "company_id".to_owned(),
        path: vec![hop("company", "id", "region_id")],
        holds: Holds::Scope("regions".to_owned()),
    };
    assert_eq!(ways("company_id.region_id in regions"), [vec![regions]]);
    let named = Condition {
        column: "company_id".to_owned(),
        path: vec![
            hop("company", "id", "region_id"),
            hop("region", "id", "name"),
        ],
        holds: Holds::User,
    };
    assert_eq!(ways("company_id.region_id.name = :user"), [vec![named]]);
    let by_code = Condition {
        column: "company_id".to_owned(),
        path: vec![
            hop("company", "id", "region_code"),
            hop("region", "code", "id"),
        ],
        holds: Holds::Scope("regions".to_owned()),
    };
    assert_eq!(
        ways("company_id.region_code.id in regions"),
        [vec![by_code]]
    );
}

#[test]
fn and_binds_tighter_than_or_and_is_multiplied_out() {
    let one = |name: &str| column(name, Holds::User);
    let (user, city, group) = (one("user_id"), one("city"), one("Group By"));
    assert_eq!(
        ways("user_id = :user or city = :user and \"Group By\" = :user"),
        [vec![user.clone()], vec![city.clone(), group.clone()]]
    );
    assert_eq!(
        ways("(user_id = :user OR city = :user) AND \"Group By\" = :user"),
        [vec![user.clone(), group.clone()], vec![city.clone(), group]]
    );
    // What stands twice is once there, whatever the order and the letters' case.
    for twice in [
        "user_id = :user or User_Id = :user",
        "user_id = :user and USER_ID = :user",
        "user_id = :user and user_id = :user or user_id = :user",
    ] {
        assert_eq!(ways(twice), [vec![user.clone()]], "{twice}");
    }
    assert_eq!(
        ways("user_id = :user and city = :user or city = :user and user_id = :user"),
        [vec![user, city]]
    );
}

#[test]
fn everyone_has_no_conditions() {
    for scope in ["\"everyone\"", "\" everyone \"", "'everyone'"] {
        let checked = held(scope, "").unwrap();
        let visit = checked.model.entity("visit").unwrap();
        assert_eq!(visit.scope, Scope::Everyone);
        assert!(visit.local.scope.is_empty());
        assert_eq!(checked.warnings, []);
    }
}

/// Scopes in TOML that are mistakes, and what must be said about each.
#[track_caller]
fn assert_said(cases: &[(&str, &str)]) {
    let unsaid = cases.iter().filter_map(|(scope, expected)| {
        let errors = held(scope, NAMED).expect_err(scope);
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let is_said = shown.iter().any(|line| line.contains(expected));
        (!is_said).then(|| format!("{scope}: {expected}: {shown:#?}"))
    });
    let unsaid: Vec<String> = unsaid.collect();
    assert!(unsaid.is_empty(), "{}", unsaid.join("\n"));
}

#[track_caller]
fn assert_says(scope: &str, expected: &str) {
    assert_said(&[(scope, expected)]);
}

/// What the grammar does not allow, and what must be said about it.
const UNGRAMMATICAL: &[(&str, &str)] = &[
    (
        "''",
        "afield.toml:7:10: [local.visit] scope: expected a scope: `everyone`, or a column",
    ),
    (
        "7",
        "7:9: [local.visit] scope: expects text in quotes, found integer",
    ),
    (
        "'Everione'",
        "7:10: [local.visit] scope: unknown scope `Everione`; did you mean",
    ),
    (
        "'everyone or user_id = :user'",
        "7:10: [local.visit] scope: `everyone` stands alone",
    ),
    (
        "'user_id = :user and everyone'",
        "7:30: [local.visit] scope: `everyone` stands alone",
    ),
    (
        "'user_id'",
        "7:17: [local.visit] scope: expected `= :user`, `= :claim.NAME` or `in SCOPE`",
    ),
    (
        "'user_id = '",
        "7:19: [local.visit] scope: expected `:user` or `:claim.NAME` behind `=",
    ),
    (
        "'user_id = regions'",
        "7:20: [local.visit] scope: expected `:user` or `:claim.NAME`",
    ),
    (
        "'user_id = regions'",
        "found `regions`; for the values of a query write `in NAME`",
    ),
    (
        "'user_id = :usr'",
        "7:21: [local.visit] scope: expected `:user` or `:claim.NAME`, found :usr; did \
             you mean `user`?",
    ),
    (
        "'user_id = :claim'",
        "7:26: [local.visit] scope: expected `.` and the name of a claim",
    ),
    (
        "'user_id = :claim.'",
        "7:27: [local.visit] scope: expected the name of a claim",
    ),
    (
        "'user_id == :user'",
        "7:19: [local.visit] scope: expected `:user`",
    ),
    (
        "'user_id != :user'",
        "7:18: [local.visit] scope: `!` has no meaning here; the comparisons",
    ),
    (
        "\"user_id = 'ann'\"",
        "7:20: [local.visit] scope: `'` has no meaning here; a scope compares",
    ),
    (
        "'user_id = :user && city = :user'",
        "7:26: [local.visit] scope: `&` has no meaning here; write `and`",
    ),
    (
        "'user_id = :user city = :user'",
        "7:26: [local.visit] scope: expected `and`, `or` or the end, found `city`",
    ),
    (
        "'(user_id = :user'",
        "7:26: [local.visit] scope: expected `and`, `or` or `)`, found the end",
    ),
    (
        "'user_id = :user)'",
        "7:25: [local.visit] scope: expected `and`, `or` or the end, found `)`",
    ),
    (
        "'user_id = :user or'",
        "7:28: [local.visit] scope: expected a column, found the end",
    ),
    (
        "':user = user_id'",
        "7:10: [local.visit] scope: the column stands first",
    ),
    (
        "'not user_id = :user'",
        "7:10: [local.visit] scope: `not` has no meaning here",
    ),
    (
        "'user_id in :user'",
        "7:21: [local.visit] scope: `:user` and claims are single values",
    ),
    (
        "'user_id in (1)'",
        "7:21: [local.visit] scope: `in` names a scope; put the query under",
    ),
    (
        "'in = :user'",
        "7:10: [local.visit] scope: expected a column, found `in`; as a name",
    ),
    (
        "'\"user_id = :user'",
        "7:10: [local.visit] scope: a name in quotes has no end",
    ),
    (
        "'company_id. = :user'",
        "7:22: [local.visit] scope: expected a column behind `.`",
    ),
    // Places of texts over several lines, and of texts with escapes.
    (
        "'''\nuser_id = :user\n  or citi = :user'''",
        "9:6: [local.visit] scope: the table `visit` has no column `citi`; did you mean \
             `city`?",
    ),
    (
        "\"\\u0063iti = :user\"",
        "7:9: [local.visit] scope: the table `visit` has no column `citi`",
    ),
];

#[test]
fn what_the_grammar_does_not_allow_is_named_with_its_place() {
    assert_said(UNGRAMMATICAL);
}

/// Paths that the database does not have, and what must be said about them.
const ASTRAY: &[(&str, &str)] = &[
    (
        "'town = :user'",
        "7:10: [local.visit] scope: the table `visit` has no column `town`; `town` is \
             the local name of the column `city`: write that",
    ),
    (
        "'company_id.town = :user'",
        "7:21: [local.visit] scope: the table `company` has no column `town`",
    ),
    (
        "'compny_id.region_id in regions'",
        "7:10: [local.visit] scope: the table `visit` has no column `compny_id`; did \
             you mean `company_id`?",
    ),
    (
        "'company_id.region_id in region'",
        "7:34: [local.visit] scope: there is no [scope.region]; did you mean `regions`?",
    ),
    (
        "'city.name = :user'",
        "7:10: [local.visit] scope: `visit.city` is no foreign key, so `.` leads \
             nowhere from it; there is `company_id`",
    ),
    (
        "'company_id.boss.id = :user'",
        "7:21: [local.visit] scope: `company.boss` is no foreign key",
    ),
    (
        "'a.b = :user'",
        "7:10: [local.visit] scope: `visit.a` is part of a foreign key of several columns",
    ),
    (
        "'two.id = :user'",
        "7:10: [local.visit] scope: `visit.two` is a foreign key to `company` and to \
             `region`",
    ),
    (
        "'lost.id = :user'",
        "7:10: [local.visit] scope: `visit.lost` refers to `nowhere` (id), which is no table",
    ),
    (
        "'name.id = :user'",
        "7:10: [local.visit] scope: `visit.name` refers to `region` (name), which is no \
             table with such a key",
    ),
    (
        "'wrong.region_id in regions'",
        "7:10: [local.visit] scope: `visit.wrong` is TEXT and refers to `company.id`, \
             which is INTEGER",
    ),
    (
        "'company_id.region_id in codes'",
        "7:21: [local.visit] scope: `region_id` is INTEGER, and the query of \
             [scope.codes] finds `region_member.region_code`, which is TEXT",
    ),
    (
        "'company_id.owner = :user'",
        "7:21: [local.visit] scope: `owner` is compared by the collation NOCASE",
    ),
    (
        "'fee = :user'",
        "7:10: [local.visit] scope: `fee` is real, which has no one exact form",
    ),
    (
        "'photo = :user'",
        "7:10: [local.visit] scope: `photo` is bytes",
    ),
    (
        "'doc = :claim.d'",
        "7:10: [local.visit] scope: `doc` is json",
    ),
];

#[test]
fn a_path_that_leads_nowhere_is_named_with_its_place() {
    assert_said(ASTRAY);
}

#[test]
fn conditions_and_parentheses_have_a_limit() {
    let any = |count: usize| {
        let claims = (0..count).map(|at| format!("user_id = :claim.c{at}"));
        claims.collect::<Vec<_>>().join(" or ")
    };
    assert_eq!(ways(&any(64)).len(), 64);
    assert_says(
        &format!("'{}'", any(65)),
        "7:10: [local.visit] scope: more than 64 conditions when `and` is multiplied out",
    );
    let both = format!(
        "'city = :user or ({}) and ({})'",
        any(6),
        any(6).replace(".c", ".d")
    );
    assert_says(&both, "7:26: [local.visit] scope: more than 64 conditions");
    let many = vec![format!("({})", any(8)); 40].join(" and ");
    assert_says(&format!("'{many}'"), "more than 64 conditions");
    let deep = |depth: usize| "(".repeat(depth) + "user_id = :user" + &")".repeat(depth);
    assert_eq!(ways(&deep(32)).len(), 1);
    assert_says(
        &format!("'{}'", deep(33)),
        "7:42: [local.visit] scope: more than 32 parentheses",
    );
    assert_says(&format!("'{}'", deep(100_000)), "more than 32 parentheses");
}

#[test]
fn missing_indexes_and_nulls_are_said_once_with_what_to_do() {
    let warnings = |scope: &str| -> Vec<String> {
        let checked = held(&format!("'{scope}'"), NAMED).unwrap();
        let mut shown: Vec<String> = checked.warnings.iter().map(ToString::to_string).collect();
        shown.retain(|line| !line.contains("no entity uses it"));
        shown
    };
    assert_eq!(warnings("user_id = :user"), Vec::<String>::new());
    assert_eq!(
        warnings("company_id.region_id in regions"),
        Vec::<String>::new()
    );
    assert_eq!(
        warnings("city = :user or city = :claim.town"),
        [
            "afield.toml:7:9: [local.visit] scope: no index of `visit` begins with `city`, so a \
             pull reads the whole table for each value: CREATE INDEX \"visit_city\" ON \"visit\" \
             (\"city\", \"id\")",
            "afield.toml:7:9: [local.visit] scope: `visit.city` can be null; rows where it \
             is are \
             nobody's",
        ]
    );
    let hop = warnings("company_id.boss = :claim.boss");
    assert!(
        hop[0].contains("CREATE INDEX \"company_boss\" ON \"company\" (\"boss\")"),
        "{hop:?}"
    );
    assert!(hop[1].contains("`company.boss` can be null"), "{hop:?}");
}

#[test]
fn p7_no_mistake_opens_a_scope_and_none_makes_the_parser_panic() {
    const GOOD: &str = "(user_id = :user or company_id.region_id in regions) and city = :claim.c";
    let mut random = fastrand::Rng::with_seed(11);
    let (connection, catalog) = database(SCHEMA);
    let queries = SqliteQueries::new(connection).unwrap();
    for _ in 0..2_000 {
        let mut bytes = GOOD.as_bytes().to_vec();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"().:=\" \nao'"[random.usize(..11)]),
            }
        }
        let scope = String::from_utf8_lossy(&bytes).replace("'''", "");
        let text = format!(
            "[server]\ndatabase = \"sqlite:x\"\n[local.v]\nfrom = \"visit\"\nattributes = []\n\
             pattern = \"read-only\"\nscope = '''{scope}'''\n{NAMED}"
        );
        let file = ModelFile::parse(&text, Path::new("a.toml"), &Overrides::default());
        if let Ok(file) = file
            && let Ok(checked) = check(&file, &catalog, &queries)
        {
            let scope = &checked.model.entities[0].scope;
            assert!(!scope.is_everyone(), "{text}: opened by a mistake");
        }
    }
}

//! The simulated app: its entities, the team's tables behind them, and the values people type.
//!
//! ```text
//! region   read-only             integer key
//! price    read-only-optimized   text key, other names in the database
//! site     last-write-wins       UUID, unique `code`          in both units
//! visit    last-write-wins       UUID, refers to site, CHECK  poison lives here
//! reading  last-write-wins       text + integer key           in unit `field`
//! account  last-write-wins       integer key, `balance` read-only, its sum never changes
//! shop     last-write-wins       integer key; whose rows: see `scoped`
//! task     last-write-wins       UUID, refers to shop; whose rows: see `scoped`
//! project  last-write-wins       integer key; those that are open on a device: see `jobs`
//! job      last-write-wins       UUID, refers to project; lookups and rules: see `jobs`
//! van      read-only-optimized   integer key; a lookup: see `jobs`
//! draft    local-only
//! order    detect-conflicts by attribute   the server numbers it; `hits` is a counter, CHECK
//! line     detect-conflicts by record      order + n, refers to order
//! remark   last-write-wins                 the server numbers it; refers to line and to itself
//! ```
//!
//! The first eleven are the oracle's *keyed* entities: it knows their rows by identifier. Rows of
//! the last three get identifiers from the server: it knows them by the tag that each is given when
//! it is typed, and that says what the row belongs to. Projects, jobs and vans are in the model of
//! those worlds only that have some.

use afield_protocol::{
    Attribute, Entity, Identifier, Key, Literal, Merge, Model, Pattern, Reference, Type, Unit,
    Value,
};
use afield_server::resolved::{ServerColumn, ServerEntity, ServerModel};

use crate::{jobs, scoped};

/// Places of the entities in the model.
pub(crate) const REGION: usize = 0;
pub(crate) const PRICE: usize = 1;
pub(crate) const SITE: usize = 2;
pub(crate) const VISIT: usize = 3;
pub(crate) const READING: usize = 4;
pub(crate) const ACCOUNT: usize = 5;
pub(crate) const SHOP: usize = 6;
pub(crate) const TASK: usize = 7;
pub(crate) const PROJECT: usize = 8;
pub(crate) const JOB: usize = 9;
pub(crate) const VAN: usize = 10;
pub(crate) const DRAFT: usize = 11;

pub(crate) const ORDER: usize = 12;
pub(crate) const LINE: usize = 13;
pub(crate) const REMARK: usize = 14;

/// Entities whose rows the oracle knows by identifier are those below this place.
pub(crate) const KEYED: usize = 11;

/// Entities whose rows the oracle knows by tag.
pub(crate) const TAGGED: [usize; 3] = [ORDER, LINE, REMARK];

/// Entities whose rows are not everyone's.
pub(crate) const SCOPED: [usize; 4] = [SHOP, TASK, PROJECT, JOB];

/// Entities that not every world has.
pub(crate) const JOBS: [usize; 3] = [PROJECT, JOB, VAN];

/// How many entities there are.
pub(crate) const ENTITIES: usize = 15;

/// What all balances add up to, always.
pub(crate) const BALANCES: i64 = 600;

/// What marks a value that the team's trigger chokes on.
pub(crate) const POISON: &str = "poison";

/// What marks a value that a CHECK of the team's refuses.
pub(crate) const BAD: &str = "bad";

/// A column of the team's and what devices call it.
struct Column {
    name: &'static str,
    column: &'static str,
    kind: Type,
    rule: &'static str,
}

const fn same(name: &'static str, kind: Type) -> Column {
    with(name, name, kind, "")
}

const fn with(name: &'static str, column: &'static str, kind: Type, rule: &'static str) -> Column {
    Column {
        name,
        column,
        kind,
        rule,
    }
}

const COLUMNS: [&[Column]; ENTITIES] = [
    &[
        same("id", Type::Integer),
        same("name", Type::Text),
        same("rank", Type::Integer),
    ],
    &[
        with("code", "price_code", Type::Text, ""),
        same("amount", Type::Decimal),
        with("label", "text", Type::Text, ""),
    ],
    &[
        same("id", Type::Uuid),
        same("name", Type::Text),
        same("note", Type::Text),
        with("code", "code", Type::Text, "UNIQUE"),
        same("region", Type::Integer),
    ],
    &[
        same("id", Type::Uuid),
        with("site", "site_id", Type::Uuid, "REFERENCES site (id)"),
        with("note", "remark", Type::Text, ""),
        with("count", "count", Type::Integer, "CHECK (count >= 0)"),
        with("done", "done", Type::Boolean, "NOT NULL DEFAULT 0"),
    ],
    &[
        same("station", Type::Text),
        same("n", Type::Integer),
        same("value", Type::Real),
        same("note", Type::Text),
    ],
    &[
        same("id", Type::Integer),
        same("label", Type::Text),
        with("balance", "balance", Type::Integer, "NOT NULL DEFAULT 0"),
    ],
    &[
        same("id", Type::Integer),
        with("district", "district_id", Type::Integer, ""),
        same("name", Type::Text),
        same("note", Type::Text),
    ],
    &[
        same("id", Type::Uuid),
        with("shop", "shop_id", Type::Integer, ""),
        same("team", Type::Integer),
        same("owner", Type::Text),
        with("note", "remark", Type::Text, ""),
        same("count", Type::Integer),
    ],
    &[
        same("id", Type::Integer),
        same("name", Type::Text),
        same("note", Type::Text),
    ],
    &[
        same("id", Type::Uuid),
        with("project", "project_id", Type::Integer, ""),
        same("owner", Type::Text),
        with("title", "label", Type::Text, ""),
        same("kind", Type::Text),
        same("level", Type::Integer),
        with("project_name", jobs::PROJECT_NAME, Type::Text, LOOKUP),
        with("depot_title", jobs::DEPOT_TITLE, Type::Text, LOOKUP),
    ],
    &[
        same("id", Type::Integer),
        same("name", Type::Text),
        with("depot_place", jobs::VAN_DEPOT, Type::Text, LOOKUP),
    ],
    &[same("id", Type::Integer), same("title", Type::Text)],
    &[
        with("id", "number", Type::Integer, NUMBERED),
        same("tag", Type::Text),
        with("a", "a", Type::Text, "CHECK (a NOT LIKE 'bad%')"),
        same("b", Type::Text),
        same("hits", Type::Integer),
    ],
    &[
        with(
            "order_id",
            "order",
            Type::Integer,
            "REFERENCES orders (number)",
        ),
        same("n", Type::Integer),
        same("tag", Type::Text),
        same("amount", Type::Text),
        same("note", Type::Text),
    ],
    &[
        with("id", "id", Type::Integer, NUMBERED),
        same("order_id", Type::Integer),
        same("n", Type::Integer),
        with(
            "parent_id",
            "parent",
            Type::Integer,
            "REFERENCES remark (id)",
        ),
        same("tag", Type::Text),
        same("text", Type::Text),
    ],
];

/// The rule of an identifier that the server makes.
const NUMBERED: &str = "PRIMARY KEY AUTOINCREMENT";

/// The rule of what is read through references.
const LOOKUP: &str = "LOOKUP";

const TABLES: [&str; ENTITIES] = [
    "region",
    "price list",
    "site",
    "visits",
    "reading",
    "account",
    "shop",
    "task",
    "project",
    "job",
    "van",
    "draft",
    "orders",
    "line",
    "remark",
];

const NAMES: [&str; ENTITIES] = [
    "region", "price", "site", "visit", "reading", "account", "shop", "task", "project", "job",
    "van", "draft", "order", "line", "remark",
];

/// The units with their entities.
const UNITS: [(&str, &[usize]); 2] = [
    (
        "main",
        &[
            REGION, PRICE, SITE, VISIT, ACCOUNT, SHOP, TASK, PROJECT, JOB, VAN, ORDER, LINE, REMARK,
        ],
    ),
    ("field", &[SITE, READING, SHOP, DRAFT]),
];

/// The model as the server resolved it, with projects and jobs or without.
pub(crate) fn model(has_jobs: bool) -> ServerModel {
    let is_there = |at: &usize| has_jobs || !JOBS.contains(at);
    let device = Model {
        version: 1,
        units: UNITS.iter().map(|of| unit(of, is_there)).collect(),
        entities: (0..NAMES.len()).filter(is_there).map(entity).collect(),
        chosen: if has_jobs { jobs::chosen() } else { Vec::new() },
    };
    let entities = device.entities.iter().filter_map(|local| {
        let at = place(&local.name).filter(|at| *at != DRAFT)?;
        let columns = COLUMNS[at][..stored(at)]
            .iter()
            .map(server_column)
            .collect();
        Some(ServerEntity {
            scope: scoped::scope(at),
            lookups: jobs::lookups(at),
            ..ServerEntity::new(local.clone(), TABLES[at], columns)
        })
    });
    let mut scopes = scoped::named();
    if has_jobs {
        scopes.push(jobs::scope());
    }
    ServerModel {
        entities: entities.collect(),
        device,
        scopes,
    }
}

fn unit((name, entities): &(&str, &[usize]), is_there: impl Fn(&usize) -> bool) -> Unit {
    let entities = entities.iter().filter(|at| is_there(at));
    Unit {
        name: (*name).to_owned(),
        entities: entities.map(|at| NAMES[*at].to_owned()).collect(),
    }
}

fn entity(at: usize) -> Entity {
    let pattern = match at {
        REGION => Pattern::ReadOnly,
        PRICE | VAN => Pattern::ReadOnlyOptimized,
        DRAFT => Pattern::LocalOnly,
        ORDER | LINE => Pattern::DetectConflicts,
        _ => Pattern::LastWriteWins,
    };
    let identifier = match at {
        SITE | VISIT | TASK | JOB => Identifier::Uuid,
        ORDER | REMARK => Identifier::Server,
        _ => Identifier::Natural,
    };
    let refer = |attributes: &[&str], to: usize| Reference {
        attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
        entity: NAMES[to].to_owned(),
    };
    let attributes = COLUMNS[at].iter().map(|c| attribute(at, c)).collect();
    Entity {
        merge: if at == ORDER {
            Merge::Attribute
        } else {
            Merge::Record
        },
        references: match at {
            SITE => vec![refer(&["region"], REGION)],
            VISIT => vec![refer(&["site"], SITE)],
            TASK => vec![refer(&["shop"], SHOP)],
            JOB => vec![refer(&["project"], PROJECT)],
            LINE => vec![refer(&["order_id"], ORDER)],
            REMARK => vec![
                refer(&["order_id", "n"], LINE),
                refer(&["parent_id"], REMARK),
            ],
            _ => Vec::new(),
        },
        scope: scoped::scope(at).widths(),
        ..Entity::new(NAMES[at], pattern, identifier, key_width(at), attributes)
    }
}

fn attribute(entity: usize, column: &Column) -> Attribute {
    Attribute {
        read_only: entity == ACCOUNT && column.name == "balance" || column.rule == LOOKUP,
        lookup: column.rule == LOOKUP,
        rule: jobs::rule(entity, column.name),
        counter: entity == ORDER && column.name == "hits",
        default: column
            .rule
            .contains("DEFAULT 0")
            .then_some(Literal::Integer(0)),
        ..Attribute::new(column.name, column.kind)
    }
}

fn server_column(column: &Column) -> ServerColumn {
    ServerColumn {
        name: column.column.to_owned(),
        kind: column.kind,
        scale: None,
    }
}

/// An entity's name.
pub(crate) fn name(entity: usize) -> &'static str {
    NAMES[entity]
}

/// The entity of a name.
pub(crate) fn place(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// The units' names.
pub(crate) fn unit_name(unit: usize) -> &'static str {
    UNITS[unit % UNITS.len()].0
}

/// The synced entities of a unit.
pub(crate) fn unit_entities(name: &str) -> impl Iterator<Item = usize> {
    let found = UNITS.iter().find(|(known, _)| *known == name);
    let entities = found.map_or(&[][..], |(_, entities)| entities);
    entities.iter().copied().filter(|at| *at != DRAFT)
}

/// The entity's table in the team's database, quoted.
pub(crate) fn table(entity: usize) -> String {
    format!("\"{}\"", TABLES[entity])
}

/// The columns of an entity's table in the team's database, quoted, in the attributes' order. What
/// is read through references is a query.
pub(crate) fn columns(entity: usize) -> Vec<String> {
    let columns = COLUMNS[entity].iter();
    let quoted = columns.map(|c| match c.rule {
        LOOKUP => c.column.to_owned(),
        _ => format!("\"{}\"", c.column),
    });
    quoted.collect()
}

/// The attributes' names, quoted.
pub(crate) fn attributes(entity: usize) -> Vec<String> {
    let columns = COLUMNS[entity].iter();
    columns.map(|c| format!("\"{}\"", c.name)).collect()
}

/// An attribute's name.
pub(crate) fn attribute_name(entity: usize, at: usize) -> &'static str {
    COLUMNS[entity][at].name
}

/// How many of the first attributes are the identifier.
pub(crate) fn key_width(entity: usize) -> usize {
    if matches!(entity, READING | LINE) {
        2
    } else {
        1
    }
}

/// The entities that the server has.
pub(crate) fn synced() -> impl Iterator<Item = usize> {
    (0..ENTITIES).filter(|entity| *entity != DRAFT)
}

/// The place of an attribute.
pub(crate) fn attribute_place(entity: usize, name: &str) -> usize {
    let found = COLUMNS[entity].iter().position(|c| c.name == name);
    found.expect("the name stands in this file")
}

/// How many attributes the entity has.
pub(crate) fn width(entity: usize) -> usize {
    COLUMNS[entity].len()
}

/// How many of its attributes the entity's own table has; lookups stand behind them.
pub(crate) fn stored(entity: usize) -> usize {
    let found = COLUMNS[entity].iter().position(|c| c.rule == LOOKUP);
    found.unwrap_or(COLUMNS[entity].len())
}

/// The attribute's type.
pub(crate) fn kind(entity: usize, at: usize) -> Type {
    COLUMNS[entity][at].kind
}

/// Attributes that the user of a device may write.
pub(crate) fn writable(entity: usize) -> std::ops::Range<usize> {
    match entity {
        ACCOUNT => 1..2,
        entity => key_width(entity)..stored(entity),
    }
}

/// The statements that make the team's tables and a first content.
pub(crate) fn server_schema() -> String {
    let mut sql = String::new();
    for entity in synced() {
        let columns_of = &COLUMNS[entity][..stored(entity)];
        let key = columns(entity)[..key_width(entity)].join(", ");
        let columns = columns_of.iter().map(|c| {
            let kind = c.kind.sqlite();
            format!("\"{}\" {kind} {}, ", c.column, c.rule)
        });
        let columns: String = columns.collect();
        let table = table(entity);
        let rest = match entity {
            ORDER => "CHECK (1)".to_owned(),
            REMARK => "FOREIGN KEY (order_id, n) REFERENCES line (\"order\", n)".to_owned(),
            _ => format!("PRIMARY KEY ({key})"),
        };
        sql += &format!("CREATE TABLE {table} ({columns}{rest});\n");
    }
    sql += "INSERT INTO region VALUES (1, 'north', 1), (2, 'south', 2);\n\
            INSERT INTO \"price list\" VALUES ('k1', '1.50', 'one'), ('k2', '2.50', 'two');\n\
            INSERT INTO reading VALUES ('s0', 1, 1.5, 'first');\n";
    for id in 1..=6 {
        sql += &format!(
            "INSERT INTO account VALUES ({id}, 'account {id}', {});\n",
            BALANCES / 6
        );
        sql += &format!(
            "INSERT INTO site (id, name, code) VALUES ('{}', 'site {id}', 'c{id}');\n",
            uuid(id)
        );
    }
    sql += "INSERT INTO orders (tag, a, b, hits) \
            VALUES ('o1', 'x1', 'x2', 0), ('o2', 'x3', 'x4', 5);\n\
            INSERT INTO line VALUES (1, 1, 'l3<o1', 'x5', 'x6'), (2, 1, 'l4<o2', 'x7', 'x8');\n\
            INSERT INTO remark (\"order_id\", n, tag, text) VALUES (1, 1, 'r5<o1.1', 'x9');\n";
    for id in 1..=4 {
        let (visit, site) = (uuid(20 + id), uuid(id));
        sql +=
            &format!("INSERT INTO visits VALUES ('{visit}', '{site}', 'visit {id}', {id}, 0);\n");
    }
    sql + &scoped::schema() + &jobs::schema()
}

/// The team's trigger that fails on a certain value, in a way that is no constraint.
pub(crate) fn poison_triggers() -> String {
    let events = ["INSERT", "UPDATE"].map(|event| {
        format!(
            "CREATE TRIGGER team_{event} BEFORE {event} ON visits \
             WHEN NEW.remark LIKE '{POISON}%' BEGIN SELECT json('{{'); END;\n"
        )
    });
    events.concat()
}

/// Takes that trigger out again.
pub(crate) const HEAL: &str = "DROP TRIGGER IF EXISTS team_INSERT; \
                               DROP TRIGGER IF EXISTS team_UPDATE;";

/// A UUID that a number stands for.
pub(crate) fn uuid(n: u32) -> String {
    format!("00000000-0000-7000-8000-{n:012x}")
}

/// The identifier that a number stands for.
pub(crate) fn key(entity: usize, n: u32) -> Key {
    match entity {
        PRICE => vec![Value::Text(format!("k{n}"))],
        SITE | VISIT | TASK | JOB => vec![Value::Text(uuid(n))],
        READING => vec![Value::Text(format!("s{}", n % 2)), Value::Integer(n.into())],
        _ => vec![Value::Integer(n.into())],
    }
}

/// The value that a number stands for: unique, but for truth values and references.
pub(crate) fn value(entity: usize, at: usize, n: u32) -> Value {
    match (entity, attribute_name(entity, at), kind(entity, at)) {
        (VISIT, "site", _) => Value::Text(uuid(n % 8 + 1)),
        (SITE, "region", _) => Value::Integer(i64::from(n % 3 + 1)),
        (SHOP | TASK, name, _) => scoped::value(name, n),
        (PROJECT | JOB, name, _) => jobs::value(name, n),
        (_, _, Type::Boolean) => Value::Integer(i64::from(n % 2)),
        (_, _, Type::Integer) => Value::Integer(n.into()),
        (_, _, Type::Real) => Value::Real(f64::from(n) + 0.5),
        (_, _, Type::Decimal) => Value::Text(format!("{n}.25")),
        _ => Value::Text(format!("w{n}")),
    }
}

/// Whether values of the attribute are unique, so that each tells who wrote it and when.
pub(crate) fn is_unique(entity: usize, at: usize) -> bool {
    let name = attribute_name(entity, at);
    let is_reference = [
        "region", "site", "district", "shop", "team", "owner", "project", "kind",
    ];
    !(kind(entity, at) == Type::Boolean || is_reference.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_sound_and_its_values_fit() {
        let model = model(true);
        assert_eq!(model.device.check(), Ok(()));
        for server in &model.entities {
            let entity = place(&server.local.name).unwrap();
            let width = server.columns.len() + server.lookups.len();
            assert_eq!(server.local.attributes.len(), width);
            for n in [1, 7, 900_001] {
                for (at, attribute) in server.local.attributes.iter().enumerate() {
                    let value = match key(entity, n).get(at) {
                        Some(value) => value.clone(),
                        None => value(entity, at, n),
                    };
                    assert!(attribute.kind.accepts(value.as_ref()), "{value:?}");
                    assert!(
                        attribute.rule.check(attribute.kind, &value).is_ok(),
                        "{value}"
                    );
                }
            }
        }
    }
}

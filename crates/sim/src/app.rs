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
//! event    last-write-wins       UUID; rows leave by time: see `timed`
//! shift    last-write-wins       integer key; its owner's, come in by time: see `timed`
//! card     last-write-wins       text key; may count as deleted: see `timed`
//! ```
//!
//! Rows of `order`, `line` and `remark` are the oracle's *tagged* ones: they get identifiers from
//! the server, and it knows them by the tag that each is given when it is typed, and that says what
//! the row belongs to. All other synced entities are *keyed*: it knows their rows by identifier.
//! Projects, jobs and vans are in the model of those worlds only that have some, and so are the
//! last three.

mod columns;

use afield_protocol::{
    Attribute, Entity, Identifier, Key, Literal, Merge, Model, Pattern, Reference, Type, Unit,
    Value,
};
use afield_server::resolved::{ServerColumn, ServerEntity, ServerModel};

use self::columns::{COLUMNS, Column, LOOKUP};
use crate::{jobs, scoped, timed};

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

pub(crate) const EVENT: usize = 15;
pub(crate) const SHIFT: usize = 16;
pub(crate) const CARD: usize = 17;

/// Entities whose rows the oracle knows by tag.
pub(crate) const TAGGED: [usize; 3] = [ORDER, LINE, REMARK];

/// Entities whose rows are not everyone's.
pub(crate) const SCOPED: [usize; 4] = [SHOP, TASK, PROJECT, JOB];

/// Entities that not every world has.
pub(crate) const JOBS: [usize; 3] = [PROJECT, JOB, VAN];

/// Entities whose rows come and go by time, or count as deleted and stay.
pub(crate) const TIMED: [usize; 3] = [EVENT, SHIFT, CARD];

/// How many entities there are.
pub(crate) const ENTITIES: usize = 18;

/// What all balances add up to, always.
pub(crate) const BALANCES: i64 = 600;

/// What marks a value that the team's trigger chokes on.
pub(crate) const POISON: &str = "poison";

/// What marks a value that a CHECK of the team's refuses.
pub(crate) const BAD: &str = "bad";

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
    "event",
    "shift",
    "card",
];

const NAMES: [&str; ENTITIES] = [
    "region", "price", "site", "visit", "reading", "account", "shop", "task", "project", "job",
    "van", "draft", "order", "line", "remark", "event", "shift", "card",
];

/// The units with their entities.
const UNITS: [(&str, &[usize]); 2] = [
    (
        "main",
        &[
            REGION, PRICE, SITE, VISIT, ACCOUNT, SHOP, TASK, PROJECT, JOB, VAN, ORDER, LINE,
            REMARK, EVENT, SHIFT, CARD,
        ],
    ),
    ("field", &[SHIFT, SITE, READING, SHOP, DRAFT]),
];

/// What a world has beyond what every world has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// Rows that stay for a time, or count as deleted.
    pub(crate) is_timed: bool,
    /// Projects, jobs and what they show.
    pub(crate) has_jobs: bool,
}

impl Kinds {
    /// Everything that there is.
    #[cfg(test)]
    pub(crate) const ALL: Self = Self {
        is_timed: true,
        has_jobs: true,
    };

    /// The team has the tables of projects and jobs in every world, in the model or not.
    pub(crate) fn with_jobs(self) -> Self {
        Self {
            has_jobs: true,
            ..self
        }
    }

    /// Whether the world has this entity.
    pub(crate) fn has(self, entity: usize) -> bool {
        (self.is_timed || !TIMED.contains(&entity)) && (self.has_jobs || !JOBS.contains(&entity))
    }
}

/// The model as the server resolved it.
pub(crate) fn model(kinds: Kinds) -> ServerModel {
    let is_there = |at: &usize| kinds.has(*at);
    let has_jobs = kinds.has_jobs;
    let device = Model {
        version: 1,
        units: UNITS.iter().map(|of| unit(of, is_there)).collect(),
        entities: (0..NAMES.len()).filter(is_there).map(entity).collect(),
        chosen: if has_jobs { jobs::chosen() } else { Vec::new() },
        limits: Default::default(),
        sync: Default::default(),
    };
    let entities = device.entities.iter().filter_map(|local| {
        let at = place(&local.name).filter(|at| *at != DRAFT)?;
        let columns = COLUMNS[at][..stored(at)]
            .iter()
            .map(server_column)
            .collect();
        Some(ServerEntity {
            scope: scoped::scope(at),
            keep: timed::keep(at),
            delete: timed::delete(at),
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
        SITE | VISIT | TASK | JOB | EVENT => Identifier::Uuid,
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
            SHIFT => vec![refer(&["card"], CARD)],
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
        default: match column.rule {
            rule if rule.contains("DEFAULT 0") => Some(Literal::Integer(0)),
            rule if rule.contains("DEFAULT 1") => Some(Literal::Integer(1)),
            _ => None,
        },
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
pub(crate) fn unit_entities(name: &str, kinds: Kinds) -> impl Iterator<Item = usize> {
    let found = UNITS.iter().find(|(known, _)| *known == name);
    let entities = found.map_or(&[][..], |(_, entities)| entities);
    let present = move |at: &usize| *at != DRAFT && kinds.has(*at);
    entities.iter().copied().filter(present)
}

/// Whether the oracle knows the rows of an entity by identifier.
pub(crate) fn is_keyed(entity: usize) -> bool {
    entity < DRAFT || TIMED.contains(&entity)
}

/// The entities whose rows the oracle knows by identifier.
pub(crate) fn keyed() -> impl Iterator<Item = usize> {
    (0..ENTITIES).filter(|entity| is_keyed(*entity))
}

/// Those of them that devices write.
pub(crate) fn keyed_written() -> impl Iterator<Item = usize> {
    keyed().filter(|entity| *entity >= SITE)
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
pub(crate) fn synced(kinds: Kinds) -> impl Iterator<Item = usize> {
    let present = move |at: &usize| *at != DRAFT && kinds.has(*at);
    (0..ENTITIES).filter(present)
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
pub(crate) fn server_schema(kinds: Kinds) -> String {
    let mut sql = String::new();
    for entity in synced(kinds.with_jobs()) {
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
            SHIFT => format!("removed_at {}, PRIMARY KEY ({key})", Type::Instant.sqlite()),
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
    sql += &scoped::schema();
    sql += &jobs::schema();
    if kinds.is_timed {
        sql += timed::SCHEMA;
    }
    sql
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
        CARD => vec![Value::Text(format!("c{n}"))],
        SITE | VISIT | TASK | JOB | EVENT => vec![Value::Text(uuid(n))],
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
        (EVENT | SHIFT | CARD, name, _) => timed::value(name, n),
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
        "region", "site", "district", "shop", "team", "owner", "card", "project", "kind",
    ];
    !(kind(entity, at) == Type::Boolean || is_reference.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_sound_and_its_values_fit() {
        let model = model(Kinds::ALL);
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

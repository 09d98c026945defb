//! The tables that the cases work on, and the model over them.

use afield_protocol::{
    Attribute, Entity, Identifier, Merge, Model, Pattern, Reference, Type, Unit,
};

use super::scopes::{entities as scoped_entities, scopes, tables as scoped_tables};
use crate::resolved::{ServerColumn, ServerEntity, ServerModel};

/// The tables; SQL that every database takes, but for `NUMBERED_KEY`.
const TABLES: &str = "
    CREATE TABLE company (
      code TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, rank INTEGER CHECK (rank >= 0)
    );
    CREATE TABLE visit (
      id TEXT PRIMARY KEY, company TEXT REFERENCES company (code), note TEXT, minutes INTEGER
    );
    CREATE TABLE part (
      id INTEGER PRIMARY KEY NOT NULL,
      company TEXT REFERENCES company (code) ON DELETE CASCADE ON UPDATE CASCADE, name TEXT
    );
    CREATE TABLE line (
      visit_no INTEGER NOT NULL, pos INTEGER NOT NULL, words TEXT, PRIMARY KEY (visit_no, pos)
    );
    CREATE TABLE rate (id INTEGER PRIMARY KEY NOT NULL, value TEXT);
    CREATE TABLE stock (
      id INTEGER PRIMARY KEY NOT NULL, code TEXT UNIQUE, shelf INTEGER, bin INTEGER, words TEXT,
      UNIQUE (shelf, bin)
    );
    CREATE TABLE orders (
      id NUMBERED_KEY, label TEXT UNIQUE, total INTEGER CHECK (total >= 0),
      parent INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED
    );
    CREATE TABLE order_line (
      order_no INTEGER NOT NULL REFERENCES orders (id), pos INTEGER NOT NULL, words TEXT,
      PRIMARY KEY (order_no, pos)
    );
    CREATE TABLE remark (
      id INTEGER PRIMARY KEY NOT NULL, order_no INTEGER, pos INTEGER, words TEXT,
      FOREIGN KEY (order_no, pos) REFERENCES order_line (order_no, pos)
    );
    CREATE TABLE paper (
      id INTEGER PRIMARY KEY NOT NULL, a INTEGER, b INTEGER, n INTEGER,
      order_no INTEGER REFERENCES orders (id)
    );
    CREATE TABLE card (
      id INTEGER PRIMARY KEY NOT NULL, a INTEGER, b INTEGER, n INTEGER,
      order_no INTEGER REFERENCES orders (id)
    );
    CREATE TABLE slip (
      id INTEGER PRIMARY KEY NOT NULL, a INTEGER, b INTEGER, n INTEGER,
      order_no INTEGER REFERENCES orders (id)
    );
    CREATE TABLE event (id NUMBERED_KEY, words TEXT, order_no INTEGER);";

/// The tables' statements; `numbered_key` declares a key that the database numbers itself.
pub fn schema(numbered_key: &str) -> String {
    TABLES.replace("NUMBERED_KEY", numbered_key) + &scoped_tables()
}

/// The model over [`schema`].
pub fn model() -> ServerModel {
    use Pattern::{LastWriteWins as Lww, ReadOnly, ReadOnlyOptimized};
    use Type::{Integer, Text, Uuid};
    let mut entities = vec![
        entity(
            "company",
            Lww,
            1,
            &[("code", Text), ("name", Text), ("rank", Integer)],
        ),
        entity(
            "visit",
            Lww,
            1,
            &[
                ("id", Uuid),
                ("company", Text),
                ("note", Text),
                ("minutes", Integer),
            ],
        ),
        entity(
            "part",
            ReadOnlyOptimized,
            1,
            &[("id", Integer), ("company", Text), ("name", Text)],
        ),
        entity(
            "line",
            Lww,
            2,
            &[("visit_no", Integer), ("pos", Integer), ("words", Text)],
        ),
        entity("rate", ReadOnly, 1, &[("id", Integer), ("value", Text)]),
        entity(
            "stock",
            Lww,
            1,
            &[
                ("id", Integer),
                ("code", Text),
                ("shelf", Integer),
                ("bin", Integer),
                ("words", Text),
            ],
        ),
    ];
    entities.extend(numbered());
    entities.extend(scoped_entities());
    let mut model = server_model(entities);
    model.scopes = scopes();
    model
}

/// Orders that the server numbers, with lines, remarks about lines, and other rows that refer to
/// them: one entity for each rule.
fn numbered() -> Vec<ServerEntity> {
    use Type::{Integer, Text};
    let orders = [
        ("id", Integer),
        ("label", Text),
        ("total", Integer),
        ("parent", Integer),
    ];
    let lines = [("order_no", Integer), ("pos", Integer), ("words", Text)];
    let remarks = [
        ("id", Integer),
        ("order_no", Integer),
        ("pos", Integer),
        ("words", Text),
    ];
    let notes = [
        ("id", Integer),
        ("a", Integer),
        ("b", Integer),
        ("n", Integer),
        ("order_no", Integer),
    ];
    let events = [("id", Integer), ("words", Text), ("order_no", Integer)];
    let made = |name, width, attributes: &[(&str, Type)]| {
        entity(name, Pattern::LastWriteWins, width, attributes)
    };
    let mut orders = made("orders", 1, &orders).referring(&["parent"], "orders");
    orders.local.identifier = Identifier::Server;
    let mut event = made("event", 1, &events).referring(&["order_no"], "orders");
    event.local.identifier = Identifier::Server;
    event.local.insert_only = true;
    let mut found = vec![
        orders,
        made("order_line", 2, &lines).referring(&["order_no"], "orders"),
        made("remark", 1, &remarks).referring(&["order_no", "pos"], "order_line"),
        event,
    ];
    for (name, pattern, merge) in [
        ("paper", Pattern::LastWriteWins, Merge::Record),
        ("card", Pattern::DetectConflicts, Merge::Record),
        ("slip", Pattern::DetectConflicts, Merge::Attribute),
    ] {
        let mut entity = entity(name, pattern, 1, &notes).referring(&["order_no"], "orders");
        entity.local.merge = merge;
        entity.local.attributes[3].counter = true;
        found.push(entity);
    }
    found
}

impl ServerEntity {
    /// With attributes that hold the identifier of another entity.
    fn referring(mut self, attributes: &[&str], entity: &str) -> Self {
        self.local.references.push(Reference {
            attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
            entity: entity.to_owned(),
        });
        self
    }
}

/// A model of these entities in one unit.
pub fn server_model(entities: Vec<ServerEntity>) -> ServerModel {
    let names = entities
        .iter()
        .map(|entity| entity.local.name.clone())
        .collect();
    ServerModel {
        device: Model {
            version: 1,
            units: vec![Unit {
                name: "main".into(),
                entities: names,
            }],
            entities: entities.iter().map(|entity| entity.local.clone()).collect(),
            chosen: Vec::new(),
            limits: Default::default(),
        },
        entities,
        scopes: Vec::new(),
    }
}

/// An entity whose table and columns have the names of its own.
pub fn entity(
    name: &str,
    pattern: Pattern,
    key_width: usize,
    attributes: &[(&str, Type)],
) -> ServerEntity {
    let attribute = |(name, kind): &(&str, Type)| Attribute::new(*name, *kind);
    let column = |(name, kind): &(&str, Type)| ServerColumn {
        name: (*name).to_owned(),
        kind: *kind,
        scale: None,
    };
    let is_uuid = attributes
        .first()
        .is_some_and(|(_, kind)| *kind == Type::Uuid);
    let identifier = if is_uuid {
        Identifier::Uuid
    } else {
        Identifier::Natural
    };
    let columns = attributes.iter().map(column).collect();
    let attributes = attributes.iter().map(attribute).collect();
    let local = Entity::new(name, pattern, identifier, key_width, attributes);
    ServerEntity::new(local, name, columns)
}

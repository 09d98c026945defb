//! Tables with rows of two users, and the model over them: one entity for each kind of
//! identifier, of scope and of reference.

use afield_protocol::Pattern::{
    DetectConflicts as Detect, LastWriteWins as Lww, ReadOnlyOptimized,
};
use afield_protocol::Type::{Integer, Text, Uuid};
use afield_protocol::{Identifier, Pattern, Reference, Type};
use serde_json::json;

use super::super::entity;
use super::write_tables::{TABLES as WRITE_TABLES, entities as write_entities};
use crate::resolved::{Condition, Holds, Hop, NamedScope, Scope, ServerEntity, ServerModel};
use crate::storage::Caller;
use crate::storage::conformance::server_model;

/// A row that is Ada's, one that is Eve's, and one that is not there.
pub(super) const MINE: &str = "0190b3a1-5c1e-7cc3-98a1-00000000000a";
pub(super) const FOREIGN: &str = "0190b3a1-5c1e-7cc3-98a1-00000000000b";
pub(super) const MISSING: &str = "0190b3a1-5c1e-7cc3-98a1-00000000000c";

/// The tables; SQL that every database takes, but for `NUMBERED_KEY`. What belongs to Eve says
/// so in each of its values.
const TABLES: &str = "
    CREATE TABLE region (code TEXT PRIMARY KEY, name TEXT);
    CREATE TABLE kind (code TEXT PRIMARY KEY, words TEXT);
    CREATE TABLE member (
      id TEXT PRIMARY KEY, who TEXT, region TEXT REFERENCES region (code)
    );
    CREATE TABLE site (
      id TEXT /*uuid*/ PRIMARY KEY, region TEXT REFERENCES region (code), title TEXT,
      tally INTEGER, buddy TEXT /*uuid*/ REFERENCES site (id)
    );
    CREATE TABLE task (
      id NUMBERED_KEY, owner TEXT, site TEXT /*uuid*/ REFERENCES site (id), label TEXT,
      parent INTEGER REFERENCES task (id) DEFERRABLE INITIALLY DEFERRED
    );
    CREATE TABLE shelf (
      hall INTEGER NOT NULL, place INTEGER NOT NULL, owner TEXT, words TEXT,
      PRIMARY KEY (hall, place)
    );
    CREATE TABLE bin (id INTEGER PRIMARY KEY NOT NULL, hall INTEGER, words TEXT);
    CREATE TABLE pin (
      id INTEGER PRIMARY KEY NOT NULL, owner TEXT, hall INTEGER, place INTEGER, kind TEXT
    );
    CREATE TABLE box (id TEXT PRIMARY KEY, words TEXT, team TEXT);
    CREATE TABLE project (id NUMBERED_KEY, name TEXT);
    CREATE TABLE seat (
      id TEXT PRIMARY KEY, who TEXT,
      project INTEGER REFERENCES project (id) DEFERRABLE INITIALLY DEFERRED
    );
    INSERT INTO region VALUES ('north', 'North'), ('south', 'marker-eve');
    INSERT INTO kind VALUES ('k', 'a kind');
    INSERT INTO member VALUES ('ma', 'ada', 'north'), ('me', 'eve', 'south');
    INSERT INTO site VALUES
      ('0190b3a1-5c1e-7cc3-98a1-00000000000a', 'north', 'mine', 1, NULL),
      ('0190b3a1-5c1e-7cc3-98a1-00000000000b', 'south', 'marker-eve', 77, NULL);
    INSERT INTO task VALUES
      (1, 'ada', '0190b3a1-5c1e-7cc3-98a1-00000000000a', 'mine', NULL),
      (2, 'eve', '0190b3a1-5c1e-7cc3-98a1-00000000000b', 'marker-eve', NULL);
    INSERT INTO shelf VALUES (1, 1, 'red', 'mine'), (2, 2, 'blue', 'marker-eve');
    INSERT INTO bin VALUES (1, 1, 'mine'), (2, 2, 'marker-eve');
    INSERT INTO pin VALUES (1, 'ada', 1, 1, 'k'), (2, 'eve', 2, 2, 'k');
    INSERT INTO box VALUES ('a', 'mine', 'red'), ('b', 'marker-eve', 'blue');
    INSERT INTO project VALUES (1, 'mine'), (2, 'marker-eve');
    INSERT INTO seat VALUES ('sa', 'ada', 1), ('se', 'eve', 2);
    INSERT INTO shelf VALUES (1, 2, 'red', 'ada'), (2, 3, 'blue', 'eve');
";

/// The tables' statements; `numbered_key` declares a key that the database numbers itself.
pub fn rights_schema(numbered_key: &str) -> String {
    (TABLES.to_owned() + WRITE_TABLES).replace("NUMBERED_KEY", numbered_key)
}

/// What is marked so is Eve's, and may never reach Ada.
pub const MARKER: &str = "marker-eve";

/// Ada, of the red team.
pub fn ada() -> Caller {
    caller("ada", "red")
}

/// Eve, of the blue team.
pub fn eve() -> Caller {
    caller("eve", "blue")
}

fn caller(user: &str, team: &str) -> Caller {
    let mut caller = Caller::user(user);
    caller.claims.insert("team".into(), json!(team));
    caller
}

/// The model over [`rights_schema`].
pub fn rights_model() -> ServerModel {
    let mut all = entities();
    all.extend(write_entities());
    let mut model = server_model(all);
    model.scopes = [
        ("regions", "SELECT region FROM member WHERE who = :user"),
        ("projects", "SELECT project FROM seat WHERE who = :user"),
        ("halls", "SELECT hall FROM shelf WHERE words = :user"),
    ]
    .map(|(name, query)| NamedScope {
        name: name.into(),
        query: query.into(),
        chosen: None,
    })
    .into();
    model
}

fn entities() -> Vec<ServerEntity> {
    let site = [
        ("id", Uuid),
        ("region", Text),
        ("title", Text),
        ("tally", Integer),
        ("buddy", Uuid),
    ];
    let pin = [
        ("id", Integer),
        ("owner", Text),
        ("hall", Integer),
        ("place", Integer),
        ("kind", Text),
    ];
    let region = [("code", Text), ("name", Text)];
    let member = [("id", Text), ("who", Text), ("region", Text)];
    let project = [("id", Integer), ("name", Text)];
    let seat = [("id", Text), ("who", Text), ("project", Integer)];
    vec![
        made(
            "region",
            ReadOnlyOptimized,
            1,
            &region,
            &[&[held("code", "regions")]],
        ),
        made(
            "kind",
            ReadOnlyOptimized,
            1,
            &[("code", Text), ("words", Text)],
            &[],
        ),
        made("member", Lww, 1, &member, &[&[user("who")]]).naming(&["region"], "region"),
        made("site", Lww, 1, &site, &[&[held("region", "regions")]])
            .naming(&["region"], "region")
            .naming(&["buddy"], "site"),
        task(),
        made("shelf", Detect, 2, &SHELF, &[&[team("owner")]]),
        made("bin", Detect, 1, &BIN, &[&[held("hall", "halls")]]),
        made("pin", Lww, 1, &pin, &[&[user("owner")]])
            .naming(&["hall", "place"], "shelf")
            .naming(&["kind"], "kind"),
        made(
            "box",
            Detect,
            1,
            &[("id", Text), ("words", Text)],
            &[&[team("team")]],
        ),
        made("project", Lww, 1, &project, &[&[held("id", "projects")]]).numbered(),
        made("seat", Lww, 1, &seat, &[&[user("who")]]).naming(&["project"], "project"),
    ]
}

/// Ada's by its site's region, or by its owner.
fn task() -> ServerEntity {
    let attributes = [
        ("id", Integer),
        ("owner", Text),
        ("site", Uuid),
        ("label", Text),
        ("parent", Integer),
    ];
    let site_region = Condition {
        column: "site".into(),
        path: vec![Hop {
            table: "site".into(),
            key: "id".into(),
            column: "region".into(),
        }],
        holds: Holds::Scope("regions".into()),
    };
    let ways: [&[Condition]; 2] = [&[site_region], &[user("owner")]];
    made("task", Detect, 1, &attributes, &ways)
        .naming(&["site"], "site")
        .naming(&["parent"], "task")
        .numbered()
}

const SHELF: [(&str, Type); 4] = [
    ("hall", Integer),
    ("place", Integer),
    ("owner", Text),
    ("words", Text),
];

const BIN: [(&str, Type); 3] = [("id", Integer), ("hall", Integer), ("words", Text)];

pub(super) fn condition(column: &str, holds: Holds) -> Condition {
    Condition {
        column: column.into(),
        path: Vec::new(),
        holds,
    }
}

pub(super) fn user(column: &str) -> Condition {
    condition(column, Holds::User)
}

pub(super) fn team(column: &str) -> Condition {
    condition(column, Holds::Claim("team".into()))
}

fn held(column: &str, scope: &str) -> Condition {
    condition(column, Holds::Scope(scope.into()))
}

pub(super) fn made(
    name: &str,
    pattern: Pattern,
    key_width: usize,
    attributes: &[(&str, Type)],
    ways: &[&[Condition]],
) -> ServerEntity {
    let mut made = entity(name, pattern, key_width, attributes);
    if !ways.is_empty() {
        made.scope = Scope::Ways(ways.iter().map(|way| way.to_vec()).collect());
    }
    made.local.scope = made.scope.widths();
    made
}

impl ServerEntity {
    pub(super) fn naming(mut self, attributes: &[&str], entity: &str) -> Self {
        self.local.references.push(Reference {
            attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
            entity: entity.to_owned(),
        });
        self
    }

    pub(super) fn numbered(mut self) -> Self {
        self.local.identifier = Identifier::Server;
        self
    }
}

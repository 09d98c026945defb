//! Tables whose rows a user may read and not write, and may make of them what he may not read.

use afield_protocol::Pattern::{DetectConflicts as Detect, LastWriteWins as Lww};
use afield_protocol::Type::{Integer, Text};

use super::tables::{condition, made, team, user};
use crate::resolved::{Condition, Holds, Hop, Scope, ServerEntity};

/// The tables; what belongs to Eve says so in each of its values.
pub(super) const TABLES: &str = "
    CREATE TABLE job (id NUMBERED_KEY, owner TEXT, team TEXT, title TEXT, parent INTEGER);
    CREATE TABLE step (
      id TEXT PRIMARY KEY, job INTEGER REFERENCES job (id) DEFERRABLE INITIALLY DEFERRED,
      words TEXT
    );
    CREATE TABLE stamp (
      id TEXT PRIMARY KEY, step TEXT REFERENCES step (id) DEFERRABLE INITIALLY DEFERRED,
      words TEXT
    );
    CREATE TABLE memo (id TEXT PRIMARY KEY, team TEXT, author TEXT, words TEXT);
    CREATE TABLE wide (id TEXT PRIMARY KEY, owner TEXT, words TEXT);
    CREATE TABLE secret (code TEXT PRIMARY KEY, words TEXT);
    CREATE TABLE badge (
      id TEXT PRIMARY KEY REFERENCES secret (code) DEFERRABLE INITIALLY DEFERRED, owner TEXT,
      secret TEXT REFERENCES secret (code), words TEXT
    );
    CREATE TABLE letter (id TEXT PRIMARY KEY, sender TEXT, words TEXT);
    INSERT INTO job VALUES
      (1, 'ada', 'red', 'mine', NULL), (2, 'eve', 'blue', 'marker-eve', NULL),
      (3, 'bob', 'red', 'marker-eve', NULL), (4, 'ada', 'red', 'other', NULL);
    INSERT INTO step VALUES ('p1', 1, 'one'), ('p2', 1, 'two'), ('p3', 3, 'marker-eve'),
      ('p4', 4, 'four');
    INSERT INTO stamp VALUES ('t1', 'p1', 'one'), ('t3', 'p3', 'marker-eve');
    INSERT INTO memo VALUES
      ('a', 'red', 'ada', 'mine'), ('b', 'red', 'bob', 'seen'),
      ('c', 'blue', 'ada', 'marker-eve'), ('d', 'blue', 'eve', 'marker-eve');
    INSERT INTO wide VALUES ('a', 'ada', 'mine'), ('b', 'eve', 'marker-eve');
    INSERT INTO secret VALUES ('k', 'marker-eve'), ('m', 'marker-eve');
    INSERT INTO badge VALUES ('k', 'ada', 'k', 'mine');
    INSERT INTO letter VALUES ('a', 'ada', 'mine'), ('b', 'bob', 'seen');";

/// The entities over them.
pub(super) fn entities() -> Vec<ServerEntity> {
    let job = [
        ("id", Integer),
        ("owner", Text),
        ("team", Text),
        ("title", Text),
        ("parent", Integer),
    ];
    let step = [("id", Text), ("job", Integer), ("words", Text)];
    let stamp = [("id", Text), ("step", Text), ("words", Text)];
    let memo = [
        ("id", Text),
        ("team", Text),
        ("author", Text),
        ("words", Text),
    ];
    let wide = [("id", Text), ("owner", Text), ("words", Text)];
    let letter = [("id", Text), ("sender", Text), ("words", Text)];
    vec![
        // Handed on to anybody of the team.
        made("job", Lww, 1, &job, &[&[user("owner")]])
            .numbered()
            .naming(&["parent"], "job")
            .becoming(rule(team("team"))),
        // What belongs to a job goes with it.
        made("step", Detect, 1, &step, &[&[through(&["job"])]])
            .naming(&["job"], "job")
            .becoming(Scope::Everyone),
        made("stamp", Lww, 1, &stamp, &[&[through(&["step", "job"])]])
            .naming(&["step"], "step")
            .becoming(Scope::Everyone),
        // The team reads what its author alone writes.
        made("memo", Detect, 1, &memo, &[&[team("team")]]).written(rule(user("author"))),
        made("wide", Lww, 1, &wide, &[&[user("owner")]]).written(Scope::Everyone),
        badge(),
        made("letter", Lww, 1, &letter, &[])
            .written(rule(user("sender")))
            .becoming(rule(user("sender"))),
    ]
}

/// Its identifier, and an attribute, refer to what is on no device.
fn badge() -> ServerEntity {
    let badge = [
        ("id", Text),
        ("owner", Text),
        ("secret", Text),
        ("words", Text),
    ];
    let mut badge = made("badge", Lww, 1, &badge, &[&[user("owner")]]);
    for name in ["id", "secret"] {
        let mut attributes = badge.local.attributes.iter_mut();
        let found = attributes.find(|attribute| attribute.name == name);
        found.expect("it is there").read_only = true;
    }
    badge
}

fn rule(condition: Condition) -> Scope {
    Scope::Ways(vec![vec![condition]])
}

/// The owner of the job that these columns lead to, each named like the table that it refers to.
fn through(columns: &[&str]) -> Condition {
    let next = columns.iter().skip(1).copied().chain(["owner"]);
    let hop = |(table, column): (&&str, &str)| Hop {
        table: (*table).into(),
        key: "id".into(),
        column: column.into(),
    };
    Condition {
        path: columns.iter().zip(next).map(hop).collect(),
        ..condition(columns[0], Holds::User)
    }
}

impl ServerEntity {
    fn written(self, write: Scope) -> Self {
        Self {
            write: Some(write),
            ..self
        }
    }

    fn becoming(self, write_to: Scope) -> Self {
        Self {
            write_to: Some(write_to),
            ..self
        }
    }
}

//! Tables whose rows count as deleted, and the model over them: one entity for each kind of
//! condition, pattern and identifier.

use afield_protocol::Pattern::{DetectConflicts, LastWriteWins, ReadOnly};
use afield_protocol::Type::{self, Boolean, Instant, Integer, Text};
use afield_protocol::{Identifier, Reference, Value};

use super::super::{entity, server_model};
use crate::resolved::{
    Condition, DeletedWhen, Holds, Scope, ServerColumn, ServerEntity, ServerModel, SoftDelete,
};

/// The tables; SQL that every database takes, but for `NUMBERED_KEY`.
const TABLES: &str = "
    CREATE TABLE item (
      id TEXT PRIMARY KEY, label TEXT, tally INTEGER, is_active BOOLEAN NOT NULL DEFAULT TRUE
    );
    CREATE TABLE line (id TEXT PRIMARY KEY, item TEXT REFERENCES item (id), words TEXT);
    CREATE TABLE memo (id TEXT PRIMARY KEY, words TEXT, removed_at TIMESTAMP);
    CREATE TABLE piece (id NUMBERED_KEY, owner TEXT, words TEXT, state TEXT DEFAULT 'open');
    CREATE TABLE offer (id TEXT PRIMARY KEY, owner TEXT, words TEXT, is_active BOOLEAN);
    CREATE TABLE rate (id INTEGER PRIMARY KEY NOT NULL, value TEXT, is_active BOOLEAN);
";

/// The tables' statements; `numbered_key` declares a key that the database numbers itself.
pub fn soft_delete_schema(numbered_key: &str) -> String {
    TABLES.replace("NUMBERED_KEY", numbered_key)
}

/// The model over [`soft_delete_schema`].
pub fn soft_delete_model() -> ServerModel {
    let mut item = deleted(
        entity(
            "item",
            LastWriteWins,
            1,
            &[("id", Text), ("label", Text), ("tally", Integer)],
        ),
        ("is_active", Boolean),
        DeletedWhen::Is(0.into()),
        1.into(),
    );
    item.local.attributes[2].counter = true;
    let mut line = entity(
        "line",
        LastWriteWins,
        1,
        &[("id", Text), ("item", Text), ("words", Text)],
    );
    line.local.references.push(Reference {
        attributes: vec!["item".into()],
        entity: "item".into(),
    });
    let memo = [("id", Text), ("words", Text), ("removed_at", Instant)];
    let memo = deleted(
        entity("memo", DetectConflicts, 1, &memo),
        ("removed_at", Instant),
        DeletedWhen::NotNull,
        Value::Null,
    );
    let piece = [("id", Integer), ("owner", Text), ("words", Text)];
    let mut piece = deleted(
        entity("piece", LastWriteWins, 1, &piece),
        ("state", Text),
        DeletedWhen::Is("dead".into()),
        "open".into(),
    );
    piece.local.identifier = Identifier::Server;
    piece.scope = owners();
    piece.local.scope = piece.scope.widths();
    let offer = [("id", Text), ("owner", Text), ("words", Text)];
    let mut offer = deleted(
        entity("offer", LastWriteWins, 1, &offer),
        ("is_active", Boolean),
        DeletedWhen::Is(0.into()),
        1.into(),
    );
    offer.write = Some(owners());
    let rate = deleted(
        entity("rate", ReadOnly, 1, &[("id", Integer), ("value", Text)]),
        ("is_active", Boolean),
        DeletedWhen::Is(0.into()),
        1.into(),
    );
    server_model(vec![item, line, memo, offer, piece, rate])
}

fn owners() -> Scope {
    Scope::Ways(vec![vec![Condition {
        column: "owner".into(),
        path: Vec::new(),
        holds: Holds::User,
    }]])
}

fn deleted(
    entity: ServerEntity,
    (name, kind): (&str, Type),
    when: DeletedWhen,
    revived: Value,
) -> ServerEntity {
    let column = ServerColumn {
        name: name.into(),
        kind,
        scale: None,
    };
    ServerEntity {
        delete: Some(SoftDelete {
            column,
            when,
            revived,
        }),
        ..entity
    }
}

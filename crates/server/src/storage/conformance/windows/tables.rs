//! Tables whose rows devices have for a time, and the model over them. Beside the attribute that
//! decides, in whatever spelling, each row has it in canonical form for the test to compare.

use afield_protocol::Pattern::{LastWriteWins, ReadOnly, ReadOnlyOptimized};
use afield_protocol::Type::{self, Boolean, Date, Instant, Integer, Text};
use afield_protocol::{Comparison, Pattern, Value};

use super::super::mirror::Mirror;
use super::super::{Database, Rows, entity, replica, server_model};
use crate::resolved::{
    Condition, DeletedWhen, Holds, Keep, Scope, ServerColumn, ServerEntity, ServerModel, SoftDelete,
};
use crate::storage::Caller;

/// When the cases begin, in seconds since 1970.
pub(super) const START: i64 = 1_800_000_000;

/// How far the windows of seconds reach.
pub(super) const REACH: i64 = 100;

/// The entities whose attribute is an instant.
pub(super) const OF_INSTANTS: [&str; 5] = ["log", "plan", "rota", "job", "past_job"];

/// The tables; SQL that every database takes.
pub fn windows_schema() -> String {
    let columns = "id INTEGER PRIMARY KEY NOT NULL, owner TEXT, at TIMESTAMP, canonical TEXT, \
                   is_off BOOLEAN";
    let made = OF_INSTANTS.map(|name| {
        format!(
            "CREATE TABLE {name} ({columns}); CREATE INDEX {name}_at ON {name} (at); \
             CREATE INDEX {name}_owner ON {name} (owner);"
        )
    });
    made.concat() + "CREATE TABLE leaf (id TEXT PRIMARY KEY, day DATE);"
}

/// The model over [`windows_schema`].
pub fn windows_model() -> ServerModel {
    use Comparison::{After, Before, From, UpTo};
    let plain = |name, pattern: Pattern, comparison, seconds| {
        let attributes = [("id", Integer), ("owner", Text), ("at", Instant)];
        keeping(
            entity(name, pattern, 1, &attributes),
            2,
            comparison,
            seconds,
        )
    };
    let scoped = |name, comparison, seconds| {
        let mut entity = plain(name, LastWriteWins, comparison, seconds);
        entity.scope = Scope::Ways(vec![vec![Condition {
            column: "owner".into(),
            path: Vec::new(),
            holds: Holds::User,
        }]]);
        entity.local.scope = entity.scope.widths();
        entity
    };
    let plan = ServerEntity {
        delete: Some(SoftDelete {
            column: column("is_off", Boolean),
            when: DeletedWhen::Is(1.into()),
            revived: 0.into(),
        }),
        ..plain("plan", LastWriteWins, UpTo, REACH)
    };
    let leaf = entity("leaf", ReadOnlyOptimized, 1, &[("id", Text), ("day", Date)]);
    server_model(vec![
        plain("log", LastWriteWins, After, -REACH),
        plan,
        plain("rota", ReadOnly, Before, REACH),
        scoped("job", Before, REACH),
        scoped("past_job", From, -REACH),
        keeping(leaf, 1, Before, 7 * 86_400),
    ])
}

fn column(name: &str, kind: Type) -> ServerColumn {
    ServerColumn {
        name: name.into(),
        kind,
        scale: None,
    }
}

fn keeping(
    entity: ServerEntity,
    attribute: usize,
    comparison: Comparison,
    seconds: i64,
) -> ServerEntity {
    ServerEntity {
        keep: Some(Keep {
            attribute,
            comparison,
            seconds,
        }),
        ..entity
    }
}

/// An instant, so many seconds from [`START`], in canonical form.
pub(super) fn instant(seconds: i64) -> String {
    match Instant.at(START + seconds) {
        Value::Text(text) => text,
        other => panic!("no instant: {other:?}"),
    }
}

/// Makes a row whose instant is so many seconds from [`START`].
pub(super) fn put(db: &dyn Database, entity: &str, id: i64, seconds: i64) {
    put_as(db, entity, id, seconds, &instant(seconds));
}

/// The same in another spelling.
pub(super) fn put_as(db: &dyn Database, entity: &str, id: i64, seconds: i64, spelled: &str) {
    let canonical = instant(seconds);
    db.execute(&format!(
        "INSERT INTO {entity} VALUES ({id}, 'ada', '{spelled}', '{canonical}', false)"
    ));
}

/// Moves a row to another instant.
pub(super) fn shift(db: &dyn Database, entity: &str, id: i64, seconds: i64) {
    let at = instant(seconds);
    db.execute(&format!(
        "UPDATE {entity} SET at = '{at}', canonical = '{at}' WHERE id = {id}"
    ));
}

/// Ada's device, where the clock shows so many seconds from [`START`].
pub(super) fn device(seconds: i64) -> Mirror {
    let mut device = Mirror::of(&Caller::user("ada"));
    device.now = START + seconds;
    device
}

/// Pulls at so many seconds from [`START`], and compares with plain SQL on the canonical form.
pub(super) fn pull_at(
    db: &dyn Database,
    device: &mut Mirror,
    entities: &[&str],
    seconds: i64,
    rows_max: usize,
) {
    device.now = START + seconds;
    device.pull(db, entities, rows_max);
    for entity in entities {
        assert_exact(db, device, entity);
    }
}

/// Fails unless the device holds exactly the rows that stay by the bound that it was told.
pub(super) fn assert_exact(db: &dyn Database, device: &Mirror, entity: &str) {
    let window = &device.windows[entity];
    let mut sql = format!(
        "SELECT id, owner, canonical FROM {entity} WHERE canonical {} '{}'",
        window.keep.as_str(),
        window.bound
    );
    if entity == "plan" {
        sql.push_str(" AND NOT is_off");
    }
    if ["job", "past_job"].contains(&entity) {
        sql.push_str(&format!(" AND owner = '{}'", device.caller.user));
    }
    let rows = db.query(&sql).into_iter();
    let expected: Rows = rows
        .map(|row| (replica::key_bytes(&row[..1]), row))
        .collect();
    let held = device.rows(entity);
    assert_eq!(held, expected, "{entity} differs by {}", window.bound);
}

/// The identifiers that a device holds.
pub(super) fn ids(device: &Mirror, entity: &str) -> Vec<i64> {
    let integer = |value| match value {
        Value::Integer(id) => id,
        other => panic!("no identifier: {other:?}"),
    };
    device.keys(entity).into_iter().map(integer).collect()
}

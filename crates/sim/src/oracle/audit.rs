//! What the team's database itself says was written: triggers of the oracle's log every cell that
//! changes, whoever changes it, in the same transaction.

use rusqlite::Connection;

use afield_protocol::Value;
use afield_protocol::codec::cbor::write_key;

use crate::app::{self, Kinds};
use crate::rows::{RowName, place, value, values};
use crate::timed;

/// What was done to a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// It was made.
    Insert,
    /// It was deleted, or counts as deleted from now on.
    Delete,
    /// A row that is to stay, and count as deleted, was removed from its table.
    Remove,
    /// The attribute of this place got this value.
    Set(usize, Value),
}

/// One line of the log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) is_push: bool,
    pub(crate) row: RowName,
    pub(crate) effect: Effect,
    /// The cell's value before.
    pub(crate) old: Value,
}

/// What stands in a line's place of an entity where somebody got or lost something.
pub(crate) const GRANTS: usize = app::ENTITIES;

/// The log's table and triggers.
pub(crate) fn schema(kinds: Kinds) -> String {
    let mut sql = "CREATE TABLE sim_context (who TEXT);\n\
                   INSERT INTO sim_context VALUES ('push');\n\
                   CREATE TABLE sim_audit (n INTEGER PRIMARY KEY AUTOINCREMENT, who, entity, \
                   effect, k1, k2, old, new);\n"
        .to_owned();
    for entity in app::synced(kinds.with_jobs()) {
        for event in ["INSERT", "UPDATE", "DELETE"] {
            sql += &trigger(entity, event);
        }
    }
    // Whose rows are, and what is shown of others, changes with these.
    for table in ["member", "crew", "seat", "depot", "project", "van"] {
        let column = match table {
            "depot" | "project" | "van" => "id",
            _ => "user",
        };
        for (event, row) in [("INSERT", "NEW"), ("DELETE", "OLD"), ("UPDATE", "NEW")] {
            sql += &format!(
                "CREATE TRIGGER sim_{table}_{event} AFTER {event} ON {table} BEGIN \
                 INSERT INTO sim_audit (who, entity, effect, k1) \
                 SELECT who, {GRANTS}, 'insert', {row}.{column} FROM sim_context; END;\n"
            );
        }
    }
    sql
}

fn trigger(entity: usize, event: &str) -> String {
    let columns = &app::columns(entity)[..app::stored(entity)];
    let key = |from: &str| {
        let second = match app::key_width(entity) {
            1 => "NULL".to_owned(),
            _ => format!("{from}.{}", columns[1]),
        };
        format!("{from}.{}, {second}", columns[0])
    };
    let line = |effect: &str, from: &str, old: &str, new: &str, when: &str| {
        format!(
            "INSERT INTO sim_audit (who, entity, effect, k1, k2, old, new) \
             SELECT who, {entity}, {effect}, {}, {old}, {new} FROM sim_context WHERE {when};",
            key(from)
        )
    };
    let cells = columns.iter().enumerate().skip(app::key_width(entity));
    let moved: Vec<String> = columns[..app::key_width(entity)]
        .iter()
        .map(|name| format!("OLD.{name} IS NOT NEW.{name}"))
        .collect();
    let moved = moved.join(" OR ");
    let soft = match timed::is_soft(entity) {
        true => {
            let (was, is) = (
                timed::is_alive(entity, "OLD"),
                timed::is_alive(entity, "NEW"),
            );
            let (buried, back) = (
                format!("{was} AND NOT ({is})"),
                format!("NOT ({was}) AND {is}"),
            );
            line("'delete'", "NEW", "NULL", "NULL", &buried)
                + &line("'insert'", "NEW", "NULL", "NULL", &back)
        }
        false => String::new(),
    };
    let body: String = match event {
        "INSERT" => {
            let cells = cells.map(|(at, name)| {
                let (new, when) = (format!("NEW.{name}"), format!("NEW.{name} IS NOT NULL"));
                line(&at.to_string(), "NEW", "NULL", &new, &when)
            });
            line("'insert'", "NEW", "NULL", "NULL", "1") + &cells.collect::<String>()
        }
        "UPDATE" => {
            let cells = cells.map(|(at, name)| {
                let (old, new) = (format!("OLD.{name}"), format!("NEW.{name}"));
                let when = format!("OLD.{name} IS NOT NEW.{name}");
                line(&at.to_string(), "NEW", &old, &new, &when)
            });
            soft + &line("'delete'", "OLD", "NULL", "NULL", &moved)
                + &line("'insert'", "NEW", "NULL", "NULL", &moved)
                + &cells.collect::<String>()
        }
        _ if timed::is_soft(entity) => line("'remove'", "OLD", "NULL", "NULL", "1"),
        _ => line("'delete'", "OLD", "NULL", "NULL", "1"),
    };
    let table = app::table(entity);
    format!("CREATE TRIGGER sim_{entity}_{event} AFTER {event} ON {table} BEGIN {body} END;\n")
}

/// The lines after number `seen`, and the new number.
pub(crate) fn read(conn: &Connection, seen: i64) -> rusqlite::Result<(Vec<Line>, i64)> {
    let sql = "SELECT n, who, entity, effect, k1, k2, old, new FROM sim_audit \
               WHERE n > ?1 ORDER BY n";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([seen])?;
    let (mut lines, mut last) = (Vec::new(), seen);
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        let who: String = row.get(1)?;
        let entity = place(row, 2)?;
        let key = values(row, 4, app::key_width(entity))?;
        let effect = match value(row.get_ref(3)?) {
            Value::Integer(at) => {
                Effect::Set(usize::try_from(at).unwrap_or(0), value(row.get_ref(7)?))
            }
            Value::Text(word) if word == "insert" => Effect::Insert,
            Value::Text(word) if word == "remove" => Effect::Remove,
            _ => Effect::Delete,
        };
        lines.push(Line {
            is_push: who == "push",
            row: (entity, write_key(&key)),
            effect,
            old: value(row.get_ref(6)?),
        });
    }
    Ok((lines, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_that_changes_is_logged_once_with_what_it_was() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(&app::server_schema(Kinds::ALL)).unwrap();
        conn.execute_batch(&schema(Kinds::ALL)).unwrap();
        conn.execute_batch(
            "INSERT INTO reading VALUES ('s1', 7, 1.0, NULL); \
             UPDATE reading SET note = 'x', value = 1.0 WHERE n = 7; \
             UPDATE sim_context SET who = 'foreign'; \
             DELETE FROM reading WHERE n = 7",
        )
        .unwrap();
        let (lines, last) = read(&conn, 0).unwrap();
        let effects: Vec<&Effect> = lines.iter().map(|line| &line.effect).collect();
        assert_eq!(
            effects,
            [
                &Effect::Insert,
                &Effect::Set(2, Value::Real(1.0)),
                &Effect::Set(3, "x".into()),
                &Effect::Delete
            ]
        );
        assert_eq!(lines.iter().filter(|line| line.is_push).count(), 3);
        assert!(read(&conn, last).unwrap().0.is_empty());
    }
}

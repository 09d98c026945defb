//! Windows on the device: rows stay for a time, and leave by the server's clock alone.
//!
//! Each page of such an entity says which rows stay. When a page takes effect, those that do not
//! are dropped in the same transaction, behind everything else that it brought: whatever was
//! visible beside the older rows, and whatever came although it does not stay, is judged by the
//! one bound. A row with unsettled changes is left as it is, and judged again with the next page.

use afield_protocol::zoo::planted;
use afield_protocol::{Code, Key, Value, Window};
use rusqlite::params;

use super::db::Db;
use super::scope;
use super::sql::{bound, quoted, values};
use super::tables::Table;
use crate::error::Error;

/// Rows that are dropped in one step.
const CHUNK: i64 = 500;

/// Checks that a page speaks of an attribute that the entity has.
pub(super) fn check(table: &Table, window: &Window) -> Result<(), Error> {
    if table.entity.attribute(&window.attribute).is_some() {
        return Ok(());
    }
    let message = format!(
        "a page keeps rows of `{}` by `{}`, which it does not have",
        window.entity, window.attribute
    );
    Err(Error::new(Code::MALFORMED, message))
}

/// Drops the rows that do not stay. Gives how many those are.
pub(super) fn evict(db: &mut Db, table: &Table, window: &Window) -> Result<u64, Error> {
    let mut left = 0;
    if planted("window-rows-stay") {
        return Ok(left);
    }
    let until = match planted("window-by-the-devices-clock") {
        true => clock(db, table, window),
        false => window.bound.clone(),
    };
    for sql in outside(table, window) {
        loop {
            let keys: Vec<Key> = {
                let mut statement = db.conn.prepare_cached(&sql)?;
                let width = table.entity.key_width;
                let found =
                    statement.query_map(params![until, CHUNK], |row| values(row, 0, width))?;
                found.collect::<Result<_, _>>()?
            };
            for key in &keys {
                db.conn
                    .prepare_cached(table.delete())?
                    .execute(bound(key))?;
                if !table.scope_columns.is_empty() {
                    db.conn
                        .prepare_cached(&scope::delete(table))?
                        .execute(bound(key))?;
                }
            }
            db.crash_point("evicted")?;
            left += keys.len() as u64;
            if i64::try_from(keys.len()) != Ok(CHUNK) {
                break;
            }
        }
    }
    Ok(left)
}

/// A mistake for the zoo: what this device takes for the time, instead of the bound.
fn clock(db: &mut Db, table: &Table, window: &Window) -> String {
    let seconds = db.env.now_ms() / 1000;
    let kind = table.entity.attribute(&window.attribute).map(|a| a.kind);
    match kind.map(|kind| kind.at(seconds)) {
        Some(Value::Text(now)) => now,
        _ => window.bound.clone(),
    }
}

/// The identifiers of rows that do not stay and carry no unsettled changes, each a range of an
/// index that begins with the attribute; parameters are the bound and how many at most.
fn outside(table: &Table, window: &Window) -> Vec<String> {
    let attribute = format!("t.{}", quoted(&window.attribute));
    // Numbers come before all texts, and bytes behind them; a time begins with a digit, and a
    // colon comes behind these.
    let beyond = match window.keep.as_str() {
        "<" => ">= ?1",
        "<=" => "> ?1",
        ">" => "<= ?1",
        _ => "< ?1",
    };
    let mut conditions = vec![
        format!("{attribute} IS NULL"),
        format!("{attribute} {beyond}"),
    ];
    conditions.push(match window.keep.grows() {
        true => format!("{attribute} < '0'"),
        false => format!("{attribute} >= ':'"),
    });
    let keys = table.prefixed("t", table.entity.key());
    let is_pending = match planted("window-drops-pending-rows") {
        true => "0".to_owned(),
        false => {
            let same_key = table.same_key("o", "t");
            format!(
                "EXISTS (SELECT 1 FROM {} AS o WHERE {same_key})",
                table.server
            )
        }
    };
    let select = |condition: String| {
        format!(
            "SELECT {keys} FROM {} AS t WHERE {condition} AND ?1 IS NOT NULL \
             AND NOT {is_pending} LIMIT ?2",
            table.name,
        )
    };
    conditions.into_iter().map(select).collect()
}

#[cfg(test)]
mod tests {
    use afield_protocol::{Attribute, Comparison, Entity, Identifier, Pattern, Type, ValueRef};

    use rusqlite::config::DbConfig;

    use super::*;

    const CELLS: [&str; 9] = [
        "NULL",
        "7",
        "x'3939'",
        "''",
        "'-1'",
        "'2026-11-13'",
        "'2026-11-14'",
        "'2026-11-15'",
        "'soon'",
    ];

    fn table(indexed: bool) -> Table {
        let attributes = vec![
            Attribute::new("id", Type::Integer),
            Attribute::new("on", Type::Date),
        ];
        let (pattern, identifier) = (Pattern::LastWriteWins, Identifier::Natural);
        let entity = Entity {
            indexes: indexed.then(|| vec!["on".to_owned()]).into_iter().collect(),
            ..Entity::new("visit", pattern, identifier, 1, attributes)
        };
        Table::new(entity, 0)
    }

    fn store(table: &Table) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        // As the connection that applies pages has it: what the server sends is not refused.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
            .unwrap();
        let sql = "CREATE TABLE afield_entity (name, touched)";
        conn.execute_batch(sql).unwrap();
        for sql in table.create() {
            conn.execute_batch(&sql).unwrap();
        }
        conn
    }

    fn window(keep: Comparison) -> Window {
        Window {
            entity: "visit".into(),
            attribute: "on".into(),
            keep,
            bound: "2026-11-14".into(),
        }
    }

    /// The statements find exactly the rows that the window says do not stay, odd cells included,
    /// and each once.
    #[test]
    fn exactly_what_does_not_stay_is_dropped() {
        let table = table(false);
        for keep in Comparison::ALL {
            let conn = store(&table);
            let window = window(keep);
            let mut expected = Vec::new();
            for (id, cell) in CELLS.iter().enumerate() {
                let sql = format!("INSERT INTO visit VALUES ({id}, {cell})");
                conn.execute_batch(&sql).unwrap();
                let sql = format!("SELECT \"on\" FROM visit WHERE id = {id}");
                let keeps = conn.query_row(&sql, [], |row| {
                    Ok(window.keeps(match row.get_ref(0)? {
                        rusqlite::types::ValueRef::Text(text) => {
                            ValueRef::Text(std::str::from_utf8(text).unwrap())
                        }
                        _ => ValueRef::Null,
                    }))
                });
                let keeps: bool = keeps.unwrap();
                expected.extend((!keeps).then_some(id as i64));
            }
            let mut found: Vec<i64> = Vec::new();
            for sql in outside(&table, &window) {
                let mut statement = conn.prepare(&sql).unwrap();
                let ids =
                    statement.query_map(params![window.bound, 100], |row| row.get::<_, i64>(0));
                found.extend(ids.unwrap().map(Result::unwrap));
            }
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, expected, "{keep:?}");
        }
    }

    /// With the index that the server proposes, nothing is looked at but what leaves.
    #[test]
    fn p9_dropping_rows_follows_the_index() {
        let table = table(true);
        let conn = store(&table);
        for keep in Comparison::ALL {
            for sql in outside(&table, &window(keep)) {
                let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let steps = plan.query_map(params!["", 1], |row| row.get::<_, String>(3));
                let steps: Vec<_> = steps.unwrap().map(Result::unwrap).collect();
                assert!(steps[0].starts_with("SEARCH t USING"), "{sql}: {steps:?}");
            }
        }
    }
}

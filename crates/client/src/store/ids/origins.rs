//! Origins: for each temporary identifier in a frozen group, the group that creates its row.

use std::collections::BTreeSet;

use afield_protocol::codec::cbor::write_key;
use afield_protocol::{Change, GroupId, Op, Origin, Value, is_temporary};
use rusqlite::{OptionalExtension, params};

use super::super::db::{Db, Loaded};
use crate::error::Error;

/// The origins of the temporary identifiers in `changes`, of group `n`, whose rows other groups
/// create: the newest one up to this, or one behind it, which a refused create may be after it
/// was written again. An identifier whose create nobody knows has none: the server refuses it as
/// a reference to nothing.
pub(in crate::store) fn of(
    db: &Db,
    loaded: &Loaded,
    n: i64,
    changes: &[Change],
) -> Result<Vec<Origin>, Error> {
    let mut origins = Vec::new();
    for (entity, temporary) in temporaries(loaded, changes) {
        let sql = "SELECT g.n, g.id, c.at FROM afield_change AS c \
                   JOIN afield_group AS g ON g.n = c.group_n \
                   WHERE c.entity = ?1 AND c.key = ?2 AND c.op = ?3 \
                   AND g.state <> 'dropped' ORDER BY g.n <= ?4 DESC, c.n DESC LIMIT 1";
        let key = write_key(&[Value::Integer(temporary)]);
        let found: Option<(i64, [u8; 16], u32)> = db
            .conn
            .prepare_cached(sql)?
            .query_row(params![entity, key, Op::Create.as_str(), n], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((group, id, at)) = found else {
            continue;
        };
        if group != n {
            origins.push(Origin {
                entity: entity.to_owned(),
                temporary,
                group: GroupId(id),
                at,
            });
        }
    }
    Ok(origins)
}

/// Every temporary identifier that stands in these changes, with the entity it belongs to.
pub(in crate::store) fn temporaries<'a>(
    loaded: &'a Loaded,
    changes: &[Change],
) -> BTreeSet<(&'a str, i64)> {
    let mut found = BTreeSet::new();
    for change in changes {
        let Ok(table) = loaded.table(&change.entity) else {
            continue;
        };
        let columns = table.entity.attributes.iter().zip(&table.numbered);
        for (at, (attribute, entity)) in columns.enumerate() {
            let Some(entity) = entity else { continue };
            let places = [
                change.key.get(at),
                change.base.get(&attribute.name),
                change.set.get(&attribute.name),
            ];
            for value in places.into_iter().flatten() {
                if let Value::Integer(temporary) = value
                    && is_temporary(value)
                {
                    found.insert((entity.as_str(), *temporary));
                }
            }
        }
    }
    found
}

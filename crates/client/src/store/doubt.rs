//! Rows that may be other ones since the server's database was set back: it may have given a number
//! that it lost to another row.
//!
//! ```text
//!   other history ─► entities with numbers are doubted: what refers to such a row is not sent
//!   complete page ─► the row is what it was: sent · gone, or differs: the group is parked
//! ```
//!
//! What the restore took, and is parked until its user says that it goes again, is compared like
//! what was not sent yet: he says so of a row that is what it was, or is told that it is not.
//!
//! What a user wrote was about the row that he saw. Nothing but its number goes to the server, so
//! it is compared here.

use std::collections::{BTreeMap, HashSet};

use afield_protocol::codec::cbor::{read_attributes, read_key};
use afield_protocol::{Attributes, Code, GroupId, GroupOutcome, Op, Value, Verdict, is_temporary};

use super::db::{Db, Loaded};
use super::left::IMPORTED;
use super::outcome;
use super::sql::row_attributes;
use super::tables::Table;
use crate::error::Error;

/// A row by the number that the server gave it.
type Numbered = (String, i64);

/// A change that is not settled, and a doubted row that it speaks of.
pub(super) struct Doubt {
    group: GroupId,
    at: usize,
    row: Numbered,
    /// The row that its user knows; none if the device has none.
    before: Option<Attributes>,
}

/// Begins to doubt the rows of every entity whose identifiers the server makes, if it has any here.
pub(super) fn begin(db: &Db, loaded: &Loaded) -> Result<(), Error> {
    let sql = "UPDATE afield_entity SET doubted = 1 WHERE name = ?1";
    let is_doubted = |table: &&Table| table.numbers_itself() && !table.entity.insert_only;
    for table in loaded.tables.iter().filter(is_doubted) {
        db.conn.prepare_cached(sql)?.execute([&table.entity.name])?;
    }
    Ok(())
}

/// The entities whose rows are doubted.
pub(super) fn entities(db: &Db) -> Result<HashSet<String>, Error> {
    let sql = "SELECT name FROM afield_entity WHERE doubted = 1";
    let mut statement = db.conn.prepare_cached(sql)?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// The numbered rows of `doubted` entities that a change speaks of: its own, and those that it
/// makes its row refer to. A row that the device made means itself.
pub(super) fn rows_of(
    loaded: &Loaded,
    doubted: &HashSet<String>,
    entity: &str,
    key: &[u8],
    op: Op,
    sets: &[u8],
) -> Result<Vec<Numbered>, Error> {
    if doubted.is_empty() {
        return Ok(Vec::new());
    }
    let Ok(table) = loaded.table(entity) else {
        return Ok(Vec::new());
    };
    let (key, sets) = (read_key(key)?, read_attributes(sets)?);
    let columns = table.entity.attributes.iter().zip(&table.numbered);
    let mut rows = Vec::new();
    for (at, (attribute, numbered)) in columns.enumerate() {
        let Some(target) = numbered.as_ref().filter(|name| doubted.contains(*name)) else {
            continue;
        };
        let is_own_create = op == Op::Create && target == entity && at < table.entity.key_width;
        let value = key.get(at).or_else(|| sets.get(&attribute.name));
        if let Some(value @ Value::Integer(number)) = value
            && !is_temporary(value)
            && !is_own_create
        {
            rows.push((target.clone(), *number));
        }
    }
    Ok(rows)
}

/// What is doubted of the rows of `entities`, as they are before a page that completes them.
pub(super) fn collect(
    db: &Db,
    loaded: &Loaded,
    entities: &HashSet<String>,
) -> Result<Vec<Doubt>, Error> {
    let mut doubts = Vec::new();
    if entities.is_empty() {
        return Ok(doubts);
    }
    let sql = "SELECT g.id, c.at, c.entity, c.key, c.op, c.sets FROM afield_group AS g \
               JOIN afield_change AS c ON c.group_n = g.n \
               WHERE g.state IN ('pending', 'sent') OR (g.state = 'parked' AND ?1 = \
                 (SELECT code FROM afield_outcome WHERE change_n = c.n ORDER BY n DESC LIMIT 1)) \
               ORDER BY g.n, c.at";
    let mut statement = db.conn.prepare_cached(sql)?;
    let mut found = statement.query([Code::LOST_BY_RESTORE.as_str()])?;
    while let Some(row) = found.next()? {
        let (entity, op): (String, String) = (row.get(2)?, row.get(4)?);
        let (key, sets): (Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(5)?);
        let op = super::outbox::op(&op)?;
        for numbered in rows_of(loaded, entities, &entity, &key, op, &sets)? {
            doubts.push(Doubt {
                group: GroupId(row.get(0)?),
                at: usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
                before: now(db, loaded, &numbered)?,
                row: numbered,
            });
        }
    }
    Ok(doubts)
}

/// The server's row of this number, as far as the device knows.
fn now(db: &Db, loaded: &Loaded, (entity, number): &Numbered) -> Result<Option<Attributes>, Error> {
    let table = loaded.table(entity)?;
    let row = table.known_row(&db.conn, &[Value::Integer(*number)])?;
    Ok(row.map(|row| {
        let mut row = row_attributes(&table.entity, &row);
        // What other rows show here is not this row.
        row.retain(|name, _| table.entity.attribute(name).is_some_and(|it| !it.lookup));
        row
    }))
}

/// Ends the doubt about `entities`, which are complete: parks the groups that speak of a row that
/// is gone or differs.
pub(super) fn end(
    db: &mut Db,
    loaded: &Loaded,
    entities: &HashSet<String>,
    doubts: Vec<Doubt>,
) -> Result<(), Error> {
    let mut parked: BTreeMap<GroupId, (usize, Numbered)> = BTreeMap::new();
    for doubt in doubts {
        if now(db, loaded, &doubt.row)? != doubt.before {
            parked.entry(doubt.group).or_insert((doubt.at, doubt.row));
        }
    }
    park(db, parked)?;
    let sql = "UPDATE afield_entity SET doubted = 0 WHERE name = ?1";
    for entity in entities {
        db.conn.prepare_cached(sql)?.execute([entity])?;
    }
    db.crash_point("doubt-ends")
}

/// Parks the groups that came with a file and speak of rows by numbers that the server gave: it was
/// set back, and nobody here knows the rows that they were made for.
pub(super) fn park_imported(db: &mut Db, loaded: &Loaded) -> Result<(), Error> {
    let numbered = loaded.tables.iter().filter(|table| table.numbers_itself());
    let numbered: HashSet<String> = numbered.map(|table| table.entity.name.clone()).collect();
    let sql = format!(
        "SELECT g.id, c.at, c.entity, c.key, c.op, c.sets FROM afield_group AS g \
         JOIN afield_change AS c ON c.group_n = g.n \
         WHERE g.state IN ('pending', 'sent') AND {IMPORTED} ORDER BY g.n, c.at"
    );
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut found = statement.query([])?;
    let mut parked = BTreeMap::new();
    while let Some(row) = found.next()? {
        let (entity, op): (String, String) = (row.get(2)?, row.get(4)?);
        let (key, sets): (Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(5)?);
        let op = super::outbox::op(&op)?;
        let rows = rows_of(loaded, &numbered, &entity, &key, op, &sets)?;
        if let Some(row_named) = rows.into_iter().next() {
            let at = usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            parked
                .entry(GroupId(row.get(0)?))
                .or_insert((at, row_named));
        }
    }
    drop(found);
    drop(statement);
    park(db, parked)
}

/// Parks groups, each for a row that one of its changes speaks of.
fn park(db: &mut Db, parked: BTreeMap<GroupId, (usize, Numbered)>) -> Result<(), Error> {
    let mut outcomes = Vec::new();
    for (group, (at, (entity, number))) in parked {
        // What was lost is parked already, and has another outcome now.
        let sql = "UPDATE afield_group SET state = 'sent' WHERE id = ?1 AND state = 'parked'";
        db.conn.prepare_cached(sql)?.execute([group.0])?;
        let sql = "SELECT count(*) FROM afield_change AS c \
                   JOIN afield_group AS g ON g.n = c.group_n WHERE g.id = ?1";
        let changes: i64 = db.conn.query_row(sql, [group.0], |row| row.get(0))?;
        let message =
            format!("since the server was set back, {entity} {number} is not what it was");
        let others = Verdict::rejected(Code::GROUP_REFUSED, message.clone());
        let mut verdicts = vec![others; usize::try_from(changes).unwrap_or(0)];
        if let Some(verdict) = verdicts.get_mut(at) {
            *verdict = Verdict::rejected(Code::OTHER_ROW, message);
        }
        outcomes.push(GroupOutcome { group, verdicts });
    }
    outcome::store(db, 0, &outcomes).map(|_| ())
}

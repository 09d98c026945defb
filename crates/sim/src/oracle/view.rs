//! A device's file as anybody can read it: the app's tables, the outbox with its history, the
//! outcomes, and where each entity stands.

use std::collections::{BTreeSet, HashMap};

use afield_protocol::codec::cbor::read_attributes;
use afield_protocol::{Attributes, Code, GroupId, Op, Value, VerdictKind};
use rusqlite::{Connection, OptionalExtension};

use super::tagged::rows::{TaggedRow, integer, tagged};
use crate::app;
use crate::rows::{self, RowName, Rows, place};
use crate::violation::{Promise, Violation};

/// Everything the oracle reads from a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Whether the device has its tables yet.
    pub(crate) has_model: bool,
    pub(crate) visible: Vec<Rows>,
    /// Changes in the order in which they were made, settled ones included.
    pub(crate) log: Vec<Entry>,
    /// Those of tagged rows.
    pub(crate) tagged_log: Vec<Entry>,
    /// Tagged rows, with references that are captured and not sealed as they will be.
    pub(crate) tagged: Vec<TaggedRow>,
    /// What the server gave in place of temporary identifiers.
    pub(crate) ids: HashMap<(usize, i64), i64>,
    /// How each change of a group ended: every outcome there is for it.
    pub(crate) outcomes: HashMap<(GroupId, usize), Vec<Ended>>,
    /// Each synced entity's position, and whether its first download is complete. Entities that the
    /// world does not have are never complete.
    pub(crate) standing: Vec<(Option<Vec<u8>>, bool)>,
    /// Whether its model has projects and jobs, and their rules.
    pub(crate) has_jobs: bool,
    pub(crate) has_rules: bool,
    /// Rows that were written and not sealed.
    pub(crate) captured: BTreeSet<RowName>,
}

/// How a change ended, as the device stored it.
pub(crate) type Ended = (VerdictKind, Option<Code>);

/// A change in the device's log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) group: GroupId,
    pub(crate) absorbed: Vec<GroupId>,
    pub(crate) state: GroupState,
    pub(crate) at: usize,
    pub(crate) row: RowName,
    pub(crate) op: Op,
    pub(crate) base: Attributes,
    pub(crate) set: Attributes,
}

/// Where a group stands on its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GroupState {
    Pending,
    Sent,
    Settled,
    Parked,
    /// Given up by the app.
    Dropped,
}

impl GroupState {
    /// Whether no more will become of it by itself.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Settled | Self::Parked | Self::Dropped)
    }
}

impl View {
    /// Reads a device's file, as it is at one moment.
    pub(crate) fn read(conn: &Connection) -> Result<Self, Violation> {
        let snapshot = conn.unchecked_transaction()?;
        Self::read_in(&snapshot)
    }

    fn read_in(conn: &Connection) -> Result<Self, Violation> {
        let sql = "SELECT 1 FROM sqlite_schema WHERE name = 'afield_entity'";
        let exists = conn
            .prepare_cached(sql)?
            .query_row([], |_| Ok(()))
            .optional()?;
        let sql = "SELECT model IS NOT NULL FROM afield_meta";
        if exists.is_none() || !conn.query_row(sql, [], |row| row.get::<_, bool>(0))? {
            return Ok(Self::default());
        }
        let log = log(conn)?;
        let (log, tagged_log) = log
            .into_iter()
            .partition(|entry| !app::TAGGED.contains(&entry.row.0));
        let (has_jobs, has_rules) = jobs(conn)?;
        let mut view = Self {
            has_model: true,
            has_jobs,
            has_rules,
            log,
            tagged_log,
            ids: ids(conn)?,
            outcomes: outcomes(conn)?,
            ..Self::default()
        };
        let standing = standing(conn)?;
        let is_there = |entity: &usize| standing[*entity].is_some();
        for entity in 0..app::ENTITIES {
            if !is_there(&entity) {
                view.visible.push(Rows::new());
                continue;
            }
            let columns = app::attributes(entity).join(", ");
            let sql = format!("SELECT {columns} FROM \"{}\"", app::name(entity));
            view.visible.push(rows::read(conn, entity, &sql)?);
        }
        let written = app::keyed_written().chain(app::TAGGED);
        for entity in written.filter(|entity| is_there(entity) && *entity != app::VAN) {
            let columns = app::attributes(entity).join(", ");
            let sql = format!("SELECT {columns} FROM afield_before_{}", app::name(entity));
            let captured = rows::read(conn, entity, &sql)?;
            view.captured
                .extend(captured.into_keys().map(|key| (entity, key)));
        }
        view.standing = standing
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect();
        for entity in app::TAGGED {
            let rows = view.visible[entity].iter();
            let rows = rows.map(|(key, row)| (key.clone(), view.sealed(entity, key, row)));
            view.tagged.extend(tagged(entity, &rows.collect())?);
        }
        Ok(view)
    }

    /// Whether its model has this entity.
    pub(crate) fn has(&self, entity: usize) -> bool {
        self.has_jobs || !app::JOBS.contains(&entity)
    }

    /// The row as it will be when it is sealed: old identifiers that another process wrote are
    /// put right then.
    fn sealed(&self, entity: usize, key: &[u8], row: &[Value]) -> Vec<Value> {
        let mut row = row.to_vec();
        let references: &[(usize, usize)] = match entity {
            app::LINE => &[(0, app::ORDER)],
            app::REMARK => &[(1, app::ORDER), (3, app::REMARK)],
            _ => &[],
        };
        if self.captured.contains(&(entity, key.to_vec())) {
            for (at, target) in references {
                let real = integer(&row[*at]).and_then(|id| self.ids.get(&(*target, id)));
                if let Some(real) = real {
                    row[*at] = Value::Integer(*real);
                }
            }
        }
        row
    }

    /// Whether another process wrote tagged rows, or others, that are not sealed.
    pub(crate) fn has_captured(&self, are_tagged: bool) -> bool {
        let mut entities = self.captured.iter().map(|(entity, _)| *entity);
        entities.any(|entity| app::TAGGED.contains(&entity) == are_tagged)
    }

    /// A visible row.
    pub(crate) fn row(&self, (entity, key): &RowName) -> Option<&Vec<Value>> {
        self.visible.get(*entity)?.get(key)
    }

    /// The log's entries of a row, oldest first.
    pub(crate) fn entries<'a>(
        &'a self,
        row: &'a RowName,
    ) -> impl DoubleEndedIterator<Item = &'a Entry> {
        self.log.iter().filter(move |entry| entry.row == *row)
    }
}

fn log(conn: &Connection) -> Result<Vec<Entry>, Violation> {
    let sql = "SELECT g.id, g.absorbed, g.state, c.at, c.entity, c.key, c.op, c.base, c.sets \
               FROM afield_change AS c JOIN afield_group AS g ON g.n = c.group_n ORDER BY c.n";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let absorbed: Vec<u8> = row.get(1)?;
        let (state, entity, op): (String, String, String) = (row.get(2)?, row.get(4)?, row.get(6)?);
        let (base, set): (Vec<u8>, Vec<u8>) = (row.get(7)?, row.get(8)?);
        let attributes =
            |bytes: &[u8]| read_attributes(bytes).map_err(|error| unreadable(error.to_string()));
        found.push(Entry {
            group: GroupId(row.get(0)?),
            absorbed: absorbed
                .chunks_exact(16)
                .filter_map(|id| Some(GroupId(id.try_into().ok()?)))
                .collect(),
            state: match state.as_str() {
                "pending" => GroupState::Pending,
                "sent" => GroupState::Sent,
                "settled" => GroupState::Settled,
                "parked" => GroupState::Parked,
                "dropped" => GroupState::Dropped,
                other => return Err(unreadable(format!("state {other}"))),
            },
            at: place(row, 3)?,
            row: (
                app::place(&entity).ok_or_else(|| unreadable(entity))?,
                row.get(5)?,
            ),
            op: Op::parse(&op).ok_or_else(|| unreadable(op))?,
            base: attributes(&base)?,
            set: attributes(&set)?,
        });
    }
    Ok(found)
}

fn outcomes(conn: &Connection) -> Result<HashMap<(GroupId, usize), Vec<Ended>>, Violation> {
    let sql = "SELECT group_id, at, result, code FROM afield_outcome ORDER BY n";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found: HashMap<_, Vec<Ended>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (result, code): (String, Option<String>) = (row.get(2)?, row.get(3)?);
        let kind = VerdictKind::parse(&result).ok_or_else(|| unreadable(result))?;
        let ended = (kind, code.map(|word| Code::parse(&word)));
        let all = found
            .entry((GroupId(row.get(0)?), place(row, 1)?))
            .or_default();
        // What was applied is lost: that is how it ended.
        if ended.1 == Some(Code::LOST_BY_RESTORE)
            && all.as_slice() == [(VerdictKind::Applied, None)]
        {
            all.clear();
        }
        all.push(ended);
    }
    Ok(found)
}

fn ids(conn: &Connection) -> Result<HashMap<(usize, i64), i64>, Violation> {
    let sql = "SELECT entity, temporary, real FROM afield_ids";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = HashMap::new();
    while let Some(row) = rows.next()? {
        let entity: String = row.get(0)?;
        let entity = app::place(&entity).ok_or_else(|| unreadable(entity))?;
        found.insert((entity, row.get(1)?), row.get(2)?);
    }
    Ok(found)
}

/// A position, and whether the first download is through.
type Standing = (Option<Vec<u8>>, bool);

/// Whether the device's model has jobs, and their rules.
fn jobs(conn: &Connection) -> Result<(bool, bool), Violation> {
    let sql = "SELECT instr(model, '\"job\"') > 0, instr(model, '\"max_length\"') > 0 \
               FROM afield_meta";
    Ok(conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn standing(conn: &Connection) -> Result<Vec<Option<Standing>>, Violation> {
    let sql = "SELECT position, complete FROM afield_entity WHERE name = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let read = |entity| {
        if entity == app::DRAFT {
            return Ok(Some((None, true)));
        }
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(statement.query_row([app::name(entity)], read).optional()?)
    };
    (0..app::ENTITIES).map(read).collect()
}

fn unreadable(what: String) -> Violation {
    Violation::new(Promise::Sound, "a device's bookkeeping can be read", what)
}

//! Groups that are decided before anything of them is written, and then written all at once.
//!
//! Most of what devices send are edits of single rows, each a transaction of its own. One statement
//! for each question about each of them costs ten times what the update itself does. So what
//! deciding needs is read for many groups at once, the rows locked; the rules run as ever, on these
//! rows and on what the changes before made of them; and all of it is written by one statement for
//! each table and set of columns. What the statement returns must be what was thought when the
//! changes were decided, or everything is taken back and decided one by one.
//!
//! What could go wrong, and why it does not:
//!
//! - A trigger of the team's changes another row, or refuses one of many: tables with
//!   triggers or rules of the team's are never written ahead.
//! - A write changes whose rows others are: nor are tables that a scope reads; nor rows whose
//!   change touches a column that decides about it.
//! - An update cascades to rows that were read: nor are tables whose columns others refer to
//!   with an action.
//! - A constraint refuses one of many: the statement fails, and all are decided one by one.
//! - A row stands twice in a statement: changes of one row are one there, its last values.
//! - The database makes another value of one: what it returns is compared with what was
//!   thought.

use std::collections::{BTreeMap, HashMap, HashSet};

use afield_protocol::codec::write_verdicts;
use afield_protocol::{Attributes, Group, GroupHash, GroupId, Op, Value, Verdict};

use super::super::cell::{Param, Wire};
use super::super::columns::{KeyColumn, ReadColumn};
use super::super::entity::{EntityTable, Found};
use super::super::error::lasting;
use super::super::inbox;
use super::super::link::Link;
use super::super::scope::{Asks, Bound, ScopeSql};
use super::rows::{borrowed, bound};
use super::{DOING, FoundKey, READING, ledger};
use crate::resolved::{Condition, Scope, ServerEntity};
use crate::storage::inbox::Noted as Refused;
use crate::storage::push::{Entry, Table, folded, is_applied};
use crate::storage::{Caller, StorageError};

/// Groups that are decided at once: enough that statements cost little beside their rows, few
/// enough that a refused change among them has little decided again.
pub(super) const GROUPS: usize = 256;

/// Changes of such groups, all together.
const CHANGES_MAX: usize = 4 * GROUPS;

pub(super) const SAVEPOINT: &str = "afield_ahead";

/// How the rows of an entity are read for many changes at once.
#[derive(Debug)]
pub(in super::super) struct AheadSql {
    /// Rows by arrays of the cells of their keys: the place in these, whether the row is in the
    /// caller's scope, may be changed, may be left behind, and its cells.
    read: String,
    /// What stands behind the arrays.
    asks: Vec<Asks>,
    /// The attributes that decide whose rows they are, and what may be made of them.
    deciding: Vec<usize>,
    /// Writes rows: what stands before the assignments, and behind the arrays.
    update: String,
    returning: String,
}

/// A row, and what its author may do.
#[derive(Clone)]
struct Known {
    row: Option<Found>,
    is_mine: bool,
    may_write: bool,
    may_become: bool,
}

/// What was decided about a row: the values that it gets, by the places of their attributes.
struct Planned {
    key: Vec<Value>,
    row: Found,
    set: BTreeMap<usize, Value>,
}

/// A row's key, and the values that it gets, in the order of their attributes.
type Planning<'p> = (&'p [Value], Vec<&'p Value>);

/// What became of a group.
struct Noted {
    group: GroupId,
    hash: GroupHash,
    verdicts: Vec<u8>,
    is_applied: bool,
    folded: Vec<GroupId>,
}

/// What is known, and what was decided so far.
#[derive(Default)]
pub(super) struct Ahead {
    entries: HashMap<GroupId, Entry>,
    /// The groups that took effect, as far as these ask.
    effective: HashSet<GroupId>,
    rows: HashMap<(String, Vec<Value>), Known>,
    planned: Vec<(String, Planned)>,
    noted: Vec<Noted>,
    /// Groups that were refused.
    refused: Vec<(GroupId, Refused)>,
    /// Groups that stand in the place of others: pairs of one of these, and the group.
    in_place: Vec<(GroupId, GroupId)>,
    /// What was planned when a group began.
    begun: Vec<usize>,
    /// Whether something could not be decided so.
    pub is_over: bool,
}

impl AheadSql {
    /// Over the table of an entity. `select` is what is read of a row; the scopes are those of the
    /// entity, of what may be written, and of what rows may become.
    pub(in super::super) fn of(
        table: &str,
        select: &str,
        (entity, columns, key): (&ServerEntity, &[ReadColumn], &[KeyColumn]),
        scopes: [Option<&ScopeSql>; 3],
    ) -> Self {
        let mut free = key.len() + 1;
        let (mut asks, mut told) = (Vec::new(), Vec::new());
        for (at, scope) in scopes.into_iter().enumerate() {
            let Some(scope) = scope else {
                told.push("true".to_owned());
                continue;
            };
            let asked = scope.predicate("r", free, &format!("afield_list{at}_"));
            free += asked.width();
            told.push(format!("coalesce({}, false)", asked.sql));
            asks.push(asked);
        }
        let rest = format!(
            "SELECT k.afield_at, {}, {select} FROM {} JOIN {table} r ON {} \
             ORDER BY k.afield_at FOR NO KEY UPDATE OF r",
            told.join(", "),
            arrays(key.iter().map(|key| &key.column), "k", " WITH ORDINALITY"),
            is_one_of(key),
        );
        let with: Vec<String> = asks.iter().flat_map(|asked| asked.with.clone()).collect();
        let decides = |name: &String| {
            let mut conditions = scopes_of(entity);
            conditions.any(|condition| condition.column == *name)
        };
        let deciding = entity.columns.iter().enumerate();
        let deciding = deciding.filter(|(_, column)| decides(&column.name));
        Self {
            read: match with.is_empty() {
                true => rest,
                false => format!("WITH {} {rest}", with.join(", ")),
            },
            update: format!("UPDATE {table} r SET "),
            returning: format!("WHERE {} RETURNING {select}", is_one_of(key)),
            asks,
            deciding: deciding.map(|(at, _)| at).take(columns.len()).collect(),
        }
    }

    /// How many columns stand before the cells of a row.
    const BEFORE: usize = 4;

    /// Writes values of these attributes to rows, by arrays: of the cells of their keys, then of
    /// the values of each attribute.
    fn update(&self, table: &EntityTable, places: &[usize]) -> String {
        let written = || places.iter().filter_map(|at| table.columns.get(*at));
        let first = table.key.len() + 1;
        let assignments = written().enumerate();
        let assignments =
            assignments.map(|(at, column)| format!("{} = k.k{}", column.name, first + at));
        let keys = table.key.iter().map(|key| &key.column);
        format!(
            "{}{} FROM {} {}",
            self.update,
            assignments.collect::<Vec<_>>().join(", "),
            arrays(keys.chain(written()), "k", ""),
            self.returning,
        )
    }
}

/// Every condition that decides about rows of an entity.
fn scopes_of(entity: &ServerEntity) -> impl Iterator<Item = &Condition> {
    let rules = [
        Some(&entity.scope),
        entity.write.as_ref(),
        entity.write_to.as_ref(),
    ];
    rules.into_iter().flatten().flat_map(Scope::conditions)
}

/// Rows of arrays, the parameters from the first on, with columns `k1`, `k2` and so on.
fn arrays<'c>(columns: impl Iterator<Item = &'c ReadColumn>, alias: &str, with: &str) -> String {
    let types: Vec<&str> = columns.map(|column| column.sql_type.as_str()).collect();
    let holes: Vec<String> = (types.iter().enumerate())
        .map(|(at, sql_type)| format!("pg_catalog.unnest(${}::{sql_type}[])", at + 1))
        .collect();
    let mut names: Vec<String> = (1..=types.len()).map(|at| format!("k{at}")).collect();
    if !with.is_empty() {
        names.push("afield_at".to_owned());
    }
    format!(
        "ROWS FROM ({}){with} AS {alias} ({})",
        holes.join(", "),
        names.join(", ")
    )
}

/// That a row has the key of a row of arrays.
fn is_one_of(key: &[KeyColumn]) -> String {
    let equal = key.iter().enumerate();
    let equal = equal.map(|(at, key)| key.column.is_same("r", &format!("k.k{}", at + 1)));
    equal.collect::<Vec<_>>().join(" AND ")
}

/// Whether values of a column can stand in an array.
pub(in super::super) fn can_be_listed(column: &ReadColumn) -> bool {
    column.form.wire != Wire::Other
}

/// Whether groups can be decided so, by what they are.
pub(super) fn is_fit<'t>(
    groups: &[Group],
    table: impl Fn(&str) -> Option<&'t EntityTable>,
) -> bool {
    let is_plain = |group: &Group| {
        group.origins.is_empty()
            && group.changes.iter().all(|change| {
                let table = table(&change.entity);
                change.op == Op::Update && table.is_some_and(|table| table.push.ahead.is_some())
            })
    };
    let changes: usize = groups.iter().map(|group| group.changes.len()).sum();
    let ids: HashSet<GroupId> = groups.iter().map(|group| group.id).collect();
    ids.len() == groups.len()
        && changes > 1
        && changes <= CHANGES_MAX
        && groups.iter().all(is_plain)
}

impl Ahead {
    /// Reads the ledger and the rows of groups, and locks these.
    pub(super) async fn read<'t>(
        link: &Link,
        caller: &Caller,
        groups: &[Group],
        table: impl Fn(&str) -> Option<&'t EntityTable>,
    ) -> Result<Self, StorageError> {
        let mut ahead = Self::default();
        ahead.read_ledger(link, caller, groups).await?;
        let mut keys: BTreeMap<&str, Vec<&[Value]>> = BTreeMap::new();
        for change in groups.iter().flat_map(|group| &group.changes) {
            let key = (change.entity.clone(), change.key.clone());
            let nothing = Known {
                row: None,
                is_mine: false,
                may_write: false,
                may_become: false,
            };
            if ahead.rows.insert(key, nothing).is_none() {
                keys.entry(&change.entity).or_default().push(&change.key);
            }
        }
        for (entity, keys) in keys {
            if let Some(table) = table(entity) {
                ahead.read_rows(link, caller, table, &keys).await?;
            }
        }
        Ok(ahead)
    }

    /// What the ledger knows of the groups, and of those that were folded into them.
    async fn read_ledger(
        &mut self,
        link: &Link,
        caller: &Caller,
        groups: &[Group],
    ) -> Result<(), StorageError> {
        let all = groups
            .iter()
            .flat_map(|group| std::iter::once(&group.id).chain(&group.absorbed));
        let ids: Vec<&[u8]> = all.map(|id| id.0.as_slice()).collect();
        let sql = "SELECT group_id, applied, hash, verdicts, absorbed_by FROM afield.ledger \
                   WHERE user_name = $1 AND group_id = ANY ($2)";
        for row in link.query(sql, &[&caller.user, &ids], READING).await? {
            let id: &[u8] = row.get(0);
            let id = GroupId(id.try_into().unwrap_or_default());
            if row.get(1) {
                self.effective.insert(id);
            }
            self.entries.insert(id, ledger::entry(id, &row, 2)?);
        }
        Ok(())
    }

    async fn read_rows(
        &mut self,
        link: &Link,
        caller: &Caller,
        table: &EntityTable,
        keys: &[&[Value]],
    ) -> Result<(), StorageError> {
        let Some(sql) = &table.push.ahead else {
            return Ok(());
        };
        // Always in one order, so that no two pushes wait for each other.
        let mut cells: Vec<(Vec<Param>, &[Value])> = (keys.iter())
            .filter_map(|key| Some((table.named(key)?, *key)))
            .collect();
        cells.sort_by(|(one, _), (other, _)| one.cmp(other));
        let width = table.key_width();
        let column = |at: usize| -> Bound {
            let cells = cells.iter().map(|(cells, _)| cells.get(at).cloned());
            Box::new(cells.flatten().collect::<Vec<Param>>())
        };
        let mut parameters: Vec<Bound> = (0..width).map(column).collect();
        for asks in &sql.asks {
            parameters.extend(bound(asks, caller));
        }
        let rows = link
            .query(&sql.read, &borrowed(&parameters), READING)
            .await?;
        for row in rows {
            let at: i64 = row.get(0);
            let place = usize::try_from(at - 1).ok().and_then(|at| cells.get(at));
            let Some((_, key)) = place else {
                return Err(lasting("a row came that was not asked for"));
            };
            let known = Known {
                is_mine: row.get(1),
                may_write: row.get(2),
                may_become: row.get(3),
                row: Some(table.found(&row, AheadSql::BEFORE)?),
            };
            let entity = table.entity.local.name.clone();
            self.rows.insert((entity, key.to_vec()), known);
        }
        Ok(())
    }

    /// What the ledger knew of a group.
    pub(super) fn entry(&mut self, group: GroupId) -> Option<Entry> {
        self.entries.remove(&group)
    }

    /// Whether one of these groups took effect.
    pub(super) fn took_effect(&self, groups: &[GroupId]) -> bool {
        groups.iter().any(|id| self.effective.contains(id))
    }

    /// The row with a canonical key, as it will be; `None` if it was not read.
    pub(super) fn find(&self, table: &EntityTable, key: &[Value]) -> Option<Option<Found>> {
        let known = self.known(table, key)?;
        Some(known.row.clone())
    }

    /// The same, if it is in the caller's scope.
    pub(super) fn find_mine(&self, table: &EntityTable, key: &[Value]) -> Option<Option<Found>> {
        let known = self.known(table, key)?;
        Some(known.row.clone().filter(|_| known.is_mine))
    }

    fn known(&self, table: &EntityTable, key: &[Value]) -> Option<&Known> {
        let entity = table.entity.local.name.clone();
        self.rows.get(&(entity, key.to_vec()))
    }

    /// The row at a place, as it will be.
    pub(super) fn at(&self, table: &EntityTable, place: &FoundKey) -> Option<Found> {
        let known = self.known(table, &table.canonical(place)?)?;
        known.row.clone().filter(|row| row.place == *place)
    }

    /// Whether its author may write, or leave behind, a row that was read.
    pub(super) fn may(&self, table: &EntityTable, place: &FoundKey) -> Option<(bool, bool)> {
        let known = self.known(table, &table.canonical(place)?)?;
        Some((known.may_write, known.may_become))
    }

    /// Whether changes are planned for a table.
    pub(super) fn writes(&self, table: &EntityTable) -> bool {
        let name = &table.entity.local.name;
        self.planned.iter().any(|(entity, _)| entity == name)
    }

    /// Plans the values of a change; gives the row as it will be. `None` if that cannot be known.
    pub(super) fn update(
        &mut self,
        table: &EntityTable,
        row: &Found,
        set: &Attributes,
    ) -> Option<Option<Found>> {
        let deciding = &table.push.ahead.as_ref()?.deciding;
        let local = &table.entity.local;
        let mut after = row.clone();
        let mut values = BTreeMap::new();
        for (at, attribute) in local.attributes.iter().enumerate().take(row.values.len()) {
            let value = set.get(&attribute.name);
            if let Some(value) = value.filter(|value| Some(*value) != row.values.get(at)) {
                if deciding.contains(&at) {
                    return None;
                }
                if let Some(cell) = after.values.get_mut(at) {
                    *cell = value.clone();
                }
                values.insert(at, value.clone());
            }
        }
        if values.is_empty() {
            return Some(None);
        }
        let key = table.key(row);
        let known = self.rows.get_mut(&(local.name.clone(), key.clone()))?;
        let before = known.row.replace(after.clone())?;
        let planned = Planned {
            key,
            row: before,
            set: values,
        };
        self.planned.push((local.name.clone(), planned));
        Some(Some(after))
    }

    /// A group begins.
    pub(super) fn begin(&mut self) {
        self.begun.push(self.planned.len());
    }

    /// Forgets what was planned since the group began.
    pub(super) fn take_back(&mut self) {
        let from = self.begun.last().copied().unwrap_or(0);
        for (entity, planned) in self.planned.drain(from..).rev() {
            if let Some(known) = self.rows.get_mut(&(entity, planned.key)) {
                known.row = Some(planned.row);
            }
        }
    }

    /// A group stands as it was decided.
    pub(super) fn keep(&mut self) {
        self.begun.pop();
    }

    /// Notes what became of a group.
    pub(super) fn record(&mut self, group: &Group, verdicts: &[Verdict]) {
        let in_place = group.absorbed.iter().map(|old| (*old, group.id));
        self.in_place.extend(in_place);
        self.noted.push(Noted {
            group: group.id,
            hash: group.hash(),
            verdicts: write_verdicts(verdicts),
            is_applied: is_applied(verdicts),
            folded: folded(group, verdicts).to_vec(),
        });
    }

    /// Notes a group that was refused.
    pub(super) fn note(&mut self, group: GroupId, refused: Refused) {
        self.refused.push((group, refused));
    }

    /// Writes everything. False if the database made something else of it.
    pub(super) async fn write<'t>(
        &self,
        link: &Link,
        caller: &Caller,
        now: i64,
        table: impl Fn(&str) -> Option<&'t EntityTable>,
    ) -> Result<bool, StorageError> {
        let mut rows: HashMap<(&str, &[Value]), BTreeMap<usize, &Value>> = HashMap::new();
        for (entity, planned) in &self.planned {
            let values = rows.entry((entity, &planned.key)).or_default();
            values.extend(planned.set.iter().map(|(at, value)| (*at, value)));
        }
        let mut statements: BTreeMap<(&str, Vec<usize>), Vec<Planning<'_>>> = BTreeMap::new();
        for ((entity, key), values) in rows {
            let (places, values): (Vec<usize>, Vec<&Value>) = values.into_iter().unzip();
            let rows = statements.entry((entity, places)).or_default();
            rows.push((key, values));
        }
        for ((entity, places), rows) in &statements {
            let Some(table) = table(entity) else {
                return Ok(false);
            };
            if !self.write_rows(link, table, places, rows).await? {
                return Ok(false);
            }
        }
        self.write_ledger(link, caller, now).await?;
        inbox::sent_again(link, &caller.user, &self.in_place, now).await?;
        for (group, refused) in &self.refused {
            inbox::note(link, caller, *group, refused, now).await?;
        }
        Ok(true)
    }

    /// One statement for rows of one table that get values of the same attributes.
    async fn write_rows(
        &self,
        link: &Link,
        table: &EntityTable,
        places: &[usize],
        rows: &[Planning<'_>],
    ) -> Result<bool, StorageError> {
        let mut arrays: Vec<Vec<Param>> = vec![Vec::new(); table.key_width() + places.len()];
        for (key, values) in rows {
            let Some(known) = self.known(table, key).and_then(|known| known.row.as_ref()) else {
                return Ok(false);
            };
            let stored = table.key.iter().zip(&known.place.0);
            let key = stored.map(|(key, cell)| Some(key.column.stored(cell)));
            let columns = places.iter().map(|at| table.columns.get(*at));
            let values = columns
                .zip(values)
                .map(|(column, value)| column?.parameter(value));
            for (array, cell) in arrays.iter_mut().zip(key.chain(values)) {
                let Some(cell) = cell else {
                    return Ok(false);
                };
                array.push(cell);
            }
        }
        let parameters: Vec<Bound> = arrays.into_iter().map(|it| Box::new(it) as Bound).collect();
        let Some(sql) = &table.push.ahead else {
            return Ok(false);
        };
        let sql = sql.update(table, places);
        let returned = link.query(&sql, &borrowed(&parameters), DOING).await?;
        if returned.len() != rows.len() {
            return Ok(false);
        }
        for row in &returned {
            let found = table.found(row, 0)?;
            let thought = self.known(table, &table.key(&found));
            let thought = thought.and_then(|known| known.row.as_ref());
            if thought.is_none_or(|thought| thought.values != found.values) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn write_ledger(
        &self,
        link: &Link,
        caller: &Caller,
        now: i64,
    ) -> Result<(), StorageError> {
        let noted = &self.noted;
        let ids: Vec<&[u8]> = noted.iter().map(|it| it.group.0.as_slice()).collect();
        let hashes: Vec<&[u8]> = noted.iter().map(|it| it.hash.as_ref()).collect();
        let verdicts: Vec<&[u8]> = noted.iter().map(|it| it.verdicts.as_slice()).collect();
        let applied: Vec<bool> = noted.iter().map(|it| it.is_applied).collect();
        let sql = "INSERT INTO afield.ledger (user_name, group_id, hash, verdicts, applied, at) \
                   SELECT $1, n.id, n.hash, n.verdicts, n.applied, $2 \
                   FROM unnest($3::bytea[], $4::bytea[], $5::bytea[], $6::boolean[]) \
                   n (id, hash, verdicts, applied) \
                   ON CONFLICT (user_name, group_id) DO UPDATE \
                   SET hash = excluded.hash, verdicts = excluded.verdicts, at = excluded.at, \
                   xid = excluded.xid";
        let user = &caller.user;
        link.execute(
            sql,
            &[user, &now, &ids, &hashes, &verdicts, &applied],
            DOING,
        )
        .await?;
        let pairs = noted
            .iter()
            .flat_map(|it| it.folded.iter().map(|id| (id, &it.group)));
        let (folded, by): (Vec<&[u8]>, Vec<&[u8]>) = pairs
            .map(|(id, by)| (id.0.as_slice(), by.0.as_slice()))
            .unzip();
        if folded.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO afield.ledger (user_name, group_id, applied, absorbed_by, at) \
                   SELECT $1, f.id, true, f.by, $2 \
                   FROM unnest($3::bytea[], $4::bytea[]) f (id, by) \
                   ON CONFLICT (user_name, group_id) DO UPDATE \
                   SET applied = true, absorbed_by = excluded.absorbed_by, xid = excluded.xid";
        link.execute(sql, &[user, &now, &folded, &by], DOING)
            .await?;
        Ok(())
    }
}

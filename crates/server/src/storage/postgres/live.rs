//! Looks for live streams: what was marked by transactions that the look before did not see.
//!
//! All of a look is one read-only transaction. Marks under values are looked for value by value,
//! each a few ranges of an index, so that a look costs what is watched and what was touched.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::capture::mark_table;
use super::cell::{Param, Stored};
use super::entity::EntityTable;
use super::epoch::{self, IS_NOW};
use super::error::lasting;
use super::key::{Xid, stored};
use super::link::{AS_EVER, Link};
use super::marks::Snapshot;
use super::pull::Ranges;
use super::scope::{Questions, ScopeSql};
use super::statements::any_mark;
use super::tables::Tables;
use crate::position::CodeKey;
use crate::resolved::ServerModel;
use crate::storage::lists::Asking;
use crate::storage::live::{
    At, HeldCondition, HeldEntity, Holdings, Look, MARKS_MAX, Moment, Touched, TouchedEntity,
    TouchedHeld, TouchedRows, Value, Watched, distinct,
};
use crate::storage::{Caller, StorageError};

const DOING: &str = "looking for news";

/// What a storage knows before it looks.
pub(super) struct Known<'a> {
    pub tables: &'a Tables,
    pub model: &'a ServerModel,
    pub code_key: &'a CodeKey,
    pub scope_values_max: usize,
}

/// What became of an attempt to look.
pub(super) enum Outcome {
    Found(Look),
    /// Another epoch has begun that nobody has noted yet.
    OtherEpoch,
}

/// Says whose holdings are to be asked.
pub(super) type Asked<'f> = RefCell<&'f mut dyn FnMut(&Touched) -> Vec<Caller>>;

/// See [`Storage::look`](crate::storage::Storage::look).
pub(super) async fn look(
    link: &Link,
    known: &Known<'_>,
    (since, watched): (Option<&Moment>, &Watched),
    asked: &Asked<'_>,
) -> Result<Outcome, StorageError> {
    link.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", DOING)
        .await?;
    let header = format!(
        "SELECT pg_current_snapshot()::text, n.horizon::text, \
         n.itself = 'afield.node'::regclass::oid, e.epoch, {IS_NOW}, n.database \
         FROM afield.node n LEFT JOIN LATERAL \
         (SELECT * FROM afield.epoch e ORDER BY e.number DESC LIMIT 1) e ON true"
    );
    let header = link.query_one(&header, &[], DOING).await?;
    if !header.get::<_, bool>(2) || header.get::<_, u32>(5) != link.database {
        return Err(lasting(
            "the database is a copy of one that was prepared: run `afield prepare`",
        ));
    }
    if header.get::<_, Option<bool>>(4) != Some(true) {
        return Ok(Outcome::OtherEpoch);
    }
    let snapshot = epoch::snapshot(header.get(0))?;
    let horizon = epoch::xid(header.get(1))?;
    let epoch = epoch::bytes(header.get(3))?;
    let touched = match since.map(|Moment(at)| at) {
        None => Touched::default(),
        Some(At::Postgres {
            epoch: known_epoch,
            snapshot: before,
        }) if *known_epoch == epoch && before.xmin >= horizon && snapshot.contains(before) => {
            match *before == snapshot {
                true => Touched::default(),
                false => touched(link, known, before, &snapshot, watched).await?,
            }
        }
        Some(_) => Touched::everything(),
    };
    let callers = (asked.borrow_mut())(&touched);
    let mut held = Vec::new();
    for caller in &callers {
        held.push(holdings(link, known, caller).await);
        if link.failed.borrow().is_some() {
            // The transaction is of no more use: what is known of the others is unknown too.
            return Err(lasting("looking for news: the holdings could not be asked"));
        }
    }
    link.end_reading().await;
    Ok(Outcome::Found(Look {
        moment: Moment(At::Postgres { epoch, snapshot }),
        touched,
        held,
    }))
}

/// What the marks of transactions between two snapshots say.
async fn touched(
    link: &Link,
    known: &Known<'_>,
    before: &Snapshot,
    now: &Snapshot,
    watched: &Watched,
) -> Result<Touched, StorageError> {
    let ranges = Ranges::between(before, now);
    let (first, last) = ranges.ends();
    let sql = "SELECT DISTINCT r.capture FROM unnest($1::xid8[], $2::xid8[]) s (lo, hi) \
               JOIN afield.reset r ON r.xid >= s.lo AND r.xid <= s.hi";
    let resets = link.query(sql, &[&first, &last], DOING).await?;
    let mut looking = Looking {
        link,
        ranges: &ranges,
        resets: resets.iter().map(|row| row.get(0)).collect(),
        any: HashMap::new(),
        writers: HashMap::new(),
    };
    let mut entities = Vec::new();
    for (at, entity) in known.model.entities.iter().enumerate() {
        let table = known.tables.pulled(&entity.local.name)?;
        let values = watched.entities.get(at).map_or(&[][..], Vec::as_slice);
        entities.push(looking.entity(table, values).await?);
    }
    Ok(Touched {
        is_everything: false,
        is_anything: true,
        entities,
    })
}

/// A look while it is under way.
struct Looking<'a> {
    link: &'a Link,
    ranges: &'a Ranges,
    /// Captures that had a hole.
    resets: HashSet<i32>,
    /// Whether captures have any mark.
    any: HashMap<i32, bool>,
    /// Who wrote to tables that queries read: two transactions at most.
    writers: HashMap<i32, Vec<u64>>,
}

impl Looking<'_> {
    async fn entity(
        &mut self,
        table: &EntityTable,
        watched: &[(usize, Vec<Value>)],
    ) -> Result<TouchedEntity, StorageError> {
        let Some(own) = table.capture else {
            return Ok(TouchedEntity::default());
        };
        let mut held = TouchedHeld::No;
        let mut writers: HashSet<u64> = HashSet::new();
        for capture in &table.live.queries {
            if self.resets.contains(capture) {
                held = TouchedHeld::Several;
            }
            writers.extend(self.writers(*capture).await?);
        }
        held = match writers.len() {
            0 => held,
            1 => held.and(TouchedHeld::Once),
            _ => TouchedHeld::Several,
        };
        // One mark of a row on a path may stand for several transactions.
        for capture in &table.live.paths {
            if self.resets.contains(capture) || self.is_any(*capture).await? {
                held = TouchedHeld::Several;
            }
        }
        Ok(TouchedEntity {
            rows: self.rows(table, own, watched).await?,
            held,
        })
    }

    async fn rows(
        &mut self,
        table: &EntityTable,
        own: i32,
        watched: &[(usize, Vec<Value>)],
    ) -> Result<TouchedRows, StorageError> {
        if self.resets.contains(&own) {
            return Ok(TouchedRows::Any);
        }
        for capture in &table.lookups.captures {
            if self.resets.contains(capture) || self.is_any(*capture).await? {
                return Ok(TouchedRows::Any);
            }
        }
        let Some(scope) = &table.scope else {
            return Ok(match self.is_any(own).await? {
                true => TouchedRows::Any,
                false => TouchedRows::None,
            });
        };
        let mut found = Vec::new();
        for (column, values) in watched {
            found.extend(self.under(scope, own, *column, values).await?);
            if scope.columns.len() > 1 && found.len() > MARKS_MAX {
                return Ok(TouchedRows::Any);
            }
        }
        Ok(match scope.columns.len() {
            1 if found.is_empty() => TouchedRows::None,
            // No more than there are values.
            1 => TouchedRows::With(found),
            _ => distinct(found),
        })
    }

    /// The scopes of the marks under values of one column; where there is only one, each value that
    /// has any.
    async fn under(
        &self,
        scope: &ScopeSql,
        capture: i32,
        column: usize,
        values: &[Value],
    ) -> Result<Vec<Vec<Value>>, StorageError> {
        let Some(sql) = marks(scope, capture, column) else {
            return Ok(Vec::new());
        };
        let (first, last) = self.ranges.ends();
        let given: Vec<Param> = (values.iter())
            .map(|value| Param::stored(Some(value.to_vec()), false))
            .collect();
        let most = i64::try_from(MARKS_MAX + 1).unwrap_or(i64::MAX);
        let most = if scope.columns.len() == 1 {
            i64::MAX
        } else {
            most
        };
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&most, &first, &last, &given];
        let rows = self.link.query(&sql, &parameters, DOING).await?;
        let cell = |row: &tokio_postgres::Row, at| -> Result<Value, StorageError> {
            let Stored(bytes) = stored(row, at)?;
            Ok(bytes.unwrap_or_default().into())
        };
        let cells = |row| (0..scope.columns.len()).map(|at| cell(row, at)).collect();
        rows.iter().map(cells).collect()
    }

    async fn is_any(&mut self, capture: i32) -> Result<bool, StorageError> {
        if let Some(known) = self.any.get(&capture) {
            return Ok(*known);
        }
        let (first, last) = self.ranges.ends();
        let row = (self.link)
            .query_one(&any_mark(capture), &[&first, &last], DOING)
            .await?;
        let is_any = row.get(0);
        self.any.insert(capture, is_any);
        Ok(is_any)
    }

    async fn writers(&mut self, capture: i32) -> Result<Vec<u64>, StorageError> {
        if let Some(known) = self.writers.get(&capture) {
            return Ok(known.clone());
        }
        let sql = format!(
            "SELECT m.xid FROM unnest($1::xid8[], $2::xid8[]) s (lo, hi) CROSS JOIN LATERAL \
             (SELECT m.xid FROM {} m WHERE m.xid >= s.lo AND m.xid <= s.hi \
             ORDER BY m.xid LIMIT 2) m LIMIT 2",
            mark_table(capture)
        );
        let (first, last) = self.ranges.ends();
        let rows = self.link.query(&sql, &[&first, &last], DOING).await?;
        let xid = |row: &tokio_postgres::Row| {
            let Xid(xid) = row.get(0);
            xid
        };
        let found: Vec<u64> = rows.iter().map(xid).collect();
        self.writers.insert(capture, found.clone());
        Ok(found)
    }
}

/// `$1` at most of the marks in the ranges `$2` to `$3` under the values `$4`.
fn marks(scope: &ScopeSql, capture: i32, column: usize) -> Option<String> {
    let compared = scope.columns.get(column)?;
    let mark = mark_table(capture);
    let cells: Vec<String> = (scope.columns.iter().enumerate())
        .map(|(at, column)| column.mark_identity(&format!("m.scope{}", at + 1)))
        .collect();
    let columns: Vec<String> = (1..=scope.columns.len())
        .map(|at| format!("m.scope{at}"))
        .collect();
    let first = match scope.columns.len() {
        1 => " LIMIT 1",
        _ => "",
    };
    Some(format!(
        "SELECT {} FROM unnest($4::{}[]) a (value) CROSS JOIN LATERAL \
         (SELECT {columns} FROM unnest($2::xid8[], $3::xid8[]) s (lo, hi) CROSS JOIN LATERAL \
         (SELECT {columns} FROM {mark} m WHERE m.scope{} OPERATOR(pg_catalog.=) {} \
         AND m.xid >= s.lo AND m.xid <= s.hi{first}) m{first}) m LIMIT $1",
        cells.join(", "),
        compared.given_type(),
        column + 1,
        compared.marked("a.value"),
        columns = columns.join(", "),
    ))
}

/// What a user holds of each entity, in this transaction.
async fn holdings(
    link: &Link,
    known: &Known<'_>,
    caller: &Caller,
) -> Result<Holdings, StorageError> {
    let asking = Asking {
        caller,
        chosen: &[],
        values_max: known.scope_values_max,
    };
    let mut tables = Vec::new();
    for entity in &known.model.entities {
        let name = entity.local.name.as_str();
        tables.push((name, known.tables.pulled(name)?));
    }
    let is_asked = |(_, table): &(&str, &EntityTable)| {
        table.scope.as_ref().is_some_and(|scope| !scope.is_chosen())
    };
    let asked: Vec<_> = tables.iter().copied().filter(is_asked).collect();
    let questions = Questions::prepare(link, asked, asking).await?;
    if questions.are_any() {
        link.query_one(&format!("SELECT {AS_EVER}"), &[], DOING)
            .await?;
        link.plans_as_ever();
    }
    let mut answers = questions.answers(link, known.code_key).await?.into_iter();
    let mut held = |(name, table): (&str, &EntityTable)| {
        if table.capture.is_none() {
            answers
                .by_ref()
                .take(usize::from(is_asked(&(name, table))))
                .for_each(drop);
            return HeldEntity::Nobody;
        }
        let Some(scope) = &table.scope else {
            return HeldEntity::Everyone;
        };
        if scope.is_chosen() {
            return HeldEntity::Chosen;
        }
        let Some(now) = answers.next().flatten() else {
            return HeldEntity::Nobody;
        };
        let condition = |at: usize| HeldCondition {
            way: scope
                .conditions
                .get(at)
                .map_or(0, |condition| condition.way),
            column: (scope.conditions.get(at)).map_or(0, |condition| condition.column),
            values: (now.values(at).iter())
                .map(|(_, bytes)| bytes.as_slice().into())
                .collect(),
        };
        HeldEntity::Ways {
            conditions: (0..scope.conditions.len()).map(condition).collect(),
            digest: now.digest,
        }
    };
    Ok(Holdings {
        entities: tables.into_iter().map(&mut held).collect(),
    })
}

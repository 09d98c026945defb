//! Where a sync unit stands: what of it waits to be sent, and since when its rows are known to be
//! the server's.

use rusqlite::params;

use super::db::Db;
use super::sync_store::synced;
use crate::error::Error;

/// Where a sync unit stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitStatus {
    /// The unit.
    pub unit: String,
    /// Changes of its entities that have no outcome yet.
    pub pending: u64,
    /// Changes of its entities that were refused, or are in conflict.
    pub parked: u64,
    /// Its entities whose rows are not all here yet.
    pub downloading: Vec<String>,
    /// When all its rows were last asked for that are here now, in milliseconds since 1970.
    pub received_ms: Option<i64>,
    /// When the server was last known, by a live stream, to have nothing newer; a client says so.
    pub proven_ms: Option<i64>,
    /// Whether a live stream said that there is something newer; a client says so.
    pub is_behind: bool,
}

impl UnitStatus {
    /// Whether the device shows what the server has, as far as that is known: nothing of the unit
    /// waits for anything, and its rows are no older than `freshness_ms` at `now_ms`.
    pub fn is_up_to_date(&self, now_ms: i64, freshness_ms: i64) -> bool {
        let is_settled = self.pending == 0 && self.parked == 0 && self.downloading.is_empty();
        is_settled && self.fresh_for(now_ms, freshness_ms).is_some()
    }

    /// How many milliseconds its rows are fresh for, if nothing is heard; `None` if they are not.
    pub fn fresh_for(&self, now_ms: i64, freshness_ms: i64) -> Option<i64> {
        let newest = self.received_ms.max(self.proven_ms)?;
        // An age below nothing is one of another clock.
        let age = now_ms.saturating_sub(newest);
        let is_fresh = !self.is_behind && (0..=freshness_ms).contains(&age);
        is_fresh.then(|| freshness_ms - age)
    }
}

/// Notes that all rows of these units are here, and when they were asked for.
pub(super) fn received(db: &Db, units: &[(String, i64)]) -> Result<(), Error> {
    let sql = "INSERT INTO afield_unit (name, received) VALUES (?1, ?2) \
               ON CONFLICT (name) DO UPDATE SET received = excluded.received";
    for (unit, at) in units {
        db.conn.prepare_cached(sql)?.execute(params![unit, at])?;
    }
    Ok(())
}

/// Where each unit of the model stands, in its order.
pub(super) fn status(db: &mut Db) -> Result<Vec<UnitStatus>, Error> {
    if !db.has_model() {
        return Ok(Vec::new());
    }
    let loaded = db.loaded()?;
    let mut found = Vec::new();
    for unit in &loaded.model.units {
        let sql = "SELECT received FROM afield_unit WHERE name = ?1";
        let mut select = db.conn.prepare_cached(sql)?;
        let mut rows = select.query([&unit.name])?;
        let received_ms = rows.next()?.map(|row| row.get(0)).transpose()?;
        found.push((
            unit,
            UnitStatus {
                unit: unit.name.clone(),
                received_ms,
                ..UnitStatus::default()
            },
        ));
    }
    let sql = "SELECT c.entity, g.state = 'parked', count(*) FROM afield_group AS g \
               JOIN afield_change AS c ON c.group_n = g.n \
               WHERE g.state IN ('pending', 'sent', 'parked') GROUP BY 1, 2";
    let mut select = db.conn.prepare_cached(sql)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (entity, is_parked, count): (String, bool, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let count = count.unsigned_abs();
        for (_, status) in found
            .iter_mut()
            .filter(|(unit, _)| unit.entities.contains(&entity))
        {
            match is_parked {
                true => status.parked += count,
                false => status.pending += count,
            }
        }
    }
    let sql = "SELECT complete = 0 OR position IS NULL FROM afield_entity WHERE name = ?1";
    let mut select = db.conn.prepare_cached(sql)?;
    for (unit, status) in &mut found {
        for entity in synced(&loaded.model, &unit.name)? {
            let mut rows = select.query([&entity])?;
            if rows
                .next()?
                .map(|row| row.get(0))
                .transpose()?
                .unwrap_or(true)
            {
                status.downloading.push(entity);
            }
        }
    }
    Ok(found.into_iter().map(|(_, status)| status).collect())
}

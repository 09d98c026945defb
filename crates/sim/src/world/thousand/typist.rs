//! A user who types orders and lines, one transaction after the other, and begins again where his
//! device died under him.

use std::collections::HashMap;

use afield::{Error, Transaction};
use afield_protocol::{Key, Value};

use super::Scenario;
use super::book::order_of;
use crate::action::{OrderEdit, OrderWhat};
use crate::app;
use crate::deed::{Deed, Kind};
use crate::oracle::tagged::rows::integer;
use crate::oracle::view::View;
use crate::tag::{HITS, Tag, tag_place, typed_places};
use crate::violation::Violation;
use crate::world::device::{Done, unexplained};
use crate::world::orders::{Deeds, write};

/// What a user does in one transaction.
pub(super) type Job = Vec<Statement>;

/// One statement.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) kind: Kind,
    pub(super) tag: Tag,
    /// The place of a line in its order.
    pub(super) place: Option<i64>,
    /// What is typed, by place of the attribute.
    pub(super) set: Vec<(usize, Value)>,
    /// By how much the counter goes up.
    pub(super) by: i64,
    pub(super) by_action: bool,
    /// Under the identifier that the user was given when he made the order.
    pub(super) old_id: bool,
    pub(super) n: u32,
}

/// What the user sees before he types: rows by tag; while a row is there twice, his own.
struct Seen {
    rows: HashMap<Tag, Vec<Value>>,
    /// What became of orders' temporary identifiers.
    ids: HashMap<i64, i64>,
}

impl Seen {
    fn new(view: &View) -> Self {
        let mut rows: HashMap<Tag, Vec<Value>> = HashMap::new();
        for row in &view.tagged {
            if row.is_temporary() || !rows.contains_key(&row.tag) {
                rows.insert(row.tag.clone(), row.values.clone());
            }
        }
        let ids = view.ids.iter();
        let ids = ids.filter(|((entity, _), _)| *entity == app::ORDER);
        Self {
            rows,
            ids: ids.map(|((_, old), new)| (*old, *new)).collect(),
        }
    }

    /// Whether what a job writes to is in sight, or made in this sitting.
    fn has(&self, job: &Job, remembered: &HashMap<Tag, Key>) -> bool {
        job.iter().all(|statement| match statement.kind {
            Kind::Make => {
                let order = order_of(&statement.tag);
                let is_new = job.iter().any(|other| other.tag == order);
                is_new || self.rows.contains_key(&order) || remembered.contains_key(&order)
            }
            _ => self.rows.contains_key(&statement.tag),
        })
    }

    /// Whether an old identifier stands for the row that is in sight: a row that was sent is there
    /// twice if it comes back before its outcome does, and its user may have deleted his own.
    fn is_same(&self, tag: &Tag, order: &Tag, old: &Value) -> bool {
        let row = self.rows.get(tag).or(self.rows.get(order));
        let Some(now) = row.and_then(|row| row.first()) else {
            return true;
        };
        let real = integer(old).and_then(|old| self.ids.get(&old));
        now == old || real.copied() == integer(now)
    }

    /// Whether all of a job is in sight.
    fn shows(&self, job: &Job, before: &Self) -> bool {
        job.iter().all(|statement| {
            let row = self.rows.get(&statement.tag);
            let Some(row) = row else {
                return statement.kind == Kind::Delete;
            };
            let is_counted = || {
                let was = before.rows.get(&statement.tag);
                was.is_none_or(|was| was[HITS] != row[HITS])
            };
            let mut set = statement.set.iter();
            statement.kind != Kind::Delete
                && set.all(|(at, value)| row[*at] == *value)
                && (statement.by == 0 || is_counted())
        })
    }
}

impl Statement {
    /// With the identifiers of the moment; `made` holds the orders of the same transaction.
    fn deed(
        &self,
        seen: &Seen,
        remembered: &HashMap<Tag, Key>,
        made: &HashMap<Tag, Value>,
        is_alone: bool,
    ) -> Option<Deed> {
        let order = order_of(&self.tag);
        let key = if self.kind == Kind::Make && self.tag == order {
            Key::new()
        } else {
            let row = seen.rows.get(&self.tag).or(seen.rows.get(&order));
            let now = || row.and_then(|row| row.first()).cloned();
            let old = || remembered.get(&order).and_then(|key| key.first()).cloned();
            let old = || old().filter(|old| seen.is_same(&self.tag, &order, old));
            // SQL finds a row only under the identifier that it has now, and what refers to one
            // that was replaced is put right when it is sealed.
            let is_old = self.old_id && (self.by_action || is_alone && self.kind == Kind::Make);
            let id = match is_old {
                true => old().or_else(now),
                false => now().or_else(old),
            };
            let id = made.get(&order).cloned().or(id)?;
            std::iter::once(id)
                .chain(self.place.map(Value::Integer))
                .collect()
        };
        let mut set = self.set.clone();
        if self.kind == Kind::Make {
            set.push((tag_place(self.tag.entity()), self.tag.value()));
        }
        if self.by != 0 || self.kind == Kind::Make && self.tag == order {
            let row = seen.rows.get(&self.tag);
            let now = row.and_then(|row| integer(&row[HITS])).unwrap_or(0);
            set.push((HITS, Value::Integer(now + self.by)));
        }
        Some(Deed {
            kind: self.kind,
            tag: self.tag.clone(),
            key,
            set,
            by: self.by,
        })
    }

    fn edit(&self) -> OrderEdit {
        OrderEdit {
            what: OrderWhat::Set,
            row: 0,
            n: self.n,
            by_action: self.by_action,
            old_id: self.old_id,
        }
    }
}

impl Scenario {
    /// The user of a device does these transactions. Gives those that he has still to do, because
    /// the device died.
    pub(super) fn sit(&mut self, device: usize, jobs: Vec<Job>) -> Result<Vec<Job>, Violation> {
        self.world.look_now()?;
        let seen = Seen::new(&self.world.records[device].view);
        let mut deeds = Deeds::new();
        for (at, job) in jobs.iter().enumerate() {
            let remembered = &self.world.records[device].tagged.remembered;
            if !seen.has(job, remembered) {
                self.world.tally.count("job without its row");
                continue;
            }
            let mut done = Deeds::new();
            let ended = self.world.devices[device].with_store(|store| {
                store.transaction(|tx| write_job(tx, job, &seen, remembered, &mut done))
            })?;
            match ended {
                Done::Well(()) => {
                    self.world.say(|| format!("     d{device} {}", list(job)));
                    let remembered = &mut self.world.records[device].tagged.remembered;
                    for (deed, key) in done.iter().filter(|(deed, _)| deed.kind == Kind::Make) {
                        let key = key.clone().unwrap_or_else(|| deed.key.clone());
                        remembered.insert(deed.tag.clone(), key);
                    }
                    self.note(device, job);
                    deeds.append(&mut done);
                }
                Done::Refused(error) => return Err(unexplained("the user types", &error)),
                Done::Died { power } => {
                    self.world.died(device, power)?;
                    return self.go_on(device, jobs, at, power, &seen, &deeds);
                }
            }
        }
        self.world.wrote_orders(device, Some(&deeds))?;
        self.world.look_now()?;
        Ok(Vec::new())
    }

    /// The device died in the middle of job `at`. All before it must be there; it may be.
    fn go_on(
        &mut self,
        device: usize,
        mut jobs: Vec<Job>,
        at: usize,
        power: bool,
        before: &Seen,
        deeds: &Deeds,
    ) -> Result<Vec<Job>, Violation> {
        let view = View::read(&self.world.devices[device].other)?;
        let seen = Seen::new(&view);
        let mut left = jobs.split_off(at);
        let happened = seen.shows(&left[0], before);
        let again = if happened { "it happened" } else { "again" };
        self.world
            .say(|| format!("     d{device} {}: {again}", list(&left[0])));
        if happened || !deeds.is_empty() || !power {
            // What was committed made all before it durable.
            self.world.wrote_orders(device, Some(deeds))?;
        } else {
            let tags = left[0].iter().map(|statement| &statement.tag);
            tags.for_each(|tag| self.world.counters.forget(tag));
        }
        self.world.tally.count("died while its user typed");
        if happened {
            let job = left.remove(0);
            self.note(device, &job);
            let remembered = &mut self.world.records[device].tagged.remembered;
            for statement in job.iter().filter(|statement| statement.kind == Kind::Make) {
                if let Some(row) = seen.rows.get(&statement.tag) {
                    let key = row[..app::key_width(statement.tag.entity())].to_vec();
                    remembered.insert(statement.tag.clone(), key);
                }
            }
        }
        self.world.look_now()?;
        Ok(left)
    }

    fn note(&mut self, device: usize, job: &Job) {
        for statement in job {
            self.book.wrote(device, statement);
            self.world
                .tally
                .count(match (statement.kind, statement.tag.entity()) {
                    (Kind::Make, app::ORDER) => "order made",
                    (Kind::Make, _) => "line made",
                    (Kind::Delete, _) => "row deleted",
                    (Kind::Set, _) if statement.by != 0 => "order counted up",
                    (Kind::Set, _) => "row edited",
                });
        }
    }
}

fn list(job: &Job) -> String {
    let show = |statement: &Statement| {
        let Statement {
            kind, tag, set, by, ..
        } = statement;
        let set = set.iter().map(|(at, value)| format!(" {at}={value}"));
        let by = if *by == 0 {
            String::new()
        } else {
            format!(" +{by}")
        };
        format!("{kind:?} {tag}{}{by}", set.collect::<String>())
    };
    job.iter().map(show).collect::<Vec<_>>().join("; ")
}

fn write_job(
    tx: &mut Transaction<'_>,
    job: &Job,
    seen: &Seen,
    remembered: &HashMap<Tag, Key>,
    done: &mut Deeds,
) -> Result<(), Error> {
    let mut made = HashMap::new();
    for statement in job {
        let Some(deed) = statement.deed(seen, remembered, &made, job.len() == 1) else {
            continue;
        };
        let key = write(tx, &statement.edit(), &deed)?;
        if deed.is_numbered()
            && let Some(id) = key.as_ref().and_then(|key| key.first())
        {
            made.insert(statement.tag.clone(), id.clone());
        }
        done.push((deed, key));
    }
    Ok(())
}

/// A value of a row that users type, unique by its number.
pub(super) fn typed(entity: usize, which: u32, n: u32) -> (usize, Value) {
    let places = typed_places(entity);
    let at = places[which as usize % places.len()];
    (at, Value::Text(format!("w{n}.{at}")))
}

//! A small server with scopes, as docs/decisions/scopes.md describes it: rows, marks under the
//! values of their own columns, the values a user holds, and pages of few rows.

use std::collections::{BTreeMap, BTreeSet};

use afield::protocol::{Frame, Value};
use fastrand::Rng;

use crate::scopes::{held, job};
use crate::world::{World, int};

/// The values that may stand in each column: owner; region and team.
pub(super) const VALUES: [[i64; 3]; 3] = [[10, 11, 12], [20, 21, 22], [30, 31, 32]];

/// Columns of each way in.
const WAYS: [&[usize]; 2] = [&[0], &[1, 2]];

/// The order in which the values of columns are scanned.
const ORDER: [usize; 3] = [2, 1, 0];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) title: String,
    /// The values of its columns; 0 stands for null.
    pub(super) columns: [i64; 3],
}

/// What a position of a device says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Session {
    /// Marks up to here were told.
    pub(super) number: u64,
    /// The values whose rows the device has.
    pub(super) dev: BTreeSet<i64>,
    /// The value that is scanned, and the last key that was.
    scan: Option<(usize, i64, i64)>,
}

/// One page of an answer.
pub(super) struct PageOut {
    pub(super) content: Vec<Frame>,
    pub(super) session: Session,
    pub(super) complete: bool,
}

#[derive(Default)]
pub(super) struct Server {
    pub(super) rows: BTreeMap<i64, Row>,
    /// The number of the newest mark of each row under each value.
    marks: BTreeMap<(i64, i64), u64>,
    number: u64,
    /// The values that the user holds.
    pub(super) now: BTreeSet<i64>,
    titles: u32,
    /// The value that was gained or lost last.
    flapped: i64,
}

impl Server {
    /// The ways in by which the user has a row, as they are sent.
    fn ways(&self, row: &Row) -> Option<[i64; 3]> {
        let mut sent = [0; 3];
        for way in WAYS {
            if way.iter().all(|at| self.now.contains(&row.columns[*at])) {
                for at in way {
                    sent[*at] = row.columns[*at];
                }
            }
        }
        sent.iter().any(|value| *value != 0).then_some(sent)
    }

    /// The rows that the user should see.
    pub(super) fn visible(&self) -> BTreeMap<i64, String> {
        let mine = self.rows.iter().filter(|(_, row)| self.ways(row).is_some());
        mine.map(|(id, row)| (*id, row.title.clone())).collect()
    }

    /// Writes or deletes a row, and marks it.
    pub(super) fn write(&mut self, id: i64, row: Option<Row>) {
        self.number += 1;
        let before = match &row {
            Some(row) => self.rows.insert(id, row.clone()),
            None => self.rows.remove(&id),
        };
        for row in before.into_iter().chain(row) {
            for value in row.columns.into_iter().filter(|value| *value != 0) {
                self.marks.insert((id, value), self.number);
            }
        }
    }

    /// What the device sent: a title. Says whether the row was the user's.
    pub(super) fn edit(&mut self, id: i64, title: &str) -> bool {
        let Some(mut row) = self.rows.get(&id).cloned() else {
            return false;
        };
        if self.ways(&row).is_none() {
            return false;
        }
        title.clone_into(&mut row.title);
        self.write(id, Some(row));
        true
    }

    /// Something happens on the server.
    pub(super) fn happen(&mut self, rng: &mut Rng) -> String {
        self.titles += 1;
        let id = rng.i64(1..10);
        match rng.u8(0..10) {
            0..=2 => {
                let all: Vec<i64> = VALUES.concat();
                // Values flap: what was just lost comes back.
                let value = match rng.u8(0..4) > 0 && self.flapped != 0 {
                    true => self.flapped,
                    false => all[rng.usize(..all.len())],
                };
                self.flapped = value;
                if !self.now.remove(&value) {
                    self.now.insert(value);
                }
                format!("held: {:?}", self.now)
            }
            3 => {
                self.write(id, None);
                format!("delete {id}")
            }
            _ => {
                let pick = |rng: &mut Rng, at: usize| match rng.usize(0..4) {
                    3 => 0,
                    n => VALUES[at][n],
                };
                let columns = [pick(rng, 0), pick(rng, 1), pick(rng, 2)];
                let title = format!("title {}", self.titles);
                let row = Row { title, columns };
                let what = format!("write {id} {row:?}");
                self.write(id, Some(row));
                what
            }
        }
    }

    /// A session that starts over.
    pub(super) fn fresh(&self) -> Session {
        Session {
            number: self.number,
            ..Session::default()
        }
    }

    /// One page of at most so many rows.
    pub(super) fn page(&self, world: &World, from: &Session, mut rows: usize) -> PageOut {
        let mut session = from.clone();
        let (mut sent, mut gone) = (Vec::new(), Vec::new());
        let mut gained = Vec::new();
        let mut lost: Vec<i64> = session.dev.difference(&self.now).copied().collect();
        if let Some((_, value, _)) = session.scan
            && !self.now.contains(&value)
        {
            lost.push(value);
            session.scan = None;
        }
        session.dev.retain(|value| self.now.contains(value));
        while let Some((at, value, last)) = session.scan.or_else(|| self.missing(&session)) {
            session.scan = Some((at, value, last));
            let Some((id, ways)) = self.next_of(&session, at, value, last) else {
                session.scan = None;
                session.dev.insert(value);
                gained.push(value);
                continue;
            };
            if rows == 0 {
                break;
            }
            rows -= 1;
            session.scan = Some((at, value, id));
            sent.push((id, ways));
        }
        let mut complete = session.scan.is_none();
        while complete {
            let next = self.marks.iter().filter(|((_, value), number)| {
                **number > session.number && self.now.contains(value)
            });
            let Some(((id, _), number)) = next.min_by_key(|(_, number)| **number) else {
                session.number = self.number;
                break;
            };
            if rows == 0 {
                complete = false;
                break;
            }
            rows -= 1;
            session.number = *number;
            match self.rows.get(id).and_then(|row| self.ways(row)) {
                Some(ways) => sent.push((*id, ways)),
                None => gone.push(vec![int(*id)]),
            }
        }
        // A row may be both scanned and marked; it is the same row of one snapshot.
        let mut content = vec![held("job", &gained, &lost)];
        let titles = |(id, ways): &(i64, [i64; 3])| (*id, self.rows[id].title.clone(), *ways);
        let sent: Vec<_> = sent.iter().map(titles).collect();
        let sent: Vec<_> = sent
            .iter()
            .map(|(id, t, ways)| (*id, t.as_str(), *ways))
            .collect();
        content.push(job(world, &sent));
        let keys: Vec<Vec<Value>> = gone;
        let entity = "job".into();
        content.push(Frame::Gone { entity, keys });
        PageOut {
            content,
            session,
            complete,
        }
    }

    fn missing(&self, session: &Session) -> Option<(usize, i64, i64)> {
        ORDER.iter().find_map(|at| {
            let mut missing = self.now.difference(&session.dev);
            let value = missing.find(|value| VALUES[*at].contains(value))?;
            Some((*at, *value, i64::MIN))
        })
    }

    /// The next row of a value, whose other conditions hold in what the device has.
    fn next_of(
        &self,
        session: &Session,
        at: usize,
        value: i64,
        last: i64,
    ) -> Option<(i64, [i64; 3])> {
        let way = WAYS.iter().find(|way| way.contains(&at))?;
        let others_hold = |row: &Row| {
            let mut others = way.iter().filter(|other| **other != at);
            others.all(|other| {
                let value = &row.columns[*other];
                session.dev.contains(value) && self.now.contains(value)
            })
        };
        let mut rows = self
            .rows
            .iter()
            .filter(|(id, row)| **id > last && row.columns[at] == value && others_hold(row));
        rows.find_map(|(id, row)| Some((*id, self.ways(row)?)))
    }
}

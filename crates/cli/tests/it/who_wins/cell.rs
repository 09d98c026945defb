//! A cell: a line under one rule with one decision, on rows of its own.

use super::table::{Deed, End, LINES, Line, Row, With};
use super::{Order, Pair, RULES};
use crate::world::{Device, World};

/// What the second one's user does about a change that was not applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Choice {
    /// His values stand; of a refused change, mended ones.
    Mine,
    /// The server's row stands; a refused change is given up.
    Theirs,
    /// The server's row with 5 in `a`.
    Merged,
}

const CHOICES: [Choice; 3] = [Choice::Mine, Choice::Theirs, Choice::Merged];

/// A cell of the table.
pub(super) struct Cell {
    pub(super) line: &'static Line,
    pub(super) entity: &'static str,
    pub(super) order: Order,
    pub(super) choice: Choice,
    /// Of the row.
    pub(super) id: i64,
    pub(super) end: End,
}

/// Every cell whose line says something about this order, and about such deletes.
pub(super) fn cells(order: Order, is_soft: bool) -> Vec<Cell> {
    let mut found = Vec::new();
    let has_case = |line: &&Line| is_soft || line.with != With::Deleted;
    for line in LINES.iter().filter(has_case) {
        let ends = match order {
            Order::AFirst => &line.b_second,
            Order::BFirst => line.a_second,
        };
        for ((entity, _), end) in RULES.into_iter().zip(ends) {
            let choices = match end {
                End::Conflict(_) => &CHOICES[..],
                End::Rejected(_) => &CHOICES[..2],
                _ => &CHOICES[..1],
            };
            for choice in choices {
                found.push(Cell {
                    line,
                    entity,
                    order,
                    choice: *choice,
                    id: i64::try_from(found.len()).unwrap() + 1,
                    end: *end,
                });
            }
        }
    }
    found
}

impl Cell {
    pub(super) fn name(&self) -> String {
        format!("{} ({}, {:?})", self.line.name, self.entity, self.choice)
    }

    /// What the first one does, and the second one.
    pub(super) fn deeds(&self) -> [Deed; 2] {
        match self.order {
            Order::AFirst => [self.line.a, self.line.b],
            Order::BFirst => [self.line.b, self.line.a],
        }
    }

    /// The other row of a transaction, and the leaf, of the first one or the second.
    pub(super) fn beside(&self, place: usize) -> i64 {
        self.id * 2 + i64::try_from(place).unwrap()
    }

    /// The rows that both see.
    pub(super) fn seed(&self, world: &World) {
        let Self { entity, id, .. } = self;
        if let Some([a, b, n]) = self.line.seen {
            world.team_writes(&format!(
                "INSERT INTO {entity} (id, a, b, n) VALUES ({id}, {a}, {b}, {n})"
            ));
        }
        if self.line.with == With::Deleted {
            world.team_writes(&format!(
                "INSERT INTO {entity} (id, a, b, n, lives) VALUES ({id}, 8, 8, 8, 0)"
            ));
        }
        if self.line.with == With::Mate {
            for place in [0, 1] {
                let mate = self.beside(place);
                world.team_writes(&format!("INSERT INTO mate VALUES ({mate}, 1)"));
            }
        }
    }

    /// Each device does its deed.
    pub(super) fn write(&self, pair: &Pair) {
        let devices = [&pair.first, &pair.second];
        for (place, (device, deed)) in devices.into_iter().zip(self.deeds()).enumerate() {
            self.write_on(device, deed, place);
        }
    }

    fn write_on(&self, device: &Device, deed: Deed, place: usize) {
        let Self { entity, id, .. } = self;
        let delete = format!("DELETE FROM {entity} WHERE id = {id};");
        let create = |columns, values| {
            format!("INSERT INTO {entity} (id, {columns}) VALUES ({id}, {values});")
        };
        let mut sql = match deed {
            Deed::Idle => return,
            Deed::Set(values) => format!("UPDATE {entity} SET {values} WHERE id = {id};"),
            Deed::Delete => delete,
            Deed::Create(columns, values) => create(columns, values),
            Deed::Replace(columns, values) => delete + &create(columns, values),
        };
        let beside = self.beside(place);
        if self.line.with == With::Mate {
            sql += &format!("UPDATE mate SET a = 2 WHERE id = {beside};");
        }
        device.write(&sql);
        if self.line.with == With::Leaf {
            device.write(&format!(
                "INSERT INTO leaf (id, {entity}) VALUES ({beside}, {id})"
            ));
        }
    }

    /// What the second one writes when a conflict is open.
    pub(super) fn write_more(&self, pair: &Pair) {
        if self.line.with == With::Edit && matches!(self.end, End::Conflict(_)) {
            let Self { entity, id, .. } = self;
            let sql = format!("UPDATE {entity} SET b = 7 WHERE id = {id}");
            pair.second.write(&sql);
        }
    }

    /// What a user sees of a row that he wrote, where the server's has no part in it: it is gone
    /// since, or counts as deleted.
    pub(super) fn as_written(&self, deed: Deed) -> Row {
        match deed {
            Deed::Set("a = 2") => Some([2, 1, 10]),
            Deed::Set("n = n + 3") => Some([1, 1, 13]),
            Deed::Create("a", "2") => Some([2, 0, 0]),
            _ => panic!("{}: what does he see?", self.line.name),
        }
    }

    /// What the second one's user sees before he decides, and what everybody else sees.
    pub(super) fn before(&self) -> (Row, Row) {
        match self.end {
            End::Unchanged(row) | End::Applied(row) | End::Overwrote(row, _) => (row, row),
            End::Conflict(clash) => (clash.mine, clash.theirs),
            End::Rejected(refusal) => (refusal.mine, refusal.theirs),
        }
    }

    /// What everybody sees in the end.
    pub(super) fn after(&self) -> Row {
        match (self.end, self.choice) {
            (End::Unchanged(row) | End::Applied(row) | End::Overwrote(row, _), _) => row,
            (End::Conflict(clash), Choice::Mine) => clash.mine,
            (End::Conflict(clash), Choice::Theirs) => clash.theirs,
            (End::Conflict(clash), Choice::Merged) => clash.theirs.map(|[_, b, n]| [5, b, n]),
            (End::Rejected(refusal), Choice::Mine) => refusal.mended,
            (End::Rejected(refusal), _) => refusal.theirs,
        }
    }
}

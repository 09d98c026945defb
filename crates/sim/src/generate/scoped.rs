//! Trouble with rows that are not everyone's.

use super::Generator;
use crate::action::{Action, Edit, Step, Way, What};
use crate::app;
use crate::scoped::{DISTRICTS, TEAMS, USERS};
use crate::team::{Held, TeamEdit};

impl Generator {
    /// Whether the next write is of rows that are not everyone's.
    pub(super) fn writes_scoped(&mut self) -> bool {
        self.themes.scoped > 0 && self.rng.u32(0..100) < self.themes.scoped
    }

    /// Edits of such rows, by the user of a device.
    pub(super) fn scoped_edits(&mut self) -> Vec<Edit> {
        let count = match self.rng.u32(0..6) {
            0..4 => 1,
            4 => 2,
            _ => self.rng.usize(2..5),
        };
        (0..count).map(|_| self.scoped_edit(false)).collect()
    }

    fn scoped_edit(&mut self, by_team: bool) -> Edit {
        self.next += 1;
        let entity = match self.rng.u32(0..3) {
            0 => app::SHOP,
            _ => app::TASK,
        };
        let what = match self.rng.u32(0..16) {
            0..3 => What::Create,
            3..9 => What::Update,
            9 if !by_team => What::Back,
            10 => What::Empty,
            11 | 12 => What::Delete,
            13 => What::Upsert,
            14 => What::Replace,
            15 if by_team => What::Rekey,
            15 => What::Again,
            _ => What::Update,
        };
        let is_known = self.rng.u32(0..3) > 0;
        let row = match what {
            What::Create | What::Upsert | What::Replace if !is_known => self.next,
            _ => self.rng.u32(1..14),
        };
        Edit {
            entity,
            what,
            row,
            // What decides whose the row is stands first.
            attribute: self.rng.u32(0..8),
            n: self.next,
        }
    }

    /// A transaction of the team's.
    pub(super) fn team(&mut self) {
        let edits = match self.rng.u32(0..12) {
            0..5 => vec![self.grant()],
            5..8 => {
                let count = self.rng.usize(1..4);
                (0..count).map(|_| self.team_edit()).collect()
            }
            8 | 9 => return self.parent_moves(),
            10 => self.flap(),
            _ => {
                self.next += 1;
                vec![TeamEdit::Count { n: self.next }]
            }
        };
        self.actions.push(Action::Team { edits });
    }

    fn grant(&mut self) -> TeamEdit {
        let what = match self.rng.u32(0..3) {
            0 => Held::Team,
            _ => Held::District,
        };
        TeamEdit::Grant {
            user: self.rng.u32(0..USERS),
            what,
            value: self.rng.u32(0..DISTRICTS * TEAMS),
            is_held: self.rng.bool(),
        }
    }

    fn team_edit(&mut self) -> TeamEdit {
        match self.rng.u32(0..8) {
            0 | 1 => TeamEdit::Edit(self.scoped_edit(true)),
            2 | 3 => self.shop_moves(),
            4 | 5 => TeamEdit::Hand {
                task: self.rng.u32(0..24),
                owner: self.owner(),
            },
            6 => {
                let shop = self.rng.u32(0..8);
                self.new_task(shop)
            }
            _ => self.grant(),
        }
    }

    fn shop_moves(&mut self) -> TeamEdit {
        TeamEdit::Move {
            shop: self.rng.u32(0..8),
            district: self.rng.u32(0..DISTRICTS),
        }
    }

    fn new_task(&mut self, shop: u32) -> TeamEdit {
        self.next += 1;
        TeamEdit::Task {
            n: self.next,
            shop,
            team: self.rng.u32(0..TEAMS),
            owner: self.owner(),
        }
    }

    fn owner(&mut self) -> Option<u32> {
        self.rng.bool().then(|| self.rng.u32(0..USERS))
    }

    /// A shop moves while a task of it is made: in one transaction or two, in both orders.
    fn parent_moves(&mut self) {
        let moved = self.shop_moves();
        let TeamEdit::Move { shop, .. } = moved else {
            return;
        };
        let mut edits = vec![moved, self.new_task(shop)];
        if self.rng.bool() {
            edits.reverse();
        }
        if self.rng.bool() {
            self.actions.push(Action::Team { edits });
            return;
        }
        for edit in edits {
            self.actions.push(Action::Team { edits: vec![edit] });
        }
    }

    /// Somebody loses and gets back, or a row goes and comes back, in one transaction.
    fn flap(&mut self) -> Vec<TeamEdit> {
        let user = self.rng.u32(0..USERS);
        let value = self.rng.u32(0..DISTRICTS);
        let grant = |is_held| TeamEdit::Grant {
            user,
            what: Held::District,
            value,
            is_held,
        };
        let task = self.rng.u32(0..24);
        let hand = |owner| TeamEdit::Hand { task, owner };
        match self.rng.u32(0..3) {
            0 => vec![grant(false), self.team_edit(), grant(true)],
            1 => vec![grant(true), self.team_edit(), grant(false)],
            _ => vec![hand(Some(user)), hand(None)],
        }
    }

    /// A value is lost and gained again in the middle of a download of many pages, and a row
    /// leaves it meanwhile.
    pub(super) fn lost_and_gained(&mut self, device: usize) {
        let user = u32::try_from(self.users[device % self.users.len()]).unwrap_or(0);
        let value = self.rng.u32(0..DISTRICTS);
        let what = match self.rng.u32(0..4) {
            0 => Held::Team,
            _ => Held::District,
        };
        let grant = |is_held| Action::Team {
            edits: vec![TeamEdit::Grant {
                user,
                what,
                value,
                is_held,
            }],
        };
        if self.rng.bool() {
            self.actions.push(grant(true));
        }
        if self.rng.u32(0..4) > 0 {
            self.actions.push(Action::Sync { device });
        }
        self.next += 1;
        let edits = vec![TeamEdit::Count { n: self.next }];
        self.actions.push(Action::Team { edits });
        let (lane, unit, way) = (0, None, Way::Both);
        self.actions.push(Action::Start {
            device,
            lane,
            unit,
            way,
        });
        let step = Step::Go;
        let go = Action::Step { device, lane, step };
        for _ in 0..self.rng.usize(1..4) {
            self.actions.push(go.clone());
        }
        self.actions.push(grant(false));
        self.actions.push(go);
        for _ in 0..self.rng.usize(0..5) {
            let edits = match self.rng.bool() {
                true => vec![self.shop_moves()],
                false => vec![self.team_edit()],
            };
            self.actions.push(Action::Team { edits });
        }
        if self.rng.u32(0..4) > 0 {
            self.actions.push(grant(true));
        }
        let steps = self.rng.usize(0..8);
        self.steps(device, lane, steps);
    }
}

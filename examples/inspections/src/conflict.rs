//! Deciding a conflict, attribute by attribute.

use std::collections::BTreeSet;

use afield::protocol::Value;
use afield::{ConflictInfo, Resolution};
use ratatui::crossterm::event::KeyCode;

/// A conflict and what has been picked so far.
pub(crate) struct Decision {
    pub(crate) info: ConflictInfo,
    /// What a person calls the row.
    pub(crate) name: String,
    /// Attributes to show, and whether mine is picked.
    pub(crate) picks: Vec<(String, bool)>,
    pub(crate) at: usize,
}

impl Decision {
    /// Shows what either side changed. What the user did not touch begins as theirs.
    pub(crate) fn new(info: ConflictInfo, name: String) -> Self {
        let rows = [info.mine.as_ref(), info.theirs.as_ref()];
        let names: BTreeSet<&String> = rows
            .into_iter()
            .flatten()
            .flat_map(|row| row.keys())
            .collect();
        let changed = names.into_iter().filter_map(|name| {
            let [mine, theirs] = rows.map(|row| row.and_then(|row| row.get(name)));
            let is_shown = mine != theirs || theirs != info.base.get(name);
            is_shown.then(|| (name.clone(), mine != theirs))
        });
        Self {
            picks: changed.collect(),
            info,
            name,
            at: 0,
        }
    }

    /// Whether it can be merged: both sides have a row.
    pub(crate) fn can_merge(&self) -> bool {
        self.info.mine.is_some() && self.info.theirs.is_some()
    }

    /// The value of an attribute before, in mine and in theirs.
    pub(crate) fn values(&self, name: &str) -> [String; 3] {
        let shown = |value: Option<&Value>| match value {
            None | Some(Value::Null) => "–".to_owned(),
            Some(value) => value.to_string(),
        };
        let (mine, theirs) = (self.info.mine.as_ref(), self.info.theirs.as_ref());
        let gone = || "(deleted)".to_owned();
        [
            shown(self.info.base.get(name)),
            mine.map_or_else(gone, |_| shown(self.mine(name))),
            theirs.map_or_else(gone, |row| shown(row.get(name))),
        ]
    }

    /// The user's value; where he wrote none, the one that he saw.
    fn mine(&self, name: &str) -> Option<&Value> {
        let [mine, theirs] = [&self.info.mine, &self.info.theirs];
        let mine = mine.as_ref().and_then(|row| row.get(name));
        let is_theirs = mine == theirs.as_ref().and_then(|row| row.get(name));
        if is_theirs {
            self.info.base.get(name)
        } else {
            mine
        }
    }

    /// A key; gives the decision if that was one.
    pub(crate) fn press(&mut self, key: KeyCode) -> Option<Resolution> {
        let last = self.picks.len().saturating_sub(1);
        match key {
            KeyCode::Down => self.at = (self.at + 1).min(last),
            KeyCode::Up => self.at = self.at.saturating_sub(1),
            KeyCode::Left => self.pick(true),
            KeyCode::Right => self.pick(false),
            KeyCode::Char('m') => return Some(Resolution::Mine),
            KeyCode::Char('t') => return Some(Resolution::Theirs),
            KeyCode::Enter if self.can_merge() => return Some(self.merged()),
            _ => {}
        }
        None
    }

    fn pick(&mut self, mine: bool) {
        if let Some(pick) = self.picks.get_mut(self.at) {
            pick.1 = mine;
        }
    }

    /// What is not named stays as the server has it.
    fn merged(&self) -> Resolution {
        let mine = self.picks.iter().filter(|(_, mine)| *mine);
        let named = mine.filter_map(|(name, _)| Some((name.clone(), self.mine(name)?.clone())));
        Resolution::Merged(named.collect())
    }
}

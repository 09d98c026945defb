//! Deciding a conflict, attribute by attribute.

use afield::protocol::{Attributes, Value};
use afield::{ConflictInfo, Resolution};
use ratatui::crossterm::event::KeyCode;

/// A conflict and what has been picked so far.
pub(crate) struct Decision {
    pub(crate) info: ConflictInfo,
    /// Attributes to show, and whether mine is picked.
    pub(crate) picks: Vec<(String, bool)>,
    pub(crate) at: usize,
}

impl Decision {
    /// What only one of both changed is picked already; what both changed begins as mine.
    pub(crate) fn new(info: ConflictInfo) -> Self {
        let differs = |name: &&String| {
            let is =
                |row: &Option<Attributes>| row.as_ref().and_then(|row| row.get(*name)).cloned();
            is(&info.mine) != is(&info.theirs)
        };
        let names = info.attributes.iter().filter(differs);
        let picks = names.map(|name| {
            let mine = info.mine.as_ref().and_then(|row| row.get(name));
            (name.clone(), mine != info.base.get(name))
        });
        Self {
            picks: picks.collect(),
            info,
            at: 0,
        }
    }

    /// Whether it can be merged: both sides have a row.
    pub(crate) fn can_merge(&self) -> bool {
        self.info.mine.is_some() && self.info.theirs.is_some()
    }

    /// The value of an attribute before, in mine and in theirs.
    pub(crate) fn values(&self, name: &str) -> [String; 3] {
        let shown = |row: Option<&Attributes>| match row.map(|row| row.get(name)) {
            None => "(no row)".to_owned(),
            Some(None | Some(Value::Null)) => "–".to_owned(),
            Some(Some(value)) => value.to_string(),
        };
        let (mine, theirs) = (self.info.mine.as_ref(), self.info.theirs.as_ref());
        [shown(Some(&self.info.base)), shown(mine), shown(theirs)]
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
        let value = |name: &String| self.info.mine.as_ref()?.get(name).cloned();
        let named = mine.filter_map(|(name, _)| Some((name.clone(), value(name)?)));
        Resolution::Merged(named.collect())
    }
}

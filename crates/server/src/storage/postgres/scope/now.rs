//! The values that a user holds in one snapshot, by the bytes that stand for them.

use super::super::cell::Stored;
use super::{Asks, HoldsSql, ScopeSql};
use crate::position::CodeKey;
use crate::storage::lists::{self, Asking, Numbering};

/// The values held now.
pub(in super::super) type Now = lists::Now<Vec<u8>>;

impl ScopeSql {
    /// What must be asked of the database to know what is held for a condition: a statement of one
    /// column whose cells are the bytes. `None`: the token says it.
    ///
    /// At most one value more is read than may be looked up, to know that there is one.
    pub(in super::super) fn asked(
        &self,
        condition: usize,
        values_max: usize,
    ) -> Option<(String, &Asks)> {
        let condition = self.conditions.get(condition)?;
        let is_word = condition.last.class.fill().sql != condition.last.class.sql();
        if matches!(condition.holds, HoldsSql::Token(_)) && condition.path.is_empty() && !is_word {
            return None;
        }
        let list = condition.list.as_ref()?;
        let most = values_max.saturating_add(1);
        Some((format!("{} LIMIT {most}", list.sql), list))
    }

    /// The values that are held, where `answers` has what the database said of each condition that
    /// was [asked](ScopeSql::asked) about.
    pub(in super::super) fn now(
        &self,
        key: &CodeKey,
        entity: &str,
        asking: Asking<'_>,
        answers: Vec<Option<Vec<Vec<u8>>>>,
    ) -> Now {
        let mut now = Now::new();
        for (at, (condition, answer)) in self.conditions.iter().zip(answers).enumerate() {
            let column = &self.columns[condition.column].name;
            let numbering = Numbering::of(key, (entity, column), &self.ways, at);
            let held = match (&condition.holds, answer) {
                (_, Some(answer)) => answer,
                (HoldsSql::Token(token), None) => {
                    let said = token.says(asking.caller, &condition.last.class.fill());
                    said.into_iter().collect()
                }
                (_, None) => Vec::new(),
            };
            now.is_over |= held.len() > asking.values_max;
            now.condition(
                &numbering,
                held.into_iter().map(|bytes| (bytes.clone(), bytes)),
            );
        }
        now
    }
}

/// The bytes of one column of an answer, without its nulls.
pub(in super::super) fn bytes(rows: &[tokio_postgres::Row]) -> Vec<Vec<u8>> {
    let cell = |row: &tokio_postgres::Row| {
        let Stored(bytes) = row.get(0);
        bytes.map(<[u8]>::to_vec)
    };
    rows.iter().filter_map(cell).collect()
}

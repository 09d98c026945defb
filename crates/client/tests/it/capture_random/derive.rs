//! What a row's change is, from the row before and the row after alone.

use afield::protocol::{Attributes, Op};

use super::device::{Change, Mentions, RowId};

/// What happened to a row between two moments.
pub(super) fn changed(
    row: &RowId,
    before: Option<&Attributes>,
    now: Option<&Attributes>,
    mentions: &Mentions,
) -> Option<Change> {
    let (op, base, set) = match (before, now) {
        (None, None) => return None,
        (Some(before), None) => (Op::Delete, before.clone(), Attributes::new()),
        (None, Some(now)) => {
            let mut set = now.clone();
            set.retain(|name, value| {
                !value.is_null() || mentions.contains(&(row.clone(), name.clone()))
            });
            (Op::Create, Attributes::new(), set)
        }
        (Some(before), Some(now)) if before == now => return None,
        (Some(before), Some(now)) => {
            let mut set = now.clone();
            set.retain(|name, value| before.get(name) != Some(value));
            (Op::Update, before.clone(), set)
        }
    };
    Some(Change::new(row, op, base, set))
}

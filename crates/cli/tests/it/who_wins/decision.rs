//! What the second one's user does about a change that was not applied.

use afield::protocol::{Attributes, Value};
use afield::{ChangeState, Resolution};

use super::Pair;
use super::cell::{Cell, Choice};
use super::look::{Check, changes, conflicts};
use super::table::End;

fn one(name: &str, value: i64) -> Attributes {
    Attributes::from([(name.to_owned(), Value::Integer(value))])
}

/// Decides as the cell says.
pub(super) fn make(cell: &Cell, pair: &Pair) -> Check {
    let told = |error: afield::Error| format!("deciding: {error}");
    match cell.end {
        End::Unchanged(_) | End::Applied(_) | End::Overwrote(..) => Ok(()),
        End::Conflict(_) => {
            let open = conflicts(cell, &pair.second);
            let open = open.first().ok_or("deciding: no conflict is open")?;
            let resolution = match cell.choice {
                Choice::Mine => Resolution::Mine,
                Choice::Theirs => Resolution::Theirs,
                Choice::Merged => Resolution::Merged(one("a", 5)),
            };
            let mut store = pair.second.client.store();
            let again = store.resolve(&open.conflict, &resolution);
            again.map(|_| ()).map_err(told)
        }
        End::Rejected(refusal) => {
            let changes = changes(cell, &pair.second);
            let parked = changes
                .iter()
                .find(|change| change.state == ChangeState::Parked)
                .ok_or("deciding: no change is parked")?;
            let mut store = pair.second.client.store();
            match (cell.choice, refusal.mended) {
                (Choice::Theirs | Choice::Merged, _) => store.drop_change(&parked.change),
                (Choice::Mine, None) => store.retry(&parked.change, None).map(|_| ()),
                (Choice::Mine, Some(_)) => {
                    let set = one("shelf", 1);
                    store.retry(&parked.change, Some(&set)).map(|_| ())
                }
            }
            .map_err(told)
        }
    }
}

/// What was sent again without being mended was refused again; now it is given up.
pub(super) fn give_up(cell: &Cell, pair: &Pair) -> Check {
    let End::Rejected(refusal) = cell.end else {
        return Ok(());
    };
    if cell.choice != Choice::Mine || refusal.mended.is_some() {
        return Ok(());
    }
    let changes = changes(cell, &pair.second);
    let parked = changes
        .iter()
        .find(|change| change.state == ChangeState::Parked)
        .ok_or_else(|| format!("sent again, it is not parked: {changes:?}"))?;
    let code = parked.code.as_ref().map(afield::protocol::Code::as_str);
    if code != Some(refusal.code) {
        return Err(format!("sent again, it is refused as {code:?}"));
    }
    let mut store = pair.second.client.store();
    let dropped = store.drop_change(&parked.change);
    dropped.map_err(|error| format!("giving up: {error}"))
}

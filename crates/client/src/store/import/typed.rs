//! What was typed into a conflict since an earlier file: it has the name that it had there.

use afield_protocol::codec::cbor::write_key;
use afield_protocol::outbox_file::{FileGroup, FileState};
use afield_protocol::{Attributes, GroupOutcome, Op};
use rusqlite::OptionalExtension;

use super::rows;
use crate::error::Error;
use crate::store::conflict::{self, Parked};
use crate::store::db::{Db, Loaded};
use crate::store::{outcome, overlay, page};

/// Takes over what a file has of a conflict that is here by an earlier one: the server's word, if
/// that is not known here, and what was typed there since. What was typed here stays.
pub(super) fn since(db: &mut Db, loaded: &Loaded, file: FileGroup) -> Result<(), Error> {
    let mut now = file.content.now().clone();
    if file.state != FileState::Parked {
        return Ok(());
    }
    let sent = file.content.sent().map(|(_, sent)| sent.clone());
    let ended = GroupOutcome {
        group: now.id,
        verdicts: file.verdicts,
    };
    outcome::store(db, 0, &[ended])?;
    let sql = "SELECT n FROM afield_group WHERE id = ?1 AND state = 'parked'";
    let mut select = db.conn.prepare_cached(sql)?;
    let here = select.query_row([now.id.0], |row| row.get(0)).optional()?;
    drop(select);
    let Some(here) = here else {
        return Ok(());
    };
    for mate in Parked::of_group(db, here)? {
        let at = usize::try_from(mate.at).unwrap_or(usize::MAX);
        let Some(change) = now.changes.get_mut(at).filter(|_| mate.is_conflict()) else {
            continue;
        };
        rows::fit(db, loaded, change)?;
        let is_row = change.entity == mate.entity && write_key(&change.key) == mate.key;
        if !is_row || change.op != mate.op || change.op == Op::Delete {
            continue;
        }
        let first = sent.as_ref().and_then(|sent| sent.changes.get(at));
        let typed = newer(&mate.set, first.map(|first| &first.set), &change.set);
        if typed.is_empty() {
            continue;
        }
        let mut set = mate.set.clone();
        set.extend(typed);
        let mut base = change.base.clone();
        base.extend(mate.base.clone());
        conflict::fold(db, mate.n, mate.op, &base, &set)?;
        overlay::release(db, loaded, &mate.entity, &mate.key)?;
        page::touch(db, &mate.entity)?;
    }
    db.crash_point("import-typed")
}

/// What was typed there and not here: here it is as it was sent.
fn newer(here: &Attributes, sent: Option<&Attributes>, there: &Attributes) -> Attributes {
    let is_as_sent = |name: &String| here.get(name) == sent.and_then(|sent| sent.get(name));
    let typed = there
        .iter()
        .filter(|(name, value)| here.get(*name) != Some(*value) && is_as_sent(name));
    typed
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

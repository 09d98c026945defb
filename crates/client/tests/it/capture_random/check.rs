//! Comparing the model's outbox with the store's.

use std::collections::BTreeSet;

use afield::protocol::codec::cbor::{read_key, write_key};
use afield::protocol::{Group, GroupId, Op};
use afield::{ChangeInfo, ChangeState};

use super::device::{Device, Outgoing, Snapshot, State};

impl Device {
    /// Compares with what the store says of itself, and learns the identities of groups.
    pub(super) fn check(&mut self, actual: &[ChangeInfo]) -> Result<(), String> {
        let mut found: Vec<(GroupId, Vec<&ChangeInfo>)> = Vec::new();
        for change in actual {
            match found.last_mut().filter(|(id, _)| *id == change.group) {
                Some((_, changes)) => changes.push(change),
                None => found.push((change.group, vec![change])),
            }
        }
        if found.len() != self.groups.len() {
            let wanted = self.groups.len();
            return Err(format!(
                "{} groups, expected {wanted}: {found:#?}",
                found.len()
            ));
        }
        for (group, (id, changes)) in self.groups.iter_mut().zip(found) {
            compare(group, id, &changes)?;
            group.id = Some(id);
        }
        let ids: BTreeSet<_> = self.groups.iter().map(|group| group.id).collect();
        if ids.len() == self.groups.len() {
            Ok(())
        } else {
            Err("a group's identity stands twice".into())
        }
    }
}

fn compare(group: &mut Outgoing, id: GroupId, actual: &[&ChangeInfo]) -> Result<(), String> {
    let fail = |what: &str| Err(format!("{what}: {actual:#?}, expected {group:#?}"));
    if group.id.is_some_and(|known| known != id) {
        return fail("the group has another identity");
    }
    if group.former.contains(&id) {
        return fail("the group says something else under its former identity");
    }
    if actual.len() != group.changes.len() {
        return fail("the group has other rows");
    }
    let wanted = match group.state {
        State::Pending => State::Sent,
        state => state,
    };
    // Two changes of one group may be of one row once that was renamed.
    let mut places = Vec::new();
    for change in &group.changes {
        let at = actual.iter().enumerate().position(|(at, info)| {
            (&info.entity, &write_key(&info.key)) == (&change.row.0, &change.row.1)
                && (info.op, &info.base, &info.set) == (change.op, &change.base, &change.set)
                && !places.contains(&at)
        });
        let Some(at) = at else {
            return fail("a change differs or is missing");
        };
        if state(actual[at]) != wanted {
            return fail("a change is in another state");
        }
        places.push(at);
    }
    let classes = actual.iter().map(|info| match info.op {
        Op::Create => 0,
        Op::Update => 1,
        Op::Delete => 2,
    });
    if !classes.is_sorted() {
        return fail("creates come first, deletes last");
    }
    // The model takes the store's order, in which outcomes come.
    let mut ordered: Vec<_> = places.into_iter().zip(group.changes.drain(..)).collect();
    ordered.sort_by_key(|(at, _)| *at);
    group.changes = ordered.into_iter().map(|(_, change)| change).collect();
    Ok(())
}

fn state(info: &ChangeInfo) -> State {
    match info.state {
        ChangeState::Pending | ChangeState::Held | ChangeState::Sent => State::Sent,
        ChangeState::Settled => State::Settled,
        ChangeState::Parked | ChangeState::Dropped => State::Parked,
    }
}

/// Checks that a group on the wire says what the model says, with no more of the base than the
/// server needs.
pub(super) fn same_as_sent(group: &Outgoing, sent: &Group) -> Result<(), String> {
    if group.changes.len() != sent.changes.len() {
        return Err(format!("sent {sent:#?}, expected {group:#?}"));
    }
    for (change, sent) in group.changes.iter().zip(&sent.changes) {
        let row = (sent.entity.clone(), write_key(&sent.key));
        let mut base = change.base.clone();
        if sent.op == Op::Update {
            base.retain(|name, _| change.set.contains_key(name));
        }
        if (&row, sent.op, &sent.set, &sent.base) != (&change.row, change.op, &change.set, &base) {
            return Err(format!("sent {sent:#?}, expected {change:#?}"));
        }
        let key = read_key(&row.1).map_err(|error| error.to_string())?;
        if key != sent.key {
            return Err("an identifier reads back differently".into());
        }
    }
    Ok(())
}

/// The rows in which two snapshots differ.
pub(super) fn difference(actual: &Snapshot, expected: &Snapshot) -> String {
    let rows: BTreeSet<_> = actual.keys().chain(expected.keys()).collect();
    let different = rows
        .into_iter()
        .filter(|row| actual.get(row) != expected.get(row));
    let lines = different.map(|row| {
        format!(
            "{row:?}: {:?}, expected {:?}",
            actual.get(row),
            expected.get(row)
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

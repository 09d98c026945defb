//! What a cell must look like: on the first device, on the second, on the server, in the ledger.

use std::fmt::Debug;

use afield::protocol::codec::read_verdicts;
use afield::protocol::{Attributes, Code, GroupId, Value, VerdictKind};
use afield::{ChangeInfo, ChangeState, ConflictInfo, OutcomeInfo, RowState};
use rusqlite::types::Value as Column;

use super::Pair;
use super::cell::{Cell, Choice};
use super::table::{Clash, Deed, End, Refusal, Row, With};
use crate::world::{Device, rows};

/// What is wrong with a cell, if anything.
pub(super) type Check = Result<(), String>;

#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
fn same<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Check {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: found {found:?}, expected {expected:?}")),
    }
}

/// When the second one has the first one's rows, and the server nothing of the second one: he sees
/// what he wrote, also of a row that is gone.
pub(super) fn unsent(cell: &Cell, pair: &Pair) -> Check {
    let expected = match (cell.end, cell.deeds()[1]) {
        (End::Rejected(Refusal { code: "gone", .. }), deed) | (_, deed @ Deed::Create("a", _)) => {
            cell.as_written(deed)
        }
        // The edit comes later.
        (End::Conflict(Clash { mine, .. }), _) if cell.line.with == With::Edit => {
            mine.map(|[a, _, n]| [a, 1, n])
        }
        _ => cell.before().0,
    };
    same(
        "before it is sent, the second one's row",
        device(cell, &pair.second),
        expected,
    )?;
    same(
        "outcomes before it is sent",
        outcomes(cell, &pair.second),
        vec![],
    )
}

/// Before the second one's user decides.
pub(super) fn undecided(cell: &Cell, pair: &Pair) -> Check {
    let (mine, theirs) = cell.before();
    let [first, second] = cell.deeds();
    same("the server's row", server(cell, pair), theirs)?;
    same("the first one's row", device(cell, &pair.first), theirs)?;
    same("the second one's row", device(cell, &pair.second), mine)?;
    same(
        "state of the first one's row",
        state(cell, &pair.first),
        RowState::Synced,
    )?;
    let applied = |deed| match deed {
        Deed::Idle => Vec::new(),
        _ => vec![(VerdictKind::Applied, None)],
    };
    same(
        "the first one's outcomes",
        verdicts(cell, &pair.first),
        applied(first),
    )?;
    same(
        "conflicts of the first one",
        conflicts(cell, &pair.first).len(),
        0,
    )?;
    let found = verdicts(cell, &pair.second);
    let conflicts = conflicts(cell, &pair.second);
    let told = |code: &str| Some(Code::parse(code));
    match cell.end {
        End::Unchanged(_) | End::Applied(_) | End::Overwrote(..) => {
            same("the second one's outcomes", found, applied(second))?;
            same("conflicts", conflicts.len(), 0)?;
            same(
                "state of its row",
                state(cell, &pair.second),
                RowState::Synced,
            )?;
            overwritten(cell, pair)?;
        }
        End::Conflict(clash) => {
            let verdict = (VerdictKind::Conflict, told(clash.code));
            same("the second one's outcomes", found, vec![verdict])?;
            same(
                "state of its row",
                state(cell, &pair.second),
                RowState::Conflict,
            )?;
            conflict(cell, clash, &conflicts)?;
        }
        End::Rejected(refusal) => {
            let verdict = (VerdictKind::Rejected, told(refusal.code));
            same("the second one's outcomes", found, vec![verdict])?;
            same("conflicts", conflicts.len(), 0)?;
            refused(cell, refusal, pair)?;
        }
    }
    beside(cell, pair, false)
}

/// When everything is decided.
pub(super) fn decided(cell: &Cell, pair: &Pair) -> Check {
    same(
        "in the end, the server's row",
        server(cell, pair),
        cell.after(),
    )?;
    for (name, device) in [("first", &pair.first), ("second", &pair.second)] {
        let of = |what: &str| format!("in the end, the {name} one's {what}");
        let (here, there) = (whole(cell, device), whole_on_server(cell, pair));
        same(&of("row"), here, there)?;
        same(&of("state"), state(cell, device), RowState::Synced)?;
        same(&of("conflicts"), conflicts(cell, device).len(), 0)?;
        let waiting = changes(cell, device);
        let waiting = waiting
            .iter()
            .filter(|change| !matches!(change.state, ChangeState::Settled | ChangeState::Dropped));
        same(&of("waiting changes"), waiting.count(), 0)?;
    }
    let (End::Conflict(Clash { code, .. }) | End::Rejected(Refusal { code, .. })) = cell.end else {
        return beside(cell, pair, true);
    };
    let records = changes(cell, &pair.second);
    let is_record = |change: &&ChangeInfo| {
        change.state == ChangeState::Dropped && change.code == Some(Code::parse(code))
    };
    let record = records
        .iter()
        .find(is_record)
        .ok_or_else(|| format!("in the end, nothing tells what was typed: {records:?}"))?;
    let [_, deed] = cell.deeds();
    same(
        "in the end, whether values are kept",
        record.set.is_empty(),
        deed == Deed::Delete,
    )?;
    beside(cell, pair, true)
}

/// The ledger keeps what was overwritten unseen, and nothing else.
fn overwritten(cell: &Cell, pair: &Pair) -> Check {
    let expected = match cell.end {
        End::Overwrote(_, values) => values,
        _ => &[],
    };
    let Some(outcome) = outcomes(cell, &pair.second).pop() else {
        return Ok(());
    };
    let (group, at) = outcome.change.split_once('.').unwrap();
    let group = GroupId::parse(group).unwrap();
    let sql = "SELECT verdicts FROM afield_ledger WHERE user = 'ben' AND group_id = ?1";
    let bytes: Vec<u8> = pair
        .world
        .team()
        .query_row(sql, [group.0], |row| row.get(0))
        .map_err(|error| format!("the ledger has no entry: {error}"))?;
    let verdicts = read_verdicts(&bytes).map_err(|error| error.to_string())?;
    let found = verdicts[at.parse::<usize>().unwrap()].overwritten.clone();
    let expected = expected.iter();
    let expected = expected.map(|(name, value)| ((*name).to_owned(), Value::Integer(*value)));
    same("overwritten, by the ledger", found, expected.collect())
}

/// The conflict is open, with the row as it was seen, mine and theirs.
fn conflict(cell: &Cell, clash: Clash, found: &[ConflictInfo]) -> Check {
    let [found] = found else {
        return Err(format!("found conflicts {found:?}, expected one"));
    };
    same("theirs", found.theirs.as_ref().map(values), clash.theirs)?;
    same("mine", found.mine.as_ref().map(values), clash.mine)?;
    same(
        "attributes in conflict",
        &found.attributes[..],
        &words(clash.attributes),
    )?;
    let base = (!found.base.is_empty()).then(|| values(&found.base));
    same("base", base, cell.line.seen)
}

/// What was typed is parked; of a row that is gone nothing else is left.
fn refused(cell: &Cell, refusal: Refusal, pair: &Pair) -> Check {
    same(
        "state of its row",
        state(cell, &pair.second),
        RowState::Parked,
    )?;
    let changes = changes(cell, &pair.second);
    let [parked] = &changes[..] else {
        return Err(format!("found {changes:?}, expected one change"));
    };
    same("state", parked.state, ChangeState::Parked)?;
    same("code", parked.code.clone(), Some(Code::parse(refusal.code)))?;
    same("whether values are kept", parked.set.is_empty(), false)?;
    let is_gone = refusal.code == "gone";
    let is_erased = parked.base.is_empty() && parked.theirs.is_none();
    let had_none = cell.line.seen.is_none();
    same("whether the row is erased", is_erased, is_gone || had_none)
}

/// The other row of the transaction, and the leaf.
fn beside(cell: &Cell, pair: &Pair, is_decided: bool) -> Check {
    let is_stopped = matches!(cell.end, End::Conflict(_) | End::Rejected(_)) && !is_decided;
    for (place, deed) in cell.deeds().into_iter().enumerate() {
        if deed == Deed::Idle {
            continue;
        }
        let id = cell.beside(place);
        let own = [&pair.first, &pair.second][place];
        let waits = place == 1 && is_stopped;
        let read = |sql: &str| {
            let count = |rows: Vec<Vec<Column>>| rows.len();
            let team = pair.world.team();
            (count(rows(&own.raw(), sql)), count(rows(&team, sql)))
        };
        match cell.line.with {
            With::Mate => {
                let sql = format!("SELECT 1 FROM mate WHERE id = {id} AND a = 2");
                same("the mate", read(&sql), (1, usize::from(!waits)))?;
                let code = waits.then_some(Code::GROUP_REFUSED);
                same("the mate's code", parked_code(own, "mate", id), code)?;
            }
            With::Leaf => {
                let sql = format!("SELECT 1 FROM leaf WHERE id = {id}");
                let is_given_up = is_decided && place == 1 && leaf_goes(cell);
                let here = usize::from(!is_given_up);
                same(
                    "the leaf",
                    read(&sql),
                    (here, usize::from(!waits && !is_given_up)),
                )?;
                let held = own
                    .changes()
                    .into_iter()
                    .find(|change| change.entity == "leaf" && change.key == [Value::Integer(id)]);
                let state = held.map(|change| change.state);
                let expected = match (waits, is_given_up) {
                    (true, _) => ChangeState::Held,
                    (_, true) => ChangeState::Dropped,
                    _ => ChangeState::Settled,
                };
                same("the leaf's change", state, Some(expected))?;
            }
            With::Nothing | With::Edit | With::Deleted => {}
        }
    }
    Ok(())
}

/// With a create that is given up goes what refers to it.
fn leaf_goes(cell: &Cell) -> bool {
    matches!(cell.end, End::Rejected(_)) && cell.choice == Choice::Theirs
}

fn parked_code(device: &Device, entity: &str, id: i64) -> Option<Code> {
    let parked = device.changes().into_iter().find(|change| {
        change.entity == entity
            && change.key == [Value::Integer(id)]
            && change.state == ChangeState::Parked
    });
    parked?.code
}

fn values(row: &Attributes) -> [i64; 3] {
    ["a", "b", "n"].map(|name| match row.get(name) {
        Some(Value::Integer(value)) => *value,
        Some(Value::Null) => 0,
        other => panic!("{name} is {other:?}"),
    })
}

fn words(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn short(cell: &Cell) -> String {
    let Cell { entity, id, .. } = cell;
    format!("SELECT coalesce(a, 0), coalesce(b, 0), coalesce(n, 0) FROM {entity} WHERE id = {id}")
}

fn row(found: &[Vec<Column>]) -> Row {
    let value = |column: &Column| match column {
        Column::Integer(value) => *value,
        other => panic!("{other:?}"),
    };
    let row = found.first()?;
    Some([value(&row[0]), value(&row[1]), value(&row[2])])
}

/// Of the rows on the server those that do not count as deleted.
fn alive(sql: &str) -> String {
    format!("{sql} AND lives")
}

fn server(cell: &Cell, pair: &Pair) -> Row {
    row(&rows(&pair.world.team(), &alive(&short(cell))))
}

fn device(cell: &Cell, device: &Device) -> Row {
    row(&rows(&device.raw(), &short(cell)))
}

fn whole_sql(cell: &Cell) -> String {
    let Cell { entity, id, .. } = cell;
    format!("SELECT id, a, b, n, shelf FROM {entity} WHERE id = {id}")
}

fn whole(cell: &Cell, device: &Device) -> Vec<Vec<Column>> {
    rows(&device.raw(), &whole_sql(cell))
}

fn whole_on_server(cell: &Cell, pair: &Pair) -> Vec<Vec<Column>> {
    rows(&pair.world.team(), &alive(&whole_sql(cell)))
}

fn state(cell: &Cell, device: &Device) -> RowState {
    let key = [Value::Integer(cell.id)];
    let mut store = device.client.store();
    store.row_state(cell.entity, &key).unwrap()
}

fn outcomes(cell: &Cell, device: &Device) -> Vec<OutcomeInfo> {
    let all = device.client.store().outcomes(0).unwrap();
    let is_its = |outcome: &OutcomeInfo| {
        outcome.entity == cell.entity && outcome.key == [Value::Integer(cell.id)]
    };
    all.into_iter().filter(is_its).collect()
}

fn verdicts(cell: &Cell, device: &Device) -> Vec<(VerdictKind, Option<Code>)> {
    let outcomes = outcomes(cell, device).into_iter();
    outcomes
        .map(|outcome| (outcome.result, outcome.code))
        .collect()
}

/// The conflicts of the cell's row.
pub(super) fn conflicts(cell: &Cell, device: &Device) -> Vec<ConflictInfo> {
    let all = device.client.store().conflicts().unwrap();
    let is_its = |conflict: &ConflictInfo| {
        conflict.entity == cell.entity && conflict.key == [Value::Integer(cell.id)]
    };
    all.into_iter().filter(is_its).collect()
}

/// The changes of the cell's row.
pub(super) fn changes(cell: &Cell, device: &Device) -> Vec<ChangeInfo> {
    let is_its = |change: &ChangeInfo| {
        change.entity == cell.entity && change.key == [Value::Integer(cell.id)]
    };
    device.changes().into_iter().filter(is_its).collect()
}

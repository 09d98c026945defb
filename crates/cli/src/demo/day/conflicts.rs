//! Two people wrote about one inspection. The model says that a person decides.

use afield::engine::SyncStatus;
use afield::native::Client;
use afield::{ChangeState, Resolution};
use afield_protocol::VerdictKind;

use super::super::ask::{one, row};
use super::told::{Told, count};
use super::{Day, device, ensure};
use crate::failure::Failure;
use crate::inbox;

const SEEN: &str = "SELECT result || ': ' || notes FROM inspection WHERE id = ?1";

/// Ben writes on his tablet, and sends it.
fn ben_writes(day: &Day, inspection: &str, result: &str, notes: &str) -> Result<(), Failure> {
    let ben = day.ben()?;
    write(ben, inspection, result, notes)?;
    device::synced(ben).map(drop)
}

fn write(client: &Client, id: &str, result: &str, notes: &str) -> Result<(), Failure> {
    let set = row([("result", result.into()), ("notes", notes.into())]);
    Ok(client.store().update("inspection", &[id.into()], &set)?)
}

/// What Ann's phone, Ben's tablet and the city hold of an inspection; it must be the same.
fn agreed(day: &Day, inspection: &str, expected: &str) -> Result<(), Failure> {
    device::synced(day.ben()?)?;
    let held = [
        one(&day.ann()?.store(), SEEN, inspection)?,
        one(&day.ben()?.store(), SEEN, inspection)?,
        day.site.text(SEEN, [inspection])?,
    ];
    let all = held.iter().all(|it| it == expected);
    ensure(all, format!("all three hold \"{expected}\": {held:?}"))
}

pub(super) fn on_the_device(day: &mut Day) -> Result<Told, Failure> {
    let before = day.site.effects()?;
    let [inspection, _] = &day.places.inspections;
    let ann = day.ann()?;
    let (mine, theirs) = ("Cold room at 9 °C.", "Owner has ordered a new cooler.");
    write(ann, inspection, "fail", mine)?;
    ben_writes(day, inspection, "pass", theirs)?;
    let report = device::attempt(ann)?;
    let conflicts = report.outcomes.iter();
    let conflicts = conflicts
        .filter(|it| it.result == VerdictKind::Conflict)
        .count();
    ensure(
        report.status == SyncStatus::Incomplete && conflicts == 1,
        format!(
            "there is one conflict: {conflicts}, {}",
            report.status.as_str()
        ),
    )?;
    let seen = one(&ann.store(), SEEN, inspection)?;
    let words = format!("Ann still sees her own version: {seen}");
    ensure(seen == format!("fail: {mine}"), words)?;
    let open = ann.store().conflicts()?;
    let [conflict] = open.as_slice() else {
        return ensure(false, format!("one conflict is shown: {}", open.len()))
            .map(|()| Told::default());
    };
    let is_theirs = conflict.theirs.as_ref().and_then(|row| row.get("notes"));
    ensure(
        is_theirs == Some(&theirs.into()),
        "Ben's version is shown beside it",
    )?;
    let differ = conflict.attributes.clone();
    let (result, notes) = ("pass with conditions", format!("{mine} {theirs}"));
    let merged = row([("result", result.into()), ("notes", notes.as_str().into())]);
    ann.store()
        .resolve(&conflict.conflict, &Resolution::Merged(merged))?;
    device::synced(ann)?;
    agreed(day, inspection, &format!("{result}: {notes}"))?;
    let effects = day.site.effects()? - before;
    ensure(
        effects == 2,
        format!("Ben's write and the decision, once each: {effects}"),
    )?;

    let mut told = Told::default();
    told.happened(format!(
        "Ann wrote \"fail, {mine}\" without a network; Ben, on his tablet, \"pass, {theirs}\" \
         about the same inspection, and his was sent first. Ann's is not applied over it: she \
         sees both, puts them together (\"{result}\", both notes), and that is what the city, Ann \
         and Ben hold."
    ));
    told.on_the_screen(format!(
        "Her own version, marked; \"before, mine, theirs\" for each of {}; a choice for each.",
        differ.join(", ")
    ));
    told.the_library(
        "Compared the row as Ann saw it with the row as it is, by values and not by clocks; kept \
         both versions; sent her decision as a change of the row that she was shown.",
    );
    told.without_it(
        "Version columns, a screen fed by hand for every table, and lost edits until then.",
    );
    told.fact("conflicts", conflicts);
    told.fact("differing", differ);
    told.fact("effects", effects);
    Ok(told)
}

pub(super) fn at_the_desk(day: &mut Day) -> Result<Told, Failure> {
    let before = day.site.effects()?;
    let [_, inspection] = &day.places.inspections;
    let ann = day.ann()?;
    ann_fails_it(day, inspection)?;
    ben_writes(day, inspection, "pass", "All points settled.")?;
    let report = device::attempt(ann)?;
    let parked = ann.status()?.parked;
    ensure(
        report.status == SyncStatus::Incomplete && parked == 2,
        format!("the whole transaction waits for a decision: {parked}"),
    )?;

    let n = dora_decides(day)?;
    device::synced(ann)?;
    agreed(day, inspection, "fail: Mice in the store room.")?;
    let mut changes = ann.store().changes()?;
    changes.retain(|it| {
        it.decided
            .as_ref()
            .is_some_and(|decided| decided.by == "dora")
    });
    changes.retain(|it| it.state == ChangeState::Settled);
    let words = format!("Ann's phone knows that Dora decided: {}", changes.len());
    ensure(changes.len() == 2, words)?;
    let effects = day.site.effects()? - before;
    ensure(
        effects == 3,
        format!("Ben's write and both of Ann's, once each: {effects}"),
    )?;

    let mut told = Told::default();
    told.happened(format!(
        "Ann fails an inspection and notes why, in one transaction; Ben had passed it. {} of hers \
         wait together. Ann has no time. Dora at the desk sees entry {} in the inbox (`afield \
         inbox`), rings both up, and decides for Ann's version (`afield inbox decide {} --mine \
         --by dora`). With its next sync the phone follows.",
        count(parked, "change"),
        n,
        n
    ));
    told.on_the_screen("\"Applied on the server by dora\"; nothing left to decide.");
    told.the_library(
        "The server kept both versions, applied Ann's whole transaction over the rows as they are, \
         with Ann's rights and the database's constraints, and told her phone who decided.",
    );
    told.without_it(
        "A desk application, and a way back to a phone that still thinks it has to ask.",
    );
    told.fact("entry", n);
    told.fact("decided_by", "dora");
    told.fact("changes", changes.len());
    told.fact("effects", effects);
    Ok(told)
}

/// Ann writes that an inspection failed, and why, in one transaction.
fn ann_fails_it(day: &Day, inspection: &str) -> Result<(), Failure> {
    let set = row([
        ("result", "fail".into()),
        ("notes", "Mice in the store room.".into()),
    ]);
    let found = row([
        ("inspection_id", inspection.into()),
        ("number", 90.into()),
        ("code", "P01".into()),
        ("severity", "critical".into()),
        ("comment", "Mice.".into()),
    ]);
    let mut store = day.ann()?.store();
    store.transaction(|tx| {
        tx.update("inspection", &[inspection.into()], &set)?;
        tx.create("violation", &found).map(drop)
    })?;
    Ok(())
}

/// Dora decides for Ann, with what is behind `afield inbox`; gives the number of the entry.
fn dora_decides(day: &Day) -> Result<i64, Failure> {
    let model = day.site.model_args();
    let open = inbox::entries(&model, false)?;
    ensure(
        open.len() == 2,
        format!("it stands in the inbox: {}", open.len()),
    )?;
    let of_the_row = open.iter().find(|entry| entry.entity == "inspection");
    let entry =
        of_the_row.ok_or_else(|| Failure::refused("demo", "the inbox lacks the inspection"))?;
    inbox::decide_mine(&model, entry.n, "dora")?;
    let open = inbox::entries(&model, false)?;
    ensure(
        open.is_empty(),
        format!("nothing is open any more: {}", open.len()),
    )?;
    Ok(entry.n)
}

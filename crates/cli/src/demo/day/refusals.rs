//! Changes that cannot be applied: one that is wrong, and one over which the server stumbles.

use afield::engine::SyncStatus;
use afield::{ChangeInfo, ChangeState, RowState};
use afield_protocol::Code;

use super::super::ask::row;
use super::road::PATIENCE;
use super::told::{Told, count};
use super::{Day, device, ensure};
use crate::failure::Failure;

pub(super) fn refused_change(day: &mut Day) -> Result<Told, Failure> {
    let (ann, before) = (day.ann()?, day.site.effects()?);
    let wrong = ann_mistypes(day)?;
    let report = device::attempt(ann)?;
    let (status, flowed) = (ann.status()?, day.site.effects()? - before);
    ensure(
        report.status == SyncStatus::Incomplete && report.pushed == 2 && flowed == 2,
        format!(
            "two changes are applied: {} by {:?}",
            report.pushed, report.error
        ),
    )?;
    let counts = (status.parked, status.held, status.pending);
    ensure(
        counts == (1, 1, 0),
        format!("one is refused and one held: {counts:?}"),
    )?;
    let refused = device::the_only(ann, ChangeState::Parked)?;
    let held = device::the_only(ann, ChangeState::Held)?;
    ensure(
        refused.code == Some(Code::CHECK_FAILED)
            && held.waits_for.as_ref() == Some(&refused.change),
        format!(
            "by the database's check, and the other waits for it: {:?}",
            refused.code
        ),
    )?;
    let state = ann
        .store()
        .row_state("inspection", &[wrong.as_str().into()])?;
    ensure(state == RowState::Parked, "the row says so")?;

    let right = row([("score", 95.into())]);
    ann.store().retry(&refused.change, Some(&right))?;
    let again = device::synced(ann)?;
    let effects = day.site.effects()? - before;
    ensure(
        again.pushed == 2 && effects == 4,
        format!("both are applied then: {}, {effects} in all", again.pushed),
    )?;
    let mut told = refusal(&refused, flowed);
    told.fact("held", counts.1);
    told.fact("applied_when_corrected", again.pushed);
    Ok(told)
}

/// Ann writes four things, one of them wrong; gives the inspection that is wrong.
fn ann_mistypes(day: &Day) -> Result<String, Failure> {
    let mut store = day.ann()?.store();
    let business = day.places.business.as_str();
    let wrong = device::visit(&mut store, business, "Second visit.", &[])?;
    let score = row([("score", 150.into()), ("result", "pass".into())]);
    store.update("inspection", &[wrong.as_str().into()], &score)?;
    device::find(&mut store, &wrong, 1, ("D02", "No record of training."))?;
    let seats = row([("seats", 141.into())]);
    store.update("business", &[business.into()], &seats)?;
    let contact = row([
        ("business_id", business.into()),
        ("name", "Olga Ueda".into()),
        ("phone", "030 4712".into()),
    ]);
    store.create("contact", &contact)?;
    Ok(wrong)
}

fn refusal(refused: &ChangeInfo, flowed: u64) -> Told {
    let code = refused.code.as_ref().map_or("", Code::as_str);
    let mut told = Told::default();
    told.happened(format!(
        "Ann types a score of 150 into a new inspection, adds a violation to it, and writes two \
         other things. The city's database allows 0 to 100 and refuses the inspection ({}, {}). \
         The violation is held, because its inspection is not there; the other {} are applied. \
         She corrects the score to 95 and sends it again: applied, and the violation behind it.",
        code,
        device::quoted(refused.message.as_deref()),
        flowed
    ));
    told.on_the_screen(
        "The row in red with what she typed and why it was refused, one that waits for it, and a \
         field to correct.",
    );
    told.the_library(
        "Kept the refused change with its reason instead of dropping it or stopping at it, knew \
         what depends on it, and sent both again on her word.",
    );
    told.without_it(
        "A refusal for every rule shown at its row, and an order of calls that survives one.",
    );
    told.fact("code", code);
    told.fact("applied_beside_it", flowed);
    told
}

/// A trigger of the team's, brought in this morning, that cannot cope with one code.
const MISTAKE: &str = "CREATE TRIGGER tell_health_office AFTER INSERT ON violation \
     WHEN NEW.code = 'P01' BEGIN SELECT json_extract('not json', '$'); END";

const MENDED: &str = "DROP TRIGGER tell_health_office";

pub(super) fn failing_server(day: &mut Day) -> Result<Told, Failure> {
    day.site.write(MISTAKE)?;
    let (ann, before) = (day.ann()?, day.site.effects()?);
    let failed_before = day.network.counts().failed;
    {
        let mut store = ann.store();
        device::find(&mut store, &day.visit, 3, ("P01", "Traces of mice."))?;
        device::find(&mut store, &day.visit, 4, ("P02", "Fly screen torn."))?;
        let [_, moved] = &day.places.contacts;
        let phone = row([("phone", "030 4713".into())]);
        store.update("contact", &[moved.as_str().into()], &phone)?;
    }
    let report = device::attempt(ann)?;
    let flowed = day.site.effects()? - before;
    ensure(
        report.status == SyncStatus::Incomplete && report.backed_off == 1 && flowed == 2,
        format!(
            "one change fails alone and the others are applied: {}, {flowed}, {:?}",
            report.backed_off, report.error
        ),
    )?;
    let failing = device::the_only(ann, ChangeState::Sent)?;
    let failed = day.network.counts().failed - failed_before;
    ensure(failed > 0, "the server failed")?;
    day.site.write(MENDED)?;
    ann.start()?;
    let outcome = ann.wait(&failing.change, Some(PATIENCE))?;
    ann.stop();
    let effects = day.site.effects()? - before;
    ensure(
        outcome.state == ChangeState::Settled && effects == 3,
        format!(
            "it is applied by itself, once: {}, {effects}",
            outcome.state.as_str()
        ),
    )?;

    let mut told = Told::default();
    told.happened(format!(
        "A trigger that the team brought in this morning breaks at one code of violation, so the \
         server fails whenever it gets Ann's \"Traces of mice\": {}. The phone finds out which of \
         the three it is and leaves that alone; the other {flowed} are applied. The team drops \
         the trigger, and the phone sends the last one by itself.",
        match failed {
            1 => "one answer of status 500".to_owned(),
            n => format!("{n} answers of status 500"),
        },
    ));
    told.on_the_screen(
        "\"1 change waiting\", never \"all sent\", and no error that Ann could do nothing about.",
    );
    told.the_library(format!(
        "Sent fewer and fewer at a time until the culprit stood alone, gave it a pause of its own \
         that grows, and let {} flow past it.",
        count(flowed, "change")
    ));
    told.without_it("A night on the phone with users whose outbox is stuck behind one row.");
    told.fact("applied_beside_it", flowed);
    told.fact("failures", failed);
    told.fact("waited_alone", report.backed_off);
    told.fact("effects", effects);
    Ok(told)
}

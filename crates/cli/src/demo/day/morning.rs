//! The morning: signing in, the first download, work without a network, a phone that dies.

use std::sync::{Arc, Mutex, PoisonError};

use afield::event::SyncEvent;
use afield::network::{NetworkInfo, NetworkType};
use afield::{ChangeInfo, ChangeState, RowState};
use afield_protocol::Code;

use super::super::ask::{one, row, text};
use super::super::story::downloaded;
use super::network::Fault;
use super::told::{Told, count};
use super::{Day, TOKEN_S, app, device, ensure};
use crate::failure::Failure;

/// Yesterday's token, by when it ended.
const STALE_S: i64 = -3_600;

/// Rows of everything that is anybody's own.
const ROWS: &str = "SELECT (SELECT count(*) FROM business) + (SELECT count(*) FROM contact) + \
                    (SELECT count(*) FROM inspection) + (SELECT count(*) FROM violation)";

pub(super) fn login(day: &mut Day) -> Result<Told, Failure> {
    let stale = day.site.token("ann", STALE_S)?;
    let ann = day.open("phone", "ann", Some(&stale))?;
    let report = device::attempt(&ann)?;
    let code = device::code(&report).to_owned();
    ensure(
        code == Code::SIGN_IN.as_str() && ann.needs_sign_in(),
        format!("the old token is refused, and Ann must sign in: {code}"),
    )?;
    ensure(report.pulled == 0, "nothing was received with it")?;
    let bens = day.site.token("ben", TOKEN_S)?;
    let refused = ann.set_token(&bens, true).err();
    let refused = refused.is_some_and(|error| *error.code() == Code::SIGN_IN);
    ensure(refused, "Ben's token is refused on Ann's store")?;
    ann.set_token(&day.site.token("ann", TOKEN_S)?, true)?;
    ensure(
        !ann.needs_sign_in(),
        "with a good token nobody has to sign in",
    )?;
    day.ann = Some(ann);

    let mut told = Told::default();
    told.happened(format!(
        "Ann opens the app with yesterday's token. The server refuses it ({code}). By mistake she \
         takes Ben's: the phone refuses that one by itself, before anything is sent. Her own new \
         one is taken."
    ));
    told.on_the_screen("\"Please sign in\", and everything that is on the phone stays readable.");
    told.the_library(
        "Says needs-sign-in once instead of asking again and again, keeps what is typed \
         meanwhile, and never sends one user's work with another's token.",
    );
    told.without_it(
        "Refusals told from failures in every call, and a queue that knows whose it is.",
    );
    told.fact("code", code);
    Ok(told)
}

pub(super) fn first_download(day: &mut Day) -> Result<Told, Failure> {
    let ann = day.ann()?;
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&shown);
    ann.on_event(move |numbered| {
        if let SyncEvent::Progress(progress) = &numbered.event {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push((progress.rows, progress.percent));
        }
    });
    day.network.suffers(&[Fault::CutAnswer(CUT_AT)]);
    let before = day.network.counts().requests;
    let report = device::synced(ann)?;
    let requests = day.network.counts().requests - before;
    let shown = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let only_grows = shown.is_sorted() && shown.last() == Some(&(report.pulled, Some(100)));
    let words = format!("progress is told, never goes back, and ends with all rows: {shown:?}");
    ensure(only_grows && shown.len() > 3, words)?;
    let here: u64 = text(&ann.store(), ROWS)?.parse().unwrap_or(0);
    let there = day.site.count(ANNS_ROWS, [])?;
    let words = format!("the phone has Ann's rows and no others: {here} of {there}");
    ensure(here == there, words)?;
    let all = day.site.count(ROWS, [])?;
    let stored = device::rows(ann)?;
    ensure(
        requests == 2 && report.pulled == stored,
        format!(
            "a connection dies, and what is stored by then does not come again: {requests} \
             requests, {} rows for {stored}",
            report.pulled
        ),
    )?;
    let ben = day.sign_in("tablet", "ben")?;
    let bens = device::synced(&ben)?;
    day.ben = Some(ben);

    let percent = |told: Option<u8>| told.map_or("?".to_owned(), |told| told.to_string());
    let steps = shown.iter();
    let steps = steps.map(|(rows, told)| format!("{rows} ({} %)", percent(*told)));
    let steps: Vec<String> = steps.collect();
    let mut told = Told::default();
    told.happened(format!(
        "The phone loads what Ann may see: the businesses of her two districts with all that \
         belongs to them, {here} of the city's {all} rows, and two short lists. In the middle the \
         connection dies, and the rest comes over another one. Received: {}, none twice. Ben's \
         tablet loads his: {}.",
        downloaded(&report),
        downloaded(&bens)
    ));
    told.on_the_screen(format!(
        "How far it is, by {} events: {} rows.",
        shown.len(),
        steps.join(", ")
    ));
    told.the_library(
        "Asked the server whose rows these are, stored page after page, went on at the page where \
         the connection died, and shows all of it as one state of the database.",
    );
    told.without_it(
        "An API for each list, paging, filters by user, and a resume that skips nothing.",
    );
    told.fact("rows", report.pulled);
    told.fact("rows_of_her_own", here);
    told.fact("rows_of_the_city", all);
    told.fact("progress", serde_json::json!(shown));
    Ok(told)
}

/// Bytes of the download after which its connection dies: about half of it.
const CUT_AT: u64 = 100_000;

/// How many rows are in the districts that Ann is a member of.
const ANNS_ROWS: &str = "WITH hers AS (SELECT id FROM business WHERE district IN \
       (SELECT district FROM district_member WHERE login = 'ann')), \
     seen AS (SELECT id FROM inspection WHERE business_id IN hers) \
     SELECT (SELECT count(*) FROM hers) + (SELECT count(*) FROM seen) + \
       (SELECT count(*) FROM contact WHERE business_id IN hers) + \
       (SELECT count(*) FROM violation WHERE inspection_id IN seen)";

pub(super) fn offline_edits(day: &mut Day) -> Result<Told, Failure> {
    day.network.is_away(true);
    let before = day.site.effects()?;
    let ann = day.ann()?;
    ann.set_network(NetworkInfo::of(NetworkType::None))?;
    let visit = ann_works(day)?;
    let waiting = device::pending(ann)?;
    let groups = {
        let changes = ann.store().changes()?;
        let mut groups: Vec<_> = changes.iter().map(|change| change.group).collect();
        groups.dedup();
        groups.len() as u64
    };
    ensure(
        (waiting, groups) == (6, 4),
        format!("six changes in four transactions wait: {waiting}, {groups}"),
    )?;
    let state = ann
        .store()
        .row_state("inspection", &[visit.as_str().into()])?;
    ensure(state == RowState::Pending, "the new inspection is marked")?;
    let report = device::attempt(ann)?;
    let code = device::code(&report).to_owned();
    let words = format!("a sync does not get through: {code}");
    ensure(!code.is_empty() && !report.has_answered, words)?;
    ensure(device::pending(ann)? == waiting, "all of it still waits")?;
    ensure(day.site.effects()? == before, "the city has none of it yet")?;

    let mut told = Told::default();
    told.happened(format!(
        "At \"{}\" Ann plans an inspection with two violations, in one transaction, corrects the \
         seats, deletes a contact who has left, and changes another's phone with plain SQL: {} in \
         {} groups. She presses \"sync\": nothing gets through ({code}).",
        day.places.name,
        count(waiting, "change"),
        groups
    ));
    told.on_the_screen(format!(
        "Everything at once, as if the server had it; \"{} waiting\", and a mark on each row that \
         waits.",
        count(waiting, "change")
    ));
    told.the_library(
        "Captured every write with the row as it was before, durable before the call returned, \
         whether by an action or by SQL; made the new row's UUID on the phone.",
    );
    told.without_it("An outbox, flags on every table, and rules for what may be sent before what.");
    told.fact("pending", waiting);
    told.fact("groups", groups);
    told.fact("code", code);
    day.visit = visit;
    Ok(told)
}

/// What Ann does in the cellar.
fn ann_works(day: &Day) -> Result<String, Failure> {
    let (ann, places) = (day.ann()?, &day.places);
    let mut store = ann.store();
    let found = [
        ("H01", "critical", "No warm water at the hand basin."),
        ("C02", "minor", "Crumbs behind the counter."),
    ];
    let visit = device::visit(&mut store, &places.business, "In the cellar.", &found)?;
    let seats = row([("seats", 140.into())]);
    store.update("business", &[places.business.as_str().into()], &seats)?;
    let [gone, moved] = &places.contacts;
    store.delete("contact", &[gone.as_str().into()])?;
    let sql = "UPDATE contact SET phone = '030 4711' WHERE id = ?1";
    let id = afield::Params::from([moved.as_str().into()]);
    store.transaction(|tx| tx.execute(sql, &id))?;
    Ok(visit)
}

/// Whether a change has no outcome yet.
fn is_waiting(change: &ChangeInfo) -> bool {
    matches!(change.state, ChangeState::Pending | ChangeState::Sent)
}

pub(super) fn restart(day: &mut Day) -> Result<Told, Failure> {
    let before = day.ann()?.store().changes()?;
    // The store's file is open in one process at a time here, as on a phone.
    day.ann = None;
    let sql = "UPDATE inspection SET notes = 'In the cellar, by torchlight.' WHERE id = ?1";
    app::writes_and_dies(&day.folder.join("phone"), sql, &day.visit)?;
    let ann = day.open("phone", "ann", None)?;
    let after = ann.store().changes()?;
    let kept = before.iter().all(|change| after.contains(change));
    ensure(kept, "every change is there, with every value")?;
    ensure(
        after.len() == before.len() + 1 && after.iter().all(is_waiting),
        format!("the last one too: {} and {}", before.len(), after.len()),
    )?;
    let notes = one(
        &ann.store(),
        "SELECT notes FROM inspection WHERE id = ?1",
        &day.visit,
    )?;
    let words = format!("what was typed last is read again: {notes}");
    ensure(notes == "In the cellar, by torchlight.", words)?;
    let waiting = device::pending(&ann)?;
    ann.set_network(NetworkInfo::of(NetworkType::None))?;
    day.ann = Some(ann);

    let mut told = Told::default();
    told.happened(format!(
        "Ann adds a note, and the battery is empty: the app, a process of its own, is killed the \
         moment it has said \"saved\". When it starts again all {} are there, the last one too, \
         and she is still signed in.",
        count(waiting, "change")
    ));
    told.on_the_screen(format!(
        "\"{notes}\" and \"{} waiting\", as before.",
        count(waiting, "change")
    ));
    told.the_library(
        "Wrote the row and its change in one transaction, through to the disk: there is no moment \
         in which one is kept without the other.",
    );
    told.without_it("Tests that kill the app after every write, for every screen.");
    told.fact("pending", waiting);
    Ok(told)
}

//! The evening: logging out, another user on the same phone, a new version, and what all came to.

use std::path::Path;

use afield::native::{Client, VerifyOptions};
use afield::network::{NetworkInfo, NetworkType};
use afield::{ChangeState, UnitStatus, Unsent};
use afield_protocol::{Code, VerdictKind};
use afield_server::storage::inbox::InboxState;
use rusqlite::{Connection, OpenFlags};

use super::super::ask::{one, row, sqlite, text};
use super::super::story::downloaded;
use super::road::DESK;
use super::told::{Told, count};
use super::{Day, TOKEN_S, closed, device, ensure};
use crate::device::now_ms;
use crate::failure::Failure;
use crate::inbox;

pub(super) fn logout(day: &mut Day) -> Result<Told, Failure> {
    let before = day.site.effects()?;
    let ann = day.ann()?;
    let seats = row([("seats", 142.into())]);
    ann.store()
        .update("business", &[day.places.business.as_str().into()], &seats)?;
    let refused = ann.log_out(Unsent::Refuse).err();
    let refused = refused.filter(|error| *error.code() == Code::UNSENT_WORK);
    let refused = refused.ok_or_else(|| Failure::refused("demo", "logging out was not refused"))?;
    let waiting = device::pending(ann)?;
    ensure(
        waiting == 1 && refused.to_string().starts_with("1 change is not settled"),
        format!("it is refused with the number of changes: {refused}"),
    )?;
    device::synced(ann)?;
    let left = ann.log_out(Unsent::Refuse)?;
    ensure(left == 0, format!("nothing is left: {left}"))?;
    let kept = ann.folder().token("ann")?;
    ensure(kept.is_none(), "the phone has forgotten her token")?;
    day.ann = None;
    ensure(
        day.site.effects()? - before == 1,
        "the last change is at the city",
    )?;

    let mut told = Told::default();
    told.happened(format!(
        "Ann's shift ends, and she logs out with {} unsent. Refused: {}. She synchronises, and \
         logs out: her token is forgotten, and her store locked.",
        count(waiting, "change"),
        device::quoted(Some(&refused.to_string()))
    ));
    told.on_the_screen(
        "How much would be left behind, and \"sync now\", \"keep for later\" or \"give up\".",
    );
    told.the_library(
        "Counted what has no outcome, in the same transaction that would have locked the store.",
    );
    told.without_it("Finding out on Monday what was on the phone on Friday.");
    told.fact("unsent", waiting);
    told.fact("left", left);
    Ok(told)
}

pub(super) fn user_switch(day: &mut Day) -> Result<Told, Failure> {
    let caras = day.site.token("cara", TOKEN_S)?;
    for token in [None, Some(caras.as_str())] {
        let opened = day.open("phone", "ann", token).map(drop);
        let code = opened.err().map(|failure| failure.code).unwrap_or_default();
        let words = format!("nobody opens Ann's store without her token: {code}");
        ensure(code == Code::SIGN_IN.as_str(), words)?;
    }
    let before = day.site.effects()?;
    let cara = day.open("phone", "cara", Some(&caras))?;
    let report = device::synced(&cara)?;
    ensure(
        report.pushed == 0 && day.site.effects()? == before,
        "nothing of Ann's was sent with Cara's token",
    )?;
    ensure(
        cara.store().changes()?.is_empty(),
        "Cara sees no change of Ann's",
    )?;
    let phone = day.folder.join("phone");
    let (anns, caras, both) = overlap(&phone.join("ann.afield"), &phone.join("cara.afield"))?;
    ensure(
        both == 0 && anns > 0 && caras > 0,
        format!("no row of Ann's is in Cara's store: {both} of {anns} and {caras}"),
    )?;
    day.cara = Some(cara);

    let mut told = Told::default();
    told.happened(format!(
        "Cara signs in on the same phone and loads her districts: {}. Ann's store lies beside hers \
         and opens with Ann's token alone: with none, and with Cara's, it is refused. Of Ann's {} \
         and Cara's {caras} none stands in both stores.",
        downloaded(&report),
        count(anns, "row")
    ));
    told.on_the_screen("Cara's districts, and nothing of Ann's.");
    told.the_library("One file for each user, and the server asked again whose rows are whose.");
    told.without_it("A wipe between two users, and with it Ann's drafts; or a leak.");
    told.fact("rows", report.pulled);
    told.fact("rows_of_ann", anns);
    told.fact("rows_of_cara", caras);
    told.fact("rows_in_both", both);
    Ok(told)
}

/// How many rows are in one store, in the other, and in both, by SQL on the files.
fn overlap(ann: &Path, cara: &Path) -> Result<(u64, u64, u64), Failure> {
    let read = || -> rusqlite::Result<(i64, i64, i64)> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let stores = Connection::open_with_flags(cara, flags)?;
        stores.execute("ATTACH ?1 AS ann", [ann.to_string_lossy()])?;
        let (mut anns, mut caras, mut both) = (0, 0, 0);
        let number = |sql: &str| stores.query_row(sql, [], |row| row.get::<_, i64>(0));
        for (table, key) in [
            ("business", "id"),
            ("contact", "id"),
            ("inspection", "id"),
            ("violation", "inspection_id, number"),
        ] {
            anns += number(&format!("SELECT count(*) FROM ann.{table}"))?;
            caras += number(&format!("SELECT count(*) FROM main.{table}"))?;
            let shared = format!("main.{table} JOIN ann.{table} USING ({key})");
            both += number(&format!("SELECT count(*) FROM {shared}"))?;
        }
        Ok((anns, caras, both))
    };
    let (anns, caras, both) = read().map_err(|error| sqlite(&error))?;
    Ok((
        anns.unsigned_abs(),
        caras.unsigned_abs(),
        both.unsigned_abs(),
    ))
}

const NEW_COLUMN: &str = "SELECT count(*) FROM pragma_table_info('inspection') \
                          WHERE name = 'follow_up_on'";

pub(super) fn model_upgrade(day: &mut Day) -> Result<Told, Failure> {
    let before = day.site.effects()?;
    let cara = day.cara.take().ok_or_else(|| closed("Cara"))?;
    let business = text(&cara.store(), "SELECT min(id) FROM business")?;
    cara.set_network(NetworkInfo::of(NetworkType::None))?;
    let found = [("D01", "minor", "Cleaning plan not filled in.")];
    let visit = device::visit(&mut cara.store(), &business, "On the way home.", &found)?;
    let waiting = device::pending(&cara)?;
    day.site.stop()?;
    day.network.leads_to(None);
    let report = device::attempt(&cara)?;
    ensure(
        !report.has_answered && device::pending(&cara)? == waiting && waiting == 2,
        format!("without a server {waiting} changes wait"),
    )?;
    day.site.upgrade()?;
    day.network.leads_to(Some(day.site.start(day.listen)?));
    cara.set_network(NetworkInfo::of(NetworkType::Wifi))?;
    let report = device::synced(&cara)?;
    ensure(
        report.model_changed && report.pushed == waiting,
        format!(
            "the phone takes the model and sends {waiting}: {}",
            report.pushed
        ),
    )?;
    let columns = text(&cara.store(), NEW_COLUMN)?;
    ensure(columns == "1", "the phone's table has the new column")?;
    fills_in(day, &cara, &visit)?;
    let effects = day.site.effects()? - before;
    ensure(
        effects == 3,
        format!("each change took effect once: {effects}"),
    )?;
    let mut told = upgrade(waiting, report.pulled, device::rows(&cara)?);
    told.fact("effects", effects);
    day.cara = Some(cara);
    Ok(told)
}

/// Cara uses what the new version brought.
fn fills_in(day: &Day, cara: &Client, visit: &str) -> Result<(), Failure> {
    let follow_up = row([("follow_up_on", "2026-12-08".into())]);
    let mut store = cara.store();
    store.update("inspection", &[visit.into()], &follow_up)?;
    drop(store);
    device::synced(cara)?;
    let sql = "SELECT follow_up_on FROM inspection WHERE id = ?1";
    let (here, there) = (
        one(&cara.store(), sql, visit)?,
        day.site.text(sql, [visit])?,
    );
    ensure(
        here == "2026-12-08" && there == here,
        format!("its value is on the phone and at the city: {here}, {there}"),
    )
}

fn upgrade(waiting: u64, received: u64, rows: u64) -> Told {
    let mut told = Told::default();
    told.happened(format!(
        "The team stops the server, adds a column `follow_up_on` to inspections, adds it to \
         afield.toml with `version = 2`, runs `afield prepare`, and starts the server again. \
         Cara's phone has {} waiting from before. Its next sync takes the new model and sends \
         them, both; then Cara fills in the new field, and the city has it.",
        count(waiting, "change")
    ));
    told.on_the_screen(
        "The new field, as soon as the app has one for it. Nobody is asked anything.",
    );
    told.the_library(format!(
        "Changed the tables on the phone in place, under rows and unsent changes that stay, and \
         loaded the inspections once more for their new column: {} of its {}.",
        received,
        count(rows, "row")
    ));
    told.without_it(
        "A migration in every version of the app, tried against every outbox there may be.",
    );
    told.fact("pending", waiting);
    told.fact("received", received);
    told
}

/// What a device's changes and outcomes came to.
#[derive(Default)]
struct Sum {
    outcomes: u64,
    applied: u64,
    conflicts: u64,
    rejected: u64,
    settled: u64,
    replaced: u64,
    rows: u64,
}

impl Sum {
    /// Adds a device, which must hold exactly the server's rows and have nothing that waits.
    fn add(&mut self, client: &Client) -> Result<(), Failure> {
        let user = client.user();
        device::synced(client)?;
        let report = client.verify(&VerifyOptions::default())?;
        let is_equal = report.verified.is_some_and(|verified| verified.equal);
        ensure(
            is_equal,
            format!("{user}'s device holds exactly the server's rows"),
        )?;
        let status = client.status()?;
        let waits = (status.pending, status.held, status.parked, status.conflicts);
        ensure(
            waits == (0, 0, 0, 0),
            format!("nothing of {user}'s waits: {waits:?}"),
        )?;
        let is_fresh = |unit: &UnitStatus| unit.is_up_to_date(now_ms(), status.freshness_ms);
        ensure(
            status.units.iter().all(is_fresh),
            format!("{user}'s device is up to date"),
        )?;
        let outcomes = client.store().outcomes(0)?;
        for outcome in &outcomes {
            self.outcomes += 1;
            match outcome.result {
                VerdictKind::Applied => self.applied += 1,
                VerdictKind::Conflict => self.conflicts += 1,
                VerdictKind::Rejected => self.rejected += 1,
            }
        }
        for change in client.store().changes()? {
            match change.state {
                ChangeState::Settled => {
                    self.settled += 1;
                    let of_it = outcomes.iter().filter(|it| it.change == change.change);
                    let applied = of_it.filter(|it| it.result == VerdictKind::Applied).count();
                    let words = format!("{} was applied once: {applied}", change.change);
                    ensure(applied == 1, words)?;
                }
                ChangeState::Dropped => self.replaced += 1,
                other => ensure(
                    false,
                    format!("{} is over: {}", change.change, other.as_str()),
                )?,
            }
        }
        self.rows += device::rows(client)?;
        Ok(())
    }
}

pub(super) fn the_end(day: &mut Day) -> Result<Told, Failure> {
    let ann = day.sign_in("phone", "ann")?;
    let mut sum = Sum::default();
    sum.add(&ann)?;
    sum.add(day.cara.as_ref().ok_or_else(|| closed("Cara"))?)?;
    sum.add(day.ben()?)?;
    let effects = day.site.effects()?;
    ensure(
        sum.settled + DESK == effects,
        format!(
            "each settled change is one write at the city: {} and {effects}",
            sum.settled
        ),
    )?;
    let inbox = inbox::entries(&day.site.model_args(), true)?;
    let open = inbox
        .iter()
        .filter(|it| it.state == InboxState::Open)
        .count();
    let untold = inbox
        .iter()
        .filter(|it| it.state == InboxState::Decided && !it.told)
        .count();
    ensure(
        open == 0 && untold == 0,
        format!("the inbox is closed: {open} open, {untold} not told"),
    )?;
    (day.ann, day.cara, day.ben) = (None, None, None);

    let mut told = Told::default();
    told.happened(format!(
        "Ann signs in once more; phone and tablet synchronise. Over the day {} came back: {} \
         applied, {} in conflict, {} refused. Those not applied were decided and sent again; what \
         stood before the decision is kept for reading ({}). {} settled, and the city's audit \
         counts {effects} writes, one of them the desk's. Nothing waits, nothing is parked, \
         nobody's inbox has an open entry.",
        count(sum.outcomes, "outcome"),
        sum.applied,
        sum.conflicts,
        sum.rejected,
        count(sum.replaced, "version"),
        count(sum.settled, "change"),
    ));
    told.on_the_screen("\"Everything sent. Up to date.\"");
    told.the_library(format!(
        "Compared the {} of all three stores with the server's, row by row (`verify`): equal.",
        count(sum.rows, "row")
    ));
    told.without_it("Nothing but hope that it has all arrived.");
    told.fact("outcomes", sum.outcomes);
    told.fact("applied", sum.applied);
    told.fact("conflicts", sum.conflicts);
    told.fact("rejected", sum.rejected);
    told.fact("settled", sum.settled);
    told.fact("replaced", sum.replaced);
    told.fact("effects", effects);
    told.fact("rows_verified", sum.rows);
    Ok(told)
}

//! On the road: connections die, answers get lost, a page pretends to be the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use afield::native::Client;
use afield::network::{Generation, NetworkInfo, NetworkType};

use super::super::ask::one;
use super::network::Fault;
use super::told::{Told, count};
use super::{Day, device, ensure};
use crate::failure::Failure;

/// Longest time in which nothing at all happens while something is expected.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What happens to the requests that synchronise, one after another; the next one gets through.
const FAULTS: [Fault; 6] = [
    Fault::LoseAnswer,
    Fault::LoseRequest,
    Fault::CutRequest(60),
    Fault::Portal,
    Fault::CutAnswer(240),
    Fault::LoseAnswer,
];

pub(super) fn poor_network(day: &mut Day) -> Result<Told, Failure> {
    let (ann, network) = (day.ann()?, &day.network);
    let (waiting, before) = (device::pending(ann)?, day.site.effects()?);
    network.is_away(false);
    nobody_is_fooled(day)?;
    network.suffers(&FAULTS);
    let corrected = day.desk_corrects()?;
    let counts = network.counts();
    let cellular = NetworkType::Cellular(Some(Generation::G2));
    ann.set_network(NetworkInfo::of(cellular))?;
    let mut events = ann.events();
    ann.start()?;
    while !is_through(ann, network.faults_left())? {
        ensure(events.next_within(PATIENCE).is_some(), "something happens")?;
    }
    ann.stop();
    device::synced(ann)?;
    let now = network.counts();
    let (requests, reached) = (now.requests - counts.requests, now.reached - counts.reached);
    ensure(
        corrected.load(Ordering::SeqCst),
        "the desk's change came between an answer and its repetition",
    )?;
    let effects = day.site.effects()? - before - DESK;
    ensure(
        effects == waiting,
        format!("each change took effect once: {effects} effects of {waiting}"),
    )?;
    let business = &day.places.business;
    let seats = (
        one(&ann.store(), SEATS, business)?,
        day.site.text(SEATS, [business])?,
    );
    let words = format!("what the desk wrote in between stands: {seats:?}");
    ensure(seats == (DESKS.to_owned(), DESKS.to_owned()), words)?;
    let is_online = ann.network().is_online == Some(true);
    ensure(is_online, "the server has answered")?;

    let faults: Vec<&str> = FAULTS.iter().map(|fault| fault.words()).collect();
    let mut told = Told::default();
    told.happened(format!(
        "There is a network, of a kind. One after another: {}. Ann does nothing about it. While \
         the first answer gets lost somebody at the desk corrects the seats that Ann has just \
         set, to {DESKS}. The phone asked {requests} times, {reached} of these reached the server \
         whole, and the city's own audit counts {} for {}: each exactly once. The desk's {DESKS} \
         stands.",
        faults.join("; "),
        count(effects, "write"),
        count(waiting, "change")
    ));
    told.on_the_screen(
        "\"Offline\", with what waits, until the server itself has answered; then \"all sent\". \
         A sign-in page is never called online.",
    );
    told.the_library(
        "Sent the same changes under the same random ids again, by itself and with growing \
         pauses. The server looked every id up, and repeated its answer instead of the work.",
    );
    told.without_it(
        "Retries, back-off, and an id for every call that the server remembers for good.",
    );
    told.fact("faults", FAULTS.len());
    told.fact("requests", requests);
    told.fact("reached_the_server", reached);
    told.fact("changes", waiting);
    told.fact("effects", effects);
    Ok(told)
}

/// What the desk makes of the seats.
const DESKS: &str = "139";

const SEATS: &str = "SELECT CAST(seats AS TEXT) FROM business WHERE id = ?1";

/// Writes of the desk's in the day, which the auditors see too.
pub(super) const DESK: u64 = 1;

/// In a hotel's network every request is answered, and none by the server.
fn nobody_is_fooled(day: &Day) -> Result<(), Failure> {
    let ann = day.ann()?;
    day.network.has_portal(true);
    ann.set_network(NetworkInfo::of(NetworkType::Wifi))?;
    let is_fooled = ann.probe()? || ann.network().is_online != Some(false);
    day.network.has_portal(false);
    ensure(!is_fooled, "a sign-in page is not taken for the server")
}

impl Day {
    /// When an answer gets lost after Ann's seats are at the city, the desk corrects them. Without
    /// the server's memory of what it has done, the repetition would overwrite that.
    fn desk_corrects(&self) -> Result<Arc<AtomicBool>, Failure> {
        let (desk, business) = (self.site.desk()?, self.places.business.clone());
        let is_done = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_done);
        self.network.meanwhile(move || {
            let sql = "UPDATE business SET seats = ?1 WHERE id = ?2 AND seats = 140";
            let written = desk.execute(sql, [DESKS, &business]);
            done.store(written == Ok(1), Ordering::SeqCst);
        });
        Ok(is_done)
    }
}

/// Whether everything is sent, through all the faults.
fn is_through(ann: &Client, faults_left: usize) -> Result<bool, Failure> {
    Ok(faults_left == 0 && device::pending(ann)? == 0)
}

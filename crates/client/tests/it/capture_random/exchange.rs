//! Requests, answers and what becomes of them: the engine's moments, with a network that loses,
//! delays and reorders.

use afield::protocol::{GroupId, GroupOutcome, Page as WirePage, PageEnd, Verdict};
use afield::{PageApplied, RequestCaps};
use fastrand::Rng;

use super::check::same_as_sent;
use super::device::{Mentions, Page};
use super::run::{Answer, Flight, World};
use super::server::frames;
use crate::world::decode;

impl World<'_> {
    pub(super) fn request(&mut self, groups_max: usize) -> Result<(), String> {
        let now = self.snapshot();
        let sync = &mut self.syncs[self.rng.usize(..2)];
        let groups = if self.rng.bool() {
            groups_max
        } else {
            self.rng.usize(1..4).min(groups_max)
        };
        let caps = RequestCaps {
            groups,
            ..RequestCaps::default()
        };
        let unit = (self.rng.u32(..6) > 0).then_some("main");
        let outgoing = sync
            .next_request(unit, true, caps)
            .map_err(|e| e.to_string())?;
        self.device.seal(&now, &Mentions::new());
        self.device.newest_request += 1;
        let sent: Vec<_> = outgoing.groups.iter().map(|group| group.id).collect();
        self.log
            .push(format!("request {} with {sent:?}", outgoing.request));
        if outgoing.request != self.device.newest_request {
            return Err(format!("request {}", outgoing.request));
        }
        self.check()?;
        self.check_choice(&sent, groups)?;
        let mut decoded = Vec::new();
        for frozen in &outgoing.groups {
            let group = decode(self.model, &frozen.bytes);
            let expected = self
                .device
                .groups
                .iter()
                .find(|known| known.id == Some(frozen.id));
            let expected = expected.ok_or("a group that the outbox does not have")?;
            // What was sent before is compared by its bytes: its rows may have other names now.
            if expected.bytes.is_none() {
                same_as_sent(expected, &group)?;
                self.device.origins(&group)?;
            }
            self.device.sent(frozen.id, &frozen.bytes)?;
            decoded.push(group);
        }
        let mut pull = Vec::new();
        for (entity, position) in outgoing.pull {
            let position = position.map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
            if position != self.device.standings[&entity].newest() {
                return Err(format!("{entity} is pulled from {position:?}"));
            }
            pull.push((entity, position));
        }
        self.flights.push(Flight {
            request: outgoing.request,
            groups: decoded,
            pull,
            answer: None,
        });
        self.visible()
    }

    /// Groups go in order and none is left out, unless something is parked that holds it.
    fn check_choice(&self, sent: &[GroupId], caps: usize) -> Result<(), String> {
        let mut waiting = self.device.sendable().filter_map(|group| group.id);
        let exact: Vec<GroupId> = self
            .device
            .sendable()
            .filter_map(|g| g.id)
            .take(caps)
            .collect();
        let in_order = sent.iter().all(|id| waiting.any(|waiting| waiting == *id));
        if !in_order || !self.device.any_parked() && sent != exact {
            return Err(format!("sent {sent:?}, expected {exact:?}"));
        }
        Ok(())
    }

    /// The server takes one request: first its groups, then a snapshot for its rows.
    pub(super) fn process(&mut self) {
        let waiting = self
            .flights
            .iter_mut()
            .filter(|flight| flight.answer.is_none());
        let mut waiting: Vec<_> = waiting.collect();
        if waiting.is_empty() {
            return;
        }
        let at = self.rng.usize(..waiting.len());
        let flight = &mut *waiting[at];
        self.log
            .push(format!("server takes request {}", flight.request));
        let mut quiet = Rng::with_seed(0);
        let mut outcomes = Vec::new();
        for group in &flight.groups {
            // Without faults the server refuses nothing of its own accord.
            let rng = if self.faults {
                &mut self.rng
            } else {
                &mut quiet
            };
            outcomes.push((group.id, self.server.push(self.model, group, rng)));
        }
        let pages = match flight.pull.is_empty() {
            true => Vec::new(),
            false => self
                .server
                .pages(flight.request, &flight.pull, &mut self.rng),
        };
        flight.answer = Some(Answer {
            outcomes: Some(outcomes),
            pages: pages.into(),
        });
    }

    /// One part of one answer arrives, or the connection dies.
    pub(super) fn deliver(&mut self) -> Result<(), String> {
        let answered = |flight: &Flight| flight.answer.is_some();
        let ready: Vec<_> = (0..self.flights.len())
            .filter(|at| answered(&self.flights[*at]))
            .collect();
        let Some(at) = (!ready.is_empty()).then(|| ready[self.rng.usize(..ready.len())]) else {
            return Ok(());
        };
        if self.rng.u32(..10) == 0 {
            let flight = self.flights.remove(at);
            self.log
                .push(format!("the answer to {} is lost", flight.request));
            return Ok(());
        }
        self.deliver_part(at)
    }

    pub(super) fn deliver_part(&mut self, at: usize) -> Result<(), String> {
        let request = self.flights[at].request;
        let Some(answer) = &mut self.flights[at].answer else {
            return Ok(());
        };
        if let Some(outcomes) = answer.outcomes.take() {
            return self.outcomes(request, &outcomes);
        }
        match answer.pages.pop_front() {
            Some(page) => self.page(&page),
            None => {
                self.flights.remove(at);
                Ok(())
            }
        }
    }

    fn outcomes(
        &mut self,
        request: i64,
        outcomes: &[(GroupId, Vec<Verdict>)],
    ) -> Result<(), String> {
        let now = self.snapshot();
        let wire: Vec<_> = outcomes
            .iter()
            .map(|(group, verdicts)| GroupOutcome {
                group: *group,
                verdicts: verdicts.clone(),
            })
            .collect();
        let sync = &mut self.syncs[self.rng.usize(..2)];
        sync.store_outcomes(request, &wire)
            .map_err(|e| e.to_string())?;
        self.device.seal(&now, &Mentions::new());
        let stored: Vec<_> = outcomes
            .iter()
            .map(|(id, v)| (id, v.iter().map(|v| v.kind)))
            .collect();
        let stored: Vec<_> = stored
            .into_iter()
            .map(|(id, v)| (id, v.collect::<Vec<_>>()))
            .collect();
        self.log.push(format!("outcomes of {request}: {stored:?}"));
        for (group, verdicts) in outcomes {
            self.device.outcome(request, *group, verdicts);
        }
        self.device.rename();
        self.visible()
    }

    fn page(&mut self, page: &Page) -> Result<(), String> {
        let now = self.snapshot();
        let bytes = |at: u64| at.to_be_bytes().to_vec();
        let wire = WirePage {
            from: page
                .entities
                .iter()
                .map(|(e, from, _)| (e.clone(), from.map(bytes)))
                .collect(),
            reset: page.reset.clone(),
        };
        let end = PageEnd {
            to: page
                .entities
                .iter()
                .map(|(e, _, to)| (e.clone(), bytes(*to)))
                .collect(),
            complete: page.complete,
            remaining: None,
        };
        let content = frames(self.model, page);
        let sync = &mut self.syncs[self.rng.usize(..2)];
        let done = sync
            .apply_page(page.request, &wire, &content, &end)
            .map_err(|e| e.to_string())?;
        self.device.seal(&now, &Mentions::new());
        let (request, complete) = (page.request, page.complete);
        let reset = &page.reset;
        self.log.push(format!(
            "page of {request}, complete {complete}, reset {reset:?}: {done:?}"
        ));
        let standing = |entity: &String| self.device.standings[entity].newest();
        let fits = page
            .entities
            .iter()
            .all(|(entity, from, _)| standing(entity) == *from);
        if fits == (done == PageApplied::Overtaken) {
            return Err(format!("the page fits: {fits}"));
        }
        if fits {
            self.device.page(page);
        }
        self.visible()
    }
}

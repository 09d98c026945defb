//! One request and its streamed answer.

use afield_protocol::codec::{Format, FrameReader, Malformed};
use afield_protocol::{
    Checkpoint, Closed, Code, Decided, Frame, GroupId, GroupOutcome, Hello, Model,
    PROTOCOL_VERSION, Page, Problem,
};

use super::course::to_come;
use super::report::Report;
use super::verify::Asked;
use crate::error::Error;
use crate::store::{Found, Offer, Outgoing, PageApplied, Repaired, SyncStore};

/// Where an exchange stands.
pub(super) struct Exchange {
    request: i64,
    /// The groups that were sent.
    pub(super) groups: Vec<GroupId>,
    /// The group of which a piece was sent, and the bytes of it that the server had before.
    pub(super) part: Option<(GroupId, u32)>,
    /// Bytes of the largest thing that was sent: a group or a piece.
    pub(super) largest: usize,
    /// Whether more groups wait for the next exchange.
    pub(super) more: bool,
    /// Whether rows were asked for.
    pub(super) pulled: bool,
    /// Whether anything of the answer was stored.
    pub(super) progressed: bool,
    reader: FrameReader,
    welcomed: bool,
    outcomes: Vec<GroupOutcome>,
    page: Option<(Page, Vec<Frame>)>,
    /// What the server is told of groups that it refused.
    closed: Vec<Closed>,
    /// The number of the newest entry of the log that it carries; 0 if there is none.
    logged: i64,
    /// What was offered of the history, if that is what the request is about.
    pub(super) offered: Option<Offered>,
    /// What the server says is lost of it, until its checkpoint comes.
    lost: Option<Vec<GroupId>>,
    /// What is asked besides the pull.
    pub(super) asked: Asked,
    /// What the page at hand answers to that.
    answers: Vec<Frame>,
    /// What came of it, once the page is complete.
    pub(super) found: Vec<Found>,
    /// What became of rows that were asked for.
    pub(super) repaired: Repaired,
    complete: bool,
    ended: bool,
}

/// A piece of the history.
#[derive(Clone, Copy)]
pub(super) struct Offered {
    /// The place of its last group in the outbox.
    pub(super) last: i64,
    /// Whether there is more.
    pub(super) more: bool,
}

/// What a frame led to.
pub(super) enum Step {
    /// Read on.
    Continue,
    /// Something was stored; read on.
    Progressed,
    /// A page was stored; read on.
    Paged,
    /// The answer is whole.
    Ended,
    /// Another sync of this store was faster.
    Overtaken,
    /// The server cannot go on.
    Problem(Problem),
}

impl Exchange {
    /// Begins an exchange; gives the request's body.
    pub(super) fn begin(
        model: &Model,
        unit: &str,
        outgoing: Outgoing,
        asked: Asked,
    ) -> (Self, Vec<u8>) {
        let pulled = !outgoing.pull.is_empty();
        let hello = Frame::Hello(Hello {
            protocol: PROTOCOL_VERSION,
            model: outgoing.fingerprint,
            device: outgoing.device,
            unit: unit.to_owned(),
            pull: outgoing.pull,
            checkpoints: outgoing.checkpoints,
        });
        let mut body = Vec::new();
        Format::Cbor.write(model, &hello, &mut body);
        for held in outgoing.held {
            Format::Cbor.write(model, &Frame::Held(held), &mut body);
        }
        for chosen in outgoing.chosen {
            Format::Cbor.write(model, &Frame::Chosen(chosen), &mut body);
        }
        for ask in &asked.verify {
            Format::Cbor.write(model, &Frame::Verify(ask.clone()), &mut body);
        }
        for ask in &asked.fetch {
            Format::Cbor.write(model, &Frame::Fetch(ask.clone()), &mut body);
        }
        if !outgoing.closed.is_empty() {
            let groups = outgoing.closed.clone();
            Format::Cbor.write(model, &Frame::Closed { groups }, &mut body);
        }
        for group in &outgoing.groups {
            body.extend_from_slice(&group.bytes);
        }
        let mut largest = outgoing.groups.iter().map(|group| group.bytes.len()).max();
        let mut part = None;
        if let Some(piece) = outgoing.part {
            part = Some((piece.group, piece.at));
            largest = largest.max(Some(piece.bytes.len()));
            Format::Cbor.write(model, &Frame::Part(piece), &mut body);
        }
        let logged = outgoing.log.last().map_or(0, |entry| entry.n);
        if !outgoing.log.is_empty() {
            let entries = outgoing.log;
            Format::Cbor.write(model, &Frame::Log { entries }, &mut body);
        }
        Format::Cbor.write(model, &Frame::End, &mut body);
        let exchange = Self {
            groups: outgoing.groups.iter().map(|group| group.id).collect(),
            part,
            largest: largest.unwrap_or(0),
            more: outgoing.more,
            pulled,
            complete: !pulled,
            closed: outgoing.closed,
            logged,
            asked,
            ..Self::new(outgoing.request)
        };
        (exchange, body)
    }

    /// Begins one that tells the server what was settled.
    pub(super) fn offer(model: &Model, offer: Offer) -> (Self, Vec<u8>) {
        let hello = Frame::Hello(Hello {
            protocol: PROTOCOL_VERSION,
            model: offer.fingerprint,
            device: offer.device,
            unit: String::new(),
            pull: Vec::new(),
            checkpoints: offer.checkpoints,
        });
        let history = offer.history.into_iter().map(Frame::History);
        let mut body = Vec::new();
        for frame in std::iter::once(hello).chain(history).chain([Frame::End]) {
            Format::Cbor.write(model, &frame, &mut body);
        }
        let (last, more) = (offer.last, offer.more);
        let exchange = Self {
            offered: Some(Offered { last, more }),
            ..Self::new(0)
        };
        (exchange, body)
    }

    fn new(request: i64) -> Self {
        Self {
            request,
            groups: Vec::new(),
            part: None,
            largest: 0,
            more: false,
            pulled: false,
            progressed: false,
            reader: FrameReader::new(Format::Cbor),
            welcomed: false,
            outcomes: Vec::new(),
            page: None,
            closed: Vec::new(),
            logged: 0,
            offered: None,
            lost: None,
            asked: Asked::default(),
            answers: Vec::new(),
            found: Vec::new(),
            repaired: Repaired::default(),
            complete: true,
            ended: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    pub(super) fn frame(&mut self, model: &Model) -> Result<Option<Frame>, Malformed> {
        self.reader.next(model)
    }

    /// Whether the server was told of groups that it had refused: one of an earlier version does
    /// not understand that, and is asked again without.
    pub(super) fn tells_of_refused(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Whether it carries entries of the log: where these may be the trouble it goes without.
    pub(super) fn carries_log(&self) -> bool {
        self.logged > 0
    }

    /// Whether the answer came to its proper end.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes one frame of the answer, in the order that the protocol allows.
    pub(super) fn take(
        &mut self,
        store: &mut SyncStore,
        frame: Frame,
        report: &mut Report,
    ) -> Result<Step, Error> {
        if self.ended || !self.welcomed && !matches!(frame, Frame::Welcome(_) | Frame::Problem(_)) {
            return Err(out_of_order());
        }
        if !is_last(&frame) && self.page.is_some() {
            return self.take_page(store, frame, report);
        }
        match frame {
            Frame::Welcome(welcome) if !self.welcomed => {
                if welcome.protocol != PROTOCOL_VERSION {
                    let message = format!("the server speaks version {}", welcome.protocol);
                    return Err(Error::new(Code::PROTOCOL_VERSION, message));
                }
                self.welcomed = true;
                Ok(Step::Continue)
            }
            Frame::Outcome(outcome) => {
                self.outcomes.push(outcome);
                Ok(Step::Continue)
            }
            Frame::Received(received) => match self.part {
                Some((group, before)) if group == received.group => {
                    store.received(received)?;
                    self.progressed |= received.bytes > before;
                    Ok(Step::Continue)
                }
                _ => Err(out_of_order()),
            },
            Frame::Lost { groups } if self.offered.is_some() && self.lost.is_none() => {
                self.lost = Some(groups);
                Ok(Step::Continue)
            }
            Frame::Settled { checkpoint } => match self.offered {
                Some(offered) => self.lose(store, offered, &checkpoint, report),
                None => {
                    store.reached(checkpoint);
                    let told = std::mem::take(&mut self.closed);
                    if !told.is_empty() {
                        store.closings_told(&told)?;
                    }
                    self.settle(store, report)
                }
            },
            Frame::Inbox { decided } if self.offered.is_none() => {
                self.decided(store, &decided, report)
            }
            Frame::Logged { to } if self.offered.is_none() => {
                store.logged(to.min(self.logged))?;
                Ok(Step::Continue)
            }
            Frame::Page(page) => {
                self.page = Some((page, Vec::new()));
                Ok(Step::Continue)
            }
            Frame::End if self.complete && self.outcomes.is_empty() && self.lost.is_none() => {
                self.ended = true;
                Ok(Step::Ended)
            }
            Frame::Problem(problem) => Ok(Step::Problem(problem)),
            _ => Err(out_of_order()),
        }
    }

    fn settle(&mut self, store: &mut SyncStore, report: &mut Report) -> Result<Step, Error> {
        let outcomes = std::mem::take(&mut self.outcomes);
        if outcomes.is_empty() {
            return Ok(Step::Continue);
        }
        report
            .outcomes
            .extend(store.store_outcomes(self.request, &outcomes)?);
        self.progressed = true;
        Ok(Step::Progressed)
    }

    /// Stores what was decided on the server. Its rows come with the pages behind it.
    fn decided(
        &mut self,
        store: &mut SyncStore,
        decided: &[Decided],
        report: &mut Report,
    ) -> Result<Step, Error> {
        let outcomes = store.store_decided(self.request, decided)?;
        if decided.is_empty() {
            return Ok(Step::Continue);
        }
        report.outcomes.extend(outcomes);
        self.progressed = true;
        Ok(Step::Progressed)
    }

    /// Stores what is lost; with the last piece of the history, that the device is of this one now.
    fn lose(
        &mut self,
        store: &mut SyncStore,
        offered: Offered,
        checkpoint: &Checkpoint,
        report: &mut Report,
    ) -> Result<Step, Error> {
        let Some(lost) = self.lost.take() else {
            return Err(out_of_order());
        };
        let reached = Some(checkpoint).filter(|_| !offered.more);
        report.outcomes.extend(store.store_lost(&lost, reached)?);
        self.progressed = true;
        Ok(Step::Progressed)
    }

    fn take_page(
        &mut self,
        store: &mut SyncStore,
        frame: Frame,
        report: &mut Report,
    ) -> Result<Step, Error> {
        let Some((page, content)) = &mut self.page else {
            return Err(out_of_order());
        };
        let end = match frame {
            Frame::PageEnd(end) => end,
            Frame::Digest(_) | Frame::Hashes(_) => {
                self.answers.push(frame);
                return Ok(Step::Continue);
            }
            frame => {
                content.push(frame);
                return Ok(Step::Continue);
            }
        };
        let applied = match self.asked.fetch.is_empty() {
            true => store.apply_page(self.request, page, content, &end)?,
            false => {
                let page = (&*page, content.as_slice(), &end);
                let (applied, repaired) =
                    store.repair_page(self.request, page, &self.asked.fetch)?;
                report.repaired.extend(repaired.rows.iter().cloned());
                self.repaired = repaired;
                applied
            }
        };
        let answers = std::mem::take(&mut self.answers);
        if end.complete && !self.asked.verify.is_empty() {
            let window = |frame: &Frame| match frame {
                Frame::Window(window) => Some(window.clone()),
                _ => None,
            };
            let windows: Vec<_> = content.iter().filter_map(window).collect();
            // None if another sync was faster, with this page too.
            let found = store.compare(&end, &windows, &self.asked.buckets(), &answers)?;
            let Some(found) = found else {
                return Ok(Step::Overtaken);
            };
            self.found = found;
        }
        self.page = None;
        let (PageApplied::Applied { rows } | PageApplied::Staged { rows }) = applied else {
            return Ok(Step::Overtaken);
        };
        report.pulled += rows;
        report.has_begun |= !end.complete && end.remaining.is_some();
        report.remaining = to_come(report.remaining, &end, rows);
        self.complete = end.complete;
        self.progressed = true;
        Ok(Step::Paged)
    }
}

fn out_of_order() -> Error {
    Error::new(
        Code::MALFORMED,
        "the messages of the answer are out of order",
    )
}

/// A frame that ends an answer.
fn is_last(frame: &Frame) -> bool {
    matches!(frame, Frame::End | Frame::Problem(_))
}

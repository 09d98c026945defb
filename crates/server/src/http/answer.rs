//! A sync's answer, made piece by piece: the next page is read only when the device has room for
//! it, so a slow one holds neither a snapshot nor more than a page of memory.

use afield_protocol::codec::Format;
use afield_protocol::limits::PAGE_BYTES_FIRST;
use afield_protocol::{
    Checkpoint, Chosen, Code, Decided, Frame, GroupId, GroupOutcome, Held, Hello, PROTOCOL_VERSION,
    PageEnd, Position, Problem, Received, Welcome,
};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::ServerState;
use super::body::Piece;
use super::coding::{Coding, Packer};
use super::observe::Observed;
use super::problem::storage_problem;
use crate::storage::{Caller, Compare, PullRequest, StorageError};

/// Bytes handed to the connection at once: small enough that the time one takes says whether the
/// device still reads.
const PIECE_BYTES: usize = 16 * 1024;

/// Entities with the positions they continue from.
type Positions = Vec<(String, Option<Position>)>;

/// An answer in the making.
pub(super) struct Answer {
    server: ServerState,
    caller: Caller,
    held: Vec<Held>,
    chosen: Vec<Chosen>,
    compare: Compare,
    format: Format,
    packer: Option<Packer>,
    seen: Observed,
    /// What is still to be pulled; `None` when nothing is.
    pull: Option<Positions>,
    /// What the device was told of this database before, if the first page is to say whether that
    /// is in its history.
    told: Vec<Checkpoint>,
    is_of_other_history: bool,
    /// What was decided about groups of the device, if it asks.
    decided: Option<Vec<Decided>>,
    /// What is kept of the device's log, if it is told.
    logged: Option<i64>,
    /// Bytes of pages so far.
    carried: usize,
    /// Why nothing can be pulled.
    problem: Option<Problem>,
    is_ended: bool,
}

impl Answer {
    pub(super) fn new(
        server: ServerState,
        caller: Caller,
        asked: (Hello, Vec<Held>, Vec<Chosen>, Compare),
        (format, packing): (Format, Coding),
        seen: Observed,
    ) -> Self {
        let (hello, held, chosen, compare) = asked;
        let problem = pull_problem(&server, &hello);
        Self {
            server,
            caller,
            held,
            chosen,
            compare,
            format,
            packer: Some(Packer::new(packing)),
            seen,
            pull: Some(hello.pull).filter(|pull| !pull.is_empty()),
            told: Vec::new(),
            is_of_other_history: false,
            decided: None,
            logged: None,
            carried: 0,
            problem,
            is_ended: false,
        }
    }

    /// Whether the first step reads a page.
    pub(super) fn begins_with_page(&self) -> bool {
        self.problem.is_none() && self.pull.is_some()
    }

    /// Has the first page say whether the database knows what the device was told before.
    pub(super) fn knows(&mut self, told: Vec<Checkpoint>) {
        self.told = told;
    }

    /// Whether the first page said that it does not.
    pub(super) fn is_of_other_history(&self) -> bool {
        self.is_of_other_history
    }

    /// Has the device told what was decided about groups of its that were refused.
    pub(super) fn decided(&mut self, decided: Vec<Decided>) {
        self.decided = Some(decided);
    }

    /// Has the device told up to which entry its log is kept.
    pub(super) fn logged(&mut self, to: Option<i64>) {
        self.logged = to;
    }

    /// Welcome, the outcomes, what came of a large group, settled, what was decided, and what is
    /// kept of the log.
    pub(super) fn outcomes(
        &mut self,
        outcomes: Vec<GroupOutcome>,
        received: Option<Received>,
    ) -> Vec<u8> {
        let outcomes = outcomes.into_iter().map(Frame::Outcome);
        let inbox = self.decided.take().map(|decided| Frame::Inbox { decided });
        let frames = std::iter::once(self.welcome())
            .chain(outcomes)
            .chain(received.map(Frame::Received))
            .chain([self.settled()])
            .chain(inbox)
            .chain(self.logged.take().map(|to| Frame::Logged { to }));
        self.encode(frames)
    }

    /// Welcome, and that this is another history than the device's.
    pub(super) fn history_wanted(&mut self) -> Vec<u8> {
        let problem = Frame::Problem(Problem {
            code: Code::HISTORY_WANTED,
            message: "this database was set back, or is a copy: offer what was settled".to_owned(),
        });
        self.is_ended = true;
        self.encode([self.welcome(), problem])
    }

    /// Welcome, which groups are lost, settled.
    pub(super) fn lost(&mut self, groups: Vec<GroupId>) -> Vec<u8> {
        self.is_ended = true;
        let lost = Frame::Lost { groups };
        self.encode([self.welcome(), lost, self.settled(), Frame::End])
    }

    fn welcome(&self) -> Frame {
        Frame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            epoch: self.server.0.storage.epoch(),
        })
    }

    fn settled(&self) -> Frame {
        Frame::Settled {
            checkpoint: self.server.0.storage.checkpoint(),
        }
    }

    /// The next page, or what closes the answer.
    pub(super) async fn step(&mut self) -> Result<Vec<u8>, StorageError> {
        let close = match (self.problem.take(), self.pull.take()) {
            (Some(problem), _) => Frame::Problem(problem),
            (None, None) => Frame::End,
            // Outcomes of this request stand, so that no status can say it.
            (None, Some(positions)) => match self.page(positions).await {
                Err(error) if error.code == Code::HELD_WANTED => Frame::Problem(Problem {
                    code: error.code,
                    message: error.message,
                }),
                page => return page,
            },
        };
        self.is_ended = true;
        Ok(self.encode([close]))
    }

    /// Sends `opening` and all that follows. Ends early when the device is gone or stops reading.
    pub(super) async fn send(&mut self, opening: Vec<u8>, to: &mpsc::Sender<Piece>) {
        let mut next = opening;
        loop {
            let Some(packed) = self.pack(next).await else {
                return;
            };
            if !self.send_pieces(packed.into(), to).await {
                return;
            }
            if self.is_ended {
                let _ = to.send(Piece::End).await;
                return;
            }
            next = match self.step().await {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.is_ended = true;
                    self.encode([Frame::Problem(storage_problem(&error))])
                }
            };
        }
    }

    /// Packs the next bytes, where that holds up nobody else. `None` breaks the answer off.
    async fn pack(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let (mut packer, is_last) = (self.packer.take()?, self.is_ended);
        if matches!(packer, Packer::Identity) {
            self.packer = Some(packer);
            return Some(bytes);
        }
        let work = move || (packer.pack(bytes, is_last), packer);
        let (packed, packer) = tokio::task::spawn_blocking(work).await.ok()?;
        self.packer = Some(packer);
        packed.ok()
    }

    async fn send_pieces(&self, mut bytes: Bytes, to: &mpsc::Sender<Piece>) -> bool {
        while !bytes.is_empty() {
            let piece = Piece::Bytes(bytes.split_to(bytes.len().min(PIECE_BYTES)));
            let sent = tokio::time::timeout(self.server.0.limits.stall, to.send(piece)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return false;
            }
        }
        true
    }

    async fn page(&mut self, positions: Positions) -> Result<Vec<u8>, StorageError> {
        let limits = &self.server.0.limits;
        let request = PullRequest {
            caller: self.caller.clone(),
            held: self.held.clone(),
            now: (self.server.0.clock)(),
            chosen: self.chosen.clone(),
            entities: positions,
            rows_max: limits.page_rows,
            bytes_max: (self.carried / 4)
                .max(PAGE_BYTES_FIRST)
                .min(limits.page_bytes),
            compare: self.compare.clone(),
        };
        let (format, told) = (self.format, std::mem::take(&mut self.told));
        let page = self.server.blocking(move |inner| {
            let (storage, model) = (&inner.storage, &inner.model);
            let page = storage.pull(model, &request);
            for told in &told {
                let is_known = match page {
                    Ok(_) => storage.knows_as_read(told)?,
                    Err(_) => storage.knows(told)?,
                };
                if !is_known {
                    return Ok(None);
                }
            }
            let page = page?;
            let held = page.held;
            if page.end.complete {
                inner.live.pulled(&request.caller, &held);
            }
            let next = following(&request.entities, page.end)?;
            let rows = page.frames.iter().map(rows_in).sum();
            let mut bytes = Vec::new();
            page.frames
                .iter()
                .for_each(|f| format.write(&inner.model.device, f, &mut bytes));
            Ok(Some((bytes, rows, next, held)))
        });
        let page: Option<(_, usize, _, _)> = page.await?;
        let Some((bytes, rows, next, held)) = page else {
            self.is_of_other_history = true;
            return Ok(self.history_wanted());
        };
        // The next page goes on from here, whatever the storage remembers.
        self.held = held;
        self.seen.add_rows(rows);
        self.carried += bytes.len();
        self.pull = next;
        Ok(bytes)
    }

    fn encode(&self, frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let model = &self.server.0.model.device;
        frames
            .into_iter()
            .for_each(|frame| self.format.write(model, &frame, &mut bytes));
        bytes
    }
}

/// Why this device gets outcomes but no rows.
fn pull_problem(server: &ServerState, hello: &Hello) -> Option<Problem> {
    let inner = &server.0;
    if hello.model != inner.fingerprint {
        return Some(Problem {
            code: Code::MODEL_CHANGED,
            message: "the model has changed; fetch it again".to_owned(),
        });
    }
    let unknown = hello
        .pull
        .iter()
        .find(|(name, _)| inner.model.entity(name).is_none());
    unknown.map(|(name, _)| Problem {
        code: Code::UNKNOWN_ENTITY,
        message: format!("the server has no entity `{}`", name.escape_debug()),
    })
}

/// The positions the next page continues from; `None` if this one was complete. A page that
/// leads nowhere would be asked for for ever.
fn following(
    from: &[(String, Option<Position>)],
    end: PageEnd,
) -> Result<Option<Positions>, StorageError> {
    if end.complete {
        return Ok(None);
    }
    let next: Vec<_> = end
        .to
        .into_iter()
        .map(|(name, to)| (name, Some(to)))
        .collect();
    if next.as_slice() == from {
        return Err(StorageError {
            code: Code::INTERNAL,
            message: "a page that is not complete left all positions as they were".to_owned(),
            is_retryable: false,
        });
    }
    Ok(Some(next))
}

fn rows_in(frame: &Frame) -> usize {
    match frame {
        Frame::Rows(block) => block.count,
        Frame::Gone { keys, .. } => keys.len(),
        _ => 0,
    }
}

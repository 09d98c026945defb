//! A sync's request: its headers, then hello, groups and end from the body, as they come.

use std::collections::HashSet;
use std::sync::Arc;

use afield_protocol::codec::{Format, FrameReader, Malformed};
use afield_protocol::limits::{CHOSEN_VALUE_BYTES, CHOSEN_VALUES_MAX, GROUP_BYTES_MAX};
use afield_protocol::{
    Change, Chosen, Closed, Code, Frame, Group, Held, Hello, History, INBOX_HEADER, LOG_HEADER,
    LogEntry, Model, PROTOCOL_VERSION, Part, Value,
};
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Refusal;
use super::{HttpLimits, compare};
use crate::storage::Compare;

/// Bytes that a change takes in memory before it has any value.
const CHANGE_BYTES: usize = 128;

/// Bytes that a value with its name takes in memory beside what it holds.
const VALUE_BYTES: usize = 64;

/// Checkpoints of one device: it has several only where its syncs were answered side by side.
const CHECKPOINTS_MAX: usize = 64;

/// What a device asks for.
#[derive(Debug)]
pub(super) struct SyncRequest {
    pub(super) hello: Hello,
    /// The values of its scopes that the device has rows of, where it says so.
    pub(super) held: Vec<Held>,
    /// The values of scopes that the app chose.
    pub(super) chosen: Vec<Chosen>,
    /// What the device compares.
    pub(super) compare: Compare,
    /// What became on the device of groups that were refused.
    pub(super) closed: Vec<Closed>,
    pub(super) groups: Vec<Group>,
    /// A piece of a large group.
    pub(super) part: Option<Part>,
    /// Entries of the device's log, if it sends any.
    pub(super) log: Option<Vec<LogEntry>>,
    /// Groups that the device knows to be settled; then it asks for nothing else.
    pub(super) history: Vec<History>,
    /// What it takes of the memory for requests, until it is dropped.
    pub(super) room: Room,
}

/// The format of the body; CBOR unless the request says otherwise.
pub(super) fn content_format(headers: &HeaderMap) -> Result<Format, Refusal> {
    let unsupported =
        |message: &str| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::MALFORMED, message);
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Format::default());
    };
    value.to_str().ok().and_then(format_of).ok_or_else(|| {
        unsupported("the Content-Type must be application/cbor-seq or application/jsonl")
    })
}

/// The format of the answer: the first that `Accept` names, CBOR if it takes anything.
pub(super) fn accepted_format(headers: &HeaderMap) -> Result<Format, Refusal> {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return Ok(Format::default());
    }
    let named = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','));
    named.map(str::trim).find_map(any_or_format).ok_or_else(|| {
        let message = "Accept must name application/cbor-seq or application/jsonl";
        Refusal::new(StatusCode::NOT_ACCEPTABLE, Code::MALFORMED, message)
    })
}

fn any_or_format(name: &str) -> Option<Format> {
    match name.split(';').next().unwrap_or_default().trim() {
        "*/*" | "application/*" => Some(Format::default()),
        _ => format_of(name),
    }
}

fn format_of(media_type: &str) -> Option<Format> {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    [Format::Cbor, Format::JsonLines]
        .into_iter()
        .find(|format| format.media_type().eq_ignore_ascii_case(essence))
}

/// Whether the device asks what was decided about groups that it refused.
pub(super) fn asks_inbox(headers: &HeaderMap) -> bool {
    headers.get(INBOX_HEADER).is_some_and(|it| it == "1")
}

/// Whether the device asks if its log is taken.
pub(super) fn asks_log(headers: &HeaderMap) -> bool {
    headers.get(LOG_HEADER).is_some_and(|it| it == "1")
}

pub(super) fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, Code::MALFORMED, message)
}

/// What the codec says of bytes that it does not take.
pub(super) fn unreadable(error: &Malformed) -> Refusal {
    let (code, message) = (error.code(), error.to_string());
    match [Code::TOO_LARGE, Code::GROUP_TOO_LARGE].contains(&code) {
        true => too_much(code, message),
        false => Refusal::new(StatusCode::BAD_REQUEST, code, message),
    }
}

fn too_much(code: Code, message: String) -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, code, message)
}

/// A share of the memory for requests that grows as a body comes.
#[derive(Debug, Default)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    pub(super) fn take(&mut self, of: &Arc<Semaphore>, bytes: usize) -> Result<(), Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::busy())?;
        let more = Arc::clone(of).try_acquire_many_owned(bytes);
        let more = more.map_err(|_| Refusal::busy())?;
        match &mut self.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// Puts frames together in their only order: hello, held and chosen and what is compared, what is
/// closed, groups, a part, a log, end; or hello, history, end.
pub(super) struct Decoder {
    format: Format,
    frames_left: usize,
    changes: usize,
    limits: HttpLimits,
    reader: FrameReader,
    hello: Option<Hello>,
    held: Vec<Held>,
    chosen: Vec<Chosen>,
    compare: Compare,
    closed: Option<Vec<Closed>>,
    groups: Vec<Group>,
    part: Option<Part>,
    log: Option<Vec<LogEntry>>,
    history: Vec<History>,
    is_ended: bool,
    room: Room,
}

impl Decoder {
    pub(super) fn new(format: Format, limits: &HttpLimits) -> Self {
        Self {
            format,
            frames_left: limits.frames,
            changes: 0,
            limits: *limits,
            reader: FrameReader::new(format),
            hello: None,
            held: Vec::new(),
            chosen: Vec::new(),
            compare: Compare::default(),
            closed: None,
            groups: Vec::new(),
            part: None,
            log: None,
            history: Vec::new(),
            is_ended: false,
            room: Room::default(),
        }
    }

    /// Which device asks, once that has come.
    pub(super) fn device(&self) -> Option<&str> {
        self.hello.as_ref().map(|hello| hello.device.as_str())
    }

    pub(super) fn push(
        &mut self,
        piece: &[u8],
        model: &Model,
        room: &Arc<Semaphore>,
    ) -> Result<(), Refusal> {
        self.room.take(room, piece.len())?;
        self.reader.push(piece);
        // A line cannot end where no line break came: asking for it each time would make one
        // long line cost the square of its length.
        if self.format == Format::JsonLines && !piece.contains(&b'\n') {
            return Ok(());
        }
        while let Some(frame) = self
            .reader
            .next(model)
            .map_err(|error| unreadable(&error))?
        {
            self.frames_left = self.frames_left.checked_sub(1).ok_or_else(|| {
                let frames = self.limits.frames;
                let message = format!("a request has {frames} frames at most; send less at once");
                too_much(Code::TOO_MANY_FRAMES, message)
            })?;
            if let Frame::Group(group) = &frame {
                self.weigh(group, room)?;
            }
            self.take(frame)?;
        }
        Ok(())
    }

    /// Counts a group's changes, and the memory that they take beyond their bytes: a few bytes on
    /// the wire can become a hundred.
    fn weigh(&mut self, group: &Group, room: &Arc<Semaphore>) -> Result<(), Refusal> {
        let changes = group.changes.len();
        self.changes += changes;
        // A group alone may have more, and the storage says how many: it cannot be cut.
        let most = self.limits.batch_changes;
        if self.changes > most && !self.groups.is_empty() {
            let message = format!(
                "a request of several groups has {most} changes at most; send less at once"
            );
            return Err(too_much(Code::TOO_MANY_CHANGES, message));
        }
        self.room.take(room, weight(group))
    }

    fn take(&mut self, frame: Frame) -> Result<(), Refusal> {
        match frame {
            _ if self.is_ended => Err(malformed("a frame behind the end")),
            Frame::Hello(hello) if self.hello.is_none() => {
                check_hello(&hello)?;
                self.hello = Some(hello);
                Ok(())
            }
            _ if self.hello.is_none() => Err(malformed("the first frame must be hello")),
            Frame::History(history) if self.asks_nothing() => {
                self.history.push(history);
                Ok(())
            }
            Frame::End => {
                self.is_ended = true;
                Ok(())
            }
            _ if !self.history.is_empty() => {
                Err(malformed("a request with history asks for nothing else"))
            }
            Frame::Log { entries } if self.log.is_none() => {
                self.log = Some(entries);
                Ok(())
            }
            _ if self.log.is_some() => Err(malformed("nothing but the end is behind the log")),
            Frame::Held(held) if self.groups.is_empty() && self.part.is_none() => {
                self.held.push(held);
                Ok(())
            }
            Frame::Chosen(chosen) if self.groups.is_empty() && self.part.is_none() => {
                check_chosen(&chosen, &self.chosen)?;
                self.chosen.push(chosen);
                Ok(())
            }
            Frame::Verify(ask) if self.groups.is_empty() && self.part.is_none() => {
                compare::check_verify(&ask, self.hello.as_ref(), &self.compare.verify)?;
                self.compare.verify.push(ask);
                Ok(())
            }
            Frame::Fetch(ask) if self.groups.is_empty() && self.part.is_none() => {
                compare::check_fetch(&ask, self.hello.as_ref(), &self.compare.fetch)?;
                self.compare.fetch.push(ask);
                Ok(())
            }
            Frame::Group(group) if self.part.is_none() => {
                self.groups.push(group);
                Ok(())
            }
            Frame::Closed { groups } if self.closed.is_none() && !self.sends() => {
                self.closed = Some(groups);
                Ok(())
            }
            Frame::Part(part) if self.part.is_none() => {
                check_part(&part)?;
                self.part = Some(part);
                Ok(())
            }
            _ => Err(malformed(
                "a request is made of hello, held, chosen, verify, fetch, closed, groups, a part, \
                 log and end",
            )),
        }
    }

    /// Whether the request has nothing yet that history may not stand beside.
    fn asks_nothing(&self) -> bool {
        let pulls_nothing = self
            .hello
            .as_ref()
            .is_some_and(|hello| hello.pull.is_empty());
        let has_scopes = !self.held.is_empty() || !self.chosen.is_empty();
        pulls_nothing && !has_scopes && self.closed.is_none() && self.log.is_none() && !self.sends()
    }

    /// Whether groups, or a part of one, have come.
    fn sends(&self) -> bool {
        !self.groups.is_empty() || self.part.is_some()
    }

    pub(super) fn finish(
        mut self,
        model: &Model,
        room: &Arc<Semaphore>,
    ) -> Result<SyncRequest, Refusal> {
        if self.format == Format::JsonLines && !self.reader.is_drained() {
            // The last line needs no line break.
            self.push(b"\n", model, room)?;
        }
        match self.hello {
            Some(hello) if self.is_ended && self.reader.is_drained() => Ok(SyncRequest {
                hello,
                held: self.held,
                chosen: self.chosen,
                compare: self.compare,
                closed: self.closed.unwrap_or_default(),
                groups: self.groups,
                part: self.part,
                log: self.log,
                history: self.history,
                room: self.room,
            }),
            _ => Err(malformed(
                "the request is not whole: its last frame must be end",
            )),
        }
    }
}

/// Bytes that a group takes in memory, about, beside those that came.
pub(super) fn weight(group: &Group) -> usize {
    let values = |change: &Change| change.key.len() + change.base.len() + change.set.len();
    let values: usize = group.changes.iter().map(values).sum();
    group.changes.len() * CHANGE_BYTES + values * VALUE_BYTES
}

/// Each page asks the database for each value that is chosen.
fn check_chosen(more: &Chosen, known: &[Chosen]) -> Result<(), Refusal> {
    if known.iter().any(|chosen| chosen.scope == more.scope) {
        return Err(malformed("a scope stands twice in what is chosen"));
    }
    let count = |chosen: &Chosen| chosen.values.len();
    let bytes = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
    };
    let is_fine = known.iter().chain([more]).map(count).sum::<usize>() <= CHOSEN_VALUES_MAX
        && more.values.iter().all(|it| bytes(it) <= CHOSEN_VALUE_BYTES);
    if is_fine {
        return Ok(());
    }
    let message = format!(
        "a request chooses {CHOSEN_VALUES_MAX} values at most, of {CHOSEN_VALUE_BYTES} bytes each"
    );
    Err(Refusal::new(
        StatusCode::BAD_REQUEST,
        Code::TOO_MANY_CHOSEN,
        message,
    ))
}

fn check_part(part: &Part) -> Result<(), Refusal> {
    let end = u64::from(part.at) + part.bytes.len() as u64;
    if part.total as usize > GROUP_BYTES_MAX {
        let message = format!("a group has {GROUP_BYTES_MAX} bytes at most");
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::TOO_LARGE,
            message,
        ));
    }
    if end > u64::from(part.total) || part.total == 0 {
        return Err(malformed("a part reaches beyond its group"));
    }
    Ok(())
}

fn check_hello(hello: &Hello) -> Result<(), Refusal> {
    if hello.protocol != PROTOCOL_VERSION {
        let message = format!(
            "this server speaks protocol version {PROTOCOL_VERSION}, the request {}",
            hello.protocol
        );
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            Code::PROTOCOL_VERSION,
            message,
        ));
    }
    if hello.checkpoints.len() > CHECKPOINTS_MAX {
        return Err(malformed("more checkpoints than a device can have"));
    }
    let mut names = HashSet::new();
    if !hello.pull.iter().all(|(name, _)| names.insert(name)) {
        return Err(malformed("an entity stands twice in `pull`"));
    }
    Ok(())
}

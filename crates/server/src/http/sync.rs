//! `POST /v1/sync`: groups in, outcomes and pages out.

use afield_protocol::codec::Format;
use afield_protocol::{
    Checkpoint, Closed, Decided, Group, GroupId, GroupOutcome, History, LogEntry, Part, Received,
};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::mpsc;

use super::ServerState;
use super::answer::Answer;
use super::body::Streamed;
use super::coding::Coding;
use super::intake;
use super::observe::Observed;
use super::parts::{self, Taken};
use super::problem::Refusal;
use super::request::{self, Room, SyncRequest};
use super::upgrade;
use crate::storage::Caller;
use crate::storage::inbox::shown;

/// Answers a sync. Nothing of a request is applied before all of it has come.
pub(super) async fn sync(State(server): State<ServerState>, request: Request) -> Response {
    let seen = Observed::of(&request);
    let (parts, mut body) = request.into_parts();
    match answer(&server, &parts.headers, &mut body, &seen).await {
        Ok(response) => response,
        Err(refusal) => {
            intake::discard(&mut body, &parts.headers, &server.0.limits).await;
            refusal.into_response()
        }
    }
}

async fn answer(
    server: &ServerState,
    headers: &HeaderMap,
    body: &mut Body,
    seen: &Observed,
) -> Result<Response, Refusal> {
    let claims = server.authenticate(headers, seen)?;
    upgrade::note_failed(headers, &claims.user);
    let format = request::content_format(headers)?;
    let accepted = request::accepted_format(headers)?;
    let packed = Coding::of_request(headers)?;
    let packing = Coding::of_answer(headers);
    let asks_inbox = request::asks_inbox(headers);
    let asks_log = request::asks_log(headers);
    let (limits, places) = (&server.0.limits, &server.0.places);
    if places.are_taken() {
        return Err(Refusal::busy());
    }
    let admit = |device: &str| server.admit(&claims.user, device);
    let SyncRequest {
        hello,
        held,
        chosen,
        compare,
        closed,
        groups,
        part,
        log,
        history,
        room,
    } = intake::read(body, headers, (format, packed), server, admit).await?;
    upgrade::refuse_too_old(server, headers, &hello)?;
    let place = places.take(&claims.user, limits).await?;
    seen.add_groups(groups.len());
    let caller = Caller {
        device: shown(&hello.device),
        ..Caller::from(claims)
    };
    let mut checkpoints = hello.checkpoints.clone();
    let mut answer = Answer::new(
        server.clone(),
        caller.clone(),
        (hello, held, chosen, compare),
        (accepted, packing),
        seen.clone(),
    );
    let opening = if history.is_empty() {
        let brings_nothing = groups.is_empty() && part.is_none() && closed.is_empty();
        let log = log.or(asks_log.then(Vec::new));
        if brings_nothing && answer.begins_with_page() {
            answer.knows(std::mem::take(&mut checkpoints));
        }
        let brought = (closed, groups, part);
        let pushed = push(server, caller.clone(), checkpoints, brought, room).await?;
        if !matches!(pushed, Pushed::OtherHistory) {
            beside(server, caller, (asks_inbox, log), &mut answer).await?;
        }
        opening(&mut answer, pushed).await?
    } else {
        let lost = lost(server, caller.user, history).await?;
        answer.lost(lost)
    };
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        answer.send(opening, &sender).await;
        drop(place);
    });
    Ok(streamed(Body::new(Streamed(receiver)), accepted, packing))
}

/// The response that carries an answer.
fn streamed(body: Body, format: Format, packing: Coding) -> Response {
    let mut response = ([(header::CONTENT_TYPE, format.media_type())], body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(name) = packing.name() {
        headers.insert(header::CONTENT_ENCODING, name);
    }
    response
}

/// What became of the groups of a request.
enum Pushed {
    /// The device knows another history of this database than it has: nothing was applied.
    OtherHistory,
    /// There were none.
    Nothing,
    Done {
        outcomes: Vec<GroupOutcome>,
        received: Option<Received>,
    },
}

/// Applies the groups of a request, if the device speaks of this database as it is.
async fn push(
    server: &ServerState,
    caller: Caller,
    checkpoints: Vec<Checkpoint>,
    (closed, groups, part): (Vec<Closed>, Vec<Group>, Option<Part>),
    mut room: Room,
) -> Result<Pushed, Refusal> {
    let is_pushing = !groups.is_empty() || part.is_some();
    let pushing = caller.clone();
    let outcomes = server
        .blocking(move |inner| {
            for checkpoint in &checkpoints {
                if !inner.storage.knows(checkpoint)? {
                    return Ok(None);
                }
            }
            if !closed.is_empty() {
                // First, so that what its user decided is known when a group comes again.
                inner.storage.close(&pushing.user, &closed)?;
            }
            match groups.as_slice() {
                [] => Ok(Some(Vec::new())),
                groups => inner.storage.push(&inner.model, &pushing, groups).map(Some),
            }
        })
        .await
        .map_err(|error| Refusal::of_storage(&error))?;
    let Some(mut outcomes) = outcomes else {
        return Ok(Pushed::OtherHistory);
    };
    if !is_pushing {
        return Ok(Pushed::Nothing);
    }
    let mut received = None;
    if let Some(part) = part {
        match parts::take(server, &caller, part, &mut room).await? {
            Taken::Settled(outcome) => outcomes.push(outcome),
            Taken::Kept(kept) => received = Some(kept),
        }
    }
    Ok(Pushed::Done { outcomes, received })
}

/// What the device is told beside what became of its groups, before any page is read: so these
/// have the rows of what was decided.
async fn beside(
    server: &ServerState,
    caller: Caller,
    (asks_inbox, log): (bool, Option<Vec<LogEntry>>),
    answer: &mut Answer,
) -> Result<(), Refusal> {
    if asks_inbox {
        answer.decided(decisions(server, caller.clone()).await?);
    }
    if let Some(log) = log {
        answer.logged(keep_log(server, caller, log).await);
    }
    Ok(())
}

/// What the device is to be told about groups that were refused.
async fn decisions(server: &ServerState, caller: Caller) -> Result<Vec<Decided>, Refusal> {
    server
        .blocking(move |inner| inner.storage.decisions(&inner.model, &caller))
        .await
        .map_err(|error| Refusal::of_storage(&error))
}

/// Keeps a device's log; gives the number of its newest entry. That it cannot be kept now is no
/// reason to refuse the rest: it comes again.
async fn keep_log(server: &ServerState, caller: Caller, entries: Vec<LogEntry>) -> Option<i64> {
    let to = entries.iter().map(|entry| entry.n).max().unwrap_or(0);
    if entries.is_empty() {
        return Some(to);
    }
    let kept = server.blocking(move |inner| inner.storage.log(&caller, &entries));
    match kept.await {
        Ok(()) => Some(to),
        Err(error) => {
            tracing::warn!(code = %error.code, "a device's log could not be kept: {error}");
            None
        }
    }
}

/// Which of the groups that a device knows to be settled this database never had.
async fn lost(
    server: &ServerState,
    user: String,
    history: Vec<History>,
) -> Result<Vec<GroupId>, Refusal> {
    server
        .blocking(move |inner| inner.storage.lost(&user, &history))
        .await
        .map_err(|error| Refusal::of_storage(&error))
}

/// The answer's first bytes. Outcomes never wait for rows; but where there are none, the first
/// page comes along, so that a storage that fails is told by the status.
async fn opening(answer: &mut Answer, pushed: Pushed) -> Result<Vec<u8>, Refusal> {
    match pushed {
        Pushed::OtherHistory => Ok(answer.history_wanted()),
        Pushed::Done { outcomes, received } => Ok(answer.outcomes(outcomes, received)),
        Pushed::Nothing => {
            // The page is read first, so that the checkpoint in front of it is not older.
            let page = answer.step().await;
            let page = page.map_err(|error| Refusal::of_storage(&error))?;
            if answer.is_of_other_history() {
                return Ok(page);
            }
            let mut bytes = answer.outcomes(Vec::new(), None);
            bytes.extend(page);
            Ok(bytes)
        }
    }
}

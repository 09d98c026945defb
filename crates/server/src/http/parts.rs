//! Large groups that come in pieces, each in a request of its own.

use afield_protocol::codec::{Format, FrameReader, Malformed};
use afield_protocol::{Code, Frame, Group, GroupOutcome, Part, Received};
use axum::http::StatusCode;

use super::problem::Refusal;
use super::request::{Room, unreadable, weight};
use super::{Inner, ServerState};
use crate::storage::{Caller, PartTaken};

/// What became of a piece.
pub(super) enum Taken {
    /// It was the last one, or not needed any more: the group is settled.
    Settled(GroupOutcome),
    /// More is to come.
    Kept(Received),
}

/// Keeps a piece, and applies its group if that is whole now. The pieces are forgotten only when
/// the ledger has the group: whoever dies before that, the last piece comes again.
pub(super) async fn take(
    server: &ServerState,
    caller: &Caller,
    part: Part,
    room: &mut Room,
) -> Result<Taken, Refusal> {
    let group = part.group;
    let (owner, total) = (caller.user.clone(), part.total as usize);
    let (taken, part) = server
        .blocking(move |inner| Ok((inner.storage.take_part(&owner, &part)?, part)))
        .await
        .map_err(|error| Refusal::of_storage(&error))?;
    let bytes = match taken {
        PartTaken::Known(outcome) => return Ok(Taken::Settled(outcome)),
        PartTaken::Kept(bytes) => return Ok(Taken::Kept(Received { group, bytes })),
        PartTaken::Whole(bytes) => bytes,
    };
    room.take(&server.0.upload_bytes, total)?;
    let whole = {
        let _turn = server.0.decoding.acquire().await;
        let read = move |inner: &Inner| Ok(read(inner, &bytes, &part));
        let read = server.blocking(read).await;
        read.map_err(|error| Refusal::of_storage(&error))?
    };
    if let Err(refusal) = &whole
        && refusal.code() == Code::GROUP_TOO_LARGE
    {
        return Err(unreadable(refusal));
    }
    let whole = whole.ok().flatten();
    if let Some(group) = &whole {
        room.take(&server.0.upload_bytes, weight(group))?;
    }
    let caller = caller.clone();
    let outcome = server
        .blocking(move |inner| {
            let outcomes = match whole {
                Some(whole) => inner.storage.push(&inner.model, &caller, &[whole])?,
                None => Vec::new(),
            };
            inner.storage.forget_parts(&caller.user, group)?;
            Ok(outcomes.into_iter().next())
        })
        .await
        .map_err(|error| Refusal::of_storage(&error))?;
    outcome.map(Taken::Settled).ok_or_else(|| {
        let message = "the parts of the group do not make the group that they say they are";
        Refusal::new(StatusCode::BAD_REQUEST, Code::MALFORMED, message)
    })
}

/// The group in `bytes`, if it is the one that `part` speaks of and nothing else.
fn read(inner: &Inner, bytes: &[u8], part: &Part) -> Result<Option<Group>, Malformed> {
    let mut reader = FrameReader::new(Format::Cbor);
    reader.push(bytes);
    let is_it = |group: &Group| group.id == part.group && group.hash() == part.hash;
    Ok(match reader.next(&inner.model.device)? {
        Some(Frame::Group(group)) if is_it(&group) && reader.is_drained() => Some(group),
        _ => None,
    })
}

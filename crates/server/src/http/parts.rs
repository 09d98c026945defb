//! Large groups that come in pieces, each in a request of its own.

use afield_protocol::codec::{Format, FrameReader};
use afield_protocol::{Code, Frame, Group, GroupOutcome, Part, Received};
use axum::http::StatusCode;

use super::ServerState;
use super::problem::Refusal;
use super::request::Room;
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
    let whole = read(server, &bytes, &part);
    drop(bytes);
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
fn read(server: &ServerState, bytes: &[u8], part: &Part) -> Option<Group> {
    let mut reader = FrameReader::new(Format::Cbor);
    reader.push(bytes);
    let frame = reader.next(&server.0.model.device).ok()??;
    match frame {
        Frame::Group(group)
            if group.id == part.group && group.hash() == part.hash && reader.is_drained() =>
        {
            Some(group)
        }
        _ => None,
    }
}

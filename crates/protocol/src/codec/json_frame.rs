//! Writes frames as JSON lines: `{"frame": "hello", …}`, one a line, the same content as in CBOR.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};

use super::Malformed;
use super::json::{exact, from_attributes, from_value};
use crate::change::{Change, Group, GroupId, Origin};
use crate::code::Code;
use crate::digest::Sum;
use crate::frame::{Fetch, Frame, HashedRow, Position};
use crate::inbox::Decided;
use crate::log::LogEntry;
use crate::model::{Entity, Model, SCOPE_COLUMN};
use crate::outcome::{Theirs, Verdict};
use crate::rows::RowBlock;
use crate::value::{Type, Value, ValueRef};

pub(super) fn write(model: &Model, frame: &Frame, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, &frame_json(model, frame)).expect("JSON goes to memory");
    out.push(b'\n');
}

fn frame_json(model: &Model, frame: &Frame) -> Json {
    match frame {
        Frame::Hello(hello) => json!({
            "frame": "hello", "protocol": hello.protocol, "model": hello.model,
            "device": hello.device, "unit": hello.unit, "pull": positions_json(&hello.pull),
            "checkpoints": hello.checkpoints.iter().map(|it| BASE64.encode(it))
                .collect::<Vec<_>>(),
        }),
        Frame::Group(group) => group_json(model, group),
        Frame::Welcome(welcome) => json!({
            "frame": "welcome", "protocol": welcome.protocol,
            "epoch": BASE64.encode(welcome.epoch),
        }),
        Frame::Outcome(outcome) => json!({
            "frame": "outcome", "group": outcome.group.to_string(),
            "verdicts": outcome.verdicts.iter().map(verdict_json).collect::<Vec<_>>(),
        }),
        Frame::Settled { checkpoint } => json!({
            "frame": "settled", "checkpoint": BASE64.encode(checkpoint),
        }),
        Frame::Page(page) => json!({
            "frame": "page", "from": positions_json(&page.from), "reset": page.reset,
        }),
        Frame::Rows(block) => rows_json(model, block),
        Frame::Gone { entity, keys } => json!({
            "frame": "gone", "entity": entity,
            "keys": keys.iter().map(|k| key_json(model.entity(entity), k)).collect::<Vec<_>>(),
        }),
        Frame::PageEnd(end) => json!({
            "frame": "page-end", "complete": end.complete, "remaining": end.remaining,
            "to": end.to.iter().map(|(name, position)| (name.clone(), BASE64.encode(position)))
                .collect::<std::collections::BTreeMap<_, _>>(),
        }),
        Frame::End => json!({ "frame": "end" }),
        Frame::Problem(problem) => json!({
            "frame": "problem", "code": problem.code.as_str(), "message": problem.message,
        }),
        Frame::Part(part) => json!({
            "frame": "part", "group": part.group.to_string(),
            "hash": hexadecimal(&part.hash), "total": part.total, "at": part.at,
            "bytes": BASE64.encode(&part.bytes),
        }),
        Frame::Received(received) => json!({
            "frame": "received", "group": received.group.to_string(), "bytes": received.bytes,
        }),
        Frame::Held(held) => json!({
            "frame": "held", "entity": held.entity,
            "gained": numbers_json(&held.gained), "lost": numbers_json(&held.lost),
        }),
        Frame::Chosen(chosen) => json!({
            "frame": "chosen", "scope": chosen.scope, "values": key_json(None, &chosen.values),
        }),
        Frame::Window(window) => json!({
            "frame": "window", "entity": window.entity, "attribute": window.attribute,
            "keep": window.keep.as_str(), "bound": window.bound,
        }),
        Frame::History(history) => json!({
            "frame": "history", "checkpoint": BASE64.encode(&history.checkpoint),
            "groups": ids_json(&history.groups),
        }),
        Frame::Lost { groups } => json!({ "frame": "lost", "groups": ids_json(groups) }),
        later => later_json(model, later),
    }
}

fn decided_json(decided: &Decided) -> Json {
    json!({
        "group": decided.group.to_string(), "into": decided.into.map(|it| it.to_string()),
        "by": decided.by, "at_ms": integer(decided.at_ms),
        "verdicts": decided.verdicts.iter().map(verdict_json).collect::<Vec<_>>(),
    })
}

fn entry_json(entry: &LogEntry) -> Json {
    json!({
        "id": GroupId(entry.id).to_string(), "n": integer(entry.n), "at_ms": integer(entry.at_ms),
        "level": entry.level.as_str(), "module": entry.module, "message": entry.message,
        "dropped": entry.dropped,
    })
}

fn integer(number: i64) -> Json {
    from_value(Type::Integer, ValueRef::Integer(number))
}

/// The frames with which rows are compared, those about refused groups, and those with a log.
fn later_json(model: &Model, frame: &Frame) -> Json {
    match frame {
        Frame::Verify(ask) => json!({
            "frame": "verify", "entity": ask.entity, "depth": ask.depth, "buckets": ask.buckets,
        }),
        Frame::Fetch(Fetch { entity, keys }) => json!({
            "frame": "fetch", "entity": entity,
            "keys": keys.iter().map(|k| key_json(model.entity(entity), k)).collect::<Vec<_>>(),
        }),
        Frame::Digest(digest) => json!({
            "frame": "digest", "entity": digest.entity, "depth": digest.depth,
            "sums": digest.sums.iter().map(sum_json).collect::<Vec<_>>(),
        }),
        Frame::Hashes(hashes) => json!({
            "frame": "hashes", "entity": hashes.entity, "depth": hashes.depth,
            "complete": hashes.complete,
            "rows": hashes.rows.iter().map(|row| hashed_json(model.entity(&hashes.entity), row))
                .collect::<Vec<_>>(),
        }),
        Frame::Inbox { decided } => json!({
            "frame": "inbox", "decided": decided.iter().map(decided_json).collect::<Vec<_>>(),
        }),
        Frame::Closed { groups } => json!({
            "frame": "closed", "groups": groups.iter().map(|closed| json!({
                "group": closed.group.to_string(), "how": closed.how.as_str(),
            })).collect::<Vec<_>>(),
        }),
        Frame::Log { entries } => json!({
            "frame": "log", "entries": entries.iter().map(entry_json).collect::<Vec<_>>(),
        }),
        Frame::Logged { to } => json!({ "frame": "logged", "to": integer(*to) }),
        _ => Json::Null,
    }
}

fn sum_json(sum: &Sum) -> Json {
    json!({ "rows": sum.rows, "sum": hexadecimal(&sum.sum.to_be_bytes()) })
}

fn hashed_json(entity: Option<&Entity>, row: &HashedRow) -> Json {
    let number = |number| from_value(Type::Integer, ValueRef::Integer(number));
    json!({
        "key": key_json(entity, &row.key), "hash": hexadecimal(&row.hash),
        "value": row.value.map(number),
    })
}

fn group_json(model: &Model, group: &Group) -> Json {
    json!({
        "frame": "group", "id": group.id.to_string(),
        "hash": hexadecimal(&group.hash()),
        "absorbed": ids_json(&group.absorbed),
        "origins": group.origins.iter().map(origin_json).collect::<Vec<_>>(),
        "changes": group.changes.iter().map(|c| change_json(model, c)).collect::<Vec<_>>(),
        "checkpoint": BASE64.encode(&group.checkpoint),
    })
}

fn ids_json(groups: &[GroupId]) -> Vec<String> {
    groups.iter().map(ToString::to_string).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn origin_json(origin: &Origin) -> Json {
    let temporary = from_value(Type::Integer, ValueRef::Integer(origin.temporary));
    json!({
        "entity": origin.entity, "temporary": temporary,
        "group": origin.group.to_string(), "at": origin.at,
    })
}

fn positions_json(positions: &[(String, Option<Position>)]) -> Json {
    let pairs = positions.iter().map(|(name, position)| {
        (
            name.clone(),
            position
                .as_ref()
                .map_or(Json::Null, |p| Json::from(BASE64.encode(p))),
        )
    });
    Json::Object(pairs.collect())
}

fn numbers_json(numbers: &[i64]) -> Json {
    let exact = |number: &i64| from_value(Type::Integer, ValueRef::Integer(*number));
    Json::Array(numbers.iter().map(exact).collect())
}

fn key_json(entity: Option<&Entity>, key: &[Value]) -> Json {
    let values = key.iter().enumerate().map(|(at, value)| {
        match entity.and_then(|entity| entity.key().get(at)) {
            Some(attribute) => from_value(attribute.kind, value.as_ref()),
            None => exact(value.as_ref()),
        }
    });
    Json::Array(values.collect())
}

fn change_json(model: &Model, change: &Change) -> Json {
    let entity = model.entity(&change.entity);
    json!({
        "entity": change.entity, "op": change.op.as_str(), "key": key_json(entity, &change.key),
        "base": from_attributes(entity, &change.base), "set": from_attributes(entity, &change.set),
    })
}

fn verdict_json(verdict: &Verdict) -> Json {
    let theirs = match &verdict.theirs {
        None => Json::Null,
        Some(Theirs::Gone) => Json::Bool(false),
        Some(Theirs::Row(row)) => from_attributes(None, row),
    };
    json!({
        "result": verdict.kind.as_str(), "code": verdict.code.as_ref().map(Code::as_str),
        "attribute": verdict.attribute, "message": verdict.message,
        "key": verdict.key.as_ref().map(|key| key_json(None, key)),
        "values": from_attributes(None, &verdict.values), "theirs": theirs,
        "overwritten": from_attributes(None, &verdict.overwritten),
    })
}

fn rows_json(model: &Model, block: &RowBlock) -> Json {
    let entity = model.entity(&block.entity);
    let kinds: Vec<Type> = block
        .columns
        .iter()
        .map(|name| kind(entity, name))
        .collect();
    let mut rows: Vec<Json> = Vec::new();
    let read: Result<(), Malformed> = block.for_each(|cells| {
        let cells = cells.iter().zip(&kinds);
        rows.push(
            cells
                .map(|(cell, kind)| from_value(*kind, cell.as_ref()))
                .collect(),
        );
        Ok(())
    });
    read.expect("only whole blocks are made: by a writer, or by a reader that checked the cells");
    json!({ "frame": "rows", "entity": block.entity, "columns": block.columns, "rows": rows })
}

/// The type of a column of rows; one that the model does not know is taken for text.
pub(super) fn kind(entity: Option<&Entity>, name: &str) -> Type {
    if name.starts_with(SCOPE_COLUMN) {
        return Type::Integer;
    }
    let attribute = entity.and_then(|entity| entity.attribute(name));
    attribute.map_or(Type::Text, |attribute| attribute.kind)
}

//! Writes frames in CBOR: each an array that begins with the frame's number.

use minicbor::Encoder;
use minicbor::data::Tag;

use super::cbor::{Written, encode, value_to};
use super::identity::op_number;
use crate::change::{Attributes, Group, GroupId};
use crate::code::Code;
use crate::frame::{Fetch, Frame, Hello, PageEnd, Position};
use crate::inbox::Decided;
use crate::log::LogEntry;
use crate::model::{Entity, Model};
use crate::outcome::{GroupOutcome, Theirs, Verdict, VerdictKind};
use crate::value::{Type, Value};

/// CBOR's tag for an embedded data item.
pub(crate) const TAG_EMBEDDED: u64 = 24;

type Out<'a> = Encoder<&'a mut Vec<u8>>;

pub(super) fn write(model: &Model, frame: &Frame, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    encode(&mut body, |e| frame_to(e, model, frame));
    encode(out, |e| e.tag(Tag::new(TAG_EMBEDDED))?.bytes(&body)?.ok());
}

fn frame_to(e: &mut Out<'_>, model: &Model, frame: &Frame) -> Written {
    match frame {
        Frame::Hello(hello) => hello_to(e, hello),
        Frame::Group(group) => group_to(e, model, group),
        Frame::Welcome(welcome) => e
            .array(3)?
            .u8(2)?
            .u32(welcome.protocol)?
            .bytes(&welcome.epoch)?
            .ok(),
        Frame::Outcome(outcome) => outcome_to(e, outcome),
        Frame::Settled { checkpoint } => e.array(2)?.u8(4)?.bytes(checkpoint)?.ok(),
        Frame::Page(page) => {
            e.array(3)?.u8(5)?;
            positions_to(e, &page.from)?;
            strings_to(e, &page.reset)
        }
        Frame::Rows(block) => {
            e.array(5)?.u8(6)?.str(&block.entity)?;
            strings_to(e, &block.columns)?;
            e.u64(block.count as u64)?.bytes(&block.cells)?.ok()
        }
        Frame::Gone { entity, keys } => {
            e.array(3)?.u8(7)?.str(entity)?.array(keys.len() as u64)?;
            keys.iter()
                .try_for_each(|key| key_to(e, model.entity(entity), key))
        }
        Frame::PageEnd(end) => page_end_to(e, end),
        Frame::End => e.array(1)?.u8(9)?.ok(),
        Frame::Problem(problem) => e
            .array(3)?
            .u8(10)?
            .str(problem.code.as_str())?
            .str(&problem.message)?
            .ok(),
        Frame::Part(part) => {
            e.array(6)?.u8(11)?.bytes(&part.group.0)?;
            e.bytes(&part.hash)?.u32(part.total)?.u32(part.at)?;
            e.bytes(&part.bytes)?.ok()
        }
        Frame::Received(received) => {
            e.array(3)?.u8(12)?.bytes(&received.group.0)?;
            e.u32(received.bytes)?.ok()
        }
        Frame::Held(held) => {
            e.array(4)?.u8(13)?.str(&held.entity)?;
            numbers_to(e, &held.gained)?;
            numbers_to(e, &held.lost)
        }
        later => later_to(e, model, later),
    }
}

/// The frames from 14 on.
fn later_to(e: &mut Out<'_>, model: &Model, frame: &Frame) -> Written {
    match frame {
        Frame::Chosen(chosen) => {
            e.array(3)?.u8(14)?.str(&chosen.scope)?;
            key_to(e, None, &chosen.values)
        }
        Frame::Window(window) => {
            e.array(5)?.u8(15)?.str(&window.entity)?;
            e.str(&window.attribute)?.str(window.keep.as_str())?;
            e.str(&window.bound)?.ok()
        }
        Frame::History(history) => {
            e.array(3)?.u8(16)?.bytes(&history.checkpoint)?;
            ids_to(e, &history.groups)
        }
        Frame::Lost { groups } => {
            e.array(2)?.u8(21)?;
            ids_to(e, groups)
        }
        Frame::Verify(ask) => {
            e.array(4)?.u8(17)?.str(&ask.entity)?.u8(ask.depth)?;
            e.array(ask.buckets.len() as u64)?;
            let mut buckets = ask.buckets.iter();
            buckets.try_for_each(|bucket| e.u32(*bucket)?.ok())
        }
        Frame::Fetch(Fetch { entity, keys }) => {
            e.array(3)?.u8(18)?.str(entity)?.array(keys.len() as u64)?;
            let mut keys = keys.iter();
            keys.try_for_each(|key| key_to(e, model.entity(entity), key))
        }
        Frame::Digest(digest) => {
            e.array(4)?.u8(19)?.str(&digest.entity)?.u8(digest.depth)?;
            e.array(digest.sums.len() as u64)?;
            let mut sums = digest.sums.iter();
            sums.try_for_each(|sum| {
                e.array(2)?.u64(sum.rows)?;
                e.bytes(&sum.sum.to_be_bytes())?.ok()
            })
        }
        Frame::Hashes(hashes) => {
            e.array(5)?.u8(20)?.str(&hashes.entity)?.u8(hashes.depth)?;
            e.bool(hashes.complete)?.array(hashes.rows.len() as u64)?;
            let entity = model.entity(&hashes.entity);
            hashes.rows.iter().try_for_each(|row| {
                e.array(3)?;
                key_to(e, entity, &row.key)?;
                e.bytes(&row.hash)?;
                match row.value {
                    Some(value) => e.i64(value)?.ok(),
                    None => e.null()?.ok(),
                }
            })
        }
        Frame::Inbox { decided } => {
            e.array(2)?.u8(22)?.array(decided.len() as u64)?;
            decided.iter().try_for_each(|it| decided_to(e, it))
        }
        Frame::Closed { groups } => {
            e.array(2)?.u8(23)?.array(groups.len() as u64)?;
            let mut groups = groups.iter();
            groups.try_for_each(|it| e.array(2)?.bytes(&it.group.0)?.str(it.how.as_str())?.ok())
        }
        Frame::Log { entries } => {
            e.array(2)?.u8(24)?.array(entries.len() as u64)?;
            entries.iter().try_for_each(|it| entry_to(e, it))
        }
        Frame::Logged { to } => e.array(2)?.u8(25)?.i64(*to)?.ok(),
        _ => Ok(()),
    }
}

fn entry_to(e: &mut Out<'_>, entry: &LogEntry) -> Written {
    e.array(7)?.bytes(&entry.id)?.i64(entry.n)?;
    e.i64(entry.at_ms)?.str(entry.level.as_str())?;
    e.str(&entry.module)?.str(&entry.message)?;
    e.u32(entry.dropped)?.ok()
}

fn decided_to(e: &mut Out<'_>, decided: &Decided) -> Written {
    e.array(5)?.bytes(&decided.group.0)?;
    match decided.into {
        Some(into) => e.bytes(&into.0)?,
        None => e.null()?,
    };
    e.str(&decided.by)?.i64(decided.at_ms)?;
    verdicts_to(e, &decided.verdicts)
}

fn hello_to(e: &mut Out<'_>, hello: &Hello) -> Written {
    e.array(7)?.u8(0)?.u32(hello.protocol)?.str(&hello.model)?;
    e.str(&hello.device)?.str(&hello.unit)?;
    positions_to(e, &hello.pull)?;
    e.array(hello.checkpoints.len() as u64)?;
    (hello.checkpoints.iter()).try_for_each(|checkpoint| e.bytes(checkpoint)?.ok())
}

fn page_end_to(e: &mut Out<'_>, end: &PageEnd) -> Written {
    e.array(4)?.u8(8)?.map(end.to.len() as u64)?;
    for (entity, position) in &end.to {
        e.str(entity)?.bytes(position)?;
    }
    e.bool(end.complete)?;
    match end.remaining {
        Some(rows) => e.u64(rows)?.ok(),
        None => e.null()?.ok(),
    }
}

fn ids_to(e: &mut Out<'_>, groups: &[GroupId]) -> Written {
    e.array(groups.len() as u64)?;
    groups.iter().try_for_each(|id| e.bytes(&id.0)?.ok())
}

fn positions_to(e: &mut Out<'_>, positions: &[(String, Option<Position>)]) -> Written {
    e.map(positions.len() as u64)?;
    for (entity, position) in positions {
        e.str(entity)?;
        match position {
            Some(position) => e.bytes(position)?,
            None => e.null()?,
        };
    }
    Ok(())
}

fn numbers_to(e: &mut Out<'_>, numbers: &[i64]) -> Written {
    e.array(numbers.len() as u64)?;
    numbers.iter().try_for_each(|number| e.i64(*number)?.ok())
}

fn strings_to(e: &mut Out<'_>, strings: &[String]) -> Written {
    e.array(strings.len() as u64)?;
    strings.iter().try_for_each(|string| e.str(string)?.ok())
}

fn group_to(e: &mut Out<'_>, model: &Model, group: &Group) -> Written {
    e.array(7)?
        .u8(1)?
        .bytes(&group.id.0)?
        .bytes(&group.hash())?;
    e.array(group.absorbed.len() as u64)?;
    group
        .absorbed
        .iter()
        .try_for_each(|id| e.bytes(&id.0)?.ok())?;
    e.array(group.origins.len() as u64)?;
    for origin in &group.origins {
        e.array(4)?.str(&origin.entity)?.i64(origin.temporary)?;
        e.bytes(&origin.group.0)?.u32(origin.at)?;
    }
    e.array(group.changes.len() as u64)?;
    for change in &group.changes {
        let entity = model.entity(&change.entity);
        e.array(5)?.str(&change.entity)?.u8(op_number(change.op))?;
        key_to(e, entity, &change.key)?;
        attributes_to(e, entity, &change.base)?;
        attributes_to(e, entity, &change.set)?;
    }
    e.bytes(&group.checkpoint)?.ok()
}

fn outcome_to(e: &mut Out<'_>, outcome: &GroupOutcome) -> Written {
    e.array(3)?.u8(3)?.bytes(&outcome.group.0)?;
    verdicts_to(e, &outcome.verdicts)
}

fn verdicts_to(e: &mut Out<'_>, verdicts: &[Verdict]) -> Written {
    e.array(verdicts.len() as u64)?;
    verdicts
        .iter()
        .try_for_each(|verdict| verdict_to(e, verdict))
}

pub(super) fn write_verdicts(verdicts: &[Verdict]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, |e| verdicts_to(e, verdicts));
    out
}

/// A verdict's values are written as they are stored: it does not name its entity, and reading
/// needs no type.
fn verdict_to(e: &mut Out<'_>, verdict: &Verdict) -> Written {
    let kind = match verdict.kind {
        VerdictKind::Applied => 0,
        VerdictKind::Conflict => 1,
        VerdictKind::Rejected => 2,
    };
    e.array(8)?.u8(kind)?;
    optional_str(e, verdict.code.as_ref().map(Code::as_str))?;
    optional_str(e, verdict.attribute.as_deref())?;
    optional_str(e, verdict.message.as_deref())?;
    match &verdict.key {
        Some(key) => key_to(e, None, key)?,
        None => e.null()?.ok()?,
    }
    attributes_to(e, None, &verdict.values)?;
    match &verdict.theirs {
        None => e.null()?.ok()?,
        Some(Theirs::Gone) => e.bool(false)?.ok()?,
        Some(Theirs::Row(row)) => attributes_to(e, None, row)?,
    }
    attributes_to(e, None, &verdict.overwritten)
}

fn optional_str(e: &mut Out<'_>, text: Option<&str>) -> Written {
    match text {
        Some(text) => e.str(text)?.ok(),
        None => e.null()?.ok(),
    }
}

fn key_to(e: &mut Out<'_>, entity: Option<&Entity>, key: &[Value]) -> Written {
    e.array(key.len() as u64)?;
    for (at, value) in key.iter().enumerate() {
        let attribute = entity.and_then(|entity| entity.key().get(at));
        value_to(e, attribute.map_or(Type::Text, |a| a.kind), value.as_ref())?;
    }
    Ok(())
}

fn attributes_to(e: &mut Out<'_>, entity: Option<&Entity>, attributes: &Attributes) -> Written {
    e.map(attributes.len() as u64)?;
    for (name, value) in attributes {
        let attribute = entity.and_then(|entity| entity.attribute(name));
        value_to(
            e.str(name)?,
            attribute.map_or(Type::Text, |a| a.kind),
            value.as_ref(),
        )?;
    }
    Ok(())
}

//! Frames in CBOR: each an array that begins with the frame's number.

use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};

use super::Malformed;
use super::cbor::{attributes, encode, key, length, op_number, value_to};
use crate::change::{Attributes, Change, Group, GroupHash, GroupId, Op};
use crate::code::Code;
use crate::frame::{Frame, Hello, Page, PageEnd, Position, Problem, Welcome};
use crate::model::{Entity, Model};
use crate::outcome::{GroupOutcome, Theirs, Verdict, VerdictKind};
use crate::rows::RowBlock;
use crate::value::{Type, Value};

/// CBOR's tag for an embedded data item.
pub(super) const TAG_EMBEDDED: u64 = 24;

type Out<'a> = Encoder<&'a mut Vec<u8>>;
type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

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
        Frame::Outcome(outcome) => outcome_to(e, model, outcome),
        Frame::Settled => e.array(1)?.u8(4)?.ok(),
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
        Frame::PageEnd(end) => {
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
        Frame::End => e.array(1)?.u8(9)?.ok(),
        Frame::Problem(problem) => e
            .array(3)?
            .u8(10)?
            .str(problem.code.as_str())?
            .str(&problem.message)?
            .ok(),
    }
}

fn hello_to(e: &mut Out<'_>, hello: &Hello) -> Written {
    e.array(6)?.u8(0)?.u32(hello.protocol)?.str(&hello.model)?;
    e.str(&hello.device)?.str(&hello.unit)?;
    positions_to(e, &hello.pull)
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

fn strings_to(e: &mut Out<'_>, strings: &[String]) -> Written {
    e.array(strings.len() as u64)?;
    strings.iter().try_for_each(|string| e.str(string)?.ok())
}

fn group_to(e: &mut Out<'_>, model: &Model, group: &Group) -> Written {
    e.array(5)?
        .u8(1)?
        .bytes(&group.id.0)?
        .bytes(&group.hash())?;
    e.array(group.absorbed.len() as u64)?;
    group
        .absorbed
        .iter()
        .try_for_each(|id| e.bytes(&id.0)?.ok())?;
    e.array(group.changes.len() as u64)?;
    for change in &group.changes {
        let entity = model.entity(&change.entity);
        e.array(5)?.str(&change.entity)?.u8(op_number(change.op))?;
        key_to(e, entity, &change.key)?;
        attributes_to(e, entity, &change.base)?;
        attributes_to(e, entity, &change.set)?;
    }
    Ok(())
}

fn outcome_to(e: &mut Out<'_>, model: &Model, outcome: &GroupOutcome) -> Written {
    let _ = model;
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

pub(super) fn read_verdicts(bytes: &[u8]) -> Result<Vec<Verdict>, Malformed> {
    list(&mut Decoder::new(bytes), verdict)
}

/// A verdict's values are written as they are stored: it does not name its entity, and reading
/// needs no type.
pub(super) fn verdict_to(e: &mut Out<'_>, verdict: &Verdict) -> Written {
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

/// Reads the body of one frame.
pub(super) fn read(body: &[u8]) -> Result<Frame, Malformed> {
    let d = &mut Decoder::new(body);
    let items = length(d.array()?)?;
    let number = d.u8()?;
    let expected = [6, 5, 3, 3, 1, 3, 5, 3, 4, 1, 3];
    if expected.get(usize::from(number)) != Some(&items) {
        return Err(Malformed::new(format!("frame {number} of {items} items")));
    }
    let frame = match number {
        0 => Frame::Hello(Hello {
            protocol: d.u32()?,
            model: d.str()?.to_owned(),
            device: d.str()?.to_owned(),
            unit: d.str()?.to_owned(),
            pull: positions(d)?,
        }),
        1 => Frame::Group(group(d)?),
        2 => Frame::Welcome(Welcome {
            protocol: d.u32()?,
            epoch: fixed(d)?,
        }),
        3 => Frame::Outcome(GroupOutcome {
            group: GroupId(fixed(d)?),
            verdicts: list(d, verdict)?,
        }),
        4 => Frame::Settled,
        5 => Frame::Page(Page {
            from: positions(d)?,
            reset: list(d, string)?,
        }),
        6 => Frame::Rows(RowBlock {
            entity: string(d)?,
            columns: list(d, string)?,
            count: usize::try_from(d.u64()?).map_err(|_| Malformed::new("too many rows"))?,
            cells: d.bytes()?.to_vec(),
        }),
        7 => Frame::Gone {
            entity: string(d)?,
            keys: list(d, key)?,
        },
        8 => Frame::PageEnd(page_end(d)?),
        9 => Frame::End,
        _ => Frame::Problem(Problem {
            code: Code::parse(d.str()?),
            message: string(d)?,
        }),
    };
    if d.position() == body.len() {
        Ok(frame)
    } else {
        Err(Malformed::new(format!(
            "frame {number} has bytes left over"
        )))
    }
}

fn group(d: &mut Decoder<'_>) -> Result<Group, Malformed> {
    let id = GroupId(fixed(d)?);
    let hash: GroupHash = fixed(d)?;
    let absorbed = list(d, |d| Ok(GroupId(fixed(d)?)))?;
    let group = Group {
        id,
        absorbed,
        changes: list(d, change)?,
    };
    if group.hash() == hash {
        Ok(group)
    } else {
        Err(Malformed::new(format!(
            "group {id} does not match its hash"
        )))
    }
}

fn change(d: &mut Decoder<'_>) -> Result<Change, Malformed> {
    expect_array(d, 5)?;
    Ok(Change {
        entity: string(d)?,
        op: match d.u8()? {
            0 => Op::Create,
            1 => Op::Update,
            2 => Op::Delete,
            other => return Err(Malformed::new(format!("unknown op {other}"))),
        },
        key: key(d)?,
        base: attributes(d)?,
        set: attributes(d)?,
    })
}

pub(super) fn verdict(d: &mut Decoder<'_>) -> Result<Verdict, Malformed> {
    expect_array(d, 8)?;
    Ok(Verdict {
        kind: match d.u8()? {
            0 => VerdictKind::Applied,
            1 => VerdictKind::Conflict,
            2 => VerdictKind::Rejected,
            other => return Err(Malformed::new(format!("unknown verdict {other}"))),
        },
        code: optional(d, string)?.map(|word| Code::parse(&word)),
        attribute: optional(d, string)?,
        message: optional(d, string)?,
        key: optional(d, key)?,
        values: attributes(d)?,
        theirs: match d.datatype()? {
            minicbor::data::Type::Bool => {
                d.bool()?;
                Some(Theirs::Gone)
            }
            _ => optional(d, attributes)?.map(Theirs::Row),
        },
        overwritten: attributes(d)?,
    })
}

fn page_end(d: &mut Decoder<'_>) -> Result<PageEnd, Malformed> {
    let mut to = Vec::new();
    for _ in 0..length(d.map()?)? {
        to.push((string(d)?, d.bytes()?.to_vec()));
    }
    Ok(PageEnd {
        to,
        complete: d.bool()?,
        remaining: optional(d, |d| Ok(d.u64()?))?,
    })
}

fn positions(d: &mut Decoder<'_>) -> Result<Vec<(String, Option<Position>)>, Malformed> {
    let mut found = Vec::new();
    for _ in 0..length(d.map()?)? {
        found.push((string(d)?, optional(d, |d| Ok(d.bytes()?.to_vec()))?));
    }
    Ok(found)
}

fn string(d: &mut Decoder<'_>) -> Result<String, Malformed> {
    Ok(d.str()?.to_owned())
}

fn optional<T>(
    d: &mut Decoder<'_>,
    read: impl FnOnce(&mut Decoder<'_>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        return Ok(None);
    }
    read(d).map(Some)
}

/// Reads an array of any length; the items are read one by one, so that a length that lies
/// allocates nothing.
fn list<'a, T>(
    d: &mut Decoder<'a>,
    read: impl Fn(&mut Decoder<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let items = length(d.array()?)?;
    let mut found = Vec::new();
    for _ in 0..items {
        found.push(read(d)?);
    }
    Ok(found)
}

fn expect_array(d: &mut Decoder<'_>, items: u64) -> Result<(), Malformed> {
    if length(d.array()?)? == items {
        Ok(())
    } else {
        Err(Malformed::new(format!("expected {items} items")))
    }
}

fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], Malformed> {
    d.bytes()?
        .try_into()
        .map_err(|_| Malformed::new(format!("expected {N} bytes")))
}

//! Reads frames in CBOR.
//!
//! The first place that bytes of the other side meet: what comes out of here has the shape that
//! the types promise. Lengths are announced by the sender, so none of them decides how much memory
//! is taken before the items themselves were there.

use std::collections::HashSet;

use minicbor::Decoder;
use minicbor::data::Type as Kind;

use super::Malformed;
use super::cbor::{attributes, check, has_few_items, key, length, whole};
use crate::change::{Change, Group, GroupHash, GroupId, Op, Origin};
use crate::code::Code;
use crate::digest::Sum;
use crate::frame::{
    Chosen, Comparison, Digest, Fetch, Frame, HashedRow, Hashes, Held, Hello, History, Page,
    PageEnd, Part, Position, Problem, Received, Verify, Welcome, Window,
};
use crate::inbox::{Closed, Closing, Decided};
use crate::limits::{
    CHOSEN_VALUES_MAX, FRAME_ITEMS_MAX, GROUP_CHANGES_MAX, INBOX_GROUPS, LOG_ENTRIES,
    VERIFY_DEPTH_MAX, VERIFY_ROWS_MAX,
};
use crate::log::{Level, LogEntry};
use crate::outcome::{GroupOutcome, Theirs, Verdict, VerdictKind};
use crate::rows::RowBlock;

/// How many items each frame has, by its number.
const FRAME_ITEMS: [u64; 26] = [
    7, 7, 3, 3, 2, 3, 5, 3, 4, 1, 3, 6, 3, 4, 3, 5, 3, 4, 3, 4, 5, 2, 2, 2, 2, 2,
];

/// Reads the body of one frame.
pub(crate) fn read(body: &[u8]) -> Result<Frame, Malformed> {
    let d = &mut Decoder::new(body);
    let items = length(d.array()?)?;
    let number = d.u8()?;
    if FRAME_ITEMS.get(usize::from(number)) != Some(&items) {
        return Err(Malformed::new(format!("frame {number} of {items} items")));
    }
    let frame = match number {
        0 => Frame::Hello(Hello {
            protocol: d.u32()?,
            model: d.str()?.to_owned(),
            device: d.str()?.to_owned(),
            unit: d.str()?.to_owned(),
            pull: positions(d)?,
            checkpoints: list(d, |d| Ok(d.bytes()?.to_vec()))?,
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
        4 => Frame::Settled {
            checkpoint: d.bytes()?.to_vec(),
        },
        5 => Frame::Page(Page {
            from: positions(d)?,
            reset: list(d, string)?,
        }),
        6 => Frame::Rows(rows(d)?),
        7 => Frame::Gone {
            entity: string(d)?,
            keys: list(d, key)?,
        },
        8 => Frame::PageEnd(page_end(d)?),
        9 => Frame::End,
        10 => Frame::Problem(Problem {
            code: Code::parse(d.str()?),
            message: string(d)?,
        }),
        number => later(d, number)?,
    };
    if d.position() == body.len() {
        Ok(frame)
    } else {
        Err(Malformed::new(format!(
            "frame {number} has bytes left over"
        )))
    }
}

/// The frames from 11 on.
fn later(d: &mut Decoder<'_>, number: u8) -> Result<Frame, Malformed> {
    Ok(match number {
        11 => Frame::Part(Part {
            group: GroupId(fixed(d)?),
            hash: fixed(d)?,
            total: d.u32()?,
            at: d.u32()?,
            bytes: d.bytes()?.to_vec(),
        }),
        12 => Frame::Received(Received {
            group: GroupId(fixed(d)?),
            bytes: d.u32()?,
        }),
        13 => Frame::Held(Held {
            entity: string(d)?,
            gained: list(d, |d| Ok(d.i64()?))?,
            lost: list(d, |d| Ok(d.i64()?))?,
        }),
        14 => Frame::Chosen(chosen(d)?),
        15 => Frame::Window(Window {
            entity: string(d)?,
            attribute: string(d)?,
            keep: comparison(d.str()?)?,
            bound: string(d)?,
        }),
        16 => Frame::History(History {
            checkpoint: d.bytes()?.to_vec(),
            groups: list(d, |d| Ok(GroupId(fixed(d)?)))?,
        }),
        17 => Frame::Verify(Verify {
            entity: string(d)?,
            depth: depth(u64::from(d.u8()?))?,
            buckets: few(d, 1 << VERIFY_DEPTH_MAX, |d| Ok(d.u32()?))?,
        }),
        18 => Frame::Fetch(Fetch {
            entity: string(d)?,
            keys: few(d, VERIFY_ROWS_MAX, key)?,
        }),
        19 => Frame::Digest(Digest {
            entity: string(d)?,
            depth: depth(u64::from(d.u8()?))?,
            sums: list(d, sum)?,
        }),
        20 => Frame::Hashes(Hashes {
            entity: string(d)?,
            depth: depth(u64::from(d.u8()?))?,
            complete: d.bool()?,
            rows: list(d, hashed_row)?,
        }),
        21 => Frame::Lost {
            groups: list(d, |d| Ok(GroupId(fixed(d)?)))?,
        },
        22 => Frame::Inbox {
            decided: few(d, INBOX_GROUPS, decided)?,
        },
        23 => Frame::Closed {
            groups: few(d, INBOX_GROUPS, closed)?,
        },
        24 => Frame::Log {
            entries: few(d, LOG_ENTRIES, entry)?,
        },
        _ => Frame::Logged { to: d.i64()? },
    })
}

fn entry(d: &mut Decoder<'_>) -> Result<LogEntry, Malformed> {
    expect_array(d, 7)?;
    short(LogEntry {
        id: fixed(d)?,
        n: d.i64()?,
        at_ms: d.i64()?,
        level: level(d.str()?)?,
        module: string(d)?,
        message: string(d)?,
        dropped: d.u32()?,
    })
}

/// The level of this word.
pub(super) fn level(word: &str) -> Result<Level, Malformed> {
    let unknown = || Malformed::new(format!("no level is `{}`", word.escape_debug()));
    Level::parse(word).ok_or_else(unknown)
}

/// An entry of a log, unless its texts are longer than they may be.
pub(super) fn short(entry: LogEntry) -> Result<LogEntry, Malformed> {
    match entry.is_short() {
        true => Ok(entry),
        false => Err(Malformed::new("an entry of a log is too long")),
    }
}

fn decided(d: &mut Decoder<'_>) -> Result<Decided, Malformed> {
    expect_array(d, 5)?;
    Ok(Decided {
        group: GroupId(fixed(d)?),
        into: optional(d, |d| Ok(GroupId(fixed(d)?)))?,
        by: string(d)?,
        at_ms: d.i64()?,
        verdicts: list(d, verdict)?,
    })
}

fn closed(d: &mut Decoder<'_>) -> Result<Closed, Malformed> {
    expect_array(d, 2)?;
    Ok(Closed {
        group: GroupId(fixed(d)?),
        how: closing(d.str()?)?,
    })
}

/// The closing of this word.
pub(super) fn closing(word: &str) -> Result<Closing, Malformed> {
    let unknown = || Malformed::new(format!("no group is closed as `{}`", word.escape_debug()));
    Closing::parse(word).ok_or_else(unknown)
}

/// How many bits name a bucket.
pub(super) fn depth(depth: u64) -> Result<u8, Malformed> {
    let depth = u8::try_from(depth).ok();
    let depth = depth.filter(|depth| *depth <= VERIFY_DEPTH_MAX);
    let message = || format!("a depth is {VERIFY_DEPTH_MAX} at most");
    depth.ok_or_else(|| Malformed::new(message()))
}

fn sum(d: &mut Decoder<'_>) -> Result<Sum, Malformed> {
    expect_array(d, 2)?;
    Ok(Sum {
        rows: d.u64()?,
        sum: u128::from_be_bytes(fixed(d)?),
    })
}

fn hashed_row(d: &mut Decoder<'_>) -> Result<HashedRow, Malformed> {
    expect_array(d, 3)?;
    Ok(HashedRow {
        key: key(d)?,
        hash: fixed(d)?,
        value: optional(d, |d| Ok(d.i64()?))?,
    })
}

/// The comparison of this sign.
pub(super) fn comparison(sign: &str) -> Result<Comparison, Malformed> {
    Comparison::parse(sign).ok_or_else(|| Malformed::new("a window compares by <, <=, > or >="))
}

fn group(d: &mut Decoder<'_>) -> Result<Group, Malformed> {
    let id = GroupId(fixed(d)?);
    if !has_few_items(d.input()) {
        return Err(too_large(id, format!("{FRAME_ITEMS_MAX} items")));
    }
    let hash: GroupHash = fixed(d)?;
    let absorbed = list(d, |d| Ok(GroupId(fixed(d)?)))?;
    let group = Group {
        id,
        absorbed,
        origins: list(d, origin)?,
        changes: changes(d, id)?,
        checkpoint: d.bytes()?.to_vec(),
    };
    if group.hash() == hash {
        Ok(group)
    } else {
        Err(Malformed::new(format!(
            "group {id} does not match its hash"
        )))
    }
}

/// The changes of a group; too many of them are not read at all.
fn changes(d: &mut Decoder<'_>, id: GroupId) -> Result<Vec<Change>, Malformed> {
    let announced = length(d.probe().array()?)?;
    if announced > GROUP_CHANGES_MAX as u64 {
        return Err(too_large(id, format!("{GROUP_CHANGES_MAX} changes")));
    }
    list(d, change)
}

fn too_large(id: GroupId, most: impl std::fmt::Display) -> Malformed {
    let message = format!("group {id} has more than {most}");
    Malformed::over(Code::GROUP_TOO_LARGE, message)
}

/// What the app chose; more values than there may be are not read at all.
fn chosen(d: &mut Decoder<'_>) -> Result<Chosen, Malformed> {
    let scope = string(d)?;
    let announced = length(d.probe().array()?)?;
    if announced > CHOSEN_VALUES_MAX as u64 {
        let message = format!("a request chooses {CHOSEN_VALUES_MAX} values at most");
        return Err(Malformed::over(Code::TOO_MANY_CHOSEN, message));
    }
    let values = key(d)?;
    Ok(Chosen { scope, values })
}

fn origin(d: &mut Decoder<'_>) -> Result<Origin, Malformed> {
    expect_array(d, 4)?;
    Ok(Origin {
        entity: string(d)?,
        temporary: d.i64()?,
        group: GroupId(fixed(d)?),
        at: d.u32()?,
    })
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

/// Reads verdicts that stand alone.
pub(super) fn read_verdicts(bytes: &[u8]) -> Result<Vec<Verdict>, Malformed> {
    whole(bytes, |d| list(d, verdict))
}

fn verdict(d: &mut Decoder<'_>) -> Result<Verdict, Malformed> {
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
            Kind::Bool if !d.bool()? => Some(Theirs::Gone),
            Kind::Bool => return Err(Malformed::new("theirs is a row, null or false")),
            _ => optional(d, attributes)?.map(Theirs::Row),
        },
        overwritten: attributes(d)?,
    })
}

/// Rows whose cells are all there and all readable: whoever takes the block need not fear that it
/// breaks off half-way.
fn rows(d: &mut Decoder<'_>) -> Result<RowBlock, Malformed> {
    let entity = string(d)?;
    let columns = list(d, string)?;
    check_columns(&columns)?;
    let (count, cells) = (d.u64()?, d.bytes()?);
    let expected = count.checked_mul(columns.len() as u64);
    let Some(expected) = expected.filter(|expected| *expected <= cells.len() as u64) else {
        return Err(Malformed::new("rows: fewer cells than announced"));
    };
    let of_cells = &mut Decoder::new(cells);
    for _ in 0..expected {
        check(of_cells)?;
    }
    if of_cells.position() != cells.len() {
        return Err(Malformed::new("rows: cells are left over"));
    }
    Ok(RowBlock {
        entity,
        columns,
        count: usize::try_from(count).map_err(|_| Malformed::new("rows: too many"))?,
        cells: cells.to_vec(),
    })
}

/// Rows have an identifier at least, and no column twice.
pub(super) fn check_columns(columns: &[String]) -> Result<(), Malformed> {
    let mut names = HashSet::new();
    if columns.is_empty() {
        return Err(Malformed::new("rows: no columns"));
    }
    match columns.iter().find(|name| !names.insert(name.as_str())) {
        Some(name) => Err(Malformed::new(format!(
            "rows: the column `{name}` stands twice"
        ))),
        None => Ok(()),
    }
}

fn page_end(d: &mut Decoder<'_>) -> Result<PageEnd, Malformed> {
    Ok(PageEnd {
        to: by_entity(d, |d| Ok(d.bytes()?.to_vec()))?,
        complete: d.bool()?,
        remaining: optional(d, |d| Ok(d.u64()?))?,
    })
}

fn positions(d: &mut Decoder<'_>) -> Result<Vec<(String, Option<Position>)>, Malformed> {
    by_entity(d, |d| optional(d, |d| Ok(d.bytes()?.to_vec())))
}

/// Reads a map whose keys are names of entities.
fn by_entity<'a, T>(
    d: &mut Decoder<'a>,
    read: impl Fn(&mut Decoder<'a>) -> Result<T, Malformed>,
) -> Result<Vec<(String, T)>, Malformed> {
    let (mut found, mut names) = (Vec::new(), HashSet::new());
    for _ in 0..length(d.map()?)? {
        let name = d.str()?;
        if !names.insert(name) {
            return Err(Malformed::new(format!("the entity `{name}` stands twice")));
        }
        found.push((name.to_owned(), read(d)?));
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
    if d.datatype()? == Kind::Null {
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

/// Reads an array that may have `most` items; a longer one is not read at all.
fn few<'a, T>(
    d: &mut Decoder<'a>,
    most: usize,
    read: impl Fn(&mut Decoder<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let announced = length(d.probe().array()?)?;
    if announced > most as u64 || !has_few_items(d.input()) {
        return Err(Malformed::new(format!("a list of {most} items at most")));
    }
    list(d, read)
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

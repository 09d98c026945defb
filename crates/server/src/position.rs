//! The position token: exactly which changes of one entity a device has seen.
//!
//! Opaque to the device and authenticated, so that no device can make itself skip a change or
//! read a key of another entity out of it. Layout, all of it under the code at its end:
//!
//! ```text
//!   version 1 byte | epoch 8 | change varint | progress 1 | held 8 | instant 8 |
//!   fan-out length varint, bytes | seen varint, last… | code 8
//! ```
//!
//! `instant` is there only for an entity with a window, and the progress says so too. While rows
//! that come in by time are being sent, the instant before stands in front of the last key.
//!
//! `held`, a digest of the values whose rows the device has, is there only for an entity with a
//! scope; `fan-out` only where a page ended among the rows that show one changed row; the progress
//! says so. What follows is there only while rows were read that are newer than the change number:
//! how far beyond it, and of a download the last key.
//!
//! The entity's name, with what else decides which rows a token stands for, is part of what the
//! code is computed over, and not of the token: a token of one entity is no token of another. A
//! token that cannot be read is no error anywhere: its entity starts over.

use afield_protocol::{Checkpoint, Position};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The layout above. Another number means: start over.
const VERSION: u8 = 3;

/// What a checkpoint's code is computed over in an entity's place.
const OF_NO_ENTITY: &str = "";

/// Marks the progress of a token that has a digest.
const WITH_HELD: u8 = 16;

/// Marks the progress of a token that has an instant.
const WITH_INSTANT: u8 = 64;

/// Marks the progress of a token that has a fan-out.
const WITH_FAN_OUT: u8 = 32;

/// Bytes of the code: a forger has one chance in 2^64 a try, and gains a wrong page of rows that
/// he may read anyway.
const CODE_BYTES: usize = 8;

/// The key of the codes, made once for a database and kept in it.
pub type CodeKey = [u8; 32];

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The history that the number belongs to.
    pub epoch: [u8; 8],
    /// The change number up to which everything was seen; of an unfinished download, the number
    /// at which it began.
    pub change: i64,
    /// What is unfinished.
    pub progress: Progress,
    /// Of an entity with a scope: a digest of the values whose rows the device has.
    pub held: Option<u64>,
    /// Of an entity with a window: the time by which its rows were chosen, in seconds since 1970.
    pub instant: Option<i64>,
    /// How far the rows were delivered that show a row whose change has the next number, in the
    /// storage's own encoding; none if none of them was.
    pub fan_out: Option<Vec<u8>>,
}

/// How far a download has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is unfinished.
    Idle,
    /// The download has begun and no row was delivered.
    BeforeFirst,
    /// The download goes on behind a key.
    After {
        /// The key, in the storage's own encoding; of a scan of one value, that value too.
        last: Vec<u8>,
        /// The change number of the newest snapshot that rows were read from.
        seen: i64,
    },
    /// The rows that have come into the window since an instant before go on behind one of them.
    Entering {
        /// Its place, in the storage's own encoding.
        last: Vec<u8>,
        /// The change number of the newest snapshot that rows were read from.
        seen: i64,
        /// The instant up to which the device had all rows.
        before: i64,
    },
    /// All rows were delivered; the changes since the download began are not.
    Closing {
        /// The change number of the newest snapshot that rows were read from.
        seen: i64,
    },
}

impl Place {
    /// The highest change number whose effects the device may have: rows of a download are newer
    /// than its beginning.
    pub fn seen(&self) -> i64 {
        match self.progress {
            Progress::Idle | Progress::BeforeFirst => self.change,
            Progress::After { seen, .. }
            | Progress::Entering { seen, .. }
            | Progress::Closing { seen } => seen.max(self.change),
        }
    }
}

/// Makes the token of `entity` for `place`.
pub fn seal(key: &CodeKey, entity: &str, place: &Place) -> Position {
    let mut token = vec![VERSION];
    token.extend_from_slice(&place.epoch);
    write_varint(&mut token, place.change.unsigned_abs());
    let beyond = place.seen().abs_diff(place.change);
    let progress = match &place.progress {
        Progress::Idle => 0,
        Progress::BeforeFirst => 1,
        Progress::After { .. } => 2,
        Progress::Closing { .. } => 3,
        Progress::Entering { .. } => 4,
    };
    let with = |flag, is: bool| if is { flag } else { 0 };
    let held = with(WITH_HELD, place.held.is_some());
    let instant = with(WITH_INSTANT, place.instant.is_some());
    token.push(progress | held | instant | with(WITH_FAN_OUT, place.fan_out.is_some()));
    token.extend(place.held.iter().flat_map(|held| held.to_be_bytes()));
    token.extend(place.instant.iter().flat_map(|at| at.to_be_bytes()));
    if let Some(fan_out) = &place.fan_out {
        write_varint(&mut token, fan_out.len() as u64);
        token.extend_from_slice(fan_out);
    }
    match &place.progress {
        Progress::Idle | Progress::BeforeFirst => {}
        Progress::After { last, .. } => {
            write_varint(&mut token, beyond);
            token.extend_from_slice(last);
        }
        Progress::Entering { last, before, .. } => {
            write_varint(&mut token, beyond);
            token.extend_from_slice(&before.to_be_bytes());
            token.extend_from_slice(last);
        }
        Progress::Closing { .. } => write_varint(&mut token, beyond),
    }
    sealed(key, entity, token)
}

/// A token of `entity`: what it says, and the code behind it.
pub(crate) fn sealed(key: &CodeKey, entity: &str, mut token: Vec<u8>) -> Vec<u8> {
    let code = code(key, entity, &token).finalize().into_bytes();
    token.extend(code.into_iter().take(CODE_BYTES));
    token
}

/// What a token of `entity` says. `None` if this database's key did not make it for this entity.
pub(crate) fn opened<'t>(key: &CodeKey, entity: &str, token: &'t [u8]) -> Option<&'t [u8]> {
    let (body, code_found) = token.split_at_checked(token.len().checked_sub(CODE_BYTES)?)?;
    code(key, entity, body)
        .verify_truncated_left(code_found)
        .ok()?;
    Some(body)
}

/// Makes a checkpoint: a change number of an epoch, of no entity. Pass the newest that is known to
/// be durable.
pub fn seal_checkpoint(key: &CodeKey, epoch: [u8; 8], change: i64) -> Checkpoint {
    let place = Place {
        epoch,
        change,
        progress: Progress::Idle,
        held: None,
        instant: None,
        fan_out: None,
    };
    seal(key, OF_NO_ENTITY, &place)
}

/// Reads what [`seal_checkpoint`] made: epoch and change number.
pub fn open_checkpoint(key: &CodeKey, token: &[u8]) -> Option<([u8; 8], i64)> {
    open(key, OF_NO_ENTITY, token).map(|place| (place.epoch, place.change))
}

/// Reads a token of `entity`. `None` if this database's key did not make it for this entity.
pub fn open(key: &CodeKey, entity: &str, token: &[u8]) -> Option<Place> {
    let (version, rest) = opened(key, entity, token)?.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (change, rest) = read_varint(rest)?;
    let change = i64::try_from(change).ok()?;
    let (progress, rest) = rest.split_first()?;
    let (held, rest) = match progress & WITH_HELD {
        0 => (None, rest),
        _ => {
            let (held, rest) = rest.split_first_chunk::<8>()?;
            (Some(u64::from_be_bytes(*held)), rest)
        }
    };
    let (instant, rest) = match progress & WITH_INSTANT {
        0 => (None, rest),
        _ => {
            let (instant, rest) = rest.split_first_chunk::<8>()?;
            (Some(i64::from_be_bytes(*instant)), rest)
        }
    };
    let (fan_out, rest) = match progress & WITH_FAN_OUT {
        0 => (None, rest),
        _ => {
            let (length, rest) = read_varint(rest)?;
            let (fan_out, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Some(fan_out.to_vec()), rest)
        }
    };
    let progress = progress & !(WITH_HELD | WITH_INSTANT | WITH_FAN_OUT);
    Some(Place {
        epoch: *epoch,
        change,
        progress: progress_of(progress, rest, change)?,
        held,
        instant,
        fan_out,
    })
}

fn progress_of(progress: u8, rest: &[u8], change: i64) -> Option<Progress> {
    match (progress, rest) {
        (0, []) => return Some(Progress::Idle),
        (1, []) => return Some(Progress::BeforeFirst),
        _ => {}
    }
    let (beyond, last) = read_varint(rest)?;
    let seen = change.checked_add_unsigned(beyond)?;
    match (progress, last) {
        (2, last) => Some(Progress::After {
            last: last.to_vec(),
            seen,
        }),
        (3, []) => Some(Progress::Closing { seen }),
        (4, rest) => {
            let (before, last) = rest.split_first_chunk::<8>()?;
            Some(Progress::Entering {
                last: last.to_vec(),
                seen,
                before: i64::from_be_bytes(*before),
            })
        }
        _ => None,
    }
}

fn code(key: &CodeKey, entity: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut code = Hmac::<Sha256>::new_from_slice(key).expect("a code takes a key of any length");
    code.update(b"afield position\0");
    code.update(&(entity.len() as u64).to_be_bytes());
    code.update(entity.as_bytes());
    code.update(body);
    code
}

/// Appends `number` with seven bits a byte, lowest first.
pub(crate) fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while let low @ 128.. = number {
        out.push(low.to_le_bytes()[0] | 128);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Reads what [`write_varint`] wrote, and what follows it.
pub(crate) fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 127);
        number |= bits.checked_shl(u32::try_from(at * 7).ok()?)?;
        if byte & 128 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CodeKey = [9; 32];

    fn after(last: &[u8], seen: i64) -> Progress {
        Progress::After {
            last: last.to_vec(),
            seen,
        }
    }

    fn places() -> Vec<Place> {
        let progress = |change: i64| {
            [
                Progress::Idle,
                Progress::BeforeFirst,
                after(b"some key", change),
                after(b"", change.saturating_add(1 << 20)),
                Progress::Closing {
                    seen: change.saturating_add(400),
                },
                Progress::Entering {
                    last: b"a place".to_vec(),
                    seen: change.saturating_add(3),
                    before: -7,
                },
            ]
        };
        let place = |held: Option<u64>, change: i64| {
            progress(change).map(|progress| Place {
                epoch: *b"an epoch",
                change,
                progress,
                held,
                instant: (change % 2 == 0).then_some(change - 5),
                fan_out: (change % 3 == 1).then(|| b"some rows".to_vec()),
            })
        };
        let changes = [0, 1, 127, 128, 300, 1 << 40, i64::MAX];
        let without = changes.into_iter().flat_map(|at| place(None, at));
        let with = changes
            .into_iter()
            .flat_map(|at| place(Some(at.unsigned_abs() + 7), at));
        without.chain(with).collect()
    }

    #[test]
    fn tokens_read_back_and_are_small() {
        for place in places() {
            let token = seal(&KEY, "visit", &place);
            assert_eq!(open(&KEY, "visit", &token), Some(place.clone()));
            let more = [place.held.is_some(), place.instant.is_some()];
            let most = 28 + 8 * more.into_iter().filter(|is| *is).count();
            let most = most + place.fan_out.as_ref().map_or(0, |rows| rows.len() + 1);
            assert!(place.progress != Progress::Idle || token.len() <= most);
        }
    }

    #[test]
    fn p7_any_flipped_bit_makes_it_no_token() {
        for place in places() {
            let token = seal(&KEY, "visit", &place);
            for bit in 0..token.len() * 8 {
                let mut forged = token.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(&KEY, "visit", &forged), None, "bit {bit} of {place:?}");
            }
        }
    }

    #[test]
    fn p7_other_entities_other_keys_and_pieces_are_no_token() {
        let token = seal(&KEY, "visit", &places()[2]);
        assert_eq!(open(&KEY, "visits", &token), None);
        assert_eq!(open(&[8; 32], "visit", &token), None);
        for length in 0..token.len() {
            assert_eq!(open(&KEY, "visit", &token[..length]), None);
        }
        let mut longer = token;
        longer.push(0);
        assert_eq!(open(&KEY, "visit", &longer), None);
    }
}

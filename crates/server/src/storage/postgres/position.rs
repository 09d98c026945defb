//! The position token: exactly which changes of one entity a device has seen.
//!
//! ```text
//!   version 1 byte | epoch 8 | from | flags 1 | held 8 | instant 8 | seen | progress… | code 8
//!   a snapshot: xmax varint | number of running varint | xmax − last running, … varints
//! ```
//!
//! `from` is the snapshot of which the device has everything. `held`, `instant` and `seen` are
//! there if the flags say so. `seen` is the newest snapshot that rows were read from, where these
//! are newer than `from`: a copy of the database that does not contain it has another history.
//!
//! The entity's name, with what else decides which rows a token stands for, is part of what the
//! code is computed over, and not of the token. A token that cannot be read is no error: its entity
//! starts over.

use afield_protocol::{Checkpoint, Position};

use super::marks::Snapshot;
use crate::position::{CodeKey, opened, read_varint, sealed, write_varint};

/// The layout above. Another number means: start over.
const VERSION: u8 = 64;

/// What a checkpoint's code is computed over in an entity's place.
const OF_NO_ENTITY: &str = "";

const PROGRESS: u8 = 7;
const WITH_HELD: u8 = 16;
const WITH_INSTANT: u8 = 32;
const WITH_SEEN: u8 = 64;

/// Running transactions that a token may name: more than a database has connections.
const RUNNING_MAX: u64 = 1 << 18;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The history that the snapshots belong to.
    pub epoch: [u8; 8],
    /// The snapshot of which the device has everything; of an unfinished download, the one at
    /// which it began.
    pub from: Snapshot,
    /// The newest snapshot that rows were read from, if they are newer.
    pub seen: Option<Snapshot>,
    /// What is unfinished.
    pub progress: Progress,
    /// Of an entity with a scope: a digest of the values whose rows the device has.
    pub held: Option<u64>,
    /// Of an entity with a window: the time by which its rows were chosen, in seconds since 1970.
    pub instant: Option<i64>,
}

/// What is unfinished. Places within are in encodings of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing.
    Idle,
    /// The download has begun and no row was delivered.
    BeforeFirst,
    /// The download goes on behind a key; of a scan of one value, behind that value and key.
    After { last: Vec<u8> },
    /// The rows that have come into the window since an instant before go on behind one of them.
    Entering { last: Vec<u8>, before: i64 },
    /// The changes since `from` that `next` sees were delivered up to a place. When they are
    /// through, the device has everything of `next`.
    Delta { next: Snapshot, at: Vec<u8> },
    /// Nothing is begun, but rows are newer than `from`.
    Closing,
}

impl Place {
    /// The snapshots that it names: of each, the device may have what it sees.
    pub(super) fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        let next = match &self.progress {
            Progress::Delta { next, .. } => Some(next),
            _ => None,
        };
        [Some(&self.from), self.seen.as_ref(), next]
            .into_iter()
            .flatten()
    }
}

/// Makes the token of `entity` for `place`.
pub(super) fn seal(key: &CodeKey, entity: &str, place: &Place) -> Position {
    let mut token = vec![VERSION];
    token.extend_from_slice(&place.epoch);
    write_snapshot(&mut token, &place.from);
    let progress = match &place.progress {
        Progress::Idle => 0,
        Progress::BeforeFirst => 1,
        Progress::After { .. } => 2,
        Progress::Entering { .. } => 3,
        Progress::Delta { .. } => 4,
        Progress::Closing => 5,
    };
    let with = |flag, is: bool| if is { flag } else { 0 };
    let held = with(WITH_HELD, place.held.is_some());
    let instant = with(WITH_INSTANT, place.instant.is_some());
    token.push(progress | held | instant | with(WITH_SEEN, place.seen.is_some()));
    token.extend(place.held.iter().flat_map(|held| held.to_be_bytes()));
    token.extend(place.instant.iter().flat_map(|at| at.to_be_bytes()));
    if let Some(seen) = &place.seen {
        write_snapshot(&mut token, seen);
    }
    match &place.progress {
        Progress::Idle | Progress::BeforeFirst | Progress::Closing => {}
        Progress::After { last } => token.extend_from_slice(last),
        Progress::Entering { last, before } => {
            token.extend_from_slice(&before.to_be_bytes());
            token.extend_from_slice(last);
        }
        Progress::Delta { next, at } => {
            write_snapshot(&mut token, next);
            token.extend_from_slice(at);
        }
    }
    sealed(key, entity, token)
}

/// Reads a token of `entity`. `None` if this database's key did not make it for this entity.
pub(super) fn open(key: &CodeKey, entity: &str, token: &[u8]) -> Option<Place> {
    let (version, rest) = opened(key, entity, token)?.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (from, rest) = read_snapshot(rest)?;
    let (flags, mut rest) = rest.split_first()?;
    let mut number = |flag| match flags & flag {
        0 => Some(None),
        _ => {
            let (bytes, behind) = rest.split_first_chunk::<8>()?;
            rest = behind;
            Some(Some(*bytes))
        }
    };
    let held = number(WITH_HELD)?.map(u64::from_be_bytes);
    let instant = number(WITH_INSTANT)?.map(i64::from_be_bytes);
    let (seen, rest) = match flags & WITH_SEEN {
        0 => (None, rest),
        _ => read_snapshot(rest).map(|(seen, rest)| (Some(seen), rest))?,
    };
    Some(Place {
        epoch: *epoch,
        from,
        seen,
        progress: progress_of(flags & PROGRESS, rest)?,
        held,
        instant,
    })
}

fn progress_of(progress: u8, rest: &[u8]) -> Option<Progress> {
    Some(match (progress, rest) {
        (0, []) => Progress::Idle,
        (1, []) => Progress::BeforeFirst,
        (2, last) => Progress::After {
            last: last.to_vec(),
        },
        (3, rest) => {
            let (before, last) = rest.split_first_chunk::<8>()?;
            Progress::Entering {
                last: last.to_vec(),
                before: i64::from_be_bytes(*before),
            }
        }
        (4, rest) => {
            let (next, at) = read_snapshot(rest)?;
            Progress::Delta {
                next,
                at: at.to_vec(),
            }
        }
        (5, []) => Progress::Closing,
        _ => return None,
    })
}

/// Makes a checkpoint: a snapshot of an epoch, of no entity. Pass the newest that is known to be
/// durable.
pub(super) fn seal_checkpoint(key: &CodeKey, epoch: [u8; 8], from: &Snapshot) -> Checkpoint {
    let place = Place {
        epoch,
        from: from.clone(),
        seen: None,
        progress: Progress::Idle,
        held: None,
        instant: None,
    };
    seal(key, OF_NO_ENTITY, &place)
}

/// Reads what [`seal_checkpoint`] made: epoch and snapshot.
pub(super) fn open_checkpoint(key: &CodeKey, token: &[u8]) -> Option<([u8; 8], Snapshot)> {
    open(key, OF_NO_ENTITY, token).map(|place| (place.epoch, place.from))
}

fn write_snapshot(out: &mut Vec<u8>, snapshot: &Snapshot) {
    write_varint(out, snapshot.xmax);
    write_varint(out, snapshot.running.len() as u64);
    let mut above = snapshot.xmax;
    for xid in snapshot.running.iter().rev() {
        write_varint(out, above.saturating_sub(*xid));
        above = *xid;
    }
}

/// A snapshot without a running transaction has everything below its end behind it.
fn read_snapshot(bytes: &[u8]) -> Option<(Snapshot, &[u8])> {
    let (xmax, rest) = read_varint(bytes)?;
    let (count, mut rest) = read_varint(rest)?;
    let mut running = Vec::new();
    let mut above = xmax;
    for _ in 0..Some(count).filter(|count| *count <= RUNNING_MAX)? {
        let (below, behind) = read_varint(rest)?;
        above = above.checked_sub(below).filter(|_| below > 0)?;
        running.push(above);
        rest = behind;
    }
    running.reverse();
    let xmin = running.first().copied().unwrap_or(xmax);
    let snapshot = Snapshot {
        xmin,
        xmax,
        running,
    };
    Some((snapshot, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CodeKey = [9; 32];

    fn places() -> Vec<Place> {
        let snapshot = |text: &str| text.parse::<Snapshot>().unwrap();
        let next = snapshot("900:1000:900,950,999");
        let progress = [
            Progress::Idle,
            Progress::BeforeFirst,
            Progress::After {
                last: b"k".to_vec(),
            },
            Progress::After { last: Vec::new() },
            Progress::Entering {
                last: b"a place".to_vec(),
                before: -7,
            },
            Progress::Delta {
                next: next.clone(),
                at: b"at".to_vec(),
            },
            Progress::Closing,
        ];
        let mut places = Vec::new();
        for from in [
            "3:3:",
            "740:743:740",
            "18446744073709551614:18446744073709551615:18446744073709551614",
        ] {
            for (at, progress) in progress.iter().enumerate() {
                places.push(Place {
                    epoch: *b"an epoch",
                    from: snapshot(from),
                    seen: (at % 2 == 1).then(|| next.clone()),
                    progress: progress.clone(),
                    held: (at % 3 == 0).then_some(at as u64 + 7),
                    instant: (at % 4 == 0).then_some(at as i64 - 9),
                });
            }
        }
        places
    }

    #[test]
    fn tokens_read_back_and_idle_ones_are_small() {
        for place in places() {
            let token = seal(&KEY, "visit", &place);
            assert_eq!(open(&KEY, "visit", &token), Some(place.clone()));
        }
        let idle = Place {
            held: None,
            instant: None,
            seen: None,
            from: "70000743:70000743:".parse().unwrap(),
            ..places().remove(0)
        };
        assert!(seal(&KEY, "visit", &idle).len() <= 24);
    }

    #[test]
    fn p7_any_flipped_bit_and_any_other_length_make_it_no_token() {
        for place in places() {
            let token = seal(&KEY, "visit", &place);
            for bit in 0..token.len() * 8 {
                let mut forged = token.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(&KEY, "visit", &forged), None, "bit {bit} of {place:?}");
            }
            for length in 0..token.len() {
                assert_eq!(open(&KEY, "visit", &token[..length]), None);
            }
            assert_eq!(open(&KEY, "visits", &token), None);
            assert_eq!(open(&[8; 32], "visit", &token), None);
        }
    }
}

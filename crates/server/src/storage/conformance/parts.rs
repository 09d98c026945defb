//! Cases of groups that come in pieces.

use afield_protocol::codec::Format;
use afield_protocol::limits::PARTS_OF_USER_BYTES;
use afield_protocol::{Frame, Group, Op, Part};

use super::pushes::{change, group, push};
use super::{Database, table};
use crate::storage::PartTaken;

/// A group that makes rows of `stock` with the identifiers from `id` on.
fn large(id: u8) -> Group {
    let rows = (0..5).map(|n| change(Op::Create, "stock", vec![(1000 + n).into()], &[]));
    group(id, rows.collect())
}

fn bytes(db: &dyn Database, group: &Group) -> Vec<u8> {
    let mut bytes = Vec::new();
    Format::Cbor.write(&db.model().device, &Frame::Group(group.clone()), &mut bytes);
    bytes
}

fn part(group: &Group, bytes: &[u8], from: usize, to: usize) -> Part {
    let number = |n: usize| u32::try_from(n).expect("pieces are small");
    Part {
        group: group.id,
        hash: group.hash(),
        total: number(bytes.len()),
        at: number(from),
        bytes: bytes[from..to].to_vec(),
    }
}

fn take(db: &dyn Database, user: &str, part: &Part) -> PartTaken {
    db.storage()
        .take_part(user, part)
        .expect("the part is taken")
}

/// Pieces that come again, too early, or beside those of another user.
pub fn p2_parts_become_the_whole_in_whatever_order_they_come(db: &mut dyn Database) {
    let group = large(1);
    let bytes = bytes(db, &group);
    let (middle, end) = (bytes.len() / 2, bytes.len());
    let first = part(&group, &bytes, 0, middle);
    let kept = PartTaken::Kept(first.bytes.len().try_into().expect("small"));
    let last = part(&group, &bytes, middle, end);
    assert_eq!(take(db, "ada", &last), PartTaken::Kept(0), "too early");
    assert_eq!(take(db, "ada", &first), kept);
    assert_eq!(take(db, "ada", &first), kept, "twice");
    assert_eq!(take(db, "bob", &last), PartTaken::Kept(0), "another user's");
    db.restart();
    let overlapping = part(&group, &bytes, 1, middle + 1);
    assert_eq!(take(db, "ada", &overlapping), kept, "kept over a restart");
    let whole = PartTaken::Whole(bytes);
    assert_eq!(take(db, "ada", &last), whole);
    assert_eq!(take(db, "ada", &last), whole, "until it is forgotten");
    assert!(table(db, "stock").is_empty(), "keeping applies nothing");
    db.storage()
        .forget_parts("ada", group.id)
        .expect("it is forgotten");
    assert_eq!(take(db, "ada", &last), PartTaken::Kept(0));
}

/// The answer to the last piece was lost: the group is known by its hash.
pub fn p2_parts_of_a_settled_group_get_its_outcome(db: &mut dyn Database) {
    let group = large(1);
    let bytes = bytes(db, &group);
    let outcome = push(db, std::slice::from_ref(&group)).remove(0);
    let last = part(&group, &bytes, 10, bytes.len());
    assert_eq!(take(db, "ada", &last), PartTaken::Known(outcome));
    assert_eq!(take(db, "bob", &last), PartTaken::Kept(0), "another user's");
    let altered = Part {
        hash: [0; 32],
        ..last
    };
    assert_eq!(take(db, "ada", &altered), PartTaken::Kept(0));
}

/// A group that comes again with another length begins anew; and nobody fills the disk.
pub fn p9_parts_are_bounded(db: &mut dyn Database) {
    let big = vec![7; PARTS_OF_USER_BYTES / 4];
    let piece = |id: u8| Part {
        total: u32::try_from(big.len() + 1).expect("fits"),
        ..part(&group(id, Vec::new()), &big, 0, big.len())
    };
    let kept = PartTaken::Kept(u32::try_from(big.len()).expect("fits"));
    for id in 1..=5 {
        assert_eq!(take(db, "ada", &piece(id)), kept);
    }
    let probe = |id: u8| Part {
        bytes: Vec::new(),
        ..piece(id)
    };
    let held = (1..=5)
        .filter(|id| take(db, "ada", &probe(*id)) == kept)
        .count();
    assert_eq!(held, 4, "one of five groups had to go");
    assert_eq!(
        take(db, "ada", &probe(5)),
        kept,
        "and not the one that came last"
    );
    let shorter = Part {
        total: 9,
        bytes: Vec::new(),
        ..piece(5)
    };
    assert_eq!(
        take(db, "ada", &shorter),
        PartTaken::Kept(0),
        "another length"
    );
}

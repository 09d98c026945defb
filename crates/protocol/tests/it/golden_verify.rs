//! The frames with which rows are compared, and the hash of a row written down by hand.

use afield_protocol::digest::{RowHash, RowHasher, Sum};
use afield_protocol::limits::VERIFY_DEPTH_MAX;
use afield_protocol::{
    Attribute, Digest, Entity, Fetch, Frame, HashedRow, Hashes, Identifier, Model, Pattern, Type,
    Value, Verify,
};
use proptest::prelude::*;
use sha2::Digest as _;

use crate::arbitrary::key;
use crate::bless;

/// The bytes under the hash of [`row`], written down by hand from the rule: five items, three
/// attributes, the number of the first way in, and two of a way that is not whole.
const IDENTITY: [u8; 26] = [
    0x86, 0x07, 0x64, b'P', b'o', b'n', b'd', 0xf9, 0x3e, 0x00, 0x1b, 0x10, 0, 0, 0, 0, 0, 0, 0,
    0xf6, 0xf6, 0x82, 0x62, b'A', b'7', 0x02,
];

/// How many of these bytes are the row's; behind them is the identifier of a part.
const ROW_BYTES: usize = 21;

fn visit() -> Entity {
    let attributes = vec![
        Attribute::new("id", Type::Integer),
        Attribute::new("note", Type::Text),
        Attribute::new("score", Type::Real),
    ];
    let (pattern, identifier) = (Pattern::ReadOnly, Identifier::Natural);
    Entity {
        scope: vec![1, 2],
        ..Entity::new("visit", pattern, identifier, 1, attributes)
    }
}

fn part() -> Entity {
    let attributes = vec![
        Attribute::new("code", Type::Text),
        Attribute::new("line", Type::Integer),
    ];
    let (pattern, identifier) = (Pattern::ReadOnly, Identifier::Natural);
    Entity::new("part", pattern, identifier, 2, attributes)
}

fn row() -> RowHash {
    let cells: [Value; 3] = [7.into(), "Pond".into(), 1.5.into()];
    let brought = [Some(1 << 60), None, Some(9)];
    RowHasher::new(&visit()).row(cells.iter().map(Value::as_ref), &brought)
}

fn sum(rows: u64, last: u8) -> Sum {
    let sum = (0xf0 << 120) + u128::from(last);
    Sum { rows, sum }
}

/// One of each.
pub(crate) fn frames() -> [(&'static str, Frame); 4] {
    let row = |line: i64, value| HashedRow {
        key: vec!["A7".into(), line.into()],
        hash: row(),
        value,
    };
    [
        (
            "frame-verify",
            Frame::Verify(Verify {
                entity: "part".into(),
                depth: 3,
                buckets: vec![1, 6],
            }),
        ),
        (
            "frame-fetch",
            Frame::Fetch(Fetch {
                entity: "part".into(),
                keys: vec![vec!["A7".into(), 2.into()]],
            }),
        ),
        (
            "frame-digest",
            Frame::Digest(Digest {
                entity: "part".into(),
                depth: 1,
                sums: vec![sum(0, 0), sum(1_000_000, 9)],
            }),
        ),
        (
            "frame-hashes",
            Frame::Hashes(Hashes {
                entity: "part".into(),
                depth: 3,
                complete: true,
                rows: vec![row(1, Some(1 << 60)), row(2, None)],
            }),
        ),
    ]
}

/// Any of them over the sample model.
pub(crate) fn any_frame(model: &Model) -> BoxedStrategy<Frame> {
    let part = model.entity("part").expect("the sample model has it");
    let depth = || 0..=VERIFY_DEPTH_MAX;
    let buckets = prop::collection::vec(any::<u32>(), 0..5);
    let verify = (depth(), buckets).prop_map(|(depth, buckets)| {
        Frame::Verify(Verify {
            entity: "part".into(),
            depth,
            buckets,
        })
    });
    let fetch = prop::collection::vec(key(part), 0..4).prop_map(|keys| {
        Frame::Fetch(Fetch {
            entity: "part".into(),
            keys,
        })
    });
    let sum = any::<(u64, u128)>().prop_map(|(rows, sum)| Sum { rows, sum });
    let digest = (depth(), prop::collection::vec(sum, 0..4)).prop_map(|(depth, sums)| {
        Frame::Digest(Digest {
            entity: "part".into(),
            depth,
            sums,
        })
    });
    let row = (key(part), any::<[u8; 16]>(), any::<Option<i64>>());
    let row = row.prop_map(|(key, hash, value)| HashedRow { key, hash, value });
    let rows = prop::collection::vec(row, 0..4);
    let hashes = (depth(), any::<bool>(), rows).prop_map(|(depth, complete, rows)| {
        Frame::Hashes(Hashes {
            entity: "part".into(),
            depth,
            complete,
            rows,
        })
    });
    prop_oneof![verify, fetch, digest, hashes].boxed()
}

#[test]
fn p5_the_hash_of_a_row_is_that_of_the_bytes_written_down_by_hand() {
    let (bytes, key) = IDENTITY.split_at(ROW_BYTES);
    let expected = sha2::Sha256::digest(bytes);
    assert_eq!(row(), expected[..16]);
    let id: [Value; 2] = ["A7".into(), 2.into()];
    let bucket = RowHasher::new(&part()).bucket(id.iter().map(Value::as_ref), 12);
    let first = sha2::Sha256::digest(key);
    assert_eq!(
        bucket,
        usize::from(first[0]) << 4 | usize::from(first[1]) >> 4
    );
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let golden = serde_json::json!({
        "hashed": hex(bytes), "hash": hex(&row()), "key": hex(key), "bucket": bucket, "depth": 12,
    });
    bless::check(
        "spec/golden/row-hash.json",
        format!("{golden:#}\n").as_bytes(),
    );
}

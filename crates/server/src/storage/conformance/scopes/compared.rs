//! What a device compares: the rows of buckets, and rows that it asks for.

use std::collections::BTreeSet;

use afield_protocol::digest::RowHasher;
use afield_protocol::{Fetch, Frame, Key, Value, Verify};

use super::super::replica::key_bytes;
use super::{Database, SCOPED, ScopedDevice, ada, bob, fill, run};
use crate::storage::{Compare, PullRequest, PulledPage};

fn compared(
    db: &dyn Database,
    device: &ScopedDevice,
    rows_max: usize,
    compare: Compare,
) -> PulledPage {
    let request = PullRequest {
        compare,
        ..device.request(&SCOPED, rows_max)
    };
    db.storage().pull(db.model(), &request).expect("it pulls")
}

/// Every identifier that the table has.
fn keys(db: &dyn Database, entity: &str) -> Vec<Key> {
    let width = db.model().entity(entity).unwrap().local.key_width;
    let columns = ["id", "part"][..width].join(", ");
    db.query(&format!("SELECT {columns} FROM {entity}"))
}

/// A list of buckets has exactly their rows, each with the hash of the row that the device has.
pub fn p5_buckets_list_their_rows(db: &mut dyn Database) {
    fill(db);
    for mut device in [ada(), bob()] {
        device.pull(db, &SCOPED, 1_000);
        let ask = |entity: &&str| Verify {
            entity: (*entity).to_owned(),
            depth: 2,
            buckets: vec![1, 3],
        };
        let verify = SCOPED.iter().map(ask).collect();
        let fetch = Vec::new();
        let page = compared(db, &device, 1, Compare { verify, fetch });
        let mut listed = 0;
        for frame in &page.frames {
            let Frame::Hashes(hashes) = frame else {
                continue;
            };
            let local = &db.model().entity(&hashes.entity).unwrap().local;
            let mut hasher = RowHasher::new(local);
            let mut expected = BTreeSet::new();
            for (row, numbers) in device.held_rows(&hashes.entity) {
                let key = || row.iter().take(local.key_width);
                let bucket = hasher.bucket(key().map(Value::as_ref), 2);
                if bucket % 2 == 1 {
                    let key: Key = key().cloned().collect();
                    let hash = hasher.row(row.iter().map(Value::as_ref), &numbers);
                    expected.insert((key_bytes(&key), hash));
                }
            }
            let rows = hashes.rows.iter();
            let found: Vec<_> = rows.map(|row| (key_bytes(&row.key), row.hash)).collect();
            assert!(hashes.complete);
            assert_eq!(found.len(), expected.len(), "each row stands once");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
            assert!(hashes.rows.iter().all(|row| row.value.is_some()));
            listed += hashes.rows.len();
        }
        assert!(listed > 20, "{listed}");
    }
}

/// Whoever asks for a row by its identifier gets it if it is his; foreign ones and missing ones
/// are answered alike.
pub fn p7_rows_that_are_asked_for_are_the_users_own(db: &mut dyn Database) {
    fill(db);
    let mut ada = ada();
    ada.pull(db, &SCOPED, 1_000);
    for entity in SCOPED {
        let mut asked = keys(db, entity);
        let missing: Key = match entity {
            "any_task" => vec!["none".into(), 7.into()],
            _ => vec![9_999.into()],
        };
        asked.push(missing);
        asked.push(vec![1.into(), 2.into(), 3.into()]);
        let fetch = vec![Fetch {
            entity: entity.to_owned(),
            keys: asked.clone(),
        }];
        let verify = Vec::new();
        let page = compared(db, &ada, 1_000, Compare { verify, fetch });
        let (mut rows, mut gone) = (0, BTreeSet::new());
        for frame in &page.frames {
            match frame {
                Frame::Rows(block) => rows += block.count,
                Frame::Gone { keys, .. } => gone.extend(keys.iter().map(|key| key_bytes(key))),
                _ => {}
            }
        }
        let mine = ada.rows(entity);
        assert_eq!(rows, mine.len(), "{entity}");
        // But for the one whose width is wrong, which is passed over.
        let others = asked[..asked.len() - 1].iter().map(|key| key_bytes(key));
        let others: BTreeSet<_> = others.filter(|key| !mine.contains_key(key)).collect();
        assert_eq!(gone, others, "{entity}");
        // The rows are as the device has them: it takes them like any others.
        let before = ada.rows(entity);
        ada.is_strict = false;
        ada.apply(db, &page);
        assert_eq!(ada.rows(entity), before);
    }
}

/// A page that is full passes over what does not fit, and what is not complete has no answer.
pub fn p9_what_is_asked_for_fits_the_page(db: &mut dyn Database) {
    fill(db);
    let mut ada = ada();
    ada.pull(db, &SCOPED, 1_000);
    let compare = || Compare {
        verify: vec![Verify {
            entity: "own_task".into(),
            depth: 0,
            buckets: Vec::new(),
        }],
        fetch: vec![Fetch {
            entity: "own_task".into(),
            keys: keys(db, "own_task"),
        }],
    };
    let delivered = |page: &PulledPage| {
        let rows = |frame: &Frame| match frame {
            Frame::Rows(block) => block.count,
            Frame::Gone { keys, .. } => keys.len(),
            _ => 0,
        };
        page.frames.iter().map(rows).sum::<usize>()
    };
    let is_digest = |frame: &Frame| matches!(frame, Frame::Digest(_));
    let page = compared(db, &ada, 5, compare());
    assert_eq!(delivered(&page), 5);
    assert!(page.end.complete && page.frames.iter().any(is_digest));
    run(db, &mut [&mut ada], "UPDATE own_task SET words = 'x'");
    let page = compared(db, &ada, 5, compare());
    assert_eq!(delivered(&page), 5);
    assert!(!page.end.complete && !page.frames.iter().any(is_digest));
}

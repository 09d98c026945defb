//! What an answer tells of a row that is not the user's any more.

use afield_protocol::codec::Format;
use afield_protocol::{Change, Frame, Group, Part, Theirs, Value};

use super::super::pushes::{create, group, update};
use super::tables::MINE;
use super::{ada, codes, member, nothing, push_as, saw};
use crate::storage::PartTaken;
use crate::storage::conformance::Database;

/// Ada's task in a conflict, and her site, whose tally she overwrites without having seen it.
fn telling(db: &mut dyn Database) -> [Group; 2] {
    db.execute("UPDATE task SET label = 'theirs' WHERE id = 1; UPDATE site SET tally = 5");
    let label = saw(
        update("task", 1, &[("label", "x".into())]),
        &[("label", "mine".into())],
    );
    let tally = saw(
        update("site", MINE, &[("tally", 9.into())]),
        &[("tally", 1.into())],
    );
    [group(1, vec![label]), group(2, vec![tally])]
}

/// While the row is in scope the same answer, to the byte; then the code, and none of its values.
pub fn p7_a_repeat_leaves_out_what_left_the_scope(db: &mut dyn Database) {
    let groups = telling(db);
    let first = push_as(db, &ada(), &groups);
    assert!(
        matches!(first[0].verdicts[0].theirs, Some(Theirs::Row(_))),
        "{first:?}"
    );
    assert_eq!(
        first[1].verdicts[0].overwritten,
        [("tally".to_owned(), 5.into())].into()
    );
    assert_eq!(push_as(db, &ada(), &groups), first);
    for leaves in [
        "UPDATE site SET region = 'south'; UPDATE task SET owner = 'eve'",
        "UPDATE site SET region = NULL; UPDATE task SET owner = NULL",
        "DELETE FROM member WHERE id = 'ma'; UPDATE task SET owner = 'eve'",
        "DELETE FROM task; DELETE FROM site",
    ] {
        db.execute(leaves);
        let repeat = push_as(db, &ada(), &groups);
        let (task, site) = (&repeat[0].verdicts[0], &repeat[1].verdicts[0]);
        assert_eq!(task.theirs, Some(Theirs::Gone), "{leaves}");
        assert_eq!(codes(&repeat[0].verdicts), ["row-changed"], "{leaves}");
        assert_eq!(
            (&site.overwritten, &site.values),
            (&nothing(), &nothing()),
            "{leaves}"
        );
        assert_eq!(codes(&repeat[1].verdicts), ["applied"], "{leaves}");
        if !leaves.starts_with("DELETE FROM task") {
            db.execute(
                "INSERT INTO member SELECT 'ma', 'ada', 'north' \
                 WHERE NOT EXISTS (SELECT 1 FROM member WHERE id = 'ma'); \
                 UPDATE site SET region = 'north'; UPDATE task SET owner = 'ada'",
            );
            assert_eq!(
                push_as(db, &ada(), &groups),
                first,
                "back again after {leaves}"
            );
        }
    }
}

/// Rows of everyone are shown again as long as they are there.
pub fn p7_a_repeat_tells_nothing_of_a_deleted_row(db: &mut dyn Database) {
    let taken = group(1, vec![create("letter", "b", &[("words", "mine".into())])]);
    let groups = [taken];
    let first = push_as(db, &ada(), &groups);
    assert_eq!(codes(&first[0].verdicts), ["key-exists"]);
    assert!(
        matches!(first[0].verdicts[0].theirs, Some(Theirs::Row(_))),
        "{first:?}"
    );
    assert_eq!(push_as(db, &ada(), &groups), first);
    db.execute("DELETE FROM letter");
    let repeat = push_as(db, &ada(), &groups);
    assert_eq!(codes(&repeat[0].verdicts), ["key-exists"]);
    assert_eq!(repeat[0].verdicts[0].theirs, Some(Theirs::Gone));
}

/// A row that only the group itself brought into scope is shown by no answer that refuses it.
pub fn p7_a_refused_group_tells_nothing_that_only_it_opened(db: &mut dyn Database) {
    let look = |label: &str| {
        saw(
            update("task", 2, &[("label", "x".into())]),
            &[("label", label.into())],
        )
    };
    let groups = [group(1, vec![member("m2", "ada", "south"), look("stale")])];
    for _ in 0..2 {
        let outcomes = push_as(db, &ada(), &groups);
        assert_eq!(
            codes(&outcomes[0].verdicts),
            ["group-refused", "row-changed"]
        );
        assert_eq!(outcomes[0].verdicts[1].theirs, Some(Theirs::Gone));
        assert!(
            !format!("{outcomes:?}").contains(super::MARKER),
            "{outcomes:?}"
        );
    }
    // In a group of its own the membership stands, and the row is the user's to see.
    let groups = [
        group(2, vec![member("m2", "ada", "south")]),
        group(3, vec![look("stale")]),
    ];
    let outcomes = push_as(db, &ada(), &groups);
    assert!(
        format!("{outcomes:?}").contains(super::MARKER),
        "{outcomes:?}"
    );
}

/// A group that was settled, and comes in parts: its answer is the one of a repeat.
pub fn p7_parts_of_a_settled_group_tell_nothing_either(db: &mut dyn Database) {
    let [group_of_task, _] = telling(db);
    push_as(db, &ada(), std::slice::from_ref(&group_of_task));
    db.execute("UPDATE site SET region = 'south'; UPDATE task SET owner = 'eve'");
    let mut bytes = Vec::new();
    let frame = Frame::Group(group_of_task.clone());
    Format::Cbor.write(&db.model().device, &frame, &mut bytes);
    let total = u32::try_from(bytes.len()).expect("small");
    let part = |at: u32, bytes: &[u8]| Part {
        group: group_of_task.id,
        hash: group_of_task.hash(),
        total,
        at,
        bytes: bytes.to_vec(),
    };
    let take = |part: &Part| db.storage().take_part("ada", part).expect("it is taken");
    assert_eq!(
        take(&part(5, &bytes[5..])),
        PartTaken::Kept(0),
        "all of it must come"
    );
    assert_eq!(take(&part(0, &bytes)), PartTaken::Whole(bytes.clone()));
    let silent: [Change; 1] = [create("pin", 9, &[("owner", Value::from("ada"))])];
    let plain = group(7, silent.into());
    let outcome = push_as(db, &ada(), std::slice::from_ref(&plain)).remove(0);
    let known = Part {
        group: plain.id,
        hash: plain.hash(),
        ..part(5, &bytes[5..])
    };
    assert_eq!(take(&known), PartTaken::Known(outcome));
}

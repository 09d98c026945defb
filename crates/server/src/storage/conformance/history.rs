//! Databases that were set back: the server notices, and says which groups went with that.

use afield_protocol::{Checkpoint, Group, GroupId, History, Verdict};

use super::pushes::{create, group, push};
use super::retention::{KEPT, purge};
use super::{Database, Replica};

/// Applies a create of row `id` under the group of that number; gives what the device keeps of it.
fn applied(db: &dyn Database, id: u8) -> History {
    let change = create("paper", i64::from(id), &[("a", 1.into())]);
    let group = Group {
        checkpoint: db.storage().checkpoint(),
        ..group(id, vec![change])
    };
    let outcome = push(db, &[group]).remove(0);
    assert_eq!(outcome.verdicts, [Verdict::applied()]);
    History {
        checkpoint: db.storage().checkpoint(),
        groups: vec![outcome.group],
    }
}

fn knows(db: &dyn Database, checkpoint: &Checkpoint) -> bool {
    db.storage().knows(checkpoint).unwrap()
}

fn lost(db: &dyn Database, offered: &[&History]) -> Vec<GroupId> {
    let offered: Vec<_> = offered.iter().map(|it| (*it).clone()).collect();
    db.storage().lost("ada", &offered).unwrap()
}

/// What the backup has is there, what came later is lost; also once the database went on.
pub fn p1_groups_that_a_restore_took_are_lost(db: &mut dyn Database) {
    let kept = applied(db, 1);
    db.copy();
    // Its outcome was told after the backup, and it is in it.
    Replica::default().pull(db, &["paper"], 100);
    db.execute("INSERT INTO stock (words) VALUES ('lost')");
    Replica::default().pull(db, &["stock"], 100);
    let late = History {
        checkpoint: db.storage().checkpoint(),
        ..kept.clone()
    };
    let gone = [applied(db, 2), applied(db, 3)];
    assert_eq!(lost(db, &[&kept, &gone[0], &gone[1]]), []);
    assert!(knows(db, &gone[1].checkpoint));
    db.restore();
    for _ in 0..2 {
        assert!(knows(db, &kept.checkpoint));
        assert!(!knows(db, &late.checkpoint));
        assert!(!knows(db, &gone[0].checkpoint) && !knows(db, &gone[1].checkpoint));
        let taken = lost(db, &[&kept, &late, &gone[0], &gone[1]]);
        assert_eq!(taken, [gone[0].groups[0], gone[1].groups[0]]);
        for _ in 0..9 {
            db.execute("INSERT INTO stock (words) VALUES ('it goes on')");
        }
        Replica::default().pull(db, &["stock"], 100);
        db.restart();
    }
    // Sent again under its own id, it is known from then on.
    let again = applied(db, 2);
    assert_eq!(lost(db, &[&gone[0], &gone[1]]), [gone[1].groups[0]]);
    assert!(knows(db, &again.checkpoint));
}

/// Nobody pulled: what the outcomes were told with is noted in the transaction that applied them.
pub fn p1_a_restore_is_noticed_by_the_push_alone(db: &mut dyn Database) {
    db.copy();
    let gone = applied(db, 1);
    db.restore();
    assert!(!knows(db, &gone.checkpoint));
    assert_eq!(lost(db, &[&gone]), gone.groups);
}

/// The backup is from before the server started, so it does not know that epoch at all.
pub fn p1_groups_of_server_starts_that_are_unknown_are_lost(db: &mut dyn Database) {
    let kept = applied(db, 1);
    db.copy();
    db.restart();
    let gone = applied(db, 2);
    db.restart();
    assert!(knows(db, &kept.checkpoint) && knows(db, &gone.checkpoint));
    db.restore();
    assert!(knows(db, &kept.checkpoint) && !knows(db, &gone.checkpoint));
    assert_eq!(lost(db, &[&kept, &gone]), gone.groups);
}

/// The ledger is empty by age, and not by a restore: nobody is asked about what was applied.
pub fn p2_what_the_ledger_forgot_in_time_is_not_lost(db: &mut dyn Database) {
    let old = applied(db, 1);
    db.execute("INSERT INTO stock (words) VALUES ('time passes')");
    purge(db, 2_000);
    db.execute("INSERT INTO stock (words) VALUES ('time passes')");
    purge(db, 2_000 + 4 * KEPT);
    assert_eq!(
        db.query(&format!(
            "SELECT count(*) FROM {}",
            db.bookkeeping("afield_ledger")
        )),
        [[0.into()]],
        "the case needs a ledger that forgot"
    );
    assert_eq!(lost(db, &[&old]), []);
    db.copy();
    let gone = applied(db, 2);
    db.restore();
    assert_eq!(lost(db, &[&old, &gone]), gone.groups);
}

/// A user is told of his own groups alone.
pub fn p2_what_only_others_sent_is_not_known(db: &mut dyn Database) {
    db.copy();
    let gone = applied(db, 1);
    db.restore();
    let again = applied(db, 1);
    assert_eq!(lost(db, &[&gone]), []);
    let of_bob = db.storage().lost("bob", &[gone]).unwrap();
    assert_eq!(of_bob, again.groups);
}

/// A device without a checkpoint claims nothing; whatever else was not made here is of another
/// history.
pub fn p1_no_history_contains_what_nobody_told(db: &mut dyn Database) {
    let known = applied(db, 1);
    assert!(knows(db, &Checkpoint::new()));
    let mut forged = known.checkpoint.clone();
    forged[2] ^= 1;
    let mut longer = known.checkpoint.clone();
    longer.push(0);
    for other in [forged, longer, vec![0; 40], b"x".to_vec()] {
        assert!(!knows(db, &other), "{other:?}");
        let history = History {
            checkpoint: other,
            groups: vec![GroupId([1; 16]), GroupId([9; 16])],
        };
        let missing = lost(db, &[&history]);
        assert!(!missing.contains(&known.groups[0]), "the ledger has it");
        assert_eq!(missing, [GroupId([9; 16])]);
    }
}

//! Cases of devices' logs: that each entry is kept once, under whoever sent it, and no more of them
//! than fit.

use afield_protocol::{Level, LogEntry};

use super::Database;
use super::retention::{KEPT, purge};
use crate::storage::Caller;
use crate::storage::log::{LOG_OF_USER_A_DAY, LogLine, LogQuery};

fn caller(user: &str, device: &str) -> Caller {
    Caller {
        device: device.into(),
        ..Caller::user(user)
    }
}

/// An entry whose id is made of its number.
fn entry(n: i64, level: Level, message: &str) -> LogEntry {
    LogEntry {
        id: (i128::from(n) | 1 << 120).to_be_bytes(),
        n,
        at_ms: 5_000 + n,
        level,
        module: "camera".into(),
        message: message.into(),
        dropped: 0,
    }
}

fn some(n: std::ops::Range<i64>) -> Vec<LogEntry> {
    n.map(|n| entry(n, Level::Info, "picture")).collect()
}

fn log(db: &dyn Database, caller: &Caller, entries: &[LogEntry]) {
    let kept = db.storage().log(caller, entries);
    kept.expect("the log is kept");
}

fn query() -> LogQuery {
    LogQuery {
        user: None,
        device: None,
        module: None,
        level: Level::Debug,
        since: 0,
        most: usize::MAX,
    }
}

fn found(db: &dyn Database, query: &LogQuery) -> Vec<LogLine> {
    db.storage().logs(query).expect("the log is read")
}

fn messages(db: &dyn Database, query: &LogQuery) -> Vec<String> {
    let lines = found(db, query).into_iter();
    lines.map(|line| line.message).collect()
}

/// An entry is kept once, whatever request brings it, also from a copy of the device; others with
/// the same number are others. A count of dropped entries grows and never shrinks.
pub fn p2_an_entry_of_a_log_is_kept_once(db: &mut dyn Database) {
    let ada = caller("ada", "phone");
    log(db, &ada, &some(0..3));
    db.restart();
    log(db, &caller("ada", "copy"), &some(1..5));
    let again = [entry(7, Level::Warn, "b"), entry(7, Level::Warn, "b")];
    log(db, &ada, &again);
    let lines = found(db, &query());
    let seen: Vec<_> = lines.iter().map(|it| (it.at_ms, &*it.device)).collect();
    let expected = [
        (5_000, "phone"),
        (5_001, "phone"),
        (5_002, "phone"),
        (5_003, "copy"),
        (5_004, "copy"),
        (5_007, "phone"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(lines[0].came, 1_000);
    assert!(lines.windows(2).all(|pair| pair[0].n < pair[1].n));
    for (told, kept) in [(5, 5), (8, 8), (6, 8)] {
        let dropped = LogEntry {
            dropped: told,
            ..entry(9, Level::Warn, "dropped")
        };
        log(db, &ada, &[dropped]);
        let last = found(db, &query()).pop().expect("it is kept");
        assert_eq!((last.message.as_str(), last.dropped), ("dropped", kept));
    }
}

/// Whose an entry is follows from who sends it: the same id of somebody else is another entry, and
/// nobody changes or hides what another one's device said.
pub fn p7_logs_of_users_are_apart(db: &mut dyn Database) {
    log(
        db,
        &caller("ada", "phone"),
        &[entry(1, Level::Info, "ada's")],
    );
    let other = LogEntry {
        dropped: 9,
        ..entry(1, Level::Error, "bob's")
    };
    log(db, &caller("bob", "phone"), &[other]);
    let of = |user: &str| LogQuery {
        user: Some(user.into()),
        ..query()
    };
    assert_eq!(messages(db, &of("ada")), ["ada's"]);
    assert_eq!(found(db, &of("ada"))[0].dropped, 0);
    assert_eq!(messages(db, &of("bob")), ["bob's"]);
    assert_eq!(messages(db, &of("eve")), [""; 0]);
}

/// By user, device, module, level and time; the newest of them, in the order in which they came.
/// Texts that no database takes are kept nearly as they are.
pub fn logs_are_found_by_what_is_asked(db: &mut dyn Database) {
    let levels = Level::ALL.iter().zip(1..);
    let entries: Vec<_> = levels
        .map(|(level, n)| entry(n, *level, level.as_str()))
        .collect();
    log(db, &caller("ada", "phone"), &entries);
    db.set_time(2_000);
    let odd = LogEntry {
        module: "scan'ner".into(),
        ..entry(9, Level::Info, "a\0b")
    };
    log(db, &caller("ada", "tablet"), &[odd]);
    let asked = |change: fn(&mut LogQuery)| {
        let mut query = query();
        change(&mut query);
        messages(db, &query)
    };
    let odd = "a\u{fffd}b";
    assert_eq!(asked(|it| it.level = Level::Warn), ["warn", "error"]);
    assert_eq!(asked(|it| it.device = Some("tablet".into())), [odd]);
    assert_eq!(asked(|it| it.module = Some("scan'ner".into())), [odd]);
    assert_eq!(asked(|it| it.since = 2_000), [odd]);
    assert_eq!(asked(|it| it.most = 2), ["error", odd]);
    assert_eq!(asked(|it| it.since = 2_001), [""; 0]);
}

/// Of one user so much is taken in a day, whatever his devices call themselves; how much was too
/// much is said once. Others are not concerned, and the next day brings room.
pub fn p9_the_log_of_a_user_is_bounded(db: &mut dyn Database) {
    let most = LOG_OF_USER_A_DAY;
    for (device, from) in (0..most + 500).step_by(500).enumerate() {
        let device = format!("device {device}");
        log(db, &caller("ada", &device), &some(from..from + 500));
    }
    // What is here already takes no room, and is not dropped.
    log(db, &caller("ada", "phone"), &some(0..500));
    log(db, &caller("bob", "phone"), &some(0..2));
    let of = |user: &str| LogQuery {
        user: Some(user.into()),
        ..query()
    };
    let lines = found(db, &of("ada"));
    assert_eq!(lines.len(), usize::try_from(most).unwrap() + 1);
    let last = lines.last().expect("it says so");
    assert_eq!((last.dropped, last.level), (500, Level::Warn));
    log(db, &caller("ada", "phone"), &some(most + 500..most + 510));
    let lines = found(db, &of("ada"));
    assert_eq!(lines.len(), usize::try_from(most).unwrap() + 1);
    assert_eq!(lines.last().map(|it| it.dropped), Some(510));
    assert_eq!(found(db, &of("bob")).len(), 2);
    db.set_time(1_000 + 24 * 60 * 60);
    log(db, &caller("ada", "phone"), &some(most + 510..most + 512));
    assert_eq!(
        found(db, &of("ada")).len(),
        usize::try_from(most).unwrap() + 3
    );
}

/// What came before the retention leaves, a piece at a time, and nothing else does.
pub fn p9_logs_are_forgotten_with_the_retention(db: &mut dyn Database) {
    let ada = caller("ada", "phone");
    for from in (0..2_500).step_by(500) {
        log(db, &ada, &some(from..from + 500));
    }
    purge(db, 1_000);
    db.set_time(1_500);
    log(db, &ada, &some(3_000..3_003));
    let kept = purge(db, 1_000 + KEPT);
    assert_eq!(kept.logs, 0, "it is as old as the retention, and no older");
    assert_eq!(purge(db, 1_001 + KEPT).logs, 2_500);
    assert_eq!(found(db, &query()).len(), 3);
    assert_eq!(purge(db, 2_000 + KEPT).logs, 3);
    assert_eq!(purge(db, 2_001 + KEPT).logs, 0);
}

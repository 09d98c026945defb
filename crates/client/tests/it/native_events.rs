//! What an app is told while its device synchronises, over real HTTP.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use afield::ChangeState;
use afield::engine::{Direction, Phase, SyncStatus};
use afield::event::{Numbered, SyncEvent};
use afield::native::{Client, SyncOptions};
use afield::protocol::{Code, SyncConfig, Verdict, VerdictKind};
use afield::retry::FailureClass;
use tempfile::tempdir;

use crate::native_driver::note;
use crate::native_server::{Reply, Server, client, model, options};

const PATIENCE: Duration = Duration::from_secs(60);

fn rows() -> Reply {
    Reply::Notes(vec![("s", "server"), ("t", "too")])
}

fn sync(client: &Client) {
    client.sync(None, Direction::Both).unwrap();
}

/// The words of the events behind number `since`.
fn words(client: &Client, since: u64) -> Vec<&'static str> {
    let events = client.events_since(since, None);
    events.iter().map(|it| it.event.as_str()).collect()
}

/// The next event that `wanted` takes.
fn find<T>(
    events: &mut impl FnMut() -> Option<Numbered>,
    wanted: impl Fn(&SyncEvent) -> Option<T>,
) -> T {
    loop {
        let numbered = events().expect("it comes in time");
        if let Some(found) = wanted(&numbered.event) {
            return found;
        }
    }
}

#[test]
fn a_sync_tells_how_it_goes_with_its_unit() {
    let folder = tempdir().unwrap();
    let server = Server::start([rows(), rows()]);
    let client = client(folder.path(), &server);
    let mut stream = client.events();
    sync(&client);
    let expected = [
        "started",
        "progress",
        "unit-completed",
        "network",
        "completed",
        "up-to-date",
    ];
    assert_eq!(words(&client, 0), expected);
    let mut next = || stream.next_within(PATIENCE);
    assert_eq!(next().unwrap().event, SyncEvent::Started { unit: None });
    let progress = find(&mut next, |event| match event {
        SyncEvent::Progress(progress) => Some(progress.clone()),
        _ => None,
    });
    assert_eq!(progress.unit.as_deref(), Some("main"));
    assert_eq!(progress.phase, Phase::Receiving);
    assert_eq!((progress.rows, progress.percent), (2, Some(100)));
    assert!(progress.bytes > 0);
    let completed = SyncEvent::Completed {
        unit: None,
        status: SyncStatus::Completed,
        pushed: 0,
        pulled: 2,
    };
    find(&mut next, |event| (*event == completed).then_some(()));
    let numbers: Vec<u64> = client.events_since(0, None).iter().map(|it| it.n).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let newest = *numbers.last().unwrap();
    client.sync(Some("main"), Direction::Both).unwrap();
    // A sync of one unit is that unit's.
    assert_eq!(words(&client, newest), ["started", "progress", "completed"]);
    drop(client);
    assert_eq!(stream.count(), 1 + 3, "what was left, and then the end");
}

#[test]
fn a_download_that_goes_on_is_told_from_where_it_was() {
    let folder = tempdir().unwrap();
    let part = |rows, remaining| Reply::Part(rows, remaining);
    let no = || Reply::Status(403, "", r#"{"code":"forbidden","detail":"no"}"#);
    let server = Server::start([
        part(vec![("a", "1"), ("b", "2")], Some(6)),
        no(),
        part(vec![("c", "3"), ("d", "4")], None),
        no(),
        part(vec![("e", "5")], None),
        rows(),
        rows(),
    ]);
    let mut percent = Vec::new();
    for _ in 0..4 {
        // As another process would, from what is in the store.
        let client = client(folder.path(), &server);
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        client.on_event(move |it| {
            if let SyncEvent::Progress(progress) = &it.event {
                heard.lock().unwrap().push(progress.percent);
            }
        });
        sync(&client);
        percent.push(told.lock().unwrap().clone());
    }
    let some = |percent: &[u8]| percent.iter().copied().map(Some).collect::<Vec<_>>();
    let expected = [
        some(&[25]),
        some(&[50]),
        some(&[62, 100]),
        // It had ended: the next begins at nothing.
        some(&[100]),
    ];
    assert_eq!(percent, expected);
}

#[test]
fn what_is_not_applied_is_told_with_its_change() {
    let folder = tempdir().unwrap();
    let verdict = |group: &afield::protocol::Group| match &group.changes[0].key[0] {
        key if *key == "bad".into() => Verdict {
            kind: VerdictKind::Rejected,
            code: Some(Code::FORBIDDEN),
            attribute: Some("text".into()),
            message: Some("too rude".into()),
            ..Verdict::applied()
        },
        _ => Verdict::applied(),
    };
    let server = Server::start([Reply::Verdicts(verdict)]);
    let client = client(folder.path(), &server);
    client.store().create("note", &note("good", "a")).unwrap();
    client.store().create("note", &note("bad", "b")).unwrap();
    sync(&client);
    let events = client.events_since(0, None);
    let rejected: Vec<_> = (events.iter())
        .filter_map(|it| match &it.event {
            SyncEvent::Rejected(verdict) => Some(verdict),
            _ => None,
        })
        .collect();
    let [verdict] = rejected.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(verdict.key, ["bad".into()]);
    assert_eq!(verdict.attribute.as_deref(), Some("text"));
    let parked = client.store().change(&verdict.change).unwrap();
    assert_eq!(parked.state, ChangeState::Parked);
    let is_incomplete = |it: &Numbered| {
        let SyncEvent::Completed { status, pushed, .. } = it.event else {
            return false;
        };
        (status, pushed) == (SyncStatus::Incomplete, 1)
    };
    assert!(events.iter().any(is_incomplete), "{events:?}");
}

#[test]
fn a_failure_is_told_with_its_class_and_a_cancelled_sync_has_none() {
    let folder = tempdir().unwrap();
    let forbidden = Reply::Status(403, "", r#"{"code":"forbidden","detail":"no"}"#);
    let expired = Reply::Status(401, "", r#"{"code":"sign-in","detail":"no"}"#);
    let server = Server::start([forbidden, expired, Reply::Silence]);
    let client = Arc::new(client(folder.path(), &server));
    let mut stream = client.events();
    let mut next = || stream.next_within(PATIENCE);
    let class = |event: &SyncEvent| match event {
        SyncEvent::Failed { class, .. } => Some(*class),
        _ => None,
    };
    sync(&client);
    assert_eq!(find(&mut next, class), Some(FailureClass::Permanent));
    sync(&client);
    let needed = SyncEvent::SignIn { is_needed: true };
    find(&mut next, |event| (*event == needed).then_some(()));
    assert_eq!(find(&mut next, class), Some(FailureClass::SignIn));
    client.trigger(&SyncOptions::default(), false).unwrap();
    (0..3).for_each(|_| drop(server.seen()));
    client.cancel();
    assert_eq!(find(&mut next, class), None);
}

#[test]
fn p10_up_to_date_ends_with_a_write_and_with_time() {
    let folder = tempdir().unwrap();
    let server = Server::start([rows(), rows(), rows()]);
    let mut fresh = options(folder.path(), &server.address);
    let mut limited = model();
    limited.limits.freshness_ms = 1_000;
    fresh.model = Some(limited);
    let client = Client::open(fresh).unwrap();
    let quiet = SyncConfig {
        on_online: false,
        on_login: false,
        on_resume: false,
        on_write_ms: None,
        interval_ms: None,
        live: false,
        retry: None,
    };
    client.configure(quiet).unwrap();
    let mut stream = client.events();
    let mut next = || stream.next_within(PATIENCE);
    let up_to_date = |event: &SyncEvent| match event {
        SyncEvent::UpToDate {
            unit,
            is_up_to_date,
        } => Some((unit.clone(), *is_up_to_date)),
        _ => None,
    };
    let main = |is| ("main".to_owned(), is);
    sync(&client);
    assert_eq!(find(&mut next, up_to_date), main(true));
    // Nobody says anything, and a second is over.
    assert_eq!(find(&mut next, up_to_date), main(false));
    sync(&client);
    assert_eq!(find(&mut next, up_to_date), main(true));
    client.store().create("note", &note("a", "mine")).unwrap();
    assert_eq!(find(&mut next, up_to_date), main(false));
    let units = client.store().status().unwrap().units;
    assert_eq!((units[0].unit.as_str(), units[0].pending), ("main", 1));
    sync(&client);
    assert_eq!(find(&mut next, up_to_date), main(true));
}

/// The name of the newest change.
fn newest(client: &Client) -> String {
    let changes = client.store().changes().unwrap();
    changes.last().unwrap().change.clone()
}

#[test]
fn waiting_ends_with_the_outcome_of_a_change_also_of_one_that_was_folded() {
    let folder = tempdir().unwrap();
    let server = Server::start([rows()]);
    let client = Arc::new(client(folder.path(), &server));
    client.store().create("note", &note("a", "first")).unwrap();
    let first = newest(&client);
    client
        .store()
        .update("note", &["a".into()], &note("a", "second"))
        .unwrap();
    let second = newest(&client);
    assert_ne!(first, second, "they are one group now");
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || client.wait(&first, Some(PATIENCE)).unwrap())
    };
    client.trigger(&SyncOptions::default(), false).unwrap();
    let settled = waiting.join().unwrap();
    assert_eq!(
        (settled.state, settled.change),
        (ChangeState::Settled, second)
    );
}

#[test]
fn waiting_ends_with_its_time_and_knows_what_there_is() {
    let folder = tempdir().unwrap();
    let refused = |_: &afield::protocol::Group| Verdict {
        kind: VerdictKind::Rejected,
        code: Some(Code::FORBIDDEN),
        ..Verdict::applied()
    };
    let server = Server::start([Reply::Verdicts(refused)]);
    let client = client(folder.path(), &server);
    client.store().create("note", &note("a", "mine")).unwrap();
    let change = newest(&client);
    let late = client
        .wait(&change, Some(Duration::from_millis(1)))
        .unwrap_err();
    assert_eq!(late.code(), &Code::TIMEOUT);
    for name in [
        "",
        "x",
        "00000000000000000000000000000000.0",
        &format!("{change}7"),
    ] {
        let error = client.wait(name, None).unwrap_err();
        assert_eq!(error.code(), &Code::UNKNOWN_CHANGE, "{name}");
    }
    sync(&client);
    let parked = client.wait(&change, None).unwrap();
    assert_eq!(
        (parked.state, parked.code),
        (ChangeState::Parked, Some(Code::FORBIDDEN))
    );
}

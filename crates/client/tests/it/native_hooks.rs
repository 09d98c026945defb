//! Hooks of the app, and syncs that end in time, over real HTTP.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afield::engine::{Direction, SyncStatus};
use afield::event::SyncEvent;
use afield::native::SyncOptions;
use afield::protocol::{Code, Value};
use afield::{CHANGED_MAX, Params};
use tempfile::tempdir;

use crate::native_driver::note;
use crate::native_server::{Reply, Server, client};

const PATIENCE: Duration = Duration::from_secs(60);

fn rows(ids: &[&'static str]) -> Reply {
    Reply::Notes(ids.iter().map(|&id| (id, "server")).collect())
}

#[test]
fn what_is_written_before_a_sync_sends_goes_with_it() {
    let folder = tempdir().unwrap();
    let server = Server::start([rows(&[]), rows(&[])]);
    let client = Arc::new(client(folder.path(), &server));
    let device = Arc::downgrade(&client);
    let units = Arc::new(Mutex::new(Vec::new()));
    let seen = units.clone();
    let hook = move |unit: Option<&str>| {
        let client = device.upgrade().unwrap();
        seen.lock().unwrap().push(unit.map(str::to_owned));
        client.store().create("note", &note("total", "2")).unwrap();
        // The queue waits for this very hook.
        let error = client.sync(None, Direction::Both).unwrap_err();
        assert_eq!(error.code(), &Code::IN_HANDLER);
    };
    client.before_send(PATIENCE, hook).unwrap();
    client.store().create("note", &note("a", "mine")).unwrap();
    client.sync(Some("main"), Direction::Both).unwrap();
    assert_eq!(server.seen().groups.len(), 2);
    client.sync(None, Direction::Receive).unwrap();
    assert_eq!(
        *units.lock().unwrap(),
        [Some("main".to_owned())],
        "nothing is sent there"
    );
}

#[test]
fn what_was_applied_is_told_by_its_identifiers() {
    let folder = tempdir().unwrap();
    let many: Vec<(&str, &str)> = (0..=CHANGED_MAX)
        .map(|n| (&*n.to_string().leak(), "server"))
        .collect();
    let server = Server::start([rows(&["s", "t"]), rows(&[]), Reply::Notes(many)]);
    let client = client(folder.path(), &server);
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let hook = move |applied: &afield::native::Applied| {
        tell.lock().unwrap().send(applied.clone()).unwrap();
    };
    client.after_apply(PATIENCE, hook).unwrap();
    client.sync(None, Direction::Both).unwrap();
    let applied = told.try_recv().expect("before the sync is over");
    assert_eq!(applied.unit, "main");
    let keys = ["s", "t"].map(|id| vec![Value::from(id)]).to_vec();
    assert_eq!(applied.changed.rows["note"], Some(keys));
    client.sync(Some("main"), Direction::Both).unwrap();
    assert!(told.try_recv().is_err(), "nothing came");
    client.sync(Some("main"), Direction::Both).unwrap();
    let applied = told.try_recv().unwrap();
    assert_eq!(applied.changed.rows["note"], None, "too many to name");
}

#[test]
fn p8_a_hook_that_hangs_keeps_no_sync_waiting_and_is_done_later() {
    let folder = tempdir().unwrap();
    let server = Server::start([rows(&["s"]), rows(&["t"])]);
    let client = client(folder.path(), &server);
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let hook = move |applied: &afield::native::Applied| {
        released.lock().unwrap().recv().unwrap();
        tell.lock()
            .unwrap()
            .send(applied.changed.rows["note"].clone())
            .unwrap();
    };
    client.after_apply(Duration::from_millis(1), hook).unwrap();
    for _ in 0..2 {
        let report = client.sync(None, Direction::Both).unwrap();
        assert_eq!(report.status, SyncStatus::Completed);
    }
    let events = client.events_since(0, None);
    let late = events
        .iter()
        .filter(|it| matches!(it.event, SyncEvent::HookLate { .. }));
    assert_eq!(late.count(), 2);
    for id in ["s", "t"] {
        release.send(()).unwrap();
        let keys = told.recv_timeout(PATIENCE).unwrap().unwrap();
        assert!(keys.contains(&vec![Value::from(id)]), "in order");
    }
}

#[test]
fn a_sync_for_a_time_ends_in_it_and_keeps_what_it_did() {
    let folder = tempdir().unwrap();
    let stall = Reply::Drip(1, Duration::from_millis(50), Box::new(rows(&["s"])));
    let server = Server::start([stall, rows(&["s"])]);
    let client = client(folder.path(), &server);
    client.store().create("note", &note("a", "mine")).unwrap();
    let report = client.sync_for(Duration::from_millis(300)).unwrap();
    assert_eq!(report.status, SyncStatus::Failed);
    assert_eq!(report.error.unwrap().0, Code::TIMEOUT);
    assert_eq!(client.store().status().unwrap().pending, 1);
    let report = client.sync_for(PATIENCE).unwrap();
    assert_eq!((report.status, report.pushed), (SyncStatus::Completed, 1));
    let count = client
        .store()
        .query("SELECT count(*) FROM note", &Params::none())
        .unwrap();
    assert_eq!(count.rows[0][0], 2.into());
}

#[test]
fn a_sync_for_a_time_waits_no_longer_for_its_turn() {
    let folder = tempdir().unwrap();
    let stall = Reply::Drip(1, Duration::from_millis(50), Box::new(rows(&["s"])));
    let server = Server::start([stall]);
    let client = client(folder.path(), &server);
    client.trigger(&SyncOptions::default(), false).unwrap();
    server.seen();
    let error = client.sync_for(Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.code(), &Code::TIMEOUT);
    assert_eq!(client.queued(), (0, true), "the other one goes on");
}

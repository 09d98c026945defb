//! The queue of syncs, over real HTTP.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use afield::engine::{Direction, SyncStatus};
use afield::native::{Client, SyncOptions};
use afield::protocol::Code;
use tempfile::tempdir;

use crate::native_driver::{note, texts};
use crate::native_server::{Reply, Server, options};

fn everything() -> SyncOptions {
    SyncOptions::default()
}

fn sending() -> SyncOptions {
    SyncOptions {
        direction: Direction::Send,
        ..everything()
    }
}

/// A client that is patient with a silent server.
fn opened(folder: &std::path::Path, server: &Server) -> Arc<Client> {
    let mut options = options(folder, &server.address);
    options.timeouts.idle = Some(Duration::from_secs(600));
    Arc::new(Client::open(options).unwrap())
}

/// How each sync ended, in order.
fn ends(client: &Client) -> Receiver<Result<SyncStatus, Code>> {
    let (sender, receiver) = channel();
    client.on_finished(move |finished| {
        let end = match finished.result {
            Ok(report) => Ok(report.status),
            Err(error) => Err(error.code().clone()),
        };
        // The test may have seen enough.
        let _ = sender.send(end);
    });
    receiver
}

fn next(ends: &Receiver<Result<SyncStatus, Code>>) -> SyncStatus {
    ends.recv_timeout(Duration::from_secs(60)).unwrap().unwrap()
}

#[test]
fn a_trigger_returns_at_once_and_equal_ones_are_one_sync() {
    let folder = tempdir().unwrap();
    let rows = || Reply::Notes(vec![("s", "server")]);
    let server = Server::start([Reply::Silence, rows(), rows()]);
    let client = opened(folder.path(), &server);
    let ends = ends(&client);
    client.store().create("note", &note("a", "first")).unwrap();
    assert_eq!(client.trigger(&everything(), false).unwrap().waiting, 1);
    // It runs, and the server is silent: what is asked now waits.
    assert_eq!(server.seen().groups.len(), 1);
    assert_eq!(client.queued(), (0, true));
    client.store().create("note", &note("b", "second")).unwrap();
    let asked = [everything(), sending(), everything(), sending()]
        .map(|options| client.trigger(&options, false).unwrap());
    assert_eq!(
        asked.map(|asked| (asked.is_joined, asked.waiting)),
        [(false, 1), (false, 2), (true, 2), (true, 2)]
    );
    client.cancel();
    assert_eq!(next(&ends), SyncStatus::Failed);
    assert_eq!(next(&ends), SyncStatus::Completed);
    assert_eq!(server.seen().groups.len(), 2);
    assert_eq!(next(&ends), SyncStatus::Completed);
    // Handlers are told before the next one may begin.
    while client.queued() != (0, false) {
        thread::yield_now();
    }
    assert_eq!(texts(&client).len(), 3);
    assert_eq!(client.store().status().unwrap().pending, 0);
}

#[test]
fn p1_discarding_drops_wishes_and_no_change() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Silence, Reply::Notes(Vec::new())]);
    let client = opened(folder.path(), &server);
    let ends = ends(&client);
    client.trigger(&everything(), false).unwrap();
    server.seen();
    client.store().create("note", &note("a", "kept")).unwrap();
    let waiting = {
        let client = client.clone();
        thread::spawn(move || {
            client
                .sync(None, Direction::Send)
                .map_err(|error| error.code().clone())
        })
    };
    // It waits as soon as it is counted.
    while client.queued() != (1, true) {
        thread::yield_now();
    }
    client.trigger(&sending(), false).unwrap();
    let asked = client.trigger(&everything(), true).unwrap();
    assert_eq!((asked.discarded.len(), asked.waiting), (2, 1));
    assert_eq!(waiting.join().unwrap().unwrap_err(), Code::DISCARDED);
    assert_eq!(client.store().status().unwrap().pending, 1, "still there");
    client.cancel();
    assert_eq!(
        next(&ends),
        SyncStatus::Failed,
        "the one that ran ended by itself"
    );
    assert_eq!(next(&ends), SyncStatus::Completed);
    assert_eq!(server.seen().groups.len(), 1);
    assert_eq!(client.store().status().unwrap().pending, 0);
}

#[test]
fn a_handler_may_trigger_and_not_wait() {
    let folder = tempdir().unwrap();
    let rows = || Reply::Notes(Vec::new());
    let server = Server::start([rows(), rows()]);
    let client = opened(folder.path(), &server);
    let (sender, told) = channel();
    let mine: Weak<Client> = Arc::downgrade(&client);
    client.on_finished(move |_| {
        let client = mine.upgrade().unwrap();
        let waited = client
            .sync(None, Direction::Both)
            .map_err(|error| error.code().clone());
        let asked = client.trigger(&everything(), false).unwrap();
        sender.send((waited.unwrap_err(), asked.waiting)).unwrap();
        panic!("a handler's panic is the app's own affair");
    });
    let report = client.sync(None, Direction::Both).unwrap();
    assert_eq!(report.status, SyncStatus::Completed);
    for _ in 0..2 {
        let told = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(told, (Code::IN_HANDLER, 1));
    }
    // The third waits, since a handler asked for it while it was told of a handler's sync.
    while client.queued() != (1, false) {
        thread::yield_now();
    }
    assert_eq!(client.discard_pending(), 1);
}

#[test]
fn a_client_that_is_closed_ends_what_runs_and_keeps_what_was_written() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Silence, Reply::Notes(Vec::new())]);
    let client = opened(folder.path(), &server);
    client.store().create("note", &note("a", "kept")).unwrap();
    client.trigger(&everything(), false).unwrap();
    server.seen();
    client.trigger(&sending(), false).unwrap();
    drop(client);
    let client = opened(folder.path(), &server);
    assert_eq!(client.store().status().unwrap().pending, 1);
    let report = client.sync(None, Direction::Both).unwrap();
    assert_eq!(report.pushed, 1);
}

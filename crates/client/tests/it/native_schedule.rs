//! Syncs that begin by themselves, over real HTTP.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use afield::engine::SyncStatus;
use afield::native::Client;
use afield::protocol::{Code, SyncConfig};
use afield::{Params, Store};
use tempfile::tempdir;

use crate::native_driver::{note, texts};
use crate::native_server::{Reply, Server, client};

/// Nothing begins by itself.
const QUIET: SyncConfig = SyncConfig {
    on_online: false,
    on_login: false,
    on_resume: false,
    on_write_ms: None,
    interval_ms: None,
    retry: None,
    live: false,
};

const ON_WRITE: SyncConfig = SyncConfig {
    on_write_ms: Some(1),
    ..QUIET
};

/// How each sync ended.
fn ends(client: &Client) -> Receiver<SyncStatus> {
    let (sender, receiver) = channel();
    client.on_finished(move |finished| {
        let status = finished.result.map(|report| report.status);
        // The test may have seen enough.
        let _ = sender.send(status.unwrap_or(SyncStatus::Failed));
    });
    receiver
}

fn next(ends: &Receiver<SyncStatus>) -> SyncStatus {
    ends.recv_timeout(Duration::from_secs(60)).unwrap()
}

#[test]
fn a_write_is_sent_by_itself_and_rows_that_come_are_no_write() {
    let folder = tempdir().unwrap();
    let rows = || Reply::Notes(vec![("s", "server")]);
    let server = Server::start([rows(), rows(), rows()]);
    let client = client(folder.path(), &server);
    let ends = ends(&client);
    client.store().create("note", &note("a", "before")).unwrap();
    client.configure(ON_WRITE).unwrap();
    assert_eq!(server.seen().groups.len(), 1, "what waits is sent");
    assert_eq!(next(&ends), SyncStatus::Completed);
    client.store().create("note", &note("b", "after")).unwrap();
    assert_eq!(server.seen().groups.len(), 1);
    assert_eq!(next(&ends), SyncStatus::Completed);
    assert_eq!(texts(&client).len(), 3);
    client.stop();
    client.store().create("note", &note("c", "kept")).unwrap();
    assert_eq!(client.sync_config(), None);
    // The third request is this one: nothing else has asked meanwhile.
    let report = client.sync(None, afield::engine::Direction::Both).unwrap();
    assert_eq!((report.status, report.pushed), (SyncStatus::Completed, 1));
    assert_eq!(server.seen().groups.len(), 1);
}

#[test]
fn a_write_of_another_connection_is_sent_by_itself() {
    let folder = tempdir().unwrap();
    let rows = || Reply::Notes(Vec::new());
    let server = Server::start([rows(), rows()]);
    let client = client(folder.path(), &server);
    let ends = ends(&client);
    client.configure(ON_WRITE).unwrap();
    let file = client.folder().database(client.user()).unwrap();
    let env = Box::new(afield::native::SystemEnvironment);
    let mut other = Store::open(&file, client.user(), env).unwrap();
    other.create("note", &note("a", "by our library")).unwrap();
    assert_eq!(server.seen().groups.len(), 1);
    assert_eq!(next(&ends), SyncStatus::Completed);
    drop(other);
    let plain = rusqlite::Connection::open(&file).unwrap();
    let sql = "INSERT INTO note (id, text) VALUES ('b', 'by any program')";
    plain.execute(sql, []).unwrap();
    assert_eq!(server.seen().groups.len(), 1);
    assert_eq!(next(&ends), SyncStatus::Completed);
}

#[test]
fn the_front_and_an_interval_begin_syncs() {
    let folder = tempdir().unwrap();
    let rows = || Reply::Notes(Vec::new());
    let server = Server::start([rows(), rows(), rows()]);
    let client = client(folder.path(), &server);
    let ends = ends(&client);
    let config = SyncConfig {
        on_resume: true,
        on_write_ms: Some(3_600_000),
        ..QUIET
    };
    client.configure(config).unwrap();
    client.suspended();
    client.store().create("note", &note("a", "behind")).unwrap();
    client.resumed();
    assert_eq!(server.seen().groups.len(), 1);
    assert_eq!(next(&ends), SyncStatus::Completed);
    let config = SyncConfig {
        interval_ms: Some(1_000),
        ..QUIET
    };
    client.configure(config).unwrap();
    for _ in 0..2 {
        assert_eq!(server.seen().groups.len(), 0);
        assert_eq!(next(&ends), SyncStatus::Completed);
    }
    let wrong = SyncConfig {
        interval_ms: Some(1),
        ..QUIET
    };
    assert_eq!(
        client.configure(wrong).unwrap_err().code(),
        &Code::MALFORMED
    );
    assert_eq!(client.sync_config(), Some(config));
}

#[test]
fn a_client_starts_with_the_models_configuration() {
    let folder = tempdir().unwrap();
    let server = Server::start([]);
    let client = client(folder.path(), &server);
    assert_eq!(client.sync_config(), None);
    assert_eq!(client.start().unwrap(), SyncConfig::default());
    assert_eq!(client.sync_config(), Some(SyncConfig::default()));
    let rows = client.store().query("SELECT 1", &Params::none()).unwrap();
    assert_eq!(rows.rows.len(), 1, "the store is free");
}

//! The log over real HTTP to servers that do not take it.

use afield::SyncStore;
use afield::engine::{Direction, SyncStatus};
use afield::native::{Client, SystemEnvironment};
use afield::protocol::Level;
use tempfile::tempdir;

use crate::native_driver::note;
use crate::native_server::{Reply, Server, client};

fn rows() -> Reply {
    Reply::Notes(Vec::new())
}

fn write(client: &Client) {
    let row = note("a", "mine");
    let written = (client.store()).transaction(|tx| tx.create("note", &row).map(drop));
    written.unwrap();
}

fn log_of(client: &Client) -> usize {
    client.store().logs().unwrap().len()
}

/// A server of an earlier version ignores the question, and gets no log.
#[test]
fn p1_a_server_that_knows_no_log_is_asked_and_never_sent_one() {
    let server = Server::start([rows(), rows()]);
    let folder = tempdir().unwrap();
    let client = client(folder.path(), &server);
    client.log(Level::Warn, "camera", "no light").unwrap();
    client.sync(None, Direction::Both).unwrap();
    write(&client);
    let report = client.sync(None, Direction::Both).unwrap();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    for groups in [0, 1] {
        let seen = server.seen();
        assert_eq!(seen.header("afield-log"), Some("1"));
        assert_eq!((seen.groups.len(), seen.logs), (groups, 0));
    }
    assert!(!server.saw_more());
    assert_eq!(log_of(&client), 1);
}

/// One that was replaced by an earlier version refuses the frame: what else there is goes at once.
#[test]
fn p1_a_server_that_refuses_the_log_gets_the_changes_without_it() {
    let refused = || Reply::Status(400, "", r#"{"code":"malformed","detail":"frame 24"}"#);
    let large = Reply::Status(413, "", r#"{"code":"too-large","detail":"too large"}"#);
    for (reply, asks) in [(refused(), Some("1")), (large, None)] {
        let server = Server::start([rows(), reply, rows(), rows()]);
        let folder = tempdir().unwrap();
        let client = client(folder.path(), &server);
        client.sync(None, Direction::Both).unwrap();
        takes_logs(&client);
        client.log(Level::Warn, "camera", "no light").unwrap();
        write(&client);
        let report = client.sync(None, Direction::Both).unwrap();
        assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
        server.seen();
        let (first, second) = (server.seen(), server.seen());
        assert_eq!((first.groups.len(), first.logs), (1, 1));
        assert_eq!((second.groups.len(), second.logs), (1, 0));
        assert_eq!(second.header("afield-log"), asks);
        assert_eq!(log_of(&client), 1, "it is kept for another time");
    }
}

/// Nothing to send but the log is no reason for a request.
#[test]
fn a_log_alone_makes_no_request() {
    let server = Server::start([rows()]);
    let folder = tempdir().unwrap();
    let client = client(folder.path(), &server);
    client.sync(None, Direction::Both).unwrap();
    takes_logs(&client);
    client.log(Level::Warn, "camera", "no light").unwrap();
    client.sync(None, Direction::Send).unwrap();
    server.seen();
    assert!(!server.saw_more());
}

/// As if the server had said before that it takes logs.
fn takes_logs(client: &Client) {
    let path = client.folder().database(client.user()).unwrap();
    let env = Box::new(SystemEnvironment);
    let mut sync = SyncStore::open(&path, client.user(), env).unwrap();
    sync.logged(0).unwrap();
}

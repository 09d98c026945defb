//! The driver against a server that behaves.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use afield::Params;
use afield::engine::{Direction, SyncStatus};
use afield::native::{Client, ClientOptions, SyncOptions};
use afield::protocol::{Attributes, Code, Value, Verdict, VerdictKind};
use tempfile::tempdir;

use crate::native_server::{Reply, Server, client, model, options};

pub(crate) fn note(id: &str, text: &str) -> Attributes {
    let pairs = [("id", id), ("text", text)];
    pairs
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .into()
}

pub(crate) fn texts(client: &Client) -> Vec<Vec<Value>> {
    let sql = "SELECT id, text FROM note ORDER BY id";
    client.store().query(sql, &Params::none()).unwrap().rows
}

#[test]
fn a_new_store_fetches_the_model_and_the_rows() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Model, Reply::Notes(vec![("a", "from the server")])]);
    let options = ClientOptions {
        model: None,
        ..options(folder.path(), &server.address)
    };
    let client = Client::open(options).unwrap();
    let mut progress = Vec::new();
    let report = client
        .sync_with(&SyncOptions::default(), &mut |now| {
            progress.push(now.clone())
        })
        .unwrap();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert!(report.model_changed);
    assert_eq!(report.pulled, 1);
    assert!(report.bytes_sent > 0 && report.bytes_received > 0);
    assert_eq!(progress.last().unwrap().rows, 1);
    assert_eq!(texts(&client), [["a".into(), "from the server".into()]]);

    let asked = server.seen();
    assert_eq!(asked.line, "GET /v1/model HTTP/1.1");
    assert_eq!(asked.header("authorization"), Some("Bearer secret"));
    let asked = server.seen();
    assert_eq!(asked.line, "POST /v1/sync HTTP/1.1");
    assert_eq!(asked.header("authorization"), Some("Bearer secret"));
    assert_eq!(asked.header("content-type"), Some("application/cbor-seq"));
    assert_eq!(asked.header("accept"), Some("application/cbor-seq"));
    assert_eq!(asked.hello.unwrap().model, model().fingerprint());
}

#[test]
fn changes_go_out_and_outcomes_come_back() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Verdicts(|group| {
        if group.changes[0].set["text"] == Value::from("bad") {
            Verdict::rejected(Code::CHECK_FAILED, "the server does not like it")
        } else {
            Verdict::applied()
        }
    })]);
    let client = client(folder.path(), &server);
    client.store().create("note", &note("a", "good")).unwrap();
    client.store().create("note", &note("b", "bad")).unwrap();
    let report = client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap();
    assert_eq!(report.status, SyncStatus::Incomplete);
    assert_eq!(report.pushed, 1);
    let results: Vec<_> = report
        .outcomes
        .iter()
        .map(|outcome| outcome.result)
        .collect();
    assert_eq!(results, [VerdictKind::Applied, VerdictKind::Rejected]);
    let status = client.store().status().unwrap();
    assert_eq!((status.pending, status.parked), (0, 1));
    assert_eq!(server.seen().groups.len(), 2);
}

#[test]
fn p3_the_app_writes_while_a_sync_runs() {
    let folder = tempdir().unwrap();
    let server = Server::start([
        Reply::Stall(40, Box::new(Reply::Notes(vec![("s", "server")]))),
        Reply::Notes(vec![("s", "server")]),
    ]);
    let mut options = options(folder.path(), &server.address);
    options.timeouts.idle = Some(Duration::from_secs(20));
    let client = Arc::new(Client::open(options).unwrap());
    client.store().create("note", &note("a", "first")).unwrap();
    let running = {
        let client = client.clone();
        thread::spawn(move || client.sync_with(&SyncOptions::default(), &mut |_| {}))
    };
    // The request is out and its answer stalls: the sync is in the middle.
    assert_eq!(server.seen().groups.len(), 1);
    client
        .store()
        .create("note", &note("b", "meanwhile"))
        .unwrap();
    assert_eq!(texts(&client).len(), 2);
    client.cancel();
    let report = running.join().unwrap().unwrap();
    assert_eq!(report.status, SyncStatus::Failed);
    assert_eq!(report.error.unwrap().0, Code::INTERRUPTED);

    let report = client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert_eq!(server.seen().groups.len(), 2);
    assert_eq!(texts(&client).len(), 3);
}

#[test]
fn cancelling_ends_a_sync_at_once_whatever_it_waits_for() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Silence]);
    let mut options = options(folder.path(), &server.address);
    options.timeouts.idle = Some(Duration::from_secs(600));
    let client = Arc::new(Client::open(options).unwrap());
    let (done, ended) = channel();
    let running = client.clone();
    thread::spawn(move || {
        let report = running.sync_with(&SyncOptions::default(), &mut |_| {});
        done.send(report).unwrap();
    });
    server.seen();
    client.cancel();
    let report = ended
        .recv_timeout(Duration::from_secs(10))
        .unwrap()
        .unwrap();
    assert_eq!(report.error.unwrap().0, Code::INTERRUPTED);
}

#[test]
fn a_sync_gives_up_at_its_deadline() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Silence]);
    let mut options = options(folder.path(), &server.address);
    options.timeouts.idle = Some(Duration::from_secs(600));
    let client = Client::open(options).unwrap();
    let sync = SyncOptions {
        deadline: Some(Duration::from_millis(200)),
        ..SyncOptions::default()
    };
    let report = client.sync_with(&sync, &mut |_| {}).unwrap();
    assert_eq!(report.status, SyncStatus::Failed);
    assert_eq!(report.error.unwrap().0, Code::TIMEOUT);
}

#[test]
fn direction_is_kept() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Notes(vec![]), Reply::Notes(vec![("x", "y")])]);
    let client = client(folder.path(), &server);
    client.store().create("note", &note("a", "mine")).unwrap();
    let sync = |direction| SyncOptions {
        direction,
        ..SyncOptions::default()
    };
    client
        .sync_with(&sync(Direction::Receive), &mut |_| {})
        .unwrap();
    let seen = server.seen();
    assert!(seen.groups.is_empty());
    assert_eq!(seen.hello.unwrap().pull.len(), 2);
    client
        .sync_with(&sync(Direction::Send), &mut |_| {})
        .unwrap();
    let seen = server.seen();
    assert_eq!(seen.groups.len(), 1);
    assert!(seen.hello.unwrap().pull.is_empty());
}

#[test]
fn the_folder_remembers_server_and_token() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Notes(vec![])]);
    let first = ClientOptions {
        remember_token: true,
        ..options(folder.path(), &server.address)
    };
    drop(Client::open(first).unwrap());
    let client = Client::open(ClientOptions::new(folder.path(), "ann")).unwrap();
    assert_eq!(client.server().as_deref(), Some(server.address.as_str()));
    let report = client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert_eq!(server.seen().header("authorization"), Some("Bearer secret"));
    assert_eq!(client.folder().users().unwrap(), ["ann"]);
}

#[test]
fn without_server_or_token_a_sync_says_what_is_missing() {
    let folder = tempdir().unwrap();
    let client = Client::open(ClientOptions::new(folder.path(), "ann")).unwrap();
    let error = client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap_err();
    assert_eq!(error.code(), &Code::UNREACHABLE);
    let server = Some("http://127.0.0.1:9".to_owned());
    let client = Client::open(ClientOptions {
        server,
        ..ClientOptions::new(folder.path(), "ann")
    });
    let error = client
        .unwrap()
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap_err();
    assert_eq!(error.code(), &Code::SIGN_IN);
}

#[test]
fn p7_a_token_of_somebody_else_is_refused() {
    let folder = tempdir().unwrap();
    let server = Server::start([]);
    // {"sub":"bob"}
    let token = "e30.eyJzdWIiOiJib2IifQ.c2ln";
    let mut with = options(folder.path(), &server.address);
    with.token = Some(token.to_owned());
    let error = Client::open(with).err().unwrap();
    assert_eq!(error.code(), &Code::SIGN_IN);
    let client = client(folder.path(), &server);
    let error = client.set_token(token, true).unwrap_err();
    assert_eq!(error.code(), &Code::SIGN_IN);
    assert!(!server.saw_more());
}

#[test]
fn plain_http_is_refused_and_not_remembered() {
    let folder = tempdir().unwrap();
    let error = Client::open(options(folder.path(), "http://192.0.2.1:4100")).err();
    assert_eq!(error.unwrap().code(), &Code::PLAIN_HTTP);
    let client = Client::open(ClientOptions::new(folder.path(), "ann")).unwrap();
    assert_eq!(client.server(), None);
}

//! The driver against a network and servers that do not behave. After every fault the same
//! store synchronises again and nothing is lost or doubled.

use std::collections::BTreeSet;
use std::time::Duration;

use afield::engine::{Report, SyncStatus};
use afield::native::{Client, SyncOptions};
use afield::protocol::Code;
use afield::retry::FailureClass;
use tempfile::tempdir;

use crate::native_driver::{note, texts};
use crate::native_server::{Reply, Server, client, options};

fn sync(client: &Client) -> Report {
    client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap()
}

/// Runs a sync against `script` in a store with one change; gives the report and the server.
fn sync_against(script: Vec<Reply>) -> (Report, Server) {
    let folder = tempdir().unwrap();
    let server = Server::start(script);
    let client = client(folder.path(), &server);
    client.store().create("note", &note("a", "mine")).unwrap();
    (sync(&client), server)
}

fn failed_with(report: &Report) -> (Code, String) {
    assert_eq!(report.status, SyncStatus::Failed, "{report:?}");
    report.error.clone().unwrap()
}

#[test]
fn p2_an_answer_cut_at_any_byte_is_asked_for_again() {
    let whole = Reply::Notes(vec![("s", "server")]);
    let folder = tempdir().unwrap();
    let probe = Server::start([whole]);
    let length = {
        let client = client(&folder.path().join("probe"), &probe);
        client.store().create("note", &note("a", "mine")).unwrap();
        usize::try_from(sync(&client).bytes_received).unwrap()
    };
    // Cuts at evenly spread places, and at both ends.
    let places = (0..length).step_by(7).chain([length - 1]);
    for at in places.collect::<BTreeSet<_>>() {
        let cut = Reply::Cut(at, Box::new(Reply::Notes(vec![("s", "server")])));
        let server = Server::start([cut, Reply::Notes(vec![("s", "server")])]);
        let client = client(&folder.path().join(at.to_string()), &server);
        client.store().create("note", &note("a", "mine")).unwrap();
        let report = sync(&client);
        assert_eq!(
            report.status,
            SyncStatus::Completed,
            "cut at {at}: {report:?}"
        );
        let first = server.seen().groups;
        let again = server.seen().groups;
        assert!(again.is_empty() || again == first, "cut at {at}");
        assert_eq!(texts(&client).len(), 2, "cut at {at}");
        let status = client.store().status().unwrap();
        assert_eq!((status.pending, status.parked), (0, 0), "cut at {at}");
        assert_eq!(report.outcomes.len(), 1, "cut at {at}");
    }
}

#[test]
fn p2_a_connection_that_ends_before_the_answer_is_tried_again() {
    let (report, server) = sync_against(vec![Reply::HangUp, Reply::Notes(vec![])]);
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    let (first, again) = (server.seen().groups, server.seen().groups);
    assert_eq!(first, again);
    assert_eq!(report.outcomes.len(), 1);
}

#[test]
fn silence_is_noticed_before_and_inside_an_answer() {
    for fault in [
        Reply::Silence,
        Reply::Stall(0, Box::new(Reply::Notes(vec![]))),
        Reply::Stall(30, Box::new(Reply::Notes(vec![]))),
    ] {
        let folder = tempdir().unwrap();
        let server = Server::start([fault, Reply::Silence, Reply::Silence, Reply::Silence]);
        let client = client(folder.path(), &server);
        let (code, message) = failed_with(&sync(&client));
        assert_eq!(code, Code::TIMEOUT);
        assert!(message.contains("400ms"), "{message}");
    }
}

#[test]
fn a_slow_answer_is_waited_for_longer_than_the_idle_limit() {
    let folder = tempdir().unwrap();
    let rows = Reply::Notes(vec![("a", "slow"), ("b", "but"), ("c", "steady")]);
    let slow = Reply::Drip(20, Duration::from_millis(60), Box::new(rows));
    let server = Server::start([slow]);
    let mut options = options(folder.path(), &server.address);
    options.timeouts.idle = Some(Duration::from_millis(300));
    let client = Client::open(options).unwrap();
    let report = sync(&client);
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    // So much that the whole took longer than the idle limit.
    assert!(report.bytes_received > 20 * 6, "{}", report.bytes_received);
    server.seen();
    assert!(!server.saw_more());
}

#[test]
fn statuses_end_a_sync_with_their_codes() {
    let problem = r#"{"title":"Sign in","detail":"the token expired","code":"sign-in"}"#;
    for (status, headers, body, code, says) in [
        (401, "", problem, Code::SIGN_IN, "the token expired"),
        // A gateway before the server, which looks at tokens (RFC 6750).
        (
            401,
            "WWW-Authenticate: Bearer\r\n",
            "",
            Code::SIGN_IN,
            "401",
        ),
        // A page that asks for a password is none of the server's.
        (401, "", "", Code::UNREACHABLE, "401"),
        (403, "", "", Code::UNREACHABLE, "403"),
        (404, "", "not here", Code::UNREACHABLE, "404"),
    ] {
        let folder = tempdir().unwrap();
        let server = Server::start([Reply::Status(status, headers, body)]);
        let client = client(folder.path(), &server);
        let (found, message) = failed_with(&sync(&client));
        assert_eq!(found, code, "{status}");
        assert!(message.contains(says), "{status}: {message}");
        server.seen();
        assert!(!server.saw_more(), "{status} was tried again");
    }
}

/// A server that takes no model so old may have a newer one: that is asked for, once.
#[test]
fn a_model_that_is_too_old_is_fetched_again_once() {
    let folder = tempdir().unwrap();
    let too_old = || Reply::Status(426, "", r#"{"code":"update-required"}"#);
    let server = Server::start([too_old(), too_old()]);
    let client = client(folder.path(), &server);
    let (found, message) = failed_with(&sync(&client));
    assert_eq!(found, Code::UPDATE_REQUIRED, "{message}");
    assert!(server.seen().line.starts_with("POST /v1/sync"));
    assert!(server.seen().line.starts_with("GET /v1/model"));
    assert!(!server.saw_more());
}

#[test]
fn p8_a_server_that_fails_is_tried_again() {
    for fault in [
        Reply::Status(500, "", ""),
        Reply::Status(502, "", "<html>bad gateway</html>"),
        Reply::Status(503, "Retry-After: 0\r\n", ""),
        Reply::Status(429, "", r#"{"code":"busy"}"#),
    ] {
        let folder = tempdir().unwrap();
        let server = Server::start([fault, Reply::Notes(vec![("s", "server")])]);
        let client = client(folder.path(), &server);
        let report = sync(&client);
        assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
        assert_eq!(texts(&client).len(), 1);
    }
}

#[test]
fn a_sync_that_is_to_come_back_late_ends_and_says_so() {
    let folder = tempdir().unwrap();
    let server = Server::start([
        Reply::Status(503, "Retry-After: 3600\r\n", ""),
        Reply::Notes(vec![]),
    ]);
    let client = client(folder.path(), &server);
    let report = sync(&client);
    assert_eq!(failed_with(&report).0, Code::BUSY);
    assert_eq!(report.class, Some(FailureClass::Transient));
    assert_eq!(report.retry_after_ms, Some(300_000), "five minutes at most");
    server.seen();
    assert!(!server.saw_more());
}

#[test]
fn p7_redirects_are_not_followed() {
    let elsewhere = Server::start([Reply::Notes(vec![("x", "stolen")])]);
    for status in [301, 302, 303, 307, 308] {
        let location = format!("Location: {}/v1/sync\r\n", elsewhere.address);
        let location: &'static str = location.leak();
        let (report, _server) = sync_against(vec![Reply::Status(status, location, "")]);
        let (code, message) = failed_with(&report);
        assert_eq!(code, Code::UNREACHABLE, "{status}");
        assert!(message.contains("redirect"), "{message}");
    }
    assert!(!elsewhere.saw_more(), "the token went elsewhere");
}

#[test]
fn answers_of_another_kind_are_not_taken_for_ours() {
    let portal = || Reply::Status(200, "Content-Type: text/html\r\n", "<html>Sign in</html>");
    let (report, _server) = sync_against(vec![portal(), portal(), portal(), portal()]);
    let (code, message) = failed_with(&report);
    assert_eq!(code, Code::UNREACHABLE);
    assert!(message.contains("text/html"), "{message}");

    let garbage = || Reply::Status(200, "Content-Type: application/cbor-seq\r\n", "garbage");
    let (report, _server) = sync_against(vec![garbage(), garbage(), garbage(), garbage()]);
    assert_eq!(failed_with(&report).0, Code::MALFORMED);
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let folder = tempdir().unwrap();
    // A port that was free a moment ago.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let client = Client::open(options(folder.path(), &format!("http://127.0.0.1:{port}"))).unwrap();
    client.store().create("note", &note("a", "mine")).unwrap();
    let (code, message) = failed_with(&sync(&client));
    assert_eq!(code, Code::UNREACHABLE);
    assert!(
        message.contains("cannot reach http://127.0.0.1"),
        "{message}"
    );
    assert_eq!(client.store().status().unwrap().pending, 1);
}

#[test]
fn what_a_given_up_answer_still_brings_is_not_taken_for_the_next() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Elsewhere, Reply::Notes(vec![("s", "server")])]);
    let client = client(folder.path(), &server);
    let report = sync(&client);
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert_eq!(texts(&client).len(), 1);
}

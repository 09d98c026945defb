//! Listening for news, over real HTTP.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use afield::event::SyncEvent;
use afield::native::{Client, EventStream, TokenSource};
use afield::protocol::SyncConfig;
use tempfile::tempdir;

use crate::native_driver::{note, texts};
use crate::native_server::{Reply, Server, client, options};

/// Nothing begins by itself but by news.
const LIVE: SyncConfig = SyncConfig {
    on_online: false,
    on_login: false,
    on_resume: false,
    on_write_ms: None,
    interval_ms: None,
    retry: None,
    live: true,
};

const HELLO: &str = "event: hello\ndata: {\"after_ms\":0,\"heartbeat_ms\":60000}\n\n";
const NEWS: &str = "event: news\ndata: {\"units\":[\"main\"],\"after_ms\":0}\n\n";
const ALIVE: &str = "event: alive\ndata: {}\n\n";

fn rows(text: &'static str) -> Reply {
    Reply::Notes(vec![("s", text)])
}

/// A live stream and what writes into it.
fn stream() -> (Sender<&'static str>, Reply) {
    let (sender, pieces) = channel();
    (sender, Reply::Live(pieces))
}

/// Waits until the unit is up to date, or is not.
fn until_up_to_date(events: &mut EventStream, wanted: bool) {
    let patience = Duration::from_secs(60);
    loop {
        let numbered = events.next_within(patience).expect("it comes in time");
        let SyncEvent::UpToDate { is_up_to_date, .. } = numbered.event else {
            continue;
        };
        if is_up_to_date == wanted {
            return;
        }
    }
}

/// Which requests came, in order: the first word of each path.
fn paths(server: &Server, count: usize) -> Vec<String> {
    let path = |line: &str| line.split(['/', ' ', '?']).nth(3).unwrap().to_owned();
    (0..count).map(|_| path(&server.seen().line)).collect()
}

#[test]
fn news_begin_a_sync_and_end_being_up_to_date_at_once() {
    let folder = tempdir().unwrap();
    let (say, live) = stream();
    let server = Server::start([live, rows("old"), rows("new")]);
    let client = client(folder.path(), &server);
    let mut events = client.events();
    client.configure(LIVE).unwrap();
    say.send(HELLO).unwrap();
    until_up_to_date(&mut events, true);
    assert_eq!(texts(&client).len(), 1);
    say.send(NEWS).unwrap();
    until_up_to_date(&mut events, false);
    until_up_to_date(&mut events, true);
    assert_eq!(paths(&server, 3), ["live", "sync", "sync"]);
    say.send(ALIVE).unwrap();
    // It is heard of while nothing else happens.
    let unit = loop {
        let unit = client.status().unwrap().units.remove(0);
        if unit.proven_ms > unit.received_ms {
            break unit;
        }
        std::thread::yield_now();
    };
    assert!(!unit.is_behind);
    assert!(!server.saw_more(), "signs of life begin nothing");
}

#[test]
fn p10_a_stream_that_is_silent_is_given_up_and_opened_again() {
    let folder = tempdir().unwrap();
    let short = "event: hello\ndata: {\"after_ms\":0,\"heartbeat_ms\":1000}\n\n";
    let (say, live) = stream();
    let (again, second) = stream();
    let server = Server::start([live, rows("old"), second, rows("new")]);
    let client = client(folder.path(), &server);
    let mut events = client.events();
    client.configure(LIVE).unwrap();
    say.send(short).unwrap();
    until_up_to_date(&mut events, true);
    // Nothing more is said.
    assert_eq!(paths(&server, 3), ["live", "sync", "live"]);
    let unit = client.status().unwrap().units.remove(0);
    assert_eq!(unit.proven_ms, None, "a dead stream proves nothing");
    again.send(HELLO).unwrap();
    assert_eq!(paths(&server, 1), ["sync"]);
}

#[test]
fn a_token_that_ran_out_is_renewed_for_the_stream() {
    let folder = tempdir().unwrap();
    let refused = || Reply::Status(401, "", r#"{"code":"sign-in","detail":"it has expired"}"#);
    let (say, live) = stream();
    let server = Server::start([refused(), refused(), rows("old"), live, rows("new")]);
    let mut options = options(folder.path(), &server.address);
    options.token_source = Some(TokenSource::callback(|_| Ok(Some("second".to_owned()))));
    let client = Client::open(options).unwrap();
    client.configure(LIVE).unwrap();
    say.send(HELLO).unwrap();
    let mut tokens = Vec::new();
    for _ in 0..5 {
        let seen = server.seen();
        let token = seen.header("authorization").unwrap();
        tokens.push(token.strip_prefix("Bearer ").unwrap().to_owned());
    }
    assert_eq!(tokens, ["secret", "secret", "second", "second", "second"]);
}

#[test]
fn a_server_without_streams_is_synchronised_as_ever() {
    let folder = tempdir().unwrap();
    let missing = Reply::Status(404, "", r#"{"code":"unknown-request","detail":"no"}"#);
    let server = Server::start([missing, rows("old")]);
    let client = client(folder.path(), &server);
    client.configure(LIVE).unwrap();
    assert_eq!(paths(&server, 1), ["live"]);
    client.store().create("note", &note("a", "mine")).unwrap();
    let report = client.sync(None, afield::engine::Direction::Both).unwrap();
    assert_eq!(report.pushed, 1);
}

#[test]
fn in_the_back_nobody_listens() {
    let folder = tempdir().unwrap();
    let (say, live) = stream();
    let (again, second) = stream();
    let server = Server::start([live, rows("old"), second, rows("new")]);
    let client = client(folder.path(), &server);
    let mut events = client.events();
    client.configure(LIVE).unwrap();
    say.send(HELLO).unwrap();
    until_up_to_date(&mut events, true);
    client.suspended();
    assert_eq!(client.status().unwrap().units[0].proven_ms, None);
    client.resumed();
    again.send(HELLO).unwrap();
    assert_eq!(paths(&server, 4), ["live", "sync", "live", "sync"]);
}

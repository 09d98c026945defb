//! What is known of the network, over real HTTP.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use afield::engine::{Direction, SyncStatus};
use afield::event::SyncEvent;
use afield::native::Client;
use afield::network::{Generation, NetworkInfo, NetworkStatus, NetworkType};
use afield::protocol::{Code, SyncConfig};
use tempfile::tempdir;

use crate::native_driver::note;
use crate::native_server::{Reply, Server, client};

/// Nothing begins by itself but when the network is back.
const ON_ONLINE: SyncConfig = SyncConfig {
    on_online: true,
    on_login: false,
    on_resume: false,
    on_write_ms: None,
    interval_ms: None,
    live: false,
    retry: None,
};

fn rows() -> Reply {
    Reply::Notes(Vec::new())
}

/// The status each time that it changes.
fn changes(client: &Client) -> Receiver<NetworkStatus> {
    let (sender, receiver) = channel();
    client.on_event(move |numbered| {
        if let SyncEvent::Network(status) = &numbered.event {
            // The test may have seen enough.
            let _ = sender.send(*status);
        }
    });
    receiver
}

fn next(changes: &Receiver<NetworkStatus>) -> NetworkStatus {
    changes.recv_timeout(Duration::from_secs(60)).unwrap()
}

#[test]
fn online_means_that_the_server_gave_the_nonce_back() {
    let folder = tempdir().unwrap();
    let portal = "<html>Welcome to our hotel</html>";
    let json = "Content-Type: application/json\r\n";
    let server = Server::start([
        Reply::Pong,
        Reply::Status(200, "Content-Type: text/html\r\n", portal),
        Reply::Pong,
        Reply::Status(302, "Location: http://hotel.example/\r\n", ""),
        Reply::Status(200, json, r#"{"nonce":"0000000000000000"}"#),
        Reply::Status(500, "", ""),
        Reply::HangUp,
        Reply::Silence,
        Reply::Pong,
    ]);
    let client = client(folder.path(), &server);
    assert_eq!(client.network().is_online, None);
    let answers: Vec<bool> = (0..9).map(|_| client.probe().unwrap()).collect();
    let t = true;
    assert_eq!(answers, [t, false, t, false, false, false, false, false, t]);
    assert_eq!(client.network().is_online, Some(true));
    let mut nonces = Vec::new();
    for _ in 0..9 {
        let seen = server.seen();
        assert_eq!(seen.header("authorization"), None, "a portal gets no token");
        nonces.push(seen.line);
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 9, "each is another one: {nonces:?}");
}

#[test]
fn a_sync_shows_whether_the_server_is_there() {
    let folder = tempdir().unwrap();
    let faults = (0..4).map(|_| Reply::HangUp);
    let server = Server::start([rows()].into_iter().chain(faults));
    let client = client(folder.path(), &server);
    let changes = changes(&client);
    client.sync(None, Direction::Both).unwrap();
    assert_eq!(next(&changes).is_online, Some(true));
    let report = client.sync(None, Direction::Both).unwrap();
    assert_eq!(report.status, SyncStatus::Failed);
    assert_eq!(next(&changes).is_online, Some(false));
    assert_eq!(client.network().is_online, Some(false));
}

#[test]
fn a_page_that_asks_for_a_password_is_not_the_server_and_nobody_signs_in() {
    let folder = tempdir().unwrap();
    let html = "Content-Type: text/html\r\n";
    let portal = "<html>Welcome to our hotel</html>";
    let mut script = vec![rows()];
    // A sync tries four times where that may help.
    for status in [200, 302, 401, 403, 503, 511] {
        script.extend((0..4).map(|_| Reply::Status(status, html, portal)));
    }
    let server = Server::start(script);
    let client = client(folder.path(), &server);
    client.sync(None, Direction::Both).unwrap();
    assert_eq!(client.network().is_online, Some(true));
    for _ in 0..6 {
        let report = client.sync(None, Direction::Both).unwrap();
        assert_eq!(report.status, SyncStatus::Failed);
        assert_eq!(client.network().is_online, Some(false), "{report:?}");
        assert!(!client.needs_sign_in(), "{report:?}");
    }
}

#[test]
fn p8_who_comes_back_into_the_network_is_synchronised() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Pong, rows(), Reply::Pong, rows()]);
    let client = client(folder.path(), &server);
    let changes = changes(&client);
    client.store().create("note", &note("a", "mine")).unwrap();
    client.configure(ON_ONLINE).unwrap();
    let wifi = NetworkInfo::of(NetworkType::Wifi);
    client.set_network(wifi).unwrap();
    assert_eq!(next(&changes).is_online, None);
    assert_eq!(next(&changes).is_online, Some(true), "by a probe");
    assert!(server.seen().line.starts_with("GET /v1/ping?nonce="));
    assert_eq!(server.seen().groups.len(), 1);
    let wifi = NetworkInfo::of(NetworkType::Wifi);
    client
        .set_network(NetworkInfo::of(NetworkType::None))
        .unwrap();
    assert_eq!(next(&changes).is_online, Some(false));
    client.store().create("note", &note("b", "away")).unwrap();
    client.set_network(wifi).unwrap();
    assert_eq!(
        next(&changes),
        NetworkStatus {
            is_online: None,
            info: wifi
        }
    );
    assert_eq!(next(&changes).is_online, Some(true));
    server.seen();
    assert_eq!(server.seen().groups.len(), 1);
}

#[test]
fn without_a_network_no_sync_begins_by_itself_and_one_that_is_asked_for_does() {
    let folder = tempdir().unwrap();
    let server = Server::start([rows()]);
    let client = client(folder.path(), &server);
    client
        .set_network(NetworkInfo::of(NetworkType::None))
        .unwrap();
    let config = SyncConfig {
        on_write_ms: Some(1),
        ..ON_ONLINE
    };
    client.configure(config).unwrap();
    client.store().create("note", &note("a", "mine")).unwrap();
    assert_eq!(client.next_sync(), None);
    assert!(!server.saw_more());
    // The platform was wrong.
    let report = client.sync(None, Direction::Both).unwrap();
    assert_eq!((report.status, report.pushed), (SyncStatus::Completed, 1));
    assert_eq!(client.network().info.kind, NetworkType::Unknown);
}

#[test]
fn a_unit_for_unmetered_networks_waits_for_one_and_its_changes_do_not() {
    let folder = tempdir().unwrap();
    let server = Server::start((0..4).map(|_| rows()));
    let client = client(folder.path(), &server);
    client.set_unmetered_only("main", true);
    let cellular = NetworkType::Cellular(Some(Generation::G4));
    client.set_network(NetworkInfo::of(cellular)).unwrap();
    client.store().create("note", &note("a", "mine")).unwrap();
    let report = client.sync(None, Direction::Both).unwrap();
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    assert_eq!(
        (report.pushed, &*report.left_out),
        (1, &["main".to_owned()][..])
    );
    let seen = server.seen();
    assert_eq!((seen.groups.len(), seen.hello.unwrap().pull.len()), (1, 0));
    assert_eq!(client.store().status().unwrap().last_success_ms, None);
    // Who names the unit means it.
    let report = client.sync(Some("main"), Direction::Both).unwrap();
    assert_eq!(report.status, SyncStatus::Completed);
    assert!(!server.seen().hello.unwrap().pull.is_empty());
    client
        .set_network(NetworkInfo::of(NetworkType::Wifi))
        .unwrap();
    let report = client.sync(None, Direction::Both).unwrap();
    assert_eq!(report.status, SyncStatus::Completed);
    assert!(!server.seen().hello.unwrap().pull.is_empty());
}

#[test]
fn what_is_edited_online_is_locked_with_the_network() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Pong]);
    let mut options = crate::native_server::options(folder.path(), &server.address);
    let mut model = crate::native_server::model();
    model.entities[0].edit_online = true;
    options.model = Some(model);
    let client = Client::open(options).unwrap();
    let refused = client.store().create("note", &note("a", "x")).unwrap_err();
    assert_eq!(refused.code(), &Code::EDIT_NEEDS_NETWORK);
    assert!(client.probe().unwrap());
    client.store().create("note", &note("a", "x")).unwrap();
    client
        .set_network(NetworkInfo::of(NetworkType::None))
        .unwrap();
    let refused = client.store().create("note", &note("b", "x")).unwrap_err();
    assert_eq!(refused.code(), &Code::EDIT_NEEDS_NETWORK);
}

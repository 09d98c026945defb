//! The device under a server's limits: it waits as told, sends less, and loses nothing.

use std::time::Duration;

use afield::engine::{Report, SyncStatus};
use afield::native::{Client, SyncOptions};
use afield::protocol::{Code, DeviceLimits};
use afield::{Params, RequestCaps, Store};
use tempfile::tempdir;

use crate::native_driver::note;
use crate::native_server::{Reply, Server, client, model, options};
use crate::world::{World, execute};

fn sync(client: &Client) -> Report {
    client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap()
}

fn write(client: &Client, ids: &[&str]) {
    for id in ids {
        client.store().create("note", &note(id, "mine")).unwrap();
    }
}

/// The identifiers in the groups of the next request.
fn sent(server: &Server) -> Vec<String> {
    let seen = server.seen();
    let keys = seen.groups.iter().flat_map(|group| &group.changes);
    keys.map(|change| format!("{:?}", change.key[0]))
        .map(|text| text.chars().rfind(|c| c.is_lowercase()).unwrap())
        .map(String::from)
        .collect()
}

const TOO_LARGE: &str = r#"{"code":"group-too-large","detail":"group g has more than any"}"#;

#[test]
fn p8_a_group_that_no_server_takes_is_parked_with_its_reason_and_the_rest_flows() {
    let folder = tempdir().unwrap();
    let server = Server::start([
        Reply::Status(413, "", TOO_LARGE),
        Reply::Notes(vec![]),
        Reply::Status(413, "", TOO_LARGE),
        Reply::Notes(vec![]),
    ]);
    let client = client(folder.path(), &server);
    write(&client, &["a", "b", "c"]);
    let report = sync(&client);
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    let requests: Vec<_> = (0..4).map(|_| sent(&server)).collect();
    assert_eq!(requests, [&["a", "b", "c"][..], &["a"], &["b"], &["c"]]);
    let status = client.store().status().unwrap();
    assert_eq!((status.pending, status.parked), (0, 1));
    let outcomes = client.store().outcomes(0).unwrap();
    let parked: Vec<_> = outcomes.iter().filter(|it| it.code.is_some()).collect();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].code, Some(Code::GROUP_TOO_LARGE));
    let message = parked[0].message.as_deref();
    assert_eq!(message, Some("group g has more than any"));
    // What was typed is still there.
    let sql = "SELECT text FROM note WHERE id = 'b'";
    let rows = client.store().query(sql, &Params::none()).unwrap().rows;
    assert_eq!(rows.len(), 1);
}

#[test]
fn p8_what_does_not_come_in_time_is_sent_in_halves() {
    let folder = tempdir().unwrap();
    let slow = || Reply::Status(408, "", r#"{"code":"timeout"}"#);
    let server = Server::start([slow(), slow(), Reply::Notes(vec![]), Reply::Notes(vec![])]);
    let client = client(folder.path(), &server);
    write(&client, &["a", "b", "c"]);
    assert_eq!(sync(&client).status, SyncStatus::Completed);
    let requests: Vec<_> = (0..4).map(|_| sent(&server)).collect();
    assert_eq!(
        requests,
        [&["a", "b", "c"][..], &["a"], &["a"], &["b", "c"]]
    );
}

#[test]
fn p1_a_device_that_asks_too_often_waits_as_told_and_loses_nothing() {
    let often = r#"{"code":"too-often","detail":"come back later"}"#;
    let folder = tempdir().unwrap();
    let server = Server::start([
        Reply::Status(429, "Retry-After: 0\r\n", often),
        Reply::Notes(vec![]),
        Reply::Status(429, "Retry-After: 3600\r\n", often),
    ]);
    let client = client(folder.path(), &server);
    write(&client, &["a"]);
    assert_eq!(sync(&client).status, SyncStatus::Completed);
    assert_eq!(
        (sent(&server), sent(&server)),
        (vec!["a".into()], vec!["a".into()])
    );
    write(&client, &["b"]);
    // Without the header it would ask again within a quarter of a second.
    let report = sync(&client);
    assert_eq!(report.status, SyncStatus::Failed);
    assert_eq!(sent(&server), ["b"]);
    assert!(!server.saw_more());
    let status = client.store().status().unwrap();
    assert_eq!((status.pending, status.parked), (1, 0));
}

#[test]
fn the_models_limits_are_the_devices() {
    let folder = tempdir().unwrap();
    let server = Server::start((0..4).map(|_| Reply::Notes(vec![])));
    let mut options = options(folder.path(), &server.address);
    let mut limited = model();
    limited.limits = DeviceLimits {
        batch_changes: 2,
        group_changes_max: 3,
        freshness_ms: 1_234,
        ..DeviceLimits::default()
    };
    options.model = Some(limited);
    let client = Client::open(options).unwrap();
    write(&client, &["a", "b", "c"]);
    let insert = |ids: &str| {
        let sql = format!("INSERT INTO note (id, text) VALUES {ids}");
        execute(&mut client.store(), &sql).unwrap();
    };
    insert("('d', ''), ('e', ''), ('f', ''), ('g', '')");
    insert("('x', ''), ('y', ''), ('z', '')");
    assert_eq!(sync(&client).status, SyncStatus::Completed);
    let requests: Vec<_> = (0..3).map(|_| sent(&server)).collect();
    assert_eq!(requests, [&["a", "b"][..], &["c"], &["x", "y", "z"]]);
    assert!(!server.saw_more());
    let status = client.store().status().unwrap();
    assert_eq!((status.pending, status.parked), (0, 4));
    assert_eq!(status.freshness_ms, 1_234);
}

#[test]
fn the_models_patience_is_the_devices_unless_the_app_says_otherwise() {
    for (model_ms, app, says) in [
        (150, None, "150ms"),
        (60_000, Some(Duration::from_millis(150)), "150ms"),
    ] {
        let folder = tempdir().unwrap();
        let server = Server::start((0..4).map(|_| Reply::Silence));
        let mut options = options(folder.path(), &server.address);
        options.timeouts.idle = app;
        let mut patient = model();
        patient.limits.idle_timeout_ms = model_ms;
        options.model = Some(patient);
        let client = Client::open(options).unwrap();
        let report = sync(&client);
        let (code, message) = report.error.unwrap();
        assert_eq!(code, Code::TIMEOUT);
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn p2_a_group_that_was_sent_goes_again_whatever_the_limit_is_by_now() {
    let world = World::new();
    let mut store = world.store();
    let insert = |store: &mut Store, names: &str| {
        execute(store, &format!("INSERT INTO label VALUES {names}")).unwrap();
    };
    insert(&mut store, "('a'), ('b'), ('c'), ('d')");
    let mut sync = world.sync();
    let mut ask = |group_changes| {
        let caps = RequestCaps {
            group_changes,
            ..RequestCaps::default()
        };
        sync.next_request(Some("main"), true, caps).unwrap().groups
    };
    let first = ask(4);
    assert_eq!(first.len(), 1);
    assert_eq!(ask(3), first, "the server may have applied it");
    insert(&mut store, "('e'), ('f'), ('g'), ('h')");
    insert(&mut store, "('i'), ('j'), ('k')");
    let sizes: Vec<usize> = ask(3).iter().map(|group| group.changes).collect();
    assert_eq!(sizes, [4, 3]);
    assert_eq!(store.status().unwrap().parked, 4);
}

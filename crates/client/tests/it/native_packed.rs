//! Packed answers: asked for, unpacked as they come, counted as they came, and given up when they
//! cannot be what a server packed.

use afield::engine::{Report, SyncStatus};
use afield::native::{Client, SyncOptions};
use afield::protocol::Code;
use tempfile::tempdir;

use crate::native_driver::{note, texts};
use crate::native_server::{Pack, Reply, Server, client};

fn sync(client: &Client) -> Report {
    client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap()
}

fn notes() -> Reply {
    Reply::Notes(vec![("s", "server server server server server server")])
}

fn packed(coding: &'static str, pack: Pack) -> Reply {
    Reply::Packed(coding, pack, Box::new(notes()))
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(body, 3).unwrap()
}

fn short(body: &[u8]) -> Vec<u8> {
    let mut packed = zstd(body);
    packed.pop();
    packed
}

/// Broken before anything can be unpacked.
fn spoilt(body: &[u8]) -> Vec<u8> {
    let mut packed = zstd(body);
    packed[0] ^= 1;
    packed
}

/// A frame of 30 MiB that begins well, in 1 KB.
fn bomb(_: &[u8]) -> Vec<u8> {
    const LENGTH: u32 = 30 * 1024 * 1024;
    let mut frame = vec![0xd8, 0x18, 0x5a];
    frame.extend(LENGTH.to_be_bytes());
    frame.resize(frame.len() + LENGTH as usize, 0);
    zstd(&frame)
}

const UNPACKABLE: [(&str, Pack); 4] = [
    ("zstd", short),
    ("zstd", spoilt),
    ("zstd", bomb),
    ("br", zstd),
];

#[test]
fn a_packed_answer_is_asked_for_and_counts_as_much_as_came() {
    let folder = tempdir().unwrap();
    // As it is, in one frame of zstd, and in two.
    let halves: Pack = |body| {
        let (first, second) = body.split_at(body.len() / 2);
        [zstd(first), zstd(second)].concat()
    };
    let script = [
        notes(),
        packed("zstd", zstd),
        packed("ZSTD", halves),
        packed("identity", <[u8]>::to_vec),
    ];
    let server = Server::start(script);
    let client = client(folder.path(), &server);
    let mut received = Vec::new();
    for _ in 0..4 {
        let report = sync(&client);
        assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
        assert_eq!(report.pulled, 1);
        assert_eq!(server.seen().header("accept-encoding"), Some("zstd"));
        received.push(report.bytes_received);
    }
    assert!(received[1] < received[0], "{received:?}");
    assert!(received[1] < received[2], "{received:?}");
    assert!(received[1] < received[3], "{received:?}");
}

#[test]
fn p2_p8_what_cannot_be_unpacked_is_asked_for_again_as_it_is() {
    for (coding, pack) in UNPACKABLE {
        let folder = tempdir().unwrap();
        let server = Server::start([packed(coding, pack), notes(), notes()]);
        let client = client(folder.path(), &server);
        client.store().create("note", &note("a", "mine")).unwrap();
        let report = sync(&client);
        assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
        assert_eq!(texts(&client).len(), 2);
        let (first, again) = (server.seen(), server.seen());
        assert_eq!(first.header("accept-encoding"), Some("zstd"));
        assert_eq!(again.header("accept-encoding"), None);
        // The bomb and `br` brought no outcome, so the very same group went again.
        assert!(again.groups.is_empty() || again.groups == first.groups);
        // Whoever spoils answers does so tomorrow too.
        sync(&client);
        assert_eq!(server.seen().header("accept-encoding"), None);
    }
}

#[test]
fn p1_p9_answers_that_nobody_can_unpack_end_the_sync_and_apply_nothing() {
    for (coding, pack) in &UNPACKABLE[1..] {
        let folder = tempdir().unwrap();
        let server = Server::start((0..2).map(|_| packed(coding, *pack)));
        let client = client(folder.path(), &server);
        client.store().create("note", &note("a", "mine")).unwrap();
        let report = sync(&client);
        assert_eq!(report.status, SyncStatus::Failed);
        let (code, message) = report.error.unwrap();
        assert_eq!(code, Code::MALFORMED);
        assert!(message.contains("cannot be unpacked"), "{message}");
        assert_eq!(report.pulled, 0);
        assert_eq!(texts(&client).len(), 1);
        let status = client.store().status().unwrap();
        assert_eq!((status.pending, status.parked), (1, 0));
        server.seen();
        server.seen();
        assert!(!server.saw_more());
    }
}

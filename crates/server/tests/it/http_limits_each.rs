//! Each limit one below, at and one above what is sent.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use afield_protocol::codec::Format;
use afield_protocol::limits::{CHOSEN_VALUES_MAX, DEPTH, GROUP_CHANGES_MAX};
use afield_protocol::{Change, Chosen, Frame, Group, GroupId, Held, Hello, Op, Value};
use afield_server::http::HttpLimits;

use crate::http_support::client::{Answer, Ask, connect, read_answer, read_head};
use crate::http_support::{Server, group, token, token_of};

fn within(change: impl FnOnce(&mut HttpLimits)) -> Server {
    let mut limits = HttpLimits::default();
    change(&mut limits);
    Server::start_with(limits, |_| {})
}

/// A group that creates so many rows.
fn creating(id: u8, rows: usize) -> Group {
    let change = |row: usize| Change {
        entity: "visit".into(),
        op: Op::Create,
        key: vec![Value::Integer(i64::try_from(row).unwrap())],
        base: [].into(),
        set: [].into(),
    };
    Group::new(GroupId([id; 16]), (0..rows).map(change).collect())
}

fn ended(answer: &Answer) -> (u16, String) {
    match answer.status {
        200 => (200, String::new()),
        status => (status, answer.code()),
    }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

const FINE: (u16, String) = (200, String::new());

#[test]
fn p9_frames_are_counted() {
    let server = within(|limits| limits.frames = 10);
    for (held, expected) in [
        (7, FINE),
        (8, FINE),
        (9, refused(413, "too-many-frames")),
        (500, refused(413, "too-many-frames")),
    ] {
        let mut frames = vec![Frame::Hello(server.hello(&[]))];
        frames.extend((0..held).map(|n| {
            Frame::Held(Held {
                entity: format!("e{n}"),
                gained: vec![1],
                lost: vec![],
            })
        }));
        frames.push(Frame::End);
        assert_eq!(ended(&server.sync(&frames)), expected, "{held}");
    }
}

#[test]
fn p9_changes_of_several_groups_are_counted_and_one_alone_may_have_more() {
    let server = within(|limits| limits.batch_changes = 10);
    for (groups, expected) in [
        (&[5, 4][..], FINE),
        (&[5, 5], FINE),
        (&[5, 6], refused(413, "too-many-changes")),
        (&[11, 1], refused(413, "too-many-changes")),
        (&[1; 11], refused(413, "too-many-changes")),
        (&[11], FINE),
    ] {
        let before = server.storage.pushed().len();
        let mut frames = vec![Frame::Hello(server.hello(&[]))];
        for (id, rows) in (1..).zip(groups) {
            frames.push(Frame::Group(creating(id, *rows)));
        }
        frames.push(Frame::End);
        assert_eq!(ended(&server.sync(&frames)), expected, "{groups:?}");
        let pushed = server.storage.pushed().len() - before;
        assert_eq!(pushed, if expected == FINE { groups.len() } else { 0 });
    }
}

#[test]
fn p9_a_group_with_more_changes_than_any_may_have_is_not_read() {
    let server = Server::start();
    for (rows, expected) in [
        (GROUP_CHANGES_MAX, FINE),
        (GROUP_CHANGES_MAX + 1, refused(413, "group-too-large")),
    ] {
        let group = Frame::Group(creating(1, rows));
        let frames = [Frame::Hello(server.hello(&[])), group, Frame::End];
        assert_eq!(ended(&server.sync(&frames)), expected, "{rows}");
    }
}

#[test]
fn p9_chosen_values_and_nesting_are_counted_while_they_are_read() {
    let server = Server::start();
    for (count, expected) in [
        (CHOSEN_VALUES_MAX - 1, FINE),
        (CHOSEN_VALUES_MAX, FINE),
        (CHOSEN_VALUES_MAX + 1, refused(400, "too-many-chosen")),
        (1_000_000, refused(400, "too-many-chosen")),
    ] {
        let chosen = Frame::Chosen(Chosen {
            scope: "s".into(),
            values: vec![Value::Integer(1); count],
        });
        let frames = [Frame::Hello(server.hello(&[])), chosen, Frame::End];
        assert_eq!(ended(&server.sync(&frames)), expected, "{count}");
    }
    let hello = server.encode(Format::JsonLines, &[Frame::Hello(server.hello(&[]))]);
    let end = server.encode(Format::JsonLines, &[Frame::End]);
    for (depth, expected) in [
        (DEPTH - 1, FINE),
        (DEPTH, refused(400, "too-deep")),
        (100_000, refused(400, "too-deep")),
    ] {
        // A member that nobody knows is read past, but read. The object around it counts too.
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let line = format!("{{\"more\":{open}{close},{}", &text(&end)[1..]);
        let body = [&hello[..], line.as_bytes()].concat();
        let ask = Ask::sync(&token()).header("Content-Type", "application/jsonl");
        let answer = ask.body(body).send(server.address);
        assert_eq!(ended(&answer), expected, "{depth}");
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn p9_memory_of_values_counts_beyond_their_bytes() {
    let server = within(|limits| limits.uploads_bytes = 400_000);
    let frames = |rows| {
        let group = Frame::Group(creating(1, rows));
        [Frame::Hello(server.hello(&[])), group, Frame::End]
    };
    let bytes = server.encode(Format::Cbor, &frames(3_000)).len();
    assert!(bytes < 100_000, "{bytes}");
    assert_eq!(ended(&server.sync(&frames(3_000))), refused(503, "busy"));
    // It is given back, however often.
    for _ in 0..10 {
        assert_eq!(ended(&server.sync(&frames(1_000))), FINE);
    }
}

#[test]
fn p9_a_device_asks_so_often_in_a_minute_and_is_told_when_to_come_back() {
    let now = Arc::new(AtomicI64::new(crate::http_support::NOW));
    let limits = HttpLimits {
        device_rate: 3,
        ..HttpLimits::default()
    };
    let clock = Arc::clone(&now);
    let server = Server::start_timed(limits, move || clock.load(Ordering::SeqCst));
    let ask = |user: &str, device: &str| {
        let hello = Hello {
            device: device.into(),
            ..server.hello(&[])
        };
        let frames = [Frame::Hello(hello), Frame::Group(group(1, "a")), Frame::End];
        let body = server.encode(Format::Cbor, &frames);
        Ask::sync(&token_of(user)).body(body).send(server.address)
    };
    for _ in 0..3 {
        assert_eq!(ended(&ask("ann", "d1")), FINE);
    }
    let answer = ask("ann", "d1");
    assert_eq!(ended(&answer), refused(429, "too-often"));
    assert_eq!(answer.header("retry-after"), Some("20"));
    assert_eq!(
        server.storage.pushed().len(),
        3,
        "nothing of it was applied"
    );
    assert_eq!(ended(&ask("ann", "d2")), FINE);
    assert_eq!(ended(&ask("bob", "d1")), FINE);
    now.fetch_add(19, Ordering::SeqCst);
    assert_eq!(ask("ann", "d1").header("retry-after"), Some("1"));
    now.fetch_add(1, Ordering::SeqCst);
    assert_eq!(ended(&ask("ann", "d1")), FINE);
    assert_eq!(ended(&ask("ann", "d1")), refused(429, "too-often"));
}

/// Whether something of an answer is there.
fn is_answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    seen.is_ok()
}

#[test]
fn p9_syncs_at_once_wait_for_a_moment_and_are_told_to_come_back() {
    let server = within(|limits| {
        limits.syncs_max = 1;
        limits.syncs_waiting = 1;
        limits.sync_wait = Duration::from_secs(60);
    });
    server.storage.set(|script| script.holds_pulls = true);
    let hello = || Frame::Hello(server.hello(&[("visit", None)]));
    let body = server.encode(Format::Cbor, &[hello(), Frame::End]);
    let open = || {
        let mut stream = connect(server.address);
        Ask::sync(&token()).body(body.clone()).write(&mut stream);
        stream
    };
    let running = open();
    server.storage.wait_for_pull();
    // Of two more one waits, whichever comes first, and the other is turned away at once.
    let mut others = vec![open(), open()];
    let at = loop {
        match others.iter().position(is_answered) {
            Some(at) => break at,
            None => std::thread::yield_now(),
        }
    };
    let turned_away = read_answer(&mut BufReader::new(others.remove(at)));
    assert_eq!(ended(&turned_away), refused(503, "busy"));
    assert_eq!(turned_away.header("retry-after"), Some("5"));
    assert!(!is_answered(&others[0]));
    assert_eq!(server.storage.pulls(), 1);
    server.storage.release();
    for stream in [running, others.remove(0)] {
        assert_eq!(read_answer(&mut BufReader::new(stream)).status, 200);
    }
    assert_eq!(server.storage.pulls(), 2);
    // A wait that is over is a refusal.
    let server = within(|limits| {
        limits.syncs_max = 1;
        limits.sync_wait = Duration::from_millis(100);
    });
    server.storage.set(|script| script.holds_pulls = true);
    let mut stream = connect(server.address);
    Ask::sync(&token()).body(body.clone()).write(&mut stream);
    server.storage.wait_for_pull();
    let answer = server.sync(&[hello(), Frame::End]);
    assert_eq!(ended(&answer), refused(503, "busy"));
    server.storage.release();
    assert_eq!(read_answer(&mut BufReader::new(stream)).status, 200);
}

#[test]
fn p9_a_user_has_a_share_of_the_syncs_at_once() {
    let server = within(|limits| limits.syncs_of_user = 2);
    server.storage.set(|script| {
        script.more_pages = 100_000;
        script.row_bytes = 1 << 20;
    });
    let body = |pull: &[_]| {
        let hello = Frame::Hello(server.hello(pull));
        server.encode(Format::Cbor, &[hello, Frame::End])
    };
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = connect(server.address);
            let ask = Ask::sync(&token()).body(body(&[("visit", None)]));
            ask.write(&mut stream);
            let mut stream = BufReader::new(stream);
            assert_eq!(read_head(&mut stream).status, 200);
            stream
        })
        .collect();
    let answer = Ask::sync(&token()).body(body(&[])).send(server.address);
    assert_eq!(ended(&answer), refused(429, "too-often"));
    assert_eq!(answer.header("retry-after"), Some("5"));
    let other = Ask::sync(&token_of("bob")).body(body(&[]));
    assert_eq!(ended(&other.send(server.address)), FINE);
    drop(slow);
}

#[test]
fn p9_a_body_must_come_within_its_time_however_busily() {
    let server = within(|limits| {
        limits.body_time = Duration::from_millis(300);
        limits.idle = Duration::from_secs(1);
    });
    let mut stream = connect(server.address);
    let head = format!(
        "POST /v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 30000000\r\n\r\n",
        token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let frames = [Frame::Hello(server.hello(&[]))];
    stream
        .write_all(&server.encode(Format::Cbor, &frames))
        .unwrap();
    // A byte at a time for as long as the server takes them; the head of a frame that never ends.
    stream.write_all(&[0xd8, 24, 0x5a, 1, 0, 0, 0]).unwrap();
    let reading = stream.try_clone().unwrap();
    let answer = std::thread::spawn(move || read_answer(&mut BufReader::new(reading)));
    while !answer.is_finished() && stream.write_all(&[0]).is_ok() {
        std::thread::yield_now();
    }
    assert_eq!(ended(&answer.join().unwrap()), refused(408, "timeout"));
}

#[test]
fn p9_a_head_must_come_within_its_time() {
    let server = Server::start_with(HttpLimits::default(), |options| {
        options.head_timeout = Duration::from_millis(200);
    });
    let mut stream = connect(server.address);
    stream.write_all(b"POST /v1/sync HTTP/1.1\r\nHo").unwrap();
    // The end of the connection, without a word or with one; a test that hangs fails.
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert!(!said.starts_with(b"HTTP/1.1 2"));
}

#[test]
fn p9_a_head_has_so_many_bytes() {
    let server = Server::start();
    // What is read at once decides where between one and two times the limit it ends.
    for (bytes, is_taken) in [(40_000, true), (300_000, false)] {
        let body = server.encode(Format::Cbor, &[Frame::Hello(server.hello(&[])), Frame::End]);
        let ask = Ask::sync(&token()).header("X-Much", &"x".repeat(bytes));
        let mut stream = connect(server.address);
        let writing = stream.try_clone().unwrap();
        // The server may hang up before it has all of it.
        let sent = std::thread::spawn(move || {
            let mut writing = writing;
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                ask.body(body).write(&mut writing);
            }))
        });
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let _ = sent.join();
        assert_eq!(said.starts_with(b"HTTP/1.1 200"), is_taken, "{bytes}");
    }
}

//! What one request may take, and what one failure may break.

use std::io::{BufReader, Write as _};
use std::time::Duration;

use afield_protocol::codec::Format;
use afield_protocol::{Code, Frame};
use afield_server::http::HttpLimits;

use crate::http_support::client::{Ask, connect, read_answer, read_chunk, read_head};
use crate::http_support::{Server, group, problem, token};

#[test]
fn p9_a_body_over_the_limit_is_refused_announced_or_not() {
    let limits = HttpLimits {
        body_bytes: 300_000,
        ..HttpLimits::default()
    };
    let server = Server::start_with(limits, |_| {});
    let note = "x".repeat(299_000);
    let frames = [
        Frame::Hello(server.hello(&[])),
        Frame::Group(group(1, &note)),
        Frame::End,
    ];
    let body = server.encode(Format::Cbor, &frames);
    assert!(body.len() < 300_000);
    let sync = |body: Vec<u8>| Ask::sync(&token()).body(body);
    assert_eq!(sync(body.clone()).send(server.address).status, 200);
    assert_eq!(sync(body).chunked().send(server.address).status, 200);
    let frames = [
        Frame::Hello(server.hello(&[])),
        Frame::Group(group(2, &note.repeat(2))),
        Frame::End,
    ];
    let body = server.encode(Format::Cbor, &frames);
    for ask in [sync(body.clone()), sync(body).chunked()] {
        let answer = ask.send(server.address);
        assert_eq!((answer.status, &*answer.code()), (413, "too-large"));
    }
    assert_eq!(server.storage.pushed().len(), 2);
}

#[test]
fn p9_a_device_that_stops_reading_holds_no_snapshot_and_is_given_up() {
    let limits = HttpLimits {
        stall: Duration::from_millis(200),
        syncs_max: 1,
        syncs_waiting: 0,
        ..HttpLimits::default()
    };
    let server = Server::start_with(limits, |_| {});
    server.storage.set(|script| {
        script.more_pages = 100_000;
        script.row_bytes = 1 << 20;
    });
    let hello = server.hello(&[("visit", None)]);
    let body = server.encode(Format::Cbor, &[Frame::Hello(hello), Frame::End]);
    let mut stream = connect(server.address);
    Ask::sync(&token()).body(body).write(&mut stream);
    let mut stream = BufReader::new(stream);
    assert_eq!(read_head(&mut stream).status, 200);
    // From here on nothing is read. The one place is free again once the server gives up.
    let empty = server.encode(Format::Cbor, &[Frame::Hello(server.hello(&[])), Frame::End]);
    let mut tries = 0;
    loop {
        let answer = Ask::sync(&token()).body(empty.clone()).send(server.address);
        match answer.status {
            200 => break,
            503 => assert_eq!(answer.code(), "busy"),
            other => panic!("{other}"),
        }
        tries += 1;
        assert!(tries < 10_000, "the server never gave the device up");
        std::thread::yield_now();
    }
    assert!(tries > 0, "the limit of syncs was not kept");
    let pulls = server.storage.pulls();
    assert!(
        pulls < 40,
        "{pulls} pages of 1 MiB were read for a device that takes none"
    );
    let mut got = 0;
    while let Some(chunk) = read_chunk(&mut stream) {
        assert!(
            !chunk.is_empty(),
            "half an answer must not look like a whole one"
        );
        got += 1;
    }
    assert!(got > 0);
}

#[test]
fn a_request_that_stops_coming_is_given_up() {
    let limits = HttpLimits {
        idle: Duration::from_millis(100),
        ..HttpLimits::default()
    };
    let server = Server::start_with(limits, |_| {});
    let mut stream = connect(server.address);
    let head = format!(
        "POST /v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 500\r\n\
         \r\n",
        token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(&mut BufReader::new(stream));
    assert_eq!((answer.status, &*answer.code()), (408, "timeout"));
}

#[test]
fn panics_end_one_request_and_nothing_else() {
    let server = Server::start();
    let hello = || Frame::Hello(server.hello(&[("visit", None)]));
    server.storage.set(|script| script.epoch_panics = true);
    let answer = server.sync(&[hello(), Frame::End]);
    assert_eq!((answer.status, &*answer.code()), (500, "internal"));
    server.storage.script.clear_poison();
    server.storage.set(|script| script.epoch_panics = false);
    assert_eq!(
        server.synced(&[hello(), Frame::End]).last(),
        Some(&Frame::End)
    );
}

#[test]
fn a_page_that_leads_nowhere_is_not_asked_for_for_ever() {
    let server = Server::start();
    server.storage.set(|script| script.is_stuck = true);
    let position = Some(3_u32.to_be_bytes().to_vec());
    let hello = Frame::Hello(server.hello(&[("visit", position)]));
    let frames = server.synced(&[hello, Frame::Group(group(1, "a")), Frame::End]);
    assert_eq!(problem(&frames), &Code::INTERNAL);
    assert_eq!(server.storage.pulls(), 1);
}

#[test]
fn p9_requests_share_one_bounded_memory() {
    let limits = HttpLimits {
        uploads_bytes: 100_000,
        ..HttpLimits::default()
    };
    let server = Server::start_with(limits, |_| {});
    let frames = |bytes: usize| {
        let note = "x".repeat(bytes);
        [
            Frame::Hello(server.hello(&[])),
            Frame::Group(group(1, &note)),
            Frame::End,
        ]
    };
    let busy = server.sync(&frames(100_000));
    assert_eq!((busy.status, &*busy.code()), (503, "busy"));
    assert_eq!(server.storage.pushed(), []);
    // What a request took is there again for the next.
    for _ in 0..5 {
        server.synced(&frames(90_000));
    }
}

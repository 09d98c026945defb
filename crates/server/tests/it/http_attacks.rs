//! Attacks that are still open while another device synchronises.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use afield_protocol::codec::Format;
use afield_protocol::{Frame, Group};
use afield_server::http::HttpLimits;

use crate::http_support::client::{Ask, connect, read_head};
use crate::http_support::{Server, group, token, token_of};

/// Connections of each attack.
const SLOW: usize = 1_000;

/// A sync of somebody else, with a change and a page.
fn synchronise(server: &Server, id: u8) {
    let frames = [
        Frame::Hello(server.hello(&[("visit", None)])),
        Frame::Group(group(id, "meanwhile")),
        Frame::End,
    ];
    let body = server.encode(Format::Cbor, &frames);
    let answer = Ask::sync(&token_of("bob")).body(body).send(server.address);
    assert_eq!(answer.status, 200, "{answer:?}");
    let frames = server.decode(Format::Cbor, &answer.body);
    assert_eq!(frames.last(), Some(&Frame::End));
    let mut pushed = server.storage.pushed().into_iter();
    assert!(pushed.any(|(user, _)| user == "bob"));
}

/// Whether the server still holds the connection open, having said nothing.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = (&mut &*stream).read(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

fn server() -> Server {
    Server::start_with(HttpLimits::default(), |_| {})
}

#[test]
fn p9_a_thousand_heads_that_never_end_hold_nobody_up() {
    let server = server();
    let slow: Vec<TcpStream> = (0..SLOW)
        .map(|_| {
            let mut stream = connect(server.address);
            stream.write_all(b"POST /v1/sync HTTP/1.1\r\nHo").unwrap();
            stream
        })
        .collect();
    synchronise(&server, 1);
    assert!(slow.iter().all(is_open), "the attack was over too early");
    end(slow);
}

#[test]
fn p9_a_thousand_bodies_a_byte_at_a_time_hold_nobody_up() {
    let server = server();
    let body = server.encode(Format::Cbor, &[Frame::Hello(server.hello(&[]))]);
    let head = format!(
        "POST /v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 1000000\r\n\r\n",
        token()
    );
    let mut slow: Vec<TcpStream> = (0..SLOW)
        .map(|_| {
            let mut stream = connect(server.address);
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    for (id, byte) in (1..).zip(body.chunks(body.len().div_ceil(4))) {
        // Nagle's rule would not hold them back: each is all there is to send.
        slow.iter_mut()
            .for_each(|stream| stream.write_all(&byte[..1]).unwrap());
        synchronise(&server, id);
    }
    let open = slow.iter().filter(|stream| is_open(stream)).count();
    assert!(open > 0, "the attack was over too early");
    end(slow);
}

#[test]
fn p9_a_thousand_answers_that_nobody_reads_hold_nobody_up() {
    let server = server();
    server.storage.set(|script| {
        script.more_pages = 1_000;
        script.row_bytes = 1 << 16;
    });
    let hello = Frame::Hello(server.hello(&[("visit", None)]));
    let body = server.encode(Format::Cbor, &[hello, Frame::End]);
    let slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let mut stream = connect(server.address);
            Ask::sync(&token()).body(body.clone()).write(&mut stream);
            stream
        })
        .collect();
    let mut statuses: Vec<u16> = Vec::new();
    let slow: Vec<_> = slow
        .into_iter()
        .map(|stream| {
            let mut stream = BufReader::new(stream);
            statuses.push(read_head(&mut stream).status);
            stream
        })
        .collect();
    let share = HttpLimits::default().syncs_of_user;
    assert_eq!(statuses.iter().filter(|it| **it == 200).count(), share);
    assert!(statuses.iter().all(|status| [200, 429].contains(status)));
    server.storage.set(|script| script.more_pages = 0);
    synchronise(&server, 1);
    drop(slow);
}

#[test]
fn p9_a_million_changes_are_refused_while_others_synchronise() {
    let server = server();
    let one = group(7, "a").changes;
    // In one group, whose announced length is all that is read of its changes; and in many.
    let million: Vec<_> = (0..1_000_000).map(|_| one[0].clone()).collect();
    let group = Group::new(group(8, "a").id, million);
    let body = |frames: &[Frame]| {
        let mut all = vec![Frame::Hello(server.hello(&[]))];
        all.extend_from_slice(frames);
        server.encode(Format::Cbor, &all)
    };
    let whole = body(&[Frame::Group(group)]);
    let packed = zstd::bulk::compress(&whole, 1).unwrap();
    assert!(packed.len() < 1_000_000, "{}", packed.len());
    let mut open = connect(server.address);
    let head = format!(
        "POST /v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Encoding: zstd\r\nContent-Length: {}\r\n\r\n",
        token(),
        packed.len()
    );
    open.write_all(head.as_bytes()).unwrap();
    let (last, most) = packed.split_last().unwrap();
    open.write_all(most).unwrap();
    synchronise(&server, 1);
    open.write_all(&[*last]).unwrap();
    synchronise(&server, 2);
    let answer = crate::http_support::client::read_answer(&mut BufReader::new(open));
    assert_eq!(answer.status, 413, "{answer:?}");
    let pushed = server.storage.pushed();
    assert!(pushed.iter().all(|(user, _)| user == "bob"));
}

fn end(streams: Vec<TcpStream>) {
    for stream in streams {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

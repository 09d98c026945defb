//! Decisions about refused groups over real HTTP: who asks is told, and nobody else.

use afield_protocol::codec::Format;
use afield_protocol::{Closed, Closing, Code, Frame, GroupId};

use crate::http_support::client::Ask;
use crate::http_support::{Server, group, kinds, token};

fn closed() -> Frame {
    Frame::Closed {
        groups: vec![Closed {
            group: GroupId([1; 16]),
            how: Closing::Told,
        }],
    }
}

/// The kinds of frames of an answer to a request with this header.
fn asked(server: &Server, value: &str, frames: &[Frame]) -> Vec<&'static str> {
    let ask = Ask::sync(&token()).header("Afield-Inbox", value);
    let body = server.encode(Format::Cbor, frames);
    let answer = ask.body(body).send(server.address);
    assert_eq!(answer.status, 200, "{answer:?}");
    kinds(&server.decode(Format::Cbor, &answer.body))
}

#[test]
fn only_who_asks_gets_the_frame_behind_the_outcomes_and_before_rows() {
    let server = Server::start();
    let hello = || Frame::Hello(server.hello(&[("visit", None)]));
    let rows = ["page", "rows", "page-end", "end"];
    let request = [hello(), closed(), Frame::Group(group(1, "a")), Frame::End];
    let told = asked(&server, "1", &request);
    let expected = ["welcome", "outcome", "settled", "inbox"];
    assert_eq!(told, [expected.as_slice(), &rows].concat());
    let told = asked(&server, "1", &[hello(), Frame::End]);
    let expected = ["welcome", "settled", "inbox"];
    assert_eq!(told, [expected.as_slice(), &rows].concat());
    // What another version asks is not understood, and no reason to fail.
    for told in [
        asked(&server, "2", &[hello(), Frame::End]),
        kinds(&server.synced(&[hello(), Frame::End])),
    ] {
        assert_eq!(told, [["welcome", "settled"].as_slice(), &rows].concat());
    }
}

#[test]
fn what_is_closed_stands_once_and_before_groups() {
    let server = Server::start();
    let hello = || Frame::Hello(server.hello(&[]));
    let sends = Frame::Group(group(1, "a"));
    for frames in [
        vec![hello(), closed(), closed(), Frame::End],
        vec![hello(), sends, closed(), Frame::End],
        vec![closed(), Frame::End],
    ] {
        let answer = server.sync(&frames);
        let refused = (answer.status, answer.code());
        assert_eq!(refused, (400, Code::MALFORMED.to_string()), "{frames:?}");
    }
    assert_eq!(server.storage.pushed(), []);
}

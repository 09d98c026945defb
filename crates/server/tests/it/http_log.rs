//! Logs of devices over real HTTP: where the frames stand, who is told, and that a log never keeps
//! the rest from getting through.

use afield_protocol::codec::Format;
use afield_protocol::{Code, Frame, Level, LogEntry};

use crate::http_support::client::Ask;
use crate::http_support::{Server, group, kinds, token};

fn log(numbers: &[i64]) -> Frame {
    let entry = |n: &i64| LogEntry {
        id: [7; 16],
        n: *n,
        at_ms: 5,
        level: Level::Warn,
        module: "camera".into(),
        message: "no light".into(),
        dropped: 0,
    };
    Frame::Log {
        entries: numbers.iter().map(entry).collect(),
    }
}

fn asked(server: &Server, value: Option<&str>, frames: &[Frame]) -> Vec<Frame> {
    let ask = Ask::sync(&token());
    let ask = match value {
        Some(value) => ask.header("Afield-Log", value),
        None => ask,
    };
    let body = server.encode(Format::Cbor, frames);
    let answer = ask.body(body).send(server.address);
    assert_eq!(answer.status, 200, "{answer:?}");
    server.decode(Format::Cbor, &answer.body)
}

#[test]
fn who_asks_or_sends_is_told_and_nobody_else() {
    let server = Server::start();
    let hello = || Frame::Hello(server.hello(&[]));
    let told = asked(&server, Some("1"), &[hello(), Frame::End]);
    assert_eq!(kinds(&told), ["welcome", "settled", "logged", "end"]);
    assert_eq!(told[2], Frame::Logged { to: 0 });
    let sends = [
        hello(),
        Frame::Group(group(1, "a")),
        log(&[4, 9]),
        Frame::End,
    ];
    let told = asked(&server, None, &sends);
    let expected = ["welcome", "outcome", "settled", "logged", "end"];
    assert_eq!(kinds(&told), expected);
    assert_eq!(told[3], Frame::Logged { to: 9 });
    for value in [None, Some("2")] {
        let told = asked(&server, value, &[hello(), Frame::End]);
        assert_eq!(kinds(&told), ["welcome", "settled", "end"]);
    }
}

#[test]
fn p7_user_and_device_are_those_of_the_request() {
    let server = Server::start();
    let hello = Frame::Hello(server.hello(&[]));
    let user = |server: &Server| {
        let logged = &server.storage.script.lock().unwrap().logged;
        let (caller, entry) = logged[0].clone();
        (caller.user, caller.device, entry.message)
    };
    asked(&server, None, &[hello.clone(), log(&[1]), Frame::End]);
    let (user, device, message) = user(&server);
    let Frame::Hello(hello) = hello else {
        unreachable!()
    };
    assert_eq!((device, message), (hello.device, "no light".to_owned()));
    asked(
        &server,
        None,
        &[
            Frame::Hello(server.hello(&[])),
            Frame::Group(group(1, "a")),
            Frame::End,
        ],
    );
    assert_eq!(server.storage.pushed()[0].0, user);
}

#[test]
fn p1_a_log_that_cannot_be_kept_fails_nothing() {
    let server = Server::start();
    server.storage.set(|script| script.log_fails = true);
    let frames = [
        Frame::Hello(server.hello(&[])),
        Frame::Group(group(1, "a")),
        log(&[1]),
        Frame::End,
    ];
    let told = asked(&server, None, &frames);
    assert_eq!(kinds(&told), ["welcome", "outcome", "settled", "end"]);
    assert_eq!(server.storage.pushed().len(), 1);
}

#[test]
fn a_log_stands_once_behind_everything() {
    let server = Server::start();
    let hello = || Frame::Hello(server.hello(&[]));
    for frames in [
        vec![hello(), log(&[1]), log(&[2]), Frame::End],
        vec![hello(), log(&[1]), Frame::Group(group(1, "a")), Frame::End],
        vec![log(&[1]), Frame::End],
    ] {
        let answer = server.sync(&frames);
        let refused = (answer.status, answer.code());
        assert_eq!(refused, (400, Code::MALFORMED.to_string()), "{frames:?}");
    }
    assert_eq!(server.storage.pushed(), []);
    assert!(server.storage.script.lock().unwrap().logged.is_empty());
}

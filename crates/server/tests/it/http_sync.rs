//! `POST /v1/sync` over real HTTP.

use afield_protocol::codec::Format;
use afield_protocol::{Code, Frame, GroupId, Hello, History};

use crate::http_support::client::Ask;
use crate::http_support::{Server, group, kinds, problem, token};

#[test]
fn groups_are_answered_before_rows() {
    let server = Server::start();
    server.storage.set(|script| script.more_pages = 1);
    let hello = Frame::Hello(server.hello(&[("visit", None)]));
    let groups = [group(1, "a"), group(2, "b")];
    let frames = server.synced(&[
        hello,
        Frame::Group(groups[0].clone()),
        Frame::Group(groups[1].clone()),
        Frame::End,
    ]);
    assert_eq!(
        kinds(&frames),
        [
            "welcome", "outcome", "outcome", "settled", "page", "rows", "page-end", "page", "rows",
            "page-end", "end"
        ]
    );
    let expected: Vec<_> = groups
        .into_iter()
        .map(|group| ("ann".to_owned(), group))
        .collect();
    assert_eq!(server.storage.pushed(), expected, "under the token's user");
}

#[test]
fn a_sync_that_only_sends_or_only_asks_is_whole_too() {
    let server = Server::start();
    let hello = || Frame::Hello(server.hello(&[]));
    assert_eq!(
        kinds(&server.synced(&[hello(), Frame::End])),
        ["welcome", "settled", "end"]
    );
    let frames = server.synced(&[hello(), Frame::Group(group(1, "a")), Frame::End]);
    assert_eq!(kinds(&frames), ["welcome", "outcome", "settled", "end"]);
    let position = 7_u32.to_be_bytes().to_vec();
    let hello = Frame::Hello(server.hello(&[("visit", Some(position))]));
    let frames = server.synced(&[hello, Frame::End]);
    assert_eq!(
        kinds(&frames),
        ["welcome", "settled", "page", "rows", "page-end", "end"]
    );
}

#[test]
fn p1_nothing_of_another_history_is_applied() {
    let server = Server::start();
    let hello = |checkpoint: &[u8]| {
        Frame::Hello(Hello {
            checkpoints: vec![b"this one".to_vec(), checkpoint.to_vec()],
            ..server.hello(&[("visit", None)])
        })
    };
    let sent = Frame::Group(group(1, "a"));
    let frames = server.synced(&[hello(b"another history"), sent.clone(), Frame::End]);
    assert_eq!(kinds(&frames), ["welcome", "problem"]);
    assert_eq!(problem(&frames), &Code::HISTORY_WANTED);
    assert_eq!(server.storage.pushed(), []);
    let frames = server.synced(&[hello(b"this one"), sent, Frame::End]);
    assert_eq!(kinds(&frames)[..3], ["welcome", "outcome", "settled"]);
}

#[test]
fn p1_what_is_lost_of_the_history_is_told() {
    let server = Server::start();
    let history = |ids: &[u8]| {
        Frame::History(History {
            checkpoint: b"another history".to_vec(),
            groups: ids.iter().map(|id| GroupId([*id; 16])).collect(),
        })
    };
    let hello = Hello {
        checkpoints: vec![b"another history".to_vec()],
        ..server.hello(&[])
    };
    let opening = Frame::Hello(hello);
    let offered = [opening.clone(), history(&[1]), history(&[2, 3]), Frame::End];
    let frames = server.synced(&offered);
    assert_eq!(kinds(&frames), ["welcome", "lost", "settled", "end"]);
    let groups = [1, 2, 3].map(|id| GroupId([id; 16])).to_vec();
    assert_eq!(frames[1], Frame::Lost { groups });
    // History stands alone.
    let pulling = Frame::Hello(server.hello(&[("visit", None)]));
    let sent = Frame::Group(group(1, "a"));
    for mixed in [
        vec![pulling, history(&[1]), Frame::End],
        vec![opening.clone(), history(&[1]), sent.clone(), Frame::End],
        vec![opening, sent, history(&[1]), Frame::End],
    ] {
        let body = server.encode(Format::Cbor, &mixed);
        let answer = Ask::sync(&token()).body(body).send(server.address);
        assert_eq!(answer.status, 400);
        assert_eq!(answer.code(), "malformed");
    }
    assert_eq!(server.storage.pushed(), []);
}

#[test]
fn json_lines_and_cbor_say_the_same() {
    let server = Server::start();
    let frames = [
        Frame::Hello(server.hello(&[("visit", None)])),
        Frame::Group(group(1, "grüße\n")),
        Frame::End,
    ];
    let mut answers = Vec::new();
    for sent in [Format::Cbor, Format::JsonLines] {
        for wanted in [Format::Cbor, Format::JsonLines] {
            let mut body = server.encode(sent, &frames);
            if sent == Format::JsonLines {
                // A person may forget the last line break.
                assert_eq!(body.pop(), Some(b'\n'));
            }
            let answer = Ask::sync(&token())
                .header(
                    "Content-Type",
                    &format!("{}; charset=utf-8", sent.media_type()),
                )
                .header("Accept", wanted.media_type())
                .body(body)
                .send(server.address);
            assert_eq!(answer.header("content-type"), Some(wanted.media_type()));
            answers.push(server.decode(wanted, &answer.body));
        }
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:#?}"
    );
    let pushed = server.storage.pushed();
    assert!(pushed.len() == 4 && pushed.iter().all(|group| *group == pushed[0]));
}

#[test]
fn another_model_gets_its_outcomes_and_then_the_news() {
    let server = Server::start();
    let mut hello = server.hello(&[("visit", None), ("dropped", None)]);
    hello.model = "0123456789abcdef".into();
    let frames = server.synced(&[Frame::Hello(hello), Frame::Group(group(1, "a")), Frame::End]);
    assert_eq!(kinds(&frames), ["welcome", "outcome", "settled", "problem"]);
    assert_eq!(problem(&frames), &Code::MODEL_CHANGED);
    assert_eq!(
        (server.storage.pushed().len(), server.storage.pulls()),
        (1, 0)
    );
}

#[test]
fn p7_only_synced_entities_of_the_model_can_be_pulled() {
    let server = Server::start();
    for name in ["visits", "draft", "sqlite_schema", ""] {
        let hello = Frame::Hello(server.hello(&[("visit", None), (name, None)]));
        let frames = server.synced(&[hello, Frame::Group(group(1, "a")), Frame::End]);
        assert_eq!(problem(&frames), &Code::UNKNOWN_ENTITY, "{name}");
    }
    assert_eq!(
        (server.storage.pushed().len(), server.storage.pulls()),
        (4, 0)
    );
}

#[test]
fn a_storage_that_fails_first_is_told_by_the_status() {
    let server = Server::start();
    let hello = || Frame::Hello(server.hello(&[("visit", None)]));
    server.storage.set(|script| {
        script.push_fails = true;
        script.failing_page = Some(0);
    });
    let push = [hello(), Frame::Group(group(1, "a")), Frame::End];
    let pull = [hello(), Frame::End];
    for request in [&push[..], &pull[..]] {
        let answer = server.sync(request);
        assert_eq!((answer.status, &*answer.code()), (500, "internal"));
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            !said.contains("secret_table"),
            "the storage's words stay in the log: {said}"
        );
    }
    server.storage.set(|script| script.is_retryable = true);
    for request in [&push[..], &pull[..]] {
        let answer = server.sync(request);
        assert_eq!((answer.status, &*answer.code()), (503, "busy"));
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(server.storage.pushed(), []);
}

#[test]
fn p8_a_storage_that_fails_later_takes_back_no_outcome() {
    let server = Server::start();
    server.storage.set(|script| {
        script.more_pages = 5;
        script.failing_page = Some(1);
    });
    let hello = || Frame::Hello(server.hello(&[("visit", None)]));
    let frames = server.synced(&[hello(), Frame::Group(group(1, "a")), Frame::End]);
    let expected = [
        "welcome", "outcome", "settled", "page", "rows", "page-end", "problem",
    ];
    assert_eq!(kinds(&frames), expected);
    assert_eq!(problem(&frames), &Code::INTERNAL);
    server.storage.set(|script| script.failing_page = Some(0));
    let frames = server.synced(&[hello(), Frame::Group(group(1, "a")), Frame::End]);
    assert_eq!(kinds(&frames), ["welcome", "outcome", "settled", "problem"]);
}

#[test]
fn p2_half_a_request_is_applied_not_at_all() {
    let server = Server::start();
    let hello = || Frame::Hello(server.hello(&[]));
    let grouped = || Frame::Group(group(1, "a"));
    for (case, frames) in [
        ("nothing", vec![]),
        ("no hello", vec![grouped(), Frame::End]),
        ("no end", vec![hello(), grouped()]),
        ("two hellos", vec![hello(), hello(), grouped(), Frame::End]),
        ("behind the end", vec![hello(), Frame::End, grouped()]),
        ("two ends", vec![hello(), grouped(), Frame::End, Frame::End]),
        (
            "a server's frame",
            vec![
                hello(),
                grouped(),
                Frame::Settled {
                    checkpoint: Vec::new(),
                },
                Frame::End,
            ],
        ),
        (
            "an entity twice",
            vec![
                Frame::Hello(server.hello(&[("visit", None), ("visit", None)])),
                grouped(),
                Frame::End,
            ],
        ),
    ] {
        let answer = server.sync(&frames);
        assert_eq!(
            (answer.status, &*answer.code()),
            (400, "malformed"),
            "{case}"
        );
    }
    let whole = server.encode(Format::Cbor, &[hello(), grouped(), Frame::End]);
    for end in 0..whole.len() {
        let answer = Ask::sync(&token())
            .body(&whole[..end])
            .chunked()
            .send(server.address);
        assert_eq!(
            (answer.status, &*answer.code()),
            (400, "malformed"),
            "{end} bytes"
        );
    }
    let mut old = server.hello(&[]);
    old.protocol = 99;
    let answer = server.sync(&[Frame::Hello(old), grouped(), Frame::End]);
    assert_eq!((answer.status, &*answer.code()), (400, "protocol-version"));
    assert_eq!(server.storage.pushed(), []);
}

#[test]
fn garbage_is_refused_in_both_formats() {
    let server = Server::start();
    let mut random = fastrand::Rng::with_seed(11);
    let frames = [
        Frame::Hello(server.hello(&[])),
        Frame::Group(group(1, "a")),
        Frame::Settled {
            checkpoint: Vec::new(),
        },
        Frame::End,
    ];
    for round in 0..200 {
        let format = if round % 2 == 0 {
            Format::Cbor
        } else {
            Format::JsonLines
        };
        let mut body = server.encode(format, &frames);
        for _ in 0..random.usize(..8) {
            let at = random.usize(..body.len());
            body[at] = random.u8(..);
        }
        if round % 5 == 0 {
            let length = random.usize(1..500);
            body = std::iter::repeat_with(|| random.u8(..))
                .take(length)
                .collect();
        }
        let ask = Ask::sync(&token()).header("Content-Type", format.media_type());
        let answer = ask.body(body).send(server.address);
        assert_eq!(answer.status, 400, "{round}: {answer:?}");
        assert!(
            ["malformed", "protocol-version"].contains(&&*answer.code()),
            "{round}"
        );
    }
    assert_eq!(server.storage.pushed(), []);
}

#[test]
fn media_types_that_nobody_speaks_are_refused() {
    let server = Server::start();
    let body = server.encode(Format::Cbor, &[Frame::Hello(server.hello(&[])), Frame::End]);
    for (name, value, status) in [
        ("Content-Type", "text/plain", 415),
        ("Content-Type", "application/cbor", 415),
        ("Content-Encoding", "br", 415),
        ("Content-Encoding", "identity", 200),
        ("Accept", "text/html", 406),
        ("Accept", "text/html, application/jsonl;q=0.5", 200),
        ("Accept", "*/*", 200),
    ] {
        let ask = Ask::sync(&token()).header(name, value).body(body.clone());
        assert_eq!(ask.send(server.address).status, status, "{name}: {value}");
    }
}

#[test]
fn pages_stream_while_they_are_made() {
    let server = Server::start();
    server.storage.set(|script| {
        script.more_pages = 30;
        script.row_bytes = 1 << 20;
    });
    let frames = server.synced(&[Frame::Hello(server.hello(&[("visit", None)])), Frame::End]);
    assert_eq!(frames.len(), 2 + 31 * 3 + 1);
    assert_eq!(frames.last(), Some(&Frame::End));
}

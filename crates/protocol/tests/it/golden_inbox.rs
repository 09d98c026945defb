//! The frames with which both sides tell each other of decisions about refused groups.

use afield_protocol::{Attributes, Closed, Closing, Decided, Frame, GroupId, Value, Verdict};

fn inbox() -> Frame {
    let corrected = Attributes::from([("a_text".to_owned(), Value::from("Lake 2"))]);
    let applied = Decided {
        group: GroupId([0xaa; 16]),
        into: Some(GroupId([0xbb; 16])),
        by: "dora".into(),
        at_ms: 1_764_000_000_000,
        verdicts: vec![
            Verdict {
                values: corrected,
                ..Verdict::applied()
            },
            Verdict {
                key: Some(vec!["A7".into(), 3.into()]),
                ..Verdict::applied()
            },
        ],
    };
    let dropped = Decided {
        group: GroupId([0xcc; 16]),
        into: None,
        by: "dora".into(),
        at_ms: -1,
        verdicts: Vec::new(),
    };
    Frame::Inbox {
        decided: vec![applied, dropped],
    }
}

fn closed() -> Frame {
    let groups = Closing::ALL.iter().zip(1..);
    let groups = groups.map(|(how, at)| Closed {
        group: GroupId([at; 16]),
        how: *how,
    });
    Frame::Closed {
        groups: groups.collect(),
    }
}

pub(crate) fn frames() -> [(&'static str, Frame); 4] {
    let nothing = Frame::Inbox {
        decided: Vec::new(),
    };
    let none = Frame::Closed { groups: Vec::new() };
    [
        ("frame-inbox", inbox()),
        ("frame-inbox-empty", nothing),
        ("frame-closed", closed()),
        ("frame-closed-empty", none),
    ]
}

//! Orders with lines from two devices over real HTTP, with the model that `init` proposes.

use afield_protocol::codec::Format;
use afield_protocol::{
    Attributes, Change, FIRST_TEMPORARY, Frame, Group, GroupId, GroupOutcome, Op, Origin, Value,
};

use crate::http_real::{rows, served};
use crate::http_support::client::Ask;
use crate::http_support::{Server, token};

const SCHEMA: &str = "
CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT CHECK (label <> 'bad'));
CREATE TABLE line (order_no INTEGER NOT NULL REFERENCES orders, pos INTEGER NOT NULL, words TEXT,
  PRIMARY KEY (order_no, pos));
INSERT INTO orders (id, label) VALUES (700, 'old');
";

const ORDERS: i64 = 40;
const LINES: i64 = 5;

/// What one device writes: each order in a group, each line in a group of its own, and an edit of
/// the order that was made after it was sent.
struct Device {
    name: &'static str,
    groups: Vec<Group>,
}

fn change(entity: &str, op: Op, key: Vec<Value>, name: &str, value: String) -> Change {
    Change {
        entity: entity.into(),
        op,
        key,
        base: Attributes::new(),
        set: [(name.to_owned(), value.into())].into(),
    }
}

impl Device {
    fn new(name: &'static str, number: u8) -> Self {
        let mut groups = Vec::new();
        let id = |n: usize| {
            let mut id = [number; 16];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            GroupId(id)
        };
        for order in 0..ORDERS {
            let temporary = FIRST_TEMPORARY + order;
            let parent = id(groups.len());
            // Every tenth order is refused; its lines wait.
            let label = match order % 10 {
                9 => "bad".to_owned(),
                _ => format!("{name} {order}"),
            };
            let key = vec![temporary.into()];
            let mut add = |changes: Vec<Change>, is_child: bool| {
                let origin = Origin {
                    entity: "orders".into(),
                    temporary,
                    group: parent,
                    at: 0,
                };
                groups.push(Group {
                    id: id(groups.len()),
                    absorbed: Vec::new(),
                    origins: if is_child { vec![origin] } else { Vec::new() },
                    changes,
                    checkpoint: Vec::new(),
                });
            };
            add(
                vec![change(
                    "orders",
                    Op::Create,
                    key.clone(),
                    "label",
                    label.clone(),
                )],
                false,
            );
            for pos in 1..=LINES {
                let key = vec![temporary.into(), pos.into()];
                add(
                    vec![change("line", Op::Create, key, "words", label.clone())],
                    true,
                );
            }
            if order % 3 == 0 {
                let edited = format!("{label} edited");
                add(
                    vec![change("orders", Op::Update, key, "label", edited)],
                    true,
                );
            }
        }
        Self { name, groups }
    }

    /// Sends everything in requests of seven groups; each answer is lost once.
    fn send(&self, server: &Server, format: Format) {
        for groups in self.groups.chunks(7) {
            let mut frames = vec![Frame::Hello(server.hello(&[]))];
            frames.extend(groups.iter().cloned().map(Frame::Group));
            frames.push(Frame::End);
            let ask = || {
                let answer = Ask::sync(&token())
                    .header("Content-Type", format.media_type())
                    .header("Accept", format.media_type())
                    .body(server.encode(format, &frames))
                    .send(server.address);
                outcomes(server.decode(format, &answer.body))
            };
            let lost = ask();
            assert_eq!(lost.len(), groups.len(), "{}", self.name);
            assert_eq!(ask(), lost, "{}: another answer", self.name);
        }
    }
}

fn outcomes(frames: Vec<Frame>) -> Vec<GroupOutcome> {
    let outcome = |frame| match frame {
        Frame::Outcome(outcome) => Some(outcome),
        _ => None,
    };
    frames.into_iter().filter_map(outcome).collect()
}

#[test]
fn p2_orders_with_lines_of_two_devices_end_up_exactly_right() {
    let folder = tempfile::tempdir().unwrap();
    let server = served(folder.path(), SCHEMA);
    Device::new("mine", 1).send(&server, Format::Cbor);
    Device::new("theirs", 2).send(&server, Format::JsonLines);
    let hello = server.hello(&[("orders", None), ("line", None)]);
    let rows = rows(&server.synced(&[Frame::Hello(hello), Frame::End]));
    let mut labels: Vec<String> = rows["orders"].iter().map(|row| text(&row[1])).collect();
    let mut expected = vec!["old".to_owned()];
    for device in ["mine", "theirs"] {
        for order in (0..ORDERS).filter(|order| order % 10 != 9) {
            let edited = if order % 3 == 0 { " edited" } else { "" };
            expected.push(format!("{device} {order}{edited}"));
        }
    }
    labels.sort();
    expected.sort();
    assert_eq!(labels, expected);
    assert_eq!(rows["line"].len() as i64, 2 * ORDERS * 9 / 10 * LINES);
    for line in &rows["line"] {
        let order = rows["orders"]
            .iter()
            .find(|order| order[0] == line[0])
            .unwrap();
        let label = text(&order[1]);
        assert_eq!(
            label.trim_end_matches(" edited"),
            text(&line[2]),
            "at another order"
        );
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

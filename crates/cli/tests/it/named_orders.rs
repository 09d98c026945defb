//! Orders with lines, made without a network under temporary identifiers.

use afield::ChangeState;
use afield::protocol::{Attributes, Key, Value};
use rusqlite::types::Value as Cell;

use crate::proxy::Fault;
use crate::world::{Device, World, eventually, rows, server_settings};

const SCHEMA: &str = "
    CREATE TABLE booking (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      tag TEXT NOT NULL UNIQUE,
      state TEXT NOT NULL CHECK (state <> 'wrong'),
      note TEXT
    );
    CREATE TABLE line (
      booking_id INTEGER NOT NULL REFERENCES booking (id),
      n INTEGER NOT NULL,
      tag TEXT NOT NULL UNIQUE,
      amount INTEGER,
      PRIMARY KEY (booking_id, n)
    );
    INSERT INTO booking (id, tag, state) VALUES (6999, 'of the desk', 'good');
";

const MODEL: &str = r#"
    [local.booking]
    from = "booking"
    pattern = "detect-conflicts"
    merge = "attribute"
    attributes = ["tag", "state", "note"]
    scope = "everyone"
    [local.line]
    from = "line"
    pattern = "last-write-wins"
    attributes = ["tag", "amount"]
    scope = "everyone"
"#;

/// Orders of each device.
const ORDERS: usize = 500;

/// Lines of each order.
const LINES: usize = 5;

/// What a user knows of an order: what he typed, and the identifier as he first saw it.
struct Order {
    tag: String,
    id: Key,
    note: Option<String>,
    /// Refused as it was typed.
    is_wrong: bool,
    /// Given up by the user.
    is_dropped: bool,
    lines: usize,
}

fn row<const N: usize>(pairs: [(&str, Value); N]) -> Attributes {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Adds a line under the identifier that the user knows, whatever it is today.
fn add_line(device: &Device, order: &mut Order) {
    order.lines += 1;
    let line = line_of(order, order.lines);
    device.client.store().create("line", &line).unwrap();
}

fn line_of(order: &Order, n: usize) -> Attributes {
    row([
        ("booking_id", order.id[0].clone()),
        ("n", Value::Integer(i64::try_from(n).unwrap())),
        ("tag", Value::from(format!("{}/{n}", order.tag))),
        ("amount", Value::Integer(1)),
    ])
}

/// Every third order is made line by line, every tenth is wrong; the last line comes later.
fn make(device: &Device, name: &str, at: usize) -> Order {
    let is_wrong = at.is_multiple_of(10);
    let mut order = Order {
        tag: format!("{name} {at}"),
        id: Vec::new(),
        note: None,
        is_wrong,
        is_dropped: false,
        lines: 0,
    };
    let state = if is_wrong { "wrong" } else { "good" };
    let head = row([
        ("tag", Value::from(order.tag.clone())),
        ("state", Value::from(state)),
    ]);
    let at_once = !at.is_multiple_of(3);
    device
        .client
        .store()
        .transaction(|tx| {
            order.id = tx.create("booking", &head)?;
            for n in 1..LINES {
                if at_once {
                    tx.create("line", &line_of(&order, n))?;
                }
            }
            Ok(())
        })
        .unwrap();
    if at_once {
        order.lines = LINES - 1;
    }
    while order.lines < LINES - 1 {
        add_line(device, &mut order);
    }
    order
}

/// A connection that dies, answers that are lost: a few syncs, wherever they get.
fn sync_badly(world: &World, device: &Device) {
    world.proxy.connections_live(120_000);
    let mut asked = 0;
    world.proxy.rule(move |request| {
        asked += usize::from(request.is_sync());
        match asked % 3 {
            1 => Fault::LoseAnswer,
            _ => Fault::Pass,
        }
    });
    for _ in 0..2 {
        device.sync();
    }
}

/// Edits and last lines, under the identifiers of the day before.
fn go_on(device: &Device, orders: &mut [Order]) {
    for (at, order) in orders.iter_mut().enumerate() {
        if at.is_multiple_of(4) {
            let note = format!("note on {}", order.tag);
            let set = row([("note", Value::from(note.clone()))]);
            device
                .client
                .store()
                .update("booking", &order.id, &set)
                .unwrap();
            order.note = Some(note);
        }
        add_line(device, order);
    }
}

/// Decides about the refused orders: most are corrected, some given up.
fn decide(device: &Device, orders: &mut [Order]) {
    let changes = device.changes();
    for (at, order) in orders
        .iter_mut()
        .enumerate()
        .filter(|(_, order)| order.is_wrong)
    {
        let tag = Value::from(order.tag.clone());
        let parked = changes.iter().find(|change| {
            change.entity == "booking"
                && change.state == ChangeState::Parked
                && change.set.get("tag") == Some(&tag)
        });
        let parked = parked.unwrap_or_else(|| panic!("{} is not parked", order.tag));
        let mut store = device.client.store();
        if at.is_multiple_of(50) {
            store.drop_change(&parked.change).unwrap();
            order.is_dropped = true;
        } else {
            let set = row([("state", Value::from("good"))]);
            store.retry(&parked.change, Some(&set)).unwrap();
        }
    }
}

fn until_nothing_waits(device: &Device) {
    eventually("nothing waits", || {
        device.sync();
        let status = device.client.store().status().unwrap();
        status.pending + status.held + status.parked == 0
    });
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

/// The server has what the users meant, each once, each line at its order.
fn check_server(world: &World, orders: &[Order]) {
    let team = world.team();
    let kept: Vec<&Order> = orders.iter().filter(|order| !order.is_dropped).collect();
    let joined = rows(
        &team,
        "SELECT b.tag, l.tag, l.n FROM booking AS b JOIN line AS l ON l.booking_id = b.id \
         ORDER BY b.id, l.n",
    );
    assert_eq!(joined.len(), kept.len() * LINES);
    assert_eq!(
        world.value("SELECT count(*) FROM line"),
        joined.len().into_cell()
    );
    assert_eq!(
        world.value("SELECT count(*) FROM booking"),
        (kept.len() + 1).into_cell()
    );
    for line in &joined {
        let (Cell::Text(order), Cell::Text(tag), Cell::Integer(n)) = (&line[0], &line[1], &line[2])
        else {
            panic!("{line:?}")
        };
        assert_eq!(*tag, format!("{order}/{n}"));
    }
    for order in kept {
        let found = rows(
            &team,
            &format!(
                "SELECT state, note, id < 4503599627370496 FROM booking WHERE tag = '{}'",
                order.tag
            ),
        );
        let note = order.note.as_deref().map_or(Cell::Null, text);
        assert_eq!(found, [[text("good"), note, 1.into()]], "{}", order.tag);
    }
}

trait IntoCell {
    fn into_cell(self) -> Cell;
}

impl IntoCell for usize {
    fn into_cell(self) -> Cell {
        Cell::Integer(i64::try_from(self).unwrap())
    }
}

#[test]
fn p1_p2_a_thousand_orders_made_on_two_devices_end_up_exactly_right() {
    let model = server_settings(5_000) + MODEL;
    let world = World::of(SCHEMA, &model, "");
    let mut all = Vec::new();
    let devices = ["ann", "ben"].map(|user| world.downloaded(user, user));
    for (device, name) in devices.iter().zip(["ann", "ben"]) {
        let mut orders: Vec<Order> = (1..=ORDERS).map(|at| make(device, name, at)).collect();
        sync_badly(&world, device);
        go_on(device, &mut orders[..ORDERS / 2]);
        sync_badly(&world, device);
        world.proxy.heal();
        eventually("what can be sent is sent", || {
            device.sync();
            device.client.store().status().unwrap().pending == 0
        });
        let held = device.count(ChangeState::Held);
        assert!(held > 0, "something waits for the refused orders");
        go_on(device, &mut orders[ORDERS / 2..]);
        decide(device, &mut orders);
        sync_badly(&world, device);
        all.push(orders);
    }
    world.proxy.heal();
    devices.iter().for_each(until_nothing_waits);
    devices.iter().for_each(until_nothing_waits);
    let orders: Vec<Order> = all.into_iter().flatten().collect();
    check_server(&world, &orders);
    let team = world.team();
    for device in &devices {
        for sql in [
            "SELECT * FROM booking ORDER BY id",
            "SELECT * FROM line ORDER BY 1, 2",
        ] {
            assert_eq!(rows(&device.raw(), sql), rows(&team, sql), "{sql}");
        }
    }
    // The identifier that the user saw first still finds the order.
    let order = &orders[1];
    let found = devices[0].client.store().get("booking", &order.id).unwrap();
    assert_eq!(found.unwrap()["tag"], Value::from(order.tag.clone()));
}

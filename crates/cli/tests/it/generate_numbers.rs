//! Generated types for rows that the server numbers: used with temporary identifiers, sent over
//! real HTTP, and used on under the old identifier and the new.

#[path = "generated/booking.rs"]
mod booking;

use std::fs;
use std::path::Path;

use afield::ChangeState;
use afield::engine::SyncStatus;
use afield::protocol::FIRST_TEMPORARY;
use afield::{Error, Store};

use crate::proxy::Fault;
use crate::support::succeed;
use crate::world::{Device, World, rows, server_settings};
use booking::{
    Booking, BookingId, BookingPatch, Create as _, Entity as _, Line, LineId, LinePatch,
    NewBooking, NewLine, NewRemark, Remark, RemarkId, RemarkPatch, Write as _,
};

fn world() -> World {
    let model = server_settings(5_000) + include_str!("generated/booking.toml");
    World::of(include_str!("generated/booking.sql"), &model, "")
}

/// `AFIELD_BLESS=1 cargo test -p afield-cli generate_numbers` writes it anew.
#[test]
fn the_committed_file_is_what_the_command_writes_for_numbered_rows() {
    let world = world();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/generated/booking.rs");
    let written = succeed(world.path(), "generate rust");
    if std::env::var_os("AFIELD_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &written).unwrap();
    }
    assert!(written == fs::read_to_string(&path).unwrap(), "bless it");
    let device = world.downloaded("phone", "ann");
    assert_eq!(device.model(), booking::model().unwrap());
}

/// What the user holds on to: the identifiers as he first saw them.
struct Held {
    booking: BookingId,
    lines: [LineId; 2],
    remark: RemarkId,
}

fn line(booking: &BookingId, n: i64) -> NewLine {
    NewLine {
        booking_id: booking.0.into(),
        n: n.into(),
        amount: 1.into(),
    }
}

/// A booking with a line and a remark in one transaction, and a line in another.
fn make(store: &mut Store) -> Result<Held, Error> {
    let (booking, first, remark) = store.transaction(|tx| {
        let row = NewBooking {
            tag: "mine".into(),
            state: "new".into(),
            ..NewBooking::default()
        };
        let booking = Booking::create(tx, &row)?;
        let first = Line::create(tx, &line(&booking, 1))?;
        let row = NewRemark {
            booking_id: booking.0.into(),
            text: "first".into(),
            ..NewRemark::default()
        };
        let remark = Remark::create(tx, &row)?;
        Ok((booking, first, remark))
    })?;
    let second = Line::create(store, &line(&booking, 2))?;
    Ok(Held {
        booking,
        lines: [first, second],
        remark,
    })
}

/// Sends everything; the first answer is lost.
fn send(world: &World, device: &Device) {
    let mut is_first = true;
    world.proxy.rule(
        move |request| match request.is_sync() && std::mem::take(&mut is_first) {
            true => Fault::LoseAnswer,
            false => Fault::Pass,
        },
    );
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    world.proxy.heal();
}

/// Both identifiers find the row, and it says the new one.
fn check_names(store: &mut Store, held: &Held) -> Result<(), Error> {
    assert!(held.booking.0 >= FIRST_TEMPORARY && held.remark.0 >= FIRST_TEMPORARY);
    for id in [held.booking, BookingId(7000)] {
        let row = Booking::get(store, &id)?.unwrap();
        assert_eq!(
            (row.id(), row.tag.as_deref()),
            (BookingId(7000), Some("mine"))
        );
        for (n, line) in (1..).zip(&held.lines) {
            let named = LineId {
                booking_id: id.0,
                n,
            };
            for name in [line, &named] {
                let row = Line::get(store, name)?.unwrap();
                assert_eq!((row.booking_id, row.n), (7000, n));
            }
        }
    }
    for id in [held.remark, RemarkId(1)] {
        let row = Remark::get(store, &id)?.unwrap();
        assert_eq!((row.id, row.booking_id), (1, Some(7000)));
    }
    Ok(())
}

/// Edits under the identifiers of before, and a line more.
fn edit(store: &mut Store, held: &Held) -> Result<(), Error> {
    let patch = BookingPatch {
        state: "done".into(),
        ..BookingPatch::default()
    };
    Booking::update(store, &held.booking, &patch)?;
    Line::update(store, &held.lines[0], &LinePatch { amount: 5.into() })?;
    Line::delete(store, &held.lines[1])?;
    let patch = RemarkPatch {
        booking_id: held.booking.0.into(),
        text: "second".into(),
    };
    Remark::update(store, &held.remark, &patch)?;
    let third = Line::create_or_update(store, &line(&held.booking, 3))?;
    assert_eq!(third.booking_id, 7000, "an action says the name of today");
    Ok(())
}

fn delete(store: &mut Store, held: &Held) -> Result<(), Error> {
    store.transaction(|tx| {
        for line in Line::query(tx, "WHERE booking_id = ?1", [7000.into()])? {
            Line::delete(tx, &line.id())?;
        }
        Remark::delete(tx, &held.remark)?;
        Booking::delete(tx, &held.booking)
    })?;
    assert_eq!(Booking::get(store, &held.booking)?, None);
    assert_eq!(Remark::get(store, &RemarkId(1))?, None);
    Ok(())
}

/// What is in the three tables, on the device and on the server.
fn check(world: &World, device: &Device, expected: [&[&str]; 3]) {
    let queries = [
        "SELECT id || ' ' || tag || ' ' || state FROM booking ORDER BY id",
        "SELECT booking_id || ' ' || n || ' ' || amount FROM line ORDER BY 1",
        "SELECT id || ' ' || booking_id || ' ' || text FROM remark ORDER BY id",
    ];
    for (sql, expected) in queries.into_iter().zip(expected) {
        let expected: Vec<_> = expected
            .iter()
            .map(|row| vec![(*row).to_owned().into()])
            .collect();
        assert_eq!(rows(&world.team(), sql), expected, "on the server");
        assert_eq!(rows(&device.raw(), sql), expected, "on the device");
    }
}

#[test]
fn p2_p3_generated_types_use_a_numbered_row_by_its_old_identifier_and_its_new() {
    let world = world();
    let device = world.downloaded("phone", "ann");
    let store = || device.client.store();
    let desk = "6999 of the desk good";
    let held = make(&mut store()).unwrap();
    send(&world, &device);
    check_names(&mut store(), &held).unwrap();
    let made = ["7000 1 1", "7000 2 1"];
    check(
        &world,
        &device,
        [&[desk, "7000 mine new"], &made, &["1 7000 first"]],
    );
    edit(&mut store(), &held).unwrap();
    send(&world, &device);
    let edited = ["7000 1 5", "7000 3 1"];
    check(
        &world,
        &device,
        [&[desk, "7000 mine done"], &edited, &["1 7000 second"]],
    );
    delete(&mut store(), &held).unwrap();
    send(&world, &device);
    check(&world, &device, [&[desk], &[], &[]]);
    assert_eq!(device.count(ChangeState::Settled), device.changes().len());
}

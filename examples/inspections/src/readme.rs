//! The code in the README, which is this file from the first `use` on.

use crate::model::{Business, BusinessPatch, Inspection, NewInspection, NewViolation, Violation};
use crate::model::{Create as _, Entity as _, Write as _};
use afield::engine::{Direction, Report};
use afield::native::Client;

pub(crate) fn visit(client: &Client) -> Result<Report, afield::Error> {
    // Offline: the store is on the device. What was written is durable, and waits to be sent.
    let mut store = client.store();
    let open = "WHERE district = ?1 AND is_open ORDER BY name";
    for business in Business::query(&mut store, open, ["C1".into()])?
        .iter()
        .take(1)
    {
        // One transaction is one change group: the server applies all of it or nothing.
        store.transaction(|tx| {
            let inspection = NewInspection {
                business_id: business.id.as_str().into(),
                inspector_id: 1001.into(),
                kind: "routine".into(),
                planned_for: "2026-11-24".into(),
                ..NewInspection::default()
            };
            let violation = NewViolation {
                inspection_id: Inspection::create(tx, &inspection)?.0.into(),
                number: 1.into(),
                code: "C02".into(),
                severity: "minor".into(),
                ..NewViolation::default()
            };
            Violation::create(tx, &violation)?;
            // A patch sets what it mentions: nobody's edit of the street is overwritten.
            let seats = BusinessPatch {
                seats: 40.into(),
                ..BusinessPatch::default()
            };
            Business::update(tx, &business.id(), &seats)
        })?;
    }
    drop(store);

    // When there is a network: sends what waits, and brings what others changed.
    client.sync(None, Direction::Both)
}

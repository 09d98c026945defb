//! What happens in the demo: three devices, edits without a network, one row edited on two, one
//! edit behind everybody's back, what each holds in the end, and a business that moves to another
//! district.

use std::path::Path;

use afield::engine::{Direction, Report, SyncStatus};
use afield::native::{Client, ClientOptions};
use afield::{Params, Store};
use rusqlite::Connection;

use super::ask::{one, row, sqlite, text};
use crate::failure::Failure;
use crate::output::Output;

/// A business in the Harbour, which is Ann's and Ben's.
const SHARED: &str = "SELECT id FROM business WHERE district = 'C2' ORDER BY id LIMIT 1";

const VIOLATION: &str = "SELECT comment FROM violation WHERE inspection_id = ?1";

/// The actors.
pub(super) struct Story {
    ann: Client,
    ben: Client,
    cara: Client,
    team: Connection,
}

impl Story {
    pub(super) fn new(
        folder: &Path,
        team: &Path,
        url: &str,
        users: [(&str, String); 3],
    ) -> Result<Self, Failure> {
        let open = |(user, token): (&str, String)| {
            let mut options = ClientOptions::new(folder.join("devices"), user);
            options = options.server(url).token(token);
            options.remember_token = true;
            Client::open(options)
        };
        let [ann, ben, cara] = users;
        let team = Connection::open(team).map_err(|error| sqlite(&error))?;
        Ok(Self {
            ann: open(ann)?,
            ben: open(ben)?,
            cara: open(cara)?,
            team,
        })
    }

    pub(super) fn tell(&self, out: &Output) -> Result<(), Failure> {
        self.download(out)?;
        let business = text(&self.ann.store(), SHARED)?;
        let inspection = self.work_offline(out, &business)?;
        self.meet(out, &business, &inspection)?;
        self.move_away(out, &business, &inspection)
    }

    fn download(&self, out: &Output) -> Result<(), Failure> {
        out.say("3. Three devices sign in and download: each the districts of its user.");
        let districts = "SELECT group_concat(name, ' and ') FROM district \
                         WHERE code IN (SELECT district FROM business)";
        for (name, device) in [("Ann", &self.ann), ("Ben", &self.ben), ("Cara", &self.cara)] {
            let report = sync(device)?;
            let districts = text(&device.store(), districts)?;
            out.say(&format!("   {name}: {}; {districts}.", downloaded(&report)));
        }
        Ok(())
    }

    fn work_offline(&self, out: &Output, business: &str) -> Result<String, Failure> {
        let name = "SELECT name FROM business WHERE id = ?1";
        let name = one(&self.ann.store(), name, business)?;
        out.say("\n4. Ann and Ben go offline, and work. They share the Harbour, and both visit");
        out.say(&format!("   \"{name}\" there."));
        let inspection = self.ann_works(business)?;
        out.say("   Ann plans an inspection there with one violation, in one transaction,");
        out.say("   and corrects the number of seats to 40.");
        self.ben_works(business)?;
        out.say("   Ben corrects the same row: seats 44, and the street.");
        self.desk(
            "UPDATE business SET name = 'The Silver Spoon' WHERE id = ?1",
            business,
        )?;
        out.say("   At the desk somebody renames it with plain SQL on the server's database.");
        for (name, device) in [("Ann", &self.ann), ("Ben", &self.ben)] {
            out.say(&format!("   {name}'s device: {}.", waiting(device)?));
        }
        Ok(inspection)
    }

    fn meet(&self, out: &Output, business: &str, inspection: &str) -> Result<(), Failure> {
        out.say("\n5. The network is back. Ann synchronises, then Ben, then Ann again.");
        for (name, device) in [("Ann", &self.ann), ("Ben", &self.ben), ("Ann", &self.ann)] {
            let report = sync(device)?;
            out.say(&format!("   {name}: {}.", told(&report)));
        }

        out.say("\n6. What each holds now:");
        let row = "SELECT name || ', ' || street || ', ' || seats || ' seats' \
                   FROM business WHERE id = ?1";
        let held = [
            ("Ann   ", one(&self.ann.store(), row, business)?),
            ("Ben   ", one(&self.ben.store(), row, business)?),
            ("Server", self.on_server(row, business)?),
        ];
        for (who, row) in &held {
            out.say(&format!("   {who}: {row}"));
        }
        out.say("   The name is the desk's, because neither device had touched it. The street is");
        out.say("   Ben's. The seats are 44: with last-write-wins the change that reaches the");
        out.say(
            "   server last stands, and Ben came after Ann. What it replaced is in the ledger.",
        );
        let seen = one(&self.ben.store(), VIOLATION, inspection)?;
        out.say(&format!(
            "   Ann's inspection is on Ben's device, with its violation: \"{seen}\""
        ));
        check(&held, &seen)
    }

    /// The business moves from the Harbour, which Ann and Ben have, to North Hill, which is Cara's.
    fn move_away(&self, out: &Output, business: &str, inspection: &str) -> Result<(), Failure> {
        out.say("\n7. The Silver Spoon moves from the Harbour to North Hill: one row changes, its");
        out.say("   district, at the desk. Nobody touches its contacts, inspections, violations.");
        self.desk(
            "UPDATE business SET district = 'N1' WHERE id = ?1",
            business,
        )?;
        let everyone = [("Ann", &self.ann), ("Ben", &self.ben), ("Cara", &self.cara)];
        for (name, device) in everyone {
            let before = belongings(&device.store(), business)?;
            sync(device)?;
            let after = belongings(&device.store(), business)?;
            out.say(&format!(
                "   {name}: {before} rows of it before the sync, {after} after."
            ));
            let is_caras = name == "Cara";
            if (after > 0) != is_caras || (before > 0) == is_caras {
                let message = format!("{name} holds {after} rows of the business that moved");
                return Err(Failure::refused("demo", message));
            }
        }
        let seen = one(&self.cara.store(), VIOLATION, inspection)?;
        out.say(&format!(
            "   Ann's inspection moved along: Cara reads \"{seen}\""
        ));
        Ok(())
    }

    fn ann_works(&self, business: &str) -> Result<String, Failure> {
        let mut store = self.ann.store();
        let inspection = store.transaction(|tx| {
            let id = tx.create(
                "inspection",
                &row([
                    ("business_id", business.into()),
                    ("inspector_id", 1_001.into()),
                    ("kind", "routine".into()),
                    ("planned_for", "2026-11-24".into()),
                ]),
            )?;
            let violation = [
                ("inspection_id", id[0].clone()),
                ("number", 1.into()),
                ("code", "C02".into()),
                ("severity", "minor".into()),
                ("comment", "Crumbs behind the counter.".into()),
            ];
            tx.create("violation", &row(violation))?;
            Ok(id[0].to_string())
        })?;
        store.update("business", &[business.into()], &row([("seats", 40.into())]))?;
        Ok(inspection)
    }

    fn ben_works(&self, business: &str) -> Result<(), Failure> {
        let sql = "UPDATE business SET seats = 44, street = 'Water Street 7' WHERE id = ?1";
        let params = Params::from([business.into()]);
        self.ben
            .store()
            .transaction(|tx| tx.execute(sql, &params))?;
        Ok(())
    }

    /// Somebody at the desk writes into the server's database.
    fn desk(&self, sql: &str, business: &str) -> Result<(), Failure> {
        self.team
            .execute(sql, [business])
            .map_err(|error| sqlite(&error))?;
        Ok(())
    }

    fn on_server(&self, sql: &str, id: &str) -> Result<String, Failure> {
        self.team
            .query_row(sql, [id], |row| row.get(0))
            .map_err(|error| sqlite(&error))
    }
}

/// How many rows a device has of a business and what belongs to it.
fn belongings(store: &Store, business: &str) -> Result<i64, Failure> {
    let inspections = "SELECT id FROM inspection WHERE business_id = ?1";
    let sql = format!(
        "SELECT (SELECT count(*) FROM business WHERE id = ?1) \
              + (SELECT count(*) FROM contact WHERE business_id = ?1) \
              + (SELECT count(*) FROM ({inspections})) \
              + (SELECT count(*) FROM violation WHERE inspection_id IN ({inspections}))"
    );
    let count = one(store, &sql, business)?;
    count
        .parse()
        .map_err(|_| Failure::refused("demo", format!("{count} is no number of rows")))
}

/// The demo is a test too: what it says must be so.
fn check(held: &[(&str, String); 3], violation: &str) -> Result<(), Failure> {
    let [ann, ben, server] = held;
    let agree = ann.1 == ben.1 && ben.1 == server.1;
    let right = server.1 == "The Silver Spoon, Water Street 7, 44 seats";
    if agree && right && violation == "Crumbs behind the counter." {
        return Ok(());
    }
    Err(Failure::refused(
        "demo",
        "the devices and the server do not hold what they should",
    ))
}

fn sync(device: &Client) -> Result<Report, Failure> {
    let report = device.sync(None, Direction::Both)?;
    match (&report.status, &report.error) {
        (SyncStatus::Completed, _) => Ok(report),
        (_, Some((code, message))) => Err(Failure::refused(code.as_str(), message.clone())),
        (_, None) => Err(Failure::refused("incomplete", "a change was not applied")),
    }
}

pub(super) fn downloaded(report: &Report) -> String {
    format!(
        "{} rows, {:.1} MB",
        report.pulled,
        megabytes(report.bytes_received)
    )
}

fn told(report: &Report) -> String {
    let sent = match report.pushed {
        0 => "nothing to send".to_owned(),
        1 => "1 change applied".to_owned(),
        n => format!("{n} changes applied"),
    };
    let kilobytes = 1_000.0 * megabytes(report.bytes_received);
    let received = match report.pulled {
        1 => "1 row".to_owned(),
        n => format!("{n} rows"),
    };
    format!("{sent}, {received} received, {kilobytes:.1} KB")
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn waiting(device: &Client) -> Result<String, Failure> {
    let status = device.store().status()?;
    Ok(match status.pending {
        1 => "1 change waits to be sent".to_owned(),
        n => format!("{n} changes wait to be sent"),
    })
}

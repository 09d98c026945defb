//! What happens in the demo: two devices, edits without a network, one row edited on both, one
//! edit behind everybody's back, and what each holds in the end.

use std::path::Path;

use afield::engine::{Direction, Report, SyncStatus};
use afield::native::{Client, ClientOptions};
use afield::{Params, Store};
use afield_protocol::{Attributes, Value};
use rusqlite::Connection;

use crate::failure::Failure;
use crate::output::Output;

/// The actors.
pub(super) struct Story {
    ann: Client,
    ben: Client,
    team: Connection,
}

impl Story {
    pub(super) fn new(
        folder: &Path,
        team: &Path,
        url: &str,
        users: [(&str, String); 2],
    ) -> Result<Self, Failure> {
        let open = |(user, token): (&str, String)| {
            let mut options = ClientOptions::new(folder.join("devices"), user);
            options = options.server(url).token(token);
            options.remember_token = true;
            Client::open(options)
        };
        let [ann, ben] = users;
        let team = Connection::open(team).map_err(|error| sqlite(&error))?;
        Ok(Self {
            ann: open(ann)?,
            ben: open(ben)?,
            team,
        })
    }

    pub(super) fn tell(&self, out: &Output) -> Result<(), Failure> {
        out.say("3. Two devices, Ann's and Ben's, sign in and download.");
        for (name, device) in [("Ann", &self.ann), ("Ben", &self.ben)] {
            let report = sync(device)?;
            out.say(&format!("   {name}: {}.", downloaded(&report)));
        }

        let business = text(
            &self.ann.store(),
            "SELECT id FROM business ORDER BY id LIMIT 1",
        )?;
        let name = text(
            &self.ann.store(),
            "SELECT name FROM business ORDER BY id LIMIT 1",
        )?;
        out.say(&format!(
            "\n4. Both go offline, and work. Both visit \"{name}\"."
        ));
        let inspection = self.ann_works(&business)?;
        out.say("   Ann plans an inspection there with one violation, in one transaction,");
        out.say("   and corrects the number of seats to 40.");
        self.ben_works(&business)?;
        out.say("   Ben corrects the same row: seats 44, and the street.");
        self.desk_works(&business)?;
        out.say("   At the desk somebody renames it with plain SQL on the server's database.");
        for (name, device) in [("Ann", &self.ann), ("Ben", &self.ben)] {
            out.say(&format!("   {name}'s device: {}.", waiting(device)?));
        }

        out.say("\n5. The network is back. Ann synchronises, then Ben, then Ann again.");
        for (name, device) in [("Ann", &self.ann), ("Ben", &self.ben), ("Ann", &self.ann)] {
            let report = sync(device)?;
            out.say(&format!("   {name}: {}.", told(&report)));
        }

        out.say("\n6. What each holds now:");
        let row = "SELECT name || ', ' || street || ', ' || seats || ' seats' \
                   FROM business WHERE id = ?1";
        let held = [
            ("Ann   ", one(&self.ann.store(), row, &business)?),
            ("Ben   ", one(&self.ben.store(), row, &business)?),
            ("Server", self.on_server(row, &business)?),
        ];
        for (who, row) in &held {
            out.say(&format!("   {who}: {row}"));
        }
        out.say("   The name is the desk's, because neither device had touched it. The street is");
        out.say("   Ben's. The seats are 44: with last-write-wins the change that reaches the");
        out.say(
            "   server last stands, and Ben came after Ann. What it replaced is in the ledger.",
        );
        let violation = "SELECT comment FROM violation WHERE inspection_id = ?1";
        let seen = one(&self.ben.store(), violation, &inspection)?;
        out.say(&format!(
            "   Ann's inspection is on Ben's device, with its violation: \"{seen}\""
        ));
        check(&held, &seen)
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

    fn desk_works(&self, business: &str) -> Result<(), Failure> {
        let sql = "UPDATE business SET name = 'The Silver Spoon' WHERE id = ?1";
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

fn downloaded(report: &Report) -> String {
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

fn row<const N: usize>(pairs: [(&str, Value); N]) -> Attributes {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn text(store: &Store, sql: &str) -> Result<String, Failure> {
    first(store, sql, &Params::none())
}

fn one(store: &Store, sql: &str, id: &str) -> Result<String, Failure> {
    first(store, sql, &Params::from([id.into()]))
}

fn first(store: &Store, sql: &str, params: &Params) -> Result<String, Failure> {
    let rows = store.query(sql, params)?.rows;
    let cell = rows.first().and_then(|row| row.first());
    cell.map(ToString::to_string)
        .ok_or_else(|| Failure::refused("demo", format!("nothing found: {sql}")))
}

fn sqlite(error: &rusqlite::Error) -> Failure {
    Failure::refused("sql", format!("the server's database: {error}"))
}

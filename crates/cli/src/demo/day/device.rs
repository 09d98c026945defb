//! What the people of the day do with their devices.

use std::path::Path;

use afield::engine::{Direction, Report, SyncStatus};
use afield::native::{Client, ClientOptions};
use afield::{ChangeInfo, ChangeState, Store};
use afield_protocol::Value;

use super::super::ask::{row, text};
use super::ensure;
use crate::failure::Failure;

/// Opens the store of a user; the token is kept there.
pub(super) fn open(
    folder: &Path,
    user: &str,
    url: &str,
    token: Option<&str>,
) -> Result<Client, Failure> {
    let mut options = ClientOptions::new(folder, user).server(url);
    options.token = token.map(str::to_owned);
    options.remember_token = true;
    Ok(Client::open(options)?)
}

/// Synchronises, however it ends.
pub(super) fn attempt(client: &Client) -> Result<Report, Failure> {
    Ok(client.sync(None, Direction::Both)?)
}

/// Synchronises; everything must go through.
pub(super) fn synced(client: &Client) -> Result<Report, Failure> {
    let report = attempt(client)?;
    let why = report.error.as_ref().map_or("", |(_, message)| message);
    let words = format!(
        "{}'s sync is completed: {} {why}",
        client.user(),
        report.status.as_str()
    );
    ensure(report.status == SyncStatus::Completed, words)?;
    Ok(report)
}

/// The code that a sync failed with.
pub(super) fn code(report: &Report) -> &str {
    report.error.as_ref().map_or("", |(code, _)| code.as_str())
}

/// Changes that have no outcome yet.
pub(super) fn pending(client: &Client) -> Result<u64, Failure> {
    Ok(client.status()?.pending)
}

/// Plans an inspection with what was found, in one transaction; gives its identifier.
pub(super) fn visit(
    store: &mut Store,
    business: &str,
    notes: &str,
    found: &[(&str, &str, &str)],
) -> Result<String, Failure> {
    let inspection = row([
        ("business_id", business.into()),
        ("inspector_id", 1_001.into()),
        ("kind", "routine".into()),
        ("planned_for", "2026-11-24".into()),
        ("notes", notes.into()),
    ]);
    let id = store.transaction(|tx| {
        let key = tx.create("inspection", &inspection)?;
        let id = key.first().cloned().unwrap_or(Value::Null);
        for (number, (code, severity, comment)) in (1..).zip(found) {
            let violation = row([
                ("inspection_id", id.clone()),
                ("number", number.into()),
                ("code", (*code).into()),
                ("severity", (*severity).into()),
                ("comment", (*comment).into()),
            ]);
            tx.create("violation", &violation)?;
        }
        Ok(id)
    })?;
    Ok(id.to_string())
}

/// Adds one thing that was found, in a transaction of its own.
pub(super) fn find(
    store: &mut Store,
    inspection: &str,
    number: i64,
    (code, comment): (&str, &str),
) -> Result<(), Failure> {
    let violation = row([
        ("inspection_id", inspection.into()),
        ("number", number.into()),
        ("code", code.into()),
        ("severity", "major".into()),
        ("comment", comment.into()),
    ]);
    store.create("violation", &violation)?;
    Ok(())
}

/// The one change of a device that stands so.
pub(super) fn the_only(client: &Client, state: ChangeState) -> Result<ChangeInfo, Failure> {
    let mut changes = client.store().changes()?;
    changes.retain(|change| change.state == state);
    let words = format!("one change is {}: {}", state.as_str(), changes.len());
    ensure(changes.len() == 1, words)?;
    changes
        .pop()
        .ok_or_else(|| Failure::refused("demo", "a change went away"))
}

/// A message within a sentence.
pub(super) fn quoted(message: Option<&str>) -> String {
    format!("\"{}\"", message.unwrap_or_default().trim_end_matches('.'))
}

/// The entities that devices have.
const ENTITIES: [&str; 6] = [
    "district",
    "inspector",
    "business",
    "contact",
    "inspection",
    "violation",
];

/// How many rows a device has.
pub(super) fn rows(client: &Client) -> Result<u64, Failure> {
    let store = client.store();
    ENTITIES.iter().try_fold(0, |sum, entity| {
        let rows = text(&store, &format!("SELECT count(*) FROM {entity}"))?;
        Ok(sum + rows.parse::<u64>().unwrap_or(0))
    })
}

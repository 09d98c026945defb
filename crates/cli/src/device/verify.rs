//! `afield device STORE verify` and `uncaptured`.

use std::time::Duration;

use afield::engine::{Differing, Verified};
use afield::native::{Client, VerifyOptions};
use afield::{Error, UncapturedRow};
use afield_protocol::codec::json;
use afield_protocol::{Model, Type, ValueRef};
use clap::Args;
use serde_json::{Value as Json, json};

use super::answer::{instant, key_json, now_ms};
use super::rows::words;
use super::show::ago;
use super::table::table;
use crate::failure::{self, Failure};
use crate::output::Output;

/// `afield device STORE verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The sync unit to compare; all of them if none is named.
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// Put the server's rows in the place of those that differ. What stood there stays readable:
    /// see `uncaptured`.
    #[arg(long)]
    repair: bool,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// What comparing found, with the rows that only this device has, or has otherwise.
pub(crate) struct Told {
    verified: Verified,
    uncaptured: Vec<UncapturedRow>,
}

/// Compares.
///
/// # Errors
/// The server cannot be reached, or does not answer; nothing is known then.
pub(crate) fn verify(client: &Client, options: &VerifyOptions) -> Result<Told, Error> {
    let started = now_ms();
    let report = client.verify(options)?;
    if let Some((code, message)) = report.error {
        return Err(Error::new(code, message));
    }
    let mut uncaptured = client.store().uncaptured()?;
    uncaptured.retain(|row| row.repaired_ms.is_none_or(|at| at >= started));
    Ok(Told {
        verified: *report.verified.unwrap_or_default(),
        uncaptured,
    })
}

/// What comparing found, for scripts.
pub(crate) fn verify_json(model: Option<&Model>, told: &Told) -> Json {
    let Told {
        verified,
        uncaptured,
    } = told;
    let difference = |it: &Differing| {
        let scope = it.scope.map(ValueRef::Integer);
        let scope = scope.map(|number| json::from_value(Type::Integer, number));
        json!({ "entity": it.entity, "scope": scope, "count": it.count })
    };
    json!({
        "equal": verified.equal,
        "differences": verified.differences.iter().map(difference).collect::<Vec<_>>(),
        "missing": verified.missing,
        "changed": verified.changed,
        "extra": verified.extra,
        "repaired": verified.repaired,
        "equal_now": verified.equal_now,
        "unknown": verified.unknown,
        "uncaptured": uncaptured_json(model, uncaptured),
    })
}

/// Rows that only this device has, or has otherwise than the server.
pub(crate) fn uncaptured_json(model: Option<&Model>, rows: &[UncapturedRow]) -> Json {
    let row = |row: &UncapturedRow| {
        let entity = model.and_then(|model| model.entity(&row.entity));
        let content = row.content.as_ref();
        json!({
            "entity": row.entity,
            "id": key_json(entity, &row.key),
            "only_here": row.only_here,
            "content": content.map(|content| json::from_attributes(entity, content)),
            "found": instant(row.found_ms),
            "repaired": row.repaired_ms.map(instant),
        })
    };
    Json::Array(rows.iter().map(row).collect())
}

/// Compares; gives the exit code.
pub(super) fn run(client: &Client, args: &VerifyArgs, out: &Output) -> Result<u8, Failure> {
    let options = VerifyOptions {
        unit: args.unit.clone(),
        repair: args.repair,
        deadline: args.timeout.map(Duration::from_secs),
    };
    let told = verify(client, &options)?;
    if out.is_json() {
        let model = client.store().model().ok();
        out.json(&verify_json(model.as_ref(), &told));
    } else {
        tell(&told, args.repair, out);
    }
    Ok(match told.verified.equal_now {
        true => 0,
        false => failure::REFUSED,
    })
}

fn tell(told: &Told, repair: bool, out: &Output) {
    let verified = &told.verified;
    if verified.equal {
        out.say("This device has exactly the server's rows.");
        return;
    }
    for it in &verified.differences {
        let scope = it
            .scope
            .map_or_else(String::new, |it| format!(" (scope {it})"));
        out.say(&format!("{}{scope}: {} differ.", it.entity, rows(it.count)));
    }
    out.say(&format!(
        "Missing here: {}; other here: {}; only here: {}.",
        verified.missing, verified.changed, verified.extra
    ));
    if !told.uncaptured.is_empty() {
        out.say("As they stood here (see `uncaptured`):");
        out.say(&listed(&told.uncaptured));
    }
    for entity in &verified.unknown {
        out.say(&format!("{entity}: the end was not reached; verify again."));
    }
    match (verified.equal_now, repair) {
        (true, _) => out.say(&format!(
            "{} repaired: this device has exactly the server's rows now.",
            rows(verified.repaired)
        )),
        (false, true) => out.say(&format!("{} repaired.", rows(verified.repaired))),
        (false, false) => out.say("Nothing was repaired: `verify --repair` does that."),
    }
}

/// Shows the rows that were found.
pub(super) fn uncaptured(client: &Client, out: &Output) -> Result<(), Failure> {
    let rows = client.store().uncaptured()?;
    if out.is_json() {
        let model = client.store().model().ok();
        out.json(&json!({ "uncaptured": uncaptured_json(model.as_ref(), &rows) }));
    } else if rows.is_empty() {
        out.say("No row is known that only this device has, or has otherwise than the server.");
    } else {
        out.say(&listed(&rows));
    }
    Ok(())
}

fn listed(rows: &[UncapturedRow]) -> String {
    let row = |row: &UncapturedRow| {
        let here = match row.only_here {
            true => "only here",
            false => "other here",
        };
        let content = match &row.content {
            Some(content) => super::show::assignments(content),
            None => "(it is no longer yours)".to_owned(),
        };
        let repaired = match row.repaired_ms {
            Some(at) => ago(now_ms() - at),
            None => "no".to_owned(),
        };
        let (entity, key) = (row.entity.clone(), words(&row.key));
        vec![entity, key, here.to_owned(), repaired, content]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    table(
        &["entity", "row", "what", "repaired", "content here"],
        &rows,
    )
}

fn rows(n: u64) -> String {
    match n {
        1 => "1 row".to_owned(),
        n => format!("{n} rows"),
    }
}

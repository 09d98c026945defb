//! The log of a device: what its app says for whoever helps its user.

use afield::native::Client;
use afield_protocol::{Level, LogEntry};
use clap::Args;
use serde_json::{Value as Json, json};

use super::answer::instant;
use super::table::table;
use crate::failure::Failure;
use crate::output::Output;

/// `afield device STORE log`.
#[derive(Args, Debug)]
pub(super) struct LogArgs {
    /// How much it matters: debug, info, warn, error.
    #[arg(value_parser = level)]
    level: Level,
    /// The part of the app that it is about.
    module: String,
    /// What happened.
    message: String,
}

/// The level of this word.
pub(crate) fn level(word: &str) -> Result<Level, String> {
    let words = Level::ALL.map(Level::as_str).join(", ");
    Level::parse(word).ok_or_else(|| format!("one of {words}"))
}

/// Adds an entry.
pub(super) fn log(client: &Client, args: &LogArgs, out: &Output) -> Result<(), Failure> {
    client.log(args.level, &args.module, &args.message)?;
    out.json(&json!({ "logged": true }));
    out.say("Kept; it goes with the next sync.");
    Ok(())
}

/// Shows what waits.
pub(super) fn logs(client: &Client, out: &Output) -> Result<(), Failure> {
    let entries = client.store().logs()?;
    let listed: Vec<Json> = entries.iter().map(entry_json).collect();
    out.json(&json!({ "entries": listed }));
    if out.is_json() {
        return Ok(());
    }
    if entries.is_empty() {
        out.say("Nothing of the log waits to be sent.");
        return Ok(());
    }
    let rows = entries.iter().map(|entry| {
        let message = match entry.dropped {
            0 => entry.message.clone(),
            n => format!("{n} {}", entry.message),
        };
        vec![
            instant(entry.at_ms),
            entry.level.as_str().to_owned(),
            entry.module.clone(),
            message,
        ]
    });
    let columns = ["at", "level", "module", "message"];
    out.say(&table(&columns, &rows.collect::<Vec<_>>()));
    Ok(())
}

fn entry_json(entry: &LogEntry) -> Json {
    json!({
        "n": entry.n,
        "at": instant(entry.at_ms),
        "level": entry.level.as_str(),
        "module": entry.module,
        "message": entry.message,
        "dropped": entry.dropped,
    })
}

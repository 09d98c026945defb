//! `afield logs`: what apps on devices said, and what their syncs failed with.

use afield_protocol::Level;
use afield_server::storage::log::{LogLine, LogQuery};
use clap::Args;
use serde_json::{Value as Json, json};

use crate::database::opened_beside;
use crate::device::{instant, level, now_ms, table};
use crate::failure::Failure;
use crate::model::{ModelArgs, resolved};
use crate::output::Output;

/// What `afield logs --help` ends with.
const HELP: &str = "\
Apps write it with `log` of the library, where they stand, with or without a network; it comes with
the device's next syncs, behind the changes. The library adds the code of each sync that failed.

  afield logs                                  the newest hundred entries, newest last
  afield logs --user ann --level warn          Ann's warnings and errors
  afield logs --since 2h --module camera       what came in two hours about one part of the app
  afield logs --since 2026-11-29T08:00:00Z --json

`at` is the device's own clock, which may be wrong; `came` is the server's, and what --since is
about. A device that was away sends all at once. What was too much was dropped, oldest first, and
an entry of the module `afield` says how much. It is kept as long as the retention says. It is text
of others: nothing is decided by it. Works beside a running server, on the database itself.";

/// Entries that one list shows, unless more are asked for.
const LISTED: usize = 100;

/// `afield logs`.
#[derive(Args, Debug)]
#[command(after_long_help = HELP)]
pub(crate) struct LogsArgs {
    /// Of devices of this user alone.
    #[arg(long)]
    user: Option<String>,
    /// Of this device alone.
    #[arg(long)]
    device: Option<String>,
    /// About this part of the app alone.
    #[arg(long)]
    module: Option<String>,
    /// What matters as much as this, or more: debug, info, warn, error.
    #[arg(long, default_value = "debug", value_parser = level)]
    level: Level,
    /// What came since then: an instant, or how long ago (30m, 2h, 7d).
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// So many at most: the newest.
    #[arg(long, default_value_t = LISTED, value_name = "COUNT")]
    limit: usize,
    #[command(flatten)]
    model: ModelArgs,
}

/// Lists.
pub(crate) fn run(args: &LogsArgs, out: &Output) -> Result<(), Failure> {
    let since = args.since.as_deref().map(|text| since(text, now_ms()));
    let file = args.model.read(None, out)?;
    let storage = opened_beside(&file, &resolved(&file)?)?;
    let query = LogQuery {
        user: args.user.clone(),
        device: args.device.clone(),
        module: args.module.clone(),
        level: args.level,
        since: since.transpose()?.unwrap_or(i64::MIN),
        most: args.limit.saturating_add(1),
    };
    let mut lines = storage.logs(&query)?;
    let more = lines.len() > args.limit;
    lines.drain(..lines.len().saturating_sub(args.limit));
    let listed: Vec<_> = lines.iter().map(line_json).collect();
    out.json(&json!({ "entries": listed, "more": more }));
    if out.is_json() {
        return Ok(());
    }
    if lines.is_empty() {
        out.say("No device said anything of the kind.");
        return Ok(());
    }
    if more {
        out.say("There are older ones: --limit COUNT shows more.");
    }
    let rows = lines.iter().map(|line| {
        vec![
            instant(line.came.saturating_mul(1_000)),
            instant(line.at_ms),
            line.user.clone(),
            line.device.clone(),
            line.level.as_str().to_owned(),
            line.module.clone(),
            words(line.dropped, &line.message),
        ]
    });
    let columns = ["came", "at", "user", "device", "level", "module", "message"];
    out.say(&table(&columns, &rows.collect::<Vec<_>>()));
    Ok(())
}

/// What an entry says, with the number of those that it stands for.
fn words(dropped: i64, message: &str) -> String {
    match dropped {
        0 => message.to_owned(),
        n => format!("{n} {message}"),
    }
}

fn line_json(line: &LogLine) -> Json {
    json!({
        "n": line.n,
        "user": line.user,
        "device": line.device,
        "at": instant(line.at_ms),
        "came": instant(line.came.saturating_mul(1_000)),
        "level": line.level.as_str(),
        "module": line.module,
        "message": line.message,
        "dropped": line.dropped,
    })
}

/// The second that is meant, since 1970.
fn since(text: &str, now_ms: i64) -> Result<i64, Failure> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_second());
    }
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let ago = text.parse::<jiff::Span>().ok();
    let ago = ago.and_then(|span| span.to_duration(days).ok());
    let ago = ago.ok_or_else(|| {
        let message = format!(
            "--since {text}: an instant like 2026-11-29T08:00:00Z, or how long ago, like 30m, 2h \
             or 7d"
        );
        Failure::usage(message)
    })?;
    Ok((now_ms / 1_000).saturating_sub(ago.as_secs().saturating_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_or_so_long_ago() {
        let now = 1_000_000_000;
        let at = |text: &str| since(text, now).map_err(|failure| failure.code);
        assert_eq!(at("2h"), Ok(1_000_000 - 7_200));
        assert_eq!(at("90 min"), Ok(1_000_000 - 5_400));
        assert_eq!(at("1d"), Ok(1_000_000 - 86_400));
        assert_eq!(at("1970-01-02T00:00:00Z"), Ok(86_400));
        for text in ["", "yesterday", "2", "1y"] {
            assert!(at(text).is_err(), "{text}");
        }
    }
}

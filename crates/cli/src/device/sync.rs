//! `afield device STORE sync`.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use afield::engine::{Progress, Report, SyncStatus};
use afield::native::{Client, SyncOptions};
use afield_protocol::VerdictKind;
use clap::Args;

use super::Direction;
use super::answer::report_json;
use super::rows::words;
use super::show::why;
use crate::failure::{self, Failure};
use crate::interrupt::on_interrupt;
use crate::output::Output;

/// `afield device STORE sync`.
#[derive(Args, Debug)]
pub(super) struct SyncArgs {
    /// The sync unit to receive; all of them, in the model's order, if none is named.
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// Which way.
    #[arg(long, value_enum, default_value_t)]
    direction: Direction,
    /// Give up after so many seconds; what arrived by then is kept.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Synchronise all units within so many seconds, changes first, as an app does that a platform
    /// gives some time in the background.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["unit", "direction", "timeout"])]
    budget: Option<u64>,
}

/// Synchronises; gives the exit code.
pub(super) fn run(client: Client, args: &SyncArgs, out: &Output) -> Result<u8, Failure> {
    let client = Arc::new(client);
    let interrupted = cancel_on_interrupt(&client);
    let options = SyncOptions {
        unit: args.unit.clone(),
        direction: args.direction.into(),
        deadline: args.timeout.map(Duration::from_secs),
    };
    let is_watched = stderr().is_terminal();
    let result = match args.budget {
        Some(budget) => client.sync_for(Duration::from_secs(budget)),
        None => client.sync_with(&options, &mut |progress| {
            if is_watched {
                draw(progress);
            }
        }),
    };
    if is_watched {
        // Takes the progress line away.
        let _ = write!(stderr(), "\r\x1b[K");
    }
    let mut report = result?;
    if interrupted.load(Ordering::SeqCst)
        && let Some((_, message)) = &mut report.error
    {
        "interrupted; what arrived is kept, the next sync goes on from there".clone_into(message);
    }
    if out.is_json() {
        let model = client.store().model().ok();
        out.json(&report_json(model.as_ref(), &report));
    } else {
        tell(&report, options.direction, out);
    }
    Ok(match interrupted.load(Ordering::SeqCst) {
        true if report.status == SyncStatus::Failed => failure::REFUSED,
        _ => exit_code(&report),
    })
}

/// Lets Ctrl-C end the sync; says later whether it did.
fn cancel_on_interrupt(client: &Arc<Client>) -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let (client, seen) = (client.clone(), interrupted.clone());
    on_interrupt(move || {
        seen.store(true, Ordering::SeqCst);
        client.cancel();
    });
    interrupted
}

fn draw(progress: &Progress) {
    let remaining = match progress.remaining {
        Some(rows) if rows > 0 => format!(", {rows} to come"),
        _ => String::new(),
    };
    let settled = match progress.settled {
        0 => String::new(),
        n => format!("{n} changes sent, "),
    };
    // A terminal that went away is no reason to end the sync.
    let unit = match (&progress.unit, progress.percent) {
        (Some(unit), Some(percent)) => format!(", {unit} {percent} %"),
        _ => String::new(),
    };
    let _ = write!(
        stderr(),
        "\r\x1b[K{settled}{} rows received{remaining}{unit}",
        progress.rows
    );
}

fn tell(report: &Report, direction: afield::engine::Direction, out: &Output) {
    let refused: Vec<_> = (report.outcomes.iter())
        .filter(|outcome| outcome.result != VerdictKind::Applied)
        .collect();
    let is_idle = report.outcomes.is_empty() && report.pulled == 0;
    if report.status != SyncStatus::Failed || !is_idle {
        out.say(&format!(
            "{} applied, {} not; {} received ({} out, {} in).",
            count(report.pushed, "change"),
            refused.len(),
            count(report.pulled, "row"),
            size(report.bytes_sent),
            size(report.bytes_received)
        ));
    }
    for outcome in &refused {
        out.say(&format!(
            "  {} {} {}: {}: {}",
            outcome.op.as_str(),
            outcome.entity,
            words(&outcome.key),
            outcome.result.as_str(),
            why(outcome)
        ));
    }
    if !refused.is_empty() {
        out.say("What was not applied is kept: see `changes`.");
    }
    if report.backed_off > 0 {
        let groups = count(report.backed_off, "transaction");
        out.say(&format!(
            "{groups} made the server fail and will be tried again later."
        ));
    }
    match &report.error {
        Some((code, message)) => out.note(&format!("afield: {code}: {message}")),
        None if report.status == SyncStatus::Incomplete => out.say("Incomplete."),
        None if direction == afield::engine::Direction::Send => out.say("Everything is sent."),
        None => out.say("Up to date."),
    }
}

fn exit_code(report: &Report) -> u8 {
    match &report.error {
        None if report.status == SyncStatus::Completed => 0,
        None => failure::REFUSED,
        Some((code, _)) => failure::exit(code),
    }
}

pub(super) fn count(n: u64, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

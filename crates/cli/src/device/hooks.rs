//! Hooks as commands of the shell.

use std::io::{Write as _, stderr};
use std::process::{Command, Stdio};
use std::time::Duration;

use afield::Error;
use afield::native::{Applied, Client};
use afield_protocol::Model;
use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::answer::key_json;

/// How long a sync waits for a hook; it goes on then, and the event `hook-late` says so.
const DEADLINE: Duration = Duration::from_secs(10);

/// Commands that a sync runs.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct HookArgs {
    /// A command of the shell that runs before each sync that sends, with its unit in AFIELD_UNIT:
    /// the last moment to write what belongs to what is sent. A sync waits 10 seconds at most.
    #[arg(long, global = true, value_name = "COMMAND")]
    before_send: Option<String>,
    /// A command of the shell that runs when a sync has applied rows, with its unit in AFIELD_UNIT
    /// and the rows on standard input: {"unit":…,"changed":{"ENTITY":[identifiers]}}, null for
    /// rows too many to name.
    #[arg(long, global = true, value_name = "COMMAND")]
    after_apply: Option<String>,
}

impl HookArgs {
    /// Gives a client its hooks.
    pub(super) fn install(&self, client: &Client) -> Result<(), Error> {
        if let Some(command) = self.before_send.clone() {
            client.before_send(DEADLINE, move |unit| {
                perform(&command, unit.unwrap_or_default(), None);
            })?;
        }
        if let Some(command) = self.after_apply.clone() {
            let model = client.store().model().ok();
            client.after_apply(DEADLINE, move |applied| {
                let told = told(model.as_ref(), applied).to_string();
                perform(&command, &applied.unit, Some(&told));
            })?;
        }
        Ok(())
    }
}

/// What was applied, as the command reads it.
fn told(model: Option<&Model>, applied: &Applied) -> Json {
    let rows = applied.changed.rows.iter().map(|(name, keys)| {
        let entity = model.and_then(|model| model.entity(name));
        let keys = keys.as_ref().map(|keys| {
            let keys = keys.iter().map(|key| key_json(entity, key));
            keys.collect::<Vec<_>>()
        });
        (name.clone(), json!(keys))
    });
    json!({ "unit": applied.unit, "changed": rows.collect::<Map<_, _>>() })
}

/// Runs a command. What it prints goes to the person: standard output is for answers.
fn perform(command: &str, unit: &str, input: Option<&str>) {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("AFIELD_UNIT", unit);
    shell.stdin(Stdio::piped()).stdout(Stdio::from(stderr()));
    let done = shell.spawn().and_then(|mut child| {
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            // It may end without having read it.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait()
    });
    let failed = match done {
        Ok(status) if status.success() => return,
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    // Nobody may be listening.
    let _ = writeln!(stderr(), "hook `{command}`: {failed}");
}

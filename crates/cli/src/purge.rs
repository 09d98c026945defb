//! `afield purge`.

use afield_server::storage::Retention;
use clap::Args;
use serde_json::json;

use crate::database::opened;
use crate::failure::Failure;
use crate::model::{ModelArgs, checked};
use crate::output::Output;

/// `afield purge`.
#[derive(Args, Debug)]
#[command(
    long_about = "Forget what is older than the retention.\n\nA server does this by itself, every \
                  hour at most. Marks of rows are kept for the retention of the model file \
                  (`retention` in [server], 90 days): a device that was away for longer loads its \
                  tables again, and keeps its changes. What devices' logs say is kept as long. \
                  What became of changes is kept four times \
                  as long: what a device made before that, and sends only now, is not applied \
                  unless there is nothing to do, and waits for its user as `unknown-before`."
)]
pub(crate) struct PurgeArgs {
    #[command(flatten)]
    model: ModelArgs,
}

/// Forgets once, beside a server or without one. What is committed stays if it is interrupted.
pub(crate) fn run(args: &PurgeArgs, out: &Output) -> Result<(), Failure> {
    let file = args.model.read(None, out)?;
    let model = checked(&file, out)?;
    let storage = opened(&file, &model)?;
    let retention = Retention::of(file.server.retention_s());
    let mut batches = 0_u64;
    let mut goes_on = || {
        batches += 1;
        if batches.is_multiple_of(100) {
            out.note(&format!("looked at {} rows", batches * 1_000));
        }
        true
    };
    let purged = storage.purge(retention, &mut goes_on)?;
    if out.is_json() {
        out.json(&json!({
            "marks": purged.marks,
            "groups": purged.groups,
            "logs": purged.logs,
            "clock_behind": purged.is_clock_behind,
        }));
    } else if purged.is_clock_behind {
        out.say(
            "Nothing was forgotten: the clock is behind a time that this database has noted. Set \
             the clock right, or wait until it is past that time.",
        );
    } else {
        out.say(&format!(
            "Forgot {} marks of rows, {} groups of changes and {} entries of devices' logs.",
            purged.marks, purged.groups, purged.logs
        ));
    }
    Ok(())
}

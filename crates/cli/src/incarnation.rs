//! `afield new-incarnation`.

use clap::Args;
use serde_json::json;

use crate::database;
use crate::failure::Failure;
use crate::model::ModelArgs;
use crate::output::Output;

/// `afield new-incarnation`.
#[derive(Args, Debug)]
#[command(
    long_about = "Say that this database is another one than devices knew.\n\nA server notices by \
                  itself when its database was set back to a backup, promoted, or goes on as a \
                  copy. Run this after what no database can see: tables that were put back one by \
                  one from a backup, or rows that were loaded with triggers switched off for the \
                  whole session.\n\nEvery device then loads its tables again with its next sync, \
                  and asks which of its changes this database never had. What it has not sent yet \
                  stays where it is. With SQLite, start the server again afterwards."
)]
pub(crate) struct IncarnationArgs {
    #[command(flatten)]
    model: ModelArgs,
}

/// Begins another history.
pub(crate) fn run(args: &IncarnationArgs, out: &Output) -> Result<(), Failure> {
    let file = args.model.read(None, out)?;
    database::new_incarnation(&file.server.database)?;
    if out.is_json() {
        out.json(&json!({ "new_incarnation": true }));
    } else {
        out.say(
            "Done: every device loads its tables again with its next sync. What it has not sent \
             yet is not touched.",
        );
    }
    Ok(())
}

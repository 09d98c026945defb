//! Signing in and logging out.

use std::path::PathBuf;

use afield::native::Client;
use afield::{Exported, Unsent};
use clap::Args;
use serde_json::json;

use super::Who;
use super::files::{HowArgs, exported_json, exported_words};
use super::sync::count;
use crate::failure::Failure;
use crate::output::Output;

/// What becomes of changes that are not settled.
#[derive(Args, Clone, Debug)]
pub(super) struct LogoutArgs {
    /// Log out although changes are not settled: they stay here, and are sent when the user is
    /// back.
    #[arg(long, conflicts_with = "erase")]
    keep: bool,
    /// Remove everything of the user's from this device, changes that are not settled too.
    #[arg(long)]
    erase: bool,
    /// First write the changes that are not settled into this file, and then, if it is whole,
    /// remove everything of the user's from this device.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keep", "erase"])]
    export: Option<PathBuf>,
    #[command(flatten)]
    how: HowArgs,
}

/// The store was opened with a token; says so.
pub(super) fn login(client: &Client, who: &Who, out: &Output) -> Result<(), Failure> {
    if who.token.is_none() {
        return Err(Failure::usage(
            "sign in with a token: --token, or AFIELD_TOKEN",
        ));
    }
    let status = client.store().status()?;
    let waiting = status.pending + status.held;
    out.json(&json!({ "user": client.user(), "pending": waiting }));
    out.say(&format!(
        "{} is signed in; {} to be sent.",
        client.user(),
        match waiting {
            0 => "nothing".to_owned(),
            n => count(n, "change"),
        }
    ));
    Ok(())
}

/// Logs out.
pub(super) fn logout(client: Client, args: &LogoutArgs, out: &Output) -> Result<(), Failure> {
    let user = client.user().to_owned();
    if let Some(path) = &args.export {
        let exported = client.log_out_exported(path, &args.how.options())?;
        client.erase(Unsent::Discard)?;
        gone(&user, &exported, out);
        return Ok(());
    }
    if !args.how.is_empty() {
        return Err(Failure::usage(
            "--force and --plain are about --export FILE",
        ));
    }
    let left = match (args.erase, args.keep) {
        (true, _) => client.erase(Unsent::Discard)?,
        (false, true) => client.log_out(Unsent::Keep)?,
        (false, false) => client.log_out(Unsent::Refuse)?,
    };
    out.json(&json!({ "user": user, "pending": left, "erased": args.erase }));
    let rest = match (args.erase, left) {
        (true, 0) => "; nothing of it is left here".to_owned(),
        (true, n) => format!(
            "; nothing of it is left here, {} given up",
            count(n, "change")
        ),
        (false, 0) => String::new(),
        (false, n) => format!("; {} stay here until then", count(n, "change")),
    };
    out.say(&format!(
        "{user} is logged out, and signs in with a token next time{rest}."
    ));
    Ok(())
}

/// What is not settled is in a file, and nothing of it is here.
fn gone(user: &str, exported: &Exported, out: &Output) {
    let mut told = exported_json(exported);
    if let serde_json::Value::Object(fields) = &mut told {
        fields.insert("user".into(), user.into());
        fields.insert("pending".into(), exported.changes.all().into());
        fields.insert("erased".into(), true.into());
    }
    out.json(&told);
    out.say(&match &exported.path {
        None => format!("{user} is logged out; nothing was left to be sent, and nothing is here."),
        Some(_) => format!(
            "{} Nothing of {user}'s is left on this device.",
            exported_words(exported, false)
        ),
    });
}

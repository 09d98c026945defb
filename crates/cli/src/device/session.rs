//! Signing in and logging out.

use afield::Unsent;
use afield::native::Client;
use clap::Args;
use serde_json::json;

use super::Who;
use super::sync::count;
use crate::failure::Failure;
use crate::output::Output;

/// What becomes of changes that are not settled.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct LogoutArgs {
    /// Log out although changes are not settled: they stay here, and are sent when the user is
    /// back.
    #[arg(long, conflicts_with = "erase")]
    keep: bool,
    /// Remove everything of the user's from this device, changes that are not settled too.
    #[arg(long)]
    erase: bool,
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

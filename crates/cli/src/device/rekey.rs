//! `rekey`: another key for an encrypted store.

use std::path::{Path, PathBuf};

use afield::native::{Client, ClientOptions};
use clap::Args;
use serde_json::json;

use super::{Who, key_source, user};
use crate::failure::Failure;
use crate::output::Output;

/// `afield device STORE rekey`.
#[derive(Args, Debug)]
pub(super) struct RekeyArgs {
    /// The new key: a file with 32 random bytes, or with 64 hexadecimal digits. Without it the
    /// digits in AFIELD_NEW_KEY.
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
}

/// The environment variable that stands in for `--new-key-file`.
const NEW_KEY_VARIABLE: &str = "AFIELD_NEW_KEY";

pub(super) fn run(store: &Path, who: &Who, args: &RekeyArgs, out: &Output) -> Result<(), Failure> {
    let new = key_source(args.new_key_file.as_ref(), NEW_KEY_VARIABLE).ok_or_else(|| {
        Failure::usage(format!(
            "say which key the store is to have, with --new-key-file or {NEW_KEY_VARIABLE}"
        ))
    })?;
    let user = user(store, who)?;
    let options = ClientOptions {
        key: who.key(),
        ..ClientOptions::new(store, &*user)
    };
    Client::rekey(&options, &new)?;
    out.json(&json!({ "user": user, "rekeyed": true }));
    out.say(&format!(
        "The store of {user} has its new key; the old one opens nothing."
    ));
    Ok(())
}

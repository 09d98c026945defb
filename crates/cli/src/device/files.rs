//! Carrying changes in a file: `export` and `import`.

use std::path::PathBuf;

use afield::native::Client;
use afield::{ExportOptions, Exported, FileChanges, Imported};
use clap::Args;
use serde_json::{Value as Json, json};

use super::answer::instant;
use super::sync::count;
use crate::failure::{Failure, REFUSED};
use crate::output::Output;

/// `afield device STORE export`.
#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// The file to make.
    file: PathBuf,
    #[command(flatten)]
    how: HowArgs,
}

/// How a file may be made.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct HowArgs {
    /// Replace a file of the same name.
    #[arg(long)]
    force: bool,
    /// Make the file of an encrypted store too: whoever has it can read it.
    #[arg(long)]
    plain: bool,
}

impl HowArgs {
    pub(super) fn options(self) -> ExportOptions {
        ExportOptions {
            force: self.force,
            plain: self.plain,
        }
    }

    /// Whether nothing is said.
    pub(super) fn is_empty(self) -> bool {
        !self.force && !self.plain
    }
}

/// `afield device STORE import`.
#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// A file that `export` made.
    file: PathBuf,
}

/// Makes the file; gives the exit code.
pub(super) fn export(client: &Client, args: &ExportArgs, out: &Output) -> Result<u8, Failure> {
    let exported = client.export(&args.file, &args.how.options())?;
    out.json(&exported_json(&exported));
    out.say(&exported_words(&exported, true));
    Ok(match exported.too_large {
        0 => 0,
        _ => REFUSED,
    })
}

/// What was exported, for people; `stays` if it is here, too.
pub(super) fn exported_words(exported: &Exported, stays: bool) -> String {
    let left_out = match exported.too_large {
        0 => String::new(),
        n => format!(
            " {} of transactions that are too large for a file stayed here alone.",
            count(n, "change")
        ),
    };
    match &exported.path {
        None => format!("Nothing waits here that a file could carry.{left_out}"),
        Some(path) => format!(
            "{} in {} bytes: {}. Import it on another device of this user's, or on the server.\
             {}{left_out}",
            path.display(),
            exported.bytes,
            by_state(exported.changes),
            match stays {
                true => " It is still sent from here, too, and takes effect once.",
                false => "",
            }
        ),
    }
}

/// Takes a file.
pub(super) fn import(client: &Client, args: &ImportArgs, out: &Output) -> Result<(), Failure> {
    let imported = client.import(&args.file)?;
    out.json(&imported_json(&imported));
    let known = match imported.known {
        0 => String::new(),
        n => format!(" {} were here before.", count(n, "change")),
    };
    let unknown = match imported.unknown {
        0 => String::new(),
        n => format!(
            " {} of what the model here does not know: the server says what becomes of them.",
            count(n, "change")
        ),
    };
    let came = match imported.groups {
        0 => "Nothing new".to_owned(),
        _ => by_state(imported.changes),
    };
    out.say(&format!(
        "{came} from device {}, of {}.{known}{unknown}{}",
        imported.device,
        instant(imported.made_at_ms),
        match imported.groups {
            0 => "",
            _ => " The next sync sends what can be sent.",
        }
    ));
    Ok(())
}

/// Changes by where they stand, for people.
fn by_state(changes: FileChanges) -> String {
    let parts = [
        (changes.ready, "to be sent"),
        (changes.held, "held by others"),
        (changes.parked, "to be decided about"),
    ];
    let parts = parts.into_iter().filter(|(n, _)| *n > 0);
    let parts: Vec<_> = parts.map(|(n, what)| format!("{n} {what}")).collect();
    format!("{} ({})", count(changes.all(), "change"), parts.join(", "))
}

fn changes_json(changes: FileChanges) -> Json {
    json!({ "ready": changes.ready, "held": changes.held, "parked": changes.parked })
}

pub(crate) fn exported_json(exported: &Exported) -> Json {
    json!({
        "file": exported.path.as_ref().map(|path| path.display().to_string()),
        "groups": exported.groups,
        "changes": changes_json(exported.changes),
        "too_large": exported.too_large,
        "bytes": exported.bytes,
    })
}

pub(crate) fn imported_json(imported: &Imported) -> Json {
    json!({
        "device": imported.device,
        "made_at": instant(imported.made_at_ms),
        "groups": imported.groups,
        "changes": changes_json(imported.changes),
        "known": imported.known,
        "unknown": imported.unknown,
        "other_model": imported.is_other_model,
    })
}

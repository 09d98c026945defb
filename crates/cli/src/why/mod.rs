//! `afield why`: which part of the model keeps a row off a user's devices, or puts it there.

mod json;
mod text;

use afield_protocol::Entity;
use afield_server::resolved::{ServerEntity, ServerModel};
use afield_server::storage::Caller;
use afield_server::storage::sqlite::why as ask;
use clap::Args;

use crate::database::sqlite_file;
use crate::device::whole_key;
use crate::failure::Failure;
use crate::model::{ModelArgs, resolved};
use crate::output::Output;
use crate::server::claims;

/// What `afield why --help` ends with.
const HELP: &str = "\
Reads the server's database by the model, in one snapshot, and changes nothing. What the user holds
is asked as a sync would ask it now; what is on a device already is not looked at.

  afield why visit 7 --user ann
  afield why visit 7 --user ann --claim 'team=\"red\"'   a claim that the token would have
  afield why stock shelf-1 12 --user ann               an identifier of several parts, in order
  afield why visit 7 --user ann --json                 for scripts

Exit codes: 0 told, whatever the answer is; 1 there is no such entity, or the identifier has another
type; 2 usage.";

/// `afield why`.
#[derive(Args, Debug)]
#[command(after_long_help = HELP)]
pub(crate) struct WhyArgs {
    /// The local entity.
    entity: String,
    /// The row's identifier; its parts in order, if it has several.
    #[arg(required = true, value_name = "ID", allow_negative_numbers = true)]
    id: Vec<String>,
    /// Whose devices.
    #[arg(long)]
    user: String,
    /// A claim of his token, its value in JSON; may stand several times.
    #[arg(long, value_name = "NAME=JSON")]
    claim: Vec<String>,
    #[command(flatten)]
    model: ModelArgs,
}

/// Tells why.
pub(crate) fn run(args: &WhyArgs, out: &Output) -> Result<(), Failure> {
    let file = args.model.read(None, out)?;
    let caller = Caller {
        user: args.user.clone(),
        claims: claims(&args.claim)?,
        device: String::new(),
    };
    let path = sqlite_file(&file, "asking why of")?;
    let model = resolved(&file)?;
    let entity = entity(&model, &args.entity)?;
    let key = whole_key(&entity.local, &args.id)?;
    let why = ask(path, &model, &caller, entity, &key)?;
    out.json(&json::of(&why, &entity.local, &caller));
    if !out.is_json() {
        out.say(&text::of(&why, entity, &caller));
    }
    Ok(())
}

fn entity<'m>(model: &'m ServerModel, name: &str) -> Result<&'m ServerEntity, Failure> {
    if let Some(entity) = model.entity(name) {
        return Ok(entity);
    }
    let refused = |message: String| Failure::refused("unknown-entity", message);
    if model.device.entity(name).is_some() {
        return Err(refused(format!(
            "`{name}` lives on devices alone: its rows are never sent, and the server knows none"
        )));
    }
    let known: Vec<&str> = (model.entities.iter())
        .map(|entity| entity.local.name.as_str())
        .collect();
    Err(refused(format!(
        "the model has no entity `{name}`; it has: {}",
        known.join(", ")
    )))
}

/// What devices do with an entity, in words.
fn pattern(entity: &Entity) -> &'static str {
    match (entity.insert_only, entity.is_written()) {
        (true, _) => "devices create its rows and forget them; none are sent to devices",
        (false, true) => "devices read and write it",
        (false, false) => "devices only read it",
    }
}

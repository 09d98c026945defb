//! `afield inbox`: conflicts and refused changes, for somebody on the server to look at and decide.

mod show;

use std::sync::Arc;

use afield_protocol::{Code, GroupId};
use afield_server::model::ModelFile;
use afield_server::resolved::ServerModel;
use afield_server::storage::Storage;
use afield_server::storage::inbox::{
    Choice, Decide, DecideOutcome, InboxEntry, InboxQuery, InboxState,
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::database::opened_beside;
use crate::device::assignments;
use crate::failure::Failure;
use crate::model::{ModelArgs, random, resolved};
use crate::output::Output;

/// What `afield inbox --help` ends with.
const HELP: &str = "\
A change that the server did not apply stays on its device until its user decides, and stands here
meanwhile. Whoever decides first counts; the other is told.

  afield inbox                          what is open, oldest first
  afield inbox --user ann --all         everything of Ann's, decided entries too
  afield inbox show 7                   both versions, and the rest of its transaction
  afield inbox decide 7 --mine          apply it as Ann typed it, over the rows as they are now
  afield inbox decide 7 --theirs        drop it: the rows stay as they are
  afield inbox decide 7 --set phone='040 7'      apply it with a corrected value

A transaction is applied whole or not at all, so a decision is about all changes of it. It may do
what its user may do, and the database's constraints hold: where they refuse, nothing is decided.
The device is told with its next sync. Works beside a running server, on the database itself.

Exit codes: 0 done; 1 refused, and nothing is decided; 2 usage.";

/// Entries that one list shows, unless more are asked for.
const LISTED: usize = 100;

/// `afield inbox`.
#[derive(Args, Debug)]
#[command(after_long_help = HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct InboxArgs {
    #[command(subcommand)]
    command: Option<InboxCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Changes of this user alone.
    #[arg(long)]
    user: Option<String>,
    /// Changes of this local entity alone.
    #[arg(long)]
    entity: Option<String>,
    /// Those that are decided too.
    #[arg(long)]
    all: bool,
    /// So many at most.
    #[arg(long, default_value_t = LISTED, value_name = "COUNT")]
    limit: usize,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Subcommand, Debug)]
enum InboxCommand {
    /// Show both versions of a change, and the rest of its transaction.
    Show(ShowArgs),
    /// Decide about the transaction of a change.
    Decide(DecideArgs),
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// The entry's number.
    n: i64,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Args, Debug)]
struct DecideArgs {
    /// The number of an entry of it.
    n: i64,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Who decides; the name that the system knows you by, if it is left out.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct ChoiceArgs {
    /// Apply every change of it as it was typed, over the rows as they are now.
    #[arg(long)]
    mine: bool,
    /// Drop it: the rows stay as they are.
    #[arg(long)]
    theirs: bool,
    /// Apply it with these values in the change of the entry; NAME:=JSON for a value in JSON.
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    set: Vec<String>,
}

/// Lists, shows or decides.
pub(crate) fn run(args: &InboxArgs, out: &Output) -> Result<(), Failure> {
    match &args.command {
        None => list(&args.list, out),
        Some(InboxCommand::Show(args)) => show_one(args, out),
        Some(InboxCommand::Decide(args)) => decide(args, out),
    }
}

/// Every entry, the oldest first; those that are decided or closed too if `all`.
pub(crate) fn entries(model: &ModelArgs, all: bool) -> Result<Vec<InboxEntry>, Failure> {
    let inbox = Inbox::open(model, &Output::silent())?;
    let query = InboxQuery {
        all,
        most: usize::MAX,
        ..InboxQuery::default()
    };
    Ok(inbox.storage.inbox(&query)?)
}

/// Does what `afield inbox decide N --mine --by WHO` does, and prints nothing.
pub(crate) fn decide_mine(model: &ModelArgs, n: i64, by: &str) -> Result<(), Failure> {
    let args = DecideArgs {
        n,
        choice: ChoiceArgs {
            mine: true,
            theirs: false,
            set: Vec::new(),
        },
        by: Some(by.to_owned()),
        model: model.clone(),
    };
    decide(&args, &Output::silent())
}

/// The inbox of a model's database.
struct Inbox {
    model: ServerModel,
    storage: Arc<dyn Storage>,
}

impl Inbox {
    fn open(args: &ModelArgs, out: &Output) -> Result<Self, Failure> {
        let file: ModelFile = args.read(None, out)?;
        let model = resolved(&file)?;
        let storage = opened_beside(&file, &model)?;
        Ok(Self { model, storage })
    }

    /// The entry of this number with all of its group.
    fn group_of(&self, n: i64) -> Result<(InboxEntry, Vec<InboxEntry>), Failure> {
        let query = InboxQuery {
            group_of: Some(n),
            all: true,
            most: usize::MAX,
            ..InboxQuery::default()
        };
        let group = self.storage.inbox(&query)?;
        let entry = group.iter().find(|entry| entry.n == n).cloned();
        let entry = entry.ok_or_else(|| unknown(n))?;
        Ok((entry, group))
    }
}

fn unknown(n: i64) -> Failure {
    let message = format!("there is no entry {n}; `afield inbox --all` lists them");
    Failure::refused(Code::UNKNOWN_CHANGE.as_str(), message)
}

fn list(args: &ListArgs, out: &Output) -> Result<(), Failure> {
    let inbox = Inbox::open(&args.model, out)?;
    let query = InboxQuery {
        user: args.user.clone(),
        entity: args.entity.clone(),
        group_of: None,
        all: args.all,
        most: args.limit.saturating_add(1),
    };
    let mut entries = inbox.storage.inbox(&query)?;
    let more = entries.len() > args.limit;
    entries.truncate(args.limit);
    let listed: Vec<_> = entries.iter().map(show::json).collect();
    out.json(&json!({ "entries": listed, "more": more }));
    if out.is_json() {
        return Ok(());
    }
    if entries.is_empty() {
        out.say("Nothing waits for a decision.");
        return Ok(());
    }
    out.say(&show::table_of(&entries));
    if more {
        out.say("There are more: --limit COUNT shows them.");
    }
    Ok(())
}

fn show_one(args: &ShowArgs, out: &Output) -> Result<(), Failure> {
    let inbox = Inbox::open(&args.model, out)?;
    let (entry, group) = inbox.group_of(args.n)?;
    let rest: Vec<_> = group.iter().filter(|it| it.n != args.n).collect();
    let mut told = show::json(&entry);
    if let serde_json::Value::Object(map) = &mut told {
        let mates: Vec<_> = rest.iter().map(|it| show::json(it)).collect();
        map.insert("transaction".into(), mates.into());
    }
    out.json(&told);
    out.say(&show::text(&entry, &rest));
    Ok(())
}

fn decide(args: &DecideArgs, out: &Output) -> Result<(), Failure> {
    let inbox = Inbox::open(&args.model, out)?;
    let (entry, group) = inbox.group_of(args.n)?;
    let mut id = [0; 16];
    random(&mut id);
    let into = GroupId(id);
    let choice = choice(args, &inbox.model, &entry)?;
    let wish = Decide {
        n: args.n,
        choice,
        by: args.by.clone().unwrap_or_else(system_name),
        into,
    };
    match inbox.storage.decide(&inbox.model, &wish)? {
        DecideOutcome::Done => {}
        refused => return Err(why_not(&inbox, args.n, &group, refused)),
    }
    let applied = wish.choice != Choice::Theirs;
    out.json(&json!({
        "n": args.n,
        "group": entry.group.to_string(),
        "decision": wish.choice.as_str(),
        "by": wish.by,
        "changes": group.len(),
        "into": applied.then(|| into.to_string()),
    }));
    let changes = match group.len() {
        1 => "1 change".to_owned(),
        n => format!("{n} changes of one transaction"),
    };
    let done = if applied { "Applied" } else { "Dropped" };
    out.say(&format!(
        "{done}: {changes} of {}. The device is told with its next sync.",
        entry.user
    ));
    Ok(())
}

fn choice(args: &DecideArgs, model: &ServerModel, entry: &InboxEntry) -> Result<Choice, Failure> {
    if args.choice.mine {
        return Ok(Choice::Mine);
    }
    if args.choice.theirs {
        return Ok(Choice::Theirs);
    }
    let entity = model.entity(&entry.entity).ok_or_else(|| {
        let message = format!(
            "entry {}: the model has no entity `{}` any more: --theirs drops the change",
            entry.n, entry.entity
        );
        Failure::refused(Code::UNKNOWN_ENTITY.as_str(), message)
    })?;
    let values = assignments(&entity.local, &args.choice.set)?;
    Ok(Choice::Set(values))
}

/// The name that the system knows the caller by.
fn system_name() -> String {
    let names = ["USER", "LOGNAME", "USERNAME"];
    let mut known = names.iter().filter_map(|name| std::env::var(name).ok());
    known
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "somebody on the server".to_owned())
}

/// Why nothing was decided, and what can be done about it.
fn why_not(inbox: &Inbox, n: i64, group: &[InboxEntry], outcome: DecideOutcome) -> Failure {
    match outcome {
        DecideOutcome::Refused { place, verdict } => {
            let culprit = group
                .iter()
                .find(|it| usize::try_from(it.place) == Ok(place));
            let (number, row) = culprit.map_or((n, String::new()), |it| {
                (it.n, format!(" ({} {})", it.entity, show::key(&it.key)))
            });
            let code = verdict.code.as_ref().map_or("refused", Code::as_str);
            let of = verdict.attribute.as_ref();
            let of = of.map_or(String::new(), |name| format!(" ({name})"));
            let words = verdict.message.as_deref().unwrap_or_default();
            let message = format!(
                "nothing is decided, entry {number}{row} is refused: {code}{of} {words}: correct \
                 it with `afield inbox decide {number} --set NAME=VALUE`, or drop it with --theirs"
            );
            Failure::refused(code, message)
        }
        DecideOutcome::TooLarge => Failure::refused(
            Code::GROUP_TOO_LARGE.as_str(),
            format!(
                "entry {n}: its transaction is too large to be kept here: decide it on the \
                 device, or drop it with --theirs"
            ),
        ),
        DecideOutcome::SetsDeleted => Failure::refused(
            Code::MALFORMED.as_str(),
            format!("entry {n} deletes its row, which has no values then: --mine or --theirs"),
        ),
        DecideOutcome::Unknown => unknown(n),
        DecideOutcome::Already | DecideOutcome::Done => {
            let now = inbox.group_of(n).map(|(entry, _)| entry);
            let how = match now {
                Ok(entry) if entry.state != InboxState::Open => show::decision(&entry),
                _ => "its user has sent it again, and that was applied".to_owned(),
            };
            let message = format!("nothing is decided, entry {n} is: {how}");
            Failure::refused(Code::ALREADY_DECIDED.as_str(), message)
        }
    }
}

//! `afield import`: the changes of a file that a device exported, applied as that device's user.

mod claims;
mod file;
mod told;

use std::path::PathBuf;
use std::sync::Arc;

use afield_protocol::dependence::{Blocked, Stopped};
use afield_protocol::outbox_file::{FileGroup, FileHead, FileItem, FileState};
use afield_protocol::{Code, Group, Verdict, VerdictKind};
use afield_server::resolved::ServerModel;
use afield_server::storage::{Caller, Storage};
use clap::Args;

use self::file::each;
use self::told::{Ended, Told};
use crate::database::opened_beside;
use crate::failure::{Failure, REFUSED};
use crate::model::{ModelArgs, resolved};
use crate::output::Output;
use crate::server::claims as given_claims;

/// What `afield import --help` ends with.
const HELP: &str = "\
A device writes the file with `afield device STORE export FILE`, or its app with `Store::export`:
where its screen is broken, or it has no network for long. Each transaction is applied as a sync
of that device would have it applied: with its user's rights, under its own id, so that it takes
effect once, whoever comes first, this file, another import of it or the device itself.

  afield import ann.outbox --dry-run           what is in it; nothing is changed
  afield import ann.outbox --user ann          apply it; refuse the file of anybody else
  afield import ann.outbox --claim 'team=\"red\"'   a claim that the user's token would have

What was refused, or is in conflict, stands in `afield inbox`. What the device held parked, and what
waits for that, is left to its user: import the file on another device of his for that.
The file says itself whose it is: import what you have from somebody whom you trust with that.
Works beside a running server, on the database itself.

Exit codes: 0 every change is applied, now or before; 1 some are not, or nothing was imported;
2 usage.";

/// `afield import`.
#[derive(Args, Debug)]
#[command(after_long_help = HELP)]
pub(crate) struct ImportArgs {
    /// The file.
    file: PathBuf,
    /// Show what is in it, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Whose file it must be.
    #[arg(long)]
    user: Option<String>,
    /// A claim of the user's token, its value in JSON; may stand several times.
    #[arg(long, value_name = "NAME=JSON")]
    claim: Vec<String>,
    #[command(flatten)]
    model: ModelArgs,
}

/// Imports, or shows; gives the exit code.
pub(crate) fn run(args: &ImportArgs, out: &Output) -> Result<u8, Failure> {
    // All of it is read before anything of it is applied.
    let mut head = None;
    each(&args.file, |item| {
        if let FileItem::Head(found) = item {
            head = Some(found);
        }
        Ok(())
    })?;
    let head =
        head.ok_or_else(|| Failure::refused(Code::FILE_DAMAGED.as_str(), "the file has no head"))?;
    if let Some(user) = args.user.as_ref().filter(|user| **user != head.user) {
        let message = format!(
            "{}: the file has changes of `{}`, not of `{user}`; nothing was imported",
            args.file.display(),
            head.user
        );
        return Err(Failure::refused(Code::OTHER_USER.as_str(), message));
    }
    if args.dry_run {
        return show(args, &head, out);
    }
    let mut import = Import::begin(args, &head)?;
    let mut told = Told::new(&head, Some(import.model.clone()));
    each(&args.file, |item| match item {
        FileItem::Group(group) => {
            let ended = import.group(&group)?;
            told.add(&group, &ended);
            Ok(())
        }
        FileItem::Head(again) if again != head => {
            let message = format!(
                "{} was written over while it was read: import it again",
                args.file.display()
            );
            Err(Failure::refused(Code::FILE_DAMAGED.as_str(), message))
        }
        FileItem::Head(_) | FileItem::End(_) => Ok(()),
    })?;
    told.find_in_inbox(import.storage.as_ref())?;
    told.print(out);
    Ok(match told.is_applied() {
        true => 0,
        false => REFUSED,
    })
}

fn show(args: &ImportArgs, head: &FileHead, out: &Output) -> Result<u8, Failure> {
    let mut told = Told::new(head, None);
    each(&args.file, |item| {
        if let FileItem::Group(group) = item {
            told.add(&group, &Ended::Shown);
        }
        Ok(())
    })?;
    told.print(out);
    Ok(0)
}

/// An import under way.
struct Import {
    model: Arc<ServerModel>,
    storage: Arc<dyn Storage>,
    caller: Caller,
    /// What did not take effect so far: what depends on it is not tried.
    blocked: Blocked,
}

impl Import {
    fn begin(args: &ImportArgs, head: &FileHead) -> Result<Self, Failure> {
        let file = args.model.read(None, &Output::silent())?;
        let model = resolved(&file)?;
        let claims = given_claims(&args.claim)?;
        claims::check(&model, &claims)?;
        let storage = opened_beside(&file, &model)?;
        for checkpoint in &head.checkpoints {
            if !storage.knows(checkpoint)? {
                let message = "the database was set back since the file was made, or is a copy \
                               from before: rows may be others than those that the file speaks \
                               of; import it on a device, whose user can compare them";
                return Err(Failure::refused(Code::HISTORY_WANTED.as_str(), message));
            }
        }
        Ok(Self {
            model: Arc::new(model),
            storage,
            caller: Caller {
                user: head.user.clone(),
                claims,
                device: told::printable(&head.device),
            },
            blocked: Blocked::default(),
        })
    }

    /// Applies a group, unless it is left to its user or depends on one that is not applied.
    fn group(&mut self, group: &FileGroup) -> Result<Ended, Failure> {
        let now = group.content.now();
        if group.state == FileState::Parked {
            self.stop(now, &group.verdicts);
            return Ok(Ended::Parked(group.verdicts.clone()));
        }
        let sent = group.content.sent();
        let (Some((_, sent)), false) = (sent, self.is_held(now)) else {
            self.stop(now, &waits(now));
            return Ok(Ended::Waits);
        };
        let groups = std::slice::from_ref(sent);
        let pushed = self.storage.push(&self.model, &self.caller, groups);
        let outcomes = pushed.map_err(|error| {
            let message = format!(
                "group {}: {error}; what stands before it in the file is done: import it again",
                sent.id
            );
            Failure::refused(error.code.as_str(), message)
        })?;
        let verdicts = outcomes.into_iter().next().map(|outcome| outcome.verdicts);
        let verdicts = verdicts.unwrap_or_default();
        self.stop(now, &verdicts);
        Ok(match verdicts.iter().find_map(|it| it.code.as_ref()) {
            Some(code) if *code == Code::WAITS_FOR => Ended::Waits,
            _ => Ended::Told(verdicts),
        })
    }

    fn is_held(&self, group: &Group) -> bool {
        let mut changes = group.changes.iter();
        let model = &self.model.device;
        !self.blocked.is_empty() && changes.any(|change| self.blocked.holds(model, change.into()))
    }

    /// Notes what did not take effect of a group.
    fn stop(&mut self, group: &Group, verdicts: &[Verdict]) {
        let is_applied = |verdict: &Verdict| verdict.kind == VerdictKind::Applied;
        if verdicts.iter().all(is_applied) {
            return;
        }
        for (change, verdict) in group.changes.iter().zip(verdicts) {
            if let Some(stopped) = Stopped::of(&self.model.device, change, verdict) {
                self.blocked.add(change.into(), stopped);
            }
        }
    }
}

fn waits(group: &Group) -> Vec<Verdict> {
    let verdict = Verdict::rejected(Code::WAITS_FOR, "it depends on one that is not applied");
    vec![verdict; group.changes.len()]
}

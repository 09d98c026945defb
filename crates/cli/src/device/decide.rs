//! Deciding about changes that were not applied.

use std::collections::BTreeSet;

use afield::native::Client;
use afield::{ChangeInfo, ChangeState, ConflictInfo, DecidedWhat, Resolution};
use afield_protocol::{Attributes, Code, Entity, Model, Value};
use clap::Args;
use serde_json::json;

use super::answer::{conflict_json, instant, now_ms};
use super::rows::words;
use super::show::ago;
use super::table::table;
use super::values;
use crate::failure::Failure;
use crate::output::Output;

/// `afield device STORE resolve`.
#[derive(Args, Debug)]
pub(super) struct ResolveArgs {
    /// The conflict's name as `conflicts` shows it; its beginning is enough.
    conflict: String,
    /// `mine`, `theirs`, or the values that shall stand.
    #[arg(required = true, value_name = "mine|theirs|NAME=VALUE…")]
    take: Vec<String>,
}

/// `afield device STORE retry`.
#[derive(Args, Debug)]
pub(super) struct RetryArgs {
    /// The change's name as `changes` shows it; its beginning is enough.
    change: String,
    /// Values in place of those that were refused.
    #[arg(value_name = "NAME=VALUE")]
    values: Vec<String>,
}

/// `afield device STORE drop`.
#[derive(Args, Debug)]
pub(super) struct DropArgs {
    /// The change's name as `changes` shows it; its beginning is enough.
    change: String,
}

/// `afield device STORE undo`.
#[derive(Args, Debug)]
pub(super) struct UndoArgs {
    /// The change's name as `changes` shows it; its beginning is enough.
    change: String,
}

pub(super) fn conflicts(client: &Client, out: &Output) -> Result<(), Failure> {
    let conflicts = client.store().conflicts()?;
    let model = client.store().model().ok();
    if out.is_json() {
        let conflicts = conflicts.iter().map(|it| conflict_json(model.as_ref(), it));
        out.json(&json!({ "conflicts": conflicts.collect::<Vec<_>>() }));
        return Ok(());
    }
    if conflicts.is_empty() {
        out.say("No conflicts.");
        return Ok(());
    }
    for conflict in &conflicts {
        out.say(&shown(model.as_ref(), conflict));
    }
    Ok(())
}

/// A conflict with both versions, and what to do about it.
fn shown(model: Option<&Model>, conflict: &ConflictInfo) -> String {
    let entity = model.and_then(|model| model.entity(&conflict.entity));
    let since = ago(now_ms() - conflict.since_ms);
    let cell = |row: Option<&Attributes>, name: &String| match row {
        None => "deleted".to_owned(),
        Some(row) => row
            .get(name)
            .map_or(String::new(), |value| cell(entity, name, value)),
    };
    // What somebody else changed says why there is a conflict, also where both can stand.
    let theirs_changed = |name: &&String| {
        let theirs = conflict
            .theirs
            .as_ref()
            .and_then(|theirs| theirs.get(*name));
        conflict
            .base
            .get(*name)
            .is_some_and(|before| theirs.is_some_and(|now| now != before))
    };
    let names: BTreeSet<&String> = (conflict.attributes.iter())
        .chain(conflict.base.keys().filter(theirs_changed))
        .collect();
    let rows = names.into_iter().map(|name| {
        let before = conflict.base.get(name);
        vec![
            name.clone(),
            before.map_or(String::new(), |value| self::cell(entity, name, value)),
            cell(conflict.mine.as_ref(), name),
            cell(conflict.theirs.as_ref(), name),
        ]
    });
    let rows: Vec<_> = rows.collect();
    format!(
        "{} of {} {}, in conflict since {since}:\n\n{}\n\n  resolve {} mine|theirs|NAME=VALUE…\n",
        conflict.op.as_str(),
        conflict.entity,
        words(&conflict.key),
        table(&["attribute", "before", "mine", "theirs"], &rows),
        conflict.conflict,
    )
}

fn cell(entity: Option<&Entity>, name: &str, value: &Value) -> String {
    let kind = entity.and_then(|entity| entity.attribute(name));
    super::rows::shown(kind.map(|attribute| attribute.kind), value)
}

pub(super) fn resolve(client: &Client, args: &ResolveArgs, out: &Output) -> Result<(), Failure> {
    let change = find(client, &args.conflict)?;
    let resolution = match args.take.as_slice() {
        [word] if word == "mine" => Resolution::Mine,
        [word] if word == "theirs" => Resolution::Theirs,
        words => {
            let entity = client.store().entity(&change.entity)?;
            Resolution::Merged(values::assignments(&entity, words)?)
        }
    };
    let again = client.store().resolve(&change.change, &resolution)?;
    out.json(&json!({ "change": again }));
    out.say(match again {
        Some(name) if name == change.change => {
            "Decided; it goes as soon as the other conflicts of its transaction are."
        }
        Some(_) => "It goes with the next sync.",
        None => "The server's row stands; what you typed stays among `changes`.",
    });
    Ok(())
}

pub(super) fn retry(client: &Client, args: &RetryArgs, out: &Output) -> Result<(), Failure> {
    let change = find(client, &args.change)?;
    let set = if args.values.is_empty() {
        None
    } else {
        let entity = client.store().entity(&change.entity)?;
        Some(values::assignments(&entity, &args.values)?)
    };
    let again = client.store().retry(&change.change, set.as_ref())?;
    out.json(&json!({ "change": again }));
    out.say("It goes with the next sync.");
    Ok(())
}

pub(super) fn drop_change(client: &Client, args: &DropArgs, out: &Output) -> Result<(), Failure> {
    let change = find(client, &args.change)?;
    client.store().drop_change(&change.change)?;
    out.json(&json!({ "change": change.change }));
    out.say("Given up; what you typed stays among `changes`.");
    Ok(())
}

pub(super) fn undo(client: &Client, args: &UndoArgs, out: &Output) -> Result<(), Failure> {
    let is_unsent = |state| matches!(state, ChangeState::Pending | ChangeState::Held);
    let change = find_among(client, &args.change, is_unsent)?;
    let taken_back = client.store().undo(&change.change)?;
    out.json(&json!({ "changes": taken_back }));
    out.say(&match taken_back.len() {
        1 => "Taken back; what you typed stays among `changes`.".to_owned(),
        count => format!(
            "Taken back with its transaction, {count} changes; what you typed stays among \
             `changes`."
        ),
    });
    Ok(())
}

/// The change of this name, or the only refused one whose name begins so.
fn find(client: &Client, name: &str) -> Result<ChangeInfo, Failure> {
    find_among(client, name, |state| state == ChangeState::Parked)
}

/// The change of this name, or the only one in question whose name begins so.
fn find_among(
    client: &Client,
    name: &str,
    is_in_question: impl Fn(ChangeState) -> bool,
) -> Result<ChangeInfo, Failure> {
    let mut changes = client.store().changes()?;
    if let Some(at) = changes.iter().position(|change| change.change == name) {
        return Ok(changes.swap_remove(at));
    }
    changes.retain(|change| is_in_question(change.state) && change.change.starts_with(name));
    match (changes.pop(), changes.len()) {
        (Some(change), 0) if !name.is_empty() => Ok(change),
        (Some(_), 1..) if !name.is_empty() => {
            let message = format!("several changes begin with `{name}`; give more of the name");
            Err(Failure::usage(message))
        }
        _ => {
            let message = format!("there is no change `{name}` here; `changes` lists them");
            Err(Failure::refused(Code::UNKNOWN_CHANGE.as_str(), message))
        }
    }
}

/// Why a change is not applied, in words, and what settles it.
pub(super) fn why(change: &ChangeInfo) -> String {
    let why = why_not(change);
    let Some(decided) = &change.decided else {
        return why;
    };
    let what = match decided.what {
        DecidedWhat::Applied => "applied",
        DecidedWhat::Dropped => "dropped",
        DecidedWhat::Kept => "decided, and kept here for you to decide",
        DecidedWhat::Late => "decided, after it was decided here",
    };
    let at = instant(decided.at_ms);
    let on_server = format!("{what} on the server by {}, {at}", decided.by);
    match why.is_empty() {
        true => on_server,
        false => format!("{why}; {on_server}"),
    }
}

fn why_not(change: &ChangeInfo) -> String {
    let name = &change.change;
    match (change.state, &change.code) {
        (ChangeState::Held, _) => match &change.waits_for {
            Some(first) => format!("settle {first} first"),
            None => "settle the one before it first".to_owned(),
        },
        (ChangeState::Parked, Some(code)) if *code == Code::GROUP_REFUSED => {
            let message = change.message.as_deref();
            message
                .unwrap_or("another change of its transaction was refused")
                .to_owned()
        }
        (ChangeState::Parked, _) if change.theirs.is_some() => {
            format!("in conflict: resolve {name} mine|theirs|NAME=VALUE…")
        }
        (ChangeState::Parked, Some(code)) => {
            let of = change.attribute.as_ref();
            let of = of.map_or(String::new(), |name| format!(" ({name})"));
            let message = change.message.as_deref().unwrap_or_default();
            format!("{code}{of} {message}: retry {name} NAME=VALUE…, or drop {name}")
        }
        (ChangeState::Dropped, Some(code)) => format!("was not applied: {code}"),
        _ => String::new(),
    }
}

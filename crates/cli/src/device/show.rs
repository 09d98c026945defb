//! What a device says about itself, in plain words.

use afield::native::Client;
use afield::{ChangeState, Error};
use afield_protocol::{Attributes, Code, Entity, Pattern, Value};
use serde_json::json;

use super::answer::{
    change_json, now_ms, opened_json, outcome_json, status_json, why_not_up_to_date,
};
use super::decide;
use super::rows::words;
use super::table::table;
use crate::failure::Failure;
use crate::output::Output;

pub(super) fn opened(client: &Client, out: &Output) -> Result<(), Failure> {
    let opened = opened_json(client)?;
    out.json(&opened);
    let file = client.folder().database(client.user())?;
    out.say(&format!(
        "The store of {} is {}.",
        client.user(),
        file.display()
    ));
    match client.server() {
        Some(server) => out.say(&format!("It synchronises with {server}.")),
        None => out.say("It knows no server yet; give one with --server."),
    }
    if client.store().model().is_err() {
        out.say("It has no model yet: the first sync brings it.");
    }
    Ok(())
}

/// Asks whether the server is there.
pub(super) fn probe(client: &Client, out: &Output) -> Result<(), Failure> {
    let Some(server) = client.server() else {
        let message = "the store knows no server yet; give one with --server";
        return Err(Failure::usage(message.to_owned()));
    };
    let is_online = client.probe()?;
    out.json(&json!({ "online": is_online }));
    if is_online {
        out.say(&format!("{server} is there."));
        return Ok(());
    }
    let message = format!(
        "{server} does not answer as an Afield server does: is there a network, is the address \
         right, does the network ask to sign in first?"
    );
    Err(Error::new(Code::UNREACHABLE, message).into())
}

pub(super) fn status(client: &Client, out: &Output) -> Result<(), Failure> {
    let status = client.store().status()?;
    if out.is_json() {
        out.json(&status_json(&status));
        return Ok(());
    }
    match why_not_up_to_date(&status) {
        None => out.say("Up to date."),
        Some(reason) => out.say(&format!("Not known to be up to date: {reason}.")),
    }
    out.say(&changes_line(status.pending));
    if status.held > 0 {
        out.say(&match status.held {
            1 => "1 change waits for another that was not applied.".to_owned(),
            n => format!("{n} changes wait for others that were not applied."),
        });
    }
    if status.parked > 0 {
        let conflicts = match status.conflicts {
            0 => String::new(),
            n => format!(", {n} of them in conflict"),
        };
        out.say(&format!(
            "{}{conflicts}: `{}` says why and what to do; what you typed is kept.",
            not_applied(status.parked),
            if status.conflicts == status.parked {
                "conflicts"
            } else {
                "changes"
            },
        ));
    }
    if status.decided > 0 {
        out.say(&match status.decided {
            1 => "1 change was decided on the server: `changes` says by whom.".to_owned(),
            n => format!("{n} changes were decided on the server: `changes` says by whom."),
        });
    }
    if let Some(failed) = &status.upgrade_failed {
        out.say(&format!(
            "upgrade-failed: the server's newer model could not be taken ({}): {}. The old one \
             stays in use, and changes are still sent; the next sync tries again.",
            failed.code, failed.message
        ));
    }
    match status.last_success_ms {
        Some(at) => out.say(&format!("Last complete sync: {}.", ago(now_ms() - at))),
        None => out.say("No sync was complete yet."),
    }
    if let Some(line) = verify_line(&status.verify) {
        out.say(&line);
    }
    if status.erase_due {
        out.say(
            "Rows that left are still to be erased from the file: other programs use it. The next \
             sync tries again.",
        );
    }
    if !status.scope_values.is_empty() {
        out.say(&scope_line(&status));
    }
    Ok(())
}

/// What is known of whether this device has exactly the server's rows.
fn verify_line(verify: &afield::VerifyStatus) -> Option<String> {
    if verify.uncaptured > 0 {
        let rows = verify.uncaptured;
        return Some(format!(
            "Rows here that differ from the server's: {rows}; see `uncaptured` and `verify`."
        ));
    }
    let verified = ago(now_ms() - verify.verified_ms?);
    Some(format!("Compared with the server, and equal: {verified}."))
}

/// How many values of each scope the user holds.
fn scope_line(status: &afield::Status) -> String {
    let values = status.scope_values.iter();
    let values: Vec<_> = values
        .map(|(entity, count)| format!("{entity} {count}"))
        .collect();
    format!("Values held of each scope: {}.", values.join(", "))
}

fn changes_line(pending: u64) -> String {
    match pending {
        0 => "Nothing waits to be sent.".to_owned(),
        n => format!("{}.", changes_wait(n)),
    }
}

/// So many changes wait to be sent.
pub(super) fn changes_wait(n: u64) -> String {
    match n {
        1 => "1 change waits to be sent".to_owned(),
        n => format!("{n} changes wait to be sent"),
    }
}

/// So many changes were not applied.
pub(super) fn not_applied(n: u64) -> String {
    match n {
        1 => "1 change was not applied".to_owned(),
        n => format!("{n} changes were not applied"),
    }
}

/// How long ago, in words.
pub(super) fn ago(ms: i64) -> String {
    let (n, unit) = match ms / 1_000 {
        i64::MIN..2 => return "just now".to_owned(),
        seconds @ 2..60 => (seconds, "second"),
        seconds @ 60..3_600 => (seconds / 60, "minute"),
        seconds @ 3_600..86_400 => (seconds / 3_600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {unit}{plural} ago")
}

pub(super) fn entities(client: &Client, out: &Output) -> Result<(), Failure> {
    let model = client.store().model()?;
    if out.is_json() {
        let model = serde_json::from_str(&model.to_json()).unwrap_or_default();
        out.json(&model);
        return Ok(());
    }
    for entity in &model.entities {
        out.say(&entity_lines(client, entity)?);
    }
    out.say("An asterisk marks the identifier.");
    Ok(())
}

/// An entity with its attributes and the number of its rows.
fn entity_lines(client: &Client, entity: &Entity) -> Result<String, Failure> {
    let name = entity.name.replace('"', "\"\"");
    let sql = format!("SELECT count(*) FROM \"{name}\"");
    let rows = client.store().query(&sql, &afield::Params::none())?;
    let count = rows.rows.first().and_then(|row| row.first());
    let key = entity
        .key()
        .iter()
        .map(|a| format!("{} {}*", a.name, a.kind));
    let values = entity.values().iter().map(|a| {
        let note = if a.read_only && entity.is_written() {
            " (read-only)"
        } else {
            ""
        };
        format!("{} {}{note}", a.name, a.kind)
    });
    let attributes: Vec<_> = key.chain(values).collect();
    Ok(format!(
        "{}: {}, {}\n  {}",
        entity.name,
        pattern(entity.pattern),
        match count {
            Some(Value::Integer(1)) => "1 row".to_owned(),
            count => format!("{} rows", count.unwrap_or(&Value::Integer(0))),
        },
        attributes.join(", ")
    ))
}

fn pattern(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::LocalOnly => "never sent",
        pattern => pattern.as_str(),
    }
}

pub(super) fn changes(client: &Client, out: &Output) -> Result<(), Failure> {
    let changes = client.store().changes()?;
    if out.is_json() {
        let model = client.store().model().ok();
        let changes = changes.iter().map(|it| change_json(model.as_ref(), it));
        out.json(&json!({ "changes": changes.collect::<Vec<_>>() }));
        return Ok(());
    }
    if changes.is_empty() {
        out.say("No changes.");
        return Ok(());
    }
    let row = |change: &afield::ChangeInfo| {
        vec![
            state(change.state).to_owned(),
            change.op.as_str().to_owned(),
            change.entity.clone(),
            words(&change.key),
            assignments(&change.set),
            decide::why(change),
        ]
    };
    let rows: Vec<_> = changes.iter().map(row).collect();
    let columns = ["state", "what", "entity", "row", "values", "why"];
    out.say(&table(&columns, &rows));
    Ok(())
}

fn state(state: ChangeState) -> &'static str {
    match state {
        ChangeState::Pending => "to be sent",
        ChangeState::Sent => "sent, no answer yet",
        ChangeState::Held => "waits for another",
        ChangeState::Parked => "not applied",
        ChangeState::Settled => "applied",
        ChangeState::Dropped => "given up",
    }
}

pub(super) fn assignments(set: &Attributes) -> String {
    let pairs: Vec<_> = set
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

pub(super) fn outcomes(client: &Client, since: i64, out: &Output) -> Result<(), Failure> {
    let outcomes = client.store().outcomes(since)?;
    if out.is_json() {
        let model = client.store().model().ok();
        let outcomes = outcomes.iter().map(|it| outcome_json(model.as_ref(), it));
        out.json(&json!({ "outcomes": outcomes.collect::<Vec<_>>() }));
        return Ok(());
    }
    if outcomes.is_empty() {
        out.say("No outcomes.");
        return Ok(());
    }
    let row = |outcome: &afield::OutcomeInfo| {
        vec![
            outcome.n.to_string(),
            outcome.result.as_str().to_owned(),
            outcome.op.as_str().to_owned(),
            outcome.entity.clone(),
            words(&outcome.key),
            why(outcome),
        ]
    };
    let rows: Vec<_> = outcomes.iter().map(row).collect();
    out.say(&table(
        &["n", "result", "what", "entity", "row", "why"],
        &rows,
    ));
    Ok(())
}

/// Why a change was not applied.
pub(super) fn why(outcome: &afield::OutcomeInfo) -> String {
    let code = outcome.code.as_ref().map(ToString::to_string);
    let attribute = outcome.attribute.as_ref().map(|name| format!("({name})"));
    let parts = [code, attribute, outcome.message.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_words() {
        for (ms, says) in [
            (-5_000, "just now"),
            (1_900, "just now"),
            (2_000, "2 seconds ago"),
            (60_000, "1 minute ago"),
            (3 * 3_600_000, "3 hours ago"),
            (86_400_000, "1 day ago"),
        ] {
            assert_eq!(ago(ms), says);
        }
        assert_eq!(changes_wait(1), "1 change waits to be sent");
        assert_eq!(changes_wait(2), "2 changes wait to be sent");
    }
}

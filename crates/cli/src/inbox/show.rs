//! Entries of the inbox in JSON and in words.

use afield_protocol::Code;
use afield_server::storage::inbox::{InboxEntry, InboxState};
use serde_json::{Value as Json, json};

use crate::device::{instant, table};

/// An entry for scripts.
pub(super) fn json(entry: &InboxEntry) -> Json {
    json!({
        "n": entry.n,
        "user": entry.user,
        "device": entry.device,
        "group": entry.group.to_string(),
        "place": entry.place,
        "at": when(entry.at),
        "entity": entry.entity,
        "id": id(&entry.key),
        "op": entry.op.as_str(),
        "result": entry.result.as_str(),
        "code": entry.code.as_ref().map(Code::as_str),
        "attribute": entry.attribute,
        "message": entry.message,
        "base": entry.base,
        "mine": entry.mine,
        "theirs": entry.theirs,
        "state": entry.state.as_str(),
        "decision": entry.decision,
        "decided_by": entry.decided_by,
        "decided_at": entry.decided_at.map(when),
        "into": entry.into.map(|into| into.to_string()),
        "told": entry.told,
    })
}

/// An identifier as the repl has it: alone, or a list of its parts.
fn id(key: &Json) -> Json {
    match key.as_array().map(Vec::as_slice) {
        Some([one]) => one.clone(),
        _ => key.clone(),
    }
}

/// The same in words.
pub(super) fn key(key: &Json) -> String {
    let parts = key.as_array().map_or(&[][..], Vec::as_slice);
    parts.iter().map(value).collect::<Vec<_>>().join(" ")
}

/// Entries as a table for people.
pub(super) fn table_of(entries: &[InboxEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        vec![
            entry.n.to_string(),
            entry.user.clone(),
            when(entry.at),
            entry.entity.clone(),
            key(&entry.key),
            entry.op.as_str().to_owned(),
            why(entry),
            match entry.state {
                InboxState::Open => values(entry.mine.as_ref()),
                InboxState::Decided | InboxState::Closed => decision(entry),
            },
        ]
    });
    let columns = ["n", "user", "at", "entity", "id", "op", "why", "set"];
    table(&columns, &rows.collect::<Vec<_>>())
}

/// An entry with its versions, and the others of its transaction.
pub(super) fn text(entry: &InboxEntry, rest: &[&InboxEntry]) -> String {
    let mut lines = vec![
        format!(
            "{} of {} {} by {} (device {}), {}",
            entry.op.as_str(),
            entry.entity,
            key(&entry.key),
            entry.user,
            entry.device,
            when(entry.at)
        ),
        format!("{}: {}", entry.result.as_str(), why(entry)),
        versions(entry),
        format!("{}.", decision(entry)),
    ];
    if !rest.is_empty() {
        lines.push("Decided with it, as one transaction:".to_owned());
        let rest: Vec<InboxEntry> = rest.iter().map(|it| (*it).clone()).collect();
        lines.push(table_of(&rest));
    }
    if entry.state == InboxState::Open {
        lines.push(format!(
            "`afield inbox decide {} --mine`, `--theirs` or `--set NAME=VALUE`.",
            entry.n
        ));
    }
    lines.join("\n")
}

/// Base, mine and theirs side by side, attribute by attribute.
fn versions(entry: &InboxEntry) -> String {
    let Some(mine) = &entry.mine else {
        return "It was too large to be noted with its values.".to_owned();
    };
    let cell = |of: Option<&Json>, name: &str| of.and_then(|of| of.get(name)).map(value);
    let of = |json: Option<&Json>| -> Vec<String> {
        let object = json.and_then(Json::as_object);
        object.map_or(Vec::new(), |object| object.keys().cloned().collect())
    };
    let mut names = of(entry.base.as_ref());
    names.extend(of(Some(mine)));
    names.extend(of(entry.theirs.as_ref()));
    names.sort();
    names.dedup();
    if names.is_empty() {
        return "It has no values.".to_owned();
    }
    let rows = names.iter().map(|name| {
        vec![
            name.clone(),
            cell(entry.base.as_ref(), name).unwrap_or_default(),
            cell(Some(mine), name).unwrap_or_default(),
            cell(entry.theirs.as_ref(), name).unwrap_or_default(),
        ]
    });
    let columns = ["attribute", "as it was", "mine", "theirs"];
    table(&columns, &rows.collect::<Vec<_>>())
}

/// How an entry stands, in words.
pub(super) fn decision(entry: &InboxEntry) -> String {
    let at = entry
        .decided_at
        .map_or(String::new(), |at| format!(", {}", when(at)));
    let word = entry.decision.as_deref().unwrap_or("decided");
    match (entry.state, &entry.decided_by) {
        (InboxState::Open, _) => "Nobody has decided".to_owned(),
        (InboxState::Decided, by) => {
            let by = by.as_deref().unwrap_or("somebody");
            let told = if entry.told {
                ""
            } else {
                "; its device does not know yet"
            };
            format!("{word}, by {by}{at}{told}")
        }
        (InboxState::Closed, _) => format!("{word}, by its user{at}"),
    }
}

fn why(entry: &InboxEntry) -> String {
    let code = entry.code.as_ref().map_or("", Code::as_str);
    match &entry.attribute {
        Some(attribute) => format!("{code} ({attribute})"),
        None => code.to_owned(),
    }
}

fn values(set: Option<&Json>) -> String {
    let pairs = set.and_then(Json::as_object).into_iter().flatten();
    let pairs = pairs.map(|(name, it)| format!("{name}={}", value(it)));
    pairs.collect::<Vec<_>>().join(" ")
}

fn value(json: &Json) -> String {
    match json {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn when(seconds: i64) -> String {
    instant(seconds.saturating_mul(1_000))
}

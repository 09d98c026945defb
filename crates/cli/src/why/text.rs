//! The answer for people.

use afield_protocol::Value;
use afield_server::resolved::ServerEntity;
use afield_server::storage::Caller;
use afield_server::storage::why::{
    Answer, Barred, Decides, HeldFrom, Rule, Step, Tested, Why, Writing,
};

use super::pattern;
use crate::device::words;

/// Characters of a value that are shown; a text can be a novel.
const VALUE_CHARS: usize = 60;

/// Values that are shown of what a user holds.
const HELD_SHOWN: usize = 8;

pub(super) fn of(why: &Why, entity: &ServerEntity, caller: &Caller) -> String {
    let user = &caller.user;
    let row = format!("{} {}", why.entity, words(&why.key));
    let mut lines = vec![match why.is_on_devices() {
        true => format!("{row} goes to {user}'s devices, with the next sync."),
        false => format!("{row} does not go to {user}'s devices."),
    }];
    lines.push(String::new());
    for stage in &why.stages {
        let sign = sign(stage.lets);
        match &stage.decides {
            Decides::Row => lines.push(format!("{sign} row      {}", there(why))),
            Decides::Delete(column) => {
                lines.push(format!("{sign} delete   {}", deleted(column, stage.lets)));
            }
            Decides::Window(window) => lines.push(format!(
                "{sign} window   {} {} {}, which is what devices have now",
                window.attribute,
                window.keep.as_str(),
                window.bound
            )),
            Decides::Pattern => lines.push(format!(
                "{sign} pattern  {}: {}",
                entity.local.pattern.as_str(),
                pattern(&entity.local)
            )),
            Decides::Scope(rule) => {
                lines.push(format!("{sign} scope    {}", whole(rule, why.exists)));
                lines.extend(ways(rule, user));
            }
        }
    }
    lines.push(String::new());
    lines.extend(write(why, user));
    lines.extend(write_to(why, user));
    let is_written = why.write.barred != Some(Barred::ReadOnly);
    if is_written && !why.read_only.is_empty() {
        let names = why.read_only.join(", ");
        lines.push(format!("       read-only on every device: {names}"));
    }
    lines.join("\n")
}

fn sign(holds: bool) -> &'static str {
    match holds {
        true => "yes",
        false => "NO ",
    }
}

/// Nothing holds and nothing fails where there is no row.
fn sign_of(answer: Answer) -> &'static str {
    match answer {
        Answer::NoRow => "-  ",
        answer => sign(answer == Answer::Held),
    }
}

fn deleted(column: &str, lets: bool) -> String {
    match lets {
        true => format!("it does not count as deleted, going by `{column}`"),
        false => format!("it counts as deleted, going by `{column}`, or there is no row"),
    }
}

fn there(why: &Why) -> String {
    match why.exists {
        true => format!("the table `{}` has such a row", why.table),
        false => format!(
            "the table `{}` has no such row: it was deleted, or has another identifier",
            why.table
        ),
    }
}

/// A rule in one line.
fn whole(rule: &Rule, exists: bool) -> String {
    match rule {
        Rule::Everyone => "everyone: every user gets every row".to_owned(),
        Rule::Ways(_) if !exists => "what the row would have to be:".to_owned(),
        Rule::Ways(ways) => match (ways.len(), rule.holds()) {
            (1, true) => "it is in the user's scope:".to_owned(),
            (1, false) => "it is not in the user's scope:".to_owned(),
            (_, true) => "one way in is enough:".to_owned(),
            (n, false) => format!("none of {n} ways lets it in:"),
        },
    }
}

/// Each way in, condition by condition.
fn ways(rule: &Rule, user: &str) -> Vec<String> {
    let Rule::Ways(ways) = rule else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for (number, way) in (1..).zip(ways) {
        if ways.len() > 1 {
            let has_row = way.conditions.iter().all(|it| it.answer != Answer::NoRow);
            lines.push(match has_row {
                true => format!("    way {number}: {}", sign(way.holds()).trim()),
                false => format!("    way {number}:"),
            });
        }
        for tested in &way.conditions {
            let sign = sign_of(tested.answer);
            lines.push(format!("      {sign} {}", tested.text));
            let found = found(tested);
            if !found.is_empty() {
                lines.push(format!("            {found}"));
            }
            lines.push(format!("            {}", because(tested, user)));
        }
    }
    lines
}

/// The row's own value, and what it leads to.
fn found(tested: &Tested) -> String {
    if tested.answer == Answer::NoRow {
        return String::new();
    }
    let mut text = format!("{} is {}", tested.column, shown(&tested.value));
    for step in &tested.steps {
        text.push_str(&follow(step));
    }
    text
}

fn follow(step: &Step) -> String {
    let Step {
        table,
        key,
        wanted,
        column,
        value,
    } = step;
    match value {
        Some(value) => format!(
            " -> {table} with {key} {}: {column} is {}",
            shown(wanted),
            shown(value)
        ),
        None => format!(" -> no row of {table} has {key} {}", shown(wanted)),
    }
}

/// What the user holds, and what follows.
fn because(tested: &Tested, user: &str) -> String {
    let held = held(tested, user);
    match tested.answer {
        Answer::Held | Answer::OthersHeld | Answer::NoRow => held,
        Answer::Null => format!("null is nobody's ({held})"),
        Answer::Broken => format!("what is not there is nobody's ({held})"),
        Answer::ClaimMissing => match &tested.held.from {
            HeldFrom::Claim { name, .. } => format!(
                "the token has no claim `{name}`; if it should, ask with --claim {name}=JSON"
            ),
            _ => held,
        },
        Answer::ClaimUnusable => {
            format!("{held}, which is no text, number or truth value: so nothing is held by it")
        }
        Answer::NothingHeld => format!("{held}: give {user} a value, or look at the query"),
    }
}

fn held(tested: &Tested, user: &str) -> String {
    let held = &tested.held;
    let mut values: Vec<String> = held.values.iter().take(HELD_SHOWN).map(shown).collect();
    if held.count > values.len() {
        values.push(format!("… ({} in all)", held.count));
    }
    let values = values.join(", ");
    match &held.from {
        HeldFrom::User => format!("the user is {}", shown(&Value::from(user))),
        HeldFrom::Claim {
            name,
            is_given: false,
        } => format!("the claim `{name}` is not given"),
        HeldFrom::Claim { name, .. } if held.count == 0 => format!("the claim `{name}` is given"),
        HeldFrom::Claim { name, .. } => format!("the claim `{name}` is {values}"),
        HeldFrom::Query { name, .. } if held.count == 0 => {
            format!("[scope.{name}] finds nothing for {user}")
        }
        HeldFrom::Query { name, .. } => format!("[scope.{name}] finds {values}"),
        HeldFrom::Chosen { name, .. } if tested.answer == Answer::Held => {
            format!("[scope.{name}] lets {user} choose it: it is on the devices where it is chosen")
        }
        HeldFrom::Chosen { name, .. } if tested.answer == Answer::OthersHeld => {
            format!("[scope.{name}] does not let {user} choose it")
        }
        HeldFrom::Chosen { name, .. } => {
            format!("[scope.{name}] is asked for what is chosen on a device")
        }
    }
}

fn write(why: &Why, user: &str) -> Vec<String> {
    let Writing {
        may, barred, rule, ..
    } = &why.write;
    let says = match barred {
        Some(barred) => in_the_way(*barred).to_owned(),
        None if why.write.key == "scope" => {
            format!("{user} may change and delete it, as every row of the scope")
        }
        None if *may => format!("{user} may change and delete it:"),
        None => format!("{user} may read it, and neither change nor delete it:"),
    };
    let mut lines = vec![format!("{} write    {says}", sign(*may))];
    if barred.is_none() && why.write.key == "write" {
        lines.extend(ways(rule, user));
    }
    lines
}

fn write_to(why: &Why, user: &str) -> Vec<String> {
    let Writing {
        may, barred, rule, ..
    } = &why.write_to;
    if let Some(barred) = barred {
        return vec![format!("{} write_to {}", sign(*may), in_the_way(*barred))];
    }
    let from = match why.write_to.key {
        "scope" => "in the scope (the model has no `write_to`)",
        _ => "as `write_to` says",
    };
    if *rule == Rule::Everyone {
        return vec![format!(
            "yes write_to what {user} writes may become anything"
        )];
    }
    let now = match (why.exists, *may) {
        (false, _) => "",
        (true, true) => "; as it is now, it is",
        (true, false) => "; as it is now, it is not",
    };
    let sign = match why.exists {
        true => sign(*may),
        false => "-  ",
    };
    let mut lines = vec![format!(
        "{sign} write_to what {user} writes must be {from}{now}{}",
        if why.write_to.key == "scope" { "" } else { ":" }
    )];
    if why.write_to.key != "scope" {
        lines.extend(ways(rule, user));
    }
    lines
}

fn in_the_way(barred: Barred) -> &'static str {
    match barred {
        Barred::ReadOnly => "no device writes this entity: its pattern is read-only",
        Barred::InsertOnly => "devices create rows of this entity, and never change them",
        Barred::NoRow => "there is no row to change",
        Barred::OutOfScope => {
            "it is not in the user's scope: a change of it is answered as if it were not there"
        }
    }
}

/// A value for people.
fn shown(value: &Value) -> String {
    let Value::Text(text) = value else {
        return value.to_string();
    };
    let mut short: String = text.chars().take(VALUE_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("'{}'", short.escape_debug())
}

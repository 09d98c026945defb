//! Events, in JSON and in plain words; and `run`, which stays and tells them.

use std::sync::Arc;

use afield::engine::SyncStatus;
use afield::event::{Numbered, SyncEvent, Verdict};
use afield::native::Client;
use afield_protocol::Model;
use serde_json::{Map, Value as Json, json};

use super::answer::{key_json, network_json};
use super::rows::words;
use super::sync::count;
use crate::failure::Failure;
use crate::interrupt::on_interrupt;
use crate::output::Output;

/// Synchronises by itself, as the model says, and tells what happens until Ctrl-C.
pub(super) fn run(client: Client, out: &Output) -> Result<(), Failure> {
    let mut events = client.events();
    let client = Arc::new(client);
    client.start()?;
    client.trigger(&afield::native::SyncOptions::default(), false)?;
    out.say("Synchronising by itself until Ctrl-C; what is written meanwhile is sent.");
    let running = Arc::downgrade(&client);
    // Closed, it tells nothing more; what a sync did by then is kept.
    on_interrupt(move || {
        client.cancel();
        drop(client);
    });
    for numbered in &mut events {
        if out.is_json() {
            let model = running.upgrade().and_then(|it| it.store().model().ok());
            out.json(&event_json(model.as_ref(), &numbered));
        } else if let Some(line) = told(&numbered.event) {
            out.say(&line);
        }
    }
    Ok(())
}

/// An event with its number.
pub(crate) fn event_json(model: Option<&Model>, numbered: &Numbered) -> Json {
    let fields = match &numbered.event {
        SyncEvent::Started { unit } => json!({ "unit": unit }),
        SyncEvent::Progress(it) => json!({
            "unit": it.unit,
            "phase": it.phase.as_str(),
            "rows": it.rows,
            "unit_rows": it.unit_rows,
            "remaining": it.remaining,
            "percent": it.percent,
            "bytes": it.bytes,
            "settled": it.settled,
        }),
        SyncEvent::UnitCompleted { unit } => json!({ "unit": unit }),
        SyncEvent::Completed {
            unit,
            status,
            pushed,
            pulled,
        } => json!({
            "unit": unit, "status": status.as_str(), "pushed": pushed, "pulled": pulled,
        }),
        SyncEvent::Failed {
            unit,
            class,
            code,
            message,
        } => json!({
            "unit": unit,
            "class": class.map(|class| class.as_str()),
            "code": code.as_str(),
            "message": message,
        }),
        SyncEvent::Conflict(verdict) | SyncEvent::Rejected(verdict) => verdict_json(model, verdict),
        SyncEvent::Network(status) => network_json(status),
        SyncEvent::UpToDate {
            unit,
            is_up_to_date,
        } => json!({ "unit": unit, "up_to_date": is_up_to_date }),
        SyncEvent::HookLate { hook, unit } => json!({ "hook": hook, "unit": unit }),
        SyncEvent::SignIn { is_needed } => json!({ "needs_sign_in": is_needed }),
    };
    let mut object = Map::new();
    object.insert("n".into(), numbered.n.into());
    object.insert("event".into(), numbered.event.as_str().into());
    if let Json::Object(fields) = fields {
        object.extend(fields);
    }
    Json::Object(object)
}

fn verdict_json(model: Option<&Model>, verdict: &Verdict) -> Json {
    let entity = model.and_then(|model| model.entity(&verdict.entity));
    json!({
        "change": verdict.change,
        "entity": verdict.entity,
        "id": key_json(entity, &verdict.key),
        "code": verdict.code.as_ref().map(|code| code.as_str()),
        "attribute": verdict.attribute,
        "message": verdict.message,
    })
}

/// An event in plain words; `None` for one that nobody wants to read as a line.
fn told(event: &SyncEvent) -> Option<String> {
    let of = |unit: &Option<String>| unit.as_ref().map_or(String::new(), |it| format!(" {it}"));
    Some(match event {
        SyncEvent::Started { .. }
        | SyncEvent::UnitCompleted { .. }
        | SyncEvent::HookLate { .. } => return None,
        SyncEvent::Progress(it) => match (&it.unit, it.percent) {
            (Some(unit), Some(percent)) if percent < 100 => {
                format!("{unit}: {percent} %, {} rows so far.", it.unit_rows)
            }
            _ => return None,
        },
        SyncEvent::Completed {
            unit,
            status,
            pushed,
            pulled,
        } => format!(
            "Synchronised{}: {} applied, {} received{}.",
            of(unit),
            count(*pushed, "change"),
            count(*pulled, "row"),
            match status {
                SyncStatus::Completed => "",
                _ => "; not everything went through",
            }
        ),
        SyncEvent::Failed {
            unit,
            class,
            code,
            message,
        } => match class {
            Some(class) => {
                format!(
                    "Not synchronised{}, {}: {code}: {message}.",
                    of(unit),
                    class.as_str()
                )
            }
            None => format!("Cancelled{}.", of(unit)),
        },
        SyncEvent::Conflict(it) => format!(
            "Conflict: {} was changed by somebody else too; `conflicts` shows it.",
            row(it)
        ),
        SyncEvent::Rejected(it) => format!(
            "Not applied: {}: {}; `changes` says what to do.",
            row(it),
            it.message.as_deref().unwrap_or("the server refused it")
        ),
        SyncEvent::Network(status) => match status.is_online {
            Some(true) => "The server answers.".to_owned(),
            Some(false) => "The server cannot be reached.".to_owned(),
            None => format!("The network is another one: {}.", status.info.kind.as_str()),
        },
        SyncEvent::UpToDate {
            unit,
            is_up_to_date: true,
        } => format!("{unit} is up to date."),
        SyncEvent::UpToDate { .. } => return None,
        SyncEvent::SignIn { is_needed: true } => {
            "Sign in: the server wants another token.".to_owned()
        }
        SyncEvent::SignIn { is_needed: false } => "Signed in.".to_owned(),
    })
}

/// The row that a verdict is about.
fn row(verdict: &Verdict) -> String {
    format!("{} {}", verdict.entity, words(&verdict.key))
}

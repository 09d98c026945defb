//! Choosing values of scopes: what the app has open.

use afield::ChosenValue;
use afield::native::Client;
use afield_protocol::codec::json as values_json;
use afield_protocol::{Code, Model, Type};
use clap::Args;
use serde_json::{Value as Json, json};

use super::answer::now_ms;
use super::table::table;
use super::values;
use crate::failure::Failure;
use crate::output::Output;

/// `afield device STORE choose`, and `unchoose`.
#[derive(Args, Debug)]
pub(super) struct ChooseArgs {
    /// A scope of the model whose values are chosen.
    scope: String,
    /// The value.
    value: String,
}

/// `afield device STORE chosen`.
#[derive(Args, Debug)]
pub(super) struct ChosenArgs {
    /// Only this scope.
    scope: Option<String>,
}

pub(super) fn choose(client: &Client, args: &ChooseArgs, out: &Output) -> Result<(), Failure> {
    let mut store = client.store();
    let kind = kind(&store.model()?, &args.scope)?;
    let value =
        values::word(kind, &args.value).ok_or_else(|| mistyped(kind, &args.scope, &args.value))?;
    store.choose(&args.scope, value)?;
    let chosen = store.chosen(Some(&args.scope))?;
    let model = store.model().ok();
    out.json(&chosen_json(model.as_ref(), &chosen));
    out.say(&format!(
        "Chosen: {} {}. The next sync brings its rows.",
        args.scope, args.value
    ));
    Ok(())
}

pub(super) fn unchoose(client: &Client, args: &ChooseArgs, out: &Output) -> Result<(), Failure> {
    let mut store = client.store();
    let kind = kind(&store.model()?, &args.scope)?;
    let value =
        values::word(kind, &args.value).ok_or_else(|| mistyped(kind, &args.scope, &args.value))?;
    let was_chosen = store.unchoose(&args.scope, value)?;
    out.json(&json!({ "unchosen": was_chosen }));
    out.say(match was_chosen {
        true => "No longer chosen. Its rows leave with the next sync.",
        false => "It was not chosen.",
    });
    Ok(())
}

pub(super) fn chosen(client: &Client, args: &ChosenArgs, out: &Output) -> Result<(), Failure> {
    let mut store = client.store();
    let chosen = store.chosen(args.scope.as_deref())?;
    let model = store.model().ok();
    out.json(&chosen_json(model.as_ref(), &chosen));
    if chosen.is_empty() {
        out.say("Nothing is chosen.");
        return Ok(());
    }
    let now = now_ms();
    let row = |chosen: &ChosenValue| {
        let left = (chosen.until_ms - now).max(0);
        vec![
            chosen.scope.clone(),
            shown(model.as_ref(), chosen),
            left_for(left),
        ]
    };
    let rows: Vec<Vec<String>> = chosen.iter().map(row).collect();
    out.say(&table(&["scope", "value", "for another"], &rows));
    Ok(())
}

/// What is chosen, each value by the type of its scope.
pub(crate) fn chosen_json(model: Option<&Model>, chosen: &[ChosenValue]) -> Json {
    let one = |chosen: &ChosenValue| {
        json!({
            "scope": chosen.scope, "value": value_json(model, chosen), "until_ms": chosen.until_ms,
        })
    };
    json!({ "chosen": chosen.iter().map(one).collect::<Vec<_>>() })
}

fn value_json(model: Option<&Model>, chosen: &ChosenValue) -> Json {
    match model.and_then(|model| model.chosen(&chosen.scope)) {
        Some(scope) => values_json::from_value(scope.kind, chosen.value.as_ref()),
        None => values_json::stored(chosen.value.as_ref()),
    }
}

fn shown(model: Option<&Model>, chosen: &ChosenValue) -> String {
    match value_json(model, chosen) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// The type of a scope's values; the store refuses one that is unknown, and names the others.
fn kind(model: &Model, scope: &str) -> Result<Type, Failure> {
    let known: Vec<&str> = model.chosen.iter().map(|it| it.name.as_str()).collect();
    let found = model.chosen(scope).map(|scope| scope.kind);
    found.ok_or_else(|| {
        let message = format!(
            "the model has no scope `{scope}` from which values are chosen; there are: {}",
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        );
        Failure::refused(Code::UNKNOWN_SCOPE.as_str(), message)
    })
}

fn mistyped(kind: Type, scope: &str, word: &str) -> Failure {
    let message = format!("a value of `{scope}` is {}, not `{word}`", kind.expected());
    Failure::refused(Code::TYPE_MISMATCH.as_str(), message)
}

/// A duration in the largest unit of which it has two.
fn left_for(ms: i64) -> String {
    let units = [
        (86_400_000, "days"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ];
    let fits = units.into_iter().find(|(unit, _)| ms >= 2 * unit);
    let (unit, word) = fits.unwrap_or((1_000, "s"));
    format!("{} {word}", ms / unit)
}

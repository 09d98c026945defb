//! The requests that need an open store.

use afield::engine::Direction;
use afield::native::{Client, SyncOptions};
use afield::{Error, Params};
use afield_protocol::Code;
use afield_protocol::codec::json;
use serde_json::{Map, Value as Json, json};

use super::{Answer, choices, decisions, events, files, log, network, schedule, steps, verify};
use crate::device::{change_json, outcome_json, report_json, rows_json, status_json};

/// A request's fields.
pub(super) type Request = Map<String, Json>;

type Perform = fn(&Client, &Request) -> Result<Answer, Error>;

/// Every request besides `open` and `close`.
pub(super) const VERBS: [(&str, Perform); 31] = [
    ("exec", exec),
    ("action", action),
    ("transaction", transaction),
    ("query", query),
    ("sync", sync),
    ("trigger", trigger),
    ("start", schedule::start),
    ("stop", schedule::stop),
    ("set_token", schedule::set_token),
    ("resume", schedule::resume),
    ("suspend", schedule::suspend),
    ("status", status),
    ("changes", changes),
    ("outcomes", outcomes),
    ("conflicts", decisions::conflicts),
    ("resolve", decisions::resolve),
    ("retry", decisions::retry),
    ("drop", decisions::drop_change),
    ("undo", decisions::undo),
    ("network", network::network),
    ("probe", network::probe),
    ("log", log::log),
    ("export", files::export),
    ("import", files::import),
    ("events", events::events),
    ("wait", events::wait),
    ("choose", choices::choose),
    ("unchoose", choices::unchoose),
    ("chosen", choices::chosen),
    ("verify", verify::verify),
    ("uncaptured", verify::uncaptured),
];

/// What performs `verb`.
pub(super) fn find(verb: &str) -> Option<Perform> {
    let found = VERBS.iter().find(|(known, _)| *known == verb);
    found.map(|(_, perform)| *perform)
}

fn exec(client: &Client, request: &Request) -> Result<Answer, Error> {
    let step = steps::Exec::read(request)?;
    client.store().transaction(|tx| step.run(tx))
}

fn action(client: &Client, request: &Request) -> Result<Answer, Error> {
    let mut store = client.store();
    let step = steps::Action::read(&mut store, request)?;
    match step.reads() {
        Some((entity, key)) => {
            let row = store.get(&entity.name, key)?;
            Ok(steps::row_answer(entity, key, row.as_ref()))
        }
        None => store.transaction(|tx| step.run(tx)),
    }
}

fn transaction(client: &Client, request: &Request) -> Result<Answer, Error> {
    let steps = request.get("steps").and_then(Json::as_array);
    let steps = steps.ok_or_else(|| malformed("steps", "an array of exec and action requests"))?;
    let mut store = client.store();
    let read = |(at, step): (usize, &Json)| {
        steps::Step::read(&mut store, step).map_err(|error| steps::at(at, &error))
    };
    let steps: Vec<_> = steps
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()?;
    let results = store.transaction(|tx| {
        let run = |(at, step): (usize, &steps::Step)| {
            let mut answer = Answer::from_iter([("ok".to_owned(), Json::from(true))]);
            answer.extend(step.run(tx).map_err(|error| steps::at(at, &error))?);
            Ok(Json::Object(answer))
        };
        steps
            .iter()
            .enumerate()
            .map(run)
            .collect::<Result<Vec<_>, Error>>()
    })?;
    Ok(object(json!({ "results": results })))
}

fn query(client: &Client, request: &Request) -> Result<Answer, Error> {
    let (sql, params) = (text(request, "sql")?, params(request)?);
    let mut store = client.store();
    let rows = store.query(sql, &params)?;
    let cells = rows_json(&mut store, sql, &rows);
    Ok(object(json!({ "columns": rows.columns, "rows": cells })))
}

fn sync(client: &Client, request: &Request) -> Result<Answer, Error> {
    let report = match verify::seconds(request, "budget_s")? {
        None => client.sync_with(&sync_options(request)?, &mut |_| {})?,
        Some(_) if request.contains_key("unit") || request.contains_key("direction") => {
            return Err(malformed(
                "budget_s",
                "alone: it is for all units, both ways",
            ));
        }
        Some(budget) => client.sync_for(budget)?,
    };
    let model = client.store().model().ok();
    Ok(object(report_json(model.as_ref(), &report)))
}

/// Asks for a sync and does not wait for it.
fn trigger(client: &Client, request: &Request) -> Result<Answer, Error> {
    let discards = match request.get("discard_pending") {
        None | Some(Json::Null) => false,
        Some(Json::Bool(discards)) => *discards,
        Some(_) => return Err(malformed("discard_pending", "true or false")),
    };
    let asked = client.trigger(&sync_options(request)?, discards)?;
    Ok(object(
        json!({ "queued": asked.waiting, "joined": asked.is_joined }),
    ))
}

/// What a sync is to do.
fn sync_options(request: &Request) -> Result<SyncOptions, Error> {
    let direction = match request.get("direction") {
        None | Some(Json::Null) => Direction::Both,
        Some(word) => match word.as_str() {
            Some("both") => Direction::Both,
            Some("send") => Direction::Send,
            Some("receive") => Direction::Receive,
            _ => return Err(malformed("direction", "`both`, `send` or `receive`")),
        },
    };
    let unit = match request.get("unit") {
        None | Some(Json::Null) => None,
        Some(_) => Some(text(request, "unit")?.to_owned()),
    };
    Ok(SyncOptions {
        unit,
        direction,
        deadline: verify::deadline(request)?,
    })
}

fn status(client: &Client, _: &Request) -> Result<Answer, Error> {
    let mut answer = object(status_json(&client.status()?));
    schedule::add_status(client, &mut answer);
    Ok(answer)
}

fn changes(client: &Client, _: &Request) -> Result<Answer, Error> {
    let mut store = client.store();
    let changes = store.changes()?;
    let model = store.model().ok();
    let changes = changes.iter().map(|it| change_json(model.as_ref(), it));
    Ok(object(json!({ "changes": changes.collect::<Vec<_>>() })))
}

fn outcomes(client: &Client, request: &Request) -> Result<Answer, Error> {
    let since = match request.get("since") {
        None | Some(Json::Null) => 0,
        Some(n) => n
            .as_i64()
            .ok_or_else(|| malformed("since", "an outcome's number"))?,
    };
    let mut store = client.store();
    let outcomes = store.outcomes(since)?;
    let model = store.model().ok();
    let outcomes = outcomes.iter().map(|it| outcome_json(model.as_ref(), it));
    Ok(object(json!({ "outcomes": outcomes.collect::<Vec<_>>() })))
}

/// The text of a field that must be there.
pub(super) fn text<'a>(request: &'a Request, name: &str) -> Result<&'a str, Error> {
    let text = request.get(name).and_then(Json::as_str);
    text.ok_or_else(|| malformed(name, "text"))
}

/// Parameters: an array for `?`, an object for `:name`.
pub(super) fn params(request: &Request) -> Result<Params, Error> {
    let read = |name: &str, value: &Json| {
        json::to_untyped(value)
            .map_err(|error| Error::new(Code::MALFORMED, format!("the parameter {name} {error}")))
    };
    match request.get("params") {
        None | Some(Json::Null) => Ok(Params::none()),
        Some(Json::Array(values)) => {
            let values = values.iter().enumerate();
            let values = values.map(|(at, value)| read(&(at + 1).to_string(), value));
            Ok(Params::Positional(values.collect::<Result<_, _>>()?))
        }
        Some(Json::Object(values)) => {
            let values = values.iter();
            let values = values.map(|(name, value)| Ok((name.clone(), read(name, value)?)));
            Ok(Params::Named(values.collect::<Result<_, Error>>()?))
        }
        Some(_) => Err(malformed("params", "an array, or an object by name")),
    }
}

/// A field is missing or of another kind.
pub(super) fn malformed(name: &str, expected: &str) -> Error {
    Error::new(Code::MALFORMED, format!("`{name}` must be {expected}"))
}

/// The fields of an object.
pub(super) fn object(json: Json) -> Answer {
    match json {
        Json::Object(fields) => fields,
        _ => Answer::new(),
    }
}

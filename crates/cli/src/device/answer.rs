//! What a device says, in JSON: the same for `--json` and `--repl`.

use afield::engine::{Report, SyncStatus};
use afield::native::{Client, SystemEnvironment};
use afield::network::NetworkStatus;
use afield::{
    ChangeInfo, ConflictInfo, Environment as _, Error, OutcomeInfo, Params, Rows, Status, Store,
    UnitStatus,
};
use afield_protocol::codec::json;
use afield_protocol::{Attributes, Code, Entity, Key, Model, Type, Value};
use serde_json::{Map, Value as Json, json};

/// An identifier: its value, or an array if it has several parts.
pub(crate) fn key_json(entity: Option<&Entity>, key: &[Value]) -> Json {
    let part = |(at, value): (usize, &Value)| match entity.and_then(|e| e.key().get(at)) {
        Some(attribute) => json::from_value(attribute.kind, value.as_ref()),
        None => json::stored(value.as_ref()),
    };
    let mut parts: Vec<_> = key.iter().enumerate().map(part).collect();
    match parts.len() {
        1 => parts.remove(0),
        _ => Json::Array(parts),
    }
}

/// Reads an identifier: its value, an array of its parts, or an object by attribute.
///
/// # Errors
/// It has another shape, or a part another type.
pub(crate) fn key_from_json(entity: &Entity, id: &Json) -> Result<Key, Error> {
    let parts: Vec<&Json> = match id {
        Json::Array(parts) => parts.iter().collect(),
        Json::Object(object) if entity.key().iter().any(|a| object.contains_key(&a.name)) => {
            let parts = entity.key().iter().map(|a| object.get(&a.name));
            parts.map(|part| part.unwrap_or(&Json::Null)).collect()
        }
        single => vec![single],
    };
    let attributes = entity.key();
    if parts.len() != attributes.len() {
        let names: Vec<_> = attributes.iter().map(|a| a.name.as_str()).collect();
        let message = format!(
            "the identifier of {} is an array of {} values: {}",
            entity.name,
            names.len(),
            names.join(", ")
        );
        return Err(Error::new(Code::IDENTIFIER_MISSING, message));
    }
    let pairs = attributes.iter().zip(parts);
    let read = |(attribute, part): (&afield_protocol::Attribute, &Json)| {
        json::to_value(attribute.kind, part).map_err(|error| {
            let message = format!("{}.{} {error}", entity.name, attribute.name);
            Error::new(Code::TYPE_MISMATCH, message).of_attribute(&attribute.name)
        })
    };
    pairs.map(read).collect()
}

/// The types of the columns of the query `sql`, where they come from an entity.
pub(super) fn kinds(store: &mut Store, sql: &str) -> Vec<Option<Type>> {
    let model = store.model().ok();
    let origins = store.origins(sql).unwrap_or_default();
    let model = model.as_ref();
    (origins.iter())
        .map(|origin| {
            let origin = origin.as_ref()?;
            let entity = model?.entity(&origin.table)?;
            Some(entity.attribute(&origin.column)?.kind)
        })
        .collect()
}

/// Rows of the query `sql`: typed where a column comes from an entity, as stored otherwise.
pub(crate) fn rows_json(store: &mut Store, sql: &str, rows: &Rows) -> Vec<Vec<Json>> {
    let kinds = kinds(store, sql);
    let cell = |(at, value): (usize, &Value)| match kinds.get(at).copied().flatten() {
        Some(kind) => json::from_value(kind, value.as_ref()),
        None => json::stored(value.as_ref()),
    };
    let row = |row: &Vec<Value>| row.iter().enumerate().map(cell).collect();
    rows.rows.iter().map(row).collect()
}

/// A change made on this device.
pub(crate) fn change_json(model: Option<&Model>, change: &ChangeInfo) -> Json {
    let entity = model.and_then(|model| model.entity(&change.entity));
    let mut object = json!({
        "change": change.change,
        "group": change.group.to_string(),
        "entity": change.entity,
        "id": key_json(entity, &change.key),
        "op": change.op.as_str(),
        "state": change.state.as_str(),
        "set": json::from_attributes(entity, &change.set),
        "base": json::from_attributes(entity, &change.base),
    });
    let Json::Object(map) = &mut object else {
        return object;
    };
    if let Some(theirs) = &change.theirs {
        map.insert("theirs".into(), json::from_attributes(entity, theirs));
    }
    let mut word = |name: &str, word: Option<&str>| {
        if let Some(word) = word {
            map.insert(name.into(), word.into());
        }
    };
    word("code", change.code.as_ref().map(Code::as_str));
    word("attribute", change.attribute.as_deref());
    word("message", change.message.as_deref());
    word("waits_for", change.waits_for.as_deref());
    if let Some(decided) = &change.decided {
        let told = json!({
            "by": decided.by, "at": instant(decided.at_ms), "what": decided.what.as_str(),
        });
        map.insert("decided".into(), told);
    }
    object
}

/// A conflict that waits for a decision; a version that is deleted is null.
pub(crate) fn conflict_json(model: Option<&Model>, conflict: &ConflictInfo) -> Json {
    let entity = model.and_then(|model| model.entity(&conflict.entity));
    let row = |row: &Attributes| json::from_attributes(entity, row);
    json!({
        "conflict": conflict.conflict,
        "entity": conflict.entity,
        "id": key_json(entity, &conflict.key),
        "op": conflict.op.as_str(),
        "base": row(&conflict.base),
        "mine": conflict.mine.as_ref().map(row),
        "theirs": conflict.theirs.as_ref().map(row),
        "attributes": conflict.attributes,
        "since": instant(conflict.since_ms),
    })
}

/// What became of a change; what does not apply is left out.
pub(crate) fn outcome_json(model: Option<&Model>, outcome: &OutcomeInfo) -> Json {
    let entity = model.and_then(|model| model.entity(&outcome.entity));
    let mut object = Map::new();
    object.insert("n".into(), outcome.n.into());
    object.insert("change".into(), outcome.change.as_str().into());
    object.insert("entity".into(), outcome.entity.as_str().into());
    object.insert("id".into(), key_json(entity, &outcome.key));
    object.insert("op".into(), outcome.op.as_str().into());
    object.insert("result".into(), outcome.result.as_str().into());
    if let Some(code) = &outcome.code {
        object.insert("code".into(), code.as_str().into());
    }
    if let Some(attribute) = &outcome.attribute {
        object.insert("attribute".into(), attribute.as_str().into());
    }
    if let Some(message) = &outcome.message {
        object.insert("message".into(), message.as_str().into());
    }
    if let Some(key) = &outcome.new_key {
        object.insert("new_id".into(), key_json(entity, key));
    }
    Json::Object(object)
}

/// How a sync went.
pub(crate) fn report_json(model: Option<&Model>, report: &Report) -> Json {
    let outcomes = report.outcomes.iter().map(|it| outcome_json(model, it));
    let mut object = json!({
        "status": report.status.as_str(),
        "pushed": report.pushed,
        "pulled": report.pulled,
        "bytes_sent": report.bytes_sent,
        "bytes_received": report.bytes_received,
        "outcomes": outcomes.collect::<Vec<_>>(),
    });
    let problem = report.error.as_ref();
    let problem =
        problem.map(|(code, message)| json!({ "code": code.as_str(), "message": message }));
    if let (Some(problem), Json::Object(object)) = (problem, &mut object) {
        object.insert("error".into(), problem);
    } else if report.status == SyncStatus::Incomplete
        && report.backed_off > 0
        && let Json::Object(object) = &mut object
    {
        object.insert("backed_off".into(), report.backed_off.into());
    }
    object
}

/// What is known of the network: `online` is null while nobody knows.
pub(crate) fn network_json(status: &NetworkStatus) -> Json {
    json!({
        "online": status.is_online,
        "type": status.info.kind.as_str(),
        "metered": status.info.counts_as_metered(),
    })
}

/// Where the device stands; `reason` says what keeps it from being up to date.
pub(crate) fn status_json(status: &Status) -> Json {
    let reason = why_not_up_to_date(status);
    let mut object = json!({
        "pending": status.pending,
        "held": status.held,
        "parked": status.parked,
        "conflicts": status.conflicts,
        "up_to_date": reason.is_none(),
    });
    let Json::Object(map) = &mut object else {
        return object;
    };
    if let Some(at) = status.last_success_ms {
        map.insert("last_success".into(), instant(at).into());
        if reason.is_none() {
            map.insert("up_to_date_since".into(), instant(at).into());
        }
    }
    if status.decided > 0 {
        map.insert("decided".into(), status.decided.into());
    }
    if let Some(code) = &status.last_error {
        map.insert("last_error".into(), code.as_str().into());
    }
    if let Some(failed) = &status.upgrade_failed {
        let failed = json!({
            "code": Code::UPGRADE_FAILED.as_str(),
            "model": failed.model,
            "cause": { "code": failed.code.as_str(), "message": failed.message },
        });
        map.insert("upgrade_failed".into(), failed);
    }
    if !status.units.is_empty() {
        let now = now_ms();
        let unit = |unit: &UnitStatus| {
            json!({
                "unit": unit.unit,
                "pending": unit.pending,
                "parked": unit.parked,
                "up_to_date": unit.is_up_to_date(now, status.freshness_ms),
                "received": unit.received_ms.map(instant),
            })
        };
        let units: Vec<_> = status.units.iter().map(unit).collect();
        map.insert("units".into(), units.into());
    }
    if !status.downloading.is_empty() {
        map.insert("downloading".into(), json!(status.downloading));
    }
    if !status.scope_values.is_empty() {
        map.insert("scope_values".into(), json!(status.scope_values));
    }
    if status.erase_due {
        map.insert("erase_due".into(), true.into());
    }
    let verify = &status.verify;
    if verify.verified_ms.is_some() || verify.found > 0 || verify.uncaptured > 0 {
        let told = json!({
            "verified": verify.verified_ms.map(instant),
            "found": verify.found,
            "repaired": verify.repaired,
            "uncaptured": verify.uncaptured,
        });
        map.insert("verify".into(), told);
    }
    if let Some(reason) = reason {
        map.insert("reason".into(), reason.into());
    }
    object
}

/// Why the device cannot be called up to date; `None` if it can.
pub(super) fn why_not_up_to_date(status: &Status) -> Option<String> {
    let age = status.last_success_ms.map(|at| now_ms() - at);
    Some(match (age, &status.last_error) {
        (None, None) => "it was never synchronised".to_owned(),
        (_, Some(code)) => format!("the last sync failed: {code}"),
        _ if !status.downloading.is_empty() => {
            format!("still downloading {}", status.downloading.join(", "))
        }
        _ if status.units.iter().any(|unit| unit.is_behind) => {
            "the server has something newer".to_owned()
        }
        _ if status.pending + status.held > 0 => {
            super::show::changes_wait(status.pending + status.held)
        }
        _ if status.parked > 0 => super::show::not_applied(status.parked),
        (Some(age), None) if age < 0 => "the clock was set back since the last sync".to_owned(),
        (Some(age), None) if age > status.freshness_ms => {
            format!("the last sync was {}", super::show::ago(age))
        }
        _ => return None,
    })
}

/// What a store is.
///
/// # Errors
/// It cannot be read.
pub(crate) fn opened_json(client: &Client) -> Result<Json, Error> {
    let sql = "SELECT device FROM afield_meta";
    let device = client.store().query(sql, &Params::none())?;
    let device = device.rows.first().and_then(|row| row.first());
    let model = client.store().model().ok();
    let store = client.folder().database(client.user())?;
    Ok(json!({
        "store": store,
        "user": client.user(),
        "model_version": model.map(|model| model.version),
        "device": device.map(|device| json::stored(device.as_ref())),
        "server": client.server(),
    }))
}

pub(crate) fn now_ms() -> i64 {
    SystemEnvironment.now_ms()
}

/// The instant so many milliseconds from now, as text.
pub(crate) fn instant_after(ms: i64) -> String {
    instant(now_ms().saturating_add(ms))
}

/// An instant as text.
pub(crate) fn instant(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string())
}

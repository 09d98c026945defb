//! The answer for scripts; `docs/why.md` has its shape.

use afield_protocol::codec::json::stored;
use afield_protocol::{Entity, Value};
use afield_server::storage::Caller;
use afield_server::storage::why::{
    Decides, Held, HeldFrom, Rule, Stage, Step, Tested, Why, Writing,
};
use serde_json::{Value as Json, json};

use crate::device::key_json;

pub(super) fn of(why: &Why, entity: &Entity, caller: &Caller) -> Json {
    json!({
        "entity": why.entity,
        "table": why.table,
        "id": key_json(Some(entity), &why.key),
        "user": caller.user,
        "exists": why.exists,
        "on_devices": why.is_on_devices(),
        "stages": why.stages.iter().map(|it| stage(it, entity)).collect::<Vec<_>>(),
        "write": writing(&why.write),
        "write_to": writing(&why.write_to),
        "read_only": why.read_only,
    })
}

fn stage(stage: &Stage, entity: &Entity) -> Json {
    let mut object = json!({ "name": stage.decides.as_str(), "lets": stage.lets });
    match &stage.decides {
        Decides::Row => {}
        Decides::Delete(column) => object["column"] = json!(column),
        Decides::Window(window) => {
            object["attribute"] = json!(window.attribute);
            object["keep"] = json!(window.keep.as_str());
            object["bound"] = json!(window.bound);
        }
        Decides::Pattern => object["pattern"] = json!(entity.pattern.as_str()),
        Decides::Scope(scope) => object["rule"] = rule(scope),
    }
    object
}

fn writing(writing: &Writing) -> Json {
    json!({
        "may": writing.may,
        "barred": writing.barred.map(|barred| barred.as_str()),
        "key": writing.key,
        "rule": rule(&writing.rule),
    })
}

fn rule(rule: &Rule) -> Json {
    match rule {
        Rule::Everyone => json!("everyone"),
        Rule::Ways(ways) => json!(
            ways.iter()
                .map(|way| json!({
                    "holds": way.holds(),
                    "conditions": way.conditions.iter().map(condition).collect::<Vec<_>>(),
                }))
                .collect::<Vec<_>>()
        ),
    }
}

fn condition(tested: &Tested) -> Json {
    json!({
        "condition": tested.text,
        "answer": tested.answer.as_str(),
        "column": tested.column,
        "value": value(&tested.value),
        "steps": tested.steps.iter().map(step).collect::<Vec<_>>(),
        "held": held(&tested.held),
    })
}

fn step(step: &Step) -> Json {
    json!({
        "table": step.table,
        "key": step.key,
        "wanted": value(&step.wanted),
        "found": step.value.is_some(),
        "column": step.column,
        "value": step.value.as_ref().map(value),
    })
}

fn held(held: &Held) -> Json {
    let mut object = json!({
        "count": held.count,
        "values": held.values.iter().map(value).collect::<Vec<_>>(),
    });
    match &held.from {
        HeldFrom::User => object["from"] = json!("user"),
        HeldFrom::Claim { name, is_given } => {
            object["from"] = json!("claim");
            object["claim"] = json!(name);
            object["given"] = json!(is_given);
        }
        HeldFrom::Query { name, sql } => {
            object["from"] = json!("query");
            object["scope"] = json!(name);
            object["query"] = json!(sql);
        }
        HeldFrom::Chosen { name, sql } => {
            object["from"] = json!("chosen");
            object["scope"] = json!(name);
            object["query"] = json!(sql);
        }
    }
    object
}

fn value(value: &Value) -> Json {
    stored(value.as_ref())
}

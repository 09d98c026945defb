//! The requests that write: alone, or as steps of a transaction.

use afield::{Error, Params, Store, Transaction};
use afield_protocol::codec::json;
use afield_protocol::{Attributes, Code, Entity, Key};
use serde_json::{Value as Json, json};

use super::Answer;
use super::requests::{Request, malformed, object, params, text};
use crate::device::{key_from_json, key_json};

/// A step of a transaction.
pub(super) enum Step {
    Exec(Exec),
    Action(Action),
}

impl Step {
    pub(super) fn read(store: &mut Store, step: &Json) -> Result<Self, Error> {
        let request = step
            .as_object()
            .ok_or_else(|| malformed("a step", "an object"))?;
        match request.get("do").and_then(Json::as_str) {
            Some("exec") => Ok(Self::Exec(Exec::read(request)?)),
            Some("action") => Ok(Self::Action(Action::read(store, request)?)),
            _ => Err(malformed(
                "do",
                "`exec` or `action` in a transaction's step",
            )),
        }
    }

    pub(super) fn run(&self, tx: &mut Transaction<'_>) -> Result<Answer, Error> {
        match self {
            Self::Exec(step) => step.run(tx),
            Self::Action(step) => step.run(tx),
        }
    }
}

/// Names the step that failed.
pub(super) fn at(step: usize, error: &Error) -> Error {
    let message = format!("step {}: {error}", step + 1);
    let named = Error::new(error.code().clone(), message);
    match error.attribute() {
        Some(attribute) => named.of_attribute(attribute),
        None => named,
    }
}

/// SQL.
pub(super) struct Exec {
    sql: String,
    params: Params,
}

impl Exec {
    pub(super) fn read(request: &Request) -> Result<Self, Error> {
        Ok(Self {
            sql: text(request, "sql")?.to_owned(),
            params: params(request)?,
        })
    }

    pub(super) fn run(&self, tx: &mut Transaction<'_>) -> Result<Answer, Error> {
        let executed = tx.execute(&self.sql, &self.params)?;
        let mut answer = Answer::new();
        answer.insert("rows_changed".into(), executed.rows_changed.into());
        if let Some(id) = executed.last_insert_id {
            answer.insert("last_insert_id".into(), id.into());
        }
        Ok(answer)
    }
}

/// An entity action.
pub(super) struct Action {
    entity: Entity,
    what: What,
}

enum What {
    Create(Attributes),
    CreateOrUpdate(Attributes),
    CreateOrUpdateAll(Vec<Attributes>),
    Update(Key, Attributes),
    Delete(Key),
    DeleteAll { confirmed: bool },
    Get(Key),
}

impl Action {
    pub(super) fn read(store: &mut Store, request: &Request) -> Result<Self, Error> {
        let entity = store.entity(text(request, "entity")?)?;
        let row = || attributes(&entity, "row", request.get("row"));
        let key = || {
            let id = request
                .get("id")
                .ok_or_else(|| malformed("id", "the row's identifier"))?;
            key_from_json(&entity, id)
        };
        let what = match text(request, "action")? {
            "create" => What::Create(row()?),
            "create_or_update" => What::CreateOrUpdate(row()?),
            "create_or_update_all" => {
                let rows = request.get("rows").and_then(Json::as_array);
                let rows = rows.ok_or_else(|| malformed("rows", "an array of objects"))?;
                let read = |(at, row): (usize, &Json)| {
                    attributes(&entity, &format!("rows[{at}]"), Some(row))
                };
                let rows = rows.iter().enumerate().map(read);
                What::CreateOrUpdateAll(rows.collect::<Result<_, _>>()?)
            }
            "update" => What::Update(key()?, row()?),
            "delete" => What::Delete(key()?),
            "delete_all" => What::DeleteAll {
                confirmed: request.get("confirmed") == Some(&Json::Bool(true)),
            },
            "get" => What::Get(key()?),
            other => {
                let message = format!(
                    "no action `{other}`; there are: create, create_or_update, \
                     create_or_update_all, update, delete, delete_all, get"
                );
                return Err(Error::new(Code::UNKNOWN_REQUEST, message));
            }
        };
        Ok(Self { entity, what })
    }

    /// What it reads, if it writes nothing.
    pub(super) fn reads(&self) -> Option<(&Entity, &Key)> {
        match &self.what {
            What::Get(key) => Some((&self.entity, key)),
            _ => None,
        }
    }

    pub(super) fn run(&self, tx: &mut Transaction<'_>) -> Result<Answer, Error> {
        let name = &self.entity.name;
        let id = |key: &Key| object(json!({ "id": key_json(Some(&self.entity), key) }));
        Ok(match &self.what {
            What::Create(row) => id(&tx.create(name, row)?),
            What::CreateOrUpdate(row) => id(&tx.create_or_update(name, row)?),
            What::CreateOrUpdateAll(rows) => {
                let write = |row| {
                    let key = tx.create_or_update(name, row)?;
                    Ok(key_json(Some(&self.entity), &key))
                };
                let ids = rows.iter().map(write).collect::<Result<Vec<_>, Error>>()?;
                object(json!({ "ids": ids }))
            }
            What::Update(key, set) => {
                tx.update(name, key, set)?;
                id(key)
            }
            What::Delete(key) => {
                tx.delete(name, key)?;
                id(key)
            }
            What::DeleteAll { confirmed } => {
                object(json!({ "deleted": tx.delete_all(name, *confirmed)? }))
            }
            What::Get(key) => row_answer(&self.entity, key, tx.get(name, key)?.as_ref()),
        })
    }
}

/// The answer to `get`; `row` is null if there is none.
pub(super) fn row_answer(entity: &Entity, key: &Key, row: Option<&Attributes>) -> Answer {
    let row = row.map(|row| json::from_attributes(Some(entity), row));
    object(json!({ "id": key_json(Some(entity), key), "row": row }))
}

/// Reads attributes; an error names the one it is about.
pub(super) fn attributes(
    entity: &Entity,
    field: &str,
    json: Option<&Json>,
) -> Result<Attributes, Error> {
    let object = json.and_then(Json::as_object);
    let object = object.ok_or_else(|| malformed(field, "an object of attributes"))?;
    let read = |(name, value): (&String, &Json)| {
        let value = match entity.attribute(name) {
            Some(attribute) => json::to_value(attribute.kind, value),
            // The store refuses it, naming those there are.
            None => json::to_untyped(value),
        };
        let value = value.map_err(|error| {
            let message = format!("{}.{name} {error}", entity.name);
            Error::new(Code::TYPE_MISMATCH, message).of_attribute(name)
        })?;
        Ok((name.clone(), value))
    };
    object.iter().map(read).collect()
}

//! Frames as JSON lines: `{"frame": "hello", …}`, one a line, with the same content as in CBOR.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json, json};

use super::Malformed;
use super::json::{from_attributes, from_value, stored, to_attributes, to_untyped, to_value};
use crate::change::{Attributes, Change, Group, GroupId, Key, Op};
use crate::code::Code;
use crate::frame::{Frame, Hello, Page, PageEnd, Position, Problem, Welcome};
use crate::model::{Entity, Model};
use crate::outcome::{GroupOutcome, Theirs, Verdict, VerdictKind};
use crate::rows::{RowBlock, RowBlockWriter};
use crate::value::{Type, Value};

pub(super) fn write(model: &Model, frame: &Frame, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, &frame_json(model, frame)).expect("JSON goes to memory");
    out.push(b'\n');
}

fn frame_json(model: &Model, frame: &Frame) -> Json {
    match frame {
        Frame::Hello(hello) => json!({
            "frame": "hello", "protocol": hello.protocol, "model": hello.model,
            "device": hello.device, "unit": hello.unit, "pull": positions_json(&hello.pull),
        }),
        Frame::Group(group) => json!({
            "frame": "group", "id": group.id.to_string(),
            "absorbed": group.absorbed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "changes": group.changes.iter().map(|c| change_json(model, c)).collect::<Vec<_>>(),
        }),
        Frame::Welcome(welcome) => json!({
            "frame": "welcome", "protocol": welcome.protocol,
            "epoch": BASE64.encode(welcome.epoch),
        }),
        Frame::Outcome(outcome) => json!({
            "frame": "outcome", "group": outcome.group.to_string(),
            "verdicts": outcome.verdicts.iter().map(verdict_json).collect::<Vec<_>>(),
        }),
        Frame::Settled => json!({ "frame": "settled" }),
        Frame::Page(page) => json!({
            "frame": "page", "from": positions_json(&page.from), "reset": page.reset,
        }),
        Frame::Rows(block) => rows_json(model, block),
        Frame::Gone { entity, keys } => json!({
            "frame": "gone", "entity": entity,
            "keys": keys.iter().map(|k| key_json(model.entity(entity), k)).collect::<Vec<_>>(),
        }),
        Frame::PageEnd(end) => json!({
            "frame": "page-end", "complete": end.complete, "remaining": end.remaining,
            "to": end.to.iter().map(|(name, position)| (name.clone(), BASE64.encode(position)))
                .collect::<std::collections::BTreeMap<_, _>>(),
        }),
        Frame::End => json!({ "frame": "end" }),
        Frame::Problem(problem) => json!({
            "frame": "problem", "code": problem.code.as_str(), "message": problem.message,
        }),
    }
}

fn positions_json(positions: &[(String, Option<Position>)]) -> Json {
    let pairs = positions.iter().map(|(name, position)| {
        (
            name.clone(),
            position
                .as_ref()
                .map_or(Json::Null, |p| Json::from(BASE64.encode(p))),
        )
    });
    Json::Object(pairs.collect())
}

fn key_json(entity: Option<&Entity>, key: &[Value]) -> Json {
    let values = key.iter().enumerate().map(|(at, value)| {
        match entity.and_then(|entity| entity.key().get(at)) {
            Some(attribute) => from_value(attribute.kind, value.as_ref()),
            None => stored(value.as_ref()),
        }
    });
    Json::Array(values.collect())
}

fn change_json(model: &Model, change: &Change) -> Json {
    let entity = model.entity(&change.entity);
    json!({
        "entity": change.entity, "op": change.op.as_str(), "key": key_json(entity, &change.key),
        "base": from_attributes(entity, &change.base), "set": from_attributes(entity, &change.set),
    })
}

fn verdict_json(verdict: &Verdict) -> Json {
    let theirs = match &verdict.theirs {
        None => Json::Null,
        Some(Theirs::Gone) => Json::Bool(false),
        Some(Theirs::Row(row)) => from_attributes(None, row),
    };
    json!({
        "result": verdict.kind.as_str(), "code": verdict.code.as_ref().map(Code::as_str),
        "attribute": verdict.attribute, "message": verdict.message,
        "key": verdict.key.as_ref().map(|key| key_json(None, key)),
        "values": from_attributes(None, &verdict.values), "theirs": theirs,
        "overwritten": from_attributes(None, &verdict.overwritten),
    })
}

fn rows_json(model: &Model, block: &RowBlock) -> Json {
    let entity = model.entity(&block.entity);
    let kinds: Vec<Type> = block
        .columns
        .iter()
        .map(|name| kind(entity, name))
        .collect();
    let mut rows = Vec::new();
    let read: Result<(), Malformed> = block.for_each(|cells| {
        let cells = cells.iter().zip(&kinds);
        rows.push(
            cells
                .map(|(cell, kind)| from_value(*kind, cell.as_ref()))
                .collect(),
        );
        Ok(())
    });
    let rows: Vec<Json> = if read.is_ok() { rows } else { Vec::new() };
    json!({ "frame": "rows", "entity": block.entity, "columns": block.columns, "rows": rows })
}

fn kind(entity: Option<&Entity>, name: &str) -> Type {
    entity
        .and_then(|entity| entity.attribute(name))
        .map_or(Type::Text, |a| a.kind)
}

/// Reads one line.
pub(super) fn read(model: &Model, line: &[u8]) -> Result<Frame, Malformed> {
    let json: Json =
        serde_json::from_slice(line).map_err(|error| Malformed::new(error.to_string()))?;
    let from = &Fields(
        json.as_object()
            .ok_or_else(|| Malformed::new("expected an object"))?,
    );
    Ok(match from.text("frame")?.as_str() {
        "hello" => Frame::Hello(Hello {
            protocol: from.number("protocol")?,
            model: from.text("model")?,
            device: from.text("device")?,
            unit: from.text("unit")?,
            pull: positions(from.object("pull")?)?,
        }),
        "group" => Frame::Group(Group {
            id: group_id(from.get("id")?)?,
            absorbed: from
                .list("absorbed")?
                .iter()
                .map(group_id)
                .collect::<Result<_, _>>()?,
            changes: from
                .list("changes")?
                .iter()
                .map(|c| change(model, c))
                .collect::<Result<_, _>>()?,
        }),
        "welcome" => Frame::Welcome(Welcome {
            protocol: from.number("protocol")?,
            epoch: bytes(from.get("epoch")?)?
                .try_into()
                .map_err(|_| Malformed::new("an epoch has eight bytes"))?,
        }),
        "outcome" => Frame::Outcome(GroupOutcome {
            group: group_id(from.get("group")?)?,
            verdicts: from
                .list("verdicts")?
                .iter()
                .map(verdict)
                .collect::<Result<_, _>>()?,
        }),
        "settled" => Frame::Settled,
        "page" => Frame::Page(Page {
            from: positions(from.object("from")?)?,
            reset: from.strings("reset")?,
        }),
        "rows" => Frame::Rows(rows(model, from)?),
        "gone" => {
            let entity = from.text("entity")?;
            let known = model.entity(&entity);
            let keys = from
                .list("keys")?
                .iter()
                .map(|k| key(known, k))
                .collect::<Result<_, _>>()?;
            Frame::Gone { entity, keys }
        }
        "page-end" => Frame::PageEnd(PageEnd {
            to: from
                .object("to")?
                .iter()
                .map(|(name, json)| Ok((name.clone(), bytes(json)?)))
                .collect::<Result<_, Malformed>>()?,
            complete: from.get("complete")? == &Json::Bool(true),
            remaining: from.get("remaining")?.as_u64(),
        }),
        "end" => Frame::End,
        "problem" => Frame::Problem(Problem {
            code: Code::parse(&from.text("code")?),
            message: from.text("message")?,
        }),
        other => return Err(Malformed::new(format!("unknown frame `{other}`"))),
    })
}

/// A JSON object whose fields must be there.
struct Fields<'a>(&'a Map<String, Json>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Result<&'a Json, Malformed> {
        self.0
            .get(name)
            .ok_or_else(|| Malformed::new(format!("`{name}` is missing")))
    }

    fn text(&self, name: &str) -> Result<String, Malformed> {
        let text = self.get(name)?.as_str();
        text.map(str::to_owned)
            .ok_or_else(|| Malformed::new(format!("`{name}` must be text")))
    }

    fn optional_text(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(Json::as_str).map(str::to_owned)
    }

    fn number(&self, name: &str) -> Result<u32, Malformed> {
        let number = self.get(name)?.as_u64().and_then(|n| u32::try_from(n).ok());
        number.ok_or_else(|| Malformed::new(format!("`{name}` must be a number")))
    }

    fn object(&self, name: &str) -> Result<&'a Map<String, Json>, Malformed> {
        let object = self.get(name)?.as_object();
        object.ok_or_else(|| Malformed::new(format!("`{name}` must be an object")))
    }

    fn list(&self, name: &str) -> Result<&'a Vec<Json>, Malformed> {
        let list = self.get(name)?.as_array();
        list.ok_or_else(|| Malformed::new(format!("`{name}` must be an array")))
    }

    fn strings(&self, name: &str) -> Result<Vec<String>, Malformed> {
        let strings = self
            .list(name)?
            .iter()
            .map(|json| json.as_str().map(str::to_owned));
        strings
            .collect::<Option<_>>()
            .ok_or_else(|| Malformed::new(format!("`{name}` must hold text")))
    }
}

fn group_id(json: &Json) -> Result<GroupId, Malformed> {
    let id = json.as_str().and_then(GroupId::parse);
    id.ok_or_else(|| Malformed::new("a group id is 32 hexadecimal digits"))
}

fn bytes(json: &Json) -> Result<Vec<u8>, Malformed> {
    let bytes = json.as_str().and_then(|text| BASE64.decode(text).ok());
    bytes.ok_or_else(|| Malformed::new("expected base64"))
}

fn positions(object: &Map<String, Json>) -> Result<Vec<(String, Option<Position>)>, Malformed> {
    let mut found = Vec::new();
    for (name, json) in object {
        let position = if json.is_null() {
            None
        } else {
            Some(bytes(json)?)
        };
        found.push((name.clone(), position));
    }
    Ok(found)
}

fn key(entity: Option<&Entity>, json: &Json) -> Result<Key, Malformed> {
    let values = json
        .as_array()
        .ok_or_else(|| Malformed::new("a key is an array"))?;
    let read = values.iter().enumerate().map(|(at, json)| {
        match entity.and_then(|entity| entity.key().get(at)) {
            Some(attribute) => to_value(attribute.kind, json),
            None => to_untyped(json),
        }
    });
    read.collect::<Result<_, _>>()
        .map_err(|error| Malformed::new(format!("key: {error}")))
}

fn change(model: &Model, json: &Json) -> Result<Change, Malformed> {
    let object = json
        .as_object()
        .ok_or_else(|| Malformed::new("a change is an object"))?;
    let from = Fields(object);
    let name = from.text("entity")?;
    let entity = model.entity(&name);
    let op = Op::parse(&from.text("op")?).ok_or_else(|| Malformed::new("unknown op"))?;
    let attributes = |name| match object.get(name) {
        Some(json) => to_attributes(entity, json),
        None => Ok(Attributes::new()),
    };
    Ok(Change {
        op,
        key: key(entity, from.get("key")?)?,
        base: attributes("base")?,
        set: attributes("set")?,
        entity: name,
    })
}

fn verdict(json: &Json) -> Result<Verdict, Malformed> {
    let object = json
        .as_object()
        .ok_or_else(|| Malformed::new("a verdict is an object"))?;
    let from = Fields(object);
    let kind = VerdictKind::parse(&from.text("result")?);
    Ok(Verdict {
        kind: kind.ok_or_else(|| Malformed::new("unknown result"))?,
        code: from.optional_text("code").map(|word| Code::parse(&word)),
        attribute: from.optional_text("attribute"),
        message: from.optional_text("message"),
        key: match from.get("key")? {
            Json::Null => None,
            json => Some(key(None, json)?),
        },
        values: to_attributes(None, from.get("values")?)?,
        theirs: match from.get("theirs")? {
            Json::Null => None,
            Json::Bool(_) => Some(Theirs::Gone),
            json => Some(Theirs::Row(to_attributes(None, json)?)),
        },
        overwritten: to_attributes(None, from.get("overwritten")?)?,
    })
}

fn rows(model: &Model, from: &Fields<'_>) -> Result<RowBlock, Malformed> {
    let name = from.text("entity")?;
    let entity = model.entity(&name);
    let columns = from.strings("columns")?;
    let columns: Vec<(String, Type)> = columns
        .into_iter()
        .map(|name| (name.clone(), kind(entity, &name)))
        .collect();
    let mut writer = RowBlockWriter::new(&name, &columns);
    for json in from.list("rows")? {
        let cells = json.as_array().filter(|cells| cells.len() == columns.len());
        let cells = cells.ok_or_else(|| Malformed::new("a row has a cell for each column"))?;
        let values: Vec<Value> = cells
            .iter()
            .zip(&columns)
            .map(|(json, (name, kind))| {
                to_value(*kind, json).map_err(|error| Malformed::new(format!("{name}: {error}")))
            })
            .collect::<Result<_, _>>()?;
        writer.push(values.iter().map(Value::as_ref));
    }
    Ok(writer.take())
}

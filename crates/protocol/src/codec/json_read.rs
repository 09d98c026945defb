//! Reads frames from JSON lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json};

use super::json::{to_attributes, to_untyped, to_value};
use super::json_frame::kind;
use super::{Malformed, cbor_read, strict_json};
use crate::change::{Attributes, Change, Group, GroupId, Key, Op, Origin};
use crate::code::Code;
use crate::digest::{RowHash, Sum};
use crate::frame::{
    Checkpoint, Chosen, Digest, Fetch, Frame, HashedRow, Hashes, Held, Hello, History, Page,
    PageEnd, Part, Position, Problem, Received, Verify, Welcome, Window,
};
use crate::inbox::{Closed, Decided};
use crate::limits::{INBOX_GROUPS, LOG_ENTRIES};
use crate::log::LogEntry;
use crate::model::{Entity, Model};
use crate::outcome::{GroupOutcome, Theirs, Verdict, VerdictKind};
use crate::rows::{RowBlock, RowBlockWriter};
use crate::value::{Type, Value};

/// Reads one line.
pub(super) fn read(model: &Model, line: &[u8]) -> Result<Frame, Malformed> {
    let json = strict_json::parse(line)?;
    let from = &Fields::of(&json, "a frame")?;
    Ok(match from.text("frame")? {
        "hello" => Frame::Hello(hello(from)?),
        "group" => Frame::Group(group(model, from)?),
        "welcome" => Frame::Welcome(welcome(from)?),
        "outcome" => Frame::Outcome(GroupOutcome {
            group: group_id(from.get("group")?)?,
            verdicts: from.list("verdicts", verdict)?,
        }),
        "settled" => Frame::Settled {
            checkpoint: checkpoint(from)?,
        },
        "page" => Frame::Page(Page {
            from: positions(from.object("from")?)?,
            reset: from.list("reset", text)?,
        }),
        "rows" => Frame::Rows(rows(model, from)?),
        "gone" => gone(model, from)?,
        "page-end" => Frame::PageEnd(page_end(from)?),
        "end" => Frame::End,
        "problem" => Frame::Problem(Problem {
            code: Code::parse(from.text("code")?),
            message: from.text("message")?.to_owned(),
        }),
        later => later_frame(model, from, later)?,
    })
}

/// The frames from 11 on.
fn later_frame(model: &Model, from: &Fields<'_>, name: &str) -> Result<Frame, Malformed> {
    Ok(match name {
        "part" => Frame::Part(Part {
            group: group_id(from.get("group")?)?,
            hash: Group::parse_hash(from.text("hash")?)
                .ok_or_else(|| Malformed::new("a hash is 64 hexadecimal digits"))?,
            total: from.number("total")?,
            at: from.number("at")?,
            bytes: bytes(from.get("bytes")?)?,
        }),
        "received" => Frame::Received(Received {
            group: group_id(from.get("group")?)?,
            bytes: from.number("bytes")?,
        }),
        "held" => Frame::Held(Held {
            entity: from.text("entity")?.to_owned(),
            gained: from.list("gained", number_64)?,
            lost: from.list("lost", number_64)?,
        }),
        "chosen" => Frame::Chosen(Chosen {
            scope: from.text("scope")?.to_owned(),
            values: from.list("values", chosen_value)?,
        }),
        "window" => Frame::Window(Window {
            entity: from.text("entity")?.to_owned(),
            attribute: from.text("attribute")?.to_owned(),
            keep: cbor_read::comparison(from.text("keep")?)?,
            bound: from.text("bound")?.to_owned(),
        }),
        "history" => Frame::History(History {
            checkpoint: checkpoint(from)?,
            groups: from.list("groups", group_id)?,
        }),
        "lost" => Frame::Lost {
            groups: from.list("groups", group_id)?,
        },
        "verify" => Frame::Verify(Verify {
            entity: from.text("entity")?.to_owned(),
            depth: depth(from)?,
            buckets: from.list("buckets", bucket)?,
        }),
        "fetch" => fetch(model, from)?,
        "digest" => Frame::Digest(Digest {
            entity: from.text("entity")?.to_owned(),
            depth: depth(from)?,
            sums: from.list("sums", sum)?,
        }),
        "hashes" => hashes(model, from)?,
        "inbox" => Frame::Inbox {
            decided: from.few("decided", INBOX_GROUPS, decided)?,
        },
        "closed" => Frame::Closed {
            groups: from.few("groups", INBOX_GROUPS, closed)?,
        },
        "log" => Frame::Log {
            entries: from.few("entries", LOG_ENTRIES, entry)?,
        },
        "logged" => Frame::Logged {
            to: number_64(from.get("to")?)?,
        },
        other => return Err(Malformed::new(format!("unknown frame `{other}`"))),
    })
}

fn decided(json: &Json) -> Result<Decided, Malformed> {
    let from = Fields::of(json, "a decision")?;
    Ok(Decided {
        group: group_id(from.get("group")?)?,
        into: match from.get("into")? {
            Json::Null => None,
            into => Some(group_id(into)?),
        },
        by: from.text("by")?.to_owned(),
        at_ms: number_64(from.get("at_ms")?)?,
        verdicts: from.list("verdicts", verdict)?,
    })
}

fn entry(json: &Json) -> Result<LogEntry, Malformed> {
    let from = Fields::of(json, "an entry")?;
    cbor_read::short(LogEntry {
        id: group_id(from.get("id")?)?.0,
        n: number_64(from.get("n")?)?,
        at_ms: number_64(from.get("at_ms")?)?,
        level: cbor_read::level(from.text("level")?)?,
        module: from.text("module")?.to_owned(),
        message: from.text("message")?.to_owned(),
        dropped: from.number("dropped")?,
    })
}

fn closed(json: &Json) -> Result<Closed, Malformed> {
    let from = Fields::of(json, "a closed group")?;
    Ok(Closed {
        group: group_id(from.get("group")?)?,
        how: cbor_read::closing(from.text("how")?)?,
    })
}

fn chosen_value(json: &Json) -> Result<Value, Malformed> {
    to_untyped(json).map_err(|error| Malformed::new(format!("a chosen value: {error}")))
}

fn number_64(json: &Json) -> Result<i64, Malformed> {
    match to_value(Type::Integer, json) {
        Ok(Value::Integer(number)) => Ok(number),
        _ => Err(Malformed::new("expected an integer of 64 bits")),
    }
}

fn hello(from: &Fields<'_>) -> Result<Hello, Malformed> {
    Ok(Hello {
        protocol: from.number("protocol")?,
        model: from.text("model")?.to_owned(),
        device: from.text("device")?.to_owned(),
        unit: from.text("unit")?.to_owned(),
        pull: positions(from.object("pull")?)?,
        checkpoints: match from.0.contains_key("checkpoints") {
            true => from.list("checkpoints", bytes)?,
            false => Vec::new(),
        },
    })
}

fn welcome(from: &Fields<'_>) -> Result<Welcome, Malformed> {
    let epoch = bytes(from.get("epoch")?)?.try_into();
    Ok(Welcome {
        protocol: from.number("protocol")?,
        epoch: epoch.map_err(|_| Malformed::new("an epoch has eight bytes"))?,
    })
}

/// Whoever writes JSON by hand may leave out the hash; one that stands there must be right.
fn group(model: &Model, from: &Fields<'_>) -> Result<Group, Malformed> {
    let group = Group {
        id: group_id(from.get("id")?)?,
        absorbed: from.list("absorbed", group_id)?,
        origins: match from.0.contains_key("origins") {
            true => from.list("origins", origin)?,
            false => Vec::new(),
        },
        changes: from.list("changes", |json| change(model, json))?,
        checkpoint: checkpoint(from)?,
    };
    let hash = from.optional_text("hash")?;
    let is_right = |hash| Group::parse_hash(hash) == Some(group.hash());
    if hash.is_none_or(is_right) {
        Ok(group)
    } else {
        Err(Malformed::new(format!(
            "group {} does not match its hash",
            group.id
        )))
    }
}

/// A person who writes a message need not know one.
fn checkpoint(from: &Fields<'_>) -> Result<Checkpoint, Malformed> {
    match from.0.get("checkpoint") {
        Some(json) => bytes(json),
        None => Ok(Checkpoint::new()),
    }
}

fn gone(model: &Model, from: &Fields<'_>) -> Result<Frame, Malformed> {
    let entity = from.text("entity")?.to_owned();
    let known = model.entity(&entity);
    Ok(Frame::Gone {
        keys: from.list("keys", |json| key(known, json))?,
        entity,
    })
}

fn fetch(model: &Model, from: &Fields<'_>) -> Result<Frame, Malformed> {
    let entity = from.text("entity")?.to_owned();
    let known = model.entity(&entity);
    Ok(Frame::Fetch(Fetch {
        keys: from.list("keys", |json| key(known, json))?,
        entity,
    }))
}

fn depth(from: &Fields<'_>) -> Result<u8, Malformed> {
    cbor_read::depth(u64::from(from.number("depth")?))
}

fn bucket(json: &Json) -> Result<u32, Malformed> {
    let bucket = json.as_u64().and_then(|n| u32::try_from(n).ok());
    bucket.ok_or_else(|| Malformed::new("a bucket is a number"))
}

fn sum(json: &Json) -> Result<Sum, Malformed> {
    let from = Fields::of(json, "a sum")?;
    let rows = from.get("rows")?.as_u64();
    Ok(Sum {
        rows: rows.ok_or_else(|| Malformed::new("`rows` must be a number"))?,
        sum: u128::from_be_bytes(row_hash(from.text("sum")?)?),
    })
}

/// Thirty-two hexadecimal digits, as an id has them.
fn row_hash(digits: &str) -> Result<RowHash, Malformed> {
    let id = GroupId::parse(digits).map(|id| id.0);
    id.ok_or_else(|| Malformed::new("a hash of a row is 32 hexadecimal digits"))
}

fn hashes(model: &Model, from: &Fields<'_>) -> Result<Frame, Malformed> {
    let entity = from.text("entity")?.to_owned();
    let known = model.entity(&entity);
    let row = |json| {
        let row = Fields::of(json, "a hashed row")?;
        Ok(HashedRow {
            key: key(known, row.get("key")?)?,
            hash: row_hash(row.text("hash")?)?,
            value: match row.get("value")? {
                Json::Null => None,
                value => Some(number_64(value)?),
            },
        })
    };
    let complete = from.get("complete")?.as_bool();
    Ok(Frame::Hashes(Hashes {
        depth: depth(from)?,
        complete: complete.ok_or_else(|| Malformed::new("`complete` must be true or false"))?,
        rows: from.list("rows", row)?,
        entity,
    }))
}

fn page_end(from: &Fields<'_>) -> Result<PageEnd, Malformed> {
    let to = from.object("to")?.iter();
    let to = to.map(|(name, json)| Ok((name.clone(), bytes(json)?)));
    let complete = from.get("complete")?.as_bool();
    let remaining = match from.get("remaining")? {
        Json::Null => None,
        json => Some(
            json.as_u64()
                .ok_or_else(|| Malformed::new("`remaining` must be a number"))?,
        ),
    };
    Ok(PageEnd {
        to: to.collect::<Result<_, Malformed>>()?,
        complete: complete.ok_or_else(|| Malformed::new("`complete` must be true or false"))?,
        remaining,
    })
}

/// A JSON object whose fields must be there. Fields that nobody asks for are let be.
struct Fields<'a>(&'a Map<String, Json>);

impl<'a> Fields<'a> {
    fn of(json: &'a Json, what: &str) -> Result<Self, Malformed> {
        let object = json.as_object();
        let object = object.ok_or_else(|| Malformed::new(format!("{what} is an object")))?;
        Ok(Self(object))
    }

    fn get(&self, name: &str) -> Result<&'a Json, Malformed> {
        self.0
            .get(name)
            .ok_or_else(|| Malformed::new(format!("`{name}` is missing")))
    }

    fn text(&self, name: &str) -> Result<&'a str, Malformed> {
        let text = self.get(name)?.as_str();
        text.ok_or_else(|| Malformed::new(format!("`{name}` must be text")))
    }

    fn optional_text(&self, name: &str) -> Result<Option<&'a str>, Malformed> {
        match self.0.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(_) => self.text(name).map(Some),
        }
    }

    fn number(&self, name: &str) -> Result<u32, Malformed> {
        let number = self.get(name)?.as_u64().and_then(|n| u32::try_from(n).ok());
        number.ok_or_else(|| Malformed::new(format!("`{name}` must be a number")))
    }

    fn object(&self, name: &str) -> Result<&'a Map<String, Json>, Malformed> {
        let object = self.get(name)?.as_object();
        object.ok_or_else(|| Malformed::new(format!("`{name}` must be an object")))
    }

    /// A list that is never longer than `most`.
    fn few<T>(
        &self,
        name: &str,
        most: usize,
        read: impl Fn(&'a Json) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let found = self.list(name, read)?;
        match found.len() > most {
            true => Err(Malformed::new(format!("`{name}` has {most} items at most"))),
            false => Ok(found),
        }
    }

    fn list<T>(
        &self,
        name: &str,
        read: impl Fn(&'a Json) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let list = self.get(name)?.as_array();
        let list = list.ok_or_else(|| Malformed::new(format!("`{name}` must be an array")))?;
        list.iter().map(read).collect()
    }
}

fn text(json: &Json) -> Result<String, Malformed> {
    let text = json.as_str().map(str::to_owned);
    text.ok_or_else(|| Malformed::new("expected text"))
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

fn origin(json: &Json) -> Result<Origin, Malformed> {
    let from = Fields::of(json, "an origin")?;
    let Value::Integer(temporary) = to_value(Type::Integer, from.get("temporary")?)
        .map_err(|error| Malformed::new(format!("temporary: {error}")))?
    else {
        return Err(Malformed::new("`temporary` must be an integer"));
    };
    let at = from.number("at")?;
    Ok(Origin {
        entity: from.text("entity")?.to_owned(),
        temporary,
        group: group_id(from.get("group")?)?,
        at,
    })
}

fn change(model: &Model, json: &Json) -> Result<Change, Malformed> {
    let from = Fields::of(json, "a change")?;
    let name = from.text("entity")?;
    let entity = model.entity(name);
    let op = Op::parse(from.text("op")?).ok_or_else(|| Malformed::new("unknown op"))?;
    let attributes = |name| match from.0.get(name) {
        Some(json) => to_attributes(entity, json),
        None => Ok(Attributes::new()),
    };
    Ok(Change {
        op,
        key: key(entity, from.get("key")?)?,
        base: attributes("base")?,
        set: attributes("set")?,
        entity: name.to_owned(),
    })
}

fn verdict(json: &Json) -> Result<Verdict, Malformed> {
    let from = Fields::of(json, "a verdict")?;
    let kind = VerdictKind::parse(from.text("result")?);
    Ok(Verdict {
        kind: kind.ok_or_else(|| Malformed::new("unknown result"))?,
        code: from.optional_text("code")?.map(Code::parse),
        attribute: from.optional_text("attribute")?.map(str::to_owned),
        message: from.optional_text("message")?.map(str::to_owned),
        key: match from.get("key")? {
            Json::Null => None,
            json => Some(key(None, json)?),
        },
        values: to_attributes(None, from.get("values")?)?,
        theirs: match from.get("theirs")? {
            Json::Null => None,
            Json::Bool(false) => Some(Theirs::Gone),
            json => Some(Theirs::Row(to_attributes(None, json)?)),
        },
        overwritten: to_attributes(None, from.get("overwritten")?)?,
    })
}

fn rows(model: &Model, from: &Fields<'_>) -> Result<RowBlock, Malformed> {
    let name = from.text("entity")?;
    let entity = model.entity(name);
    let columns = from.list("columns", text)?;
    cbor_read::check_columns(&columns)?;
    let columns: Vec<(String, Type)> = columns
        .into_iter()
        .map(|name| (name.clone(), kind(entity, &name)))
        .collect();
    let mut writer = RowBlockWriter::new(name, &columns);
    for values in from.list("rows", |json| row(&columns, json))? {
        writer.push(values.iter().map(Value::as_ref));
    }
    Ok(writer.take())
}

fn row(columns: &[(String, Type)], json: &Json) -> Result<Vec<Value>, Malformed> {
    let cells = json.as_array().filter(|cells| cells.len() == columns.len());
    let cells = cells.ok_or_else(|| Malformed::new("a row has a cell for each column"))?;
    let read = |(json, (name, kind)): (&Json, &(String, Type))| {
        to_value(*kind, json).map_err(|error| Malformed::new(format!("{name}: {error}")))
    };
    cells.iter().zip(columns).map(read).collect()
}

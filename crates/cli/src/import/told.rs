//! What became of the groups of a file, in JSON and in words.

use std::collections::HashMap;
use std::sync::Arc;

use afield_protocol::codec::json;
use afield_protocol::outbox_file::{FileGroup, FileHead, FileState};
use afield_protocol::{Change, Code, GroupId, Value, Verdict, VerdictKind};
use afield_server::resolved::ServerModel;
use afield_server::storage::Storage;
use afield_server::storage::inbox::InboxQuery;
use serde_json::{Map, Value as Json, json};

use crate::device::{instant, key_json, table, words};
use crate::failure::Failure;
use crate::output::Output;

/// Characters of a text from a file that people are shown.
const SHOWN_CHARS: usize = 200;

/// What became of a group.
pub(super) enum Ended {
    /// It was only looked at.
    Shown,
    /// The server said so.
    Told(Vec<Verdict>),
    /// It depends on one that is not applied, and was not tried.
    Waits,
    /// It is for its user to decide, for what the server said before.
    Parked(Vec<Verdict>),
}

/// A change, as far as it is told.
struct Line {
    group: GroupId,
    place: usize,
    entity: String,
    id: Json,
    words: String,
    op: &'static str,
    set: Map<String, Json>,
    typed: String,
    result: &'static str,
    why: Option<Verdict>,
    inbox: Option<i64>,
}

/// Everything that is told of a file.
pub(super) struct Told<'a> {
    head: &'a FileHead,
    model: Option<Arc<ServerModel>>,
    groups: u64,
    lines: Vec<Line>,
}

impl<'a> Told<'a> {
    pub(super) fn new(head: &'a FileHead, model: Option<Arc<ServerModel>>) -> Self {
        Self {
            head,
            model,
            groups: 0,
            lines: Vec::new(),
        }
    }

    /// Adds a group.
    pub(super) fn add(&mut self, group: &FileGroup, ended: &Ended) {
        self.groups += 1;
        let now = group.content.now();
        for (at, change) in now.changes.iter().enumerate() {
            let verdict = match ended {
                Ended::Told(verdicts) | Ended::Parked(verdicts) => verdicts.get(at).cloned(),
                Ended::Shown => group.verdicts.get(at).cloned(),
                Ended::Waits => None,
            };
            let result = match (ended, &verdict) {
                (Ended::Shown, _) => group.state.as_str(),
                (Ended::Parked(_), _) => FileState::Parked.as_str(),
                (Ended::Told(_), Some(verdict)) => verdict.kind.as_str(),
                (Ended::Waits | Ended::Told(_), _) => "waits",
            };
            self.lines
                .push(self.line(now.id, at, change, result, verdict));
        }
    }

    fn line(
        &self,
        group: GroupId,
        at: usize,
        change: &Change,
        result: &'static str,
        verdict: Option<Verdict>,
    ) -> Line {
        let model = self.model.as_deref();
        let entity = model.and_then(|model| model.entity(&change.entity));
        let kind = |name: &str| Some(entity?.local.attribute(name)?.kind);
        let value = |(name, value): (&String, &Value)| {
            let value = match kind(name) {
                Some(kind) => json::from_value(kind, value.as_ref()),
                None => json::stored(value.as_ref()),
            };
            (name.clone(), value)
        };
        let typed = change.set.iter();
        let typed: Vec<_> = typed
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Line {
            group,
            place: at,
            entity: printable(&change.entity),
            id: key_json(entity.map(|entity| &entity.local), &change.key),
            words: printable(&words(&change.key)),
            op: change.op.as_str(),
            set: change.set.iter().map(value).collect(),
            typed: printable(&typed.join(" ")),
            result,
            why: verdict.filter(|it| it.kind != VerdictKind::Applied),
            inbox: None,
        }
    }

    /// Looks up where in the inbox what was refused stands.
    pub(super) fn find_in_inbox(&mut self, storage: &dyn Storage) -> Result<(), Failure> {
        if self.is_applied() {
            return Ok(());
        }
        let query = InboxQuery {
            user: Some(self.head.user.clone()),
            most: usize::MAX,
            ..InboxQuery::default()
        };
        let entries = storage.inbox(&query)?.into_iter();
        let open: HashMap<(GroupId, i64), i64> =
            entries.map(|it| ((it.group, it.place), it.n)).collect();
        for line in &mut self.lines {
            let place = i64::try_from(line.place).unwrap_or(i64::MAX);
            line.inbox = open.get(&(line.group, place)).copied();
        }
        Ok(())
    }

    /// Whether every change is applied, now or before.
    pub(super) fn is_applied(&self) -> bool {
        let applied = VerdictKind::Applied.as_str();
        self.lines.iter().all(|line| line.result == applied)
    }

    pub(super) fn print(&self, out: &Output) {
        let changes: Vec<Json> = self.lines.iter().map(Line::json).collect();
        let model = self.model.as_ref().map(|it| it.device.fingerprint());
        let is_other = model.map(|model| model != self.head.model);
        out.json(&json!({
            "user": self.head.user,
            "device": self.head.device,
            "made_at": instant(self.head.made_at_ms),
            "other_model": is_other,
            "groups": self.groups,
            "changes": changes,
        }));
        if out.is_json() {
            return;
        }
        out.say(&format!(
            "A file of {}'s, from device {}, of {}: {} changes in {} transactions.",
            printable(&self.head.user),
            printable(&self.head.device),
            instant(self.head.made_at_ms),
            self.lines.len(),
            self.groups
        ));
        if is_other == Some(true) {
            out.say(
                "It was made under another model: what this one does not know is refused, as in \
                 a sync.",
            );
        }
        if !self.lines.is_empty() {
            let rows: Vec<_> = self.lines.iter().map(Line::cells).collect();
            let columns = [
                "change", "entity", "id", "what", "typed", "result", "why", "inbox",
            ];
            out.say(&table(&columns, &rows));
        }
        self.print_counts(out);
    }

    fn print_counts(&self, out: &Output) {
        if self.model.is_none() {
            return;
        }
        let count = |results: &[&str]| {
            let lines = self.lines.iter();
            lines.filter(|it| results.contains(&it.result)).count()
        };
        let left = [
            (
                count(&["conflict", "rejected"]),
                "not applied: `afield inbox`",
            ),
            (count(&["waits"]), "waiting for others"),
            (count(&["parked"]), "left to the user, on a device"),
        ];
        let left = left.into_iter().filter(|(n, _)| *n > 0);
        let left: String = left.map(|(n, what)| format!(", {n} {what}")).collect();
        out.say(&format!(
            "{} applied, now or before{left}.",
            count(&["applied"])
        ));
    }
}

impl Line {
    fn change(&self) -> String {
        format!("{}.{}", self.group, self.place)
    }

    fn json(&self) -> Json {
        let why = self.why.as_ref();
        json!({
            "change": self.change(),
            "entity": self.entity,
            "id": self.id,
            "op": self.op,
            "set": self.set,
            "result": self.result,
            "code": why.and_then(|it| it.code.as_ref()).map(Code::as_str),
            "attribute": why.and_then(|it| it.attribute.as_ref()),
            "message": why.and_then(|it| it.message.as_ref()),
            "inbox": self.inbox,
        })
    }

    fn cells(&self) -> Vec<String> {
        let why = self.why.as_ref().map_or(String::new(), |why| {
            let code = why.code.as_ref().map_or("", Code::as_str);
            let message = why.message.as_deref().unwrap_or_default();
            printable(format!("{code} {message}").trim())
        });
        vec![
            self.change(),
            self.entity.clone(),
            self.words.clone(),
            self.op.to_owned(),
            self.typed.clone(),
            self.result.to_owned(),
            why,
            self.inbox.map_or(String::new(), |n| n.to_string()),
        ]
    }
}

/// A text from a file, as a terminal and every database take it.
pub(super) fn printable(text: &str) -> String {
    let chars = text.chars().take(SHOWN_CHARS);
    chars
        .map(|c| match c.is_control() {
            true => char::REPLACEMENT_CHARACTER,
            false => c,
        })
        .collect()
}

//! A group of the outbox as it goes into a file.

use afield_protocol::codec::cbor::{read_attributes, read_key};
use afield_protocol::codec::{Format, FrameReader};
use afield_protocol::limits::GROUP_CHANGES_MAX;
use afield_protocol::outbox_file::{FileContent, FileState};
use afield_protocol::{Change, Code, Frame, Group, GroupId, Theirs, Verdict, VerdictKind};

use super::super::conflict::NEWEST_OUTCOME;
use super::super::db::{Db, Loaded};
use super::super::outbox::{self, is_too_large};
use crate::error::Error;

/// A group as the store has it.
pub(super) struct Stored {
    frozen: Option<Vec<u8>>,
    pub(super) made_at: i64,
    pub(super) now: Group,
}

impl Stored {
    pub(super) fn read(db: &Db, n: i64) -> Result<Self, Error> {
        let sql = "SELECT id, absorbed, frozen, made_at, checkpoint FROM afield_group WHERE n = ?1";
        let mut statement = db.conn.prepare_cached(sql)?;
        let mut stored = statement.query_row([n], |row| {
            let absorbed: Vec<u8> = row.get(1)?;
            let absorbed = absorbed.as_chunks::<16>().0.iter().map(|id| GroupId(*id));
            let mut now = Group::new(GroupId(row.get(0)?), Vec::new());
            now.absorbed = absorbed.collect();
            now.checkpoint = row.get(4)?;
            Ok(Self {
                frozen: row.get(2)?,
                made_at: row.get(3)?,
                now,
            })
        })?;
        let sql = "SELECT entity, key, op, base, sets FROM afield_change \
                   WHERE group_n = ?1 ORDER BY at";
        let mut statement = db.conn.prepare_cached(sql)?;
        let mut rows = statement.query([n])?;
        while let Some(row) = rows.next()? {
            let (key, op): (Vec<u8>, String) = (row.get(1)?, row.get(2)?);
            let (base, set): (Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(4)?);
            stored.now.changes.push(Change {
                entity: row.get(0)?,
                op: outbox::op(&op)?,
                key: read_key(&key)?,
                base: read_attributes(&base)?,
                set: read_attributes(&set)?,
            });
        }
        Ok(stored)
    }

    /// Whether no server takes it, and no file.
    pub(super) fn is_too_large(&self) -> bool {
        let frozen = self.frozen.as_deref().unwrap_or_default();
        is_too_large(frozen, self.now.changes.len(), GROUP_CHANGES_MAX)
    }

    /// What goes into the file. The bytes of a held group are never sent as they are: what it is
    /// made on may become something else before its turn.
    pub(super) fn content(self, loaded: &Loaded, state: FileState) -> Result<FileContent, Error> {
        let now = self.now;
        let Some(bytes) = self.frozen.filter(|_| state != FileState::Held) else {
            return Ok(FileContent::Unsent { now });
        };
        let mut reader = FrameReader::new(Format::Cbor);
        reader.push(&bytes);
        let Ok(Some(Frame::Group(group))) = reader.next(&loaded.model) else {
            let message = format!("the bytes of group {} cannot be read", now.id);
            return Err(Error::new(Code::STORE_DAMAGED, message));
        };
        let is_other = group.changes.len() != now.changes.len();
        Ok(match group.changes == now.changes {
            true => FileContent::Sent { bytes, group },
            false if is_other => FileContent::Unsent { now },
            false => FileContent::Changed { bytes, group, now },
        })
    }
}

/// What the server said of a parked group, change by change.
pub(super) fn verdicts(db: &Db, n: i64) -> Result<Vec<Verdict>, Error> {
    let sql = format!(
        "SELECT o.result, o.code, o.attribute, o.message, c.theirs \
         FROM afield_group AS g JOIN afield_change AS c ON c.group_n = g.n \
         LEFT JOIN afield_outcome AS o ON o.n = {NEWEST_OUTCOME} WHERE g.n = ?1 ORDER BY c.at"
    );
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut rows = statement.query([n])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let result: Option<String> = row.get(0)?;
        let Some(kind) = result.as_deref().and_then(VerdictKind::parse) else {
            let message = "decided; it waits for the other conflicts of its transaction";
            found.push(Verdict::rejected(Code::GROUP_REFUSED, message));
            continue;
        };
        let (code, theirs): (Option<String>, Option<Vec<u8>>) = (row.get(1)?, row.get(4)?);
        let theirs = match theirs {
            Some(theirs) => Theirs::Row(read_attributes(&theirs)?),
            None => Theirs::Gone,
        };
        found.push(Verdict {
            kind,
            code: code.map(|word| Code::parse(&word)),
            attribute: row.get(2)?,
            message: row.get(3)?,
            theirs: (kind == VerdictKind::Conflict).then_some(theirs),
            ..Verdict::applied()
        });
    }
    Ok(found)
}

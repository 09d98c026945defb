//! Writing a file of changes.

use minicbor::Encoder;
use minicbor::data::Tag;
use sha2::{Digest as _, Sha256};

use super::{FILE_MAGIC, FILE_VERSION, FileContent, FileEnd, FileGroup, FileHead};
use crate::change::Group;
use crate::codec::cbor::{Written, encode};
use crate::codec::{Format, TAG_EMBEDDED, has_few_items, write_verdicts};
use crate::frame::Frame;
use crate::limits::{GROUP_BYTES_MAX, GROUP_CHANGES_MAX};
use crate::model::Model;

/// What follows an entry.
pub(super) const SENT: u8 = 0;
pub(super) const SENT_AND_NOW: u8 = 1;
pub(super) const NOW: u8 = 2;

/// What an item is.
pub(super) const ENTRY: u8 = 1;
pub(super) const END: u8 = 2;

/// Writes a file piece by piece. Who stops before the end has written no file.
#[derive(Debug)]
pub struct FileWriter {
    hash: Sha256,
    end: FileEnd,
}

impl FileWriter {
    /// Begins a file: appends its head to `out`.
    pub fn begin(head: &FileHead, out: &mut Vec<u8>) -> Self {
        let mut writer = Self {
            hash: Sha256::new(),
            end: FileEnd::default(),
        };
        let item = embedded(|e| {
            e.array(7)?.str(FILE_MAGIC)?.u32(FILE_VERSION)?;
            e.str(&head.user)?.str(&head.device)?.str(&head.model)?;
            e.i64(head.made_at_ms)?;
            e.array(head.checkpoints.len() as u64)?;
            let mut checkpoints = head.checkpoints.iter();
            checkpoints.try_for_each(|checkpoint| e.bytes(checkpoint)?.ok())
        });
        writer.add(&item, out);
        writer
    }

    /// Appends a group, unless it is larger than what a group may be: false, and nothing is
    /// appended then.
    pub fn group(&mut self, group: &FileGroup, out: &mut Vec<u8>) -> bool {
        let now = group.content.now();
        let sent = group.content.sent().map(|(bytes, _)| bytes);
        let (forms, now_frame) = match &group.content {
            FileContent::Sent { .. } => (SENT, None),
            FileContent::Changed { now, .. } => (SENT_AND_NOW, Some(frame(now))),
            FileContent::Unsent { now } => (NOW, Some(frame(now))),
        };
        let entry = embedded(|e| {
            e.array(5)?.u8(ENTRY)?.str(group.state.as_str())?;
            e.i64(group.made_at_ms)?.u8(forms)?;
            match group.verdicts.is_empty() {
                true => e.null()?.ok(),
                false => e.bytes(&write_verdicts(&group.verdicts))?.ok(),
            }
        });
        let fits = |frame: &[u8]| frame.len() <= GROUP_BYTES_MAX && has_few_items(frame);
        let is_small = entry.len() <= GROUP_BYTES_MAX
            && sent.is_none_or(fits)
            && now_frame.as_deref().is_none_or(fits)
            && now.changes.len() <= GROUP_CHANGES_MAX;
        if is_small {
            self.add(&entry, out);
            for frame in [sent, now_frame.as_deref()].into_iter().flatten() {
                self.add(frame, out);
            }
            self.end.groups += 1;
            self.end.changes += now.changes.len() as u64;
        }
        is_small
    }

    /// Appends the end, with what makes the file whole.
    pub fn end(self, out: &mut Vec<u8>) -> FileEnd {
        let hash = self.hash.finalize();
        let end = self.end;
        out.extend(embedded(|e| {
            e.array(4)?.u8(END)?.u64(end.groups)?.u64(end.changes)?;
            e.bytes(&hash)?.ok()
        }));
        end
    }

    fn add(&mut self, item: &[u8], out: &mut Vec<u8>) {
        self.hash.update(item);
        out.extend_from_slice(item);
    }
}

/// A group as a frame that says its values as they are stored: it can be read under any model.
fn frame(group: &Group) -> Vec<u8> {
    let mut bytes = Vec::new();
    let model = Model::new(1, Vec::new(), Vec::new());
    Format::Cbor.write(&model, &Frame::Group(group.clone()), &mut bytes);
    bytes
}

/// One item of the sequence.
fn embedded(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written) -> Vec<u8> {
    let (mut body, mut item) = (Vec::new(), Vec::new());
    encode(&mut body, write);
    encode(&mut item, |e| {
        e.tag(Tag::new(TAG_EMBEDDED))?.bytes(&body)?.ok()
    });
    item
}

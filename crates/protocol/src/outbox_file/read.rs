//! Reading a file of changes.

use minicbor::Decoder;
use sha2::{Digest as _, Sha256};

use super::write::{END, ENTRY, NOW, SENT, SENT_AND_NOW};
use super::{
    FILE_MAGIC, FILE_VERSION, FileContent, FileEnd, FileGroup, FileHead, FileItem, FileProblem,
    FileState,
};
use crate::change::Group;
use crate::code::Code;
use crate::codec::cbor::whole;
use crate::codec::{Malformed, embedded, read_frame, read_verdicts};
use crate::frame::Frame;
use crate::outcome::{Verdict, VerdictKind};

/// Takes the bytes of a file as they are read, and gives its pieces as they are whole. Of a file
/// that is not whole it may give the first ones: only [`FileItem::End`] says that it is, and
/// [`FileReader::finish`] that nothing stands behind it.
#[derive(Debug)]
pub struct FileReader {
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` begins.
    start: usize,
    hash: Sha256,
    read: FileEnd,
    expects: Expects,
}

/// What the next item must be.
#[derive(Debug)]
enum Expects {
    Head,
    /// A group or the end.
    Entry,
    /// The bytes that were sent, and whether another form follows.
    Sent(Entry, bool),
    /// The group as it stands now.
    Now(Entry, Option<(Vec<u8>, Group)>),
    Nothing,
}

#[derive(Debug)]
struct Entry {
    state: FileState,
    made_at_ms: i64,
    verdicts: Vec<Verdict>,
}

impl Default for FileReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FileReader {
    /// A reader at the beginning of a file.
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            hash: Sha256::new(),
            read: FileEnd::default(),
            expects: Expects::Head,
        }
    }

    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start * 2 >= self.buffer.len() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece that is whole; `None` until more bytes come.
    ///
    /// # Errors
    /// `file-damaged` if the bytes are not what was written, `file-version` if a later version
    /// wrote them. Nothing more can be read then.
    pub fn next_item(&mut self) -> Result<Option<FileItem>, FileProblem> {
        loop {
            let pending = self.buffer.get(self.start..).unwrap_or(&[]);
            if matches!(self.expects, Expects::Nothing) {
                return Ok(None);
            }
            let is_first = matches!(self.expects, Expects::Head);
            let found = match embedded(pending) {
                Err(_) if is_first => return Err(no_such_file()),
                found => found.map_err(|error| damaged(&error))?,
            };
            let Some((used, body)) = found else {
                return Ok(None);
            };
            let (item, body) = (pending.get(..used).unwrap_or(&[]).to_vec(), body.to_vec());
            self.start += used;
            if let Some(found) = self.take(item, &body)? {
                return Ok(Some(found));
            }
        }
    }

    /// Whether the file was whole.
    ///
    /// # Errors
    /// `file-damaged`: it ends before its end, or something stands behind that.
    pub fn finish(&self) -> Result<(), FileProblem> {
        let is_drained = self.buffer.get(self.start..).is_none_or(<[u8]>::is_empty);
        match self.expects {
            Expects::Nothing if is_drained => Ok(()),
            Expects::Nothing => Err(FileProblem::damaged("something stands behind its end")),
            Expects::Head if !is_drained => Err(no_such_file()),
            Expects::Head => Err(FileProblem::damaged("the file is empty")),
            _ => Err(FileProblem::damaged("the file is cut short")),
        }
    }

    /// Takes an item; `body` is what it holds.
    fn take(&mut self, item: Vec<u8>, body: &[u8]) -> Result<Option<FileItem>, FileProblem> {
        let expects = std::mem::replace(&mut self.expects, Expects::Entry);
        if matches!(expects, Expects::Entry) && is_end(body) {
            self.expects = Expects::Nothing;
            return self.end(body).map(|end| Some(FileItem::End(end)));
        }
        self.hash.update(&item);
        match expects {
            Expects::Head => head(body).map(|head| Some(FileItem::Head(head))),
            Expects::Entry => {
                let (entry, forms) = whole(body, entry).map_err(|error| damaged(&error))?;
                self.expects = match forms {
                    NOW => Expects::Now(entry, None),
                    forms => Expects::Sent(entry, forms == SENT_AND_NOW),
                };
                Ok(None)
            }
            Expects::Sent(entry, is_changed) => {
                let group = group(body)?;
                if is_changed {
                    self.expects = Expects::Now(entry, Some((item, group)));
                    return Ok(None);
                }
                let bytes = item;
                self.group(entry, FileContent::Sent { bytes, group })
            }
            Expects::Now(entry, sent) => {
                let now = group(body)?;
                let content = match sent {
                    Some((bytes, group)) => FileContent::Changed { bytes, group, now },
                    None => FileContent::Unsent { now },
                };
                self.group(entry, content)
            }
            Expects::Nothing => Ok(None),
        }
    }

    /// A group with everything that belongs to it.
    fn group(
        &mut self,
        entry: Entry,
        content: FileContent,
    ) -> Result<Option<FileItem>, FileProblem> {
        let Entry {
            state,
            made_at_ms,
            verdicts,
        } = entry;
        let group = FileGroup {
            state,
            made_at_ms,
            content,
            verdicts,
        };
        check(&group)?;
        self.read.groups += 1;
        self.read.changes += group.content.now().changes.len() as u64;
        Ok(Some(FileItem::Group(Box::new(group))))
    }

    fn end(&self, body: &[u8]) -> Result<FileEnd, FileProblem> {
        let (end, hash) = whole(body, |d| {
            expect_array(d, 4)?;
            d.u8()?;
            let (groups, changes) = (d.u64()?, d.u64()?);
            Ok((FileEnd { groups, changes }, d.bytes()?.to_vec()))
        })
        .map_err(|error| damaged(&error))?;
        let is_whole = hash == self.hash.clone().finalize().as_slice();
        if is_whole && end == self.read {
            return Ok(end);
        }
        let what = "the file is not as it was written: its hash is another one";
        Err(FileProblem::damaged(what))
    }
}

fn head(body: &[u8]) -> Result<FileHead, FileProblem> {
    let d = &mut Decoder::new(body);
    if !matches!(d.array(), Ok(Some(_))) || !matches!(d.str(), Ok(FILE_MAGIC)) {
        return Err(no_such_file());
    }
    match d.u32() {
        Ok(FILE_VERSION) => {}
        Ok(version) => {
            return Err(FileProblem {
                code: Code::FILE_VERSION,
                message: format!(
                    "the file has version {version}, this program reads version {FILE_VERSION}: \
                     import it with a newer one; nothing was imported"
                ),
            });
        }
        Err(error) => return Err(damaged(&error.into())),
    }
    whole(body, |d| {
        expect_array(d, 7)?;
        d.str()?;
        d.u32()?;
        let mut head = FileHead {
            user: d.str()?.to_owned(),
            device: d.str()?.to_owned(),
            model: d.str()?.to_owned(),
            made_at_ms: d.i64()?,
            checkpoints: Vec::new(),
        };
        for _ in 0..d
            .array()?
            .ok_or_else(|| Malformed::new("indefinite length"))?
        {
            head.checkpoints.push(d.bytes()?.to_vec());
        }
        Ok(head)
    })
    .map_err(|error| damaged(&error))
}

/// Whether an item that follows a group is the end.
fn is_end(body: &[u8]) -> bool {
    let d = &mut Decoder::new(body);
    matches!(d.array(), Ok(Some(_))) && matches!(d.u8(), Ok(END))
}

fn entry(d: &mut Decoder<'_>) -> Result<(Entry, u8), Malformed> {
    expect_array(d, 5)?;
    if d.u8()? != ENTRY {
        return Err(Malformed::new("neither a group nor the end"));
    }
    let state = FileState::parse(d.str()?);
    let state = state.ok_or_else(|| Malformed::new("a group stands in an unknown way"))?;
    let made_at_ms = d.i64()?;
    let forms = d.u8()?;
    if ![SENT, SENT_AND_NOW, NOW].contains(&forms) {
        return Err(Malformed::new("a group has an unknown form"));
    }
    let verdicts = match d.datatype()? {
        minicbor::data::Type::Null => {
            d.null()?;
            Vec::new()
        }
        _ => read_verdicts(d.bytes()?)?,
    };
    let entry = Entry {
        state,
        made_at_ms,
        verdicts,
    };
    Ok((entry, forms))
}

fn group(body: &[u8]) -> Result<Group, FileProblem> {
    match read_frame(body).map_err(|error| damaged(&error))? {
        Frame::Group(group) => Ok(group),
        _ => Err(FileProblem::damaged(
            "a message stands where a group should",
        )),
    }
}

/// Whether the parts of a group fit each other. A parked one with verdicts that are none, or that
/// are not final, would leave the outbox of whoever imports it.
fn check(group: &FileGroup) -> Result<(), FileProblem> {
    let now = group.content.now();
    let is_same = group
        .content
        .sent()
        .is_none_or(|(_, sent)| sent.id == now.id && sent.changes.len() == now.changes.len());
    let is_final = |verdict: &Verdict| verdict.code.as_ref() != Some(&Code::WAITS_FOR);
    let is_open = |verdict: &Verdict| verdict.kind != VerdictKind::Applied;
    let verdicts = &group.verdicts;
    let fits = match group.state {
        FileState::Ready => group.content.sent().is_some() && verdicts.is_empty(),
        FileState::Held => group.content.sent().is_none() && verdicts.is_empty(),
        FileState::Parked => {
            verdicts.len() == now.changes.len()
                && verdicts.iter().all(is_final)
                && verdicts.iter().any(is_open)
        }
    };
    match is_same && fits && !now.changes.is_empty() {
        true => Ok(()),
        false => Err(FileProblem::damaged(format!(
            "the parts of group {} do not fit each other",
            now.id
        ))),
    }
}

fn expect_array(d: &mut Decoder<'_>, items: u64) -> Result<(), Malformed> {
    match d.array()? == Some(items) {
        true => Ok(()),
        false => Err(Malformed::new(format!("expected {items} items"))),
    }
}

fn no_such_file() -> FileProblem {
    FileProblem::damaged("this is no file of changes that a device exported")
}

fn damaged(error: &Malformed) -> FileProblem {
    FileProblem::damaged(format!("the file is damaged ({error})"))
}

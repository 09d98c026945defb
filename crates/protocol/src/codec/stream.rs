//! Cutting a stream of bytes into frames.

use minicbor::Decoder;

use super::cbor_frame::TAG_EMBEDDED;
use super::{Malformed, cbor, cbor_read, json_read};
use crate::code::Code;
use crate::frame::Frame;
use crate::limits::{FRAME_BYTES, JSON_LINE_BYTES};
use crate::model::Model;

/// How frames are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A CBOR sequence.
    #[default]
    Cbor,
    /// One JSON object a line.
    JsonLines,
}

impl Format {
    /// The media type for `Content-Type` and `Accept`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Cbor => "application/cbor-seq",
            Self::JsonLines => "application/jsonl",
        }
    }
}

/// Takes bytes as they arrive and gives frames as they are whole.
#[derive(Debug, Default)]
pub struct FrameReader {
    format: Format,
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` begins.
    start: usize,
    /// Bytes of the unread part that are known to hold no line end: a long line that arrives in
    /// many pieces is searched once, not once for each piece.
    searched: usize,
}

/// The longest head of an item: tag 24 and a byte string's length.
const HEAD_BYTES: usize = 11;

impl FrameReader {
    /// A reader of an empty stream.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
        }
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start * 2 >= self.buffer.len() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame that is whole; `None` until more bytes arrive.
    ///
    /// # Errors
    /// The bytes are no frame, or one larger than the limit. Nothing more can be read then.
    pub fn next(&mut self, model: &Model) -> Result<Option<Frame>, Malformed> {
        let pending = self.buffer.get(self.start..).unwrap_or(&[]);
        let (used, frame) = match self.format {
            Format::Cbor => match embedded(pending)? {
                Some((used, body)) => (used, cbor_read::read(body)?),
                None => return Ok(None),
            },
            Format::JsonLines => match line(pending, self.searched)? {
                Some((used, text)) => (used, json_read::read(model, text)?),
                None => {
                    self.searched = pending.len();
                    return Ok(None);
                }
            },
        };
        self.start += used;
        self.searched = 0;
        Ok(Some(frame))
    }

    /// Whether every byte that arrived was read as part of a frame.
    pub fn is_drained(&self) -> bool {
        self.buffer.get(self.start..).is_none_or(<[u8]>::is_empty)
    }
}

/// Whether a frame in CBOR has at most [`FRAME_ITEMS_MAX`](crate::limits::FRAME_ITEMS_MAX) items;
/// one of a request that has more is refused unread.
pub fn has_few_items(frame: &[u8]) -> bool {
    let body = embedded(frame).ok().flatten();
    body.is_none_or(|(_, body)| cbor::has_few_items(body))
}

/// The first embedded item and how many bytes it takes, if it is whole.
pub(crate) fn embedded(pending: &[u8]) -> Result<Option<(usize, &[u8])>, Malformed> {
    let mut d = Decoder::new(pending);
    let head = d.tag().and_then(|tag| Ok((tag.as_u64(), d.datatype()?)));
    match head {
        Ok((TAG_EMBEDDED, minicbor::data::Type::Bytes)) => {}
        Ok(_) => {
            return Err(Malformed::new(
                "an item of the sequence is not an embedded frame",
            ));
        }
        Err(error) if error.is_end_of_input() => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let at = d.position();
    if let Some(length) = byte_string_length(pending.get(at..).unwrap_or(&[]))
        && length > FRAME_BYTES as u64
    {
        let message = format!("a frame of {length} bytes; the limit is {FRAME_BYTES}");
        return Err(Malformed::over(Code::TOO_LARGE, message));
    }
    match d.bytes() {
        Ok(body) => Ok(Some((d.position(), body))),
        Err(error) if error.is_end_of_input() && pending.len() <= FRAME_BYTES + HEAD_BYTES => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The length that the head of a byte string announces, if the head is there.
fn byte_string_length(head: &[u8]) -> Option<u64> {
    let first = *head.first()?;
    let width = match first & 0x1f {
        small @ 0..=23 => return Some(u64::from(small)),
        24 => 1,
        25 => 2,
        26 => 4,
        _ => 8,
    };
    let bytes = head.get(1..=width)?;
    Some(
        bytes
            .iter()
            .fold(0, |length, byte| (length << 8) | u64::from(*byte)),
    )
}

/// The first line and how many bytes it takes, if it is whole; its end is not among the first
/// `searched` bytes.
fn line(pending: &[u8], searched: usize) -> Result<Option<(usize, &[u8])>, Malformed> {
    let rest = pending.get(searched..).unwrap_or(&[]);
    let end = rest.iter().position(|byte| *byte == b'\n');
    if end.map_or(pending.len(), |end| searched + end) > JSON_LINE_BYTES {
        let message = format!("a line of more than {JSON_LINE_BYTES} bytes");
        return Err(Malformed::over(Code::TOO_LARGE, message));
    }
    Ok(end.map(|end| {
        let end = searched + end;
        (end + 1, pending.get(..end).unwrap_or(&[]))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_a_long_line_in_small_pieces_is_searched_once() {
        let model = Model {
            version: 1,
            units: Vec::new(),
            entities: Vec::new(),
            chosen: Vec::new(),
            limits: Default::default(),
            sync: Default::default(),
        };
        let mut reader = FrameReader::new(Format::JsonLines);
        for piece in 1..100 {
            reader.push(&[b' '; 16]);
            assert_eq!(reader.next(&model), Ok(None));
            assert_eq!(reader.searched, 16 * piece, "what is searched is known");
        }
        // What was searched is not looked at again: a line end put there is not seen.
        reader.buffer[7] = b'\n';
        reader.push(b" ");
        assert_eq!(reader.next(&model), Ok(None));
    }
}

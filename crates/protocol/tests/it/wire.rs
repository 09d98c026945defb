//! Writing and reading frames the way a caller does.

use afield_protocol::codec::{Format, FrameReader, Malformed};
use afield_protocol::{Frame, Model};

pub(crate) const FORMATS: [Format; 2] = [Format::Cbor, Format::JsonLines];

/// The frames as bytes, one after another.
pub(crate) fn written(format: Format, model: &Model, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        format.write(model, frame, &mut bytes);
    }
    bytes
}

/// All frames in `bytes`, which must end with the last of them.
pub(crate) fn read(format: Format, model: &Model, bytes: &[u8]) -> Result<Vec<Frame>, Malformed> {
    let mut reader = FrameReader::new(format);
    reader.push(bytes);
    let frames = rest(&mut reader, model)?;
    assert!(reader.is_drained(), "bytes are left over");
    Ok(frames)
}

/// All frames that are whole by now.
pub(crate) fn rest(reader: &mut FrameReader, model: &Model) -> Result<Vec<Frame>, Malformed> {
    let mut frames = Vec::new();
    while let Some(frame) = reader.next(model)? {
        frames.push(frame);
    }
    Ok(frames)
}

/// A frame's body as the wire embeds it.
pub(crate) fn embedded(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xd8, 24];
    let length = u32::try_from(body.len()).expect("a test's body is short");
    bytes.push(0x5a);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

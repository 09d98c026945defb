//! What reading may cost: memory in proportion to what arrived, whatever it announces.

use afield_protocol::Frame;
use afield_protocol::codec::{Format, FrameReader, Malformed};
use afield_protocol::limits::{FRAME_BYTES, JSON_LINE_BYTES};

use crate::sample::model;
use crate::wire::{embedded, rest};

/// Memory that reading may take for each byte that arrived, at its worst: a one-byte item becomes
/// a value with its place in a list that has room to grow, in JSON by way of a tree.
fn memory_factor(format: Format) -> u64 {
    match format {
        Format::Cbor => 64,
        Format::JsonLines => 96,
    }
}

/// Memory that reading may take beyond that, for messages and small buffers.
const MEMORY_BASE: u64 = 16 * 1024;

/// Reads `bytes` and gives what came out; fails if that took more memory than it may.
pub(crate) fn measured(format: Format, bytes: &[u8]) -> Result<Vec<Frame>, Malformed> {
    let model = model();
    let mut found = Ok(Vec::new());
    let memory = allocation_counter::measure(|| {
        let mut reader = FrameReader::new(format);
        reader.push(bytes);
        found = rest(&mut reader, &model);
    });
    let allowed = MEMORY_BASE + memory_factor(format) * bytes.len() as u64;
    let (taken, given) = (memory.bytes_max, bytes.len());
    assert!(taken <= allowed, "{taken} bytes for {given}");
    found
}

#[track_caller]
pub(crate) fn refused(format: Format, bytes: &[u8], why: &str) {
    let error = measured(format, bytes).expect_err("the message must be refused");
    let text = error.to_string();
    assert!(text.contains(why), "{text}");
}

pub(crate) fn cbor(bytes: &[u8], why: &str) {
    refused(Format::Cbor, &embedded(bytes), why);
}

#[test]
fn lengths_that_lie_take_no_memory() {
    let huge = [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let map = [&[0xbb], &huge[1..]].concat();
    let bytes = [&[0x5b], &huge[1..]].concat();
    let text = [&[0x7b], &huge[1..]].concat();
    let id = [&[0x50], [7; 16].as_slice()].concat();
    for body in [
        [&[0x83, 3], id.as_slice(), &huge].concat(),
        [&[0x83, 5], map.as_slice(), &[0x80]].concat(),
        [&[0x83, 5, 0xa0], huge.as_slice()].concat(),
        [&[0x83, 7, 0x61, b'e'], huge.as_slice()].concat(),
        [&[0x83, 7, 0x61, b'e', 0x81], huge.as_slice()].concat(),
        [&[0x84, 8], map.as_slice(), &[0xf5, 0xf6]].concat(),
        [&[0x83, 10], text.as_slice(), &[0x60]].concat(),
        [&[0x83, 2, 1], bytes.as_slice()].concat(),
        huge.to_vec(),
    ] {
        let memory = allocation_counter::measure(|| cbor(&body, ""));
        assert!(
            memory.bytes_max < MEMORY_BASE,
            "{} for {body:x?}",
            memory.bytes_max
        );
    }
}

#[test]
fn the_costliest_messages_take_a_small_multiple_of_their_size() {
    const TIMES: usize = 20_000;
    let times = |item: &[u8]| item.repeat(TIMES);
    let list = |head: &[u8], item: &[u8], tail: &[u8]| {
        let length = u32::try_from(TIMES).unwrap().to_be_bytes();
        embedded(&[head, &[0x9a], &length, &times(item), tail].concat())
    };
    let id = [&[0x50], [7; 16].as_slice()].concat();
    let verdict = b"\x88\x00\xf6\xf6\xf6\xf6\xa0\xf6\xa0";
    for bytes in [
        list(b"\x83\x07\x61e", b"\x80", b""),
        list(b"\x83\x07\x61e", b"\x81\xf6", b""),
        list(b"\x83\x05\xa0", b"\x60", b""),
        list(&[b"\x83\x03", id.as_slice()].concat(), verdict, b""),
    ] {
        assert!(measured(Format::Cbor, &bytes).is_ok());
    }
    for (head, item, tail) in [
        (r#"{"frame":"gone","entity":"e","keys":[[]"#, ",[]", "]}\n"),
        (
            r#"{"frame":"gone","entity":"e","keys":[[0]"#,
            ",[0]",
            "]}\n",
        ),
        (r#"{"frame":"end","x":[0"#, ",0", "]}\n"),
        (r#"{"frame":"end","x":[{}"#, ",{}", "]}\n"),
        (r#"{"frame":"end","x":[{"a":0}"#, r#",{"a":0}"#, "]}\n"),
    ] {
        let line = [head.as_bytes(), &times(item.as_bytes()), tail.as_bytes()].concat();
        assert!(measured(Format::JsonLines, &line).is_ok(), "{item}");
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_there() {
    let announced = u32::try_from(FRAME_BYTES + 1).unwrap().to_be_bytes();
    let head = [&[0xd8, 24, 0x5a], announced.as_slice()].concat();
    refused(Format::Cbor, &head, "the limit is");
    let mut reader = FrameReader::new(Format::JsonLines);
    reader.push(&vec![b' '; JSON_LINE_BYTES]);
    assert_eq!(reader.next(&model()), Ok(None));
    reader.push(b" ");
    assert!(reader.next(&model()).is_err());
    let mut reader = FrameReader::new(Format::JsonLines);
    reader.push(&[vec![b' '; JSON_LINE_BYTES + 1], b"{}\n".to_vec()].concat());
    assert!(reader.next(&model()).is_err());
}

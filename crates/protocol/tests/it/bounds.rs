//! What reading may cost: memory in proportion to what arrived, whatever it announces.

use afield_protocol::codec::{Format, FrameReader, Malformed, has_few_items};
use afield_protocol::limits::{
    CHOSEN_VALUES_MAX, FRAME_BYTES, FRAME_ITEMS_MAX, GROUP_CHANGES_MAX, JSON_LINE_BYTES,
};
use afield_protocol::{Code, Frame};

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

/// A group with these items behind its absorbed groups, in a frame of its own.
fn group_with(items: &[u8]) -> Vec<u8> {
    let id = [&[0x50], [7; 16].as_slice()].concat();
    let hash = [&[0x58, 32], [7; 32].as_slice()].concat();
    embedded(&[&[0x87, 1], &id[..], &hash, &[0x80], items].concat())
}

#[test]
fn p9_more_changes_or_chosen_values_than_there_may_be_are_not_read_at_all() {
    let announced = |items: usize| {
        let length = u32::try_from(items).unwrap().to_be_bytes();
        [&[0x9a], length.as_slice()].concat()
    };
    let code = |bytes: &[u8]| measured(Format::Cbor, bytes).unwrap_err().code();
    // Nothing is behind the numbers: whoever believes the smaller ones finds that out.
    for (changes, expected) in [
        (GROUP_CHANGES_MAX, Code::MALFORMED),
        (GROUP_CHANGES_MAX + 1, Code::GROUP_TOO_LARGE),
    ] {
        let group = group_with(&[&[0x80], &announced(changes)[..]].concat());
        assert_eq!(code(&group), expected, "{changes}");
    }
    for (values, expected) in [
        (CHOSEN_VALUES_MAX, Code::MALFORMED),
        (CHOSEN_VALUES_MAX + 1, Code::TOO_MANY_CHOSEN),
    ] {
        let chosen = [&[0x83, 14, 0x61, b's'], &announced(values)[..]].concat();
        assert_eq!(code(&embedded(&chosen)), expected, "{values}");
    }
}

#[test]
fn p9_a_group_of_too_many_values_is_not_read_at_all() {
    for (zeros, expected) in [
        // The array of the key and its change, and what is around it, are items too.
        (FRAME_ITEMS_MAX - 100, Code::MALFORMED),
        (FRAME_ITEMS_MAX + 1, Code::GROUP_TOO_LARGE),
    ] {
        let length = u32::try_from(zeros).unwrap().to_be_bytes();
        let key = [&[0x9a], length.as_slice(), &vec![0; zeros]].concat();
        let change = [&[0x85, 0x60, 0], &key[..], &[0xa0, 0xa0]].concat();
        let group = group_with(&[&[0x80, 0x81], &change[..], &[0x40]].concat());
        let error = measured(Format::Cbor, &group).unwrap_err();
        assert_eq!(error.code(), expected, "{zeros}: {error}");
        assert_eq!(has_few_items(&group), expected == Code::MALFORMED);
    }
}

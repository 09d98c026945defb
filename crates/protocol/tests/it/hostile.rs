//! Messages that nobody honest sends: none may make a reader panic, and what it
//! refuses it refuses whole.

use afield_protocol::codec::{Format, Malformed};
use afield_protocol::limits::DEPTH;
use afield_protocol::{Frame, RowBlockWriter, Type, Value, ValueRef};
use minicbor::Encoder;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::{frame, row_values};
use crate::bounds::{cbor, measured, refused};
use crate::sample::model;
use crate::wire::{FORMATS, embedded, read, written};

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        cases: 1_000,
        ..ProptestConfig::default()
    }
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

/// A `rows` frame that announces `count` rows of `columns` and has these cells.
fn rows_frame(columns: &[&str], count: u64, cells: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let write = |e: &mut Encoder<&mut Vec<u8>>| -> Written {
        e.array(5)?.u8(6)?.str("sample")?;
        e.array(columns.len() as u64)?;
        columns.iter().try_for_each(|column| e.str(column)?.ok())?;
        e.u64(count)?.bytes(cells)?.ok()
    };
    write(&mut Encoder::new(&mut body)).expect("writing to memory cannot fail");
    embedded(&body)
}

fn json(line: &str, why: &str) {
    refused(Format::JsonLines, format!("{line}\n").as_bytes(), why);
}

/// What frames say, whatever tags their cells had and in whatever order their maps were.
fn meaning(frames: &[Frame]) -> Vec<String> {
    let sorted = |names: &mut Vec<(String, Option<Vec<u8>>)>| names.sort();
    let say = |frame: &Frame| match frame.clone() {
        Frame::Rows(block) => {
            format!(
                "{} {:?} {:?}",
                block.entity,
                block.columns,
                row_values(&block)
            )
        }
        Frame::Page(mut page) => {
            sorted(&mut page.from);
            format!("{page:?}")
        }
        Frame::Hello(mut hello) => {
            sorted(&mut hello.pull);
            format!("{hello:?}")
        }
        Frame::PageEnd(mut end) => {
            end.to.sort();
            format!("{end:?}")
        }
        other => format!("{other:?}"),
    };
    frames.iter().map(say).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..300)) {
        for format in FORMATS {
            let _ = measured(format, &bytes);
        }
        let _ = measured(Format::Cbor, &embedded(&bytes));
        let _ = measured(Format::JsonLines, &[bytes.as_slice(), b"\n"].concat());
    }

    /// Every frame number with arbitrary items behind it: this gets past the first check.
    #[test]
    fn arbitrary_bodies_do_no_harm(head in 0x80..0x8a_u8, number in 0..12_u8, tail in
        vec(prop::sample::select(&b"\x00\x17\x1b\x40\x44\x5b\x61\x62\x81\x9b\xa1\xbb\xc1\xc4\xf4\
        \xf5\xf6\xf9\xfb\xff\x9f\xbf\x5f\x7f"[..]), 0..60))
    {
        let body = [&[head, number], tail.as_slice()].concat();
        let _ = measured(Format::Cbor, &embedded(&body));
    }

    #[test]
    fn an_altered_message_is_refused_or_is_another_message(
        frame in frame(&model()),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        kind in 0..4_u8,
    ) {
        let model = model();
        for format in FORMATS {
            let mut bytes = written(format, &model, std::slice::from_ref(&frame));
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte & 7),
                2 => { bytes.remove(at); }
                _ => bytes.insert(at, byte),
            }
            let Ok(found) = measured(format, &bytes) else { continue };
            for again in FORMATS {
                let bytes = written(again, &model, &found);
                let read_again = read(again, &model, &bytes).unwrap();
                prop_assert_eq!(meaning(&read_again), meaning(&found));
            }
        }
    }
}

#[test]
fn rows_without_columns_are_refused_at_once() {
    // Who counts so many rows one by one never comes to an end.
    refused(Format::Cbor, &rows_frame(&[], 1 << 60, b""), "no columns");
    refused(
        Format::Cbor,
        &rows_frame(&["id"], 1 << 60, b"\x01"),
        "fewer cells",
    );
    refused(
        Format::Cbor,
        &rows_frame(&["a", "b"], 1 << 63, b"\x01"),
        "fewer cells",
    );
    let mut writer = RowBlockWriter::new("sample", &[]);
    writer.push([]);
    let read = writer.take().for_each(|_| Ok::<(), Malformed>(()));
    assert!(read.is_err());
    json(
        r#"{"frame":"rows","entity":"e","columns":[],"rows":[[]]}"#,
        "no columns",
    );
}

#[test]
fn rows_have_exactly_the_cells_they_announce() {
    assert!(
        measured(
            Format::Cbor,
            &rows_frame(&["a", "b"], 2, b"\x01\x02\x03\x04")
        )
        .is_ok()
    );
    refused(
        Format::Cbor,
        &rows_frame(&["a", "b"], 2, b"\x01\x02\x03"),
        "fewer cells",
    );
    refused(
        Format::Cbor,
        &rows_frame(&["a", "b"], 2, b"\x01\x02\x18\x20"),
        "end of input",
    );
    refused(
        Format::Cbor,
        &rows_frame(&["a", "b"], 1, b"\x01\x02\x03"),
        "left over",
    );
    refused(Format::Cbor, &rows_frame(&["a"], 1, b"\x81\x01"), "type");
    refused(
        Format::Cbor,
        &rows_frame(&["a", "a"], 1, b"\x01\x02"),
        "twice",
    );
    json(
        r#"{"frame":"rows","entity":"sample","columns":["id"],"rows":[[null,null]]}"#,
        "a cell for each column",
    );
}

#[test]
fn indefinite_lengths_and_nested_or_unknown_tags_are_refused() {
    cbor(b"\x9f\x04\xff", "indefinite");
    cbor(b"\x83\x05\xbf\xff\x80", "indefinite");
    cbor(b"\x83\x07\x61e\x9f\xff", "indefinite");
    cbor(b"\x83\x0a\x7f\x61a\xff\x60", "definite");
    cbor(b"\x83\x02\x01\x5f\x48epoch-no\xff", "definite");
    let cell = |cell: &[u8], why| refused(Format::Cbor, &rows_frame(&["id"], 1, cell), why);
    cell(b"\xd8\x25\xd8\x25\x50sixteen bytes ok", "type");
    cell(b"\xd8\x25\x4fsixteen bytes o", "sixteen");
    cell(b"\xd9\x03\xec\xd9\x03\xec\x6a2026-11-23", "type");
    cell(b"\xd9\x03\xec\x6a2026-13-23", "canonical");
    cell(b"\xd9\xff\xff\x01", "unknown tag");
    cell(b"\xc4\x9f\x00\x01\xff", "two parts");
    cell(b"\xc4\x82\x01\x01", "exponent");
    cell(b"\xc4\x82\x39\x03\xe8\x01", "exponent");
    cell(b"\xc4\x82\x00\xc2\x41\x01", "type");
    cell(
        b"\xd9\xaf\x1e\x1b\x7f\xff\xff\xff\xff\xff\xff\xff",
        "outside the years",
    );
    cell(b"\x7f\x61a\xff", "");
    cell(b"\x5f\x41a\xff", "");
    cell(b"\xf7", "");
    cell(b"\xff", "");
    cell(b"\x62\xc3\x28", "utf-8");
    cell(b"\x63\xed\xa0\x80", "utf-8");
}

#[test]
fn integers_beyond_64_bits_are_refused() {
    let cell = |cell: &[u8], why| refused(Format::Cbor, &rows_frame(&["id"], 1, cell), why);
    cell(b"\x1b\x80\x00\x00\x00\x00\x00\x00\x00", "");
    cell(b"\x3b\x80\x00\x00\x00\x00\x00\x00\x00", "");
    cell(
        b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00",
        "unknown tag 2",
    );
    let row = |cell: &str| {
        let columns = r#""columns":["a_integer"]"#;
        format!(r#"{{"frame":"rows","entity":"sample",{columns},"rows":[[{cell}]]}}"#)
    };
    for number in [
        "9223372036854775808",
        "\"9223372036854775808\"",
        "1e3",
        "1.0",
    ] {
        json(&row(number), "64-bit integer");
    }
    json(&row(r#"{"stored":9223372036854775808}"#), "64-bit integer");
    for line in [row("\"-9223372036854775808\""), row(r#"{"stored":1.5}"#)] {
        assert!(measured(Format::JsonLines, format!("{line}\n").as_bytes()).is_ok());
    }
}

#[test]
fn a_group_with_another_hash_is_refused() {
    let model = model();
    let group = afield_protocol::Group::new(afield_protocol::GroupId([7; 16]), Vec::new());
    let frames = [Frame::Group(group)];
    let mut bytes = written(Format::Cbor, &model, &frames);
    let hash = bytes.len() - 5;
    bytes[hash] ^= 1;
    refused(Format::Cbor, &bytes, "does not match its hash");
    let line = String::from_utf8(written(Format::JsonLines, &model, &frames)).unwrap();
    let at = line.find("\"hash\":\"").unwrap() + 8;
    let (digit, other) = (
        &line[at..=at],
        if &line[at..=at] == "0" { "1" } else { "0" },
    );
    let altered = line.replacen(
        &format!("\"hash\":\"{digit}"),
        &format!("\"hash\":\"{other}"),
        1,
    );
    json(altered.trim_end(), "does not match its hash");
    let without = line.replacen(&line[at - 8..at + 66], "", 1);
    assert_eq!(
        measured(Format::JsonLines, without.as_bytes()).unwrap(),
        frames
    );
}

#[test]
fn nothing_stands_twice() {
    cbor(b"\x83\x05\xa2\x61e\xf6\x61e\xf6\x80", "`e` stands twice");
    cbor(
        b"\x84\x08\xa2\x61e\x40\x61e\x40\xf5\xf6",
        "`e` stands twice",
    );
    let id = [&[0x50], [7; 16].as_slice()].concat();
    let verdict = b"\x81\x88\x00\xf6\xf6\xf6\xf6\xa2\x61a\x01\x61a\x02\xf6\xa0";
    cbor(
        &[b"\x83\x03", id.as_slice(), verdict].concat(),
        "stands twice",
    );
    json(
        r#"{"frame":"page","from":{"e":null,"\u0065":null},"reset":[]}"#,
        "stands twice",
    );
    json(r#"{"frame":"end","frame":"settled"}"#, "stands twice");
}

#[test]
fn text_is_unicode_and_shallow() {
    json(
        r#"{"frame":"problem","code":"x","message":"\ud800"}"#,
        "hex escape",
    );
    let line = b"{\"frame\":\"problem\",\"code\":\"x\",\"message\":\"\xff\"}\n";
    refused(Format::JsonLines, line, "");
    for depth in [DEPTH, 100_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        json(&format!(r#"{{"frame":"end","x":{deep}}}"#), "nested deeper");
    }
    let nul = "{\"stored\":\"a\\u0000b\"}";
    let row = r#"{"frame":"rows","entity":"sample","columns":["a_text"],"rows":[[CELL]]}"#;
    json(&row.replace("CELL", "\"a\\u0000b\""), "text without NUL");
    let line = format!("{}\n", row.replace("CELL", nul));
    assert!(measured(Format::JsonLines, line.as_bytes()).is_ok());
}

#[test]
fn what_is_no_frame_is_refused() {
    for bytes in [
        b"\x84".as_slice(),
        b"\xd8\x18\x61a",
        b"\xd8\x18\x5f",
        b"\xd8\x19\x40",
        b"\xff",
    ] {
        refused(Format::Cbor, bytes, "");
    }
    cbor(b"\x81\x0b", "frame 11");
    cbor(b"\x82\x09\x00", "frame 9 of 2 items");
    cbor(b"\x81\x09\x00", "left over");
    cbor(b"\xa0", "array");
    cbor(b"", "end of input");
    json("[]", "a frame is an object");
    json("", "EOF");
    json(r#"{"frame":"later"}"#, "unknown frame `later`");
    json(
        r#"{"frame":"welcome","protocol":1,"epoch":"AAAA"}"#,
        "eight bytes",
    );
    json(
        r#"{"frame":"welcome","protocol":-1,"epoch":"AAAAAAAAAAA="}"#,
        "`protocol`",
    );
    json(
        r#"{"frame":"page-end","to":{},"complete":1,"remaining":null}"#,
        "`complete`",
    );
    json(
        r#"{"frame":"page-end","to":{},"complete":true,"remaining":"x"}"#,
        "`remaining`",
    );
}

#[test]
fn a_float_of_any_width_is_read() {
    for (cell, expected) in [
        (b"\xf9\x3e\x00".as_slice(), Value::Real(1.5)),
        (b"\xf9\x00\x01", Value::Real(5.960_464_477_539_063e-8)),
        (b"\xf9\xfc\x00", Value::Real(f64::NEG_INFINITY)),
        (b"\xf9\x80\x00", Value::Real(-0.0)),
        (b"\xf9\x7e\x00", Value::from("NaN")),
        (b"\xfa\x47\xc3\x50\x00", Value::Real(100_000.0)),
        (b"\xfa\x7f\xc0\x00\x00", Value::from("NaN")),
    ] {
        let frames = measured(Format::Cbor, &rows_frame(&["a_real"], 1, cell)).unwrap();
        let [Frame::Rows(block)] = frames.as_slice() else {
            panic!("one block");
        };
        assert_eq!(row_values(block), [[expected.clone()]]);
        let mut writer = RowBlockWriter::new("sample", &[("a_real".into(), Type::Real)]);
        writer.push([expected.as_ref()]);
        assert_eq!(writer.take().count, block.count);
        assert_ne!(expected.as_ref(), ValueRef::Null);
    }
}

//! What is written reads back, the same in both formats, and in one way only.

use afield_protocol::codec::{Format, FrameReader, cbor, json, read_verdicts, write_verdicts};
use afield_protocol::{Frame, Model, RowBlockWriter, Type, Value, ValueRef};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::{canonical, cell, frame, group, kind, row_values, rows, stored};
use crate::sample::model;
use crate::wire::{FORMATS, read, rest, written};

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        cases: 400,
        ..ProptestConfig::default()
    }
}

fn cbor_of(kind: Type, value: ValueRef<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    cbor::write_value(&mut bytes, kind, value);
    bytes
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn frames_read_back_in_both_formats(frame in frame(&model())) {
        let model = model();
        for format in FORMATS {
            let bytes = written(format, &model, std::slice::from_ref(&frame));
            let found = read(format, &model, &bytes).unwrap();
            prop_assert_eq!(&found, std::slice::from_ref(&frame), "{:?}", format);
            prop_assert_eq!(written(format, &model, &found), bytes, "{:?}", format);
        }
    }

    #[test]
    fn a_stream_may_be_cut_anywhere(
        frames in vec(frame(&model()), 1..5),
        cuts in vec(1..40_usize, 1..20),
    ) {
        let model = model();
        for format in FORMATS {
            let bytes = written(format, &model, &frames);
            let mut reader = FrameReader::new(format);
            let (mut found, mut left) = (Vec::new(), bytes.as_slice());
            for cut in cuts.iter().cycle() {
                let (chunk, rest_of) = left.split_at(left.len().min(*cut));
                reader.push(chunk);
                found.extend(rest(&mut reader, &model).unwrap());
                left = rest_of;
                if left.is_empty() {
                    break;
                }
            }
            prop_assert!(reader.is_drained());
            prop_assert_eq!(&found, &frames, "{:?}", format);
        }
    }

    #[test]
    fn a_cell_reads_back_as_it_is_stored(
        (kind, value) in kind().prop_flat_map(|kind| (Just(kind), cell(kind))),
    ) {
        let bytes = cbor_of(kind, value.as_ref());
        let mut decoder = minicbor::Decoder::new(&bytes);
        prop_assert_eq!(&cbor::value(&mut decoder).unwrap(), &value);
        prop_assert_eq!(decoder.position(), bytes.len());
        let text = json::from_value(kind, value.as_ref()).to_string();
        let found = json::to_value(kind, &serde_json::from_str(&text).unwrap());
        prop_assert_eq!(found.as_ref(), Ok(&value), "{}", text);
    }

    #[test]
    fn a_canonical_value_is_accepted_and_stays_as_it_is(
        (kind, value) in kind().prop_flat_map(|kind| (Just(kind), canonical(kind))),
    ) {
        prop_assert!(kind.accepts(value.as_ref()), "{}", kind);
        prop_assert_eq!(kind.normalise(value.clone()), Ok(value));
    }

    #[test]
    fn what_is_normalised_is_canonical(kind in kind(), value in stored()) {
        if let Ok(value) = kind.normalise(value) {
            prop_assert!(kind.accepts(value.as_ref()), "{} {:?}", kind, value);
        }
    }

    #[test]
    fn equal_values_have_equal_bytes_and_others_do_not(
        (kind, a, b) in kind().prop_flat_map(|kind| (Just(kind), cell(kind), cell(kind))),
    ) {
        let is_same = a == b;
        let both = [&a, &b].map(|value| cbor_of(kind, value.as_ref()));
        prop_assert_eq!(both[0] == both[1], is_same);
        let both = [&a, &b].map(|value| json::from_value(kind, value.as_ref()).to_string());
        prop_assert_eq!(both[0] == both[1], is_same);
        let both = [&a, &b].map(|value| cbor::write_key(std::slice::from_ref(value)));
        prop_assert_eq!(both[0] == both[1], is_same);
    }

    #[test]
    fn p2_the_hash_is_the_same_by_both_ways(group in group(&model())) {
        let model = model();
        let frames = [Frame::Group(group.clone())];
        for format in FORMATS {
            let found = read(format, &model, &written(format, &model, &frames)).unwrap();
            let [Frame::Group(found)] = found.as_slice() else {
                panic!("one group");
            };
            prop_assert_eq!(found.hash(), group.hash());
        }
    }

    #[test]
    fn rows_keep_their_cells(block in rows(&model())) {
        let model = model();
        for format in FORMATS {
            let bytes = written(format, &model, &[Frame::Rows(block.clone())]);
            let found = read(format, &model, &bytes).unwrap();
            let [Frame::Rows(found)] = found.as_slice() else {
                panic!("one block");
            };
            prop_assert_eq!(row_values(found), row_values(&block));
        }
    }

    #[test]
    fn keys_and_attributes_of_bookkeeping_read_back(key in vec(stored(), 0..4)) {
        prop_assert_eq!(&cbor::read_key(&cbor::write_key(&key)).unwrap(), &key);
        let attributes = key.into_iter().enumerate().map(|(n, value)| (format!("a{n}"), value));
        let attributes = attributes.collect();
        let bytes = cbor::write_attributes(&attributes);
        prop_assert_eq!(cbor::read_attributes(&bytes).unwrap(), attributes);
        let longer = [bytes.as_slice(), &[0]].concat();
        prop_assert!(cbor::read_attributes(&longer).is_err());
    }

    #[test]
    fn verdicts_of_a_ledger_read_back(frame in frame(&model())) {
        if let Frame::Outcome(outcome) = frame {
            let bytes = write_verdicts(&outcome.verdicts);
            prop_assert_eq!(read_verdicts(&bytes).unwrap(), outcome.verdicts);
            let longer = [bytes.as_slice(), &[0]].concat();
            prop_assert!(read_verdicts(&longer).is_err());
        }
    }

    #[test]
    fn models_read_back(model in arbitrary_model()) {
        let text = model.to_json();
        let found = Model::from_json(&text).unwrap();
        prop_assert_eq!(found.fingerprint(), model.fingerprint());
        prop_assert_eq!(&found.to_json(), &text);
        prop_assert_eq!(found, model);
    }
}

/// The sample model with other names, types, patterns and defaults.
fn arbitrary_model() -> impl Strategy<Value = Model> {
    let default = prop_oneof![
        any::<i64>().prop_map(afield_protocol::Literal::Integer),
        any::<f64>()
            .prop_filter("JSON has finite numbers only", |x| x.is_finite())
            .prop_map(afield_protocol::Literal::Real),
        any::<String>().prop_map(afield_protocol::Literal::Text),
    ];
    let attribute = (
        "[^\\p{Cc}]{1,20}",
        kind(),
        any::<bool>(),
        proptest::option::of(default),
    );
    (any::<u32>(), vec(attribute, 1..6)).prop_map(|(version, attributes)| {
        let mut model = model();
        model.version = version;
        for (n, (name, kind, read_only, default)) in attributes.into_iter().enumerate() {
            let attribute = &mut model.entities[0].attributes[n + 4];
            attribute.name = format!("{n}{name}");
            attribute.kind = kind;
            attribute.read_only = read_only;
            attribute.default = default;
        }
        model.entities[0].indexes.clear();
        model
    })
}

#[test]
fn the_order_of_positions_means_nothing() {
    let model = model();
    let frame = |names: [&str; 2]| {
        Frame::PageEnd(afield_protocol::PageEnd {
            to: names.map(|name| (name.to_owned(), name.into())).to_vec(),
            complete: true,
            remaining: None,
        })
    };
    let json = Format::JsonLines;
    let found = read(json, &model, &written(json, &model, &[frame(["b", "a"])])).unwrap();
    assert_eq!(found, [frame(["a", "b"])]);
}

#[test]
fn nan_is_a_text_wherever_it_came_from() {
    for kind in [Type::Real, Type::Text, Type::Integer] {
        let bytes = cbor_of(kind, ValueRef::Real(f64::NAN));
        let found = cbor::value(&mut minicbor::Decoder::new(&bytes)).unwrap();
        assert_eq!(found, Value::from("NaN"), "{kind}");
    }
    let key = |value: Value| cbor::write_key(&[value]);
    assert_eq!(key(Value::Real(f64::NAN)), key(Value::Real(-f64::NAN)));
    assert_eq!(key(Value::Real(f64::NAN)), key("NaN".into()));
}

#[test]
fn the_writer_starts_over_after_taking() {
    let columns = [("id".to_owned(), Type::Integer)];
    let mut writer = RowBlockWriter::new("e", &columns);
    assert!(writer.is_empty());
    writer.push([ValueRef::Integer(1)]);
    assert_eq!((writer.is_empty(), writer.size()), (false, 1));
    assert_eq!(row_values(&writer.take()), [[Value::Integer(1)]]);
    assert!(writer.is_empty() && writer.take().count == 0);
}

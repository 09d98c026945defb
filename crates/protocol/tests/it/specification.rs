//! `spec/protocol.md` against the golden files, the conflict rule, the limits and the codes: what
//! the text shows is what the code does.

use std::collections::BTreeSet;

use afield_protocol::{Code, limits};
use serde_json::Value as Json;

use crate::bless;
use crate::conflict_table::rows;
use crate::sample::TYPES;

const SPEC: &str = "spec/protocol.md";

/// A fenced block: what stands behind the three backticks, and what between the fences.
struct Block {
    info: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push(Block {
                info: info.to_owned(),
                text: body.join("\n"),
            });
        }
    }
    found
}

/// The digits of a block of annotated hexadecimal.
fn digits(text: &str) -> String {
    let without_comment = |line: &str| line.split('#').next().unwrap_or_default().to_owned();
    let digits: String = text.lines().map(without_comment).collect();
    digits.split_whitespace().collect()
}

fn file_digits(file: &str) -> String {
    if file.ends_with(".json") {
        let json: Json = serde_json::from_str(&bless::text(file)).expect("the file is JSON");
        return json["hashed"]
            .as_str()
            .expect("it has the bytes")
            .to_owned();
    }
    let bytes = std::fs::read(bless::path(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn examples_are_the_golden_files() {
    let mut shown = BTreeSet::new();
    for block in blocks(&bless::text(SPEC)) {
        let Some((language, file)) = block.info.split_once(' ') else {
            continue;
        };
        let path = format!("spec/{file}");
        match language {
            "json" => {
                let parse = |text: &str| serde_json::from_str::<Json>(text);
                let example = parse(&block.text).unwrap_or_else(|e| panic!("{file}: {e}"));
                let golden = parse(&bless::text(&path)).expect("a golden line is JSON");
                assert_eq!(example, golden, "{file}");
            }
            "hex" => assert_eq!(digits(&block.text), file_digits(&path), "{file}"),
            other => panic!("a block of {other} names the file {file}"),
        }
        shown.insert(file.to_owned());
    }
    for entry in std::fs::read_dir(bless::path("spec/golden")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_variant = name.contains("-empty") || name.contains("-all-types");
        if name.starts_with("frame-") && name.ends_with(".jsonl") && !is_variant {
            assert!(
                shown.contains(&format!("golden/{name}")),
                "{name} is not shown"
            );
        }
    }
}

#[test]
fn the_table_of_who_wins_is_the_one_that_is_tested() {
    let page = bless::text(SPEC);
    let section = page.split("\n## Who wins").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let shown = section.lines().filter(|line| line.starts_with("| "));
    let shown: Vec<&str> = shown.skip(1).collect();
    assert_eq!(shown, rows());
}

#[test]
fn limits_are_those_of_the_code() {
    let page = bless::text(SPEC);
    for (name, value) in [
        ("BODY_BYTES", limits::BODY_BYTES),
        ("LOG_ENTRIES", limits::LOG_ENTRIES),
        ("LOG_BYTES", limits::LOG_BYTES),
        ("LOG_MODULE_BYTES", limits::LOG_MODULE_BYTES),
        ("LOG_MESSAGE_BYTES", limits::LOG_MESSAGE_BYTES),
        ("UNPACKED_FREE_BYTES", limits::UNPACKED_FREE_BYTES),
        ("UNPACKED_RATIO", limits::UNPACKED_RATIO),
        ("REQUEST_FRAMES", limits::REQUEST_FRAMES),
        ("FRAME_ITEMS_MAX", limits::FRAME_ITEMS_MAX),
        ("SCOPE_VALUES_MAX", limits::SCOPE_VALUES_MAX),
        ("DEVICE_RATE", limits::DEVICE_RATE as usize),
        ("CONNECT_TIMEOUT_MS", limits::CONNECT_TIMEOUT_MS as usize),
        ("IDLE_TIMEOUT_MS", limits::IDLE_TIMEOUT_MS as usize),
        ("FRESHNESS_MS", limits::FRESHNESS_MS as usize),
        ("FRAME_BYTES", limits::FRAME_BYTES),
        ("JSON_LINE_BYTES", limits::JSON_LINE_BYTES),
        ("DEPTH", limits::DEPTH),
        ("BATCH_CHANGES", limits::BATCH_CHANGES),
        ("BATCH_BYTES", limits::BATCH_BYTES),
        ("GROUP_CHANGES_MAX", limits::GROUP_CHANGES_MAX),
        ("PAGE_ROWS", limits::PAGE_ROWS),
        ("PAGE_BYTES", limits::PAGE_BYTES),
        ("ROWS_FRAME_BYTES", limits::ROWS_FRAME_BYTES),
        ("NAME_BYTES", limits::NAME_BYTES),
        ("CHOSEN_VALUES_MAX", limits::CHOSEN_VALUES_MAX),
        ("CHOSEN_VALUE_BYTES", limits::CHOSEN_VALUE_BYTES),
        ("VERIFY_DEPTH_MAX", usize::from(limits::VERIFY_DEPTH_MAX)),
        ("VERIFY_ROWS_MAX", limits::VERIFY_ROWS_MAX),
        ("VERIFY_COUNTED_MAX", limits::VERIFY_COUNTED_MAX as usize),
    ] {
        assert!(
            page.contains(&format!("| `{name}` | {value} |")),
            "{name} is {value}"
        );
    }
}

#[test]
fn types_and_codes_are_those_of_the_code() {
    let page = bless::text(SPEC);
    for kind in TYPES {
        assert!(
            page.contains(&format!("\n| {kind} | ")),
            "{kind} has no row"
        );
    }
    let section = page.split("\n### Refusals").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let statuses = section
        .lines()
        .filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
    let codes: Vec<&str> = statuses
        .map(|line| line.split('`').nth(1).unwrap())
        .collect();
    assert!(codes.len() >= 9, "{codes:?}");
    for code in codes {
        assert!(
            Code::GLOSSARY.iter().any(|(word, ..)| *word == code),
            "no code `{code}`"
        );
    }
}

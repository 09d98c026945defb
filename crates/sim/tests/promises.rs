//! Holds `docs/promises.md` to the source: what it names exists where it says.
//!
//! On that page a code span that begins with `crates/` is a file, and all that follows, up to the
//! next file or heading, is in it: a code span of lower-case words joined by underscores is a
//! function, and what stands in double quotes is said there word by word.

use std::path::Path;

/// Every promise of the design.
const PROMISES: [&str; 10] = ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10"];

/// Something that the page says is in `file`.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Function { file: &'a str, name: &'a str },
    Words { file: &'a str, words: &'a str },
}

#[test]
fn every_test_named_on_the_promises_page_exists() {
    let page = read("docs/promises.md");
    let named = named(&page);
    let missing: Vec<&Named<'_>> = named.iter().filter(|named| !exists(named)).collect();
    assert!(missing.is_empty(), "docs/promises.md names {missing:#?}");
    assert!(named.len() > 100, "the page could not be read");
}

#[test]
fn the_page_speaks_of_every_promise_and_breaks_every_guard() {
    let page = read("docs/promises.md");
    for promise in PROMISES {
        let heading = format!("\n## {promise} ");
        assert!(page.contains(&heading), "{promise} has no part of the page");
        let is_later = ["P7", "P9", "P10"].contains(&promise);
        let row = format!("\n| {promise} |");
        assert!(
            is_later || page.contains(&row),
            "no guard of {promise} was broken on purpose"
        );
    }
}

#[test]
fn the_page_is_read_as_it_is_meant() {
    let page = "`later` `crates/a.rs`: `p1_x`, `Name`, `a`, says \"in order\"; \
                `crates/b.rs`: `b_c`\n\
                ## \"Quoted\" and `x_y`";
    let expected = [
        Named::Function {
            file: "crates/a.rs",
            name: "p1_x",
        },
        Named::Words {
            file: "crates/a.rs",
            words: "in order",
        },
        Named::Function {
            file: "crates/b.rs",
            name: "b_c",
        },
    ];
    assert_eq!(named(page), expected);
}

fn named(page: &str) -> Vec<Named<'_>> {
    page.split("\n#").flat_map(named_in_part).collect()
}

fn named_in_part(part: &str) -> Vec<Named<'_>> {
    let mut found = Vec::new();
    let mut file = None;
    for (at, piece) in part.split('`').enumerate() {
        let is_code = at % 2 == 1;
        match file {
            _ if is_code && piece.starts_with("crates/") => file = Some(piece),
            Some(file) if is_code && is_function(piece) => {
                found.push(Named::Function { file, name: piece });
            }
            Some(file) if !is_code => {
                let quoted = piece.split('"').skip(1).step_by(2);
                found.extend(quoted.map(|words| Named::Words { file, words }));
            }
            _ => {}
        }
    }
    found
}

fn is_function(span: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    span.contains('_') && span.chars().all(is_plain)
}

fn exists(named: &Named<'_>) -> bool {
    match named {
        Named::Function { file, name } => {
            let text = read(file);
            let plain = format!("fn {name}(");
            let generic = format!("fn {name}<");
            text.contains(&plain) || text.contains(&generic)
        }
        Named::Words { file, words } => read(file).contains(words),
    }
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

//! Holds every Rust file of the workspace to the sizes and shapes that CONTRIBUTING.md asks for.
//!
//! The rules are in [`rules`], on text taken apart by [`source`]; both are tested on small strings.

use std::path::{Path, PathBuf};

mod rules;
mod source;

/// The folders whose Rust files are ours.
const FOLDERS: [&str; 3] = ["crates", "examples", "xtask"];

#[test]
fn every_file_is_tidy() {
    let root = root();
    let mut findings = Vec::new();
    for path in rust_files(&root) {
        let text = std::fs::read_to_string(root.join(&path)).expect("source files are UTF-8");
        findings.extend(rules::check(&path, &text));
    }
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        list.is_empty(),
        "{} findings:\n{}",
        list.len(),
        list.join("\n")
    );
}

#[test]
fn the_walk_finds_files_of_every_depth_and_no_build_output() {
    let files = rust_files(&root());
    for known in ["xtask/src/main.rs", "crates/sim/tests/tidy/main.rs"] {
        assert!(
            files.iter().any(|file| file == known),
            "{known} was not found"
        );
    }
    let stray: Vec<&String> = files
        .iter()
        .filter(|file| file.contains("target/"))
        .collect();
    assert!(
        stray.is_empty(),
        "build output was taken for source: {stray:?}"
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace")
}

/// The paths of all Rust files, relative to `root`, with forward slashes, sorted.
fn rust_files(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the workspace can be listed") {
            let path = entry.expect("an entry of a folder can be read").path();
            let name = path
                .file_name()
                .expect("an entry has a name")
                .to_string_lossy();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let relative = path
                    .strip_prefix(root)
                    .expect("the walk stays below the root");
                files.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    files.sort();
    files
}

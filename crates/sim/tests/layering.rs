//! Holds the workspace to its layers: who may depend on whom, who may name SQLite, and what the
//! shared and the embeddable crates must do without.
//!
//! ```text
//!            afield-protocol            no I/O, no SQL, no clock, no async
//!            ↗            ↖
//!      afield              afield-server
//!            ↖            ↗
//!      afield-cli, afield-sim           examples → afield; xtask stands alone
//! ```
//!
//! A new arrow is a decision: it is written down in `docs/decisions/` first, then here.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every package of the workspace, and what it may depend on inside the workspace.
const ARROWS: [(&str, &[&str]); 8] = [
    ("afield-protocol", &[]),
    ("afield", &["afield-protocol"]),
    // The testbed for its tests.
    ("afield-server", &["afield-protocol", "afield-testbed"]),
    (
        "afield-cli",
        &[
            "afield",
            "afield-protocol",
            "afield-server",
            "afield-testbed",
        ],
    ),
    (
        "afield-sim",
        &[
            "afield",
            "afield-protocol",
            "afield-server",
            // For benches.
            "afield-testbed",
        ],
    ),
    // An app has the library alone; its tests bring a server.
    ("inspections", &["afield", "afield-server"]),
    ("xtask", &[]),
    // For tests and benches alone.
    ("afield-testbed", &[]),
];

/// Folders in which rusqlite may be named only in the places given after them.
const SQLITE_PLACES: [(&str, &[&str]); 3] = [
    ("crates/protocol", &[]),
    (
        "crates/client/src",
        &["crates/client/src/store.rs", "crates/client/src/store/"],
    ),
    (
        "crates/server",
        &[
            "crates/server/src/storage/sqlite.rs",
            "crates/server/src/storage/sqlite/",
            // Tests make the databases that a team would bring.
            "crates/server/tests/it/",
        ],
    ),
];

/// Folders in which PostgreSQL's client library may be named only in the places given after them.
const POSTGRES_PLACES: [(&str, &[&str]); 4] = [
    ("crates/protocol", &[]),
    ("crates/client", &[]),
    ("crates/cli/src", &[]),
    (
        "crates/server",
        &[
            "crates/server/src/storage/postgres/",
            "crates/server/tests/it/postgres_",
        ],
    ),
];

/// What an app that brings its own driver must not have to carry.
const RUNTIMES_AND_SOCKETS: [&str; 14] = [
    "async-std",
    "curl",
    "hyper",
    "isahc",
    "mio",
    "native-tls",
    "openssl",
    "polling",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "ureq",
];

/// What the shared crate must do without, beyond [`RUNTIMES_AND_SOCKETS`].
const STORAGE_AND_RANDOMNESS: [&str; 5] = [
    "fastrand",
    "getrandom",
    "libsqlite3-sys",
    "rand",
    "rusqlite",
];

/// The parts of the standard library that the shared crate must do without.
const STD_IO: [&str; 5] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
];

#[test]
fn packages_depend_only_along_the_arrows() {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    let metadata = serde_json::from_str(&metadata).expect("cargo metadata prints JSON");
    let wrong = wrong_arrows(&metadata);
    assert!(
        wrong.is_empty(),
        "see ARROWS in {}:\n{}",
        file!(),
        wrong.join("\n")
    );
}

#[test]
fn rusqlite_is_named_only_where_sqlite_is_the_subject() {
    let wrong = named_elsewhere(&SQLITE_PLACES, "rusqlite");
    assert!(
        wrong.is_empty(),
        "a database's library is named outside its places, {SQLITE_PLACES:?} and \
         {POSTGRES_PLACES:?}; go through the store or the storage trait instead:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn tokio_postgres_is_named_only_where_postgresql_is_the_subject() {
    let wrong = named_elsewhere(&POSTGRES_PLACES, "tokio_postgres");
    assert!(
        wrong.is_empty(),
        "tokio_postgres is named outside its places, {POSTGRES_PLACES:?}; go through the storage \
         instead:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_client_without_its_driver_has_no_runtime_and_no_sockets() {
    let tree = dependencies(&["-p", "afield", "--no-default-features"]);
    assert!(
        tree.iter().any(|name| name == "rusqlite"),
        "is this the client's tree? {tree:?}"
    );
    let found = listed(&tree, &RUNTIMES_AND_SOCKETS);
    assert!(
        found.is_empty(),
        "afield without default features depends on {found:?}"
    );
}

#[test]
fn the_protocol_crate_does_no_io() {
    let tree = dependencies(&["-p", "afield-protocol", "--all-features"]);
    assert!(
        tree.iter().any(|name| name == "minicbor"),
        "is this the protocol's tree? {tree:?}"
    );
    let found = [
        listed(&tree, &RUNTIMES_AND_SOCKETS),
        listed(&tree, &STORAGE_AND_RANDOMNESS),
    ];
    assert!(
        found.concat().is_empty(),
        "afield-protocol depends on {found:?}"
    );

    let wrong = places_naming("crates/protocol/src", &STD_IO);
    assert!(
        wrong.is_empty(),
        "the protocol crate names one of {STD_IO:?}; let the caller do that and hand the result \
         in:\n{}",
        wrong.join("\n")
    );
}

/// Cargo builds a shared dependency once, with the features of everybody in the build; so the
/// simulator asks for planted faults only behind a switch of its own.
#[test]
fn no_program_of_a_plain_build_has_planted_faults() {
    let features = |switch: &[&str]| {
        let tree = ["tree", "--locked", "--workspace", "--edges", "no-dev"];
        let shape = ["--prefix", "none", "--format", "{p} [{f}]"];
        let tree = cargo(&[&tree[..], &shape, switch].concat());
        let line = tree
            .lines()
            .find(|line| line.starts_with("afield-protocol "));
        line.expect("everything depends on the protocol").to_owned()
    };
    let plain = features(&[]);
    assert!(!plain.contains("zoo"), "a plain build has {plain}");
    let simulated = features(&["--features", "afield-sim/simulate"]);
    assert!(simulated.contains("zoo"), "the simulator has {simulated}");
}

/// The lines that name `word` outside the places of their folder.
fn named_elsewhere(folders: &[(&str, &[&str])], word: &str) -> Vec<String> {
    let naming = |(folder, places): &(&str, &[&str])| {
        let mut naming = places_naming(folder, &[word]);
        naming.retain(|at| !places.iter().any(|place| at.starts_with(place)));
        naming
    };
    folders.iter().flat_map(naming).collect()
}

/// A sentence for each arrow that [`ARROWS`] does not allow, and for each package it does not know.
fn wrong_arrows(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"]
        .as_array()
        .expect("cargo metadata lists packages");
    let name_of = |value: &Value| {
        value["name"]
            .as_str()
            .expect("packages have names")
            .to_owned()
    };
    let members: Vec<String> = packages.iter().map(name_of).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let from = name_of(package);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else {
            wrong.push(format!("{from} is a package without a place in the layers"));
            continue;
        };
        for dependency in package["dependencies"]
            .as_array()
            .expect("packages list dependencies")
        {
            let to = name_of(dependency);
            // A package that names itself, to test with more features, is no arrow.
            let is_arrow = members.contains(&to) && to != from;
            if is_arrow && !allowed.contains(&to.as_str()) {
                let kind = dependency["kind"].as_str().unwrap_or("normal");
                wrong.push(format!("{from} → {to} ({kind}) is not allowed"));
            }
        }
    }
    wrong
}

/// The names of all packages that end up in a build of what `selection` selects.
fn dependencies(selection: &[&str]) -> Vec<String> {
    let fixed = [
        "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}",
    ];
    package_names(&cargo(&[&fixed, selection].concat()))
}

/// The first word of each line of `cargo tree`.
fn package_names(tree: &str) -> Vec<String> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Those of `names` that are in `unwanted`.
fn listed(names: &[String], unwanted: &[&str]) -> Vec<String> {
    names
        .iter()
        .filter(|name| unwanted.contains(&name.as_str()))
        .cloned()
        .collect()
}

/// `path:line` of every line of code below `folder` that names one of `words`.
fn places_naming(folder: &str, words: &[&str]) -> Vec<String> {
    let root = root();
    let files = rust_files(&root.join(folder));
    assert!(
        !files.is_empty(),
        "{folder} holds no Rust file: has it moved?"
    );
    let mut places = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("source files are UTF-8");
        let relative = relative(&path, &root);
        let lines = lines_with(&text, words);
        places.extend(lines.into_iter().map(|line| format!("{relative}:{line}")));
    }
    places
}

/// The numbers of the lines of code, comments left out, that name one of `words`.
fn lines_with(text: &str, words: &[&str]) -> Vec<usize> {
    let names_one = |line: &str| {
        !line.trim_start().starts_with("//") && words.iter().any(|word| line.contains(word))
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| names_one(line))
        .map(|(index, _)| index + 1)
        .collect()
}

/// What `cargo` prints.
fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs: it started this test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo {}: {errors}",
        arguments.join(" ")
    );
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace")
}

fn relative(path: &Path, root: &Path) -> String {
    let relative = path
        .strip_prefix(root)
        .expect("the walk stays below the root");
    relative.to_string_lossy().replace('\\', "/")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of the workspace can be listed") {
        let path = entry.expect("an entry of a folder can be read").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The checks above, seen failing.
mod checks_of_the_checks {
    use super::*;

    #[test]
    fn an_arrow_against_the_layers_is_found_of_whatever_kind() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "afield-protocol", "dependencies": [{ "name": "serde", "kind": null }] },
            { "name": "afield", "dependencies": [
                { "name": "afield-protocol", "kind": null },
                { "name": "afield-server", "kind": "dev" },
            ] },
            { "name": "afield-server", "dependencies": [{ "name": "afield", "kind": null }] },
            { "name": "afield-extra", "dependencies": [] },
        ] });
        assert_eq!(
            wrong_arrows(&metadata),
            [
                "afield → afield-server (dev) is not allowed",
                "afield-server → afield (normal) is not allowed",
                "afield-extra is a package without a place in the layers",
            ]
        );
    }

    #[test]
    fn an_unwanted_package_is_found_in_a_tree() {
        let tree = "afield v0.1.0 (/somewhere)\nureq v3.1.0\nserde v1.0.0\ntokio v1.0.0 (*)\n";
        assert_eq!(
            listed(&package_names(tree), &RUNTIMES_AND_SOCKETS),
            ["ureq", "tokio"]
        );
    }

    #[test]
    fn the_native_driver_is_seen_to_bring_sockets() {
        let tree = dependencies(&["-p", "afield", "--features", "native"]);
        assert!(!listed(&tree, &RUNTIMES_AND_SOCKETS).is_empty(), "{tree:?}");
    }

    #[test]
    fn code_counts_and_comments_do_not() {
        let text = "//! Only here rusqlite.\nuse rusqlite::Row;\n    // rusqlite\nlet a = 1;\n";
        assert_eq!(lines_with(text, &["rusqlite"]), [2]);
    }
}

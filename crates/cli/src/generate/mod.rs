//! `afield generate`: code for an app, from the model.

mod layout;
mod names;
mod rust;
mod types;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::failure::Failure;
use crate::model::{ModelArgs, resolved};
use crate::output::Output;

/// `afield generate`.
#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    #[command(subcommand)]
    language: Language,
}

#[derive(Subcommand, Debug)]
enum Language {
    /// Write a Rust file with a type for each local entity.
    Rust(RustArgs),
}

/// Write a Rust file with a type for each local entity.
///
/// An app that uses the crate `afield` works with its rows by these types:
///
///   afield generate rust --out src/model.rs      then, in src/main.rs: mod model;
///
///   let id = Visit::create(&mut store, &NewVisit { title: "Roof".into(), ..Default::default() })?;
///   Visit::update(&mut store, &id, &VisitPatch { notes: Field::Null, ..Default::default() })?;
///   let open = Visit::query(&mut store, "WHERE done = ?1 ORDER BY title", [false.into()])?;
///
/// Equal models give equal bytes. Commit the file, and let the build server hold it to the model
/// with --check. Names that Rust cannot have are made to fit; give an attribute another local name
/// in the model file (attributes = [{ town = "City / Ort" }]) if you do not like what comes out.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
struct RustArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write; without it the code goes to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over a file that this command did not write.
    #[arg(long, requires = "out")]
    force: bool,
    /// Write nothing; fail if FILE is not what would be written.
    #[arg(long, requires = "out", conflicts_with = "force")]
    check: bool,
}

/// Generates code.
pub(crate) fn run(args: &GenerateArgs, out: &Output) -> Result<(), Failure> {
    let Language::Rust(args) = &args.language;
    let file = args.model.read(None, out)?;
    let model = resolved(&file)?.device;
    let text = rust::generate(&model);
    let Some(path) = &args.out else {
        out.json(&json!({ "fingerprint": model.fingerprint(), "code": text }));
        if !out.is_json() {
            out.print(text.trim_end());
        }
        return Ok(());
    };
    let there = present(path)?;
    let is_current = there.as_deref() == Some(text.as_str());
    if args.check {
        return check(args, path, is_current, out);
    }
    match there {
        _ if is_current => {}
        Some(there) if !args.force && !there.starts_with(rust::MARK) => {
            let message = format!(
                "{} was not written by `afield generate rust`: name another file with --out, or \
                 write over it with --force",
                path.display()
            );
            return Err(Failure::refused("exists", message));
        }
        _ => write(path, &text)?,
    }
    out.json(&json!({
        "file": path,
        "fingerprint": model.fingerprint(),
        "entities": model.entities.len(),
        "changed": !is_current,
    }));
    out.say(&match is_current {
        true => format!("{} is as the model wants it already.", path.display()),
        false => format!(
            "Wrote {}: {} entities of model version {}, fingerprint {}.",
            path.display(),
            model.entities.len(),
            model.version,
            model.fingerprint()
        ),
    });
    Ok(())
}

fn check(args: &RustArgs, path: &Path, is_current: bool, out: &Output) -> Result<(), Failure> {
    if !is_current {
        let message = format!(
            "{0} is not what the model gives; run `afield generate rust --model {1} --out {0}`",
            path.display(),
            args.model.model.display()
        );
        return Err(Failure::refused("outdated", message));
    }
    out.json(&json!({ "file": path, "changed": false }));
    out.say(&format!("{} is what the model gives.", path.display()));
    Ok(())
}

/// The text that is there, if there is a file.
fn present(path: &Path) -> Result<Option<String>, Failure> {
    if path.is_dir() {
        let message = format!(
            "{} is a folder; --out names the file, such as {}",
            path.display(),
            path.join("model.rs").display()
        );
        return Err(Failure::usage(message));
    }
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", path, &error)),
    }
}

/// Writes the file whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("rs.new");
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(|error| {
        // What was written beside it is of no use; the file itself is as it was.
        let _ = fs::remove_file(&beside);
        cannot("write", path, &error)
    })
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::refused("file", format!("cannot {what} {}: {error}", path.display()))
}

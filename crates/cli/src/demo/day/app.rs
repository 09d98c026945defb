//! An app as a process of its own, so that it can die as apps do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value as Json, json};

use super::ensure;
use crate::failure::Failure;

/// What of this program's environment is not for the app: it knows its server and its token.
const NOT_FOR_IT: [&str; 5] = [
    "AFIELD_TOKEN",
    "AFIELD_TOKEN_COMMAND",
    "AFIELD_SERVER",
    "AFIELD_KEY",
    "AFIELD_ROOTS",
];

/// Runs Ann's app, has it execute one statement, and kills it when it has said that this is
/// written: no warning, nothing closed.
pub(super) fn writes_and_dies(phone: &Path, sql: &str, id: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::refused("app", format!("the app: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .arg("device")
        .arg(phone)
        .args(["--user", "ann", "--repl"]);
    for name in NOT_FOR_IT {
        command.env_remove(name);
    }
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut app = App(child.map_err(failed)?);
    let request = json!({ "do": "exec", "sql": sql, "params": [id] });
    let input = app.0.stdin.as_mut();
    input
        .map_or(Ok(()), |input| {
            writeln!(input, "{request}").and_then(|()| input.flush())
        })
        .map_err(failed)?;
    let mut answer = String::new();
    if let Some(output) = app.0.stdout.take() {
        BufReader::new(output)
            .read_line(&mut answer)
            .map_err(failed)?;
    }
    let is_written = serde_json::from_str(&answer).is_ok_and(|answer: Json| answer["ok"] == true);
    ensure(is_written, format!("the app has written: {answer}"))
}

/// A process that is killed when nobody needs it any more.
struct App(Child);

impl Drop for App {
    fn drop(&mut self) {
        // It may be dead already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! Tokens from a command of the shell.

use std::process::{Command, Stdio};

use afield::Error;
use afield::native::TokenSource;
use afield_protocol::Code;

/// Asks `command` for the next token: the first word that it prints, or none if it prints nothing.
/// What it says on standard error goes to the person. One that fails may succeed later.
pub(super) fn from_command(command: String) -> TokenSource {
    TokenSource::callback(move |_| {
        let failed = |why: String| {
            Error::new(
                Code::UNREACHABLE,
                format!("no token from `{command}`: {why}"),
            )
        };
        let output = Command::new("sh")
            .args(["-c", &command])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(output.status.to_string()));
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        Ok(printed.split_whitespace().next().map(str::to_owned))
    })
}

//! Starting other programs: always in the workspace's folder, never asking for input.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// What `cargo run` says about xtask itself. Handed on, it would look to build scripts like a
/// changed environment, and what they built would be built again at every change between
/// `cargo xtask test` and plain `cargo test`.
const XTASK_ONLY: [&str; 4] = [
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
];

/// The cargo that runs this chore, at work in `root`.
pub(crate) fn cargo(root: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    program(Path::new(&cargo), root)
}

/// Any other program, at work in `root`.
pub(crate) fn program(path: &Path, root: &Path) -> Command {
    let mut command = Command::new(path);
    command.current_dir(root).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let spelled = name.to_string_lossy();
        if XTASK_ONLY.iter().any(|prefix| spelled.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs to the end; its output goes where ours goes.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool, String> {
    let status = command
        .status()
        .map_err(|error| cannot_start(command, &error))?;
    Ok(status.success())
}

/// Runs to the end and hands each line of its standard output to `see` once it has been printed.
pub(crate) fn succeeds_seen(
    command: &mut Command,
    see: &mut dyn FnMut(&str),
) -> Result<bool, String> {
    command.stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| cannot_start(command, &error))?;
    let output = child
        .stdout
        .take()
        .expect("standard output was piped two lines above");
    pass_through(output, &mut std::io::stdout(), see)
        .map_err(|error| format!("could not pass on what was printed: {error}"))?;
    let status = child
        .wait()
        .map_err(|error| cannot_start(command, &error))?;
    Ok(status.success())
}

/// Runs to the end, silently: whether it succeeded, and both its outputs.
pub(crate) fn output(command: &mut Command) -> Result<(bool, String), String> {
    let output = command
        .output()
        .map_err(|error| cannot_start(command, &error))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

/// The command as a person would type it.
pub(crate) fn spelled(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_stem()
        .unwrap_or_default();
    let mut words = vec![name.to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("`{}` could not be run: {error}", spelled(command))
}

/// Copies byte by byte, so that a test that prints something else than UTF-8 stops nothing.
fn pass_through(
    from: impl Read,
    to: &mut impl Write,
    see: &mut dyn FnMut(&str),
) -> std::io::Result<()> {
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        see(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_seen_and_every_byte_is_passed_on() {
        let given: &[u8] = b"one\n\xff\xfe two\r\nno end of line";
        let mut printed = Vec::new();
        let mut seen = Vec::new();
        pass_through(given, &mut printed, &mut |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(printed, given);
        assert_eq!(seen, ["one", "\u{fffd}\u{fffd} two", "no end of line"]);
    }

    #[test]
    fn a_command_is_spelled_without_its_folder() {
        let mut command = Command::new("/some/where/cargo");
        command.args(["test", "--workspace"]);
        assert_eq!(spelled(&command), "cargo test --workspace");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let missing = Path::new("/nowhere/afield-no-such-program");
        let message = succeeds(&mut program(missing, Path::new("/"))).unwrap_err();
        assert!(
            message.contains("`afield-no-such-program` could not be run"),
            "{message}"
        );
    }
}

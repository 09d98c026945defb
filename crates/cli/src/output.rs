//! What a command prints: words for people, or JSON for scripts.

use std::io::Write as _;

/// Where the output goes and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    silent: bool,
}

impl Output {
    /// Prints JSON instead of words if `json`.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            silent: false,
        }
    }

    /// Prints nothing: the caller tells the story in its own words.
    pub(crate) fn silent() -> Self {
        Self {
            json: false,
            silent: true,
        }
    }

    /// Whether the caller wants JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Words for people; nothing when the caller wants JSON.
    pub(crate) fn say(&self, text: &str) {
        if !self.json && !self.silent {
            self.print(text);
        }
    }

    /// The result for scripts; nothing when the caller wants words.
    pub(crate) fn json(&self, value: &serde_json::Value) {
        if self.json {
            self.print(&value.to_string());
        }
    }

    /// The result itself, in either form.
    pub(crate) fn print(&self, text: &str) {
        // A reader that went away (`| head`) is no reason to fail.
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }

    /// Something worth knowing that is not the result: to standard error.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

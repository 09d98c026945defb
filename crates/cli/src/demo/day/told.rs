//! What a part of the day says, for people and for scripts.

use serde_json::{Map, Value as Json, json};

use crate::output::Output;

/// Characters of a line behind its label.
const WIDTH: usize = 78;

/// Characters of a label with its indentation.
const LABEL: usize = 18;

/// What a part says: in plain words, with numbers that were counted.
#[derive(Default)]
pub(super) struct Told {
    happened: Vec<String>,
    screen: Vec<String>,
    library: Vec<String>,
    otherwise: Vec<String>,
    facts: Map<String, Json>,
}

impl Told {
    /// What happened; several are paragraphs, here and below.
    pub(super) fn happened(&mut self, text: impl Into<String>) {
        self.happened.push(text.into());
    }

    /// What the user sees.
    pub(super) fn on_the_screen(&mut self, text: impl Into<String>) {
        self.screen.push(text.into());
    }

    /// What the library and the server did about it.
    pub(super) fn the_library(&mut self, text: impl Into<String>) {
        self.library.push(text.into());
    }

    /// What the team would have to write otherwise.
    pub(super) fn without_it(&mut self, text: impl Into<String>) {
        self.otherwise.push(text.into());
    }

    /// Something that was counted, for scripts.
    pub(super) fn fact(&mut self, name: &str, value: impl Into<Json>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// Prints it.
    pub(super) fn print(&self, (part, at, name, title): (usize, &str, &str, &str), out: &Output) {
        out.say(&format!("\n{at}  {title}"));
        for (label, paragraphs) in [
            ("What happens", &self.happened),
            ("On the screen", &self.screen),
            ("The library", &self.library),
            ("Without it", &self.otherwise),
        ] {
            for line in lines(label, paragraphs) {
                out.say(&line);
            }
        }
        out.json(&json!({
            "part": part,
            "at": at,
            "name": name,
            "title": title,
            "happened": self.happened,
            "on_the_screen": self.screen,
            "the_library": self.library,
            "without_it": self.otherwise,
            "counted": self.facts,
        }));
    }
}

/// Paragraphs behind a label, in lines that fit a terminal.
fn lines(label: &str, paragraphs: &[String]) -> Vec<String> {
    let wrapped = paragraphs.iter().flat_map(|text| wrapped(text));
    let line = |(at, text): (usize, String)| {
        let label = if at == 0 { label } else { "" };
        format!("   {label:<width$}{text}", width = LABEL - 3)
    };
    wrapped.enumerate().map(line).collect()
}

/// A paragraph in lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// "1 change", "7 changes".
pub(super) fn count(n: u64, thing: &str) -> String {
    match n {
        1 => format!("1 {thing}"),
        n => format!("{n} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_stand_in_lines_behind_their_label() {
        let long = "word ".repeat(40);
        let lines = lines("Label", &[long.trim().to_owned(), "next".to_owned()]);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[0].starts_with("   Label          word word"));
        assert!(lines[1].starts_with("                  word"));
        assert_eq!(lines[3], "                  next");
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= LABEL + WIDTH)
        );
        let words: usize = lines.iter().map(|line| line.matches("word").count()).sum();
        assert_eq!(words, 40);
    }
}

//! Mistakes in a model file: where, what, and what to do.

use std::fmt;

use afield_protocol::Code;

/// Where something stands in a file: line and column count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A mistake in the model file, or between it and the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ModelError {
    /// The stable code: `model`, or `not-available` for what this version does not build yet.
    pub code: Code,
    /// The file as it was named.
    pub file: String,
    /// Where in the file.
    pub place: Place,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)
    }
}

/// Turns byte offsets into places.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(breaks).collect();
        Self { text, starts }
    }

    pub(super) fn slice(&self, span: &std::ops::Range<usize>) -> Option<&'a str> {
        self.text.get(span.clone())
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        Place {
            line,
            column: before.chars().count() + 1,
        }
    }
}

/// `did you mean …?`, or the names there are; for the end of a message.
pub(super) fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    let wrong = wrong.to_lowercase();
    let nearest = known
        .iter()
        .map(|name| (distance(&wrong, &name.to_lowercase()), *name))
        .min();
    match nearest {
        Some((far, name)) if far <= 1 + wrong.chars().count() / 3 => {
            format!("did you mean `{name}`?")
        }
        Some(_) => {
            let shown: Vec<String> = known.iter().take(8).map(|n| format!("`{n}`")).collect();
            let more = if known.len() > shown.len() {
                ", …"
            } else {
                ""
            };
            format!("there is {}{more}", shown.join(", "))
        }
        None => "there is none".to_owned(),
    }
}

/// How many letters must be added, dropped or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    // Names are short; a long one is no typing mistake of another.
    let b: Vec<char> = b.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(128).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let changed = diagonal + usize::from(x != *y);
            diagonal = *cell;
            *cell = changed.min(left + 1).min(diagonal + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_in_characters() {
        let lines = Lines::new("ab\nÄb\n");
        assert_eq!(lines.place(0), Place { line: 1, column: 1 });
        assert_eq!(lines.place(5), Place { line: 2, column: 2 });
        assert_eq!(lines.place(99).line, 3);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("atributes", "attributes"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(suggestion("nam", ["name", "note"]), "did you mean `name`?");
        assert_eq!(suggestion("xyzzy", ["name"]), "there is `name`");
    }
}

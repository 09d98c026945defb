//! The words of a condition: names, numbers, texts, signs, and where they stand.

use super::Problem;

/// What kind of word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or keyword without quotes.
    Name,
    /// A name in double quotes, which is never a keyword.
    Quoted,
    /// Digits, perhaps with a point.
    Number,
    /// A text in single quotes.
    Text,
    /// One of `= < <= > >= + -`.
    Sign,
    /// Behind the last word.
    End,
}

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) kind: Kind,
    /// The name or text without its quotes, the digits or the sign.
    pub(super) text: String,
    /// The byte of the text at which it begins.
    pub(super) at: usize,
}

type Rest<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

/// The words of a text, with one of kind [`Kind::End`] behind them.
pub(super) fn words(text: &str) -> Result<Vec<Word>, Problem> {
    let mut words = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if c.is_whitespace() {
            continue;
        }
        let (kind, text) = match c {
            '"' | '\'' => {
                let kind = if c == '"' { Kind::Quoted } else { Kind::Text };
                let inner = quoted(&mut rest, c).ok_or_else(|| Problem {
                    at,
                    message: format!("what stands in quotes has no end; write {c} behind it"),
                })?;
                (kind, inner)
            }
            c if c.is_ascii_digit() => {
                let is_digit = |c: char| c.is_ascii_digit() || c == '.';
                (Kind::Number, run(&mut rest, c, is_digit))
            }
            c if is_of_name(c) => (Kind::Name, run(&mut rest, c, is_of_name)),
            '<' | '>' => (Kind::Sign, run(&mut rest, c, |c| c == '=')),
            '=' | '+' | '-' => (Kind::Sign, c.to_string()),
            c => return Err(unknown(at, c)),
        };
        words.push(Word { kind, text, at });
    }
    words.push(Word {
        kind: Kind::End,
        text: String::new(),
        at: text.trim_end().len(),
    });
    Ok(words)
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn run(rest: &mut Rest<'_>, first: char, is_of_it: impl Fn(char) -> bool) -> String {
    let mut text = String::from(first);
    while let Some((_, next)) = rest.next_if(|(_, next)| is_of_it(*next)) {
        text.push(next);
    }
    text
}

/// The rest of what stands in quotes; two of them in a row are one of its characters.
fn quoted(rest: &mut Rest<'_>, quote: char) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            (_, c) if c == quote && rest.next_if(|(_, next)| *next == quote).is_none() => {
                return Some(text);
            }
            (_, c) => text.push(c),
        }
    }
}

fn unknown(at: usize, c: char) -> Problem {
    let remedy = match c {
        '!' => "no such comparison is allowed here",
        '.' => "the column is one of the row itself, not of one that it refers to",
        ':' => "who asks does not matter here; `scope` says whose rows they are",
        '`' | '[' | ']' => "names are quoted with \"",
        _ => "names with other characters than letters, digits and _ stand in \"quotes\"",
    };
    Problem {
        at,
        message: format!("`{}` has no meaning here; {remedy}", c.escape_debug()),
    }
}

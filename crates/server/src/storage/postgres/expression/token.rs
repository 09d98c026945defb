//! The pieces of an expression.

/// A piece of SQL text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A word without quotes, in lower case.
    Word(String),
    /// A name in quotes, unquoted.
    Quoted(String),
    /// A string literal, unquoted.
    Text(String),
    /// A number.
    Number(String),
    /// An operator or a parenthesis.
    Sign(String),
}

/// Signs that stand alone.
const ALONE: &str = "()[],.";

/// All pieces; `None` where a string has escapes that are not read here.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, behind) = match first {
            '\'' => quoted(rest, '\'').map(|(text, rest)| (Token::Text(text), rest))?,
            '"' => quoted(rest, '"').map(|(name, rest)| (Token::Quoted(name), rest))?,
            'E' if rest.starts_with("E'") => {
                let (text, behind) = quoted(rest.get(1..)?, '\'')?;
                (Token::Text(unescaped(&text)?), behind)
            }
            c if c.is_ascii_digit() => {
                let (number, rest) = while_(rest, |c| c.is_ascii_digit() || c == '.');
                (Token::Number(number.to_owned()), rest)
            }
            c if is_letter(c) => {
                let (word, rest) = while_(rest, |c| is_letter(c) || c.is_ascii_digit() || c == '$');
                (Token::Word(word.to_lowercase()), rest)
            }
            c if ALONE.contains(c) => (Token::Sign(c.to_string()), rest.get(1..)?),
            c if c.is_ascii_punctuation() => {
                let (sign, rest) = while_(rest, |c| {
                    c.is_ascii_punctuation() && !ALONE.contains(c) && !"'\"_".contains(c)
                });
                (Token::Sign(sign.to_owned()), rest)
            }
            _ => return None,
        };
        found.push(token);
        rest = behind.trim_start();
    }
    Some(found)
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn while_(text: &str, is_part: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// What stands in quotes at the beginning, and what behind them; doubled quotes stand for one.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let inner = text.strip_prefix(quote)?;
    let mut found = String::new();
    let mut signs = inner.char_indices().peekable();
    while let Some((at, sign)) = signs.next() {
        if sign != quote {
            found.push(sign);
        } else if signs.next_if(|(_, next)| *next == quote).is_some() {
            found.push(quote);
        } else {
            return Some((found, inner.get(at + 1..)?));
        }
    }
    None
}

/// PostgreSQL writes no other escape than the doubled backslash.
fn unescaped(text: &str) -> Option<String> {
    let mut found = String::new();
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        if sign == '\\' && signs.next() != Some('\\') {
            return None;
        }
        found.push(sign);
    }
    Some(found)
}

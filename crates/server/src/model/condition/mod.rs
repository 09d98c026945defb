//! What `delete` and `keep` say of a row: one column of it, held against a value or against time.
//!
//! ```text
//!   delete    = name "=" literal | name "is" "not" "null"
//!   literal   = "true" | "false" | number | "'" text "'"
//!   keep      = name ( "<" | "<=" | ">" | ">=" ) "now" [ ( "+" | "-" ) duration ]
//! ```

mod word;

use afield_protocol::{Comparison, Literal};

use self::word::{Kind, Word, words};
use super::error::suggestion;
use super::quantity;
use super::reader::{At, Text};

/// Longest duration of a window: a hundred years, so that no bound leaves the calendar.
const SECONDS_MAX: i64 = 36_500 * 86_400;

/// `delete = "…"` as the file says it.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenDelete {
    /// The server's column.
    pub column: At<String>,
    /// What makes it a deleted row.
    pub when: At<WrittenWhen>,
}

/// What the column of a deleted row holds, as the file says it.
#[derive(Clone, Debug, PartialEq)]
pub enum WrittenWhen {
    /// This value; truth values are those words.
    Truth(bool),
    /// This number or text.
    Is(Literal),
    /// Anything but null.
    IsNotNull,
}

/// `keep = "…"` as the file says it.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenKeep {
    /// The server's column.
    pub column: At<String>,
    /// How it compares in rows that devices have.
    pub comparison: Comparison,
    /// With what: so many seconds from now, into the past if negative.
    pub seconds: i64,
}

/// Something in the text that is not allowed there.
struct Problem {
    /// The byte of the text at which it begins.
    at: usize,
    /// What was found and what is allowed.
    message: String,
}

/// What the text of a `delete` says.
///
/// # Errors
/// The place of what is not allowed, what was found, and what is allowed.
pub(super) fn parse_delete(text: &Text) -> Result<WrittenDelete, At<String>> {
    parsed(text, |parser| parser.delete())
}

/// What the text of a `keep` says.
///
/// # Errors
/// The place of what is not allowed, what was found, and what is allowed.
pub(super) fn parse_keep(text: &Text) -> Result<WrittenKeep, At<String>> {
    parsed(text, |parser| parser.keep())
}

fn parsed<T>(
    text: &Text,
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, Problem>,
) -> Result<T, At<String>> {
    let placed = |problem: Problem| At {
        value: problem.message,
        place: text.place_of(problem.at),
    };
    let words = words(&text.value).map_err(placed)?;
    let mut parser = Parser {
        text,
        words,
        next: 0,
    };
    parse(&mut parser).map_err(placed)
}

struct Parser<'a> {
    text: &'a Text,
    /// Never empty: the last one is the end.
    words: Vec<Word>,
    next: usize,
}

impl Parser<'_> {
    fn delete(&mut self) -> Result<WrittenDelete, Problem> {
        let column = self.column()?;
        let at = self.peek().at;
        let when = if self.take("is") {
            self.not_null()?;
            WrittenWhen::IsNotNull
        } else if self.take("=") {
            self.literal()?
        } else {
            return self.expected("`= LITERAL` or `is not null` behind the column");
        };
        let when = At {
            value: when,
            place: self.text.place_of(at),
        };
        match self.peek().kind {
            Kind::End => Ok(WrittenDelete { column, when }),
            _ => self.expected("the end: one column decides"),
        }
    }

    fn keep(&mut self) -> Result<WrittenKeep, Problem> {
        let column = self.column()?;
        let comparison = match Comparison::parse(self.bare()) {
            Some(comparison) if self.peek().kind == Kind::Sign => comparison,
            _ => return self.expected("`<`, `<=`, `>` or `>=` behind the column"),
        };
        self.next += 1;
        if !self.take("now") {
            return self.expected("`now` behind the comparison");
        }
        let seconds = if self.peek().kind == Kind::End {
            0
        } else if self.take("+") {
            self.seconds()?
        } else if self.take("-") {
            -self.seconds()?
        } else {
            return self.expected("`+` or `-` and a duration behind `now`");
        };
        Ok(WrittenKeep {
            column,
            comparison,
            seconds,
        })
    }

    /// The duration that is the rest of the text, in whole seconds.
    fn seconds(&mut self) -> Result<i64, Problem> {
        let rest = self.text.value.get(self.peek().at..).unwrap_or_default();
        let duration = match quantity::duration(rest) {
            Ok(duration) => duration,
            Err(message) => return self.fail(message),
        };
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        if duration.subsec_millis() > 0 || seconds > SECONDS_MAX {
            return self.fail("a window is whole seconds, up to 36500 days");
        }
        Ok(seconds)
    }

    fn not_null(&mut self) -> Result<(), Problem> {
        if self.is("null") {
            return self.fail(
                "rows that are null here cannot be the deleted ones: write `is not null`, or \
                 `COLUMN = LITERAL`",
            );
        }
        if !self.take("not") || !self.take("null") {
            return self.expected("`not null` behind `is`");
        }
        Ok(())
    }

    fn literal(&mut self) -> Result<WrittenWhen, Problem> {
        const ALLOWED: &str = "`true`, `false`, a number or a text in 'single quotes'";
        for (word, truth) in [("true", true), ("false", false)] {
            if self.take(word) {
                return Ok(WrittenWhen::Truth(truth));
            }
        }
        if self.is("null") {
            return self.fail("nothing equals null; write `is not null`");
        }
        let Word { kind, text, .. } = self.peek().clone();
        if kind == Kind::Text {
            self.next += 1;
            return Ok(WrittenWhen::Is(Literal::Text(text)));
        }
        let sign = if self.take("-") { "-" } else { "" };
        if self.peek().kind == Kind::Number {
            let digits = format!("{sign}{}", self.peek().text);
            let integer = digits.parse().map(Literal::Integer);
            let number = integer.or_else(|_| digits.parse().map(Literal::Real));
            let Ok(number) = number else {
                return self.expected("a number");
            };
            self.next += 1;
            return Ok(WrittenWhen::Is(number));
        }
        if matches!(self.peek().kind, Kind::Name | Kind::Quoted) {
            let near = suggestion(self.bare(), ["true", "false"]);
            let found = self.shown();
            return self.fail(format!("expected {ALLOWED}, found {found}; {near}"));
        }
        self.expected(ALLOWED)
    }

    fn column(&mut self) -> Result<At<String>, Problem> {
        let Word { kind, text, at } = self.peek().clone();
        if !matches!(kind, Kind::Name | Kind::Quoted) {
            return self.expected("a column");
        }
        self.next += 1;
        let place = self.text.place_of(at);
        Ok(At { value: text, place })
    }

    fn peek(&self) -> &Word {
        let last = self.words.len().saturating_sub(1);
        let at = self.next.min(last);
        self.words
            .get(at)
            .expect("the end is always there, and nobody steps behind it")
    }

    fn is(&self, word: &str) -> bool {
        let found = self.peek();
        matches!(found.kind, Kind::Name | Kind::Sign) && found.text.eq_ignore_ascii_case(word)
    }

    fn take(&mut self, word: &str) -> bool {
        let is = self.is(word);
        self.next += usize::from(is);
        is
    }

    fn bare(&self) -> &str {
        &self.peek().text
    }

    fn shown(&self) -> String {
        match self.peek().kind {
            Kind::End => "the end".to_owned(),
            _ => format!("`{}`", self.bare().escape_debug()),
        }
    }

    fn expected<T>(&self, what: &str) -> Result<T, Problem> {
        self.fail(format!("expected {what}, found {}", self.shown()))
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Problem> {
        Err(Problem {
            at: self.peek().at,
            message: message.into(),
        })
    }
}

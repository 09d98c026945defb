//! `scope = "…"`: whose rows, as a person writes it.
//!
//! ```text
//!   scope     = "everyone" | any
//!   any       = all { "or" all }
//!   all       = one { "and" one }
//!   one       = "(" any ")" | path "=" ":user" | path "=" ":claim" "." name | path "in" name
//!   path      = name { "." name }
//! ```
//!
//! The result is in disjunctive normal form: a list of ways in, each a list of conditions.

mod token;

use self::token::{Kind, Problem, Token, tokens};
use super::error::suggestion;
use super::reader::{At, Text};
use crate::resolved::Holds;

/// Most conditions of all ways in together: each is a column of every row on the device, and
/// `and` over `or` multiplies them.
pub const CONDITIONS_MAX: usize = 64;

/// Deepest nesting of parentheses: nobody reads more, and the parser recurses.
const DEPTH_MAX: usize = 32;

const KEYWORDS: [&str; 4] = ["and", "or", "in", "everyone"];

const COMPARISONS: &str = "`= :user`, `= :claim.NAME` or `in SCOPE`";

/// A scope as the file says it.
#[derive(Clone, Debug, PartialEq)]
pub enum WrittenScope {
    /// All rows, whoever asks.
    Everyone,
    /// The ways in; a row is the user's if every condition of one holds.
    Ways(Vec<Vec<WrittenCondition>>),
}

/// A condition as the file says it.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenCondition {
    /// Foreign keys, then a column: never empty.
    pub path: Vec<At<String>>,
    /// What the value must be among.
    pub holds: At<Holds>,
}

impl WrittenCondition {
    /// Whether it says the same, wherever it stands.
    fn is_same(&self, other: &Self) -> bool {
        let names = |condition: &Self| -> Vec<String> {
            condition.path.iter().map(|at| at.value.clone()).collect()
        };
        self.holds.value == other.holds.value && names(self) == names(other)
    }
}

type Ways = Vec<Vec<WrittenCondition>>;

/// What a text says.
///
/// # Errors
/// The place of what is not allowed, what was found, and what is allowed.
pub(super) fn parse(text: &Text) -> Result<WrittenScope, At<String>> {
    let placed = |problem: Problem| At {
        value: problem.message,
        place: text.place_of(problem.at),
    };
    let tokens = tokens(&text.value).map_err(placed)?;
    let mut parser = Parser {
        text,
        tokens,
        next: 0,
    };
    parser.scope().map_err(placed)
}

/// The path that a text is: foreign keys, then a column.
///
/// # Errors
/// As [`parse`].
pub(super) fn parse_path(text: &Text) -> Result<Vec<At<String>>, At<String>> {
    let placed = |problem: Problem| At {
        value: problem.message,
        place: text.place_of(problem.at),
    };
    let tokens = tokens(&text.value).map_err(placed)?;
    let mut parser = Parser {
        text,
        tokens,
        next: 0,
    };
    let path = parser.path().map_err(placed)?;
    match parser.peek().kind {
        Kind::End => Ok(path),
        _ => parser.expected("`.` or the end").map_err(placed),
    }
}

/// A name as it stands in a scope, in quotes where it must.
pub(crate) fn name_in_scope(name: &str) -> String {
    let is_plain = !name.is_empty() && name.chars().all(token::is_of_name);
    let is_keyword = KEYWORDS.iter().any(|word| word.eq_ignore_ascii_case(name));
    match is_plain && !is_keyword && !name.eq_ignore_ascii_case("not") {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

struct Parser<'a> {
    text: &'a Text,
    /// Never empty: the last one is the end.
    tokens: Vec<Token>,
    next: usize,
}

impl Parser<'_> {
    fn scope(&mut self) -> Result<WrittenScope, Problem> {
        if self.peek().kind == Kind::End {
            return self.expected("a scope: `everyone`, or a column and what it must be");
        }
        let is_everyone = self.is_word("everyone");
        if is_everyone && self.tokens.len() == 2 {
            return Ok(WrittenScope::Everyone);
        }
        if let ([only, _], Kind::Name) = (self.tokens.as_slice(), self.peek().kind) {
            let near = suggestion(&only.text, ["everyone"]);
            if near.starts_with("did you mean") {
                let message = format!("unknown scope `{}`; {near}", only.text);
                return Err(Problem {
                    at: only.at,
                    message,
                });
            }
        }
        let ways = self.any(0)?;
        match self.peek().kind {
            Kind::End => Ok(WrittenScope::Ways(ways)),
            _ => self.expected("`and`, `or` or the end"),
        }
    }

    fn any(&mut self, depth: usize) -> Result<Ways, Problem> {
        let at = self.peek().at;
        let mut ways = self.all(depth)?;
        while self.take_word("or") {
            ways.extend(self.all(depth)?);
            ways = bounded(ways, at)?;
        }
        Ok(ways)
    }

    fn all(&mut self, depth: usize) -> Result<Ways, Problem> {
        let at = self.peek().at;
        let mut ways = self.one(depth)?;
        while self.take_word("and") {
            let others = self.one(depth)?;
            let both = |a: &Vec<WrittenCondition>, b: &Vec<WrittenCondition>| {
                a.iter().chain(b).cloned().collect()
            };
            // Either side has at most 64 ways, so this is small even before it is refused.
            let pairs = ways
                .iter()
                .flat_map(|a| others.iter().map(move |b| both(a, b)));
            ways = bounded(pairs.collect(), at)?;
        }
        Ok(ways)
    }

    fn one(&mut self, depth: usize) -> Result<Ways, Problem> {
        if !self.is_sign("(") {
            return Ok(vec![vec![self.condition()?]]);
        }
        if depth == DEPTH_MAX {
            return self.fail(format!("more than {DEPTH_MAX} parentheses in each other"));
        }
        self.next += 1;
        let ways = self.any(depth + 1)?;
        if !self.take_sign(")") {
            return self.expected("`and`, `or` or `)`");
        }
        Ok(ways)
    }

    fn condition(&mut self) -> Result<WrittenCondition, Problem> {
        if self.is_word("everyone") {
            return self.fail(
                "`everyone` stands alone: with `or` it would let all rows in, with `and` it would \
                 change nothing; remove it, or all the rest",
            );
        }
        if self.is_word("not") {
            return self.fail(
                "`not` has no meaning here: a scope says which values the user holds; put the \
                 exception into the query of a [scope.NAME]",
            );
        }
        if self.is_sign(":") {
            return self.fail("the column stands first: `COLUMN = :user`");
        }
        let path = self.path()?;
        if self.take_sign("=") {
            let holds = self.held_alone()?;
            return Ok(WrittenCondition { path, holds });
        }
        if !self.take_word("in") {
            return self.expected(&format!("{COMPARISONS} behind the column"));
        }
        if self.is_sign(":") {
            return self.fail("`:user` and claims are single values: write `=` in place of `in`");
        }
        if self.is_sign("(") {
            return self
                .fail("`in` names a scope; put the query under [scope.NAME] and write `in NAME`");
        }
        let name = self.name("the name of a [scope.NAME]")?;
        let holds = At {
            value: Holds::Scope(name.value),
            place: name.place,
        };
        Ok(WrittenCondition { path, holds })
    }

    fn path(&mut self) -> Result<Vec<At<String>>, Problem> {
        let mut path = vec![self.name("a column")?];
        while self.take_sign(".") {
            path.push(self.name("a column behind `.`")?);
        }
        Ok(path)
    }

    /// What stands behind `=`.
    fn held_alone(&mut self) -> Result<At<Holds>, Problem> {
        let place = self.text.place_of(self.peek().at);
        if !self.take_sign(":") {
            let named = matches!(self.peek().kind, Kind::Name | Kind::Quoted);
            let found = self.shown();
            return self.fail(match named {
                true => format!(
                    "expected `:user` or `:claim.NAME` behind `=`, found {found}; for the values \
                     of a query write `in NAME`"
                ),
                false => format!("expected `:user` or `:claim.NAME` behind `=`, found {found}"),
            });
        }
        if self.take_word("user") {
            return Ok(At {
                value: Holds::User,
                place,
            });
        }
        if !self.is_word("claim") {
            let near = suggestion(&self.peek().text, ["user", "claim.NAME"]);
            let message = format!(
                "expected `:user` or `:claim.NAME`, found :{}; {near}",
                self.bare()
            );
            return self.fail(message);
        }
        self.next += 1;
        if !self.take_sign(".") {
            return self.expected("`.` and the name of a claim behind `:claim`");
        }
        let name = self.name("the name of a claim")?;
        Ok(At {
            value: Holds::Claim(name.value),
            place,
        })
    }

    fn name(&mut self, what: &str) -> Result<At<String>, Problem> {
        let is_keyword = KEYWORDS.iter().any(|word| self.is_word(word));
        if is_keyword {
            let found = self.shown();
            return self.fail(format!(
                "expected {what}, found {found}; as a name it stands in \"quotes\""
            ));
        }
        let Token { kind, text, at } = self.peek().clone();
        if !matches!(kind, Kind::Name | Kind::Quoted) {
            return self.expected(what);
        }
        self.next += 1;
        let place = self.text.place_of(at);
        Ok(At { value: text, place })
    }

    fn peek(&self) -> &Token {
        let last = self.tokens.len().saturating_sub(1);
        let at = self.next.min(last);
        self.tokens
            .get(at)
            .expect("the end is always there, and nobody steps behind it")
    }

    fn is_word(&self, word: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Name && token.text.eq_ignore_ascii_case(word)
    }

    fn is_sign(&self, sign: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Sign && token.text == sign
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        self.next += usize::from(is);
        is
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is = self.is_sign(sign);
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

/// The same ways without what stands twice, if they are few enough.
fn bounded(ways: Ways, at: usize) -> Result<Ways, Problem> {
    let mut distinct: Ways = Vec::new();
    for way in ways {
        let mut conditions: Vec<WrittenCondition> = Vec::new();
        for condition in way {
            if !conditions.iter().any(|known| known.is_same(&condition)) {
                conditions.push(condition);
            }
        }
        if !distinct.iter().any(|known| is_same_way(known, &conditions)) {
            distinct.push(conditions);
        }
        if distinct.iter().map(Vec::len).sum::<usize>() > CONDITIONS_MAX {
            return Err(Problem {
                at,
                message: format!(
                    "more than {CONDITIONS_MAX} conditions when `and` is multiplied out over `or`; \
                     put the alternatives into the query of one [scope.NAME] and write `in NAME`"
                ),
            });
        }
    }
    Ok(distinct)
}

fn is_same_way(a: &[WrittenCondition], b: &[WrittenCondition]) -> bool {
    a.len() == b.len() && a.iter().all(|x| b.iter().any(|y| x.is_same(y)))
}

//! CHECK constraints of the simple kinds that a rule of the model can say too. What is not
//! understood whole is left to the database.
//!
//! ```text
//!   x IN ('a', 'b')   length(x) <= 80   x >= 1   x BETWEEN 0 AND 100   x IS NULL OR …   … AND …
//! ```

use afield_protocol::{Literal, Rule, Type};

use super::super::sql_text::{Token, span, tokens};
use crate::catalog::{Check, Table};

/// The CHECK constraints in the text of a `CREATE TABLE`.
pub(super) fn checks(sql: &str, table: &Table) -> Vec<Check> {
    let all = tokens(sql);
    let mut found = Vec::new();
    for at in 0..all.len() {
        let is_check = all.get(at).is_some_and(|token| token.is_word("CHECK"));
        let Some(inside) = is_check.then(|| inside(&all, at + 1)).flatten() else {
            continue;
        };
        let text = span(sql, inside).unwrap_or_default().to_owned();
        let mut reader = Reader {
            tokens: inside,
            table,
            rules: Vec::new(),
        };
        let is_understood = reader.all().is_some() && reader.tokens.is_empty();
        if !is_understood {
            reader.rules.clear();
        }
        found.push(Check {
            text,
            rules: reader.rules,
        });
    }
    found
}

/// What stands between the parenthesis at `open` and its other half.
fn inside<'s, 't>(all: &'s [Token<'t>], open: usize) -> Option<&'s [Token<'t>]> {
    let mut depth = 0;
    for at in open..all.len() {
        match all.get(at)?.text {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (at > open).then(|| all.get(open + 1..at)).flatten();
        }
    }
    None
}

/// Reads one expression; every step gives nothing where it does not understand.
struct Reader<'s, 't> {
    tokens: &'s [Token<'t>],
    table: &'s Table,
    rules: Vec<(String, Rule)>,
}

impl Reader<'_, '_> {
    /// Conditions joined by AND.
    fn all(&mut self) -> Option<()> {
        self.one()?;
        while self.take("AND").is_some() {
            self.one()?;
        }
        Some(())
    }

    fn one(&mut self) -> Option<()> {
        if self.take("(").is_some() {
            self.all()?;
            return self.take(")");
        }
        if self.take("length").is_some() {
            self.take("(")?;
            let (column, _) = self.column()?;
            self.take(")")?;
            return self.length(column);
        }
        let (column, kind) = self.column()?;
        if self.take("IS").is_some() {
            // Null passes every CHECK of this kind anyway.
            self.take("NULL")?;
            self.take("OR")?;
            let known = self.rules.len();
            self.one()?;
            let same = self
                .rules
                .iter()
                .skip(known)
                .all(|(other, _)| *other == column);
            return same.then_some(());
        }
        if self.take("IN").is_some() {
            return self.one_of(column, kind);
        }
        if self.take("BETWEEN").is_some() {
            let min = Some(self.literal(kind)?);
            self.take("AND")?;
            let max = Some(self.literal(kind)?);
            return self.add(
                column,
                Rule {
                    min,
                    max,
                    ..Rule::default()
                },
            );
        }
        self.bound(column, kind)
    }

    fn length(&mut self, column: String) -> Option<()> {
        self.take("<")?;
        let or_equal = self.take("=").is_some();
        let Literal::Integer(most) = self.literal(Type::Integer)? else {
            return None;
        };
        let most = u32::try_from(if or_equal { most } else { most - 1 }).ok()?;
        let max_length = Some(most);
        self.add(
            column,
            Rule {
                max_length,
                ..Rule::default()
            },
        )
    }

    fn one_of(&mut self, column: String, kind: Type) -> Option<()> {
        self.take("(")?;
        let mut one_of = vec![self.literal(kind)?];
        while self.take(",").is_some() {
            one_of.push(self.literal(kind)?);
        }
        self.take(")")?;
        self.add(
            column,
            Rule {
                one_of,
                ..Rule::default()
            },
        )
    }

    fn bound(&mut self, column: String, kind: Type) -> Option<()> {
        let is_min = match self.take(">") {
            Some(()) => true,
            None => {
                self.take("<")?;
                false
            }
        };
        let or_equal = self.take("=").is_some();
        let bound = match (self.literal(kind)?, or_equal) {
            (bound, true) => bound,
            (Literal::Integer(n), false) if kind == Type::Integer => Literal::Integer(if is_min {
                n.checked_add(1)?
            } else {
                n.checked_sub(1)?
            }),
            _ => return None,
        };
        let (min, max) = match is_min {
            true => (Some(bound), None),
            false => (None, Some(bound)),
        };
        self.add(
            column,
            Rule {
                min,
                max,
                ..Rule::default()
            },
        )
    }

    fn add(&mut self, column: String, rule: Rule) -> Option<()> {
        self.rules.push((column, rule));
        Some(())
    }

    /// A column of the table, quoted or not.
    fn column(&mut self) -> Option<(String, Type)> {
        let (first, rest) = self.tokens.split_first()?;
        let name = unquoted(first.text);
        let column = self.table.column(&name)?;
        // A rule compares byte by byte.
        if column.collation.is_some() {
            return None;
        }
        self.tokens = rest;
        Some((column.name.clone(), column.kind))
    }

    fn literal(&mut self, kind: Type) -> Option<Literal> {
        let (first, rest) = self.tokens.split_first()?;
        if let Some(text) = first
            .text
            .strip_prefix('\'')
            .and_then(|t| t.strip_suffix('\''))
        {
            self.tokens = rest;
            return Some(Literal::Text(text.replace("''", "'")));
        }
        let sign = if self.take("-").is_some() { "-" } else { "" };
        let mut number = format!("{sign}{}", self.digits()?);
        if self.take(".").is_some() {
            number = format!("{number}.{}", self.digits()?);
        }
        match kind {
            Type::Decimal => Some(Literal::Text(number)),
            Type::Real => number.parse().ok().map(Literal::Real),
            _ => number.parse().ok().map(Literal::Integer),
        }
    }

    fn digits(&mut self) -> Option<String> {
        let (first, rest) = self.tokens.split_first()?;
        let is_number = first.text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| self.tokens = rest)?;
        Some(first.text.to_owned())
    }

    /// The next token, if it is this word or sign.
    fn take(&mut self, word: &str) -> Option<()> {
        let (first, rest) = self.tokens.split_first()?;
        first.is_word(word).then(|| self.tokens = rest)
    }
}

fn unquoted(text: &str) -> String {
    for (open, close) in [('"', '"'), ('`', '`'), ('[', ']')] {
        if let Some(inner) = text.strip_prefix(open).and_then(|t| t.strip_suffix(close)) {
            return inner.replace(&format!("{close}{close}"), &close.to_string());
        }
    }
    text.to_owned()
}

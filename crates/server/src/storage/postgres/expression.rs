//! Reads expressions as PostgreSQL writes them (`pg_get_expr`), as far as a model can say the
//! same: comparisons with literals, lists, lengths, AND and OR. Anything else gives nothing.

mod token;

use self::token::{Token, tokens};

/// An expression that is understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    /// A column, or VALUE of a domain.
    Name(String),
    /// A string literal.
    Text(String),
    /// A number, as written, with its sign.
    Number(String),
    /// `true`, `false` or `null`, lower case.
    Word(String),
    /// A function, without its schema, and what it is given.
    Call(String, Vec<Self>),
    /// `ARRAY[…]`.
    Array(Vec<Self>),
    /// `a < b` and the like.
    Compare(String, Box<Self>, Box<Self>),
    /// `a = ANY (b)`.
    Any(Box<Self>, Box<Self>),
    /// All of these.
    And(Vec<Self>),
    /// One of these.
    Or(Vec<Self>),
    /// `a IS NULL`.
    IsNull(Box<Self>),
    /// `a::type`, the type without what stands in parentheses.
    Cast(Box<Self>, String),
}

/// Reads one whole expression.
pub(super) fn parse(text: &str) -> Option<Expr> {
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens: &tokens };
    let expr = reader.any_of()?;
    reader.tokens.is_empty().then_some(expr)
}

struct Reader<'t> {
    tokens: &'t [Token],
}

impl Reader<'_> {
    fn any_of(&mut self) -> Option<Expr> {
        let mut all = vec![self.all_of()?];
        while self.word("or") {
            all.push(self.all_of()?);
        }
        one_or(all, Expr::Or)
    }

    fn all_of(&mut self) -> Option<Expr> {
        let mut all = vec![self.comparison()?];
        while self.word("and") {
            all.push(self.comparison()?);
        }
        one_or(all, Expr::And)
    }

    fn comparison(&mut self) -> Option<Expr> {
        let left = Box::new(self.operand()?);
        if self.word("is") {
            return self.word("null").then_some(Expr::IsNull(left));
        }
        let Some(sign) = self.operator() else {
            return Some(*left);
        };
        if self.word("any") {
            let right = Box::new(self.operand()?);
            return (sign == "=").then_some(Expr::Any(left, right));
        }
        Some(Expr::Compare(sign, left, Box::new(self.operand()?)))
    }

    /// Something with the casts that stand behind it.
    fn operand(&mut self) -> Option<Expr> {
        let mut expr = self.primary()?;
        while self.sign("::") {
            expr = Expr::Cast(Box::new(expr), self.type_name()?);
        }
        Some(expr)
    }

    fn primary(&mut self) -> Option<Expr> {
        if self.sign("(") {
            let expr = self.any_of()?;
            return self.sign(")").then_some(expr);
        }
        if self.sign("-") {
            return match self.next()? {
                Token::Number(number) => Some(Expr::Number(format!("-{number}"))),
                _ => None,
            };
        }
        match self.next()? {
            Token::Text(text) => Some(Expr::Text(text)),
            Token::Number(number) => Some(Expr::Number(number)),
            Token::Quoted(name) => self.named(name),
            Token::Word(word) if word == "array" => {
                let inside = self.sign("[").then(|| self.list("]"))?;
                Some(Expr::Array(inside?))
            }
            Token::Word(word) if ["true", "false", "null"].contains(&word.as_str()) => {
                Some(Expr::Word(word))
            }
            // No functions, though they are followed by a parenthesis.
            Token::Word(word) if ["all", "some", "not"].contains(&word.as_str()) => None,
            Token::Word(word) => self.named(word),
            Token::Sign(_) => None,
        }
    }

    /// A column or a call; a function may stand behind its schema.
    fn named(&mut self, mut name: String) -> Option<Expr> {
        while self.sign(".") {
            let (Token::Word(next) | Token::Quoted(next)) = self.next()? else {
                return None;
            };
            name = next;
            if !matches!(self.tokens.first(), Some(Token::Sign(sign)) if sign == "(") {
                return None;
            }
        }
        match self.sign("(") {
            true => Some(Expr::Call(name, self.list(")")?)),
            false => Some(Expr::Name(name)),
        }
    }

    fn list(&mut self, end: &str) -> Option<Vec<Expr>> {
        let mut all = Vec::new();
        if self.sign(end) {
            return Some(all);
        }
        loop {
            all.push(self.any_of()?);
            if self.sign(end) {
                return Some(all);
            }
            self.sign(",").then_some(())?;
        }
    }

    /// `character varying(20)`, `public.mood`, `text[]`, `timestamp(3) without time zone`.
    fn type_name(&mut self) -> Option<String> {
        const MORE: [&str; 6] = ["varying", "precision", "with", "without", "time", "zone"];
        let (Token::Word(mut name) | Token::Quoted(mut name)) = self.next()? else {
            return None;
        };
        loop {
            if self.sign(".") {
                let (Token::Word(next) | Token::Quoted(next)) = self.next()? else {
                    return None;
                };
                name = format!("{name}.{next}");
            } else if self.sign("(") {
                self.list(")")?;
            } else if self.sign("[") {
                self.sign("]").then_some(())?;
                name.push_str("[]");
            } else {
                let Some(more) = MORE.iter().find(|word| self.word(word)) else {
                    return Some(name);
                };
                name = format!("{name} {more}");
            }
        }
    }

    fn operator(&mut self) -> Option<String> {
        const SIGNS: [&str; 5] = ["=", "<", "<=", ">", ">="];
        match self.tokens.first()? {
            Token::Sign(sign) if SIGNS.contains(&sign.as_str()) => {
                let sign = sign.clone();
                self.next()?;
                Some(sign)
            }
            _ => None,
        }
    }

    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    fn sign(&mut self, wanted: &str) -> bool {
        self.take(|token| matches!(token, Token::Sign(sign) if sign == wanted))
    }

    fn word(&mut self, wanted: &str) -> bool {
        self.take(|token| matches!(token, Token::Word(word) if word == wanted))
    }

    fn take(&mut self, is_it: impl Fn(&Token) -> bool) -> bool {
        let Some((first, rest)) = self.tokens.split_first() else {
            return false;
        };
        let is_it = is_it(first);
        if is_it {
            self.tokens = rest;
        }
        is_it
    }
}

fn one_or(mut all: Vec<Expr>, several: impl Fn(Vec<Expr>) -> Expr) -> Option<Expr> {
    match all.len() {
        1 => all.pop(),
        _ => Some(several(all)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_cannot_say_gives_nothing() {
        for text in [
            "",
            "(a",
            "a b",
            "a ~ '^x'::text",
            "NOT a",
            "a <> 1",
            "a.b",
            "CASE WHEN a THEN b END",
            "a[1] = 2",
            "a > ALL (b)",
            "a IS NOT NULL",
            "E'\\u0041'",
            "a + 1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn casts_calls_and_lists_are_read() {
        let name = |name: &str| Box::new(Expr::Name(name.into()));
        let text = |text: &str| Expr::Text(text.into());
        assert_eq!(
            parse("((\"Say \"\"hi\"\"\")::text = ANY (ARRAY['a''b'::text, E'c\\\\d'::text]))"),
            Some(Expr::Any(
                Box::new(Expr::Cast(name("Say \"hi\""), "text".into())),
                Box::new(Expr::Array(vec![
                    Expr::Cast(Box::new(text("a'b")), "text".into()),
                    Expr::Cast(Box::new(text("c\\d")), "text".into()),
                ])),
            ))
        );
        assert_eq!(
            parse("'x'::timestamp(3) without time zone"),
            Some(Expr::Cast(
                Box::new(text("x")),
                "timestamp without time zone".into()
            ))
        );
        assert_eq!(
            parse("nextval('s'::regclass)"),
            Some(Expr::Call(
                "nextval".into(),
                vec![Expr::Cast(Box::new(text("s")), "regclass".into())]
            ))
        );
        assert_eq!(
            parse("((a IS NULL) OR (b >= (-1.5)::numeric))"),
            Some(Expr::Or(vec![
                Expr::IsNull(name("a")),
                Expr::Compare(
                    ">=".into(),
                    name("b"),
                    Box::new(Expr::Cast(
                        Box::new(Expr::Number("-1.5".into())),
                        "numeric".into()
                    ))
                )
            ]))
        );
    }
}

//! Reading and writing SQL text: quoting, putting an expression in the place of a parameter, and
//! finding the parts of a `CREATE INDEX` that SQLite tells nowhere else (the expressions of an
//! index and the condition of a partial one).

/// `name` as an identifier.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a string literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `sql` with `expression` in the place of the parameter `:name`; text and comments stay as they
/// are.
pub(super) fn with_expression(sql: &str, name: &str, expression: &str) -> String {
    let tokens = tokens(sql);
    let mut written = String::new();
    let mut copied = 0;
    for pair in tokens.windows(2) {
        let [colon, word] = pair else {
            continue;
        };
        let is_parameter = colon.text == ":" && word.start == colon.start + 1 && word.text == name;
        if is_parameter {
            written.push_str(sql.get(copied..colon.start).unwrap_or_default());
            written.push_str(expression);
            copied = word.start + word.text.len();
        }
    }
    written.push_str(sql.get(copied..).unwrap_or_default());
    written
}

/// The parts of a `CREATE INDEX` statement.
#[derive(Debug, PartialEq)]
pub(super) struct IndexText {
    /// The indexed columns or expressions, without `COLLATE`, `ASC` and `DESC`.
    pub terms: Vec<String>,
    /// What stands behind `WHERE`.
    pub condition: Option<String>,
}

/// Takes a `CREATE INDEX` statement apart. `None` if it is none.
pub(super) fn index_text(sql: &str) -> Option<IndexText> {
    let tokens = tokens(sql);
    let word = |at: usize| tokens.get(at).map(|token| token.text);
    let open = (0..tokens.len()).find(|at| word(*at) == Some("("))?;
    let mut depth = 0;
    let mut terms = Vec::new();
    let mut start = open + 1;
    let mut close = None;
    for at in open..tokens.len() {
        match word(at)? {
            "(" => depth += 1,
            ")" => depth -= 1,
            "," if depth == 1 => {
                terms.push(term(sql, tokens.get(start..at)?)?);
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            terms.push(term(sql, tokens.get(start..at)?)?);
            close = Some(at);
            break;
        }
    }
    let behind = tokens.get(close? + 1..)?;
    let condition = match behind.first() {
        Some(token) if token.is_word("WHERE") => Some(span(sql, behind.get(1..)?)?.to_owned()),
        Some(_) => return None,
        None => None,
    };
    Some(IndexText { terms, condition })
}

/// One indexed term without its order and collation.
fn term(sql: &str, mut tokens: &[Token<'_>]) -> Option<String> {
    if let [before @ .., last] = tokens
        && (last.is_word("ASC") || last.is_word("DESC"))
    {
        tokens = before;
    }
    if let [before @ .., collate, _] = tokens
        && collate.is_word("COLLATE")
    {
        tokens = before;
    }
    Some(span(sql, tokens)?.to_owned())
}

pub(super) fn span<'a>(sql: &'a str, tokens: &[Token<'a>]) -> Option<&'a str> {
    let first = tokens.first()?;
    let last = tokens.last()?;
    sql.get(first.start..last.start + last.text.len())
}

/// A piece of SQL text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    start: usize,
    pub text: &'a str,
}

impl Token<'_> {
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }
}

/// Words, numbers, quoted things and single characters; blanks and comments left out.
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        let length = token_length(rest);
        let text = rest.get(..length).unwrap_or(rest);
        let is_blank = text.starts_with(|c: char| c.is_ascii_whitespace())
            || text.starts_with("--")
            || text.starts_with("/*");
        if !is_blank {
            found.push(Token { start: at, text });
        }
        at += text.len();
    }
    found
}

fn token_length(rest: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
    let Some(first) = rest.chars().next() else {
        return 0;
    };
    match first {
        '\'' | '"' | '`' => quoted_length(rest, first),
        '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
        '-' if rest.starts_with("--") => rest.find('\n').map_or(rest.len(), |end| end + 1),
        '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
        c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
        c => c.len_utf8(),
    }
}

/// The length of a quoted thing in which a doubled quote stands for one.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(end) = rest.get(at..).and_then(|rest| rest.find(quote)) {
        at += end + 1;
        if !rest.get(at..).is_some_and(|rest| rest.starts_with(quote)) {
            return at;
        }
        at += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_takes_a_parameters_place_and_nothing_else_does() {
        for (sql, expected) in [
            (":value", "(x)"),
            ("a=:value AND:value=b", "a=(x) AND(x)=b"),
            ("':value' :value \":value\"", "':value' (x) \":value\""),
            (
                "[:value] `:value` 'it''s :value'",
                "[:value] `:value` 'it''s :value'",
            ),
            (
                "-- :value\n:value /* :value */",
                "-- :value\n(x) /* :value */",
            ),
            (
                ":values :value_ :valué :VALUE : value",
                ":values :value_ :valué :VALUE : value",
            ),
            ("é:value", "é(x)"),
        ] {
            assert_eq!(with_expression(sql, "value", "(x)"), expected, "{sql}");
        }
    }

    #[test]
    fn indexes_come_apart() {
        let parts = |sql| {
            let text = index_text(sql).unwrap();
            (text.terms, text.condition)
        };
        let list = |terms: &[&str]| terms.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            parts("CREATE UNIQUE INDEX \"a(b\" ON t(x, lower(y || ',') COLLATE nocase DESC)"),
            (list(&["x", "lower(y || ',')"]), None)
        );
        assert_eq!(
            parts("CREATE UNIQUE INDEX i ON [t)] (a ASC /* , */, \"b\"\"c\") WHERE a > '('' '"),
            (list(&["a", "\"b\"\"c\""]), Some("a > '('' '".into()))
        );
        assert_eq!(index_text("CREATE TABLE t"), None);
    }
}

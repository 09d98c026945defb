//! The words of a scope: names, signs, and where they stand.

/// What kind of word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or keyword without quotes.
    Name,
    /// A name in double quotes, which is never a keyword.
    Quoted,
    /// One of `= . : ( )`.
    Sign,
    /// Behind the last word.
    End,
}

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// The name without its quotes, or the sign.
    pub(super) text: String,
    /// The byte of the text at which it begins.
    pub(super) at: usize,
}

/// Something in the text that is not allowed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The byte of the text at which it begins.
    pub(super) at: usize,
    /// What was found and what is allowed.
    pub(super) message: String,
}

/// The words of a text, with one of kind [`Kind::End`] behind them.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let mut token = Token {
            kind: Kind::Sign,
            text: c.to_string(),
            at,
        };
        if c.is_whitespace() {
            continue;
        } else if is_of_name(c) {
            token.kind = Kind::Name;
            while let Some((_, next)) = rest.next_if(|(_, next)| is_of_name(*next)) {
                token.text.push(next);
            }
        } else if c == '"' {
            token.kind = Kind::Quoted;
            token.text = quoted(&mut rest).ok_or_else(|| Problem {
                at,
                message: "a name in quotes has no end; write \" behind it".to_owned(),
            })?;
        } else if !"=.:()".contains(c) {
            return Err(unknown(at, c));
        }
        tokens.push(token);
    }
    tokens.push(Token {
        kind: Kind::End,
        text: String::new(),
        at: text.trim_end().len(),
    });
    Ok(tokens)
}

pub(super) fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The rest of a name in quotes; two quotes in a row are one of the name.
fn quoted(rest: &mut std::iter::Peekable<std::str::CharIndices<'_>>) -> Option<String> {
    let mut name = String::new();
    loop {
        match rest.next()? {
            (_, '"') if rest.next_if(|(_, next)| *next == '"').is_none() => return Some(name),
            (_, c) => name.push(c),
        }
    }
}

fn unknown(at: usize, c: char) -> Problem {
    let remedy = match c {
        '\'' => {
            "a scope compares with what the user holds, never with a fixed text; names are quoted \
             with \""
        }
        '!' | '<' | '>' => "the comparisons are `=` and `in`",
        '&' => "write `and`",
        '|' => "write `or`",
        '`' | '[' | ']' => "names are quoted with \"",
        _ => "names with other characters than letters, digits and _ stand in \"quotes\"",
    };
    let shown = match c.is_control() {
        true => c.escape_debug().to_string(),
        false => c.to_string(),
    };
    Problem {
        at,
        message: format!("`{shown}` has no meaning here; {remedy}"),
    }
}

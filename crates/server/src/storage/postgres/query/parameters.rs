//! `:user` becomes `$1`: PostgreSQL's parameters have numbers, the model's have names.

/// A query with its parameters by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The query for PostgreSQL.
    pub sql: String,
    /// The name of each number, from `$1` on, without the colon: `user`, `claim_region`.
    pub names: Vec<String>,
    /// Where a piece begins: as a character of `sql`, and as a byte of what was written.
    pieces: Vec<(usize, usize)>,
    /// For each byte of what was written, whether a character begins there.
    written: String,
}

impl Numbered {
    /// The byte of what was written that became the character `at` of `sql`.
    pub(super) fn place(&self, at: usize) -> usize {
        let known = self.pieces.iter().rev().find(|(start, _)| *start <= at);
        let (start, byte) = known.copied().unwrap_or_default();
        let rest = self.written.get(byte..).unwrap_or_default();
        let mut signs = rest.char_indices().skip(at - start);
        byte + signs.next().map_or(0, |(offset, _)| offset)
    }
}

/// Numbers the parameters of a query; what stands in strings, names and comments is left as it is.
///
/// # Errors
/// The query has a number already, or a string that does not end: the byte, and what to do.
pub fn numbered(sql: &str) -> Result<Numbered, (usize, String)> {
    let mut found = Numbered {
        sql: String::with_capacity(sql.len()),
        names: Vec::new(),
        pieces: vec![(0, 0)],
        written: sql.to_owned(),
    };
    let mut characters = 0;
    for (at, piece) in pieces(sql) {
        let text = match piece {
            Piece::Parameter(name) => {
                let number = match found.names.iter().position(|known| known == name) {
                    Some(at) => at + 1,
                    None => {
                        found.names.push(name.to_owned());
                        found.names.len()
                    }
                };
                format!("${number}")
            }
            Piece::Text(text) => {
                characters += text.chars().count();
                found.sql.push_str(text);
                continue;
            }
            Piece::Number(text) => {
                let what = "parameters have names: `:user`, or `:claim_NAME` for a claim";
                return Err((at, format!("has the parameter `{text}`; {what}")));
            }
            Piece::Open(_) => return Err((at, "does not end".to_owned())),
        };
        found.pieces.push((characters, at));
        characters += text.chars().count();
        found.sql.push_str(&text);
        found.pieces.push((characters, at + piece.written()));
    }
    Ok(found)
}

/// `sql` with what `put` says in the place of every parameter; strings, quoted names, comments and
/// casts stay as they are.
pub(in super::super) fn replaced(sql: &str, mut put: impl FnMut(&str) -> String) -> String {
    let mut written = String::with_capacity(sql.len());
    for (_, piece) in pieces(sql) {
        match piece {
            Piece::Parameter(name) => written.push_str(&put(name)),
            Piece::Text(text) | Piece::Number(text) | Piece::Open(text) => written.push_str(text),
        }
    }
    written
}

/// A piece of a query.
#[derive(Clone, Copy, Debug)]
enum Piece<'s> {
    /// The name of a parameter, without its colon.
    Parameter(&'s str),
    /// `$1`.
    Number(&'s str),
    /// A string, a name or a comment that does not end, and all behind it.
    Open(&'s str),
    /// Anything else.
    Text(&'s str),
}

impl Piece<'_> {
    /// Bytes of it in the query.
    fn written(&self) -> usize {
        match self {
            Self::Parameter(name) => 1 + name.len(),
            Self::Number(text) | Self::Open(text) | Self::Text(text) => text.len(),
        }
    }
}

/// The pieces of a query, each with its first byte.
fn pieces(sql: &str) -> impl Iterator<Item = (usize, Piece<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = sql.get(at..).filter(|rest| !rest.is_empty())?;
        let text = piece(rest).and_then(|length| rest.get(..length));
        let piece = match text {
            None => Piece::Open(rest),
            Some(text) if let Some(name) = parameter(text) => Piece::Parameter(name),
            Some(text) if text.len() > 1 && text.strip_prefix('$').is_some_and(is_number) => {
                Piece::Number(text)
            }
            Some(text) => Piece::Text(text),
        };
        let begins = at;
        at += piece.written();
        Some((begins, piece))
    })
}

/// The name of the parameter that a piece is.
fn parameter(piece: &str) -> Option<&str> {
    piece
        .strip_prefix(':')
        .filter(|name| name.starts_with(is_letter))
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_part(c: char) -> bool {
    is_letter(c) || c.is_ascii_digit() || c == '$'
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The bytes of the first piece; `None` if it does not end.
fn piece(rest: &str) -> Option<usize> {
    let mut signs = rest.chars();
    let first = signs.next()?;
    let second = signs.next();
    let word = |from: usize| {
        let behind = rest.get(from..).unwrap_or_default();
        from + behind.find(|c| !is_part(c)).unwrap_or(behind.len())
    };
    match (first, second) {
        ('\'', _) => closed(rest, '\'', false),
        ('"', _) => closed(rest, '"', false),
        ('e' | 'E', Some('\'')) => closed(rest.get(1..)?, '\'', true).map(|length| length + 1),
        ('-', Some('-')) => Some(rest.find('\n').unwrap_or(rest.len())),
        ('/', Some('*')) => comment(rest),
        ('$', Some(c)) if c.is_ascii_digit() => {
            let behind = rest.get(1..)?;
            Some(
                1 + behind
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(behind.len()),
            )
        }
        ('$', _) => dollars(rest),
        (':', Some(':')) => Some(2),
        (':', Some(c)) if is_letter(c) => Some(word(1)),
        (c, _) if is_part(c) => Some(word(0).max(c.len_utf8())),
        (c, _) => Some(c.len_utf8()),
    }
}

/// A string or a name with its quotes, which stand for themselves where they are doubled.
fn closed(text: &str, quote: char, has_escapes: bool) -> Option<usize> {
    let mut signs = text.char_indices().skip(1).peekable();
    while let Some((at, sign)) = signs.next() {
        if has_escapes && sign == '\\' {
            signs.next();
        } else if sign == quote && signs.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// A comment, with those inside it.
fn comment(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let step = match () {
            () if rest.starts_with("/*") => {
                depth += 1;
                2
            }
            () if rest.starts_with("*/") => {
                depth -= 1;
                2
            }
            () => rest.chars().next().map_or(1, char::len_utf8),
        };
        at += step;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// `$$…$$`, or `$tag$…$tag$`; a dollar alone is a sign.
fn dollars(text: &str) -> Option<usize> {
    let tag = text.get(1..)?;
    let end = tag.find(|c: char| !is_letter(c) && !c.is_ascii_digit());
    let Some(end) = end.filter(|end| tag.get(*end..).is_some_and(|rest| rest.starts_with('$')))
    else {
        return Some(1);
    };
    let tag = text.get(..end + 2)?;
    let inner = text.get(tag.len()..)?;
    Some(tag.len() + inner.find(tag)? + tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_nothing_else_changes() {
        for (written, sql, names) in [
            ("SELECT :user", "SELECT $1", vec!["user"]),
            (
                "a=:user AND b=:claim_x OR a=:user",
                "a=$1 AND b=$2 OR a=$1",
                vec!["user", "claim_x"],
            ),
            ("a::text = :user::text", "a::text = $1::text", vec!["user"]),
            (
                "':user' || \":user\" -- :user\n/* :user /* */ :user */",
                "",
                vec![],
            ),
            ("E'\\':user' || $$ :user $$ || $a$ $$ :user $a$", "", vec![]),
            ("U&':user' 'a'':user' \"a\"\":user\"", "", vec![]),
            ("a[1:2] é:user", "a[1:2] é$1", vec!["user"]),
            ("name'x:user'", "", vec![]),
            ("a$b :user $", "a$b $1 $", vec!["user"]),
        ] {
            let numbered = numbered(written).unwrap();
            let sql = if sql.is_empty() { written } else { sql };
            assert_eq!(numbered.sql, sql);
            assert_eq!(numbered.names, names, "{written}");
        }
        for (wrong, at) in [
            ("SELECT $1", 7),
            ("a 'b", 2),
            ("a /* /* */", 2),
            ("$x$ $y$", 0),
        ] {
            assert_eq!(numbered(wrong).unwrap_err().0, at, "{wrong}");
        }
    }

    #[test]
    fn parameters_are_found_where_they_are_parameters() {
        for (query, expected) in [
            ("a = :user", "a = NULL"),
            (
                "a = :claim_x2::int AND b = :b",
                "a = NULL::int AND b = NULL",
            ),
            (
                "b::text = ':user' || \":user\"",
                "b::text = ':user' || \":user\"",
            ),
            ("'it'':user' -- :user\n:user", "'it'':user' -- :user\nNULL"),
            ("/* :a /* :b */ :c */ :d", "/* :a /* :b */ :c */ NULL"),
            ("$$:a$$ $x$ $$ :b $x$ :c $1", "$$:a$$ $x$ $$ :b $x$ NULL $1"),
            ("E'\\':a' :a", "E'\\':a' NULL"),
            ("x[1:2] é :é", "x[1:2] é NULL"),
            ("'open :user", "'open :user"),
        ] {
            assert_eq!(replaced(query, |_| "NULL".to_owned()), expected);
        }
    }

    #[test]
    fn places_lead_back_to_what_was_written() {
        let numbered = numbered("é :user_name, x :b y").unwrap();
        assert_eq!(numbered.sql, "é $1, x $2 y");
        for (at, written) in [(0, 0), (2, 3), (4, 13), (6, 15), (7, 16), (8, 17), (11, 20)] {
            assert_eq!(numbered.place(at), written, "{at}");
        }
    }
}

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
    let mut at = 0;
    let mut characters = 0;
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        let length = piece(rest).ok_or_else(|| (at, "does not end".to_owned()))?;
        let text = rest.get(..length).unwrap_or(rest);
        if let Some(name) = text
            .strip_prefix(':')
            .filter(|name| name.starts_with(is_letter))
        {
            let number = match found.names.iter().position(|known| known == name) {
                Some(at) => at + 1,
                None => {
                    found.names.push(name.to_owned());
                    found.names.len()
                }
            };
            let text = format!("${number}");
            found.pieces.push((characters, at));
            characters += text.chars().count();
            found.sql.push_str(&text);
            found.pieces.push((characters, at + length));
        } else if text.starts_with('$') && text.len() > 1 && text.get(1..).is_some_and(is_number) {
            let what = "parameters have names: `:user`, or `:claim_NAME` for a claim";
            return Err((at, format!("has the parameter `{text}`; {what}")));
        } else {
            characters += text.chars().count();
            found.sql.push_str(text);
        }
        at += length;
    }
    Ok(found)
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
    fn places_lead_back_to_what_was_written() {
        let numbered = numbered("é :user_name, x :b y").unwrap();
        assert_eq!(numbered.sql, "é $1, x $2 y");
        for (at, written) in [(0, 0), (2, 3), (4, 13), (6, 15), (7, 16), (8, 17), (11, 20)] {
            assert_eq!(numbered.place(at), written, "{at}");
        }
    }
}

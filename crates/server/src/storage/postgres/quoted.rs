//! SQL text: names and strings as PostgreSQL reads them, and values in the place of parameters.

pub(super) use super::name::{literal, quote};

/// `schema.name`, both as identifiers.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote(schema), quote(name))
}

/// `texts` as an array of strings.
pub(super) fn literals<T: AsRef<str>>(texts: &[T]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| literal(text.as_ref())).collect();
    format!("ARRAY[{}]::pg_catalog.text[]", texts.join(", "))
}

/// `body` between dollars that it does not contain.
pub(super) fn dollars(body: &str) -> String {
    let mut tag = "$afield$".to_owned();
    while body.contains(&tag) {
        tag = format!("$a{}", tag.trim_start_matches('$'));
    }
    format!("{tag}{body}{tag}")
}

/// `query` with `value` in the place of every parameter `:name`; strings, quoted names, comments
/// and casts stay as they are.
pub(super) fn without_parameters(query: &str, value: &str) -> String {
    let mut written = String::with_capacity(query.len());
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => until_quote(rest, first),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => until_comment_ends(rest),
            '$' => until_dollars(rest),
            ':' if rest.starts_with("::") => 2,
            ':' => match name_length(rest.get(1..).unwrap_or_default()) {
                0 => 1,
                length => {
                    written.push_str(value);
                    rest = rest.get(1 + length..).unwrap_or_default();
                    continue;
                }
            },
            other => other.len_utf8(),
        };
        let (copied, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
        written.push_str(copied);
        rest = behind;
    }
    written
}

/// Bytes up to the end of what `quote` opens; a doubled one is two that follow each other.
fn until_quote(text: &str, quote: char) -> usize {
    let inner = text.get(1..).unwrap_or_default();
    inner.find(quote).map_or(text.len(), |at| at + 2)
}

fn until_comment_ends(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        match rest {
            rest if rest.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
            rest if rest.starts_with("*/") => (depth, at) = (depth - 1, at + 2),
            rest => at += rest.chars().next().map_or(1, char::len_utf8),
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Bytes of a `$tag$ … $tag$`, or of the dollar alone.
fn until_dollars(text: &str) -> usize {
    let tag_length = name_length(text.get(1..).unwrap_or_default());
    let opened = text.get(1 + tag_length..).unwrap_or_default();
    let Some(tag) = text.get(..tag_length + 2) else {
        return 1;
    };
    if !opened.starts_with('$') {
        return 1;
    }
    let inner = text.get(tag.len()..).unwrap_or_default();
    inner.find(tag).map_or(text.len(), |at| at + 2 * tag.len())
}

/// Bytes of the name that `text` begins with; 0 if it begins with none.
fn name_length(text: &str) -> usize {
    let is_first = |c: char| c.is_alphabetic() || c == '_';
    if !text.starts_with(is_first) {
        return 0;
    }
    text.find(|c: char| !is_first(c) && !c.is_ascii_digit())
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_strings_cannot_end_early() {
        assert_eq!(
            qualified("a b", "Sélect\"; --"),
            "\"a b\".\"Sélect\"\"; --\""
        );
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'"), " E'a\\\\'''");
        assert_eq!(
            literals(&["a", "b'"]),
            "ARRAY['a', 'b''']::pg_catalog.text[]"
        );
        assert_eq!(dollars("$afield$x"), "$aafield$$afield$x$aafield$");
    }

    #[test]
    fn parameters_are_found_where_they_are_parameters() {
        for (query, expected) in [
            ("a = :user", "a = NULL"),
            ("a = :claim_x2::int", "a = NULL::int"),
            (
                "b::text = ':user' || \":user\"",
                "b::text = ':user' || \":user\"",
            ),
            ("'it'':user' -- :user\n:user", "'it'':user' -- :user\nNULL"),
            ("/* :a /* :b */ :c */ :d", "/* :a /* :b */ :c */ NULL"),
            ("$$:a$$ $x$ $$ :b $x$ :c $1", "$$:a$$ $x$ $$ :b $x$ NULL $1"),
            ("x[1:2] é :é", "x[1:2] é NULL"),
            ("'open :user", "'open :user"),
        ] {
            assert_eq!(without_parameters(query, "NULL"), expected);
        }
    }
}

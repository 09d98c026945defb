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
}

//! Rust names for the names of a model.
//!
//! A model takes any name that a database has: spaces, quotes, every script, digits in front. A
//! Rust name here is ASCII, so that no lint about look-alikes has anything to say, follows Rust's
//! case, and is the only one of its kind; two names that fold into one are told apart by a number.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization as _;

/// Longer names are cut, so that no line of the generated code gets too long to read.
const NAME_CHARS_MAX: usize = 32;

/// Words that need `r#` before them.
const KEYWORDS: [&str; 48] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
    "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return",
    "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

/// Words that not even `r#` makes a name.
const NEVER_NAMES: [&str; 3] = ["crate", "self", "super"];

/// Type names that generated code and the code around it need as they are.
const TAKEN_TYPES: [&str; 44] = [
    "AsMut",
    "AsRef",
    "Box",
    "Clone",
    "Copy",
    "Create",
    "Debug",
    "Default",
    "DoubleEndedIterator",
    "Drop",
    "Entity",
    "Eq",
    "Err",
    "Error",
    "ExactSizeIterator",
    "Extend",
    "Field",
    "Fn",
    "FnMut",
    "FnOnce",
    "From",
    "FromIterator",
    "Hash",
    "Into",
    "IntoIterator",
    "Iterator",
    "Model",
    "ModelError",
    "None",
    "Ok",
    "Option",
    "Ord",
    "PartialEq",
    "PartialOrd",
    "Result",
    "Self",
    "Send",
    "Sized",
    "Some",
    "String",
    "Sync",
    "ToOwned",
    "Vec",
    "Write",
];

/// The Rust names of one entity's types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TypeNames {
    /// A row.
    pub(super) row: String,
    /// Its identifier.
    pub(super) id: String,
    /// A row to be created.
    pub(super) new: String,
    /// What an update sets.
    pub(super) patch: String,
}

impl TypeNames {
    fn of(base: &str) -> Self {
        Self {
            row: base.to_owned(),
            id: format!("{base}Id"),
            new: format!("New{base}"),
            patch: format!("{base}Patch"),
        }
    }

    fn all(&self) -> [&String; 4] {
        [&self.row, &self.id, &self.new, &self.patch]
    }
}

/// Type names for entities, in their order.
pub(super) fn types(entities: &[&str]) -> Vec<TypeNames> {
    let mut taken: HashSet<String> = TAKEN_TYPES.map(str::to_owned).into();
    let mut take = |candidate: &str| {
        let names = TypeNames::of(candidate);
        if names.all().iter().any(|name| taken.contains(*name)) {
            return None;
        }
        taken.extend(names.all().map(Clone::clone));
        Some(names)
    };
    distinct(entities, |name, number| {
        let base = camel(name);
        match number {
            0 => take(&base),
            1 => take(&format!("{base}Entity")),
            _ => take(&format!("{base}{number}")),
        }
    })
}

/// Field names for attributes, in their order, ready to be written.
pub(super) fn fields(attributes: &[&str]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    distinct(attributes, |name, number| {
        let base = snake(name);
        let field = match number {
            0 if NEVER_NAMES.contains(&base.as_str()) => format!("{base}_"),
            0 if KEYWORDS.contains(&base.as_str()) => format!("r#{base}"),
            0 => base,
            1 => return None,
            _ => format!("{base}_{number}"),
        };
        taken.insert(field.clone()).then_some(field)
    })
}

/// Asks for each name with 0, 1, 2, … until it is given one. Names that are Rust names as they
/// stand are asked for first, so that the odd one gets the number.
fn distinct<T: Clone>(names: &[&str], mut choose: impl FnMut(&str, usize) -> Option<T>) -> Vec<T> {
    let is_plain = |name: &str| snake(name) == name;
    let mut chosen: Vec<(usize, T)> = Vec::with_capacity(names.len());
    for plain in [true, false] {
        for (at, name) in names.iter().enumerate() {
            if is_plain(name) == plain {
                chosen.extend(
                    (0..)
                        .find_map(|number| choose(name, number))
                        .map(|n| (at, n)),
                );
            }
        }
    }
    chosen.sort_by_key(|(at, _)| *at);
    chosen.into_iter().map(|(_, name)| name).collect()
}

fn snake(name: &str) -> String {
    let joined = cut(words(name).join("_"));
    let joined = joined.trim_end_matches('_');
    match joined.chars().next() {
        None => "unnamed".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("_{joined}"),
        Some(_) => joined.to_owned(),
    }
}

fn camel(name: &str) -> String {
    let capital = |word: String| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    };
    let joined = cut(words(name).into_iter().map(capital).collect());
    match joined.chars().next() {
        None => "Unnamed".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("Entity{joined}"),
        Some(_) => joined,
    }
}

fn cut(mut name: String) -> String {
    name.truncate(NAME_CHARS_MAX);
    name
}

/// The words of a name, in lower-case ASCII: `HTTPServer_2 größe` is http, server, 2, grosse.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let folded: Vec<char> = name.nfc().flat_map(folded).collect();
    for (at, c) in folded.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| folded.get(at));
        let begins = c.is_ascii_uppercase()
            && before.is_some_and(|before| {
                let after = folded.get(at + 1).is_some_and(char::is_ascii_lowercase);
                !before.is_ascii_uppercase() || after
            });
        if begins || !c.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if let (Some(word), true) = (words.last_mut(), c.is_ascii_alphanumeric()) {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A character in ASCII letters and digits; what stands between words becomes `_`. A letter of
/// another script becomes its number.
fn folded(c: char) -> Vec<char> {
    if c.is_ascii() {
        return vec![if c.is_ascii_alphanumeric() { c } else { '_' }];
    }
    let letters = match c {
        'ß' => "ss",
        'æ' | 'Æ' => "ae",
        'œ' | 'Œ' => "oe",
        'ø' | 'Ø' => "o",
        'ł' | 'Ł' => "l",
        'đ' | 'Đ' | 'ð' | 'Ð' => "d",
        'þ' | 'Þ' => "th",
        'ı' => "i",
        _ => "",
    };
    if !letters.is_empty() {
        return letters.chars().collect();
    }
    match std::iter::once(c).nfd().next() {
        Some(base) if base.is_ascii_alphanumeric() => vec![base],
        _ if c.is_alphanumeric() => format!("_u{:x}_", u32::from(c)).chars().collect(),
        _ => vec!['_'],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rusts_case() {
        for (name, field, of_type) in [
            ("phone", "phone", "Phone"),
            ("CustomerID", "customer_id", "CustomerId"),
            ("HTTPServer2", "http_server2", "HttpServer2"),
            ("order details", "order_details", "OrderDetails"),
            ("Größe (cm)", "grosse_cm", "GrosseCm"),
            ("2nd", "_2nd", "Entity2nd"),
            ("顧客", "u9867_u5ba2", "U9867U5ba2"),
            ("\"'", "unnamed", "Unnamed"),
            ("__x__", "x", "X"),
        ] {
            assert_eq!(snake(name), field, "{name}");
            assert_eq!(camel(name), of_type, "{name}");
        }
    }

    #[test]
    fn every_name_is_the_only_one() {
        let found = fields(&["a b", "a_b", "a-b", "a_b_2", "type", "Type", "self", "Self"]);
        let expected = [
            "a_b_3", "a_b", "a_b_4", "a_b_2", "r#type", "type_2", "self_", "self_2",
        ];
        assert_eq!(found, expected);
        let found = types(&["visit", "Visit", "new_visit", "option", "visit_id"]);
        let rows: Vec<_> = found.iter().map(|names| names.row.as_str()).collect();
        let expected = [
            "Visit",
            "Visit2",
            "NewVisitEntity",
            "OptionEntity",
            "VisitIdEntity",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = "x".repeat(100);
        let other = format!("{long}y");
        let found = fields(&[&long, &other]);
        assert_eq!(found[0].len(), NAME_CHARS_MAX);
        assert_ne!(found[0], found[1]);
    }
}

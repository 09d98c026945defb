//! Takes a Rust file apart: its code, its comments, and where each function begins and ends.
//!
//! No parser is needed for that, only to know what is a comment, a string or a character, and to
//! count brackets. `{` in a string or `"` in a comment must not be counted.

/// A file as two layers of the same shape: each keeps its characters, and the line ends; all
/// else is blank.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// Without comments and without what stands in literals.
    pub(crate) code: String,
    /// Of every kind, with their slashes.
    pub(crate) comments: String,
}

/// A function with a body; lines are counted from 1, both belong to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first_line: usize,
    pub(crate) last_line: usize,
}

/// Separates code from comments.
pub(crate) fn layers(text: &str) -> Layers {
    let chars: Vec<char> = text.chars().collect();
    let mut layers = Layers::default();
    let mut at = 0;
    while at < chars.len() {
        let (kind, end) = piece(&chars, at);
        for &c in &chars[at..end] {
            layers.code.push(if kind == Kind::Code || c == '\n' {
                c
            } else {
                ' '
            });
            layers.comments.push(if kind == Kind::Comment || c == '\n' {
                c
            } else {
                ' '
            });
        }
        at = end;
    }
    layers
}

/// The functions of a code layer, in the order in which they begin; nested ones as well.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let tokens = tokens(code);
    let mut functions = Vec::new();
    for (index, pair) in tokens.windows(2).enumerate() {
        let (Token::Word("fn"), Token::Word(name)) = (&pair[0].1, &pair[1].1) else {
            continue;
        };
        if let Some(open) = body_start(&tokens, index + 2) {
            functions.push(Function {
                name: (*name).to_owned(),
                first_line: pair[0].0,
                last_line: body_end(&tokens, open),
            });
        }
    }
    functions
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// What begins at `at`, and where it ends.
fn piece(chars: &[char], at: usize) -> (Kind, usize) {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => (Kind::Comment, line_end(chars, at)),
        '/' if next == Some('*') => (Kind::Comment, block_comment_end(chars, at)),
        '"' => (Kind::Literal, quoted_end(chars, at, '"')),
        '\'' if is_char_literal(chars, at) => (Kind::Literal, quoted_end(chars, at, '\'')),
        c if is_word(c) => word_piece(chars, at),
        _ => (Kind::Code, at + 1),
    }
}

/// A word, or the raw string whose prefix looks like one.
fn word_piece(chars: &[char], at: usize) -> (Kind, usize) {
    let end = run_end(chars, at, is_word);
    let word: String = chars[at..end].iter().collect();
    if !["r", "br", "cr"].contains(&word.as_str()) {
        return (Kind::Code, end);
    }
    let quote = run_end(chars, end, |c| c == '#');
    if chars.get(quote) != Some(&'"') {
        return (Kind::Code, end);
    }
    (Kind::Literal, raw_string_end(chars, quote, quote - end))
}

fn line_end(chars: &[char], at: usize) -> usize {
    run_end(chars, at, |c| c != '\n')
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw_string_end(chars: &[char], quote: usize, hashes: usize) -> usize {
    let closes = |at: usize| {
        let tail = chars.get(at + 1..=at + hashes);
        chars[at] == '"' && tail.is_some_and(|tail| tail.iter().all(|&c| c == '#'))
    };
    match (quote + 1..chars.len()).find(|&at| closes(at)) {
        Some(at) => at + 1 + hashes,
        None => chars.len(),
    }
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn is_char_literal(chars: &[char], at: usize) -> bool {
    chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn run_end(chars: &[char], at: usize, belongs: impl Fn(char) -> bool) -> usize {
    chars[at..]
        .iter()
        .position(|&c| !belongs(c))
        .map_or(chars.len(), |length| at + length)
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(char),
}

/// Words and signs, each with the number of its line.
fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if length > 0 {
                tokens.push((index + 1, Token::Word(&rest[..length])));
                rest = &rest[length..];
            } else {
                if !c.is_whitespace() {
                    tokens.push((index + 1, Token::Sign(c)));
                }
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    tokens
}

/// The `{` of the body whose signature goes on at `from`; none if it is only declared.
///
/// Braces and semicolons inside brackets of any kind (`[u8; 4]`, `Page<{ ROWS }>`) are part of a
/// type; the `>` of an arrow closes nothing.
fn body_start(tokens: &[(usize, Token<'_>)], from: usize) -> Option<usize> {
    let mut depth = 0;
    let mut before = ' ';
    for (index, (_, token)) in tokens.iter().enumerate().skip(from) {
        let Token::Sign(sign) = *token else {
            before = ' ';
            continue;
        };
        match sign {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' => depth -= 1,
            '>' if before != '-' => depth -= 1,
            '{' if depth == 0 => return Some(index),
            ';' if depth == 0 => return None,
            _ => {}
        }
        before = sign;
    }
    None
}

/// The line of the `}` that closes the `{` at `open`.
fn body_end(tokens: &[(usize, Token<'_>)], open: usize) -> usize {
    let mut depth = 0;
    for (line, token) in &tokens[open..] {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return *line;
        }
    }
    tokens.last().map_or(0, |(line, _)| *line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name first-last` of each function.
    fn found(text: &str) -> Vec<String> {
        let describe = |f: &Function| format!("{} {}-{}", f.name, f.first_line, f.last_line);
        functions(&layers(text).code).iter().map(describe).collect()
    }

    #[test]
    fn comments_and_code_are_told_apart() {
        let layers = layers("let a = 1; // one\n/* two /* inner */ still */ let b = 'x';");
        assert_eq!(
            layers.code.split_whitespace().collect::<String>(),
            "leta=1;letb=;"
        );
        let comments: Vec<&str> = layers.comments.split_whitespace().collect();
        assert_eq!(comments.join(" "), "// one /* two /* inner */ still */");
    }

    #[test]
    fn both_layers_keep_the_shape_of_the_file() {
        let text = "/* é\n ü */ let s = \"a\nb\"; // end\n";
        let layers = layers(text);
        let shape = |text: &str| text.lines().map(|l| l.chars().count()).collect::<Vec<_>>();
        assert_eq!(shape(&layers.code), shape(text));
        assert_eq!(shape(&layers.comments), shape(text));
    }

    #[test]
    fn slashes_in_strings_are_no_comments() {
        for text in [
            r#"let url = "https://example.org";"#,
            r##"let raw = r#"// "quoted" // "#;"##,
            r#"let bytes = b"//"; let c = c"//";"#,
            r#"let escaped = "\"//";"#,
            r#"let quote = '"'; let slash = '/'; let other = '"'; let s = "//";"#,
        ] {
            assert_eq!(layers(text).comments.trim(), "", "for {text}");
        }
    }

    #[test]
    fn a_lifetime_is_not_the_start_of_a_character() {
        let text = "fn first<'a>(x: &'a str) -> &'a str {\n    x // it's\n}\nfn second() {}\n";
        assert_eq!(found(text), ["first 1-3", "second 4-4"]);
    }

    #[test]
    fn braces_in_strings_characters_and_comments_do_not_count() {
        let text = r##"
fn a() {
    println!("{{ {} }}}}}}", 1);
    let open = '{'; let close = '\''; let byte = b'}';
    // }}}
    let raw = r#"}"#; /* } */
    let long = "}
    }";
}
fn b() {}
"##;
        assert_eq!(found(text), ["a 2-9", "b 10-10"]);
    }

    #[test]
    fn closures_and_nested_functions_belong_to_their_function() {
        let text = "\
fn outer() {
    let f = |x: u32| { move || { x + { 1 } } };
    fn inner() {
        match 1 { 1 => {}, _ => {} }
    }
    let s = Point { x: 1 };
}
";
        assert_eq!(found(text), ["outer 1-7", "inner 3-5"]);
    }

    #[test]
    fn signatures_of_every_shape_find_their_body() {
        let text = "\
pub(crate) async fn long(
    a: [u8; 4],
    f: impl Fn(u32) -> u32,
) -> Result<Page<{ ROWS }>, Error>
where
    F: FnOnce() -> Vec<u8>,
{
}
const fn short() -> [u8; 2] { [0; 2] }
";
        assert_eq!(found(text), ["long 1-8", "short 9-9"]);
    }

    #[test]
    fn what_has_no_body_of_its_own_is_not_a_function() {
        let text = "\
trait Storage {
    fn read(&self, key: [u8; 16]) -> Option<Row>;
    fn both(&self) { self.read([0; 16]); }
}
struct Hook { call: fn(u32) -> u32 }
macro_rules! make { ($name:ident) => { fn $name() {} }; }
";
        assert_eq!(found(text), ["both 3-3"]);
    }

    #[test]
    fn a_file_that_stops_in_the_middle_does_not_stop_the_check() {
        for text in [
            "fn a() {\n  (",
            "fn",
            "\"",
            "'",
            "/*",
            "r#\"",
            "fn a(",
            "'\\",
            "\"\\",
        ] {
            assert!(found(text).len() <= 1, "for {text}");
        }
    }
}

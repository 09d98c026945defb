//! The rules themselves: what a Rust file may look like.

use std::fmt;

use crate::source::{self, Layers};

/// Lines of one file, tests included.
const FILE_LINES_MAX: usize = 600;
/// Lines of one function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Characters of one line.
const LINE_CHARS_MAX: usize = 100;
/// Words that say nothing about what a file is for.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "helper", "helpers", "manager", "managers"];
/// Work put off for a day that does not come.
const PUT_OFF: [&str; 2] = ["TODO", "FIXME"];
/// What precedes an issue's number in its address.
const ISSUE_PATHS: [&str; 2] = ["/issues/", "/pull/"];

/// Something that must not stay as it is.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
    remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}; {}",
            self.path, self.line, self.what, self.remedy
        )
    }
}

/// What a file begins with that a command wrote: its size is the model's, not a person's choice.
const GENERATED: &str = "//! @generated";

/// Everything that is wrong with the file at `path`, in no order that matters.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    if text.starts_with(GENERATED) {
        return Vec::new();
    }
    let layers = source::layers(text);
    let mut found = Found {
        path,
        findings: Vec::new(),
    };
    check_name(&mut found);
    check_head(&mut found, text);
    check_size(&mut found, text);
    check_lines(&mut found, text);
    check_functions(&mut found, &layers);
    check_comments(&mut found, &layers);
    found.findings
}

/// Collects the findings of one file.
struct Found<'a> {
    path: &'a str,
    findings: Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, line: usize, what: String, remedy: &'static str) {
        self.findings.push(Finding {
            path: self.path.to_owned(),
            line,
            what,
            remedy,
        });
    }
}

fn check_name(found: &mut Found<'_>) {
    let words = found.path.trim_end_matches(".rs").split(['/', '_', '-']);
    if let Some(word) = words.into_iter().find(|word| EMPTY_NAMES.contains(word)) {
        let what = format!("`{word}` in a file's path says nothing");
        found.add(1, what, "name it after what it holds");
    }
}

fn check_head(found: &mut Found<'_>, text: &str) {
    if !text.starts_with("//! ") {
        let what = "the file does not begin with a module doc".to_owned();
        found.add(1, what, "say in a first line `//! ...` what it is for");
    }
}

fn check_size(found: &mut Found<'_>, text: &str) {
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines, more than {FILE_LINES_MAX}");
        found.add(
            FILE_LINES_MAX + 1,
            what,
            "give a part of it a module of its own",
        );
    }
}

fn check_lines(found: &mut Found<'_>, text: &str) {
    for (index, line) in text.lines().enumerate() {
        let chars = line.chars().count();
        if chars > LINE_CHARS_MAX && !line.contains("://") {
            let what = format!("{chars} characters, more than {LINE_CHARS_MAX}");
            found.add(
                index + 1,
                what,
                "break the line; in a string, end it with a backslash",
            );
        }
    }
}

fn check_functions(found: &mut Found<'_>, layers: &Layers) {
    for function in source::functions(&layers.code) {
        let lines = function.last_line - function.first_line + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = &function.name;
            let what = format!("`{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}");
            found.add(
                function.first_line,
                what,
                "give a part of it a name of its own",
            );
        }
    }
}

fn check_comments(found: &mut Found<'_>, layers: &Layers) {
    for (index, line) in layers.comments.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(word) = words.find(|word| PUT_OFF.contains(word)) {
            let what = format!("a comment says `{word}`");
            found.add(
                index + 1,
                what,
                "do it now, or open an issue and leave the code complete",
            );
        }
        if names_issue(line) {
            let what = "a comment names an issue or a pull request".to_owned();
            found.add(
                index + 1,
                what,
                "write down the reason itself; history is in git",
            );
        }
    }
}

/// A number sign and digits that stand alone, or the address of an issue.
fn names_issue(comment: &str) -> bool {
    let is_address = |path: &str| {
        comment
            .split(path)
            .skip(1)
            .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    ISSUE_PATHS.into_iter().any(is_address) || names_number(comment)
}

fn names_number(comment: &str) -> bool {
    comment.match_indices('#').any(|(at, _)| {
        let before = comment[..at].chars().next_back();
        let after = comment[at + 1..].trim_start_matches(|c: char| c.is_ascii_digit());
        let has_digits = after.len() < comment.len() - at - 1;
        let stands_alone = !before.is_some_and(|c| c.is_alphanumeric() || "&#".contains(c))
            && !after.starts_with(|c: char| c.is_alphanumeric());
        has_digits && stands_alone
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings about a file that is otherwise tidy, without its path.
    fn said(path: &str, text: &str) -> Vec<String> {
        check(path, text)
            .iter()
            .map(|finding| finding.to_string()[path.len() + 1..].to_owned())
            .collect()
    }

    fn said_of(text: &str) -> Vec<String> {
        said("crates/client/src/outbox.rs", text)
    }

    #[track_caller]
    fn assert_one(findings: &[String], line: usize, part: &str) {
        assert_eq!(findings.len(), 1, "{findings:?}");
        let expected_start = format!("{line}: ");
        assert!(findings[0].starts_with(&expected_start), "{findings:?}");
        assert!(findings[0].contains(part), "{findings:?}");
    }

    fn function_of(lines: usize) -> String {
        format!(
            "//! Doc.\n\nfn long() {{\n{}}}\n",
            "    step();\n".repeat(lines - 2)
        )
    }

    #[test]
    fn a_tidy_file_is_left_alone() {
        let text = "//! The outbox.\n\n/// Step 1 of RFC 9457, see [#two](x).\nfn a() {}\n";
        assert_eq!(said_of(text), Vec::<String>::new());
    }

    #[test]
    fn what_a_command_wrote_is_not_measured() {
        let line = format!("const A: &str = \"{}\";\n", "x".repeat(200));
        assert_eq!(
            check("x.rs", &format!("//! @generated by us.\n{line}")).len(),
            0
        );
        assert_ne!(
            check("x.rs", &format!("//! Written by us.\n{line}")).len(),
            0
        );
    }

    #[test]
    fn a_finding_says_where_what_and_how_to_mend_it() {
        let findings = check("crates/x/src/lib.rs", "fn a() {}\n");
        assert_eq!(
            findings[0].to_string(),
            "crates/x/src/lib.rs:1: the file does not begin with a module doc; \
             say in a first line `//! ...` what it is for"
        );
    }

    #[test]
    fn a_file_begins_with_its_doc() {
        assert_one(&said_of("use std::fmt;\n//! Late.\n"), 1, "module doc");
        assert_one(&said_of(""), 1, "module doc");
    }

    #[test]
    fn a_path_says_what_the_file_holds() {
        for path in [
            "crates/x/src/utils.rs",
            "crates/x/src/sync_helpers.rs",
            "x/manager/a.rs",
        ] {
            assert_one(&said(path, "//! Doc.\n"), 1, "in a file's path");
        }
        assert!(said("crates/x/src/futile.rs", "//! Doc.\n").is_empty());
    }

    #[test]
    fn files_end_at_600_lines() {
        let text = |lines: usize| format!("//! Doc.\n{}", "use a;\n".repeat(lines - 1));
        assert!(said_of(&text(FILE_LINES_MAX)).is_empty());
        assert_one(&said_of(&text(FILE_LINES_MAX + 1)), 601, "601 lines");
    }

    #[test]
    fn lines_end_at_100_characters_but_addresses_may_be_longer() {
        let line = |chars: usize| format!("//! Doc.\n// {}\n", "é".repeat(chars - 3));
        assert!(said_of(&line(LINE_CHARS_MAX)).is_empty());
        assert_one(&said_of(&line(LINE_CHARS_MAX + 1)), 2, "101 characters");
        let address = format!("//! Doc.\n// https://example.org/{}\n", "a".repeat(100));
        assert!(said_of(&address).is_empty());
    }

    #[test]
    fn functions_end_at_70_lines() {
        assert!(said_of(&function_of(FUNCTION_LINES_MAX)).is_empty());
        assert_one(
            &said_of(&function_of(FUNCTION_LINES_MAX + 1)),
            3,
            "`long` has 71 lines",
        );
    }

    #[test]
    fn nothing_is_put_off_in_a_comment() {
        for word in PUT_OFF {
            assert_one(
                &said_of(&format!("//! Doc.\nlet a; // {word}: b\n")),
                2,
                word,
            );
            assert_one(
                &said_of(&format!("//! Doc.\n/*\n {word}(me) */\n")),
                3,
                word,
            );
            assert!(said_of(&format!("//! Doc.\nlet a = \"{word}\"; // {word}S\n")).is_empty());
        }
    }

    #[test]
    fn comments_name_no_issue() {
        for comment in [
            "see #12",
            "(#7)",
            "[#1234](x).",
            "x/issues/3",
            "x/pull/44 was it",
        ] {
            assert_one(&said_of(&format!("//! Doc.\n// {comment}\n")), 2, "issue");
        }
        for comment in [
            "&#39;",
            "#[test]",
            "r#1",
            "#00ff00",
            "C#",
            "/issues/new",
            "# 1",
            "##1",
        ] {
            assert!(
                said_of(&format!("//! Doc.\n// {comment}\n")).is_empty(),
                "for {comment}"
            );
        }
        assert!(said_of("//! Doc.\nlet a = \"#12\";\n").is_empty());
    }
}

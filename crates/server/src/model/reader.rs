//! Walks a TOML document, remembers where things stand, and collects every mistake.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::time::Duration;

use afield_protocol::{Code, Literal};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Lines, ModelError, Place, suggestion};
use super::quantity;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// A text and where each of its characters stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// The text.
    pub value: String,
    /// Where it stands, its quote included.
    pub place: Place,
    /// Where its first character stands, if the file has it letter by letter (no escapes).
    begins: Option<Place>,
}

impl Text {
    /// Where the character at this byte stands; where that cannot be told, the text's own place.
    pub fn place_of(&self, offset: usize) -> Place {
        let (Some(begins), Some(before)) = (self.begins, self.value.get(..offset)) else {
            return self.place;
        };
        let breaks = before.matches('\n').count();
        let columns = |text: &str| text.chars().count();
        match before.rfind('\n') {
            None => Place {
                column: begins.column + columns(before),
                ..begins
            },
            Some(last) => Place {
                line: begins.line + breaks,
                column: columns(before.get(last + 1..).unwrap_or("")) + 1,
            },
        }
    }
}

/// Collects mistakes of one file.
pub(super) struct Reader<'a> {
    file: &'a str,
    lines: Lines<'a>,
    errors: RefCell<Vec<ModelError>>,
    warnings: RefCell<Vec<ModelError>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            lines: Lines::new(text),
            errors: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        self.lines.place(span.start)
    }

    /// Where the characters of a text begin, behind its quotes, if they stand there as they are.
    fn begin_of(&self, span: &Range<usize>, value: &str) -> Option<Place> {
        let written = self.lines.slice(span)?;
        let quotes = ["\"\"\"\n", "\"\"\"", "'''\n", "'''", "\"", "'"];
        let quote = quotes
            .into_iter()
            .find(|quote| written.starts_with(quote))?;
        let inner = written.get(quote.len()..)?;
        let is_verbatim = inner.strip_suffix(quote.trim_end()) == Some(value);
        is_verbatim.then(|| self.lines.place(span.start + quote.len()))
    }

    /// Notes a mistake.
    pub(super) fn wrong(&self, place: Place, message: impl Into<String>) {
        self.note(Code::MODEL, place, message.into());
    }

    /// Notes something that a later version will do.
    pub(super) fn not_yet(&self, place: Place, what: &str, remedy: &str) {
        let message = format!("{what} is not available yet: {remedy}");
        self.note(Code::NOT_AVAILABLE, place, message);
    }

    /// Notes something that is no mistake but not what it seems.
    pub(super) fn warn(&self, place: Place, message: String) {
        self.warnings
            .borrow_mut()
            .push(self.error(Code::MODEL, place, message));
    }

    /// Mistakes and warnings in the order of the file.
    pub(super) fn finish(self) -> (Vec<ModelError>, Vec<ModelError>) {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| error.place);
        errors.dedup();
        (errors, self.warnings.into_inner())
    }

    fn note(&self, code: Code, place: Place, message: String) {
        self.errors
            .borrow_mut()
            .push(self.error(code, place, message));
    }

    fn error(&self, code: Code, place: Place, message: String) -> ModelError {
        ModelError {
            code,
            file: self.file.to_owned(),
            place,
            message,
        }
    }
}

/// A value of the document.
pub(super) struct Node<'r, 't> {
    pub(super) reader: &'r Reader<'r>,
    /// How messages call it: `[server] listen`.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) span: Range<usize>,
    value: &'t DeValue<'t>,
}

impl<'r, 't> Node<'r, 't> {
    fn new(reader: &'r Reader<'r>, name: String, value: &'t Spanned<DeValue<'t>>) -> Self {
        Self {
            reader,
            name,
            place: reader.place(&value.span()),
            span: value.span(),
            value: value.get_ref(),
        }
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        let found = self.value.type_str();
        self.wrong(format!("expects {what}, found {found}"));
        None
    }

    /// Notes a mistake in this value.
    pub(super) fn wrong(&self, message: impl std::fmt::Display) {
        self.reader
            .wrong(self.place, format!("{}: {message}", self.name));
    }

    /// Notes a mistake somewhere within this value.
    pub(super) fn wrong_at(&self, error: &At<String>) {
        let message = format!("{}: {}", self.name, error.value);
        self.reader.wrong(error.place, message);
    }

    pub(super) fn at<T>(&self, value: T) -> At<T> {
        At {
            value,
            place: self.place,
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        match self.value.as_str() {
            Some(text) => Some(text.to_owned()),
            None => self.expected("text in quotes"),
        }
    }

    pub(super) fn text_at(&self) -> Option<At<String>> {
        self.text().map(|text| self.at(text))
    }

    pub(super) fn placed_text(&self) -> Option<Text> {
        let value = self.text()?;
        let begins = self.reader.begin_of(&self.span, &value);
        let place = self.place;
        Some(Text {
            value,
            place,
            begins,
        })
    }

    pub(super) fn truth(&self) -> Option<bool> {
        self.value
            .as_bool()
            .or_else(|| self.expected("true or false"))
    }

    pub(super) fn is_false(&self) -> bool {
        self.value.as_bool() == Some(false)
    }

    /// A whole number within `range`.
    pub(super) fn number(&self, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let Some(integer) = self.value.as_integer() else {
            return self.expected("a whole number");
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let inside = number.filter(|n| range.contains(n));
        if inside.is_none() {
            self.wrong(format!("must be from {} to {}", range.start(), range.end()));
        }
        inside
    }

    /// A number or a text.
    pub(super) fn literal(&self) -> Option<Literal> {
        if let Some(text) = self.value.as_str() {
            return Some(Literal::Text(text.to_owned()));
        }
        if let Some(integer) = self.value.as_integer() {
            let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
            if number.is_none() {
                self.wrong("is larger than 64 bits hold");
            }
            return number.map(Literal::Integer);
        }
        let float = self.value.as_float().map(|float| float.as_str().parse());
        match float {
            Some(Ok(number)) => Some(Literal::Real(number)),
            _ => self.expected("a number, or text in quotes"),
        }
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        let text = self.text()?;
        quantity::duration(&text)
            .map_err(|message| self.wrong(message))
            .ok()
    }

    /// A size within `range`, in bytes.
    pub(super) fn size(&self, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let text = self.text()?;
        let bytes = quantity::size(&text)
            .map_err(|message| self.wrong(message))
            .ok()?;
        if !range.contains(&bytes) {
            self.wrong(format!(
                "must be from {} to {} bytes",
                range.start(),
                range.end()
            ));
            return None;
        }
        Some(bytes)
    }

    pub(super) fn list(&self) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else {
            return self.expected("a list in [ ]");
        };
        let nodes = array
            .iter()
            .map(|value| Node::new(self.reader, self.name.clone(), value));
        Some(nodes.collect())
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// A list of texts; one that is no text is reported and left out.
    pub(super) fn texts(&self) -> Option<Vec<At<String>>> {
        Some(self.list()?.iter().filter_map(Self::text_at).collect())
    }

    pub(super) fn section(&self, name: String) -> Option<Section<'r, 't>> {
        match self.value.as_table() {
            Some(table) => Some(Section::new(self.reader, name, self.place, table)),
            None => self.expected("a table of keys"),
        }
    }
}

/// A table of the document; remembers which keys were asked for.
pub(super) struct Section<'r, 't> {
    pub(super) reader: &'r Reader<'r>,
    pub(super) name: String,
    pub(super) place: Place,
    entries: Vec<Entry<'t>>,
    asked: RefCell<Vec<&'static str>>,
}

struct Entry<'t> {
    key: &'t str,
    place: Place,
    value: &'t Spanned<DeValue<'t>>,
    taken: Cell<bool>,
}

impl<'r, 't> Section<'r, 't> {
    pub(super) fn new(
        reader: &'r Reader<'r>,
        name: String,
        place: Place,
        table: &'t DeTable<'t>,
    ) -> Self {
        let mut entries: Vec<Entry<'t>> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref(),
                place: reader.place(&key.span()),
                value,
                taken: Cell::new(false),
            })
            .collect();
        entries.sort_by_key(|entry| entry.place);
        Self {
            reader,
            name,
            place,
            entries,
            asked: RefCell::default(),
        }
    }

    /// The value under `key`, if it is there.
    pub(super) fn take(&self, key: &'static str) -> Option<Node<'r, 't>> {
        self.asked.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        entry.taken.set(true);
        Some(self.node(entry))
    }

    /// The sub-table under `key`, if it is there.
    pub(super) fn take_section(&self, key: &'static str) -> Option<Self> {
        let node = self.take(key)?;
        node.section(format!("[{key}]"))
    }

    /// Every key with its value, in file order: for tables whose keys are names.
    pub(super) fn take_all(&self) -> Vec<(At<String>, Node<'r, 't>)> {
        let entries = self.entries.iter().map(|entry| {
            entry.taken.set(true);
            let key = At {
                value: entry.key.to_owned(),
                place: entry.place,
            };
            (key, self.node(entry))
        });
        entries.collect()
    }

    /// Reports keys that are known and not built yet.
    pub(super) fn refuse_later(&self, later: &[(&'static str, &str)]) {
        for (key, remedy) in later {
            if let Some(node) = self.take(key) {
                let place = self.key_place(key).unwrap_or(node.place);
                self.reader
                    .not_yet(place, &format!("{}: `{key}`", self.name), remedy);
            }
        }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(&self) {
        for entry in self.entries.iter().filter(|entry| !entry.taken.get()) {
            let asked = self.asked.borrow();
            let near = suggestion(entry.key, asked.iter().copied());
            let at = if self.name.is_empty() {
                "the file"
            } else {
                &self.name
            };
            let message = format!("{at}: unknown key `{}`; {near}", entry.key);
            self.reader.wrong(entry.place, message);
        }
    }

    fn key_place(&self, key: &str) -> Option<Place> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.place)
    }

    fn node(&self, entry: &Entry<'t>) -> Node<'r, 't> {
        let name = match self.name.as_str() {
            "" => entry.key.to_owned(),
            section => format!("{section} {}", entry.key),
        };
        Node::new(self.reader, name, entry.value)
    }
}

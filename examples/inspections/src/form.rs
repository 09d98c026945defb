//! A form: labelled fields that are typed into, and what was changed in them.

use afield::ChangeInfo;
use afield::typed::Field;
use ratatui::crossterm::event::KeyCode;

use crate::model::{BusinessId, InspectionId};

/// What a form writes when it is saved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// An edit of a business.
    Business(BusinessId),
    /// An edit of an inspection.
    Inspection(InspectionId),
    /// A new inspection of a business, with its violations.
    Plan(BusinessId),
    /// One more violation, with its number.
    Violation(InspectionId, i64),
    /// Another token for the user.
    SignIn,
    /// A refused change, to be sent again with what is corrected.
    Again(Box<ChangeInfo>),
}

/// A line of a form.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) text: String,
    /// What it is to choose from, if it is not free text.
    pub(crate) choices: &'static [&'static str],
    was: String,
}

/// The fields of one thing to write.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) title: String,
    pub(crate) target: Target,
    pub(crate) lines: Vec<Line>,
    pub(crate) at: usize,
}

impl Line {
    pub(crate) fn new(label: &str, text: Option<&str>) -> Self {
        let text = text.unwrap_or_default().to_owned();
        Self {
            label: label.to_owned(),
            was: text.clone(),
            text,
            choices: &[],
        }
    }

    pub(crate) fn of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// What a change says of it: nothing if it is as it was, NULL if it was emptied.
    pub(crate) fn set(&self) -> Field<String> {
        match self.text.trim() {
            text if text == self.was.trim() => Field::Absent,
            "" => Field::Null,
            text => Field::Value(text.to_owned()),
        }
    }

    /// The same for a number.
    pub(crate) fn number(&self) -> Result<Field<i64>, String> {
        Ok(match self.set() {
            Field::Absent => Field::Absent,
            Field::Null => Field::Null,
            Field::Value(text) => Field::Value(
                text.parse()
                    .map_err(|_| format!("{}: \"{text}\" is not a whole number", self.label))?,
            ),
        })
    }
}

impl Form {
    pub(crate) fn new(title: String, target: Target, lines: Vec<Line>) -> Self {
        Self {
            title,
            target,
            lines,
            at: 0,
        }
    }

    /// A key that is neither save nor cancel.
    pub(crate) fn press(&mut self, key: KeyCode) {
        let last = self.lines.len().saturating_sub(1);
        match key {
            KeyCode::Down | KeyCode::Tab => self.at = (self.at + 1).min(last),
            KeyCode::Up | KeyCode::BackTab => self.at = self.at.saturating_sub(1),
            _ => {
                if let Some(line) = self.lines.get_mut(self.at) {
                    line.press(key);
                }
            }
        }
    }
}

impl Line {
    fn press(&mut self, key: KeyCode) {
        let count = self.choices.len();
        let chosen = self.choices.iter().position(|choice| *choice == self.text);
        match key {
            KeyCode::Right | KeyCode::Char(' ') if count > 0 => {
                let next = chosen.map_or(0, |at| (at + 1) % count);
                self.text = self.choices[next].to_owned();
            }
            KeyCode::Left if count > 0 => {
                let next = chosen.map_or(count - 1, |at| (at + count - 1) % count);
                self.text = self.choices[next].to_owned();
            }
            KeyCode::Backspace if count > 0 => self.text.clear(),
            KeyCode::Backspace => {
                self.text.pop();
            }
            KeyCode::Char(c) if count == 0 => self.text.push(c),
            _ => {}
        }
    }
}

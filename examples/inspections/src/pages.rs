//! The screens: what each shows, read from the store, and the forms that write.

use afield::native::Client;
use afield::protocol::{Attributes, Entity, Key, Type, Value};
use afield::{ChangeInfo, Error, Store};

use crate::conflict::Decision;
use crate::form::{Form, Line, Target};
use crate::model::{
    Business, BusinessPatch, Create as _, Entity as _, Field, Inspection, InspectionPatch,
    NewInspection, NewViolation, Violation, Write as _,
};

const RESULTS: &[&str] = &["pass", "pass with conditions", "fail"];
const KINDS: &[&str] = &["routine", "complaint", "follow-up", "opening"];
const SEVERITIES: &[&str] = &["minor", "major", "critical"];
const YES_NO: &[&str] = &["yes", "no"];

/// Businesses that a list shows; who wants others searches.
pub(crate) const BUSINESSES_MAX: usize = 500;

/// Lines that one violation takes in a form, and those before the first one.
const VIOLATION_LINES: usize = 3;
const PLAN_LINES: usize = 4;

/// A screen. The one on top of the stack is shown.
pub(crate) enum Page {
    /// All businesses, or those that were searched for.
    Businesses {
        search: String,
        typing: bool,
        rows: Vec<Business>,
        at: usize,
    },
    /// One of them with its inspections.
    Business {
        row: Box<Business>,
        rows: Vec<Inspection>,
        at: usize,
    },
    /// One inspection with its violations.
    Inspection {
        row: Box<Inspection>,
        inspector: String,
        rows: Vec<Violation>,
    },
    /// The changes that are not settled.
    Changes { at: usize },
    /// Two versions of a row.
    Conflict(Decision),
    /// Something being written.
    Form(Form),
}

impl Page {
    pub(crate) fn businesses() -> Self {
        Self::Businesses {
            search: String::new(),
            typing: false,
            rows: Vec::new(),
            at: 0,
        }
    }

    /// Reads again what the page shows; false if the row it is about is gone from the device.
    pub(crate) fn read(&mut self, store: &mut Store) -> Result<bool, Error> {
        match self {
            Self::Businesses {
                search, rows, at, ..
            } => {
                let clause = "WHERE name LIKE ?1 OR street LIKE ?1 ORDER BY name, id LIMIT ?2";
                let limit = i64::try_from(BUSINESSES_MAX).unwrap_or(i64::MAX).into();
                *rows = Business::query(store, clause, [format!("%{search}%").into(), limit])?;
                *at = (*at).min(rows.len().saturating_sub(1));
            }
            Self::Business { row, rows, at } => {
                let Some(now) = Business::get(store, &row.id())? else {
                    return Ok(false);
                };
                let clause = "WHERE business_id = ?1 ORDER BY planned_for DESC, id";
                *rows = Inspection::query(store, clause, [now.id.as_str().into()])?;
                **row = now;
                *at = (*at).min(rows.len().saturating_sub(1));
            }
            Self::Inspection {
                row,
                inspector,
                rows,
            } => {
                let Some(now) = Inspection::get(store, &row.id())? else {
                    return Ok(false);
                };
                *inspector = inspector_of(store, &now)?;
                let clause = "WHERE inspection_id = ?1 ORDER BY number";
                *rows = Violation::query(store, clause, [now.id.as_str().into()])?;
                **row = now;
            }
            Self::Changes { .. } | Self::Conflict(_) | Self::Form(_) => {}
        }
        Ok(true)
    }
}

fn inspector_of(store: &Store, inspection: &Inspection) -> Result<String, Error> {
    let id = inspection.inspector_id.map_or(Value::Null, Value::Integer);
    let sql = "SELECT name FROM inspector WHERE id = ?1";
    let found = store.query(sql, &[id.clone()].into())?.rows;
    let name = found.into_iter().flatten().next().unwrap_or(id);
    Ok(name.to_string())
}

/// What a person calls a row, for lists in which rows of every entity stand.
pub(crate) fn name_of(store: &Store, entity: &str, key: &Key) -> String {
    let sql = match entity {
        "business" => "SELECT name FROM business WHERE id = ?1",
        "contact" => "SELECT name FROM contact WHERE id = ?1",
        "inspection" | "violation" => {
            "SELECT b.name || ', ' || i.planned_for FROM inspection AS i \
             JOIN business AS b ON b.id = i.business_id WHERE i.id = ?1"
        }
        _ => return String::new(),
    };
    let key = key.first().cloned().unwrap_or(Value::Null);
    let found = store.query(sql, &[key].into()).unwrap_or_default().rows;
    let name = found.into_iter().flatten().next();
    name.map_or_else(String::new, |name| name.to_string())
}

pub(crate) fn edit_business(row: &Business) -> Form {
    let seats = row.seats.map(|seats| seats.to_string());
    let open = row.is_open.map(|open| if open { "yes" } else { "no" });
    let lines = vec![
        Line::new("name", row.name.as_deref()),
        Line::new("street", row.street.as_deref()),
        Line::new("seats", seats.as_deref()),
        Line::new("open", open).of(YES_NO),
    ];
    let title = format!("Edit {}", row.name.as_deref().unwrap_or("this business"));
    Form::new(title, Target::Business(row.id()), lines)
}

pub(crate) fn edit_inspection(row: &Inspection) -> Form {
    let score = row.score.map(|score| score.to_string());
    let lines = vec![
        Line::new("planned for", row.planned_for.as_deref()),
        Line::new("result", row.result.as_deref()).of(RESULTS),
        Line::new("score", score.as_deref()),
        Line::new("notes", row.notes.as_deref()),
    ];
    Form::new(
        "Edit this inspection".to_owned(),
        Target::Inspection(row.id()),
        lines,
    )
}

pub(crate) fn plan(business: &Business) -> Form {
    let mut form = Form::new(
        format!(
            "New inspection of {}",
            business.name.as_deref().unwrap_or("this business")
        ),
        Target::Plan(business.id()),
        vec![
            Line::new("kind", None).of(KINDS),
            Line::new("planned for", None),
            Line::new("inspector no.", None),
            Line::new("notes", None),
        ],
    );
    for (line, text) in form.lines.iter_mut().zip(["routine", "2026-11-24", "1001"]) {
        text.clone_into(&mut line.text);
    }
    form
}

pub(crate) fn add_violation(row: &Inspection, others: &[Violation]) -> Form {
    let number = others.iter().map(|it| it.number).max().unwrap_or(0) + 1;
    let title = format!("Violation {number}");
    Form::new(
        title,
        Target::Violation(row.id(), number),
        violation_lines().into(),
    )
}

/// Another token for who is here.
pub(crate) fn sign_in(user: &str) -> Form {
    let title = format!("Sign in as {user}");
    Form::new(title, Target::SignIn, vec![Line::new("token", None)])
}

/// A refused change with what it sets, to be corrected.
pub(crate) fn again(info: &ChangeInfo) -> Form {
    let line = |(name, value): (&String, &Value)| match value {
        Value::Null => Line::new(name, None),
        value => Line::new(name, Some(&value.to_string())),
    };
    let title = format!("Correct this {}, and send it again", info.entity);
    Form::new(
        title,
        Target::Again(Box::new(info.clone())),
        info.set.iter().map(line).collect(),
    )
}

/// What a form corrects, as the untyped actions take it: a change can be of any entity.
fn corrected(entity: &Entity, lines: &[Line]) -> Result<Attributes, String> {
    let mut set = Attributes::new();
    for line in lines {
        let kind = entity
            .attribute(&line.label)
            .map(|attribute| attribute.kind);
        let value = match (line.set(), kind) {
            (Field::Absent, _) => continue,
            (Field::Null, _) => Value::Null,
            (_, Some(Type::Integer | Type::Boolean)) => match line.number()? {
                Field::Value(n) => Value::Integer(n),
                _ => Value::Null,
            },
            (Field::Value(text), Some(Type::Real)) => {
                let real = text
                    .parse()
                    .map_err(|_| format!("{}: no number", line.label))?;
                Value::Real(real)
            }
            (Field::Value(text), _) => Value::Text(text),
        };
        set.insert(line.label.clone(), value);
    }
    Ok(set)
}

pub(crate) fn violation_lines() -> [Line; VIOLATION_LINES] {
    let mut severity = Line::new("severity", None).of(SEVERITIES);
    "minor".clone_into(&mut severity.text);
    [
        Line::new("violation, code", None),
        severity,
        Line::new("comment", None),
    ]
}

/// Writes what a form says, and says so; a sentence for the user if it cannot be.
pub(crate) fn save(client: &Client, form: &Form) -> Result<&'static str, String> {
    if form.target == Target::SignIn {
        let token = form.lines.first().map_or("", |line| line.text.trim());
        let taken = client.set_token(token, true);
        return taken
            .map(|()| "Signed in.")
            .map_err(|error| error.to_string());
    }
    save_rows(client, form).map(|()| "Saved on this device.")
}

fn save_rows(client: &Client, form: &Form) -> Result<(), String> {
    let told = |error: Error| error.to_string();
    let mut store = client.store();
    let lines = &form.lines;
    let text = |at: usize| lines.get(at).map_or(Field::Absent, Line::set);
    let number = |at: usize| lines.get(at).map_or(Ok(Field::Absent), Line::number);
    match &form.target {
        Target::Business(id) => {
            let patch = BusinessPatch {
                name: text(0),
                street: text(1),
                seats: number(2)?,
                is_open: match text(3) {
                    Field::Value(answer) => (answer == "yes").into(),
                    Field::Null => Field::Null,
                    Field::Absent => Field::Absent,
                },
                ..BusinessPatch::default()
            };
            Business::update(&mut store, id, &patch).map_err(told)
        }
        Target::Inspection(id) => {
            let patch = InspectionPatch {
                planned_for: text(0),
                result: text(1),
                score: number(2)?,
                notes: text(3),
                ..InspectionPatch::default()
            };
            Inspection::update(&mut store, id, &patch).map_err(told)
        }
        Target::Plan(business) => {
            let inspection = NewInspection {
                business_id: business.0.as_str().into(),
                kind: text(0),
                planned_for: text(1),
                inspector_id: number(2)?,
                notes: text(3),
                ..NewInspection::default()
            };
            // One transaction: the server gets the inspection with its violations, or neither.
            let step = store.transaction(|tx| {
                let id = Inspection::create(tx, &inspection)?;
                for (number, lines) in (1..).zip(lines[PLAN_LINES..].chunks(VIOLATION_LINES)) {
                    Violation::create(tx, &violation(&id.0, number, lines))?;
                }
                Ok(())
            });
            step.map_err(told)
        }
        // Done before: it is no row.
        Target::SignIn => Ok(()),
        Target::Again(info) => {
            let entity = store.entity(&info.entity).map_err(told)?;
            let set = corrected(&entity, lines)?;
            store
                .retry(&info.change, Some(&set))
                .map(|_| ())
                .map_err(told)
        }
        Target::Violation(id, number) => {
            let row = violation(&id.0, *number, lines);
            Violation::create(&mut store, &row)
                .map(|_| ())
                .map_err(told)
        }
    }
}

fn violation(inspection: &str, number: i64, lines: &[Line]) -> NewViolation {
    let text = |at: usize| lines.get(at).map_or(Field::Absent, Line::set);
    NewViolation {
        inspection_id: inspection.into(),
        number: number.into(),
        code: text(0),
        severity: text(1),
        comment: text(2),
        ..NewViolation::default()
    }
}

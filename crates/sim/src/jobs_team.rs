//! What the team does with projects, jobs and depots: statements on the server's tables.

use std::rc::Rc;

use afield_protocol::Value;
use afield_protocol::codec::cbor::read_key;

use crate::rows::Rows;
use crate::statements::Statement;
use crate::{app, jobs, scoped};

/// One statement of such a transaction. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobsEdit {
    /// A user gets a seat in a project, or loses it.
    Seat {
        user: u32,
        project: u32,
        is_held: bool,
    },
    /// A source gets another name.
    Rename { source: Source, n: u32 },
    /// A source gets another identifier.
    Rekey { source: Source, from: u32, to: u32 },
    /// A source is deleted.
    Delete { source: Source, at: u32 },
    /// A source is made, or made anew in place of the one with its identifier.
    Make { source: Source, n: u32 },
    /// A project gets another depot, or none.
    Supply { project: u32, depot: Option<u32> },
    /// A van is made, or goes to another depot, or to none.
    Van { n: u32, depot: Option<u32> },
    /// A job moves to another project, or to none.
    Move { job: u32, project: Option<u32> },
    /// A job gets another owner, or none.
    Hand { job: u32, owner: Option<u32> },
    /// A job is made.
    Job {
        n: u32,
        project: u32,
        owner: Option<u32>,
    },
    /// All jobs are counted anew.
    Count { n: u32 },
}

/// What jobs show something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Project,
    Depot,
}

impl Source {
    fn id(self, n: u32) -> Value {
        let of = match self {
            Self::Project => jobs::PROJECTS + 2,
            Self::Depot => jobs::DEPOTS + 1,
        };
        Value::Integer((n % of + 1).into())
    }

    fn or_none(self, n: Option<u32>) -> Value {
        n.map_or(Value::Null, |n| self.id(n))
    }
}

impl JobsEdit {
    /// As SQL, on the rows that are there.
    pub(crate) fn statements(&self, rows: impl Fn(usize) -> Rc<Rows>) -> Vec<Statement> {
        let job = |n: u32| {
            let rows = rows(app::JOB);
            let key = rows.keys().nth(n as usize % rows.len().max(1));
            key.and_then(|key| read_key(key).ok()?.first().cloned())
                .unwrap_or(Value::Null)
        };
        let (sql, params) = match *self {
            Self::Rename { .. } | Self::Rekey { .. } | Self::Delete { .. } | Self::Make { .. } => {
                return self.of_source().into_iter().collect();
            }
            Self::Seat {
                user: who,
                project,
                is_held,
            } => {
                let sql = match is_held {
                    true => "INSERT OR IGNORE INTO seat VALUES (?, ?)",
                    false => "DELETE FROM seat WHERE user = ? AND project = ?",
                };
                (sql, vec![user(Some(who)), Source::Project.id(project)])
            }
            Self::Supply { project, depot } => (
                "UPDATE project SET depot_id = ? WHERE id = ?",
                vec![Source::Depot.or_none(depot), Source::Project.id(project)],
            ),
            Self::Van { n, depot } => {
                let sql = "INSERT INTO van (id, name, depot_id) VALUES (?, ?, ?) \
                           ON CONFLICT (id) DO UPDATE SET depot_id = excluded.depot_id";
                let id = Value::Integer((n % (jobs::VANS + 3) + 1).into());
                (sql, vec![id, text(n), Source::Depot.or_none(depot)])
            }
            Self::Move { job: at, project } => (
                "UPDATE job SET project_id = ? WHERE id = ?",
                vec![Source::Project.or_none(project), job(at)],
            ),
            Self::Hand { job: at, owner } => (
                "UPDATE job SET owner = ? WHERE id = ?",
                vec![user(owner), job(at)],
            ),
            Self::Job { n, project, owner } => {
                let sql = "INSERT OR IGNORE INTO job (id, project_id, owner, label, level) \
                           VALUES (?, ?, ?, ?, ?)";
                let (id, level) = (Value::Text(app::uuid(n)), Value::Integer(n.into()));
                let project = Source::Project.id(project);
                (sql, vec![id, project, user(owner), text(n), level])
            }
            Self::Count { n } => ("UPDATE job SET level = ?", vec![Value::Integer(n.into())]),
        };
        let sql = sql.to_owned();
        vec![Statement { sql, params }]
    }

    /// What is done to a source.
    fn of_source(&self) -> Option<Statement> {
        let place = |n: u32| Value::Text(format!("place {n}"));
        let (sql, params) = match *self {
            Self::Rename { source, n } => match source {
                Source::Project => (
                    "UPDATE project SET name = ? WHERE id = ?",
                    vec![text(n), source.id(n)],
                ),
                Source::Depot => (
                    "UPDATE depot SET title = ?, place = ? WHERE id = ?",
                    vec![text(n), place(n), source.id(n)],
                ),
            },
            Self::Rekey { source, from, to } => (
                match source {
                    Source::Project => "UPDATE OR IGNORE project SET id = ? WHERE id = ?",
                    Source::Depot => "UPDATE OR IGNORE depot SET id = ? WHERE id = ?",
                },
                vec![source.id(to), source.id(from)],
            ),
            Self::Delete { source, at } => (
                match source {
                    Source::Project => "DELETE FROM project WHERE id = ?",
                    Source::Depot => "DELETE FROM depot WHERE id = ?",
                },
                vec![source.id(at)],
            ),
            Self::Make { source, n } => match source {
                Source::Project => (
                    "REPLACE INTO project (id, name) VALUES (?, ?)",
                    vec![source.id(n), text(n)],
                ),
                Source::Depot => (
                    "REPLACE INTO depot (id, title, place) VALUES (?, ?, ?)",
                    vec![source.id(n), text(n), place(n)],
                ),
            },
            _ => return None,
        };
        let sql = sql.to_owned();
        Some(Statement { sql, params })
    }
}

/// A user's name, or nobody's.
fn user(n: Option<u32>) -> Value {
    let name = |n: u32| scoped::user((n % scoped::USERS) as usize);
    n.map_or(Value::Null, |n| Value::Text(name(n)))
}

fn text(n: u32) -> Value {
    Value::Text(scoped::text(&format!("e{n}")))
}

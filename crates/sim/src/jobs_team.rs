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
    fn table(self) -> (&'static str, &'static str) {
        match self {
            Self::Project => ("project", "name"),
            Self::Depot => ("depot", "title"),
        }
    }

    fn id(self, n: u32) -> Value {
        let of = match self {
            Self::Project => jobs::PROJECTS + 2,
            Self::Depot => jobs::DEPOTS + 1,
        };
        Value::Integer((n % of + 1).into())
    }
}

impl JobsEdit {
    /// As SQL, on the rows that are there.
    pub(crate) fn statements(&self, rows: impl Fn(usize) -> Rc<Rows>) -> Vec<Statement> {
        let user = |n: u32| Value::Text(scoped::user((n % scoped::USERS) as usize));
        let user_or_none = |n: Option<u32>| n.map_or(Value::Null, user);
        let or_none = |source: Source, n: Option<u32>| n.map_or(Value::Null, |n| source.id(n));
        let job = |n: u32| {
            let rows = rows(app::JOB);
            let key = rows.keys().nth(n as usize % rows.len().max(1));
            key.and_then(|key| read_key(key).ok()?.first().cloned())
                .unwrap_or(Value::Null)
        };
        let text = |n: u32| Value::Text(scoped::text(&format!("e{n}")));
        let (sql, params) = match *self {
            Self::Seat {
                user: who,
                project,
                is_held,
            } => {
                let sql = match is_held {
                    true => "INSERT OR IGNORE INTO seat VALUES (?, ?)",
                    false => "DELETE FROM seat WHERE user = ? AND project = ?",
                };
                (sql.to_owned(), vec![user(who), Source::Project.id(project)])
            }
            Self::Rename { source, n } => {
                let (table, name) = source.table();
                let sql = format!("UPDATE {table} SET {name} = ? WHERE id = ?");
                (sql, vec![text(n), source.id(n)])
            }
            Self::Rekey { source, from, to } => {
                let (table, _) = source.table();
                let sql = format!("UPDATE OR IGNORE {table} SET id = ? WHERE id = ?");
                (sql, vec![source.id(to), source.id(from)])
            }
            Self::Delete { source, at } => {
                let (table, _) = source.table();
                let sql = format!("DELETE FROM {table} WHERE id = ?");
                (sql, vec![source.id(at)])
            }
            Self::Make { source, n } => {
                let (table, name) = source.table();
                let verb = ["REPLACE", "INSERT OR IGNORE"][n as usize % 2];
                let sql = format!("{verb} INTO {table} (id, {name}) VALUES (?, ?)");
                (sql, vec![source.id(n), text(n)])
            }
            Self::Supply { project, depot } => {
                let sql = "UPDATE project SET depot_id = ? WHERE id = ?";
                let params = vec![or_none(Source::Depot, depot), Source::Project.id(project)];
                (sql.to_owned(), params)
            }
            Self::Van { n, depot } => {
                let sql = "INSERT INTO van (id, name, depot_id) VALUES (?, ?, ?) \
                           ON CONFLICT (id) DO UPDATE SET depot_id = excluded.depot_id";
                let id = Value::Integer((n % (jobs::VANS + 3) + 1).into());
                (
                    sql.to_owned(),
                    vec![id, text(n), or_none(Source::Depot, depot)],
                )
            }
            Self::Move { job: at, project } => {
                let sql = "UPDATE job SET project_id = ? WHERE id = ?";
                let params = vec![or_none(Source::Project, project), job(at)];
                (sql.to_owned(), params)
            }
            Self::Hand { job: at, owner } => {
                let sql = "UPDATE job SET owner = ? WHERE id = ?";
                (sql.to_owned(), vec![user_or_none(owner), job(at)])
            }
            Self::Job { n, project, owner } => {
                let sql = "INSERT OR IGNORE INTO job (id, project_id, owner, label, level) \
                           VALUES (?, ?, ?, ?, ?)";
                let params = vec![
                    Value::Text(app::uuid(n)),
                    Source::Project.id(project),
                    user_or_none(owner),
                    text(n),
                    Value::Integer(n.into()),
                ];
                (sql.to_owned(), params)
            }
            Self::Count { n } => {
                let sql = "UPDATE job SET level = ?";
                (sql.to_owned(), vec![Value::Integer(n.into())])
            }
        };
        vec![Statement { sql, params }]
    }
}

//! What the team does with rows that are not everyone's, and with who holds what: statements on
//! the server's tables, in one transaction.

use std::fmt;
use std::rc::Rc;

use afield_protocol::Value;
use afield_protocol::codec::cbor::read_key;

use crate::action::Edit;
use crate::app;
use crate::jobs_team::JobsEdit;
use crate::rows::Rows;
use crate::scoped::{self, DISTRICTS, TEAMS, USERS};
use crate::statements::{Settled, Side, Statement};
use crate::timed;

/// One statement of such a transaction. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TeamEdit {
    /// A user gets a district or a team, or loses it. The rows are not touched.
    Grant {
        user: u32,
        what: Held,
        value: u32,
        is_held: bool,
    },
    /// A shop moves to another district.
    Move { shop: u32, district: u32 },
    /// A task is made.
    Task {
        n: u32,
        shop: u32,
        team: u32,
        owner: Option<u32>,
    },
    /// A task gets another owner, or none.
    Hand { task: u32, owner: Option<u32> },
    /// All tasks are counted anew.
    Count { n: u32 },
    /// A row counts as deleted from now on, or no longer.
    Bury {
        entity: usize,
        row: u32,
        is_deleted: bool,
    },
    /// Something is done to projects, jobs and depots.
    Jobs(JobsEdit),
    /// Any other edit.
    Edit(Edit),
}

/// What a user may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    District,
    Team,
}

impl TeamEdit {
    /// As SQL, on the rows that are there, once the server's clock has moved by so much.
    pub(crate) fn statements(
        &self,
        rows: impl Fn(usize) -> Rc<Rows>,
        moved: i64,
    ) -> Vec<Statement> {
        let one = |sql: &str, params: Vec<Value>| {
            vec![Statement {
                sql: sql.to_owned(),
                params,
            }]
        };
        let key = |entity: usize, n: u32| {
            let rows = rows(entity);
            let key = rows.keys().nth(n as usize % rows.len().max(1))?;
            read_key(key).ok()?.first().cloned()
        };
        let owner = |owner: Option<u32>| owner.map_or(Value::Null, user);
        match self {
            Self::Grant {
                user: who,
                what,
                value,
                is_held,
            } => one(what.sql(*is_held), vec![user(*who), what.value(*value)]),
            Self::Move { shop, district } => match key(app::SHOP, *shop) {
                Some(key) => one(
                    "UPDATE shop SET district_id = ? WHERE id = ?",
                    vec![Held::District.value(*district), key],
                ),
                None => Vec::new(),
            },
            Self::Task {
                n,
                shop,
                team,
                owner: of,
            } => one(
                "INSERT OR IGNORE INTO task VALUES (?, ?, ?, ?, ?, ?)",
                vec![
                    Value::Text(app::uuid(*n)),
                    key(app::SHOP, *shop).unwrap_or(Value::Null),
                    Held::Team.value(*team),
                    owner(*of),
                    Value::Text(scoped::text(&format!("t{n}"))),
                    Value::Integer((*n).into()),
                ],
            ),
            Self::Hand { task, owner: to } => {
                let sql = "UPDATE task SET owner = ? WHERE id = ?";
                let key = key(app::TASK, *task);
                key.map_or_else(Vec::new, |key| one(sql, vec![owner(*to), key]))
            }
            Self::Count { n } => one(
                "UPDATE task SET count = ?",
                vec![Value::Integer((*n).into())],
            ),
            Self::Bury {
                entity,
                row,
                is_deleted,
            } => key(*entity, *row).map_or_else(Vec::new, |key| {
                one(timed::bury(*entity, *is_deleted), vec![key])
            }),
            Self::Jobs(edit) => edit.statements(rows),
            Self::Edit(edit) => Settled::new(edit, &rows(edit.entity), |_, _| None)
                .map_or_else(Vec::new, |settled| {
                    settled.moved(moved).statements(Side::Server)
                }),
        }
    }
}

impl Held {
    fn sql(self, is_held: bool) -> &'static str {
        match (self, is_held) {
            (Self::District, true) => "INSERT OR IGNORE INTO member VALUES (?, ?)",
            (Self::District, false) => "DELETE FROM member WHERE user = ? AND district = ?",
            (Self::Team, true) => "INSERT OR IGNORE INTO crew VALUES (?, ?)",
            (Self::Team, false) => "DELETE FROM crew WHERE user = ? AND team = ?",
        }
    }

    fn value(self, n: u32) -> Value {
        let of = match self {
            Self::District => DISTRICTS,
            Self::Team => TEAMS,
        };
        Value::Integer((n % of + 1).into())
    }
}

fn user(n: u32) -> Value {
    Value::Text(scoped::user((n % USERS) as usize))
}

impl fmt::Display for TeamEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant {
                user,
                what,
                value,
                is_held,
            } => {
                let how = if *is_held { "gets" } else { "loses" };
                write!(
                    f,
                    "user{} {how} {what:?}{}",
                    user % USERS,
                    what.value(*value)
                )
            }
            Self::Move { shop, district } => {
                write!(f, "shop[{shop}] to {}", Held::District.value(*district))
            }
            Self::Task {
                n,
                shop,
                team,
                owner,
            } => write!(f, "task <{n}> of shop[{shop}], team {team}, {owner:?}"),
            Self::Hand { task, owner } => write!(f, "task[{task}] handed to {owner:?}"),
            Self::Count { n } => write!(f, "all tasks <{n}>"),
            Self::Bury {
                entity,
                row,
                is_deleted,
            } => {
                let how = if *is_deleted { "is" } else { "is no longer" };
                write!(f, "{}[{row}] {how} deleted", app::name(*entity))
            }
            Self::Jobs(edit) => write!(f, "{edit:?}"),
            Self::Edit(edit) => write!(f, "{edit}"),
        }
    }
}

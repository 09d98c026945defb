//! The statements of a route: from the marks of a source to the rows that show it.
//!
//! A mark's rows come in the order of the keys on the way, then of their own, each statement a
//! chain of look-ups that is followed as far as its rows are taken. A page may end behind any row;
//! the next goes on from the innermost level outwards: the rest of the rows under the last key on
//! the way, then the keys behind that one, and at last the marks behind this one.

use super::super::columns::{KeyColumn, ReadColumn, behind};
use super::super::entity::Parts;
use super::super::statements::{marks, named, ordered};
use super::Step;

/// A way from the marks of a table that lookups read back to the rows that show it.
#[derive(Debug)]
pub(in super::super) struct Route {
    /// The source's capture.
    pub capture: i32,
    /// What its marks go by.
    pub key: KeyColumn,
    /// The tables between, that of the mark's own referrers first.
    steps: Vec<Step>,
    /// The column of the entity's own table that refers to the last of them.
    column: ReadColumn,
    /// Whether there is an index on that column and then the row's key.
    is_indexed: bool,
    /// Transaction and key of a mark, keys on the way, whether there is a row, and the row; with
    /// the parameters of [`Sql::marks`](super::super::statements::Sql::marks).
    pub marks: String,
    /// For each step, the same without the mark, of the keys behind `$3` that refer to `$2`; at
    /// last the rows behind a key, `$3` and on, that refer to `$2`.
    pub levels: Vec<String>,
}

impl Route {
    pub(super) fn new(
        capture: i32,
        key: KeyColumn,
        steps: Vec<Step>,
        column: ReadColumn,
        is_indexed: bool,
    ) -> Self {
        Self {
            capture,
            key,
            steps,
            column,
            is_indexed,
            marks: String::new(),
            levels: Vec::new(),
        }
    }

    /// How many tables are between.
    pub(in super::super) fn width(&self) -> usize {
        self.steps.len()
    }

    pub(super) fn build(&mut self, parts: &Parts<'_>, shown: &str) {
        let last = self.steps.len();
        let from_marks = format!(
            "({}) m",
            marks(self.capture, std::slice::from_ref(&self.key))
        );
        let mark = self.key.read_mark("m");
        let keys: String = (1..=last).map(|at| format!(", s{at}.k")).collect();
        let joins: String = (1..=last).map(|at| self.step_join(at)).collect();
        let rows = self.rows_join(parts, shown, &self.rows_of("m.key1", last));
        self.marks =
            format!("SELECT m.xid, {mark}{keys}, v.* FROM {from_marks}{joins}{rows} LIMIT $1");
        let mut levels = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let level = at + 1;
            let parent = self.parent(level);
            let refers = self.refers(&step.column, "t", &parent, level);
            let more = format!(" AND t.{} {} $3", step.key.name, step.key.operator(">"));
            let first = keys_of(step, &format!("{refers}{more}"));
            let keys: Vec<String> = (level..=last).map(|at| format!("s{at}.k")).collect();
            let joins: String = (level + 1..=last).map(|at| self.step_join(at)).collect();
            let rows = self.rows_join(parts, shown, &self.rows_of("", last));
            levels.push(format!(
                "SELECT {}, v.* FROM ({first}) s{level}{joins}{rows} LIMIT $1",
                keys.join(", ")
            ));
        }
        let parent = self.parent(last + 1);
        let refers = self.refers(&self.column, "r", &parent, last + 1);
        let more = behind(parts.order, "r", 3);
        levels.push(format!(
            "{} LIMIT $1",
            self.rows(parts, shown, &format!("{refers} AND {more}"))
        ));
        self.levels = levels;
    }

    /// The parameter that holds the value to which a level's rows refer, with its type.
    fn parent(&self, level: usize) -> String {
        match level.checked_sub(2).and_then(|at| self.steps.get(at)) {
            Some(step) => format!("$2::{}", step.key.sql_type),
            None => format!("$2::{}", self.key.mark.sql_type),
        }
    }

    /// That a column of a level refers to a value.
    fn refers(&self, column: &ReadColumn, row: &str, value: &str, level: usize) -> String {
        match level {
            1 => column.is_marked(row, &self.key.mark, value),
            _ => column.is_same(row, value),
        }
    }

    fn step_join(&self, level: usize) -> String {
        let Some(step) = self.steps.get(level - 1) else {
            return String::new();
        };
        let value = match level {
            1 => "m.key1".to_owned(),
            _ => format!("s{}.k", level - 1),
        };
        let refers = self.refers(&step.column, "t", &value, level);
        format!(
            " LEFT JOIN LATERAL ({}) s{level} ON true",
            keys_of(step, &refers)
        )
    }

    /// That a row refers to the last key on the way, or to the mark where there is none.
    fn rows_of(&self, mark: &str, last: usize) -> String {
        let value = match last {
            0 => mark.to_owned(),
            last => format!("s{last}.k"),
        };
        self.refers(&self.column, "r", &value, last + 1)
    }

    fn rows_join(&self, parts: &Parts<'_>, shown: &str, refers: &str) -> String {
        format!(
            " LEFT JOIN LATERAL ({}) v ON true",
            self.rows(parts, shown, refers)
        )
    }

    /// The rows for which a condition holds, in the order of their keys.
    fn rows(&self, parts: &Parts<'_>, shown: &str, condition: &str) -> String {
        let (table, order) = (parts.table, ordered(parts.order));
        let named = named(parts.order);
        match self.is_indexed {
            true => format!(
                "SELECT true AS is_there, {shown} FROM {table} r WHERE {condition} AND {named} \
                 ORDER BY {order}"
            ),
            // Without such an index the rows of the value are sorted; never is the table gone
            // through in the order of its keys.
            false => format!(
                "SELECT true AS is_there, {shown} FROM (SELECT * FROM {table} r \
                 WHERE {condition} AND {named} OFFSET 0) r ORDER BY {order}"
            ),
        }
    }
}

/// The keys of a step's rows for which a condition holds, in order.
fn keys_of(step: &Step, condition: &str) -> String {
    let (table, key) = (&step.table, &step.key.name);
    match step.is_indexed {
        true => format!(
            "SELECT t.{key} AS k FROM {table} t WHERE {condition} AND t.{key} IS NOT NULL \
             ORDER BY t.{key}"
        ),
        false => format!(
            "SELECT t.k FROM (SELECT t.{key} AS k FROM {table} t \
             WHERE {condition} AND t.{key} IS NOT NULL OFFSET 0) t ORDER BY t.k"
        ),
    }
}

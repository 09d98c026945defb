//! Marks: the triggers and tables by which every write to a table, whoever makes it, leaves a
//! note which row it touched.
//!
//! | trigger | marks |
//! |---|---|
//! | after insert | the new row |
//! | after update | the row under its new key |
//! | after update, key changed | the row under its old key |
//! | after delete | the row that went |
//! | before insert, before update | rows that `REPLACE` is about to delete |
//!
//! The last line is there because `REPLACE` deletes without firing a delete trigger. Which rows
//! go is decided by *every* unique key of the table, so there is one clause for each. Whether the
//! statement is a `REPLACE` at all cannot be seen in a trigger: rows that stay are marked too,
//! which only costs a lookup.
//!
//! Where an entity has a scope, a mark also has the row's columns that the scope compares, as they
//! were; a row that leaves a value is marked under the old one and the new one, as if its key had
//! changed. So a mark says whose the row was without telling what stood in it.
//!
//! What lookups read has marks beside these: keyed by the column that references name, and made by
//! an update only where that or a column which lookups read has another value. Their names begin
//! with `afield_source` in the place of the table's.
//!
//! The statement that fires a trigger may carry an OR clause, and it overrides the clauses inside
//! the trigger. So the triggers write with upserts, which it does not touch.

use afield_protocol::zoo::planted;

use super::schema::{TableSchema, Term, TermOf, Unique};
use super::sql_text::quote;

/// One thing in the schema that captures a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    /// `table`, `index` or `trigger`.
    pub kind: &'static str,
    pub name: String,
    pub sql: String,
    pub reason: String,
}

/// What captures a table.
pub(super) struct Capture<'a> {
    schema: &'a TableSchema,
    /// Key columns, in the order of the local entity's identifier.
    key: &'a [String],
    /// The columns of the row that its entity's scope compares, each once.
    scope: &'a [String],
    /// What its objects are named by.
    name: String,
    mark: String,
    /// Of a source of lookups: the columns whose changes are marked.
    read: Option<&'a [String]>,
}

/// The name of the table that holds the marks of a table or source.
pub(super) fn mark_table(name: &str) -> String {
    // No table of the team's is called so.
    match name.starts_with("afield_") {
        true => name.to_owned(),
        false => format!("afield_mark_{name}"),
    }
}

const TRIGGERS: [&str; 6] = [
    "afield_after_insert_",
    "afield_after_update_",
    "afield_key_update_",
    "afield_after_delete_",
    "afield_before_insert_",
    "afield_before_update_",
];

/// The names of all triggers of a table or source.
pub(super) fn trigger_names(table: &str) -> impl Iterator<Item = String> {
    TRIGGERS
        .iter()
        .map(move |prefix| format!("{prefix}{table}"))
}

impl<'a> Capture<'a> {
    pub(super) fn new(schema: &'a TableSchema, key: &'a [String], scope: &'a [String]) -> Self {
        Self {
            schema,
            key,
            scope,
            name: schema.name.clone(),
            mark: quote(&mark_table(&schema.name)),
            read: None,
        }
    }

    /// The capture of what lookups read, under a name of its own.
    pub(super) fn of_source(self, name: &str, read: &'a [String]) -> Self {
        Self {
            name: name.to_owned(),
            mark: quote(&mark_table(name)),
            read: Some(read),
            ..self
        }
    }

    /// Everything that captures this table, in the order in which it is made.
    pub(super) fn objects(&self) -> Vec<Object> {
        let mut objects = vec![self.table()];
        if self.scope.is_empty() {
            objects.push(self.index());
        }
        objects.extend((1..=self.scope.len()).map(|at| self.scope_index(at)));
        objects.extend(self.after_triggers());
        if !planted("server-replace-not-marked") {
            objects.extend([self.before_insert(), self.before_update()]);
        }
        objects
    }

    fn table(&self) -> Object {
        let column = |kind: &str, (at, name): (usize, &String), null: &str| {
            let column = self.schema.column(name);
            let affinity = column.map_or("BLOB", |c| c.affinity.as_sql());
            let name = comment(name);
            format!("\n  {kind}{} {affinity} NOT NULL, -- {name}{null}", at + 1)
        };
        let keys = self.key.iter().enumerate();
        let scopes = self.scope.iter().enumerate();
        let columns: String = keys
            .map(|named| column("key", named, ""))
            .chain(scopes.map(|named| column("scope", named, "; x'' where that is null")))
            .collect();
        let name = mark_table(&self.name);
        let touched = match self.read {
            None => "that was touched",
            Some(_) => "in which something changed that lookups read",
        };
        Object {
            kind: "table",
            sql: format!(
                "CREATE TABLE {} ({columns}\n  change INTEGER NOT NULL, \
                 -- the number of the row's latest change\n  PRIMARY KEY ({})\n) WITHOUT ROWID",
                self.mark,
                self.mark_key(),
            ),
            name,
            reason: format!("one mark for each row of `{}` {touched}", self.schema.name),
        }
    }

    fn index(&self) -> Object {
        let name = format!("afield_change_{}", self.name);
        // The marks of a source are gone through in this order.
        let columns = match self.read {
            None => "change",
            Some(_) => "change, key1",
        };
        Object {
            kind: "index",
            sql: format!("CREATE INDEX {} ON {} ({columns})", quote(&name), self.mark),
            name,
            reason: "finds the marks since a change number".into(),
        }
    }

    fn scope_index(&self, at: usize) -> Object {
        let name = format!("afield_scope{at}_{}", self.name);
        let mark = &self.mark;
        Object {
            kind: "index",
            sql: format!(
                "CREATE INDEX {} ON {mark} (scope{at}, change)",
                quote(&name)
            ),
            name,
            reason: "finds the marks of a value since a change number".into(),
        }
    }

    fn after_triggers(&self) -> [Object; 4] {
        let new = self.mark_row("NEW");
        let old = self.mark_row("OLD");
        [
            self.trigger(
                0,
                "AFTER INSERT",
                &self.has_key("NEW"),
                &new,
                "marks inserted rows",
            ),
            self.trigger(
                1,
                "AFTER UPDATE",
                &format!("{}{}", self.has_key("NEW"), self.shown_differs()),
                &new,
                "marks updated rows",
            ),
            self.trigger(
                2,
                "AFTER UPDATE",
                &format!("{} AND ({})", self.has_key("OLD"), self.place_differs()),
                &old,
                "marks the old key of a row whose key changed",
            ),
            self.trigger(
                3,
                "AFTER DELETE",
                &self.has_key("OLD"),
                &old,
                "marks deleted rows",
            ),
        ]
    }

    fn before_insert(&self) -> Object {
        let conditions: Vec<String> = self
            .schema
            .uniques
            .iter()
            .map(|unique| self.meets(unique))
            .collect();
        let when: Vec<String> = conditions.iter().map(|c| self.exists(c)).collect();
        let body: String = conditions.iter().map(|c| self.mark_rows(c)).collect();
        let reason = "marks rows that INSERT OR REPLACE deletes";
        self.trigger(4, "BEFORE INSERT", &when.join("\n  OR "), &body, reason)
    }

    fn before_update(&self) -> Object {
        let mut when = Vec::new();
        let mut body = String::new();
        for unique in &self.schema.uniques {
            let moved = self.moves(unique);
            let meets = self.meets(unique);
            when.push(format!("({moved}) AND {}", self.exists(&meets)));
            body += &self.mark_rows(&meets);
        }
        let reason = "marks rows that UPDATE OR REPLACE deletes";
        self.trigger(5, "BEFORE UPDATE", &when.join("\n  OR "), &body, reason)
    }

    fn trigger(&self, which: usize, event: &str, when: &str, body: &str, reason: &str) -> Object {
        let table = &self.schema.name;
        let name = format!("{}{}", TRIGGERS[which], self.name);
        Object {
            kind: "trigger",
            sql: format!(
                "CREATE TRIGGER {} {event} ON {}\nWHEN {when}\nBEGIN{body}\nEND",
                quote(&name),
                quote(table),
            ),
            name,
            reason: format!("{reason} of `{table}`"),
        }
    }

    fn mark_key(&self) -> String {
        let keys = (1..=self.key.len()).map(|at| format!("key{at}"));
        let scopes = (1..=self.scope.len()).map(|at| format!("scope{at}"));
        let names: Vec<String> = keys.chain(scopes).collect();
        names.join(", ")
    }

    /// Marks the row `NEW` or `OLD` under the next change number.
    fn mark_row(&self, row: &str) -> String {
        self.mark_select(&format!(
            "{}, change FROM afield_clock WHERE 1",
            self.cells(row)
        ))
    }

    /// Marks the table's rows for which `condition` holds, under the next change number.
    fn mark_rows(&self, condition: &str) -> String {
        let table = quote(&self.schema.name);
        self.mark_select(&format!(
            "{}, (SELECT change FROM afield_clock) FROM {table}\n    WHERE {} AND {condition}",
            self.cells(&table),
            self.has_key(&table),
        ))
    }

    /// Key and scope columns of a row, as a mark has them.
    fn cells(&self, row: &str) -> String {
        let keys = self.key.iter().map(|k| format!("{row}.{}", quote(k)));
        let scopes = (self.scope.iter()).map(|s| format!("COALESCE({row}.{}, x'')", quote(s)));
        let cells: Vec<String> = keys.chain(scopes).collect();
        cells.join(", ")
    }

    fn mark_select(&self, select: &str) -> String {
        let key = self.mark_key();
        format!(
            "\n  UPDATE afield_clock SET change = change + 1;\n  \
             INSERT INTO {} ({key}, change)\n    \
             SELECT {select}\n    ON CONFLICT ({key}) DO UPDATE SET change = excluded.change;",
            self.mark
        )
    }

    /// Whether the row has a whole key: one with a NULL in it cannot be synchronised. Nor is one
    /// anybody's whose scope columns are all NULL.
    fn has_key(&self, row: &str) -> String {
        let named = |k: &String| format!("{row}.{} IS NOT NULL", quote(k));
        let mut parts: Vec<String> = self.key.iter().map(named).collect();
        let scopes: Vec<String> = self.scope.iter().map(named).collect();
        match scopes.as_slice() {
            [] => {}
            [one] => parts.push(one.clone()),
            more => parts.push(format!("({})", more.join(" OR "))),
        }
        parts.join(" AND ")
    }

    /// Byte by byte: a key that changes from `a` to `A` is another key on a device, whatever the
    /// table's collation thinks of it.
    fn place_differs(&self) -> String {
        let differs = |k: &String| {
            let k = quote(k);
            format!("OLD.{k} COLLATE BINARY IS NOT NEW.{k}")
        };
        let scope: &[String] = match planted("server-mark-only-new-scope") {
            true => &[],
            false => self.scope,
        };
        let parts: Vec<String> = self.key.iter().chain(scope).map(differs).collect();
        parts.join(" OR ")
    }

    /// That an update changes what a lookup may show; nothing else of a source is marked.
    fn shown_differs(&self) -> String {
        let Some(read) = self.read else {
            return String::new();
        };
        let differs = |column: &String| {
            let column = quote(column);
            format!(
                "OLD.{column} COLLATE BINARY IS NOT NEW.{column} \
                 OR typeof(OLD.{column}) <> typeof(NEW.{column})"
            )
        };
        if planted("server-lookup-source-missed") {
            return format!(" AND ({})", self.place_differs());
        }
        let read: Vec<String> = read.iter().map(differs).collect();
        format!(" AND ({} OR {})", self.place_differs(), read.join(" OR "))
    }

    fn exists(&self, condition: &str) -> String {
        format!(
            "EXISTS (SELECT 1 FROM {} WHERE {condition})",
            quote(&self.schema.name)
        )
    }

    /// Which rows of the table collide with `NEW` in this unique key.
    fn meets(&self, unique: &Unique) -> String {
        let mut parts: Vec<String> = unique.terms.iter().map(|term| self.equals(term)).collect();
        // The condition speaks of the row in the table. Whether it holds for NEW too is not
        // asked: then a row is marked that stays.
        parts.extend(
            unique
                .condition
                .iter()
                .map(|condition| format!("({condition})")),
        );
        format!("({})", parts.join(" AND "))
    }

    fn equals(&self, term: &Term) -> String {
        let table = quote(&self.schema.name);
        let collate = term
            .collation
            .as_ref()
            .map_or_else(String::new, |name| format!(" COLLATE {}", quote(name)));
        match &term.what {
            TermOf::Column(name) => {
                format!(
                    "{table}.{}{collate} = {}",
                    quote(name),
                    self.new_value(name)
                )
            }
            TermOf::Expression(text) => {
                format!(
                    "({text}){collate} = (SELECT {text} FROM ({}) AS {table})",
                    self.new_row()
                )
            }
        }
    }

    /// The column's value in `NEW`, as it will be stored: OR REPLACE turns a NULL in a NOT NULL
    /// column into its default after the triggers have run.
    fn new_value(&self, name: &str) -> String {
        let value = format!("NEW.{}", quote(name));
        match self.schema.column(name) {
            Some(column) if column.not_null => match &column.default {
                Some(default) => format!("COALESCE({value}, ({default}))"),
                None => value,
            },
            _ => value,
        }
    }

    /// `NEW` as a row of a table, for the expression of an index.
    fn new_row(&self) -> String {
        let columns: Vec<String> = self
            .schema
            .columns
            .iter()
            .map(|c| format!("{} AS {}", self.new_value(&c.name), quote(&c.name)))
            .collect();
        format!("SELECT {}", columns.join(", "))
    }

    /// Whether the update may move the row to another place in this unique key.
    fn moves(&self, unique: &Unique) -> String {
        let moved = |term: &Term| match &term.what {
            TermOf::Column(name) => {
                let name_quoted = quote(name);
                let new = self.new_value(name);
                Some(format!("OLD.{name_quoted} COLLATE BINARY IS NOT {new}"))
            }
            TermOf::Expression(_) => None,
        };
        let parts: Option<Vec<String>> = unique.terms.iter().map(moved).collect();
        match (parts, &unique.condition) {
            (Some(parts), None) => parts.join(" OR "),
            // A row can enter a partial index without a change of the indexed columns, and what
            // an expression reads is not worth finding out.
            _ => "1".into(),
        }
    }
}

/// A name inside an SQL comment.
fn comment(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

//! What captures one table: the marks' table, the functions that write it, the triggers that call
//! them.
//!
//! | trigger | on | fires | for |
//! |---|---|---|---|
//! | insert, update, delete | an ordinary table | per statement, for ordinary sessions | its rows |
//! | row | an ordinary table | per row, in replica mode | what logical replication applies |
//! | row | a partitioned table | per row, always | writes by way of any partition |
//! | truncate | the table, each partition | per statement, always | a reset: all may be gone |
//!
//! A statement marks each row that was there before and is not there in the same form after, and
//! the other way round; so nothing depends on which row of before became which of after. Forms are
//! compared byte by byte (`*=`), in the watched columns.

mod body;

use super::kinds::MarkColumn;
use super::quoted::{dollars, literal, literals, quote};
use super::run::Statement;
use super::shape::Shape;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A row was touched: an entity's table.
    Rows,
    /// Something changed in a row that lookups or paths of scopes read.
    Source,
    /// The table was touched, whichever row: what a scope's query reads.
    Table,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Source => "source",
            Self::Table => "table",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        let kinds = [Self::Rows, Self::Source, Self::Table];
        kinds.into_iter().find(|kind| kind.word() == word)
    }
}

/// The capture of one table for one purpose.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    /// What its objects are named by.
    pub id: i32,
    pub kind: Kind,
    pub shape: Shape,
    pub key: Vec<MarkColumn>,
    pub scope: Vec<MarkColumn>,
    /// The columns whose changes count, those of key and scope among them.
    pub watched: Vec<String>,
    /// Whether no two rows of a statement can have one key.
    pub is_unique: bool,
}

/// A function of a capture.
pub(super) struct Function {
    pub name: String,
    pub body: String,
    reason: &'static str,
}

/// A trigger of a capture.
pub(super) struct Trigger {
    pub name: String,
    /// The table that it is made on: oid, and name in SQL.
    pub on: (u32, String),
    /// `pg_trigger.tgenabled`.
    pub enabled: &'static str,
    event: &'static str,
    function: String,
}

const OLD: &str = "REFERENCING OLD TABLE AS afield_old FOR EACH STATEMENT";
const NEW: &str = "REFERENCING NEW TABLE AS afield_new FOR EACH STATEMENT";
const BOTH: &str = "REFERENCING OLD TABLE AS afield_old NEW TABLE AS afield_new FOR EACH STATEMENT";

impl Capture {
    /// The table of its marks, in SQL.
    pub(super) fn mark(&self) -> String {
        mark_table(self.id)
    }

    /// Everything that makes it, in order, and the row that names it.
    pub(super) fn statements(&self) -> Vec<Statement> {
        let mut statements = vec![self.table()];
        statements.extend(self.comments());
        statements.extend(self.indexes().into_iter().map(|(_, statement)| statement));
        statements.extend(self.functions().iter().map(|f| self.create_function(f)));
        for trigger in self.triggers() {
            statements.extend(self.create_trigger(&trigger));
        }
        statements.push(self.registration());
        statements.push(self.reset());
        statements
    }

    /// What its objects are, but for those whose names change with the table's: another text than
    /// the one that is noted is another capture.
    pub(super) fn definition(&self) -> String {
        let mut text = self.table().sql;
        for (_, statement) in self.indexes() {
            text += &statement.sql;
        }
        for function in self.functions() {
            text += &self.create_function(&function).sql;
        }
        text
    }

    /// The names of its tables and indexes in the schema `afield`.
    pub(super) fn relations(&self) -> Vec<String> {
        let indexes = self.indexes().into_iter().map(|(name, _)| name);
        indexes.chain([format!("mark_{}", self.id)]).collect()
    }

    fn statement(&self, sql: String, reason: impl Into<String>) -> Statement {
        Statement::of(sql, reason).on(self.shape.sql())
    }

    fn columns(&self) -> impl Iterator<Item = &MarkColumn> {
        self.key.iter().chain(&self.scope)
    }

    /// Two or more columns of a scope may be null by themselves.
    fn has_null_scopes(&self) -> bool {
        self.scope.len() > 1
    }

    fn table(&self) -> Statement {
        let mut columns: Vec<String> = Vec::new();
        for column in self.columns() {
            let is_null = self.has_null_scopes() && self.scope.contains(column);
            columns.push(format!(
                "{} {}{}{}",
                column.name,
                column.sql_type,
                column.collate,
                if is_null { "" } else { " NOT NULL" }
            ));
        }
        columns.push("xid pg_catalog.xid8 NOT NULL".to_owned());
        let names: Vec<&str> = self.columns().map(|column| column.name.as_str()).collect();
        match (self.kind, self.has_null_scopes()) {
            (Kind::Table, _) => columns.push(format!("{} PRIMARY KEY (xid)", self.pkey())),
            (_, true) => {}
            (_, false) => columns.push(format!(
                "{} PRIMARY KEY ({})",
                self.pkey(),
                names.join(", ")
            )),
        }
        let what = match self.kind {
            Kind::Rows => "one mark for each row that was touched, and for each value of its scope",
            Kind::Source => "one mark for each row in which something changed that others show",
            Kind::Table => "one mark for each transaction that touched the table",
        };
        let sql = format!(
            "CREATE TABLE {} (\n  {}\n) WITH (fillfactor = 80, \
             autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05)",
            self.mark(),
            columns.join(",\n  ")
        );
        self.statement(sql, format!("{}: {what}", self.shape.label()))
    }

    fn pkey(&self) -> String {
        format!("CONSTRAINT mark_{}_key", self.id)
    }

    fn comments(&self) -> Vec<Statement> {
        let mark = self.mark();
        let label = self.shape.label();
        let mut comments = vec![(
            format!("TABLE {mark}"),
            format!("Marks of {label}: {}", self.kind.word()),
        )];
        for column in &self.key {
            let what = format!("Value of {} in the row", quote(&column.of));
            comments.push((format!("COLUMN {mark}.{}", column.name), what));
        }
        for column in &self.scope {
            let what = format!("Value of {}, which the scope compares", quote(&column.of));
            comments.push((format!("COLUMN {mark}.{}", column.name), what));
        }
        let what = "The last transaction that wrote this mark".to_owned();
        comments.push((format!("COLUMN {mark}.xid"), what));
        let statement = |(on, text): (String, String)| {
            let sql = format!("COMMENT ON {on} IS {}", literal(&text));
            self.statement(sql, "documents it")
        };
        comments.into_iter().map(statement).collect()
    }

    /// Indexes by name. Pulls go through marks in the order of transaction and key, so that a page
    /// may end between any two of them.
    fn indexes(&self) -> Vec<(String, Statement)> {
        let (id, mark) = (self.id, self.mark());
        let keys: Vec<&str> = self.key.iter().map(|column| column.name.as_str()).collect();
        let keys = keys.join(", ");
        let mut indexes = Vec::new();
        if self.has_null_scopes() {
            let name = format!("mark_{id}_key");
            let sql = format!("CREATE UNIQUE INDEX {name} ON {mark} ({})", self.conflict());
            let why = "one mark for each row and its values; nulls are equal inside arrays";
            indexes.push((name, self.statement(sql, why)));
        }
        if self.kind != Kind::Table && self.scope.is_empty() {
            let name = format!("mark_{id}_xid");
            let sql = format!("CREATE INDEX {name} ON {mark} (xid, {keys})");
            indexes.push((
                name,
                self.statement(sql, "finds the marks since a snapshot"),
            ));
        }
        for column in &self.scope {
            let name = format!("mark_{id}_{}", column.name);
            let sql = format!(
                "CREATE INDEX {name} ON {mark} ({}, xid, {keys})",
                column.name
            );
            let why = "finds the marks of a value since a snapshot";
            indexes.push((name, self.statement(sql, why)));
        }
        indexes
    }

    /// By what an upsert finds the mark that is there.
    fn conflict(&self) -> String {
        let key = self.key.iter().map(|column| column.name.clone());
        let scope = self
            .scope
            .iter()
            .map(|column| match self.has_null_scopes() {
                true => format!("(ARRAY[{}])", column.name),
                false => column.name.clone(),
            });
        key.chain(scope).collect::<Vec<_>>().join(", ")
    }

    /// Its functions.
    pub(super) fn functions(&self) -> Vec<Function> {
        let mut functions = vec![Function {
            name: format!("row_{}", self.id),
            body: self.row_body(),
            reason: "marks one row",
        }];
        if !self.shape.is_partitioned() {
            functions.push(Function {
                name: format!("statement_{}", self.id),
                body: self.statement_body(),
                reason: "marks the rows of a statement",
            });
        }
        functions.push(Function {
            name: format!("truncate_{}", self.id),
            body: self.truncate_body(),
            reason: "notes that the table was emptied",
        });
        functions
    }

    fn create_function(&self, function: &Function) -> Statement {
        let name = format!("afield.{}()", function.name);
        // A plan is kept with the row counts of its first statement: one row. A nested loop over
        // the rows of a later, large one would never end.
        let sql = format!(
            "CREATE FUNCTION {name} RETURNS pg_catalog.trigger LANGUAGE plpgsql SECURITY DEFINER\n\
             SET search_path = pg_catalog, pg_temp SET enable_nestloop = off\n\
             AS {};\n\
             REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
            dollars(&function.body)
        );
        self.statement(sql, function.reason)
    }

    /// Its triggers, as they are made.
    pub(super) fn triggers(&self) -> Vec<Trigger> {
        let on = (self.shape.oid, self.shape.sql());
        let trigger = |word: &str, event, function: &str, enabled| Trigger {
            name: format!("afield_{}_{word}", self.id),
            on: on.clone(),
            enabled,
            event,
            function: format!("afield.{function}_{}()", self.id),
        };
        let row = |enabled| {
            let event = "AFTER INSERT OR UPDATE OR DELETE|FOR EACH ROW";
            trigger("row", event, "row", enabled)
        };
        let mut triggers = match self.shape.is_partitioned() {
            true => vec![row("A")],
            false => vec![
                trigger("insert", "AFTER INSERT", "statement", "O"),
                trigger("update", "AFTER UPDATE", "statement", "O"),
                trigger("delete", "AFTER DELETE", "statement", "O"),
                row("R"),
            ],
        };
        triggers.push(self.on_truncate(on.clone()));
        triggers.extend((self.shape.partitions.iter()).map(|on| self.on_truncate(on.clone())));
        triggers
    }

    fn on_truncate(&self, on: (u32, String)) -> Trigger {
        Trigger {
            name: format!("afield_{}_truncate", self.id),
            on,
            enabled: "A",
            event: "AFTER TRUNCATE|FOR EACH STATEMENT",
            function: format!("afield.truncate_{}()", self.id),
        }
    }

    /// What makes a trigger.
    pub(super) fn create_trigger(&self, trigger: &Trigger) -> Vec<Statement> {
        let (event, rows) = match trigger.event.split_once('|') {
            Some(parts) => parts,
            None => match trigger.event {
                "AFTER INSERT" => (trigger.event, NEW),
                "AFTER DELETE" => (trigger.event, OLD),
                _ => (trigger.event, BOTH),
            },
        };
        let (name, on) = (quote(&trigger.name), &trigger.on.1);
        let sql = format!(
            "CREATE TRIGGER {name} {event} ON {on} {rows} EXECUTE FUNCTION {}",
            trigger.function
        );
        let mut made = vec![self.statement(sql, "calls it").on(on.clone())];
        let mode = match trigger.enabled {
            "A" => ("ALWAYS", "in replica mode too"),
            "R" => (
                "REPLICA",
                "for what logical replication applies, and only then",
            ),
            _ => return made,
        };
        let sql = format!("ALTER TABLE {on} ENABLE {} TRIGGER {name}", mode.0);
        made.push(self.statement(sql, mode.1).on(on.clone()));
        made
    }

    fn registration(&self) -> Statement {
        let of = |columns: &[MarkColumn]| -> Vec<String> {
            columns.iter().map(|column| column.of.clone()).collect()
        };
        let types: Vec<&str> = self.scope.iter().map(|c| c.sql_type.as_str()).collect();
        let equals: Vec<&str> = self.scope.iter().map(|c| c.equals.as_str()).collect();
        let sql = format!(
            "INSERT INTO afield.capture (id, kind, relation, table_name, key_columns, \
             scope_columns, scope_types, scope_equals, watched, definition)\nVALUES ({}, {}, \
             {}::pg_catalog.regclass, {}, {}, {}, {}, {}, {}, pg_catalog.md5({}));\n\
             UPDATE afield.capture c SET fingerprint = afield.fingerprint(c) WHERE c.id = {}",
            self.id,
            literal(self.kind.word()),
            literal(&self.shape.sql()),
            literal(&self.shape.label()),
            literals(&of(&self.key)),
            literals(&of(&self.scope)),
            literals(&types),
            literals(&equals),
            literals(&self.watched),
            literal(&self.definition()),
            self.id,
        );
        self.statement(
            sql,
            "names it, and notes how its triggers and columns are now",
        )
    }

    fn reset(&self) -> Statement {
        let sql = format!(
            "INSERT INTO afield.reset (capture, why) VALUES ({}, 'capture begins')",
            self.id
        );
        self.statement(sql, "nobody knows what was written unmarked before")
    }
}

/// The table of a capture's marks, in SQL.
pub(super) fn mark_table(id: i32) -> String {
    format!("afield.mark_{id}")
}

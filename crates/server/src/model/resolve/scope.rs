//! Whose rows: paths find their columns, each step by the database's own foreign keys.

use afield_protocol::Type;

use super::Resolver;
use crate::catalog::{Column, ForeignKey, Table, TableKind};
use crate::model::error::{Place, suggestion};
use crate::model::file::{At, FromServer, Scoped};
use crate::model::scope::{WrittenCondition, WrittenScope};
use crate::resolved::{Condition, Holds, Hop, Scope};

/// What a path of one entity needs to be resolved.
pub(super) struct Of<'a> {
    pub(super) entity: &'a str,
    pub(super) server: &'a FromServer,
    pub(super) table: &'a Table,
    /// What it is for.
    pub(super) what: What,
}

/// What paths are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// They lead to what decides about a row, under this key.
    Rows(&'static str),
    /// They lead to a value that is shown.
    Lookup,
}

impl What {
    fn key(self) -> &'static str {
        match self {
            Self::Rows(key) => key,
            Self::Lookup => "lookup",
        }
    }

    /// What to do where foreign keys lead nowhere.
    fn instead(self) -> &'static str {
        match self {
            Self::Rows(_) => "use a [scope.NAME] whose query joins the tables",
            Self::Lookup => "synchronise the other entity too and join on the device",
        }
    }
}

impl<'a> Resolver<'a> {
    /// The scope of an entity; everyone's if it has mistakes, which are noted.
    pub(super) fn scope(&mut self, entity: &str, server: &FromServer, table: &'a Table) -> Scope {
        let of = Of {
            entity,
            server,
            table,
            what: What::Rows("scope"),
        };
        let scope = self.rule(&of, &server.scope);
        if let Scope::Ways(ways) = &scope {
            self.advise(entity, server.scope.place, table, ways);
        }
        scope
    }

    /// Which rows of an entity may be changed, and what they may become, where the file says it.
    pub(super) fn writes(
        &mut self,
        entity: &str,
        server: &FromServer,
        table: &'a Table,
    ) -> (Option<Scope>, Option<Scope>) {
        let mut found = [None, None];
        let said = [("write", &server.write), ("write_to", &server.write_to)];
        for (at, (key, scoped)) in said.into_iter().enumerate() {
            let Some(scoped) = scoped else { continue };
            self.check_writes(entity, key, server, scoped.place);
            let of = Of {
                entity,
                server,
                table,
                what: What::Rows(key),
            };
            found[at] = Some(self.rule(&of, scoped));
        }
        let [write, write_to] = found;
        (write, write_to)
    }

    /// `write` and `write_to` need a device that writes, and rows that are changed.
    fn check_writes(&mut self, entity: &str, key: &str, server: &FromServer, place: Place) {
        let problem = if !server.is_written() {
            let pattern = server.pattern.as_str();
            format!("devices do not write with the pattern `{pattern}`; remove it")
        } else if server.insert_only.is_some() && key == "write" {
            "rows are only created (`insert_only`), and never changed; say with `write_to` which"
                .to_owned()
        } else {
            return;
        };
        self.wrong(place, format!("[local.{entity}] {key}: {problem}"));
    }

    /// What a text says of an entity's rows; everyone's if it has mistakes, which are noted.
    fn rule(&mut self, of: &Of<'_>, scoped: &Scoped) -> Scope {
        let WrittenScope::Ways(written) = &scoped.written else {
            return Scope::Everyone;
        };
        let mut ways: Vec<Vec<Condition>> = Vec::new();
        for way in written {
            let mut conditions: Vec<Condition> = Vec::new();
            for condition in way {
                let Some(found) = self.condition(of, condition) else {
                    self.check_noted(of, scoped.place);
                    continue;
                };
                // Names that differ in case mean the same column.
                if !conditions.contains(&found) {
                    conditions.push(found);
                }
            }
            let is_known = |known: &Vec<Condition>| {
                known.len() == conditions.len() && conditions.iter().all(|c| known.contains(c))
            };
            if !conditions.is_empty() && !ways.iter().any(is_known) {
                ways.push(conditions);
            }
        }
        match ways.is_empty() {
            true => Scope::Everyone,
            false => Scope::Ways(ways),
        }
    }

    /// A condition that was left out without a mistake being noted would open the entity.
    fn check_noted(&mut self, of: &Of<'_>, place: Place) {
        if self.errors.is_empty() {
            let (entity, key) = (of.entity, of.what.key());
            let message = format!("[local.{entity}] {key}: has a condition that means nothing");
            self.wrong(place, message);
        }
    }

    fn condition(&mut self, of: &Of<'_>, written: &WrittenCondition) -> Option<Condition> {
        let (first, path, (table, column)) = self.path_of(of, &written.path)?;
        let last = written.path.last()?;
        self.check_comparable(of, column, last)?;
        self.check_held(of, (table, column), last, &written.holds)?;
        Some(Condition {
            column: first.name.clone(),
            path,
            holds: written.holds.value.clone(),
        })
    }

    /// The row's own column that a path begins with, its steps, and the table and column
    /// that it ends in.
    pub(super) fn path_of(
        &mut self,
        of: &Of<'_>,
        written: &[At<String>],
    ) -> Option<(&'a Column, Vec<Hop>, (&'a Table, &'a Column))> {
        let (last, steps) = written.split_last()?;
        let mut table = self.catalog.table(&of.table.name)?;
        let mut step: Option<(&'a Column, &'a Table, &'a Column)> = None;
        let mut first = None;
        let mut path = Vec::new();
        for name in steps {
            let column = self.column_of(of, table, name)?;
            close(&mut path, step, column);
            first = first.or(Some(column));
            let (target, key) = self.step(of, table, column, name)?;
            step = Some((column, target, key));
            table = target;
        }
        let column = self.column_of(of, table, last)?;
        close(&mut path, step, column);
        Some((first.unwrap_or(column), path, (table, column)))
    }

    /// The column of this name; a local name of it is no name on the server.
    fn column_of(
        &mut self,
        of: &Of<'_>,
        table: &'a Table,
        name: &At<String>,
    ) -> Option<&'a Column> {
        if let Some(column) = table.column(&name.value) {
            return Some(column);
        }
        let mut renamed = of.server.attributes.iter();
        let alias = renamed.find(|listed| listed.local.value == name.value);
        let near = match alias.filter(|_| table.name == of.table.name) {
            Some(listed) => format!(
                "`{}` is the local name of the column `{}`: write that",
                name.value, listed.column.value
            ),
            None => suggestion(&name.value, table.columns.iter().map(|c| &*c.name)),
        };
        let message = format!(
            "[local.{}] {}: the table `{}` has no column `{}`; {near}",
            of.entity,
            of.what.key(),
            table.name,
            name.value
        );
        self.wrong(name.place, message);
        None
    }

    /// The table that a column refers to, and the column of it that holds the same value.
    fn step(
        &mut self,
        of: &Of<'_>,
        table: &'a Table,
        column: &'a Column,
        name: &At<String>,
    ) -> Option<(&'a Table, &'a Column)> {
        match self.referred(of.what, table, column) {
            Ok((target, key)) => {
                self.check_collation(of, column, name)?;
                self.check_collation(of, key, name)?;
                if families_differ(column, key) {
                    let message = format!(
                        "[local.{}] {}: `{}.{}` is {} and refers to `{}.{}`, which is {}: such \
                         values are never found equal; declare both columns alike",
                        of.entity,
                        of.what.key(),
                        table.name,
                        column.name,
                        shown(column),
                        target.name,
                        key.name,
                        shown(key)
                    );
                    self.wrong(name.place, message);
                    return None;
                }
                Some((target, key))
            }
            Err(reason) => {
                let message = format!("[local.{}] {}: {reason}", of.entity, of.what.key());
                self.wrong(name.place, message);
                None
            }
        }
    }

    fn referred(
        &self,
        what: What,
        table: &Table,
        column: &Column,
    ) -> Result<(&'a Table, &'a Column), String> {
        let is_it = |name: &String| *name == column.name;
        let through = format!("`{}.{}`", table.name, column.name);
        let of_it: Vec<&ForeignKey> = (table.foreign_keys.iter())
            .filter(|key| key.columns.iter().any(is_it))
            .collect();
        let mut alone: Vec<&ForeignKey> = Vec::new();
        for key in of_it.iter().filter(|key| key.columns.len() == 1) {
            if !alone.iter().any(|known| is_same_target(known, key)) {
                alone.push(key);
            }
        }
        let key = match alone.as_slice() {
            [key] => *key,
            [] if !of_it.is_empty() => {
                return Err(format!(
                    "{through} is part of a foreign key of several columns, and a path goes \
                     through single ones; {}",
                    what.instead()
                ));
            }
            [] => {
                let keys = table
                    .foreign_keys
                    .iter()
                    .filter(|key| key.columns.len() == 1);
                let near = suggestion(&column.name, keys.flat_map(|k| &k.columns).map(|c| &**c));
                return Err(format!(
                    "{through} is no foreign key, so `.` leads nowhere from it; {near}"
                ));
            }
            several => {
                let targets: Vec<String> = several
                    .iter()
                    .map(|key| format!("`{}`", key.table))
                    .collect();
                return Err(format!(
                    "{through} is a foreign key to {}, and it cannot be told which one is meant; \
                     {}",
                    targets.join(" and to "),
                    what.instead()
                ));
            }
        };
        self.target_of(key).ok_or_else(|| {
            format!(
                "{through} refers to `{}` ({}), which is no table with such a key of its own; \
                 correct the foreign key",
                key.table,
                key.targets.join(", ")
            )
        })
    }

    /// The table and its key, if the key names one row.
    fn target_of(&self, key: &ForeignKey) -> Option<(&'a Table, &'a Column)> {
        let catalog = self.catalog;
        let target = catalog.table(&key.table)?;
        let [name] = key.targets.as_slice() else {
            return None;
        };
        let column = target.column(name)?;
        let is_key = target.primary_key.len() == 1 && target.is_key(name);
        let mut unique = target.unique.iter();
        let is_unique =
            unique.any(|columns| matches!(columns.as_slice(), [only] if *only == column.name));
        let is_usable = target.kind == TableKind::Ordinary && (is_key || is_unique);
        is_usable.then_some((target, column))
    }

    /// A value that a user holds must be the same value in the row, and nothing like it.
    fn check_comparable(&mut self, of: &Of<'_>, column: &Column, name: &At<String>) -> Option<()> {
        self.check_collation(of, column, name)?;
        let is_exact = !matches!(column.kind, Type::Real | Type::Bytes | Type::Json);
        if is_exact && column.left_out.is_none() {
            return Some(());
        }
        let kind = match column.left_out {
            Some(_) => &column.declared,
            None => column.kind.as_str(),
        };
        let message = format!(
            "[local.{}] {}: `{}` is {kind}, which has no one exact form to compare by; use a \
             column with a number, a text or a UUID",
            of.entity,
            of.what.key(),
            column.name,
        );
        self.wrong(name.place, message);
        None
    }

    fn check_collation(&mut self, of: &Of<'_>, column: &Column, name: &At<String>) -> Option<()> {
        let Some(collation) = &column.collation else {
            return Some(());
        };
        let harm = match of.what {
            What::Rows(_) => "different values would let the same rows in",
            What::Lookup => "different values would lead to the same row",
        };
        let message = format!(
            "[local.{}] {}: `{}` is compared by the collation {collation}, so that {harm}; declare \
             the column with COLLATE BINARY (in PostgreSQL COLLATE \"C\")",
            of.entity,
            of.what.key(),
            column.name
        );
        self.wrong(name.place, message);
        None
    }

    fn check_held(
        &mut self,
        of: &Of<'_>,
        (table_of, column): (&Table, &Column),
        path: &At<String>,
        holds: &At<Holds>,
    ) -> Option<()> {
        let Holds::Scope(name) = &holds.value else {
            return Some(());
        };
        let names = self
            .file
            .scopes
            .iter()
            .map(|scope| scope.name.value.as_str());
        if !names.clone().any(|known| known == name) {
            let near = suggestion(name, names);
            let message = format!(
                "[local.{}] {}: there is no [scope.{name}]; {near}",
                of.entity,
                of.what.key()
            );
            self.wrong(holds.place, message);
            return None;
        }
        self.used_scopes.insert(name.clone());
        self.note_chosen(of, (table_of, column), path, name)?;
        if let Some((table, found)) = self.query_columns.get(name).copied()
            && families_differ(column, found)
        {
            let message = format!(
                "[local.{}] {}: `{}` is {}, and the query of [scope.{name}] finds `{}.{}`, \
                 which is {}: such values are never found equal; select another column, or CAST it",
                of.entity,
                of.what.key(),
                column.name,
                shown(column),
                table.name,
                found.name,
                shown(found)
            );
            self.wrong(path.place, message);
            return None;
        }
        Some(())
    }

    /// The values of a chosen scope have one type, wherever it is used: devices choose by it.
    fn note_chosen(
        &mut self,
        of: &Of<'_>,
        (table, column): (&Table, &Column),
        path: &At<String>,
        name: &str,
    ) -> Option<()> {
        let mut scopes = self.file.scopes.iter();
        if !scopes.any(|scope| scope.name.value == name && scope.keep.is_some()) {
            return Some(());
        }
        let shown = format!("`{}.{}`", table.name, column.name);
        let known = self.chosen_kinds.entry(name.to_owned());
        let (kind, first) = known.or_insert((column.kind, shown.clone())).clone();
        if kind == column.kind {
            return Some(());
        }
        let message = format!(
            "[local.{}] scope: {shown} is {}, and [scope.{name}] chooses values like {first}, \
             which is {}; declare both columns alike, or make another scope",
            of.entity,
            column.kind.as_str(),
            kind.as_str()
        );
        self.wrong(path.place, message);
        None
    }
}

/// Completes the step that led here: it is known now which value is taken from its row.
fn close(path: &mut Vec<Hop>, step: Option<(&Column, &Table, &Column)>, column: &Column) {
    if let Some((_, table, key)) = step {
        path.push(Hop {
            table: table.name.clone(),
            key: key.name.clone(),
            column: column.name.clone(),
        });
    }
}

fn is_same_target(a: &ForeignKey, b: &ForeignKey) -> bool {
    a.table == b.table && a.targets == b.targets
}

/// Whether no value of one is a value of the other. A column without a known type may hold both.
fn families_differ(a: &Column, b: &Column) -> bool {
    let is_number = |column: &Column| {
        let Column { kind, .. } = column;
        let numbers = [Type::Integer, Type::Boolean, Type::Real, Type::Decimal];
        numbers.contains(kind)
    };
    a.is_kind_known && b.is_kind_known && is_number(a) != is_number(b)
}

fn shown(column: &Column) -> String {
    match column.declared.as_str() {
        "" => "without a type".to_owned(),
        declared => declared.escape_debug().to_string(),
    }
}

//! Keys that go with some patterns only: `merge`, `strict`, `insert_only` and `counter`.

use afield_protocol::{Merge, Pattern, Type};

use super::Resolver;
use super::lookup::IS_LOOKUP;
use crate::catalog::{Column, Table};
use crate::model::error::{Place, suggestion};
use crate::model::file::{At, FromServer};

impl FromServer {
    /// Whether devices write.
    pub(super) fn is_written(&self) -> bool {
        matches!(
            self.pattern,
            Pattern::LastWriteWins | Pattern::DetectConflicts
        )
    }
}

impl Resolver<'_> {
    /// What counts as a conflict.
    pub(super) fn merge(&mut self, entity: &str, server: &FromServer) -> Merge {
        let Some(At { value, place }) = &server.merge else {
            return Merge::default();
        };
        self.check_detects(entity, server, "merge", *place);
        *value
    }

    /// Whether an open conflict stops the entity's syncs.
    pub(super) fn strict(&mut self, entity: &str, server: &FromServer) -> bool {
        if let Some(place) = server.strict {
            self.check_detects(entity, server, "strict", place);
        }
        server.strict.is_some()
    }

    fn check_detects(&mut self, entity: &str, server: &FromServer, key: &str, place: Place) {
        if server.pattern != Pattern::DetectConflicts {
            let message = format!(
                "[local.{entity}] {key}: belongs to the pattern `detect-conflicts`, and this is \
                 `{}`; change the pattern, or remove `{key}`",
                server.pattern.as_str()
            );
            self.wrong(place, message);
        }
    }

    /// Whether rows are only created on devices.
    pub(super) fn insert_only(&mut self, entity: &str, server: &FromServer) -> bool {
        if let Some(place) = server.insert_only
            && !server.is_written()
        {
            let message = format!(
                "[local.{entity}] insert_only: devices do not write with the pattern `{}`; use \
                 `last-write-wins`, or remove `insert_only`",
                server.pattern.as_str()
            );
            self.wrong(place, message);
        }
        server.insert_only.is_some()
    }

    /// Checks `counter` against the attributes chosen: local name and column of each.
    pub(super) fn check_counters(
        &mut self,
        entity: &str,
        server: &FromServer,
        table: &Table,
        chosen: &[(String, &Column)],
    ) {
        for At { value, place } in &server.counter {
            let found = chosen.iter().find(|(local, _)| local == value);
            let refers = |column: &Column| {
                let mut referring = table.foreign_keys.iter().flat_map(|key| &key.columns);
                referring.any(|name| *name == column.name)
            };
            let problem = match found {
                None if server.is_lookup(value) => IS_LOOKUP.to_owned(),
                None => {
                    let near = suggestion(value, chosen.iter().map(|(local, _)| &**local));
                    format!("is none of `attributes`; {near}")
                }
                Some((_, column)) if table.is_key(&column.name) => {
                    "is the identifier, which is never changed; remove it here".to_owned()
                }
                Some((_, column)) if !matches!(column.kind, Type::Integer | Type::Real) => {
                    format!(
                        "is {}, and only an integer or a real can be sent as a difference; remove \
                         it here",
                        column.kind.as_str()
                    )
                }
                Some((_, column)) if refers(column) => {
                    "refers to another row, and a difference of identifiers means nothing; remove \
                     it here"
                        .to_owned()
                }
                Some((_, column)) if column.generated => {
                    "is computed by the database, so devices only read it; remove it here"
                        .to_owned()
                }
                Some(_) if server.read_only.iter().any(|at| at.value == *value) => {
                    "is in `read_only` too; remove it from one of them".to_owned()
                }
                Some(_) if !server.is_written() => {
                    let pattern = server.pattern.as_str();
                    format!("is only read with the pattern `{pattern}`; remove it here")
                }
                Some(_) if server.insert_only.is_some() => {
                    "is never changed after its row was created (`insert_only`); remove it here"
                        .to_owned()
                }
                Some(_) => continue,
            };
            self.wrong(
                *place,
                format!("[local.{entity}] counter: `{value}` {problem}"),
            );
        }
    }
}

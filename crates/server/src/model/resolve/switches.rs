//! Keys that go with some patterns only: `merge`, `strict`, `insert_only` and `counter`.

use afield_protocol::{Merge, Pattern, Type};

use super::Resolver;
use crate::catalog::{Column, Table};
use crate::model::error::{Place, suggestion};
use crate::model::file::{At, EntitySection, Source};

impl Resolver<'_> {
    /// What counts as a conflict.
    pub(super) fn merge(&mut self, section: &EntitySection) -> Merge {
        let Source::Server {
            merge: Some(at), ..
        } = &section.source
        else {
            return Merge::default();
        };
        self.check_detects(section, "merge", at.place);
        at.value
    }

    /// Whether an open conflict stops the entity's syncs.
    pub(super) fn strict(&mut self, section: &EntitySection) -> bool {
        let Source::Server {
            strict: Some(place),
            ..
        } = &section.source
        else {
            return false;
        };
        self.check_detects(section, "strict", *place);
        true
    }

    fn check_detects(&mut self, section: &EntitySection, key: &str, place: Place) {
        let Source::Server { pattern, .. } = &section.source else {
            return;
        };
        if *pattern != Pattern::DetectConflicts {
            let message = format!(
                "[local.{}] {key}: belongs to the pattern `detect-conflicts`, and this is \
                 `{}`; change the pattern, or remove `{key}`",
                section.name.value,
                pattern.as_str()
            );
            self.wrong(place, message);
        }
    }

    /// Whether rows are only created on devices.
    pub(super) fn insert_only(&mut self, section: &EntitySection) -> bool {
        let Source::Server {
            insert_only: Some(place),
            pattern,
            ..
        } = &section.source
        else {
            return false;
        };
        if !is_written(*pattern) {
            let message = format!(
                "[local.{}] insert_only: devices do not write with the pattern `{}`; use \
                 `last-write-wins`, or remove `insert_only`",
                section.name.value,
                pattern.as_str()
            );
            self.wrong(*place, message);
        }
        true
    }

    /// Checks `counter` against the attributes chosen: local name and column of each.
    pub(super) fn check_counters(
        &mut self,
        section: &EntitySection,
        table: &Table,
        chosen: &[(String, &Column)],
    ) {
        let Source::Server {
            counter,
            read_only,
            pattern,
            insert_only,
            ..
        } = &section.source
        else {
            return;
        };
        for At { value, place } in counter {
            let found = chosen.iter().find(|(local, _)| local == value);
            let refers = |column: &Column| {
                let mut referring = table.foreign_keys.iter().flat_map(|key| &key.columns);
                referring.any(|name| name.eq_ignore_ascii_case(&column.name))
            };
            let problem = match found {
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
                Some(_) if read_only.iter().any(|at| at.value == *value) => {
                    "is in `read_only` too; remove it from one of them".to_owned()
                }
                Some(_) if !is_written(*pattern) => {
                    let pattern = pattern.as_str();
                    format!("is only read with the pattern `{pattern}`; remove it here")
                }
                Some(_) if insert_only.is_some() => {
                    "is never changed after its row was created (`insert_only`); remove it here"
                        .to_owned()
                }
                Some(_) => continue,
            };
            let name = &section.name.value;
            self.wrong(
                *place,
                format!("[local.{name}] counter: `{value}` {problem}"),
            );
        }
    }
}

fn is_written(pattern: Pattern) -> bool {
    matches!(pattern, Pattern::LastWriteWins | Pattern::DetectConflicts)
}

//! Scopes whose values the app chooses: what the query allows, as SQL.
//!
//! ```text
//!   pull:  values that the device chose ──► those that the query allows ──► path ──► column
//!   push:  the row's own column ──► path ──► its value ──► does the query allow it?
//! ```
//!
//! A pull holds what is chosen *and* allowed. Who may write a row is asked of the row's own value:
//! rights never depend on what a device happens to have open. Both ask about an expression of the
//! same type and order, so that they mean the same by a value.

use afield_protocol::Type;

use super::asks::Holes;
use super::class::{Class, Compared};
use super::query::TeamQuery;

/// A chosen scope, where a condition names it.
#[derive(Debug)]
pub(super) struct ChosenSql {
    /// Its name.
    pub scope: String,
    /// The type of its values on devices.
    pub kind: Type,
    pub query: TeamQuery,
}

impl ChosenSql {
    /// The type of a class's values on devices, where the values of a chosen scope may have it.
    pub(super) fn fits(kind: Type, class: &Class) -> bool {
        match class {
            Class::Bytea => false,
            Class::Enum(..) => kind == Type::Text,
            other => other.fill().kind() == Some(kind),
        }
    }

    /// Lists the values that are chosen and allowed.
    pub(super) fn list(&self, last: &Compared, holes: &mut Holes) -> String {
        let class = &last.class;
        let given = holes.chosen(&self.scope, self.kind, class.fill());
        let taken = class.plain(&class.taken("g.afield_v"));
        format!(
            "SELECT afield_value.afield_v FROM (SELECT {taken} \
             FROM pg_catalog.unnest({given}) AS g (afield_v)) AS afield_value (afield_v) \
             WHERE {}",
            self.allows(holes)
        )
    }

    /// The condition that `value`, a cell of the last column, is allowed.
    pub(super) fn is_allowed(&self, last: &Compared, value: &str, holes: &mut Holes) -> String {
        format!(
            "EXISTS (SELECT FROM (SELECT {}) AS afield_value (afield_v) WHERE {})",
            last.class.plain(value),
            self.allows(holes)
        )
    }

    /// Whether the query says yes to the value.
    fn allows(&self, holes: &mut Holes) -> String {
        format!(
            "afield_value.afield_v IS NOT NULL AND EXISTS (SELECT FROM (\n{}\n) \
             AS afield_answer (afield_v) WHERE {})",
            self.query.sql(holes, Some("afield_value.afield_v")),
            self.query.says_yes("afield_answer.afield_v")
        )
    }
}

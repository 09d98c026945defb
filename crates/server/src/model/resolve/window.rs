//! `keep`: which rows devices have for a time, and whether that can be said of the column.

use afield_protocol::Type;

use super::Resolver;
use super::advice::{create_index, has_index};
use crate::catalog::Table;
use crate::model::condition::WrittenKeep;
use crate::model::file::FromServer;
use crate::resolved::{Keep, ServerColumn};

impl<'a> Resolver<'a> {
    /// The window of an entity whose attributes have these columns; mistakes are noted.
    pub(super) fn window(
        &mut self,
        entity: &str,
        server: &FromServer,
        table: &'a Table,
        columns: &[ServerColumn],
    ) -> Option<Keep> {
        let WrittenKeep {
            column: name,
            comparison,
            seconds,
        } = server.keep.as_ref()?;
        let column = self.own_column(entity, "keep", server, table, name)?;
        let mut wrong = |problem: String| {
            let message = format!("[local.{entity}] keep: {problem}");
            self.wrong(name.place, message);
        };
        if server.insert_only.is_some() {
            wrong(
                "rows are only created on devices (`insert_only`) and never go there; remove one \
                 of them"
                    .to_owned(),
            );
            return None;
        }
        if !matches!(column.kind, Type::Date | Type::Datetime | Type::Instant) {
            wrong(format!(
                "`{}.{}` is {}, and a window needs a date, a datetime or an instant; name another \
                 column",
                table.name,
                column.name,
                column.kind.as_str()
            ));
            return None;
        }
        let mut known = columns.iter();
        let Some(attribute) = known.position(|known| known.name == column.name) else {
            wrong(format!(
                "`{}.{}` is none of the attributes, so that no device could tell which rows \
                 leave; add it to `attributes`",
                table.name, column.name
            ));
            return None;
        };
        if comparison.grows() && !has_index(table, &column.name) {
            let message = format!(
                "[local.{entity}] keep: no index of `{}` begins with `{}`, so each pull reads the \
                 whole table for the rows that come in as time passes: {}",
                table.name,
                column.name,
                create_index(table, &column.name)
            );
            self.warn(name.place, message);
        }
        Some(Keep {
            attribute,
            comparison: *comparison,
            seconds: *seconds,
        })
    }
}

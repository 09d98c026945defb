//! Who makes an entity's identifiers: what the table says, and what the model file says.

use afield_protocol::{FIRST_TEMPORARY, Identifier, Type};

use super::Resolver;
use crate::catalog::{Identity, Table};
use crate::model::file::{At, FromServer, IdKind};

/// Who makes a table's identifiers, unless the model says otherwise.
pub(crate) fn identifier_of(table: &Table) -> Identifier {
    let key = table.primary_key.first().and_then(|key| table.column(key));
    match (table.primary_key.len(), key.map(|column| column.kind)) {
        _ if table.identity != Identity::None => Identifier::Server,
        (1, Some(Type::Uuid)) => Identifier::Uuid,
        _ => Identifier::Natural,
    }
}

/// Why a table's numbers cannot be told from temporary ones, if they cannot: in words that
/// continue "the table … ".
pub(crate) fn too_high_problem(table: &Table) -> Option<String> {
    let highest = table.highest_number.filter(|n| *n >= FIRST_TEMPORARY)?;
    Some(format!(
        "has given the number {highest}; numbers from 2^52 ({FIRST_TEMPORARY}) on are the \
         temporary ones that devices give to new rows"
    ))
}

impl Resolver<'_> {
    /// Who makes the identifiers of an entity.
    pub(super) fn identifier(
        &mut self,
        At { value: name, place }: &At<String>,
        server: &FromServer,
        table: &Table,
    ) -> Identifier {
        let by_table = identifier_of(table);
        let id = &server.id;
        let identifier = match id {
            None => by_table,
            Some(At { value, place }) => match (value, by_table) {
                (IdKind::Server, Identifier::Server) => Identifier::Server,
                (IdKind::Server, _) if table.is_rowid_key => Identifier::Server,
                (IdKind::Server, _) => {
                    let message = format!(
                        "[local.{name}] id: `{}` does not number its rows (its key is neither an \
                         INTEGER PRIMARY KEY nor has a sequence); remove `id`",
                        table.name
                    );
                    self.wrong(*place, message);
                    by_table
                }
                (IdKind::Natural, Identifier::Server) if !server.is_written() => {
                    Identifier::Natural
                }
                (IdKind::Natural, Identifier::Server) => {
                    let message = format!(
                        "[local.{name}] id: `{}` numbers its rows itself ({}); remove `id`",
                        table.name,
                        table.identity.words()
                    );
                    self.wrong(*place, message);
                    by_table
                }
                (IdKind::Natural, other) => other,
            },
        };
        if identifier == Identifier::Server
            && let Some(problem) = too_high_problem(table)
        {
            let place = id.as_ref().map_or(*place, |at| at.place);
            let message = format!(
                "[local.{name}]: the table `{}` {problem}. To have its rows on devices all the \
                 same, write `id = \"natural\"` and `pattern = \"read-only-optimized\"`",
                table.name
            );
            self.wrong(place, message);
        }
        identifier
    }
}

//! The statements of an entity's tables that every edit and every read needs, written once.

use super::sql::{literal, quoted};
use super::tables::Table;

/// What [`Table`] runs again and again. Parameters are the identifier's parts, or all columns.
#[derive(Debug, Default)]
pub(super) struct Statements {
    /// Reads the visible row.
    pub(super) row: String,
    /// The same, behind the fingerprint of the model that the tables are of.
    pub(super) row_of_model: String,
    /// Makes the visible row what it should be.
    pub(super) upsert: String,
    /// Deletes the visible row.
    pub(super) delete: String,
    /// Reads the server's row: whether it existed, then its columns.
    pub(super) server_row: String,
    /// Whether the server has the row that is kept, and whether that is what is seen.
    pub(super) is_seen: String,
    /// Writes that the server has no such row, and the row that it has.
    pub(super) put_server_row: [String; 2],
    /// Forgets the server's row.
    pub(super) drop_server_row: String,
    /// Keeps the server's row, unless there is one already.
    pub(super) keep_server_row: String,
    /// Reads what was captured, in that order: whether the row existed, whether it is there now,
    /// attributes that nobody has seen yet, the row before, the row now.
    pub(super) captured: String,
    /// Forgets what was captured.
    pub(super) forget_captured: String,
}

impl Statements {
    pub(super) fn of(table: &Table) -> Self {
        let attributes = &table.entity.attributes;
        let (name, columns, bound) = (&table.name, &table.columns, table.key_bound());
        let (server, marks) = (&table.server, table.marks());
        let put = |existed: u8| {
            format!(
                "INSERT OR REPLACE INTO {server} (existed, {columns}) VALUES ({existed}, {marks})"
            )
        };
        let first = attributes.first().map(|it| quoted(&it.name));
        Self {
            row: format!("SELECT {columns} FROM {name} WHERE {bound}"),
            row_of_model: format!(
                "SELECT (SELECT fingerprint FROM afield_meta), {columns} FROM {name} WHERE {bound}"
            ),
            upsert: format!(
                "INSERT INTO {name} ({columns}) VALUES ({marks}) {}",
                table.on_conflict()
            ),
            delete: table.delete_from(name),
            server_row: format!("SELECT existed, {columns} FROM {server} WHERE {bound}"),
            is_seen: format!(
                "SELECT existed, CASE existed WHEN 0 \
                 THEN NOT EXISTS (SELECT 1 FROM {name} AS n WHERE {}) \
                 ELSE EXISTS (SELECT 1 FROM {name} AS n WHERE {}) END \
                 FROM {server} AS t WHERE {bound}",
                table.same_key("n", "t"),
                table.same_row("n", "t")
            ),
            put_server_row: [put(0), put(1)],
            drop_server_row: table.delete_from(server),
            keep_server_row: format!(
                "INSERT INTO {server} ({columns}, existed) VALUES ({marks}, ?{}) \
                 ON CONFLICT ({}) DO NOTHING",
                table.width() + 1,
                table.key_columns
            ),
            captured: format!(
                "SELECT b.existed, t.{} IS NOT NULL, \
                 (SELECT unfetched FROM afield_entity WHERE name = {}), {}, {} \
                 FROM {} AS b LEFT JOIN {name} AS t ON {} ORDER BY b.rowid",
                first.unwrap_or_default(),
                literal(&table.entity.name),
                table.prefixed("b", attributes),
                table.prefixed("t", attributes),
                table.before,
                table.same_key("t", "b")
            ),
            forget_captured: format!("DELETE FROM {}", table.before),
        }
    }
}

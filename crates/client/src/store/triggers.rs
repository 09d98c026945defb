//! The triggers on the app's tables: they check a write, capture the row as it was, and count.
//!
//! A statement that they refuse fails with a message of ours, whoever made it.

use afield_protocol::zoo;

use super::checks::Checks;
use super::sql::{literal, quoted};
use super::tables::Table;

impl Table {
    /// Removes the triggers that [`Table::create_triggers`] makes.
    pub(crate) fn drop_triggers(&self) -> Vec<String> {
        let drop = |event: &str| {
            let name = quoted(&format!("afield_{event}_{}", self.entity.name));
            format!("DROP TRIGGER IF EXISTS {name}")
        };
        ["insert", "update", "delete", "numbered"].map(drop).into()
    }

    pub(crate) fn create_triggers(&self) -> Vec<String> {
        if self.entity.is_synced() && !self.entity.is_written() {
            let entity = &self.entity.name;
            let refuse = raise(
                "read-only",
                "",
                &format!("{entity} is read-only on the device"),
            );
            return ["INSERT", "UPDATE", "DELETE"]
                .map(|event| self.trigger(event, &format!("SELECT {refuse};")))
                .into();
        }
        let touched = format!(
            "UPDATE afield_entity SET touched = touched + 1 WHERE name = {};",
            literal(&self.entity.name)
        );
        let checks = Checks::of(&self.entity);
        let capture = self.entity.is_written();
        let only = |sql: String| if capture { sql } else { String::new() };
        let needs = self.needs_network();
        let (capture_insert, capture_old) = (only(self.capture_insert()), only(self.capture_old()));
        let insert = format!("{needs}{}{capture_insert}{touched}", checks.insert);
        let update = format!("{needs}{}{capture_old}{touched}", checks.update);
        let delete = format!("{needs}{capture_old}{touched}");
        let mut triggers = if self.entity.insert_only {
            self.insert_only_triggers(&insert)
        } else {
            vec![
                self.trigger("INSERT", &insert),
                self.trigger("UPDATE", &update),
                self.trigger("DELETE", &delete),
            ]
        };
        triggers.extend(self.capture_numbered().filter(|_| capture));
        triggers
    }

    /// Rows are only created here: one that is there is neither changed nor replaced.
    fn insert_only_triggers(&self, insert: &str) -> Vec<String> {
        let entity = &self.entity.name;
        let message = format!("rows of {entity} are created on the device and never changed");
        let refuse = raise("insert-only", "", &message);
        let replaced = format!(
            "SELECT {refuse} WHERE EXISTS (SELECT 1 FROM {} AS t WHERE {});",
            self.name,
            self.same_key("t", "NEW")
        );
        let refuse = format!("SELECT {refuse};");
        vec![
            self.trigger("INSERT", &format!("{replaced}{insert}")),
            self.trigger("UPDATE", &refuse),
            self.trigger("DELETE", &refuse),
        ]
    }

    fn trigger(&self, event: &str, body: &str) -> String {
        let name = quoted(&format!(
            "afield_{}_{}",
            event.to_lowercase(),
            self.entity.name
        ));
        format!(
            "CREATE TRIGGER {name} BEFORE {event} ON {} BEGIN {body} END",
            self.name
        )
    }

    /// Records the row that an INSERT may be about to replace, or that there is none. The
    /// statement's own OR clause overrides any conflict clause in here, so none is needed.
    fn capture_insert(&self) -> String {
        format!(
            "INSERT INTO {before} (existed, {columns}) \
             SELECT {existed}, {new_key}{rest} FROM (SELECT 1) \
             LEFT JOIN {table} AS t ON {found} \
             WHERE NOT EXISTS (SELECT 1 FROM {before} AS b WHERE {recorded});",
            before = self.before,
            columns = self.columns,
            existed = match quoted(&self.entity.attributes[0].name) {
                _ if zoo::planted("capture-by-event") => "0".to_owned(),
                first => format!("t.{first} IS NOT NULL"),
            },
            new_key = self.prefixed("NEW", self.entity.key()),
            rest = match self.prefixed("t", self.entity.values()) {
                rest if rest.is_empty() => rest,
                rest => format!(", {rest}"),
            },
            table = self.name,
            found = self.same_key("t", "NEW"),
            recorded = self.same_key("b", "NEW"),
        )
    }

    fn capture_old(&self) -> String {
        format!(
            "INSERT INTO {before} (existed, {columns}) SELECT 1, {old} \
             WHERE NOT EXISTS (SELECT 1 FROM {before} AS b WHERE {recorded});",
            before = self.before,
            columns = self.columns,
            old = self.prefixed("OLD", &self.entity.attributes),
            recorded = self.same_key("b", "OLD"),
        )
    }
}

/// A `RAISE` that reaches the app as an error with a code. The colons of an attribute's name are
/// written as URLs write them, so that the parts can be told apart.
pub(super) fn raise(code: &str, attribute: &str, message: &str) -> String {
    let attribute = attribute.replace('%', "%25").replace(':', "%3A");
    format!(
        "RAISE(ABORT, {})",
        literal(&format!("afield:{code}:{attribute}:{message}"))
    )
}

//! The columns of the team's tables, and what devices call them.

use afield_protocol::Type;

use super::ENTITIES;
use crate::jobs;

/// A column of the team's and what devices call it.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) column: &'static str,
    pub(super) kind: Type,
    pub(super) rule: &'static str,
}

const fn same(name: &'static str, kind: Type) -> Column {
    with(name, name, kind, "")
}

const fn with(name: &'static str, column: &'static str, kind: Type, rule: &'static str) -> Column {
    Column {
        name,
        column,
        kind,
        rule,
    }
}

/// The columns of each entity, its identifier first; what is read through references last.
pub(super) const COLUMNS: [&[Column]; ENTITIES] = [
    &[
        same("id", Type::Integer),
        same("name", Type::Text),
        same("rank", Type::Integer),
    ],
    &[
        with("code", "price_code", Type::Text, ""),
        same("amount", Type::Decimal),
        with("label", "text", Type::Text, ""),
    ],
    &[
        same("id", Type::Uuid),
        same("name", Type::Text),
        same("note", Type::Text),
        with("code", "code", Type::Text, "UNIQUE"),
        same("region", Type::Integer),
    ],
    &[
        same("id", Type::Uuid),
        with("site", "site_id", Type::Uuid, "REFERENCES site (id)"),
        with("note", "remark", Type::Text, ""),
        with("count", "count", Type::Integer, "CHECK (count >= 0)"),
        with("done", "done", Type::Boolean, "NOT NULL DEFAULT 0"),
    ],
    &[
        same("station", Type::Text),
        same("n", Type::Integer),
        same("value", Type::Real),
        same("note", Type::Text),
    ],
    &[
        same("id", Type::Integer),
        same("label", Type::Text),
        with("balance", "balance", Type::Integer, "NOT NULL DEFAULT 0"),
    ],
    &[
        same("id", Type::Integer),
        with("district", "district_id", Type::Integer, ""),
        same("name", Type::Text),
        same("note", Type::Text),
    ],
    &[
        same("id", Type::Uuid),
        with("shop", "shop_id", Type::Integer, ""),
        same("team", Type::Integer),
        same("owner", Type::Text),
        with("note", "remark", Type::Text, ""),
        same("count", Type::Integer),
    ],
    &[
        same("id", Type::Integer),
        same("name", Type::Text),
        same("note", Type::Text),
    ],
    &[
        same("id", Type::Uuid),
        with("project", "project_id", Type::Integer, ""),
        same("owner", Type::Text),
        with("title", "label", Type::Text, ""),
        same("kind", Type::Text),
        same("level", Type::Integer),
        with("project_name", jobs::PROJECT_NAME, Type::Text, LOOKUP),
        with("depot_title", jobs::DEPOT_TITLE, Type::Text, LOOKUP),
    ],
    &[
        same("id", Type::Integer),
        same("name", Type::Text),
        with("depot_place", jobs::VAN_DEPOT, Type::Text, LOOKUP),
    ],
    &[same("id", Type::Integer), same("title", Type::Text)],
    &[
        with("id", "number", Type::Integer, NUMBERED),
        same("tag", Type::Text),
        with("a", "a", Type::Text, "CHECK (a NOT LIKE 'bad%')"),
        same("b", Type::Text),
        same("hits", Type::Integer),
    ],
    &[
        with(
            "order_id",
            "order",
            Type::Integer,
            "REFERENCES orders (number)",
        ),
        same("n", Type::Integer),
        same("tag", Type::Text),
        same("amount", Type::Text),
        same("note", Type::Text),
    ],
    &[
        with("id", "id", Type::Integer, NUMBERED),
        same("order_id", Type::Integer),
        same("n", Type::Integer),
        with(
            "parent_id",
            "parent",
            Type::Integer,
            "REFERENCES remark (id)",
        ),
        same("tag", Type::Text),
        same("text", Type::Text),
    ],
    &[
        same("id", Type::Uuid),
        with("at", "happened_at", Type::Instant, ""),
        same("name", Type::Text),
        with("note", "remark", Type::Text, ""),
    ],
    &[
        same("id", Type::Integer),
        same("owner", Type::Text),
        with("due", "due_on", Type::Datetime, ""),
        same("note", Type::Text),
        same("card", Type::Text),
    ],
    &[
        with("code", "card_code", Type::Text, ""),
        with("active", "is_active", Type::Boolean, "DEFAULT 1"),
        same("name", Type::Text),
        same("note", Type::Text),
    ],
];

/// The rule of an identifier that the server makes.
const NUMBERED: &str = "PRIMARY KEY AUTOINCREMENT";

/// The rule of what is read through references.
pub(super) const LOOKUP: &str = "LOOKUP";

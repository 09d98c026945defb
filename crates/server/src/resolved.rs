//! The model after it was held against the database: every local attribute has its column.

use afield_protocol::{Entity, Model, Type};

/// The model as the server works with it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerModel {
    /// What devices are told.
    pub device: Model,
    /// The synced entities, by the same names as in `device`, in the same order; local-only
    /// entities are left out.
    pub entities: Vec<ServerEntity>,
}

/// A local entity and the table it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerEntity {
    /// The entity as devices know it.
    pub local: Entity,
    /// The server entity's table, unquoted.
    pub table: String,
    /// One column for each of `local.attributes`, in the same order.
    pub columns: Vec<ServerColumn>,
}

/// A column of the team's table.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerColumn {
    /// Its name in the database, unquoted.
    pub name: String,
    /// Its type; the same as the local attribute's.
    pub kind: Type,
    /// Digits after the point that a decimal column keeps.
    pub scale: Option<u32>,
}

impl ServerModel {
    /// The synced entity of this local name.
    pub fn entity(&self, name: &str) -> Option<&ServerEntity> {
        self.entities
            .iter()
            .find(|entity| entity.local.name == name)
    }
}

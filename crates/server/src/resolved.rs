//! The model after it was held against the database: every local attribute has its column.

use afield_protocol::{Comparison, Entity, Model, Type, Value};

/// The model as the server works with it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerModel {
    /// What devices are told.
    pub device: Model,
    /// The synced entities, by the same names as in `device`, in the same order; local-only
    /// entities are left out.
    pub entities: Vec<ServerEntity>,
    /// Queries for the values that a user holds.
    pub scopes: Vec<NamedScope>,
}

/// A local entity and the table it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerEntity {
    /// The entity as devices know it.
    pub local: Entity,
    /// The server entity's table, unquoted.
    pub table: String,
    /// One column for each of `local.attributes` but the lookups, in the same order.
    pub columns: Vec<ServerColumn>,
    /// One for each lookup of `local.attributes`, which stand behind all others.
    pub lookups: Vec<Lookup>,
    /// Whose rows they are.
    pub scope: Scope,
    /// Of the rows in his scope, which a user may change and delete: asked of the row before.
    /// `None`: all of them.
    pub write: Option<Scope>,
    /// What rows a user may create, and what he may make of others: asked of the row after.
    /// `None`: rows in his scope.
    pub write_to: Option<Scope>,
    /// Which rows count as deleted. `None`: those that are.
    pub delete: Option<SoftDelete>,
    /// Which rows devices have, as time passes. `None`: all.
    pub keep: Option<Keep>,
}

impl ServerEntity {
    /// Whether every row in a user's scope goes to his devices, so that counting them says how
    /// many are to come.
    pub(crate) fn sends_every_row(&self) -> bool {
        self.delete.is_none() && self.keep.is_none()
    }
}

/// Which rows of an entity are a user's: those for which every condition of one way in holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All rows, whoever asks.
    Everyone,
    /// The ways in; never empty, and none of them is.
    Ways(Vec<Vec<Condition>>),
}

/// A value of a row must be one that the user holds. Null never is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The column of the row itself that decides: its value, or the reference that the path
    /// begins with. Unquoted.
    pub column: String,
    /// The rest of the path, if the value is another row's.
    pub path: Vec<Hop>,
    /// What the user holds.
    pub holds: Holds,
}

/// One step of a path: the row of `table` whose `key` is the value so far, and its `column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The table that is referred to, unquoted.
    pub table: String,
    /// Its column that the reference names.
    pub key: String,
    /// Its column with the next value.
    pub column: String,
}

/// The values that a user holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The user's own name.
    User,
    /// One claim of the token: text, number or truth value.
    Claim(String),
    /// What a query finds: the name of one of the model's scopes.
    Scope(String),
}

/// A window: devices have the rows whose attribute compares so with the time of the pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The place of the attribute, a date, datetime or instant.
    pub attribute: usize,
    /// How it compares.
    pub comparison: Comparison,
    /// With what: so many seconds from the time of the pull.
    pub seconds: i64,
}

/// When a row counts as deleted: no device has it, and it is there all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftDelete {
    /// The column that decides. It may be among the attributes or not.
    pub column: ServerColumn,
    /// What it holds then.
    pub when: DeletedWhen,
    /// What it gets when the row is created anew and nothing else is said.
    pub revived: Value,
}

/// What the column of a deleted row holds.
#[derive(Clone, Debug, PartialEq)]
pub enum DeletedWhen {
    /// This value, in canonical form.
    Is(Value),
    /// Anything but null; a delete sets the server's time.
    NotNull,
}

/// `[scope.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedScope {
    /// Its name.
    pub name: String,
    /// A query of one column; `:user` and `:claim_NAME` are bound. Of a chosen scope: it finds
    /// something that is neither null nor 0 if the user may have `:value`.
    pub query: String,
    /// The type of its values, if the app chooses them.
    pub chosen: Option<Type>,
}

impl ServerEntity {
    /// An entity whose rows are everyone's, and of which nothing else is said.
    pub fn new(local: Entity, table: impl Into<String>, columns: Vec<ServerColumn>) -> Self {
        Self {
            local,
            table: table.into(),
            columns,
            lookups: Vec::new(),
            scope: Scope::Everyone,
            write: None,
            write_to: None,
            delete: None,
            keep: None,
        }
    }

    /// What the rows must be in that a user leaves behind.
    pub fn becomes(&self) -> &Scope {
        self.write_to.as_ref().unwrap_or(&self.scope)
    }
}

/// Where a lookup's value is: at the end of a path of foreign keys. Null if the path ends before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The column of the row itself that the path begins with. Unquoted.
    pub column: String,
    /// The rest of the path, never empty; the last one's column has the value.
    pub path: Vec<Hop>,
    /// Digits after the point, where the value is a decimal that keeps so many.
    pub scale: Option<u32>,
}

impl Scope {
    /// Whether values that are gained and lost choose the rows, so that a device must know them.
    pub fn is_everyone(&self) -> bool {
        *self == Self::Everyone
    }

    /// How many conditions each way in has: what devices are told of it.
    pub fn widths(&self) -> Vec<usize> {
        match self {
            Self::Everyone => Vec::new(),
            Self::Ways(ways) => ways.iter().map(Vec::len).collect(),
        }
    }

    /// All conditions, way by way.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let ways = match self {
            Self::Everyone => &[],
            Self::Ways(ways) => ways.as_slice(),
        };
        ways.iter().flatten()
    }
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

    /// The scope of this name.
    pub fn scope(&self, name: &str) -> Option<&NamedScope> {
        self.scopes.iter().find(|scope| scope.name == name)
    }
}

//! The resolved model: which entities a device has, with which attributes, and how they are
//! synchronised. The server makes it from `afield.toml` and its database; a device makes its
//! tables from it. It travels as JSON (`GET /v1/model`).

mod limits;
mod sync;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::limits::DeviceLimits;
pub use self::sync::{RetryConfig, SyncConfig};
use crate::limits::NAME_BYTES;
use crate::rule::Rule;
use crate::value::{Type, Value};

/// What a device needs to know of the whole model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The team's own number for it.
    pub version: u32,
    /// The sync units in file order.
    pub units: Vec<Unit>,
    /// The local entities in file order.
    pub entities: Vec<Entity>,
    /// Scopes whose values the app chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chosen: Vec<ChosenScope>,
    /// The limits that a device keeps.
    #[serde(default, skip_serializing_if = "DeviceLimits::is_default")]
    pub limits: DeviceLimits,
    /// When a device synchronises by itself.
    #[serde(default, skip_serializing_if = "SyncConfig::is_default")]
    pub sync: SyncConfig,
}

/// A scope whose values the app on a device chooses, each checked by the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenScope {
    /// Its name.
    pub name: String,
    /// The type of its values.
    #[serde(rename = "type", with = "type_word")]
    pub kind: Type,
    /// How long a value stays chosen after it was last chosen, in milliseconds.
    pub keep_ms: u64,
}

/// A named set of entities whose rows are pulled together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Names of its entities.
    pub entities: Vec<String>,
}

/// How an entity is synchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Never sent to a server.
    LocalOnly,
    /// The server's rows, sent whole when something in them changed.
    ReadOnly,
    /// The server's rows, sent as a delta.
    ReadOnlyOptimized,
    /// Both ways; the change that reaches the server last stands.
    LastWriteWins,
    /// Both ways; a change of a row that somebody else changed waits for a person's decision.
    DetectConflicts,
}

/// What `detect-conflicts` calls a conflict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merge {
    /// Any change of the same row.
    #[default]
    Record,
    /// A change of the same attribute.
    Attribute,
}

/// Who makes an entity's identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identifier {
    /// The device, as a random UUID.
    Uuid,
    /// The app; it means something outside the database.
    Natural,
    /// The server, as a number.
    Server,
}

/// Identifiers from here on are temporary: made by a device for a row whose identifier the server
/// makes. No server's identifier reaches it, and every integer of JavaScript's can hold it.
pub const FIRST_TEMPORARY: i64 = 1 << 52;

/// What the names of the columns begin with that hold the values of its scope which brought a row.
/// No attribute's name begins so.
pub const SCOPE_COLUMN: &str = "afield_scope_";

/// Whether `value`, an identifier that the server makes, is a device's temporary one.
pub fn is_temporary(value: &Value) -> bool {
    matches!(value, Value::Integer(id) if *id >= FIRST_TEMPORARY)
}

/// A local entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// Its name: the table's name on the device.
    pub name: String,
    /// How it is synchronised.
    pub pattern: Pattern,
    /// What counts as a conflict.
    #[serde(default)]
    pub merge: Merge,
    /// Who makes its identifiers.
    pub identifier: Identifier,
    /// How many of the first attributes are the identifier.
    pub key_width: usize,
    /// Attributes; the identifier's come first, in key order.
    pub attributes: Vec<Attribute>,
    /// An open conflict of this entity stops its syncs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Rows are sent and then forgotten by the device; none are pulled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insert_only: bool,
    /// Rows are written only while the server can be reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edit_online: bool,
    /// Rows that leave are erased from free space and log of the device's database too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erase: bool,
    /// How the rows of a user are chosen, if values that he gains and loses choose them: for each
    /// way in, how many values must be held for it. Rows come with the number of each value, in
    /// columns behind the attributes; a row leaves when no way in is left. Empty: rows come and go
    /// one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<usize>,
    /// Useful indexes: local attribute names, never unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Vec<String>>,
    /// References to other local entities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
}

/// An attribute of a local entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its local name: the column's name on the device.
    pub name: String,
    /// Its type.
    #[serde(rename = "type", with = "type_word")]
    pub kind: Type,
    /// Seen, not writable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// A number that is sent as a difference: two devices that add 1 make 2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counter: bool,
    /// What is written into it must be like this.
    #[serde(default, skip_serializing_if = "Rule::is_empty")]
    pub rule: Rule,
    /// It comes through foreign keys from another row of the server's: read-only, and no part of
    /// what changes and conflicts speak of.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lookup: bool,
    /// The server's literal default, copied to the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Literal>,
}

/// A default value in the model's JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Literal {
    /// Integer, or truth value as 0 or 1.
    Integer(i64),
    /// Real.
    Real(f64),
    /// Text.
    Text(String),
}

/// Attributes of one entity that hold the identifier of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Local attributes, in the order of the other entity's identifier.
    pub attributes: Vec<String>,
    /// The local entity they point to.
    pub entity: String,
}

/// A model that no device could use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model: {0}")]
pub struct ModelError(String);

impl Model {
    /// A model of which nothing else is said.
    pub fn new(version: u32, units: Vec<Unit>, entities: Vec<Entity>) -> Self {
        Self {
            version,
            units,
            entities,
            chosen: Vec::new(),
            limits: DeviceLimits::default(),
            sync: SyncConfig::default(),
        }
    }

    /// Reads and checks the JSON of `GET /v1/model`.
    ///
    /// # Errors
    /// It is not such a model.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let model: Self = serde_json::from_str(text).map_err(|e| ModelError(e.to_string()))?;
        model.check()?;
        Ok(model)
    }

    /// The JSON that [`Model::from_json`] reads.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a model is plain data")
    }

    /// Short word that is the same for equal models only.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.to_json());
        digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The entity of this name.
    pub fn entity(&self, name: &str) -> Option<&Entity> {
        self.entities.iter().find(|entity| entity.name == name)
    }

    /// The unit of this name.
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }

    /// The scope of this name, if its values are chosen.
    pub fn chosen(&self, name: &str) -> Option<&ChosenScope> {
        self.chosen.iter().find(|scope| scope.name == name)
    }

    /// The entity whose server-made identifiers an attribute holds: its own, or those of what it
    /// refers to, over any number of composite identifiers.
    pub fn numbered_by<'a>(&'a self, entity: &'a Entity, attribute: &str) -> Option<&'a Entity> {
        self.numbered_within(entity, attribute, self.entities.len())
    }

    fn numbered_within<'a>(
        &'a self,
        entity: &'a Entity,
        attribute: &str,
        steps: usize,
    ) -> Option<&'a Entity> {
        let is_key = entity.key().iter().any(|key| key.name == attribute);
        if is_key && entity.identifier == Identifier::Server {
            return Some(entity);
        }
        entity.references.iter().find_map(|reference| {
            let at = (reference.attributes.iter()).position(|name| name == attribute)?;
            let target = self.entity(&reference.entity)?;
            let name = &target.key().get(at)?.name;
            self.numbered_within(target, name, steps.checked_sub(1)?)
        })
    }

    /// Checks what decoders and tables rely on.
    ///
    /// # Errors
    /// Names what is wrong and where.
    pub fn check(&self) -> Result<(), ModelError> {
        let fail = |message: String| Err(ModelError(message));
        let mut names = std::collections::HashSet::new();
        for entity in &self.entities {
            entity.check()?;
            if !names.insert(entity.name.to_ascii_lowercase()) {
                return fail(format!("entity `{}` stands twice", entity.name));
            }
            for reference in &entity.references {
                let Some(target) = self.entity(&reference.entity) else {
                    return fail(format!("{}: no entity `{}`", entity.name, reference.entity));
                };
                if target.key_width != reference.attributes.len() {
                    return fail(format!("{}: reference width differs", entity.name));
                }
            }
        }
        for unit in &self.units {
            check_name(&unit.name)?;
            if let Some(name) = unit
                .entities
                .iter()
                .find(|name| self.entity(name).is_none())
            {
                return fail(format!("unit `{}`: no entity `{name}`", unit.name));
            }
        }
        self.limits.check()?;
        self.sync.check()?;
        let mut scopes = std::collections::HashSet::new();
        for scope in &self.chosen {
            check_name(&scope.name)?;
            if !scopes.insert(&scope.name) {
                return fail(format!("the scope `{}` stands twice", scope.name));
            }
        }
        Ok(())
    }
}

impl Attribute {
    /// An attribute of which nothing else is said.
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Self {
            name: name.into(),
            kind,
            read_only: false,
            counter: false,
            rule: Rule::default(),
            lookup: false,
            default: None,
        }
    }

    /// What is said against it being a lookup, if it is one.
    fn lookup_problem(&self, is_key: bool, is_synced: bool) -> Option<&'static str> {
        match self.lookup {
            true if is_key => Some("an identifier is no lookup"),
            true if !is_synced => Some("lookups come from a server"),
            true if !self.read_only || self.counter => Some("a lookup is read-only"),
            _ => None,
        }
    }
}

impl Entity {
    /// An entity of which nothing else is said: the first `key_width` attributes are its
    /// identifier.
    pub fn new(
        name: impl Into<String>,
        pattern: Pattern,
        identifier: Identifier,
        key_width: usize,
        attributes: Vec<Attribute>,
    ) -> Self {
        Self {
            name: name.into(),
            pattern,
            merge: Merge::Record,
            identifier,
            key_width,
            attributes,
            strict: false,
            insert_only: false,
            edit_online: false,
            erase: false,
            scope: Vec::new(),
            indexes: Vec::new(),
            references: Vec::new(),
        }
    }

    /// The entity without what its tables do not depend on, but only their triggers, and how rows
    /// leave: two that are equal then have the same tables.
    #[must_use]
    pub fn as_tables(&self) -> Self {
        let mut entity = Self {
            edit_online: false,
            erase: false,
            ..self.clone()
        };
        for attribute in &mut entity.attributes {
            attribute.rule = Rule::default();
        }
        entity
    }

    /// The identifier's attributes.
    pub fn key(&self) -> &[Attribute] {
        self.attributes.get(..self.key_width).unwrap_or(&[])
    }

    /// The attributes that are not the identifier.
    pub fn values(&self) -> &[Attribute] {
        self.attributes.get(self.key_width..).unwrap_or(&[])
    }

    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name)
    }

    /// Whether the device's writes are sent.
    pub fn is_written(&self) -> bool {
        matches!(
            self.pattern,
            Pattern::LastWriteWins | Pattern::DetectConflicts
        )
    }

    /// Whether its rows come from the server.
    pub fn is_synced(&self) -> bool {
        self.pattern != Pattern::LocalOnly
    }

    /// Names of the attributes that are sent as differences.
    pub fn counters(&self) -> Vec<String> {
        let counters = self.attributes.iter().filter(|attribute| attribute.counter);
        counters.map(|attribute| attribute.name.clone()).collect()
    }

    /// Names and types of the columns that row blocks carry: all attributes, then the values that
    /// brought the row.
    pub fn columns(&self) -> Vec<(String, Type)> {
        let attributes = self.attributes.iter().map(|a| (a.name.clone(), a.kind));
        let scope =
            (1..=self.scope_width()).map(|at| (format!("{SCOPE_COLUMN}{at}"), Type::Integer));
        attributes.chain(scope).collect()
    }

    /// How many values of its scope stand with each row: those of every way in, one after another.
    /// Those of a way by which a row does not come are null.
    pub fn scope_width(&self) -> usize {
        self.scope.iter().sum()
    }

    fn check(&self) -> Result<(), ModelError> {
        check_name(&self.name)?;
        if self.name.to_ascii_lowercase().starts_with("afield_")
            || self.name.to_ascii_lowercase().starts_with("sqlite_")
        {
            return Err(ModelError(format!(
                "`{}`: the prefix is reserved",
                self.name
            )));
        }
        if self.key_width == 0 || self.key_width > self.attributes.len() {
            return Err(ModelError(format!("`{}` has no identifier", self.name)));
        }
        let is_one_integer =
            self.key_width == 1 && self.key().iter().all(|key| key.kind == Type::Integer);
        if self.identifier == Identifier::Server && !is_one_integer {
            return Err(ModelError(format!(
                "`{}`: the server makes identifiers of one integer",
                self.name
            )));
        }
        let mut names = std::collections::HashSet::new();
        for (at, attribute) in self.attributes.iter().enumerate() {
            let lookup = attribute.lookup_problem(at < self.key_width, self.is_synced());
            if let Some(problem) = lookup {
                let (entity, name) = (&self.name, &attribute.name);
                return Err(ModelError(format!("`{entity}.{name}`: {problem}")));
            }
            let is_number = matches!(attribute.kind, Type::Integer | Type::Real);
            if attribute.counter && !is_number {
                return Err(ModelError(format!(
                    "`{}.{}`: a counter is an integer or a real",
                    self.name, attribute.name
                )));
            }
            if let Some(problem) = attribute.rule.problem(attribute.kind) {
                return Err(ModelError(format!(
                    "`{}.{}`: {problem}",
                    self.name, attribute.name
                )));
            }
            check_name(&attribute.name)?;
            if !names.insert(attribute.name.to_ascii_lowercase()) {
                return Err(ModelError(format!(
                    "`{}.{}` stands twice",
                    self.name, attribute.name
                )));
            }
        }
        if self.scope.contains(&0) || (!self.is_synced() && !self.scope.is_empty()) {
            return Err(ModelError(format!("`{}`: its scope is empty", self.name)));
        }
        let listed = self
            .indexes
            .iter()
            .chain(self.references.iter().map(|r| &r.attributes));
        match listed.flatten().find(|name| self.attribute(name).is_none()) {
            Some(name) => Err(ModelError(format!(
                "`{}` has no attribute `{name}`",
                self.name
            ))),
            None => Ok(()),
        }
    }
}

impl Pattern {
    /// The word for it in the model file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LocalOnly => "local-only",
            Self::ReadOnly => "read-only",
            Self::ReadOnlyOptimized => "read-only-optimized",
            Self::LastWriteWins => "last-write-wins",
            Self::DetectConflicts => "detect-conflicts",
        }
    }
}

impl Literal {
    /// As a value.
    pub fn value(&self) -> Value {
        match self {
            Self::Integer(n) => Value::Integer(*n),
            Self::Real(x) => Value::Real(*x),
            Self::Text(text) => Value::Text(text.clone()),
        }
    }
}

fn check_name(name: &str) -> Result<(), ModelError> {
    if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
        return Err(ModelError(format!(
            "the name {name:?} must have 1 to {NAME_BYTES} bytes and no control characters"
        )));
    }
    Ok(())
}

mod type_word {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::value::Type;

    pub(super) fn serialize<S: Serializer>(kind: &Type, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(kind.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Type, D::Error> {
        let word = String::deserialize(from)?;
        Type::parse(&word).ok_or_else(|| serde::de::Error::custom(format!("unknown type `{word}`")))
    }
}

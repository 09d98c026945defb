//! A model over a database: which tables go to devices, with which attributes, and whose rows; and
//! the text of the file that says so.

use crate::schema::{Domain, Member, NUMBER, Schema, Source};
use crate::text::{literal, quoted};

/// The model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) entities: Vec<Entity>,
    /// Names of units, each with its entities.
    pub(crate) units: Vec<(String, Vec<usize>)>,
}

/// A local entity.
#[derive(Clone, Debug)]
pub(crate) struct Entity {
    pub(crate) name: String,
    pub(crate) table: usize,
    pub(crate) pattern: &'static str,
    pub(crate) by_attribute: bool,
    pub(crate) has_counter: bool,
    /// Local names and columns, without the identifier's.
    pub(crate) attributes: Vec<(String, String)>,
    /// Attributes that show what other rows have.
    pub(crate) lookups: Vec<Lookup>,
    pub(crate) scope: Scope,
    /// Which rows of the scope may be changed, and what rows may become.
    pub(crate) write: Option<Scope>,
    pub(crate) write_to: Option<Scope>,
    pub(crate) may_reference: Vec<String>,
    /// The columns of these.
    pub(crate) unasked: Vec<String>,
    /// Whether rows that left are nowhere in the device's files.
    pub(crate) erase: bool,
}

/// An attribute that shows what the row at the end of a path has.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(crate) local: String,
    /// For each step the place of the reference among its table's; never empty.
    pub(crate) path: Vec<usize>,
    /// The column of the last table.
    pub(crate) column: String,
}

/// Whose rows.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    Everyone,
    One(Condition),
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// A value of the row, or of one that it refers to, must be one that the user holds.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// For each step the place of the reference among its table's.
    pub(crate) path: Vec<usize>,
    /// The column of the last table.
    pub(crate) column: String,
    pub(crate) holds: Holds,
}

#[derive(Clone, Debug)]
pub(crate) enum Holds {
    User,
    Claim(&'static str),
    /// The place of the scope among the schema's.
    Named(usize),
}

impl Entity {
    pub(crate) fn is_written(&self) -> bool {
        !self.pattern.starts_with("read-only")
    }

    /// Local names with their columns, the identifier's first.
    pub(crate) fn columns(&self, schema: &Schema) -> Vec<(String, String)> {
        let key = schema.tables[self.table].key_columns().into_iter();
        let key = key.map(|column| (column.clone(), column));
        key.chain(self.attributes.iter().cloned()).collect()
    }

    /// All local names, as devices have them.
    pub(crate) fn names(&self, schema: &Schema) -> Vec<String> {
        let own = self.columns(schema).into_iter().map(|(local, _)| local);
        let shown = self.lookups.iter().map(|lookup| lookup.local.clone());
        own.chain(shown).collect()
    }
}

impl Model {
    /// The units' names, also where the file has none.
    pub(crate) fn unit_names(&self) -> Vec<&str> {
        match self.units.is_empty() {
            true => vec!["main"],
            false => self.units.iter().map(|(name, _)| name.as_str()).collect(),
        }
    }

    /// The text of the model file.
    pub(crate) fn toml(&self, schema: &Schema) -> String {
        let mut text = "[server]\ndatabase = \"sqlite:server.db\"\n".to_owned();
        for (name, entities) in &self.units {
            let names: Vec<String> = entities
                .iter()
                .map(|at| format!("{:?}", self.entities[*at].name))
                .collect();
            text.push_str(&format!(
                "\n[unit.{name}]\nentities = [{}]\n",
                names.join(", ")
            ));
        }
        for entity in &self.entities {
            text.push_str(&entity.toml(schema));
        }
        for member in schema.members.iter().filter(|m| self.names(schema, m)) {
            text.push_str(&format!(
                "\n[scope.{}]\nquery = '''{}'''\n",
                member.name,
                member.query(schema)
            ));
        }
        text
    }

    fn names(&self, schema: &Schema, member: &Member) -> bool {
        let is_it = |at: usize| schema.members[at].name == member.name;
        let mut said = self.entities.iter().flat_map(|entity| {
            let rules = [&entity.write, &entity.write_to];
            rules.into_iter().flatten().chain([&entity.scope])
        });
        said.any(|scope| scope.names(&is_it))
    }
}

impl Entity {
    fn toml(&self, schema: &Schema) -> String {
        let table = &schema.tables[self.table];
        let attributes: Vec<String> = self
            .attributes
            .iter()
            .map(|(local, column)| match local == column {
                true => format!("{column:?}"),
                false => format!("{{ {local:?} = {column:?} }}"),
            })
            .collect();
        let mut lines = vec![
            format!("\n[local.{:?}]", self.name),
            format!("from = {:?}", table.name),
            format!("pattern = \"{}\"", self.pattern),
            format!("attributes = [{}]", attributes.join(", ")),
            format!("scope = '{}'", self.scope.text(schema, self.table)),
        ];
        lines.extend(self.switches(schema));
        if !self.lookups.is_empty() {
            lines.push(String::new());
            lines.push(format!("[local.{:?}.lookup]", self.name));
            for lookup in &self.lookups {
                let path = path_text(schema, self.table, &lookup.path, &lookup.column);
                lines.push(format!("{:?} = '{path}'", lookup.local));
            }
        }
        lines.join("\n") + "\n"
    }

    /// The keys of the entity's own section.
    fn switches(&self, schema: &Schema) -> Vec<String> {
        let mut lines = Vec::new();
        if self.by_attribute {
            lines.push("merge = \"attribute\"".into());
        }
        for (key, rule) in [("write", &self.write), ("write_to", &self.write_to)] {
            if let Some(rule) = rule {
                lines.push(format!("{key} = '{}'", rule.text(schema, self.table)));
            }
        }
        if !self.may_reference.is_empty() {
            lines.push(format!("may_reference = {:?}", self.may_reference));
        }
        if self.erase {
            lines.push("erase = true".into());
        }
        if self.has_counter {
            lines.push(format!("counter = [{:?}]", NUMBER));
        }
        lines
    }
}

impl Scope {
    fn text(&self, schema: &Schema, table: usize) -> String {
        let joined = |parts: &[Self], word: &str| {
            let parts: Vec<String> = parts.iter().map(|part| part.text(schema, table)).collect();
            format!("({})", parts.join(word))
        };
        match self {
            Self::Everyone => "everyone".to_owned(),
            Self::One(condition) => condition.text(schema, table),
            Self::All(parts) => joined(parts, " and "),
            Self::Any(parts) => joined(parts, " or "),
        }
    }

    fn names(&self, is_it: &impl Fn(usize) -> bool) -> bool {
        match self {
            Self::Everyone => false,
            Self::One(condition) => matches!(condition.holds, Holds::Named(at) if is_it(at)),
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.names(is_it)),
        }
    }
}

impl Condition {
    fn text(&self, schema: &Schema, table: usize) -> String {
        let path = path_text(schema, table, &self.path, &self.column);
        match &self.holds {
            Holds::User => format!("{path} = :user"),
            Holds::Claim(name) => format!("{path} = :claim.{name}"),
            Holds::Named(member) => format!("{path} in {}", schema.members[*member].name),
        }
    }
}

fn path_text(schema: &Schema, table: usize, path: &[usize], column: &str) -> String {
    let mut names = Vec::new();
    let mut at = table;
    for step in path {
        let foreign = &schema.tables[at].foreign[*step];
        names.push(quoted(&foreign.columns[0]));
        at = foreign.target;
    }
    names.push(quoted(column));
    names.join(".")
}

impl Member {
    /// The query that finds what a user holds.
    fn query(&self, schema: &Schema) -> String {
        let name = &self.name;
        match self.source {
            Source::Direct => format!("SELECT v FROM m{name} WHERE user_id = :user"),
            Source::Switched => format!("SELECT v FROM m{name} WHERE user_id = :user AND active"),
            Source::Blocked => {
                format!("SELECT v FROM m{name} WHERE user_id = :user EXCEPT SELECT v FROM x{name};")
            }
            Source::Grouped => format!(
                "SELECT g.v FROM g{name} AS g JOIN m{name} AS m ON m.grp = g.grp \
                 WHERE m.user_id = :user"
            ),
            Source::Claimed => format!("SELECT v FROM m{name} WHERE zone = :claim_zone"),
            Source::Owned(table) => {
                let table = &schema.tables[table];
                let column = match self.domain {
                    Domain::KeyOf(_) => table.key_columns()[0].clone(),
                    domain => domain.column().to_owned(),
                };
                let (column, table) = (quoted(&column), quoted(&table.name));
                format!("SELECT {column} FROM {table} WHERE owner = :user")
            }
            Source::Tree(table, foreign) => {
                let table = &schema.tables[table];
                let up = quoted(&table.foreign[foreign].columns[0]);
                format!(
                    "WITH RECURSIVE below (v) AS (SELECT v FROM m{name} WHERE user_id = :user \
                     UNION SELECT t.id FROM {} AS t JOIN below ON t.{up} = below.v) \
                     SELECT v FROM below",
                    quoted(&table.name)
                )
            }
        }
    }
}

/// A claim's value in SQL.
pub(crate) fn claim_sql(value: Option<&serde_json::Value>) -> String {
    match value {
        Some(serde_json::Value::String(text)) => literal(text),
        Some(serde_json::Value::Number(number)) => number.to_string(),
        _ => "NULL".to_owned(),
    }
}

//! A model over a database, drawn at random: which tables go to devices, with which attributes,
//! and whose rows; and the text of the file that says so.

use fastrand::Rng;

use crate::schema::{Domain, MARK, Member, Schema, Source};
use crate::text::{literal, quoted};

/// Patterns by their words, the ones that are written with more often.
const PATTERNS: [&str; 7] = [
    "read-only",
    "read-only-optimized",
    "last-write-wins",
    "last-write-wins",
    "last-write-wins",
    "detect-conflicts",
    "detect-conflicts",
];

/// Conditions of one scope, as drawn.
const CONDITIONS_MAX: usize = 5;

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
    by_attribute: bool,
    has_counter: bool,
    /// Local names and columns, without the identifier's.
    pub(crate) attributes: Vec<(String, String)>,
    /// Attributes that show what other rows have.
    pub(crate) lookups: Vec<Lookup>,
    pub(crate) scope: Scope,
    /// Which rows of the scope may be changed, and what rows may become.
    pub(crate) write: Option<Scope>,
    pub(crate) write_to: Option<Scope>,
    may_reference: Vec<String>,
    /// The columns of these.
    unasked: Vec<String>,
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
    All(Vec<Scope>),
    Any(Vec<Scope>),
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
    /// Draws one.
    pub(crate) fn draw(schema: &Schema, rng: &mut Rng) -> Self {
        let mut entities = Vec::new();
        let some = rng.usize(..schema.tables.len());
        for (at, table) in schema.tables.iter().enumerate() {
            if at == some || rng.u8(..7) > 0 {
                let name = match rng.u8(..5) {
                    0 => format!("my {}", table.name),
                    _ => table.name.clone(),
                };
                entities.push(entity(schema, at, name, rng));
            }
        }
        rng.shuffle(&mut entities);
        let unasked: Vec<(usize, String)> = (entities.iter())
            .flat_map(|it| it.unasked.iter().map(|column| (it.table, column.clone())))
            .collect();
        for entity in &mut entities {
            let table = entity.table;
            entity
                .lookups
                .retain(|lookup| !goes_through(schema, table, lookup, &unasked));
        }
        let mut units = Vec::new();
        if entities.len() > 1 && rng.bool() {
            let cut = rng.usize(1..entities.len());
            units.push(("first".to_owned(), (0..cut).collect()));
            let again = usize::from(rng.u8(..3) == 0);
            units.push(("second".to_owned(), (cut - again..entities.len()).collect()));
        }
        Self { entities, units }
    }

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
            lines.push(format!("counter = [{:?}]", crate::schema::NUMBER));
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

fn entity(schema: &Schema, at: usize, name: String, rng: &mut Rng) -> Entity {
    let table = &schema.tables[at];
    let pattern = PATTERNS[rng.usize(..PATTERNS.len())];
    let mut attributes = Vec::new();
    for column in table.other_columns() {
        // What must not be null can be left out too; then nobody can create rows.
        let most = if pattern.starts_with("read-only") {
            5
        } else {
            14
        };
        if column == MARK || rng.u8(..most) > 0 {
            let local = match rng.u8(..8) {
                0 => format!("my {column}"),
                _ => column.clone(),
            };
            attributes.push((local, column));
        }
    }
    rng.shuffle(&mut attributes);
    let is_written = !pattern.starts_with("read-only");
    let numbers =
        |(local, column): &(String, String)| column == crate::schema::NUMBER && local == column;
    let mut rule = |seldom: u8| match is_written && rng.u8(..seldom) == 0 {
        false => None,
        true if rng.u8(..5) == 0 => Some(Scope::Everyone),
        true => Some(scope(schema, at, rng)),
    };
    let (write, write_to) = (rule(5), rule(5));
    let foreign = table.foreign.iter().flat_map(|foreign| &foreign.columns);
    let (mut may_reference, mut unasked) = (Vec::new(), Vec::new());
    for column in foreign.filter(|_| is_written) {
        let mut local = attributes.iter().filter(|(_, name)| name == column);
        let local = local.next().map(|(local, _)| local);
        let key = table.key_columns();
        let local = local.or_else(|| key.contains(column).then_some(column));
        if let Some(local) = local.filter(|_| rng.bool()) {
            may_reference.push(local.clone());
            unasked.push(column.clone());
        }
    }
    let lookups = lookups(schema, at, rng);
    Entity {
        name,
        table: at,
        pattern,
        write,
        write_to,
        may_reference,
        unasked,
        lookups,
        erase: rng.u8(..4) == 0,
        by_attribute: pattern == "detect-conflicts" && rng.bool(),
        has_counter: is_written && attributes.iter().any(numbers) && rng.u8(..4) == 0,
        attributes,
        scope: match rng.u8(..8) {
            0 => Scope::Everyone,
            _ => scope(schema, at, rng),
        },
    }
}

fn scope(schema: &Schema, at: usize, rng: &mut Rng) -> Scope {
    let mut left = CONDITIONS_MAX;
    part(schema, at, 0, &mut left, rng).unwrap_or(Scope::Everyone)
}

/// A condition, or several joined; nothing where the draw finds no column to compare.
fn part(
    schema: &Schema,
    table: usize,
    depth: usize,
    left: &mut usize,
    rng: &mut Rng,
) -> Option<Scope> {
    if *left == 0 {
        return None;
    }
    if depth == 2 || rng.u8(..5) > 1 {
        *left -= 1;
        return condition(schema, table, rng).map(Scope::One);
    }
    let several = 2 + usize::from(rng.u8(..4) == 0);
    let mut parts: Vec<Scope> = (0..several)
        .filter_map(|_| part(schema, table, depth + 1, left, rng))
        .collect();
    match parts.len() {
        0 | 1 => parts.pop(),
        _ if rng.u8(..5) > 2 => Some(Scope::All(parts)),
        _ => Some(Scope::Any(parts)),
    }
}

fn condition(schema: &Schema, table: usize, rng: &mut Rng) -> Option<Condition> {
    let steps = [0, 0, 0, 1, 1, 1, 2, 3][rng.usize(..8)];
    let (path, at) = path(schema, table, steps, rng);
    let mut choices = Vec::new();
    let last = &schema.tables[at];
    for domain in &last.deciding {
        let column = domain.column().to_owned();
        match domain {
            Domain::Owner => choices.push((column, Holds::User)),
            domain => {
                choices.push((column.clone(), Holds::Claim(domain.column())));
                for (place, member) in schema.members.iter().enumerate() {
                    if member.domain == *domain {
                        choices.push((column.clone(), Holds::Named(place)));
                        choices.push((column.clone(), Holds::Named(place)));
                    }
                }
            }
        }
    }
    for (place, member) in schema.members.iter().enumerate() {
        let Domain::KeyOf(held) = member.domain else {
            continue;
        };
        let to_it = last
            .foreign
            .iter()
            .filter(|foreign| foreign.target == held && foreign.columns.len() == 1);
        let own = (held == at).then(|| last.key_columns()[0].clone());
        let columns = to_it.map(|foreign| foreign.columns[0].clone()).chain(own);
        choices.extend(columns.map(|column| (column, Holds::Named(place))));
    }
    if choices.is_empty() {
        return None;
    }
    let (column, holds) = choices.swap_remove(rng.usize(..choices.len()));
    Some(Condition {
        path,
        column,
        holds,
    })
}

/// A way along references of one column, at most so many; and where it leads.
fn path(schema: &Schema, table: usize, steps: usize, rng: &mut Rng) -> (Vec<usize>, usize) {
    let mut path = Vec::new();
    let mut at = table;
    for _ in 0..steps {
        let foreign = &schema.tables[at].foreign;
        let single: Vec<usize> = (0..foreign.len())
            .filter(|place| foreign[*place].columns.len() == 1)
            .collect();
        if single.is_empty() {
            break;
        }
        let step = single[rng.usize(..single.len())];
        at = foreign[step].target;
        path.push(step);
    }
    (path, at)
}

/// Whether a path goes through a reference that devices write unasked: whoever writes it could
/// read every row, so such a model is refused.
fn goes_through(
    schema: &Schema,
    table: usize,
    lookup: &Lookup,
    unasked: &[(usize, String)],
) -> bool {
    let mut at = table;
    lookup.path.iter().any(|step| {
        let foreign = &schema.tables[at].foreign[*step];
        let is_it = unasked.contains(&(at, foreign.columns[0].clone()));
        at = foreign.target;
        is_it
    })
}

/// What other rows have.
fn lookups(schema: &Schema, table: usize, rng: &mut Rng) -> Vec<Lookup> {
    let mut found: Vec<Lookup> = Vec::new();
    for place in 0..[0, 0, 0, 1, 1, 2][rng.usize(..6)] {
        let steps = rng.usize(1..=3);
        let (path, at) = path(schema, table, steps, rng);
        if path.is_empty() {
            break;
        }
        let mut columns = schema.tables[at].other_columns();
        columns.extend(schema.tables[at].key_columns());
        columns.extend([MARK.to_owned(), MARK.to_owned()]);
        found.push(Lookup {
            local: format!("shown {place}"),
            path,
            column: columns.swap_remove(rng.usize(..columns.len())),
        });
    }
    found
}

/// A claim of a token.
pub(crate) fn claim(name: &str, rng: &mut Rng) -> serde_json::Value {
    match (name, rng.u8(..6)) {
        (_, 0) => serde_json::Value::Null,
        ("area", 1) => rng.u8(1..5).to_string().into(),
        ("area", _) => rng.u8(1..5).into(),
        _ => format!("z{}", rng.u8(1..5)).into(),
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

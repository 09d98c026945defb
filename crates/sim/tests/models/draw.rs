//! Drawing a model over a database.

use fastrand::Rng;

use crate::model::{Condition, Entity, Holds, Keep, Lookup, Model, Scope};
use crate::schema::{DUE, Domain, MARK, NUMBER, Schema};

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
    let numbers = |(local, column): &(String, String)| column == NUMBER && local == column;
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
    let keep = keep(&attributes, rng);
    let seldom = if keep.is_some() { 3 } else { 8 };
    Entity {
        name,
        table: at,
        pattern,
        write,
        write_to,
        deletes: table.off.is_some() && rng.u8(..4) > 0,
        keep,
        may_reference,
        unasked,
        lookups,
        erase: rng.u8(..4) == 0,
        by_attribute: pattern == "detect-conflicts" && rng.bool(),
        has_counter: is_written && attributes.iter().any(numbers) && rng.u8(..4) == 0,
        attributes,
        scope: match rng.u8(..seldom) {
            0 => Scope::Everyone,
            _ => scope(schema, at, rng),
        },
    }
}

/// A window over the column with a time, if devices have it.
fn keep(attributes: &[(String, String)], rng: &mut Rng) -> Option<Keep> {
    let has_time = attributes.iter().any(|(_, column)| column == DUE);
    (has_time && rng.u8(..4) > 0).then(|| Keep {
        comparison: ["<", "<=", ">", ">="][rng.usize(..4)],
        hours: [-240, -72, -30, 0, 5, 48, 168][rng.usize(..7)],
    })
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
    for place in 0..[0, 0, 1, 1, 2, 3][rng.usize(..6)] {
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

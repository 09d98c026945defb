//! Random statements: small tables and few values, so that they meet often.

use afield::protocol::FIRST_TEMPORARY;
use fastrand::Rng;

use crate::world::uuid;

/// A table as the generator knows it: name, key columns, other columns.
struct Shape {
    name: &'static str,
    key: &'static [&'static str],
    values: &'static [&'static str],
}

const SHAPES: [Shape; 8] = [
    Shape {
        name: "note",
        key: &["id"],
        values: &["a", "b", "c"],
    },
    Shape {
        name: "visit",
        key: &["n"],
        values: &["title", "done", "note_id"],
    },
    Shape {
        name: "cell",
        key: &["row", "col"],
        values: &["v", "w"],
    },
    Shape {
        name: "item",
        key: &["id"],
        values: &["name", "qty"],
    },
    Shape {
        name: "job",
        key: &["job"],
        values: &["title", "note_id"],
    },
    Shape {
        name: "task",
        key: &["id"],
        values: &["job", "a"],
    },
    Shape {
        name: "part",
        key: &["job", "no"],
        values: &["v"],
    },
    Shape {
        name: "tag",
        key: &["word"],
        values: &[],
    },
];

const OR: [&str; 7] = [
    "",
    "",
    "OR IGNORE ",
    "OR REPLACE ",
    "OR ABORT ",
    "OR FAIL ",
    "OR ROLLBACK ",
];

/// One random statement. `app` says that the app's view and triggers are there.
pub(super) fn statement(rng: &mut Rng, app: bool) -> String {
    let shape = &SHAPES[rng.usize(..SHAPES.len())];
    match rng.u32(..20) {
        0..5 => insert(rng, shape),
        5..8 => upsert(rng, shape),
        8..12 => update(rng, shape),
        12 | 13 => delete(rng, shape),
        14..17 => across(rng),
        17 if app => view(rng),
        18 => beside(rng),
        _ => noop(rng, shape),
    }
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

/// A literal for a column: mostly one that fits.
fn literal(rng: &mut Rng, column: &str) -> String {
    if rng.u32(..60) == 0 {
        return pick(rng, &["'odd'", "x'00'", "1.5", "NULL", "-7"]).to_owned();
    }
    match column {
        "id" | "note_id" => format!("'n{}'", rng.u32(1..5)),
        "uuid" => format!("'{}'", uuid(rng.u64(1..4))),
        "job" => job(rng),
        "n" | "row" | "no" => rng.u32(1..4).to_string(),
        "col" => pick(rng, &["'a'", "'b'"]).to_owned(),
        "word" => format!("'w{}'", rng.u32(1..5)),
        "done" => pick(rng, &["0", "1", "TRUE", "0"]).to_owned(),
        "b" | "w" | "qty" => pick(rng, &["NULL", "0", "1", "2", "3", "4", "5"]).to_owned(),
        "c" => pick(rng, &["NULL", "0.5", "1", "'NaN'", "1e300"]).to_owned(),
        _ => pick(rng, &["NULL", "'p'", "'q'", "'r'", "''"]).to_owned(),
    }
}

/// A job's identifier: none, one that the app or the server gave, or a temporary one that may
/// have become another since.
pub(super) fn job(rng: &mut Rng) -> String {
    match rng.u32(..6) {
        0 => "NULL".to_owned(),
        1 | 2 => rng.i64(1..9).to_string(),
        _ => (FIRST_TEMPORARY + rng.i64(1..10)).to_string(),
    }
}

fn key_literal(rng: &mut Rng, shape: &Shape, column: &str) -> String {
    let column = if shape.name == "item" { "uuid" } else { column };
    literal(rng, column)
}

/// `(columns) VALUES (…), …` with every key column and some others.
fn values(rng: &mut Rng, shape: &Shape) -> String {
    let mut columns: Vec<&str> = shape.key.to_vec();
    columns.extend(shape.values.iter().filter(|_| rng.u32(..3) > 0));
    let leaves_out = if shape.name == "job" { 2 } else { 40 };
    if rng.u32(..leaves_out) == 0 {
        columns.remove(0);
    }
    if rng.bool() {
        rng.shuffle(&mut columns);
    }
    if columns.is_empty() {
        return "DEFAULT VALUES".to_owned();
    }
    let rows: Vec<_> = (0..rng.u32(1..4))
        .map(|_| {
            let cells = columns
                .iter()
                .map(|column| match shape.key.contains(column) {
                    true => key_literal(rng, shape, column),
                    false => literal(rng, column),
                });
            format!("({})", cells.collect::<Vec<_>>().join(", "))
        })
        .collect();
    format!("({}) VALUES {}", columns.join(", "), rows.join(", "))
}

fn insert(rng: &mut Rng, shape: &Shape) -> String {
    let values = values(rng, shape);
    if rng.u32(..6) == 0 {
        return format!("REPLACE INTO {} {values}", shape.name);
    }
    format!("INSERT {}INTO {} {values}", pick(rng, &OR), shape.name)
}

fn upsert(rng: &mut Rng, shape: &Shape) -> String {
    let target = if rng.bool() {
        format!("({}) ", shape.key.join(", "))
    } else {
        String::new()
    };
    let action = if shape.values.is_empty() || rng.u32(..3) == 0 {
        "NOTHING".to_owned()
    } else {
        let column = pick(rng, shape.values);
        let table = shape.name;
        let to = match rng.u32(..4) {
            0 | 1 => format!("excluded.{column}"),
            2 => literal(rng, column),
            _ => format!("{table}.{column}"),
        };
        let only = match rng.u32(..3) {
            0 => format!(" WHERE {table}.{column} IS NOT excluded.{column}"),
            1 => format!(" WHERE {table}.{column} IS {}", literal(rng, column)),
            _ => String::new(),
        };
        format!("UPDATE SET {column} = {to}{only}")
    };
    let or = if rng.u32(..4) == 0 {
        pick(rng, &OR)
    } else {
        ""
    };
    let values = values(rng, shape);
    format!(
        "INSERT {or}INTO {} {values} ON CONFLICT {target}DO {action}",
        shape.name
    )
}

fn condition(rng: &mut Rng, shape: &Shape) -> String {
    match rng.u32(..5) {
        0 => String::new(),
        1 if !shape.values.is_empty() => {
            let column = pick(rng, shape.values);
            format!(" WHERE {column} IS {}", literal(rng, column))
        }
        2 => " WHERE abs(random()) % 1 = 1".to_owned(),
        _ => {
            let tests = shape.key.iter().map(|column| {
                let is = pick(rng, &["=", "=", "=", "<>", "<="]);
                format!("{column} {is} {}", key_literal(rng, shape, column))
            });
            format!(" WHERE {}", tests.collect::<Vec<_>>().join(" AND "))
        }
    }
}

fn update(rng: &mut Rng, shape: &Shape) -> String {
    let (or, table) = (pick(rng, &OR), shape.name);
    if shape.values.is_empty() || rng.u32(..25) == 0 {
        let key = pick(rng, shape.key);
        let to = if rng.bool() {
            key.to_owned()
        } else {
            key_literal(rng, shape, key)
        };
        return format!(
            "UPDATE {or}{table} SET {key} = {to}{}",
            condition(rng, shape)
        );
    }
    let mut sets = Vec::new();
    for column in shape.values {
        if rng.bool() {
            sets.push(format!("{column} = {}", literal(rng, column)));
        }
    }
    if sets.is_empty() {
        let column = pick(rng, shape.values);
        sets.push(format!("{column} = {column}"));
    }
    let returning = if rng.u32(..8) == 0 {
        " RETURNING *"
    } else {
        ""
    };
    format!(
        "UPDATE {or}{table} SET {}{}{returning}",
        sets.join(", "),
        condition(rng, shape)
    )
}

fn delete(rng: &mut Rng, shape: &Shape) -> String {
    format!("DELETE FROM {}{}", shape.name, condition(rng, shape))
}

/// Statements that read one table and write another, or the same.
fn across(rng: &mut Rng) -> String {
    let or = pick(rng, &OR);
    match rng.u32(..14) {
        10 => format!("INSERT {or}INTO part SELECT job, 1, title FROM job"),
        11 => format!("INSERT {or}INTO job (title, note_id) SELECT a, id FROM note RETURNING job"),
        12 => "UPDATE task SET job = (SELECT max(job) FROM job)".to_owned(),
        13 => "DELETE FROM job WHERE job NOT IN (SELECT job FROM part)".to_owned(),
        0 => format!("INSERT {or}INTO tag SELECT a FROM note WHERE a IS NOT NULL"),
        1 => format!("INSERT {or}INTO note SELECT id, a, b + 1, c FROM note ORDER BY id DESC"),
        2 => format!("INSERT {or}INTO visit (n, title) SELECT w, v FROM cell WHERE w > 0"),
        3 => "UPDATE note SET a = v.title FROM visit AS v WHERE v.note_id = note.id".to_owned(),
        4 => format!("UPDATE {or}cell SET v = n.a FROM note AS n WHERE n.b = cell.w"),
        5 => "INSERT INTO note (id, a) SELECT word, 'tagged' FROM tag WHERE TRUE \
              ON CONFLICT (id) DO UPDATE SET a = excluded.a WHERE note.b > 1"
            .to_owned(),
        6 => "DELETE FROM visit WHERE note_id NOT IN (SELECT id FROM note)".to_owned(),
        7 => "WITH t AS (SELECT word FROM tag) DELETE FROM tag WHERE word IN t RETURNING word"
            .to_owned(),
        8 => "UPDATE item SET qty = qty + 1, name = (SELECT a FROM note LIMIT 1)".to_owned(),
        _ => "INSERT OR FAIL INTO tag VALUES ('w1'), ('w2'), ('w1'), ('w4')".to_owned(),
    }
}

fn view(rng: &mut Rng) -> String {
    let (id, a, n) = (literal(rng, "id"), literal(rng, "a"), literal(rng, "n"));
    match rng.u32(..4) {
        0 | 1 => format!("INSERT INTO note_view (id, a, n) VALUES ({id}, {a}, {n})"),
        2 => format!("UPDATE note_view SET a = {a} WHERE id = {id}"),
        _ => format!("DELETE FROM note_view WHERE id = {id}"),
    }
}

/// Tables that are not captured, or not writable.
fn beside(rng: &mut Rng) -> String {
    let (id, a) = (literal(rng, "id"), literal(rng, "a"));
    match rng.u32(..5) {
        0 => format!("INSERT OR REPLACE INTO draft VALUES ({id}, {a})"),
        1 => format!("DELETE FROM draft WHERE id = {id}"),
        2 => format!("INSERT OR IGNORE INTO fixed VALUES ({id}, {a})"),
        3 => "UPDATE fixed SET a = a".to_owned(),
        _ => "DELETE FROM fixed".to_owned(),
    }
}

/// Statements that end where they began.
fn noop(rng: &mut Rng, shape: &Shape) -> String {
    let table = shape.name;
    match shape.values.first() {
        Some(first) if rng.bool() => format!("UPDATE {table} SET {first} = {first}"),
        _ => format!("INSERT OR REPLACE INTO {table} SELECT * FROM {table}"),
    }
}

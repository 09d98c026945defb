//! What the team writes into its own database: rows, moves, memberships, whatever SQL does.

use fastrand::Rng;
use rusqlite::{Connection, ErrorCode};

use crate::plan::Style;
use crate::schema::{
    CODE, DUE, Domain, Foreign, Key, MARK, Member, NUMBER, OFF, Schema, Source, USERS, time,
};
use crate::text::{literal, mark, quoted};
use crate::wrong::Done;

/// Draws statements for the database as it stands.
pub(crate) struct Team<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) conn: &'a Connection,
    pub(crate) rng: Rng,
    /// In seconds since 1970.
    pub(crate) now: i64,
    /// The number of the next mark.
    pub(crate) next: &'a mut u32,
    pub(crate) style: Style,
    /// Whether nothing but new rows and memberships is wanted.
    pub(crate) fills: bool,
    /// Whether a transaction is one statement.
    pub(crate) is_short: bool,
}

impl Team<'_> {
    /// Runs some statements. What the database refuses has not happened.
    pub(crate) fn run(&mut self, steps: u8, mut say: impl FnMut(&str)) -> Done {
        for _ in 0..steps {
            for sql in self.statements()? {
                match self.conn.execute_batch(&sql) {
                    Ok(()) => say(&sql),
                    Err(error) if is_refused(&error) => say(&format!("-- refused: {sql}")),
                    Err(error) => {
                        say(&sql);
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }

    fn statements(&mut self) -> Done<Vec<String>> {
        let table = self.rng.usize(..self.schema.tables.len());
        let what = match self.fills {
            true => [0, 0, 0, 34][self.rng.usize(..4)],
            false => match self.style {
                Style::Everything | Style::Times => self.rng.u8(..35),
                Style::Grants => [self.rng.u8(..35), 11, 14, 20, 34, 34, 34][self.rng.usize(..7)],
                Style::Parents => [self.rng.u8(..35), 17, 17, 17, 14][self.rng.usize(..5)],
            },
        };
        let made = match what {
            0..=8 => vec![self.insert(table, "INSERT", None)?],
            9 => vec![self.insert(table, "INSERT OR REPLACE", None)?],
            10 => vec![self.insert(table, "INSERT OR IGNORE", None)?],
            11..=13 => self.update(table, Self::decide)?,
            14..=16 => self.update(table, Self::refer)?,
            17 => self.update(table, Self::touch)?,
            18 => self.bulk(table, true),
            19 => self.bulk(table, false),
            20 | 21 => self.delete(table)?,
            22 => self.rename(table)?,
            23 => self.child_of_moving(table)?,
            24 => self.update(table, Self::code)?,
            25..=26 => self.update(table, Self::further)?,
            27 if !self.is_short => self.flap()?,
            _ => vec![self.membership()?],
        };
        let most = if self.is_short { 1 } else { made.len() };
        Ok(made
            .into_iter()
            .filter(|sql| !sql.is_empty())
            .take(most)
            .collect())
    }

    fn mark(&mut self) -> String {
        *self.next += 1;
        literal(&mark(*self.next))
    }

    fn insert(&mut self, table: usize, verb: &str, parent: Option<(usize, &str)>) -> Done<String> {
        let schema = self.schema;
        let it = &schema.tables[table];
        let mut cells: Vec<(String, String)> = Vec::new();
        for (place, foreign) in it.foreign.iter().enumerate() {
            let key = match parent {
                Some((at, key)) if at == place => vec![key.to_owned()],
                _ => self.reference(foreign)?,
            };
            cells.extend(foreign.columns.iter().cloned().zip(key));
        }
        let is_again = verb != "INSERT" || self.rng.u8(..6) == 0;
        let old = match is_again {
            true => self.key(table)?,
            false => None,
        };
        if let Some(old) = old {
            let columns = it.key_columns();
            cells.retain(|(column, _)| !columns.contains(column));
            cells.extend(columns.into_iter().zip(old));
        } else {
            cells.extend(self.fresh_key(table));
        }
        for domain in &it.deciding {
            let value = self.value(*domain);
            cells.push((domain.column().to_owned(), value));
        }
        cells.push((MARK.to_owned(), self.mark()));
        if self.rng.bool() {
            cells.push((NUMBER.to_owned(), self.rng.u8(..50).to_string()));
        }
        if it.has_code && self.rng.bool() {
            cells.push((CODE.to_owned(), self.rng.u8(1..10).to_string()));
        }
        if let Some(off) = it.off {
            let is_off = self.rng.u8(..8) == 0;
            cells.push((OFF.to_owned(), off.value(is_off, self.now)));
        }
        if it.due.is_some() {
            cells.push((DUE.to_owned(), self.due(table)));
        }
        let columns: Vec<String> = cells.iter().map(|(column, _)| quoted(column)).collect();
        let values: Vec<&str> = cells.iter().map(|(_, value)| value.as_str()).collect();
        let mut sql = format!(
            "{verb} INTO {} ({}) VALUES ({})",
            quoted(&it.name),
            columns.join(", "),
            values.join(", ")
        );
        if verb == "INSERT" && is_again && self.rng.bool() {
            let sets = cells.iter().zip(&columns).filter(|((column, _), _)| {
                !it.key_columns().contains(column) && (column == MARK || self.rng.bool())
            });
            let sets: Vec<String> = sets
                .map(|(_, column)| format!("{column} = excluded.{column}"))
                .collect();
            let key = crate::schema::listed(&it.key_columns());
            sql.push_str(&format!(
                " ON CONFLICT ({key}) DO UPDATE SET {}",
                sets.join(", ")
            ));
        }
        Ok(sql)
    }

    /// The columns of a key that no row has had; those that are references are given already.
    fn fresh_key(&mut self, table: usize) -> Vec<(String, String)> {
        let n = *self.next;
        let id = |value: String| vec![("id".to_owned(), value)];
        match self.schema.tables[table].key {
            Key::Numbered => Vec::new(),
            Key::Integer => id(n.to_string()),
            Key::Text => id(literal(&format!("k{n}"))),
            Key::Uuid => id(literal(&format!("00000000-0000-4000-8000-{n:012x}"))),
            Key::Pair => vec![
                ("k".to_owned(), literal(&format!("k{}", n % 4))),
                ("nr".to_owned(), n.to_string()),
            ],
            Key::Part => vec![("nr".to_owned(), n.to_string())],
        }
    }

    /// The key of some row, in SQL.
    fn key(&mut self, table: usize) -> Done<Option<Vec<String>>> {
        // Few rows are written again and again, and referred to by many.
        let rows = match self.style == Style::Parents && self.rng.u8(..4) > 0 {
            true => 2,
            false => i64::MAX,
        };
        let it = &self.schema.tables[table];
        some_key(self.conn, &it.name, &it.key_columns(), rows, &mut self.rng)
    }

    fn reference(&mut self, foreign: &Foreign) -> Done<Vec<String>> {
        let nothing = vec!["NULL".to_owned(); foreign.columns.len()];
        if foreign.nullable && self.rng.u8(..6) == 0 {
            return Ok(nothing);
        }
        if self.rng.u8(..20) == 0 {
            let odd = match self.schema.tables[foreign.target].key {
                Key::Integer | Key::Numbered => self.rng.u32(1..200).to_string(),
                _ => literal(&format!("k{}", self.rng.u32(1..200))),
            };
            return Ok(vec![odd; foreign.columns.len()]);
        }
        Ok(self.key(foreign.target)?.unwrap_or(nothing))
    }

    fn value(&mut self, domain: Domain) -> String {
        match self.rng.u8(..8) {
            0 => "NULL".to_owned(),
            _ => domain.value(&mut self.rng),
        }
    }

    fn update(
        &mut self,
        table: usize,
        what: fn(&mut Self, usize) -> Done<Option<String>>,
    ) -> Done<Vec<String>> {
        let Some(key) = self.key(table)? else {
            return Ok(Vec::new());
        };
        let Some(set) = what(self, table)? else {
            return Ok(Vec::new());
        };
        let it = &self.schema.tables[table];
        let verb = match self.rng.u8(..10) {
            0 => "UPDATE OR REPLACE",
            1 => "UPDATE OR IGNORE",
            _ => "UPDATE",
        };
        let marked = match self.rng.u8(..4) {
            0 => String::new(),
            _ => format!(", {MARK} = {}", self.mark()),
        };
        Ok(vec![format!(
            "{verb} {} SET {set}{marked} WHERE {}",
            quoted(&it.name),
            is_key(&it.key_columns(), &key)
        )])
    }

    fn decide(&mut self, table: usize) -> Done<Option<String>> {
        let deciding = &self.schema.tables[table].deciding;
        let domain = deciding[self.rng.usize(..deciding.len())];
        let value = self.value(domain);
        Ok(Some(format!("{} = {value}", domain.column())))
    }

    fn refer(&mut self, table: usize) -> Done<Option<String>> {
        let foreign = &self.schema.tables[table].foreign;
        if foreign.is_empty() {
            return Ok(None);
        }
        let foreign = &foreign[self.rng.usize(..foreign.len())];
        let key = self.reference(foreign)?;
        let sets = foreign.columns.iter().zip(&key);
        let sets: Vec<String> = sets
            .map(|(column, value)| format!("{} = {value}", quoted(column)))
            .collect();
        Ok(Some(sets.join(", ")))
    }

    fn touch(&mut self, _table: usize) -> Done<Option<String>> {
        Ok(Some(format!("{NUMBER} = {NUMBER} + 1")))
    }

    fn code(&mut self, table: usize) -> Done<Option<String>> {
        let has_code = self.schema.tables[table].has_code;
        Ok(has_code.then(|| format!("{CODE} = {}", self.rng.u8(1..10))))
    }

    /// Another time, or counting as deleted or no more.
    fn further(&mut self, table: usize) -> Done<Option<String>> {
        let it = &self.schema.tables[table];
        let off = it.off.filter(|_| it.due.is_none() || self.rng.bool());
        Ok(match (off, it.due) {
            (Some(off), _) => {
                let is_off = self.rng.bool();
                Some(format!("{OFF} = {}", off.value(is_off, self.now)))
            }
            (None, Some(_)) => Some(format!("{DUE} = {}", self.due(table))),
            (None, None) => None,
        })
    }

    /// A time for a table's column; seldom none, or something else.
    fn due(&mut self, table: usize) -> String {
        let kind = self.schema.tables[table].due.unwrap_or_default();
        match self.rng.u8(..12) {
            0 => "NULL".to_owned(),
            1 => literal("soon"),
            _ => time(kind, self.now + some_time(&mut self.rng)),
        }
    }

    fn bulk(&mut self, table: usize, updates: bool) -> Vec<String> {
        let it = &self.schema.tables[table];
        let domain = it.deciding[self.rng.usize(..it.deciding.len())];
        let (name, column) = (quoted(&it.name), domain.column());
        let (from, to) = (domain.value(&mut self.rng), self.value(domain));
        vec![match updates {
            true => format!("UPDATE {name} SET {column} = {to} WHERE {column} = {from}"),
            false => format!("DELETE FROM {name} WHERE {column} = {from} AND {NUMBER} % 2 = 0"),
        }]
    }

    fn delete(&mut self, table: usize) -> Done<Vec<String>> {
        let it = &self.schema.tables[table];
        let key = self.key(table)?;
        let one = key.map(|key| is_key(&it.key_columns(), &key));
        let sql = |condition| format!("DELETE FROM {} WHERE {condition}", quoted(&it.name));
        Ok(one.map(sql).into_iter().collect())
    }

    /// Another key for a row: fresh, or another row's.
    fn rename(&mut self, table: usize) -> Done<Vec<String>> {
        let it = &self.schema.tables[table];
        let Some(key) = self.key(table)?.filter(|_| it.key != Key::Numbered) else {
            return Ok(Vec::new());
        };
        let _ = self.mark();
        let mut fresh = self.fresh_key(table);
        let mut verb = "UPDATE";
        if self.rng.u8(..3) == 0 {
            let other = self.key(table)?.unwrap_or_default();
            fresh = it.key_columns().into_iter().zip(other).collect();
            verb = "UPDATE OR REPLACE";
        }
        let sets: Vec<String> = fresh
            .iter()
            .map(|(column, value)| format!("{} = {value}", quoted(column)))
            .collect();
        Ok(vec![format!(
            "{verb} {} SET {} WHERE {}",
            quoted(&it.name),
            sets.join(", "),
            is_key(&it.key_columns(), &key)
        )])
    }

    /// A parent moves while a child of it is inserted.
    fn child_of_moving(&mut self, table: usize) -> Done<Vec<String>> {
        let schema = self.schema;
        let foreign = schema.tables[table].foreign.iter();
        let single = foreign.enumerate().find(|(_, it)| it.columns.len() == 1);
        let Some((place, foreign)) = single else {
            return Ok(Vec::new());
        };
        let target = foreign.target;
        let Some(key) = self.key(target)? else {
            return Ok(Vec::new());
        };
        let child = self.insert(table, "INSERT", Some((place, &key[0])))?;
        let Some(set) = self.decide(target)? else {
            return Ok(vec![child]);
        };
        let parent = &schema.tables[target];
        let moves = format!(
            "UPDATE {} SET {set} WHERE {}",
            quoted(&parent.name),
            is_key(&parent.key_columns(), &key)
        );
        Ok(match self.rng.bool() {
            true => vec![child, moves],
            false => vec![moves, child],
        })
    }

    /// Something is taken and given back.
    fn flap(&mut self) -> Done<Vec<String>> {
        let at = self.rng.usize(..self.schema.members.len());
        let member = &self.schema.members[at];
        if matches!(member.source, Source::Owned(_) | Source::Claimed) {
            return Ok(vec![self.membership()?]);
        }
        let name = &member.name;
        let user = literal(USERS[self.rng.usize(..USERS.len())]);
        Ok(vec![
            format!("CREATE TEMP TABLE kept AS SELECT * FROM m{name} WHERE user_id = {user}"),
            format!("DELETE FROM m{name} WHERE user_id = {user}"),
            format!("INSERT INTO m{name} SELECT * FROM temp.kept"),
            "DROP TABLE temp.kept".to_owned(),
        ])
    }

    fn membership(&mut self) -> Done<String> {
        let at = self.rng.usize(..self.schema.members.len());
        let member = self.schema.members[at].clone();
        let name = &member.name;
        let user = literal(USERS[self.rng.usize(..USERS.len())]);
        let v = self.held(&member)?;
        let grp = self.rng.u8(1..4);
        let gives = self.rng.u8(..5) > 1;
        Ok(match (member.source, gives) {
            (Source::Direct | Source::Tree(..), true) => {
                format!("INSERT INTO m{name} VALUES ({user}, {v})")
            }
            (Source::Switched, true) => {
                format!(
                    "INSERT INTO m{name} VALUES ({user}, {v}, {})",
                    self.rng.u8(..3)
                )
            }
            (Source::Switched, false) if self.rng.bool() => {
                format!("UPDATE m{name} SET active = NOT active WHERE user_id = {user}")
            }
            (Source::Blocked, _) if self.rng.u8(..4) == 0 => match gives {
                true => format!("DELETE FROM x{name}"),
                false => format!("INSERT INTO x{name} VALUES ({v})"),
            },
            (Source::Blocked, true) => format!("INSERT INTO m{name} VALUES ({user}, {v})"),
            (Source::Grouped, true) if self.rng.bool() => {
                format!("INSERT INTO g{name} VALUES ({grp}, {v})")
            }
            (Source::Grouped, true) => format!("INSERT INTO m{name} VALUES ({user}, {grp})"),
            (Source::Grouped, false) => match self.rng.u8(..3) {
                0 => format!("DELETE FROM g{name} WHERE v = {v}"),
                1 => format!("UPDATE g{name} SET v = {v} WHERE grp = {grp}"),
                _ => format!("DELETE FROM m{name} WHERE user_id = {user} AND grp = {grp}"),
            },
            (Source::Claimed, true) => {
                let zone = Domain::Zone.value(&mut self.rng);
                format!("INSERT INTO m{name} VALUES ({zone}, {v})")
            }
            (Source::Claimed, false) => format!("DELETE FROM m{name} WHERE v = {v}"),
            (Source::Owned(table), _) => self.update(table, Self::decide)?.join(";"),
            (_, false) => {
                let some = ["", " AND v % 2 = 0"][self.rng.usize(..2)];
                format!("DELETE FROM m{name} WHERE user_id = {user}{some}")
            }
        })
    }

    fn held(&mut self, member: &Member) -> Done<String> {
        Ok(match member.domain {
            Domain::KeyOf(table) => match self.key(table)? {
                Some(key) => key[0].clone(),
                None => "NULL".to_owned(),
            },
            domain => domain.value(&mut self.rng),
        })
    }
}

/// Seconds to some time near or far, most of them to one that others have too.
pub(crate) fn some_time(rng: &mut Rng) -> i64 {
    match rng.bool() {
        true => rng.i64(-12..12) * 86_400,
        false => rng.i64(-300..300) * 3_600,
    }
}

/// The key of some row of a table of the team's, in SQL.
pub(crate) fn key_of(
    conn: &Connection,
    schema: &Schema,
    table: usize,
    rng: &mut Rng,
) -> Done<Option<Vec<String>>> {
    let it = &schema.tables[table];
    some_key(conn, &it.name, &it.key_columns(), i64::MAX, rng)
}

/// The key of some row of any table, one of the first `rows`, in SQL.
pub(crate) fn some_key(
    conn: &Connection,
    table: &str,
    key: &[String],
    rows: i64,
    rng: &mut Rng,
) -> Done<Option<Vec<String>>> {
    let name = quoted(table);
    let count: i64 = conn.query_row(&format!("SELECT count(*) FROM {name}"), [], |r| r.get(0))?;
    if count == 0 {
        return Ok(None);
    }
    let columns: Vec<String> = key.iter().map(|name| quoted(name)).collect();
    let shown: Vec<String> = columns
        .iter()
        .map(|name| format!("quote({name})"))
        .collect();
    let sql = format!(
        "SELECT {} FROM {name} ORDER BY {} LIMIT 1 OFFSET {}",
        shown.join(", "),
        columns.join(", "),
        rng.i64(..count.min(rows))
    );
    let cells = conn.query_row(&sql, [], |row| {
        (0..key.len()).map(|at| row.get(at)).collect()
    });
    Ok(Some(cells?))
}

/// The condition that a row has this key.
pub(crate) fn is_key(columns: &[String], key: &[String]) -> String {
    let pairs = columns.iter().zip(key);
    let pairs: Vec<String> = pairs
        .map(|(column, value)| format!("{} = {value}", quoted(column)))
        .collect();
    pairs.join(" AND ")
}

/// Whether a rule of the database's own says no.
pub(crate) fn is_refused(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

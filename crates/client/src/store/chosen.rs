//! What the app chose: values of scopes whose rows it wants on this device for a while.
//!
//! A choice is durable when it is made, and goes with the next request; the server decides which
//! of them bring rows. What is no longer chosen is no longer sent, and its rows leave with the
//! next sync, as those of any value that is lost. Changes of such rows are sent all the same.

use afield_protocol::limits::{CHOSEN_VALUE_BYTES, CHOSEN_VALUES_MAX};
use afield_protocol::{Chosen, ChosenScope, Code, Model, Value, zoo};
use rusqlite::params;

use super::Store;
use super::db::Db;
use super::sql::{Bound, values};
use crate::error::Error;

/// A value that is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenValue {
    /// The name of the scope.
    pub scope: String,
    /// The value.
    pub value: Value,
    /// When it is no longer chosen, unless it is chosen again; milliseconds since 1970.
    pub until_ms: i64,
}

impl Store {
    /// Chooses a value of a scope: the next sync brings its rows, if the user may have them, and
    /// later ones keep them up to date. It stays chosen for as long as the model says; choosing
    /// it again begins that anew. Durable when it returns.
    ///
    /// A value that the user may not have, or that nothing has, brings nothing, and nobody says
    /// which of both it is.
    ///
    /// # Errors
    /// `unknown-scope`, `type-mismatch`, or `too-many-chosen`. Nothing is changed then.
    pub fn choose(&mut self, scope: &str, value: impl Into<Value>) -> Result<(), Error> {
        let value = value.into();
        self.db.write("choose", |db| {
            let scope = known(&db.loaded()?.model, scope)?.clone();
            let value = canonical(&scope, value)?;
            let now = tidied(db)?;
            let until = end(now, &scope);
            let sql = "INSERT INTO afield_chosen (scope, value, until) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (scope, value) DO UPDATE SET until = excluded.until";
            db.conn
                .execute(sql, params![scope.name, Bound(value.as_ref()), until])?;
            let sql = "SELECT count(*) FROM afield_chosen";
            let count: i64 = db.conn.query_row(sql, [], |row| row.get(0))?;
            if usize::try_from(count).is_ok_and(|count| count <= CHOSEN_VALUES_MAX) {
                return Ok(());
            }
            let message = format!(
                "{CHOSEN_VALUES_MAX} values are chosen already, which is as many as there can be; \
                 give some up first"
            );
            Err(Error::new(Code::TOO_MANY_CHOSEN, message))
        })
    }

    /// Gives a choice up: the rows that nothing else brings leave with the next sync. False if
    /// the value was not chosen.
    ///
    /// # Errors
    /// `unknown-scope` or `type-mismatch`.
    pub fn unchoose(&mut self, scope: &str, value: impl Into<Value>) -> Result<bool, Error> {
        let value = value.into();
        self.db.write("unchoose", |db| {
            let scope = known(&db.loaded()?.model, scope)?.clone();
            let value = canonical(&scope, value)?;
            tidied(db)?;
            let sql = "DELETE FROM afield_chosen WHERE scope = ?1 AND value = ?2";
            let changed = (db.conn).execute(sql, params![scope.name, Bound(value.as_ref())])?;
            Ok(changed > 0)
        })
    }

    /// What is chosen of a scope, or of all of them.
    ///
    /// # Errors
    /// `unknown-scope`, or the store cannot be read.
    pub fn chosen(&mut self, scope: Option<&str>) -> Result<Vec<ChosenValue>, Error> {
        self.db.write("chosen", |db| {
            if let Some(scope) = scope {
                known(&db.loaded()?.model, scope)?;
            }
            tidied(db)?;
            let mut found = all(db)?;
            found.retain(|chosen| scope.is_none_or(|scope| scope == chosen.scope));
            Ok(found)
        })
    }
}

/// What a request says is chosen, of the scopes of the model.
pub(super) fn of_request(db: &mut Db) -> Result<Vec<Chosen>, Error> {
    tidied(db)?;
    let loaded = db.loaded()?;
    let mut found: Vec<Chosen> = Vec::new();
    for chosen in all(db)? {
        // The model may have another type for it meanwhile, or know it no more.
        let scope = loaded.model.chosen(&chosen.scope);
        if !scope.is_some_and(|scope| scope.kind.accepts(chosen.value.as_ref())) {
            continue;
        }
        match found.last_mut() {
            Some(last) if last.scope == chosen.scope => last.values.push(chosen.value),
            _ => found.push(Chosen {
                scope: chosen.scope,
                values: vec![chosen.value],
            }),
        }
    }
    Ok(found)
}

/// Forgets what was chosen too long ago; gives the time. A clock that was far ahead when a value
/// was chosen must not keep it for ever: nothing is kept for longer than the model says from now.
fn tidied(db: &mut Db) -> Result<i64, Error> {
    let now = db.env.now_ms();
    if zoo::planted("choice-outlives-its-end") {
        return Ok(now);
    }
    let sql = "DELETE FROM afield_chosen WHERE until <= ?1";
    db.conn.prepare_cached(sql)?.execute([now])?;
    if let Some(loaded) = &db.loaded {
        let sql = "UPDATE afield_chosen SET until = ?2 WHERE scope = ?1 AND until > ?2";
        for scope in &loaded.model.chosen {
            let last = params![scope.name, end(now, scope)];
            db.conn.prepare_cached(sql)?.execute(last)?;
        }
    }
    Ok(now)
}

fn end(now: i64, scope: &ChosenScope) -> i64 {
    now.saturating_add(i64::try_from(scope.keep_ms).unwrap_or(i64::MAX))
}

fn all(db: &Db) -> Result<Vec<ChosenValue>, Error> {
    let sql = "SELECT scope, until, value FROM afield_chosen ORDER BY scope, value";
    let mut statement = db.conn.prepare_cached(sql)?;
    let found = statement.query_map([], |row| {
        Ok(ChosenValue {
            scope: row.get(0)?,
            until_ms: row.get(1)?,
            value: values(row, 2, 1)?.pop().unwrap_or(Value::Null),
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn known<'m>(model: &'m Model, scope: &str) -> Result<&'m ChosenScope, Error> {
    model.chosen(scope).ok_or_else(|| {
        let known: Vec<&str> = model.chosen.iter().map(|it| it.name.as_str()).collect();
        let there_are = match known.as_slice() {
            [] => "it has none".to_owned(),
            known => format!("there are: {}", known.join(", ")),
        };
        let message =
            format!("the model has no scope `{scope}` from which values are chosen; {there_are}");
        Error::new(Code::UNKNOWN_SCOPE, message)
    })
}

fn canonical(scope: &ChosenScope, value: Value) -> Result<Value, Error> {
    let mistyped = |expected: &str| {
        let message = format!("a value of the scope `{}` is {expected}", scope.name);
        Error::new(Code::TYPE_MISMATCH, message)
    };
    let value = scope.kind.normalise(value);
    let value = value.map_err(|error| mistyped(error.expected))?;
    match &value {
        Value::Null => Err(mistyped(scope.kind.expected())),
        Value::Text(text) if text.len() > CHOSEN_VALUE_BYTES => Err(mistyped(&format!(
            "at most {CHOSEN_VALUE_BYTES} bytes long"
        ))),
        _ => Ok(value),
    }
}

//! One change on the team's table: is it allowed, what does the rule say, the statement, and how
//! the row ended.

use afield_protocol::conflict::{self, Decision, Now, Rule};
use afield_protocol::zoo::planted;
use afield_protocol::{
    Attribute, Attributes, Change, Code, FIRST_TEMPORARY, Key, Op, Pattern, Theirs, Value, Verdict,
};
use rusqlite::{Connection, params_from_iter};

use super::column;
use super::constraint;
use super::entity::{EntityTable, FoundRow};
use super::error::{While, storage_error};
use super::numbers;
use super::raw::Raw;
use super::rights::{self, Found, Rights};
use super::sql_text::quote;
use crate::storage::StorageError;

const READING: &str = "reading the row of a change";

const NUMBERS_USED_UP: &str = "the server's table numbers its rows beyond 2^52, where devices \
                               have their temporary identifiers";

const IGNORED: &str = "a trigger of the server's database ignored the change";

const KEPT: &str = "the server's database does not let the row count as deleted";

/// What became of a change.
pub(super) struct Done {
    pub verdict: Verdict,
    /// The row that it wrote, where somebody must look at it again at the end of its group.
    pub written: Option<rights::Written>,
    /// Whether it came to nothing because of the row before: not in its author's scope, or not
    /// one that he may write.
    pub is_missed: bool,
}

impl Done {
    /// Nothing was written.
    fn settled(verdict: Verdict) -> Self {
        Self {
            verdict,
            written: None,
            is_missed: false,
        }
    }
}

/// Decides a change and carries it out. Its identifiers are the server's, except that of a row
/// which the table is to number; `sent` is the key as it came. What it wrote stands even if the
/// verdict refuses it: the caller rolls back.
pub(super) fn change(
    rights: Rights<'_>,
    table: &EntityTable,
    change: &Change,
    sent: &Key,
) -> Result<Done, StorageError> {
    if let Some(refused) = unwritable(table, change) {
        return Ok(Done::settled(refused));
    }
    let typed = &change.set;
    let change = &*column::as_model_has_it(table, change);
    let change = &*column::as_columns_have_it(table, change);
    let found = found(rights, table, change)?;
    if let Found::Mine(row) = &found
        && let Some(refused) = rights.changing(table, change, row).while_(READING)?
    {
        return Ok(Done {
            is_missed: true,
            ..Done::settled(refused)
        });
    }
    let is_there = matches!(&found, Found::Mine(row) if !row.is_deleted);
    let is_missed = change.op != Op::Create && !is_there;
    let settled = |verdict| {
        Ok(Done {
            is_missed,
            ..Done::settled(verdict)
        })
    };
    let (row, now) = match found {
        Found::Mine(row) => {
            let attributes = table.attributes(&row);
            let is_deleted = row.is_deleted && !planted("server-soft-deleted-row-is-edited");
            let now = match is_deleted {
                true => Now::SoftDeleted(attributes),
                false => Now::Present(attributes),
            };
            (Some(row), now)
        }
        Found::Foreign => (None, Now::Foreign),
        Found::Absent => (None, Now::Absent),
    };
    match conflict::decide(rule(table), counters(table), change, &now) {
        Decision::Nothing => {
            let sent = (change.op == Op::Create).then_some(sent);
            let verdict = with_key(Verdict::applied(), table, sent, row.as_ref());
            settled(with_values(verdict, table, typed, row.as_ref()))
        }
        Decision::Conflict(code) => settled(Verdict::conflict(code, theirs(now))),
        Decision::Rejected(code) => settled(rejected(code)),
        Decision::Apply { set, overwritten } => {
            if let Some(refused) = breaks_rule(table, change.op, row.as_ref(), &set) {
                return settled(refused);
            }
            let unkept = column::unkept(rights.conn, table, change, row.as_ref(), &set);
            if let Some(refused) = unkept.while_(READING)? {
                return settled(refused);
            }
            let writing = Writing {
                rights,
                table,
                change,
                typed,
                row: row.as_ref(),
            };
            writing.carry_out(sent, &set, overwritten)
        }
    }
}

/// The row of a change as its author may see it.
fn found(rights: Rights<'_>, table: &EntityTable, change: &Change) -> Result<Found, StorageError> {
    match numbers::made_by(table, change) {
        // Whatever row has this number on the server is another one.
        Some(_) => Ok(Found::Absent),
        None => rights.find(table, change.op, &change.key).while_(READING),
    }
}

/// A change that is to take effect, and the row as it was.
struct Writing<'a> {
    rights: Rights<'a>,
    table: &'a EntityTable,
    change: &'a Change,
    /// Its values as they were sent.
    typed: &'a Attributes,
    row: Option<&'a FoundRow>,
}

impl Writing<'_> {
    fn carry_out(
        &self,
        sent: &Key,
        set: &Attributes,
        overwritten: Attributes,
    ) -> Result<Done, StorageError> {
        let Self { table, change, .. } = *self;
        let (conn, refused) = (self.rights.conn, |verdict| Ok(Done::settled(verdict)));
        let written = match (change.op, self.row) {
            (Op::Create, row) => match table.deletion.as_ref().zip(row) {
                Some((deletion, row)) => deletion.revive(conn, table, row, set),
                None => create(conn, table, change, set),
            },
            (Op::Update, Some(row)) => update(conn, table, row, set, None),
            (Op::Delete, Some(row)) => match &table.deletion {
                Some(_) if planted("server-soft-delete-removes-the-row") => {
                    delete(conn, table, row)
                }
                Some(deletion) => deletion.delete(conn, table, row, self.rights.now),
                None => delete(conn, table, row),
            },
            (Op::Update | Op::Delete, None) => Ok(Written::Row(None)),
        };
        let row = match written {
            Ok(Written::Row(row)) => row,
            Ok(Written::Nothing) => return refused(Verdict::rejected(Code::CONSTRAINT, IGNORED)),
            Ok(Written::Kept) => return refused(Verdict::rejected(Code::CONSTRAINT, KEPT)),
            Err(error) => {
                return match constraint::refusal(&error, table) {
                    Some(verdict) => refused(verdict),
                    None => Err(storage_error(&error, "writing a change")),
                };
            }
        };
        if let Some(row) = &row {
            if has_too_high_number(table, row) {
                return refused(Verdict::rejected(Code::CONSTRAINT, NUMBERS_USED_UP));
            }
            let leaving = self.rights.leaving(table, change, row);
            if let Some(verdict) = leaving.while_(READING)? {
                return refused(verdict);
            }
        }
        let sent = (change.op == Op::Create).then_some(sent);
        let verdict = with_key(Verdict::applied(), table, sent, row.as_ref());
        let verdict = with_values(verdict, table, self.typed, row.as_ref());
        Ok(Done {
            verdict: Verdict {
                overwritten,
                ..verdict
            },
            written: row.map(|row| self.written(row)),
            is_missed: false,
        })
    }

    fn written(&self, row: FoundRow) -> rights::Written {
        let tables = self.rights.tables;
        // A row that comes back is asked like one that is new.
        let before = self.row.filter(|row| !row.is_deleted);
        let references = rights::changed_references(tables, self.table, self.change, before, &row);
        rights::Written {
            raw_key: row.raw_key,
            rowid: row.rowid,
            references,
        }
    }
}

/// The verdict for a change of a group of which a part took effect through a copy of the device.
pub(super) fn known_in_part(
    rights: Rights<'_>,
    table: Option<&EntityTable>,
    change: &Change,
    sent: &Key,
) -> Result<Verdict, StorageError> {
    let conflict = |theirs| Verdict {
        message: Some("part of it was already applied from a copy of this device".into()),
        ..Verdict::conflict(Code::ABSORBED_KNOWN, theirs)
    };
    let Some(table) = table.filter(|table| unwritable(table, change).is_none()) else {
        return Ok(conflict(Theirs::Gone));
    };
    let row = match found(rights, table, change)? {
        Found::Mine(row) => Some(row).filter(|row| !row.is_deleted),
        Found::Foreign | Found::Absent => None,
    };
    let theirs = match &row {
        Some(row) => Theirs::Row(table.attributes(row)),
        None => Theirs::Gone,
    };
    let sent = (change.op == Op::Create).then_some(sent);
    Ok(with_key(conflict(theirs), table, sent, row.as_ref()))
}

/// The verdict for a change that may have been carried out before: that it was, if the row is as it
/// would be then, and else a conflict. Nothing is written.
pub(super) fn unknown_before(
    rights: Rights<'_>,
    table: Option<&EntityTable>,
    change: &Change,
    sent: &Key,
) -> Result<Verdict, StorageError> {
    let table = match table {
        Some(table) if unwritable(table, change).is_none() => table,
        _ => return Ok(rejected(Code::GONE)),
    };
    let typed = &change.set;
    let change = &*column::as_model_has_it(table, change);
    let change = &*column::as_columns_have_it(table, change);
    let row = match found(rights, table, change)? {
        Found::Mine(row) => Some(row).filter(|row| !row.is_deleted),
        Found::Foreign | Found::Absent => None,
    };
    let is_so = |row: &FoundRow| {
        let now = table.attributes(row);
        let is_set = |(name, value): (&String, &Value)| {
            // How often a difference was added, no row tells.
            !table.counters.contains(name) && now.get(name) == Some(value)
        };
        change.set.iter().all(is_set)
    };
    let verdict = match (change.op, &row) {
        (Op::Delete, None) => Verdict::applied(),
        (Op::Create | Op::Update, Some(row)) if is_so(row) => {
            with_values(Verdict::applied(), table, typed, Some(row))
        }
        (Op::Update, None) => rejected(Code::GONE),
        (_, row) => Verdict {
            message: Some("it may have been applied before; nothing remembers it".into()),
            ..Verdict::conflict(
                Code::UNKNOWN_BEFORE,
                match row {
                    Some(row) => Theirs::Row(table.attributes(row)),
                    None => Theirs::Gone,
                },
            )
        },
    };
    let sent = (change.op == Op::Create).then_some(sent);
    Ok(with_key(verdict, table, sent, row.as_ref()))
}

fn rule(table: &EntityTable) -> Rule {
    match table.entity.local.pattern {
        Pattern::DetectConflicts => Rule::Detect(table.entity.local.merge),
        _ => Rule::LastWriteWins,
    }
}

fn counters(table: &EntityTable) -> &[String] {
    if planted("server-counter-overwrites") {
        &[]
    } else {
        table.counters.as_slice()
    }
}

fn theirs(now: Now) -> Theirs {
    match now {
        Now::Present(row) | Now::SoftDeleted(row) => Theirs::Row(row),
        Now::Absent | Now::Foreign => Theirs::Gone,
    }
}

fn rejected(code: Code) -> Verdict {
    let glossary = Code::GLOSSARY
        .iter()
        .find(|(word, ..)| *word == code.as_str());
    let meaning = glossary.map_or("The server refuses it.", |(_, meaning, _)| meaning);
    Verdict::rejected(code, meaning)
}

/// The refusal of a change that no table could make right.
pub(super) fn unwritable(table: &EntityTable, change: &Change) -> Option<Verdict> {
    let local = &table.entity.local;
    let refuse = |code, attribute: Option<&str>, message: String| {
        Some(Verdict {
            attribute: attribute.map(str::to_owned),
            ..Verdict::rejected(code, message)
        })
    };
    if !local.is_written() {
        let message = format!("`{}` is read-only", local.name);
        return refuse(Code::READ_ONLY, None, message);
    }
    if local.insert_only && change.op != Op::Create {
        let message = format!("rows of `{}` are only created on a device", local.name);
        return refuse(Code::INSERT_ONLY, None, message);
    }
    if change.key.len() != local.key_width {
        let message = format!(
            "the identifier of `{}` has {} parts",
            local.name, local.key_width
        );
        return refuse(Code::IDENTIFIER_MISSING, None, message);
    }
    for (attribute, value) in local.key().iter().zip(&change.key) {
        let name = &attribute.name;
        if value.is_null() {
            let message = format!("`{name}` is part of the identifier and must have a value");
            return refuse(Code::IDENTIFIER_MISSING, Some(name), message);
        }
        if !attribute.kind.accepts(value.as_ref()) {
            let message = format!("`{name}` expects {}", attribute.kind.expected());
            return refuse(Code::TYPE_MISMATCH, Some(name), message);
        }
    }
    for (name, value) in &change.set {
        let Some(attribute) = local.attribute(name) else {
            let message = format!("`{}` has no attribute `{name}`", local.name);
            return refuse(Code::UNKNOWN_ATTRIBUTE, Some(name), message);
        };
        if local.key().iter().any(|key| key.name == *name) {
            let message = format!("`{name}` is the identifier, which cannot be changed");
            return refuse(Code::IDENTIFIER_CHANGED, Some(name), message);
        }
        if attribute.read_only {
            let message = format!("`{name}` is read-only");
            return refuse(Code::READ_ONLY, Some(name), message);
        }
        // A device with an earlier model sends what the attribute was then.
        if attribute.kind.converted(value).is_none() {
            let message = format!("`{name}` expects {}", attribute.kind.expected());
            return refuse(Code::TYPE_MISMATCH, Some(name), message);
        }
    }
    let mut fixed = local.key().iter().filter(|key| key.read_only);
    if change.op == Op::Create
        && let Some(key) = fixed.next()
    {
        let message = format!(
            "no row of `{}` is created on a device: `{}` is read-only",
            local.name, key.name
        );
        return refuse(Code::READ_ONLY, Some(&key.name), message);
    }
    if change.op == Op::Delete && !change.set.is_empty() {
        return refuse(Code::MALFORMED, None, "a delete sets nothing".into());
    }
    None
}

/// The refusal of a change that would write what a rule of the model refuses. What the row has
/// already is nobody's mistake now.
fn breaks_rule(
    table: &EntityTable,
    op: Op,
    row: Option<&FoundRow>,
    set: &Attributes,
) -> Option<Verdict> {
    let local = &table.entity.local;
    let width = local.key_width;
    let broken = |(at, attribute): (usize, &Attribute)| {
        let has = row.and_then(|row| row.values.get(at + width));
        let checked = match set.get(&attribute.name) {
            _ if attribute.read_only || planted("server-rule-unasked") => Ok(()),
            Some(value) if has == Some(value) => Ok(()),
            Some(value) => attribute.rule.check(attribute.kind, value),
            None if op == Op::Create && row.is_none() => attribute.check_left_out(),
            None => Ok(()),
        };
        let broken = checked.err()?;
        Some(Verdict {
            attribute: Some(attribute.name.clone()),
            ..Verdict::rejected(
                broken.code,
                format!("`{}` {}", attribute.name, broken.message),
            )
        })
    };
    local.values().iter().enumerate().find_map(broken)
}

/// What a statement came to.
pub(super) enum Written {
    /// It was carried out, and this is the row now, if it is still there.
    Row(Option<FoundRow>),
    /// A trigger stopped it without an error.
    Nothing,
    /// A delete behind which the row does not count as deleted.
    Kept,
}

// OR ABORT everywhere: without it, a constraint of the team that says ON CONFLICT REPLACE would
// delete somebody's row to make room for this one.

fn create(
    conn: &Connection,
    table: &EntityTable,
    change: &Change,
    set: &Attributes,
) -> rusqlite::Result<Written> {
    let mut columns = Vec::new();
    let mut cells = Vec::new();
    let given = match numbers::made_by(table, change) {
        Some(_) => &[],
        None => change.key.as_slice(),
    };
    for (at, column) in table.entity.columns.iter().enumerate() {
        let name = table.entity.local.attributes.get(at).map(|a| &a.name);
        let value = given.get(at).or_else(|| set.get(name?));
        if let Some(value) = value {
            columns.push(quote(&column.name));
            cells.push(table.form(at).write(value));
        }
    }
    let holes = vec!["?"; columns.len()].join(", ");
    let values = if columns.is_empty() {
        "DEFAULT VALUES".to_owned()
    } else {
        format!("({}) VALUES ({holes})", columns.join(", "))
    };
    let sql = format!(
        "INSERT OR ABORT INTO {} {values}",
        quote(&table.schema.name)
    );
    if conn
        .prepare_cached(&sql)?
        .execute(params_from_iter(cells))?
        == 0
    {
        return Ok(Written::Nothing);
    }
    // By rowid first: a trigger may have given the row another key.
    let rowid = table
        .schema
        .rowid
        .is_some()
        .then(|| conn.last_insert_rowid());
    match table.find_by_rowid(conn, rowid)? {
        Some(row) => Ok(Written::Row(Some(row))),
        None => Ok(Written::Row(table.find(conn, &change.key)?)),
    }
}

/// A cell to write that is no value of the change.
pub(super) struct Beside<'a> {
    pub column: &'a str,
    pub cell: Raw,
}

/// Writes the values of a change to a row, and a cell beside them.
pub(super) fn update(
    conn: &Connection,
    table: &EntityTable,
    row: &FoundRow,
    set: &Attributes,
    beside: Option<Beside<'_>>,
) -> rusqlite::Result<Written> {
    let mut cells = row.raw_key.clone();
    let mut assignments = Vec::new();
    for (at, column) in table.entity.columns.iter().enumerate() {
        let name = table.entity.local.attributes.get(at).map(|a| &a.name);
        // A cell whose canonical form does not change keeps its spelling.
        let value = name
            .and_then(|name| set.get(name))
            .filter(|v| Some(*v) != row.values.get(at));
        if let Some(value) = value {
            cells.push(table.form(at).write(value));
            assignments.push(format!("{} = ?{}", quote(&column.name), cells.len()));
        }
    }
    if let Some(Beside { column, cell }) = beside {
        cells.push(cell);
        assignments.push(format!("{} = ?{}", quote(column), cells.len()));
    }
    if assignments.is_empty() {
        return Ok(Written::Row(None));
    }
    let sql = format!(
        "UPDATE OR ABORT {} SET {} WHERE {}",
        quote(&table.schema.name),
        assignments.join(", "),
        table.key_is()
    );
    if conn
        .prepare_cached(&sql)?
        .execute(params_from_iter(cells))?
        == 0
    {
        return Ok(Written::Nothing);
    }
    match table.find_by_rowid(conn, row.rowid)? {
        Some(row) => Ok(Written::Row(Some(row))),
        None => Ok(Written::Row(table.with_stored_key(conn, &row.raw_key)?)),
    }
}

fn delete(conn: &Connection, table: &EntityTable, row: &FoundRow) -> rusqlite::Result<Written> {
    let sql = format!(
        "DELETE FROM {} WHERE {}",
        quote(&table.schema.name),
        table.key_is()
    );
    let rows = conn
        .prepare_cached(&sql)?
        .execute(params_from_iter(&row.raw_key))?;
    Ok(if rows == 0 {
        Written::Nothing
    } else {
        Written::Row(None)
    })
}

/// Whether a row has got a number that devices take for a temporary one.
fn has_too_high_number(table: &EntityTable, row: &FoundRow) -> bool {
    let number = row.values.first();
    table.is_numbered() && matches!(number, Some(Value::Integer(n)) if *n >= FIRST_TEMPORARY)
}

/// Adds the identifier that the row of a create has, where it is another than was sent.
fn with_key(
    verdict: Verdict,
    table: &EntityTable,
    sent: Option<&Key>,
    row: Option<&FoundRow>,
) -> Verdict {
    let key = row.map(|row| table.canonical_key(&row.raw_key));
    Verdict {
        key: key.filter(|key| sent.is_some_and(|sent| key != sent)),
        ..verdict
    }
}

/// Adds the values that ended other than they were sent. A counter's is never among them: what
/// was sent of it is a difference.
fn with_values(
    verdict: Verdict,
    table: &EntityTable,
    set: &Attributes,
    row: Option<&FoundRow>,
) -> Verdict {
    let Some(row) = row else {
        return verdict;
    };
    let values = set
        .iter()
        .filter(|(name, _)| !table.counters.contains(name))
        .filter_map(|(name, sent)| {
            let ended = table.value(row, name)?;
            (ended != sent).then(|| (name.clone(), ended.clone()))
        })
        .collect();
    Verdict { values, ..verdict }
}

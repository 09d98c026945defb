//! One seed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use afield::protocol::codec::cbor::write_key;
use afield::protocol::{
    Attributes, Code, Entity, GroupId, GroupOutcome, Model, Page as WirePage, PageEnd, Value,
    Verdict, VerdictKind,
};
use afield::{Environment, Error, PageApplied, Params, RequestCaps, Store, SyncStore, Transaction};
use fastrand::Rng;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tempfile::TempDir;

use super::device::{Device, Mentions, Page, RowId, Snapshot, State, same_as_sent};
use super::schema::{APP, TEMPORARY, entities};
use super::server::{Server, empty, frames};
use super::statements::statement;
use crate::world::{Seeded, USER, decode, uuid};

/// Steps of a seed before everything is drained.
const STEPS: u32 = 45;

/// Store files to start from, with and without an app's own things.
pub(super) struct Templates {
    folder: TempDir,
    model: Model,
}

impl Templates {
    pub(super) fn new() -> Self {
        let templates = Self {
            folder: tempfile::tempdir().unwrap(),
            model: entities(),
        };
        for app in [false, true] {
            let path = templates.path(app);
            let mut store = Store::open(&path, USER, env(0)).unwrap();
            store.install_first(&templates.model).unwrap();
            drop(store);
            let conn = Connection::open(&path).unwrap();
            if app {
                conn.execute_batch(APP).unwrap();
            }
            conn.pragma_update(None, "wal_checkpoint", "TRUNCATE")
                .unwrap();
        }
        templates
    }

    fn path(&self, app: bool) -> PathBuf {
        self.folder.path().join(if app { "app" } else { "plain" })
    }
}

fn env(seed: u64) -> Box<dyn Environment> {
    Box::new(Seeded {
        clock: Arc::new(AtomicI64::new(1_700_000_000_000)),
        random: Rng::with_seed(seed),
    })
}

/// Everything of one seed.
struct World<'a> {
    model: &'a Model,
    rng: Rng,
    app: bool,
    store: Store,
    syncs: [SyncStore; 2],
    plains: [Connection; 3],
    reader: Connection,
    device: Device,
    server: Server,
    flights: Vec<Flight>,
    log: Vec<String>,
    faults: bool,
}

/// A request on its way, and its answer.
struct Flight {
    request: i64,
    groups: Vec<afield::protocol::Group>,
    pull: Vec<(String, Option<u64>)>,
    answer: Option<Answer>,
}

struct Answer {
    outcomes: Option<Vec<(GroupId, Vec<Verdict>)>>,
    pages: std::collections::VecDeque<Page>,
}

/// Runs one seed; the failure says what it did.
pub(super) fn seed(templates: &Templates, seed: u64) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let app = rng.bool();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::copy(templates.path(app), &path).unwrap();
    let plain = |recursive: bool| {
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "synchronous", "OFF").unwrap();
        conn.pragma_update(None, "recursive_triggers", recursive)
            .unwrap();
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)
            .unwrap();
        conn
    };
    let temporary = plain(rng.bool());
    temporary.execute_batch(TEMPORARY).unwrap();
    let mut world = World {
        model: &templates.model,
        app,
        store: Store::open(&path, USER, env(seed + 1)).unwrap(),
        syncs: [2, 3].map(|n| SyncStore::open(&path, USER, env(seed * 7 + n)).unwrap()),
        plains: [plain(false), plain(true), temporary],
        reader: plain(false),
        device: Device::default(),
        server: Server::default(),
        flights: Vec::new(),
        log: Vec::new(),
        faults: rng.u32(..3) > 0,
        rng,
    };
    for entity in world
        .model
        .entities
        .iter()
        .filter(|entity| entity.is_synced())
    {
        world
            .device
            .standings
            .entry(entity.name.clone())
            .or_default();
        let nulls = entity
            .values()
            .iter()
            .map(|a| (a.name.clone(), Value::Null));
        world
            .device
            .blank
            .insert(entity.name.clone(), nulls.collect());
    }
    world.run().map_err(|failure| {
        let log = world.log.join("\n");
        format!("{failure}\n--- what it did:\n{log}")
    })
}

impl World<'_> {
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            match self.rng.u32(..20) {
                0..5 => self.own_transaction()?,
                5..11 => self.plain_transaction(),
                11 | 12 => self.foreign_write(),
                13 | 14 if self.flights.len() < 3 => self.request(usize::MAX)?,
                15 => self.process(),
                16..19 => self.deliver()?,
                _ => self.check()?,
            }
        }
        self.drain()
    }

    /// The visible rows of all written entities and the read-only one.
    fn snapshot(&self) -> Snapshot {
        let mut all = Snapshot::new();
        for entity in self
            .model
            .entities
            .iter()
            .filter(|entity| entity.is_synced())
        {
            let names: Vec<_> = entity
                .attributes
                .iter()
                .map(|a| format!("\"{}\"", a.name))
                .collect();
            let sql = format!("SELECT {} FROM \"{}\"", names.join(", "), entity.name);
            let mut statement = self.reader.prepare_cached(&sql).unwrap();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let cells: Vec<Value> = (0..names.len()).map(|at| cell(row, at)).collect();
                let (id, content) = take_apart(entity, &cells);
                all.insert(id, content);
            }
        }
        all
    }

    fn own_transaction(&mut self) -> Result<(), String> {
        let before = self.snapshot();
        let (app, steps) = (self.app, self.rng.u32(1..5));
        let (careless, fails) = (self.rng.bool(), self.rng.u32(..8) == 0);
        let (rng, log) = (&mut self.rng, &mut self.log);
        log.push("own transaction".into());
        let done = self.store.transaction(|tx| {
            let mut mentions = Mentions::new();
            let mut open = 0;
            for _ in 0..steps {
                let result = match rng.u32(..4) {
                    0 => action(tx, rng, log, &mut mentions),
                    1 => savepoint(rng, &mut open, |sql| {
                        log.push(format!("  {sql}"));
                        tx.execute(sql, &Params::none()).map(|_| ())
                    }),
                    _ => {
                        let sql = statement(rng, app);
                        log.push(format!("  {sql}"));
                        tx.execute(&sql, &Params::none()).map(|_| ())
                    }
                };
                if let Err(error) = result {
                    log.push(format!("    {error}"));
                    if !careless {
                        return Err(error);
                    }
                }
            }
            match fails {
                true => Err(Error::new(Code::SQL, "changed its mind")),
                false => Ok(mentions),
            }
        });
        match done {
            Ok(mentions) => {
                self.device.seal(&before, &Mentions::new());
                let after = self.snapshot();
                self.device.seal(&after, &mentions);
                self.visible()
            }
            Err(error) => {
                self.log.push(format!("  failed: {error}"));
                let same = self.snapshot() == before;
                same.then_some(())
                    .ok_or_else(|| "a failed transaction left something".into())
            }
        }
    }

    fn plain_transaction(&mut self) {
        let which = self.rng.usize(..self.plains.len());
        let conn = &self.plains[which];
        let (rng, log, app) = (&mut self.rng, &mut self.log, self.app);
        log.push(format!("plain transaction {which}"));
        let mut run = |sql: &str| {
            let result = conn.execute_batch(sql);
            let note = result.as_ref().err().map(|error| format!(": {error}"));
            log.push(format!("  {sql}{}", note.unwrap_or_default()));
            result
        };
        if rng.u32(..3) == 0 {
            let _ = run(&statement(rng, app));
            return;
        }
        run("BEGIN").unwrap();
        let mut open = 0;
        for _ in 0..rng.u32(1..6) {
            // An app that goes on after errors: SQLite says what each of them undid.
            let _ = match rng.u32(..4) {
                0 => savepoint(rng, &mut open, |sql| run(sql).map_err(Error::from)),
                _ => run(&statement(rng, app)).map_err(Error::from),
            };
        }
        let end = if rng.u32(..6) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        if !conn.is_autocommit() {
            run(end).unwrap();
        }
    }

    fn foreign_write(&mut self) {
        let written = self
            .model
            .entities
            .iter()
            .filter(|entity| entity.is_synced());
        let written: Vec<&Entity> = written.collect();
        let entity = written[self.rng.usize(..written.len())];
        let n = self.rng.i64(1..4);
        let key = match entity.name.as_str() {
            "note" | "fixed" => vec![Value::Text(format!("n{n}"))],
            "visit" => vec![Value::Integer(n)],
            "cell" => vec![Value::Integer(n), Value::from("a")],
            "item" => vec![Value::Text(uuid(n.unsigned_abs()))],
            _ => vec![Value::Text(format!("w{n}"))],
        };
        let mut content = empty(self.model, &entity.name);
        if let Some(name) = entity
            .values()
            .last()
            .map(|attribute| attribute.name.clone())
        {
            let kind = entity
                .attribute(&name)
                .map(|attribute| attribute.kind.sqlite());
            let value = match kind {
                Some("INTEGER") => Value::Integer(self.rng.i64(10..13)),
                Some("REAL") => Value::Real(self.rng.f64()),
                _ => Value::Text(format!("s{}", self.rng.u32(..3))),
            };
            content.insert(name, value);
        }
        let row = (entity.name.clone(), write_key(&key));
        let content = (self.rng.u32(..4) > 0).then_some(content);
        self.log
            .push(format!("foreign write {} {key:?} {content:?}", row.0));
        self.server.put(row, content);
    }

    fn request(&mut self, groups_max: usize) -> Result<(), String> {
        let now = self.snapshot();
        let sync = &mut self.syncs[self.rng.usize(..2)];
        let groups = if self.rng.bool() {
            groups_max
        } else {
            self.rng.usize(1..4).min(groups_max)
        };
        let caps = RequestCaps {
            groups,
            ..RequestCaps::default()
        };
        let unit = (self.rng.u32(..6) > 0).then_some("main");
        let outgoing = sync
            .next_request(unit, true, caps)
            .map_err(|e| e.to_string())?;
        self.device.seal(&now, &Mentions::new());
        self.device.newest_request += 1;
        let sent: Vec<_> = outgoing.groups.iter().map(|group| group.id).collect();
        self.log
            .push(format!("request {} with {sent:?}", outgoing.request));
        if outgoing.request != self.device.newest_request {
            return Err(format!("request {}", outgoing.request));
        }
        self.check()?;
        self.check_choice(&sent, groups)?;
        let mut decoded = Vec::new();
        for frozen in &outgoing.groups {
            let group = decode(self.model, &frozen.bytes);
            let expected = self
                .device
                .groups
                .iter()
                .find(|known| known.id == Some(frozen.id));
            let expected = expected.ok_or("a group that the outbox does not have")?;
            same_as_sent(expected, &group)?;
            self.device.sent(frozen.id, &frozen.bytes)?;
            decoded.push(group);
        }
        let mut pull = Vec::new();
        for (entity, position) in outgoing.pull {
            let position = position.map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
            if position != self.device.standings[&entity].newest() {
                return Err(format!("{entity} is pulled from {position:?}"));
            }
            pull.push((entity, position));
        }
        self.flights.push(Flight {
            request: outgoing.request,
            groups: decoded,
            pull,
            answer: None,
        });
        self.visible()
    }

    /// Groups go in order and none is left out, unless something is parked that holds it.
    fn check_choice(&self, sent: &[GroupId], caps: usize) -> Result<(), String> {
        let mut waiting = self.device.sendable().filter_map(|group| group.id);
        let exact: Vec<GroupId> = self
            .device
            .sendable()
            .filter_map(|g| g.id)
            .take(caps)
            .collect();
        let in_order = sent.iter().all(|id| waiting.any(|waiting| waiting == *id));
        if !in_order || !self.device.any_parked() && sent != exact {
            return Err(format!("sent {sent:?}, expected {exact:?}"));
        }
        Ok(())
    }

    /// The server takes one request: first its groups, then a snapshot for its rows.
    fn process(&mut self) {
        let waiting = self
            .flights
            .iter_mut()
            .filter(|flight| flight.answer.is_none());
        let mut waiting: Vec<_> = waiting.collect();
        if waiting.is_empty() {
            return;
        }
        let at = self.rng.usize(..waiting.len());
        let flight = &mut *waiting[at];
        self.log
            .push(format!("server takes request {}", flight.request));
        let mut quiet = Rng::with_seed(0);
        let mut outcomes = Vec::new();
        for group in &flight.groups {
            // Without faults the server refuses nothing of its own accord.
            let rng = if self.faults {
                &mut self.rng
            } else {
                &mut quiet
            };
            outcomes.push((group.id, self.server.push(self.model, group, rng)));
        }
        let pages = match flight.pull.is_empty() {
            true => Vec::new(),
            false => self
                .server
                .pages(flight.request, &flight.pull, &mut self.rng),
        };
        flight.answer = Some(Answer {
            outcomes: Some(outcomes),
            pages: pages.into(),
        });
    }

    /// One part of one answer arrives, or the connection dies.
    fn deliver(&mut self) -> Result<(), String> {
        let answered = |flight: &Flight| flight.answer.is_some();
        let ready: Vec<_> = (0..self.flights.len())
            .filter(|at| answered(&self.flights[*at]))
            .collect();
        let Some(at) = (!ready.is_empty()).then(|| ready[self.rng.usize(..ready.len())]) else {
            return Ok(());
        };
        if self.rng.u32(..10) == 0 {
            let flight = self.flights.remove(at);
            self.log
                .push(format!("the answer to {} is lost", flight.request));
            return Ok(());
        }
        self.deliver_part(at)
    }

    fn deliver_part(&mut self, at: usize) -> Result<(), String> {
        let request = self.flights[at].request;
        let Some(answer) = &mut self.flights[at].answer else {
            return Ok(());
        };
        if let Some(outcomes) = answer.outcomes.take() {
            return self.outcomes(request, &outcomes);
        }
        match answer.pages.pop_front() {
            Some(page) => self.page(&page),
            None => {
                self.flights.remove(at);
                Ok(())
            }
        }
    }

    fn outcomes(
        &mut self,
        request: i64,
        outcomes: &[(GroupId, Vec<Verdict>)],
    ) -> Result<(), String> {
        let now = self.snapshot();
        let wire: Vec<_> = outcomes
            .iter()
            .map(|(group, verdicts)| GroupOutcome {
                group: *group,
                verdicts: verdicts.clone(),
            })
            .collect();
        let sync = &mut self.syncs[self.rng.usize(..2)];
        sync.store_outcomes(request, &wire)
            .map_err(|e| e.to_string())?;
        self.device.seal(&now, &Mentions::new());
        let stored: Vec<_> = outcomes
            .iter()
            .map(|(id, v)| (id, v.iter().map(|v| v.kind)))
            .collect();
        let stored: Vec<_> = stored
            .into_iter()
            .map(|(id, v)| (id, v.collect::<Vec<_>>()))
            .collect();
        self.log.push(format!("outcomes of {request}: {stored:?}"));
        for (group, verdicts) in outcomes {
            let told = verdicts.iter().map(|verdict| {
                let is_gone =
                    verdict.kind == VerdictKind::Rejected && verdict.code == Some(Code::GONE);
                (verdict.kind, is_gone, verdict.values.clone())
            });
            self.device
                .outcome(request, *group, &told.collect::<Vec<_>>());
        }
        self.visible()
    }

    fn page(&mut self, page: &Page) -> Result<(), String> {
        let now = self.snapshot();
        let bytes = |at: u64| at.to_be_bytes().to_vec();
        let wire = WirePage {
            from: page
                .entities
                .iter()
                .map(|(e, from, _)| (e.clone(), from.map(bytes)))
                .collect(),
            reset: page.reset.clone(),
        };
        let end = PageEnd {
            to: page
                .entities
                .iter()
                .map(|(e, _, to)| (e.clone(), bytes(*to)))
                .collect(),
            complete: page.complete,
            remaining: None,
        };
        let content = frames(self.model, page);
        let sync = &mut self.syncs[self.rng.usize(..2)];
        let done = sync
            .apply_page(page.request, &wire, &content, &end)
            .map_err(|e| e.to_string())?;
        self.device.seal(&now, &Mentions::new());
        let (request, complete) = (page.request, page.complete);
        let reset = &page.reset;
        self.log.push(format!(
            "page of {request}, complete {complete}, reset {reset:?}: {done:?}"
        ));
        let standing = |entity: &String| self.device.standings[entity].newest();
        let fits = page
            .entities
            .iter()
            .all(|(entity, from, _)| standing(entity) == *from);
        if fits == (done == PageApplied::Overtaken) {
            return Err(format!("the page fits: {fits}"));
        }
        if fits {
            self.device.page(page);
        }
        self.visible()
    }

    /// The visible rows are what the rules say.
    fn visible(&self) -> Result<(), String> {
        let (actual, expected) = (self.snapshot(), self.device.visible());
        match actual == expected {
            true => Ok(()),
            false => {
                let groups = &self.device.groups;
                let rows = difference(&actual, &expected);
                Err(format!("visible {rows}\nthe outbox should be {groups:#?}"))
            }
        }
    }

    /// The outbox and the history are what the rules say. Asking is a moment of the engine.
    fn check(&mut self) -> Result<(), String> {
        let now = self.snapshot();
        let changes = self.store.changes().map_err(|e| e.to_string())?;
        self.device.seal(&now, &Mentions::new());
        self.log.push("check".into());
        self.device.check(&changes)?;
        self.visible()
    }

    /// After the last fault everything flows: then device and server hold the same.
    fn drain(&mut self) -> Result<(), String> {
        self.faults = false;
        self.flights.clear();
        for _ in 0..200 {
            self.request(usize::MAX)?;
            let idle = self.flights[0].groups.is_empty() && !self.flights[0].pull.is_empty();
            self.process();
            while !self.flights.is_empty() {
                self.deliver_part(0)?;
            }
            let seen = !idle || self.device.pulled != self.server.rows;
            if !seen {
                break;
            }
        }
        self.check()?;
        if self.device.pulled != self.server.rows {
            return Err("the pulls do not end with the server's rows".into());
        }
        let waits = |state| matches!(state, State::Pending | State::Sent);
        if !self.device.any_parked() {
            let left = self
                .device
                .groups
                .iter()
                .filter(|group| waits(group.state))
                .count();
            let (visible, server) = (self.snapshot(), &self.server.rows);
            if left > 0 || visible != *server {
                return Err(format!("{left} left; {}", difference(&visible, server)));
            }
        }
        Ok(())
    }
}

/// An entity action with values that meet the statements'.
fn action(
    tx: &mut Transaction<'_>,
    rng: &mut Rng,
    log: &mut Vec<String>,
    mentions: &mut Mentions,
) -> Result<(), Error> {
    let (entity, key): (_, Vec<(&str, Value)>) = match rng.u32(..4) {
        0 => (
            "note",
            vec![("id", Value::Text(format!("n{}", rng.u32(1..5))))],
        ),
        1 => ("visit", vec![("n", Value::Integer(rng.i64(1..5)))]),
        2 => {
            let col = if rng.bool() { "a" } else { "b" };
            (
                "cell",
                vec![("row", Value::Integer(rng.i64(1..3))), ("col", col.into())],
            )
        }
        _ => ("item", vec![("id", Value::Text(uuid(rng.u64(1..4))))]),
    };
    let others: &[&str] = match entity {
        "note" => &["a", "b"],
        "visit" => &["title", "done"],
        "cell" => &["v", "w"],
        _ => &["name", "qty"],
    };
    let mut set = Attributes::new();
    for name in others {
        if rng.bool() {
            continue;
        }
        let value = match (*name, rng.u32(..3)) {
            (_, 0) => Value::Null,
            ("b" | "done" | "w" | "qty", n) => Value::Integer(i64::from(n) - 1),
            (_, n) => Value::Text(format!("t{n}")),
        };
        set.insert((*name).to_owned(), value);
    }
    let values: Vec<Value> = key.iter().map(|(_, value)| value.clone()).collect();
    let mut row = set.clone();
    row.extend(
        key.into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    let kind = rng.u32(..4);
    log.push(format!("  action {kind} {entity} {row:?}"));
    let is_new = tx.get(entity, &values)?.is_none();
    match kind {
        0 => tx.create(entity, &row).map(|_| ())?,
        1 => tx.create_or_update(entity, &row).map(|_| ())?,
        2 => return tx.update(entity, &values, &set),
        _ => return tx.delete(entity, &values),
    }
    if is_new {
        let row: RowId = (entity.to_owned(), write_key(&values));
        let nulls = set.iter().filter(|(_, value)| value.is_null());
        mentions.extend(nulls.map(|(name, _)| (row.clone(), name.clone())));
    }
    Ok(())
}

fn savepoint(
    rng: &mut Rng,
    open: &mut u32,
    mut run: impl FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    if *open == 0 || rng.u32(..3) == 0 {
        *open += 1;
        return run(&format!("SAVEPOINT s{open}"));
    }
    match rng.bool() {
        true => run(&format!("ROLLBACK TO s{open}")),
        false => {
            let released = run(&format!("RELEASE s{open}"));
            *open -= 1;
            released
        }
    }
}

fn cell(row: &rusqlite::Row<'_>, at: usize) -> Value {
    use rusqlite::types::Value as Sql;
    match row.get::<_, Sql>(at).unwrap() {
        Sql::Null => Value::Null,
        Sql::Integer(n) => Value::Integer(n),
        Sql::Real(x) => Value::Real(x),
        Sql::Text(text) => Value::Text(text),
        Sql::Blob(bytes) => Value::Bytes(bytes),
    }
}

fn take_apart(entity: &Entity, cells: &[Value]) -> (RowId, Attributes) {
    let (key, values) = cells.split_at(entity.key_width);
    let names = entity
        .values()
        .iter()
        .map(|attribute| attribute.name.clone());
    let content = names.zip(values.iter().cloned()).collect();
    ((entity.name.clone(), write_key(key)), content)
}

fn difference(actual: &Snapshot, expected: &Snapshot) -> String {
    let rows: std::collections::BTreeSet<_> = actual.keys().chain(expected.keys()).collect();
    let different = rows
        .into_iter()
        .filter(|row| actual.get(row) != expected.get(row));
    let lines = different.map(|row| {
        format!(
            "{row:?}: {:?}, expected {:?}",
            actual.get(row),
            expected.get(row)
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

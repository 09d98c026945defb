//! What the store tests share: a store in a folder of its own with a clock and randomness from a
//! seed, a model with an entity of every kind, and a server that is a few frames built by hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use afield::protocol::codec::{Format, FrameReader};
use afield::protocol::{
    Attribute, Attributes, Entity, Frame, Group, GroupId, GroupOutcome, Identifier, Literal, Model,
    Page, PageEnd, Pattern, Position, Reference, RowBlockWriter, Type, Unit, Value, Verdict,
};
use afield::{
    Environment, Error, FrozenGroup, Outgoing, PageApplied, Params, RequestCaps, Store, SyncStore,
};
use rusqlite::Connection;
use tempfile::TempDir;

pub(crate) const USER: &str = "ann";

/// A clock that tests move, and randomness from a seed.
pub(crate) struct Seeded {
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) random: fastrand::Rng,
}

impl Environment for Seeded {
    fn now_ms(&mut self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }
}

/// One store file with everything that opens it.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) model: Model,
    seeds: AtomicU64,
}

impl World {
    /// A store with the sample model.
    pub(crate) fn new() -> Self {
        Self::with(sample())
    }

    /// A store with this model.
    pub(crate) fn with(model: Model) -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(AtomicI64::new(1_700_000_000_000)),
            model,
            seeds: AtomicU64::new(1),
        };
        world.store().install_first(&world.model).unwrap();
        world
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("ann.afield")
    }

    pub(crate) fn env(&self) -> Box<dyn Environment> {
        let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
        Box::new(Seeded {
            clock: self.clock.clone(),
            random: fastrand::Rng::with_seed(seed),
        })
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.path(), USER, self.env()).unwrap()
    }

    pub(crate) fn sync(&self) -> SyncStore {
        SyncStore::open(&self.path(), USER, self.env()).unwrap()
    }

    /// A connection of another program: plain SQLite, nothing of ours.
    pub(crate) fn plain(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.pragma_update(None, "synchronous", "OFF").unwrap();
        conn
    }

    pub(crate) fn pass_ms(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// Rows of an entity as the server sends them.
    pub(crate) fn rows(&self, entity: &str, rows: &[&[Value]]) -> Frame {
        let columns = self.model.entity(entity).unwrap().columns();
        let mut block = RowBlockWriter::new(entity, &columns);
        for row in rows {
            block.push(row.iter().map(Value::as_ref));
        }
        Frame::Rows(block.take())
    }

    /// The groups of a request, decoded.
    pub(crate) fn groups(&self, outgoing: &Outgoing) -> Vec<Group> {
        let groups = outgoing.groups.iter();
        groups.map(|group| self.group(group)).collect()
    }

    pub(crate) fn group(&self, frozen: &FrozenGroup) -> Group {
        decode(&self.model, &frozen.bytes)
    }
}

/// Reads the group out of its frame.
pub(crate) fn decode(model: &Model, bytes: &[u8]) -> Group {
    let mut reader = FrameReader::new(Format::Cbor);
    reader.push(bytes);
    match reader.next(model).unwrap() {
        Some(Frame::Group(group)) => group,
        other => panic!("not a group: {other:?}"),
    }
}

/// A request for everything.
pub(crate) fn request(sync: &mut SyncStore) -> Outgoing {
    sync.next_request(Some("main"), true, RequestCaps::default())
        .unwrap()
}

/// Applies one page that continues from the request's positions and ends at `token`.
pub(crate) fn answer(
    sync: &mut SyncStore,
    to: &Outgoing,
    content: &[Frame],
    token: &str,
    complete: bool,
) -> PageApplied {
    page(sync, to.request, &to.pull, content, token, complete, &[]).unwrap()
}

/// The positions after a page that ended at `token`.
pub(crate) fn at(
    pull: &[(String, Option<Position>)],
    token: &str,
) -> Vec<(String, Option<Position>)> {
    let token = token.as_bytes();
    pull.iter()
        .map(|(entity, _)| (entity.clone(), Some(token.to_vec())))
        .collect()
}

/// Applies one page.
pub(crate) fn page(
    sync: &mut SyncStore,
    request: i64,
    from: &[(String, Option<Position>)],
    content: &[Frame],
    token: &str,
    complete: bool,
    reset: &[&str],
) -> Result<PageApplied, Error> {
    let page = Page {
        from: from.to_vec(),
        reset: reset.iter().map(|name| (*name).to_owned()).collect(),
    };
    let end = PageEnd {
        to: from
            .iter()
            .map(|(entity, _)| (entity.clone(), token.as_bytes().to_vec()))
            .collect(),
        complete,
        remaining: None,
    };
    sync.apply_page(request, &page, content, &end)
}

/// Brings the store to `content` in one complete page.
pub(crate) fn pull(sync: &mut SyncStore, content: &[Frame], token: &str) {
    let request = sync
        .next_request(Some("main"), false, RequestCaps::default())
        .unwrap();
    let applied = answer(sync, &request, content, token, true);
    assert!(
        matches!(applied, PageApplied::Applied { .. }),
        "{applied:?}"
    );
}

/// Stores the same verdict for every change of these groups.
pub(crate) fn settle(sync: &mut SyncStore, outgoing: &Outgoing, verdict: &Verdict) {
    let outcomes: Vec<_> = outgoing
        .groups
        .iter()
        .map(|group| outcome(group.id, vec![verdict.clone(); group.changes]))
        .collect();
    sync.store_outcomes(outgoing.request, &outcomes).unwrap();
}

pub(crate) fn outcome(group: GroupId, verdicts: Vec<Verdict>) -> GroupOutcome {
    GroupOutcome { group, verdicts }
}

/// Rows of a query on our own connection.
pub(crate) fn query(store: &Store, sql: &str) -> Vec<Vec<Value>> {
    store.query(sql, &Params::none()).unwrap().rows
}

/// Runs SQL in one transaction of our own connection.
pub(crate) fn execute(store: &mut Store, sql: &str) -> Result<(), Error> {
    store.transaction(|tx| tx.execute(sql, &Params::none()).map(|_| ()))
}

pub(crate) fn attributes<const N: usize>(pairs: [(&str, Value); N]) -> Attributes {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

pub(crate) fn text(text: &str) -> Value {
    Value::from(text)
}

pub(crate) fn int(n: i64) -> Value {
    Value::Integer(n)
}

/// The n-th UUID of a test.
pub(crate) fn uuid(n: u64) -> String {
    format!("00000000-0000-7000-8000-{n:012x}")
}

pub(crate) fn id(n: u64) -> Value {
    Value::Text(uuid(n))
}

/// An entity whose first `key_width` attributes are its identifier.
pub(crate) fn entity(
    name: &str,
    pattern: Pattern,
    identifier: Identifier,
    key_width: usize,
    attributes: &[(&str, Type)],
) -> Entity {
    let attributes = attributes.iter().map(|(n, k)| Attribute::new(*n, *k));
    Entity::new(name, pattern, identifier, key_width, attributes.collect())
}

pub(crate) fn refer(entity: &mut Entity, attributes: &[&str], to: &str) {
    entity.references.push(Reference {
        attributes: attributes.iter().map(|name| (*name).into()).collect(),
        entity: to.into(),
    });
}

/// One unit with these entities.
pub(crate) fn model(entities: Vec<Entity>) -> Model {
    let model = Model {
        version: 1,
        units: vec![Unit {
            name: "main".into(),
            entities: entities.iter().map(|e| e.name.clone()).collect(),
        }],
        entities,
        chosen: Vec::new(),
        limits: Default::default(),
        sync: Default::default(),
    };
    model.check().unwrap();
    model
}

/// An entity of every pattern and kind of identifier.
pub(crate) fn sample() -> Model {
    use Identifier::{Natural, Uuid};
    use Pattern::{LastWriteWins, LocalOnly, ReadOnly, ReadOnlyOptimized};
    let company = [("id", Type::Integer), ("name", Type::Text)];
    let company = entity("company", ReadOnlyOptimized, Natural, 1, &company);
    let code = [("code", Type::Text), ("label", Type::Text)];
    let code = entity("code", ReadOnly, Natural, 1, &code);
    let mut contact = entity(
        "contact",
        LastWriteWins,
        Uuid,
        1,
        &[
            ("id", Type::Uuid),
            ("company_id", Type::Integer),
            ("name", Type::Text),
            ("phone", Type::Text),
            ("vip", Type::Boolean),
            ("rank", Type::Text),
        ],
    );
    contact.attributes[4].default = Some(Literal::Integer(0));
    contact.attributes[5].read_only = true;
    contact
        .indexes
        .push(vec!["company_id".into(), "name".into()]);
    refer(&mut contact, &["company_id"], "company");
    let visit = [
        ("id", Type::Uuid),
        ("contact_id", Type::Uuid),
        ("title", Type::Text),
        ("score", Type::Integer),
    ];
    let mut visit = entity("visit", LastWriteWins, Uuid, 1, &visit);
    refer(&mut visit, &["contact_id"], "contact");
    let stock = [
        ("place", Type::Text),
        ("part", Type::Integer),
        ("amount", Type::Integer),
        ("note", Type::Text),
    ];
    let stock = entity("stock", LastWriteWins, Natural, 2, &stock);
    let label = entity("label", LastWriteWins, Natural, 1, &[("word", Type::Text)]);
    let draft = [("id", Type::Uuid), ("title", Type::Text)];
    let draft = entity("draft", LocalOnly, Uuid, 1, &draft);
    // Deliberately not in the order of the references.
    model(vec![visit, contact, company, code, stock, label, draft])
}

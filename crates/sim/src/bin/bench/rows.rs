//! The rows of the benches: ten attributes, about 300 bytes, a UUID as identifier.

use afield::protocol::codec::Format;
use afield::protocol::{Frame, Model, RowBlockWriter, Type, ValueRef};
use rusqlite::{Connection, params};

/// The table as a team would have it.
pub(crate) const TABLE: &str = "CREATE TABLE visit (
  id UUID NOT NULL PRIMARY KEY, site TEXT, street TEXT, city TEXT, planned DATE,
  minutes INTEGER, score REAL, done BOOLEAN, phone TEXT, notes TEXT)";

/// Its index, which devices have too.
pub(crate) const INDEX: &str = "CREATE INDEX visit_planned ON visit (planned)";

const WORDS: [&str; 16] = [
    "yard", "gate", "pump", "valve", "north", "meter", "ladder", "cellar", "roof", "sensor",
    "cable", "boiler", "filter", "sample", "report", "bridge",
];

/// One row.
pub(crate) struct Visit {
    id: String,
    site: String,
    street: String,
    city: &'static str,
    planned: String,
    minutes: i64,
    score: f64,
    done: bool,
    phone: String,
    notes: String,
}

impl Visit {
    /// Its identifier.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its day.
    pub(crate) fn planned(&self) -> &str {
        &self.planned
    }

    /// The row as a line of PostgreSQL's COPY.
    pub(crate) fn copied(&self) -> String {
        let cells = self.values().map(|value| value.to_value().to_string());
        let mut cells: Vec<String> = cells.into();
        cells[7] = self.done.to_string();
        cells.join("\t") + "\n"
    }

    fn values(&self) -> [ValueRef<'_>; 10] {
        [
            ValueRef::Text(&self.id),
            ValueRef::Text(&self.site),
            ValueRef::Text(&self.street),
            ValueRef::Text(self.city),
            ValueRef::Text(&self.planned),
            ValueRef::Integer(self.minutes),
            ValueRef::Real(self.score),
            ValueRef::Integer(self.done.into()),
            ValueRef::Text(&self.phone),
            ValueRef::Text(&self.notes),
        ]
    }
}

/// The rows in the order of their identifiers, as one body of the protocol.
pub(crate) fn body(visits: &[Visit]) -> Vec<u8> {
    let columns = [
        ("id", Type::Uuid),
        ("site", Type::Text),
        ("street", Type::Text),
        ("city", Type::Text),
        ("planned", Type::Date),
        ("minutes", Type::Integer),
        ("score", Type::Real),
        ("done", Type::Boolean),
        ("phone", Type::Text),
        ("notes", Type::Text),
    ];
    let columns = columns.map(|(name, kind)| (name.to_owned(), kind));
    let mut sorted: Vec<&Visit> = visits.iter().collect();
    sorted.sort_by_key(|visit| &visit.id);
    let mut writer = RowBlockWriter::new("visit", &columns);
    sorted.iter().for_each(|visit| writer.push(visit.values()));
    let model = Model {
        version: 1,
        units: Vec::new(),
        entities: Vec::new(),
        chosen: Vec::new(),
        limits: Default::default(),
        sync: Default::default(),
    };
    let mut body = Vec::new();
    Format::Cbor.write(&model, &Frame::Rows(writer.take()), &mut body);
    body
}

/// The same rows every time, in random order of their identifiers.
pub(crate) fn visits(count: usize) -> Vec<Visit> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..count).map(|_| visit(&mut random)).collect()
}

fn visit(random: &mut fastrand::Rng) -> Visit {
    let mut words = |count: usize| {
        let words: Vec<_> = (0..count)
            .map(|_| WORDS[random.usize(..WORDS.len())])
            .collect();
        words.join(" ")
    };
    let (site, street, notes) = (words(3), words(2), words(26));
    let hex = format!("{:032x}", random.u128(..));
    let (a, b, c, d) = (&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20]);
    Visit {
        id: format!("{a}-{b}-4{c}-8{d}-{}", &hex[20..]),
        site,
        street: format!("{street} {}", random.u32(1..200)),
        city: WORDS[random.usize(..WORDS.len())],
        planned: format!("2026-{:02}-{:02}", random.u32(1..13), random.u32(1..29)),
        minutes: random.i64(5..240),
        score: random.f64() * 100.0,
        done: random.bool(),
        phone: format!("0{} {:07}", random.u32(20..90), random.u32(0..9_999_999)),
        notes,
    }
}

/// Inserts the rows with one prepared statement in one transaction: what L measures.
pub(crate) fn insert(db: &mut Connection, visits: &[Visit]) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    let sql = "INSERT INTO visit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let mut statement = transaction.prepare(sql)?;
    for v in visits {
        statement.execute(params![
            v.id, v.site, v.street, v.city, v.planned, v.minutes, v.score, v.done, v.phone, v.notes
        ])?;
    }
    drop(statement);
    transaction.commit()
}

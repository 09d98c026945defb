//! Lookups of rows that count as deleted, and of rows out of their window.

use std::path::Path;

use afield_protocol::{Frame, Position, Value};
use afield_server::model::file::Overrides;
use afield_server::model::{ModelFile, resolve};
use afield_server::storage::conformance::Database;
use afield_server::storage::{Caller, PullRequest};

use crate::model_catalog::database;
use crate::sqlite_database::SqliteDatabase;

const SCHEMA: &str = "
CREATE TABLE company (id INTEGER PRIMARY KEY, name TEXT, is_active BOOLEAN NOT NULL DEFAULT 1);
CREATE TABLE visit (id INTEGER PRIMARY KEY, owner TEXT, company_id INTEGER REFERENCES company (id),
  starts DATETIME, is_off BOOLEAN NOT NULL DEFAULT 0);
CREATE INDEX visit_company ON visit (company_id);
CREATE INDEX visit_owner ON visit (owner);
CREATE INDEX visit_starts ON visit (starts);
INSERT INTO company VALUES (1, 'Able', 1), (2, 'Baker', 0);
INSERT INTO visit VALUES (1, 'ada', 1, '2027-01-15 08:00:00', 0),
  (2, 'ada', 1, '2027-01-15 08:00:00', 1), (3, 'ada', 2, '2027-01-15 08:00:00', 0),
  (4, 'ada', 1, '2027-01-15 09:00:00', 0);";

/// When the cases begin: 2027-01-15T08:00:00Z.
const START: i64 = 1_800_000_000;

fn made(scope: &str) -> SqliteDatabase {
    let text = format!(
        "[server]\ndatabase = \"sqlite:x.db\"\n[local.company]\nfrom = \"company\"\n\
         pattern = \"last-write-wins\"\nattributes = [\"name\"]\nscope = \"everyone\"\n\
         delete = \"is_active = false\"\n[local.visit]\nfrom = \"visit\"\n\
         pattern = \"last-write-wins\"\nattributes = [\"owner\", \"company_id\", \"starts\"]\n\
         scope = \"{scope}\"\ndelete = \"is_off = true\"\nkeep = \"starts < now + 10 s\"\n\
         [local.visit.lookup]\ncompany = \"company_id.name\"\n"
    );
    let (_connection, catalog) = database(SCHEMA);
    let path = Path::new("afield.toml");
    let file = ModelFile::parse(&text, path, &Overrides::default()).unwrap();
    SqliteDatabase::with(SCHEMA, resolve(&file, &catalog).unwrap())
}

/// The visits that one page brings, as identifier and company, and its position.
fn page(
    db: &SqliteDatabase,
    from: Option<Position>,
    seconds: i64,
) -> (Vec<(Value, Value)>, Option<Position>) {
    let request = PullRequest {
        caller: Caller::user("ada"),
        held: Vec::new(),
        now: START + seconds,
        chosen: Vec::new(),
        entities: vec![("visit".into(), from)],
        rows_max: 100,
        bytes_max: usize::MAX,
        compare: Default::default(),
    };
    let page = db.storage().pull(db.model(), &request).unwrap();
    assert!(page.end.complete);
    let mut rows = Vec::new();
    for frame in &page.frames {
        if let Frame::Rows(block) = frame {
            let read = block.for_each(|cells| {
                let cell = |at: usize| afield_protocol::Cell::as_ref(&cells[at]).to_value();
                rows.push((cell(0), cell(4)));
                Ok::<(), afield_protocol::codec::Malformed>(())
            });
            read.unwrap();
        }
    }
    (rows, Some(page.end.to[0].1.clone()))
}

/// The deciding column is on no device, between the attributes and what other rows have; a source
/// that counts as deleted is shown, and one that is renamed brings only rows that devices have.
#[test]
fn p5_lookups_show_deleted_sources_and_bring_back_no_deleted_row() {
    let visit = |id: i64, company: &str| (Value::from(id), Value::from(company));
    for scope in ["everyone", "owner = :user"] {
        let db = made(scope);
        let (rows, at) = page(&db, None, 0);
        assert_eq!(rows, [visit(1, "Able"), visit(3, "Baker")], "{scope}");
        db.execute("UPDATE company SET name = name || '!'");
        let (rows, at) = page(&db, at, 0);
        assert_eq!(rows, [visit(1, "Able!"), visit(3, "Baker!")], "{scope}");
        // One comes in by time while its source is renamed.
        db.execute("UPDATE company SET name = 'Able?' WHERE id = 1");
        let (mut rows, at) = page(&db, at, 3_600);
        rows.dedup();
        rows.sort_by_key(|row| format!("{row:?}"));
        rows.dedup();
        assert_eq!(rows, [visit(1, "Able?"), visit(4, "Able?")], "{scope}");
        let (rows, _) = page(&db, at, 3_601);
        assert!(rows.is_empty(), "{scope}");
    }
}

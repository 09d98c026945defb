//! No space left, at every size at which it can run out: an error with its code, nothing half
//! done, nothing lost, and the same call succeeds when there is space again.

use afield_protocol::{
    Attribute, Attributes, Code, Entity, Frame, Identifier, Model, Page, PageEnd, Pattern,
    RowBlockWriter, Type, Unit, Value, Verdict,
};

use super::{RequestCaps, Store, SyncStore};
use crate::environment::Environment;
use crate::error::Error;

pub(super) struct Counting(pub(super) u8);

impl Environment for Counting {
    fn now_ms(&mut self) -> i64 {
        1
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 = self.0.wrapping_add(1);
        bytes.fill(self.0);
    }
}

pub(super) fn model() -> Model {
    let attributes = ["id", "text"].map(|name| Attribute::new(name, Type::Text));
    let word = Entity::new(
        "word",
        Pattern::LastWriteWins,
        Identifier::Natural,
        1,
        attributes.into(),
    );
    Model {
        version: 1,
        units: vec![Unit {
            name: "main".into(),
            entities: vec!["word".into()],
        }],
        entities: vec![word],
        chosen: Vec::new(),
        limits: Default::default(),
        sync: Default::default(),
    }
}

fn row(n: usize) -> Attributes {
    let long = Value::Text("x".repeat(500));
    Attributes::from([
        ("id".into(), Value::Text(format!("w{n}"))),
        ("text".into(), long),
    ])
}

fn limit(db: &super::Db, pages: i64) {
    db.conn
        .pragma_update(None, "max_page_count", pages)
        .unwrap();
}

fn pages(db: &super::Db) -> i64 {
    db.conn
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap()
}

/// Lets `step` run out of space with every number of pages to spare until it succeeds; `check`
/// looks after each failure.
fn runs_out<S>(
    store: &mut S,
    db: fn(&S) -> &super::Db,
    mut step: impl FnMut(&mut S) -> Result<(), Error>,
    mut check: impl FnMut(&mut S),
) {
    for failures in 0..1_000 {
        let now = pages(db(store));
        limit(db(store), now + failures);
        let result = step(store);
        limit(db(store), i64::from(u32::MAX - 1));
        match result {
            Ok(()) => {
                assert!(failures > 2, "there was space all the time");
                return;
            }
            Err(error) => assert_eq!(*error.code(), Code::STORE_FULL, "{error}"),
        }
        check(store);
    }
    panic!("it never succeeds");
}

#[test]
fn p1_no_space_left_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut store = Store::open(&path, "ann", Box::new(Counting(0))).unwrap();
    store.install_first(&model()).unwrap();
    store.create("word", &row(0)).unwrap();
    let many = |store: &mut Store| {
        store.transaction(|tx| (1..60).try_for_each(|n| tx.create("word", &row(n)).map(|_| ())))
    };
    runs_out(
        &mut store,
        |store| &store.db,
        many,
        |store| {
            assert_eq!(store.changes().unwrap().len(), 1);
            assert_eq!(store.get("word", &["w0".into()]).unwrap(), Some(row(0)));
            assert_eq!(store.get("word", &["w1".into()]).unwrap(), None);
        },
    );
    let mut sync = SyncStore::open(&path, "ann", Box::new(Counting(100))).unwrap();
    let mut sent = None;
    let freeze = |sync: &mut SyncStore| {
        sent = Some(sync.next_request(Some("main"), true, RequestCaps::default())?);
        Ok(())
    };
    let frozen = "SELECT count(*) FROM afield_group WHERE state = 'sent'";
    let count = |sync: &SyncStore, sql: &str| -> i64 {
        sync.db.conn.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    runs_out(
        &mut sync,
        |sync| &sync.db,
        freeze,
        |sync| assert_eq!(count(sync, frozen), 0),
    );
    let sent = sent.unwrap();
    assert_eq!(sent.groups.len(), 2);
    take_the_answer(&mut sync, &sent, &count);
    assert_eq!(store.get("word", &["w59".into()]).unwrap(), Some(row(59)));
}

#[test]
fn p1_no_space_left_for_another_model_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut store = Store::open(&path, "ann", Box::new(Counting(0))).unwrap();
    store.install_first(&model()).unwrap();
    let many = (0..60).try_for_each(|n| store.create("word", &row(n)).map(|_| ()));
    many.unwrap();
    let mut other = model();
    let more = Attribute::new("more", Type::Text);
    other.entities[0].attributes.push(more);
    let mut sync = SyncStore::open(&path, "ann", Box::new(Counting(100))).unwrap();
    runs_out(
        &mut sync,
        |sync| &sync.db,
        |sync| sync.install(&other),
        |sync| {
            assert_eq!(sync.model().unwrap(), Some(model()));
            let rows = "SELECT count(text) FROM word";
            let rows: i64 = sync.db.conn.query_row(rows, [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 60);
        },
    );
    assert_eq!(store.model().unwrap(), other);
    assert_eq!(store.changes().unwrap().len(), 60);
    let long = row(7).remove("text").unwrap();
    let found = store.get("word", &["w7".into()]).unwrap().unwrap();
    assert_eq!(found["text"], long);
}

fn take_the_answer(
    sync: &mut SyncStore,
    sent: &super::Outgoing,
    count: &dyn Fn(&SyncStore, &str) -> i64,
) {
    let refused = |group: &super::FrozenGroup| afield_protocol::GroupOutcome {
        group: group.id,
        verdicts: vec![Verdict::rejected(Code::CHECK_FAILED, "no".repeat(500)); group.changes],
    };
    let outcomes: Vec<_> = sent.groups.iter().map(refused).collect();
    let store = |sync: &mut SyncStore| sync.store_outcomes(sent.request, &outcomes).map(|_| ());
    let known = "SELECT count(*) FROM afield_outcome";
    runs_out(
        sync,
        |sync| &sync.db,
        store,
        |sync| assert_eq!(count(sync, known), 0),
    );
    assert_eq!(count(sync, known), 60);
    let mut block = RowBlockWriter::new("word", &model().entities[0].columns());
    for n in 100..200 {
        let row = row(n);
        block.push([row["id"].as_ref(), row["text"].as_ref()]);
    }
    let page = Page {
        from: sent.pull.clone(),
        reset: Vec::new(),
    };
    let end = PageEnd {
        to: vec![("word".into(), b"t1".to_vec())],
        complete: true,
        remaining: None,
    };
    let content = [Frame::Rows(block.take())];
    let apply = |sync: &mut SyncStore| {
        sync.apply_page(sent.request, &page, &content, &end)
            .map(|_| ())
    };
    let rows = "SELECT count(*) FROM word";
    runs_out(
        sync,
        |sync| &sync.db,
        apply,
        |sync| {
            assert_eq!(count(sync, rows), 60);
            assert_eq!(count(sync, "SELECT position IS NULL FROM afield_entity"), 1);
        },
    );
    assert_eq!(count(sync, rows), 160);
}

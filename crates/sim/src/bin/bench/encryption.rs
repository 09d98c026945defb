//! What encryption costs a device: the same work in a store with a key and in one without.
//!
//! Both are taken in one process, in turn, with the same SQLCipher; so the ratio is the price of
//! the key alone.

use std::error::Error;
use std::path::Path;

use afield::protocol::{Attribute, Entity, Identifier, Literal, Model, Pattern, Type, Unit, Value};
use afield::{Environment, Key, Params, Store};

use super::process::cpu_seconds;
use super::{Arguments, median};

/// Transactions of a user's, and rows that each of them changes.
const TRANSACTIONS: i64 = 200;
const CHANGED: i64 = 10;

/// How often the store is opened.
const OPENED: u32 = 50;

const STEPS: [&str; 5] = [
    "insert the rows, captured, in one transaction",
    "as many point reads in random order",
    "200 transactions of 10 updates",
    "50 times open and count the rows",
    "give a plain store a key, or another",
];

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    println!(
        "A store of {} rows, without a key and with one.",
        arguments.rows
    );
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        let folder = tempfile::tempdir()?;
        let round = [
            round(&folder.path().join("plain.afield"), None, arguments.rows)?,
            round(
                &folder.path().join("sealed.afield"),
                Some(&key(1)?),
                arguments.rows,
            )?,
        ];
        println!("  round {number}: {round:.2?}");
        rounds.push(round);
    }
    for (at, step) in STEPS.iter().enumerate() {
        let seconds = |which: usize| median(rounds.iter().map(|round| round[which][at]).collect());
        let (plain, sealed) = (seconds(0), seconds(1));
        let ratio = sealed / plain;
        println!("  {step}: {plain:.2} s CPU, with a key {sealed:.2} s = {ratio:.2}");
    }
    Ok(())
}

fn key(n: u8) -> Result<Key, afield::Error> {
    Key::new([n; Key::BYTES])
}

/// CPU seconds of each step.
fn round(path: &Path, key: Option<&Key>, rows: usize) -> Result<[f64; 5], Box<dyn Error>> {
    let open = || Store::open_with(path, "ann", key, Box::new(Seeded));
    let mut store = open()?;
    store.install_first(&model())?;
    let rows = i64::try_from(rows)?;
    let insert = cpu(|| insert(&mut store, rows))?;
    let read = cpu(|| read(&store, rows))?;
    let update = cpu(|| update(&mut store, rows))?;
    drop(store);
    let reopen = cpu(|| {
        for _ in 0..OPENED {
            let found = open()?.query("SELECT count(*) FROM visit", &Params::none())?;
            assert_eq!(found.rows, [[Value::Integer(rows)]]);
        }
        Ok(())
    })?;
    let other = self::key(2)?;
    let rekey = cpu(|| match key {
        None => Store::open_with(path, "ann", Some(&other), Box::new(Seeded)).map(drop),
        Some(key) => Store::rekey(path, "ann", key, &other, Box::new(Seeded)),
    })?;
    Ok([insert, read, update, reopen, rekey])
}

fn cpu(work: impl FnOnce() -> Result<(), afield::Error>) -> Result<f64, Box<dyn Error>> {
    let before = cpu_seconds("self")?;
    work()?;
    Ok(cpu_seconds("self")? - before)
}

fn insert(store: &mut Store, rows: i64) -> Result<(), afield::Error> {
    store.transaction(|tx| {
        for n in 0..rows {
            let name = format!("visit {n:07}");
            let notes = "x".repeat(50);
            let values: [Value; 3] = [Value::Integer(n), (&*name).into(), (&*notes).into()];
            let sql = "INSERT INTO visit (id, name, notes) VALUES (?1, ?2, ?3)";
            tx.execute(sql, &Params::from(values))?;
        }
        Ok(())
    })
}

fn read(store: &Store, rows: i64) -> Result<(), afield::Error> {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..rows {
        let id = Value::Integer(random.i64(0..rows));
        let sql = "SELECT name, notes FROM visit WHERE id = ?1";
        assert_eq!(store.query(sql, &Params::from([id]))?.rows.len(), 1);
    }
    Ok(())
}

fn update(store: &mut Store, rows: i64) -> Result<(), afield::Error> {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..TRANSACTIONS {
        store.transaction(|tx| {
            for _ in 0..CHANGED {
                let id = Value::Integer(random.i64(0..rows));
                let sql = "UPDATE visit SET done = done + 1 WHERE id = ?1";
                tx.execute(sql, &Params::from([id]))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn model() -> Model {
    let mut attributes = vec![
        Attribute::new("id", Type::Integer),
        Attribute::new("name", Type::Text),
        Attribute::new("notes", Type::Text),
        Attribute::new("done", Type::Integer),
    ];
    attributes[3].default = Some(Literal::Integer(0));
    let visit = Entity::new(
        "visit",
        Pattern::LastWriteWins,
        Identifier::Natural,
        1,
        attributes,
    );
    Model {
        version: 1,
        units: vec![Unit {
            name: "main".into(),
            entities: vec!["visit".into()],
        }],
        entities: vec![visit],
        chosen: Vec::new(),
        limits: Default::default(),
        sync: Default::default(),
    }
}

/// A clock that stands still.
struct Seeded;

impl Environment for Seeded {
    fn now_ms(&mut self) -> i64 {
        1_700_000_000_000
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        fastrand::fill(bytes);
    }
}

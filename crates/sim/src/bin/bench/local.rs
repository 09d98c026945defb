//! What an app does on the device: an edit in a transaction of its own, a point read, a list.

use std::error::Error;
use std::path::Path;

use afield::protocol::Value;
use afield::{Params, Store};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OpenFlags};

use super::device::{USER, database, now, open, set};
use super::process::cpu_seconds;
use super::rows::{Visit, visits};
use super::served::Served;
use super::target::Targets;
use super::{Arguments, median};

/// Microseconds of CPU of an edit.
const EDIT_US: f64 = 60.0;
/// What a read may cost as a multiple of rusqlite's.
const READ: f64 = 1.2;
/// Edits and reads of a round.
const EDITS: usize = 10_000;
const READS: usize = 100_000;
const LISTS: usize = 2_000;

const POINT: &str = "SELECT * FROM visit WHERE id = ?1";
const LIST: &str = "SELECT id, site, city, planned, done FROM visit WHERE planned = ?1 LIMIT 50";

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rows = visits(arguments.rows);
    println!("On the device, {} rows.", rows.len());
    let served = Served::with_visits(&arguments.afield, &rows)?;
    let mut first = served.device(USER, &["--json", "sync"])?;
    if !first.output()?.status.success() {
        return Err("the device failed".into());
    }
    // Where files are in memory an fsync costs nothing: it is not what is measured.
    let memory = Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory)?,
        false => tempfile::tempdir()?,
    };
    let path = folder.path().join("copy.afield");
    let device = Connection::open(database(&served))?;
    device.execute("VACUUM INTO ?1", [path.to_string_lossy()])?;
    drop(device);
    let mut store = open(&path)?;
    let mut figures = [const { Vec::new() }; 7];
    for number in 1..=arguments.rounds {
        let round = round(&mut store, &path, &rows, number)?;
        println!("  round {number}, us: {round:.2?}");
        figures
            .iter_mut()
            .zip(round)
            .for_each(|(all, it)| all.push(it));
    }
    let [edit, point, get, plain_point, list, plain_list, wall] = figures.map(median);
    println!("  an edit takes {wall:.1} us of the clock, in memory");
    println!("  a point read with rusqlite {plain_point:.2} us, a list {plain_list:.2} us");
    let mut targets = Targets::default();
    targets.at_most("CPU of an edit", edit, EDIT_US, "us");
    targets.at_most("point read by SQL", point / plain_point, READ, "times");
    targets.at_most("point read by `get`", get / plain_point, READ, "times");
    targets.at_most("indexed list", list / plain_list, READ, "times");
    targets.finish()
}

/// Microseconds of each: edit, point, get, plain point, list, plain list, edit by the clock.
fn round(
    store: &mut Store,
    path: &Path,
    rows: &[Visit],
    number: usize,
) -> Result<[f64; 7], Box<dyn Error>> {
    let plain = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let row = |at: usize| &rows[at * 7 % rows.len()];
    let key = |at: usize| Value::from(row(at).id());
    let start = now();
    let edit = each(EDITS, |at| {
        let minutes = i64::try_from(at + number * EDITS)?;
        Ok(store.update("visit", &[key(at)], &set("minutes", minutes))?)
    })?;
    let wall = start.elapsed().as_secs_f64() * 1e6 / EDITS as f64;
    let point = each(READS, |at| {
        let found = store.query(POINT, &Params::Positional(vec![key(at)]))?;
        count(found.rows.len(), 1)
    })?;
    let get = each(READS, |at| {
        let found = store.get("visit", &[key(at)])?;
        count(usize::from(found.is_some()), 1)
    })?;
    let plain_point = each(READS, |at| {
        count(read(&plain, POINT, row(at).id())?.len(), 1)
    })?;
    let planned = |at: usize| row(at).planned();
    let list = each(LISTS, |at| {
        let found = store.query(LIST, &Params::Positional(vec![planned(at).into()]))?;
        count(found.rows.len().min(1), 1)
    })?;
    let plain_list = each(LISTS, |at| {
        count(read(&plain, LIST, planned(at))?.len().min(1), 1)
    })?;
    Ok([edit, point, get, plain_point, list, plain_list, wall])
}

/// Microseconds of this process's CPU for each.
fn each(
    times: usize,
    mut work: impl FnMut(usize) -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let before = cpu_seconds("self")?;
    for at in 0..times {
        work(at)?;
    }
    Ok((cpu_seconds("self")? - before) * 1e6 / times as f64)
}

/// The same with rusqlite, values of one's own as well.
fn read(db: &Connection, sql: &str, value: &str) -> rusqlite::Result<Vec<Vec<Cell>>> {
    let mut statement = db.prepare_cached(sql)?;
    let width = statement.column_count();
    let rows = statement.query_map([value], |row| (0..width).map(|at| row.get(at)).collect())?;
    rows.collect()
}

fn count(found: usize, expected: usize) -> Result<(), Box<dyn Error>> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{found} rows where {expected} are").into()),
    }
}

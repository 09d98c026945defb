//! Two thousand idle live streams on one server: what they take of its memory and its CPU; then a
//! write that is news to all of them, and the turns that they get.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use afield_testbed::postgres::{Cluster, Database};
use serde_json::Value as Json;

use super::Arguments;
use super::served::Served;
use super::target::Targets;

/// Devices, each of a user of its own who holds the region of all rows and one of his own.
const STREAMS: usize = 2_000;
/// How long they are idle.
const IDLE: Duration = Duration::from_secs(20);
/// The default of `live_rate`.
const RATE: usize = 100;

const TABLES: &str = "
    CREATE TABLE visit (id INTEGER PRIMARY KEY, region_id INTEGER NOT NULL, note TEXT);
    CREATE INDEX visit_region ON visit (region_id, id);
    CREATE TABLE member (user_id TEXT NOT NULL, region_id INTEGER NOT NULL);
    CREATE INDEX member_user ON member (user_id);";

const NUMBERS: &str =
    "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < COUNT)";

fn model(database: &str) -> String {
    format!(
        r#"
[server]
database = "{database}"

[auth]
secret_file = ".afield/secret"

[scope.regions]
query = "SELECT region_id FROM member WHERE user_id = :user"

[local.visit]
from = "visit"
pattern = "last-write-wins"
attributes = ["region_id", "note"]
scope = "region_id in regions"
"#
    )
}

/// The same on SQLite and on PostgreSQL.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut targets = Targets::default();
    println!("{STREAMS} idle live streams, each of a user with a value of his own, on SQLite:");
    let rows = arguments.rows;
    let fill = |db: &mut rusqlite::Connection| {
        db.execute_batch(TABLES)?;
        db.execute_batch(&filled(rows))
    };
    let served = Served::start(&arguments.afield, fill, |_| model("sqlite:team.db"))?;
    let update = |sql: &str| Ok(served.database()?.execute_batch(sql)?);
    measure(&served, &update, &mut targets)?;
    drop(served);
    println!("The same on PostgreSQL:");
    let made = postgres(rows)?;
    let served = Served::on(&arguments.afield, &made.url, |_| model(&made.url))?;
    let update = |sql: &str| Ok(made.connect().batch_execute(sql)?);
    measure(&served, &update, &mut targets)?;
    targets.finish()
}

fn filled(rows: usize) -> String {
    let numbers = |count: usize| NUMBERS.replace("COUNT", &count.to_string());
    format!(
        "INSERT INTO visit {} SELECT n, 1, 'note ' || n FROM n;
         INSERT INTO member {} SELECT 'user ' || n, 1 FROM n;
         INSERT INTO member SELECT user_id, 1 + CAST(substr(user_id, 6) AS INTEGER) FROM member;",
        numbers(rows),
        numbers(STREAMS),
    )
}

fn postgres(rows: usize) -> Result<Database, Box<dyn Error>> {
    let database = Cluster::shared().database(TABLES);
    let mut client = database.connect();
    // There a `WITH` of an INSERT stands in the same place.
    client.batch_execute(&filled(rows))?;
    client.batch_execute("VACUUM ANALYZE")?;
    Ok(database)
}

type Update<'u> = dyn Fn(&str) -> Result<(), Box<dyn Error>> + 'u;

#[expect(clippy::print_stdout, reason = "a program for people")]
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn measure(
    served: &Served,
    update: &Update<'_>,
    targets: &mut Targets,
) -> Result<(), Box<dyn Error>> {
    let tokens = tokens(served.folder())?;
    // What the first one takes is no stream's.
    let mut first = Stream::open(served.address(), tokens.first().ok_or("no token")?)?;
    first.wait_for("hello")?;
    let (memory, cpu) = (served.rss_kib(), served.cpu_seconds()?);
    let began = Instant::now();
    let mut streams = Vec::new();
    for token in &tokens {
        streams.push(Stream::open(served.address(), token)?);
    }
    for stream in &mut streams {
        stream.wait_for("hello")?;
    }
    let opened = served.cpu_seconds()? - cpu;
    println!(
        "  opened in {:.1} s, {:.2} ms of CPU for each",
        began.elapsed().as_secs_f64(),
        opened * 1e3 / STREAMS as f64
    );
    let each = (served.rss_kib() - memory) / STREAMS as f64;
    targets.at_most("memory of a stream", each, 64.0, "KiB");
    let before = served.cpu_seconds()?;
    thread::sleep(IDLE);
    let idle = (served.cpu_seconds()? - before) / IDLE.as_secs_f64();
    targets.at_most("idle: CPU of a second", idle * 1e3, 50.0, "ms");
    let before = served.cpu_seconds()?;
    update("UPDATE visit SET note = 'changed ' || note")?;
    let committed = Instant::now();
    let mut turns = Vec::new();
    for stream in &mut streams {
        let data = stream.wait_for("news")?;
        turns.push(data["after_ms"].as_u64().ok_or("news without a turn")?);
    }
    let told = committed.elapsed().as_secs_f64();
    let cost = served.cpu_seconds()? - before;
    println!("  a write to all rows: everybody told {told:.1} s behind it, {cost:.2} s of CPU");
    turns.sort_unstable();
    let busiest = busiest(&turns);
    let last = turns.last().copied().unwrap_or(0);
    println!(
        "  turns of {STREAMS} devices over {:.1} s",
        last as f64 / 1e3
    );
    targets.at_most("turns of any second", busiest as f64, RATE as f64, "");
    Ok(())
}

/// The most turns of any second.
fn busiest(turns: &[u64]) -> usize {
    let from = |(at, first): (usize, &u64)| {
        let later = turns.iter().skip(at);
        later.take_while(|turn| **turn < first + 1_000).count()
    };
    turns.iter().enumerate().map(from).max().unwrap_or(0)
}

fn tokens(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    use afield_server::auth::{Auth, Secret, TokenRules};
    let secret = Secret::read(&folder.join(".afield/secret"))?;
    let auth = Auth::new(secret, TokenRules::default());
    let ends_s = afield_server::serve::system_clock()() + 3_600;
    let token = |n: usize| auth.issue(&format!("user {n}"), ends_s, &serde_json::Map::new());
    let tokens = (1..=STREAMS).map(token).collect::<Result<_, _>>();
    tokens.map_err(|error| format!("no token: {error:?}").into())
}

/// A device that listens.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(address: &str, token: &str) -> Result<Self, Box<dyn Error>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        write!(
            stream,
            "GET /v1/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        )?;
        // Small: there are many.
        Ok(Self(BufReader::with_capacity(1_024, stream)))
    }

    /// Reads until an event of this name; gives its data.
    fn wait_for(&mut self, name: &str) -> Result<Json, Box<dyn Error>> {
        let wanted = format!("event: {name}");
        let mut is_it = false;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err("a stream has ended".into());
            }
            if line.starts_with("HTTP/1.1 ") && !line.starts_with("HTTP/1.1 200") {
                return Err(format!("no stream: {line}").into());
            }
            if is_it && let Some(data) = line.strip_prefix("data: ") {
                return Ok(serde_json::from_str(data)?);
            }
            is_it |= line.trim_end() == wanted;
        }
    }
}

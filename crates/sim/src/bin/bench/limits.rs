//! A device's syncs while a server is attacked: how long the slowest takes, and how much memory
//! the server takes at its most.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use afield_protocol::codec::Format;
use afield_protocol::limits::BODY_BYTES;
use afield_protocol::{Change, Frame, Group, GroupId, Hello, Model, Op, PROTOCOL_VERSION, Value};

use super::Arguments;
use super::scopes::Device;
use super::served::Served;

/// Connections of the slow attacks.
const SLOW: usize = 1_000;
/// Attackers that send bombs and batches, each again and again.
const BUSY: usize = 4;
/// How long a sync of another device may take.
const LIMIT_S: f64 = 1.0;
/// What the server may take at most.
const LIMIT_MIB: f64 = 1_024.0;
/// Syncs of the other device in each attack.
const SYNCS: usize = 50;

const TABLE: &str = "CREATE TABLE visit (id INTEGER PRIMARY KEY, note TEXT)";

const MODEL: &str = r#"
[server]
database = "sqlite:team.db"

[auth]
secret_file = ".afield/secret"

# The attackers use one device's name: what they send is to cost what it costs.
[limits]
device_rate = 60000

[local.visit]
from = "visit"
pattern = "last-write-wins"
attributes = ["note"]
scope = "everyone"
"#;

/// What is sent, and how.
enum Attack {
    Heads,
    Bodies,
    Requests(Vec<u8>),
}

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    println!("Syncs of a device with one change each, {SYNCS} in each attack:");
    let attacks = [
        ("no attack", None),
        ("1,000 heads that never end", Some(Attack::Heads)),
        ("1,000 bodies a byte at a time", Some(Attack::Bodies)),
        (
            "bodies of 32 KB that unpack to 1 GiB",
            Some(Attack::Requests(bomb())),
        ),
        (
            "batches of 1,000,000 changes",
            Some(Attack::Requests(million())),
        ),
    ];
    let mut is_fine = true;
    for (name, attack) in attacks {
        let (mean, slowest, mib) = measure(arguments, attack.as_ref())?;
        println!("  {name}: mean {mean:.3} s, slowest {slowest:.3} s, server {mib:.0} MiB");
        is_fine &= slowest < LIMIT_S && mib < LIMIT_MIB;
    }
    println!("  limits: {LIMIT_S} s, {LIMIT_MIB} MiB");
    match is_fine {
        true => Ok(()),
        false => Err("an attack costs others more than the limit".into()),
    }
}

/// Seconds of a sync in the mean and at most, and the server's memory at most.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn measure(
    arguments: &Arguments,
    attack: Option<&Attack>,
) -> Result<(f64, f64, f64), Box<dyn Error>> {
    let fill = |db: &mut rusqlite::Connection| db.execute_batch(TABLE);
    let served = Served::start(&arguments.afield, fill, |_| MODEL.to_owned())?;
    let mut device = Device::open(&served, "ann")?;
    device.sync()?;
    let (address, token) = (served.address().to_owned(), served.token("eve")?);
    let is_over = AtomicBool::new(false);
    let mut times = Vec::new();
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let mut held = Vec::new();
        match attack {
            None => {}
            Some(Attack::Requests(body)) => {
                let (address, token, is_over) = (&address, &token, &is_over);
                for _ in 0..BUSY {
                    scope.spawn(move || {
                        while !is_over.load(Ordering::Relaxed) {
                            // Whatever becomes of it: it is refused, and comes again.
                            let _ = send(address, token, body);
                        }
                    });
                }
            }
            Some(Attack::Heads) => held = open(&address, "POST /v1/sync HTTP/1.1\r\nHo")?,
            Some(Attack::Bodies) => held = open(&address, &head(&token, 1_000_000, ""))?,
        }
        let synced = (1..=SYNCS).try_for_each(|n| {
            // A closed connection is an attack that is over; the next round would not count.
            held.iter_mut().for_each(|stream: &mut TcpStream| {
                let _ = stream.write_all(b"x");
            });
            device.ask(&format!(
                r#"{{"do":"exec","sql":"INSERT INTO visit VALUES ({n}, 'meanwhile')"}}"#
            ))?;
            let started = Instant::now();
            device.sync()?;
            times.push(started.elapsed().as_secs_f64());
            Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        synced
    })?;
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    let slowest = times.iter().copied().fold(0.0, f64::max);
    Ok((mean, slowest, served.peak_mib()))
}

fn open(address: &str, opening: &str) -> std::io::Result<Vec<TcpStream>> {
    let connect = |_| {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(opening.as_bytes())?;
        Ok(stream)
    };
    (0..SLOW).map(connect).collect()
}

fn head(token: &str, length: usize, more: &str) -> String {
    format!(
        "POST /v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{more}\
         Connection: close\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Sends a packed request and reads what comes.
fn send(address: &str, token: &str, body: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let head = head(token, body.len(), "Content-Encoding: zstd\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

fn opening() -> Vec<u8> {
    let hello = Frame::Hello(Hello {
        protocol: PROTOCOL_VERSION,
        model: String::new(),
        device: "attacker".into(),
        unit: String::new(),
        pull: Vec::new(),
        checkpoints: Vec::new(),
    });
    let mut bytes = Vec::new();
    Format::Cbor.write(&Model::new(1, Vec::new(), Vec::new()), &hello, &mut bytes);
    bytes
}

/// A request that unpacks to a gibibyte of zeros, inside the largest frame that there may be.
fn bomb() -> Vec<u8> {
    let mut plain = opening();
    plain.extend([0xd8, 24, 0x5a]);
    plain.extend(u32::try_from(BODY_BYTES).unwrap_or(u32::MAX).to_be_bytes());
    let mut frame = Zstd::begin();
    frame.raw(&plain);
    (0..(1 << 30) / Zstd::BLOCK).for_each(|_| frame.zeros(Zstd::BLOCK));
    frame.end()
}

/// A request with a group of a million changes.
fn million() -> Vec<u8> {
    let change = Change {
        entity: "visit".into(),
        op: Op::Delete,
        key: vec![Value::Integer(1)],
        base: [].into(),
        set: [].into(),
    };
    let group = Group::new(GroupId([7; 16]), vec![change; 1_000_000]);
    let mut plain = opening();
    let model = Model::new(1, Vec::new(), Vec::new());
    Format::Cbor.write(&model, &Frame::Group(group), &mut plain);
    Format::Cbor.write(&model, &Frame::End, &mut plain);
    let mut frame = Zstd::begin();
    plain.chunks(Zstd::BLOCK).for_each(|block| frame.raw(block));
    frame.end()
}

/// A frame of zstd by hand: blocks as they are, and blocks of one byte again and again, which is
/// as much as a few bytes can become.
struct Zstd(Vec<u8>);

impl Zstd {
    /// Bytes of a block.
    const BLOCK: usize = 128 * 1024;

    /// The magic number, no content size, a window of 8 MiB.
    fn begin() -> Self {
        Self(vec![0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3])
    }

    fn block(&mut self, size: usize, kind: usize, is_last: bool) {
        let head = (size << 3) | (kind << 1) | usize::from(is_last);
        self.0.extend(head.to_le_bytes().iter().take(3));
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.block(bytes.len(), 0, false);
        self.0.extend(bytes);
    }

    fn zeros(&mut self, count: usize) {
        self.block(count, 1, false);
        self.0.push(0);
    }

    fn end(mut self) -> Vec<u8> {
        self.block(0, 0, true);
        self.0
    }
}

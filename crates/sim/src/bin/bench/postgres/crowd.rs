//! A thousand devices at once that ask whether there is anything new, each again as soon as it has
//! its answer.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use afield_protocol::codec::{Format, FrameReader};
use afield_protocol::{Checkpoint, Frame, Hello, Model, PROTOCOL_VERSION, Position};

use super::super::Arguments;
use super::super::device::{now, percentile};
use super::super::target::Targets;
use super::Team;
use super::pulls::{Size, TABLES, fill, model};

/// Devices, each of a user of its own with one value.
const DEVICES: usize = 1_000;
/// How long they ask.
const TIME: Duration = Duration::from_secs(15);
/// What one of them needs of memory for its thread, in this program.
const STACK: usize = 256 * 1024;

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let size = Size {
        rows: 100_000,
        regions: i64::try_from(DEVICES)?,
    };
    println!("{DEVICES} devices at once, each with a value of its own and nothing new.");
    let fill = |client: &mut postgres::Client| {
        fill(client, size)?;
        client.batch_execute(
            "INSERT INTO member SELECT 'user ' || n, n FROM generate_series(1, 1000) n",
        )?;
        Ok(())
    };
    let team = Team::start(&arguments.afield, TABLES, fill, model(""))?;
    let tokens: Vec<String> = (1..=DEVICES)
        .map(|n| team.served.token(&format!("user {n}")))
        .collect::<Result<_, _>>()?;
    let address = team.served.address().to_owned();
    let token = tokens.first().ok_or("no device")?;
    let model = Model::from_json(&String::from_utf8(get(&address, "/v1/model", token)?)?)?;
    let begun = Barrier::new(DEVICES + 1);
    let (times, seconds) = thread::scope(|scope| -> Result<_, Box<dyn Error>> {
        let mut devices = Vec::new();
        for token in &tokens {
            let (address, model, begun) = (&address, &model, &begun);
            let device = move || device(address, token, model, begun);
            devices.push(
                thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, device)?,
            );
        }
        begun.wait();
        let before = (team.served.cpu_seconds()?, team.database_cpu()?);
        let mut times = Vec::new();
        for device in devices {
            let its = device.join().map_err(|_| "a device stopped")?;
            times.extend(its.map_err(|error| format!("a device: {error}"))?);
        }
        let after = (team.served.cpu_seconds()?, team.database_cpu()?);
        Ok((times, [after.0 - before.0, after.1 - before.1]))
    })?;
    let count = times.len() as f64;
    let rate = count / TIME.as_secs_f64();
    let [half, most] = [50, 99].map(|part| percentile(times.clone(), part).as_secs_f64());
    println!("  {rate:.0} syncs a second; median {half:.3} s, p99 {most:.3} s");
    let mut targets = Targets::default();
    let [server, database] = seconds.map(|seconds| seconds * 1e3 / count);
    println!("  CPU of the database: {database:.3} ms a sync");
    let both = server + database;
    targets.at_most("a sync: server and database", both, 0.5, "ms");
    targets.finish()
}

/// How long each of its syncs takes, after a first one that brings its rows.
fn device(address: &str, token: &str, model: &Model, begun: &Barrier) -> io::Result<Vec<Duration>> {
    let first = first(address, token, model);
    // Whatever became of it: the others wait.
    begun.wait();
    let (mut stream, request) = first?;
    let (start, mut times) = (now(), Vec::new());
    while start.elapsed() < TIME {
        let asked = now();
        stream.get_mut().write_all(&request)?;
        answer(&mut stream)?;
        times.push(asked.elapsed());
    }
    Ok(times)
}

/// A connection, and the request of a device that has everything.
fn first(address: &str, token: &str, model: &Model) -> io::Result<(BufReader<TcpStream>, Vec<u8>)> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut pull: Vec<(String, Option<Position>)> = vec![("visit".to_owned(), None)];
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    loop {
        let request = request(token, model, pull.clone(), checkpoints.clone());
        stream.get_mut().write_all(&request)?;
        let mut frames = FrameReader::new(Format::Cbor);
        frames.push(&answer(&mut stream)?);
        let mut is_complete = false;
        while let Some(frame) = frames.next(model).map_err(io::Error::other)? {
            match frame {
                Frame::Settled { checkpoint } => checkpoints = vec![checkpoint],
                Frame::PageEnd(end) => {
                    is_complete = end.complete;
                    pull = end
                        .to
                        .into_iter()
                        .map(|(name, to)| (name, Some(to)))
                        .collect();
                }
                Frame::Problem(problem) => return Err(io::Error::other(problem.message)),
                _ => {}
            }
        }
        if is_complete {
            return Ok((stream, self::request(token, model, pull, checkpoints)));
        }
    }
}

fn request(
    token: &str,
    model: &Model,
    pull: Vec<(String, Option<Position>)>,
    checkpoints: Vec<Checkpoint>,
) -> Vec<u8> {
    let hello = Frame::Hello(Hello {
        protocol: PROTOCOL_VERSION,
        model: model.fingerprint(),
        device: "one of many".into(),
        unit: String::new(),
        pull,
        checkpoints,
    });
    let mut body = Vec::new();
    for frame in [hello, Frame::End] {
        Format::Cbor.write(model, &frame, &mut body);
    }
    let kind = Format::Cbor.media_type();
    let mut request = format!(
        "POST /v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {kind}\r\nAccept: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    request
}

fn get(address: &str, path: &str, token: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    )?;
    answer(&mut BufReader::new(stream))
}

/// The body of an answer, which leaves the connection open.
fn answer(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(line));
    }
    let mut length = None;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().ok();
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    if let Some(length) = length {
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
        return Ok(body);
    }
    loop {
        let mut size = String::new();
        stream.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        let from = body.len();
        body.resize(from + size, 0);
        stream.read_exact(body.get_mut(from..).unwrap_or_default())?;
        stream.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(body);
        }
    }
}

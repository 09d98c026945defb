//! `afield demo`: a sample database, the server, three devices, one story, and then it stays up.
//! With `--day` another one, which ends by itself.

mod ask;
mod day;
mod sample;
mod story;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use afield_server::model::ModelFile;
use afield_server::model::file::Overrides;
use afield_server::serve::{ServeOptions, serve};
use clap::Args;
use serde_json::Map;

use crate::database::sqlite_file;
use crate::failure::Failure;
use crate::model::{InitArgs, init, random, resolved};
use crate::output::Output;
use crate::server::{issue, log, state};

/// How long the demo's tokens are valid.
const TOKEN_S: i64 = 7 * 86_400;

/// What `afield demo --help` ends with.
const HELP: &str = "\
Everything in it is real, on this machine alone, and can be looked into afterwards:

  afield demo                three devices, one story; then the server stays up, to try things
  afield demo --once         the same, and it ends when the story is told
  afield demo --day          a working day with a phone, hour by hour, in less than a minute
  afield demo --day --json   the same, one JSON object a part, with everything that was counted

The day: login, first download, edits in a cellar, a phone that dies, a network that loses
answers, a change that the database refuses and one that the server stumbles over, a conflict
decided on the phone and one decided at a desk, logging out, another user on the same phone, a new
version of the model. Each part says what happened, what its user saw, what the library did, and
what a team writes without it. Each part also looks for itself whether that is so: where it is not,
the day ends there, names the part, and exits with 1. Ctrl-C ends it at any time.";

/// `afield demo`.
#[derive(Args, Debug)]
#[command(after_long_help = HELP)]
pub(crate) struct DemoArgs {
    /// End when the story is told, in place of staying up.
    #[arg(long)]
    once: bool,
    /// Play a working day with all that goes wrong in one; it ends by itself.
    #[arg(long, conflicts_with = "once")]
    day: bool,
    /// Where the demo's files go. A demo that is there already is made anew.
    #[arg(long, default_value = ".afield/demo", value_name = "FOLDER")]
    folder: PathBuf,
    /// Where to listen; the default is the first free port from 4100 on, for
    /// a day any free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs, out: &Output) -> Result<(), Failure> {
    if std::env::var_os("RUST_LOG").is_some() {
        log(false);
    } else if !args.day {
        // The story speaks for itself; what goes wrong is still told. In the day much goes wrong on
        // purpose, and each part looks whether all of it came right.
        log_quietly();
    }
    if args.day {
        return day::run(args, out);
    }
    make_folder(&args.folder)?;
    out.say("1. A sample database: a city's food inspectors.");
    let team = args.folder.join("inspections.db");
    let rows = sample::make(&team).map_err(|error| {
        Failure::refused("file", format!("cannot make {}: {error}", team.display()))
    })?;
    out.say(&format!(
        "   {} holds {rows} rows in 7 tables.\n",
        team.display()
    ));

    out.say("2. Afield beside it: init, prepare, serve.");
    let model = args.folder.join("afield.toml");
    init(&InitArgs::new(&team, &model), &Output::silent())?;
    fs::write(&model, sample::MODEL).map_err(|error| {
        Failure::refused("file", format!("cannot write {}: {error}", model.display()))
    })?;
    let file = ModelFile::read(&model, &Overrides::default())?;
    let prepared = afield_server::storage::sqlite::prepare(
        sqlite_file(&file, "preparing")?,
        &resolved(&file)?,
        random,
    )?;
    out.say(&format!(
        "   {} says what goes to devices and how: districts and inspectors are",
        model.display()
    ));
    out.say("   only read there, of a business the last change stands, and if two people wrote");
    out.say("   about one inspection, a person decides. Each user gets the businesses of his own");
    out.say("   districts, and what belongs to them.");
    out.say(&format!(
        "   Change capture is installed on {} tables.",
        prepared.tables.len()
    ));

    let server = start(&file, args.listen)?;
    let url = format!("http://{}", server.address);
    out.say(&format!("   The server listens on {url}.\n"));
    let token = |user| issue(&file, user, &Map::new(), TOKEN_S).map(|token| (user, token));
    let users = [token("ann")?, token("ben")?, token("cara")?];
    story::Story::new(&args.folder, &team, &url, users)?.tell(out)?;
    invite(args, &url, out);
    if args.once {
        return Ok(());
    }
    out.say("\nThe server stays up; Ctrl-C ends it.");
    server.wait()
}

/// What to try next, ready to paste.
fn invite(args: &DemoArgs, url: &str, out: &Output) {
    let (folder, devices) = (args.folder.display(), args.folder.join("devices"));
    let devices = devices.display();
    let device = format!("{} device {devices}", program());
    let stays = if args.once {
        " (start `cargo demo` without --once first)"
    } else {
        ""
    };
    out.say(&format!(
        "\nTry it yourself, in another terminal{stays}:\n  \
         {device} --user ann list business --limit 5\n  \
         {device} --user ann sql \"SELECT result, count(*) FROM inspection GROUP BY result\"\n  \
         {device} --user ann sql \
         \"UPDATE contact SET phone = '030 1' WHERE name = 'Ada Adler'\"\n  \
         {device} --user ann changes\n  \
         {device} --user ann sync\n  \
         {device} --user ben sync\n  \
         sqlite3 {folder}/inspections.db \"UPDATE inspector SET name = 'You' WHERE id = 1002\"\n  \
         sqlite3 {folder}/inspections.db \
         \"INSERT INTO district_member VALUES ('cara', 'W1')\"\n  \
         {device} --user cara sync\n\n\
         Or use an app (its source is in examples/inspections), one window for each:\n  \
         cargo run -p inspections -- {devices} --user ann\n  \
         cargo run -p inspections -- {devices} --user ben\n\n\
         The server is {url}; its model file is {folder}/afield.toml."
    ));
}

/// How a reader of this terminal starts the program.
fn program() -> String {
    let by_cargo = std::env::var_os("CARGO").is_some();
    match (by_cargo, std::env::current_exe()) {
        (true, Ok(path)) => {
            let here = std::env::current_dir().unwrap_or_default();
            path.strip_prefix(&here)
                .unwrap_or(&path)
                .display()
                .to_string()
        }
        _ => "afield".to_owned(),
    }
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    let cannot =
        |error| Failure::refused("file", format!("cannot make {}: {error}", folder.display()));
    let marker = folder.join("demo.txt");
    if folder.exists() {
        let is_empty = fs::read_dir(folder).map_err(cannot)?.next().is_none();
        if !is_empty && !marker.exists() {
            let message = format!(
                "{} holds something else than a demo; name another --folder",
                folder.display()
            );
            return Err(Failure::refused("exists", message));
        }
        fs::remove_dir_all(folder).map_err(cannot)?;
    }
    fs::create_dir_all(folder).map_err(cannot)?;
    fs::write(
        marker,
        "Made by `afield demo`, and made anew whenever it starts.\n",
    )
    .map_err(cannot)
}

/// The server, on a thread of its own.
struct Server {
    address: SocketAddr,
    thread: thread::JoinHandle<Result<(), Failure>>,
}

impl Server {
    fn wait(self) -> Result<(), Failure> {
        self.thread.join().unwrap_or_else(|_| {
            Err(Failure::refused(
                "internal",
                "the server ended unexpectedly",
            ))
        })
    }
}

/// Ports tried when the first one is taken.
const PORTS: std::ops::Range<u16> = 4100..4120;

fn start(file: &ModelFile, listen: Option<SocketAddr>) -> Result<Server, Failure> {
    let listen = match listen {
        Some(address) => address,
        None => PORTS
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .find(|address| std::net::TcpListener::bind(address).is_ok())
            .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))),
    };
    let state = state(file, &Output::silent())?;
    let (ready, address) = mpsc::channel();
    let limits = file.limits.clone();
    let thread = thread::spawn(move || {
        let tell = |address| {
            // Nobody listens only if the demo ended, and then there is nobody to tell.
            let _ = ready.send(address);
        };
        serve(&ServeOptions::within(listen, &limits), state, tell)
            .map_err(|error| Failure::refused("serve", error.to_string()))
    });
    match address.recv() {
        Ok(address) => Ok(Server { address, thread }),
        Err(_) => Err(match thread.join() {
            Ok(Err(failure)) => failure,
            _ => Failure::refused("internal", "the server did not start"),
        }),
    }
}

fn log_quietly() {
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr);
    let _ = builder.with_env_filter("warn").try_init();
}

//! An app for a city's food inspectors, in the terminal, on the crate `afield` alone.
//!
//! ```text
//!   key ──► App::press ──► model.rs (generated) ──► store      draw ◄── App
//!                                                     │
//!                    App::hear ◄── events ◄── the library, which synchronises by itself
//! ```
//!
//! Every screen reads and writes the store; the library synchronises beside that. Nothing here
//! waits for the network, and nothing is lost if the program is killed.

mod app;
mod conflict;
mod draw;
mod form;
mod model;
mod pages;
#[cfg(test)]
mod readme;
mod sync;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use afield::native::{Client, ClientOptions};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::app::{App, Flow};
use crate::sync::Syncer;

const USAGE: &str = "\
Start `cargo demo` in one terminal and this in another:

  cargo run -p inspections -- [FOLDER] [--user NAME]

FOLDER holds the device's stores (.afield/demo/devices, where the demo puts them); NAME is ann or
ben. For a server of your own add --server URL, and its token in AFIELD_TOKEN.";

/// How long to wait for a key before looking for news.
const TICK: Duration = Duration::from_millis(150);

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        return failed(USAGE);
    };
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("inspections: {error}")),
    }
}

fn failed(message: &str) -> ExitCode {
    // Nobody is left to tell if this cannot be written.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}

fn start(options: ClientOptions) -> Result<(), Box<dyn Error>> {
    let client = Arc::new(Client::open(options)?);
    let mut app = App::new(client.clone(), now_ms())?;
    let mut terminal = ratatui::try_init()?;
    // From here on the terminal is the app's, and given back however it ends.
    let ended = match Syncer::start(client) {
        Ok(mut syncer) => run(&mut terminal, &mut app, &mut syncer),
        Err(error) => Err(error.into()),
    };
    ratatui::restore();
    ended
}

fn run(
    terminal: &mut DefaultTerminal,
    app: &mut App,
    syncer: &mut Syncer,
) -> Result<(), Box<dyn Error>> {
    loop {
        for news in syncer.news() {
            app.hear(&news);
        }
        app.tick(now_ms());
        terminal.draw(|frame| draw::draw(frame, app))?;
        if !event::poll(TICK)? {
            continue;
        }
        if let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            match app.press(key) {
                Flow::Stay => {}
                Flow::Sync => syncer.sync_now()?,
                Flow::Quit => return Ok(()),
            }
        }
    }
}

/// Reads the command line; `None` if it makes no sense.
fn options(mut words: impl Iterator<Item = String>) -> Option<ClientOptions> {
    let (mut folder, mut user, mut server) = (".afield/demo/devices".to_owned(), None, None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--user" => user = Some(words.next()?),
            "--server" => server = Some(words.next()?),
            _ if word.starts_with('-') => return None,
            _ => folder = word,
        }
    }
    let mut options = ClientOptions::new(folder, user.unwrap_or_else(|| "ann".to_owned()));
    options.server = server;
    options.token = std::env::var("AFIELD_TOKEN").ok();
    // A new device shows its screens before it has ever reached the server.
    options.model = model::model().ok();
    Some(options)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the app's own clock, handed in from here"
)]
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

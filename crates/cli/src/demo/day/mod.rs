//! `afield demo --day`: a working day of an inspector and her phone, hour by hour, with all that
//! goes wrong in one. Everything in it is real but the faults of the network. Each part looks for
//! itself whether what it says is so; where it is not, the day ends there with an error.
//!
//! ```text
//!   Ann's and Cara's phone ─┐
//!                           ├─► network ──► server ──► inspections.db ◄── the team, Dora
//!   Ben's tablet ───────────┘   (faults)
//! ```

mod app;
mod conflicts;
mod device;
mod evening;
mod morning;
mod network;
mod refusals;
mod road;
mod site;
mod told;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use afield::native::Client;

use self::network::Network;
use self::site::Site;
use self::told::Told;
use super::{DemoArgs, TOKEN_S, make_folder};
use crate::failure::Failure;
use crate::interrupt::on_interrupt;
use crate::output::Output;

/// A part of the day: when, its name for scripts, its title for people, and what plays it.
struct Part {
    at: &'static str,
    name: &'static str,
    title: &'static str,
    play: fn(&mut Day) -> Result<Told, Failure>,
}

impl Part {
    const fn new(
        at: &'static str,
        name: &'static str,
        title: &'static str,
        play: fn(&mut Day) -> Result<Told, Failure>,
    ) -> Self {
        Self {
            at,
            name,
            title,
            play,
        }
    }
}

/// The day, in order.
const PARTS: [Part; 13] = [
    Part::new("07:30", "login", "Ann signs in", morning::login),
    Part::new(
        "07:35",
        "first-download",
        "The first download",
        morning::first_download,
    ),
    Part::new(
        "08:10",
        "offline-edits",
        "In a cellar, without a network",
        morning::offline_edits,
    ),
    Part::new("09:00", "restart", "The phone dies", morning::restart),
    Part::new(
        "10:15",
        "poor-network",
        "A poor network",
        road::poor_network,
    ),
    Part::new(
        "11:00",
        "refused-change",
        "A change that the database refuses",
        refusals::refused_change,
    ),
    Part::new(
        "11:30",
        "failing-server",
        "A change that the server stumbles over",
        refusals::failing_server,
    ),
    Part::new(
        "13:00",
        "conflict-on-the-device",
        "Two people wrote about one inspection: Ann decides",
        conflicts::on_the_device,
    ),
    Part::new(
        "14:20",
        "conflict-at-the-desk",
        "Again, and Dora decides at her desk",
        conflicts::at_the_desk,
    ),
    Part::new("15:30", "logout", "Ann wants to log out", evening::logout),
    Part::new(
        "16:00",
        "user-switch",
        "Cara takes over the phone",
        evening::user_switch,
    ),
    Part::new(
        "17:00",
        "model-upgrade",
        "The team brings a new version",
        evening::model_upgrade,
    ),
    Part::new(
        "18:30",
        "end",
        "The end of the day, counted",
        evening::the_end,
    ),
];

/// Plays the day on a thread of its own; Ctrl-C ends it at once. Nothing is lost by that: phone,
/// tablet and database hold what was answered, as in any other crash.
pub(super) fn run(args: &DemoArgs, out: &Output) -> Result<(), Failure> {
    let (tell, ended) = mpsc::channel();
    let interrupted = tell.clone();
    on_interrupt(move || {
        let failure = Failure::refused("interrupted", "interrupted; the day is not over");
        // Nobody hears it only if the day has just ended.
        let _ = interrupted.send(Err(failure));
    });
    let (folder, listen, out) = (args.folder.clone(), args.listen, *out);
    thread::spawn(move || {
        let played = catch_unwind(AssertUnwindSafe(|| play(&folder, listen, &out)));
        let broken = |_| Err(Failure::refused("internal", "the day broke down"));
        // Nobody hears it only if it was interrupted.
        let _ = tell.send(played.unwrap_or_else(broken));
    });
    ended
        .recv()
        .unwrap_or_else(|_| Err(Failure::refused("internal", "the day broke down")))
}

fn play(folder: &Path, listen: Option<SocketAddr>, out: &Output) -> Result<(), Failure> {
    make_folder(folder)?;
    let mut day = Day::begin(folder, listen)?;
    out.say(
        "A working day of Ann, who inspects kitchens, with a phone that has a network now and \
         then.\nEverything is real: the city's database, the server, HTTP, the stores on the \
         phones. Only\nthe network's faults are made. The numbers are counted while you read.",
    );
    for (at, part) in PARTS.iter().enumerate() {
        let told = (part.play)(&mut day).map_err(|failure| Failure {
            message: format!("{} {} ({}): {failure}", part.at, part.title, part.name),
            ..failure
        })?;
        told.print((at + 1, part.at, part.name, part.title), out);
    }
    day.site.stop()?;
    out.say(&invitation(folder));
    Ok(())
}

/// Where to look around afterwards, ready to paste.
fn invitation(folder: &Path) -> String {
    let (program, folder) = (super::program(), folder.display());
    format!(
        "\nThe day's files are in {folder}. To look around:\n  \
         {program} device {folder}/phone --user ann changes\n  \
         {program} device {folder}/phone --user ann status\n  \
         {program} inbox --all --model {folder}/afield.toml\n  \
         sqlite3 {folder}/inspections.db \"SELECT entity, op, value FROM audit\""
    )
}

/// Everything that the day is about.
struct Day {
    folder: PathBuf,
    site: Site,
    network: Network,
    listen: SocketAddr,
    places: Places,
    /// Ann's app, while it runs on the phone.
    ann: Option<Client>,
    /// Cara's, on the same phone.
    cara: Option<Client>,
    /// Ben's, on his tablet.
    ben: Option<Client>,
    /// The inspection that Ann makes in the morning.
    visit: String,
}

/// The rows that the day is about.
struct Places {
    /// A business in the Harbour, which is Ann's and Ben's.
    business: String,
    /// Its name.
    name: String,
    /// Two inspections in that district that have no result yet.
    inspections: [String; 2],
    /// Two contacts in the Old Town, which is Ann's alone.
    contacts: [String; 2],
}

impl Places {
    fn choose(site: &Site) -> Result<Self, Failure> {
        let business = "SELECT id FROM business WHERE district = 'C2' ORDER BY id LIMIT 1";
        let business = site.text(business, [])?;
        let name = site.text("SELECT name FROM business WHERE id = ?1", [&business])?;
        let inspection = |at: u32| {
            let sql = "SELECT i.id FROM inspection AS i JOIN business AS b ON b.id = i.business_id \
                       WHERE b.district = 'C2' AND i.result IS NULL \
                       ORDER BY i.id LIMIT 1 OFFSET ?1";
            site.text(sql, [at])
        };
        let contact = |at: u32| {
            let sql = "SELECT c.id FROM contact AS c JOIN business AS b ON b.id = c.business_id \
                       WHERE b.district = 'C1' ORDER BY c.id LIMIT 1 OFFSET ?1";
            site.text(sql, [at])
        };
        Ok(Self {
            business,
            name,
            inspections: [inspection(0)?, inspection(1)?],
            contacts: [contact(0)?, contact(1)?],
        })
    }
}

impl Day {
    fn begin(folder: &Path, listen: Option<SocketAddr>) -> Result<Self, Failure> {
        let mut site = Site::make(folder)?;
        let listen = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let network = Network::start()?;
        network.leads_to(Some(site.start(listen)?));
        Ok(Self {
            folder: folder.to_owned(),
            places: Places::choose(&site)?,
            site,
            network,
            listen,
            ann: None,
            cara: None,
            ben: None,
            visit: String::new(),
        })
    }

    /// Opens the store of a user on the phone or the tablet, with a token or the one kept there.
    fn open(&self, device: &str, user: &str, token: Option<&str>) -> Result<Client, Failure> {
        device::open(&self.folder.join(device), user, self.network.url(), token)
    }

    /// The same with a good token.
    fn sign_in(&self, device: &str, user: &str) -> Result<Client, Failure> {
        let token = self.site.token(user, TOKEN_S)?;
        self.open(device, user, Some(&token))
    }

    fn ann(&self) -> Result<&Client, Failure> {
        self.ann.as_ref().ok_or_else(|| closed("Ann"))
    }

    fn ben(&self) -> Result<&Client, Failure> {
        self.ben.as_ref().ok_or_else(|| closed("Ben"))
    }
}

fn closed(whose: &str) -> Failure {
    Failure::refused("demo", format!("{whose}'s app is not open"))
}

/// What a part says must be so.
fn ensure(is_so: bool, what: impl Into<String>) -> Result<(), Failure> {
    if is_so {
        return Ok(());
    }
    let message = format!("this is not so: {}", what.into());
    Err(Failure::refused("demo", message))
}

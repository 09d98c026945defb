//! The app as a user has it: keys in, screens out, a real store and a real server.

mod world;

use std::sync::Arc;
use std::time::Duration;

use afield::native::{Client, EventStream};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use self::world::{Server, World};
use crate::app::{App, Flow};
use crate::draw::draw;
use crate::sync::Syncer;
use crate::{model, readme};

/// Any moment after the last sync.
const NOW_MS: i64 = 4_000_000_000_000;

/// Somebody at a terminal.
struct Person {
    app: App,
    client: Arc<Client>,
    events: EventStream,
    terminal: Terminal<TestBackend>,
}

impl Person {
    fn new(client: Client) -> Self {
        let client = Arc::new(client);
        Self {
            app: App::new(client.clone(), NOW_MS).unwrap(),
            events: client.events(),
            client,
            terminal: Terminal::new(TestBackend::new(110, 24)).unwrap(),
        }
    }

    /// Types words; `<Enter>` and the like are keys.
    fn types(&mut self, text: &str) -> Flow {
        let mut flow = Flow::Stay;
        for part in text.split_inclusive('>') {
            let (plain, named) = match part.split_once('<') {
                Some((plain, name)) => (plain, Some(name.trim_end_matches('>'))),
                None => (part, None),
            };
            for c in plain.chars() {
                flow = self.app.press(KeyCode::Char(c).into());
            }
            flow = match named {
                Some(name) => self.app.press(key(name)),
                None => flow,
            };
        }
        flow
    }

    fn sync(&mut self) {
        self.client
            .sync(None, afield::engine::Direction::Both)
            .unwrap();
        while let Some(numbered) = self.events.next_within(Duration::ZERO) {
            self.app.hear(&numbered.event);
        }
    }

    fn screen(&mut self) -> String {
        self.app.tick(NOW_MS);
        self.terminal.draw(|frame| draw(frame, &self.app)).unwrap();
        self.terminal.backend().to_string()
    }

    #[track_caller]
    fn sees(&mut self, texts: &[&str]) {
        let screen = self.screen();
        for text in texts {
            assert!(screen.contains(text), "no `{text}` in\n{screen}");
        }
    }
}

fn key(name: &str) -> KeyEvent {
    let code = match name {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Up" => KeyCode::Up,
        "Down" => KeyCode::Down,
        "Left" => KeyCode::Left,
        "Right" => KeyCode::Right,
        "Back" => KeyCode::Backspace,
        "Ctrl-A" => return KeyEvent::new(KeyCode::Char('a'), KeyModifiers::CONTROL),
        other => panic!("no key <{other}>"),
    };
    code.into()
}

#[test]
fn the_generated_code_is_of_the_model_that_the_demo_serves() {
    let world = World::new();
    assert_eq!(
        world.model().device.fingerprint(),
        model::FINGERPRINT,
        "run `cargo demo -- --once`, then `afield generate rust --model .afield/demo/afield.toml \
         --out examples/inspections/src/model.rs`"
    );
}

#[test]
fn lists_are_searched_and_every_screen_says_its_keys() {
    let world = World::new();
    let server = Server::start(&world);
    let mut ann = Person::new(world.client("ann", &server.url));
    ann.sees(&[
        "0 businesses",
        "never synchronised",
        "network unknown",
        "q quit",
    ]);
    ann.sync();
    ann.sees(&[
        "3 businesses",
        "Blue Anchor",
        "server reachable",
        "0 pending",
    ]);
    ann.types("/anchor");
    ann.sees(&["Search: anchor", "Enter done"]);
    ann.types("<Enter>");
    ann.sees(&["1 business with \"anchor\"", "/ search"]);
    ann.types("/fork<Enter>");
    ann.sees(&["1 business with \"fork\"", "Green Fork"]);
    ann.types("/anchor<Enter><Enter>");
    ann.sees(&[
        "Quay Street 7",
        "Inspections (1)",
        "n new inspection",
        "Esc back",
    ]);
    ann.types("<Enter>");
    ann.sees(&[
        "inspector: Ada Adler",
        "Violations (1)",
        "Crumbs",
        "v add violation",
    ]);
    ann.types("<Esc><Esc>c");
    ann.sees(&["Nothing waits", "d give up"]);
    assert_eq!(ann.types("<Esc>q"), Flow::Quit);
}

#[test]
fn an_inspection_with_violations_is_made_offline_and_arrives_whole() {
    let world = World::new();
    let server = Server::start(&world);
    let mut ann = Person::new(world.client("ann", &server.url));
    ann.sync();
    assert_eq!(ann.types("o"), Flow::Stay);
    ann.types("<Enter>n");
    ann.sees(&["New inspection of Blue Anchor", "Ctrl-A add a violation"]);
    ann.types("<Ctrl-A>T01<Down><Right><Down>Milk at 12 degrees");
    ann.types("<Ctrl-A>H02");
    assert_eq!(ann.types("<Enter>"), Flow::Sync);
    ann.sees(&[
        "Saved on this device.",
        "3 pending",
        "working offline",
        "pending",
    ]);
    ann.types("c");
    ann.sees(&[
        "not settled (3)",
        "create",
        "violation",
        "Goes to the server",
    ]);
    ann.types("o");
    ann.sync();
    ann.sees(&["3 changes sent and applied.", "Nothing waits", "0 pending"]);
    let sql = "SELECT group_concat(code || ' ' || severity, ', ') FROM violation \
               WHERE inspection_id <> 'd0000000-0000-4000-8000-000000000001'";
    assert_eq!(world.ask(sql), "T01 major, H02 minor");
}

#[test]
fn a_form_says_what_it_cannot_save() {
    let world = World::new();
    let server = Server::start(&world);
    let mut ann = Person::new(world.client("ann", &server.url));
    ann.sync();
    ann.types("<Enter>e<Down><Down><Back><Back>many<Enter>");
    ann.sees(&["seats: \"many\" is not a whole number", "Edit Blue Anchor"]);
    ann.types("<Esc>n<Down><Back><Back>xx<Enter>");
    ann.sees(&["planned_for expects a date", "New inspection of"]);
    ann.types("<Esc>c");
    ann.sees(&["Nothing waits"]);
}

#[test]
fn a_refused_change_says_why_and_is_sent_again_or_given_up() {
    let world = World::new();
    let server = Server::start(&world);
    let mut ann = Person::new(world.client("ann", &server.url));
    ann.sync();
    ann.types("<Enter>e<Down><Down><Back><Back>-1<Enter>");
    ann.sync();
    ann.sees(&[
        "press c to see and decide",
        "1 refused",
        "-1 seats",
        "refused: press c",
    ]);
    ann.types("c");
    ann.sees(&["The server says:", "Press r to correct it", "seats: -1"]);
    ann.types("r<Back><Back>lots<Enter>");
    ann.sees(&[
        "Correct this business",
        "seats: \"lots\" is not a whole number",
    ]);
    ann.types("<Back><Back><Back><Back>50<Enter>");
    ann.sync();
    ann.sees(&["0 refused", "Nothing waits"]);
    assert_eq!(
        world.ask("SELECT seats FROM business WHERE name = 'Blue Anchor'"),
        "50"
    );
    ann.types("<Esc>e<Down><Down><Back><Back>-2<Enter>");
    ann.sync();
    ann.types("cd");
    ann.sees(&["Given up", "Nothing waits"]);
    ann.types("<Esc>");
    ann.sees(&["50 seats"]);
}

/// Ann and Ben write about the same inspection; Ann's change is in conflict, and she looks at it.
fn in_conflict(world: &World, server: &Server) -> Person {
    let mut ann = Person::new(world.client("ann", &server.url));
    let mut ben = Person::new(world.client("ben", &server.url));
    ann.sync();
    ben.sync();
    ann.types("<Enter><Enter>e<Down><Right><Down><Back><Back>90<Enter>");
    ben.types("<Enter><Enter>e<Down><Down><Back><Back>70<Down>Seen twice.<Enter>");
    ben.sync();
    ann.sync();
    ann.sees(&["1 conflict", "conflict: press c", "score 90"]);
    ann.types("c<Enter>");
    ann.sees(&[
        "Two versions: inspection Blue Anchor",
        "before",
        "mine",
        "theirs",
    ]);
    ann.sees(&["● 90", "  70", "● Seen twice.", "● pass", "m keep all mine"]);
    ann
}

const DECIDED: &str = "SELECT result || ' ' || score || ' ' || coalesce(notes, '-') \
                       FROM inspection WHERE id = 'd0000000-0000-4000-8000-000000000001'";

#[test]
fn a_conflict_is_merged_attribute_by_attribute() {
    let world = World::new();
    let server = Server::start(&world);
    let mut ann = in_conflict(&world, &server);
    // The score becomes theirs; the result stays mine, the notes theirs.
    ann.types("<Down><Down><Right>");
    ann.sees(&["● 70", "● pass", "● Seen twice."]);
    assert_eq!(ann.types("<Enter>"), Flow::Sync);
    ann.sync();
    ann.sees(&["0 conflicts", "Nothing waits"]);
    assert_eq!(world.ask(DECIDED), "pass 70 Seen twice.");
}

#[test]
fn a_conflict_is_decided_for_one_side() {
    for (key, expected) in [("m", "pass 90"), ("t", "fail 70 Seen twice.")] {
        let world = World::new();
        let server = Server::start(&world);
        let mut ann = in_conflict(&world, &server);
        assert_eq!(ann.types("<Esc>"), Flow::Stay);
        ann.sees(&["conflict", "Enter shows both versions"]);
        ann.types("<Enter>");
        ann.types(key);
        ann.sync();
        ann.sees(&["0 conflicts", "Nothing waits"]);
        let decided = world.ask(DECIDED);
        assert!(decided.starts_with(expected), "{key}: {decided}");
    }
}

#[test]
fn the_user_reads_who_decided_at_the_desk() {
    for (is_applied, told) in [(true, "It was applied."), (false, "It was dropped")] {
        let world = World::new();
        let server = Server::start(&world);
        let mut ann = in_conflict(&world, &server);
        ann.types("<Esc>");
        world.decides("dora", is_applied);
        ann.sync();
        ann.sees(&["not settled (0)", "decided", "dora decided about it", told]);
        let score = if is_applied { "pass 90" } else { "fail 70" };
        assert!(world.ask(DECIDED).starts_with(score));
    }
}

#[test]
fn what_was_not_sent_is_taken_back() {
    let world = World::new();
    let server = Server::start(&world);
    let mut ann = Person::new(world.client("ann", &server.url));
    ann.sync();
    ann.types("<Enter>e<Down><Down><Back><Back>12<Enter>");
    ann.sees(&["12 seats", "1 pending"]);
    ann.types("c");
    ann.sees(&["u takes it back", "u take back"]);
    ann.types("u");
    ann.sees(&["Taken back", "Nothing waits", "0 pending"]);
    ann.types("<Esc>");
    ann.sees(&["30 seats"]);
}

#[test]
fn the_sync_thread_notices_when_the_network_comes_back() {
    let world = World::new();
    let address = world::free_address();
    let mut ann = Person::new(world.client("ann", &format!("http://{address}")));
    let mut syncer = Syncer::start(ann.client.clone()).unwrap();
    until(&mut ann, &mut syncer, "started");
    ann.sees(&["synchronising"]);
    until(&mut ann, &mut syncer, "failed");
    ann.sees(&["no network", "next try in", "0 businesses"]);
    let _server = Server::start_at(&world, address);
    syncer.sync_now().unwrap();
    until(&mut ann, &mut syncer, "completed");
    ann.sees(&["server reachable", "3 businesses"]);
}

/// Lets a person hear what happens until this does.
fn until(person: &mut Person, syncer: &mut Syncer, word: &str) {
    loop {
        let event = syncer.wait();
        person.app.hear(&event);
        if event.as_str() == word {
            return;
        }
    }
}

#[test]
fn who_must_sign_in_is_told_and_does_with_what_was_written_kept() {
    let world = World::new();
    let server = Server::start(&world);
    let client = world.client("ann", &server.url);
    client.sync(None, afield::engine::Direction::Both).unwrap();
    let good = world.token("ann");
    client.set_token("run-out", false).unwrap();
    let mut ann = Person::new(client);
    ann.sync();
    ann.sees(&["sign in: press l", "The server wants you to sign in"]);
    ann.types("<Enter>e<Down><Back><Back>12<Enter>");
    assert_eq!(ann.types("l"), Flow::Stay);
    ann.sees(&["Sign in as ann", "token"]);
    assert_eq!(ann.types(&format!("{good}<Enter>")), Flow::Sync);
    ann.sees(&["Signed in."]);
    ann.sync();
    ann.sees(&["1 change sent and applied.", "server reachable"]);
}

#[test]
fn the_readme_shows_code_that_works() {
    let world = World::new();
    let server = Server::start(&world);
    let client = world.client("ann", &server.url);
    client.sync(None, afield::engine::Direction::Both).unwrap();
    let report = readme::visit(&client).unwrap();
    assert_eq!(report.status, afield::engine::SyncStatus::Completed);
    assert_eq!(
        world.ask("SELECT seats FROM business WHERE name = 'Blue Anchor'"),
        "40"
    );
    let (_, code) = include_str!("readme.rs").split_once("\n\n").unwrap();
    let code = code
        .replace("crate::model", "model")
        .replace("pub(crate) ", "");
    let readme = include_str!("../../../README.md");
    assert!(
        readme.contains(&format!("```rust,ignore\n{code}```")),
        "the README shows other code than examples/inspections/src/readme.rs:\n{code}"
    );
}

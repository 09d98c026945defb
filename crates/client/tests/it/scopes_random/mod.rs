//! Random rows, values gained and lost, edits, cut answers and crashes between a small server and
//! the real store: after each complete page the device shows exactly the rows that are the user's,
//! and at any time it can say which values it has.
//!
//! `AFIELD_SEEDS=0..20000 cargo test -p afield --release scopes_random` runs more seeds.

mod server;

use std::collections::{BTreeMap, BTreeSet};

use afield::protocol::zoo::crash_after;
use afield::protocol::{Attributes, Change, Code, Value, Verdict};
use afield::{Outgoing, RequestCaps, Store, SyncStore};
use fastrand::Rng;

use self::server::{PageOut, Server, Session};
use crate::scopes::world;
use crate::world::{World, attributes, int, outcome, page, query, text};

/// Seeds in an ordinary test run.
const SEEDS: u64 = 300;

/// Steps of a seed.
const STEPS: usize = 60;

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("AFIELD_SEEDS") else {
        return 0..SEEDS;
    };
    let (from, to) = text.split_once("..").unwrap();
    from.trim().parse().unwrap()..to.trim().parse().unwrap()
}

#[test]
fn p5_p7_a_device_shows_what_is_its_users_whatever_is_gained_and_lost() {
    let mut seen = Seen::default();
    for seed in seeds() {
        let mut run = Run::new(seed);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.run()));
        if let Err(panic) = done {
            eprintln!("seed {seed}\n{}", run.log.join("\n"));
            std::panic::resume_unwind(panic);
        }
        seen.add(&run.seen);
    }
    // What never happens tests nothing.
    assert!(
        seen.complete > 100 && seen.staged > 100 && seen.resets > 20,
        "{seen:?}"
    );
    assert!(seen.refused > 20 && seen.crashed > 20, "{seen:?}");
}

#[derive(Debug, Default)]
struct Seen {
    complete: u64,
    staged: u64,
    resets: u64,
    refused: u64,
    crashed: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.complete += other.complete;
        self.staged += other.staged;
        self.resets += other.resets;
        self.refused += other.refused;
        self.crashed += other.crashed;
    }
}

struct Run {
    world: World,
    store: Store,
    sync: SyncStore,
    server: Server,
    rng: Rng,
    /// What each position that was ever given stands for.
    sessions: Vec<Session>,
    typed: u32,
    /// Most rows of a page, and most things that happen at once on the server.
    rows: usize,
    burst: u8,
    seen: Seen,
    log: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let world = world();
        let mut rng = Rng::with_seed(seed);
        Self {
            rows: rng.usize(1..4),
            burst: rng.u8(1..12),
            store: world.store(),
            sync: world.sync(),
            world,
            server: Server::default(),
            rng,
            sessions: Vec::new(),
            typed: 0,
            seen: Seen::default(),
            log: Vec::new(),
        }
    }

    fn run(&mut self) {
        // The first download has something to bring, and takes a while.
        for _ in 0..40 {
            self.server.happen(&mut self.rng);
        }
        for _ in 0..STEPS {
            match self.rng.u8(0..10) {
                0..=3 => {
                    for _ in 0..self.rng.u8(1..=self.burst) {
                        let what = self.server.happen(&mut self.rng);
                        self.log.push(what);
                    }
                }
                4 => self.edit(),
                _ => {
                    let rows = self.rng.usize(1..=self.rows);
                    self.exchange(rows);
                }
            }
        }
        // In the end everything arrives.
        for _ in 0..200 {
            if self.exchange(3) {
                self.exchange(100);
                return;
            }
        }
        panic!("it never ends");
    }

    /// The user changes a title that he sees.
    fn edit(&mut self) {
        let seen: Vec<i64> = self.listed().into_keys().collect();
        if seen.is_empty() {
            return;
        }
        let id = seen[self.rng.usize(..seen.len())];
        self.typed += 1;
        let title = format!("typed {}", self.typed);
        self.log.push(format!("edit {id}: {title}"));
        let set = attributes([("title", text(&title))]);
        self.store.update("job", &[int(id)], &set).unwrap();
    }

    /// Sends everything, and takes one page; says whether it was complete.
    fn exchange(&mut self, rows: usize) -> bool {
        let caps = RequestCaps {
            held: true,
            ..RequestCaps::default()
        };
        let asked = self.sync.next_request(Some("main"), true, caps).unwrap();
        let from = asked.pull.iter().find(|(name, _)| name == "job").unwrap();
        let session = self.session(from.1.as_ref());
        let told: BTreeSet<i64> = asked.held[0].gained.iter().copied().collect();
        assert_eq!(told, session.dev, "what the device says that it has");
        self.settle(&asked);
        if self.rng.u8(0..8) == 0 {
            self.log.push("cut".into());
            return false;
        }
        let starts_over = from.1.is_none() || self.rng.u8(0..25) == 0;
        let session = if starts_over {
            self.server.fresh()
        } else {
            session
        };
        let out = self.server.page(&self.world, &session, rows);
        let reset: &[&str] = if starts_over { &["job"] } else { &[] };
        self.seen.resets += u64::from(starts_over && from.1.is_some());
        self.log.push(format!(
            "page: reset {starts_over} complete {} {:?}",
            out.complete, out.session
        ));
        self.take(&asked, &out, reset);
        self.check(&out);
        out.complete
    }

    fn session(&self, position: Option<&Vec<u8>>) -> Session {
        let Some(position) = position else {
            return Session::default();
        };
        let at: usize = std::str::from_utf8(position).unwrap().parse().unwrap();
        self.sessions[at].clone()
    }

    /// The server's verdicts on what was sent.
    fn settle(&mut self, asked: &Outgoing) {
        let mut outcomes = Vec::new();
        for group in self.world.groups(asked) {
            let verdicts = group.changes.iter().map(|change| self.verdict(change));
            let verdicts = verdicts.collect();
            outcomes.push(outcome(group.id, verdicts));
        }
        self.sync.store_outcomes(asked.request, &outcomes).unwrap();
    }

    fn verdict(&mut self, change: &Change) -> Verdict {
        let ([Value::Integer(id)], Some(Value::Text(title))) =
            (change.key.as_slice(), change.set.get("title"))
        else {
            panic!("{change:?}");
        };
        if self.server.edit(*id, title) {
            return Verdict::applied();
        }
        self.seen.refused += 1;
        Verdict::rejected(Code::GONE, "gone")
    }

    /// Lets the store take a page, now and then dying in the middle of it first.
    fn take(&mut self, asked: &Outgoing, out: &PageOut, reset: &[&str]) {
        let from: Vec<_> = asked
            .pull
            .iter()
            .filter(|(name, _)| name == "job")
            .cloned()
            .collect();
        let token = self.sessions.len().to_string();
        self.sessions.push(out.session.clone());
        let before = self.listed();
        if self.rng.u8(0..6) == 0 {
            crash_after(Some(self.rng.u32(0..25)));
            let (request, content) = (asked.request, &out.content);
            let done = page(
                &mut self.sync,
                request,
                &from,
                content,
                &token,
                out.complete,
                reset,
            );
            crash_after(None);
            self.sync = self.world.sync();
            self.seen.crashed += u64::from(done.is_err());
            let now = self
                .sync
                .next_request(Some("main"), false, RequestCaps::default());
            if now
                .unwrap()
                .pull
                .contains(&("job".into(), Some(token.as_bytes().to_vec())))
            {
                return;
            }
            assert_eq!(self.listed(), before, "half a page");
        }
        let (request, content) = (asked.request, &out.content);
        let done = page(
            &mut self.sync,
            request,
            &from,
            content,
            &token,
            out.complete,
            reset,
        );
        if matches!(done.unwrap(), afield::PageApplied::Staged { .. }) {
            self.seen.staged += 1;
            assert_eq!(self.listed(), before, "what is staged shows");
        }
    }

    fn check(&mut self, out: &PageOut) {
        let typed_waits = self.store.changes().unwrap().into_iter().any(|change| {
            matches!(
                change.state,
                afield::ChangeState::Pending | afield::ChangeState::Sent
            )
        });
        assert!(!typed_waits);
        if !out.complete {
            return;
        }
        self.seen.complete += 1;
        assert_eq!(self.listed(), self.server.visible(), "what is the user's");
        let sql = "SELECT value FROM afield_held WHERE entity = 'job' ORDER BY value";
        let held: Vec<Value> = query(&self.store, sql).concat();
        let now: Vec<Value> = self.server.now.iter().map(|value| int(*value)).collect();
        assert_eq!(held, now);
        let sql = "SELECT count(*) FROM afield_scope_job";
        let known = i64::try_from(self.server.visible().len()).unwrap();
        assert_eq!(
            query(&self.store, sql),
            [[int(known)]],
            "values of rows that left"
        );
        for sql in [
            "SELECT * FROM afield_held_staged",
            "SELECT * FROM afield_server_job",
        ] {
            assert!(query(&self.store, sql).is_empty(), "{sql}");
        }
        for change in self.store.changes().unwrap() {
            let is_seen = self
                .server
                .visible()
                .keys()
                .any(|id| change.key == [int(*id)]);
            if !is_seen {
                assert_eq!(change.base, Attributes::new(), "{change:?}");
            }
        }
    }

    fn listed(&self) -> BTreeMap<i64, String> {
        let rows = query(&self.store, "SELECT id, title FROM job");
        let row = |row: Vec<Value>| match row.as_slice() {
            [Value::Integer(id), Value::Text(title)] => (*id, title.clone()),
            other => panic!("{other:?}"),
        };
        rows.into_iter().map(row).collect()
    }
}

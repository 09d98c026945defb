//! Twelve unsent changes on a device whose server was set back to a backup, or goes on as a copy,
//! and processes that are killed at twenty points when they come back.
//!
//! ```text
//!   backup ── settled, one more whose answer is lost ──► first
//!      └───── what the team wrote ─────────────────────► other: lacks what was settled
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use afield::engine::SyncStatus;
use afield::protocol::Code;
use afield::{ChangeInfo, ChangeState, Resolution};

use crate::deaths::{Death, Place, die};
use crate::named_child::RESEND;
use crate::sites::{MEANWHILE, sites, tables, write_twelve};
use crate::world::{Device, World, copy_folder, eventually, rows, team};

/// What the device had settled since the backup; a group each.
const SETTLED: [&str; 7] = [
    "INSERT INTO job (site, words) VALUES ('s8', 'haul'); \
     INSERT INTO step (job, pos, words) SELECT max(id), 1, 'rope' FROM job",
    "UPDATE site SET name = 'sieben' WHERE id = 's7'",
    "UPDATE site SET n = n + 3 WHERE id = 's8'",
    "DELETE FROM site WHERE id = 's11'",
    "UPDATE site SET name = 'deux' WHERE id = 's2'",
    "UPDATE step SET words = 'first coat' WHERE job = 1 AND pos = 1",
    "UPDATE job SET words = 'paint it' WHERE id = 1",
];

/// How many changes these are.
const SETTLED_CHANGES: i64 = 8;

/// How many of all its changes the first server does not know once the other one settled them, all
/// but what it gave up and the one of which the first has the very id.
const LOST_AGAIN: i64 = 18;

/// What it writes behind the twelve, about a row that only the first server has.
const BEHIND: [&str; 2] = [
    "UPDATE job SET words = 'haul far' WHERE words = 'haul'",
    "INSERT INTO step (job, pos, words) SELECT id, 2, 'hook' FROM job WHERE words = 'haul far'",
];

/// What the team writes where the device's job never was: a job with that number.
const THEIRS: &str = "INSERT INTO job (site, words) VALUES ('s1', 'theirs')";

/// Files to begin from again and again.
struct Start {
    folder: PathBuf,
    /// The device, closed.
    store: PathBuf,
    /// The server that has what the device had settled.
    first: PathBuf,
    /// The one that has not.
    other: PathBuf,
}

impl Start {
    fn new() -> (World, Self) {
        let (world, device) = sites();
        let other = world.backup("other.sqlite");
        for sql in SETTLED {
            device.write(sql);
            assert_eq!(device.sync().status, SyncStatus::Completed);
        }
        assert_eq!(device.sync().status, SyncStatus::Completed);
        write_twelve(&world, &device);
        for sql in BEHIND {
            device.write(sql);
        }
        world.team_writes(MEANWHILE);
        let theirs = format!("{MEANWHILE}; {THEIRS}");
        team(&other).execute_batch(&theirs).unwrap();
        let folder = device.client.folder().path().to_owned();
        drop(device);
        let (store, first) = (world.path().join("store"), world.backup("first.sqlite"));
        copy_folder(&folder, &store);
        let start = Self {
            folder,
            store,
            first,
            other,
        };
        (world, start)
    }

    /// The device as it was.
    fn begin(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        copy_folder(&self.store, &self.folder);
    }
}

/// Where a process dies: at the questions of history, and at what comes behind them.
fn deaths() -> Vec<Death> {
    let at = |request, place| Death { request, place };
    let mut all = Vec::new();
    for request in 0..4 {
        all.push(at(request, Place::Request));
        all.push(at(request, Place::Answer));
    }
    all.extend([0, 30, 120].map(|bytes| at(1, Place::Byte(bytes))));
    let bytes = [0, 30, 60, 120, 200, 300, 450, 600, 900];
    all.extend(bytes.map(|bytes| at(2, Place::Byte(bytes))));
    assert_eq!(all.len(), 20);
    all
}

/// Lets a process die, and where its user is asked what becomes of what was lost, another one that
/// sends what he decided by then. How many of the two met their death.
fn die_twice(
    world: &mut World,
    start: &Start,
    policy: &str,
    death: Death,
    kills_server: bool,
) -> [usize; 2] {
    let folder = &start.folder;
    let once = usize::from(die(world, folder, policy, death, kills_server));
    if policy == RESEND {
        return [once, 1];
    }
    decide(&Device::reopen(folder, "ann"));
    let request = death.request.saturating_sub(2);
    let again = Death { request, ..death };
    let again = die(world, folder, policy, again, kills_server);
    [once, usize::from(again)]
}

/// Lets the device settle everything, with the policy of this name; its user decides on the rest.
fn settle(folder: &Path, policy: &str) -> Device {
    let device = Device::reopen(folder, "ann");
    device.client.resend_lost(policy == RESEND);
    eventually("everything is decided and settled", || {
        device.sync();
        decide(&device)
    });
    device.sync();
    device
}

/// Its user wants what was lost, and what he wrote about jobs that are still his; of the rest he
/// takes what the server has. Whether nothing is left to do.
fn decide(device: &Device) -> bool {
    let mut store = device.client.store();
    for conflict in store.conflicts().unwrap() {
        let theirs = Resolution::Theirs;
        store.resolve(&conflict.conflict, &theirs).unwrap();
    }
    let mut is_done = true;
    for change in store.changes().unwrap() {
        is_done &= matches!(change.state, ChangeState::Settled | ChangeState::Dropped);
        if change.state != ChangeState::Parked {
            continue;
        }
        // What a decision settles beside the change itself is not parked any more.
        let _ = match is_wanted(&change) {
            true => store.retry(&change.change, None).map(drop),
            false => store.drop_change(&change.change),
        };
    }
    is_done
}

fn is_wanted(change: &ChangeInfo) -> bool {
    let code = change.code.as_ref().unwrap();
    let is_theirs = change.entity == "job" && [2.into(), 3.into()].contains(&change.key[0]);
    *code == Code::LOST_BY_RESTORE || (*code == Code::OTHER_ROW && !is_theirs)
}

/// Everything that was ever written to a server's tables, and how often.
fn effects(world: &World) -> BTreeMap<String, i64> {
    let sql = "SELECT words, count(*) FROM audit GROUP BY words";
    let team = world.team();
    let mut statement = team.prepare(sql).unwrap();
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    found.unwrap().map(Result::unwrap).collect()
}

/// What is to be written to either: each of it once, and nothing else.
const EFFECTS: [&str; 23] = [
    "+haul",
    "+rope",
    "s7sieben0",
    "s8eight3",
    "-s11",
    "first coat",
    "paint it", // settled before
    "s5five7",
    "+s9",
    "+dig",
    "+spade",
    "+coat",
    "s1uno0",
    "s3three16",
    "-s4",
    "undercoat",
    "dig deep",
    "haul far",
    "+hook", // unsent
    "-s2",
    "-s6",
    "vacuum",
    "+s10", // the team's, but for one
];

/// Each change took effect once, or not at all where its row is gone, and nothing else did.
fn check_effects(world: &World, only: &str, place: &str) {
    let mut expected: BTreeMap<_, _> = EFFECTS.map(|words| (words.to_owned(), 1)).into();
    expected.extend([("s3three11".to_owned(), 1), (only.to_owned(), 1)]);
    assert_eq!(effects(world), expected, "{place}");
}

/// What the user was told: so many losses, each once; and how everything ended.
fn check_outcomes(device: &Device, losses: i64, settled: usize, place: &str) {
    let lost = "SELECT count(*), count(DISTINCT hex(group_id) || at) FROM afield_outcome \
                WHERE code = 'lost-by-restore'";
    let lost = rows(&device.raw(), lost);
    assert_eq!(lost, [[losses.into(), losses.into()]], "{place}");
    let changes = device.changes();
    let count = |state| changes.iter().filter(|it| it.state == state).count();
    assert_eq!(count(ChangeState::Settled), settled, "{place}: {changes:?}");
    let refused = |it: &&ChangeInfo| {
        it.state == ChangeState::Dropped && it.code != Some(Code::ABSORBED_KNOWN)
    };
    let mut refused: Vec<_> = (changes.iter().filter(refused))
        .map(|it| {
            (
                it.entity.as_str(),
                it.op.as_str(),
                it.code.as_ref().unwrap().as_str(),
            )
        })
        .collect();
    refused.sort_unstable();
    let expected = [
        ("job", "delete", "other-row"),
        ("job", "update", "other-row"),
        ("site", "update", "gone"),
        ("site", "update", "gone"),
    ];
    assert_eq!(refused, expected, "{place}: {changes:?}");
}

fn check_equal(world: &World, device: &Device, place: &str) {
    assert_eq!(tables(&device.raw()), tables(&world.team()), "{place}");
}

/// Checks what became of everything on the server that lacked what was settled.
fn check_other(world: &World, device: &Device, place: &str) {
    check_effects(world, "+theirs", place);
    check_outcomes(device, SETTLED_CHANGES, 19, place);
    check_equal(world, device, place);
}

/// Checks it on the first server, behind the other.
fn check_first(world: &World, device: &Device, place: &str) {
    check_effects(world, "s2deux0", place);
    // What it had already, its user is told, and leaves.
    check_outcomes(device, SETTLED_CHANGES + LOST_AGAIN, 12, place);
    check_equal(world, device, place);
}

/// So many of twenty, at least, come to where they die.
const REACHED: usize = 15;

/// Twenty deaths after a restore: every third takes the server along.
fn restore_with(policy: &str) {
    let (mut world, start) = Start::new();
    let mut reached = [0; 2];
    for (at, death) in deaths().into_iter().enumerate() {
        let place = format!("{policy} {death:?}");
        start.begin();
        world.restore(&start.other);
        let met = die_twice(&mut world, &start, policy, death, at % 3 == 0);
        reached = [reached[0] + met[0], reached[1] + met[1]];
        let device = settle(&start.folder, policy);
        check_other(&world, &device, &place);
    }
    assert!(reached.iter().all(|it| *it >= REACHED), "{reached:?}");
}

/// Twenty deaths on a copy of the server, and the same on the first one, to which the device comes
/// back.
fn fork_with(policy: &str) {
    let (mut world, start) = Start::new();
    let mut reached = [0; 4];
    for (at, death) in deaths().into_iter().enumerate() {
        let place = format!("{policy} {death:?}");
        start.begin();
        world.restore(&start.other);
        let there = die_twice(&mut world, &start, policy, death, at % 3 == 1);
        let device = settle(&start.folder, policy);
        check_other(&world, &device, &place);
        drop(device);
        world.restore(&start.first);
        let back = die_twice(&mut world, &start, policy, death, at % 3 == 2);
        let device = settle(&start.folder, policy);
        check_first(&world, &device, &format!("{place}, and back"));
        for (all, met) in reached.iter_mut().zip(there.into_iter().chain(back)) {
            *all += met;
        }
    }
    assert!(reached.iter().all(|it| *it >= REACHED), "{reached:?}");
}

#[test]
fn p1_p2_p6_twenty_deaths_after_a_restore_whose_losses_its_user_sends_again() {
    restore_with("");
}

#[test]
fn p1_p2_p6_twenty_deaths_after_a_restore_whose_losses_are_sent_again_by_policy() {
    restore_with(RESEND);
}

#[test]
fn p1_p2_p6_twenty_deaths_on_each_of_two_copies_between_which_its_user_decides() {
    fork_with("");
}

#[test]
fn p1_p2_p6_twenty_deaths_on_each_of_two_copies_and_losses_are_sent_again_by_policy() {
    fork_with(RESEND);
}

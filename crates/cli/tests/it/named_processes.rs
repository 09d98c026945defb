//! Several processes at one store, and what is read while it synchronises.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use afield::ChangeState;

use crate::named_child::{ACCOUNTS, AMOUNT, Child, accounts, transfer};
use crate::proxy::Fault;
use crate::world::{Device, World, eventually, rows};

/// Transfers of each writing process.
const TRANSFERS: usize = 60;

#[test]
fn p1_p2_two_processes_write_one_store_while_others_sync() {
    let world = World::with_pages(20);
    world.team_writes(&accounts());
    let device = world.downloaded("phone", "ann");
    let folder = device.client.folder().path().to_owned();
    drop(device);

    // Two of them: one is faster than the other, and both must notice.
    let syncing = [(); 2].map(|()| Child::start("sync", &folder, "", 0));
    syncing.iter().for_each(|child| drop(child.line()));
    let writers = [("action", "actions"), ("sq", "sql")];
    let writing = writers.map(|(name, role)| Child::start(role, &folder, name, TRANSFERS));
    let (store, team) = (
        crate::world::reader(&folder.join("ann.afield")),
        world.team(),
    );
    let total = i64::try_from(ACCOUNTS).unwrap() * AMOUNT;
    for child in &writing {
        for _ in 0..TRANSFERS {
            assert!(child.line().is_some(), "a writer ended early");
            for conn in [&store, &team] {
                let sum = rows(conn, "SELECT sum(amount) FROM account");
                assert_eq!(sum[0][0], total.into(), "half a transfer is visible");
            }
        }
    }
    writing.into_iter().for_each(|child| drop(child.finish()));
    syncing.into_iter().for_each(Child::kill);

    let device = Device::reopen(&folder, "ann");
    world.drain(&device);
    check_balances(&world, &writers.map(|(name, _)| name));
    for change in device.changes() {
        assert_eq!(change.state, ChangeState::Settled, "{change:?}");
    }
    let groups = "SELECT count(*), sum(new ->> 'sum' <> 1000), sum(new ->> 'applied' <> 1) \
                  FROM audit WHERE op = 'group'";
    let groups = rows(&world.team(), groups).remove(0);
    assert_eq!(
        groups[1..],
        [0.into(), 0.into()],
        "every group left the sum as it was"
    );
}

/// Every transfer took effect, and once.
fn check_balances(world: &World, writers: &[&str]) {
    let mut expected = [AMOUNT; ACCOUNTS];
    for name in writers {
        for at in 0..TRANSFERS {
            let (from, to, amount) = transfer(name, at);
            expected[from] -= amount;
            expected[to] += amount;
            assert_eq!(world.effects("mirror", "tag", &format!("{name}-{at}")), 1);
        }
    }
    let found = rows(&world.team(), "SELECT amount FROM account ORDER BY name");
    let expected: Vec<Vec<_>> = expected
        .iter()
        .map(|amount| vec![(*amount).into()])
        .collect();
    assert_eq!(found, expected);
}

/// What the team does in one transaction: every row of four tables.
fn stamp(tag: usize) -> String {
    let (from, to, amount) = transfer("team", tag);
    format!(
        "BEGIN IMMEDIATE; UPDATE account SET tag = {tag}; UPDATE mirror SET tag = {tag}; \
         UPDATE price SET tag = {tag}; UPDATE news SET tag = {tag}; \
         UPDATE account SET amount = amount - {amount} WHERE name = 'a{from}'; \
         UPDATE mirror SET amount = amount + {amount} WHERE name = 'm{to}'; COMMIT"
    )
}

#[test]
fn p3_p4_own_writes_are_read_and_nobody_sees_half_a_sync() {
    // Pages smaller than what a transaction of the team's touches: every delta is staged.
    let world = World::with_pages(7);
    for at in 0..ACCOUNTS {
        world.team_writes(&format!(
            "INSERT INTO account VALUES ('a{at}', 0, '0'); \
             INSERT INTO mirror VALUES ('m{at}', 0, '0'); \
             INSERT INTO price VALUES ('p{at}', 0, '0'); \
             INSERT INTO news VALUES ('n{at}', 0, '0')"
        ));
    }
    let device = world.downloaded("phone", "ann");
    let rows: Vec<String> = (0..4)
        .map(|at| device.create_visit("mine", &format!("r{at}")))
        .collect();
    world.drain(&device);
    let reading = Child::start("reader", device.client.folder().path(), "", 0);
    break_connections(&world);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (done, device) = (&done, &device);
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                device.sync();
            }
        });
        let team = world.team();
        scope.spawn(move || {
            let mut tag = 0;
            while !done.load(Ordering::SeqCst) {
                tag += 1;
                team.execute_batch(&stamp(tag)).unwrap();
                thread::park_timeout(std::time::Duration::from_millis(5));
            }
        });
        write_and_read(device, &rows, &world);
        done.store(true, Ordering::SeqCst);
    });
    world.proxy.heal();
    world.drain(&device);
    let said = reading.finish();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        !said[0].contains("of 1 states"),
        "the reader saw no sync: {said:?}"
    );
    assert!(world.proxy.broken() > 10, "{}", world.proxy.broken());
}

/// Writes rows in turn until enough syncs were broken; all of them read back at all times.
fn write_and_read(device: &Device, ids: &[String], world: &World) {
    let mut notes: Vec<String> = (0..ids.len()).map(|at| format!("r{at}")).collect();
    let mut round = 0;
    eventually("enough connections broke", || {
        for _ in 0..10 {
            let at = round % ids.len();
            notes[at] = format!("note {round}");
            device.write(&format!(
                "UPDATE visit SET note = 'note {round}' WHERE id = '{}'",
                ids[at]
            ));
            for (id, note) in ids.iter().zip(&notes) {
                let read = device.read(&format!("SELECT note FROM visit WHERE id = '{id}'"));
                assert_eq!(read.as_ref(), Some(note), "round {round}");
            }
            round += 1;
        }
        round >= 300 && world.proxy.broken() > 10
    });
}

/// Breaks three requests of four, each in another place.
fn break_connections(world: &World) {
    let mut request = 0_u64;
    world.proxy.rule(move |_| {
        request += 1;
        match request % 4 {
            0 => Fault::Pass,
            1 => Fault::LoseAnswer,
            2 => Fault::CutAnswer(request * 37 % 900),
            _ => Fault::CutRequest(usize::try_from(request % 50).unwrap()),
        }
    });
}

//! Every decision, failed at each of its points: nothing of it stays, and nothing is lost.

use afield::protocol::{Attributes, Code, Decided, GroupId, Theirs, Verdict};
use afield::{Error, Outgoing, Resolution, Store, SyncStore};

use crate::store_crash::{dies_everywhere, edited};
use crate::world::{World, attributes, id, int, outcome, request, settle, text};

/// Two changes in one group, sent and not yet answered.
fn sent_together(world: &World) -> (Store, SyncStore, Outgoing) {
    edited(world);
    let mut sync = world.sync();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::applied());
    let mut store = world.store();
    store
        .transaction(|tx| {
            tx.update("stock", &[text("x"), int(1)], &amount(-1))?;
            tx.update("stock", &[text("y"), int(1)], &amount(7))
        })
        .unwrap();
    let sent = request(&mut sync);
    (store, sync, sent)
}

/// Two changes in one group, the first of them refused by `verdict`; one behind it.
fn parked(world: &World, verdict: Verdict) {
    let (mut store, mut sync, sent) = sent_together(world);
    let mate = Verdict::rejected(Code::GROUP_REFUSED, "with another");
    let outcomes = [outcome(sent.groups[0].id, vec![verdict, mate])];
    sync.store_outcomes(sent.request, &outcomes).unwrap();
    store
        .transaction(|tx| {
            tx.update("stock", &[text("x"), int(1)], &amount(8))?;
            tx.update("stock", &[text("z"), int(1)], &amount(8))
        })
        .unwrap();
}

fn amount(n: i64) -> Attributes {
    attributes([("amount", int(n))])
}

fn refused(world: &World) {
    parked(world, Verdict::rejected(Code::CHECK_FAILED, "no"));
}

fn in_conflict(world: &World) {
    let mut theirs = amount(9);
    theirs.insert("note".into(), text("theirs"));
    parked(
        world,
        Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs)),
    );
}

/// The name of the change that was refused itself, read past the store: asking is a write.
fn name(world: &World) -> String {
    let sql = "SELECT lower(hex(g.id)) || '.' || c.at FROM afield_group AS g \
               JOIN afield_change AS c ON c.group_n = g.n \
               JOIN afield_outcome AS o ON o.change_n = c.n \
               WHERE g.state = 'parked' AND o.code <> 'group-refused'";
    let plain = world.plain();
    plain.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn p1_sending_a_refused_change_again() {
    dies_everywhere(6, refused, |world| {
        let name = name(world);
        world.store().retry(&name, Some(&amount(1))).map(|_| ())
    });
}

#[test]
fn p1_giving_a_change_up() {
    dies_everywhere(6, refused, |world| {
        let name = name(world);
        world.store().drop_change(&name)
    });
}

#[test]
fn p1_settling_a_conflict() {
    for resolution in [
        Resolution::Mine,
        Resolution::Theirs,
        Resolution::Merged(amount(3)),
    ] {
        dies_everywhere(6, in_conflict, |world| {
            let name = name(world);
            world.store().resolve(&name, &resolution).map(|_| ())
        });
    }
}

/// Two changes in one group, of which a copy of the device sent a part; the second was decided.
fn half_decided(world: &World) {
    let (mut store, mut sync, sent) = sent_together(world);
    let known = Verdict::conflict(Code::ABSORBED_KNOWN, Theirs::Row(amount(9)));
    settle(&mut sync, &sent, &known);
    let second = format!("{}.1", sent.groups[0].id);
    store.resolve(&second, &Resolution::Mine).unwrap();
}

#[test]
fn p1_settling_the_last_conflict_of_a_group() {
    for resolution in [Resolution::Mine, Resolution::Theirs] {
        dies_everywhere(6, half_decided, |world| {
            let name = name(world);
            world.store().resolve(&name, &resolution).map(|_| ())
        });
    }
}

#[test]
fn p2_storing_an_outcome_that_counts_no_more() {
    let prepare = |world: &World| {
        let mut model = world.model.clone();
        let stock = model.entities.iter_mut().find(|it| it.name == "stock");
        stock.unwrap().attributes[2].counter = true;
        world.sync().install(&model).unwrap();
        sent(world);
    };
    dies_everywhere(3, prepare, |world| {
        let known = Verdict::conflict(Code::ABSORBED_KNOWN, Theirs::Row(amount(9)));
        let outcomes = [outcome(first(world), vec![known])];
        world.sync().store_outcomes(1, &outcomes).map(|_| ())
    });
}

#[test]
fn p1_folding_an_edit_into_a_conflict() {
    let prepare = |world: &World| {
        edited(world);
        let mut sync = world.sync();
        let sent = request(&mut sync);
        let theirs = Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(amount(9)));
        settle(&mut sync, &sent, &theirs);
    };
    dies_everywhere(2, prepare, |world| {
        let mut store = world.store();
        store.update("stock", &[text("x"), int(1)], &amount(1))
    });
}

#[test]
fn p6_giving_a_create_up_with_what_depends_on_it() {
    let prepare = |world: &World| {
        let mut store = world.store();
        store
            .create("contact", &attributes([("id", id(1))]))
            .unwrap();
        let mut sync = world.sync();
        let sent = request(&mut sync);
        settle(&mut sync, &sent, &Verdict::rejected(Code::FORBIDDEN, "no"));
        for n in [2, 3] {
            store
                .transaction(|tx| {
                    tx.create("label", &attributes([("word", text(&format!("w{n}")))]))?;
                    tx.create("visit", &attributes([("id", id(n)), ("contact_id", id(1))]))
                })
                .unwrap();
        }
    };
    dies_everywhere(12, prepare, |world| {
        let name = name(world);
        world.store().drop_change(&name)
    });
}

fn sent(world: &World) {
    edited(world);
    request(&mut world.sync());
}

/// The first group's id, read past the store.
fn first(world: &World) -> GroupId {
    let sql = "SELECT id FROM afield_group ORDER BY n LIMIT 1";
    let plain = world.plain();
    GroupId(plain.query_row(sql, [], |row| row.get(0)).unwrap())
}

#[test]
fn p2_sending_a_group_back() {
    dies_everywhere(2, sent, |world| {
        let waits = Verdict::rejected(Code::WAITS_FOR, "later");
        let outcomes = [outcome(first(world), vec![waits])];
        world.sync().store_outcomes(1, &outcomes).map(|_| ())
    });
}

#[test]
fn p6_a_resolver_s_decision_with_the_outcome() {
    dies_everywhere(6, sent, |world| -> Result<(), Error> {
        let mut sync = world.sync();
        sync.set_resolver("stock", |_| Some(Resolution::Mine));
        let theirs = Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(amount(9)));
        let outcomes = [outcome(first(world), vec![theirs])];
        sync.store_outcomes(1, &outcomes).map(|_| ())
    });
}

/// Two changes in one group in conflict, with a later edit folded into the first.
fn edited_in_conflict(world: &World) {
    in_conflict(world);
    let mut store = world.store();
    let note = attributes([("note", text("later"))]);
    store.update("stock", &[text("x"), int(1)], &note).unwrap();
}

/// The group that is parked, read past the store.
fn parked_group(world: &World) -> GroupId {
    let sql = "SELECT id FROM afield_group WHERE state = 'parked'";
    GroupId(world.plain().query_row(sql, [], |row| row.get(0)).unwrap())
}

#[test]
fn p1_following_what_was_decided_on_the_server() {
    for into in [Some(GroupId([0xdd; 16])), None] {
        for prepare in [refused, in_conflict, edited_in_conflict] {
            dies_everywhere(6, prepare, |world| {
                let corrected = Verdict {
                    values: amount(3),
                    ..Verdict::applied()
                };
                let decided = Decided {
                    group: parked_group(world),
                    into,
                    by: "dora".into(),
                    at_ms: 1,
                    verdicts: vec![corrected, Verdict::applied()],
                };
                world.sync().store_decided(1, &[decided]).map(drop)
            });
        }
    }
}

//! Import: another device takes the changes of a file as its own.

use std::path::PathBuf;

use afield::protocol::{Code, Merge, Model, Value, Verdict};
use afield::{ChangeState, ExportOptions, Resolution, Store};

use crate::ids::{create_sheet, none_left, renamed, settle, sheets as numbered, temporary};
use crate::sheets::{Desk, ends, set, sheet};
use crate::store_crash::{contents, dies_everywhere_in, edited};
use crate::store_export::{code, export, file_of, groups, in_every_state};
use crate::world::{World, answer, attributes, int, outcome, pull, query, request, text};

/// A device that is not a copy of the first one: it makes ids of its own.
fn other(model: &Model) -> World {
    let world = World::with(model.clone());
    (0..1_000).for_each(|_| drop(world.env()));
    world
}

/// Another desk beside the first one, with the same server.
fn tablet(desk: &Desk) -> Desk {
    let mut tablet = Desk::with(desk.world.model.clone());
    (0..1_000).for_each(|_| drop(tablet.world.env()));
    tablet.store = tablet.world.store();
    tablet.rows.clone_from(&desk.rows);
    tablet.pull();
    tablet
}

/// The states of the changes on a device, in the order of the outbox.
fn states(store: &mut Store) -> Vec<ChangeState> {
    let changes = store.changes().unwrap();
    changes.into_iter().map(|change| change.state).collect()
}

fn stock(world: &World) -> afield::protocol::Frame {
    let row = |place: &str| [text(place), int(1), int(5), Value::Null];
    let rows = [row("x"), row("y"), row("z")];
    world.rows("stock", &rows.each_ref().map(<[Value; 4]>::as_slice))
}

/// A device with edits of stock, its file, and another device.
fn carried() -> (World, PathBuf, World) {
    let phone = World::new();
    edited(&phone);
    let path = file_of(&phone);
    export(&mut phone.store(), &path);
    let tablet = other(&phone.model);
    (phone, path, tablet)
}

#[test]
fn p1_p2_p3_the_other_device_shows_and_sends_the_very_same() {
    let (phone, path, tablet) = carried();
    pull(&mut tablet.sync(), &[stock(&tablet)], "t1");
    let mut store = tablet.store();
    let imported = store.import(&path).unwrap();
    assert_eq!((imported.groups, imported.changes.ready), (3, 3));
    assert_eq!((imported.known, imported.unknown), (0, 0));
    assert!(!imported.is_other_model);
    let sql = "SELECT place, amount FROM stock ORDER BY place";
    assert_eq!(query(&store, sql), query(&phone.store(), sql));
    assert_eq!(states(&mut store), [ChangeState::Sent; 3]);
    let theirs = request(&mut phone.sync()).groups;
    let mut sync = tablet.sync();
    let sent = request(&mut sync);
    assert_eq!(sent.groups, theirs);
    crate::world::settle(&mut sync, &sent, &Verdict::applied());
    assert_eq!(states(&mut store), [ChangeState::Settled; 3]);
    // What came to the server by the one is in the rows that come to the other.
    pull(&mut sync, &[], "t2");
    assert_eq!(query(&store, sql).len(), 3);
}

#[test]
fn p2_a_file_that_is_imported_again_changes_nothing() {
    let (phone, path, tablet) = carried();
    let mut store = tablet.store();
    store.import(&path).unwrap();
    for store in [&mut store, &mut phone.store()] {
        let before = store.changes().unwrap();
        let imported = store.import(&path).unwrap();
        assert_eq!((imported.groups, imported.known), (0, 3));
        assert_eq!(store.changes().unwrap(), before);
    }
    // Not even when the history has forgotten them.
    let mut sync = tablet.sync();
    let sent = request(&mut sync);
    crate::world::settle(&mut sync, &sent, &Verdict::applied());
    pull(&mut sync, &[], "t1");
    tablet.pass_ms(20 * 24 * 60 * 60 * 1_000);
    sync.finished(None).unwrap();
    assert_eq!(store.changes().unwrap(), []);
    let imported = store.import(&path).unwrap();
    assert_eq!((imported.groups, imported.known), (0, 3));
}

#[test]
fn p1_p6_parked_and_held_changes_are_decided_where_they_were_imported() {
    let mut desk = Desk::new();
    in_every_state(&mut desk);
    desk.mine("s1", &set("b", "more"));
    let path = file_of(&desk.world);
    export(&mut desk.store, &path);
    let mut tablet = tablet(&desk);
    let imported = tablet.store.import(&path).unwrap();
    let changes = imported.changes;
    assert_eq!((changes.ready, changes.held, changes.parked), (1, 1, 2));
    for device in [&desk, &tablet] {
        assert_eq!(device.seen("s1")["b"], text("more"));
    }
    let here = tablet.store.changes().unwrap();
    let there = desk.store.changes().unwrap();
    let facts = |it: &afield::ChangeInfo| {
        let what = (it.entity.clone(), it.key.clone(), it.set.clone());
        let state = match it.state {
            ChangeState::Pending | ChangeState::Sent => ChangeState::Sent,
            state => state,
        };
        (what, state, it.code.clone(), it.theirs.clone())
    };
    let all = |changes: &[afield::ChangeInfo]| changes.iter().map(facts).collect::<Vec<_>>();
    assert_eq!(all(&here), all(&there));
    assert_eq!(ends(&tablet.push()), ["applied"]);
    // His decisions take effect from here.
    let conflict = tablet.conflict();
    tablet.store.resolve(&conflict, &Resolution::Mine).unwrap();
    let refused = tablet.culprit_of("check");
    let good = attributes([("a", text("good"))]);
    tablet.store.retry(&refused, Some(&good)).unwrap();
    let done = tablet.round();
    assert_eq!(ends(&done), ["applied", "applied", "applied"]);
    // None of what may be rebased is sent under the id that it has in the file.
    for (at, file) in groups(&path).iter().take(3).enumerate() {
        let id = file.content.now().id;
        assert_eq!(done[at].0.absorbed, [id], "{at}");
        assert_ne!(done[at].0.id, id);
    }
    assert_eq!(tablet.rows["s1"], sheet("mine", "more", 5));
    assert_eq!(tablet.store.status().unwrap().parked, 0);
    assert_eq!(tablet.store.import(&path).unwrap().groups, 0);
}

#[test]
fn p2_a_later_file_brings_only_what_is_new() {
    let mut desk = Desk::new();
    in_every_state(&mut desk);
    let first = file_of(&desk.world);
    export(&mut desk.store, &first);
    desk.mine("s2", &set("a", "later"));
    let second = desk.world.dir.path().join("second");
    export(&mut desk.store, &second);
    let mut tablet = tablet(&desk);
    tablet.store.import(&first).unwrap();
    let imported = tablet.store.import(&second).unwrap();
    // The held one has another id in the second file, and says the same.
    assert_eq!((imported.groups, imported.known), (1, 4));
    assert_eq!(tablet.seen("s2")["a"], text("later"));
    // What was typed since into the held one is another version of it: the server tells.
    let remark = attributes([("text", text("typed since"))]);
    desk.store.update("remark", &[int(1)], &remark).unwrap();
    let third = desk.world.dir.path().join("third");
    export(&mut desk.store, &third);
    assert_eq!(tablet.store.import(&third).unwrap().groups, 1);
}

#[test]
fn p3_what_is_imported_before_the_first_download_lies_over_its_rows_when_they_come() {
    let (_phone, path, tablet) = carried();
    let mut store = tablet.store();
    store.import(&path).unwrap();
    assert_eq!(
        query(&store, "SELECT * FROM stock"),
        Vec::<Vec<Value>>::new()
    );
    let mut sync = tablet.sync();
    let sent = request(&mut sync);
    let ids: Vec<_> = sent.groups.iter().map(|group| group.id).collect();
    let refused = Verdict::rejected(Code::CHECK_FAILED, "no");
    let outcomes = [
        outcome(ids[0], vec![Verdict::applied()]),
        outcome(ids[1], vec![refused]),
    ];
    sync.store_outcomes(sent.request, &outcomes).unwrap();
    answer(&mut sync, &sent, &[stock(&tablet)], "t1", false);
    let amounts = |store: &Store| query(store, "SELECT amount FROM stock ORDER BY place");
    assert_eq!(amounts(&store), [[int(6)], [int(6)], [int(6)]]);
    let rest = sync.next_request(Some("main"), false, Default::default());
    answer(&mut sync, &rest.unwrap(), &[], "t2", true);
    // The first was applied, and a whole table shows it as the server has it; the second is parked
    // with its row, and keeps what it was made on.
    assert_eq!(amounts(&store), [[int(5)], [int(6)], [int(6)]]);
    let parked = store.changes().unwrap().remove(1);
    assert_eq!(parked.state, ChangeState::Parked);
    assert_eq!(parked.base["amount"], int(5));
}

#[test]
fn p7_a_row_that_is_not_here_any_more_is_not_shown_again() {
    let (_phone, path, tablet) = carried();
    pull(&mut tablet.sync(), &[], "t1");
    let mut store = tablet.store();
    assert_eq!(store.import(&path).unwrap().changes.ready, 3);
    assert_eq!(
        query(&store, "SELECT * FROM stock"),
        Vec::<Vec<Value>>::new()
    );
    let sent = request(&mut tablet.sync());
    assert_eq!(sent.groups.len(), 3, "the server says what becomes of them");
}

/// A phone with a sheet, a part of it and a photo of it, all in groups of their own.
fn numbered_phone() -> (World, PathBuf) {
    let phone = World::with(numbered());
    pull(&mut phone.sync(), &[], "t1");
    let mut store = phone.store();
    let first = create_sheet(&mut store, "first");
    let part = attributes([("sheet_id", first.clone()), ("no", int(1))]);
    store.create("part", &part).unwrap();
    let second = attributes([("title", text("second")), ("next_id", first)]);
    store.create("sheet", &second).unwrap();
    let path = file_of(&phone);
    export(&mut store, &path);
    (phone, path)
}

#[test]
fn p2_temporary_identifiers_mean_the_same_rows_on_both_devices() {
    let (_phone, path) = numbered_phone();
    let tablet = other(&numbered());
    pull(&mut tablet.sync(), &[], "t1");
    let mut store = tablet.store();
    store.import(&path).unwrap();
    assert_eq!(create_sheet(&mut store, "own"), temporary(3));
    let mut sync = tablet.sync();
    let sent = request(&mut sync);
    let sheets = tablet.groups(&sent);
    assert_eq!(sheets[1].origins[0].group, sheets[0].id);
    let settled = [7, 8, 9, 0];
    for (at, real) in [(0, 0), (1, 3), (2, 1), (3, 2)] {
        let verdict = match settled[real] {
            0 => renamed(&[int(7), int(1)]),
            real => renamed(&[int(real)]),
        };
        settle(&mut sync, &sent, at, vec![verdict]);
    }
    none_left(&mut store);
    let sql = "SELECT id, title, next_id FROM sheet ORDER BY id";
    let expected = [
        [int(7), text("first"), Value::Null],
        [int(8), text("second"), int(7)],
        [int(9), text("own"), Value::Null],
    ];
    assert_eq!(query(&store, sql), expected);
}

#[test]
fn p2_what_refers_to_a_row_of_a_file_that_was_imported_before_finds_it() {
    let (phone, path) = numbered_phone();
    let tablet = other(&numbered());
    pull(&mut tablet.sync(), &[], "t1");
    let mut store = tablet.store();
    store.import(&path).unwrap();
    let mut sync = tablet.sync();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, 0, vec![renamed(&[int(7)])]);
    // The phone does not know yet what the server calls the sheet.
    let mut there = phone.store();
    let photo = attributes([("sheet_id", temporary(1)), ("caption", text("c"))]);
    there.create("photo", &photo).unwrap();
    let later = phone.dir.path().join("later");
    export(&mut there, &later);
    assert_eq!(store.import(&later).unwrap().groups, 1);
    assert_eq!(query(&store, "SELECT sheet_id FROM photo"), [[int(7)]]);
    let frozen = request(&mut tablet.sync());
    let group = tablet.groups(&frozen).pop().unwrap();
    assert_eq!(
        group.changes[0].set["sheet_id"],
        temporary(1),
        "its bytes stay"
    );
    assert_eq!(group.origins.len(), 1);
}

#[test]
fn p2_a_temporary_identifier_that_was_given_here_refuses_the_file() {
    let (_phone, path) = numbered_phone();
    let tablet = other(&numbered());
    pull(&mut tablet.sync(), &[], "t1");
    let mut store = tablet.store();
    create_sheet(&mut store, "own");
    let before = contents(&tablet.plain());
    assert_eq!(code(store.import(&path)), "temporary-taken");
    assert_eq!(contents(&tablet.plain()), before);
}

#[test]
fn p2_a_reference_to_a_row_that_is_another_one_here_refuses_the_file() {
    let phone = World::with(numbered());
    pull(&mut phone.sync(), &[], "t1");
    let mut store = phone.store();
    // Nobody ever made this sheet; here it would be somebody's.
    let photo = attributes([("sheet_id", temporary(1)), ("caption", text("c"))]);
    store.create("photo", &photo).unwrap();
    let path = file_of(&phone);
    export(&mut store, &path);
    let tablet = other(&numbered());
    let mut store = tablet.store();
    create_sheet(&mut store, "own");
    assert_eq!(code(store.import(&path)), "temporary-taken");
    let fresh = other(&numbered());
    assert_eq!(fresh.store().import(&path).unwrap().groups, 1);
    assert_eq!(create_sheet(&mut fresh.store(), "own"), temporary(2));
}

#[test]
fn p7_nobody_elses_file_and_none_without_a_model() {
    let (_phone, path, tablet) = carried();
    let open = |user: &str, name: &str| {
        let at = tablet.dir.path().join(name);
        Store::open(&at, user, tablet.env()).unwrap()
    };
    let mut eve = open("eve", "eve");
    eve.install_first(&tablet.model).unwrap();
    assert_eq!(code(eve.import(&path)), "other-user");
    assert_eq!(code(open("ann", "bare").import(&path)), "model-changed");
    let missing = tablet.dir.path().join("missing");
    assert_eq!(code(tablet.store().import(&missing)), "file-unusable");
    assert_eq!(eve.changes().unwrap(), []);
}

#[test]
fn p1_another_model_keeps_what_was_typed_and_one_with_other_identifiers_is_refused() {
    let (_phone, path, tablet) = carried();
    let mut model = tablet.model.clone();
    model.entities.retain(|entity| entity.name != "stock");
    model.units[0].entities.retain(|name| name != "stock");
    let without = other(&model);
    let imported = without.store().import(&path).unwrap();
    assert!(imported.is_other_model);
    assert_eq!((imported.groups, imported.unknown), (3, 3));
    assert_eq!(request(&mut without.sync()).groups.len(), 3);
    let mut model = tablet.model;
    let stock = model.entities.iter_mut().find(|it| it.name == "stock");
    stock.unwrap().key_width = 1;
    let otherwise = other(&model);
    assert_eq!(code(otherwise.store().import(&path)), "model-changed");
}

#[test]
fn p1_p2_a_file_that_is_cut_or_altered_anywhere_changes_nothing() {
    let phone = World::new();
    phone.store().create("label", &set("word", "w")).unwrap();
    let path = file_of(&phone);
    export(&mut phone.store(), &path);
    let file = std::fs::read(&path).unwrap();
    let tablet = other(&phone.model);
    let mut store = tablet.store();
    // Asking for something seals: nothing is left to be sealed when the contents are compared.
    store.status().unwrap();
    let before = contents(&tablet.plain());
    let altered = tablet.dir.path().join("altered");
    let mut refused = |bytes: &[u8]| {
        std::fs::write(&altered, bytes).unwrap();
        let code = code(store.import(&altered));
        assert!(["file-damaged", "file-version"].contains(&&*code), "{code}");
    };
    for at in 0..file.len() {
        refused(&file[..at]);
        let mut bytes = file.clone();
        bytes[at] ^= 0x41;
        refused(&bytes);
    }
    refused(&[&file[..], b"x"].concat());
    assert_eq!(contents(&tablet.plain()), before);
    assert_eq!(store.import(&path).unwrap().groups, 1);
}

#[test]
fn p1_an_import_that_dies_anywhere_leaves_nothing_of_it() {
    let mut desk = Desk::new();
    in_every_state(&mut desk);
    let path = file_of(&desk.world);
    export(&mut desk.store, &path);
    let file = std::fs::read(&path).unwrap();
    let prepare = |world: &World| {
        (0..1_000).for_each(|_| drop(world.env()));
        std::fs::write(file_of(world), &file).unwrap();
    };
    let new = || World::with(crate::sheets::sheets(Merge::Record));
    dies_everywhere_in(new, 20, prepare, |world| {
        world.store().import(&file_of(world)).map(|_| ())
    });
    assert_eq!(groups(&path).len(), 4);
}

#[test]
fn p1_what_a_restore_took_is_not_sent_unasked_from_another_device() {
    let (phone, path, tablet) = carried();
    let mut sync = phone.sync();
    let sent = request(&mut sync);
    crate::world::settle(&mut sync, &sent, &Verdict::applied());
    let ids: Vec<_> = sent.groups.iter().map(|group| group.id).collect();
    sync.store_lost(&ids, Some(&b"new".to_vec())).unwrap();
    let force = ExportOptions {
        force: true,
        ..ExportOptions::default()
    };
    phone.store().export(&path, &force).unwrap();
    let mut store = tablet.store();
    assert_eq!(store.import(&path).unwrap().changes.parked, 3);
    assert_eq!(request(&mut tablet.sync()).groups, []);
    let lost = store.changes().unwrap().remove(0);
    assert_eq!(lost.code, Some(Code::LOST_BY_RESTORE));
    store.retry(&lost.change, None).unwrap();
    let again = request(&mut tablet.sync());
    assert_eq!(tablet.groups(&again)[0].absorbed, [lost.group]);
}

#[test]
fn p1_rows_that_may_be_others_since_a_restore_are_not_written_by_imported_changes() {
    let phone = World::with(numbered());
    let row = [int(7), text("seven"), Value::Null];
    pull(&mut phone.sync(), &[phone.rows("sheet", &[&row])], "t1");
    let mut sync = phone.sync();
    sync.reached(b"old".to_vec());
    let none: &[afield::protocol::GroupOutcome] = &[];
    sync.store_outcomes(1, none).unwrap();
    let mut store = phone.store();
    let edit = attributes([("title", text("edited"))]);
    store.update("sheet", &[int(7)], &edit).unwrap();
    create_sheet(&mut store, "own");
    let path = file_of(&phone);
    export(&mut store, &path);
    let tablet = other(&numbered());
    let mut store = tablet.store();
    store.import(&path).unwrap();
    // The server is asked what it has of that history, and says that it is another one.
    let mut sync = tablet.sync();
    let sent = request(&mut sync);
    assert_eq!(sent.checkpoints, [b"old".to_vec()]);
    sync.store_lost(&[], Some(&b"new".to_vec())).unwrap();
    let changes = store.changes().unwrap();
    let codes: Vec<_> = changes.iter().map(|it| it.code.clone()).collect();
    assert_eq!(codes, [Some(Code::OTHER_ROW), None]);
}

#[test]
fn p1_rows_that_are_doubted_where_a_file_is_made_wait_for_their_user() {
    let phone = World::with(numbered());
    let row = [int(7), text("seven"), Value::Null];
    let mut sync = phone.sync();
    pull(&mut sync, &[phone.rows("sheet", &[&row])], "t1");
    let mut store = phone.store();
    let edit = attributes([("title", text("edited"))]);
    store.update("sheet", &[int(7)], &edit).unwrap();
    sync.store_lost(&[], Some(&b"new".to_vec())).unwrap();
    let path = file_of(&phone);
    let exported = export(&mut store, &path);
    assert_eq!((exported.changes.parked, exported.changes.ready), (1, 0));
    let tablet = other(&numbered());
    let mut store = tablet.store();
    store.import(&path).unwrap();
    let changes = store.changes().unwrap();
    assert_eq!(changes[0].code, Some(Code::OTHER_ROW));
    // Where it was made it still waits to be compared, under another id.
    let here = phone.store().changes().unwrap().remove(0);
    assert_eq!(here.state, ChangeState::Pending);
    assert_ne!(here.group, changes[0].group);
}

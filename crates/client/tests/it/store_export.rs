//! Export: what is not settled goes into a file, and nothing is lost by that.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use afield::protocol::outbox_file::{FileContent, FileGroup, FileItem, FileReader, FileState};
use afield::protocol::{Code, Op, Theirs, Verdict, VerdictKind};
use afield::{ChangeState, Error, ExportOptions, Exported, RequestCaps, Store};

use crate::sheets::{Desk, set};
use crate::store_crash::{dies_everywhere, edited};
use crate::world::{World, attributes, execute, id, int, request, settle, text};

/// Where a world's file goes.
pub(crate) fn file_of(world: &World) -> PathBuf {
    world.dir.path().join("ann.outbox")
}

pub(crate) fn export(store: &mut Store, path: &Path) -> Exported {
    store.export(path, &ExportOptions::default()).unwrap()
}

/// The groups of a file.
pub(crate) fn groups(path: &Path) -> Vec<FileGroup> {
    let mut reader = FileReader::new();
    reader.push(&std::fs::read(path).unwrap());
    let mut found = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        if let FileItem::Group(group) = item {
            found.push(*group);
        }
    }
    reader.finish().unwrap();
    found
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().code().to_string()
}

fn states(groups: &[FileGroup]) -> Vec<&'static str> {
    groups.iter().map(|group| group.state.as_str()).collect()
}

#[test]
fn p2_what_can_be_sent_is_in_the_file_as_the_very_bytes_that_are_sent() {
    let world = World::new();
    edited(&world);
    let mut store = world.store();
    let path = file_of(&world);
    let exported = export(&mut store, &path);
    assert_eq!(exported.path.as_deref(), Some(&*path));
    assert_eq!((exported.groups, exported.changes.ready), (3, 3));
    assert_eq!(exported.changes.all() + exported.too_large, 3);
    assert_eq!(exported.bytes, std::fs::metadata(&path).unwrap().len());
    let file = groups(&path);
    let sent = request(&mut world.sync()).groups;
    let bytes = file.iter().map(|group| group.content.sent().unwrap().0);
    let expected: Vec<&[u8]> = sent.iter().map(|group| &*group.bytes).collect();
    assert_eq!(bytes.collect::<Vec<_>>(), expected);
    // What is read there is the whole row that the user saw, not only what is overwritten.
    let FileContent::Changed { group, now, .. } = &file[0].content else {
        panic!("{:?}", file[0]);
    };
    assert_eq!(group.changes[0].base, attributes([("amount", int(5))]));
    assert_eq!(now.changes[0].base.len(), 2);
    for change in store.changes().unwrap() {
        assert_eq!(change.state, ChangeState::Sent);
    }
    // Another file of the same has the same groups.
    let again = world.dir.path().join("again");
    export(&mut store, &again);
    assert_eq!(groups(&again), file);
}

#[test]
fn p1_an_edit_after_the_export_is_a_change_of_its_own() {
    let desk = &mut Desk::new();
    desk.mine("s1", &set("a", "one"));
    export(&mut desk.store, &file_of(&desk.world));
    desk.mine("s1", &set("a", "a0"));
    assert_eq!(desk.store.changes().unwrap().len(), 2);
    let done = desk.push();
    assert_eq!(done.len(), 2);
    desk.pull();
    assert_eq!(desk.rows["s1"]["a"], text("a0"));
    assert_eq!(desk.store.status().unwrap().pending, 0);
}

/// Sheet s1 is in conflict, a remark waits for a sheet that was refused, and more flows.
pub(crate) fn in_every_state(desk: &mut Desk) {
    desk.mine("s1", &set("a", "mine"));
    let bad = attributes([("id", text("s3")), ("a", text("bad"))]);
    desk.store.create("sheet", &bad).unwrap();
    desk.theirs("s1", "a", text("theirs"));
    desk.push();
    let remark = attributes([("id", int(1)), ("sheet", text("s3")), ("text", text("r"))]);
    desk.store.create("remark", &remark).unwrap();
    desk.mine("s2", &set("b", "free"));
}

#[test]
fn p6_parked_and_held_changes_go_with_what_the_server_said_of_them() {
    let mut desk = Desk::new();
    in_every_state(&mut desk);
    let before = desk.store.changes().unwrap();
    let held = before.iter().find(|it| it.state == ChangeState::Held);
    let held = held.unwrap().group;
    // The user goes on typing into what is in conflict.
    desk.mine("s1", &set("b", "more"));
    let path = file_of(&desk.world);
    let exported = export(&mut desk.store, &path);
    let changes = exported.changes;
    assert_eq!((changes.ready, changes.held, changes.parked), (1, 1, 2));
    let file = groups(&path);
    assert_eq!(states(&file), ["parked", "parked", "held", "ready"]);
    let theirs = attributes([
        ("a", text("theirs")),
        ("b", text("b0")),
        ("visits", int(5)),
        ("made", text("m")),
    ]);
    let conflict = Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs));
    assert_eq!(file[0].verdicts, [conflict]);
    assert_eq!(file[1].verdicts[0].code, Some(Code::CHECK_FAILED));
    let (_, sent) = file[0].content.sent().unwrap();
    assert_eq!(sent.changes[0].set, set("a", "mine"));
    let typed = attributes([("a", text("mine")), ("b", text("more"))]);
    assert_eq!(file[0].content.now().changes[0].set, typed);
    assert_eq!(
        (file[2].content.sent(), file[2].content.now().id),
        (None, held)
    );
    // Here the held one stands under another id in the place of that in the file.
    let here = desk.store.changes().unwrap();
    let here = here.iter().find(|it| it.state == ChangeState::Held);
    assert_ne!(here.unwrap().group, held);
    let name = desk.culprit_of("check");
    desk.store
        .retry(&name, Some(&attributes([("a", text("good"))])))
        .unwrap();
    let sent = desk.push();
    let absorbed: Vec<_> = sent.iter().flat_map(|(group, _)| &group.absorbed).collect();
    assert!(absorbed.contains(&&held), "{sent:?}");
}

#[test]
fn p1_p2_what_is_in_a_file_is_not_taken_back_by_a_later_edit() {
    for is_exported in [true, false] {
        let mut desk = Desk::new();
        let bad = attributes([("id", text("s3")), ("a", text("bad"))]);
        desk.store.create("sheet", &bad).unwrap();
        desk.push();
        let remark = attributes([("id", int(1)), ("sheet", text("s3")), ("text", text("r"))]);
        desk.store.create("remark", &remark).unwrap();
        if is_exported {
            let exported = export(&mut desk.store, &file_of(&desk.world));
            assert_eq!(exported.changes.held, 1);
        }
        let key = [int(1)];
        let edit = attributes([("text", text("another"))]);
        desk.store.update("remark", &key, &edit).unwrap();
        desk.store.delete("remark", &key).unwrap();
        let changes = desk.store.changes().unwrap();
        let ops = changes.iter().filter(|it| it.entity == "remark");
        let ops: Vec<_> = ops.map(|it| it.op).collect();
        // Without the file nothing at all is left of it: nobody ever heard of the remark.
        let expected: &[Op] = match is_exported {
            true => &[Op::Create, Op::Delete],
            false => &[],
        };
        assert_eq!(ops, expected);
    }
}

#[test]
fn nothing_to_export_makes_no_file() {
    let world = World::new();
    let mut store = world.store();
    let path = file_of(&world);
    assert_eq!(export(&mut store, &path), Exported::default());
    assert!(!path.exists());
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new");
    let mut bare = Store::open(&new, "ann", world.env()).unwrap();
    assert_eq!(export(&mut bare, &path), Exported::default());
    let names = std::fs::read_dir(world.dir.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut others = names.filter(|name| !name.starts_with("ann.afield"));
    assert_eq!(others.next(), None);
}

#[test]
fn a_file_that_is_there_is_replaced_only_if_that_is_said_and_only_by_a_whole_one() {
    let world = World::new();
    edited(&world);
    let mut store = world.store();
    let path = file_of(&world);
    std::fs::write(&path, "something else").unwrap();
    let options = ExportOptions::default();
    assert_eq!(code(store.export(&path, &options)), "file-exists");
    let force = ExportOptions {
        force: true,
        ..options
    };
    afield::protocol::zoo::crash_after(Some(3));
    store.export(&path, &force).unwrap_err();
    afield::protocol::zoo::crash_after(None);
    assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    store.export(&path, &force).unwrap();
    assert_eq!(groups(&path).len(), 3);
    for name in ["ann.afield", "ANN.afield", "ann.afield-wal"] {
        let store_itself = world.dir.path().join(name);
        assert_eq!(code(store.export(&store_itself, &force)), "file-exists");
    }
    assert_eq!(store.changes().unwrap().len(), 3);
    let nowhere = world.dir.path().join("nowhere").join("file");
    assert_eq!(code(store.export(&nowhere, &options)), "file-unusable");
    assert_eq!(code(store.export(Path::new("/"), &force)), "file-unusable");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn p9_a_group_that_no_server_takes_is_left_out_and_counted() {
    let world = World::new();
    let mut store = world.store();
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100001) \
               INSERT INTO label SELECT 'w' || i FROM n";
    execute(&mut store, sql).unwrap();
    execute(&mut store, "INSERT INTO label VALUES ('small')").unwrap();
    let path = file_of(&world);
    let exported = export(&mut store, &path);
    assert_eq!((exported.too_large, exported.changes.all()), (100_001, 1));
    assert_eq!(groups(&path).len(), 1);
}

/// Edits of which one is in conflict; the last one waits for it.
fn parked_and_held(world: &World) {
    edited(world);
    let mut sync = world.sync();
    let caps = RequestCaps {
        groups: 1,
        ..RequestCaps::default()
    };
    let sent = sync.next_request(Some("main"), true, caps).unwrap();
    let verdict = Verdict::conflict(Code::ROW_CHANGED, Theirs::Gone);
    assert_eq!(verdict.kind, VerdictKind::Conflict);
    settle(&mut sync, &sent, &verdict);
    let mut store = world.store();
    let both = "UPDATE stock SET note = 'n' WHERE place IN ('x', 'y')";
    execute(&mut store, both).unwrap();
    store
        .create("label", &attributes([("word", text("l"))]))
        .unwrap();
    store
        .create("contact", &attributes([("id", id(1))]))
        .unwrap();
}

#[test]
fn p1_p2_an_export_that_dies_anywhere_leaves_no_file_and_half_of_nothing() {
    dies_everywhere(14, parked_and_held, |world| {
        let path = file_of(world);
        let result = world.store().export(&path, &ExportOptions::default());
        assert_eq!(result.is_ok(), path.exists());
        let left = std::fs::read_dir(world.dir.path()).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(left.into_iter().all(|name| !name.ends_with(".part")));
        let exported = result?;
        assert_eq!(exported.changes.held, 2);
        assert_eq!(groups(&path)[2].state, FileState::Ready);
        std::fs::remove_file(path).unwrap();
        Ok(())
    });
}

#[test]
fn p1_who_logs_out_with_a_file_stays_if_anything_is_not_in_it() {
    let world = World::new();
    edited(&world);
    let mut store = world.store();
    let path = file_of(&world);
    let options = ExportOptions::default();
    std::fs::write(&path, "something else").unwrap();
    assert_eq!(code(store.log_out_exported(&path, &options)), "file-exists");
    let force = ExportOptions {
        force: true,
        ..options
    };
    // Another program writes at the very moment at which the file is made.
    let plain = Mutex::new(Some(world.plain()));
    let write = move || {
        let mut plain = plain.lock().unwrap();
        let sql = "UPDATE stock SET amount = amount + 1 WHERE place = 'x'";
        let written = plain.as_ref().map(|plain| plain.execute_batch(sql));
        // Told before the commit, too, it is locked out.
        if let Some(Ok(())) = written {
            *plain = None;
        }
    };
    store.on_writes(Arc::new(write)).unwrap();
    assert_eq!(code(store.log_out_exported(&path, &force)), "overtaken");
    assert!(!store.is_signed_out().unwrap());
    drop(store);
    let mut store = world.store();
    let exported = store.log_out_exported(&path, &force).unwrap();
    assert_eq!(exported.changes.ready, 4, "what was written meanwhile too");
    assert!(store.is_signed_out().unwrap());
    store.sign_in().unwrap();
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100001) \
               INSERT INTO label SELECT 'w' || i FROM n";
    execute(&mut store, sql).unwrap();
    assert_eq!(code(store.log_out_exported(&path, &force)), "unsent-work");
    assert!(!store.is_signed_out().unwrap());
}

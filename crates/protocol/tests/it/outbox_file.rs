//! Files of changes: what is written reads back, and what was altered in any byte is refused.

use afield_protocol::codec::Format;
use afield_protocol::limits::GROUP_CHANGES_MAX;
use afield_protocol::outbox_file::{
    FileContent, FileEnd, FileGroup, FileHead, FileItem, FileProblem, FileReader, FileState,
    FileWriter,
};
use afield_protocol::{Attributes, Code, Frame, Group, GroupId, Theirs, Verdict};
use sha2::{Digest as _, Sha256};

use crate::sample::model;
use crate::{bless, golden};

const GOLDEN: &str = "spec/golden/outbox-file.cbor";

fn head() -> FileHead {
    FileHead {
        user: "ann".into(),
        device: "d-8f14e45f".into(),
        model: "adae4ea08f6e72ac".into(),
        made_at_ms: 1_764_000_000_000,
        checkpoints: vec![b"seen".to_vec()],
    }
}

/// The worked example of the protocol under another id.
fn group(id: u8) -> Group {
    Group {
        id: GroupId([id; 16]),
        ..golden::group()
    }
}

fn bytes(group: &Group) -> Vec<u8> {
    let mut bytes = Vec::new();
    Format::Cbor.write(&model(), &Frame::Group(group.clone()), &mut bytes);
    bytes
}

/// A group in each state, in each form that it can have there.
fn groups() -> Vec<FileGroup> {
    let made = |state, content, verdicts| FileGroup {
        state,
        made_at_ms: 1_763_999_999_000,
        content,
        verdicts,
    };
    let sent = |id| FileContent::Sent {
        bytes: bytes(&group(id)),
        group: group(id),
    };
    let mut later = group(2);
    later.changes[0]
        .set
        .insert("a_text".into(), "Lake 2".into());
    let theirs = Attributes::from([("a_text".to_owned(), "Sea".into())]);
    let conflict = vec![
        Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs)),
        Verdict::rejected(Code::GROUP_REFUSED, "with its transaction"),
    ];
    let gone = vec![Verdict::rejected(Code::GONE, "gone"); 2];
    let changed = FileContent::Changed {
        bytes: bytes(&group(2)),
        group: group(2),
        now: later,
    };
    vec![
        made(FileState::Ready, sent(1), Vec::new()),
        made(FileState::Parked, changed, conflict),
        made(
            FileState::Held,
            FileContent::Unsent { now: group(3) },
            Vec::new(),
        ),
        made(
            FileState::Parked,
            FileContent::Unsent { now: group(4) },
            gone,
        ),
    ]
}

fn written(groups: &[FileGroup]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = FileWriter::begin(&head(), &mut file);
    for group in groups {
        assert!(writer.group(group, &mut file));
    }
    writer.end(&mut file);
    file
}

/// Reads a file that comes in pieces of so many bytes.
fn read(file: &[u8], piece: usize) -> Result<Vec<FileItem>, FileProblem> {
    let mut reader = FileReader::new();
    let mut found = Vec::new();
    for piece in file.chunks(piece) {
        reader.push(piece);
        while let Some(item) = reader.next_item()? {
            found.push(item);
        }
    }
    reader.finish()?;
    Ok(found)
}

#[test]
fn the_file_is_what_it_was_and_reads_back_in_any_pieces() {
    let file = written(&groups());
    bless::check(GOLDEN, &file);
    let mut expected = vec![FileItem::Head(head())];
    let groups = groups().into_iter().map(Box::new);
    expected.extend(groups.map(FileItem::Group));
    expected.push(FileItem::End(FileEnd {
        groups: 4,
        changes: 8,
    }));
    for piece in [1, 7, 300, file.len()] {
        assert_eq!(read(&file, piece), Ok(expected.clone()), "{piece}");
    }
}

#[test]
fn the_specification_shows_the_golden_file() {
    let page = bless::text("spec/outbox-file.md");
    let shown: String = page
        .split("```hex golden/outbox-file.cbor\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap()
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .collect();
    let shown: String = shown.split_whitespace().collect();
    let file = written(&groups());
    let digits: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
    // The page leaves the middle out: it shows the head, the first entry, and the end.
    for part in shown.split('…') {
        assert!(digits.contains(part), "{part}");
    }
    assert!(shown.split('…').count() > 2, "the page shows nothing");
}

#[test]
fn p1_p2_a_file_that_is_cut_or_altered_anywhere_is_refused() {
    let file = written(&groups());
    for length in 0..file.len() {
        let error = read(&file[..length], 64).unwrap_err();
        assert_eq!(error.code(), Code::FILE_DAMAGED, "{length}: {error}");
    }
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut altered = file.clone();
            altered[at] ^= 1 << bit;
            let error = read(&altered, 64).unwrap_err();
            let codes = [Code::FILE_DAMAGED, Code::FILE_VERSION];
            assert!(codes.contains(&error.code()), "{at}, {bit}: {error}");
        }
    }
    let longer = [&file[..], b"\0"].concat();
    assert_eq!(read(&longer, 64).unwrap_err().code(), Code::FILE_DAMAGED);
    let twice = [&file[..], &file].concat();
    assert_eq!(read(&twice, 64).unwrap_err().code(), Code::FILE_DAMAGED);
}

#[test]
fn a_file_of_something_else_and_one_of_a_later_version_are_told_apart() {
    for other in [
        &b"afield-outbox"[..],
        b"SQLite format 3\0",
        b"{}",
        &bytes(&group(1)),
        b"",
    ] {
        let error = read(other, 64).unwrap_err();
        assert_eq!(error.code(), Code::FILE_DAMAGED, "{error}");
    }
    let mut file = written(&[]);
    let version = file.iter().position(|byte| *byte == b'x').unwrap() + 1;
    assert_eq!(file[version], 1);
    file[version] = 2;
    let error = read(&file, 64).unwrap_err();
    assert_eq!(error.code(), Code::FILE_VERSION);
    assert!(error.to_string().contains("newer"), "{error}");
}

/// A file around groups that a writer of ours does not make, with the right hash.
fn forged(change: impl Fn(&mut FileGroup)) -> Result<Vec<FileItem>, FileProblem> {
    let mut groups = groups();
    groups.iter_mut().for_each(change);
    read(&written(&groups), 64)
}

#[test]
fn p1_a_group_whose_parts_do_not_fit_is_refused_although_the_hash_is_right() {
    forged(|_| {}).unwrap();
    // It would count as applied without ever having been sent.
    let applied = |group: &mut FileGroup| {
        let verdicts = group.verdicts.iter_mut();
        verdicts.for_each(|verdict| *verdict = Verdict::applied());
    };
    let waits = |group: &mut FileGroup| {
        let verdicts = group.verdicts.iter_mut();
        verdicts.for_each(|verdict| verdict.code = Some(Code::WAITS_FOR));
    };
    let fewer = |group: &mut FileGroup| {
        group.verdicts.pop();
    };
    let none = |group: &mut FileGroup| group.verdicts.clear();
    let ready = |group: &mut FileGroup| group.state = FileState::Ready;
    let held = |group: &mut FileGroup| group.state = FileState::Held;
    let other = |group: &mut FileGroup| {
        if let FileContent::Changed { now, .. } = &mut group.content {
            now.id = GroupId([9; 16]);
        }
    };
    let changes: [&dyn Fn(&mut FileGroup); 7] =
        [&applied, &waits, &fewer, &none, &ready, &held, &other];
    for (at, change) in changes.into_iter().enumerate() {
        let error = forged(change).unwrap_err();
        assert_eq!(error.code(), Code::FILE_DAMAGED, "{at}");
    }
}

#[test]
fn p9_a_group_that_is_too_large_is_left_out_whole() {
    let mut large = group(1);
    let change = large.changes[1].clone();
    large.changes = vec![change; GROUP_CHANGES_MAX + 1];
    let large = FileGroup {
        content: FileContent::Unsent { now: large },
        ..groups()[2].clone()
    };
    let mut file = Vec::new();
    let mut writer = FileWriter::begin(&head(), &mut file);
    let before = file.clone();
    assert!(!writer.group(&large, &mut file));
    assert_eq!(file, before);
    assert!(writer.group(&groups()[0], &mut file));
    let end = writer.end(&mut file);
    assert_eq!((end.groups, end.changes), (1, 2));
    assert_eq!(read(&file, 4096).unwrap().len(), 3);
}

#[test]
fn the_hash_is_of_everything_before_the_end() {
    let file = written(&groups());
    let end = file.len() - 32;
    // Tag 24, 38 bytes: four items, end, 4 groups, 8 changes, 32 bytes.
    let head = [0xd8, 0x18, 0x58, 0x26, 0x84, 2, 4, 8, 0x58, 0x20];
    assert_eq!(file[end - head.len()..end], head);
    let hash = Sha256::digest(&file[..end - head.len()]);
    assert_eq!(file[end..], hash[..]);
}

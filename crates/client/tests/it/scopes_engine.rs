//! `held-wanted` through the engine: it tells at once what the device has, and nothing twice.

use afield::engine::{Command, Direction, Engine, Event, Report, SyncStatus};
use afield::protocol::codec::{Format, FrameReader};
use afield::protocol::{
    Code, Frame, Held, Hello, PROTOCOL_VERSION, Page, PageEnd, Problem, Verdict, Welcome,
};
use afield::{ChangeState, SyncStore};

use crate::scopes::{held, job, world};
use crate::world::{World, attributes, int, outcome, page, pull, query, request};

/// A request's frames.
struct Asked {
    hello: Hello,
    held: Vec<Held>,
    groups: Vec<afield::protocol::Group>,
    /// The words for its frames, in order.
    order: Vec<&'static str>,
}

fn read(world: &World, body: &[u8]) -> Asked {
    let mut frames = FrameReader::new(Format::Cbor);
    frames.push(body);
    let (mut hello, mut held, mut groups, mut order) = (None, vec![], vec![], vec![]);
    while let Some(frame) = frames.next(&world.model).unwrap() {
        order.push(match frame {
            Frame::Hello(it) => {
                hello = Some(it);
                "hello"
            }
            Frame::Held(it) => {
                held.push(it);
                "held"
            }
            Frame::Group(it) => {
                groups.push(it);
                "group"
            }
            Frame::End => "end",
            other => panic!("{other:?}"),
        });
    }
    Asked {
        hello: hello.unwrap(),
        held,
        groups,
        order,
    }
}

fn start(engine: &mut Engine, sync: &mut SyncStore) -> Vec<Command> {
    let start = Event::Start {
        unit: Some("main".into()),
        direction: Direction::Both,
    };
    engine.handle(sync, start).unwrap()
}

/// The request among the commands.
fn sent(world: &World, commands: &[Command]) -> Asked {
    let sends = commands.iter().find_map(|command| match command {
        Command::Send { body } => Some(body),
        _ => None,
    });
    let body = sends.unwrap_or_else(|| panic!("nothing is sent: {commands:?}"));
    read(world, body)
}

fn finished(commands: &[Command]) -> Report {
    let report = commands.iter().find_map(|command| match command {
        Command::Finished(report) => Some(report.clone()),
        _ => None,
    });
    report.unwrap_or_else(|| panic!("not finished: {commands:?}"))
}

/// The beginning of an answer that applies every group.
fn outcomes(asked: &Asked) -> Vec<Frame> {
    let welcome = Frame::Welcome(Welcome {
        protocol: PROTOCOL_VERSION,
        epoch: [7; 8],
    });
    let groups = asked.groups.iter();
    let outcomes = groups.map(|group| {
        let verdicts = vec![Verdict::applied(); group.changes.len()];
        Frame::Outcome(outcome(group.id, verdicts))
    });
    [welcome]
        .into_iter()
        .chain(outcomes)
        .chain([Frame::Settled {
            checkpoint: Vec::new(),
        }])
        .collect()
}

fn wanted() -> Frame {
    Frame::Problem(Problem {
        code: Code::HELD_WANTED,
        message: "which values?".into(),
    })
}

fn whole_page(asked: &Asked, content: Vec<Frame>, token: &str) -> Vec<Frame> {
    let page = Frame::Page(Page {
        from: asked.hello.pull.clone(),
        reset: Vec::new(),
    });
    let to = asked.hello.pull.iter();
    let end = Frame::PageEnd(PageEnd {
        to: to
            .map(|(name, _)| (name.clone(), token.as_bytes().to_vec()))
            .collect(),
        complete: true,
        remaining: None,
    });
    [page]
        .into_iter()
        .chain(content)
        .chain([end, Frame::End])
        .collect()
}

fn bytes(world: &World, frames: &[Frame]) -> Vec<u8> {
    let mut body = Vec::new();
    for frame in frames {
        Format::Cbor.write(&world.model, frame, &mut body);
    }
    body
}

fn take(engine: &mut Engine, sync: &mut SyncStore, body: &[u8]) -> Vec<Command> {
    engine.handle(sync, Event::Bytes(body)).unwrap()
}

/// Job 1 by owner 10; 20 and 30 are staged, 10 is lost in what is staged.
fn staged() -> World {
    let world = world();
    let content = [
        job(&world, &[(1, "one", [10, 0, 0])]),
        held("job", &[10, 12], &[]),
        held("step", &[5], &[]),
    ];
    pull(&mut world.sync(), &content, "t1");
    let mut sync = world.sync();
    let asked = request(&mut sync);
    let only: Vec<_> = asked
        .pull
        .iter()
        .filter(|(name, _)| name == "job")
        .cloned()
        .collect();
    let content = [
        job(&world, &[(2, "two", [0, 20, 30])]),
        held("job", &[20, 30], &[10]),
    ];
    page(&mut sync, asked.request, &only, &content, "p1", false, &[]).unwrap();
    world
}

#[test]
fn held_wanted_is_answered_at_once_and_no_group_goes_twice() {
    let world = staged();
    let (mut store, mut sync) = (world.store(), world.sync());
    let hours = attributes([("hours", int(3))]);
    store.update("job", &[int(1)], &hours).unwrap();
    let mut engine = Engine::new();
    let commands = start(&mut engine, &mut sync);
    let first = sent(&world, &commands);
    assert_eq!(first.order, ["hello", "group", "end"]);
    let mut frames = outcomes(&first);
    frames.push(wanted());
    let commands = take(&mut engine, &mut sync, &bytes(&world, &frames));
    assert!(commands.contains(&Command::Abort), "{commands:?}");
    let second = sent(&world, &commands);
    assert_eq!(second.order, ["hello", "held", "held", "end"]);
    assert_eq!(second.hello.pull, first.hello.pull);
    let expected = [("job", vec![12, 20, 30]), ("step", vec![5])];
    for (held, (entity, gained)) in second.held.iter().zip(expected) {
        assert_eq!((held.entity.as_str(), &held.gained), (entity, &gained));
        assert!(held.lost.is_empty());
    }
    // What is typed meanwhile goes behind the list; and the server asks once more.
    store
        .update("job", &[int(1)], &attributes([("hours", int(4))]))
        .unwrap();
    let mut frames = outcomes(&second);
    frames.push(wanted());
    let commands = take(&mut engine, &mut sync, &bytes(&world, &frames));
    let third = sent(&world, &commands);
    assert_eq!(third.order, ["hello", "held", "held", "group", "end"]);
    let mut frames = outcomes(&third);
    frames.extend(whole_page(&third, Vec::new(), "t2"));
    take(&mut engine, &mut sync, &bytes(&world, &frames));
    let report = finished(&engine.handle(&mut sync, Event::Closed).unwrap());
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert_eq!(query(&store, "SELECT id FROM job"), [[int(2)]]);
    let changes = store.changes().unwrap();
    assert_eq!(changes.len(), 2);
    assert!(
        changes
            .iter()
            .all(|change| change.state == ChangeState::Settled)
    );
    // The next sync says nothing of values: nobody asked.
    let commands = start(&mut engine, &mut sync);
    assert_eq!(sent(&world, &commands).order, ["hello", "end"]);
}

#[test]
fn p8_a_server_that_never_stops_asking_ends_the_sync_with_its_code() {
    let world = staged();
    let mut sync = world.sync();
    let mut engine = Engine::new();
    let mut commands = start(&mut engine, &mut sync);
    let mut asked = 0;
    while commands
        .iter()
        .any(|command| matches!(command, Command::Send { .. }))
    {
        asked += 1;
        assert!(asked < 10);
        let mut frames = outcomes(&sent(&world, &commands));
        frames.push(wanted());
        commands = take(&mut engine, &mut sync, &bytes(&world, &frames));
    }
    assert_eq!(asked, 4);
    let (code, message) = finished(&commands).error.unwrap();
    assert_eq!(code, Code::HELD_WANTED);
    assert!(message.contains("it was told each time"), "{message}");
    assert_eq!(
        world.store().status().unwrap().last_error,
        Some(Code::HELD_WANTED)
    );
}

/// The engine through answers of one kind, until it asks no more: how often it told what was
/// settled, and how it ended.
fn asked_for_history(settles: bool) -> (usize, Report) {
    let world = staged();
    let mut sync = world.sync();
    let mut engine = Engine::new();
    let mut commands = start(&mut engine, &mut sync);
    let mut told = 0;
    for _ in 0..30 {
        if matches!(commands.as_slice(), [.., Command::Wait { .. }]) {
            commands = engine.handle(&mut sync, Event::Waited).unwrap();
        }
        let Some(Command::Send { body }) = commands.last() else {
            return (told, finished(&commands));
        };
        let mut frames = FrameReader::new(Format::Cbor);
        frames.push(body);
        let mut is_told = false;
        while let Some(frame) = frames.next(&world.model).unwrap() {
            is_told |= matches!(frame, Frame::History(_));
        }
        told += usize::from(is_told);
        let welcome = Frame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            epoch: [7; 8],
        });
        let frames = match is_told && settles {
            true => vec![
                welcome,
                Frame::Lost { groups: Vec::new() },
                Frame::Settled {
                    checkpoint: vec![1],
                },
                Frame::End,
            ],
            false => vec![
                welcome,
                Frame::Problem(Problem {
                    code: Code::HISTORY_WANTED,
                    message: "what was settled?".into(),
                }),
            ],
        };
        commands = take(&mut engine, &mut sync, &bytes(&world, &frames));
        if is_told && settles {
            commands = engine.handle(&mut sync, Event::Closed).unwrap();
        }
    }
    panic!("it goes on telling: {told} times");
}

#[test]
fn p8_a_server_that_never_stops_asking_what_was_settled_is_told_three_times() {
    let (told, report) = asked_for_history(true);
    let (code, message) = report.error.unwrap();
    assert_eq!(code, Code::HISTORY_WANTED);
    assert!(message.contains("it was told each time"), "{message}");
    assert_eq!(told, 3);
}

/// A server that answers what it was told with the same question.
#[test]
fn p8_a_question_that_is_answered_with_itself_ends_the_sync() {
    let (told, report) = asked_for_history(false);
    assert_eq!(report.error.unwrap().0, Code::HISTORY_WANTED);
    assert!(told <= 4, "told {told} times");
}

#[test]
fn p8_the_list_goes_again_when_its_answer_was_cut() {
    let world = staged();
    let mut sync = world.sync();
    let mut engine = Engine::new();
    let commands = start(&mut engine, &mut sync);
    let mut frames = outcomes(&sent(&world, &commands));
    frames.push(wanted());
    let commands = take(&mut engine, &mut sync, &bytes(&world, &frames));
    let list = sent(&world, &commands).held;
    // The answer ends before a page; after the pause the list is part of the request again.
    let commands = engine.handle(&mut sync, Event::Closed).unwrap();
    assert!(
        matches!(commands.as_slice(), [Command::Wait { .. }]),
        "{commands:?}"
    );
    let commands = engine.handle(&mut sync, Event::Waited).unwrap();
    assert_eq!(sent(&world, &commands).held, list);
}

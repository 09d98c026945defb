//! `GET /v1/live` over real HTTP, on both databases.

use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use afield_server::http::{HttpLimits, LiveLimits};
use afield_server::storage::conformance::Database;
use serde_json::json;

use crate::http_live_support::{Device, Team, ask, on_postgres, on_sqlite, quick};
use crate::http_support::client::{Ask, connect, read_answer, read_head};
use crate::http_support::{NOW, Server, token};
use crate::postgres_database::PostgresDatabase;

const OWN: &str = "INSERT INTO own_task (id, owner, words) VALUES (1, 'ann', 'x')";

/// A device hears hello, signs of life, news of what is its user's, and nothing of anything else.
fn news_come_to_whom_they_concern<D: Database>(team: &Team<D>) {
    let mut ann = team.listens("ann");
    let mut bob = team.listens("bob");
    let mut only = Device::of(team.server.address, "ann", "?unit=fir%26men+%C3%BC");
    assert_eq!(
        only.expects("hello"),
        json!({ "after_ms": 0, "heartbeat_ms": 150 })
    );
    assert_eq!(ann.expects("alive"), json!({}));
    team.db.execute(OWN);
    assert_eq!(ann.news()["units"], json!(["tasks"]));
    // Twice alive: at least one look lies between, which found nothing for them.
    for device in [&mut bob, &mut only] {
        device.expects("alive");
        device.expects("alive");
    }
    team.db
        .execute("INSERT INTO company VALUES ('A', 'Adler', 1)");
    for device in [&mut ann, &mut bob, &mut only] {
        assert_eq!(device.news()["units"], json!(["fir&men ü"]));
    }
    team.db
        .execute("INSERT INTO region_member VALUES ('bob', 7)");
    assert_eq!(bob.news()["units"], json!(["tasks"]));
    ann.expects("alive");
    ann.expects("alive");
}

#[test]
fn news_come_to_whom_they_concern_on_sqlite() {
    news_come_to_whom_they_concern(&on_sqlite(quick()));
}

#[test]
fn news_come_to_whom_they_concern_on_postgres() {
    news_come_to_whom_they_concern(&on_postgres(quick()));
}

/// A token's end ends its streams, as soon as no request would be answered with it.
fn streams_end_with_their_tokens<D: Database>(team: &Team<D>) {
    let mut ann = team.listens("ann");
    team.clock.store(NOW + 1_000, Ordering::SeqCst);
    // The tokens of both end an hour after the first.
    let mut bob = team.listens("bob");
    ann.expects("alive");
    team.clock.store(NOW + 3_600 + 30, Ordering::SeqCst);
    assert_eq!(ann.end(), "sign-in");
    assert_eq!(bob.end(), "sign-in");
    let (head, _) = ask(team.server.address, "ann", "");
    assert_eq!(head.status, 401);
}

#[test]
fn streams_end_with_their_tokens_on_sqlite() {
    streams_end_with_their_tokens(&on_sqlite(quick()));
}

#[test]
fn streams_end_with_their_tokens_on_postgres() {
    streams_end_with_their_tokens(&on_postgres(quick()));
}

#[test]
fn what_is_no_request_for_a_stream_is_refused() {
    let team = on_sqlite(quick());
    let at = team.server.address;
    let get = |path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        Ask::new("GET", path)
            .header("Authorization", &bearer)
            .send(at)
    };
    for path in [
        "/v1/live?unit=nobody",
        "/v1/live?unit=tasks&unit=",
        "/v1/live?unit=%zz",
    ] {
        let answer = get(path, &token());
        assert_eq!((answer.status, answer.code()), (400, "unknown-unit".into()));
    }
    let answer = get("/v1/live", "no token");
    assert_eq!((answer.status, answer.code()), (401, "sign-in".into()));
    let answer = Ask::new("GET", "/v1/live").send(at);
    assert_eq!((answer.status, answer.code()), (401, "sign-in".into()));
    let answer = Ask::new("POST", "/v1/live").send(at);
    assert_eq!(
        (answer.status, answer.code()),
        (405, "unknown-request".into())
    );
    // What this server does not know says nothing to it.
    let mut device = Device::of(at, "ann", "?later=1&unit=tasks&unit=tasks");
    device.expects("hello");
}

#[test]
fn a_device_whose_model_is_too_old_is_told() {
    let limits = HttpLimits {
        model_version_min: 3,
        ..HttpLimits::default()
    };
    let server = Server::start_with(limits, |_| {});
    for (version, status) in [
        (None, 426),
        (Some("2"), 426),
        (Some("x"), 426),
        (Some("3"), 200),
    ] {
        let mut stream = connect(server.address);
        let mut ask =
            Ask::new("GET", "/v1/live").header("Authorization", &format!("Bearer {}", token()));
        if let Some(version) = version {
            ask = ask.header("Afield-Model-Version", version);
        }
        ask.write(&mut stream);
        let mut stream = BufReader::new(stream);
        match status {
            200 => {
                let head = read_head(&mut stream);
                assert_eq!(head.status, 200);
            }
            _ => assert_eq!(read_answer(&mut stream).status, status, "{version:?}"),
        }
    }
}

#[test]
fn p9_streams_are_bounded_in_all_and_for_each_user() {
    let team = on_sqlite(LiveLimits {
        streams: 3,
        streams_of_user: 2,
        ..quick()
    });
    let at = team.server.address;
    let (first, _second) = (team.listens("ann"), team.listens("ann"));
    let (head, _) = ask(at, "ann", "");
    assert_eq!(head.status, 429);
    assert!(head.header("retry-after").is_some());
    let mut bob = team.listens("bob");
    let (head, _) = ask(at, "eve", "");
    assert_eq!(head.status, 503);
    assert_eq!(head.header("retry-after"), Some("5"));
    // Who goes makes room.
    drop(first);
    let opened = std::iter::repeat_with(|| ask(at, "eve", "").0.status);
    assert_eq!(opened.into_iter().find(|status| *status != 503), Some(200));
    bob.expects("alive");
}

/// Many hear of one write; each has his turn, and no second has more of them than the rate.
#[test]
fn p9_a_write_for_all_gives_everybody_a_turn() {
    let team = on_sqlite(LiveLimits {
        rate: 20,
        ..quick()
    });
    let mut devices: Vec<Device> = (0..60)
        .map(|n| Device::of(team.server.address, &format!("u{n}"), ""))
        .collect();
    let mut hellos: Vec<u64> = devices
        .iter_mut()
        .map(|device| device.expects("hello")["after_ms"].as_u64().unwrap())
        .collect();
    hellos.sort_unstable();
    assert!(
        hellos.last().is_some_and(|last| *last > 1_000),
        "{hellos:?}"
    );
    team.db
        .execute("INSERT INTO company VALUES ('A', 'Adler', 1)");
    let mut turns: Vec<u64> = devices
        .iter_mut()
        .map(|device| device.news()["after_ms"].as_u64().unwrap())
        .collect();
    turns.sort_unstable();
    for (at, turn) in turns.iter().enumerate() {
        let ahead = turns[at..].iter().filter(|later| **later < turn + 1_000);
        assert!(ahead.count() <= 20 + 1, "{turns:?}");
    }
}

#[test]
fn a_server_that_stops_ends_its_streams() {
    let mut team = on_sqlite(quick());
    let mut ann = team.listens("ann");
    let mut new = Device::of(team.server.address, "bob", "");
    team.server.tell_to_stop();
    assert_eq!(ann.end(), "restarting");
    loop {
        match new.next() {
            Some((name, data)) if name == "end" => break assert_eq!(data["code"], "restarting"),
            Some(_) => {}
            None => panic!("an end is told"),
        }
    }
    team.server.wait();
}

/// Nothing says that all is well while nobody knows.
#[test]
fn p10_a_server_that_knows_nothing_says_nothing() {
    let limits = HttpLimits {
        live: quick(),
        ..HttpLimits::default()
    };
    // Its storage answers no look.
    let server = Server::start_with(limits, |_| {});
    let mut device = Device::of(server.address, "ann", "");
    for _ in 0..4 {
        device.expects_comment();
    }
}

/// The database goes and comes again under the server.
#[test]
fn p10_without_the_database_there_is_no_sign_of_life() {
    let db = PostgresDatabase::alone();
    let storage = Arc::new(db.another());
    let team = Team::start(db, storage, quick());
    let mut ann = team.listens("ann");
    ann.expects("alive");
    team.db.forget_foreign();
    team.db.cluster().stop("immediate").unwrap();
    // What was on its way before may still come.
    ann.skips_to_comment();
    for _ in 0..3 {
        ann.expects_comment();
    }
    team.db.cluster().start_again();
    assert_eq!(ann.news()["units"], json!(["tasks", "fir&men ü"]));
    ann.expects("alive");
    team.db.execute(OWN);
    assert_eq!(ann.news()["units"], json!(["tasks"]));
}

/// Somebody who holds more than is looked up is told, and nobody else suffers from it.
#[test]
fn p9_who_holds_too_much_is_told() {
    let mut db = crate::sqlite_database::SqliteDatabase::new().limits(3, 1_000);
    let storage = Arc::new(db.take_storage());
    let team = Team::start(db, storage, quick());
    let mut ann = team.listens("ann");
    for region in 0..4 {
        let sql = format!("INSERT INTO region_member VALUES ('bob', {region})");
        team.db.execute(&sql);
    }
    let mut bob = Device::of(team.server.address, "bob", "");
    assert_eq!(bob.end(), "too-many-values");
    ann.expects("alive");
    // And while he listens.
    for region in 0..3 {
        let sql = format!("INSERT INTO region_member VALUES ('ann', {region})");
        team.db.execute(&sql);
    }
    ann.news();
    team.db
        .execute("INSERT INTO region_member VALUES ('ann', 3)");
    loop {
        match ann.next().expect("an end is told") {
            (name, data) if name == "end" => break assert_eq!(data["code"], "too-many-values"),
            _ => {}
        }
    }
}

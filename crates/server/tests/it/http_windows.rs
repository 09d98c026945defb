//! Windows over real HTTP: the time is that of the server that answers, and never goes back.

use std::sync::Arc;

use afield_protocol::{Frame, Position, Window};
use afield_server::storage::conformance::{Database, windows_model, windows_schema};
use afield_server::storage::sqlite::SqliteStorage;

use crate::http_support::{NOW, Server, kinds};
use crate::sqlite_database::SqliteDatabase;

/// A server of its own on the database, by a clock of its own.
fn server(db: &SqliteDatabase, seconds: i64) -> Server {
    let epoch = u8::try_from(seconds.rem_euclid(251)).unwrap();
    let storage = SqliteStorage::open(&db.path(), &db.model, |b| b.fill(epoch)).unwrap();
    Server::start_at(Arc::new(storage), db.model.clone(), NOW + seconds)
}

/// Pulls the plans; gives what is told of the window, how many rows came, and the position.
fn pull(server: &Server, from: Option<Position>) -> (Window, usize, Position) {
    let hello = Frame::Hello(server.hello(&[("plan", from)]));
    let frames = server.synced(&[hello, Frame::End]);
    let kinds = kinds(&frames);
    assert_eq!(kinds[..4], ["welcome", "settled", "page", "window"]);
    let window = frames.iter().find_map(|frame| match frame {
        Frame::Window(window) => Some(window.clone()),
        _ => None,
    });
    let rows = frames.iter().map(|frame| match frame {
        Frame::Rows(block) => block.count,
        _ => 0,
    });
    let position = frames.iter().find_map(|frame| match frame {
        Frame::PageEnd(end) => Some(end.to[0].1.clone()),
        _ => None,
    });
    (window.unwrap(), rows.sum(), position.unwrap())
}

/// Plans of the next hundred seconds: as the clock goes on they come in, without any write; and
/// another server process, by a clock that is behind, takes nothing back.
#[test]
fn p5_rows_enter_by_the_servers_clock_and_no_clock_takes_them_back() {
    let mut db = SqliteDatabase::with(&windows_schema(), windows_model());
    for (id, seconds) in [(1, 100), (2, 150), (3, 900)] {
        let at = NOW + seconds;
        db.execute(&format!(
            "INSERT INTO plan VALUES ({id}, 'ada', datetime({at}, 'unixepoch'), NULL, 0)"
        ));
    }
    db.stop();
    let (first, rows, position) = pull(&server(&db, 0), None);
    assert_eq!(
        (first.bound.as_str(), rows),
        ("2027-01-15T08:01:40.000000Z", 1)
    );
    assert_eq!(
        (first.attribute.as_str(), first.keep.as_str()),
        ("at", "<=")
    );
    let (later, rows, position) = pull(&server(&db, 60), Some(position));
    assert_eq!(
        (later.bound.as_str(), rows),
        ("2027-01-15T08:02:40.000000Z", 1)
    );
    let (behind, rows, position) = pull(&server(&db, -3_000), Some(position));
    assert_eq!((behind.bound, rows), (later.bound, 0));
    let (_, rows, _) = pull(&server(&db, 1_000), Some(position));
    assert_eq!(rows, 1);
}

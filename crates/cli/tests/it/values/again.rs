//! Values that are written over others, there and back, and that are written again.

use std::collections::BTreeSet;

use afield::Params;
use afield::protocol::{Attributes, Value};

use super::stations::{Stations, Way, cell, execute, seen, short, update};
use super::table::{COLUMNS, End, Line, lines};

/// What is wrong with rows, in one message.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn check(&self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }

    /// Every place has what `expected` says of a row.
    fn look(
        &mut self,
        stations: &Stations,
        when: &str,
        rows: &[(Line, Value, String)],
        expected: impl Fn(&Line, &Value) -> Value,
    ) {
        for (line, value, id) in rows {
            let wanted = expected(line, value);
            let column = match wanted.is_null() {
                true => cell(&wanted),
                false => line.cell(Way::Action, value),
            };
            let found = (
                seen(&stations.here, line.at, id),
                stations.server(line.at, id),
                seen(&stations.there, line.at, id),
            );
            if found != (Some(wanted.clone()), Some(column), Some(wanted)) {
                let said: String = format!("{found:?}").chars().take(400).collect();
                let at = format!("{when}: {} {id} {}", line.at, short(value));
                self.0.push(format!("{at}: {said}"));
            }
        }
    }
}

/// The lines that a device may write, each with its value in the end and a row of its own.
fn writable() -> Vec<(Line, Value, String)> {
    let mut found = Vec::new();
    for (n, line) in lines().into_iter().enumerate() {
        if let End::Is(value) = line.action.clone() {
            found.push((line, value, format!("row {n}")));
        }
    }
    found
}

fn all_null(stations: &Stations, rows: &[(Line, Value, String)]) {
    for (line, _, id) in rows {
        let written = stations.write(Way::Action, line.at, id, &Value::Null);
        written.unwrap();
    }
}

fn pending(stations: &Stations) -> (u64, u64, usize) {
    let status = |device: &crate::world::Device| {
        let mut store = device.client.store();
        let status = store.status().unwrap();
        (status.pending, store.conflicts().unwrap().len())
    };
    let (here, there) = (status(&stations.here), status(&stations.there));
    (here.0, there.0, here.1 + there.1)
}

#[test]
fn p3_every_value_goes_there_and_back_and_written_again_is_no_change() {
    let stations = Stations::new();
    let rows = writable();
    let mut wrong = Wrong::default();
    all_null(&stations, &rows);
    stations.sync();
    wrong.look(&stations, "null", &rows, |_, _| Value::Null);

    for (line, _, id) in &rows {
        update(&stations.here, line.at, id, &line.given);
    }
    stations.sync();
    wrong.look(&stations, "by an action", &rows, |_, value| value.clone());

    written_again(&stations, &rows);
    wrong.look(&stations, "written again", &rows, |_, value| value.clone());

    for (line, _, id) in &rows {
        update(&stations.there, line.at, id, &Value::Null);
    }
    stations.sync();
    wrong.look(&stations, "null again", &rows, |_, _| Value::Null);

    // What SQL makes of it may be another value: the canonical one goes through it unharmed.
    for (line, value, id) in &rows {
        let sql = format!("UPDATE \"{}\" SET v = ?1 WHERE id = ?2", line.at);
        let params = Params::from([value.clone(), id.as_str().into()]);
        execute(&stations.there, &sql, &params).unwrap();
    }
    stations.sync();
    wrong.look(&stations, "by SQL", &rows, |_, value| value.clone());
    wrong.check();
    assert_eq!(pending(&stations), (0, 0, 0));
}

/// Nothing waits behind a value that a row has already, whoever writes it and however.
fn written_again(stations: &Stations, rows: &[(Line, Value, String)]) {
    for (line, value, id) in rows {
        let sql = format!("UPDATE \"{}\" SET v = v, id = id WHERE id = ?1", line.at);
        let params = Params::from([id.as_str().into()]);
        execute(&stations.here, &sql, &params).unwrap();
        update(&stations.here, line.at, id, value);
        let row = Attributes::from([
            ("id".to_owned(), id.as_str().into()),
            ("v".to_owned(), value.clone()),
        ]);
        let mut store = stations.there.client.store();
        store.create_or_update(line.at, &row).unwrap();
    }
    assert_eq!(pending(stations), (0, 0, 0));
    // In the spelling that was given. The zeros at the end of a decimal may be others: the server
    // finds that they change nothing.
    let mut others = BTreeSet::new();
    for (line, _, id) in rows {
        let before = pending(stations).1;
        update(&stations.there, line.at, id, &line.given);
        if pending(stations).1 > before {
            others.insert(line.at);
        }
    }
    assert!(
        others
            .iter()
            .all(|at| ["decimal", "scaled", "exact"].contains(at)),
        "{others:?}"
    );
    stations.sync();
}

#[test]
fn p3_a_value_that_the_team_writes_again_conflicts_with_nobody() {
    let stations = Stations::new();
    // Also what is no value of its type, and what the team spells in its own way.
    let rows: Vec<(Line, Value, String)> = (lines().into_iter().enumerate())
        .filter_map(|(n, line)| match line.team.clone() {
            End::Is(value) => Some((line, value, format!("row {n}"))),
            _ => None,
        })
        .collect();
    let twin = |id: &str| format!("twin of {id}");
    for (line, _, id) in &rows {
        for id in [id, &twin(id)] {
            stations.write(Way::Team, line.at, id, &line.given).unwrap();
        }
    }
    stations.sync();
    for (line, _, id) in &rows {
        update(&stations.here, line.at, id, &Value::Null);
        let set = Attributes::from([("note".to_owned(), Value::from("mine"))]);
        let mut store = stations.there.client.store();
        store.update(line.at, &[twin(id).into()], &set).unwrap();
    }
    for (at, _) in COLUMNS {
        let sql = format!("UPDATE \"{at}\" SET v = v");
        stations.team.execute(&sql, []).unwrap();
    }
    stations.sync();
    assert_eq!(pending(&stations), (0, 0, 0));
    let mut wrong = Wrong::default();
    wrong.look(&stations, "after the team", &rows, |_, _| Value::Null);
    for (line, value, id) in &rows {
        let id = twin(id);
        let found = (
            seen(&stations.here, line.at, &id),
            stations.server(line.at, &id),
            seen(&stations.there, line.at, &id),
        );
        let cell = line.cell(Way::Team, value);
        if found != (Some(value.clone()), Some(cell), Some(value.clone())) {
            let said: String = format!("{found:?}").chars().take(400).collect();
            wrong
                .0
                .push(format!("{} {id} {}: {said}", line.at, short(value)));
        }
    }
    wrong.check();
}

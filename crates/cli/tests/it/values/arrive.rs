//! Values of new rows.

use afield::ChangeState;
use afield::protocol::Code;

use super::stations::{Stations, WAYS, Way, in_state, seen, short};
use super::table::{End, Line, lines};

/// The lines by the names of their rows.
fn rows(lines: &[Line]) -> impl Iterator<Item = (&Line, Way, String)> {
    let each = |(n, line)| WAYS.map(|way| (line, way, format!("{way:?}-{n}")));
    lines.iter().enumerate().flat_map(each)
}

#[test]
fn p8_every_value_is_the_same_everywhere_or_refused_where_it_was_written() {
    let stations = Stations::new();
    let lines = lines();
    let mut wrong = Vec::new();
    for (line, way, id) in rows(&lines) {
        let done = stations.write(way, line.at, &id, &line.given);
        let refused = done
            .err()
            .map(|e| (e.code().clone(), e.attribute().map(str::to_owned)));
        let expected = match line.end(way) {
            End::Refused(code) => Some((Code::parse(code), Some("v".to_owned()))),
            End::Is(_) | End::Parked(_) => None,
        };
        if refused != expected {
            wrong.push(format!(
                "{} {id} {}: {refused:?}",
                line.at,
                short(&line.given)
            ));
        }
    }
    stations.sync();
    for (line, way, id) in rows(&lines) {
        if let Err(what) = look(&stations, line, way, &id) {
            wrong.push(format!("{} {id} {}: {what}", line.at, short(&line.given)));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cells:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What is wrong with a row after everybody has synchronised.
fn look(stations: &Stations, line: &Line, way: Way, id: &str) -> Result<(), String> {
    let Stations { here, there, .. } = stations;
    let found = (
        seen(here, line.at, id),
        stations.server(line.at, id),
        seen(there, line.at, id),
    );
    let parked = in_state(here, ChangeState::Parked).remove(&(line.at.to_owned(), id.to_owned()));
    let said = || {
        format!("{found:?}, {parked:?}")
            .chars()
            .take(600)
            .collect::<String>()
    };
    let is_so = match line.end(way) {
        End::Is(value) => {
            let cell = Some(line.cell(way, value));
            found == (Some(value.clone()), cell, Some(value.clone())) && parked.is_none()
        }
        End::Refused(_) => found == (None, None, None) && parked.is_none(),
        End::Parked(code) => {
            let told = parked.as_ref().is_some_and(|parked| {
                parked.code == Some(Code::parse(code))
                    && parked.attribute.as_deref() == Some("v")
                    && parked
                        .message
                        .as_ref()
                        .is_some_and(|message| !message.is_empty())
            });
            told && found.0.as_ref() == Some(&line.given) && found.1.is_none() && found.2.is_none()
        }
    };
    match is_so {
        true => Ok(()),
        false => Err(said()),
    }
}

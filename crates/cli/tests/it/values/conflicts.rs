//! Values in conflicts: what the user saw, what he wrote, what the server has.

use std::collections::BTreeMap;

use afield::protocol::Value;
use afield::{ConflictInfo, Resolution};

use super::printed::as_printed;
use super::stations::{Stations, Way, cell, printed, seen, short, update};
use super::table::{End, lines};
use crate::world::Device;

/// A row that two devices write: before, by the one that is later, by the one that is first.
struct Row {
    at: &'static str,
    id: String,
    base: Value,
    mine: Value,
    theirs: Value,
    /// Whether the second device is the later one.
    is_there: bool,
}

/// The values that each column can have, as they end.
fn values() -> BTreeMap<&'static str, Vec<Value>> {
    let mut found: BTreeMap<_, Vec<Value>> = BTreeMap::new();
    for line in lines() {
        if let End::Is(value) = line.action {
            let of_column = found.entry(line.at).or_default();
            if !of_column.contains(&value) {
                of_column.push(value);
            }
        }
    }
    found
}

/// Each value of a column stands in each of the three places, on one device or the other.
fn rows() -> Vec<Row> {
    let mut found = Vec::new();
    for (at, values) in values() {
        assert!(values.len() >= 3, "{at}");
        for n in 0..values.len() {
            let value = |behind: usize| values[(n + behind) % values.len()].clone();
            for is_there in [false, true] {
                found.push(Row {
                    at,
                    id: format!("row {n} {is_there}"),
                    base: value(0),
                    mine: value(1),
                    theirs: value(2),
                    is_there,
                });
            }
        }
    }
    found
}

impl Row {
    fn later<'s>(&self, stations: &'s Stations) -> &'s Device {
        match self.is_there {
            true => &stations.there,
            false => &stations.here,
        }
    }

    fn earlier<'s>(&self, stations: &'s Stations) -> &'s Device {
        match self.is_there {
            true => &stations.here,
            false => &stations.there,
        }
    }

    fn what(&self) -> String {
        let Self {
            base, mine, theirs, ..
        } = self;
        let of = |value| short(value);
        format!(
            "{} {}: {} {} {}",
            self.at,
            self.id,
            of(base),
            of(mine),
            of(theirs)
        )
    }
}

/// The conflicts of a device by entity and row.
fn conflicts(device: &Device) -> BTreeMap<(String, String), ConflictInfo> {
    let open = device.client.store().conflicts().unwrap().into_iter();
    open.map(|it| ((it.entity.clone(), it.key[0].to_string()), it))
        .collect()
}

#[test]
fn p3_every_value_stands_in_a_conflict_as_it_is() {
    let stations = Stations::new();
    let rows = rows();
    for row in &rows {
        stations
            .write(Way::Action, row.at, &row.id, &row.base)
            .unwrap();
    }
    stations.sync();
    // One half is written first here, the other half there.
    for is_there in [false, true] {
        let half = || rows.iter().filter(|row| row.is_there == is_there);
        for row in half() {
            update(row.earlier(&stations), row.at, &row.id, &row.theirs);
            update(row.later(&stations), row.at, &row.id, &row.mine);
        }
        let Some(row) = half().next() else { continue };
        stations.drain(row.earlier(&stations));
        stations.drain(row.later(&stations));
    }
    let mut open = [conflicts(&stations.here), conflicts(&stations.there)];
    for row in &rows {
        let key = (row.at.to_owned(), row.id.clone());
        let found = open[usize::from(row.is_there)].remove(&key);
        let found = found.unwrap_or_else(|| panic!("no conflict: {}", row.what()));
        assert_eq!(found.base["v"], row.base, "{}", row.what());
        assert_eq!(found.mine.unwrap()["v"], row.mine, "{}", row.what());
        assert_eq!(found.theirs.unwrap()["v"], row.theirs, "{}", row.what());
    }
    assert!(open.iter().all(BTreeMap::is_empty), "{open:?}");
    as_json(&stations, &rows);
    decide(&stations, &rows);
}

/// The command line says the same.
fn as_json(stations: &Stations, rows: &[Row]) {
    for (store, user, is_there) in [("here", "ann", false), ("there", "ben", true)] {
        let answer = printed(&stations.world, store, user, &["conflicts"]);
        let listed = answer["conflicts"].as_array().unwrap();
        let mut listed: BTreeMap<_, _> = (listed.iter())
            .map(|it| {
                (
                    (it["entity"].as_str().unwrap(), it["id"].as_str().unwrap()),
                    it,
                )
            })
            .collect();
        for row in rows.iter().filter(|row| row.is_there == is_there) {
            let said = listed.remove(&(row.at, row.id.as_str())).unwrap();
            for (version, value) in [
                ("base", &row.base),
                ("mine", &row.mine),
                ("theirs", &row.theirs),
            ] {
                let expected = as_printed(row.at, value);
                assert_eq!(said[version]["v"], expected, "{version}: {}", row.what());
            }
        }
        assert!(listed.is_empty());
    }
}

/// Whatever is decided stands everywhere.
fn decide(stations: &Stations, rows: &[Row]) {
    let resolution = |n: usize| match n % 4 {
        0 | 1 => Resolution::Mine,
        _ => Resolution::Theirs,
    };
    let open = [conflicts(&stations.here), conflicts(&stations.there)];
    for (n, row) in rows.iter().enumerate() {
        let key = (row.at.to_owned(), row.id.clone());
        let name = &open[usize::from(row.is_there)][&key].conflict;
        let mut store = row.later(stations).client.store();
        store.resolve(name, &resolution(n)).unwrap();
    }
    stations.sync();
    for (n, row) in rows.iter().enumerate() {
        let stands = match resolution(n) {
            Resolution::Mine => &row.mine,
            _ => &row.theirs,
        };
        for device in [&stations.here, &stations.there] {
            assert_eq!(
                seen(device, row.at, &row.id).as_ref(),
                Some(stands),
                "{}",
                row.what()
            );
        }
        if !["decimal", "scaled", "json"].contains(&row.at) {
            let column = stations.server(row.at, &row.id);
            assert_eq!(column, Some(cell(stands)), "{}", row.what());
        }
    }
    for device in [&stations.here, &stations.there] {
        assert!(device.client.store().conflicts().unwrap().is_empty());
    }
}

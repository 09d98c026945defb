//! Cases of scopes: the right rows on the right device, and nothing else on the wire.
//!
//! Every page that a device gets is watched: each row must be in the user's scope, each identifier
//! of a row that is gone must once have been, and a complete page must leave exactly the rows that
//! plain SQL finds.

mod compared;
mod device;
mod lists;
mod moves;
mod random;
mod schema;

pub use self::compared::*;
pub use self::device::ScopedDevice;
pub use self::lists::*;
pub use self::moves::*;
pub(super) use self::random::statement;
pub use self::random::*;
pub use self::schema::{SCOPED, condition};
pub(super) use self::schema::{entities, scopes, tables};
use super::Database;

/// Two people, four regions, firms in each, and a row of every entity for each combination.
pub(super) fn fill(db: &dyn Database) {
    db.execute(
        "INSERT INTO region_member VALUES ('ada', 1), ('ada', 2), ('bob', 2), ('bob', 3);
         INSERT INTO firm VALUES ('f1', 1), ('f2', 2), ('f3', 3), ('f4', NULL)",
    );
    for entity in SCOPED {
        let mut values = Vec::new();
        for id in 0..24 {
            let key = match entity {
                "any_task" => format!("'k{}', {}", id / 2, id % 2),
                _ => id.to_string(),
            };
            let owner = ["'ada'", "'bob'", "NULL"][id % 3];
            let region = ["1", "2", "3", "4", "NULL"][id % 5];
            let firm = ["'f1'", "'f2'", "'f3'", "'f4'", "NULL"][id / 5];
            let team = ["'red'", "'blue'", "NULL"][id / 3 % 3];
            values.push(format!(
                "({key}, {owner}, {region}, {firm}, {team}, 'w{id}')"
            ));
        }
        db.execute(&format!(
            "INSERT INTO {entity} VALUES {}",
            values.join(", ")
        ));
    }
}

/// Runs statements, and lets the devices' watchers note what they may know of.
fn run(db: &dyn Database, devices: &mut [&mut ScopedDevice], sql: &str) {
    db.execute(sql);
    for device in devices {
        device.note(db);
    }
}

fn ada() -> ScopedDevice {
    ScopedDevice::of("ada", Some("red"))
}

fn bob() -> ScopedDevice {
    ScopedDevice::of("bob", Some("blue"))
}

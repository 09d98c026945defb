//! What users hold changes.

use afield_protocol::Held;

use super::super::scopes::{SCOPED, ScopedDevice, fill};
use super::{Caller, Database, Heard, assert_heard, listening, news, of_team};

/// What ada hears when she gains or loses a region.
const OF_REGIONS: [&str; 5] = [
    "any_task",
    "area_task",
    "both_task",
    "firm_task",
    "whole_task",
];

/// A value that somebody gains or loses is his news and nobody else's, whether its rows are touched
/// or not.
pub fn p5_p7_values_that_come_and_go_are_news(db: &mut dyn Database) {
    fill(db);
    let who = [
        of_team("ada", "red"),
        of_team("bob", "blue"),
        Caller::user("eve"),
    ];
    let mut to = listening(db, &who);
    let to = &mut to;
    let sql = "INSERT INTO region_member VALUES ('ada', 3)";
    assert_heard(db, to, sql, &[&OF_REGIONS, &[], &[]]);
    // From the next row on.
    let sql = "UPDATE area_task SET words = 'x' WHERE region_id = 3";
    assert_heard(db, to, sql, &[&["area_task"], &["area_task"], &[]]);
    let sql = "DELETE FROM region_member WHERE user_id = 'ada' AND region_id = 3";
    assert_heard(db, to, sql, &[&OF_REGIONS, &[], &[]]);
    let sql = "UPDATE area_task SET words = 'y' WHERE region_id = 3";
    assert_heard(db, to, sql, &[&[], &["area_task"], &[]]);
    let sql = "INSERT INTO region_member VALUES ('eve', 4)";
    // A firm of region 4 is none: by that way nothing more is hers.
    let eve = ["any_task", "area_task", "both_task", "whole_task"];
    assert_heard(db, to, sql, &[&[], &[], &eve]);
    let sql = "UPDATE area_task SET words = 'z' WHERE region_id = 4";
    assert_heard(db, to, sql, &[&[], &[], &["area_task"]]);
}

/// The rows of a firm change hands with it. Some storages tell more people than it concerns.
pub fn p5_parents_that_move_are_news(db: &mut dyn Database) {
    fill(db);
    let who = [of_team("ada", "red"), of_team("bob", "blue")];
    let mut to = listening(db, &who);
    db.execute("UPDATE firm SET region_id = 3 WHERE id = 'f1'");
    for heard in to.look(db.storage()) {
        let Heard::News(heard) = heard else {
            panic!("{heard:?}");
        };
        let of_firms = ["any_task", "firm_task"].map(str::to_owned);
        assert_eq!(heard, of_firms.into());
    }
    let sql = "UPDATE firm_task SET words = 'x' WHERE firm_id = 'f1'";
    assert_heard(db, &mut to, sql, &[&[], &["firm_task"]]);
}

/// A value is lost and regained between two looks, and between both the device has synchronised:
/// its rows are gone there, and it must hear that they are to come back.
pub fn p5_values_that_flap_between_looks_are_news(db: &mut dyn Database) {
    fill(db);
    let mut ada = ScopedDevice::of("ada", Some("red"));
    ada.pull(db, &SCOPED, 1_000);
    let caller = ada.caller.clone();
    let mut to = listening(db, &[caller.clone(), of_team("bob", "blue")]);
    db.execute("DELETE FROM region_member WHERE user_id = 'ada'");
    ada.note(db);
    let page = ada.page(db, &SCOPED, 1_000);
    assert!(page.end.complete);
    if db.has_epochs_of_its_own() {
        // The one server that there is knows what it has answered.
        to.pulled(&caller, &page.held);
    }
    db.execute("INSERT INTO region_member VALUES ('ada', 1), ('ada', 2)");
    ada.note(db);
    let heard = to.look(db.storage());
    assert_eq!(heard.first(), Some(&news(&OF_REGIONS)));
    ada.pull(db, &SCOPED, 1_000);
}

/// What a device was told it holds is what is known: no sync of its own is news to it.
pub fn p7_what_was_known_is_no_news(db: &mut dyn Database) {
    fill(db);
    let mut ada = ScopedDevice::of("ada", Some("red"));
    ada.pull(db, &SCOPED, 1_000);
    let (caller, other) = (ada.caller.clone(), of_team("ada", "blue"));
    let mut to = listening(db, &[caller.clone(), other]);
    let page = ada.page(db, &SCOPED, 1_000);
    let held: Vec<Held> = page.held;
    assert!(!held.is_empty());
    to.pulled(&caller, &held);
    let heard = to.look(db.storage());
    assert_eq!(
        heard,
        [Heard::Alive, Heard::Alive],
        "another token is another matter"
    );
}

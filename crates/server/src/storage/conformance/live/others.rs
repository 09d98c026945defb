//! Lookups, soft deletes, chosen scopes, and databases that were set back.

use super::super::{lookups, scopes};
use super::{Caller, Database, Heard, assert_heard, listening, news, of_team};
use crate::live::Listening;

/// What rows show of others, at the end of a path and on the way.
pub fn p5_what_is_shown_of_other_rows_is_news(db: &mut dyn Database) {
    lookups::fill(db);
    // Eve has no rows of those who hold an area.
    let who = ["ada", "eve"].map(Caller::user);
    let mut to = listening(db, &who);
    let to = &mut to;
    let everyones = ["far_job", "job", "whole_job"];
    let own = [&everyones[..], &["own_job"]].concat();
    let ada = [&own[..], &["area_job", "whole_area_job"]].concat();
    let with_firm = |of: &[&'static str]| [of, &["firm"]].concat();
    // A firm's name is shown everywhere but in `far_job`; the capture is one for all that is read.
    db.execute("UPDATE firm SET name = 'Amsel' WHERE id = 'f1'");
    let heard = to.look(db.storage());
    for (heard, expected) in heard.iter().zip([&ada, &own]) {
        let Heard::News(heard) = heard else {
            panic!("{heard:?}");
        };
        let mut must = with_firm(expected);
        must.retain(|name| *name != "far_job");
        assert!(must.iter().all(|name| heard.contains(*name)), "{heard:?}");
        assert!(!heard.contains("tree"));
    }
    assert_eq!(heard.get(1).map(|it| *it == heard[0]), Some(false));
    // The end of the chain, and its middle.
    let sql = "UPDATE region SET name = 'nord' WHERE id = 1";
    let far = |of: &[&'static str]| of.to_vec();
    assert_heard(db, to, sql, &[&far(&ada), &far(&own)]);
    let sql = "UPDATE firm SET region_id = 2 WHERE id = 'f1'";
    assert_heard(db, to, sql, &[&with_firm(&ada), &with_firm(&own)]);
    // What nobody shows.
    let sql = "UPDATE region SET note = 'x' WHERE id = 1";
    assert_heard(db, to, sql, &[&[], &[]]);
    let sql = "UPDATE firm SET phone = '1' WHERE id = 'f1'";
    assert_heard(db, to, sql, &[&["firm"], &["firm"]]);
    let sql = "UPDATE tree SET name = 'trunk' WHERE id = 1";
    db.execute(sql);
    assert_eq!(to.look(db.storage())[1], news(&["tree"]));
}

/// A row that counts as deleted is gone, and one that is revived is there.
pub fn p5_soft_deletes_are_news(db: &mut dyn Database) {
    db.execute(
        "INSERT INTO item VALUES ('i', 'x', 1, TRUE);
         INSERT INTO offer VALUES ('o', 'ada', 'x', TRUE)",
    );
    let mut to = listening(db, &["ada", "eve"].map(Caller::user));
    let to = &mut to;
    let item: &[&str] = &["item"];
    let set = |value| format!("UPDATE item SET is_active = {value} WHERE id = 'i'");
    assert_heard(db, to, &set("FALSE"), &[item, item]);
    assert_heard(db, to, &set("TRUE"), &[item, item]);
    let set = |value| format!("UPDATE offer SET is_active = {value} WHERE id = 'o'");
    let offer: &[&str] = &["offer"];
    assert_heard(db, to, &set("FALSE"), &[offer, offer]);
    assert_heard(db, to, &set("TRUE"), &[offer, offer]);
}

/// What the app on a device chose is not known to who looks: whatever is committed may be news, and
/// there is no sign of life until the device was told. It is told at most now and then.
pub fn p10_devices_that_choose_get_no_sign_of_life_in_doubt(db: &mut dyn Database) {
    let all: Vec<String> = (db.model().entities.iter())
        .map(|entity| entity.local.name.clone())
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut to = listening(db, &[Caller::user("ada")]);
    db.execute("UPDATE visit SET words = 'x' WHERE id = 10");
    assert_eq!(to.look(db.storage()), [Heard::Nothing]);
    assert_eq!(to.look(db.storage()), [Heard::Nothing], "still in doubt");
    to.pass(30_000);
    assert_eq!(to.look(db.storage()), [news(&all)]);
    assert_eq!(to.look(db.storage()), [Heard::Alive]);
    to.pass(60_000);
    assert_eq!(
        to.look(db.storage()),
        [Heard::Alive],
        "nothing was committed"
    );
    db.execute("DELETE FROM project_member WHERE user_id = 'ada' AND project_id = 1");
    assert_eq!(to.look(db.storage()), [news(&all)], "at once after a while");
}

/// The database is set back under the server: nobody knows what was there before.
pub fn p5_a_restored_copy_wakes_everybody(db: &mut dyn Database) {
    scopes::fill(db);
    let who = [of_team("ada", "red"), Caller::user("eve")];
    db.copy();
    let mut to = listening(db, &who);
    db.execute("UPDATE own_task SET words = 'x' WHERE owner = 'ada'");
    assert_eq!(to.look(db.storage()), [news(&["own_task"]), Heard::Alive]);
    db.restore();
    let all = |to: &mut Listening| match to.look(db.storage()).as_slice() {
        [Heard::News(ada), Heard::News(eve)] => assert!(ada == eve && ada.contains("own_task")),
        other => panic!("{other:?}"),
    };
    all(&mut to);
    db.execute("UPDATE own_task SET words = 'y' WHERE owner = 'ada'");
    assert_eq!(to.look(db.storage()), [news(&["own_task"]), Heard::Alive]);
}

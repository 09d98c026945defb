//! Fan-outs that take many pages, and what happens meanwhile.

use super::{Database, ShowingDevice, fill};

/// Rows of each entity that show one firm.
const MANY: usize = 120;

/// `MANY` rows of each entity that show firm f1, and some that do not.
fn many(db: &dyn Database, entity: &str) {
    fill(db);
    let part = if entity == "area_job" { "'p', " } else { "" };
    let row = |id: usize| {
        let firm = if id.is_multiple_of(4) { "f2" } else { "f1" };
        let owner = if id.is_multiple_of(3) { "bob" } else { "ada" };
        let area = 1 + id % 2;
        format!("({id}, {part}'{firm}', NULL, '{owner}', {area}, 'w')")
    };
    let rows: Vec<String> = (100..100 + MANY).map(row).collect();
    db.execute(&format!("INSERT INTO {entity} VALUES {}", rows.join(", ")));
}

fn empty(db: &dyn Database) {
    let sources = ["region", "firm", "holder"];
    for table in super::all().into_iter().chain(sources) {
        db.execute(&format!("DELETE FROM {table}"));
    }
}

const FANNED: [&str; 3] = ["job", "own_job", "area_job"];

/// Renames what all rows show, pulls with small pages, and lets `meanwhile` happen after each of
/// the first ones.
fn renamed(db: &mut dyn Database, meanwhile: &[&str]) {
    for (entity, rename) in FANNED.into_iter().zip([
        "UPDATE firm SET name = name || '!' WHERE id = 'f1'",
        "UPDATE region SET name = name || '!'",
        "UPDATE firm SET name = name || '!', region_id = 3 - region_id WHERE region_id < 3",
    ]) {
        empty(db);
        many(db, entity);
        let mut ada = ShowingDevice::of("ada");
        ada.pull(db, &[entity], 500);
        db.execute(rename);
        ada.pull_while(db, &[entity], 7, |page| {
            if let Some(sql) = meanwhile.get(page) {
                db.execute(&sql.replace("JOBS", entity));
            }
        });
        assert_eq!(ada.resets, 0, "{entity}");
    }
}

/// Pages are small, every row comes once, and nothing else does.
pub fn p9_a_fan_out_goes_on_page_by_page(db: &mut dyn Database) {
    many(db, "job");
    let mut ada = ShowingDevice::of("ada");
    ada.pull(db, &["job"], 500);
    db.execute(
        "UPDATE firm SET name = 'x' WHERE id = 'f1'; UPDATE job SET words = 'y' WHERE id = 100",
    );
    let showing = db.query("SELECT id FROM job WHERE firm_id = 'f1' OR boss_code = 'a'");
    ada.pages = 0;
    // The row of its own, and those that refer to the firm, some of them twice in two pages.
    let brought = ada.brought(db, &["job"], 7);
    assert!(
        (showing.len() + 1..=showing.len() + 5).contains(&brought),
        "{brought}"
    );
    assert!(ada.pages <= brought.div_ceil(7) + 1, "{} pages", ada.pages);
    renamed(db, &[]);
}

/// The same source again, others, and sources that go.
pub fn p5_a_source_that_changes_again_meanwhile(db: &mut dyn Database) {
    let again = "UPDATE firm SET name = name || '?' WHERE id = 'f1'";
    renamed(db, &[again]);
    renamed(db, &["", again, "", "", again, again]);
    renamed(
        db,
        &["UPDATE firm SET name = name || '?' WHERE id = 'f2'", again],
    );
    renamed(db, &["", "DELETE FROM firm WHERE id = 'f1'"]);
    renamed(
        db,
        &["", "UPDATE firm SET id = 'f7' WHERE id = 'f1'", "", again],
    );
    renamed(
        db,
        &[
            "",
            "UPDATE region SET name = 'z'",
            "UPDATE firm SET region_id = 3",
        ],
    );
    renamed(
        db,
        &[
            "",
            "",
            "DELETE FROM region",
            "INSERT INTO region VALUES (1, 'new', '')",
        ],
    );
}

/// Rows before and behind the place that the fan-out has reached move to another source, go, come
/// and change their keys.
pub fn p5_rows_that_move_meanwhile(db: &mut dyn Database) {
    renamed(
        db,
        &[
            "",
            "UPDATE JOBS SET firm_id = 'f2' WHERE id < 110",
            "UPDATE JOBS SET firm_id = 'f1' WHERE id > 210",
            "UPDATE JOBS SET id = id + 1000 WHERE id < 120",
            "DELETE FROM JOBS WHERE id BETWEEN 150 AND 200",
            "UPDATE JOBS SET firm_id = NULL WHERE id > 200; UPDATE firm SET name = 'q'",
        ],
    );
    renamed(db, &["", "", "UPDATE JOBS SET id = 5000 - id"]);
    renamed(db, &["", "DELETE FROM JOBS", ""]);
}

/// The user's values change while rows are fanned out.
pub fn p5_values_gained_and_lost_meanwhile(db: &mut dyn Database) {
    let gain = "INSERT INTO holder VALUES ('ada', 2)";
    let lose = "DELETE FROM holder WHERE who = 'ada' AND area = 1";
    renamed(db, &["", gain]);
    renamed(db, &["", lose]);
    renamed(
        db,
        &[gain, "", lose, "", "INSERT INTO holder VALUES ('ada', 1)"],
    );
    renamed(
        db,
        &[
            "",
            gain,
            "UPDATE firm SET name = 'n'",
            lose,
            "UPDATE region SET name = 'm'",
        ],
    );
}

/// A first download reads what rows show at that moment, and ends with what changed since.
pub fn p5_a_source_that_changes_while_rows_are_downloaded(db: &mut dyn Database) {
    for entity in FANNED {
        empty(db);
        many(db, entity);
        let mut ada = ShowingDevice::of("ada");
        ada.pull_while(db, &[entity], 9, |page| {
            // As long as they are quicker than the pages there is no moment to show.
            db.execute(match page % 9 {
                _ if page > 40 => "",
                0 => "UPDATE firm SET name = name || '.' WHERE id = 'f1'",
                3 => "UPDATE region SET name = name || '.'",
                6 if page < 20 => "UPDATE firm SET region_id = 3 - region_id WHERE region_id < 3",
                _ => "",
            });
        });
        assert_eq!(ada.resets, 0);
    }
}

/// Rows of a fan-out are newer than its position says: after a restore to the time between, the
/// device starts over.
pub fn p5_a_restored_copy_is_noticed_within_a_fan_out(db: &mut dyn Database) {
    for entity in FANNED {
        empty(db);
        many(db, entity);
        let mut ada = ShowingDevice::of("ada");
        ada.pull(db, &[entity], 500);
        db.execute("UPDATE firm SET name = 'new' WHERE id = 'f1'");
        // Makes the beacon as high as this.
        ShowingDevice::of("bob").pull(db, &[entity], 500);
        db.copy();
        db.execute(&format!(
            "UPDATE {entity} SET words = 'lost with the restore'"
        ));
        ada.page(db, &[entity], 7);
        db.restore();
        ada.pull(db, &[entity], 7);
        assert_eq!(ada.resets, 1, "{entity}");
    }
}

/// A firm whose rows are nearly all another's: no page looks at all of them.
pub fn p9_rows_of_others_take_pages_and_no_time(db: &mut dyn Database) {
    fill(db);
    db.execute(
        "INSERT INTO own_job (id, firm_id, owner) WITH RECURSIVE n (id) AS \
         (SELECT 1000 UNION ALL SELECT id + 1 FROM n WHERE id < 46000) \
         SELECT id, 'f1', CASE WHEN id % 10000 = 0 THEN 'ada' ELSE 'bob' END FROM n",
    );
    let mut ada = ShowingDevice::of("ada");
    ada.pull(db, &["own_job"], 500);
    db.execute("UPDATE firm SET name = 'x' WHERE id = 'f1'");
    ada.pages = 0;
    // Four of many, and four that show the firm by its code too, which a later page tells again.
    assert_eq!(ada.brought(db, &["own_job"], 500), 4 + 2 * 4);
    assert_eq!(ada.pages, 3);
}

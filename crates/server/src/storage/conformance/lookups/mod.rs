//! Cases of lookups: rows show what other rows have, whatever happens to those. A storage's tests
//! call [`storage_lookups_conformance!`](crate::storage_lookups_conformance) with a database made
//! of [`lookups_schema`] and [`lookups_model`].

mod device;
mod fans;
mod random;
mod schema;
mod shown;
mod writes;

pub use self::device::ShowingDevice;
pub use self::fans::*;
pub use self::random::*;
pub use self::schema::{SHOWING, lookups_model, lookups_schema};
pub use self::shown::*;
pub use self::writes::*;
use super::Database;

/// All entities with lookups.
fn all() -> [&'static str; 7] {
    SHOWING.map(|(name, _)| name)
}

/// Four firms in three regions, two people, and a few rows of every entity.
pub(super) fn fill(db: &dyn Database) {
    db.execute(
        "INSERT INTO region VALUES (1, 'north', ''), (2, 'south', ''), (3, 'west', '');
         INSERT INTO firm VALUES ('f1', 'Adler', 1, 'a', ''), ('f2', 'Bauer', 2, 'b', ''),
           ('f3', 'Cech', NULL, 'c', ''), ('f4', 'Dorn', 9, NULL, '');
         INSERT INTO holder VALUES ('ada', 1), ('bob', 2);
         INSERT INTO tree VALUES (1, NULL, 'root'), (2, 1, 'branch'), (3, 2, 'leaf'),
           (4, 4, 'ring')",
    );
    for entity in all().into_iter().filter(|name| *name != "tree") {
        let part = if entity == "area_job" { "'p', " } else { "" };
        let row = |id: usize| {
            let firm = ["'f1'", "'f2'", "'f3'", "'f4'", "'f5'", "NULL"][id % 6];
            let boss = ["'a'", "'b'", "NULL"][id % 3];
            let owner = ["'ada'", "'bob'"][id % 2];
            format!("({id}, {part}{firm}, {boss}, {owner}, {}, 'w{id}')", id % 3)
        };
        let rows: Vec<String> = (0..24).map(row).collect();
        db.execute(&format!("INSERT INTO {entity} VALUES {}", rows.join(", ")));
    }
}

/// Makes a test of every case of lookups for a database; the argument is an expression that makes
/// one of [`lookups_schema`] and [`lookups_model`].
#[macro_export]
macro_rules! storage_lookups_conformance {
    ($make:expr) => {
        $crate::storage_lookups_conformance!($make, $make);
    };
    ($make:expr, $alone:expr) => {
        $crate::storage_conformance! { @ $alone;
            p5_a_restored_copy_is_noticed_within_a_fan_out
        }
        $crate::storage_conformance! { @ $make;
            p5_what_is_shown_of_other_rows_is_news
            p5_lookups_come_with_their_rows
            p5_a_renamed_source_brings_the_rows_that_show_it
            p9_what_no_lookup_reads_brings_nothing
            p5_a_source_that_leaves_and_comes_back
            p5_rows_on_the_way_lead_elsewhere
            p5_keys_that_move
            p5_rows_that_lead_to_themselves
            read_only_starts_over_for_what_it_shows
            p7_rows_of_others_are_not_told
            p9_a_fan_out_goes_on_page_by_page
            p5_a_source_that_changes_again_meanwhile
            p5_rows_that_move_meanwhile
            p5_values_gained_and_lost_meanwhile
            p5_a_source_that_changes_while_rows_are_downloaded
            p9_rows_of_others_take_pages_and_no_time
            p6_lookups_are_no_conflict
            p7_a_lookup_is_never_written
            p5_random_writes_against_random_pages_of_lookups
        }
    };
}

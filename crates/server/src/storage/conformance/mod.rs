//! What every storage must do, as tests over the trait and a few things a test needs of the
//! database itself.
//!
//! A storage's own tests call [`storage_conformance!`](crate::storage_conformance) with its
//! [`Database`]; each case becomes one test.

#![expect(clippy::unwrap_used, reason = "a test suite")]

mod cells;
mod chosen;
mod copies;
mod dependants;
mod digests;
mod estimates;
mod history;
mod inbox;
mod live;
mod log;
mod lookups;
mod mirror;
mod numbers;
mod parts;
mod patterns;
mod pulls;
mod pushes;
mod random;
mod refusals;
mod replica;
mod retention;
mod rights;
mod schema;
mod scopes;
mod soft_delete;
mod windows;

use afield_protocol::Value;

pub use self::cells::*;
pub use self::chosen::*;
pub use self::copies::*;
pub use self::dependants::*;
pub use self::estimates::*;
pub use self::history::*;
pub use self::inbox::*;
pub use self::live::*;
pub use self::log::*;
pub use self::lookups::*;
pub use self::mirror::Mirror;
pub use self::numbers::*;
pub use self::parts::*;
pub use self::patterns::*;
pub use self::pulls::*;
pub use self::pushes::*;
pub use self::random::*;
pub use self::refusals::*;
pub use self::replica::{Replica, Rows};
pub use self::retention::*;
pub use self::rights::*;
pub use self::schema::{entity, for_postgres, model, schema, server_model};
pub use self::scopes::*;
pub use self::soft_delete::*;
pub use self::windows::*;
use crate::resolved::ServerModel;
use crate::storage::Storage;

/// A prepared database with the tables of [`schema`], and a server on it.
pub trait Database {
    /// The storage under test.
    fn storage(&self) -> &dyn Storage;

    /// The model it was opened with.
    fn model(&self) -> &ServerModel;

    /// Runs statements as another program would, beside the server, in one transaction.
    fn execute(&self, sql: &str);

    /// What a query of another program returns.
    fn query(&self, sql: &str) -> Vec<Vec<Value>>;

    /// What this database calls a table of the bookkeeping that is called so in SQLite.
    fn bookkeeping(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Whether an epoch begins with each start of the server. Where several servers share a
    /// database it begins with each start of that.
    fn has_epochs_of_its_own(&self) -> bool {
        true
    }

    /// Whether columns keep what is written as it is spelled, UUIDs in capitals for example.
    fn keeps_spellings(&self) -> bool {
        true
    }

    /// The statement that makes a trigger: for each row of `table` that is updated, `then` if
    /// `when`.
    fn after_update(&self, table: &str, when: &str, then: &str) -> String {
        format!(
            "CREATE TRIGGER after_update_{table} AFTER UPDATE ON {table} WHEN {when} \
             BEGIN {then} END"
        )
    }

    /// How many seeds of a random case are enough, of so many that take seconds where no step waits
    /// for another process.
    fn seeds_of(&self, all: u64) -> u64 {
        all
    }

    /// What the server's clock says from now on, in seconds since 1970; 1,000 before.
    fn set_time(&mut self, seconds: i64);

    /// Ends the server and starts another on the same database.
    fn restart(&mut self);

    /// Takes a copy of the whole database, as a backup would, while the server runs.
    fn copy(&mut self);

    /// Puts the copy back in the database's place and starts the server on it.
    fn restore(&mut self);
}

/// The seeds of a random case; `AFIELD_SEEDS` asks for another number of them.
fn seeds(db: &dyn Database, all: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("AFIELD_SEEDS").ok();
    let asked = asked.and_then(|seeds| seeds.parse().ok());
    0..asked.unwrap_or_else(|| db.seeds_of(all))
}

/// What the table of `entity` holds, in the form of [`Replica::rows`].
pub fn table(db: &dyn Database, entity: &str) -> Rows {
    let model = db.model();
    let entity = model
        .entity(entity)
        .expect("the cases use entities of the model");
    let columns: Vec<String> = entity
        .columns
        .iter()
        .map(|c| format!("\"{}\"", c.name.replace('"', "\"\"")))
        .collect();
    let sql = format!(
        "SELECT {} FROM \"{}\"",
        columns.join(", "),
        entity.table.replace('"', "\"\"")
    );
    let key_width = entity.local.key_width;
    let key = |row: &Vec<Value>| replica::key_bytes(row.get(..key_width).unwrap_or(row));
    db.query(&sql)
        .into_iter()
        .map(|row| (key(&row), row))
        .collect()
}

/// Fails unless the replica holds exactly what the tables hold.
pub fn assert_same(db: &dyn Database, replica: &Replica, entities: &[&str]) {
    for entity in entities {
        assert_eq!(replica.rows(entity), &table(db, entity), "{entity} differs");
    }
}

/// Makes a test of every case for a database; the argument is an expression that makes one. Where
/// databases share a server, another makes one with a server of its own, for cases that set it back
/// to a copy, or in which time passes for all that is in it.
#[macro_export]
macro_rules! storage_conformance {
    ($make:expr) => {
        $crate::storage_conformance!($make, $make);
    };
    ($make:expr, $alone:expr) => {
        $crate::storage_conformance! { @ $alone;
            p5_a_restored_copy_is_noticed
            p5_a_restored_copy_that_grew_past_the_device_is_noticed
            p5_a_restored_copy_is_noticed_in_its_last_epoch
            p5_a_restored_copy_is_noticed_in_the_middle_of_a_download
            p5_a_device_that_was_away_for_longer_starts_over
            p5_a_download_from_before_the_horizon_starts_over
            p5_a_purge_that_stops_anywhere_loses_nothing
            p9_what_is_older_than_the_retention_is_forgotten
            nothing_is_forgotten_while_the_clock_is_behind
            p2_what_the_ledger_forgot_is_not_applied_again
            p2_every_cell_of_unknown_before
            p1_what_was_made_since_is_applied_as_ever
            p2_a_group_with_one_open_change_is_not_applied_in_part
            p2_checkpoints_of_other_histories_are_none
            p2_p5_random_absences_against_random_purges
            p1_groups_that_a_restore_took_are_lost
            p1_a_restore_is_noticed_by_the_push_alone
            p1_groups_of_server_starts_that_are_unknown_are_lost
            p2_what_the_ledger_forgot_in_time_is_not_lost
            p2_what_only_others_sent_is_not_known
            p1_no_history_contains_what_nobody_told
            p5_a_restored_copy_wakes_everybody
            p1_a_checkpoint_behind_a_decision_contains_it
            p9_the_inbox_is_forgotten_with_the_ledger
            p9_logs_are_forgotten_with_the_retention
        }
        $crate::storage_conformance! { @ $make;
            p5_first_download_brings_every_row
            p5_delta_brings_inserts_updates_and_deletes
            p5_a_row_that_comes_back_comes_back
            p5_a_key_change_moves_the_row
            p5_pages_of_every_size_lose_nothing
            a_download_says_how_many_rows_are_to_come
            what_is_here_already_is_not_to_come
            p7_what_is_to_come_counts_no_row_of_others
            p5_small_pages_by_bytes_move_on
            p5_writes_between_pages_of_a_first_download_arrive
            p5_writes_between_pages_of_a_delta_arrive
            p5_cascades_are_marked
            read_only_starts_over_when_something_changed
            read_only_ends_its_download_while_writers_go_on
            p5_a_restart_continues
            p7_forged_positions_start_over
            p7_positions_of_another_entity_start_over
            unknown_entities_are_an_error_of_the_pull
            p6_create_update_and_delete_are_applied
            p2_a_repeat_gets_the_same_answer_and_no_effect
            p2_a_foreign_edit_between_lost_answer_and_repeat_stays
            p2_a_refusal_is_repeated_even_when_its_reason_is_gone
            p2_an_altered_repeat_is_refused
            p2_known_parts_of_a_folded_group_make_a_conflict
            p2_parts_of_a_folded_group_that_come_late_make_a_conflict
            p6_a_refused_change_refuses_its_group_and_no_other
            p6_constraints_become_codes
            p6_a_missing_reference_refuses_only_its_group
            p6_a_reference_that_a_delete_breaks_is_refused
            order_within_a_group_does_not_matter_to_references
            p6_what_last_write_wins_replaces_is_in_the_verdict
            p6_conflicts_carry_the_servers_row
            p6_unwritable_changes_are_rejected_with_a_code
            composite_and_text_keys_are_written
            ledgers_of_users_are_apart
            p2_a_temporary_identifier_gets_a_number_once
            children_are_attached_to_their_parent
            p3_temporary_identifiers_in_a_base_are_no_conflict
            p2_the_same_temporary_identifier_of_two_devices_is_two_rows
            p2_a_copy_of_a_device_means_the_same_rows
            p2_a_repeat_after_the_number_is_known_changes_nothing
            p1_temporary_identifiers_of_nothing_are_refused
            p7_origins_of_other_users_are_unknown
            rows_that_refer_in_a_circle_are_created
            p2_a_row_created_twice_is_one_row
            p2_known_parts_show_the_rows_that_they_created
            p8_children_of_a_refused_parent_wait
            p6_nobody_conflicts_with_what_was_refused_of_himself
            p8_a_refusal_in_the_ledger_holds_its_dependants
            p1_a_child_that_comes_before_its_parent_is_not_lost
            p8_only_what_depends_waits
            p8_a_broken_reference_holds_its_dependants
            p8_a_number_that_went_back_holds_nobody
            p8_a_row_under_both_identifiers_is_one_row
            p6_counters_of_two_devices_add_up
            insert_only_rows_are_created_and_nothing_else
            insert_only_rows_are_never_pulled
            p2_p6_every_cell_of_who_wins
            p2_parts_become_the_whole_in_whatever_order_they_come
            p2_parts_of_a_settled_group_get_its_outcome
            p9_parts_are_bounded
            p5_random_writers_against_random_pages
            p7_a_first_download_brings_the_scope_and_nothing_else
            p7_rows_enter_and_leave_by_their_own_columns
            p1_a_page_ends_between_rows_and_never_between_marks_of_one
            p5_a_grant_brings_untouched_rows_and_its_end_takes_them
            p5_a_moved_parent_moves_its_rows
            p5_a_row_leaves_with_its_last_way_in
            p5_values_that_flap_lose_nothing
            p7_null_is_held_by_nobody
            p7_foreign_writes_leave_no_trace
            p7_rows_that_went_before_a_grant_are_never_named
            read_only_starts_over_for_its_own_rows_and_values
            p5_values_change_in_the_middle_of_downloads
            p7_a_value_lost_during_its_scan_takes_its_rows_along
            p7_a_value_regained_within_a_download_brings_only_what_is_there
            p5_a_forgotten_list_is_asked_for
            p7_forged_lists_start_over
            p7_another_users_positions_bring_nothing_of_his
            p5_hundreds_of_values
            p5_buckets_list_their_rows
            p7_rows_that_are_asked_for_are_the_users_own
            p9_what_is_asked_for_fits_the_page
            p7_random_scopes_against_random_pages
            p5_p7_writes_are_news_to_whose_rows_they_touch
            p7_rows_that_match_in_part_are_no_news
            p7_what_goes_to_nobody_is_no_news
            p9_a_bulk_of_writes_is_one_piece_of_news
            p5_p7_values_that_come_and_go_are_news
            p5_parents_that_move_are_news
            p5_values_that_flap_between_looks_are_news
            p7_what_was_known_is_no_news
            p5_random_news_leave_no_device_behind
            p6_a_conflict_is_noted_once
            p6_every_change_of_a_refused_group_is_noted
            p6_a_group_that_is_sent_again_closes_its_entry
            p9_the_inbox_is_bounded
            p2_mine_is_applied_once
            p2_a_decision_behind_the_users_own_does_nothing
            p6_theirs_leaves_the_row
            p6_set_corrects_a_change_of_its_group
            p6_a_decision_cannot_break_a_reference
            p6_deletes_and_gone_rows_are_decided
            p6_counters_are_decided_as_differences
            p1_what_depends_on_a_decided_create_finds_its_row
            p6_a_create_over_a_row_that_exists_is_decided
            p7_a_decision_is_told_to_its_device_until_it_says_so
            p6_a_device_that_decided_too_is_told
            p2_a_decision_tells_new_identifiers
            p7_a_decision_tells_nothing_of_rows_that_left
            p2_an_entry_of_a_log_is_kept_once
            p7_logs_of_users_are_apart
            logs_are_found_by_what_is_asked
            p9_the_log_of_a_user_is_bounded
        }
    };
    (@ $make:expr; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            let mut database = $make;
            $crate::storage::conformance::$case(&mut database);
        })*
    };
}

//! The conformance suite on PostgreSQL.

use crate::postgres_database::PostgresDatabase;

afield_server::storage_conformance! { @ PostgresDatabase::new();
    p5_first_download_brings_every_row
    p5_delta_brings_inserts_updates_and_deletes
    p5_a_row_that_comes_back_comes_back
    p5_a_key_change_moves_the_row
    p5_pages_of_every_size_lose_nothing
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
    insert_only_rows_are_never_pulled
    p2_parts_become_the_whole_in_whatever_order_they_come
    p9_parts_are_bounded
    p5_random_writers_against_random_pages
}

/// Cases that set the database back, or count on nothing else happening in its cluster.
mod alone {
    use super::*;

    afield_server::storage_conformance! { @ PostgresDatabase::alone();
        p5_a_restored_copy_is_noticed
        p5_a_restored_copy_that_grew_past_the_device_is_noticed
        p5_a_restored_copy_is_noticed_in_its_last_epoch
        p5_a_restored_copy_is_noticed_in_the_middle_of_a_download
        p5_a_device_that_was_away_for_longer_starts_over
        p5_a_download_from_before_the_horizon_starts_over
        p5_a_purge_that_stops_anywhere_loses_nothing
        nothing_is_forgotten_while_the_clock_is_behind
    }
}

mod lookups {
    use afield_server::storage::conformance::{for_postgres, lookups_model, lookups_schema};

    use super::*;

    // The others of them stand with the scopes.
    afield_server::storage_conformance! {
        @ PostgresDatabase::alone_with(&for_postgres(&lookups_schema()), lookups_model());
        p5_a_restored_copy_is_noticed_within_a_fan_out
    }
}

mod windows {
    use afield_server::storage::conformance::{for_postgres, windows_model, windows_schema};

    use super::*;

    fn made() -> PostgresDatabase {
        PostgresDatabase::with(&for_postgres(&windows_schema()), windows_model())
    }

    // A column of PostgreSQL's holds nothing but times: `p5_what_is_no_time_is_in_no_window` has
    // no rows here.
    afield_server::storage_conformance! { @ made();
        p5_downloads_bring_what_is_in_the_window
        p5_rows_leave_as_time_passes
        p5_edits_bring_rows_in_and_take_them_out
        p5_every_spelling_of_a_time_counts
        p5_a_value_gained_brings_what_is_in_the_window
        p5_rows_enter_as_time_passes
        p5_rows_enter_in_pages_of_every_size
        p5_rows_of_one_instant_are_cut_without_loss
        p5_rows_enter_and_are_modified_in_the_same_pull
        p5_rows_enter_while_a_download_is_under_way
        p5_rows_enter_within_scopes_alone
        p5_soft_deleted_rows_do_not_enter
        read_only_entities_start_over_when_a_row_enters
        p5_a_device_that_was_long_away_catches_up
        p5_a_clock_that_steps_back_moves_nothing
        p5_another_window_starts_over
        p9_nothing_is_sent_again_when_nothing_entered
        p5_random_windows_hold_exactly_what_they_should
    }

    mod alone {
        use super::*;

        afield_server::storage_conformance! {
            @ PostgresDatabase::alone_with(&for_postgres(&windows_schema()), windows_model());
            p5_a_restored_copy_starts_over_by_its_own_clock
        }
    }
}

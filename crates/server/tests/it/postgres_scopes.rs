//! The conformance suite of scopes on PostgreSQL.

use afield_server::storage::Storage;
use afield_server::storage::conformance::{
    Database, ScopedDevice, chosen_model, chosen_schema, for_postgres, lookups_model,
    lookups_schema, soft_delete_model, soft_delete_schema,
};

use crate::postgres_database::PostgresDatabase;

afield_server::storage_conformance! { @ PostgresDatabase::new();
    p7_a_first_download_brings_the_scope_and_nothing_else
    p7_rows_enter_and_leave_by_their_own_columns
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
}

mod chosen {
    use super::*;

    afield_server::storage_conformance! { @ chosen();
        p7_only_what_is_chosen_and_allowed_comes
        p7_chosen_rows_leave_with_the_choice
        p7_a_right_that_ends_takes_its_rows_and_one_that_begins_brings_them
        p5_choices_change_between_pages
        p5_devices_of_one_user_choose_apart
        read_only_follows_the_choice
        values_are_compared_as_their_column_stores_them
        p5_hundreds_of_chosen_values
        p7_forged_choices_bring_nothing
        p7_foreign_and_missing_choices_are_answered_alike
        p7_an_answer_of_nought_or_null_is_no
        p7_random_choices_against_random_pages
    }
}

/// Without a memory, each device must say what it has.
#[test]
fn p5_devices_choose_apart_from_a_server_that_remembers_nothing() {
    let mut db = chosen();
    let forgetful = db.another().with_list_memory(0);
    db.answered_by(forgetful);
    afield_server::storage::conformance::p5_devices_of_one_user_choose_apart(&mut db);
}

/// Nor does it matter which of several servers answers: what one remembers the other asks for.
#[test]
fn p5_two_servers_share_the_devices_of_one_database() {
    let db = PostgresDatabase::new();
    db.execute(
        "INSERT INTO region_member VALUES ('ada', 1), ('ada', 2);
         INSERT INTO area_task SELECT n, NULL, 1 + n % 3, NULL, NULL, 'w'
         FROM generate_series(1, 20) n",
    );
    let other = db.another();
    let mut ada = ScopedDevice::of("ada", None);
    for round in 0..4 {
        for server in [db.own(), &other] {
            for _ in 0..3 {
                let mut request = ada.request(&["area_task"], 2);
                request.held = ada.held(&["area_task"]);
                let page = server.pull(db.model(), &request).unwrap();
                ada.note(&db);
                ada.apply(&db, &page);
            }
        }
        let region = 1 + round % 2;
        db.execute(&format!(
            "DELETE FROM region_member WHERE region_id = {region};
             INSERT INTO region_member VALUES ('ada', {});
             UPDATE area_task SET words = words || 'x' WHERE id % 4 = {round}",
            3 - region
        ));
    }
    ada.pull(&db, &["area_task"], 3);
    assert_eq!(ada.resets, 0);
}

mod soft_delete {
    use super::*;

    afield_server::storage_conformance! { @ soft_delete();
        p5_soft_deleted_rows_are_not_there_for_pulls
        p5_soft_deleted_rows_leave_and_revived_ones_come_again
        p5_pages_move_on_over_soft_deleted_rows
        p5_soft_deletes_between_pages_of_a_download_arrive
        p5_soft_deletes_work_within_scopes
        read_only_entities_start_over_without_soft_deleted_rows
    }
}

mod lookups {
    use super::*;

    afield_server::storage_conformance! { @ lookups();
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
        p5_random_writes_against_random_pages_of_lookups
    }
}

fn chosen() -> PostgresDatabase {
    PostgresDatabase::with(&for_postgres(&chosen_schema()), chosen_model())
}

fn soft_delete() -> PostgresDatabase {
    let schema = soft_delete_schema("INTEGER PRIMARY KEY AUTOINCREMENT");
    PostgresDatabase::with(&for_postgres(&schema), soft_delete_model())
}

fn lookups() -> PostgresDatabase {
    PostgresDatabase::with(&for_postgres(&lookups_schema()), lookups_model())
}

#![allow(missing_docs, dead_code, unused)]
#[path = "it/postgres_database.rs"]
mod postgres_database;
#[path = "it/postgres_support.rs"]
mod postgres_support;
use crate::postgres_database::PostgresDatabase;

mod pushes {
    use super::*;
    afield_server::storage_conformance! { @ PostgresDatabase::new();
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
                p2_p6_every_cell_of_who_wins
                p2_parts_of_a_settled_group_get_its_outcome
                p1_what_was_made_since_is_applied_as_ever
                p2_p5_random_absences_against_random_purges
                p1_no_history_contains_what_nobody_told
    }
}
mod alone {
    use super::*;
    afield_server::storage_conformance! { @ PostgresDatabase::alone();
                p2_a_group_with_one_open_change_is_not_applied_in_part
                p2_checkpoints_of_other_histories_are_none
                p2_every_cell_of_unknown_before
                p2_what_only_others_sent_is_not_known
                p2_what_the_ledger_forgot_in_time_is_not_lost
                p2_what_the_ledger_forgot_is_not_applied_again
                p9_what_is_older_than_the_retention_is_forgotten
                p1_groups_that_a_restore_took_are_lost
                p1_a_restore_is_noticed_by_the_push_alone
                p1_groups_of_server_starts_that_are_unknown_are_lost
    }
}

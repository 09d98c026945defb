//! Cases of rows that count as deleted, on tables of their own. A storage's tests call
//! [`storage_soft_delete_conformance!`](crate::storage_soft_delete_conformance) with a database
//! made of [`soft_delete_schema`] and [`soft_delete_model`].

mod pulls;
mod pushes;
mod refused;
mod tables;

pub use self::pulls::*;
pub use self::pushes::*;
pub use self::refused::*;
pub use self::tables::{soft_delete_model, soft_delete_schema};

/// Makes a test of every case of soft deletes for a database; the argument is an expression that
/// makes one of [`soft_delete_schema`] and [`soft_delete_model`].
#[macro_export]
macro_rules! storage_soft_delete_conformance {
    ($make:expr) => {
        $crate::storage_conformance! { @ $make;
            p5_soft_deleted_rows_are_not_there_for_pulls
            p7_what_is_to_come_counts_no_deleted_row
            p5_soft_deleted_rows_leave_and_revived_ones_come_again
            p5_pages_move_on_over_soft_deleted_rows
            p5_soft_deletes_between_pages_of_a_download_arrive
            p5_every_spelling_of_the_value_counts
            p5_soft_deletes_work_within_scopes
            read_only_entities_start_over_without_soft_deleted_rows
            p6_a_delete_makes_the_condition_hold
            p6_a_delete_sets_the_servers_time
            p6_a_database_that_keeps_the_row_refuses_the_delete
            p7_rows_that_others_write_are_revived_by_nobody_else
            p6_soft_deleted_rows_are_gone_for_pushes
            p6_a_users_own_update_may_delete
            p6_a_create_revives_as_an_update
            p6_soft_deletes_follow_the_conflict_kind
            p7_a_repeat_tells_nothing_of_a_soft_deleted_row
            p7_a_foreign_soft_deleted_row_is_a_taken_identifier
            p7_references_to_soft_deleted_rows_are_references_to_nothing
            p3_a_delete_of_a_parent_touches_no_child
            p6_numbered_rows_are_soft_deleted_by_their_temporary_identifiers
            p6_counters_of_soft_deleted_rows_do_not_count
            p5_soft_deletes_are_news
        }
    };
}

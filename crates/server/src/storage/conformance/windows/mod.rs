//! Cases of windows, on tables of their own. A storage's tests call
//! [`storage_windows_conformance!`](crate::storage_windows_conformance) with a database made of
//! [`windows_schema`] and [`windows_model`].

mod clocks;
mod enter;
mod leave;
mod random;
mod tables;

pub use self::clocks::*;
pub use self::enter::*;
pub use self::leave::*;
pub use self::random::*;
pub use self::tables::{windows_model, windows_schema};

/// Makes a test of every case of windows for a database; the argument is an expression that makes
/// one of [`windows_schema`] and [`windows_model`].
#[macro_export]
macro_rules! storage_windows_conformance {
    ($make:expr) => {
        $crate::storage_windows_conformance!($make, $make);
    };
    ($make:expr, $alone:expr) => {
        $crate::storage_conformance! { @ $alone;
            p5_a_restored_copy_starts_over_by_its_own_clock
        }
        $crate::storage_conformance! { @ $make;
            p5_downloads_bring_what_is_in_the_window
            p5_rows_leave_as_time_passes
            p5_edits_bring_rows_in_and_take_them_out
            p6_pushes_ignore_the_window
            p5_every_spelling_of_a_time_counts
            p5_what_is_no_time_is_in_no_window
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
    };
}

//! Cases of scopes whose values the app chooses. A storage's tests call
//! [`storage_chosen_conformance!`](crate::storage_chosen_conformance) with a database made of
//! [`chosen_schema`] and [`chosen_model`].

mod device;
mod forged;
mod pulls;
mod pushes;
mod random;
mod tables;

pub use self::device::ChoosingDevice;
pub use self::forged::*;
pub use self::pulls::*;
pub use self::pushes::*;
pub use self::random::*;
pub use self::tables::{chosen_model, chosen_schema};

/// The entities of the model.
pub(super) const ALL: [&str; 4] = ["visit", "remark", "sheet", "plan"];

/// Makes a test of every case of chosen scopes for a database; the argument is an expression that
/// makes one of [`chosen_schema`] and [`chosen_model`].
#[macro_export]
macro_rules! storage_chosen_conformance {
    ($make:expr) => {
        $crate::storage_conformance! { @ $make;
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
            p3_what_may_be_written_does_not_depend_on_the_choice
            p7_rows_that_could_not_be_chosen_are_not_written
            p7_references_to_rows_that_could_be_chosen_are_fine
            p7_random_choices_against_random_pages
            p10_devices_that_choose_get_no_sign_of_life_in_doubt
        }
    };
}

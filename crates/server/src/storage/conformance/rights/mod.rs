//! Cases of whose rows a push may change, see and refer to: Ada's and Eve's, on tables of their
//! own. A storage's tests call [`storage_rights_conformance!`](crate::storage_rights_conformance)
//! with a database made of [`rights_schema`] and [`rights_model`].

mod alike;
mod handing;
mod late;
mod reach;
mod rows;
mod tables;
mod told;
mod write_tables;
mod writing;

use afield_protocol::{Attributes, Change, Group, GroupOutcome, Op, Value, Verdict};

pub use self::alike::*;
pub use self::handing::*;
pub use self::late::*;
pub use self::reach::*;
pub use self::rows::*;
pub use self::tables::{MARKER, ada, eve, rights_model, rights_schema};
pub use self::told::*;
pub use self::writing::*;
use super::Database;
use super::pushes::{create, group, set, update};
use crate::storage::Caller;

/// All rows of all tables, to compare before and after.
pub(super) fn dump(db: &dyn Database) -> Vec<Vec<Vec<Value>>> {
    let entities = &db.model().entities;
    let rows = |table: &String| db.query(&format!("SELECT * FROM {table} ORDER BY 1, 2"));
    entities.iter().map(|entity| rows(&entity.table)).collect()
}

fn push_as(db: &dyn Database, caller: &Caller, groups: &[Group]) -> Vec<GroupOutcome> {
    let outcomes = db.storage().push(db.model(), caller, groups);
    let outcomes = outcomes.expect("the push works");
    assert_eq!(outcomes.len(), groups.len());
    outcomes
}

/// Pushes one group as Ada; returns its verdicts.
fn push(db: &dyn Database, id: u8, changes: Vec<Change>) -> Vec<Verdict> {
    push_as(db, &ada(), &[group(id, changes)])
        .remove(0)
        .verdicts
}

/// Pushes one change as Ada.
fn push_one(db: &dyn Database, id: u8, change: Change) -> Verdict {
    push(db, id, vec![change]).remove(0)
}

fn codes(verdicts: &[Verdict]) -> Vec<&str> {
    let code = |verdict: &'_ Verdict| verdict.code.clone();
    let known = [
        "forbidden",
        "gone",
        "reference",
        "group-refused",
        "key-taken",
        "row-changed",
        "key-exists",
        "waits-for",
        "absorbed-known",
    ];
    verdicts
        .iter()
        .map(|verdict| match code(verdict) {
            None => "applied",
            Some(code) => known
                .into_iter()
                .find(|word| *word == code.as_str())
                .unwrap_or("?"),
        })
        .collect()
}

/// A change with what its author saw.
fn saw(change: Change, base: &[(&str, Value)]) -> Change {
    Change {
        base: set(base),
        ..change
    }
}

fn site(op: Op, id: &str, values: &[(&str, Value)]) -> Change {
    super::pushes::change(op, "site", vec![id.into()], values)
}

fn member(id: &str, who: &str, region: &str) -> Change {
    create(
        "member",
        id,
        &[("who", who.into()), ("region", region.into())],
    )
}

fn retitle(id: &str, title: &str) -> Change {
    update("site", id, &[("title", title.into())])
}

fn nothing() -> Attributes {
    Attributes::new()
}

/// Makes a test of every case of rights for a database; the argument is an expression that makes
/// one of [`rights_schema`] and [`rights_model`].
#[macro_export]
macro_rules! storage_rights_conformance {
    ($make:expr) => {
        $crate::storage_conformance! { @ $make;
            p7_a_decision_has_the_rights_of_its_user
            p7_foreign_and_missing_rows_are_answered_alike
            p7_foreign_rows_in_a_known_part_are_answered_alike
            p7_a_taken_identifier_tells_nothing_else
            p7_rows_do_not_end_outside_the_scope
            p7_a_group_that_ends_outside_leaves_nothing
            p7_a_scope_column_that_is_not_on_the_device_is_named
            p7_rights_are_asked_at_that_moment
            p8_the_order_within_a_group_does_not_matter_to_rights
            p7_a_forged_grant_opens_nothing
            p7_rows_that_leave_at_the_end_of_a_group_are_refused
            p7_references_to_rows_of_others_are_references_to_nothing
            p7_composite_references_are_asked
            p7_references_are_asked_where_the_database_does_not
            p3_a_reference_that_is_not_changed_is_not_asked_again
            p8_references_to_rows_of_the_same_envelope_are_fine
            p7_references_by_temporary_identifiers_are_asked_too
            p7_a_repeat_leaves_out_what_left_the_scope
            p7_a_repeat_tells_nothing_of_a_deleted_row
            p7_a_refused_group_tells_nothing_that_only_it_opened
            p7_parts_of_a_settled_group_tell_nothing_either
            p7_only_rows_that_may_be_written_are_written
            p7_who_may_write_everything_still_writes_only_what_he_reads
            p7_rows_become_only_what_they_may_become
            p7_both_rules_count_where_a_row_is_read_by_everyone
            p7_hidden_references_tell_nothing
            p1_a_row_is_handed_on_and_leaves
            p7_a_row_handed_on_is_nobodys_to_edit_any_more
            p7_nothing_is_told_of_a_row_that_was_handed_on
            p1_rows_made_for_others_have_their_numbers_and_their_children
            p8_what_is_handed_on_comes_last_whatever_the_order
            p1_a_delete_behind_what_is_handed_on_is_done
            p7_several_changes_of_one_row_keep_their_order
            p7_a_forged_order_opens_nothing
        }
    };
}

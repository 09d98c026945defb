//! Scopes whose values the app chooses, as the model file says them.

use afield_protocol::Type;
use afield_server::model::{Checked, ModelError};

use crate::model_scope::held;

const USED: &str = "\"company_id.region_id in opened\"";

const QUERY: &str = "\"SELECT 1 FROM region_member WHERE user_id = :user AND region_id = :value\"";

fn said(scope: &str, section: &str) -> (Option<Checked>, Vec<String>) {
    let shown = |all: &[ModelError]| all.iter().map(ToString::to_string).collect();
    match held(scope, &format!("[scope.opened]\n{section}\n")) {
        Ok(checked) => {
            let warnings = shown(&checked.warnings);
            (Some(checked), warnings)
        }
        Err(errors) => (None, shown(&errors)),
    }
}

#[test]
fn devices_are_told_names_types_and_how_long() {
    for (keep, expected_ms) in [
        ("", 7 * 86_400_000),
        ("keep_chosen = \"90 min\"", 5_400_000),
        ("keep_chosen = \"3650 days\"", 3650 * 86_400_000),
    ] {
        let (checked, _) = said(USED, &format!("chosen = {QUERY}\n{keep}"));
        let model = checked.unwrap().model;
        let told = model.device.chosen("opened").unwrap();
        assert_eq!((told.kind, told.keep_ms), (Type::Integer, expected_ms));
        assert_eq!(model.scope("opened").unwrap().chosen, Some(Type::Integer));
    }
    // A scope that nothing uses has no type, and devices are not told of it.
    let (checked, warnings) = said("\"user_id = :user\"", &format!("chosen = {QUERY}"));
    let model = checked.unwrap().model;
    assert!(model.device.chosen.is_empty() && model.scopes.is_empty());
    assert!(warnings[0].contains("no entity uses it"), "{warnings:?}");
}

#[test]
fn mistakes_are_named_with_line_and_remedy() {
    for (section, expected) in [
        (
            "chosen = \"SELECT 1 FROM region_member WHERE user_id = :user\"",
            "9:11: [scope.opened] chosen: does not ask for `:value`",
        ),
        (
            "chosen = \"SELECT user_id, region_id FROM region_member WHERE region_id = :value\"",
            "9:11: [scope.opened] chosen: finds 2 columns",
        ),
        (
            "chosen = \"DELETE FROM region_member WHERE region_id = :value\"",
            "[scope.opened] chosen: does something other than reading",
        ),
        (
            "chosen = \"SELECT 1 FROM region_member AS afield_own WHERE region_id = :value\"",
            "9:42: [scope.opened] chosen: has a name with `afield_` in it",
        ),
        (
            "chosen = \"SELECT 1 FROM region_member WHERE region_id = :valeu\"",
            "the parameter `:valeu` is unknown",
        ),
        ("chosen = \"\"", "[scope.opened] chosen: is empty"),
        (
            "query = \"SELECT region_id FROM region_member WHERE user_id = :user\"\nchosen = \"x\"",
            "10:10: [scope.opened] chosen: stands beside `query`",
        ),
        (
            "query = \"SELECT region_id FROM region_member WHERE user_id = :user\"\n\
             keep_chosen = \"7 days\"",
            "10:15: [scope.opened] keep_chosen: is for values that the app chooses",
        ),
        (
            "keep_chosen = \"7 days\"",
            "[scope.opened]: `query` is missing",
        ),
    ] {
        let (checked, errors) = said(USED, section);
        assert!(checked.is_none(), "{section}");
        assert!(
            errors.iter().any(|line| line.contains(expected)),
            "{section}: {expected}: {errors:#?}"
        );
    }
    for keep in ["0 s", "10 ms", "3651 days", "a while"] {
        let (checked, errors) = said(USED, &format!("chosen = {QUERY}\nkeep_chosen = \"{keep}\""));
        assert!(checked.is_none(), "{keep}");
        assert!(errors[0].contains("10:15"), "{errors:?}");
    }
}

#[test]
fn what_everybody_may_choose_and_what_is_slow_is_said() {
    let (checked, warnings) = said(USED, "chosen = \"SELECT 1 FROM region WHERE id = :value\"");
    assert!(checked.is_some());
    let all: Vec<&String> = (warnings.iter().filter(|it| it.contains("[scope."))).collect();
    assert_eq!(all.len(), 1, "{warnings:?}");
    assert!(
        all[0].contains("every user may choose the same values"),
        "{all:?}"
    );
    // The members have no index in this schema.
    let (_, warnings) = said(USED, &format!("chosen = {QUERY}"));
    let is_slow = |line: &String| line.contains("looks at all rows of `region_member`");
    assert!(warnings.iter().any(is_slow), "{warnings:?}");
}

#[test]
fn values_of_one_scope_have_one_type() {
    let scope = "\"company_id.region_id in opened or company_id.region_code in opened\"";
    let (checked, errors) = said(scope, &format!("chosen = {QUERY}"));
    assert!(checked.is_none());
    assert!(
        errors[0].contains("`company.region_code` is text")
            && errors[0].contains("like `company.region_id`, which is integer"),
        "{errors:?}"
    );
}

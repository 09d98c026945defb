//! Rules on a device: what breaks none is not refused for it, and what breaks one is not written.

use afield_protocol::{Code, Value};

use super::device::DeviceRecord;
use super::view::View;
use crate::action::What;
use crate::rows::{display, display_name};
use crate::statements::Settled;
use crate::violation::{Promise, Violation};
use crate::{app, jobs};

impl DeviceRecord {
    /// What somebody wrote breaks no rule that the device has. What stood there before may.
    pub(crate) fn check_rules(&self, after: &View, by_other: bool) -> Result<(), Violation> {
        if !self.view.has_rules || !after.has_rules {
            return Ok(());
        }
        let breaks = match by_other {
            true => jobs::breaks_for_all,
            false => jobs::breaks,
        };
        for (key, row) in &after.visible[app::JOB] {
            let before = self.view.visible[app::JOB].get(key);
            let mut written = row[..app::stored(app::JOB)].iter().enumerate();
            let is_broken = |(at, value): (usize, &Value)| {
                before.is_none_or(|before| before[at] != *value) && breaks(app::JOB, at, value)
            };
            if written.any(is_broken) {
                let invariant = "a device takes nothing that breaks a rule";
                let name = display_name(&(app::JOB, key.clone()));
                let detail = format!("{name}: {}", display(app::JOB, Some(row)));
                return Err(Violation::new(Promise::P6, invariant, detail));
            }
        }
        Ok(())
    }
}

/// A transaction was refused for a rule: something in it must break one.
pub(crate) fn check_refused(edits: &[Settled], code: &Code) -> Result<(), Violation> {
    let is_so = |edit: &Settled| {
        let mut set = edit.set.iter();
        let makes = matches!(
            edit.what,
            What::Create | What::Upsert | What::Replace | What::Ignore | What::Again
        );
        let title = app::attribute_place(app::JOB, "title");
        edit.entity == app::JOB
            && (set.any(|(at, value)| jobs::breaks(app::JOB, *at, value))
                || makes && edit.set.iter().all(|(at, _)| *at != title))
    };
    if edits.iter().any(is_so) {
        return Ok(());
    }
    let invariant = "what breaks no rule is not refused for one";
    let detail = format!("{code}: {edits:?}");
    Err(Violation::new(Promise::P6, invariant, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Edit;
    use crate::rows::Rows;

    fn job(what: What, n: u32) -> Settled {
        let title = app::attribute_place(app::JOB, "title");
        let title = u32::try_from(title).unwrap();
        let edit = Edit {
            entity: app::JOB,
            what,
            row: 0,
            attribute: title - 1,
            n,
        };
        let key = afield_protocol::codec::cbor::write_key(&app::key(app::JOB, 1));
        let rows = Rows::from([(key, vec![Value::Null; app::width(app::JOB)])]);
        Settled::new(&edit, &rows, |_, _| None).unwrap()
    }

    #[test]
    fn p6_a_refusal_that_no_rule_asks_for_is_noticed() {
        for n in 1..20 {
            let refused = |what| check_refused(&[job(what, n)], &Code::NOT_NULL);
            assert!(refused(What::Breaks).is_ok());
            assert!(refused(What::Update).is_err());
            assert!(refused(What::Create).is_err());
        }
    }
}

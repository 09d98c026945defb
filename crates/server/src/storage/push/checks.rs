//! What is wrong with a change whatever the table holds, and what the model's rules refuse.

use afield_protocol::zoo::planted;
use afield_protocol::{Attribute, Attributes, Change, Code, Op, Verdict};

use super::transaction::{FoundRow, Table};

/// The refusal of a change that no table could make right.
pub(super) fn unwritable(table: &impl Table, change: &Change) -> Option<Verdict> {
    let local = &table.entity().local;
    let refuse = |code, attribute: Option<&str>, message: String| {
        Some(Verdict {
            attribute: attribute.map(str::to_owned),
            ..Verdict::rejected(code, message)
        })
    };
    if !local.is_written() {
        let message = format!("`{}` is read-only", local.name);
        return refuse(Code::READ_ONLY, None, message);
    }
    if local.insert_only && change.op != Op::Create {
        let message = format!("rows of `{}` are only created on a device", local.name);
        return refuse(Code::INSERT_ONLY, None, message);
    }
    if change.key.len() != local.key_width {
        let message = format!(
            "the identifier of `{}` has {} parts",
            local.name, local.key_width
        );
        return refuse(Code::IDENTIFIER_MISSING, None, message);
    }
    for (attribute, value) in local.key().iter().zip(&change.key) {
        let name = &attribute.name;
        if value.is_null() {
            let message = format!("`{name}` is part of the identifier and must have a value");
            return refuse(Code::IDENTIFIER_MISSING, Some(name), message);
        }
        if !attribute.kind.accepts(value.as_ref()) {
            let message = format!("`{name}` expects {}", attribute.kind.expected());
            return refuse(Code::TYPE_MISMATCH, Some(name), message);
        }
    }
    for (name, value) in &change.set {
        let Some(attribute) = local.attribute(name) else {
            let message = format!("`{}` has no attribute `{name}`", local.name);
            return refuse(Code::UNKNOWN_ATTRIBUTE, Some(name), message);
        };
        if local.key().iter().any(|key| key.name == *name) {
            let message = format!("`{name}` is the identifier, which cannot be changed");
            return refuse(Code::IDENTIFIER_CHANGED, Some(name), message);
        }
        if attribute.read_only {
            let message = format!("`{name}` is read-only");
            return refuse(Code::READ_ONLY, Some(name), message);
        }
        // A device with an earlier model sends what the attribute was then.
        if attribute.kind.converted(value).is_none() {
            let message = format!("`{name}` expects {}", attribute.kind.expected());
            return refuse(Code::TYPE_MISMATCH, Some(name), message);
        }
    }
    let mut fixed = local.key().iter().filter(|key| key.read_only);
    if change.op == Op::Create
        && let Some(key) = fixed.next()
    {
        let message = format!(
            "no row of `{}` is created on a device: `{}` is read-only",
            local.name, key.name
        );
        return refuse(Code::READ_ONLY, Some(&key.name), message);
    }
    if change.op == Op::Delete && !change.set.is_empty() {
        return refuse(Code::MALFORMED, None, "a delete sets nothing".into());
    }
    None
}

/// The refusal of a change that would write what a rule of the model refuses. What the row has
/// already is nobody's mistake now.
pub(super) fn breaks_rule<P>(
    table: &impl Table,
    op: Op,
    row: Option<&FoundRow<P>>,
    set: &Attributes,
) -> Option<Verdict> {
    let local = &table.entity().local;
    let width = local.key_width;
    let broken = |(at, attribute): (usize, &Attribute)| {
        let has = row.and_then(|row| row.values.get(at + width));
        let checked = match set.get(&attribute.name) {
            _ if attribute.read_only || planted("server-rule-unasked") => Ok(()),
            Some(value) if has == Some(value) => Ok(()),
            Some(value) => attribute.rule.check(attribute.kind, value),
            None if op == Op::Create && row.is_none() => attribute.check_left_out(),
            None => Ok(()),
        };
        let broken = checked.err()?;
        Some(Verdict {
            attribute: Some(attribute.name.clone()),
            ..Verdict::rejected(
                broken.code,
                format!("`{}` {}", attribute.name, broken.message),
            )
        })
    };
    local.values().iter().enumerate().find_map(broken)
}

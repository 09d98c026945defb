//! A change's values in the types of the model and of the columns, before anything is compared.

use std::borrow::Cow;

use afield_protocol::{Attributes, Change, Type};

use super::transaction::Table;

/// The change with its values in the types of the model: a device with an earlier model sends them
/// in those of that one.
pub(super) fn as_model_has_it<'c>(table: &impl Table, change: &'c Change) -> Cow<'c, Change> {
    let mut found = Cow::Borrowed(change);
    for attribute in table.entity().local.values() {
        let (name, kind) = (&attribute.name, attribute.kind);
        let converted = |values: &Attributes| {
            let value = values.get(name)?;
            let other = kind.converted(value)?;
            (other != *value).then_some(other)
        };
        if let Some(value) = converted(&change.set) {
            found.to_mut().set.insert(name.clone(), value);
        }
        if let Some(value) = converted(&change.base) {
            found.to_mut().base.insert(name.clone(), value);
        }
    }
    found
}

/// The change with its decimals as their columns have them: other zeros at the end are no change.
pub(super) fn as_columns_have_it<'c>(table: &impl Table, change: &'c Change) -> Cow<'c, Change> {
    let attributes = table.entity().local.attributes.iter().enumerate();
    let mut found = Cow::Borrowed(change);
    for (at, attribute) in attributes.filter(|(_, it)| it.kind == Type::Decimal && !it.lookup) {
        let respelled = |values: &Attributes| {
            let value = values.get(&attribute.name)?;
            let other = table.spelled(at, value)?;
            (other != *value).then_some(other)
        };
        if let Some(value) = respelled(&change.set) {
            found.to_mut().set.insert(attribute.name.clone(), value);
        }
        if let Some(value) = respelled(&change.base) {
            found.to_mut().base.insert(attribute.name.clone(), value);
        }
    }
    found
}

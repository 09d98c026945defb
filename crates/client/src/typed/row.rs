//! Between generated structs and what the store takes and gives.

use afield_protocol::{Attributes, Code, Key, Value};

use super::field::{Field, Scalar};
use super::stale;
use crate::error::Error;

/// A row that was read, on its way into a struct.
#[derive(Debug)]
pub struct Row<'a> {
    entity: &'static str,
    columns: &'a [String],
    values: Vec<Value>,
    /// Where the next attribute probably stands: generated code asks in the table's order.
    next: usize,
}

impl<'a> Row<'a> {
    pub(super) fn new(entity: &'static str, columns: &'a [String], values: Vec<Value>) -> Self {
        Self {
            entity,
            columns,
            values,
            next: 0,
        }
    }

    /// A part of the identifier.
    ///
    /// # Errors
    /// It is null or has another type, or the store does not have the attribute.
    pub fn key<T: Scalar>(&mut self, attribute: &str) -> Result<T, Error> {
        let value = self.take(attribute)?;
        read(self.entity, attribute, value)
    }

    /// Any other attribute.
    ///
    /// # Errors
    /// It has another type, or the store does not have the attribute.
    pub fn value<T: Scalar>(&mut self, attribute: &str) -> Result<Option<T>, Error> {
        match self.take(attribute)? {
            Value::Null => Ok(None),
            value => read(self.entity, attribute, value).map(Some),
        }
    }

    fn take(&mut self, attribute: &str) -> Result<Value, Error> {
        let is_it = |column: &String| column == attribute;
        let at = match self.columns.get(self.next) {
            Some(column) if is_it(column) => self.next,
            _ => (self.columns.iter().position(is_it))
                .ok_or_else(|| stale(self.entity, &format!("the attribute `{attribute}` of")))?,
        };
        self.next = at + 1;
        let value = self.values.get_mut(at);
        Ok(value.map_or(Value::Null, |value| std::mem::replace(value, Value::Null)))
    }
}

/// The parts of an identifier, on their way into a key or out of one.
#[derive(Debug, Default)]
pub struct KeyParts {
    entity: &'static str,
    put: Key,
    given: std::vec::IntoIter<Value>,
}

impl KeyParts {
    pub(super) fn of(entity: &'static str, key: Key) -> Self {
        Self {
            entity,
            put: Key::new(),
            given: key.into_iter(),
        }
    }

    pub(super) fn into_key(self) -> Key {
        self.put
    }

    /// Adds a part.
    pub fn put(&mut self, part: &impl Scalar) {
        self.put.push(part.to_value());
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// There is none, or it has another type.
    pub fn take<T: Scalar>(&mut self) -> Result<T, Error> {
        let value = self.given.next().unwrap_or(Value::Null);
        read(self.entity, "the identifier", value)
    }
}

/// The attributes that a change mentions.
#[derive(Debug, Default)]
pub struct Set(Attributes);

impl Set {
    /// Adds an attribute, if it is mentioned.
    pub fn put<T: Scalar>(&mut self, attribute: &str, field: &Field<T>) {
        let value = match field {
            Field::Absent => return,
            Field::Null => Value::Null,
            Field::Value(value) => value.to_value(),
        };
        self.0.insert(attribute.to_owned(), value);
    }

    pub(super) fn into_attributes(self) -> Attributes {
        self.0
    }
}

fn read<T: Scalar>(entity: &str, attribute: &str, value: Value) -> Result<T, Error> {
    let found = match &value {
        Value::Null => "NULL",
        Value::Integer(_) => "an integer",
        Value::Real(_) => "a real",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
    };
    T::from_value(value).ok_or_else(|| {
        let message = format!(
            "{entity}.{attribute} holds {found} and the generated code expects {}: the server's \
             cell does not fit its column, or the code is of another model; `Store::get` reads \
             the row as it is",
            T::WORD
        );
        Error::new(Code::TYPE_MISMATCH, message).of_attribute(attribute)
    })
}

//! Values of attributes as Rust types, and the three things that a change can say of one.

use afield_protocol::Value;

/// What a change says of an attribute. Absent is not NULL: what a change does not mention, it
/// leaves as it is.
///
/// ```
/// use afield::typed::Field;
///
/// let seats: Field<i64> = 40.into();
/// let street: Field<String> = "Water Street 7".into();
/// let notes: Field<String> = None.into();
/// assert_eq!(seats, Field::Value(40));
/// assert_eq!(notes, Field::Null);
/// assert_eq!(Field::<String>::default(), Field::Absent);
/// # let _ = street;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Field<T> {
    /// Not mentioned.
    #[default]
    Absent,
    /// Set to no value.
    Null,
    /// Set to this value.
    Value(T),
}

impl<T> From<T> for Field<T> {
    fn from(value: T) -> Self {
        Self::Value(value)
    }
}

/// `None` is NULL: an option that was read stands for what the row has.
impl<T> From<Option<T>> for Field<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::Value)
    }
}

impl From<&str> for Field<String> {
    fn from(value: &str) -> Self {
        Self::Value(value.to_owned())
    }
}

impl From<&[u8]> for Field<Vec<u8>> {
    fn from(value: &[u8]) -> Self {
        Self::Value(value.to_owned())
    }
}

/// The Rust type of an attribute's values.
pub trait Scalar: Sized {
    /// What it is, for messages.
    const WORD: &'static str;

    /// As the store keeps it.
    fn to_value(&self) -> Value;

    /// From what the store keeps, if it is one of this type.
    fn from_value(value: Value) -> Option<Self>;
}

impl Scalar for String {
    const WORD: &'static str = "text";

    fn to_value(&self) -> Value {
        Value::from(self.as_str())
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Scalar for i64 {
    const WORD: &'static str = "an integer";

    fn to_value(&self) -> Value {
        Value::Integer(*self)
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Integer(n) => Some(n),
            _ => None,
        }
    }
}

impl Scalar for f64 {
    const WORD: &'static str = "a real";

    fn to_value(&self) -> Value {
        Value::Real(*self)
    }

    /// SQLite would make NULL of a NaN, so the store keeps the word.
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Real(x) => Some(x),
            Value::Text(text) if text == "NaN" => Some(Self::NAN),
            _ => None,
        }
    }
}

impl Scalar for bool {
    const WORD: &'static str = "true or false, stored as 1 or 0";

    fn to_value(&self) -> Value {
        Value::from(*self)
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl Scalar for Vec<u8> {
    const WORD: &'static str = "bytes";

    fn to_value(&self) -> Value {
        Value::Bytes(self.clone())
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

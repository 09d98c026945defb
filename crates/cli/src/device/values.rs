//! Values on the command line, read by the attribute's type.

use afield_protocol::codec::json;
use afield_protocol::{Attribute, Attributes, Entity, Key, Type, Value};
use serde_json::Value as Json;

use crate::failure::Failure;

/// Reads `name=value`, `name=null` and `name:=JSON`.
pub(crate) fn assignments(entity: &Entity, words: &[String]) -> Result<Attributes, Failure> {
    let mut row = Attributes::new();
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "`{word}`: expected NAME=VALUE, like {}=…",
                example(entity)
            ))
        })?;
        let (name, is_json) = match name.strip_suffix(':') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let attribute = attribute(entity, name)?;
        let value = if is_json {
            literal(entity, attribute, value)?
        } else if value == "null" {
            Value::Null
        } else {
            plain(entity, attribute, value)?
        };
        if row.insert(name.to_owned(), value).is_some() {
            return Err(Failure::usage(format!("{name} stands twice")));
        }
    }
    Ok(row)
}

/// Reads an identifier, one word for each of its attributes; gives the words that are left.
pub(super) fn key<'a>(
    entity: &Entity,
    words: &'a [String],
) -> Result<(Key, &'a [String]), Failure> {
    let width = entity.key_width;
    let Some((parts, rest)) = words.split_at_checked(width) else {
        let names: Vec<_> = entity.key().iter().map(|a| a.name.to_uppercase()).collect();
        let message = format!(
            "the identifier of {} has {width} part{}: {}",
            entity.name,
            if width == 1 { "" } else { "s" },
            names.join(" ")
        );
        return Err(Failure::usage(message));
    };
    let pairs = entity.key().iter().zip(parts);
    let key = pairs.map(|(attribute, word)| plain(entity, attribute, word));
    Ok((key.collect::<Result<_, _>>()?, rest))
}

pub(crate) fn whole_key(entity: &Entity, parts: &[String]) -> Result<Key, Failure> {
    let (key, rest) = key(entity, parts)?;
    match rest.first() {
        None => Ok(key),
        Some(word) => Err(Failure::usage(format!(
            "`{word}` is too much: the identifier of {} has {} part(s)",
            entity.name, entity.key_width
        ))),
    }
}

/// Reads a word as a person writes it.
fn plain(entity: &Entity, attribute: &Attribute, word: &str) -> Result<Value, Failure> {
    self::word(attribute.kind, word).ok_or_else(|| mistyped(entity, attribute, word))
}

/// Reads a word as a person writes it, by its type.
pub(super) fn word(kind: Type, word: &str) -> Option<Value> {
    let value = match kind {
        Type::Integer => word.parse().ok().map(Value::Integer),
        Type::Boolean => match word {
            "true" | "yes" | "1" => Some(Value::from(true)),
            "false" | "no" | "0" => Some(Value::from(false)),
            _ => None,
        },
        // What is no number has one spelling, and a number that is too large is not one of them.
        Type::Real => match word.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(whole(word).unwrap_or(Value::Real(number))),
            _ => json::to_value(kind, &Json::from(word)).ok(),
        },
        Type::Bytes => json::to_value(kind, &Json::from(word)).ok(),
        _ => Some(Value::from(word)),
    };
    value.and_then(|value| kind.normalise(value).ok())
}

/// The integer that a word says; as a real it may be another one.
fn whole(word: &str) -> Option<Value> {
    word.parse().ok().map(Value::Integer)
}

fn literal(entity: &Entity, attribute: &Attribute, word: &str) -> Result<Value, Failure> {
    let name = &attribute.name;
    let parsed: Json = serde_json::from_str(word).map_err(|error| {
        Failure::usage(format!(
            "{name}:={word}: not JSON: {error}; text needs quotes"
        ))
    })?;
    match (attribute.kind, &parsed) {
        // The attribute holds JSON as text: the literal is that text.
        (Type::Json, parsed) if !parsed.is_null() => Ok(Value::from(word)),
        _ => json::to_value(attribute.kind, &parsed).map_err(|_| mistyped(entity, attribute, word)),
    }
}

fn attribute<'a>(entity: &'a Entity, name: &str) -> Result<&'a Attribute, Failure> {
    entity.attribute(name).ok_or_else(|| {
        let known: Vec<_> = entity.attributes.iter().map(|a| a.name.as_str()).collect();
        Failure::refused(
            "unknown-attribute",
            format!(
                "{} has no attribute `{name}`; it has: {}",
                entity.name,
                known.join(", ")
            ),
        )
    })
}

fn mistyped(entity: &Entity, attribute: &Attribute, word: &str) -> Failure {
    let expected = match attribute.kind {
        Type::Bytes => "bytes as base64",
        kind => kind.expected(),
    };
    let message = format!(
        "{}.{} expects {expected}, not `{word}`",
        entity.name, attribute.name
    );
    Failure::refused("type-mismatch", message)
}

/// Some attribute's name, for a message.
fn example(entity: &Entity) -> &str {
    let attribute = entity.values().first().or(entity.key().first());
    attribute.map_or("name", |attribute| attribute.name.as_str())
}

#[cfg(test)]
mod tests {
    use afield_protocol::{Identifier, Pattern};

    use super::*;

    fn entity() -> Entity {
        let attributes = [
            ("id", Type::Text),
            ("day", Type::Date),
            ("text", Type::Text),
            ("count", Type::Integer),
            ("done", Type::Boolean),
            ("score", Type::Real),
            ("price", Type::Decimal),
            ("photo", Type::Bytes),
            ("extra", Type::Json),
        ];
        let attributes = attributes.map(|(name, kind)| Attribute::new(name, kind));
        Entity::new(
            "visit",
            Pattern::LastWriteWins,
            Identifier::Natural,
            2,
            attributes.into(),
        )
    }

    fn one(word: &str) -> Result<Value, Failure> {
        assignments(&entity(), &[word.to_owned()]).map(|row| row.into_values().next().unwrap())
    }

    #[test]
    fn words_become_values_of_the_attributes_type() {
        for (word, value) in [
            ("text=Bonn", Value::from("Bonn")),
            ("text=a=b", Value::from("a=b")),
            ("text=", Value::from("")),
            ("text=null", Value::Null),
            ("text:=\"null\"", Value::from("null")),
            ("text:=null", Value::Null),
            ("count=-7", Value::Integer(-7)),
            (
                "count=9007199254740993",
                Value::Integer(9_007_199_254_740_993),
            ),
            ("done=yes", Value::Integer(1)),
            ("done:=false", Value::Integer(0)),
            ("score=2", Value::Real(2.0)),
            ("score=NaN", Value::from("NaN")),
            ("score=-Infinity", Value::Real(f64::NEG_INFINITY)),
            (
                "score=9007199254740992",
                Value::Real(9_007_199_254_740_992.0),
            ),
            ("score=5e-324", Value::Real(5e-324)),
            ("price=12.50", Value::from("12.50")),
            ("photo=aGk=", Value::Bytes(b"hi".to_vec())),
            ("extra={\"a\":[1]}", Value::from("{\"a\":[1]}")),
            ("extra:={\"a\": [1]}", Value::from("{\"a\": [1]}")),
        ] {
            assert_eq!(one(word).unwrap(), value, "{word}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_attribute() {
        for (word, says) in [
            ("text", "NAME=VALUE"),
            ("nothing=1", "no attribute `nothing`"),
            ("count=1.5", "visit.count expects"),
            ("count=", "visit.count expects"),
            ("done=maybe", "visit.done expects"),
            ("score=-0.0", "visit.score expects"),
            ("score=1e400", "visit.score expects"),
            ("score=inf", "visit.score expects"),
            ("score=nan", "visit.score expects"),
            ("score=9007199254740993", "visit.score expects"),
            ("score:=9007199254740993", "visit.score expects"),
            ("price=1e5", "visit.price expects"),
            ("photo=%%", "base64"),
            ("extra={", "visit.extra expects"),
            ("text:=Bonn", "text needs quotes"),
            ("count:=\"x\"", "visit.count expects"),
        ] {
            let failure = one(word).unwrap_err();
            assert!(failure.message.contains(says), "{word}: {failure}");
        }
        let twice = ["text=a".to_owned(), "text=b".to_owned()];
        assert!(assignments(&entity(), &twice).is_err());
    }

    #[test]
    fn an_identifier_has_a_word_for_each_part() {
        let words = ["a", "2026-11-24", "text=x"].map(str::to_owned);
        let (key, rest) = key(&entity(), &words).unwrap();
        assert_eq!(key, [Value::from("a"), Value::from("2026-11-24")]);
        assert_eq!(rest, ["text=x"]);
        let failure = super::key(&entity(), &words[..1]).unwrap_err();
        assert!(failure.message.contains("2 parts: ID DAY"), "{failure}");
    }
}

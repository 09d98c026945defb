//! JSON as strict as CBOR: no name twice in one object, no deeper than the messages need.
//!
//! A reader that lets the last of two equal names win and one that lets the first win would see
//! two different changes in the same bytes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::Malformed;
use crate::code::Code;
use crate::limits::DEPTH;

const TOO_DEEP: &str = "nested deeper";

/// Reads one JSON text that takes all of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Json, Malformed> {
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let json = Strict { depth: DEPTH }.deserialize(&mut from);
    let json = json.and_then(|json| from.end().map(|()| json));
    json.map_err(|error| {
        let message = error.to_string();
        // The library's errors are its own: nothing but their words comes through it.
        match message.starts_with(TOO_DEEP) {
            true => Malformed::over(Code::TOO_DEEP, message),
            false => Malformed::new(message),
        }
    })
}

/// Reads a value with at most `depth` arrays and objects around each other.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn inside<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| E::custom(format!("{TOO_DEEP} than {DEPTH}")))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Json, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Json, E> {
        Ok(Json::from(n))
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Json, E> {
        Ok(Json::from(n))
    }

    fn visit_f64<E: Error>(self, x: f64) -> Result<Json, E> {
        Ok(Json::from(x))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::from(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Json, E> {
        Ok(Json::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inside = self.inside()?;
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            found.push(item);
        }
        Ok(Json::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Json, A::Error> {
        let inside = self.inside()?;
        let mut found = Map::new();
        while let Some(name) = pairs.next_key::<String>()? {
            if found.contains_key(&name) {
                return Err(A::Error::custom(format!("`{name}` stands twice")));
            }
            let value = pairs.next_value_seed(inside)?;
            found.insert(name, value);
        }
        Ok(Json::Object(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        [vec![b'['; depth], vec![b']'; depth]].concat()
    }

    #[test]
    fn nothing_stands_twice_or_too_deep() {
        assert!(parse(br#"{"a":1,"b":{"a":1}}"#).is_ok());
        assert!(parse(br#"{"a":1,"\u0061":2}"#).is_err());
        assert!(parse(&nested(DEPTH)).is_ok());
        for depth in [DEPTH + 1, 100_000] {
            assert!(parse(&nested(depth)).is_err());
        }
        for text in ["", "1 2", "\"\\ud800\"", "1e999", "nul"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}

//! The key that a store is encrypted with.

use std::fmt;

use afield_protocol::Code;
use zeroize::Zeroizing;

use crate::error::Error;

/// The key of an encrypted store: 32 random bytes, used as they are.
///
/// A password is no key: nothing slows down somebody who tries them all. What the key is made of
/// is wiped from memory when it is dropped, and printed nowhere.
///
/// ```
/// let key = afield::Key::from_hex(&"0f".repeat(32)).unwrap();
/// assert_eq!(format!("{key:?}"), "Key(..)");
/// ```
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; Self::BYTES]>);

impl Key {
    /// How many bytes a key has.
    pub const BYTES: usize = 32;

    /// A key of these bytes.
    ///
    /// # Errors
    /// `key-malformed`: they are all zero, as a buffer is that nobody filled.
    pub fn new(bytes: [u8; Self::BYTES]) -> Result<Self, Error> {
        let key = Self(Zeroizing::new(bytes));
        if key.0.iter().all(|byte| *byte == 0) {
            return Err(malformed("all its bytes are zero"));
        }
        Ok(key)
    }

    /// A key of 64 hexadecimal digits, in either case.
    ///
    /// # Errors
    /// `key-malformed`. The message does not show what was given.
    pub fn from_hex(digits: &str) -> Result<Self, Error> {
        let wanted = || malformed("a key is written as 64 hexadecimal digits");
        let digits = digits.as_bytes();
        if digits.len() != 2 * Self::BYTES {
            return Err(wanted());
        }
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            let (high, low) = digit(0).zip(digit(1)).ok_or_else(wanted)?;
            *byte = u8::try_from(high * 16 + low).map_err(|_| wanted())?;
        }
        Self::new(*bytes)
    }

    /// What SQLCipher takes for the key itself, not for a password: `x'…'`.
    #[cfg(feature = "encryption")]
    pub(crate) fn literal(&self) -> Zeroizing<String> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // As long as it gets, so that no part of it stays where it grew out of.
        let mut literal = Zeroizing::new(String::with_capacity(2 * Self::BYTES + 3));
        literal.push_str("x'");
        for byte in self.0.iter() {
            for digit in [byte >> 4, byte & 15] {
                literal.push(char::from(DIGITS[usize::from(digit)]));
            }
        }
        literal.push('\'');
        literal
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

fn malformed(why: &str) -> Error {
    Error::new(
        Code::KEY_MALFORMED,
        format!("this is no key of 32 bytes: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_in_64_digits() {
        for digits in [
            "",
            "00",
            &"0f".repeat(31),
            &"0f".repeat(33),
            &"0g".repeat(32),
        ] {
            let error = Key::from_hex(digits).unwrap_err();
            assert_eq!(*error.code(), Code::KEY_MALFORMED, "{digits}");
            assert!(digits.is_empty() || !error.to_string().contains(&"0f".repeat(31)));
        }
        assert!(
            Key::from_hex(&"é".repeat(32)).is_err(),
            "64 bytes, no digits"
        );
        assert!(Key::from_hex(&"00".repeat(32)).is_err(), "an empty buffer");
        let (lower, upper) = (
            Key::from_hex(&"af".repeat(32)),
            Key::from_hex(&"AF".repeat(32)),
        );
        assert_eq!(*lower.unwrap().0, *upper.unwrap().0);
    }

    #[test]
    #[cfg(feature = "encryption")]
    fn the_literal_is_the_key_itself() {
        let key = Key::from_hex(&"0aF1".repeat(16)).unwrap();
        assert_eq!(*key.literal(), format!("x'{}'", "0af1".repeat(16)));
    }
}

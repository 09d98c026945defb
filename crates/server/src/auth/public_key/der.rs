//! As much of DER as a public key needs: nested pieces, each with its kind and length.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// What is left of some pieces.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next piece, which holds others.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.piece(SEQUENCE).map(Self)
    }

    /// The next piece, which names something.
    pub(super) fn identifier(&mut self) -> Option<&'a [u8]> {
        self.piece(IDENTIFIER)
    }

    /// The next piece, whole bytes of bits.
    pub(super) fn bits(&mut self) -> Option<&'a [u8]> {
        match self.piece(BIT_STRING)? {
            [0, bytes @ ..] => Some(bytes),
            _ => None,
        }
    }

    /// The next piece, a number above 0, without the zero byte that keeps it positive.
    pub(super) fn positive(&mut self) -> Option<&'a [u8]> {
        match self.piece(INTEGER)? {
            [0, rest @ ..] if rest.first().is_some_and(|byte| *byte >= 0x80) => Some(rest),
            number if number.first().is_some_and(|byte| (1..0x80).contains(byte)) => Some(number),
            _ => None,
        }
    }

    /// The content of the next piece, if it is of this kind.
    fn piece(&mut self, kind: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (length, rest) = length(rest)?;
        if *found != kind || length > rest.len() {
            return None;
        }
        let (content, rest) = rest.split_at(length);
        self.0 = rest;
        Some(content)
    }
}

/// A length in its shortest form, up to two bytes of it: a key has no more than 64 KiB.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [short @ 0..=0x7f, rest @ ..] => Some((usize::from(*short), rest)),
        [0x81, one @ 0x80..=0xff, rest @ ..] => Some((usize::from(*one), rest)),
        [0x82, high @ 1..=0xff, low, rest @ ..] => {
            Some((usize::from(*high) << 8 | usize::from(*low), rest))
        }
        _ => None,
    }
}

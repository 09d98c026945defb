//! Packed answers: zstd (RFC 8878), unpacked as it comes.
//!
//! ```text
//!   network ──► 64 KiB ──► Unpacker ──► at most 64 KiB at a time ──► the sync loop
//! ```
//!
//! A step's bytes are handed over before the next are made, so what an answer unpacks to is never
//! in memory as a whole. An answer that no server would pack so is not read to its end.

use std::io::Error;

use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};
use zstd::zstd_safe::DParameter;

/// Bytes that a step of unpacking gives at most.
const STEP_BYTES: usize = 64 * 1024;

/// Bytes that zstd may look back, as a power of two: 8 MiB, as RFC 9659 has it for this use.
const WINDOW_LOG: u32 = 23;

/// Bytes that an answer may unpack to before anybody asks how many times as long as it came it is.
const FREE_BYTES: u64 = 1024 * 1024;

/// How many times as long as it came a larger answer may be. Rows that are alike to the last byte,
/// each a page of text, come to about a thousand; what is made up to fill a device to 30,000.
const RATIO: u64 = 2_000;

/// Unpacks one answer.
pub(super) struct Unpacker {
    decoder: Decoder<'static>,
    out: Box<[u8]>,
    /// Bytes taken so far.
    packed: u64,
    /// Bytes given so far.
    unpacked: u64,
    /// Whether a frame of zstd is at its end.
    is_whole: bool,
}

impl Unpacker {
    pub(super) fn new() -> Result<Self, Error> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self {
            decoder,
            out: vec![0; STEP_BYTES].into(),
            packed: 0,
            unpacked: 0,
            is_whole: true,
        })
    }

    /// Unpacks the next bytes; `give` takes what they become, with how many of them became that,
    /// and says whether it wants more. Gives whether it did to the last.
    ///
    /// # Errors
    /// They are no zstd, or become too much. What was given before stands.
    pub(super) fn unpack(
        &mut self,
        mut packed: &[u8],
        give: &mut dyn FnMut(&[u8], usize) -> bool,
    ) -> Result<bool, Error> {
        loop {
            let mut from = InBuffer::around(packed);
            let mut to = OutBuffer::around(&mut *self.out);
            let hint = self.decoder.run(&mut from, &mut to)?;
            let (read, written) = (from.pos(), to.pos());
            // A step that neither took nor gave anything says nothing new.
            if read == 0 && written == 0 {
                return Ok(true);
            }
            self.is_whole = hint == 0;
            self.packed += read as u64;
            self.unpacked += written as u64;
            if self.unpacked > FREE_BYTES && self.unpacked / RATIO > self.packed {
                let message = format!("it unpacks to more than {RATIO} times as much as came");
                return Err(Error::other(message));
            }
            packed = packed.get(read..).unwrap_or(&[]);
            if !give(self.out.get(..written).unwrap_or(&[]), read) {
                return Ok(false);
            }
            if packed.is_empty() && written < self.out.len() {
                return Ok(true);
            }
        }
    }

    /// Whether the answer may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `packed` becomes in pieces of `size`, how many bytes that took, and whether it is
    /// whole.
    fn unpacked(packed: &[u8], size: usize) -> Result<(Vec<u8>, usize, bool), Error> {
        let mut unpacker = Unpacker::new().unwrap();
        let (mut bytes, mut taken) = (Vec::new(), 0);
        for piece in packed.chunks(size) {
            unpacker.unpack(piece, &mut |step, read| {
                assert!(step.len() <= STEP_BYTES);
                bytes.extend_from_slice(step);
                taken += read;
                true
            })?;
        }
        Ok((bytes, taken, unpacker.is_whole()))
    }

    #[test]
    fn frames_of_zstd_one_after_another_are_one_answer() {
        let text: Vec<u8> = (0..200_000_u32)
            .flat_map(|n| (n / 7).to_be_bytes())
            .collect();
        let mut packed = Vec::new();
        for page in text.chunks(300_000) {
            packed.extend(zstd::bulk::compress(page, 3).unwrap());
        }
        for size in [1, 1_000, packed.len()] {
            let (bytes, taken, is_whole) = unpacked(&packed, size).unwrap();
            assert!(bytes == text && is_whole && taken == packed.len(), "{size}");
        }
        let (bytes, _, is_whole) = unpacked(&packed[..packed.len() - 1], 1_000).unwrap();
        assert!(!is_whole && bytes.len() <= text.len());
        let mut broken = packed;
        broken[0] ^= 1;
        assert!(unpacked(&broken, 1_000).is_err());
    }

    #[test]
    fn p9_an_answer_that_becomes_too_much_is_given_up_early() {
        let packed = zstd::bulk::compress(&vec![0; 256 * 1024 * 1024], 3).unwrap();
        assert!(packed.len() < 16 * 1024);
        let mut unpacker = Unpacker::new().unwrap();
        let mut given = 0;
        // A byte at a time: else the limit would be of what came already.
        let error = packed.iter().find_map(|byte| {
            let give = &mut |step: &[u8], _| {
                given += step.len() as u64;
                true
            };
            unpacker.unpack(std::slice::from_ref(byte), give).err()
        });
        assert!(error.unwrap().to_string().contains("2000 times"));
        assert!(given <= 2 * FREE_BYTES, "{given}");
    }

    #[test]
    fn p9_what_looks_back_further_than_a_device_remembers_is_refused() {
        use std::io::Write as _;
        let windowed = |log| {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(&[7; 100]).unwrap();
            encoder.finish().unwrap()
        };
        assert!(unpacked(&windowed(WINDOW_LOG), 100).is_ok());
        assert!(unpacked(&windowed(WINDOW_LOG + 1), 100).is_err());
    }
}

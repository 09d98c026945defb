//! Content codings: `zstd` and `gzip`, in both directions, negotiated as RFC 9110 says.
//!
//! ```text
//!   request:  piece ──► Unpacker::step ──► at most a step's bytes ──► judged ──► decoded
//!   answer:   page  ──► Packer::pack   ──► bytes that a device can unpack at once
//! ```
//!
//! A body is unpacked in steps, so that each limit is asked before more memory is taken. One
//! coding only: a coding around another is how small bodies become huge ones.

use std::io::{Error, Write as _};

use afield_protocol::Code;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer};
use zstd::zstd_safe::DParameter;

use super::problem::Refusal;

/// Bytes that a step of unpacking gives, about.
pub(super) const STEP_BYTES: usize = 64 * 1024;

/// Bytes that a step takes of gzip, which makes at most 1,032 of one.
const GZIP_STEP: usize = STEP_BYTES / 1_024;

/// Bytes that zstd may look back, as a power of two: 8 MiB, as RFC 9659 has it for this use. A
/// receiver must have as much memory for each body.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How hard answers are packed: a page takes a fraction of the time that reading it took.
const ZSTD_LEVEL: i32 = 3;

/// How a body is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    #[default]
    Identity,
    Gzip,
    Zstd,
}

/// What the server takes, for those who sent something else.
pub(super) const ACCEPTED: &str = "zstd, gzip";

impl Coding {
    fn parse(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("zstd") {
            Some(Self::Zstd)
        } else if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else {
            is("identity").then_some(Self::Identity)
        }
    }

    /// How a request's body is packed.
    pub(super) fn of_request(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = named.next() else {
            return Ok(Self::Identity);
        };
        let coding = value.to_str().ok().map(str::trim).and_then(Self::parse);
        coding.filter(|_| named.next().is_none()).ok_or_else(|| {
            Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Code::UNKNOWN_CODING,
                format!("the Content-Encoding must be one of {ACCEPTED}, or be left out"),
            )
        })
    }

    /// How the answer is packed: what the device likes best, zstd among equals. What it does not
    /// speak of is sent as it is, which everybody understands.
    pub(super) fn of_answer(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT_ENCODING);
        let named: Vec<(&str, u16)> = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .filter_map(weighed)
            .collect();
        let weight = |coding: Self| {
            let mut own = named.iter().filter(|it| Self::parse(it.0) == Some(coding));
            let any = named.iter().find(|(name, _)| *name == "*");
            own.next().or(any).map_or(0, |(_, weight)| *weight)
        };
        let identity = named
            .iter()
            .find(|(name, _)| Self::parse(name) == Some(Self::Identity))
            .map_or(1, |(_, weight)| *weight);
        let mut best = (Self::Identity, identity);
        for coding in [Self::Gzip, Self::Zstd] {
            let weight = weight(coding);
            if weight > 0 && weight >= best.1 {
                best = (coding, weight);
            }
        }
        best.0
    }

    /// The header's value; none says that the body is as it is.
    pub(super) fn name(self) -> Option<HeaderValue> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
            Self::Zstd => Some(HeaderValue::from_static("zstd")),
        }
    }
}

/// A name and its weight in thousandths; `None` for what is no such thing.
fn weighed(item: &str) -> Option<(&str, u16)> {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let parameters = parameters.trim();
    let weight = match parameters
        .strip_prefix("q=")
        .or(parameters.strip_prefix("Q="))
    {
        Some(weight) => {
            let weight: f32 = weight.trim().parse().ok()?;
            (weight.clamp(0.0, 1.0) * 1_000.0) as u16
        }
        None => 1_000,
    };
    Some((name.trim(), weight))
}

/// Unpacks a request's body.
pub(super) enum Unpacker {
    Identity,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd {
        decoder: Box<ZstdDecoder<'static>>,
        out: Box<[u8]>,
        /// Whether more may come out of what has come in.
        is_full: bool,
        /// Whether a frame of zstd is at its end.
        is_whole: bool,
    },
}

impl Unpacker {
    pub(super) fn new(coding: Coding) -> Result<Self, Error> {
        Ok(match coding {
            Coding::Identity => Self::Identity,
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
                Self::Zstd {
                    decoder: Box::new(decoder),
                    out: vec![0; STEP_BYTES].into(),
                    is_full: false,
                    is_whole: true,
                }
            }
        })
    }

    /// Whether nothing is left to do with a piece of which `left` bytes are not taken yet.
    pub(super) fn is_through(&self, left: usize) -> bool {
        left == 0 && !matches!(self, Self::Zstd { is_full: true, .. })
    }

    /// Takes bytes from the front of `packed`, and gives what they become.
    pub(super) fn step(&mut self, packed: &mut &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Self::Identity => Ok(taken(packed, STEP_BYTES).to_vec()),
            Self::Gzip(decoder) => {
                decoder.write_all(taken(packed, GZIP_STEP))?;
                decoder.flush()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Zstd {
                decoder,
                out,
                is_full,
                is_whole,
            } => {
                let mut from = InBuffer::around(packed);
                let mut to = OutBuffer::around(&mut **out);
                let hint = decoder.run(&mut from, &mut to)?;
                let (read, written) = (from.pos(), to.pos());
                *is_full = written == out.len();
                // A step that neither took nor gave anything says nothing new.
                if read > 0 || written > 0 {
                    *is_whole = hint == 0;
                }
                taken(packed, read);
                Ok(out.get(..written).unwrap_or(&[]).to_vec())
            }
        }
    }

    /// Makes sure that the body ended where its coding says.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zstd {
                is_whole: false, ..
            } => Err(std::io::ErrorKind::UnexpectedEof.into()),
            Self::Identity | Self::Zstd { .. } => Ok(()),
        }
    }
}

/// At most `most` bytes from the front of `bytes`, which loses them.
fn taken<'b>(bytes: &mut &'b [u8], most: usize) -> &'b [u8] {
    let (front, rest) = bytes.split_at(bytes.len().min(most));
    *bytes = rest;
    front
}

/// Packs an answer. Whatever it gave so far can be unpacked: outcomes do not wait for rows.
#[derive(Debug)]
pub(super) enum Packer {
    Identity,
    Gzip(Box<GzEncoder<Vec<u8>>>),
    /// Each page is a frame of its own, so that a device that reads slowly costs no more memory
    /// than its page.
    Zstd,
}

impl Packer {
    pub(super) fn new(coding: Coding) -> Self {
        match coding {
            Coding::Identity => Self::Identity,
            Coding::Gzip => Self::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::fast()))),
            Coding::Zstd => Self::Zstd,
        }
    }

    /// Packs the next bytes; `is_last` closes the coding.
    pub(super) fn pack(&mut self, bytes: Vec<u8>, is_last: bool) -> Result<Vec<u8>, Error> {
        match self {
            Self::Identity => Ok(bytes),
            Self::Gzip(encoder) => {
                encoder.write_all(&bytes)?;
                match is_last {
                    true => encoder.try_finish()?,
                    false => encoder.flush()?,
                }
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Zstd => zstd::bulk::compress(&bytes, ZSTD_LEVEL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(values: &[&'static str]) -> Coding {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        Coding::of_answer(&headers)
    }

    #[test]
    fn an_answer_is_packed_as_the_device_likes_it_best() {
        for (values, expected) in [
            (&[][..], Coding::Identity),
            (&[""], Coding::Identity),
            (&["gzip"], Coding::Gzip),
            (&["x-gzip"], Coding::Gzip),
            (&["gzip, zstd"], Coding::Zstd),
            (&["zstd;q=0.5, GZIP"], Coding::Gzip),
            (&["gzip;q=0.5", "zstd; q=0.5"], Coding::Zstd),
            (&["zstd;q=0, gzip;q=0"], Coding::Identity),
            (&["*"], Coding::Zstd),
            (&["*, zstd;q=0"], Coding::Gzip),
            (&["br, deflate"], Coding::Identity),
            (&["identity, gzip;q=0.5"], Coding::Identity),
            (&["identity;q=0, gzip;q=0.1"], Coding::Gzip),
            (&["identity;q=0"], Coding::Identity),
            (&["zstd;q=x, gzip"], Coding::Gzip),
        ] {
            assert_eq!(accepting(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_request_has_one_coding_that_is_known() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Coding::of_request(&headers)
        };
        assert_eq!(of(&[]).unwrap(), Coding::Identity);
        assert_eq!(of(&["Zstd"]).unwrap(), Coding::Zstd);
        assert_eq!(of(&["x-gzip"]).unwrap(), Coding::Gzip);
        for wrong in [
            &["br"][..],
            &[""],
            &["gzip, gzip"],
            &["gzip", "zstd"],
            &["zstd, identity"],
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_packed_is_unpacked_piece_by_piece() {
        let text: Vec<u8> = (0..600_000_u32)
            .flat_map(|n| (n / 7).to_be_bytes())
            .collect();
        for coding in [Coding::Identity, Coding::Gzip, Coding::Zstd] {
            let mut packer = Packer::new(coding);
            let (first, second) = text.split_at(1_000_000);
            let mut packed = packer.pack(first.to_vec(), false).unwrap();
            let opening = packed.len();
            packed.extend(packer.pack(second.to_vec(), true).unwrap());
            let mut unpacker = Unpacker::new(coding).unwrap();
            let mut unpacked = Vec::new();
            for (at, byte) in packed.iter().enumerate() {
                let mut piece = std::slice::from_ref(byte);
                while !unpacker.is_through(piece.len()) {
                    let step = unpacker.step(&mut piece).unwrap();
                    assert!(step.len() <= 2 * STEP_BYTES);
                    unpacked.extend(step);
                }
                let early = at + 1 == opening;
                assert!(!early || unpacked.len() >= first.len(), "{coding:?}");
            }
            assert_eq!(unpacked, text, "{coding:?}");
            unpacker.finish().unwrap();
            // Not the last byte: half of it.
            let mut unpacker = Unpacker::new(coding).unwrap();
            let mut half = &packed[..packed.len() - 1];
            while !unpacker.is_through(half.len()) {
                unpacker.step(&mut half).unwrap();
            }
            assert_eq!(unpacker.finish().is_ok(), coding == Coding::Identity);
        }
    }
}

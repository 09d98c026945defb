//! A public key that tokens are checked with, and its file.
//!
//! The key fixes the algorithm: an RSA key means RS256, one of the curve P-256 ES256, Ed25519
//! EdDSA. The file is PEM with a SubjectPublicKeyInfo (RFC 5280), as identity providers and
//! `openssl pkey -pubout` write it. ring checks the signatures.

mod der;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use self::der::Reader;

/// Fewest bits of an RSA key: shorter ones are within reach of attackers (RFC 7518).
const RSA_BITS_MIN: usize = 2048;

/// Most bits of an RSA key: what ring checks.
const RSA_BITS_MAX: usize = 8192;

/// Most bytes read: anything larger is some other file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// A public key and the one algorithm that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    key: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

/// The file holds no key that tokens can be checked with.
#[derive(Debug, thiserror::Error)]
#[error("public key file {path}: {message}")]
pub struct PublicKeyError {
    /// The file.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl PublicKey {
    /// Reads a key from its file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no such key.
    pub fn read(path: &Path) -> Result<Self, PublicKeyError> {
        let failed = |message: String| PublicKeyError {
            path: path.display().to_string(),
            message,
        };
        let size = std::fs::metadata(path)
            .map_err(|error| failed(error.to_string()))?
            .len();
        if size > FILE_BYTES_MAX {
            return Err(failed(format!("{size} bytes are no key in PEM")));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        Self::from_pem(&String::from_utf8_lossy(&bytes)).map_err(failed)
    }

    /// A key from the text of its file.
    ///
    /// # Errors
    /// What is wrong and what to do; never a part of the key.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let der = pem(text)?;
        parse(&der)?.ok_or_else(|| "the key in it is malformed; write it anew".to_owned())
    }

    /// The word for it in a token's header.
    pub(super) fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// Whether `signature` is of `signed`, by the owner of this key.
    pub(super) fn is_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::EdDsa => &signature::ED25519,
        };
        UnparsedPublicKey::new(algorithm, &self.key)
            .verify(signed, signature)
            .is_ok()
    }
}

/// The one block of a PEM text.
fn pem(text: &str) -> Result<Vec<u8>, String> {
    if text.contains("PRIVATE KEY-----") {
        return Err(
            "holds a private key, which belongs to whoever signs the tokens and to nobody else; \
             write the public one with `openssl pkey -in FILE -pubout`"
                .to_owned(),
        );
    }
    let mut blocks = text.split("-----BEGIN ").skip(1);
    let (Some(block), None) = (blocks.next(), blocks.next()) else {
        return Err(
            "holds not exactly one key in PEM (-----BEGIN PUBLIC KEY-----); write it with \
             `openssl pkey -in FILE -pubout`"
                .to_owned(),
        );
    };
    let (label, rest) = block.split_once("-----").unwrap_or((block, ""));
    let remedy = match label {
        "PUBLIC KEY" => None,
        "CERTIFICATE" => Some("write its key with `openssl x509 -in FILE -pubkey -noout`"),
        "RSA PUBLIC KEY" => Some("convert it with `openssl rsa -RSAPublicKey_in -in FILE -pubout`"),
        _ => Some("a PUBLIC KEY is needed"),
    };
    if let Some(remedy) = remedy {
        let label: String = label.chars().take(40).collect();
        return Err(format!("holds a {}; {remedy}", label.escape_debug()));
    }
    let cut = || "the key in it is cut off or malformed; write it anew".to_owned();
    let (body, _) = rest
        .split_once("-----END PUBLIC KEY-----")
        .ok_or_else(cut)?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).map_err(|_| cut())
}

/// The key of a SubjectPublicKeyInfo; none if it is malformed.
fn parse(der: &[u8]) -> Result<Option<PublicKey>, String> {
    let Some((kind, curve, key)) = parts(der) else {
        return Ok(None);
    };
    let key = key.to_vec();
    match (kind, curve) {
        (RSA, _) => rsa(key),
        (EC, P256) => Ok(match key.as_slice() {
            [0x04, point @ ..] if point.len() == 64 => Some(PublicKey {
                algorithm: Algorithm::Es256,
                key,
            }),
            [0x02 | 0x03, ..] => {
                return Err(
                    "holds a compressed point; write it out with `openssl ec -pubin -in FILE \
                     -conv_form uncompressed`"
                        .to_owned(),
                );
            }
            _ => None,
        }),
        (ED25519, _) => Ok((key.len() == 32).then_some(PublicKey {
            algorithm: Algorithm::EdDsa,
            key,
        })),
        (EC, _) => Err("is of another curve than P-256; ES256 needs that one".to_owned()),
        (RSA_PSS, _) => Err("is for RSA-PSS; RS256 needs a plain RSA key".to_owned()),
        _ => {
            Err("is of another kind than RSA (RS256), P-256 (ES256) and Ed25519 (EdDSA)".to_owned())
        }
    }
}

/// Kind, curve (empty if it has none) and key.
fn parts(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut outer = Reader::new(der);
    let mut info = outer.sequence()?;
    outer.is_empty().then_some(())?;
    let mut algorithm = info.sequence()?;
    let kind = algorithm.identifier()?;
    let curve = algorithm.identifier().unwrap_or(&[]);
    let key = info.bits()?;
    info.is_empty().then_some((kind, curve, key))
}

fn rsa(key: Vec<u8>) -> Result<Option<PublicKey>, String> {
    let Some(bits) = rsa_bits(&key) else {
        return Ok(None);
    };
    if bits < RSA_BITS_MIN {
        return Err(format!(
            "is an RSA key of {bits} bits, which can be broken; make one of {RSA_BITS_MIN} or more"
        ));
    }
    if bits > RSA_BITS_MAX {
        return Err(format!(
            "is an RSA key of {bits} bits; {RSA_BITS_MAX} is the most that is checked"
        ));
    }
    Ok(Some(PublicKey {
        algorithm: Algorithm::Rs256,
        key,
    }))
}

/// How long the modulus of an RSAPublicKey (RFC 8017) is; none if it is malformed.
fn rsa_bits(key: &[u8]) -> Option<usize> {
    let mut outer = Reader::new(key);
    let mut inner = outer.sequence()?;
    let modulus = inner.positive()?;
    let exponent = inner.positive()?;
    let first = modulus.first()?;
    // An even exponent, or 1, makes no RSA key: 1 would let anybody sign.
    let is_sound = exponent.last()? % 2 == 1 && exponent != [1];
    let bits = modulus.len() * 8 - usize::try_from(first.leading_zeros()).ok()?;
    (outer.is_empty() && inner.is_empty() && is_sound).then_some(bits)
}

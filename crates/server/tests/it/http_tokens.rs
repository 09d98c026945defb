//! Tokens that are checked with a public key: what lets somebody in, and what does not.

use afield_protocol::Frame;
use afield_protocol::codec::Format;
use afield_server::auth::{Auth, CannotSign, PublicKey, TokenError, TokenRules};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Map, json};
use sha2::Sha256;

use crate::http_support::client::Ask;
use crate::http_support::{NOW, Server, group};

const RSA: &str = include_str!("keys/rfc7515-rsa.pem");

/// A pair of keys: the public one as its file has it, and a signature by the private one.
struct Signer {
    algorithm: &'static str,
    pem: String,
    sign: Box<Sign>,
}

type Sign = dyn Fn(&[u8]) -> Vec<u8>;

impl Signer {
    fn es256() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let prefix = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let pem = pem(prefix, pair.public_key().as_ref());
        let sign = move |data: &[u8]| pair.sign(&random, data).unwrap().as_ref().to_vec();
        Self {
            algorithm: "ES256",
            pem,
            sign: Box::new(sign),
        }
    }

    fn eddsa() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let pem = pem("302a300506032b6570032100", pair.public_key().as_ref());
        let sign = move |data: &[u8]| pair.sign(data).as_ref().to_vec();
        Self {
            algorithm: "EdDSA",
            pem,
            sign: Box::new(sign),
        }
    }

    fn auth(&self) -> Auth {
        let rules = TokenRules {
            issuer: Some("us".to_owned()),
            audience: Some("field".to_owned()),
            ..TokenRules::default()
        };
        Auth::new(PublicKey::from_pem(&self.pem).unwrap(), rules)
    }

    fn head(&self) -> String {
        format!(r#"{{"alg":"{}","typ":"JWT"}}"#, self.algorithm)
    }

    fn token(&self, head: &str, body: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", BASE64.encode(head), BASE64.encode(body));
        let signature = BASE64.encode((self.sign)(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn pem(prefix: &str, key: &[u8]) -> String {
    let byte = |at: usize| u8::from_str_radix(&prefix[at..at + 2], 16).unwrap();
    let mut der: Vec<u8> = (0..prefix.len()).step_by(2).map(byte).collect();
    der.extend(key);
    let text = STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

fn body() -> String {
    format!(
        r#"{{"exp":{},"iss":"us","aud":"field","sub":"ann"}}"#,
        NOW + 60
    )
}

/// HS256 with any bytes as the secret.
fn by_secret(head: &str, body: &str, secret: &[u8]) -> String {
    let signed = format!("{}.{}", BASE64.encode(head), BASE64.encode(body));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

/// Tokens whose header is not the key's, or asks for more.
fn of_wrong_header(own: &Signer) -> Vec<(&'static str, String)> {
    let (head, body) = (own.head(), body());
    let with = |more: &str| head.replacen('{', &format!("{{{more},"), 1);
    let signed = |head: &str| own.token(head, &body);
    let own_alg = format!(r#""alg":"{}""#, own.algorithm);
    let listed = format!(r#"{{"alg":["{}"]}}"#, own.algorithm);
    let none = BASE64.encode(r#"{"alg":"none"}"#);
    let good = signed(&head);
    vec![
        ("alg none", format!("{none}.{}.", BASE64.encode(&body))),
        ("alg none, signed", signed(r#"{"alg":"none"}"#)),
        ("alg lower case", signed(&head.to_lowercase())),
        ("alg of another curve", signed(r#"{"alg":"ES384"}"#)),
        ("alg a list", signed(&listed)),
        ("alg twice", signed(&with(&own_alg))),
        ("alg twice, none first", signed(&with(r#""alg":"none""#))),
        ("crit", signed(&with(r#""crit":["exp"]"#))),
        ("crit empty", signed(&with(r#""crit":[]"#))),
        (
            "not encoded",
            signed(&with(r#""b64":false,"crit":["b64"]"#)),
        ),
        ("header no object", signed("[]")),
        ("nested", own.token(&with(r#""cty":"JWT""#), good)),
    ]
}

/// Tokens signed by somebody without the private key.
fn of_strangers(own: &Signer, other: &Signer) -> Vec<(&'static str, String)> {
    let (head, body) = (own.head(), body());
    let with = |more: &str| head.replacen('{', &format!("{{{more},"), 1);
    let stranger = |head: &str| twin(own).token(head, &body);
    let secret = |secret: &[u8]| by_secret(r#"{"alg":"HS256"}"#, &body, secret);
    let der = STANDARD.decode(own.pem.lines().nth(1).unwrap()).unwrap();
    let carried = r#""jwk":{"kty":"OKP","crv":"Ed25519","x":"AA"}"#;
    vec![
        ("HS256 by the file", secret(own.pem.as_bytes())),
        (
            "HS256 by the file, trimmed",
            secret(own.pem.trim().as_bytes()),
        ),
        ("HS256 by the key", secret(&der)),
        ("HS256 by nothing", secret(b"")),
        ("HS256 by the key, own alg", by_secret(&head, &body, &der)),
        ("another kind of key", other.token(&head, &body)),
        (
            "another kind of key, its alg",
            other.token(&other.head(), &body),
        ),
        ("another key of the kind", stranger(&head)),
        (
            "kid of a file",
            stranger(&with(r#""kid":"../../../dev/null""#)),
        ),
        (
            "kid of SQL",
            stranger(&with(r#""kid":"x' UNION SELECT 'key""#)),
        ),
        ("key carried", stranger(&with(carried))),
        (
            "key elsewhere",
            stranger(&with(r#""jku":"http://127.0.0.1:1/keys""#)),
        ),
    ]
}

/// Good tokens, bent.
fn of_wrong_shape(own: &Signer) -> Vec<(&'static str, String)> {
    let (head, body) = (own.head(), body());
    let good = own.token(&head, &body);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let bytes = BASE64.decode(signature).unwrap();
    let by = |signature: &[u8]| format!("{signed}.{}", BASE64.encode(signature));
    let mut flipped = bytes.clone();
    flipped[40] ^= 1;
    let other = BASE64.encode(body.replace("ann", "bob"));
    let long = format!(r#"{{"x":"{}","#, "y".repeat(9_000));
    vec![
        ("no signature", format!("{signed}.")),
        ("no third part", signed.to_owned()),
        ("signature cut off", by(&bytes[..63])),
        ("signature longer", format!("{good}AAAA")),
        ("signature of zeros", by(&[0; 64])),
        ("one bit", by(&flipped)),
        ("padded", format!("{good}==")),
        ("padded in the middle", good.replacen('.', "=.", 1)),
        ("white space inside", good.replacen('.', "\t.", 1)),
        ("fourth part", format!("{good}.{signature}")),
        (
            "another body",
            format!("{}.{other}.{signature}", BASE64.encode(&head)),
        ),
        ("too long", own.token(&head, body.replacen('{', &long, 1))),
    ]
}

/// Another key of the same kind.
fn twin(signer: &Signer) -> Signer {
    match signer.algorithm {
        "ES256" => Signer::es256(),
        _ => Signer::eddsa(),
    }
}

/// Tokens with a good signature whose claims let nobody in.
fn of_wrong_claims(own: &Signer) -> Vec<(&'static str, String)> {
    let body = body();
    let exp = format!("\"exp\":{}", NOW + 60);
    let with = |old: &str, new: &str| {
        assert!(body.contains(old));
        own.token(&own.head(), body.replacen(old, new, 1))
    };
    let end = |end: &str| with(&exp, &format!("\"exp\":{end}"));
    let user = |user: &str| with("\"ann\"", user);
    let begin = |begin: &str| with(&exp, &format!("{exp},\"nbf\":{begin}"));
    let mut odd = body.clone().into_bytes();
    let at = body.find("ann").unwrap();
    odd[at] = 0xff;
    vec![
        ("no end", with(&format!("{exp},"), "")),
        ("end at the leeway", end(&(NOW - 30).to_string())),
        ("end before the leeway", end(&(NOW - 31).to_string())),
        ("end 0", end("0")),
        ("end below 0", end("-9223372036854775809")),
        ("end in milliseconds", end(&format!("{}000", NOW + 60))),
        ("end of 20 digits", end("99999999999999999999")),
        ("end of e300", end("1e300")),
        ("end of e999", end("1e999")),
        ("end NaN", end("NaN")),
        ("end a text", end(&format!("\"{}\"", NOW + 60))),
        ("end a list", end(&format!("[{}]", NOW + 60))),
        ("end twice", with(&exp, &format!("{exp},{exp}"))),
        ("begin behind the leeway", begin(&(NOW + 31).to_string())),
        ("begin of e300", begin("1e300")),
        ("begin null", begin("null")),
        ("begin a text", begin("\"0\"")),
        ("issuer", with("\"us\"", "\"US\"")),
        ("issuer a list", with("\"us\"", "[\"us\"]")),
        ("no audience", with("\"aud\":\"field\",", "")),
        ("audience of others", with("\"field\"", "[\"desk\",7,null]")),
        ("user a number", user("7")),
        ("user a list", user("[\"ann\"]")),
        ("user an object", user("{\"x\":\"ann\"}")),
        ("user null", user("null")),
        ("user empty", user("\"\"")),
        ("user with NUL", user("\"ann\\u0000\"")),
        ("user half a character", user("\"\\ud800\"")),
        ("user twice", user("\"ann\",\"sub\":\"bob\"")),
        ("no UTF-8", own.token(&own.head(), odd)),
        ("deep", user(&("[".repeat(500) + &"]".repeat(500)))),
        ("body a list", own.token(&own.head(), "[]")),
        (
            "body with more behind it",
            own.token(&own.head(), format!("{body} {{}}")),
        ),
    ]
}

#[test]
fn p7_forged_tokens_are_refused_and_nothing_is_read_or_written() {
    for (own, other) in [
        (Signer::es256(), Signer::eddsa()),
        (Signer::eddsa(), Signer::es256()),
    ] {
        let server = Server::start_as(own.auth());
        let hello = Frame::Hello(server.hello(&[("visit", None)]));
        let frames = [hello, Frame::Group(group(1, "a")), Frame::End];
        let request = server.encode(Format::Cbor, &frames);
        let mut forged = of_wrong_header(&own);
        forged.extend(of_strangers(&own, &other));
        forged.extend(of_wrong_shape(&own));
        forged.extend(of_wrong_claims(&own));
        assert!(forged.len() > 60);
        for (case, token) in forged {
            for ask in [
                Ask::sync(&token).body(request.clone()),
                Ask::new("GET", "/v1/model").header("Authorization", &format!("Bearer {token}")),
            ] {
                let answer = ask.send(server.address);
                let found = (answer.status, answer.code());
                assert_eq!(found, (401, "sign-in".to_owned()), "{case}");
            }
        }
        assert_eq!(
            (server.storage.pushed().len(), server.storage.pulls()),
            (0, 0)
        );
        // The one that is not forged.
        let good = own.token(&own.head(), body());
        let answer = Ask::sync(&good).body(request).send(server.address);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(server.storage.pushed().len(), 1);
    }
}

#[test]
fn the_edges_of_time_are_where_they_should_be() {
    let own = Signer::eddsa();
    let auth = own.auth();
    let verify = |claims: &str| {
        let body = format!(r#"{{{claims},"iss":"us","aud":["x","field"],"sub":"ann"}}"#);
        auth.verify(&own.token(&own.head(), body), NOW)
    };
    assert!(verify(&format!(r#""exp":{}"#, NOW - 29)).is_ok());
    assert_eq!(
        verify(&format!(r#""exp":{}"#, NOW - 30)),
        Err(TokenError::Expired)
    );
    assert!(verify(&format!(r#""exp":{}.5,"nbf":{}"#, NOW, NOW + 30)).is_ok());
    assert!(verify(r#""exp":253402300799"#).is_ok());
    assert_eq!(verify(r#""exp":253402300800"#), Err(TokenError::Malformed));
    assert_eq!(auth.issue("ann", NOW + 60, &Map::new()), Err(CannotSign));
}

/// The example of RFC 7515, appendix A.2; of its private key nothing is here.
const PUBLISHED: &str = "\
    eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9\
    leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2Vt\
    Qgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKB\
    YNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN\
    9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI\
    8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

#[test]
fn a_published_rs256_token_verifies_and_no_bent_one_does() {
    let token = PUBLISHED;
    let rules = TokenRules {
        user_claim: "iss".to_owned(),
        ..TokenRules::default()
    };
    let auth = Auth::new(PublicKey::from_pem(RSA).unwrap(), rules);
    let now = 1_300_819_379;
    assert_eq!(auth.verify(token, now).unwrap().user, "joe");
    assert_eq!(auth.verify(token, now + 31), Err(TokenError::Expired));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (head, body) = signed.split_once('.').unwrap();
    let claims = String::from_utf8(BASE64.decode(body).unwrap()).unwrap();
    let other = BASE64.encode(claims.replace("joe", "ann"));
    let pss = BASE64.encode(json!({ "alg": "PS256" }).to_string());
    for (bent, error) in [
        (format!("{head}.{other}.{signature}"), TokenError::Signature),
        (
            format!("{signed}.{}", &signature[1..]),
            TokenError::Malformed,
        ),
        (
            format!("{signed}.{}", "A".repeat(342)),
            TokenError::Signature,
        ),
        (format!("{pss}.{body}.{signature}"), TokenError::Algorithm),
        (
            by_secret(r#"{"alg":"HS256"}"#, &claims, RSA.as_bytes()),
            TokenError::Algorithm,
        ),
        (
            by_secret(r#"{"alg":"RS256"}"#, &claims, RSA.as_bytes()),
            TokenError::Signature,
        ),
        (
            Signer::es256().token(r#"{"alg":"RS256"}"#, &claims),
            TokenError::Signature,
        ),
    ] {
        assert_eq!(auth.verify(&bent, now), Err(error), "{bent}");
    }
}

#[test]
fn keys_that_are_weak_private_or_of_another_kind_are_refused_with_what_to_do() {
    let es256 = Signer::es256().pem;
    let cut = es256.replacen("MFkw", "MFkx", 1);
    for (text, expected) in [
        ("", "not exactly one key in PEM"),
        ("ssh-rsa AAAAB3 ann@desk", "not exactly one key in PEM"),
        ("{\"kty\":\"RSA\"}", "not exactly one key in PEM"),
        (&format!("{es256}{es256}"), "not exactly one key in PEM"),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            "holds a private key",
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----",
            "openssl pkey -in",
        ),
        (
            &format!("{es256}-----BEGIN OPENSSH PRIVATE KEY-----\n"),
            "holds a private key",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            "openssl x509",
        ),
        (
            include_str!("keys/rsa-pkcs1.pem"),
            "openssl rsa -RSAPublicKey_in",
        ),
        (include_str!("keys/rsa1024.pem"), "an RSA key of 1024 bits"),
        (include_str!("keys/rsa-exponent-1.pem"), "is malformed"),
        (include_str!("keys/rsa-pss.pem"), "RSA-PSS"),
        (include_str!("keys/p384.pem"), "another curve than P-256"),
        (
            include_str!("keys/secp256k1.pem"),
            "another curve than P-256",
        ),
        (
            include_str!("keys/p256-compressed.pem"),
            "a compressed point",
        ),
        (include_str!("keys/ed448.pem"), "another kind than RSA"),
        (&cut, "malformed"),
        (&es256.replace("-----END", "-----ENDE"), "cut off"),
        (&es256.replacen("MFkw", "M", 1), "cut off"),
        (
            "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----",
            "malformed",
        ),
    ] {
        let error = PublicKey::from_pem(text).expect_err(expected);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwt.pem");
    let missing = PublicKey::read(&path).unwrap_err().to_string();
    assert!(missing.contains("jwt.pem"), "{missing}");
    std::fs::write(
        &path,
        format!("made by us\r\n{}", es256.replace('\n', "\r\n")),
    )
    .unwrap();
    assert!(PublicKey::read(&path).is_ok());
    std::fs::write(&path, "x".repeat(70_000)).unwrap();
    assert!(
        PublicKey::read(&path)
            .unwrap_err()
            .to_string()
            .contains("70000 bytes")
    );
}

/// Bent keys are refused or read, and never a panic.
#[test]
fn no_key_file_makes_the_reader_panic() {
    let mut random = fastrand::Rng::with_seed(3);
    let der = STANDARD.decode(
        RSA.lines()
            .filter(|l| !l.starts_with('-'))
            .collect::<String>(),
    );
    let der = der.unwrap();
    for _ in 0..3_000 {
        let mut bent = der.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..40.min(bent.len()));
            bent[at] = random.u8(..);
        }
        bent.truncate(random.usize(1..=bent.len()));
        let _ = PublicKey::from_pem(&pem("", &bent));
    }
}

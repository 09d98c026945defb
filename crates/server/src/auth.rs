//! Who is asking: tokens (RFC 7519), and the secret or public key that they are checked with.
//!
//! The key fixes the one algorithm that is accepted: HS256 for a secret, RS256, ES256 or EdDSA for
//! a public key. What a token's header says is only compared with it, and keys that the header
//! names or carries are not looked at. The signature is checked before any claim is read; a token
//! without an end is refused. The clock comes in as an argument.

mod object;
mod public_key;
mod secret;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value as Json};
use sha2::Sha256;

use self::object::Object;
use crate::model::file::{AuthSection, KeyFile};
use crate::storage::Caller;

pub use public_key::{PublicKey, PublicKeyError};
pub use secret::{Secret, SecretError};

/// Seconds that the clocks of two servers may differ.
pub(crate) const LEEWAY_S: i64 = 30;

/// Longest token read: what fits any proxy's header limit.
const TOKEN_BYTES: usize = 8 * 1024;

/// Longest name of a user: it is a key of the ledger.
const USER_BYTES: usize = 256;

/// Latest end or beginning of a token, in seconds: the year 9999. A later one is no time in
/// seconds (in milliseconds, it would never end).
const TIME_MAX_S: f64 = 253_402_300_799.0;

/// Checks tokens, and issues them where it has the secret.
#[derive(Clone, Debug)]
pub struct Auth {
    key: Key,
    rules: TokenRules,
}

/// What tokens are checked with.
#[derive(Clone, Debug)]
pub enum Key {
    /// The secret of HS256, which signs too.
    Secret(Secret),
    /// A public key, which only checks.
    Public(PublicKey),
}

/// The file of a key is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// That of a secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// That of a public key.
    #[error(transparent)]
    Public(#[from] PublicKeyError),
}

/// A public key signs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the model file names a public key (`public_key_file`), which checks tokens and cannot sign \
     them; ask whoever has the private key for a token, or use `secret_file` for development"
)]
pub struct CannotSign;

/// What a token must say besides being signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// What `iss` must be, if it is checked.
    pub issuer: Option<String>,
    /// What `aud` must be or contain, if it is checked.
    pub audience: Option<String>,
    /// The claim that names the user.
    pub user_claim: String,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            user_claim: "sub".to_owned(),
        }
    }
}

/// What a valid token says.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// The user.
    pub user: String,
    /// All claims, the user's own included.
    pub all: Map<String, Json>,
}

impl Claims {
    /// When the token ends, in seconds since 1970.
    pub(crate) fn ends_s(&self) -> i64 {
        let end = self.all.get("exp").and_then(Json::as_f64);
        end.map_or(0, |end| end as i64)
    }
}

/// Why a token is refused. None of the texts repeats the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("the request has no token; send `Authorization: Bearer TOKEN`")]
    Missing,
    /// It is no token of the expected form.
    #[error("the token is malformed")]
    Malformed,
    /// It names another algorithm.
    #[error("the token's algorithm (`alg`) is not the one of the server's key")]
    Algorithm,
    /// It was not signed with this key.
    #[error("the token's signature is wrong")]
    Signature,
    /// It has no `exp`.
    #[error("the token has no end (`exp`)")]
    Endless,
    /// Its end has passed.
    #[error("the token has expired")]
    Expired,
    /// Its `nbf` has not come.
    #[error("the token is not valid yet (`nbf`)")]
    NotYet,
    /// `iss` is another.
    #[error("the token's issuer (`iss`) is another")]
    Issuer,
    /// `aud` is another.
    #[error("the token's audience (`aud`) is another")]
    Audience,
    /// The claim that names the user is missing, empty or too long.
    #[error("the token names no user")]
    User,
}

impl From<Claims> for Caller {
    fn from(claims: Claims) -> Self {
        Self {
            user: claims.user,
            claims: claims.all,
            device: String::new(),
        }
    }
}

impl From<Secret> for Key {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}

impl From<PublicKey> for Key {
    fn from(key: PublicKey) -> Self {
        Self::Public(key)
    }
}

impl Key {
    /// The one word for it in a token's header.
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Public(key) => key.algorithm(),
        }
    }

    /// Whether `signature` is of `signed`, with this key.
    fn is_signed(&self, signed: &str, signature: &[u8]) -> bool {
        match self {
            // In constant time.
            Self::Secret(secret) => mac(secret, signed).verify_slice(signature).is_ok(),
            Self::Public(key) => key.is_signed(signed.as_bytes(), signature),
        }
    }
}

impl Auth {
    /// Checks with this key and these rules.
    pub fn new(key: impl Into<Key>, rules: TokenRules) -> Self {
        let key = key.into();
        Self { key, rules }
    }

    /// Checks with the key and the rules that a model file names.
    ///
    /// # Errors
    /// The key's file is not as it must be.
    pub fn open(section: &AuthSection) -> Result<Self, KeyError> {
        let key = match &section.key {
            KeyFile::Secret(path) => Secret::read(path)?.into(),
            KeyFile::Public(path) => Key::Public(PublicKey::read(path)?),
        };
        let rules = TokenRules {
            issuer: section.issuer.clone(),
            audience: section.audience.clone(),
            user_claim: section.user_claim.clone(),
        };
        Ok(Self { key, rules })
    }

    /// A signed token for `user` that ends at `expires_at_s` (seconds since 1970), with `claims`
    /// besides. The rules' issuer and audience are filled in, unless `claims` has them.
    ///
    /// # Errors
    /// The key is a public one.
    pub fn issue(
        &self,
        user: &str,
        expires_at_s: i64,
        claims: &Map<String, Json>,
    ) -> Result<String, CannotSign> {
        let Key::Secret(secret) = &self.key else {
            return Err(CannotSign);
        };
        let mut all = Map::new();
        if let Some(issuer) = &self.rules.issuer {
            all.insert("iss".into(), issuer.as_str().into());
        }
        if let Some(audience) = &self.rules.audience {
            all.insert("aud".into(), audience.as_str().into());
        }
        all.extend(claims.clone());
        all.insert(self.rules.user_claim.clone(), user.into());
        all.insert("exp".into(), expires_at_s.into());
        let header = BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", BASE64.encode(Json::Object(all).to_string()));
        let signature = mac(secret, &signed).finalize().into_bytes();
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// What the value of an `Authorization` header says.
    ///
    /// # Errors
    /// It carries no valid token.
    pub fn verify_header(&self, header: Option<&str>, now_s: i64) -> Result<Claims, TokenError> {
        let (scheme, token) = header
            .and_then(|header| header.split_once(' '))
            .ok_or(TokenError::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(TokenError::Missing);
        }
        self.verify(token.trim(), now_s)
    }

    /// What a token says, at `now_s` seconds since 1970.
    ///
    /// # Errors
    /// The token is not valid.
    pub fn verify(&self, token: &str, now_s: i64) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let signature = BASE64
            .decode(signature)
            .map_err(|_| TokenError::Malformed)?;
        self.check_header(&object(header)?)?;
        if !self.key.is_signed(signed, &signature) {
            return Err(TokenError::Signature);
        }
        self.check(object(payload)?, now_s)
    }

    fn check(&self, all: Map<String, Json>, now_s: i64) -> Result<Claims, TokenError> {
        let end = all.get("exp").ok_or(TokenError::Endless)?;
        if seconds(end)? <= (now_s - LEEWAY_S) as f64 {
            return Err(TokenError::Expired);
        }
        if let Some(begin) = all.get("nbf")
            && seconds(begin)? > (now_s + LEEWAY_S) as f64
        {
            return Err(TokenError::NotYet);
        }
        if let Some(issuer) = &self.rules.issuer
            && all.get("iss").and_then(Json::as_str) != Some(issuer)
        {
            return Err(TokenError::Issuer);
        }
        if let Some(audience) = &self.rules.audience
            && !all.get("aud").is_some_and(|claim| names(claim, audience))
        {
            return Err(TokenError::Audience);
        }
        let user = all.get(&self.rules.user_claim).and_then(Json::as_str);
        let user = user.ok_or(TokenError::User)?;
        if user.is_empty() || user.len() > USER_BYTES || user.contains('\0') {
            return Err(TokenError::User);
        }
        Ok(Claims {
            user: user.to_owned(),
            all,
        })
    }

    /// The key's algorithm and nothing else; a header that asks for extensions (`crit`) asks for
    /// too much.
    fn check_header(&self, header: &Map<String, Json>) -> Result<(), TokenError> {
        if header.get("alg").and_then(Json::as_str) != Some(self.key.algorithm()) {
            return Err(TokenError::Algorithm);
        }
        if header.contains_key("crit") {
            return Err(TokenError::Malformed);
        }
        Ok(())
    }
}

fn mac(secret: &Secret, signed: &str) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes a key of any length");
    mac.update(signed.as_bytes());
    mac
}

fn object(part: &str) -> Result<Map<String, Json>, TokenError> {
    let bytes = BASE64.decode(part).map_err(|_| TokenError::Malformed)?;
    match serde_json::from_slice(&bytes) {
        Ok(Object(members)) => Ok(members),
        Err(_) => Err(TokenError::Malformed),
    }
}

/// A NumericDate; fractions are allowed.
fn seconds(claim: &Json) -> Result<f64, TokenError> {
    let seconds = claim.as_f64().filter(|seconds| *seconds <= TIME_MAX_S);
    seconds.ok_or(TokenError::Malformed)
}

fn names(claim: &Json, audience: &str) -> bool {
    match claim {
        Json::String(one) => one == audience,
        Json::Array(several) => several.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn secret(byte: u8) -> Secret {
        Secret::from_bytes(vec![byte; 32]).unwrap()
    }

    fn auth(rules: TokenRules) -> Auth {
        Auth::new(secret(7), rules)
    }

    fn strict() -> Auth {
        auth(TokenRules {
            issuer: Some("us".into()),
            audience: Some("field".into()),
            user_claim: "email".into(),
        })
    }

    /// A token of any header and payload, signed with the right secret.
    fn signed(auth: &Auth, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
        let Key::Secret(secret) = &auth.key else {
            panic!("a public key signs nothing");
        };
        let signature = BASE64.encode(mac(secret, &signed).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    #[test]
    fn what_is_issued_verifies_and_keeps_its_claims() {
        let auth = strict();
        let claims = json!({ "region": [1, 2], "aud": ["other", "field"] });
        let token = auth
            .issue("ann@x", NOW + 60, claims.as_object().unwrap())
            .unwrap();
        let read = auth
            .verify_header(Some(&format!("bearer {token}")), NOW)
            .unwrap();
        assert_eq!(read.user, "ann@x");
        assert_eq!(read.all["region"], json!([1, 2]));
    }

    #[test]
    fn a_published_token_verifies() {
        // The example of RFC 7515, appendix A.1.
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0i\
                   PS4hcgUuTwjAzZr1Z9CAow";
        let secret = Secret::from_bytes(BASE64.decode(key).unwrap()).unwrap();
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p\
                     c19yb290Ijp0cnVlfQ.\
                     dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let rules = TokenRules {
            user_claim: "iss".into(),
            ..TokenRules::default()
        };
        let read = Auth::new(secret, rules)
            .verify(token, 1_300_819_379)
            .unwrap();
        assert_eq!(read.user, "joe");
    }

    #[test]
    fn time_has_a_leeway_and_no_more() {
        let auth = auth(TokenRules::default());
        let token = auth.issue("ann", NOW, &Map::new()).unwrap();
        assert!(auth.verify(&token, NOW + LEEWAY_S - 1).is_ok());
        assert_eq!(
            auth.verify(&token, NOW + LEEWAY_S),
            Err(TokenError::Expired)
        );
        let later = json!({ "nbf": NOW + 100 });
        let token = auth
            .issue("ann", NOW + 500, later.as_object().unwrap())
            .unwrap();
        assert_eq!(auth.verify(&token, NOW + 69), Err(TokenError::NotYet));
        assert!(auth.verify(&token, NOW + 70).is_ok());
    }

    /// A token that the rules of `strict` let in, in the parts that the cases below bend.
    const HEAD: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    fn body() -> String {
        let exp = NOW + 9;
        format!(r#"{{"exp":{exp},"iss":"us","aud":"field","email":"a"}}"#)
    }

    /// What is wrong, the token, and the reason it must be refused for.
    type Case = (&'static str, String, TokenError);

    #[track_caller]
    fn assert_refused(auth: &Auth, cases: impl IntoIterator<Item = Case>) {
        let good = signed(auth, HEAD, &body());
        assert!(auth.verify(&good, NOW).is_ok());
        for (case, token, error) in cases {
            assert_eq!(auth.verify(&token, NOW), Err(error), "{case}");
        }
    }

    #[test]
    fn tokens_of_the_wrong_shape_or_signature_are_refused_each_for_its_reason() {
        use TokenError::{Algorithm, Malformed, Signature};
        let auth = strict();
        let body = body();
        let good = signed(&auth, HEAD, &body);
        let (signed_part, signature) = good.rsplit_once('.').unwrap();
        let alg = |alg: &str| signed(&auth, &HEAD.replacen("\"HS256\"", alg, 1), &body);
        let other = Auth::new(secret(8), auth.rules.clone());
        let cases = [
            ("nothing", String::new(), Malformed),
            ("words", "no token at all".to_owned(), Malformed),
            ("two parts", signed_part.to_owned(), Malformed),
            ("four parts", format!("{good}.x"), Malformed),
            ("no signature", format!("{signed_part}."), Signature),
            (
                "short signature",
                format!("{signed_part}.{}", &signature[..20]),
                Signature,
            ),
            ("not base64", format!("{signed_part}.!!!!"), Malformed),
            ("padding", format!("{good}="), Malformed),
            ("another secret", signed(&other, HEAD, &body), Signature),
            ("another body", good.replacen('.', ".e", 1), Signature),
            ("alg none", alg("\"none\""), Algorithm),
            ("alg None", alg("\"nOnE\""), Algorithm),
            ("alg RS256", alg("\"RS256\""), Algorithm),
            ("alg HS512", alg("\"HS512\""), Algorithm),
            ("alg hs256", alg("\"hs256\""), Algorithm),
            ("alg list", alg("[\"HS256\"]"), Algorithm),
            ("no alg", signed(&auth, "{}", &body), Algorithm),
            (
                "crit",
                signed(&auth, r#"{"alg":"HS256","crit":["x"]}"#, &body),
                Malformed,
            ),
            (
                "alg twice",
                signed(&auth, r#"{"alg":"HS256","alg":"HS256"}"#, &body),
                Malformed,
            ),
            ("header no object", signed(&auth, "[]", &body), Malformed),
            ("long token", "x".repeat(9_000), Malformed),
        ];
        assert_refused(&auth, cases);
    }

    #[test]
    fn tokens_of_wrong_claims_are_refused_each_for_its_reason() {
        use TokenError::{Audience, Endless, Expired, Issuer, Malformed, NotYet, User};
        let auth = strict();
        let body = body();
        let with = |old: &str, new: &str| signed(&auth, HEAD, &body.replacen(old, new, 1));
        let exp = format!("{}", NOW + 9);
        let email = r#""email":"a""#;
        let cases = [
            ("body no JSON", signed(&auth, HEAD, "{"), Malformed),
            ("body no object", signed(&auth, HEAD, "7"), Malformed),
            ("no end", with(&format!("\"exp\":{exp},"), ""), Endless),
            ("end no number", with(&exp, "\"2099\""), Malformed),
            ("end null", with(&exp, "null"), Malformed),
            (
                "end in milliseconds",
                with(&exp, &format!("{exp}000")),
                Malformed,
            ),
            ("end out of range", with(&exp, "1e999"), Malformed),
            (
                "end twice",
                with("\"exp\"", &format!("\"exp\":{exp},\"exp\"")),
                Malformed,
            ),
            (
                "user twice",
                with(email, &format!("{email},{email}")),
                Malformed,
            ),
            ("expired", with(&exp, &format!("{}", NOW - 60)), Expired),
            ("expired long ago", with(&exp, "-1e300"), Expired),
            (
                "not yet",
                with(email, &format!(r#"{email},"nbf":{}"#, NOW + 60)),
                NotYet,
            ),
            ("issuer", with("\"us\"", "\"them\""), Issuer),
            ("no issuer", with("\"iss\":\"us\",", ""), Issuer),
            ("audience", with("\"field\"", "\"desk\""), Audience),
            ("audience list", with("\"field\"", "[\"desk\"]"), Audience),
            ("no audience", with("\"aud\":\"field\",", ""), Audience),
            ("no user", with(email, "\"sub\":\"a\""), User),
            ("empty user", with(email, "\"email\":\"\""), User),
            ("user no text", with(email, "\"email\":7"), User),
            ("user with NUL", with(email, "\"email\":\"a\\u0000\""), User),
            (
                "long user",
                with("\"a\"", &format!("\"{}\"", "a".repeat(300))),
                User,
            ),
        ];
        assert_refused(&auth, cases);
    }

    #[test]
    fn headers_without_a_token_are_refused_each_for_its_reason() {
        let auth = strict();
        for (header, error) in [
            (None, TokenError::Missing),
            (Some("Bearer"), TokenError::Missing),
            (Some("Basic YTpi"), TokenError::Missing),
            (Some("Bearer  "), TokenError::Malformed),
        ] {
            assert_eq!(auth.verify_header(header, NOW), Err(error), "{header:?}");
        }
    }
}

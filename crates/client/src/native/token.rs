//! Whose token it is.

use afield_protocol::Code;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::error::Error;

/// The user that a signed token names in its claim `sub`, without checking its signature: only
/// the server can. `None` for a token of another kind.
pub fn token_user(token: &str) -> Option<String> {
    let user = claims(token)?.get("sub")?.as_str()?.to_owned();
    Some(user)
}

/// Refuses to send `user`'s changes with a token that is evidently somebody else's. Which claim
/// names the user is the server's affair, so any that does will do.
pub(super) fn check_owner(token: &str, user: &str) -> Result<(), Error> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "the token must be one word without blanks";
        return Err(Error::new(Code::SIGN_IN, message));
    }
    let Some(claims) = claims(token) else {
        return Ok(());
    };
    let Some(subject) = claims.get("sub").and_then(Value::as_str) else {
        return Ok(());
    };
    if claims.values().any(|claim| claim.as_str() == Some(user)) {
        return Ok(());
    }
    let message = format!(
        "the token is `{subject}`'s and this store is `{user}`'s: nobody's changes are sent with \
         another's token. Sign in as `{user}`, or open the store of `{subject}`"
    );
    Err(Error::new(Code::SIGN_IN, message))
}

/// The claims of a signed token (RFC 7519).
fn claims(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    match serde_json::from_slice(&payload).ok()? {
        Value::Object(claims) => Some(claims),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn p7_changes_are_not_sent_with_anothers_token() {
        assert!(check_owner(&token(r#"{"sub":"ann"}"#), "ann").is_ok());
        let refused = check_owner(&token(r#"{"sub":"bob"}"#), "ann").unwrap_err();
        assert_eq!(refused.code(), &Code::SIGN_IN);
        let by_mail = token(r#"{"sub":"17","email":"ann@x.org"}"#);
        assert!(check_owner(&by_mail, "ann@x.org").is_ok());
        assert!(check_owner(&by_mail, "bob@x.org").is_err());
    }

    #[test]
    fn tokens_of_another_kind_are_the_servers_affair() {
        assert!(check_owner("opaque", "ann").is_ok());
        assert!(check_owner(&token("{}"), "ann").is_ok());
        assert!(check_owner("a.b.c", "ann").is_ok());
        assert!(check_owner("two words", "ann").is_err());
        assert!(check_owner("line\nbreak", "ann").is_err());
        assert_eq!(
            token_user(&token(r#"{"sub":"ann"}"#)).as_deref(),
            Some("ann")
        );
        assert_eq!(token_user("opaque"), None);
    }
}

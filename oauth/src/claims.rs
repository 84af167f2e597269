//! What an issuer says of a token, in a JWT (RFC 7519 §4) or in an answer (RFC 7662 §2.2): for whom it is, how long, and
//! whose.

use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::Settings;

/// How far the issuer's clock may be from ours. RFC 7519 §4.1.4: "no more than a few minutes".
pub const LEEWAY: Duration = Duration::from_secs(60);

/// Why a token is not taken. For our log: the client hears less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Not the token of this kind of issuer.
    #[error("it is no signed JWT")]
    Malformed,
    /// An ID token of another kind, a logout token, a DPoP proof.
    #[error("its type is not that of an access token")]
    Type,
    /// `none`, an HMAC, or one that the configuration leaves out.
    #[error("its algorithm is not permitted")]
    Algorithm,
    /// The issuer publishes no key that could have signed it.
    #[error("no key of the issuer's could have signed it")]
    UnknownKey,
    /// Somebody else made it, or changed it.
    #[error("its signature is wrong")]
    Signature,
    /// The issuer does not know it, or no longer.
    #[error("the issuer says that it is not active")]
    Inactive,
    /// Another issuer's.
    #[error("its issuer is not the configured one")]
    Issuer,
    /// For somebody else.
    #[error("its audience is not a configured one")]
    Audience,
    /// `exp` has passed, or is missing.
    #[error("it has expired, or does not say when it will")]
    Expired,
    /// `nbf` is still to come.
    #[error("it is not valid yet")]
    NotYet,
    /// Good only together with a key (RFC 7800): as a bearer token it is stolen.
    #[error("it is bound to a key, and no bearer token")]
    Bound,
    /// Good for something else.
    #[error("it lacks the scope that is wanted")]
    Scope,
    /// It has no such claim, or not as text.
    #[error("the claim that is to name the account is not there")]
    NoAccount,
    /// `email_verified` is not true: anybody could have entered that address.
    #[error("its issuer does not say that it has verified the email address")]
    UnverifiedEmail,
}

/// Where the claims come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A JWT, which must say everything itself.
    Jwt,
    /// An answer of the issuer's to us, which leaves out what is plain (RFC 7662 §2.2).
    Introspection,
}

/// Whose a good token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Identity {
    pub(crate) account: String,
    /// In seconds since 1970.
    pub(crate) expires_at: Option<f64>,
}

/// Reads claims that are the issuer's word. `now` is in seconds since 1970.
pub(crate) fn identity(
    claims: &Map<String, Value>,
    settings: &Settings,
    origin: Origin,
    now: f64,
) -> Result<Identity, Refusal> {
    if !is_access_token(claims, origin) {
        return Err(Refusal::Type);
    }
    let expires_at = validity(claims, settings, origin, now)?;
    // RFC 8705 §3, RFC 9449 §6: who shows such a token must prove to have the key as well, which mail clients cannot.
    if claims.contains_key("cnf") {
        return Err(Refusal::Bound);
    }
    if let Some(wanted) = &settings.scope
        && !has_scope(claims, wanted)
    {
        return Err(Refusal::Scope);
    }
    let account = claims.get(&settings.account_claim).and_then(Value::as_str);
    let account = account.filter(|account| !account.is_empty());
    let account = account.ok_or(Refusal::NoAccount)?;
    let must_be_verified = settings.account_claim == "email" && !settings.trust_email;
    if must_be_verified && !says_yes(claims.get("email_verified")) {
        return Err(Refusal::UnverifiedEmail);
    }
    Ok(Identity {
        account: account.to_owned(),
        expires_at,
    })
}

/// Whether it is from the right issuer, for us, and not at another time; when it ends, if it says so.
pub(crate) fn validity(
    claims: &Map<String, Value>,
    settings: &Settings,
    origin: Origin,
    now: f64,
) -> Result<Option<f64>, Refusal> {
    let from_answer = origin == Origin::Introspection;
    match claims.get("iss") {
        Some(Value::String(issuer)) if issuer == settings.issuer.as_str() => {}
        None if from_answer => {}
        _ => return Err(Refusal::Issuer),
    }
    if !is_for_us(claims.get("aud"), settings, from_answer) {
        return Err(Refusal::Audience);
    }
    lifetime(claims, from_answer, now)
}

/// An ID token tells a client who its user is, and is no key to anything (RFC 9068 §4 warns of taking one for the other);
/// a refresh token is for the issuer alone.
fn is_access_token(claims: &Map<String, Value>, origin: Origin) -> bool {
    // OpenID Connect Core §2, §3.3.2.11: only ID tokens have these.
    const OF_ID_TOKENS: [&str; 3] = ["nonce", "at_hash", "c_hash"];
    // Keycloak names the kind in a claim, and signs all kinds alike.
    const OTHER_KINDS: [&str; 4] = ["id", "refresh", "offline", "logout"];
    let is = |name: &str, kind: &str| {
        let value = claims.get(name).and_then(Value::as_str);
        value.is_some_and(|value| value.eq_ignore_ascii_case(kind))
    };
    if OF_ID_TOKENS.iter().any(|name| claims.contains_key(*name))
        || OTHER_KINDS.iter().any(|kind| is("typ", kind))
    {
        return false;
    }
    // RFC 7662 §2.2, RFC 6749 §7.1. It may be left out.
    origin == Origin::Jwt || !claims.contains_key("token_type") || is("token_type", "Bearer")
}

/// RFC 7519 §4.1.3: one, or a list of which one must be ours.
fn is_for_us(audience: Option<&Value>, settings: &Settings, from_answer: bool) -> bool {
    let ours = |value: &Value| {
        let name = value.as_str();
        name.is_some_and(|name| settings.audiences.iter().any(|audience| audience == name))
    };
    match audience {
        // The issuer knows who asks; that it answers for this token says nothing of what it is for.
        _ if from_answer && settings.audiences.is_empty() => {
            settings.any_audience || settings.scope.is_some()
        }
        Some(Value::Array(all)) => all.iter().any(ours),
        Some(one) => ours(one),
        None => false,
    }
}

/// When it ends (RFC 7519 §4.1.4, RFC 9068 §2.2), if it has begun and not ended.
fn lifetime(
    claims: &Map<String, Value>,
    from_answer: bool,
    now: f64,
) -> Result<Option<f64>, Refusal> {
    let leeway = LEEWAY.as_secs_f64();
    let expires_at = match claims.get("exp") {
        Some(value) => Some(value.as_f64().ok_or(Refusal::Expired)?),
        // What is said to be active has not expired.
        None if from_answer => None,
        None => return Err(Refusal::Expired),
    };
    if expires_at.is_some_and(|expires_at| now >= expires_at + leeway) {
        return Err(Refusal::Expired);
    }
    if let Some(begins_at) = claims.get("nbf") {
        let begins_at = begins_at.as_f64().ok_or(Refusal::NotYet)?;
        if now + leeway < begins_at {
            return Err(Refusal::NotYet);
        }
    }
    Ok(expires_at)
}

/// `scope` is a list with spaces (RFC 9068 §2.2.3). Microsoft calls it `scp`, and Okta makes an array of that.
fn has_scope(claims: &Map<String, Value>, wanted: &str) -> bool {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(list)) => list.split(' ').any(|scope| scope == wanted),
        Some(Value::Array(list)) => list.iter().any(|scope| scope.as_str() == Some(wanted)),
        _ => false,
    }
}

/// Some issuers write it as text.
fn says_yes(verified: Option<&Value>) -> bool {
    match verified {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(verified)) => verified.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

//! Bearer tokens in an exchange: what the client sends, what the driver finds out about it, and what a client hears whose
//! token is not taken.

use std::fmt;

use serde_json::json;
use zeroize::Zeroizing;

use crate::{Failure, Mechanism};

/// The longest token that is taken, in bytes. Issuers' tokens have one to four thousand; with the longest name beside
/// it, it fits the longest response ([`RESPONSE_BASE64_LEN_MAX`](crate::RESPONSE_BASE64_LEN_MAX): 9,216 bytes).
pub const TOKEN_LEN_MAX: usize = 8_192;

/// A bearer token: who has it is let in. It is wiped from memory when it is dropped, and shown to nobody.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

/// What tokens are taken here. It is told to clients whose token is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenService {
    /// The scope that a token must have.
    pub scope: Option<String>,
    /// Where the issuer says how to get one.
    pub openid_configuration: String,
}

/// What the driver found out about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenVerdict {
    /// It is good, and names this user.
    Of(String),
    /// It is not good.
    Invalid,
    /// It is good for something else.
    InsufficientScope,
}

/// Why a client hears no for its token, until it has acknowledged that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It asked what it needs, by sending no token (RFC 7628 §4.3).
    NoToken,
    Invalid,
    InsufficientScope,
}

impl Token {
    /// Reads a `b64token` (RFC 6750 §2.1).
    pub(crate) fn parse(text: &str) -> Result<Token, Failure> {
        let body = text.trim_end_matches('=');
        let fits = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        };
        if body.is_empty() || text.len() > TOKEN_LEN_MAX || !body.bytes().all(fits) {
            return Err(Failure::Malformed);
        }
        Ok(Token(Zeroizing::new(text.to_owned())))
    }

    /// To be checked, and to be kept nowhere.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Refusal {
    /// The error challenge: RFC 7628 §3.2.2, and what XOAUTH2 has in its place.
    pub(crate) fn challenge(self, mechanism: Mechanism, service: &TokenService) -> Vec<u8> {
        let insufficient = self == Refusal::InsufficientScope;
        let mut message = match mechanism {
            Mechanism::XOAuth2 => json!({
                "status": if insufficient { "403" } else { "401" },
                "schemes": "bearer",
            }),
            _ => json!({
                "status": if insufficient { "insufficient_scope" } else { "invalid_token" },
                "openid-configuration": service.openid_configuration,
            }),
        };
        if let Some(scope) = &service.scope {
            message["scope"] = json!(scope);
        }
        message.to_string().into_bytes()
    }

    /// How the exchange ends.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Refusal::NoToken => Failure::NoToken,
            Refusal::Invalid | Refusal::InsufficientScope => Failure::Credentials,
        }
    }
}

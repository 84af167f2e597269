//! Takes a JWT apart (RFC 7519, in RFC 7515's compact form): what is signed, by which key, and the signature. Nothing of
//! it is true before the signature is verified.

use std::str;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Algorithm, Refusal};

/// A token whose signature has not been looked at.
pub(crate) struct UnverifiedJwt<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    /// Header and payload, as they were signed.
    pub(crate) signed: &'t [u8],
    pub(crate) signature: Vec<u8>,
    payload: &'t str,
}

/// RFC 7515 §4.1. A member that is there twice is an error.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'t> UnverifiedJwt<'t> {
    /// Splits it, and reads its header.
    pub(crate) fn parse(token: &'t str) -> Result<UnverifiedJwt<'t>, Refusal> {
        let malformed = Refusal::Malformed;
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(malformed)?;
        if payload.contains('.') {
            // Five parts are an encrypted one (RFC 7516).
            return Err(malformed);
        }
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed)?;
        // RFC 7515 §4.1.11: what must be understood and is not. We understand no extension.
        if header.crit.is_some() {
            return Err(malformed);
        }
        // RFC 8725 §3.11: other kinds of tokens are signed by the same keys. RFC 9068 §4 wants `at+jwt`, which many issuers
        // do not write.
        let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
        let is_access_token = matches!(
            typ.as_deref(),
            None | Some("jwt" | "application/jwt" | "at+jwt" | "application/at+jwt")
        );
        if !is_access_token {
            return Err(Refusal::Type);
        }
        Ok(UnverifiedJwt {
            // `none` and the HMACs are not among them.
            algorithm: Algorithm::parse(&header.alg).ok_or(Refusal::Algorithm)?,
            key_id: header.kid,
            signed: signed.as_bytes(),
            signature: decode(signature)?,
            payload,
        })
    }

    /// What it says. It is worth nothing before the signature is verified.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, Refusal> {
        serde_json::from_slice(&decode(self.payload)?).map_err(|_| Refusal::Malformed)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)
}

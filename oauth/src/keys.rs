//! An issuer's public keys, and signatures by them. A JWK set (RFC 7517 §5) may hold keys of any kind: what is for
//! something else, or unknown, is passed over.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;

use crate::{Refusal, fault, jwt::UnverifiedJwt};

/// A set of keys: issuers' have two to six, of 500 bytes to 3 KiB with their certificates.
pub const KEYS_BYTES_MAX: usize = 64 << 10;

/// Of one set. A token that names no key is tried with each.
const KEYS_MAX: usize = 32;

/// Coordinates and keys of P-256 and Ed25519.
const POINT_LEN: usize = 32;

/// What a token may be signed with. None of them needs a secret of ours: a token that is "signed" with a public key by an
/// HMAC, or with nothing, is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, of 2,048 bits and more (RFC 7518 §3.3).
    Rs256,
    /// ECDSA with P-256 and SHA-256 (RFC 7518 §3.4).
    Es256,
    /// Ed25519 (RFC 8037).
    EdDsa,
}

/// Public keys that verify signatures.
pub struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    material: Material,
}

enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed, as SEC 1 §2.3.3 writes it.
    P256([u8; 1 + 2 * POINT_LEN]),
    Ed25519([u8; POINT_LEN]),
}

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// More than [`KEYS_BYTES_MAX`].
    #[error("the key set has more than {KEYS_BYTES_MAX} bytes")]
    TooLarge,
    /// Not JSON, or without `keys`.
    #[error("this is no JWK set (RFC 7517): {0}")]
    Malformed(String),
    /// None for RS256, ES256 or EdDSA signatures.
    #[error("the key set has no public key for RS256, ES256 or EdDSA")]
    NoKey,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

/// RFC 7517 §4, RFC 7518 §6, RFC 8037 §2.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// The one of that name, in its case (RFC 7515 §4.1.1).
    pub fn parse(name: &str) -> Option<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl KeySet {
    /// Reads a JWK set.
    pub fn parse(json: &[u8]) -> Result<KeySet, KeySetError> {
        if json.len() > KEYS_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let set: JwkSet = serde_json::from_slice(json)
            .map_err(|error| KeySetError::Malformed(fault::of_json(&error)))?;
        // RFC 7517 §5: keys that are not understood are passed over.
        let known = set
            .keys
            .into_iter()
            .filter_map(|value| serde_json::from_value::<Jwk>(value).ok()?.into_key());
        let keys: Vec<Key> = known.take(KEYS_MAX).collect();
        match keys.is_empty() {
            true => Err(KeySetError::NoKey),
            false => Ok(KeySet { keys }),
        }
    }

    /// Whether one of the keys has signed it. That there is none that could have is [`Refusal::UnknownKey`]: perhaps there
    /// are newer ones.
    pub(crate) fn verify(&self, jwt: &UnverifiedJwt<'_>) -> Result<(), Refusal> {
        let mut verdict = Refusal::UnknownKey;
        let may_be = |key: &&Key| {
            let same_id = match (&key.id, &jwt.key_id) {
                (Some(of_key), Some(of_token)) => of_key == of_token,
                // RFC 7515 §4.1.4: it is a hint.
                _ => true,
            };
            same_id && key.material.algorithm() == jwt.algorithm
        };
        for key in self.keys.iter().filter(may_be) {
            if key.material.verifies(jwt.signed, &jwt.signature) {
                return Ok(());
            }
            // The key that the token names did not sign it: no other will have.
            if key.id.is_some() && key.id == jwt.key_id {
                verdict = Refusal::Signature;
            }
        }
        Err(verdict)
    }
}

impl Jwk {
    /// The key, if it is a public one for signatures that we verify.
    fn into_key(self) -> Option<Key> {
        let for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let ops = self.key_ops.as_deref();
        let verifies = ops.is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures || !verifies {
            return None;
        }
        let material = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                n: decode(&self.n)?,
                e: decode(&self.e)?,
            },
            ("EC", Some("P-256")) => {
                let (x, y) = (point(&self.x)?, point(&self.y)?);
                let uncompressed = [&[4][..], &x, &y].concat();
                Material::P256(uncompressed.try_into().ok()?)
            }
            ("OKP", Some("Ed25519")) => Material::Ed25519(point(&self.x)?),
            _ => return None,
        };
        // One for RS512, say, signs nothing else.
        let algorithm = material.algorithm().name();
        if self.alg.is_some_and(|alg| alg != algorithm) {
            return None;
        }
        Some(Key {
            id: self.kid,
            material,
        })
    }
}

fn decode(text: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_ref()?).ok()
}

fn point(text: &Option<String>) -> Option<[u8; POINT_LEN]> {
    decode(text)?.try_into().ok()
}

impl Material {
    fn algorithm(&self) -> Algorithm {
        match self {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// *ring* refuses keys that are too short, even, or not on their curve.
    fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let verdict = match self {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed,
                signature,
            ),
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(signed, signature)
            }
        };
        verdict.is_ok()
    }
}

/// Keys are public, and long.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self
            .keys
            .iter()
            .map(|key| (&key.id, key.material.algorithm()));
        f.debug_list().entries(ids).finish()
    }
}

#[cfg(test)]
mod tests;

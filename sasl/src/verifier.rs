//! The stored form of a password: what SCRAM needs, and an argon2id hash for the mechanisms that show the password.
//!
//! As text, which is also what serde stores, with its version in front:
//!
//! ```text
//! 1 SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey> $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>
//! ```
//!
//! The middle is RFC 5803's form, the end the PHC string format. All passwords of an account share one [`Salt`]: then
//! one argon2 hash is compared with all of them, and one SCRAM exchange may prove any of them.

use std::{fmt, str::FromStr};

use argon2::{Algorithm, Argon2, Params, Version, password_hash::PasswordHash};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::Password;

/// PBKDF2 rounds of new verifiers. RFC 7677 §4 demands 4,096 and recommends what takes 0.1 s on a modern machine; the
/// client pays them, and Cyrus SASL's client refuses more than 65,536.
pub(crate) const ITERATIONS: u32 = 50_000;
/// RFC 7677 §4.
const ITERATIONS_MIN: u32 = 4_096;
/// Bounds what an imported verifier may cost a client.
const ITERATIONS_MAX: u32 = 10_000_000;
/// OWASP's Password Storage Cheat Sheet (2025), the second of its equivalent choices for argon2id.
const ARGON2_MEMORY_KIB: u32 = 19_456;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;
/// Bounds what an imported verifier may cost us at each login: 256 MiB, 16 passes.
const ARGON2_MEMORY_KIB_MAX: u32 = 262_144;
const ARGON2_PASSES_MAX: u32 = 16;

/// The salt of an account's passwords. 16 bytes: RFC 9106 §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt([u8; 16]);

/// A password's stored form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Verifier {
    pub(crate) scram: ScramVerifier,
    pub(crate) argon2: Argon2Hash,
}

/// RFC 5802 §3, with SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ScramVerifier {
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) stored_key: [u8; 32],
    pub(crate) server_key: [u8; 32],
}

/// RFC 9106.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Argon2Hash {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    hash: [u8; 32],
}

/// Makes up salts for users that do not exist, always the same for the same name. Every node of a cluster must use
/// the same key, for as long as it can; else asking twice tells who exists.
#[derive(Clone)]
pub struct FakeSaltKey([u8; 32]);

/// Why a text is no verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifierError {
    /// A newer Mailrook wrote it.
    #[error("password verifier of an unknown version")]
    Version,
    /// It is damaged, or its costs are out of bounds.
    #[error("malformed password verifier")]
    Malformed,
    /// The system gave no random bytes.
    #[error("no random bytes from the system")]
    NoRandomness,
}

impl Salt {
    /// A new account's salt.
    pub fn random() -> Result<Salt, VerifierError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| VerifierError::NoRandomness)?;
        Ok(Salt(bytes))
    }

    /// A salt that was chosen elsewhere.
    pub const fn from_bytes(bytes: [u8; 16]) -> Salt {
        Salt(bytes)
    }
}

impl Verifier {
    /// Hashes a password. Costs tens of milliseconds and 19 MiB: not for an async task.
    ///
    /// `salt` is that of the account's other passwords ([`Verifier::salt`]), or a random one for the first.
    pub fn new(password: &Password, salt: Salt) -> Verifier {
        let keys = ScramKeys::derive(password.as_bytes(), &salt.0, ITERATIONS);
        let mut argon2 = Argon2Hash::unset(salt.0.to_vec());
        argon2.hash = argon2.compute(password.as_bytes());
        Verifier {
            scram: ScramVerifier {
                iterations: ITERATIONS,
                salt: salt.0.to_vec(),
                stored_key: keys.stored_key(),
                server_key: *keys.server_key,
            },
            argon2,
        }
    }

    /// As bytes, for a directory that does not look into it: the text form.
    pub fn to_bytes(&self) -> Vec<u8> {
        String::from(self.clone()).into_bytes()
    }

    /// Reads [`Verifier::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Verifier, VerifierError> {
        std::str::from_utf8(bytes)
            .map_err(|_| VerifierError::Malformed)?
            .parse()
    }

    /// The salt, for the account's next password; `None` for an imported verifier with a salt of another length.
    pub fn salt(&self) -> Option<Salt> {
        self.scram.salt.as_slice().try_into().ok().map(Salt)
    }
}

impl Argon2Hash {
    fn unset(salt: Vec<u8>) -> Argon2Hash {
        Argon2Hash {
            memory_kib: ARGON2_MEMORY_KIB,
            passes: ARGON2_PASSES,
            lanes: ARGON2_LANES,
            salt,
            hash: [0; 32],
        }
    }

    /// A hash that no password has, to spend a real one's time on.
    pub(crate) fn fake(salt: Salt) -> Argon2Hash {
        Argon2Hash::unset(salt.0.to_vec())
    }

    /// Hashes a password with this hash's salt and costs.
    pub(crate) fn compute(&self, password: &[u8]) -> [u8; 32] {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .expect("the costs are checked where the hash is read");
        let mut hash = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, &self.salt, &mut hash)
            .expect("password, salt and output are of lengths that argon2 accepts");
        hash
    }

    /// Whether `hash`, computed for `other`, is comparable with this hash.
    pub(crate) fn same_inputs(&self, other: &Argon2Hash) -> bool {
        let key = |h: &Argon2Hash| (h.memory_kib, h.passes, h.lanes);
        key(self) == key(other) && self.salt == other.salt
    }

    pub(crate) fn matches(&self, hash: &[u8; 32]) -> Choice {
        self.hash.ct_eq(hash)
    }

    /// Reads the PHC string format.
    fn parse(text: &str) -> Option<Argon2Hash> {
        let phc = PasswordHash::new(text).ok()?;
        if phc.algorithm.as_str() != "argon2id" || phc.version != Some(u32::from(Version::V0x13)) {
            return None;
        }
        let params = Params::try_from(&phc).ok()?;
        let mut salt = [0; 64];
        let salt = phc.salt?.decode_b64(&mut salt).ok()?.to_vec();
        let hash = phc.hash?.as_bytes().try_into().ok()?;
        let bounded = params.m_cost() <= ARGON2_MEMORY_KIB_MAX
            && params.t_cost() <= ARGON2_PASSES_MAX
            && params.p_cost() <= 16
            && salt.len() >= argon2::MIN_SALT_LEN;
        bounded.then(|| Argon2Hash {
            memory_kib: params.m_cost(),
            passes: params.t_cost(),
            lanes: params.p_cost(),
            salt,
            hash,
        })
    }
}

/// The keys that a password gives (RFC 5802 §3).
pub(crate) struct ScramKeys {
    pub(crate) client_key: Zeroizing<[u8; 32]>,
    pub(crate) server_key: Zeroizing<[u8; 32]>,
}

impl ScramKeys {
    pub(crate) fn derive(password: &[u8], salt: &[u8], iterations: u32) -> ScramKeys {
        let salted = pbkdf2_sha256(password, salt, iterations);
        ScramKeys {
            client_key: Zeroizing::new(hmac_sha256(&*salted, &[b"Client Key"])),
            server_key: Zeroizing::new(hmac_sha256(&*salted, &[b"Server Key"])),
        }
    }

    pub(crate) fn stored_key(&self) -> [u8; 32] {
        Sha256::digest(*self.client_key).into()
    }
}

impl ScramVerifier {
    /// Looks like a real user's, and no proof fits it.
    pub(crate) fn fake(salt: Salt) -> ScramVerifier {
        ScramVerifier {
            iterations: ITERATIONS,
            salt: salt.0.to_vec(),
            stored_key: [0; 32],
            server_key: [0; 32],
        }
    }

    /// Reads RFC 5803's form.
    fn parse(text: &str) -> Option<ScramVerifier> {
        let (costs, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = costs.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok()?;
        let salt = STANDARD.decode(salt).ok()?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations)
            || !(8..=64).contains(&salt.len())
        {
            return None;
        }
        let key = |text| STANDARD.decode(text).ok()?.try_into().ok();
        Some(ScramVerifier {
            iterations,
            salt,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }
}

impl FakeSaltKey {
    /// From a secret that the cluster shares.
    pub const fn new(secret: [u8; 32]) -> FakeSaltKey {
        FakeSaltKey(secret)
    }

    /// The made-up salt of a name. Names that the directory takes for equal have one salt, so must these.
    pub(crate) fn salt(&self, user: &str) -> Salt {
        let digest = hmac_sha256(
            &self.0,
            &[b"mailrook fake salt 1\0", user.to_lowercase().as_bytes()],
        );
        let mut salt = [0; 16];
        salt.copy_from_slice(&digest[..16]);
        Salt(salt)
    }
}

/// HMAC-SHA-256 over the parts, one after the other.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// `Hi` of RFC 5802 §2.2: PBKDF2 with one block of output.
fn pbkdf2_sha256(password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    let keyed = Hmac::<Sha256>::new_from_slice(password).expect("HMAC takes keys of any length");
    let round = |parts: &[&[u8]]| -> [u8; 32] {
        let mut mac = keyed.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut u = round(&[salt, &1u32.to_be_bytes()]);
    let mut sum = Zeroizing::new(u);
    for _ in 1..iterations {
        u = round(&[&u]);
        sum.iter_mut().zip(u).for_each(|(s, u)| *s ^= u);
    }
    sum
}

impl From<Verifier> for String {
    fn from(verifier: Verifier) -> String {
        use base64::engine::general_purpose::STANDARD_NO_PAD;
        let Verifier { scram, argon2 } = verifier;
        format!(
            "1 SCRAM-SHA-256${}:{}${}:{} $argon2id$v=19$m={},t={},p={}${}${}",
            scram.iterations,
            STANDARD.encode(scram.salt),
            STANDARD.encode(scram.stored_key),
            STANDARD.encode(scram.server_key),
            argon2.memory_kib,
            argon2.passes,
            argon2.lanes,
            STANDARD_NO_PAD.encode(argon2.salt),
            STANDARD_NO_PAD.encode(argon2.hash),
        )
    }
}

impl FromStr for Verifier {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Verifier, VerifierError> {
        let (version, rest) = text.split_once(' ').ok_or(VerifierError::Malformed)?;
        if version != "1" {
            return Err(VerifierError::Version);
        }
        let (scram, argon2) = rest.split_once(' ').ok_or(VerifierError::Malformed)?;
        Ok(Verifier {
            scram: ScramVerifier::parse(scram).ok_or(VerifierError::Malformed)?,
            argon2: Argon2Hash::parse(argon2).ok_or(VerifierError::Malformed)?,
        })
    }
}

impl TryFrom<String> for Verifier {
    type Error = VerifierError;

    fn try_from(text: String) -> Result<Verifier, VerifierError> {
        text.parse()
    }
}

/// Enough to guess passwords with, so not for logs.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

impl fmt::Debug for FakeSaltKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeSaltKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::prepare(text.as_bytes()).unwrap()
    }

    #[test]
    fn reads_what_it_writes() {
        let verifier = Verifier::new(&password("pencil"), Salt::from_bytes([3; 16]));
        let text = String::from(verifier.clone());
        assert!(
            text.starts_with("1 SCRAM-SHA-256$50000:AwMDAwMDAwMDAwMDAwMDAw==$"),
            "{text}"
        );
        assert!(
            text.contains(" $argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$"),
            "{text}"
        );
        assert_eq!(text.parse(), Ok(verifier.clone()));
        assert_eq!(
            Verifier::from_bytes(&verifier.to_bytes()),
            Ok(verifier.clone())
        );
        assert_eq!(
            serde_json::from_str::<Verifier>(&serde_json::to_string(&verifier).unwrap()).unwrap(),
            verifier
        );
        assert_eq!(verifier.salt(), Some(Salt::from_bytes([3; 16])));
        assert_eq!(format!("{verifier:?}"), "Verifier(…)");
    }

    /// Written by this version; later versions must go on reading it.
    #[test]
    fn reads_version_1() {
        let text = include_str!("verifier-v1.txt").trim_end();
        let verifier: Verifier = text.parse().unwrap();
        assert_eq!(
            verifier,
            Verifier::new(&password("pencil"), Salt::from_bytes([3; 16]))
        );
    }

    #[test]
    fn refuses_the_rest() {
        let good = String::from(Verifier::new(
            &password("pencil"),
            Salt::from_bytes([3; 16]),
        ));
        assert_eq!(
            good.replacen('1', "2", 1).parse::<Verifier>(),
            Err(VerifierError::Version)
        );
        for bad in [
            String::new(),
            "1".to_owned(),
            "1 SCRAM-SHA-256$ $argon2id$".to_owned(),
            good.replace("50000", "4095"),
            good.replace("50000", "4000000000"),
            good.replace("m=19456", "m=4000000"),
            good.replace("m=19456", "m=1"),
            good.replace("t=2", "t=1000"),
            good.replace("p=1", "p=1000"),
            good.replace("argon2id", "argon2d"),
            good.replace("v=19", "v=16"),
            good.replace("AwMDAwMDAwMDAwMDAwMDAw==", "AwM="),
            good.replace("AwMDAwMDAwMDAwMDAwMDAw$", "AwM$"),
            good[..good.len() - 4].to_owned(),
        ] {
            assert_eq!(
                bad.parse::<Verifier>(),
                Err(VerifierError::Malformed),
                "{bad}"
            );
        }
        assert_eq!(
            Verifier::from_bytes(b"1 \xff"),
            Err(VerifierError::Malformed)
        );
    }

    #[test]
    fn agrees_with_rfc_vectors() {
        // RFC 7914 §11, PBKDF2-HMAC-SHA-256 ("passwd", "salt", 1, 64): the first block.
        let first = hex("55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
        assert_eq!(pbkdf2_sha256(b"passwd", b"salt", 1).to_vec(), first);
        // The same section ("Password", "NaCl", 80000, 64).
        let second = hex("4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56");
        assert_eq!(pbkdf2_sha256(b"Password", b"NaCl", 80_000).to_vec(), second);
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn fakes_the_same_salt_for_the_same_name() {
        let key = FakeSaltKey::new([1; 32]);
        assert_eq!(key.salt("User@Example.test"), key.salt("user@example.test"));
        assert_ne!(key.salt("a@example.test"), key.salt("b@example.test"));
        assert_ne!(key.salt("a"), FakeSaltKey::new([2; 32]).salt("a"));
        assert_ne!(Salt::random(), Salt::random());
    }
}

//! The token that a person copies from a member to the machine that shall join.
//!
//! ```text
//! mrj1.<base64url without padding (RFC 4648 §5) of:>
//!   fingerprint of the CA   32   what the joining node believes the members by
//!   cluster                 16
//!   secret                  16   what the members believe the joining node by, once
//!   number of addresses      1
//!   each address                 length (1), host:port
//!   check                    4   the first of SHA-256 over all before, with the prefix
//! ```
//!
//! The number in the prefix is the version. White space is not part of it: terminals and mail programs break lines.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

/// Kind and version.
const PREFIX: &str = "mrj1.";

/// What all versions begin with.
const KIND: &str = "mrj";

/// Members that the joining node may ask. One that answers is enough.
pub const TOKEN_ADDRESSES_MAX: usize = 5;

const FINGERPRINT_BYTES: usize = 32;
const CLUSTER_BYTES: usize = 16;
const SECRET_BYTES: usize = 16;
const CHECK_BYTES: usize = 4;

/// Why a text is no token, or no token can be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It is some other text.
    #[error("this is no join token: those begin with \"{PREFIX}\"")]
    NoToken,
    /// Of a release that this one does not know.
    #[error("the join token is of version {0}, this program knows version 1 only")]
    Version(String),
    /// Something is missing or mistyped.
    #[error("the join token is incomplete or mistyped: copy it again, as a whole")]
    Damaged,
    /// No member could be asked, or too many.
    #[error("a join token holds 1 to {TOKEN_ADDRESSES_MAX} addresses, not {0}")]
    Addresses(usize),
    /// It is no `host:port`.
    #[error("{0:?} is no address of the form host:port")]
    Address(String),
}

/// What a new node needs to know to join a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    ca_fingerprint: [u8; FINGERPRINT_BYTES],
    cluster: u128,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    addresses: Vec<String>,
}

impl JoinToken {
    /// A token with a new secret.
    pub fn new(
        ca_fingerprint: [u8; 32],
        cluster: u128,
        addresses: Vec<String>,
    ) -> Result<JoinToken, TokenError> {
        if addresses.is_empty() || addresses.len() > TOKEN_ADDRESSES_MAX {
            return Err(TokenError::Addresses(addresses.len()));
        }
        if let Some(wrong) = addresses.iter().find(|address| !is_address(address)) {
            return Err(TokenError::Address(wrong.clone()));
        }
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rand::rng().fill_bytes(secret.as_mut());
        Ok(JoinToken {
            ca_fingerprint,
            cluster,
            secret,
            addresses,
        })
    }

    /// The reverse of [`JoinToken::encode`].
    pub fn parse(text: &str) -> Result<JoinToken, TokenError> {
        let text: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        let Some(body) = text.strip_prefix(PREFIX) else {
            return Err(not_this_version(&text));
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| TokenError::Damaged)?;
        let bytes = Zeroizing::new(bytes);
        let (content, check) = bytes
            .split_last_chunk::<CHECK_BYTES>()
            .ok_or(TokenError::Damaged)?;
        if *check != checksum(content) {
            return Err(TokenError::Damaged);
        }
        read(content).ok_or(TokenError::Damaged)
    }

    /// The text to copy. It holds the secret.
    pub fn encode(&self) -> Zeroizing<String> {
        let addresses: usize = self.addresses.iter().map(|address| 1 + address.len()).sum();
        let length = FINGERPRINT_BYTES + CLUSTER_BYTES + SECRET_BYTES + 1 + addresses + CHECK_BYTES;
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        bytes.extend_from_slice(&self.ca_fingerprint);
        bytes.extend_from_slice(&self.cluster.to_be_bytes());
        bytes.extend_from_slice(self.secret.as_ref());
        // `new` and `read` bound the number and the length of addresses far below 256.
        bytes.push(self.addresses.len() as u8);
        for address in &self.addresses {
            bytes.push(address.len() as u8);
            bytes.extend_from_slice(address.as_bytes());
        }
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + length * 4 / 3 + 4));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&*bytes, &mut text);
        text
    }

    /// The SHA-256 of the CA's certificate: see [`crate::ask_to_join`].
    pub fn ca_fingerprint(&self) -> [u8; 32] {
        self.ca_fingerprint
    }

    /// Which cluster.
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// Whom to ask, as `host:port`.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// What the joining node shows to a member whose certificate it has verified.
    pub fn secret(&self) -> &[u8; 16] {
        &self.secret
    }

    /// The SHA-256 of the secret. The cluster keeps only this: who reads it cannot join with it.
    pub fn secret_hash(&self) -> [u8; 32] {
        JoinToken::hash_secret(self.secret.as_ref())
    }

    /// What [`JoinToken::secret_hash`] gives for a secret that a joining node showed.
    pub fn hash_secret(secret: &[u8]) -> [u8; 32] {
        Sha256::digest(secret).into()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("ca_fingerprint", &hex::encode(self.ca_fingerprint))
            .field("cluster", &format_args!("{:032x}", self.cluster))
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<JoinToken, TokenError> {
        JoinToken::parse(text)
    }
}

/// The longest host name is 253 bytes; with a port it still has a length of one byte.
const ADDRESS_BYTES_MAX: usize = 255;

fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let printable = address.bytes().all(|b| b.is_ascii_graphic());
    let port: Result<u16, _> = port.parse();
    address.len() <= ADDRESS_BYTES_MAX && !host.is_empty() && printable && port.is_ok()
}

fn not_this_version(text: &str) -> TokenError {
    let version = text
        .strip_prefix(KIND)
        .and_then(|rest| rest.split_once('.'));
    match version {
        Some((version, _))
            if !version.is_empty()
                && version.len() <= 5
                && version.bytes().all(|b| b.is_ascii_digit()) =>
        {
            TokenError::Version(version.to_owned())
        }
        _ => TokenError::NoToken,
    }
}

fn checksum(content: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = Sha256::new()
        .chain_update(PREFIX)
        .chain_update(content)
        .finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn read(content: &[u8]) -> Option<JoinToken> {
    let (ca_fingerprint, rest) = content.split_first_chunk::<FINGERPRINT_BYTES>()?;
    let (cluster, rest) = rest.split_first_chunk::<CLUSTER_BYTES>()?;
    let (secret, rest) = rest.split_first_chunk::<SECRET_BYTES>()?;
    let (&count, mut rest) = rest.split_first()?;
    if count == 0 || usize::from(count) > TOKEN_ADDRESSES_MAX {
        return None;
    }
    let mut addresses = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (&length, after) = rest.split_first()?;
        let (address, after) = after.split_at_checked(usize::from(length))?;
        let address = std::str::from_utf8(address)
            .ok()
            .filter(|address| is_address(address))?;
        addresses.push(address.to_owned());
        rest = after;
    }
    rest.is_empty().then(|| JoinToken {
        ca_fingerprint: *ca_fingerprint,
        cluster: u128::from_be_bytes(*cluster),
        secret: Zeroizing::new(*secret),
        addresses,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        let addresses = vec!["mx1.example.test:7946".into(), "[2001:db8::1]:7946".into()];
        JoinToken::new([7; 32], 0xc1, addresses).unwrap()
    }

    #[test]
    fn each_token_has_a_secret_of_its_own() {
        let (one, other) = (token(), token());
        assert_ne!(one.secret(), other.secret());
        assert_ne!(one.secret_hash(), other.secret_hash());
        assert_eq!(one.secret_hash(), JoinToken::hash_secret(one.secret()));
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let token = token();
        let shown = format!("{token:?}");
        assert!(shown.contains("mx1.example.test"), "{shown}");
        assert!(!shown.contains(&hex::encode(token.secret())), "{shown}");
        assert!(!shown.contains(&format!("{:?}", token.secret())), "{shown}");
    }

    #[test]
    fn a_broken_line_does_no_harm() {
        let token = token();
        let text = token.to_string();
        let (start, end) = text.split_at(50);
        assert_eq!(
            JoinToken::parse(&format!(" {start}\r\n  {end}\n")),
            Ok(token)
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let text = token().to_string();
        let parse = JoinToken::parse;
        assert_eq!(parse(""), Err(TokenError::NoToken));
        assert_eq!(parse("hello"), Err(TokenError::NoToken));
        assert_eq!(parse("mrj1"), Err(TokenError::NoToken));
        assert_eq!(parse("mrj1."), Err(TokenError::Damaged));
        assert_eq!(parse("mrj2.abcd"), Err(TokenError::Version("2".into())));
        for cut in PREFIX.len()..text.len() {
            assert_eq!(parse(&text[..cut]), Err(TokenError::Damaged), "{cut}");
        }
        assert_eq!(parse(&format!("{text}A")), Err(TokenError::Damaged));
    }

    #[test]
    fn addresses_are_checked() {
        let new = |addresses: &[&str]| {
            JoinToken::new([7; 32], 1, addresses.iter().map(|&a| a.into()).collect())
        };
        assert_eq!(new(&[]).unwrap_err(), TokenError::Addresses(0));
        assert_eq!(new(&["a:1"; 6]).unwrap_err(), TokenError::Addresses(6));
        for wrong in ["", "a", "a:", ":1", "a:65536", "a b:1", "a:1\n"] {
            let error = new(&["a:1", wrong]).unwrap_err();
            assert_eq!(error, TokenError::Address(wrong.into()));
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(
            fingerprint: [u8; 32],
            cluster: u128,
            addresses in prop::collection::vec("[a-z0-9.-]{1,40}:[1-9][0-9]{0,3}", 1..=5),
        ) {
            let token = JoinToken::new(fingerprint, cluster, addresses).unwrap();
            let read = JoinToken::parse(&token.to_string()).unwrap();
            prop_assert_eq!(&read, &token);
            prop_assert_eq!(read.encode(), token.encode());
        }

        #[test]
        fn one_wrong_letter_is_noticed(at: prop::sample::Index, letter in "[A-Za-z0-9_-]") {
            let text = token().to_string();
            let at = PREFIX.len() + at.index(text.len() - PREFIX.len());
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &letter);
            prop_assume!(wrong != text);
            prop_assert_eq!(JoinToken::parse(&wrong), Err(TokenError::Damaged));
        }

        #[test]
        fn no_text_is_too_much(text: String, bytes: Vec<u8>) {
            let _ = JoinToken::parse(&text);
            let _ = JoinToken::parse(&format!("{PREFIX}{text}"));
            let _ = read(&bytes);
            let content = [&bytes[..], &checksum(&bytes)].concat();
            let _ = JoinToken::parse(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(content)));
        }
    }
}

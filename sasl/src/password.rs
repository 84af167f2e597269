//! Passwords in the clear: their preparation, and their check against what is stored.

use std::{fmt, str};

use mailrook_types::AccountId;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{PasswordCache, Salt, Verifier, verifier::Argon2Hash};

/// Bounds what a password costs to prepare and to hash. Far above what anybody types; PLAIN carries no more than
/// that in practice.
const PASSWORD_LEN_MAX: usize = 1_024;

/// A prepared password. It is wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

/// Why bytes are no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// Not UTF-8.
    #[error("a password must be UTF-8")]
    NotUtf8,
    /// Empty.
    #[error("a password must not be empty")]
    Empty,
    /// More than 1,024 bytes.
    #[error("a password may have 1,024 bytes at most")]
    TooLong,
    /// A line break or another control character, which no protocol carries reliably.
    #[error("a password must not hold control characters")]
    Control,
}

/// The passwords of an account that may log in here, as the directory holds them.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Whose they are.
    pub account: AccountId,
    /// Changes whenever one of the account's passwords is set, removed or barred: it ends what the cache knows.
    pub version: u64,
    /// One for each password. [`Success::credential`](crate::Success::credential) counts in this list.
    pub verifiers: Vec<Verifier>,
}

/// A password that waits to be compared with what is stored.
pub struct PasswordCheck {
    password: Password,
    credentials: Option<Credentials>,
    fake_salt: Salt,
}

/// What a [`PasswordCheck`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(Option<usize>);

impl Password {
    /// Prepares a password as SASLprep does (RFC 4013). What SASLprep refuses because Unicode 3.2 did not know it yet
    /// (an emoji, say) is taken as it is, as PostgreSQL does: clients send it so.
    pub fn prepare(password: &[u8]) -> Result<Password, PasswordError> {
        if password.len() > PASSWORD_LEN_MAX {
            return Err(PasswordError::TooLong);
        }
        let text = str::from_utf8(password).map_err(|_| PasswordError::NotUtf8)?;
        if text.chars().any(char::is_control) {
            return Err(PasswordError::Control);
        }
        let prepared = match stringprep::saslprep(text) {
            Ok(prepared) => Zeroizing::new(prepared.into_owned().into_bytes()),
            Err(_) => Zeroizing::new(password.to_vec()),
        };
        if prepared.is_empty() {
            return Err(PasswordError::Empty);
        }
        Ok(Password(prepared))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PasswordCheck {
    pub(crate) fn new(
        password: Password,
        credentials: Option<Credentials>,
        fake_salt: Salt,
    ) -> PasswordCheck {
        PasswordCheck {
            password,
            credentials,
            fake_salt,
        }
    }

    /// What the cache knows: microseconds. `None` means that [`PasswordCheck::hash`] must decide; a cache never says
    /// no.
    pub fn cached(&self, cache: &PasswordCache) -> Option<Verdict> {
        let credentials = self.credentials.as_ref()?;
        let index = cache.find(credentials, &self.password)?;
        Some(Verdict(Some(index)))
    }

    /// Hashes the password and compares: tens of milliseconds and 19 MiB, so run it off the async threads, and only
    /// a few at once. An unknown user costs as much as a known one.
    pub fn hash(self, cache: &PasswordCache) -> Verdict {
        let Some(credentials) = &self.credentials else {
            Argon2Hash::fake(self.fake_salt).compute(self.password.as_bytes());
            return Verdict(None);
        };
        let found = self.find_by_hash(&credentials.verifiers);
        if let Some(index) = found {
            cache.insert(credentials, &self.password, &credentials.verifiers[index]);
        }
        Verdict(found)
    }

    /// One hash for all verifiers that share a salt, as an account's do.
    fn find_by_hash(&self, verifiers: &[Verifier]) -> Option<usize> {
        let mut computed: Vec<(&Argon2Hash, [u8; 32])> = Vec::with_capacity(1);
        let mut found = None;
        for (index, verifier) in verifiers.iter().enumerate() {
            let known = computed
                .iter()
                .find(|(of, _)| of.same_inputs(&verifier.argon2))
                .map(|(_, hash)| *hash);
            let hash = known.unwrap_or_else(|| {
                let hash = verifier.argon2.compute(self.password.as_bytes());
                computed.push((&verifier.argon2, hash));
                hash
            });
            if bool::from(verifier.argon2.matches(&hash)) {
                found = found.or(Some(index));
            }
        }
        found
    }
}

impl Verdict {
    /// The position of the matching password in [`Credentials::verifiers`]; `None` when none matched.
    pub const fn credential(self) -> Option<usize> {
        self.0
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Password) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordCheck(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prepares_as_rfc_4013_shows() {
        let prepared = |text: &str| {
            Password::prepare(text.as_bytes()).map(|p| String::from_utf8(p.0.to_vec()).unwrap())
        };
        // RFC 4013 §3.
        assert_eq!(prepared("I\u{ad}X").as_deref(), Ok("IX"));
        assert_eq!(prepared("user").as_deref(), Ok("user"));
        assert_eq!(prepared("USER").as_deref(), Ok("USER"));
        assert_eq!(prepared("\u{aa}").as_deref(), Ok("a"));
        assert_eq!(prepared("\u{2168}").as_deref(), Ok("IX"));
        assert_eq!(prepared("\u{7}"), Err(PasswordError::Control));
        // Two spellings of one password.
        assert_eq!(prepared("e\u{301}"), prepared("\u{e9}"));
        // Unknown to Unicode 3.2.
        assert_eq!(prepared("🐦🔑").as_deref(), Ok("🐦🔑"));

        assert_eq!(prepared(""), Err(PasswordError::Empty));
        assert_eq!(prepared("\u{ad}"), Err(PasswordError::Empty));
        assert_eq!(prepared("a\r\nb"), Err(PasswordError::Control));
        assert_eq!(Password::prepare(b"\xff"), Err(PasswordError::NotUtf8));
        assert_eq!(
            Password::prepare(&[b'x'; 1_025]),
            Err(PasswordError::TooLong)
        );
    }

    #[test]
    fn finds_which_of_several_passwords_it_is() {
        let cache = PasswordCache::new(10, std::time::Duration::from_secs(60)).unwrap();
        let password = |text: &str| Password::prepare(text.as_bytes()).unwrap();
        let verifiers = vec![
            Verifier::new(&password("main"), Salt::from_bytes([1; 16])),
            Verifier::new(&password("phone"), Salt::from_bytes([1; 16])),
            Verifier::new(&password("imported"), Salt::from_bytes([2; 16])),
        ];
        let credentials = Credentials {
            account: AccountId(1),
            version: 1,
            verifiers,
        };
        let check = |text| {
            PasswordCheck::new(
                password(text),
                Some(credentials.clone()),
                Salt::from_bytes([9; 16]),
            )
        };
        assert_eq!(check("phone").cached(&cache), None);
        for (text, found) in [
            ("main", Some(0)),
            ("phone", Some(1)),
            ("imported", Some(2)),
            ("wrong", None),
        ] {
            assert_eq!(check(text).hash(&cache).credential(), found, "{text}");
            assert_eq!(
                check(text).cached(&cache).map(Verdict::credential),
                found.map(Some),
                "{text}"
            );
        }
        let unknown = PasswordCheck::new(password("main"), None, Salt::from_bytes([9; 16]));
        assert_eq!(unknown.cached(&cache), None);
        assert_eq!(unknown.hash(&cache).credential(), None);
    }

    #[test]
    fn a_password_of_one_scope_opens_no_other_through_the_cache() {
        let cache = PasswordCache::new(10, std::time::Duration::from_secs(60)).unwrap();
        let password = |text: &str| Password::prepare(text.as_bytes()).unwrap();
        let salt = Salt::from_bytes([1; 16]);
        let of_scope = |text| Credentials {
            account: AccountId(1),
            version: 1,
            verifiers: vec![Verifier::new(&password(text), salt)],
        };
        let (imap, smtp) = (of_scope("reads"), of_scope("sends"));
        let check = |text, scope: &Credentials| {
            PasswordCheck::new(password(text), Some(scope.clone()), salt)
        };
        let right = Some(Verdict(Some(0)));
        assert_eq!(Some(check("reads", &imap).hash(&cache)), right);
        assert_eq!(check("reads", &imap).cached(&cache), right);
        assert_eq!(check("reads", &smtp).cached(&cache), None);
        assert_eq!(check("reads", &smtp).hash(&cache), Verdict(None));
        assert_eq!(Some(check("sends", &smtp).hash(&cache)), right);
        assert_eq!(check("sends", &imap).cached(&cache), None);
        assert_eq!(check("reads", &imap).cached(&cache), right);
    }

    proptest! {
        #[test]
        fn prepares_anything_without_growing_it_much(bytes in proptest::collection::vec(any::<u8>(), 0..1_100)) {
            if let Ok(password) = Password::prepare(&bytes) {
                prop_assert!(password.as_bytes().len() <= 18 * PASSWORD_LEN_MAX);
            }
        }
    }
}

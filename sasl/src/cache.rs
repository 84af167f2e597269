//! Which passwords were right a short while ago.
//!
//! Mail clients log in again and again with one password, and a hash is costly on purpose. The cache keeps, for each
//! success, HMAC-SHA-256 of (account, version of its credentials, password) under a random key of this process:
//! nothing from which a password could be read, and nothing that outlives the process. A new version of the
//! credentials has other digests, so that a changed or removed password ends with it.
//!
//! What a success is worth depends on which of the account's passwords it was: some open IMAP alone. The services share
//! the cache and each comes with the passwords that open it, so an entry names its password by a digest of the
//! verifier, and holds only where that verifier is in the list.
//!
//! Entries live in two generations. When the young one is full, or has had its time, it becomes the old one and the
//! old one is dropped: bounded, and without a scan.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use crate::{Credentials, Password, Verifier, VerifierError, verifier::hmac_sha256};

type PasswordDigest = [u8; 32];
type VerifierDigest = [u8; 32];

/// Successful password checks, bounded in number and time.
pub struct PasswordCache {
    key: Zeroizing<[u8; 32]>,
    entries_max: usize,
    lifetime: Duration,
    generations: Mutex<Generations>,
}

struct Generations {
    young: HashMap<PasswordDigest, Entry>,
    old: HashMap<PasswordDigest, Entry>,
    turned_at: Instant,
}

#[derive(Clone, Copy)]
struct Entry {
    verifier: VerifierDigest,
    checked_at: Instant,
}

impl PasswordCache {
    /// Of up to `entries_max` successes (about 150 bytes each), each trusted for `lifetime` after its hash.
    pub fn new(entries_max: usize, lifetime: Duration) -> Result<PasswordCache, VerifierError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|_| VerifierError::NoRandomness)?;
        let generations = Generations {
            young: HashMap::new(),
            old: HashMap::new(),
            turned_at: Instant::now(),
        };
        Ok(PasswordCache {
            key,
            entries_max,
            lifetime,
            generations: Mutex::new(generations),
        })
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut generations = self.lock();
        generations.young.clear();
        generations.old.clear();
    }

    /// Where in the list the password's verifier stands, if it was right a short while ago and may be used here.
    ///
    /// A lookup by a digest under a secret key tells an attacker nothing by its duration.
    pub(crate) fn find(&self, credentials: &Credentials, password: &Password) -> Option<usize> {
        let entry = self.entry(&self.digest(credentials, password))?;
        if entry.checked_at.elapsed() >= self.lifetime {
            return None;
        }
        credentials
            .verifiers
            .iter()
            .position(|verifier| self.verifier_digest(verifier) == entry.verifier)
    }

    fn entry(&self, digest: &PasswordDigest) -> Option<Entry> {
        let generations = self.lock();
        generations
            .young
            .get(digest)
            .or_else(|| generations.old.get(digest))
            .copied()
    }

    /// Remembers that the password is that of `verifier`, one of the credentials'.
    pub(crate) fn insert(
        &self,
        credentials: &Credentials,
        password: &Password,
        verifier: &Verifier,
    ) {
        let digest = self.digest(credentials, password);
        let verifier = self.verifier_digest(verifier);
        let mut generations = self.lock();
        let full = generations.young.len() >= self.entries_max / 2;
        if full || generations.turned_at.elapsed() >= self.lifetime {
            generations.old = std::mem::take(&mut generations.young);
            generations.turned_at = Instant::now();
        }
        if self.entries_max > 0 {
            generations.young.insert(
                digest,
                Entry {
                    verifier,
                    checked_at: Instant::now(),
                },
            );
        }
    }

    fn digest(&self, credentials: &Credentials, password: &Password) -> PasswordDigest {
        let account = credentials.account.0.to_be_bytes();
        hmac_sha256(
            &*self.key,
            &[
                &account,
                &credentials.version.to_be_bytes(),
                password.as_bytes(),
            ],
        )
    }

    fn verifier_digest(&self, verifier: &Verifier) -> VerifierDigest {
        hmac_sha256(&*self.key, &[&verifier.to_bytes()])
    }

    /// The maps are whole between any two statements, so that a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PasswordCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCache")
            .field("entries_max", &self.entries_max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mailrook_types::AccountId;

    use super::*;
    use crate::Salt;

    fn password(text: &str) -> Password {
        Password::prepare(text.as_bytes()).unwrap()
    }

    fn credentials(account: u64, version: u64) -> Credentials {
        let verifier = Verifier::new(&password("pencil"), Salt::from_bytes([1; 16]));
        Credentials {
            account: AccountId(account),
            version,
            verifiers: vec![verifier],
        }
    }

    #[test]
    fn knows_only_the_same_password_of_the_same_version() {
        let cache = PasswordCache::new(100, Duration::from_secs(60)).unwrap();
        let now = credentials(1, 1);
        assert_eq!(cache.find(&now, &password("pencil")), None);
        cache.insert(&now, &password("pencil"), &now.verifiers[0]);
        assert_eq!(cache.find(&now, &password("pencil")), Some(0));
        assert_eq!(cache.find(&now, &password("Pencil")), None);
        assert_eq!(cache.find(&credentials(1, 2), &password("pencil")), None);
        assert_eq!(cache.find(&credentials(2, 1), &password("pencil")), None);
        cache.clear();
        assert_eq!(cache.find(&now, &password("pencil")), None);
    }

    #[test]
    fn knows_a_password_only_where_its_verifier_is() {
        let cache = PasswordCache::new(100, Duration::from_secs(60)).unwrap();
        let phone = credentials(1, 1);
        let mut laptop = phone.clone();
        laptop.verifiers[0] = Verifier::new(&password("quill"), Salt::from_bytes([1; 16]));
        cache.insert(&phone, &password("pencil"), &phone.verifiers[0]);
        assert_eq!(cache.find(&laptop, &password("pencil")), None);
        laptop.verifiers.push(phone.verifiers[0].clone());
        assert_eq!(cache.find(&laptop, &password("pencil")), Some(1));
        assert_eq!(cache.find(&phone, &password("pencil")), Some(0));
        laptop.verifiers.clear();
        assert_eq!(cache.find(&laptop, &password("pencil")), None);
    }

    #[test]
    fn stays_within_its_bounds() {
        let cache = PasswordCache::new(10, Duration::from_secs(60)).unwrap();
        let now = credentials(1, 1);
        for n in 0..100 {
            cache.insert(&now, &password(&n.to_string()), &now.verifiers[0]);
        }
        let known = (0..100)
            .filter(|n| cache.find(&now, &password(&n.to_string())).is_some())
            .count();
        assert!((5..=10).contains(&known), "{known} entries");

        let forgetful = PasswordCache::new(10, Duration::ZERO).unwrap();
        forgetful.insert(&now, &password("pencil"), &now.verifiers[0]);
        assert_eq!(forgetful.find(&now, &password("pencil")), None);
    }
}

//! The name of a session in logs and lists.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hasher},
    str::FromStr,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// 50 bits: ten characters.
const BITS: u32 = 50;
/// Crockford's alphabet: no letter looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A session's id: unique in this process, and most likely in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// The next one. They count up from a random start, so that neighbours in a log look alike only in front.
    pub fn next() -> SessionId {
        static NEXT: LazyLock<AtomicU64> =
            LazyLock::new(|| AtomicU64::new(RandomState::new().build_hasher().finish()));
        SessionId(NEXT.fetch_add(1, Ordering::Relaxed) & ((1 << BITS) - 1))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |shift| char::from(ALPHABET[(self.0 >> shift & 31) as usize]);
        let text: String = (0..BITS / 5).rev().map(|place| digit(place * 5)).collect();
        f.pad(&text)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads an id that an operator copied from a log.
impl FromStr for SessionId {
    type Err = ();

    fn from_str(text: &str) -> Result<SessionId, ()> {
        if text.len() != (BITS / 5) as usize {
            return Err(());
        }
        let digit = |c: u8| {
            ALPHABET
                .iter()
                .position(|a| *a == c.to_ascii_lowercase())
                .ok_or(())
        };
        text.bytes()
            .try_fold(0, |value, c| Ok(value << 5 | digit(c)? as u64))
            .map(SessionId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_reads() {
        let (a, b) = (SessionId::next(), SessionId::next());
        assert_ne!(a, b);
        assert_eq!(a.to_string().len(), 10);
        assert_eq!(a.to_string().parse(), Ok(a));
        assert!("short".parse::<SessionId>().is_err());
        assert!("uuuuuuuuuu".parse::<SessionId>().is_err());
    }
}

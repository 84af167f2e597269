//! Digests of an account and of a shard: equal copies have equal digests.
//!
//! An account's digest is kept up to date by every write: it is a sum over its pairs, in which the old pair is taken off
//! and the new one added, so that comparing both sides of a move at its fence costs one read. Details and signatures are in it by
//! the digest that their message's record has of them, bodies by their names.

use std::ops::ControlFlow;

use mailrook_kv::{Direction, KvError, Read, Space, prefix_end};
use mailrook_types::AccountId;
use serde::{Deserialize, Serialize};

use crate::key;

/// Most pairs are shorter: they are hashed from the stack in one call.
const SHORT_LEN: usize = 256;

/// A sum of BLAKE3 hashes of pairs, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum([u64; 4]);

impl Sum {
    fn of(space: Space, key: &[u8], value: &[u8]) -> Sum {
        let tag: u32 = match space {
            Space::Index => 0,
            Space::Detail => 1 << 30,
            Space::Body => 2 << 30,
        };
        // Keys are far shorter than 2^30 bytes, so that the head says exactly where the key ends. With these four bytes a
        // message in an index is one block of BLAKE3.
        let head = (key.len() as u32 | tag).to_le_bytes();
        let len = head.len() + key.len() + value.len();
        let hash = if len <= SHORT_LEN {
            let mut pair = [0; SHORT_LEN];
            let (at_key, at_value) = (head.len(), head.len() + key.len());
            pair[..at_key].copy_from_slice(&head);
            pair[at_key..at_value].copy_from_slice(key);
            pair[at_value..len].copy_from_slice(value);
            blake3::hash(&pair[..len])
        } else {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&head).update(key).update(value);
            hasher.finalize()
        };
        let (words, _) = hash.as_bytes().as_chunks::<8>();
        Sum(std::array::from_fn(|i| u64::from_le_bytes(words[i])))
    }

    pub(crate) fn add(&mut self, space: Space, key: &[u8], value: &[u8]) {
        let pair = Sum::of(space, key, value);
        *self = Sum(std::array::from_fn(|i| self.0[i].wrapping_add(pair.0[i])));
    }

    pub(crate) fn remove(&mut self, space: Space, key: &[u8], value: &[u8]) {
        let pair = Sum::of(space, key, value);
        *self = Sum(std::array::from_fn(|i| self.0[i].wrapping_sub(pair.0[i])));
    }

    fn bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *to = word.to_le_bytes();
        }
        bytes
    }
}

/// The digest of an account's state, in constant time; zeros if the shard has never had it.
pub fn account_digest(view: &dyn Read, account: AccountId) -> Result<[u8; 32], KvError> {
    let key = key::account(account);
    let Some(record) = view.get(Space::Index, &key)? else {
        return Ok([0; 32]);
    };
    // The record holds the sum over all else.
    let mut sum = Sum::default();
    sum.add(Space::Index, &key, &record);
    Ok(sum.bytes())
}

/// The digest of a whole shard, which reads all of it but the bytes of bodies.
pub fn shard_digest(view: &dyn Read) -> Result<[u8; 32], KvError> {
    let mut sum = Sum::default();
    for space in Space::ALL {
        view.scan(
            space,
            &[],
            &prefix_end(&[0xfe]),
            Direction::Forward,
            &mut |key, value| {
                // A chunk is named by its body's hash or by an upload of which the digests are kept.
                sum.add(space, key, if space == Space::Body { &[] } else { value });
                ControlFlow::Continue(())
            },
        )?;
    }
    Ok(sum.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_summed_in_any_order_and_taken_off_again() {
        let long = [9; 400];
        let pairs: [(&[u8], &[u8]); 3] = [(b"a", b"bc"), (b"ab", b"c"), (b"k", &long)];
        let (mut forward, mut backward) = (Sum::default(), Sum::default());
        pairs
            .iter()
            .for_each(|(key, value)| forward.add(Space::Index, key, value));
        pairs
            .iter()
            .rev()
            .for_each(|(key, value)| backward.add(Space::Index, key, value));
        assert_eq!(forward, backward);
        let (mut first, mut second) = (Sum::default(), Sum::default());
        first.add(Space::Index, b"a", b"bc");
        second.add(Space::Index, b"ab", b"c");
        assert_ne!(first, second);
        pairs
            .iter()
            .for_each(|(key, value)| forward.remove(Space::Index, key, value));
        assert_eq!(forward, Sum::default());
    }
}

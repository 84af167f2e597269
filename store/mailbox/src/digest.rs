//! Digests of an account and of a shard: equal copies have equal digests.
//!
//! An account's digest is kept up to date by every write: it is a sum over its pairs, in which the old pair is taken off
//! and the new one added, so that comparing both sides of a move at its fence costs one read. Details and signatures are in it by
//! the digest that their message's record has of them, bodies by their names.

use std::ops::ControlFlow;

use mailrook_kv::{KvError, Read, Space, prefix_end};
use mailrook_types::AccountId;
use serde::{Deserialize, Serialize};

use crate::key;

/// A sum of BLAKE3 hashes of pairs, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum([u64; 4]);

impl Sum {
    fn of(space: Space, key: &[u8], value: &[u8]) -> Sum {
        let mut pair = Vec::with_capacity(9 + key.len() + value.len());
        pair.push(match space {
            Space::Index => 0,
            Space::Detail => 1,
            Space::Body => 2,
        });
        pair.extend_from_slice(&(key.len() as u64).to_le_bytes());
        pair.extend_from_slice(key);
        pair.extend_from_slice(value);
        let hash = blake3::hash(&pair);
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
            mailrook_kv::Direction::Forward,
            &mut |key, value| {
                // A chunk is named by its body's hash or by an upload of which the digests are kept.
                sum.add(space, key, if space == Space::Body { &[] } else { value });
                ControlFlow::Continue(())
            },
        )?;
    }
    Ok(sum.bytes())
}

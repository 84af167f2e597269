//! A state machine that remembers what it was given, and can be made to fail.

use std::sync::Arc;

use bytes::Bytes;
use mailrook_kv::{Applied, ApplyError, KvError, Read, Space, StateMachine, View};

use super::Machines;
use crate::Group;

/// A command: an 8-byte key and a value. The key [`PANIC`] panics, [`FAIL`] fails, [`TIME`] stores the log's time.
pub(super) struct Toy;

pub(super) const PANIC: u64 = u64::MAX;
pub(super) const FAIL: u64 = u64::MAX - 1;
pub(super) const TIME: u64 = u64::MAX - 2;

const COUNT: &[u8] = b"count";

impl StateMachine for Toy {
    fn apply(
        &self,
        view: &mut View<'_>,
        time_ms: i64,
        command: &[u8],
    ) -> Result<Applied, ApplyError> {
        let (key, value) = command.split_first_chunk::<8>().expect("tests send a key");
        let number = u64::from_be_bytes(*key);
        let mut value = value.to_vec();
        match number {
            PANIC => panic!("as asked"),
            FAIL => return Err(KvError::Engine("as asked".into()).into()),
            TIME => value = time_ms.to_be_bytes().to_vec(),
            _ => {}
        }
        let count = count(view)? + 1;
        view.put(Space::Index, COUNT.to_vec(), count.to_be_bytes().to_vec());
        view.put(
            Space::Index,
            key.to_vec(),
            crc32fast::hash(&value).to_be_bytes().to_vec(),
        );
        view.put(Space::Body, key.to_vec(), value);
        Ok(Applied {
            reply: count.to_be_bytes().to_vec(),
            touched: vec![(number, count)],
        })
    }

    /// A key without a value is a removal.
    fn makes_room(&self, command: &[u8]) -> bool {
        command.len() == size_of::<u64>()
    }
}

pub(super) fn machines() -> Machines {
    Arc::new(|_| Arc::new(Toy))
}

pub(super) fn command(key: u64, value: &[u8]) -> Bytes {
    [&key.to_be_bytes(), value].concat().into()
}

/// How many commands were applied, each once.
pub(super) fn count(read: &dyn Read) -> Result<u64, KvError> {
    let bytes = read.get(Space::Index, COUNT)?;
    Ok(bytes.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap())))
}

pub(super) fn value(group: &dyn Group, key: u64) -> Option<Vec<u8>> {
    group
        .read(|state| state.get(Space::Body, &key.to_be_bytes()).unwrap())
        .unwrap()
}

/// The checksum of a key's value, of which the body must be, too.
pub(super) fn checksum(read: &dyn Read, key: u64) -> Option<u32> {
    let crc = read.get(Space::Index, &key.to_be_bytes()).unwrap()?;
    let body = read
        .get(Space::Body, &key.to_be_bytes())
        .unwrap()
        .expect("written with its checksum");
    let crc = u32::from_be_bytes(crc.try_into().unwrap());
    assert_eq!(crc, crc32fast::hash(&body));
    Some(crc)
}

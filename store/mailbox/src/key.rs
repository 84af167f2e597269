//! The layout of a shard's keys. Numbers are big-endian, so that keys sort as numbers do.
//!
//! Every key starts with a tag. What belongs to one account stands under one prefix in each of two spaces, so that
//! moving an account copies two ranges, and nothing else of the shard needs to be looked at:
//!
//! | space | key | value |
//! |---|---|---|
//! | Index | `10` account `01` | the account: counters, limits, usage, digest |
//! | Index | `10` account `02` name | a mailbox's name → its id |
//! | Index | `10` account `03` mailbox | the mailbox: counters, UIDVALIDITY, UIDNEXT |
//! | Index | `10` account `04` mailbox | its keywords; messages name them by number |
//! | Index | `10` account `05` name | a subscription |
//! | Index | `10` account `06` mailbox block | which UIDs of the block there are, which of them have each system flag or keywords, their size |
//! | Index | `10` account `07` mailbox uid | a message in a mailbox |
//! | Index | `10` account `08` mailbox modseq block | the UIDs of the block whose MODSEQ that is |
//! | Index | `10` account `09` mailbox modseq block | the UIDs of the block that were expunged then |
//! | Index | `10` account `0a` mailbox modseq block | expunged messages whose remains are still to be removed |
//! | Index | `10` account `0b` mailbox | a deleted mailbox whose remains are still to be removed |
//! | Index | `10` account `0c` message | a message: its body, how many mailboxes have it |
//! | Index | `10` account `0d` mailbox key | a delivery that has not been confirmed |
//! | Index | `10` account `0e` client lane | kept replies |
//! | Index | `10` account `0f` | which POP3 session has the maildrop |
//! | Detail | `10` account `01` message | envelope, structure, prefix |
//! | Detail | `10` account `02` message | search signature |
//!
//! A block is 1,024 UIDs. The rest belongs to the shard:
//!
//! | space | key | value |
//! |---|---|---|
//! | Index | `01` | how far expiry has come, how many mailboxes are to be reaped |
//! | Index | `20` hash | a body: references, size, place |
//! | Index | `21` upload | an upload |
//! | Index | `21` upload chunk | the digest of one of its chunks |
//! | Body | `22` hash chunk | a chunk of a body that came inline |
//! | Body | `23` upload chunk | a chunk of a body that was uploaded |
//! | Index | `30` slot table key | an entry of a cluster-wide table |
//! | Index | `31` client lane | kept replies to changes of the tables |
//! | Index | `32` slot | what the slot's last move has made of it here; those that never moved have none |
//! | Index | `33` | how many slots have such a record, and a sum over them |
//! | Index | `40` time kind … | what is to be looked at when the log reaches that time |
//! | Index | `41` account mailbox | a mailbox of which there are remains to be removed |
//! | Index | `42` account round … | a key of an account that leaves, without its prefix: changed since the round began |
//!
//! The tables under `40`, `41` and `42` are queues of work and nothing else: an account that was moved here gets its
//! entries in the first two anew from `0a`, `0b`, `0d`, `0e` and `0f`. Numbers that were left out are counted in `01` and, as far as
//! they were left out there, in the records of accounts and mailboxes: an account that moves brings its shard's count along, and the
//! other shard's count is no lower than that afterwards.

use mailrook_types::{AccountId, BlobHash, ClientId, MailboxId, MailboxName, UploadId};

use crate::{DeliveryKey, TableId, fields::Damage, limits::TABLE_SLOTS};

const SHARD: u8 = 0x01;
pub(crate) const ACCOUNT: u8 = 0x10;
pub(crate) const BODY: u8 = 0x20;
pub(crate) const UPLOAD: u8 = 0x21;
const CHUNK_BY_HASH: u8 = 0x22;
const CHUNK_BY_UPLOAD: u8 = 0x23;
pub(crate) const TABLE: u8 = 0x30;
pub(crate) const TABLE_LANE: u8 = 0x31;
pub(crate) const SLOT: u8 = 0x32;
const SLOTS: u8 = 0x33;
pub(crate) const EXPIRY: u8 = 0x40;
pub(crate) const PENDING: u8 = 0x41;
pub(crate) const NOTED: u8 = 0x42;

/// The tables of an account in the index.
pub(crate) mod part {
    pub(crate) const ACCOUNT: u8 = 0x01;
    pub(crate) const NAME: u8 = 0x02;
    pub(crate) const MAILBOX: u8 = 0x03;
    pub(crate) const KEYWORDS: u8 = 0x04;
    pub(crate) const SUBSCRIPTION: u8 = 0x05;
    pub(crate) const BLOCK: u8 = 0x06;
    pub(crate) const INDEX: u8 = 0x07;
    pub(crate) const CHANGED: u8 = 0x08;
    pub(crate) const EXPUNGED: u8 = 0x09;
    pub(crate) const REAP: u8 = 0x0a;
    pub(crate) const DEAD: u8 = 0x0b;
    pub(crate) const MESSAGE: u8 = 0x0c;
    pub(crate) const DELIVERY: u8 = 0x0d;
    pub(crate) const LANE: u8 = 0x0e;
    pub(crate) const MAILDROP: u8 = 0x0f;
}

/// The tables of an account among the details.
pub(crate) mod detail_part {
    pub(crate) const DETAIL: u8 = 0x01;
    pub(crate) const SIGNATURE: u8 = 0x02;
}

/// A key under construction.
#[derive(Clone)]
struct Key(Vec<u8>);

impl Key {
    fn new(tag: u8) -> Key {
        let mut bytes = Vec::with_capacity(48);
        bytes.push(tag);
        Key(bytes)
    }

    fn of_account(account: AccountId, part: u8) -> Key {
        Key::new(ACCOUNT).u64(account.0).with(&[part])
    }

    fn with(mut self, bytes: &[u8]) -> Key {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(self, value: u32) -> Key {
        self.with(&value.to_be_bytes())
    }

    fn u64(self, value: u64) -> Key {
        self.with(&value.to_be_bytes())
    }

    fn time(self, time_ms: i64) -> Key {
        // The sign bit turned round makes negative times sort before positive ones.
        self.u64(time_ms.cast_unsigned() ^ (1 << 63))
    }
}

/// Everything of one account, in either space.
pub(crate) fn account_prefix(account: AccountId) -> Vec<u8> {
    Key::new(ACCOUNT).u64(account.0).0
}

/// One table of an account.
pub(crate) fn part_prefix(account: AccountId, part: u8) -> Vec<u8> {
    Key::of_account(account, part).0
}

pub(crate) fn shard() -> Vec<u8> {
    Key::new(SHARD).0
}

pub(crate) fn account(account: AccountId) -> Vec<u8> {
    Key::of_account(account, part::ACCOUNT).0
}

pub(crate) fn name(account: AccountId, name: &MailboxName) -> Vec<u8> {
    Key::of_account(account, part::NAME)
        .with(name.as_str().as_bytes())
        .0
}

/// The names anywhere below `ancestor`.
pub(crate) fn names_below(account: AccountId, ancestor: &MailboxName) -> Vec<u8> {
    let mut key = name(account, ancestor);
    key.push(MailboxName::SEPARATOR as u8);
    key
}

pub(crate) fn subscription(account: AccountId, name: &MailboxName) -> Vec<u8> {
    Key::of_account(account, part::SUBSCRIPTION)
        .with(name.as_str().as_bytes())
        .0
}

/// The record of a mailbox in a table that has one for each, or the prefix of those in a table that has several.
pub(crate) fn of_mailbox(account: AccountId, part: u8, mailbox: MailboxId) -> Vec<u8> {
    Key::of_account(account, part).u64(mailbox.0).0
}

pub(crate) fn block(account: AccountId, mailbox: MailboxId, block: u32) -> Vec<u8> {
    Key::of_account(account, part::BLOCK)
        .u64(mailbox.0)
        .u32(block)
        .0
}

pub(crate) fn index(account: AccountId, mailbox: MailboxId, uid: u32) -> Vec<u8> {
    Key::of_account(account, part::INDEX)
        .u64(mailbox.0)
        .u32(uid)
        .0
}

/// A block's set in one of the tables by MODSEQ: `CHANGED`, `EXPUNGED`, `REAP`.
pub(crate) fn by_modseq(
    account: AccountId,
    part: u8,
    mailbox: MailboxId,
    modseq: u64,
    block: u32,
) -> Vec<u8> {
    Key::of_account(account, part)
        .u64(mailbox.0)
        .u64(modseq)
        .u32(block)
        .0
}

/// Where the sets of `modseq` start in a table by MODSEQ.
pub(crate) fn from_modseq(
    account: AccountId,
    part: u8,
    mailbox: MailboxId,
    modseq: u64,
) -> Vec<u8> {
    Key::of_account(account, part).u64(mailbox.0).u64(modseq).0
}

pub(crate) fn message(account: AccountId, message: u64) -> Vec<u8> {
    Key::of_account(account, part::MESSAGE).u64(message).0
}

pub(crate) fn delivery(account: AccountId, mailbox: MailboxId, key: &DeliveryKey) -> Vec<u8> {
    Key::of_account(account, part::DELIVERY)
        .u64(mailbox.0)
        .with(&key.0)
        .0
}

pub(crate) fn lane(account: AccountId, client: ClientId, lane: u64) -> Vec<u8> {
    Key::of_account(account, part::LANE)
        .u64(client.0)
        .u64(lane)
        .0
}

/// The lock of the account's maildrop.
pub(crate) fn maildrop(account: AccountId) -> Vec<u8> {
    Key::of_account(account, part::MAILDROP).0
}

/// A message's record among the details.
pub(crate) fn of_message(account: AccountId, detail_part: u8, message: u64) -> Vec<u8> {
    Key::of_account(account, detail_part).u64(message).0
}

pub(crate) fn body(hash: &BlobHash) -> Vec<u8> {
    Key::new(BODY).with(&hash.0).0
}

pub(crate) fn upload(upload: UploadId) -> Vec<u8> {
    Key::new(UPLOAD).with(&upload.0.to_be_bytes()).0
}

pub(crate) fn upload_digest(id: UploadId, chunk: u32) -> Vec<u8> {
    Key(upload(id)).u32(chunk).0
}

/// A chunk, in the space of bodies.
pub(crate) fn chunk(hash: &BlobHash, place: Option<UploadId>, chunk: u32) -> Vec<u8> {
    match place {
        None => Key::new(CHUNK_BY_HASH).with(&hash.0),
        Some(upload) => Key::new(CHUNK_BY_UPLOAD).with(&upload.0.to_be_bytes()),
    }
    .u32(chunk)
    .0
}

/// The slot of a table's entry: which shard has it. The same for ever, on every node.
pub fn table_slot(table: TableId, key: &[u8]) -> u16 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&table.0.to_be_bytes()).update(key);
    let digest = hasher.finalize();
    let [low, high, ..] = *digest.as_bytes();
    u16::from_le_bytes([low, high]) % TABLE_SLOTS
}

pub(crate) fn table_entry(slot: u16, table: TableId, key: &[u8]) -> Vec<u8> {
    Key::new(TABLE)
        .with(&slot.to_be_bytes())
        .with(&table.0.to_be_bytes())
        .with(key)
        .0
}

pub(crate) fn table_lane(client: ClientId, lane: u64) -> Vec<u8> {
    Key::new(TABLE_LANE).u64(client.0).u64(lane).0
}

/// Everything in a slot.
pub(crate) fn slot_entries(slot: u16) -> Vec<u8> {
    Key::new(TABLE).with(&slot.to_be_bytes()).0
}

/// What has become of a slot here.
pub(crate) fn slot(slot: u16) -> Vec<u8> {
    Key::new(SLOT).with(&slot.to_be_bytes()).0
}

/// The slot of such a key.
pub(crate) fn parse_slot(key: &[u8]) -> Result<u16, Damage> {
    match key {
        [SLOT, high, low] => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(Damage("a slot's key does not have the length of its table")),
    }
}

/// What guards the records of slots.
pub(crate) fn slots() -> Vec<u8> {
    Key::new(SLOTS).0
}

/// Slot, table and key of a table's entry.
pub(crate) fn parse_table_entry(key: &[u8]) -> Option<(u16, TableId, &[u8])> {
    let (slot, rest) = key.strip_prefix(&[TABLE])?.split_first_chunk()?;
    let (table, rest) = rest.split_first_chunk()?;
    Some((
        u16::from_be_bytes(*slot),
        TableId(u16::from_be_bytes(*table)),
        rest,
    ))
}

/// What can expire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expiring {
    Lane(AccountId, ClientId, u64),
    Delivery(AccountId, MailboxId, DeliveryKey),
    Body(BlobHash),
    Upload(UploadId),
    /// Slot, table, key.
    Entry(u16, TableId, Vec<u8>),
    TableLane(ClientId, u64),
    Maildrop(AccountId),
}

/// The place of `what` in the queue of what expires.
pub(crate) fn expiry(time_ms: i64, what: &Expiring) -> Vec<u8> {
    let key = Key::new(EXPIRY).time(time_ms);
    match what {
        Expiring::Lane(account, client, lane) => {
            key.with(&[1]).u64(account.0).u64(client.0).u64(*lane)
        }
        Expiring::Delivery(account, mailbox, delivery) => key
            .with(&[2])
            .u64(account.0)
            .u64(mailbox.0)
            .with(&delivery.0),
        Expiring::Body(hash) => key.with(&[3]).with(&hash.0),
        Expiring::Upload(upload) => key.with(&[4]).with(&upload.0.to_be_bytes()),
        Expiring::Entry(slot, table, entry) => key
            .with(&[5])
            .with(&slot.to_be_bytes())
            .with(&table.0.to_be_bytes())
            .with(entry),
        Expiring::TableLane(client, lane) => key.with(&[6]).u64(client.0).u64(*lane),
        Expiring::Maildrop(account) => key.with(&[7]).u64(account.0),
    }
    .0
}

/// Where the queue's entries of `time_ms` start.
pub(crate) fn expiry_from(time_ms: i64) -> Vec<u8> {
    Key::new(EXPIRY).time(time_ms).0
}

/// When, and what.
pub(crate) fn parse_expiry(key: &[u8]) -> Result<(i64, Expiring), Damage> {
    fn parts(key: &[u8]) -> Option<(i64, Expiring)> {
        let mut parts = Parts(key.strip_prefix(&[EXPIRY])?);
        let time_ms = (parts.u64()? ^ (1 << 63)).cast_signed();
        let what = match parts.array::<1>()? {
            [1] => Expiring::Lane(
                AccountId(parts.u64()?),
                ClientId(parts.u64()?),
                parts.u64()?,
            ),
            [2] => Expiring::Delivery(
                AccountId(parts.u64()?),
                MailboxId(parts.u64()?),
                DeliveryKey(parts.array()?),
            ),
            [3] => Expiring::Body(BlobHash(parts.array()?)),
            [4] => Expiring::Upload(UploadId(u128::from_be_bytes(parts.array()?))),
            [5] => Expiring::Entry(
                u16::from_be_bytes(parts.array()?),
                TableId(u16::from_be_bytes(parts.array()?)),
                std::mem::take(&mut parts.0).to_vec(),
            ),
            [6] => Expiring::TableLane(ClientId(parts.u64()?), parts.u64()?),
            [7] => Expiring::Maildrop(AccountId(parts.u64()?)),
            _ => return None,
        };
        parts.0.is_empty().then_some((time_ms, what))
    }
    parts(key).ok_or(Damage("a key of the expiry queue has an unknown form"))
}

pub(crate) fn pending(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    Key::new(PENDING).u64(account.0).u64(mailbox.0).0
}

pub(crate) fn parse_pending(key: &[u8]) -> Result<(AccountId, MailboxId), Damage> {
    let (account, mailbox) = two_u64(key.get(1..).unwrap_or_default())?;
    Ok((AccountId(account), MailboxId(mailbox)))
}

/// Every note of an account that leaves.
pub(crate) fn notes_of(account: AccountId) -> Vec<u8> {
    Key::new(NOTED).u64(account.0).0
}

/// Those of a round, and what comes behind them.
pub(crate) fn notes_from(account: AccountId, round: u32) -> Vec<u8> {
    Key::new(NOTED).u64(account.0).u32(round).0
}

/// The note that a key of the account has changed.
pub(crate) fn note(account: AccountId, round: u32, key: &[u8]) -> Vec<u8> {
    let own = key.get(account_prefix(account).len()..).unwrap_or_default();
    Key(notes_from(account, round)).with(own).0
}

/// Round and key of a note.
pub(crate) fn parse_note(note: &[u8]) -> Result<(AccountId, u32, Vec<u8>), Damage> {
    fn parts(note: &[u8]) -> Option<(AccountId, u32, Vec<u8>)> {
        let mut parts = Parts(note.strip_prefix(&[NOTED])?);
        let account = AccountId(parts.u64()?);
        let round = u32::from_be_bytes(parts.array()?);
        Some((account, round, Key(account_prefix(account)).with(parts.0).0))
    }
    parts(note).ok_or(Damage("a note of a move is cut short"))
}

/// The table that a key of an account's part of the index is in.
pub(crate) fn part_of(account: AccountId, key: &[u8]) -> Option<u8> {
    key.strip_prefix(&*account_prefix(account))?
        .first()
        .copied()
}

/// What of an account can expire by its key and its value's time.
pub(crate) fn expiring_of(account: AccountId, key: &[u8]) -> Result<Option<Expiring>, Damage> {
    let own = match part_of(account, key) {
        Some(part::DELIVERY | part::LANE) => &key[part_prefix(account, 0).len()..],
        Some(part::MAILDROP) if key == maildrop(account) => {
            return Ok(Some(Expiring::Maildrop(account)));
        }
        _ => return Ok(None),
    };
    let mut parts = Parts(own);
    let what = if part_of(account, key) == Some(part::LANE) {
        parts
            .u64()
            .zip(parts.u64())
            .map(|(client, lane)| Expiring::Lane(account, ClientId(client), lane))
    } else {
        parts.u64().zip(parts.array()).map(|(mailbox, delivery)| {
            Expiring::Delivery(account, MailboxId(mailbox), DeliveryKey(delivery))
        })
    };
    what.map(Some)
        .ok_or(Damage("a key does not have the length of its table"))
}

pub(crate) fn two_u64(bytes: &[u8]) -> Result<(u64, u64), Damage> {
    let mut parts = Parts(bytes);
    match (parts.u64(), parts.u64(), parts.0) {
        (Some(first), Some(second), []) => Ok((first, second)),
        _ => Err(Damage("a key does not have the length of its table")),
    }
}

/// The last four bytes: a UID, a block or a chunk.
pub(crate) fn last_u32(key: &[u8]) -> Result<u32, Damage> {
    let last = key.last_chunk().ok_or(Damage("a key is cut short"))?;
    Ok(u32::from_be_bytes(*last))
}

/// MODSEQ and block at the end of a key in a table by MODSEQ.
pub(crate) fn modseq_and_block(key: &[u8]) -> Result<(u64, u32), Damage> {
    let block = last_u32(key)?;
    let modseq = key
        .get(..key.len() - 4)
        .and_then(<[u8]>::last_chunk)
        .ok_or(Damage("a key is cut short"))?;
    Ok((u64::from_be_bytes(*modseq), block))
}

/// What is left of a key; big-endian, unlike a value.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_never_change() {
        // Moving an entry to another slot would lose it: these numbers are part of the format.
        let slots = [(1, &b""[..]), (1, b"192.0.2.1"), (2, b"192.0.2.1")];
        assert_eq!(
            slots.map(|(table, key)| table_slot(TableId(table), key)),
            [123, 3877, 2319]
        );
    }

    #[test]
    fn times_sort_as_numbers() {
        let mut keys: Vec<_> = [i64::MIN, -1, 0, 1, i64::MAX].map(expiry_from).into();
        assert!(keys.is_sorted());
        keys.dedup();
        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn queue_entries_are_read_back() {
        let (account, mailbox) = (AccountId(1), MailboxId(2));
        for what in [
            Expiring::Lane(account, ClientId(3), 4),
            Expiring::Delivery(account, mailbox, DeliveryKey([5; 32])),
            Expiring::Body(BlobHash([6; 32])),
            Expiring::Upload(UploadId(7)),
            Expiring::Entry(8, TableId(9), b"key".to_vec()),
            Expiring::TableLane(ClientId(10), 11),
            Expiring::Maildrop(account),
        ] {
            assert_eq!(parse_expiry(&expiry(-10, &what)), Ok((-10, what)));
        }
        assert_eq!(
            parse_pending(&pending(account, mailbox)),
            Ok((account, mailbox))
        );
    }

    proptest! {
        #[test]
        fn never_panics_on_garbage(mut key in prop::collection::vec(any::<u8>(), 0..60), tag in 0u8..0x50) {
            if let Some(first) = key.first_mut() {
                *first = tag;
            }
            let _ = (parse_expiry(&key), parse_pending(&key), parse_table_entry(&key));
            let _ = (last_u32(&key), modseq_and_block(&key));
        }
    }
}

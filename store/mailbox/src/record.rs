//! The formats of stored values.
//!
//! What is read and written by the thousand has a fixed layout, little-endian, after a byte of version: messages in the
//! index, blocks, messages, details. The rest is postcard of an enum of versions. Either way the first byte says the version, and
//! a build reads every version that was ever released.

use mailrook_kv::{KvError, Read, RecordError, Space, decode, encode};
use mailrook_types::{
    BlobHash, Keyword, MailboxId, ModSeq, SpecialUse, SystemFlags, UidValidity, UploadId,
};
use serde::{Deserialize, Serialize};

use crate::{
    DeliveryOutcome, MaildropHolder, QuotaLimit,
    bits::Bits,
    digest::Sum,
    fields::{Damage, Fields},
    key,
    limits::{SKIPPED_IDS, SKIPPED_MODSEQS, SKIPPED_UID_VALIDITIES, SKIPPED_UIDS},
    transit::Transit,
};

/// Implements `encode` and `decode` of a record by an enum of its versions, of which there is one so far.
macro_rules! versioned {
    ($($name:ident),*) => {
        $(impl $name {
            pub(crate) fn encode(&self) -> Vec<u8> {
                encode(&Versioned::V1(self))
            }

            pub(crate) fn decode(bytes: &[u8]) -> Result<$name, RecordError> {
                let Versioned::V1(record) = decode(bytes)?;
                Ok(record)
            }
        })*
    };
}

/// Postcard writes the variant as the first byte: later versions are appended.
#[derive(Serialize, Deserialize)]
enum Versioned<T> {
    V1(T),
}

versioned!(
    BodyRecord,
    KeywordTable,
    LaneRecord,
    MaildropRecord,
    SlotRecord,
    SlotsRecord,
    TableRecord,
    UploadRecord
);

/// The second version adds [`Skips`], and is written only where there are some.
#[derive(Serialize, Deserialize)]
enum WithSkips<T> {
    V1(T),
    V2(T, Skips),
}

macro_rules! with_skips {
    ($($name:ident),*) => {
        $(impl $name {
            pub(crate) fn encode(&self) -> Vec<u8> {
                if self.skips == Skips::default() {
                    encode(&WithSkips::V1(self))
                } else {
                    encode(&WithSkips::V2(self, self.skips))
                }
            }

            pub(crate) fn decode(bytes: &[u8]) -> Result<$name, RecordError> {
                Ok(match decode(bytes)? {
                    WithSkips::V1(record) => record,
                    WithSkips::V2(record, skips) => $name { skips, ..record },
                })
            }
        })*
    };
}

with_skips!(MailboxRecord, ShardRecord);

/// The third version adds what the account's last move has made of it, and is written only where there was one.
#[derive(Serialize, Deserialize)]
enum StoredAccount<T> {
    V1(T),
    V2(T, Skips),
    V3(T, Skips, Transit),
}

impl AccountRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self.transit {
            Some(transit) => encode(&StoredAccount::V3(self, self.skips, transit)),
            None if self.skips == Skips::default() => encode(&StoredAccount::V1(self)),
            None => encode(&StoredAccount::V2(self, self.skips)),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<AccountRecord, RecordError> {
        Ok(match decode(bytes)? {
            StoredAccount::V1(record) => record,
            StoredAccount::V2(record, skips) => AccountRecord { skips, ..record },
            StoredAccount::V3(record, skips, transit) => AccountRecord {
                skips,
                transit: Some(transit),
                ..record
            },
        })
    }

    /// Whether it lives, as far as this shard knows.
    pub(crate) fn lives(&self) -> bool {
        self.standing == Standing::Live
    }

    /// Whether it is on another shard, or on its way: here it is neither read nor changed.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.transit.is_some_and(|transit| !transit.is_served())
    }
}

/// How often a shard was brought back from a copy that may lack what others acknowledged. Each time it leaves out the numbers
/// that may have been given in what is lost: UIDs, MODSEQs and ids. What the shard has counted and a record has not yet, the
/// record leaves out when it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Skips(pub u32);

impl Skips {
    /// How often `of` is behind.
    fn since(self, of: Skips) -> u64 {
        self.0.saturating_sub(of.0).into()
    }
}

/// What the shard knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardRecord {
    /// Everything that expired before this is dealt with.
    pub swept_to_ms: i64,
    /// Whether something is overdue.
    pub behind: bool,
    /// Mailboxes of which there are remains to be removed.
    pub pending: u64,
    #[serde(skip)]
    pub skips: Skips,
}

impl ShardRecord {
    /// As it stands; of a shard without one, as at its beginning.
    pub(crate) fn read(view: &dyn Read) -> Result<ShardRecord, KvError> {
        match view.get(Space::Index, &key::shard())? {
            Some(bytes) => Ok(ShardRecord::decode(&bytes)?),
            None => Ok(ShardRecord::default()),
        }
    }
}

impl Default for ShardRecord {
    fn default() -> ShardRecord {
        ShardRecord {
            swept_to_ms: i64::MIN,
            behind: false,
            pending: 0,
            skips: Skips::default(),
        }
    }
}

/// Whether the shard has an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Not so far. Such a record is stored only where a move has left its note.
    Absent,
    /// It is here.
    Live,
    /// It was removed, perhaps before it came, and never returns: ids are not granted twice.
    Removed,
}

/// An account.
///
/// When the account is removed the record stays for good, without mailboxes, as the mark that keeps it from being made
/// again. It may not expire: whoever found the account in the directory before it was removed makes up for a missing
/// second half, and there is no log time after which such a command can no longer come (its sender may have been
/// stopped, or cut off, for as long as you like). There are as many marks as administrators removed accounts, and each
/// has less than 100 bytes: a hundred thousand of them are 10 MB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountRecord {
    pub standing: Standing,
    pub modseq: ModSeq,
    pub next_mailbox: u64,
    pub next_message: u64,
    /// The largest UIDVALIDITY granted; zero before the first.
    pub last_uid_validity: u32,
    pub limit: QuotaLimit,
    pub storage_bytes: u64,
    pub messages: u64,
    pub mailboxes: u32,
    pub subscriptions: u32,
    pub special_uses: Vec<(SpecialUse, MailboxId)>,
    /// Over all other pairs of the account in the index.
    pub sum: Sum,
    #[serde(skip)]
    pub skips: Skips,
    #[serde(skip)]
    pub transit: Option<Transit>,
}

impl AccountRecord {
    /// Leaves out what the shard has left out since the record was written.
    pub(crate) fn skip_to(&mut self, skips: Skips) {
        let times = skips.since(self.skips);
        if times > 0 {
            self.modseq.0 += times * SKIPPED_MODSEQS;
            self.next_mailbox += times * SKIPPED_IDS;
            self.next_message += times * SKIPPED_IDS;
            let validity = u64::from(self.last_uid_validity) + times * SKIPPED_UID_VALIDITIES;
            self.last_uid_validity = u32::try_from(validity).unwrap_or(u32::MAX);
            self.skips = skips;
        }
    }
}

impl Default for AccountRecord {
    fn default() -> AccountRecord {
        AccountRecord {
            standing: Standing::Absent,
            modseq: ModSeq::ZERO,
            next_mailbox: 1,
            next_message: 1,
            last_uid_validity: 0,
            limit: QuotaLimit::default(),
            storage_bytes: 0,
            messages: 0,
            mailboxes: 0,
            subscriptions: 0,
            special_uses: Vec::new(),
            sum: Sum::default(),
            skips: Skips::default(),
            transit: None,
        }
    }
}

/// A mailbox. Its name stands in the table of names alone, so that RENAME of a tree touches nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailboxRecord {
    pub uid_validity: UidValidity,
    pub uid_next: u32,
    pub highest_modseq: ModSeq,
    pub history_floor: ModSeq,
    pub history_records: u32,
    pub messages: u64,
    pub unseen: u64,
    pub deleted: u64,
    pub size_bytes: u64,
    pub special_use: Option<SpecialUse>,
    pub keywords: u16,
    #[serde(skip)]
    pub skips: Skips,
}

impl MailboxRecord {
    /// Leaves out what the shard has left out since the record was written. The history has a hole there, so that whoever
    /// asks for what was expunged since before is told all that there is not.
    pub(crate) fn skip_to(&mut self, skips: Skips) {
        let times = skips.since(self.skips);
        if times > 0 {
            let uids = u64::from(self.uid_next) + times * u64::from(SKIPPED_UIDS);
            self.uid_next = u32::try_from(uids).unwrap_or(u32::MAX);
            self.highest_modseq.0 += times * SKIPPED_MODSEQS;
            self.history_floor = self.highest_modseq;
            self.skips = skips;
        }
    }
}

/// A mailbox's keywords in the order in which they were seen first: a keyword's number is its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeywordTable(pub Vec<Keyword>);

/// What is kept of a lane's operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneRecord {
    /// Operations below this are refused.
    pub lowest: u64,
    pub last_used_ms: i64,
    /// Where its entry in the expiry queue stands, which may be earlier than it expires.
    pub queued_ms: i64,
    /// Replies by number, ascending.
    pub kept: Vec<(u64, Kept)>,
}

/// A kept reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kept {
    /// The encoded reply to an account command.
    Reply(#[serde(with = "serde_bytes")] Vec<u8>),
    /// What became of this account's parts of a delivery, in the command's order.
    Delivery(Vec<DeliveryOutcome>),
}

/// The lock of an account's maildrop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MaildropRecord {
    pub holder: MaildropHolder,
    /// When the holder took it.
    pub since_ms: i64,
    /// When the lease is over: from then on somebody else may take it.
    pub expires_ms: i64,
    /// When somebody else asked for it after the lease was over.
    pub notice_ms: Option<i64>,
    /// Where its entry in the expiry queue stands, which may be earlier than it is forgotten.
    pub queued_ms: i64,
}

/// A body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BodyRecord {
    /// Messages that have it.
    pub refs: u64,
    pub size: u32,
    pub chunks: u32,
    /// Under which upload the chunks stand; `None`: under the hash.
    pub place: Option<UploadId>,
    /// When it is removed; set while nothing refers to it.
    pub expires_ms: Option<i64>,
}

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum UploadRecord {
    /// Chunks are coming in.
    Open {
        expires_ms: i64,
        /// How many have come.
        chunks: u32,
    },
    /// Its chunks are those of a body, as long as the body is there. What comes late is ignored.
    Used(BlobHash),
}

/// An entry of a cluster-wide table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableRecord {
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
    pub expires_ms: Option<i64>,
}

impl TableRecord {
    pub(crate) fn has_expired(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|expires| expires <= now_ms)
    }
}

/// What the last move of a slot has made of it on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotRecord {
    /// Which move that was.
    pub move_id: u64,
    pub state: SlotState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SlotState {
    /// Its entries are coming.
    Incoming,
    /// It came, and is this shard's.
    Here,
    /// It is leaving, or has left: its entries are still there, and neither read nor changed.
    Fenced,
    /// It has left, and so have its entries.
    Gone,
}

/// Guards the records of slots: a lost one would have the shard answer for what others have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotsRecord {
    /// How many there are.
    pub count: u64,
    pub sum: Sum,
}

/// A message in a mailbox: 42 bytes, and two for each keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexRecord {
    pub modseq: u64,
    pub system: SystemFlags,
    pub internal_date_ms: i64,
    pub saved_ms: i64,
    pub size: u32,
    pub crlf_growth: u32,
    pub message: u64,
    /// Numbers in the mailbox's table, ascending.
    pub keywords: Vec<u16>,
}

impl IndexRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(42 + 2 * self.keywords.len());
        bytes.push(1);
        bytes.extend_from_slice(&self.modseq.to_le_bytes());
        bytes.push(self.system.bits());
        bytes.extend_from_slice(&self.internal_date_ms.to_le_bytes());
        bytes.extend_from_slice(&self.saved_ms.to_le_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.crlf_growth.to_le_bytes());
        bytes.extend_from_slice(&self.message.to_le_bytes());
        for number in &self.keywords {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<IndexRecord, Damage> {
        let mut fields = Fields::new(bytes);
        fields.version_1()?;
        let (modseq, system) = (fields.u64()?, fields.u8()?);
        let (internal_date_ms, saved_ms) = (fields.i64()?, fields.i64()?);
        let (size, crlf_growth, message) = (fields.u32()?, fields.u32()?, fields.u64()?);
        let (pairs, []) = fields.rest().as_chunks::<2>() else {
            return Err(Damage("a message's keywords are cut short"));
        };
        Ok(IndexRecord {
            modseq,
            system: SystemFlags::from_bits(system),
            internal_date_ms,
            saved_ms,
            size,
            crlf_growth,
            message,
            keywords: pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect(),
        })
    }
}

/// The messages of one block of UIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockRecord {
    /// Bytes of all of them.
    pub size_bytes: u64,
    /// Those that are there.
    pub uids: Bits,
    /// Those of them without `\Seen`.
    pub unseen: Bits,
    /// Those of them with `\Deleted`.
    pub deleted: Bits,
    /// Those of them with `\Answered`.
    pub answered: Bits,
    /// Those of them with `\Flagged`.
    pub flagged: Bits,
    /// Those of them with `\Draft`.
    pub draft: Bits,
    /// Those of them with keywords, which their entries tell.
    pub keyworded: Bits,
}

impl BlockRecord {
    pub(crate) const EMPTY: BlockRecord = BlockRecord {
        size_bytes: 0,
        uids: Bits::EMPTY,
        unseen: Bits::EMPTY,
        deleted: Bits::EMPTY,
        answered: Bits::EMPTY,
        flagged: Bits::EMPTY,
        draft: Bits::EMPTY,
        keyworded: Bits::EMPTY,
    };

    /// The sets other than `uids`.
    fn sets(&mut self) -> [&mut Bits; 6] {
        [
            &mut self.unseen,
            &mut self.deleted,
            &mut self.answered,
            &mut self.flagged,
            &mut self.draft,
            &mut self.keyworded,
        ]
    }

    /// Takes messages out.
    pub(crate) fn remove(&mut self, gone: &Bits) {
        self.uids = self.uids.minus(gone);
        for set in self.sets() {
            *set = set.minus(gone);
        }
    }

    /// Says how a message of the block is marked now.
    pub(crate) fn set_flags(&mut self, uid: u32, entry: &IndexRecord) {
        let has = |flag| entry.system.contains(flag);
        let members = [
            !has(SystemFlags::SEEN),
            has(SystemFlags::DELETED),
            has(SystemFlags::ANSWERED),
            has(SystemFlags::FLAGGED),
            has(SystemFlags::DRAFT),
            !entry.keywords.is_empty(),
        ];
        for (set, member) in self.sets().into_iter().zip(members) {
            if member {
                set.insert(uid);
            } else {
                set.remove(uid);
            }
        }
    }

    /// The system flags of a message of the block.
    pub(crate) fn system_flags(&self, uid: u32) -> SystemFlags {
        let mut flags = SystemFlags::default();
        if !self.unseen.contains(uid) {
            flags |= SystemFlags::SEEN;
        }
        for (set, flag) in [
            (&self.deleted, SystemFlags::DELETED),
            (&self.answered, SystemFlags::ANSWERED),
            (&self.flagged, SystemFlags::FLAGGED),
            (&self.draft, SystemFlags::DRAFT),
        ] {
            if set.contains(uid) {
                flags |= flag;
            }
        }
        flags
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(1);
        bytes.extend_from_slice(&self.size_bytes.to_le_bytes());
        for set in [
            &self.uids,
            &self.unseen,
            &self.deleted,
            &self.answered,
            &self.flagged,
            &self.draft,
            &self.keyworded,
        ] {
            set.encode_to(&mut bytes);
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<BlockRecord, Damage> {
        let mut fields = Fields::new(bytes);
        fields.version_1()?;
        let block = BlockRecord {
            size_bytes: fields.u64()?,
            uids: Bits::decode_from(&mut fields)?,
            unseen: Bits::decode_from(&mut fields)?,
            deleted: Bits::decode_from(&mut fields)?,
            answered: Bits::decode_from(&mut fields)?,
            flagged: Bits::decode_from(&mut fields)?,
            draft: Bits::decode_from(&mut fields)?,
            keyworded: Bits::decode_from(&mut fields)?,
        };
        fields.end()?;
        Ok(block)
    }
}

/// A message of an account, whatever the number of mailboxes that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageRecord {
    /// Entries in indexes, those among the remains of expunges included.
    pub refs: u64,
    pub hash: BlobHash,
    /// The start of the BLAKE3 of its detail and signature, by which copies of an account are compared without reading them.
    pub content: [u8; 16],
}

impl MessageRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(57);
        bytes.push(1);
        bytes.extend_from_slice(&self.refs.to_le_bytes());
        bytes.extend_from_slice(&self.hash.0);
        bytes.extend_from_slice(&self.content);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<MessageRecord, Damage> {
        let mut fields = Fields::new(bytes);
        fields.version_1()?;
        let message = MessageRecord {
            refs: fields.u64()?,
            hash: BlobHash(fields.array()?),
            content: fields.array()?,
        };
        fields.end()?;
        Ok(message)
    }
}

/// What FETCH needs of a message beside the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetailRecord {
    pub hash: BlobHash,
    pub body_size: u32,
    pub prefix: Vec<u8>,
    pub detail: Vec<u8>,
}

impl DetailRecord {
    /// The bytes of a detail of these parts.
    pub(crate) fn encode(hash: &BlobHash, body_size: u32, prefix: &[u8], detail: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(41 + prefix.len() + detail.len());
        bytes.push(1);
        bytes.extend_from_slice(&hash.0);
        bytes.extend_from_slice(&body_size.to_le_bytes());
        // A message's size, prefix included, fits 32 bits: checked before it is stored.
        bytes.extend_from_slice(&(prefix.len() as u32).to_le_bytes());
        bytes.extend_from_slice(prefix);
        bytes.extend_from_slice(detail);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<DetailRecord, Damage> {
        let mut fields = Fields::new(bytes);
        fields.version_1()?;
        let (hash, body_size) = (BlobHash(fields.array()?), fields.u32()?);
        let prefix_len = fields.u32()? as usize;
        Ok(DetailRecord {
            hash,
            body_size,
            prefix: fields.bytes(prefix_len)?.to_vec(),
            detail: fields.rest().to_vec(),
        })
    }
}

/// A delivery that has not been confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryRecord {
    pub uid: u32,
    pub expires_ms: i64,
}

impl DeliveryRecord {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(13);
        bytes.push(1);
        bytes.extend_from_slice(&self.uid.to_le_bytes());
        bytes.extend_from_slice(&self.expires_ms.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<DeliveryRecord, Damage> {
        let mut fields = Fields::new(bytes);
        fields.version_1()?;
        let record = DeliveryRecord {
            uid: fields.u32()?,
            expires_ms: fields.i64()?,
        };
        fields.end()?;
        Ok(record)
    }
}

/// The mailbox id that a name stands for.
pub(crate) fn decode_name(bytes: &[u8]) -> Result<MailboxId, KvError> {
    let mut fields = Fields::new(bytes);
    fields.version_1()?;
    let id = fields.u64()?;
    fields.end()?;
    Ok(MailboxId(id))
}

pub(crate) fn encode_name(mailbox: MailboxId) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&mailbox.0.to_le_bytes());
    bytes
}

/// The value of keys that say all by being there.
pub(crate) const PRESENT: &[u8] = &[1];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn index_records_are_read_back(
            modseq: u64, system in 0u8..32, date: i64, size: u32, crlf_growth: u32, message: u64,
            keywords in prop::collection::vec(any::<u16>(), 0..5),
        ) {
            let record = IndexRecord {
                modseq, system: SystemFlags::from_bits(system), internal_date_ms: date, saved_ms: !date, size, crlf_growth, message, keywords,
            };
            prop_assert_eq!(IndexRecord::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn never_panics_on_garbage(mut bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0u8..2) {
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let _ = (IndexRecord::decode(&bytes), BlockRecord::decode(&bytes), MessageRecord::decode(&bytes));
            let _ = (DetailRecord::decode(&bytes), DeliveryRecord::decode(&bytes), decode_name(&bytes));
            let _ = (AccountRecord::decode(&bytes), MailboxRecord::decode(&bytes), KeywordTable::decode(&bytes));
            let _ = (LaneRecord::decode(&bytes), BodyRecord::decode(&bytes), UploadRecord::decode(&bytes));
            let _ = (TableRecord::decode(&bytes), ShardRecord::decode(&bytes));
            let _ = (SlotRecord::decode(&bytes), SlotsRecord::decode(&bytes), MaildropRecord::decode(&bytes));
        }
    }

    #[test]
    fn details_are_read_back() {
        let bytes = DetailRecord::encode(&BlobHash([1; 32]), 7, b"Return-Path: <>\r\n", b"detail");
        let record = DetailRecord::decode(&bytes).unwrap();
        assert_eq!(
            (record.body_size, &*record.prefix, &*record.detail),
            (7, &b"Return-Path: <>\r\n"[..], &b"detail"[..])
        );
    }
}

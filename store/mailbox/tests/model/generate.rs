//! Commands out of random bytes, over few names and numbers, so that they meet each other often.

use mailrook_mailbox::{
    AccountChange, AccountCommand, AppendTo, BodySource, Change, Chunk, ChunkCodec, Confirmation,
    Deliver, DeliveryKey, DeliveryOutcome, MailboxRef, MaildropCommand, MaildropHolder,
    MaildropStep, NewBody, NewMailbox, NewMessage, QuotaLimit, RecipientDelivery, ShardCommand,
    ShardReply, SlotCommand, SlotEntry, SlotStep, TableCommand, TableId, TableOp, UploadChunk,
    table_slot,
};
use mailrook_types::{
    AccountId, BlobHash, ClientId, FlagUpdate, Flags, Keyword, MailboxId, MailboxName, ModSeq,
    OpId, SpecialUse, SystemFlags, Timestamp, Uid, UidSet, UploadId,
};

pub const ACCOUNTS: u64 = 3;
pub const NAMES: [&str; 9] = [
    "INBOX", "a", "a/b", "a/b/c", "b", "b/a", "INBOX/x", "c/d", "d",
];
const KEYWORDS: [&str; 4] = ["$Junk", "Work", "WORK", "later"];
pub const BODIES: u8 = 6;
pub const TABLES: u16 = 2;
pub const TABLE_KEYS: u8 = 5;

/// What the clients have sent so far.
#[derive(Default)]
pub struct Clients {
    next_n: [u64; 3],
    answered: [u64; 3],
    pub sent: Vec<ShardCommand>,
    delivered: Vec<Confirmation>,
    /// The highest move of slots so far.
    moves: u64,
}

/// Random bytes being used up.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn roll(&mut self, sides: u64) -> u64 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        u64::from(*first) % sides
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }

    fn name(&mut self) -> MailboxName {
        MailboxName::parse(self.one(&NAMES)).unwrap()
    }

    fn mailbox(&mut self) -> MailboxId {
        MailboxId(self.roll(6) + 1)
    }

    fn mailbox_ref(&mut self) -> MailboxRef {
        if self.roll(2) == 0 {
            MailboxRef::Id(self.mailbox())
        } else {
            MailboxRef::Name(self.name())
        }
    }

    fn uids(&mut self) -> UidSet {
        let mut uids = UidSet::new();
        for _ in 0..=self.roll(2) {
            let first = self.roll(12) as u32 + 1;
            let last = if self.roll(4) == 0 {
                u32::MAX
            } else {
                first + self.roll(5) as u32
            };
            uids.insert_range(Uid::new(first).unwrap()..=Uid::new(last).unwrap());
        }
        uids
    }

    fn flags(&mut self) -> Flags {
        let bits = self.roll(32) as u8;
        let mut flags = Flags::system(SystemFlags::from_bits(bits));
        for _ in 0..self.roll(3) {
            flags.insert_keyword(Keyword::parse(self.one(&KEYWORDS)).unwrap());
        }
        flags
    }

    fn special_use(&mut self) -> Option<SpecialUse> {
        self.one(&[None, None, Some(SpecialUse::Sent), Some(SpecialUse::Junk)])
    }

    fn new_mailbox(&mut self) -> NewMailbox {
        NewMailbox {
            name: self.name(),
            special_use: self.special_use(),
            subscribed: self.roll(2) == 0,
        }
    }

    fn quota(&mut self) -> QuotaLimit {
        QuotaLimit {
            storage_bytes: self.one(&[None, None, Some(2_000_000)]),
            messages: self.one(&[None, None, Some(8), Some(20)]),
        }
    }

    fn expires(&mut self, now: i64) -> Option<Timestamp> {
        self.one(&[
            None,
            Some(-1),
            Some(0),
            Some(500),
            Some(5_000),
            Some(3_600_000),
        ])
        .map(|span| Timestamp(now + span))
    }

    /// Few sessions, so that they meet.
    fn holder(&mut self) -> MaildropHolder {
        MaildropHolder {
            client: ClientId(self.roll(3) + 1),
            session: self.roll(3),
        }
    }

    fn maildrop_step(&mut self) -> MaildropStep {
        let lease_ms = self.one(&[0, 5, 2_000, 4_000_000, u32::MAX]);
        match self.roll(6) {
            0..=2 => MaildropStep::Take { lease_ms },
            3 | 4 => MaildropStep::Renew { lease_ms },
            _ => MaildropStep::Release,
        }
    }

    fn body(&mut self) -> NewBody {
        let number = self.roll(BODIES.into()) as u8;
        let uploaded = self.roll(3) == 0;
        body(number, uploaded.then_some(self.roll(2)))
    }
}

/// The chunks of one of the bodies. The larger ones have two.
pub fn chunks(number: u8) -> Vec<Chunk> {
    let chunk = |at: u8| Chunk {
        codec: ChunkCodec::Lz4,
        bytes: vec![number, at, 7],
    };
    let count = size(number).div_ceil(Chunk::RAW_LEN as u32) as u8;
    (0..count).map(chunk).collect()
}

fn size(number: u8) -> u32 {
    [0, 5, 100, 4096, 300_000, 262_144][usize::from(number)]
}

pub fn hash(number: u8) -> BlobHash {
    BlobHash([number + 1; 32])
}

/// The number of a body.
pub fn number_of(hash: &BlobHash) -> u8 {
    (0..BODIES)
        .find(|number| self::hash(*number) == *hash)
        .unwrap()
}

fn upload_id(number: u8, place: u64) -> UploadId {
    UploadId(u128::from(number) * 10 + u128::from(place))
}

fn body(number: u8, uploaded: Option<u64>) -> NewBody {
    let source = match uploaded {
        None => BodySource::Inline(chunks(number)),
        Some(place) => BodySource::Uploaded {
            upload: upload_id(number, place),
            digests: chunks(number)
                .iter()
                .map(|chunk| *blake3::hash(&chunk.bytes).as_bytes())
                .collect(),
        },
    };
    NewBody {
        hash: hash(number),
        size: size(number),
        crlf_growth: u32::from(number),
        source,
        detail: vec![number; 3],
        signature: vec![number; 2],
    }
}

impl Clients {
    fn op(&mut self, dice: &mut Dice<'_>) -> OpId {
        let lane = dice.roll(3) as usize;
        if dice.roll(8) == 0 {
            // Out of the blue, mostly stale.
            let n = dice.roll(10) + 1;
            return OpId {
                client: ClientId(9),
                lane: 0,
                n,
                lowest_unanswered: n.min(dice.roll(10) + 1),
            };
        }
        self.next_n[lane] += 1;
        let n = self.next_n[lane];
        if dice.roll(3) == 0 {
            self.answered[lane] = n - 1 - dice.roll(4).min(n - 1);
        }
        let lowest_unanswered = (self.answered[lane] + 1).min(n);
        OpId {
            client: ClientId(1 + lane as u64 / 2),
            lane: lane as u64,
            n,
            lowest_unanswered,
        }
    }

    /// Makes an account with a few mailboxes.
    pub fn create(&mut self, account: u64) -> ShardCommand {
        let new = |name: &str| NewMailbox {
            name: MailboxName::parse(name).unwrap(),
            special_use: None,
            subscribed: false,
        };
        let command = ShardCommand::Account(AccountCommand {
            account: AccountId(account),
            op: OpId {
                client: ClientId(7),
                lane: 7,
                n: account,
                lowest_unanswered: account,
            },
            change: Change::Account(AccountChange::Create {
                mailboxes: ["a/b", "b", "d"].map(new).into(),
                quota: QuotaLimit::default(),
            }),
        });
        self.sent.push(command.clone());
        command
    }

    /// The next command.
    pub fn next(&mut self, now: i64, bytes: &[u8]) -> ShardCommand {
        let mut dice = Dice(bytes);
        if dice.roll(6) == 0 && !self.sent.is_empty() {
            let at = dice.roll(self.sent.len() as u64) as usize;
            return self.sent[self.sent.len() - 1 - at].clone();
        }
        let command = self.fresh(now, &mut dice);
        self.sent.push(command.clone());
        command
    }

    fn fresh(&mut self, now: i64, dice: &mut Dice<'_>) -> ShardCommand {
        match dice.roll(18) {
            16 | 17 => ShardCommand::Maildrop(MaildropCommand {
                account: AccountId(dice.roll(ACCOUNTS - 1) + 1),
                holder: dice.holder(),
                step: dice.maildrop_step(),
            }),
            0 | 1 => ShardCommand::Deliver(self.deliver(now, dice)),
            2 => {
                let number = dice.roll(BODIES.into()) as u8;
                let mut chunks = chunks(number);
                let index = dice.roll(2) as usize;
                let spare = Chunk {
                    codec: ChunkCodec::Raw,
                    bytes: vec![1],
                };
                ShardCommand::Upload(UploadChunk {
                    upload: upload_id(number, dice.roll(2)),
                    index: index as u32,
                    expires: Timestamp(now + dice.one(&[0, 60_000, 7_200_000, 1 << 50])),
                    chunk: if index < chunks.len() {
                        chunks.swap_remove(index)
                    } else {
                        spare
                    },
                })
            }
            3 => ShardCommand::Confirm(vec![self.confirmation(dice)]),
            4 if dice.roll(8) == 0 => ShardCommand::SkipNumbers,
            4 => ShardCommand::Tick,
            5 if dice.roll(2) == 0 => ShardCommand::Slots(self.slots(now, dice)),
            5 | 6 => ShardCommand::Table(TableCommand {
                op: self.op(dice),
                ops: table(now, dice),
            }),
            _ => ShardCommand::Account(AccountCommand {
                account: AccountId(dice.roll(ACCOUNTS - 1) + 1),
                op: self.op(dice),
                change: change(now, dice),
            }),
        }
    }

    fn deliver(&mut self, now: i64, dice: &mut Dice<'_>) -> Deliver {
        let mut recipients = Vec::new();
        for _ in 0..=dice.roll(3) {
            recipients.push(RecipientDelivery {
                account: AccountId(dice.roll(ACCOUNTS) + 1),
                mailbox: (dice.roll(3) == 0).then(|| dice.name()),
                prefix: vec![b'x'; dice.roll(20) as usize],
                flags: dice.flags(),
            });
        }
        Deliver {
            op: self.op(dice),
            body: dice.body(),
            received: Timestamp(now - dice.roll(100) as i64),
            key: dice
                .one(&[None, Some(1), Some(1), Some(2)])
                .map(|key| DeliveryKey([key; 32])),
            recipients,
            confirmed: (0..dice.roll(3)).map(|_| self.confirmation(dice)).collect(),
        }
    }

    /// A step of a move, mostly of the last one.
    fn slots(&mut self, now: i64, dice: &mut Dice<'_>) -> SlotCommand {
        let entry = |dice: &mut Dice<'_>, keys: &[(TableId, Vec<u8>)]| {
            let (table, key) = keys[dice.roll(keys.len() as u64) as usize].clone();
            SlotEntry {
                table,
                key,
                value: dice.one(&[b"v", b"w"]).to_vec(),
                expires: dice.expires(now),
            }
        };
        let keys: Vec<_> = (0..=dice.roll(2)).map(|_| table_key(dice)).collect();
        let mut slots: Vec<u16> = (keys.iter())
            .map(|(table, key)| table_slot(*table, key))
            .collect();
        slots.sort_unstable();
        slots.dedup();
        let step = match dice.roll(6) {
            0 => SlotStep::Begin,
            1 => SlotStep::Fence,
            2 | 3 => SlotStep::Install((0..dice.roll(4)).map(|_| entry(dice, &keys)).collect()),
            4 => SlotStep::Open,
            _ => SlotStep::Drop,
        };
        self.moves += u64::from(dice.roll(4) == 0);
        SlotCommand {
            move_id: self.moves.saturating_sub(dice.one(&[0, 0, 0, 1])),
            slots,
            step,
        }
    }

    /// Mostly of what was delivered, be it the latest or long ago and confirmed before.
    fn confirmation(&mut self, dice: &mut Dice<'_>) -> Confirmation {
        if dice.roll(5) > 0 && !self.delivered.is_empty() {
            let back = dice.roll(self.delivered.len().min(6) as u64) as usize;
            return self.delivered[self.delivered.len() - 1 - back];
        }
        Confirmation {
            account: AccountId(dice.roll(ACCOUNTS) + 1),
            mailbox: MailboxId(dice.roll(3) + 1),
            uid: Uid::new(dice.roll(6) as u32 + 1).unwrap(),
            key: DeliveryKey([dice.roll(2) as u8 + 1; 32]),
        }
    }

    /// The answer to a command: what it delivered can be confirmed from now on.
    pub fn hear(&mut self, command: &ShardCommand, reply: &ShardReply) {
        let (ShardCommand::Deliver(deliver), ShardReply::Deliver(outcomes)) = (command, reply)
        else {
            return;
        };
        let Some(key) = deliver.key else { return };
        for (recipient, outcome) in deliver.recipients.iter().zip(outcomes) {
            if let DeliveryOutcome::Delivered(place) | DeliveryOutcome::Duplicate(place) = outcome {
                self.delivered.push(Confirmation {
                    account: recipient.account,
                    mailbox: place.mailbox,
                    uid: place.uid,
                    key,
                });
            }
        }
    }
}

fn table(now: i64, dice: &mut Dice<'_>) -> Vec<(TableId, Vec<u8>, TableOp)> {
    let mut ops = Vec::new();
    for _ in 0..=dice.roll(2) {
        let value = dice
            .one(&[&b"v"[..], b"w", &[1, 0, 0, 0, 0, 0, 0, 0]])
            .to_vec();
        let op = match dice.roll(4) {
            0 => TableOp::Put {
                value,
                expires: dice.expires(now),
            },
            1 => TableOp::CompareAndPut {
                expected: dice
                    .one(&[None, Some(b"v")])
                    .map(|value: &[u8; 1]| value.to_vec()),
                value,
                expires: dice.expires(now),
            },
            2 => TableOp::Add {
                delta: dice.one(&[1, -3, i64::MAX]),
                expires: dice.expires(now),
            },
            _ => TableOp::Delete,
        };
        let (table, key) = table_key(dice);
        ops.push((table, key, op));
    }
    ops
}

fn table_key(dice: &mut Dice<'_>) -> (TableId, Vec<u8>) {
    let key = vec![b'k', dice.roll(TABLE_KEYS.into()) as u8];
    (TableId(dice.roll(TABLES.into()) as u16), key)
}

fn change(now: i64, dice: &mut Dice<'_>) -> Change {
    match dice.roll(22) {
        0..=1 => Change::Account(AccountChange::Create {
            mailboxes: (0..dice.roll(4)).map(|_| dice.new_mailbox()).collect(),
            quota: dice.quota(),
        }),
        2 if dice.roll(6) == 0 => Change::Account(AccountChange::Delete),
        2 => Change::Account(AccountChange::SetQuota(dice.quota())),
        3 => Change::CreateMailbox(dice.new_mailbox()),
        4 => Change::DeleteMailbox(dice.name()),
        5 => Change::RenameMailbox {
            from: dice.name(),
            to: dice.name(),
        },
        6 => Change::Subscribe {
            name: dice.name(),
            subscribed: dice.roll(2) == 0,
        },
        7..=11 => Change::Append(AppendTo {
            mailbox: if dice.roll(2) == 0 {
                MailboxRef::Name(MailboxName::inbox())
            } else {
                dice.mailbox_ref()
            },
            messages: (0..dice.roll(4))
                .map(|_| NewMessage {
                    body: dice.body(),
                    prefix: Vec::new(),
                    internal_date: Timestamp(now - dice.roll(200) as i64),
                    flags: dice.flags(),
                })
                .collect(),
        }),
        12..=14 => Change::StoreFlags {
            mailbox: dice.mailbox(),
            uids: dice.uids(),
            unchanged_since: (dice.roll(3) == 0).then(|| ModSeq(dice.roll(30))),
            update: dice.one(&[FlagUpdate::Replace, FlagUpdate::Add, FlagUpdate::Remove]),
            flags: dice.flags(),
        },
        15..=17 => Change::Copy {
            mailbox: dice.mailbox(),
            uids: dice.uids(),
            to: dice.mailbox_ref(),
            remove_originals: dice.roll(2) == 0,
        },
        18 => Change::Expunge {
            mailbox: dice.mailbox(),
            uids: (dice.roll(2) == 0).then(|| dice.uids()),
        },
        19 => Change::Remove {
            mailbox: dice.mailbox(),
            uids: dice.uids(),
        },
        _ => Change::CloseMaildrop {
            holder: dice.holder(),
            mailbox: dice.mailbox(),
            uids: dice.uids(),
        },
    }
}

//! The state machines of a shard and of the directory: the same commands make the same bytes on every copy, however they
//! are grouped, and break no invariant.

use std::sync::OnceLock;

use mailrook_kv::{ApplyError, MemoryStore, Overlay, Read, StateMachine, Store};
use mailrook_store_api::{
    PreparedMessage,
    meta::{
        Credential, CredentialScope, Meta, MetaCommand, MetaQuery, NewAccount,
        answer as answer_meta,
    },
    shard::{
        AccountChange, AccountCommand, AppendTo, BodySource, Change, ChangePlace, Confirmation,
        Deliver, DeliveryKey, MailboxRef, MaildropCommand, MaildropHolder, MaildropStep, NewBody,
        NewMailbox, NewMessage, Query, QuotaLimit, RecipientDelivery, Shard, ShardCommand,
        SlotCommand, SlotEntry, SlotStep, TableCommand, TableId, TableOp, UploadChunk, answer,
        check, shard_digest, table_slot,
    },
};
use mailrook_types::{
    AccountId, Address, ClientId, Domain, FlagUpdate, Flags, Keyword, MailboxId, MailboxName,
    ModSeq, OpId, ShardId, SpecialUse, SystemFlags, Timestamp, Uid, UidSet, UploadId,
};

use crate::{Target, choices::Choices, records};

pub(crate) const SHARD_COMMANDS: Target = Target {
    name: "shard_commands",
    run: shard_commands,
    seeds: || {
        let mut seeds = vec![(0..=255).collect(), (0..=255).rev().collect()];
        seeds.push((0..400u32).map(|n| (n * 7 % 23) as u8).collect());
        seeds.push((0..600u32).map(|n| (n * n % 251) as u8).collect());
        seeds
    },
    dictionary: &[
        b"\0\0",
        b"\x01\0",
        b"\x05\0\0",
        b"\x05\x01\0",
        b"\x06\0",
        b"\x07\0",
        b"\x08\0",
        b"\x0c\0",
        b"\xff",
        b"\xfc\x80",
    ],
    len_max: 700,
    rounds: 4_000,
};

pub(crate) const RAW_COMMANDS: Target = Target {
    name: "raw_commands",
    run: raw_commands,
    seeds: records::seeds,
    dictionary: &[
        b"\0",
        b"\x01",
        b"\x05INBOX",
        b"\xff\xff\xff\xff\x0f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ],
    len_max: 2_000,
    rounds: 20_000,
};

pub(crate) const META_COMMANDS: Target = Target {
    name: "meta_commands",
    run: meta_commands,
    seeds: || {
        let mut seeds = vec![(0..=255).collect(), (0..=255).rev().collect()];
        seeds.push((0..400u32).map(|n| (n * 11 % 29) as u8).collect());
        seeds
    },
    dictionary: &[b"\x02\0", b"\x05\0\0", b"\x0c\0\x01", b"\x07", b"\x06"],
    len_max: 500,
    rounds: 4_000,
};

/// Two copies: one takes each command alone, the other several at a time.
struct Copies<M> {
    machine: M,
    one: MemoryStore,
    other: MemoryStore,
    waiting: Vec<(i64, Vec<u8>, Outcome)>,
}

/// Reply and what watchers hear, or that the copy stops.
type Outcome = Result<(Vec<u8>, Vec<(u64, u64)>), String>;

impl<M: StateMachine> Copies<M> {
    fn new(machine: M) -> Copies<M> {
        Copies {
            machine,
            one: MemoryStore::new(),
            other: MemoryStore::new(),
            waiting: Vec::new(),
        }
    }

    fn apply(&mut self, now: i64, command: Vec<u8>, group: usize) -> Outcome {
        let snapshot = self.one.snapshot();
        let mut view = Overlay::new(&snapshot as &dyn Read);
        let outcome = outcome(self.machine.apply(&mut view, now, &command));
        if outcome.is_ok() {
            write(&self.one, view);
        }
        self.waiting.push((now, command, outcome.clone()));
        if self.waiting.len() > group || outcome.is_err() {
            self.catch_up();
        }
        outcome
    }

    fn catch_up(&mut self) {
        let snapshot = self.other.snapshot();
        let mut view = Overlay::new(&snapshot as &dyn Read);
        for (now, command, expected) in std::mem::take(&mut self.waiting) {
            let is = outcome(self.machine.apply(&mut view, now, &command));
            assert_eq!(is, expected, "the copies answer differently");
            if is.is_err() {
                // The copy stops; what stands in its view is lost, as is what the other one had in its own.
                return;
            }
        }
        write(&self.other, view);
    }

    /// Both hold the same.
    fn compare(&mut self) {
        self.catch_up();
        let (one, other) = (self.one.snapshot(), self.other.snapshot());
        assert!(one.pairs().eq(other.pairs()), "the copies differ");
    }
}

fn outcome(applied: Result<mailrook_kv::Applied, ApplyError>) -> Outcome {
    applied
        .map(|applied| (applied.reply, applied.touched))
        .map_err(|error| error.to_string())
}

fn write(store: &MemoryStore, view: Overlay<'_, dyn Read + '_>) {
    store
        .write(view.into_batch())
        .expect("a map takes everything");
}

/// Commands of a shard as the input chooses them.
///
/// # Panics
/// If two copies differ, an invariant is broken, or a repeated command answers differently.
pub fn shard_commands(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut copies = Copies::new(Shard);
    let mut now = 1_700_000_000_000;
    let mut n = 0;
    for account in 1..3 {
        n += 1;
        let change = Change::Account(AccountChange::Create {
            mailboxes: Vec::new(),
            quota: QuotaLimit::default(),
        });
        let create = account_command(account, records::op(n), change);
        copies
            .apply(now, create.encode(), 0)
            .expect("it is well formed");
    }
    while !choices.is_empty() {
        // Mostly at once, sometimes days later: everything expires.
        now += match choices.byte() {
            byte @ 0xf0.. => i64::from(byte & 15) * 40_000_000,
            byte => i64::from(byte & 3),
        };
        n += 1;
        let command = shard_command(&mut choices, now, n);
        let bytes = command.encode();
        let group = choices.below(4);
        let reply = copies
            .apply(now, bytes.clone(), group)
            .expect("it is well formed");
        if matches!(command, ShardCommand::Account(_)) && choices.flag() {
            let again = copies.apply(now, bytes, group).expect("it is well formed");
            assert_eq!(
                again.0, reply.0,
                "said again, {command:?} answers differently"
            );
        }
        if choices.byte() & 3 == 0 {
            let question = query(&mut choices);
            let snapshot = copies.one.snapshot();
            answer(&snapshot, now, &question).expect("a well-kept shard can be asked");
        }
    }
    copies.compare();
    let (one, other) = (copies.one.snapshot(), copies.other.snapshot());
    let broken = check(&one).expect("a map can be read");
    assert!(broken.is_empty(), "{broken:#?}");
    let digests = (shard_digest(&one), shard_digest(&other));
    assert_eq!(digests.0.ok(), digests.1.ok());
}

fn account_command(account: u64, op: OpId, change: Change) -> ShardCommand {
    let account = AccountId(account);
    ShardCommand::Account(AccountCommand {
        account,
        op,
        change,
    })
}

fn shard_command(choices: &mut Choices<'_>, now: i64, n: u64) -> ShardCommand {
    let account = account_id(choices).0;
    let op = OpId {
        client: ClientId(1),
        lane: choices.below(2) as u64,
        n,
        lowest_unanswered: n - (choices.below(4) as u64).min(n),
    };
    match choices.below(18) {
        17 => ShardCommand::Maildrop(MaildropCommand {
            account: AccountId(account),
            holder: maildrop_holder(choices),
            step: match choices.below(4) {
                0 | 1 => MaildropStep::Take {
                    lease_ms: choices.size() as u32,
                },
                2 => MaildropStep::Renew {
                    lease_ms: choices.size() as u32,
                },
                _ => MaildropStep::Release,
            },
        }),
        0..=10 => account_command(account, op, change(choices, now)),
        11 => ShardCommand::Deliver(deliver(choices, op, now)),
        12 => {
            let message = &messages()[choices.below(3)];
            ShardCommand::Upload(UploadChunk {
                upload: UploadId(choices.below(3).try_into().expect("a small number")),
                index: choices.size() as u32,
                expires: Timestamp(now.saturating_add(choices.size() as i64)),
                chunk: message.chunks()[0].clone(),
            })
        }
        13 => ShardCommand::Confirm(
            (0..choices.below(3))
                .map(|_| confirmation(choices))
                .collect(),
        ),
        14 => ShardCommand::Table(TableCommand {
            op,
            ops: (0..choices.below(4))
                .map(|_| table_op(choices, now))
                .collect(),
        }),
        15 => ShardCommand::Slots(slots(choices, now)),
        16 if choices.below(8) == 0 => ShardCommand::SkipNumbers,
        _ => ShardCommand::Tick,
    }
}

/// One of few sessions.
fn maildrop_holder(choices: &mut Choices<'_>) -> MaildropHolder {
    MaildropHolder {
        client: ClientId(choices.below(2) as u64),
        session: choices.below(3) as u64,
    }
}

/// A step of a move of slots that the tables' keys are in, or of others.
fn slots(choices: &mut Choices<'_>, now: i64) -> SlotCommand {
    let mut slots: Vec<u16> = (0..choices.below(3))
        .map(|_| table_slot(TableId(choices.below(2) as u16), &[choices.byte() & 3]))
        .collect();
    if choices.below(8) == 0 {
        slots.push(choices.size() as u16);
    }
    slots.sort_unstable();
    let entry = |choices: &mut Choices<'_>| SlotEntry {
        table: TableId(choices.below(2) as u16),
        key: vec![choices.byte() & 3],
        value: choices.bytes(9).to_vec(),
        expires: choices
            .flag()
            .then(|| Timestamp(now.saturating_add(choices.size() as i64))),
    };
    SlotCommand {
        move_id: choices.below(4) as u64,
        slots,
        step: match choices.below(6) {
            0 => SlotStep::Begin,
            1 => SlotStep::Fence,
            2 | 3 => SlotStep::Install((0..choices.below(3)).map(|_| entry(choices)).collect()),
            4 => SlotStep::Open,
            _ => SlotStep::Drop,
        },
    }
}

fn change(choices: &mut Choices<'_>, now: i64) -> Change {
    match choices.below(16) {
        15 => Change::CloseMaildrop {
            holder: maildrop_holder(choices),
            mailbox: mailbox_id(choices),
            uids: uids(choices),
        },
        0 => Change::Account(AccountChange::SetQuota(quota(choices))),
        1 => Change::CreateMailbox(new_mailbox(choices)),
        2 => Change::DeleteMailbox(name(choices)),
        3 => Change::RenameMailbox {
            from: name(choices),
            to: name(choices),
        },
        4 => Change::Subscribe {
            name: name(choices),
            subscribed: choices.flag(),
        },
        5..=7 => Change::Append(AppendTo {
            mailbox: mailbox_ref(choices),
            messages: (0..=choices.below(3))
                .map(|_| NewMessage {
                    body: body(choices),
                    prefix: choices.bytes(20).to_vec(),
                    internal_date: Timestamp(choices.size() as i64),
                    flags: flags(choices),
                })
                .collect(),
        }),
        8 | 9 => Change::StoreFlags {
            mailbox: mailbox_id(choices),
            uids: uids(choices),
            unchanged_since: choices.flag().then(|| ModSeq(choices.size())),
            update: choices.pick(&[FlagUpdate::Add, FlagUpdate::Remove, FlagUpdate::Replace]),
            flags: flags(choices),
        },
        10 => Change::Copy {
            mailbox: mailbox_id(choices),
            uids: uids(choices),
            to: mailbox_ref(choices),
            remove_originals: choices.flag(),
        },
        11 => Change::Expunge {
            mailbox: mailbox_id(choices),
            uids: choices.flag().then(|| uids(choices)),
        },
        12 => Change::Remove {
            mailbox: mailbox_id(choices),
            uids: uids(choices),
        },
        13 => Change::AppendUploaded {
            upload: UploadId(choices.below(3).try_into().expect("a small number")),
            digests: vec![[choices.byte(); 32]; choices.below(60)],
        },
        _ if choices.below(8) == 0 => Change::Account(AccountChange::Delete),
        _ => Change::Account(AccountChange::Create {
            mailboxes: vec![new_mailbox(choices)],
            quota: QuotaLimit {
                storage_bytes: Some(now as u64),
                messages: None,
            },
        }),
    }
}

fn deliver(choices: &mut Choices<'_>, op: OpId, now: i64) -> Deliver {
    Deliver {
        op,
        body: body(choices),
        received: Timestamp(now),
        key: choices
            .flag()
            .then(|| DeliveryKey([choices.byte() & 3; 32])),
        recipients: (0..=choices.below(3))
            .map(|_| RecipientDelivery {
                account: account_id(choices),
                mailbox: choices.flag().then(|| name(choices)),
                prefix: choices.bytes(20).to_vec(),
                flags: flags(choices),
            })
            .collect(),
        confirmed: (0..choices.below(3))
            .map(|_| confirmation(choices))
            .collect(),
    }
}

fn confirmation(choices: &mut Choices<'_>) -> Confirmation {
    Confirmation {
        account: account_id(choices),
        mailbox: mailbox_id(choices),
        uid: Uid::new(choices.below(4) as u32 + 1).unwrap_or(Uid::MIN),
        key: DeliveryKey([choices.byte() & 3; 32]),
    }
}

fn table_op(choices: &mut Choices<'_>, now: i64) -> (TableId, Vec<u8>, TableOp) {
    let key = vec![choices.byte() & 3];
    let value = choices.bytes(9).to_vec();
    let expires = choices
        .flag()
        .then(|| Timestamp(now.saturating_add(choices.size() as i64)));
    let op = match choices.below(4) {
        0 => TableOp::Put { value, expires },
        1 => TableOp::CompareAndPut {
            expected: choices.flag().then(|| choices.bytes(9).to_vec()),
            value,
            expires,
        },
        2 => TableOp::Add {
            delta: choices.size() as i64,
            expires,
        },
        _ => TableOp::Delete,
    };
    (TableId(choices.below(2) as u16), key, op)
}

fn quota(choices: &mut Choices<'_>) -> QuotaLimit {
    QuotaLimit {
        storage_bytes: choices.flag().then(|| choices.size()),
        messages: choices.flag().then(|| choices.size()),
    }
}

fn new_mailbox(choices: &mut Choices<'_>) -> NewMailbox {
    NewMailbox {
        name: name(choices),
        special_use: choices.pick(&[None, None, Some(SpecialUse::Sent), Some(SpecialUse::Trash)]),
        subscribed: choices.flag(),
    }
}

fn name(choices: &mut Choices<'_>) -> MailboxName {
    let text = choices.pick(&[
        "INBOX",
        "INBOX",
        "A",
        "A/B",
        "A/B/C",
        "INBOX/X",
        "Z",
        "A/B/C/D/E",
        "ü",
    ]);
    MailboxName::parse(text).expect("these are names")
}

fn mailbox_id(choices: &mut Choices<'_>) -> MailboxId {
    // Mostly INBOX, which has the first id.
    MailboxId(choices.pick(&[1, 1, 1, 1, 2, 3, 4, 0]))
}

fn mailbox_ref(choices: &mut Choices<'_>) -> MailboxRef {
    if choices.flag() {
        MailboxRef::Name(name(choices))
    } else {
        MailboxRef::Id(mailbox_id(choices))
    }
}

fn uids(choices: &mut Choices<'_>) -> UidSet {
    let mut set = UidSet::new();
    for _ in 0..choices.pick(&[1, 1, 2, 0]) {
        // Mostly those that may be there.
        let uid = |choices: &mut Choices<'_>| {
            let number = match choices.byte() {
                byte @ 0xf0.. => u32::MAX - u32::from(byte & 3),
                byte => u32::from(byte & 15),
            };
            Uid::new(number).unwrap_or(Uid::MIN)
        };
        let (a, b) = (uid(choices), uid(choices));
        set.insert_range(a.min(b)..=a.max(b));
    }
    set
}

fn account_id(choices: &mut Choices<'_>) -> AccountId {
    // The third is not there, or no longer.
    AccountId(choices.pick(&[1, 1, 1, 1, 1, 2, 2, 3]))
}

fn flags(choices: &mut Choices<'_>) -> Flags {
    let mut flags = Flags::system(SystemFlags::from_bits(choices.byte()));
    for _ in 0..choices.below(3) {
        let keyword = choices.pick(&["a", "b", "$Junk", "c"]);
        flags.insert_keyword(Keyword::parse(keyword).expect("these are keywords"));
    }
    flags
}

fn body(choices: &mut Choices<'_>) -> NewBody {
    let message = &messages()[choices.below(3)];
    if choices.below(4) > 0 {
        return message.body(BodySource::Inline(message.chunks().to_vec()));
    }
    let digest = |chunk: &mailrook_store_api::shard::Chunk| *blake3::hash(&chunk.bytes).as_bytes();
    message.body(BodySource::Uploaded {
        upload: UploadId(choices.below(3).try_into().expect("a small number")),
        digests: message.chunks().iter().map(digest).collect(),
    })
}

fn messages() -> &'static [PreparedMessage; 3] {
    static MESSAGES: OnceLock<[PreparedMessage; 3]> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        [
            &b"Subject: a\r\n\r\na\r\n"[..],
            b"b",
            b"From: c@d.test\r\n\r\n",
        ]
        .map(|raw| PreparedMessage::new(raw).expect("they are small"))
    })
}

fn query(choices: &mut Choices<'_>) -> Query {
    let account = AccountId(choices.below(4) as u64);
    let mailbox = mailbox_id(choices);
    let limit = choices.size() as u32;
    match choices.below(13) {
        0 => Query::Mailboxes { account },
        1 => Query::Status {
            account,
            mailbox: mailbox_ref(choices),
        },
        2 => Query::Uids { account, mailbox },
        3 => Query::Index {
            account,
            mailbox,
            uids: uids(choices),
            limit,
        },
        4 => {
            let since = ModSeq(choices.size());
            Query::Changes {
                account,
                mailbox,
                since,
                uids: choices.flag().then(|| uids(choices)),
                after: choices.flag().then(|| ChangePlace {
                    modseq: ModSeq(choices.size()),
                    block: choices.byte().into(),
                }),
                limit,
            }
        }
        5 => Query::Details {
            account,
            mailbox,
            uids: uids(choices),
            limit,
        },
        6 => Query::Signatures {
            account,
            mailbox,
            uids: uids(choices),
            limit,
        },
        7 => {
            let hash = messages()[choices.below(3)].hash();
            Query::Chunks {
                hash,
                first: choices.size() as u32,
                count: limit,
            }
        }
        8 => Query::Quota { account },
        9 => Query::TableGet {
            table: TableId(0),
            key: vec![choices.byte() & 3],
        },
        10 => Query::TableScanSlots {
            table: TableId(choices.below(2) as u16),
            prefix: choices.bytes(1).to_vec(),
            slots: (0..4_096).step_by(choices.below(3) + 1).collect(),
            after: None,
            limit,
        },
        11 => Query::SlotEntries {
            fenced_by: choices.flag().then(|| choices.below(4) as u64),
            slots: (0..choices.below(4))
                .map(|_| table_slot(TableId(0), &[choices.byte() & 3]))
                .collect(),
            after: choices
                .flag()
                .then(|| (choices.size() as u16, TableId(0), choices.bytes(2).to_vec())),
        },
        _ => Query::TableScan {
            table: TableId(choices.below(2) as u16),
            prefix: choices.bytes(1).to_vec(),
            after: choices
                .flag()
                .then(|| (choices.size() as u16, choices.bytes(2).to_vec())),
            limit,
        },
    }
}

/// A command from bytes, which nobody has checked, on a shard and a directory that hold a little.
///
/// # Panics
/// If it stops the process, or two copies differ.
pub fn raw_commands(input: &[u8]) {
    // An account, and a message in it.
    static BEFORE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let before = BEFORE.get_or_init(|| records::seeds().into_iter().take(2).collect());
    let mut shard = Copies::new(Shard);
    for command in before {
        shard
            .apply(1_700_000_000_000, command.clone(), 0)
            .expect("it is well formed");
    }
    let applied = shard.apply(1_700_000_100_000, input.to_vec(), 0);
    let _ = shard.apply(1_700_000_200_000, ShardCommand::Tick.encode(), 0);
    if applied.is_ok() {
        shard.compare();
    }
    let snapshot = shard.one.snapshot();
    if let Ok(question) = Query::decode(input) {
        let _ = answer(&snapshot, 1_700_000_200_000, &question);
    }
    let mut meta = Copies::new(Meta);
    for command in setup() {
        meta.apply(1_700_000_000_000, command.encode(), 0)
            .expect("it is well formed");
    }
    let _ = meta.apply(1_700_000_100_000, input.to_vec(), 0);
    if let Ok(question) = MetaQuery::decode(input) {
        let _ = answer_meta(&meta.one.snapshot(), 1_700_000_200_000, &question);
    }
}

/// A directory with a domain, an account and an alias.
fn setup() -> Vec<MetaCommand> {
    let account = NewAccount {
        address: address_of(0),
        credential: None,
        quota_storage_bytes: None,
        quota_messages: None,
    };
    vec![
        MetaCommand::SetShards(vec![ShardId(1), ShardId(2)]),
        MetaCommand::AddDomain(domain_of(0)),
        MetaCommand::AddAccount(account),
        MetaCommand::AddAlias {
            address: address_of(1),
            targets: vec![address_of(0)],
        },
    ]
}

fn domain_of(index: usize) -> Domain {
    Domain::parse(["example.test", "b.test", "c.test"][index % 3]).expect("these are domains")
}

fn address_of(index: usize) -> Address {
    let local = ["a", "b", "postmaster", "abuse", "a+x", "c", "A"][index % 7];
    let domain = domain_of(index / 7);
    Address::parse(&format!("{local}@{domain}")).expect("these are addresses")
}

/// Commands of the directory as the input chooses them.
///
/// # Panics
/// If two copies differ, or a question cannot be answered.
pub fn meta_commands(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut copies = Copies::new(Meta);
    let mut now = 1_700_000_000_000;
    for command in setup() {
        copies
            .apply(now, command.encode(), 0)
            .expect("it is well formed");
    }
    while !choices.is_empty() {
        now += 1;
        let command = meta_command(&mut choices);
        let group = choices.below(4);
        copies
            .apply(now, command.encode(), group)
            .expect("it is well formed");
        let address = address_of(choices.below(21));
        let snapshot = copies.one.snapshot();
        for question in [
            MetaQuery::Resolve(address.clone()),
            MetaQuery::Login(address.to_string()),
            MetaQuery::Accounts {
                domain: choices.flag().then(|| domain_of(0)),
                after: Some(address.clone()),
                limit: 5,
            },
            MetaQuery::Aliases {
                domain: None,
                after: choices.flag().then_some(address),
                limit: u32::MAX,
            },
            MetaQuery::Domains {
                after: None,
                limit: 1,
            },
            MetaQuery::Shards,
            MetaQuery::SlotMap,
            MetaQuery::SlotMove,
        ] {
            answer_meta(&snapshot, now, &question).expect("a well-kept directory can be asked");
        }
    }
    copies.compare();
}

fn meta_command(choices: &mut Choices<'_>) -> MetaCommand {
    let address = address_of(choices.below(21));
    let domain = domain_of(choices.below(3));
    match choices.below(18) {
        0 => MetaCommand::GrantClient {
            nonce: [choices.byte() & 3; 16],
        },
        1 => MetaCommand::SetShards((0..choices.below(4) as u32).map(ShardId).collect()),
        2 => MetaCommand::AddDomain(domain),
        3 => MetaCommand::RemoveDomain(domain),
        4 => MetaCommand::SetCatchAll {
            domain,
            target: choices.flag().then_some(address),
        },
        5 => MetaCommand::AddAccount(NewAccount {
            address,
            credential: choices.flag().then(|| credential(choices)),
            quota_storage_bytes: None,
            quota_messages: choices.flag().then(|| choices.size()),
        }),
        6 => MetaCommand::RemoveAccount(address),
        7 => MetaCommand::RenameAccount {
            from: address,
            to: address_of(choices.below(21)),
        },
        8 => MetaCommand::SetEnabled {
            address,
            enabled: choices.flag(),
        },
        9 => MetaCommand::SetQuota {
            address,
            storage_bytes: Some(choices.size()),
            messages: None,
        },
        10 => MetaCommand::PutCredential {
            address,
            credential: credential(choices),
        },
        11 => MetaCommand::RemoveCredential {
            address,
            name: choices.pick(&["main", "x"]).to_owned(),
        },
        12 => MetaCommand::AddAlias {
            address,
            targets: targets(choices),
        },
        13 => MetaCommand::RemoveAlias {
            address,
            targets: targets(choices),
        },
        14 => MetaCommand::BeginSlotMove {
            epoch_before: choices.below(6) as u64,
            slots: (0..choices.below(4) as u16)
                .map(|slot| slot * 2)
                .chain(choices.flag().then(|| choices.size() as u16))
                .collect(),
            from: ShardId(choices.below(4) as u32),
            to: ShardId(choices.below(4) as u32),
        },
        15 => MetaCommand::FinishSlotMove {
            id: choices.below(4) as u64,
        },
        16 => MetaCommand::ForgetSlotMove {
            id: choices.below(4) as u64,
        },
        _ => MetaCommand::PutSetting {
            name: choices.pick(&["postmaster", "abuse", "x", ""]).to_owned(),
            value: choices.flag().then(|| choices.bytes(9).to_vec()),
        },
    }
}

fn targets(choices: &mut Choices<'_>) -> Vec<Address> {
    (0..choices.below(4))
        .map(|_| address_of(choices.below(21)))
        .collect()
}

fn credential(choices: &mut Choices<'_>) -> Credential {
    Credential {
        name: choices.pick(&["main", "x", "", "y"]).to_owned(),
        scopes: vec![choices.pick(&[CredentialScope::Imap, CredentialScope::Smtp])],
        verifier: choices.array::<4>().to_vec(),
        version: choices.size(),
        created: Timestamp(0),
    }
}

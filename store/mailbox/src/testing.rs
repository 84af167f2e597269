//! A shard in memory for the tests beside the code: every command is followed by a check of the whole shard.

use mailrook_kv::{MemoryStore, Overlay, Read, StateMachine, Store};
use mailrook_types::{
    AccountId, BlobHash, ClientId, FlagUpdate, Flags, MailboxId, MailboxName, ModSeq, OpId,
    SystemFlags, Timestamp, Uid, UidSet,
};

use crate::{
    AccountChange, AccountCommand, Answer, AppendTo, BodySource, Change, ChangeReply, Changes,
    Chunk, ChunkCodec, Deliver, DeliveryKey, IndexEntry, MailboxRef, MailboxStatus,
    MaildropCommand, MaildropHolder, MaildropReply, MaildropStep, MoveCommand, MoveReply, MoveStep,
    Mover, NewBody, NewMailbox, NewMessage, Query, QuotaLimit, RecipientDelivery, Refusal, Shard,
    ShardCommand, ShardReply, SlotCommand, SlotReply, SlotStep, answer, check,
};

pub(crate) const ACCOUNT: AccountId = AccountId(1);
pub(crate) const INBOX: MailboxId = MailboxId(1);

pub(crate) struct World {
    pub store: MemoryStore,
    pub now: i64,
    /// Each shard has clients of its own.
    client: ClientId,
    n: u64,
}

impl World {
    /// A shard without anything.
    pub(crate) fn empty() -> World {
        World {
            store: MemoryStore::new(),
            now: 1_700_000_000_000,
            client: ClientId(2),
            n: 0,
        }
    }

    /// A shard with one account that has nothing but INBOX.
    pub(crate) fn new() -> World {
        let mut world = World::empty();
        world.client = ClientId(1);
        let create = AccountChange::Create {
            mailboxes: Vec::new(),
            quota: QuotaLimit::default(),
        };
        world.change(Change::Account(create)).unwrap();
        world
    }

    pub(crate) fn apply(&mut self, command: &ShardCommand) -> ShardReply {
        self.now += 1;
        let snapshot = self.store.snapshot();
        let mut view = Overlay::new(&snapshot as &dyn Read);
        let applied = Shard.apply(&mut view, self.now, &command.encode()).unwrap();
        self.store.write(view.into_batch()).unwrap();
        assert_eq!(
            check(&self.store.snapshot()).unwrap(),
            Vec::<String>::new(),
            "after {command:?}"
        );
        ShardReply::decode(&applied.reply).unwrap()
    }

    /// Takes a step of a move of slots.
    pub(crate) fn slots(
        &mut self,
        move_id: u64,
        slots: &[u16],
        step: SlotStep,
    ) -> Result<SlotReply, Refusal> {
        let slots = slots.to_vec();
        match self.apply(&ShardCommand::Slots(SlotCommand {
            move_id,
            slots,
            step,
        })) {
            ShardReply::Slots(reply) => reply,
            other => panic!("not a slot's reply: {other:?}"),
        }
    }

    /// Takes a step of a move of the account.
    pub(crate) fn moving(&mut self, by: Mover, step: MoveStep) -> Result<MoveReply, Refusal> {
        self.moving_from(by, step, Vec::new())
    }

    /// Goes on with a step of a move of the account.
    pub(crate) fn moving_from(
        &mut self,
        by: Mover,
        step: MoveStep,
        cursor: Vec<u8>,
    ) -> Result<MoveReply, Refusal> {
        match self.apply(&ShardCommand::Move(MoveCommand {
            account: ACCOUNT,
            by,
            step,
            cursor,
        })) {
            ShardReply::Move(reply) => reply,
            other => panic!("not a move's reply: {other:?}"),
        }
    }

    /// Takes a step with the lock of the maildrop.
    pub(crate) fn maildrop(
        &mut self,
        holder: MaildropHolder,
        step: MaildropStep,
    ) -> Result<MaildropReply, Refusal> {
        match self.apply(&ShardCommand::Maildrop(MaildropCommand {
            account: ACCOUNT,
            holder,
            step,
        })) {
            ShardReply::Maildrop(reply) => reply,
            other => panic!("not a maildrop's reply: {other:?}"),
        }
    }

    /// How many pairs the store holds.
    pub(crate) fn pairs(&self) -> usize {
        self.store.snapshot().pairs().count()
    }

    pub(crate) fn op(&mut self) -> OpId {
        self.n += 1;
        OpId {
            client: self.client,
            lane: 1,
            n: self.n,
            lowest_unanswered: self.n,
        }
    }

    pub(crate) fn change(&mut self, change: Change) -> Result<ChangeReply, Refusal> {
        let op = self.op();
        self.change_as(op, change)
    }

    pub(crate) fn change_as(&mut self, op: OpId, change: Change) -> Result<ChangeReply, Refusal> {
        match self.apply(&ShardCommand::Account(AccountCommand {
            account: ACCOUNT,
            op,
            change,
        })) {
            ShardReply::Account(reply) => reply,
            other => panic!("not an account's reply: {other:?}"),
        }
    }

    pub(crate) fn create(&mut self, text: &str) -> Result<MailboxId, Refusal> {
        let new = NewMailbox {
            name: name(text),
            special_use: None,
            subscribed: false,
        };
        match self.change(Change::CreateMailbox(new))? {
            ChangeReply::Created(id) => Ok(id),
            other => panic!("not a CREATE's reply: {other:?}"),
        }
    }

    /// Appends `count` messages of 100 bytes to INBOX.
    pub(crate) fn append(&mut self, count: u32) {
        self.change(append(MailboxRef::Id(INBOX), count)).unwrap();
    }

    pub(crate) fn flag(&mut self, uids: &str, system: SystemFlags) {
        let flags = Flags::system(system);
        let update = FlagUpdate::Add;
        self.change(Change::StoreFlags {
            mailbox: INBOX,
            uids: set(uids),
            unchanged_since: None,
            update,
            flags,
        })
        .unwrap();
    }

    pub(crate) fn ask(&self, query: &Query) -> Answer {
        answer(&self.store.snapshot(), self.now, query).unwrap()
    }

    pub(crate) fn status(&self, mailbox: MailboxId) -> MailboxStatus {
        let mailbox = MailboxRef::Id(mailbox);
        match self.ask(&Query::Status {
            account: ACCOUNT,
            mailbox,
        }) {
            Answer::Status(status) => status,
            other => panic!("not a status: {other:?}"),
        }
    }

    pub(crate) fn uids(&self, mailbox: MailboxId) -> String {
        match self.ask(&Query::Uids {
            account: ACCOUNT,
            mailbox,
        }) {
            Answer::Uids(uids) => uids.to_string(),
            other => panic!("not UIDs: {other:?}"),
        }
    }

    pub(crate) fn index(&self, mailbox: MailboxId) -> Vec<IndexEntry> {
        let uids = UidSet::from_range(Uid::MIN..=Uid::MAX);
        match self.ask(&Query::Index {
            account: ACCOUNT,
            mailbox,
            uids,
            limit: 1000,
        }) {
            Answer::Index(entries) => entries,
            other => panic!("not an index: {other:?}"),
        }
    }

    pub(crate) fn changes(&self, since: u64) -> Changes {
        let since = ModSeq(since);
        match self.ask(&Query::Changes {
            account: ACCOUNT,
            mailbox: INBOX,
            since,
            uids: None,
            after: None,
            limit: u32::MAX,
        }) {
            Answer::Changes(changes) => changes,
            other => panic!("not changes: {other:?}"),
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        match self.ask(&Query::Mailboxes { account: ACCOUNT }) {
            Answer::Mailboxes(list) => list
                .mailboxes
                .iter()
                .map(|info| info.name.to_string())
                .collect(),
            other => panic!("not a list: {other:?}"),
        }
    }

    /// A delivery of one body to INBOX.
    pub(crate) fn delivery(&mut self, key: u8) -> Deliver {
        Deliver {
            op: self.op(),
            body: body(1),
            received: Timestamp(self.now),
            key: Some(DeliveryKey([key; 32])),
            recipients: vec![RecipientDelivery {
                account: ACCOUNT,
                mailbox: None,
                prefix: b"Return-Path: <>\r\n".to_vec(),
                flags: Flags::default(),
            }],
            confirmed: Vec::new(),
        }
    }
}

pub(crate) fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

/// A set such as `1:3,7`.
pub(crate) fn set(text: &str) -> UidSet {
    let uid = |text: &str| Uid::new(text.parse().unwrap()).unwrap();
    let mut uids = UidSet::new();
    for range in text.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        uids.insert_range(uid(first)..=uid(last));
    }
    uids
}

/// A session of a process.
pub(crate) fn holder(client: u64, session: u64) -> MaildropHolder {
    MaildropHolder {
        client: ClientId(client),
        session,
    }
}

pub(crate) fn body(number: u8) -> NewBody {
    NewBody {
        hash: BlobHash([number; 32]),
        size: 100,
        crlf_growth: 2,
        source: BodySource::Inline(vec![Chunk {
            codec: ChunkCodec::Raw,
            bytes: vec![number; 100],
        }]),
        detail: vec![number],
        signature: vec![number, number],
    }
}

pub(crate) fn append(mailbox: MailboxRef, count: u32) -> Change {
    let message = |at: u32| NewMessage {
        body: body(at as u8),
        prefix: Vec::new(),
        internal_date: Timestamp(5),
        flags: Flags::default(),
    };
    Change::Append(AppendTo {
        mailbox,
        messages: (0..count).map(message).collect(),
    })
}

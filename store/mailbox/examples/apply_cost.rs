//! What applying and reading cost, over the in-memory store: `cargo run --release -p mailrook-mailbox --example apply_cost`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement for people"
)]

use std::time::Instant;

use mailrook_kv::{Batch, MemorySnapshot, MemoryStore, Overlay, Read, StateMachine, Store};
use mailrook_mailbox::{
    AccountChange, AccountCommand, Answer, BodySource, Change, Chunk, ChunkCodec, Confirmation,
    Deliver, DeliveryKey, MailboxRef, NewBody, Query, QuotaLimit, RecipientDelivery, Shard,
    ShardCommand, ShardReply, account_digest, answer,
};
use mailrook_types::{
    AccountId, BlobHash, ClientId, FlagUpdate, Flags, Keyword, MailboxId, MailboxName, ModSeq,
    OpId, SystemFlags, Timestamp, Uid, UidSet,
};

const MESSAGES: u32 = 100_000;
/// As many commands as a group applies in one batch under load.
const BATCH: u32 = 64;
const ACCOUNT: AccountId = AccountId(1);
const INBOX: MailboxId = MailboxId(1);

struct Bench {
    store: MemoryStore,
    now: i64,
    n: u64,
}

impl Bench {
    fn op(&mut self) -> OpId {
        self.n += 1;
        OpId {
            client: ClientId(1),
            lane: 1,
            n: self.n,
            lowest_unanswered: self.n,
        }
    }

    fn apply(&mut self, commands: Vec<ShardCommand>) -> Vec<ShardReply> {
        let commands: Vec<Vec<u8>> = commands.iter().map(ShardCommand::encode).collect();
        let snapshot = self.store.snapshot();
        let mut view = Overlay::new(&snapshot as &dyn Read);
        let mut replies = Vec::new();
        for command in &commands {
            self.now += 1;
            replies.push(Shard.apply(&mut view, self.now, command).unwrap().reply);
        }
        let batch: Batch = view.into_batch();
        drop(snapshot);
        self.store.write(batch).unwrap();
        replies
            .iter()
            .map(|reply| ShardReply::decode(reply).unwrap())
            .collect()
    }

    fn change(&mut self, what: &str, change: Change) {
        let op = self.op();
        let command = ShardCommand::Account(AccountCommand {
            account: ACCOUNT,
            op,
            change,
        });
        let start = Instant::now();
        let reply = self.apply(vec![command]).remove(0);
        assert!(matches!(reply, ShardReply::Account(Ok(_))), "{reply:?}");
        println!("{what}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    }

    fn deliver(&mut self, number: u32) -> ShardCommand {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_le_bytes());
        let key = |number: u32| DeliveryKey(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let confirmed = number.checked_sub(1).map(|before| Confirmation {
            account: ACCOUNT,
            mailbox: INBOX,
            // The first has UID 1.
            uid: Uid::new(before + 1).unwrap_or(Uid::MIN),
            key: key(before),
        });
        ShardCommand::Deliver(Deliver {
            op: self.op(),
            body: NewBody {
                hash: BlobHash(hash),
                size: 4096,
                crlf_growth: 0,
                source: BodySource::Inline(vec![Chunk {
                    codec: ChunkCodec::Lz4,
                    bytes: vec![7; 2000],
                }]),
                detail: vec![1; 600],
                signature: vec![2; 256],
            },
            received: Timestamp(self.now),
            key: Some(key(number)),
            recipients: vec![RecipientDelivery {
                account: ACCOUNT,
                mailbox: None,
                prefix: vec![b'x'; 200],
                flags: Flags::default(),
            }],
            confirmed: confirmed.into_iter().collect(),
        })
    }

    fn ask(&self, what: &str, per: u32, query: Query) -> Answer {
        let snapshot: MemorySnapshot = self.store.snapshot();
        let start = Instant::now();
        let told = answer(&snapshot, self.now, &query).unwrap();
        let took = start.elapsed().as_secs_f64();
        println!(
            "{what}: {:.2} ms, {:.0} ns each",
            took * 1e3,
            took * 1e9 / f64::from(per)
        );
        told
    }
}

fn all() -> UidSet {
    UidSet::from_range(Uid::MIN..=Uid::MAX)
}

fn main() {
    let mut bench = Bench {
        store: MemoryStore::new(),
        now: 1_700_000_000_000,
        n: 0,
    };
    let quota = QuotaLimit::default();
    bench.change(
        "create an account",
        Change::Account(AccountChange::Create {
            mailboxes: Vec::new(),
            quota,
        }),
    );
    let start = Instant::now();
    for batch in 0..MESSAGES / BATCH {
        let commands = (0..BATCH)
            .map(|at| bench.deliver(batch * BATCH + at))
            .collect();
        bench.apply(commands);
    }
    let per = start.elapsed().as_secs_f64() * 1e6 / f64::from(MESSAGES);
    println!("deliver 4 KiB, encoding and writing included: {per:.1} µs each");
    let index = || Query::Index {
        account: ACCOUNT,
        mailbox: INBOX,
        uids: all(),
        limit: u32::MAX,
    };
    bench.ask(
        "UIDs",
        MESSAGES,
        Query::Uids {
            account: ACCOUNT,
            mailbox: INBOX,
        },
    );
    bench.ask(
        "status",
        1,
        Query::Status {
            account: ACCOUNT,
            mailbox: MailboxRef::Id(INBOX),
        },
    );
    bench.ask("index, FETCH 1:* (UID FLAGS)", MESSAGES, index());
    bench.ask(
        "index, nothing changed",
        1,
        Query::Changes {
            account: ACCOUNT,
            mailbox: INBOX,
            since: ModSeq(u64::from(MESSAGES) * 2),
            uids: None,
            after: None,
            limit: u32::MAX,
        },
    );
    bench.ask(
        "signatures of 10,000",
        10_000,
        Query::Signatures {
            account: ACCOUNT,
            mailbox: INBOX,
            uids: all(),
            limit: 10_000,
        },
    );
    let store = |update, system, keywords: &[&str]| Change::StoreFlags {
        mailbox: INBOX,
        uids: all(),
        unchanged_since: None,
        update,
        flags: Flags {
            system,
            keywords: keywords
                .iter()
                .map(|word| Keyword::parse(word).unwrap())
                .collect(),
        },
    };
    bench.change(
        "STORE 1:* +FLAGS (\\Seen), each delivered alone",
        store(FlagUpdate::Add, SystemFlags::SEEN, &[]),
    );
    bench.change(
        "STORE 1:* +FLAGS (Work)",
        store(FlagUpdate::Add, SystemFlags::NONE, &["Work"]),
    );
    bench.ask("index with a keyword", MESSAGES, index());
    let one = Change::StoreFlags {
        mailbox: INBOX,
        uids: UidSet::from_range(Uid::MIN..=Uid::MIN),
        unchanged_since: None,
        update: FlagUpdate::Add,
        flags: Flags::system(SystemFlags::FLAGGED),
    };
    bench.change("STORE of one message", one);
    let archive = MailboxName::parse("Archive").unwrap();
    let new = mailrook_mailbox::NewMailbox {
        name: archive.clone(),
        special_use: None,
        subscribed: false,
    };
    bench.change("CREATE", Change::CreateMailbox(new));
    let to = MailboxRef::Name(archive.clone());
    bench.change(
        "COPY of all",
        Change::Copy {
            mailbox: INBOX,
            uids: all(),
            to,
            remove_originals: false,
        },
    );
    bench.change("DELETE of a full mailbox", Change::DeleteMailbox(archive));
    bench.change(
        "STORE 1:* +FLAGS (\\Deleted)",
        store(FlagUpdate::Add, SystemFlags::DELETED, &[]),
    );
    bench.change(
        "EXPUNGE of all",
        Change::Expunge {
            mailbox: INBOX,
            uids: None,
        },
    );
    let start = Instant::now();
    bench.apply(vec![ShardCommand::Tick]);
    println!(
        "a tick with remains to remove: {:.1} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    let start = Instant::now();
    account_digest(&bench.store.snapshot(), ACCOUNT).unwrap();
    println!(
        "digest of the account: {:.0} µs",
        start.elapsed().as_secs_f64() * 1e6
    );
}

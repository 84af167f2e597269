//! What is stored or sent between nodes: whatever the bytes, they are refused or read, and what was read is written so
//! that it is read as the same.

use std::fmt::Debug;

use mailrook_kv::RecordError;
use mailrook_store_api::{
    Detail, PreparedMessage,
    meta::{MetaAnswer, MetaCommand, MetaQuery, MetaReply, NewAccount},
    shard::{
        AccountChange, AccountCommand, Answer, AppendTo, BodySource, Change, ChangePlace,
        MailboxRef, MaildropCommand, MaildropHolder, MaildropStep, NewMailbox, NewMessage, Query,
        QuotaLimit, ShardCommand, ShardReply,
    },
};
use mailrook_types::{
    AccountId, Address, ClientId, Domain, Flags, MailboxId, MailboxName, ModSeq, OpId, SystemFlags,
    Timestamp, Uid, UidSet,
};

use crate::Target;

pub(crate) const STORED_RECORDS: Target = Target {
    name: "stored_records",
    run: stored_records,
    seeds,
    dictionary: &[
        b"\0",
        b"\x01",
        b"\x02",
        b"\xff\xff\xff\xff\x0f",
        b"\x80\x80\x80\x80\x08",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x05INBOX",
        b"\x10a@b.example.test",
        b"\x08text/abc",
        b"\x01\x01\x01",
    ],
    len_max: 4_000,
    rounds: 300_000,
};

/// Every format with a version of its own.
///
/// # Panics
/// If one of them is read as something that it does not write.
pub fn stored_records(input: &[u8]) {
    check(input, ShardCommand::decode, ShardCommand::encode);
    check(input, ShardReply::decode, ShardReply::encode);
    check(input, Query::decode, Query::encode);
    check(input, Answer::decode, Answer::encode);
    check(input, MetaCommand::decode, MetaCommand::encode);
    check(input, MetaReply::decode, MetaReply::encode);
    check(input, MetaQuery::decode, MetaQuery::encode);
    check(input, MetaAnswer::decode, MetaAnswer::encode);
    check(input, Detail::decode, Detail::encode);
}

fn check<T: Debug + PartialEq>(
    input: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, RecordError>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let Ok(record) = decode(input) else { return };
    let written = encode(&record);
    assert_eq!(decode(&written).as_ref(), Ok(&record));
    // Numbers have longer spellings, and names are normalised, but nothing grows beyond that.
    assert!(written.len() <= 4 * input.len() + 64);
}

pub(crate) fn op(n: u64) -> OpId {
    OpId {
        client: ClientId(1),
        lane: 1,
        n,
        lowest_unanswered: n,
    }
}

/// One of every kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let message = PreparedMessage::new(b"Subject: x\r\nTo: a@b.test\r\n\r\nhello\r\n");
    let message = message.expect("it is small");
    let body = message.body(BodySource::Inline(message.chunks().to_vec()));
    let new_message = NewMessage {
        body: body.clone(),
        prefix: b"Received: x\r\n".to_vec(),
        internal_date: Timestamp(1),
        flags: Flags::system(SystemFlags::SEEN),
    };
    let account = |n, change| {
        let account = AccountId(1);
        ShardCommand::Account(AccountCommand {
            account,
            op: op(n),
            change,
        })
        .encode()
    };
    let holder = MaildropHolder {
        client: ClientId(1),
        session: 1,
    };
    let inbox = || MailboxRef::Name(MailboxName::inbox());
    let uids = UidSet::from_range(Uid::MIN..=Uid::MIN);
    let domain = Domain::parse("example.test").expect("a domain");
    let address = Address::parse("user@example.test").expect("an address");
    vec![
        account(
            1,
            Change::Account(AccountChange::Create {
                mailboxes: vec![NewMailbox {
                    name: MailboxName::inbox(),
                    special_use: None,
                    subscribed: true,
                }],
                quota: QuotaLimit::default(),
            }),
        ),
        account(
            2,
            Change::Append(AppendTo {
                mailbox: inbox(),
                messages: vec![new_message],
            }),
        ),
        account(
            3,
            Change::Copy {
                mailbox: MailboxId(1),
                uids: uids.clone(),
                to: inbox(),
                remove_originals: true,
            },
        ),
        account(
            4,
            Change::Expunge {
                mailbox: MailboxId(1),
                uids: Some(uids.clone()),
            },
        ),
        ShardCommand::Maildrop(MaildropCommand {
            account: AccountId(1),
            holder,
            step: MaildropStep::Take { lease_ms: 30_000 },
        })
        .encode(),
        account(
            5,
            Change::CloseMaildrop {
                holder,
                mailbox: MailboxId(1),
                uids: uids.clone(),
            },
        ),
        ShardCommand::Tick.encode(),
        ShardCommand::SkipNumbers.encode(),
        Query::Changes {
            account: AccountId(1),
            mailbox: MailboxId(1),
            since: ModSeq(1),
            uids: Some(uids),
            after: Some(ChangePlace {
                modseq: ModSeq(2),
                block: 0,
            }),
            limit: 100,
        }
        .encode(),
        MetaCommand::AddDomain(domain).encode(),
        MetaCommand::AddAccount(NewAccount {
            address: address.clone(),
            credential: None,
            quota_storage_bytes: Some(5),
            quota_messages: None,
        })
        .encode(),
        MetaQuery::Resolve(address).encode(),
        body.detail,
    ]
}

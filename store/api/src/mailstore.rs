//! The accounts' mail.

use std::sync::Arc;

use bytes::Bytes;
use mailrook_mailbox::{
    Answer, Appended, Change, ChangePlace, ChangeReply, Changes, Confirmation, DeliveryKey,
    DeliveryOutcome, IndexEntry, MailboxList, MailboxRef, MailboxStatus, MaildropCommand,
    MessageDetail, NewMailbox, Query, QuotaUsage, Refusal,
};
use mailrook_types::{
    AccountId, BlobHash, Flags, MailboxId, MailboxName, ModSeq, SpecialUse, Timestamp, Uid, UidSet,
};
use tokio::sync::watch;

use crate::{Call, Lane, PreparedMessage, StoreError};

/// The mail of all accounts of the cluster. Every change that it answers is committed; every read shows all that was
/// committed before it was asked.
pub trait Mailstore: Send + Sync + 'static {
    /// A new sequence of operations. A session keeps one for its life.
    fn open_lane(&self) -> Call<'_, Lane>;

    /// Carries out a change, once, however often it must be sent. [`Change::Append`] goes through [`Mailstore::append`].
    fn change<'a>(
        &'a self,
        lane: &'a mut Lane,
        account: AccountId,
        change: Change,
    ) -> Call<'a, Result<ChangeReply, Refusal>>;

    /// Appends messages to a mailbox: all or none.
    fn append<'a>(
        &'a self,
        lane: &'a mut Lane,
        account: AccountId,
        append: Append,
    ) -> Call<'a, Result<Appended, Refusal>>;

    /// Delivers one message to its recipients, and answers for each in order. A recipient whose shard cannot be reached
    /// has an error of its own; the others are delivered.
    fn deliver<'a>(
        &'a self,
        lane: &'a mut Lane,
        delivery: Delivery,
    ) -> Call<'a, Vec<Result<DeliveryOutcome, StoreError>>>;

    /// Notes that the acknowledgements of deliveries were seen by their sender: the same bytes sent again are a new
    /// message from now on. Committed when it answers, so that a session awaits it before it answers the command that
    /// showed it (QUIT, say); before a further delivery [`Delivery::confirmed`] serves better.
    fn confirm(&self, confirmations: Vec<Confirmation>) -> Call<'_, ()>;

    /// Waits until what deliveries took along ([`Delivery::confirmed`]) is committed, as far as it is not.
    fn settle(&self, confirmations: Vec<Confirmation>) -> Call<'_, ()>;

    /// Takes a step with the lock of an account's maildrop (RFC 1939 §4). Said again, it does no more than once.
    fn maildrop(&self, command: MaildropCommand) -> Call<'_, Result<MaildropLock, Refusal>>;

    /// Answers a question about `account`.
    fn query(&self, account: AccountId, query: Query) -> Call<'_, Answer>;

    /// The bytes `start..end` of a body, without its prefix; fewer if it ends before. At most [`BODY_READ_MAX`] at a time.
    fn body(&self, account: AccountId, hash: BlobHash, start: u32, end: u32) -> Call<'_, Bytes>;

    /// Hears of changes in an account, from now on.
    fn watch(&self, account: AccountId) -> Call<'_, Watch>;
}

/// 1 MiB: four chunks. A reader asks again, so that a slow client holds no more than this.
pub const BODY_READ_MAX: u32 = 1 << 20;

/// What a new account starts with beside INBOX: a mailbox for each special use (RFC 6154), subscribed.
pub fn default_mailboxes() -> Vec<NewMailbox> {
    let mailbox = |(special_use, attribute): &(SpecialUse, &str)| {
        // The attributes are plain words after their backslash.
        let name = MailboxName::parse(&attribute[1..])
            .expect("a special use's attribute is a mailbox name");
        NewMailbox {
            name,
            special_use: Some(*special_use),
            subscribed: true,
        }
    };
    SpecialUse::ALL.iter().map(mailbox).collect()
}

/// How a step with the lock of a maildrop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaildropLock {
    /// It is done.
    Done,
    /// Not taken: another session has it.
    InUse,
    /// Not all nodes know that maildrops are locked in the cluster: each process has to see to it that it has one session of
    /// an account at a time, as it has to anyway.
    NotYet,
}

/// Messages for one mailbox.
#[derive(Clone, Debug)]
pub struct Append {
    /// To where.
    pub mailbox: MailboxRef,
    /// The messages in order, each with its flags and INTERNALDATE.
    pub messages: Vec<(Arc<PreparedMessage>, Flags, Timestamp)>,
}

impl Append {
    /// 8 MiB of what the messages carry beside their bodies (see [`Append::carried_len`]): 8 KiB, several times what is
    /// ordinary, for each of a thousand. A shard takes more, so that nothing is refused for an estimate.
    pub const CARRIED_MAX: usize = 8 << 20;

    /// The most that one message carries, whatever is in it: what is derived from it is bounded, and keywords are by
    /// the line that they come in.
    pub const CARRIED_EACH_MAX: usize = 320 << 10;

    /// An error if there is more than a store takes at once. Told before anything is sent.
    ///
    /// # Errors
    /// [`StoreError::Unacceptable`]
    pub fn check(&self) -> Result<(), StoreError> {
        let carried = self.carried();
        if carried > Append::CARRIED_MAX {
            let count = self.messages.len();
            let text = format!("{count} messages at once, with {carried} bytes beside the bodies");
            return Err(StoreError::Unacceptable(text));
        }
        Ok(())
    }

    /// About how many bytes all messages carry beside their bodies.
    pub fn carried(&self) -> usize {
        let each = |(message, flags, _): &(Arc<PreparedMessage>, Flags, Timestamp)| {
            Append::carried_len(message, flags)
        };
        self.messages.iter().map(each).sum()
    }

    /// About how many bytes a message carries beside its body.
    pub fn carried_len(message: &PreparedMessage, flags: &Flags) -> usize {
        let keywords = flags
            .keywords
            .iter()
            .map(|keyword| keyword.as_str().len() + 2);
        message.carried_len() + keywords.sum::<usize>()
    }
}

/// One message for several accounts, wherever they are.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message as it was received, before our own header fields.
    pub message: Arc<PreparedMessage>,
    /// When it was received.
    pub received: Timestamp,
    /// What makes a repeated transmission recognisable.
    pub key: Option<DeliveryKey>,
    /// Who gets it; none twice.
    pub recipients: Vec<DeliveryRecipient>,
    /// What the same connection's earlier deliveries have confirmed by this one. It counts before any delivery that
    /// this process hands over from now on; for others it is committed soon, or by [`Mailstore::settle`]. A
    /// confirmation sent twice does no harm.
    pub confirmed: Vec<Confirmation>,
}

/// One recipient of a delivery.
#[derive(Clone, Debug)]
pub struct DeliveryRecipient {
    /// Whose mail.
    pub account: AccountId,
    /// The mailbox asked for; INBOX if it is not there.
    pub mailbox: Option<MailboxName>,
    /// Header fields to stand before the message in this copy.
    pub prefix: Bytes,
    /// The flags it starts with.
    pub flags: Flags,
}

/// Names a message in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessagePlace {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The message.
    pub uid: Uid,
}

/// Tells when an account changed.
#[derive(Clone, Debug)]
pub struct Watch {
    highest: watch::Receiver<ModSeq>,
}

impl Watch {
    /// Over a channel that carries the account's highest MODSEQ known to the watcher's back end.
    pub fn new(highest: watch::Receiver<ModSeq>) -> Watch {
        Watch { highest }
    }

    /// Waits until the account changed since the last call (or since the watch began). Cancel-safe.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the back end is gone: watch again, and compare what is there with what is known.
    pub async fn changed(&mut self) -> Result<ModSeq, StoreError> {
        let gone = |_| StoreError::Unavailable("the back end that was watched is gone".to_owned());
        self.highest.changed().await.map_err(gone)?;
        Ok(*self.highest.borrow_and_update())
    }
}

/// Questions with the type of their answers. `None` says that the mailbox, or the account, is not there.
impl dyn Mailstore {
    /// All mailboxes and subscriptions.
    pub async fn mailboxes(&self, account: AccountId) -> Result<Option<MailboxList>, StoreError> {
        match self.query(account, Query::Mailboxes { account }).await? {
            Answer::Mailboxes(list) => Ok(Some(list)),
            other => absent_or_misfit(other),
        }
    }

    /// One mailbox's numbers.
    pub async fn status(
        &self,
        account: AccountId,
        mailbox: MailboxRef,
    ) -> Result<Option<MailboxStatus>, StoreError> {
        match self
            .query(account, Query::Status { account, mailbox })
            .await?
        {
            Answer::Status(status) => Ok(Some(status)),
            other => absent_or_misfit(other),
        }
    }

    /// A mailbox's UIDs.
    pub async fn uids(
        &self,
        account: AccountId,
        mailbox: MailboxId,
    ) -> Result<Option<UidSet>, StoreError> {
        match self
            .query(account, Query::Uids { account, mailbox })
            .await?
        {
            Answer::Uids(uids) => Ok(Some(uids)),
            other => absent_or_misfit(other),
        }
    }

    /// All items of `query` for `uids`, at most `limit`: an answer ends before that where its items are long.
    async fn each<T>(
        &self,
        account: AccountId,
        mut uids: UidSet,
        limit: u32,
        query: impl Fn(UidSet, u32) -> Query,
        items: impl Fn(Answer) -> Result<Option<Vec<T>>, StoreError>,
        uid: impl Fn(&T) -> Uid,
    ) -> Result<Option<Vec<T>>, StoreError> {
        let mut all: Vec<T> = Vec::new();
        loop {
            let left = limit.saturating_sub(u32::try_from(all.len()).unwrap_or(u32::MAX));
            let answer = self.query(account, query(uids.clone(), left)).await?;
            let Some(found) = items(answer)? else {
                return Ok(None);
            };
            let last = found.last().map(&uid);
            all.extend(found);
            match last {
                Some(last) if all.len() < limit as usize => {
                    uids = uids.difference(&UidSet::from_range(Uid::MIN..=last));
                    if uids.is_empty() {
                        return Ok(Some(all));
                    }
                }
                _ => return Ok(Some(all)),
            }
        }
    }

    /// How messages are marked, ascending by UID, at most `limit` of them.
    pub async fn flags(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: UidSet,
        limit: u32,
    ) -> Result<Option<Vec<(Uid, Flags)>>, StoreError> {
        let query = |uids, limit| Query::Flags {
            account,
            mailbox,
            uids,
            limit,
        };
        let items = |answer| match answer {
            Answer::Flags(flags) => Ok(Some(flags)),
            other => absent_or_misfit(other),
        };
        self.each(account, uids, limit, query, items, |(uid, _)| *uid)
            .await
    }

    /// Index entries, ascending, at most `limit`.
    pub async fn index(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: UidSet,
        limit: u32,
    ) -> Result<Option<Vec<IndexEntry>>, StoreError> {
        let query = |uids, limit| Query::Index {
            account,
            mailbox,
            uids,
            limit,
        };
        let items = |answer| match answer {
            Answer::Index(entries) => Ok(Some(entries)),
            other => absent_or_misfit(other),
        };
        self.each(account, uids, limit, query, items, |entry| entry.uid)
            .await
    }

    /// What happened after `since`, about `limit` messages of it, from where the answer before ended.
    pub async fn changes(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
        uids: Option<UidSet>,
        (after, limit): (Option<ChangePlace>, u32),
    ) -> Result<Option<Changes>, StoreError> {
        match self
            .query(
                account,
                Query::Changes {
                    account,
                    mailbox,
                    since,
                    uids,
                    after,
                    limit,
                },
            )
            .await?
        {
            Answer::Changes(changes) => Ok(Some(changes)),
            other => absent_or_misfit(other),
        }
    }

    /// Details of messages, ascending, at most `limit`; fewer where they are long, as all of them together may be tens of
    /// megabytes. Ask on for the UIDs after the last, until there are none.
    pub async fn details(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: UidSet,
        limit: u32,
    ) -> Result<Option<Vec<MessageDetail>>, StoreError> {
        match self
            .query(
                account,
                Query::Details {
                    account,
                    mailbox,
                    uids,
                    limit,
                },
            )
            .await?
        {
            Answer::Details(details) => Ok(Some(details)),
            other => absent_or_misfit(other),
        }
    }

    /// Search signatures of messages, ascending, at most `limit`.
    pub async fn signatures(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: UidSet,
        limit: u32,
    ) -> Result<Option<Vec<(Uid, Vec<u8>)>>, StoreError> {
        let query = |uids, limit| Query::Signatures {
            account,
            mailbox,
            uids,
            limit,
        };
        let items = |answer| match answer {
            Answer::Signatures(signatures) => Ok(Some(signatures)),
            other => absent_or_misfit(other),
        };
        self.each(account, uids, limit, query, items, |(uid, _)| *uid)
            .await
    }

    /// How much the account holds.
    pub async fn quota(&self, account: AccountId) -> Result<Option<QuotaUsage>, StoreError> {
        match self.query(account, Query::Quota { account }).await? {
            Answer::Quota(usage) => Ok(Some(usage)),
            other => absent_or_misfit(other),
        }
    }
}

fn absent_or_misfit<T>(answer: Answer) -> Result<Option<T>, StoreError> {
    match answer {
        Answer::NoSuchAccount | Answer::NoSuchMailbox | Answer::NoSuchBody => Ok(None),
        other => Err(StoreError::Internal(format!(
            "the shard's answer does not fit the question: {other:?}"
        ))),
    }
}

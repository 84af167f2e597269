//! What a session sees of INBOX: a list made at login, which nothing changes but the session itself.

use std::{num::NonZeroU32, sync::Arc};

use mailrook_imap_proto::pop3::ResponseCode;
use mailrook_store_api::shard::{Change, MailboxRef};
use mailrook_types::{AccountId, MailboxId, MailboxName, Uid, UidSet, UidValidity};

use super::{Refused, lock::Lock};
use crate::{SessionContext, uid_pages::uid_pages};

/// Index entries read at a time.
const INDEX_PAGE: u32 = 4_096;

/// An account's INBOX as it was at login.
pub(super) struct Maildrop {
    mailbox: MailboxId,
    uid_validity: UidValidity,
    /// Eight bytes a message, so that the largest mailbox of 10,000,000 takes 80 MB.
    messages: Vec<Message>,
    deleted: UidSet,
    /// Messages and bytes, without the deleted ones.
    total: (u32, u64),
    lock: Lock,
}

/// A message by what the list tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) uid: Uid,
    /// As it is sent, its lines ended with CRLF, but before dots are doubled (RFC 1939 §11).
    pub(super) size: u32,
}

impl Maildrop {
    pub(super) async fn open(
        context: &Arc<SessionContext>,
        account: AccountId,
    ) -> Result<Maildrop, Refused> {
        let gone = || Refused::with(ResponseCode::SysTemp, "the mailbox cannot be reached now");
        // First, so that the list is of what nobody else removes.
        let lock = Lock::take(context, account).await?;
        let store = &*context.store;
        let refused = |error| Refused::by_store(&error);
        let inbox = MailboxRef::Name(MailboxName::inbox());
        let status = store.status(account, inbox).await.map_err(refused)?;
        let status = status.ok_or_else(gone)?;
        let uids = store.uids(account, status.id).await.map_err(refused)?;
        let mut messages = Vec::new();
        for page in uid_pages(&uids.ok_or_else(gone)?, INDEX_PAGE) {
            let entries = store
                .index(account, status.id, page, INDEX_PAGE)
                .await
                .map_err(refused)?
                .ok_or_else(gone)?;
            messages.extend(entries.iter().map(|entry| Message {
                uid: entry.uid,
                size: entry.size.saturating_add(entry.crlf_growth),
            }));
        }
        let mut maildrop = Maildrop {
            mailbox: status.id,
            uid_validity: status.uid_validity,
            messages,
            deleted: UidSet::new(),
            total: (0, 0),
            lock,
        };
        maildrop.reset();
        Ok(maildrop)
    }

    pub(super) fn mailbox(&self) -> MailboxId {
        self.mailbox
    }

    /// How many messages, without the deleted ones.
    pub(super) fn count(&self) -> u32 {
        self.total.0
    }

    /// How many bytes they have.
    pub(super) fn bytes(&self) -> u64 {
        self.total.1
    }

    /// The largest number in use.
    pub(super) fn last(&self) -> u32 {
        u32::try_from(self.messages.len()).unwrap_or(u32::MAX)
    }

    /// A message that is not deleted.
    pub(super) fn message(&self, number: u32) -> Option<Message> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        let message = self.messages.get(index)?;
        (!self.deleted.contains(message.uid)).then_some(*message)
    }

    /// The message, or what to answer.
    pub(super) fn require(&self, number: NonZeroU32) -> Result<Message, Refused> {
        self.message(number.get())
            .ok_or(Refused::new("no such message"))
    }

    /// RFC 1939 §7: UIDVALIDITY and UID are never given to another message.
    pub(super) fn unique_id(&self, message: Message) -> String {
        format!("{:08x}{:08x}", self.uid_validity.get(), message.uid.get())
    }

    /// Marks a message as deleted.
    pub(super) fn delete(&mut self, message: Message) {
        self.deleted.insert(message.uid);
        self.total.0 -= 1;
        self.total.1 -= u64::from(message.size);
    }

    /// What removes the messages that are marked as deleted, all of them in one step; `None` if there are none.
    pub(super) fn removal(&self) -> Option<Change> {
        if self.deleted.is_empty() {
            return None;
        }
        let (mailbox, uids) = (self.mailbox, self.deleted.clone());
        Some(match self.lock.holder() {
            Some(holder) => Change::CloseMaildrop {
                holder,
                mailbox,
                uids,
            },
            None => Change::Remove { mailbox, uids },
        })
    }

    /// The removal is made, and has given the maildrop back.
    pub(super) fn note_removed(&mut self) {
        self.lock.note_given_back();
    }

    /// Lets the next session have it.
    pub(super) async fn close(self) {
        self.lock.give_back().await;
    }

    /// Unmarks all.
    pub(super) fn reset(&mut self) {
        self.deleted = UidSet::new();
        let sizes = self.messages.iter().map(|message| u64::from(message.size));
        self.total = (self.last(), sizes.sum());
    }
}

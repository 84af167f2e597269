//! The details of messages, read a page at a time: those of giant headers are a quarter of a megabyte each.

use mailrook_store_api::{Mailstore, shard::MessageDetail};
use mailrook_types::{AccountId, MailboxId, Uid, UidSet};

use crate::{
    outcome::{Failure, GONE},
    uid_pages::uid_pages,
};

/// Details of messages of a mailbox, ascending by UID. What is not among them was expunged.
pub(crate) struct DetailPages {
    account: AccountId,
    mailbox: MailboxId,
    /// What is still to be read.
    left: UidSet,
    page: u32,
}

impl DetailPages {
    /// At most `page` messages at a time; the store gives fewer where they are long.
    pub(crate) fn new(
        account: AccountId,
        mailbox: MailboxId,
        uids: UidSet,
        page: u32,
    ) -> DetailPages {
        DetailPages {
            account,
            mailbox,
            left: uids,
            page,
        }
    }

    /// The next page, which is not empty; `None` after the last.
    pub(crate) async fn next(
        &mut self,
        store: &dyn Mailstore,
    ) -> Result<Option<Vec<MessageDetail>>, Failure> {
        while let Some(asked) = uid_pages(&self.left, self.page).next() {
            let details = store
                .details(self.account, self.mailbox, asked.clone(), self.page)
                .await?
                .ok_or(GONE)?;
            let last = details.last().map(|detail| detail.uid).or(asked.last());
            let read = UidSet::from_range(Uid::MIN..=last.unwrap_or(Uid::MAX));
            self.left = self.left.difference(&read);
            if !details.is_empty() {
                return Ok(Some(details));
            }
        }
        Ok(None)
    }
}

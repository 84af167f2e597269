//! What changed in a mailbox, read a page at a time, so that nothing is as large as a mailbox and each change is looked
//! at once.

use mailrook_store_api::{
    Mailstore,
    shard::{ChangePlace, Changes, IndexEntry},
};
use mailrook_types::{AccountId, MailboxId, ModSeq, UidSet};

use crate::outcome::{Failure, GONE};

/// Changed messages are held so many at a time: under a megabyte. Few in tests, so that there are several pages.
const PAGE: u32 = if cfg!(test) { 8 } else { 4096 };

/// The messages that changed after a MODSEQ, in the order in which they did.
pub(crate) struct ChangedPages {
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
    /// Only these; `None` is all.
    uids: Option<UidSet>,
    place: Place,
}

enum Place {
    Start,
    After {
        last: ChangePlace,
        /// What changed after the first page was read is told another time: a busy mailbox is no endless news.
        until: ModSeq,
    },
    End,
}

impl ChangedPages {
    pub(crate) fn new(
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
        uids: Option<UidSet>,
    ) -> ChangedPages {
        ChangedPages {
            account,
            mailbox,
            since,
            uids,
            place: Place::Start,
        }
    }

    /// The next page; `None` after the last.
    pub(crate) async fn next(
        &mut self,
        store: &dyn Mailstore,
    ) -> Result<Option<Vec<IndexEntry>>, Failure> {
        Ok(self.next_changes(store).await?.map(|page| page.changed))
    }

    /// The same, with what else the store says.
    pub(crate) async fn next_changes(
        &mut self,
        store: &dyn Mailstore,
    ) -> Result<Option<Changes>, Failure> {
        let (after, until) = match self.place {
            Place::Start => (None, None),
            Place::After { last, until } => (Some(last), Some(until)),
            Place::End => return Ok(None),
        };
        let uids = self.uids.clone();
        let mut page = store
            .changes(self.account, self.mailbox, self.since, uids, (after, PAGE))
            .await?
            .ok_or(GONE)?;
        let until = until.unwrap_or(page.status.highest_modseq);
        page.changed.retain(|entry| entry.modseq <= until);
        self.place = match page.next.filter(|last| last.modseq <= until) {
            Some(last) => Place::After { last, until },
            None => Place::End,
        };
        Ok(Some(page))
    }
}

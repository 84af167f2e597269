//! What happened in a mailbox since a client was told of it last.

use mailrook_store_api::{
    Mailstore,
    shard::{ChangePlace, Changes, IndexEntry, MailboxStatus},
};
use mailrook_types::{AccountId, MailboxId, ModSeq, UidSet};

use crate::{outcome::Failure, session::Selected, view::View};

/// Changed messages are held so many at a time: under a megabyte.
const PAGE: u32 = 4096;

/// What a client does not know yet.
pub(super) struct News {
    pub(super) status: MailboxStatus,
    /// Messages of the view that are there no more.
    pub(super) gone: UidSet,
    /// Messages that are not in the view.
    pub(super) arrived: UidSet,
    /// Messages that changed, new ones included: the first of them.
    changed: Option<Vec<IndexEntry>>,
    /// Where the store goes on from these.
    next: Option<ChangePlace>,
    since: ModSeq,
}

impl News {
    /// Asks the store. More changes than are held at a time are read in pieces.
    pub(super) async fn read(
        store: &dyn Mailstore,
        account: AccountId,
        selected: &Selected,
    ) -> Result<News, Failure> {
        let changes = page(store, account, selected.id, selected.seen, None).await?;
        let view = &selected.view;
        let (gone, arrived) = match (&changes.vanished, changes.next) {
            (Some(vanished), None) => (view.known(vanished), unknown(view, &changes.changed)),
            // The history does not go back so far, or not all that came is known yet: the difference tells. Read after
            // the numbers, so that what happens between the questions is heard of again and not missed.
            (_, next) => {
                let uids = store.uids(account, selected.id).await?.ok_or(GONE)?;
                let known = view.uids();
                let arrived = match next {
                    Some(_) => uids.difference(&known),
                    None => unknown(view, &changes.changed),
                };
                (known.difference(&uids), arrived)
            }
        };
        Ok(News {
            status: changes.status,
            gone,
            arrived,
            changed: Some(changes.changed),
            next: changes.next,
            since: selected.seen,
        })
    }

    /// The messages that changed, a page at a time, in the order in which they did; `None` after the last.
    pub(super) async fn next_page(
        &mut self,
        store: &dyn Mailstore,
        account: AccountId,
    ) -> Result<Option<Vec<IndexEntry>>, Failure> {
        let Some(entries) = self.changed.take() else {
            return Ok(None);
        };
        // What has changed since the numbers were read is told next time: a busy mailbox is no endless news.
        let due = |next: &ChangePlace| next.modseq <= self.status.highest_modseq;
        if let Some(after) = self.next.take().filter(due) {
            let page = page(store, account, self.status.id, self.since, Some(after)).await?;
            self.next = page.next;
            self.changed = Some(page.changed);
        }
        Ok(Some(entries))
    }
}

/// The changed messages that are not in the view.
fn unknown(view: &View, changed: &[IndexEntry]) -> UidSet {
    let uids = changed.iter().map(|entry| entry.uid);
    uids.filter(|uid| view.sequence(*uid).is_none()).collect()
}

/// What ends a session.
pub(super) const GONE: Failure = Failure::Bye("the selected mailbox is gone");

async fn page(
    store: &dyn Mailstore,
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
    after: Option<ChangePlace>,
) -> Result<Changes, Failure> {
    store
        .changes(account, mailbox, since, None, (after, PAGE))
        .await?
        .ok_or(GONE)
}

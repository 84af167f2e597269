//! What happened in a mailbox since a client was told of it last.

use mailrook_store_api::{
    Mailstore,
    shard::{IndexEntry, MailboxRef, MailboxStatus},
};
use mailrook_types::{AccountId, ModSeq, Uid, UidSet};

use crate::{outcome::Failure, session::Selected};

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
    since: ModSeq,
}

impl News {
    /// Asks the store. A mailbox in which more may have changed than is held at a time is read in pieces.
    pub(super) async fn read(
        store: &dyn Mailstore,
        account: AccountId,
        selected: &Selected,
    ) -> Result<News, Failure> {
        let (mailbox, since) = (selected.id, selected.seen);
        if selected.view.len() > PAGE {
            let first = page(store, account, mailbox, since, Uid::MIN).await?;
            if first.len() as u64 == u64::from(PAGE) {
                return News::read_many(store, account, selected).await;
            }
        }
        let changes = store
            .changes(account, mailbox, since, None)
            .await?
            .ok_or(GONE)?;
        let gone = match &changes.vanished {
            Some(vanished) => selected.view.known(vanished),
            // The history does not go back so far: the difference tells.
            None => {
                let uids = store.uids(account, mailbox).await?.ok_or(GONE)?;
                selected.view.uids().difference(&uids)
            }
        };
        let arrived = changes
            .changed
            .iter()
            .map(|entry| entry.uid)
            .filter(|uid| selected.view.sequence(*uid).is_none())
            .collect();
        Ok(News {
            status: changes.status,
            gone,
            arrived,
            changed: Some(changes.changed),
            since,
        })
    }

    async fn read_many(
        store: &dyn Mailstore,
        account: AccountId,
        selected: &Selected,
    ) -> Result<News, Failure> {
        // First, so that what happens between the questions is heard of again and not missed. The page that showed how
        // much there is was read before, and is read again.
        let status = store
            .status(account, MailboxRef::Id(selected.id))
            .await?
            .ok_or(GONE)?;
        let uids = store.uids(account, selected.id).await?.ok_or(GONE)?;
        let first = page(store, account, selected.id, selected.seen, Uid::MIN).await?;
        let known = selected.view.uids();
        Ok(News {
            status,
            gone: known.difference(&uids),
            arrived: uids.difference(&known),
            changed: Some(first),
            since: selected.seen,
        })
    }

    /// The messages that changed, a page at a time; `None` after the last.
    pub(super) async fn next_page(
        &mut self,
        store: &dyn Mailstore,
        account: AccountId,
    ) -> Result<Option<Vec<IndexEntry>>, Failure> {
        let Some(entries) = self.changed.take() else {
            return Ok(None);
        };
        // A short page is the last; one from `changes` is all there is, however long.
        if entries.len() as u64 == u64::from(PAGE)
            && let Some(next) = entries.last().and_then(|last| last.uid.next())
        {
            self.changed = Some(page(store, account, self.status.id, self.since, next).await?);
        }
        Ok(Some(entries))
    }
}

/// What ends a session.
pub(super) const GONE: Failure = Failure::Bye("the selected mailbox is gone");

async fn page(
    store: &dyn Mailstore,
    account: AccountId,
    mailbox: mailrook_types::MailboxId,
    since: ModSeq,
    from: Uid,
) -> Result<Vec<IndexEntry>, Failure> {
    let uids = UidSet::from_range(from..=Uid::MAX);
    store
        .index(account, mailbox, uids, Some(since), PAGE)
        .await?
        .ok_or(GONE)
}

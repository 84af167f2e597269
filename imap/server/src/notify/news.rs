//! What happened in a mailbox since a client was told of it last.

use mailrook_store_api::{
    Mailstore,
    shard::{IndexEntry, MailboxStatus},
};
use mailrook_types::{AccountId, UidSet};

use crate::{
    changed_pages::ChangedPages,
    outcome::{Failure, GONE},
    session::Selected,
    view::View,
};

/// What a client does not know yet.
pub(super) struct News {
    pub(super) status: MailboxStatus,
    /// Messages of the view that are there no more.
    pub(super) gone: UidSet,
    /// Messages that are not in the view.
    pub(super) arrived: UidSet,
    /// Messages that changed, new ones included: the first of them.
    changed: Option<Vec<IndexEntry>>,
    /// The others.
    more: ChangedPages,
}

impl News {
    /// Asks the store. More changes than are held at a time are read in pieces.
    pub(super) async fn read(
        store: &dyn Mailstore,
        account: AccountId,
        selected: &Selected,
    ) -> Result<News, Failure> {
        let mut pages = ChangedPages::new(account, selected.id, selected.seen, None);
        let changes = pages.next_changes(store).await?.ok_or(GONE)?;
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
            more: pages,
        })
    }

    /// The messages that changed, a page at a time, in the order in which they did; `None` after the last.
    pub(super) async fn next_page(
        &mut self,
        store: &dyn Mailstore,
    ) -> Result<Option<Vec<IndexEntry>>, Failure> {
        match self.changed.take() {
            Some(first) => Ok(Some(first)),
            None => self.more.next(store).await,
        }
    }
}

/// The changed messages that are not in the view.
fn unknown(view: &View, changed: &[IndexEntry]) -> UidSet {
    let uids = changed.iter().map(|entry| entry.uid);
    uids.filter(|uid| view.sequence(*uid).is_none()).collect()
}

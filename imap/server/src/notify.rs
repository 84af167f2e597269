//! Brings the client's view of the selected mailbox up to date: what other sessions did, and this one's own changes
//! whose responses follow from the mailbox (RFC 9051 §7.5, §5.5).

mod news;

use std::time::Duration;

use futures::FutureExt;
use mailrook_imap_proto::writer::Writer;
use mailrook_store_api::shard::IndexEntry;
use mailrook_types::SystemFlags;

use self::news::News;
use crate::{
    outcome::Failure,
    session::{Enabled, Selected, Session},
    view::after,
};

/// A watch that ended with its back end is opened again after so long: an election takes a few hundred milliseconds.
const WATCH_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Whether the client may be told of expunged messages: not while it waits for FETCH, STORE or SEARCH, whose
/// sequence numbers would change their meaning (RFC 9051 §7.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expunges {
    Told,
    Held,
}

impl Session {
    /// Tells the client what has changed, if anything is known to have.
    pub(crate) async fn tell_if_changed(&mut self, expunges: Expunges) -> Result<(), Failure> {
        let Some(selected) = self.selected.as_deref_mut() else {
            return Ok(());
        };
        let own = self
            .account
            .as_mut()
            .is_some_and(|account| account.take_changed());
        let untold = expunges == Expunges::Told && !selected.expunged.is_empty();
        if own || untold || selected.is_stale() {
            self.tell(expunges).await?;
        }
        Ok(())
    }

    /// Asks the store what has changed, and tells the client.
    pub(crate) async fn tell(&mut self, expunges: Expunges) -> Result<(), Failure> {
        let told = self.tell_now(expunges).await;
        if matches!(told, Err(Failure::Store(_)))
            && let Some(selected) = &mut self.selected
        {
            // So that it is asked again: what showed that there is something to tell is used up.
            selected.watch = None;
        }
        told
    }

    async fn tell_now(&mut self, expunges: Expunges) -> Result<(), Failure> {
        let (Some(account), Some(selected)) = (&mut self.account, self.selected.as_deref_mut())
        else {
            return Ok(());
        };
        let store = &*self.context.store;
        account.take_changed();
        if selected.watch.is_none() {
            selected.watch = Some(store.watch(account.id).await?);
        }
        let news = News::read(store, account.id, selected).await?;
        if !news.gone.is_empty() {
            selected.expunged = selected.expunged.union(&news.gone);
        }
        if expunges == Expunges::Told && !selected.expunged.is_empty() {
            let expunged = std::mem::take(&mut selected.expunged);
            let sequences = selected.view.sequences(&expunged);
            selected.view.remove(&expunged);
            if self.enabled.qresync {
                self.writer().vanished(false, &expunged);
            } else {
                // From the end, so that no number moves before it is told.
                for sequence in sequences.iter().rev() {
                    self.writer().expunge(sequence.get());
                    self.wire.relieve().await?;
                }
            }
        }
        self.tell_changes(news).await
    }

    /// New messages, then flags.
    async fn tell_changes(&mut self, mut news: News) -> Result<(), Failure> {
        let enabled = self.enabled;
        let Some(selected) = self.selected.as_deref_mut() else {
            return Ok(());
        };
        let mut writer = Writer::new(self.wire.output(), enabled.imap4rev2);
        let keywords = &news.status.keywords;
        if keywords.len() > selected.keywords_told {
            selected.keywords_told = keywords.len();
            let keywords = keywords.iter().map(|keyword| keyword.as_str());
            writer.flags(all_system_flags(), keywords);
        }
        // `arrived` may have been read after the numbers.
        let uid_next = news.status.uid_next.max(after(&news.arrived));
        selected.uid_next = selected.uid_next.max(uid_next);
        if !news.arrived.is_empty() {
            selected.view.add(&news.arrived);
            writer.exists(selected.view.len());
            if !enabled.imap4rev2 {
                writer.recent(0);
            }
        }
        let store = &*self.context.store;
        while let Some(changed) = news.next_page(store).await? {
            for entry in &changed {
                let known = selected.own.binary_search(&entry.modseq).is_ok();
                if !known && !news.arrived.contains(entry.uid) {
                    let mut writer = Writer::new(self.wire.output(), enabled.imap4rev2);
                    tell_flags(&mut writer, selected, entry, enabled);
                    self.wire.relieve().await?;
                }
            }
        }
        // Last: what could not be told to its end is told again.
        selected.own = Vec::new();
        selected.seen = selected.seen.max(news.status.highest_modseq);
        Ok(())
    }
}

/// An unsolicited FETCH with what RFC 7162 §3.2.4 wants in it.
fn tell_flags(writer: &mut Writer<'_>, selected: &Selected, entry: &IndexEntry, enabled: Enabled) {
    let Some(sequence) = selected.view.sequence(entry.uid) else {
        return;
    };
    let mut fetch = writer.fetch(sequence);
    if enabled.imap4rev2 || enabled.qresync {
        fetch.uid(entry.uid);
    }
    if enabled.condstore {
        fetch.mod_seq(entry.modseq);
    }
    let keywords = entry.flags.keywords.iter().map(|keyword| keyword.as_str());
    fetch.flags(entry.flags.system, false, keywords);
    fetch.finish();
}

/// All flags that a mailbox has by itself.
pub(crate) fn all_system_flags() -> SystemFlags {
    SystemFlags::ALL
        .iter()
        .fold(SystemFlags::NONE, |all, (flag, _)| all | *flag)
}

impl Selected {
    /// Whether the watch has told of something, or cannot tell.
    fn is_stale(&mut self) -> bool {
        let Some(watch) = &mut self.watch else {
            return true;
        };
        match watch.changed().now_or_never() {
            None => false,
            Some(Ok(_)) => true,
            Some(Err(_)) => {
                self.watch = None;
                true
            }
        }
    }

    /// Waits until something may have changed. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => {
                if watch.changed().await.is_err() {
                    self.watch = None;
                }
            }
            None => tokio::time::sleep(WATCH_AGAIN_AFTER).await,
        }
    }
}

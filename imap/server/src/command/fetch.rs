//! FETCH (RFC 9051 §6.4.5, RFC 7162 §3.1.4 and §3.2.6).
//!
//! Messages are read a page at a time: the index alone where that is all that is asked, envelope and structure
//! beside it, and bodies piece by piece straight into the connection, so that no answer is held in memory.

mod binary;
mod body;
mod item;

use std::{sync::Arc, time::Duration};

use mailrook_imap_proto::{
    command::{Fetch, FetchItem, SectionText},
    response::Code,
    writer::{FetchWriter, Writer},
};
use mailrook_store_api::{
    Mailstore, StoreError,
    shard::{Change, ChangeReply, FlagsStored, IndexEntry, MessageDetail},
};
use mailrook_types::{FlagUpdate, Flags, ModSeq, SystemFlags, Uid, UidSet};

use self::{body::Message, item::ItemPrinter};
use super::select::{INDEX_PAGE, vanished_since};
use crate::{
    account::Account,
    changed_pages::ChangedPages,
    connection::{FLUSH_LEN, Wire},
    detail_pages::DetailPages,
    outcome::{Failure, GONE, Outcome, Reply},
    session::{Selected, Session},
    uid_pages::uid_pages,
};

/// Envelopes and structures read at a time: a few hundred KB as a rule, and never more than the store answers with at once.
const DETAIL_PAGE: u32 = 128;

/// Flags alone come from the store's sets: sixteen records, and half a megabyte here.
const FLAGS_PAGE: u32 = 16_384;

pub(crate) async fn run(session: &mut Session, fetch: &Fetch) -> Outcome {
    if fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::ModSeq) {
        session.enable_condstore();
    }
    let selected = session.selected()?;
    let uids = selected.resolve(&fetch.set, fetch.by_uid)?;
    if fetch.vanished {
        if !session.enabled.qresync {
            // RFC 7162 §3.2.6
            return Err(Reply::bad("ENABLE QRESYNC first").into());
        }
        tell_vanished(session, fetch).await?;
    }
    let context = Arc::clone(&session.context);
    let (Some(account), Some(selected)) = (&mut session.account, session.selected.as_deref_mut())
    else {
        return Err(Reply::bad("select a mailbox first").into());
    };
    let mut fetcher = Fetcher {
        store: &*context.store,
        under_way_patience: context.settings.under_way_patience,
        account,
        selected,
        out: std::mem::take(session.wire.output()),
        wire: &mut session.wire,
        utf8: session.enabled.imap4rev2,
        condstore: session.enabled.condstore,
        plan: Plan::new(fetch),
        problem: None,
    };
    let fetched = fetcher.run(&uids).await;
    let (out, problem) = (fetcher.out, fetcher.problem);
    // What stands in the output of `wire` was put there after all of `out` had gone before it.
    session.wire.output().extend_from_slice(&out);
    let missing = fetched?;
    match problem {
        Some(reply) => Err(reply.into()),
        // RFC 5530 §3, RFC 2180 §4.1.3
        None if missing && !fetch.by_uid => {
            Ok(Reply::ok("some messages are gone").code(Code::ExpungeIssued))
        }
        None => Ok(Reply::ok("FETCH completed")),
    }
}

/// `VANISHED (EARLIER)`: what was expunged since the MODSEQ that the client knows.
async fn tell_vanished(session: &mut Session, fetch: &Fetch) -> Result<(), Failure> {
    let account = session.account()?.id;
    let selected = session.selected()?;
    // The end of the mailbox may be gone, or all of it: the UIDs that were given out count, and not those that are left.
    let Some(last) = Uid::new(selected.uid_next.get() - 1) else {
        return Ok(());
    };
    let asked = match fetch.set.resolve(last.get()) {
        Some(uids) => uids,
        None => selected.saved.clone(),
    };
    // UIDs beyond may not have been given to a message yet, or to one of which the client will hear.
    let assigned = UidSet::from_range(Uid::MIN..=last);
    let missing = asked
        .intersection(&assigned)
        .difference(&selected.view.uids());
    let since = fetch.changed_since.unwrap_or_default();
    let store = Arc::clone(&session.context.store);
    let selected = session.selected()?;
    let vanished = vanished_since(&*store, account, selected, since, missing).await?;
    session.writer().vanished(true, &vanished);
    Ok(())
}

/// What a FETCH asks for, and what it takes to answer.
struct Plan<'f> {
    fetch: &'f Fetch,
    tell_uid: bool,
    tell_mod_seq: bool,
    needs_detail: bool,
    /// Of that, more than the bytes of whole messages.
    needs_structure: bool,
    sets_seen: bool,
    /// Nothing but flags and UIDs is asked: what most clients ask of a whole mailbox, each time they come.
    flags_alone: bool,
}

impl<'f> Plan<'f> {
    fn new(fetch: &'f Fetch) -> Plan<'f> {
        let asks = |item: &FetchItem| fetch.items.contains(item);
        let structured = |item: &FetchItem| {
            matches!(
                item,
                FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure
            ) || item.needs_bytes()
        };
        let whole = |item: &FetchItem| match item {
            FetchItem::Rfc822 => true,
            FetchItem::Section { section, .. } => {
                section.part.is_empty() && section.text == SectionText::Full
            }
            _ => false,
        };
        Plan {
            fetch,
            // RFC 9051 §6.4.9, RFC 7162 §3.1.4.1
            tell_uid: fetch.by_uid && !asks(&FetchItem::Uid),
            tell_mod_seq: fetch.changed_since.is_some() && !asks(&FetchItem::ModSeq),
            needs_detail: fetch.items.iter().any(structured),
            needs_structure: fetch
                .items
                .iter()
                .any(|item| structured(item) && !whole(item)),
            sets_seen: fetch.items.iter().any(FetchItem::sets_seen),
            flags_alone: fetch
                .items
                .iter()
                .all(|item| matches!(item, FetchItem::Flags | FetchItem::Uid)),
        }
    }
}

/// A FETCH under way.
struct Fetcher<'s> {
    store: &'s dyn Mailstore,
    under_way_patience: Duration,
    account: &'s mut Account,
    selected: &'s mut Selected,
    wire: &'s mut Wire,
    /// What is printed and not yet given to `wire`.
    out: Vec<u8>,
    utf8: bool,
    condstore: bool,
    plan: Plan<'s>,
    /// What to answer instead of OK, in the end.
    problem: Option<Reply>,
}

impl Fetcher<'_> {
    /// True if some messages are there no more.
    async fn run(&mut self, uids: &UidSet) -> Result<bool, Failure> {
        if let Some(since) = self.plan.fetch.changed_since {
            self.changed(uids, since).await?;
            return Ok(false);
        }
        if self.plan.flags_alone {
            return self.flags(uids).await;
        }
        let page_len = self.page_len();
        let mut missing = false;
        for page in uid_pages(uids, page_len) {
            let asked = page.len();
            let entries = self
                .store
                .index(self.account.id, self.selected.id, page, page_len)
                .await?
                .ok_or(GONE)?;
            missing |= (entries.len() as u64) < asked;
            missing |= self.page(entries).await?;
        }
        Ok(missing)
    }

    fn page_len(&self) -> u32 {
        if self.plan.needs_detail {
            DETAIL_PAGE
        } else {
            INDEX_PAGE
        }
    }

    /// Those of the messages that changed after `since`, in the order in which they did.
    async fn changed(&mut self, uids: &UidSet, since: ModSeq) -> Result<(), Failure> {
        let page_len = self.page_len() as usize;
        let (account, mailbox) = (self.account.id, self.selected.id);
        let mut pages = ChangedPages::new(account, mailbox, since, Some(uids.clone()));
        while let Some(mut rest) = pages.next(self.store).await? {
            while !rest.is_empty() {
                let later = rest.split_off(rest.len().min(page_len));
                self.page(std::mem::replace(&mut rest, later)).await?;
            }
        }
        Ok(())
    }

    /// The same where flags and UIDs are all.
    async fn flags(&mut self, uids: &UidSet) -> Result<bool, Failure> {
        let mut missing = false;
        for page in uid_pages(uids, FLAGS_PAGE) {
            let asked = page.len();
            let flags = self
                .store
                .flags(self.account.id, self.selected.id, page, FLAGS_PAGE)
                .await?
                .ok_or(GONE)?;
            missing |= (flags.len() as u64) < asked;
            for (uid, flags) in &flags {
                self.marked(*uid, flags);
                self.relieve().await?;
            }
        }
        Ok(missing)
    }

    fn marked(&mut self, uid: Uid, flags: &Flags) {
        self.line(uid, |plan, fetch| {
            if plan.tell_uid {
                fetch.uid(uid);
            }
            for item in &plan.fetch.items {
                match item {
                    FetchItem::Flags => item::print_flags(fetch, flags),
                    _ => fetch.uid(uid),
                }
            }
        });
    }

    /// True if some messages went after they were found.
    async fn page(&mut self, mut entries: Vec<IndexEntry>) -> Result<bool, Failure> {
        if entries.is_empty() {
            return Ok(false);
        }
        let marked = match self.plan.sets_seen && !self.selected.read_only {
            true => self.mark_seen(&mut entries).await?,
            false => None,
        };
        let missing = self.print(&entries, marked.as_ref()).await?;
        // Not before the client has heard of it.
        if let Some(marked) = marked {
            self.selected.own.push(marked.modseq);
        }
        Ok(missing)
    }

    async fn print(
        &mut self,
        entries: &[IndexEntry],
        marked: Option<&FlagsStored>,
    ) -> Result<bool, Failure> {
        if !self.plan.needs_detail {
            for entry in entries {
                self.light(entry);
                self.relieve().await?;
            }
            return Ok(false);
        }
        let uids: UidSet = entries.iter().map(|entry| entry.uid).collect();
        let mut pages = DetailPages::new(self.account.id, self.selected.id, uids, DETAIL_PAGE);
        // Both ascend. One that went between the two questions is as one that went before.
        let mut entries = entries.iter().peekable();
        let mut missing = false;
        while let Some(details) = pages.next(self.store).await? {
            for detail in details {
                while entries.next_if(|entry| entry.uid < detail.uid).is_some() {
                    missing = true;
                }
                let Some(entry) = entries.next_if(|entry| entry.uid == detail.uid) else {
                    continue;
                };
                let marked = marked.is_some_and(|marked| marked.changed.contains(entry.uid));
                self.whole(entry, detail, marked).await?;
                self.relieve().await?;
            }
        }
        Ok(missing || entries.next().is_some())
    }

    /// RFC 9051 §6.4.5: reading a body marks the message. Says which were not marked before, if any.
    async fn mark_seen(
        &mut self,
        entries: &mut [IndexEntry],
    ) -> Result<Option<FlagsStored>, Failure> {
        let unseen: UidSet = entries
            .iter()
            .filter(|entry| !entry.flags.system.contains(SystemFlags::SEEN))
            .map(|entry| entry.uid)
            .collect();
        if unseen.is_empty() {
            return Ok(None);
        }
        let change = Change::StoreFlags {
            mailbox: self.selected.id,
            uids: unseen,
            unchanged_since: None,
            update: FlagUpdate::Add,
            flags: Flags::system(SystemFlags::SEEN),
        };
        let stored = match self.account.change(self.store, change).await {
            Ok(ChangeReply::FlagsStored(stored)) => stored,
            // It may be marked, or not: who asks again will know.
            Err(Failure::Store(error @ StoreError::Unavailable(_))) => {
                return Err(Failure::Store(error));
            }
            other => {
                // The message can be read all the same, of a full disk, say.
                tracing::warn!(?other, "messages cannot be marked as seen");
                return Ok(None);
            }
        };
        if stored.changed.is_empty() {
            return Ok(None);
        }
        // What others have done to them since they were read would be hidden behind the change of this session.
        let again = self
            .store
            .index(
                self.account.id,
                self.selected.id,
                stored.changed.clone(),
                DETAIL_PAGE,
            )
            .await?
            .ok_or(GONE)?;
        let mut again = again.into_iter().peekable();
        for entry in entries {
            // Both ascend. One that is not there again has gone, and its details too.
            if let Some(now) = again.next_if(|now| now.uid == entry.uid) {
                *entry = now;
            }
        }
        Ok(Some(stored))
    }

    /// A message of which the index tells enough.
    fn light(&mut self, entry: &IndexEntry) {
        self.line(entry.uid, |plan, fetch| {
            plan.frame(entry, fetch);
            for item in &plan.fetch.items {
                item::print_indexed(fetch, item, entry);
            }
        });
    }

    /// The response for one message; none for one that the client has not heard of.
    fn line(&mut self, uid: Uid, print: impl FnOnce(&Plan<'_>, &mut FetchWriter<'_>)) {
        let Some(sequence) = self.selected.view.sequence(uid) else {
            return;
        };
        let mut writer = Writer::new(&mut self.out, self.utf8);
        let mut fetch = writer.fetch(sequence);
        print(&self.plan, &mut fetch);
        fetch.finish();
    }

    /// A message of which more is asked. `marked`: it was just marked as seen, which the client hears with it.
    async fn whole(
        &mut self,
        entry: &IndexEntry,
        detail: MessageDetail,
        marked: bool,
    ) -> Result<(), Failure> {
        let Some(sequence) = self.selected.view.sequence(entry.uid) else {
            return Ok(());
        };
        let message = Message::new(self.store, self.account.id, detail, self.under_way_patience);
        if self.plan.needs_structure
            && let Err(failure) = message.detail()
        {
            // Before its response is begun.
            return item::note(&mut self.problem, failure);
        }
        let mut writer = Writer::new(&mut self.out, self.utf8);
        let mut fetch = writer.fetch(sequence);
        self.plan.frame(entry, &mut fetch);
        if marked {
            let items = &self.plan.fetch.items;
            if !items.contains(&FetchItem::Flags) {
                item::print_indexed(&mut fetch, &FetchItem::Flags, entry);
            }
            let told = self.plan.tell_mod_seq || items.contains(&FetchItem::ModSeq);
            if self.condstore && !told {
                fetch.mod_seq(entry.modseq);
            }
        }
        let mut printer = ItemPrinter {
            fetch,
            message,
            wire: self.wire,
            problem: &mut self.problem,
        };
        for item in &self.plan.fetch.items {
            printer.print(item, entry).await?;
        }
        printer.fetch.finish();
        Ok(())
    }

    async fn relieve(&mut self) -> Result<(), Failure> {
        if self.out.len() >= FLUSH_LEN {
            self.wire.send(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }
}

impl Plan<'_> {
    /// What the client did not ask for by name and must be told.
    fn frame(&self, entry: &IndexEntry, fetch: &mut FetchWriter<'_>) {
        if self.tell_uid {
            fetch.uid(entry.uid);
        }
        if self.tell_mod_seq {
            fetch.mod_seq(entry.modseq);
        }
    }
}

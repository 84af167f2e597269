//! STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).

use std::sync::Arc;

use mailrook_imap_proto::{command::Store, response::Code};
use mailrook_store_api::shard::{Change, ChangeReply, FlagsStored};
use mailrook_types::UidSet;

use super::{expunge::read_only, select::INDEX_PAGE};
use crate::{
    notify::Expunges,
    outcome::{Failure, Outcome, Reply},
    session::Session,
    uid_pages::uid_pages,
};

pub(crate) async fn run(session: &mut Session, store: &Store) -> Outcome {
    if store.unchanged_since.is_some() {
        session.enable_condstore();
    }
    if session.selected()?.read_only {
        return Err(read_only().into());
    }
    if store.silent {
        // What others did to these messages must not be taken for what this command does, of which it tells nothing.
        session.tell(Expunges::Held).await?;
    }
    let selected = session.selected()?;
    let uids = selected.resolve(&store.set, store.by_uid)?;
    let change = Change::StoreFlags {
        mailbox: selected.id,
        uids: uids.clone(),
        unchanged_since: store.unchanged_since,
        update: store.update,
        flags: store.flags.clone(),
    };
    let mailstore = Arc::clone(&session.context.store);
    let stored = match session.account()?.change(&*mailstore, change).await? {
        ChangeReply::FlagsStored(stored) => stored,
        _ => return Err(Reply::no("internal error").code(Code::ServerBug).into()),
    };
    let selected = session.selected()?;
    if !stored.changed.is_empty() {
        selected.own.push(stored.modseq);
    }
    // What is committed is answered with OK, even if what has become of it cannot be told now.
    match tell(session, store, &uids, &stored).await {
        Err(Failure::Store(error)) => {
            tracing::warn!(%error, "flags are stored and cannot be told now");
            if !stored.changed.is_empty() {
                session.selected()?.tell_again_from(stored.modseq);
            }
        }
        told => told?,
    }
    let done = Reply::ok("STORE completed");
    if stored.modified.is_empty() {
        return Ok(done);
    }
    let modified = match store.by_uid {
        true => stored.modified,
        false => session.selected()?.view.sequences(&stored.modified),
    };
    Ok(Reply::ok("STORE completed but for some").code(Code::Modified(modified)))
}

async fn tell(
    session: &mut Session,
    store: &Store,
    uids: &UidSet,
    stored: &FlagsStored,
) -> Result<(), Failure> {
    // New keywords are told before the messages that have them.
    session.tell(Expunges::Held).await?;
    answer(session, store, uids, stored).await
}

/// The FETCH responses: the flags that messages have now; with `.SILENT` only their new MODSEQ, to who cares.
async fn answer(
    session: &mut Session,
    store: &Store,
    uids: &UidSet,
    stored: &FlagsStored,
) -> Result<(), Failure> {
    let condstore = session.enabled.condstore;
    let told = match store.silent {
        false => uids.difference(&stored.modified),
        true if condstore => stored.changed.clone(),
        true => return Ok(()),
    };
    let account = session.account()?.id;
    let mailstore = Arc::clone(&session.context.store);
    for page in uid_pages(&told, INDEX_PAGE) {
        let mailbox = session.selected()?.id;
        let entries = mailstore
            .index(account, mailbox, page, INDEX_PAGE)
            .await?
            .unwrap_or_default();
        for entry in &entries {
            let Some(sequence) = session.selected()?.view.sequence(entry.uid) else {
                continue;
            };
            let mut writer = session.writer();
            let mut fetch = writer.fetch(sequence);
            if store.by_uid {
                fetch.uid(entry.uid);
            }
            if condstore {
                fetch.mod_seq(entry.modseq);
            }
            if !store.silent {
                let keywords = entry.flags.keywords.iter().map(|keyword| keyword.as_str());
                fetch.flags(entry.flags.system, false, keywords);
            }
            fetch.finish();
        }
        session.wire.relieve().await?;
    }
    Ok(())
}

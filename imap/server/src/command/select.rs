//! SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3; RFC 7162 §3.1.2, §3.2.5).

use std::sync::Arc;

use mailrook_imap_proto::{
    command::{Qresync, Select},
    response::{Code, ListAttributes, ListEntry, Status},
};
use mailrook_store_api::{
    Mailstore,
    shard::{MailboxRef, MailboxStatus},
};
use mailrook_types::{Flags, MailboxName, ModSeq, Uid, UidSet};

use crate::{
    changed_pages::ChangedPages,
    notify::all_system_flags,
    outcome::{Failure, Outcome, Reply},
    session::{Selected, Session},
    view::{View, after},
};

/// Index entries read at a time.
pub(super) const INDEX_PAGE: u32 = 4096;

pub(crate) async fn run(session: &mut Session, select: &Select) -> Outcome {
    let account = session.account()?.id;
    if select.qresync.is_some() && !session.enabled.qresync {
        // RFC 7162 §3.2.5
        return Err(Reply::bad("ENABLE QRESYNC first").into());
    }
    if select.condstore || select.qresync.is_some() {
        session.enable_condstore();
    }
    if session.select(None) {
        session.untagged(
            Status::Ok,
            Some(Code::Closed),
            "the mailbox before is closed",
        );
    }
    let name = MailboxName::parse(&select.mailbox).map_err(|_| no_such_mailbox())?;
    let store = Arc::clone(&session.context.store);
    // First, so that nothing is missed between the view and the watch.
    let watch = store.watch(account).await?;
    let status = store
        .status(account, MailboxRef::Name(name.clone()))
        .await?
        .ok_or_else(no_such_mailbox)?;
    let uids = store
        .uids(account, status.id)
        .await?
        .ok_or_else(no_such_mailbox)?;
    let selected = Selected {
        id: status.id,
        name,
        uid_validity: status.uid_validity,
        read_only: select.read_only,
        view: View::new(&uids),
        // The numbers and the UIDs were read one after the other: a message may have come between.
        uid_next: status.uid_next.max(after(&uids)),
        expunged: UidSet::new(),
        seen: status.highest_modseq,
        own: Vec::new(),
        keywords_told: status.keywords.len(),
        saved: UidSet::new(),
        watch: Some(watch),
    };
    describe(session, &selected, &status);
    if let Some(known) = &select.qresync {
        resynchronise(session, &*store, account, &selected, &status, known).await?;
    }
    session.select(Some(Box::new(selected)));
    Ok(match select.read_only {
        true => Reply::ok("EXAMINE completed").code(Code::ReadOnly),
        false => Reply::ok("SELECT completed").code(Code::ReadWrite),
    })
}

fn no_such_mailbox() -> Reply {
    Reply::no("there is no such mailbox").code(Code::NonExistent)
}

/// The untagged responses that RFC 9051 §6.3.2 and RFC 3501 §6.3.1 ask for.
fn describe(session: &mut Session, selected: &Selected, status: &MailboxStatus) {
    let imap4rev2 = session.enabled.imap4rev2;
    let mut writer = session.writer();
    let keywords = status.keywords.iter().map(|keyword| keyword.as_str());
    writer.flags(all_system_flags(), keywords);
    writer.exists(selected.view.len());
    if !imap4rev2 {
        writer.recent(0);
        let unseen = status
            .first_unseen
            .and_then(|uid| selected.view.sequence(uid));
        if let Some(sequence) = unseen {
            writer.untagged(Status::Ok, Some(&Code::Unseen(sequence)), "first unseen");
        }
    }
    let permanent = Code::PermanentFlags {
        flags: match selected.read_only {
            true => Flags::default(),
            false => Flags {
                system: all_system_flags(),
                keywords: status.keywords.clone(),
            },
        },
        new_keywords: !selected.read_only,
    };
    for (code, text) in [
        (permanent, "flags that stay"),
        (Code::UidValidity(status.uid_validity), "UIDs are valid"),
        (Code::UidNext(selected.uid_next.get()), "next UID"),
        // RFC 7162 §7: never zero.
        (
            Code::HighestModSeq(status.highest_modseq.max(ModSeq(1))),
            "highest MODSEQ",
        ),
        (Code::MailboxId(status.id), "mailbox id"),
    ] {
        writer.untagged(Status::Ok, Some(&code), text);
    }
    if imap4rev2 {
        // RFC 9051 §6.3.2: the name as it is spelt here.
        writer.list(&ListEntry {
            attributes: ListAttributes::NONE,
            name: selected.name.as_str(),
            ..ListEntry::default()
        });
    }
}

/// RFC 7162 §3.2.5: what the client missed since it was here last.
async fn resynchronise(
    session: &mut Session,
    store: &dyn Mailstore,
    account: mailrook_types::AccountId,
    selected: &Selected,
    status: &MailboxStatus,
    client: &Qresync,
) -> Result<(), Failure> {
    if client.uid_validity != selected.uid_validity {
        // It knows nothing of this mailbox.
        return Ok(());
    }
    let Some(last) = Uid::new(status.uid_next.get() - 1) else {
        return Ok(());
    };
    let assigned = UidSet::from_range(Uid::MIN..=last);
    let known = match client.known_uids.as_ref().and_then(|set| set.resolve(0)) {
        Some(uids) => uids.intersection(&assigned),
        None => assigned,
    };
    let missing = known.difference(&selected.view.uids());
    let missing = match agreed_up_to(selected, client) {
        Some(agreed) => missing.difference(&UidSet::from_range(Uid::MIN..=agreed)),
        None => missing,
    };
    let vanished = vanished_since(store, account, selected, client.mod_seq, missing).await?;
    session.writer().vanished(true, &vanished);
    let present = selected.view.known(&known);
    let mut pages = ChangedPages::new(account, selected.id, client.mod_seq, Some(present));
    while let Some(changed) = pages.next(store).await? {
        for entry in &changed {
            if let Some(sequence) = selected.view.sequence(entry.uid) {
                let mut writer = session.writer();
                let mut fetch = writer.fetch(sequence);
                fetch.uid(entry.uid);
                let keywords = entry.flags.keywords.iter().map(|keyword| keyword.as_str());
                fetch.flags(entry.flags.system, false, keywords);
                fetch.mod_seq(entry.modseq);
                fetch.finish();
            }
        }
        session.wire.relieve().await?;
    }
    Ok(())
}

/// Those of `missing` that were expunged after `since`; all of them if nobody remembers.
pub(super) async fn vanished_since(
    store: &dyn Mailstore,
    account: mailrook_types::AccountId,
    selected: &Selected,
    since: ModSeq,
    missing: UidSet,
) -> Result<UidSet, Failure> {
    if missing.is_empty() {
        return Ok(missing);
    }
    // Asked for nothing but what is gone, the answer does not carry the flags of a whole mailbox.
    let changes = store
        .changes(
            account,
            selected.id,
            since,
            Some(missing.clone()),
            (None, 0),
        )
        .await?;
    let vanished = changes.and_then(|changes| changes.vanished);
    Ok(vanished.map_or_else(|| missing.clone(), |gone| gone.intersection(&missing)))
}

/// RFC 7162 §3.2.5.2: the last UID up to which the client's sequence numbers are right, so that it has heard of all
/// that was expunged before.
fn agreed_up_to(selected: &Selected, client: &Qresync) -> Option<Uid> {
    let (sequences, uids) = client.match_data.as_ref()?;
    let (sequences, uids) = (sequences.resolve(0)?, uids.resolve(0)?);
    // As many steps as the mailbox has messages, whatever the sets claim.
    sequences
        .iter()
        .zip(uids.iter())
        .take(selected.view.len() as usize)
        .take_while(|(sequence, uid)| selected.view.sequence(*uid) == Some(sequence.get()))
        .last()
        .map(|(_, uid)| uid)
}

//! STATUS (RFC 9051 §6.3.11).

use std::sync::Arc;

use mailrook_imap_proto::{
    command::StatusItem,
    response::{Code, StatusValue},
};
use mailrook_store_api::{
    Mailstore,
    shard::{MailboxRef, MailboxStatus},
};
use mailrook_types::{AccountId, MailboxName, ModSeq, SystemFlags, Uid, UidSet};

use super::select::INDEX_PAGE;
use crate::{
    outcome::{Failure, Outcome, Reply},
    session::Session,
};

pub(crate) async fn run(session: &mut Session, mailbox: &str, items: &[StatusItem]) -> Outcome {
    let account = session.account()?.id;
    let no_such_mailbox = || Reply::no("there is no such mailbox").code(Code::NonExistent);
    let name = MailboxName::parse(mailbox).map_err(|_| no_such_mailbox())?;
    let store = Arc::clone(&session.context.store);
    let status = store
        .status(account, MailboxRef::Name(name.clone()))
        .await?
        .ok_or_else(no_such_mailbox)?;
    tell(session, account, &name, &status, items).await?;
    Ok(Reply::ok("STATUS completed"))
}

/// Prints a STATUS response.
pub(super) async fn tell(
    session: &mut Session,
    account: AccountId,
    name: &MailboxName,
    status: &MailboxStatus,
    items: &[StatusItem],
) -> Result<(), Failure> {
    if items.contains(&StatusItem::HighestModSeq) {
        session.enable_condstore();
    }
    let store = Arc::clone(&session.context.store);
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        values.push(match item {
            StatusItem::Messages => StatusValue::Messages(clipped(status.messages)),
            StatusItem::Recent => StatusValue::Recent(0),
            StatusItem::UidNext => StatusValue::UidNext(status.uid_next.get()),
            StatusItem::UidValidity => StatusValue::UidValidity(status.uid_validity.get()),
            StatusItem::Unseen => StatusValue::Unseen(clipped(status.unseen)),
            StatusItem::Deleted => StatusValue::Deleted(clipped(status.deleted)),
            StatusItem::Size => StatusValue::Size(status.size_bytes),
            StatusItem::HighestModSeq => {
                StatusValue::HighestModSeq(status.highest_modseq.max(ModSeq(1)))
            }
            StatusItem::AppendLimit => {
                StatusValue::AppendLimit(Some(session.context.settings.append_limit.into()))
            }
            StatusItem::MailboxId => StatusValue::MailboxId(status.id),
            StatusItem::DeletedStorage => {
                StatusValue::DeletedStorage(deleted_bytes(&*store, account, status).await?)
            }
        });
    }
    session.writer().mailbox_status(name.as_str(), &values);
    Ok(())
}

/// RFC 9208 §5: what EXPUNGE would give back. Counted, as hardly anybody asks.
async fn deleted_bytes(
    store: &dyn Mailstore,
    account: AccountId,
    status: &MailboxStatus,
) -> Result<u64, Failure> {
    let mut bytes = 0;
    let mut from = Some(Uid::MIN).filter(|_| status.deleted > 0);
    while let Some(first) = from {
        let rest = UidSet::from_range(first..=Uid::MAX);
        let page = store
            .index(account, status.id, rest, INDEX_PAGE)
            .await?
            .unwrap_or_default();
        let deleted = page
            .iter()
            .filter(|entry| entry.flags.system.contains(SystemFlags::DELETED));
        bytes += deleted.map(|entry| u64::from(entry.size)).sum::<u64>();
        from = page.last().and_then(|last| last.uid.next());
    }
    Ok(bytes)
}

/// The numbers of a mailbox, which has at most 10,000,000 messages.
fn clipped(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

//! GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208). An account has one quota root, without a name.

use std::sync::Arc;

use mailrook_imap_proto::response::{Code, QuotaResource};
use mailrook_store_api::shard::{MailboxRef, QuotaUsage};
use mailrook_types::MailboxName;

use crate::{
    outcome::{Failure, Outcome, Reply},
    session::Session,
};

/// The one quota root.
const ROOT: &str = "";

/// RFC 9208 §5: STORAGE counts units of 1,024 bytes.
const STORAGE_UNIT: u64 = 1024;

pub(crate) async fn get(session: &mut Session, root: &str) -> Outcome {
    session.account()?;
    if root != ROOT {
        let reply = Reply::no("there is no such quota root").code(Code::NonExistent);
        return Err(reply.into());
    }
    tell(session).await?;
    Ok(Reply::ok("GETQUOTA completed"))
}

pub(crate) async fn get_root(session: &mut Session, mailbox: &str) -> Outcome {
    let account = session.account()?.id;
    let no_such_mailbox = || Reply::no("there is no such mailbox").code(Code::NonExistent);
    let name = MailboxName::parse(mailbox).map_err(|_| no_such_mailbox())?;
    let store = Arc::clone(&session.context.store);
    let status = store
        .status(account, MailboxRef::Name(name.clone()))
        .await?;
    status.ok_or_else(no_such_mailbox)?;
    session.writer().quota_root(name.as_str(), &[ROOT]);
    tell(session).await?;
    Ok(Reply::ok("GETQUOTAROOT completed"))
}

/// An administrator's matter.
pub(crate) fn set(session: &mut Session) -> Outcome {
    session.account()?;
    Err(Reply::no("quotas are set by the administrator")
        .code(Code::NoPerm)
        .into())
}

async fn tell(session: &mut Session) -> Result<(), Failure> {
    let account = session.account()?.id;
    let store = Arc::clone(&session.context.store);
    let usage = store.quota(account).await?.unwrap_or_default();
    session.writer().quota(ROOT, &resources(&usage));
    Ok(())
}

/// What is limited; nothing else has a place in the answer.
fn resources(usage: &QuotaUsage) -> Vec<QuotaResource<'static>> {
    let storage = usage.limit.storage_bytes.map(|limit| QuotaResource {
        name: "STORAGE",
        usage: usage.storage_bytes.div_ceil(STORAGE_UNIT),
        limit: limit / STORAGE_UNIT,
    });
    let messages = usage.limit.messages.map(|limit| QuotaResource {
        name: "MESSAGE",
        usage: usage.messages,
        limit,
    });
    storage.into_iter().chain(messages).collect()
}

//! CREATE, DELETE, RENAME, SUBSCRIBE and UNSUBSCRIBE (RFC 9051 §6.3.4 to §6.3.8; RFC 6154 §3; RFC 8474 §4.2).

use std::sync::Arc;

use mailrook_imap_proto::response::{Code, Status};
use mailrook_store_api::shard::{Change, ChangeReply, MailboxRef, NewMailbox};
use mailrook_types::{MailboxName, SpecialUse};

use crate::{
    outcome::{Failure, Outcome, Reply},
    session::Session,
};

pub(crate) async fn create(
    session: &mut Session,
    mailbox: &str,
    special_uses: &[SpecialUse],
) -> Outcome {
    session.account()?;
    // RFC 9051 §6.3.4: the separator at the end only tells that names below will follow.
    let name = mailbox
        .strip_suffix(MailboxName::SEPARATOR)
        .unwrap_or(mailbox);
    let special_use = match special_uses {
        [] => None,
        [only] => Some(*only),
        _ => {
            let reply = Reply::no("a mailbox has at most one special use").code(Code::UseAttr);
            return Err(reply.into());
        }
    };
    let new = NewMailbox {
        name: MailboxName::parse(name)?,
        special_use,
        subscribed: false,
    };
    match change(session, Change::CreateMailbox(new)).await? {
        ChangeReply::Created(id) => Ok(Reply::ok("CREATE completed").code(Code::MailboxId(id))),
        _ => Ok(Reply::ok("CREATE completed")),
    }
}

pub(crate) async fn delete(session: &mut Session, mailbox: &str) -> Outcome {
    session.account()?;
    let name = MailboxName::parse(mailbox)?;
    change(session, Change::DeleteMailbox(name)).await?;
    match close_if_gone(session).await {
        // It is deleted; that the selected mailbox is gone shows with the next command.
        Err(Failure::Store(error)) => {
            tracing::debug!(%error, "cannot look at the selected mailbox")
        }
        closed => closed?,
    }
    Ok(Reply::ok("DELETE completed"))
}

/// A client that deletes the mailbox that it has selected goes on without one.
async fn close_if_gone(session: &mut Session) -> Result<(), Failure> {
    let (Some(account), Some(selected)) = (&session.account, &session.selected) else {
        return Ok(());
    };
    let store = Arc::clone(&session.context.store);
    let found = store
        .status(account.id, MailboxRef::Id(selected.id))
        .await?;
    if found.is_none() {
        session.select(None);
        session.untagged(Status::Ok, Some(Code::Closed), "the mailbox is deleted");
    }
    Ok(())
}

pub(crate) async fn rename(session: &mut Session, from: &str, to: &str) -> Outcome {
    session.account()?;
    let to = to.strip_suffix(MailboxName::SEPARATOR).unwrap_or(to);
    let rename = Change::RenameMailbox {
        from: MailboxName::parse(from)?,
        to: MailboxName::parse(to)?,
    };
    change(session, rename).await?;
    Ok(Reply::ok("RENAME completed"))
}

pub(crate) async fn subscribe(session: &mut Session, mailbox: &str, subscribed: bool) -> Outcome {
    session.account()?;
    let subscribe = Change::Subscribe {
        name: MailboxName::parse(mailbox)?,
        subscribed,
    };
    change(session, subscribe).await?;
    Ok(Reply::ok(match subscribed {
        true => "SUBSCRIBE completed",
        false => "UNSUBSCRIBE completed",
    }))
}

async fn change(session: &mut Session, change: Change) -> Result<ChangeReply, Failure> {
    let store = Arc::clone(&session.context.store);
    session.account()?.change(&*store, change).await
}

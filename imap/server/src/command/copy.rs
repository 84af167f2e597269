//! COPY and MOVE (RFC 9051 §6.4.7, §6.4.8).

use std::sync::Arc;

use mailrook_imap_proto::{
    command::Transfer,
    response::{Code, Status},
};
use mailrook_store_api::shard::{Change, ChangeReply, MailboxRef};
use mailrook_types::MailboxName;

use super::{append::no_such_mailbox, expunge::read_only};
use crate::{
    outcome::{Failure, Outcome, Reply},
    session::Session,
};

pub(crate) async fn run(session: &mut Session, transfer: &Transfer, is_move: bool) -> Outcome {
    let selected = session.selected()?;
    if is_move && selected.read_only {
        return Err(read_only().into());
    }
    let name = if is_move { "MOVE" } else { "COPY" };
    let uids = selected.resolve(&transfer.set, transfer.by_uid)?;
    let to = MailboxName::parse(&transfer.mailbox)?;
    if uids.is_empty() {
        return Ok(Reply::ok(format!("{name}: no such messages")));
    }
    let copy = Change::Copy {
        mailbox: selected.id,
        uids,
        to: MailboxRef::Name(to),
        remove_originals: is_move,
    };
    let store = Arc::clone(&session.context.store);
    let copied = match session.account()?.change(&*store, copy).await {
        Ok(ChangeReply::Copied(copied)) => copied,
        Ok(_) => return Err(Reply::no("internal error").code(Code::ServerBug).into()),
        Err(Failure::Refused(reply)) if reply.code == Some(Code::NonExistent) => {
            return Err(no_such_mailbox().into());
        }
        Err(failure) => return Err(failure),
    };
    let done = Reply::ok(format!("{name} completed"));
    let code = Code::CopyUid(copied.uid_validity, copied.from, copied.to);
    if !is_move {
        return Ok(done.code(code));
    }
    // RFC 6851 §4.3: before the originals are told to be gone.
    session.untagged(Status::Ok, Some(code), "moved");
    Ok(match session.enabled.condstore {
        true => done.code(Code::HighestModSeq(copied.modseq)),
        false => done,
    })
}

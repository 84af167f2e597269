//! EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, §6.4.9). The client hears of it as of all that is expunged, at the
//! command's end.

use std::sync::Arc;

use mailrook_imap_proto::{command::SequenceSet, response::Code};
use mailrook_store_api::shard::{Change, ChangeReply};

use crate::{
    outcome::{Outcome, Reply},
    session::Session,
};

pub(crate) async fn run(session: &mut Session, uids: Option<&SequenceSet>) -> Outcome {
    let selected = session.selected()?;
    if selected.read_only {
        return Err(read_only().into());
    }
    let expunge = Change::Expunge {
        mailbox: selected.id,
        uids: uids.map(|set| selected.resolve(set, true)).transpose()?,
    };
    let store = Arc::clone(&session.context.store);
    let reply = session.account()?.change(&*store, expunge).await?;
    let done = Reply::ok("EXPUNGE completed");
    Ok(match reply {
        // RFC 7162 §3.2.7, §3.2.8
        ChangeReply::Expunged { uids, modseq } if session.enabled.condstore && !uids.is_empty() => {
            done.code(Code::HighestModSeq(modseq))
        }
        _ => done,
    })
}

/// What EXAMINE does not permit.
pub(super) fn read_only() -> Reply {
    Reply::no("the mailbox is open for reading only").code(Code::ReadOnly)
}

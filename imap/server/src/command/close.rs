//! CLOSE and UNSELECT (RFC 9051 §6.4.1, §6.4.2).

use std::sync::Arc;

use mailrook_store_api::shard::Change;

use crate::{
    outcome::{Outcome, Reply},
    session::Session,
};

pub(crate) async fn close(session: &mut Session) -> Outcome {
    let selected = session.selected()?;
    if !selected.read_only {
        let expunge = Change::Expunge {
            mailbox: selected.id,
            uids: None,
        };
        let store = Arc::clone(&session.context.store);
        session.account()?.change(&*store, expunge).await?;
    }
    session.select(None);
    Ok(Reply::ok("CLOSE completed"))
}

pub(crate) fn unselect(session: &mut Session) -> Outcome {
    session.selected()?;
    session.select(None);
    Ok(Reply::ok("UNSELECT completed"))
}

//! SEARCH (RFC 9051 §6.4.4).

use mailrook_imap_proto::command::{Search, Tag};

use crate::{
    outcome::{Outcome, Reply},
    session::Session,
};

pub(crate) async fn run(session: &mut Session, _tag: &Tag, _search: &Search) -> Outcome {
    session.selected()?;
    Err(Reply::no("not there yet").into())
}

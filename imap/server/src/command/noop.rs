//! NOOP and CHECK (RFC 9051 §6.1.2, RFC 3501 §6.4.1): the client asks for news.

use crate::{
    notify::Expunges,
    outcome::{Outcome, Reply},
    session::Session,
};

pub(crate) async fn run(session: &mut Session) -> Outcome {
    session.tell(Expunges::Told).await?;
    Ok(Reply::ok("completed"))
}

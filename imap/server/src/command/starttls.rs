//! STARTTLS (RFC 9051 §6.2.1).

use mailrook_imap_proto::{command::Tag, framing::Framer};

use super::capability::may_start_tls;
use crate::{
    outcome::{Failure, Outcome, Reply},
    session::Session,
};

pub(crate) async fn run(session: &mut Session, tag: &Tag) -> Outcome {
    let acceptor = session.client.starttls.clone();
    let Some(acceptor) = acceptor.filter(|_| may_start_tls(session)) else {
        return Err(Reply::bad("STARTTLS is not available now").into());
    };
    session.finish(tag, &Reply::ok("begin TLS negotiation"));
    session.wire.flush().await?;
    // What was sent behind the command in the clear is dropped, not obeyed (CVE-2011-0411).
    session.wire.start_tls(&acceptor).await?;
    session.framer = Framer::new();
    session.client.registration.set_tls();
    Err(Failure::Answered)
}

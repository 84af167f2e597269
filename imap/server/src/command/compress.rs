//! COMPRESS DEFLATE (RFC 4978).

use mailrook_imap_proto::{command::Tag, response::Code};

use crate::{
    outcome::{Failure, Outcome, Reply},
    session::Session,
};

pub(crate) async fn run(session: &mut Session, tag: &Tag) -> Outcome {
    session.account()?;
    if session.wire.is_compressed() {
        let reply = Reply::no("compression is active already").code(Code::CompressionActive);
        return Err(reply.into());
    }
    session.finish(tag, &Reply::ok("DEFLATE active"));
    session.wire.flush().await?;
    session.wire.start_deflate();
    Err(Failure::Answered)
}

//! NAMESPACE (RFC 9051 §6.3.10): one's own mailboxes, and no others.

use crate::{
    outcome::{Outcome, Reply},
    session::Session,
};

pub(crate) fn run(session: &mut Session) -> Outcome {
    session.account()?;
    session.writer().namespace(&[""], &[], &[]);
    Ok(Reply::ok("NAMESPACE completed"))
}

//! ID (RFC 2971).

use crate::{
    outcome::{Outcome, Reply},
    session::Session,
};

pub(crate) fn run(session: &mut Session) -> Outcome {
    let mut fields = vec![("name", Some("Mailrook"))];
    // To whom has not logged in, no more than that.
    if session.account.is_some() {
        fields.push(("version", Some(env!("CARGO_PKG_VERSION"))));
    }
    session.writer().id(fields);
    Ok(Reply::ok("ID completed"))
}

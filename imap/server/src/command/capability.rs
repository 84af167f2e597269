//! CAPABILITY, and the greeting (RFC 9051 §6.1.1, §7.1).

use mailrook_imap_proto::response::{Code, Status};

use crate::{
    outcome::{Outcome, Reply},
    session::Session,
};

/// What is announced in every state. APPENDLIMIT and AUTH are added to it.
const ALWAYS: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ ENABLE ID SASL-IR";

/// What is announced once the client has logged in.
const AFTER_LOGIN: &str = "NAMESPACE IDLE UIDPLUS UNSELECT MOVE CONDSTORE QRESYNC ESEARCH SEARCHRES WITHIN \
                           LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE CHILDREN STATUS=SIZE MULTIAPPEND \
                           BINARY QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE OBJECTID";

pub(crate) fn run(session: &mut Session) -> Outcome {
    let capabilities = capabilities(session);
    session.writer().capability(&capabilities);
    Ok(Reply::ok("CAPABILITY completed"))
}

/// The first line of a connection.
pub(crate) fn greet(session: &mut Session) {
    let code = Code::Capability(capabilities(session));
    session.untagged(Status::Ok, Some(code), "Mailrook ready");
}

/// What holds in the session's state.
pub(crate) fn capabilities(session: &Session) -> String {
    let mut capabilities = ALWAYS.to_owned();
    let limit = session.context.settings.append_limit;
    if session.account.is_some() {
        capabilities.push(' ');
        capabilities.push_str(AFTER_LOGIN);
        capabilities.push_str(&format!(" APPENDLIMIT={limit}"));
        if !session.wire.is_compressed() {
            capabilities.push_str(" COMPRESS=DEFLATE");
        }
        return capabilities;
    }
    if may_start_tls(session) {
        capabilities.push_str(" STARTTLS");
    }
    if password_permitted(session) {
        let logins = &session.context.logins;
        for mechanism in logins.offered(&session.wire.bindings(), true) {
            capabilities.push_str(" AUTH=");
            capabilities.push_str(mechanism);
        }
    } else {
        // RFC 9051 §6.2.3
        capabilities.push_str(" LOGINDISABLED");
    }
    capabilities
}

/// Whether STARTTLS is offered here and now.
pub(crate) fn may_start_tls(session: &Session) -> bool {
    session.client.starttls.is_some() && !session.wire.is_tls() && session.account.is_none()
}

/// Whether a password may be sent on this connection.
pub(crate) fn password_permitted(session: &Session) -> bool {
    session.wire.is_tls() || session.client.plaintext_login
}

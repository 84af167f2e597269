//! Who may send to other systems: nobody, so far.
//!
//! Without outgoing mail there is no case in which a recipient elsewhere is accepted, and so none in which this could be
//! an open relay. Who the client is decides only what it is told.

use mailrook_smtp_proto::{EnhancedCode, Reply, ReplyCode};
use mailrook_types::Domain;

/// The refusal of a recipient in a domain that is not ours.
pub(crate) fn refuse(authenticated: bool, domain: &Domain) -> Reply {
    let text = if authenticated {
        format!("outgoing mail is not served yet: {domain} is not one of the domains here")
    } else {
        "relaying denied".to_owned()
    };
    Reply::new(
        ReplyCode::MailboxUnavailable550,
        EnhancedCode::NOT_AUTHORISED,
        text,
    )
}

/// The refusal of an alias that leads elsewhere. To deliver the part that stays here, and drop the rest without a word,
/// would be to lose mail.
pub(crate) fn refuse_forward() -> Reply {
    let text =
        "mail for this address is forwarded to another system, and outgoing mail is not served yet";
    Reply::new(
        ReplyCode::MailboxUnavailable550,
        EnhancedCode::NOT_AUTHORISED,
        text,
    )
}

//! The mail transaction of a session: sender, recipients and what has come of the message.

use mailrook_smtp_proto::{MailCommand, Notify, OriginalRecipient};

use crate::{body::Body, policy::recipient::Found};

/// From MAIL to the reply after the text.
pub(crate) struct Transaction {
    /// As MAIL said.
    pub(crate) mail: MailCommand,
    /// Those that were accepted, in order; LMTP has a reply for each.
    pub(crate) recipients: Vec<Recipient>,
    /// The text so far.
    pub(crate) body: Option<Body>,
}

/// A recipient that was accepted.
pub(crate) struct Recipient {
    /// Who that is.
    pub(crate) found: Found,
    /// When the sender wants a report.
    pub(crate) notify: Option<Notify>,
    /// What the sender calls it.
    pub(crate) original: Option<OriginalRecipient>,
}

impl Transaction {
    /// What MAIL starts.
    pub(crate) fn new(mail: MailCommand) -> Transaction {
        Transaction {
            mail,
            recipients: Vec::new(),
            body: None,
        }
    }
}

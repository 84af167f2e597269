//! DELETE (RFC 9051 §6.3.5). Children and the subscription stay.

use mailrook_types::MailboxName;

use crate::{
    ChangeReply, Refusal,
    mailbox::Mailbox,
    name,
    tx::{Account, Outcome},
};

pub(crate) fn apply(account: &mut Account<'_>, name: &MailboxName) -> Outcome<ChangeReply> {
    if name.is_inbox() {
        return Err(Refusal::InboxIsFixed.into());
    }
    let id = name::require(account, name)?;
    let mailbox = Mailbox::open(account, id)?;
    name::delete(account, name, mailbox)?;
    Ok(ChangeReply::Done)
}

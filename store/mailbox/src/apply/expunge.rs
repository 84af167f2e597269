//! EXPUNGE, UID EXPUNGE, CLOSE (RFC 9051 §6.4.3, RFC 4315 §2.1), and what POP3's QUIT removes (RFC 1939 §6).

use mailrook_types::{MailboxId, UidSet};

use crate::{
    ChangeReply,
    index::Selection,
    mailbox::Mailbox,
    tx::{Account, Outcome},
};

/// Removes messages marked `\Deleted`, among `uids` if they are given.
pub(crate) fn deleted(
    account: &mut Account<'_>,
    id: MailboxId,
    uids: Option<&UidSet>,
) -> Outcome<ChangeReply> {
    let mailbox = Mailbox::open(account, id)?;
    let gone = match mailbox.record.deleted {
        0 => Selection::new(),
        _ => mailbox
            .source(account)
            .select(uids, |block| block.deleted)?,
    };
    remove(account, mailbox, &gone)
}

/// Removes messages whatever their flags.
pub(crate) fn any(account: &mut Account<'_>, id: MailboxId, uids: &UidSet) -> Outcome<ChangeReply> {
    let mailbox = Mailbox::open(account, id)?;
    let gone = mailbox.source(account).existing(Some(uids))?;
    remove(account, mailbox, &gone)
}

fn remove(
    account: &mut Account<'_>,
    mut mailbox: Mailbox,
    gone: &Selection,
) -> Outcome<ChangeReply> {
    let uids = mailbox.remove(account, gone)?;
    let modseq = mailbox.record.highest_modseq;
    mailbox.close(account);
    Ok(ChangeReply::Expunged { uids, modseq })
}

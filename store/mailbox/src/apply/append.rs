//! APPEND (RFC 9051 §6.3.12, RFC 3502, RFC 4315): all messages or none.

use crate::{
    AppendTo, Appended, ChangeReply, NewBody, Refusal, body, message, name,
    record::IndexRecord,
    tx::{Account, Outcome},
};

pub(crate) fn apply(account: &mut Account<'_>, append: &AppendTo) -> Outcome<ChangeReply> {
    let mut mailbox = name::open(account, &append.mailbox)?;
    let count = append.messages.len() as u64;
    mailbox.require_room(count)?;
    let mut bytes = 0u64;
    let mut planned = Vec::with_capacity(append.messages.len());
    for new in &append.messages {
        let size = size_of(&new.body, &new.prefix)?;
        bytes += u64::from(size);
        let keywords = mailbox.intern(account, &new.flags.keywords)?;
        planned.push((size, keywords));
    }
    require_quota(account, count, bytes)?;
    for new in &append.messages {
        body::require(account.view, account.now, &new.body)?;
    }
    let mut entries = Vec::with_capacity(planned.len());
    for (new, (size, keywords)) in append.messages.iter().zip(planned) {
        entries.push(IndexRecord {
            modseq: 0,
            system: new.flags.system,
            internal_date_ms: new.internal_date.0,
            saved_ms: account.now,
            size,
            message: message::create(account, &new.body, &new.prefix)?,
            keywords,
        });
    }
    let appended = Appended {
        mailbox: mailbox.id,
        uid_validity: mailbox.record.uid_validity,
        uids: mailbox.add(account, entries)?,
        modseq: mailbox.record.highest_modseq,
    };
    mailbox.close(account);
    Ok(ChangeReply::Appended(appended))
}

/// RFC822.SIZE of a message: prefix and body.
pub(crate) fn size_of(body: &NewBody, prefix: &[u8]) -> Outcome<u32> {
    let size = u64::from(body.size) + prefix.len() as u64;
    Ok(u32::try_from(size).map_err(|_| Refusal::Limit("4 GiB in a message".to_owned()))?)
}

/// Insists that the account may hold so much more (RFC 9208 §4.1).
pub(crate) fn require_quota(account: &Account<'_>, messages: u64, bytes: u64) -> Outcome<()> {
    let record = &account.record;
    let over = |limit: Option<u64>, used: u64, more: u64| {
        more > 0 && limit.is_some_and(|limit| used.saturating_add(more) > limit)
    };
    if over(record.limit.storage_bytes, record.storage_bytes, bytes)
        || over(record.limit.messages, record.messages, messages)
    {
        return Err(Refusal::OverQuota.into());
    }
    Ok(())
}

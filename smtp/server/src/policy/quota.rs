//! Full mailboxes are refused at RCPT where that can save the others.
//!
//! SMTP has one reply for all recipients of a message: one full mailbox found after the text would put the message off
//! for everybody. So where a message has several mailboxes, each is asked for its room before it is accepted; should it
//! be the first recipient's that is full, which was accepted unasked, the others are told to come in a transaction of
//! their own. For a single mailbox, and for LMTP with its reply for each, the store's own answer at delivery says the
//! same at less cost.
//!
//! The answer is 452, not 552: a mailbox that is full today has room when its owner has read his mail. Only a message
//! larger than all that the account may hold is refused for good.

use mailrook_smtp_proto::{EnhancedCode, Reply, ReplyCode};
use mailrook_store_api::{Mailstore, meta::ResolvedTarget, shard::QuotaUsage};

use super::store_unreachable;

/// Judges whether a message of about `size` octets fits into each of the mailboxes.
pub(crate) async fn check(
    mailstore: &dyn Mailstore,
    targets: &[ResolvedTarget],
    size: u64,
) -> Result<(), Reply> {
    for target in targets {
        match mailstore.quota(target.account).await {
            Ok(Some(usage)) => judge(&usage, size)?,
            // The account's mail is made with its first delivery.
            Ok(None) => {}
            Err(error) => return Err(store_unreachable(&error)),
        }
    }
    Ok(())
}

/// Another recipient beside one whose mailbox is full (RFC 5321 §4.5.3.1.10: the client sends to it separately).
pub(crate) fn alone() -> Reply {
    let text = "too many recipients for now: send to this one separately";
    Reply::new(
        ReplyCode::InsufficientStorage452,
        EnhancedCode::TOO_MANY_RECIPIENTS,
        text,
    )
}

fn judge(usage: &QuotaUsage, size: u64) -> Result<(), Reply> {
    let limit = &usage.limit;
    if limit.storage_bytes.is_some_and(|max| size > max) {
        let text = "the message is larger than all that this mailbox may hold";
        return Err(Reply::new(
            ReplyCode::ExceededStorage552,
            EnhancedCode::MAILBOX_FULL,
            text,
        ));
    }
    let no_room = limit
        .storage_bytes
        .is_some_and(|max| usage.storage_bytes.saturating_add(size) > max)
        || limit.messages.is_some_and(|max| usage.messages >= max);
    if no_room { Err(full()) } else { Ok(()) }
}

/// A full mailbox.
pub(crate) fn full() -> Reply {
    Reply::new(
        ReplyCode::InsufficientStorage452,
        EnhancedCode::MAILBOX_FULL,
        "the mailbox is full",
    )
}

#[cfg(test)]
mod tests {
    use mailrook_store_api::shard::QuotaLimit;

    use super::*;

    #[test]
    fn full_is_temporary_and_too_small_is_not() {
        let usage = |storage_bytes, messages| QuotaUsage {
            limit: QuotaLimit {
                storage_bytes: Some(100),
                messages: Some(3),
            },
            storage_bytes,
            messages,
        };
        let code = |usage, size| judge(&usage, size).err().map(|reply| reply.code.number());
        assert_eq!(code(usage(50, 1), 50), None);
        assert_eq!(code(usage(50, 1), 51), Some(452));
        assert_eq!(code(usage(50, 3), 1), Some(452));
        assert_eq!(code(usage(0, 0), 101), Some(552));
    }
}

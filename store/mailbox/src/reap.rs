//! Removing what is left of expunged messages and deleted mailboxes, a bounded amount with each command.

use std::{collections::BTreeMap, ops::ControlFlow};

use mailrook_kv::{KvError, Space, prefix_end};
use mailrook_types::MailboxId;

use crate::{
    bits::Bits,
    index::{Pair, Source, scan},
    key::{self, Expiring, part},
    mailbox::{forget_changes, range_of},
    message,
    record::{DeliveryRecord, IndexRecord},
    tx::{Account, Tx},
};

/// Removes the remains of at most about `messages` messages.
pub(crate) fn run(tx: &mut Tx<'_>, messages: u32) -> Result<(), KvError> {
    let mut left = messages;
    while left > 0 && tx.shard.pending > 0 {
        let prefix = [key::PENDING];
        let mut first = None;
        scan(
            tx.view.as_read(),
            Space::Index,
            &prefix,
            &prefix_end(&prefix),
            |key, _| {
                first = Some(key::parse_pending(key)?);
                Ok(ControlFlow::Break(()))
            },
        )?;
        let Some((id, mailbox)) = first else {
            return Err(KvError::Damaged(
                "the queue of remains is shorter than counted".to_owned(),
            ));
        };
        let mut account = tx.account_or_new(id)?;
        left -= reap(&mut account, mailbox, left)?.min(left);
        account.close();
    }
    Ok(())
}

/// Removes some of a mailbox's remains. Says how many records went; at least one counts, so that every step ends.
fn reap(account: &mut Account<'_>, mailbox: MailboxId, messages: u32) -> Result<u32, KvError> {
    let dead = key::of_mailbox(account.id, part::DEAD, mailbox);
    if let Some(stored) = account.get(&dead)? {
        return reap_mailbox(account, mailbox, messages, dead, &stored);
    }
    let (start, end) = range_of(account, part::REAP, mailbox);
    let Some((key, stored)) = first_of(account, &start, &end, 1)?.pop() else {
        account.end_reaping(mailbox);
        return Ok(1);
    };
    let (modseq, block) = key::modseq_and_block(&key)?;
    let (now, later) = Bits::decode(&stored)?.split_first(messages);
    let reaped = reap_messages(account, mailbox, block, &now)?;
    if later.is_empty() {
        account.delete(key, &stored);
    } else {
        let key = key::by_modseq(account.id, part::REAP, mailbox, modseq, block);
        account.put(key, Some(&stored), later.encode());
    }
    Ok(reaped.max(1))
}

/// Removes index entries of a block with what they refer to.
fn reap_messages(
    account: &mut Account<'_>,
    mailbox: MailboxId,
    block: u32,
    gone: &Bits,
) -> Result<u32, KvError> {
    let mut entries = Vec::new();
    let source = Source {
        view: account.view.as_read(),
        account: account.id,
        mailbox,
    };
    let _ = source.entries(block, gone, |uid, stored, entry| {
        entries.push((uid, stored.to_vec(), entry));
        ControlFlow::Continue(())
    })?;
    let mut by_modseq: BTreeMap<u64, Bits> = BTreeMap::new();
    let count = entries.len() as u32;
    for (uid, stored, entry) in entries {
        by_modseq
            .entry(entry.modseq)
            .or_insert(Bits::EMPTY)
            .insert(uid);
        account.delete(key::index(account.id, mailbox, uid), &stored);
        message::release(account, entry.message)?;
    }
    forget_changes(account, mailbox, block, &by_modseq)?;
    Ok(count)
}

/// Removes some of a deleted mailbox: its messages first, then its other records.
fn reap_mailbox(
    account: &mut Account<'_>,
    mailbox: MailboxId,
    messages: u32,
    dead: Vec<u8>,
    dead_stored: &[u8],
) -> Result<u32, KvError> {
    let (start, end) = range_of(account, part::INDEX, mailbox);
    let entries = first_of(account, &start, &end, messages)?;
    if !entries.is_empty() {
        let count = entries.len() as u32;
        for (key, stored) in entries {
            let message = IndexRecord::decode(&stored)?.message;
            account.delete(key, &stored);
            message::release(account, message)?;
        }
        return Ok(count);
    }
    for table in [
        part::BLOCK,
        part::CHANGED,
        part::EXPUNGED,
        part::REAP,
        part::DELIVERY,
    ] {
        let (start, end) = range_of(account, table, mailbox);
        let records = first_of(account, &start, &end, messages)?;
        if records.is_empty() {
            continue;
        }
        let count = records.len() as u32;
        for (key, stored) in records {
            if table == part::DELIVERY {
                forget_expiry(account, mailbox, &key, &stored)?;
            }
            account.delete(key, &stored);
        }
        return Ok(count);
    }
    account.delete(dead, dead_stored);
    account.end_reaping(mailbox);
    Ok(1)
}

/// Takes a delivery's entry out of the queue of what expires.
fn forget_expiry(
    account: &mut Account<'_>,
    mailbox: MailboxId,
    key: &[u8],
    stored: &[u8],
) -> Result<(), KvError> {
    let Some(delivery) = key.last_chunk() else {
        return Ok(());
    };
    let what = Expiring::Delivery(account.id, mailbox, crate::DeliveryKey(*delivery));
    let expires_ms = DeliveryRecord::decode(stored)?.expires_ms;
    account
        .view
        .delete(Space::Index, key::expiry(expires_ms, &what));
    Ok(())
}

/// The first pairs of a range.
fn first_of(
    account: &Account<'_>,
    start: &[u8],
    end: &[u8],
    limit: u32,
) -> Result<Vec<Pair>, KvError> {
    let mut pairs = Vec::new();
    scan(
        account.view.as_read(),
        Space::Index,
        start,
        end,
        |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            let enough = pairs.len() >= limit as usize;
            Ok(if enough {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        },
    )?;
    Ok(pairs)
}

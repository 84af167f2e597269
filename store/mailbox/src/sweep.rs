//! Removing what has expired, a bounded amount with each command.
//!
//! Nothing depends on when this happens: what has expired counts as absent already. Entries come into the queue only for
//! times to come, so that what was swept once stays empty and is not looked at again.

use std::{ops::ControlFlow, time::Duration};

use mailrook_kv::{KvError, Read, Space};

use crate::{
    body,
    index::scan,
    key::{self, Expiring},
    lane,
    limits::{SWEEP_EVERY, millis},
    record::{DeliveryRecord, LaneRecord, MaildropRecord, PRESENT, ShardRecord},
    tx::{Account, Tx},
};

/// Works off at most about `units` of what is overdue.
pub(crate) fn run(tx: &mut Tx<'_>, units: u32) -> Result<(), KvError> {
    if !tx.shard.behind && tx.now < tx.shard.swept_to_ms.saturating_add(millis(SWEEP_EVERY)) {
        return Ok(());
    }
    let start = key::expiry_from(tx.shard.swept_to_ms);
    let end = key::expiry_from(tx.now.saturating_add(1));
    let mut due = Vec::new();
    scan(tx.view.as_read(), Space::Index, &start, &end, |key, _| {
        due.push(key.to_vec());
        let enough = due.len() >= units as usize;
        Ok(if enough {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    let mut done = 0;
    let mut behind = due.len() >= units as usize;
    for key in due {
        let (time_ms, what) = key::parse_expiry(&key)?;
        if done >= units {
            tx.shard.swept_to_ms = time_ms;
            behind = true;
            break;
        }
        tx.shard.swept_to_ms = time_ms;
        tx.view.delete(Space::Index, key);
        done += 1 + expire(tx, &what)?;
    }
    tx.shard.behind = behind;
    if !behind {
        tx.shard.swept_to_ms = tx.now;
    }
    Ok(())
}

/// Whether something is overdue, or is left of what was removed, that commands would work off.
pub fn is_overdue(view: &dyn Read, now_ms: i64) -> Result<bool, KvError> {
    let shard = ShardRecord::read(view)?;
    let mut overdue = shard.behind || shard.pending > 0;
    let start = key::expiry_from(shard.swept_to_ms);
    let end = key::expiry_from(now_ms.saturating_add(1));
    if !overdue && start < end {
        scan(view, Space::Index, &start, &end, |_, _| {
            overdue = true;
            Ok(ControlFlow::Break(()))
        })?;
    }
    Ok(overdue)
}

/// Removes one thing that has expired. Gives the chunks that went with it.
fn expire(tx: &mut Tx<'_>, what: &Expiring) -> Result<u32, KvError> {
    match what {
        Expiring::Lane(..) | Expiring::Delivery(..) | Expiring::Maildrop(_) => {
            expire_of_account(tx, what).map(|()| 0)
        }
        Expiring::Body(hash) => match body::find(tx.view.as_read(), hash)? {
            Some(record) if record.refs == 0 => Ok(body::remove(tx.view, hash, &record)),
            _ => Ok(0),
        },
        Expiring::Upload(upload) => body::drop_upload(tx.view, *upload),
        Expiring::Entry(slot, table, entry) => {
            tx.view
                .delete(Space::Index, key::table_entry(*slot, *table, entry));
            Ok(0)
        }
        Expiring::TableLane(client, lane) => {
            expire_table_lane(tx, key::table_lane(*client, *lane), what).map(|()| 0)
        }
    }
}

fn expire_table_lane(tx: &mut Tx<'_>, key: Vec<u8>, what: &Expiring) -> Result<(), KvError> {
    let Some(stored) = tx.view.get(Space::Index, &key)? else {
        return Ok(());
    };
    match lane::after_its_turn(LaneRecord::decode(&stored)?, tx.now) {
        None => tx.view.delete(Space::Index, key),
        Some(record) => {
            let queue_key = key::expiry(record.queued_ms, what);
            tx.view.put(Space::Index, queue_key, PRESENT.to_vec());
            tx.view.put(Space::Index, key, record.encode());
        }
    }
    Ok(())
}

fn expire_of_account(tx: &mut Tx<'_>, what: &Expiring) -> Result<(), KvError> {
    let now = tx.now;
    let (Expiring::Lane(id, ..) | Expiring::Delivery(id, ..) | Expiring::Maildrop(id)) = what
    else {
        return Ok(());
    };
    // An account that has moved away took what expires with it.
    let Some(mut account) = tx.account(*id)? else {
        return Ok(());
    };
    match account.record.transit {
        Some(transit) if transit.is_partial() && !transit.is_coming() => {}
        // Of one that is on its way nothing changes.
        Some(transit) if !transit.is_served() => {
            let later = key::expiry(now.saturating_add(millis(PUT_OFF)), what);
            tx.view.put(Space::Index, later, PRESENT.to_vec());
        }
        _ => {
            expire_in(&mut account, what, now)?;
            account.close();
        }
    }
    Ok(())
}

/// What falls due while its account is on its way is looked at again after so long: some times as long as accounts are.
const PUT_OFF: Duration = Duration::from_secs(60);

/// Has what of an account may have expired expire.
fn expire_in(account: &mut Account<'_>, what: &Expiring, now: i64) -> Result<(), KvError> {
    match what {
        Expiring::Lane(_, client, lane) => {
            let key = key::lane(account.id, *client, *lane);
            let Some(stored) = account.get(&key)? else {
                return Ok(());
            };
            match lane::after_its_turn(LaneRecord::decode(&stored)?, now) {
                None => account.delete(key, &stored),
                Some(record) => {
                    let queue_key = key::expiry(record.queued_ms, what);
                    account.view.put(Space::Index, queue_key, PRESENT.to_vec());
                    account.put(key, Some(&stored), record.encode());
                }
            }
        }
        Expiring::Delivery(_, mailbox, delivery) => {
            let key = key::delivery(account.id, *mailbox, delivery);
            if let Some(stored) = account.get(&key)?
                && DeliveryRecord::decode(&stored)?.expires_ms <= now
            {
                account.delete(key, &stored);
            }
        }
        Expiring::Maildrop(_) => {
            let key = key::maildrop(account.id);
            let Some(stored) = account.get(&key)? else {
                return Ok(());
            };
            match MaildropRecord::decode(&stored)?.after_its_turn(now) {
                None => account.delete(key, &stored),
                Some(record) => {
                    let queue_key = key::expiry(record.queued_ms, what);
                    account.view.put(Space::Index, queue_key, PRESENT.to_vec());
                    account.put(key, Some(&stored), record.encode());
                }
            }
        }
        _ => {}
    }
    Ok(())
}

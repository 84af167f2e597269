//! Forgetting transmissions whose acknowledgement arrived.

use mailrook_types::Timestamp;

use super::enqueue::read_seen;
use crate::{
    QueueConfirmation, QueueReply,
    apply::table,
    key::table_slot,
    limits::{DUPLICATE_KEPT, millis},
    queue::SEEN_TABLE,
    slot,
    tx::{Outcome, Tx},
};

pub(super) fn apply(tx: &mut Tx<'_>, confirmations: &[QueueConfirmation]) -> Outcome<QueueReply> {
    let mut elsewhere = Vec::new();
    for confirmation in confirmations {
        let QueueConfirmation { key, mark } = confirmation;
        if !slot::is_here(tx.view.as_read(), table_slot(SEEN_TABLE, &key.0))? {
            elsewhere.push(*confirmation);
            continue;
        }
        let mut seen = read_seen(tx, key)?;
        let before = seen.0.len();
        seen.0.retain(|seen| seen.mark != *mark);
        if seen.0.is_empty() {
            table::remove(tx, SEEN_TABLE, &key.0)?;
        } else if seen.0.len() < before {
            let expires = Timestamp(tx.now.saturating_add(millis(DUPLICATE_KEPT)));
            table::set(tx, SEEN_TABLE, &key.0, seen.encode(), expires)?;
        }
    }
    Ok(if elsewhere.is_empty() {
        QueueReply::Done
    } else {
        QueueReply::Elsewhere(elsewhere)
    })
}

//! Confirmations: the sender has seen the acknowledgement, so that the same bytes sent again are a new message.

use mailrook_kv::{KvError, Space};

use crate::{
    Confirmation,
    key::{self, Expiring},
    record::DeliveryRecord,
    tx::Tx,
};

/// Gives those that are of accounts which are elsewhere.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    confirmations: &[Confirmation],
) -> Result<Vec<Confirmation>, KvError> {
    let mut elsewhere = Vec::new();
    for confirmation in confirmations {
        let Some(mut account) = tx.account(confirmation.account)? else {
            continue;
        };
        if account.record.is_elsewhere() {
            elsewhere.push(*confirmation);
            continue;
        }
        let key = key::delivery(account.id, confirmation.mailbox, &confirmation.key);
        let Some(stored) = account.get(&key)? else {
            continue;
        };
        let DeliveryRecord { uid, expires_ms } = DeliveryRecord::decode(&stored)?;
        if uid != confirmation.uid.get() {
            // A later delivery of the same bytes: this is a repeat of an earlier one's confirmation.
            continue;
        }
        let what = Expiring::Delivery(account.id, confirmation.mailbox, confirmation.key);
        account
            .view
            .delete(Space::Index, key::expiry(expires_ms, &what));
        account.delete(key, &stored);
        account.close();
    }
    Ok(elsewhere)
}

//! No message is there twice, and none that nobody sent.

use std::collections::BTreeMap;

use crate::run::Evidence;

pub fn check(evidence: &Evidence) -> Result<(), String> {
    for seen in &evidence.ledger.reads {
        let mut uids = BTreeMap::new();
        for (uid, number) in &seen.messages {
            let append = evidence.ledger.appends.get(*number);
            if append.is_none_or(|append| append.account != seen.account) {
                return Err(format!(
                    "message {number} was not sent to {:?}",
                    seen.account
                ));
            }
            if let Some(other) = uids.insert(number, uid) {
                return Err(format!(
                    "message {number} is there as UID {other} and as UID {uid}"
                ));
            }
        }
    }
    Ok(())
}

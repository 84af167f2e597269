//! What a client was told is done, is there at the end, under the UID that it was told.

use std::collections::BTreeMap;

use mailrook_types::AccountId;

use crate::{
    ledger::{Outcome, Seen},
    run::Evidence,
};

pub fn check(evidence: &Evidence) -> Result<(), String> {
    let reads = evidence.ledger.reads.iter();
    let last: BTreeMap<AccountId, &Seen> = reads.map(|seen| (seen.account, seen)).collect();
    for (number, append) in evidence.ledger.appends.iter().enumerate() {
        let (Outcome::Acknowledged(uid), Some(seen)) = (append.outcome, last.get(&append.account))
        else {
            continue;
        };
        // Where nobody could look at the end, the last look counts.
        let is_before = append.ended.is_some_and(|ended| ended < seen.begun);
        if is_before && !seen.messages.contains(&(uid, number)) {
            return Err(format!(
                "message {number} of account {:?} was acknowledged with UID {uid}, and is not there",
                append.account
            ));
        }
    }
    Ok(())
}

//! A read shows all that was acknowledged before it began, nothing that was begun after it ended, and all that an earlier
//! read showed.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_types::AccountId;

use crate::{
    ledger::{Append, Ledger, Seen},
    run::Evidence,
};

pub fn check(evidence: &Evidence) -> Result<(), String> {
    let ledger = &evidence.ledger;
    let mut reads: BTreeMap<AccountId, Vec<&Seen>> = BTreeMap::new();
    for seen in &ledger.reads {
        acknowledged_before(ledger, seen)?;
        reads.entry(seen.account).or_default().push(seen);
    }
    reads.values().try_for_each(|reads| nothing_vanishes(reads))
}

fn acknowledged_before(ledger: &Ledger, seen: &Seen) -> Result<(), String> {
    let shown: BTreeSet<usize> = seen.messages.iter().map(|(_, number)| *number).collect();
    let is_before = |append: &Append| append.ended.is_some_and(|ended| ended < seen.begun);
    for (number, append) in ledger.appends.iter().enumerate() {
        if append.account != seen.account {
            continue;
        }
        if is_before(append) && !shown.contains(&number) {
            return Err(format!(
                "the read of {:?} at moment {} does not show message {number}, acknowledged at {:?}",
                seen.account, seen.begun, append.ended
            ));
        }
        if append.begun > seen.ended && shown.contains(&number) {
            return Err(format!("a read shows message {number} before it was sent"));
        }
    }
    Ok(())
}

/// `reads` are in the order of their ends.
fn nothing_vanishes(reads: &[&Seen]) -> Result<(), String> {
    for (at, later) in reads.iter().enumerate() {
        // The last one that had ended when this one began shows what all before it did.
        let before = reads
            .iter()
            .take(at)
            .rev()
            .find(|seen| seen.ended < later.begun);
        let Some(before) = before else { continue };
        let shown: BTreeSet<_> = later.messages.iter().collect();
        if let Some((uid, number)) = before.messages.iter().find(|seen| !shown.contains(seen)) {
            return Err(format!(
                "a read at moment {} shows message {number} with UID {uid}, and one at {} does not",
                before.begun, later.begun
            ));
        }
    }
    Ok(())
}

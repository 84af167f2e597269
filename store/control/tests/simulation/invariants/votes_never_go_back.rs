//! The term of a node's vote in a group only grows, over crashes, and when its copy is dropped and given anew.

use std::collections::BTreeMap;

use crate::run::Evidence;

pub fn check(evidence: &Evidence) -> Result<(), String> {
    let mut terms = BTreeMap::new();
    for look in &evidence.watch.looks {
        let (shard, term) = (look.status.shard, look.status.term);
        let known = terms.entry((look.node, shard)).or_insert(term);
        if term < *known {
            return Err(format!(
                "at {} ms {} is at term {term} of group {shard}, and was at {known}",
                look.at_ms, look.node
            ));
        }
        *known = term;
    }
    Ok(())
}

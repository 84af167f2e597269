//! In each term of a group at most one node leads.

use std::collections::BTreeMap;

use mailrook_cluster::GroupRole;

use crate::run::Evidence;

pub fn check(evidence: &Evidence) -> Result<(), String> {
    let mut leaders = BTreeMap::new();
    for look in &evidence.watch.looks {
        if look.status.role != GroupRole::Leader {
            continue;
        }
        let key = (look.status.shard, look.status.term);
        let leader = *leaders.entry(key).or_insert(look.node);
        if leader != look.node {
            let (shard, term) = key;
            return Err(format!(
                "in term {term} of group {shard} both {leader} and {} lead",
                look.node
            ));
        }
    }
    Ok(())
}

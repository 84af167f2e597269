//! A leader that was deposed commits nothing that its successor does not have.
//!
//! Leaders have an order: by their terms, and within a term by their nodes, as the consensus engine lets a later one be
//! elected in the same term. The later one's log begins with all that the earlier one committed, and goes on with its own
//! entries: those of its first look at the latest.

use std::collections::BTreeMap;

use mailrook_cluster::GroupRole;

use crate::run::Evidence;

pub fn check(evidence: &Evidence) -> Result<(), String> {
    // For each leader of a group the end of its log at the first look, and how far it had committed at the last one.
    let mut leaders: BTreeMap<_, BTreeMap<_, (u64, u64)>> = BTreeMap::new();
    for look in &evidence.watch.looks {
        let status = &look.status;
        if status.role != GroupRole::Leader {
            continue;
        }
        let of_group = leaders.entry(status.shard).or_default();
        let seen = (status.last_index, status.committed_index);
        let known = of_group.entry((status.term, look.node)).or_insert(seen);
        known.1 = known.1.max(status.committed_index);
    }
    for (shard, of_group) in &leaders {
        for (at, (earlier, (_, committed))) in of_group.iter().enumerate() {
            let mut later = of_group.iter().skip(at + 1);
            if let Some((later, (begun_at, _))) = later.find(|(_, (at, _))| at <= committed) {
                return Err(format!(
                    "group {shard}: {} led in term {} and committed entry {committed}, and {} began in term {} with entry \
                     {begun_at} or before",
                    earlier.1, earlier.0, later.1, later.0
                ));
            }
        }
    }
    Ok(())
}

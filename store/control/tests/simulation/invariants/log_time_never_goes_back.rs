//! The log's time at an entry is the same on all copies, and no later entry has an earlier one.

use std::collections::BTreeMap;

use crate::run::Evidence;

pub fn check(evidence: &Evidence) -> Result<(), String> {
    let mut times: BTreeMap<_, BTreeMap<u64, i64>> = BTreeMap::new();
    for look in &evidence.watch.looks {
        let status = &look.status;
        let of_group = times.entry(status.shard).or_default();
        let known = *(of_group.entry(status.applied_index)).or_insert(status.log_time_ms);
        if known != status.log_time_ms {
            return Err(format!(
                "at entry {} of group {} the log's time is {} on {}, and {known} elsewhere",
                status.applied_index, status.shard, status.log_time_ms, look.node
            ));
        }
    }
    for (shard, of_group) in &times {
        let pairs = of_group.iter().zip(of_group.iter().skip(1));
        for ((first, earlier), (second, later)) in pairs {
            if later < earlier {
                return Err(format!(
                    "group {shard}: entry {first} has {earlier}, and entry {second} {later}"
                ));
            }
        }
    }
    Ok(())
}

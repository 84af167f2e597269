//! In the end all copies of a group hold the same.

use crate::run::Evidence;

pub fn check(evidence: &Evidence) -> Result<(), String> {
    if evidence.recovered.is_err() {
        // They may still be on their way.
        return Ok(());
    }
    for (shard, copies) in &evidence.copies {
        let mut contents = copies.iter();
        let Some((first, expected)) = contents.next() else {
            continue;
        };
        if let Some((node, content)) = contents.find(|(_, content)| content != expected) {
            return Err(format!(
                "group {shard}: {first} holds {expected:?}, and {node} {content:?}"
            ));
        }
    }
    Ok(())
}

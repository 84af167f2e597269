//! Groups that this node brought back alone (`mailrook cluster recover`), until their records say so.
//!
//! Until then nobody is added to them: others may still have copies of the time before, and the records name them.
//!
//! The file `recovered` in the cluster's folder is a versioned record; none means none.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use mailrook_cluster::GroupError;
use mailrook_kv::{decode, encode};
use mailrook_types::ShardId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    files::{self, FileError, damaged},
    wire::Ask,
};

const FILE: &str = "recovered";

#[derive(Serialize, Deserialize)]
enum Stored {
    V1(BTreeSet<ShardId>),
}

/// The groups.
#[derive(Debug)]
pub struct Recovered {
    path: PathBuf,
    shards: Mutex<BTreeSet<ShardId>>,
}

impl Recovered {
    /// Reads those of the cluster's folder.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn open(folder: &Path) -> Result<Recovered, FileError> {
        let path = folder.join(FILE);
        let shards = match files::read(&path)? {
            Some(bytes) => {
                let Stored::V1(shards) = decode(&bytes).map_err(|error| damaged(&path, error))?;
                shards
            }
            None => BTreeSet::new(),
        };
        let shards = Mutex::new(shards);
        Ok(Recovered { path, shards })
    }

    /// Notes groups, before they are brought back.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&self, shards: &[ShardId]) -> Result<(), FileError> {
        self.change(|all| all.extend(shards))
    }

    pub(crate) fn forget(&self, shard: ShardId) -> Result<(), FileError> {
        self.change(|all| {
            all.remove(&shard);
        })
    }

    pub(crate) fn shards(&self) -> Vec<ShardId> {
        self.shards.lock().iter().copied().collect()
    }

    /// An error if a group must not get members yet.
    pub(crate) fn check(&self, ask: &Ask) -> Result<(), GroupError> {
        let (Ask::AddLearner(shard, _) | Ask::ChangeVoters(shard, _)) = ask else {
            return Ok(());
        };
        if self.shards.lock().contains(shard) {
            let cause = "it was brought back from this copy, and its record does not say so yet";
            return Err(GroupError::Refused {
                cause: cause.to_owned(),
            });
        }
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<ShardId>)) -> Result<(), FileError> {
        let mut shards = self.shards.lock();
        let mut next = shards.clone();
        change(&mut next);
        if next.is_empty() {
            files::remove(&self.path)?;
        } else if next != *shards {
            files::replace(&self.path, &encode(&Stored::V1(next.clone())))?;
        }
        *shards = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mailrook_types::NodeId;

    use super::*;

    #[test]
    fn nobody_is_added_until_the_record_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Recovered::open(dir.path()).unwrap();
        open().note(&[ShardId(0), ShardId(3)]).unwrap();
        let recovered = open();
        let add = Ask::AddLearner(ShardId(3), NodeId(1));
        assert!(recovered.check(&add).is_err());
        assert!(
            recovered
                .check(&Ask::AddLearner(ShardId(1), NodeId(1)))
                .is_ok()
        );
        recovered.forget(ShardId(3)).unwrap();
        assert!(recovered.check(&add).is_ok());
        assert_eq!(open().shards(), [ShardId(0)]);
        recovered.forget(ShardId(0)).unwrap();
        assert!(!dir.path().join(FILE).exists());
    }
}

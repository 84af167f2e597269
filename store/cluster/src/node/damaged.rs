//! A node whose log is damaged, until the others do without its copies.
//!
//! All groups of a node share its log: with that, no copy can be used. What the node promised stays promised, as votes are in
//! the witness, too. Nothing is changed until each group has let its copy here go, which takes a quorum without it: a rack's
//! power cut that tore three logs wipes none of them. Then log and tables go into quarantine, and the node opens without
//! copies, to be given new ones.

use std::path::Path;

use mailrook_types::{NodeId, ShardId};

use super::OpenError;
use crate::{
    GroupStatus,
    data_dir::{DataDir, WitnessFile},
    disk::{DiskSpace, FileSystemSpace},
    group::raft::wall_ms,
};

/// Holds the data directory; see the module.
pub struct DamagedNode {
    dir: DataDir,
    witness: WitnessFile,
    cause: String,
}

impl DamagedNode {
    /// After an error in opening the data directory at `data_dir`: none if it was not damage of the log.
    ///
    /// # Errors
    /// What says who the node is and what it promised is damaged, too.
    pub fn open(data_dir: &Path, error: &OpenError) -> Result<Option<DamagedNode>, OpenError> {
        let OpenError::Damaged { path, what, .. } = error else {
            return Ok(None);
        };
        let dir = DataDir::open(data_dir, &[])?;
        if !path.starts_with(dir.log()) {
            return Ok(None);
        }
        let witness = WitnessFile::open(dir.witness())?;
        let cause = format!("the log is damaged: {}: {what}", path.display());
        Ok(Some(DamagedNode {
            dir,
            witness,
            cause,
        }))
    }

    /// Names this node.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.dir.identity().node_id)
    }

    /// As [`Node::beat`](super::Node::beat).
    pub fn beat(&self) -> u64 {
        self.witness.beat()
    }

    /// As [`Node::wall_ms`](super::Node::wall_ms).
    pub fn wall_ms(&self) -> i64 {
        wall_ms()
    }

    /// What is damaged.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// What is free on the data directory's file system; 0 if nobody knows.
    pub fn disk_free_bytes(&self) -> u64 {
        let path = self.dir.root().to_owned();
        FileSystemSpace { path }.free_bytes().unwrap_or_default()
    }

    /// The copies that groups still count with, none of which can be used.
    pub fn copies(&self) -> Vec<GroupStatus> {
        let groups = self.witness.content().groups.into_keys();
        let stopped = |shard| GroupStatus::stopped(shard, self.cause.clone());
        groups.map(stopped).collect()
    }

    /// Gives up a copy that its group does without, but for its vote; returns once that is durable. There is none: no
    /// change.
    ///
    /// # Errors
    /// The disk's.
    pub fn drop_copy(&self, shard: ShardId) -> std::io::Result<()> {
        self.witness.drop_copy(shard)
    }

    /// Puts the log and all tables into quarantine, and gives the directory free: it opens from now on, without copies.
    ///
    /// Interrupted, it is called again after the next start, which finds the rest of the log damaged or nothing that
    /// belongs to a copy.
    ///
    /// # Errors
    /// There are copies that groups count with; or the disk's.
    pub fn set_aside(&self) -> Result<(), OpenError> {
        let known = self.witness.content();
        if !known.groups.is_empty() {
            let left: Vec<ShardId> = known.groups.into_keys().collect();
            let text = format!("groups still count with the copies here: {left:?}");
            return Err(OpenError::Options(text));
        }
        for shard in known.dropped.into_keys() {
            self.dir.quarantine(shard)?;
        }
        self.dir.quarantine_log()?;
        self.dir.release();
        Ok(())
    }
}

//! Snapshots, as openraft asks for them.
//!
//! A group's flushed state is its snapshot: nothing is copied until one is sent. What is sent is a checkpoint, file by
//! file: see [`send`](super::send) and [`receive`](super::receive). What has arrived is a folder on the group's file system.

use std::{io, path::PathBuf, sync::Arc};

use openraft::RaftSnapshotBuilder;

use super::types::{Snapshot, SnapshotMeta, Types};
use crate::{
    Plant,
    simulation::run_blocking,
    state::{Applied, GroupState},
};

/// Where a snapshot's data is.
#[derive(Clone)]
pub(crate) enum SnapshotSource {
    /// In the group's own tables. Whoever sends it makes a checkpoint first, which may be further than the snapshot
    /// was: [`SnapshotSource::checkpoint`].
    Live(Arc<GroupState>),
    /// In a folder that holds a checkpoint.
    Folder(PathBuf),
}

impl SnapshotSource {
    /// A folder with the data, and how far it is. Blocks.
    pub(crate) fn checkpoint(&self, name: &str) -> io::Result<(SnapshotMeta, PathBuf)> {
        match self {
            SnapshotSource::Live(state) => {
                let folder = state.checkpoint_folder(name);
                let applied = state.checkpoint(&folder).map_err(io::Error::other)?;
                Ok((meta(&applied), folder))
            }
            SnapshotSource::Folder(_) => Err(io::Error::other(
                "a snapshot that arrived is installed, not sent on",
            )),
        }
    }
}

/// What openraft wants to know of a state.
pub(super) fn meta(applied: &Applied) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: applied.log_id,
        last_membership: applied.membership.clone(),
    }
}

/// The snapshot that the flushed state is; none if nothing is flushed.
pub(super) fn of_flushed(state: &Arc<GroupState>, plant: Option<Plant>) -> Option<Snapshot> {
    let flushed = match plant {
        Some(Plant::CutUnflushed) => state.applied(),
        _ => state.flushed(),
    };
    flushed.log_id?;
    Some(Snapshot {
        meta: meta(&flushed),
        snapshot: SnapshotSource::Live(Arc::clone(state)),
    })
}

/// Makes a snapshot, by flushing unless something is flushed: then it tells openraft how far, which cuts the log.
pub(crate) struct Builder {
    pub(super) state: Arc<GroupState>,
    pub(super) plant: Option<Plant>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotSource;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        if let Some(snapshot) = of_flushed(&self.state, self.plant) {
            return Ok(snapshot);
        }
        let state = Arc::clone(&self.state);
        run_blocking(move || state.flush())
            .await?
            .map_err(io::Error::other)?;
        of_flushed(&self.state, self.plant)
            .ok_or_else(|| io::Error::other("nothing is applied yet"))
    }
}

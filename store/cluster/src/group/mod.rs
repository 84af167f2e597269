//! A group: what orders commands for one state machine and keeps them on a majority of disks.

mod error;
pub(crate) mod raft;
mod status;
mod watch;

use bytes::Bytes;
use futures::future::BoxFuture;
use mailrook_kv::Read;
use mailrook_types::ShardId;

pub use error::GroupError;
pub use status::{GroupRole, GroupStatus, Progress};
pub use watch::{Touched, Watch};

/// A command of a group is at most this long: two of the largest body chunks (256 KiB, DESIGN "Bodies"), so that
/// one entry never holds up the others for long.
pub const COMMAND_BYTES_MAX: usize = 512 << 10;

/// One Raft group, as everything above sees it. The consensus engine behind it can be changed, or simulated.
pub trait Group: Send + Sync + 'static {
    /// Which group this is.
    fn shard(&self) -> ShardId;

    /// Orders `command`, waits until it is durable on a majority and applied here, and gives the state machine's
    /// reply.
    ///
    /// Waits while too many proposals are in flight. Dropping the future does not take the command back: like
    /// [`GroupError::OutcomeUnknown`], it leaves open whether the command is carried out.
    fn propose(&self, command: Bytes) -> BoxFuture<'_, Result<Bytes, GroupError>>;

    /// Waits until [`Group::visit_state`] shows everything that was acknowledged, by any leader, before this call.
    /// Callers that wait at the same time share one round.
    fn read_barrier(&self) -> BoxFuture<'_, Result<(), GroupError>>;

    /// Calls `visit` once with a snapshot of what is applied here, and with the log's time, by which what has expired
    /// counts as absent: no earlier than the stamp of any command that the snapshot shows, no later than that of any
    /// proposed afterwards. It blocks as reads of a disk do; it is linearizable only after [`Group::read_barrier`].
    /// `dyn Group` has [`read`](trait.Group.html#method.read) and [`read_at`](trait.Group.html#method.read_at), which
    /// give a result back.
    fn visit_state(&self, visit: &mut dyn FnMut(&dyn Read, i64)) -> Result<(), GroupError>;

    /// Waits some seconds at most until entry `index` is applied here, and calls `visit` once with a snapshot and the entry
    /// that it is at: `index`, unless more was applied before, or less in time. For comparing copies; it blocks.
    fn visit_state_at(
        &self,
        index: u64,
        visit: &mut dyn FnMut(&dyn Read, u64),
    ) -> Result<(), GroupError>;

    /// What is touched from now on.
    fn watch(&self) -> Watch;

    /// How the group fares.
    fn status(&self) -> GroupStatus;

    /// Whether it does nothing any more, and why is in its status: asking it is of no use.
    fn is_stopped(&self) -> bool {
        matches!(self.status().role, GroupRole::Stopped { .. })
    }

    /// Stops the group: proposals under way end, what is applied is flushed. Later calls give
    /// [`GroupError::Stopped`]. A second call waits for the first.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

impl dyn Group {
    /// Gives `read` a snapshot of what is applied here, and its result back. See [`Group::visit_state`].
    pub fn read<T>(&self, read: impl FnOnce(&dyn Read) -> T) -> Result<T, GroupError> {
        self.read_at(|state, _time_ms| read(state))
    }

    /// The same with the log's time.
    pub fn read_at<T>(&self, read: impl FnOnce(&dyn Read, i64) -> T) -> Result<T, GroupError> {
        let mut read = Some(read);
        let mut result = None;
        self.visit_state(&mut |state, time_ms| {
            if let Some(read) = read.take() {
                result = Some(read(state, time_ms));
            }
        })?;
        // An implementation that succeeds without a visit breaks the contract; then nothing is known.
        result.ok_or_else(|| GroupError::Stopped {
            cause: "its state was not shown".into(),
        })
    }
}

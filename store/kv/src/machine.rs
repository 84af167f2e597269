//! The contract between a group, which orders commands, and the state machine that carries them out.

use thiserror::Error;

use crate::{KvError, Overlay, Read, RecordError};

/// The state of a group with the changes of the commands that are being applied.
pub type View<'a> = Overlay<'a, dyn Read + 'a>;

/// A deterministic state machine: the same commands at the same log times make the same state and the same
/// replies on every copy, today and in every later version. It has no clock, no randomness and no floats, and it
/// parses no mail.
pub trait StateMachine: Send + Sync + 'static {
    /// Carries out one command of the log.
    ///
    /// `time_ms` is the log's time: milliseconds since 1970, stamped by the leader, never going back. A command
    /// that cannot be carried out (no such mailbox, over quota) is not an error here: its reply says so.
    fn apply(
        &self,
        view: &mut View<'_>,
        time_ms: i64,
        command: &[u8],
    ) -> Result<Applied, ApplyError>;

    /// Whether a command makes room, or leads to it, and takes little itself: it is ordered while the disk is nearly full.
    /// Else a full disk would stay full. Not part of what is replicated: it may change from one version to the next.
    fn makes_room(&self, command: &[u8]) -> bool;
}

/// What applying a command gave, beside the changes in the view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// For the proposer.
    pub reply: Vec<u8>,
    /// What watchers of this group must hear: for each key (an account, say) the highest number it reached
    /// (its MODSEQ, say). Not part of the state.
    pub touched: Vec<(u64, u64)>,
}

/// A command of the log could not be applied. The copy must stop: going on would make it differ from the others.
#[derive(Clone, Debug, Error)]
pub enum ApplyError {
    /// The engine failed under the state machine.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The command is of a version that this build does not know, or is damaged.
    #[error("a command of the log cannot be read, it may be from a newer version: {0}")]
    UnknownCommand(#[from] RecordError),
}

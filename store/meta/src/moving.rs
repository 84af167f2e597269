//! Accounts on their way from one shard to another.

use mailrook_types::{AccountId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

/// Accounts move from this feature level on.
pub const LEVEL_MOVES: u32 = 5;

/// From this feature level on shards take the steps that find an account again whose move a recovered directory has forgotten, and moves that
/// stay pending keep no others from being forgotten.
pub const LEVEL_FORGOTTEN_MOVES: u32 = 7;

/// The most accounts in one [`MoveAccounts`](crate::MetaCommand::MoveAccounts).
pub const MOVES_AT_ONCE_MAX: usize = 1_000;

/// The most moves that are not over. Each is some hundred bytes: enough to empty a shard, and no more than a list can show.
pub const MOVES_MAX: u64 = 100_000;

/// The setting that says how many bytes a second all moves together copy at most: a number in decimal digits.
pub const SETTING_MOVE_RATE: &str = "move-rate";

/// The setting that has all moves rest, if it is there: `1`.
pub const SETTING_MOVES_PAUSED: &str = "moves-paused";

/// So many moves that are over are remembered, for who asks how they went; more of them for ten minutes after their end.
pub const MOVES_KEPT: u64 = 10_000;

/// A move of an account from one shard to another.
///
/// 1. [`MoveAccounts`](crate::MetaCommand::MoveAccounts) asks for it: it is [`Waiting`](MoveState::Waiting).
/// 2. A mover takes it ([`TakeMove`](crate::MetaCommand::TakeMove)), and copies the account while it is used. Who takes it over from
///    a mover that died has the next turn, and the shards refuse the steps of all before.
/// 3. Both shards have the same, and the one that the account leaves is fenced: [`FlipMove`](crate::MetaCommand::FlipMove) says that
///    the account is on the other. Or [`AbandonMove`](crate::MetaCommand::AbandonMove) says that it stays. Of these two the
///    first one that is applied decides, and nothing else does.
/// 4. The shards follow; what is left of the account where it was is kept for a while, then dropped, and
///    [`EndMove`](crate::MetaCommand::EndMove) ends the move. Asked for once more in that while, the account moves again: what
///    is left is dropped at once, and the next move [follows](AccountMove::follows) then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountMove {
    /// Grows with each move.
    pub id: u64,
    /// Which account.
    pub account: AccountId,
    /// The shard that has it, or had it.
    pub from: ShardId,
    /// The shard that is to have it, or has it.
    pub to: ShardId,
    /// How often it was taken.
    pub turn: u32,
    /// How far it has come.
    pub state: MoveState,
    /// When it was asked for.
    pub asked: Timestamp,
    /// When its state changed last.
    pub changed: Timestamp,
    /// What its mover has noted.
    pub note: MoveNote,
    /// The account's move before, which is to be over first.
    pub follows: Option<u64>,
    /// Somebody waits for its end: what is left where the account was is dropped at once.
    pub hurried: bool,
    /// Nothing is copied for now.
    pub paused: bool,
    /// The meta group was recovered since from a copy that may have lacked what was decided.
    pub doubtful: bool,
}

/// What a mover notes of its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveNote {
    /// Messages that were copied.
    pub messages: u64,
    /// Bytes that were copied, bodies included.
    pub bytes: u64,
    /// For how long the account was not served, in milliseconds.
    pub pause_ms: u32,
    /// Whether the account is served where it has gone.
    pub opened: bool,
    /// Whether the account may be fenced: it is served nowhere until somebody goes on.
    pub fencing: bool,
}

/// How far a move has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveState {
    /// Nobody has taken it.
    Waiting,
    /// The account is copied.
    Copying,
    /// The account is where it was to go; what is left where it was is still to be dropped.
    Moved,
    /// The account stays where it was, for this reason; what was copied is still to be removed.
    Abandoned(String),
    /// The account has moved.
    Done,
    /// The account has not moved, for this reason.
    Failed(String),
}

impl MoveState {
    /// Whether nothing is left to be done.
    pub fn is_over(&self) -> bool {
        matches!(self, MoveState::Done | MoveState::Failed(_))
    }

    /// Whether it is decided where the account is.
    pub fn is_decided(&self) -> bool {
        !matches!(self, MoveState::Waiting | MoveState::Copying)
    }
}

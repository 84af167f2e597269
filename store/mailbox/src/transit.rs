//! What the last move of an account has made of it here, and what a step may follow.
//!
//! The note stays in the account's record for good: whoever has an older idea of where the account is must be refused, and so must a
//! late step of a move that is over. It is less than 20 bytes.

use serde::{Deserialize, Serialize};

use crate::{MoveStage, MoveStanding, MoveStep, Mover};

/// What the last move of an account has made of it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transit(pub MoveStanding);

/// What a step finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is to be done.
    ToDo,
    /// It was done before.
    Done,
    /// It is of a move that is over or was not begun here, or of a mover that another one has taken over from.
    Stale,
}

impl Transit {
    pub(crate) fn new(by: Mover, stage: MoveStage) -> Transit {
        Transit(MoveStanding { by, stage })
    }

    pub(crate) fn by(self) -> Mover {
        self.0.by
    }

    pub(crate) fn stage(self) -> MoveStage {
        self.0.stage
    }

    /// Whether the account is read and changed here.
    pub(crate) fn is_served(self) -> bool {
        matches!(self.stage(), MoveStage::Leaving(_) | MoveStage::Here)
    }

    /// Whether only a part of its pairs may be here.
    pub(crate) fn is_partial(self) -> bool {
        matches!(
            self.stage(),
            MoveStage::Clearing | MoveStage::Incoming | MoveStage::Going | MoveStage::Gone
        )
    }

    /// Whether its pairs are coming.
    pub(crate) fn is_coming(self) -> bool {
        self.stage() == MoveStage::Incoming
    }

    /// The round under which changes are noted.
    pub(crate) fn notes_round(self) -> Option<u32> {
        match self.stage() {
            MoveStage::Leaving(round) => Some(round),
            _ => None,
        }
    }
}

/// What a step of a move finds where the last one has left this. `lives`: the account is one that is there, by its record.
pub(crate) fn find(known: Option<Transit>, lives: bool, by: Mover, step: &MoveStep) -> Found {
    use MoveStage::{Clearing, Complete, Fenced, Going, Gone, Here, Incoming, Leaving};
    let Some(known) = known else {
        return match step {
            MoveStep::Begin | MoveStep::Discard if !lives => Found::ToDo,
            // One that comes to nothing before it began leaves its note, so that nothing of it comes late.
            MoveStep::Leave { round: 1, .. } | MoveStep::Return if lives => Found::ToDo,
            _ => Found::Stale,
        };
    };
    let last = known.by();
    if by.move_id < last.move_id || (by.move_id == last.move_id && by.turn < last.turn) {
        return Found::Stale;
    }
    if by.move_id > last.move_id {
        return after_another(step, known.stage());
    }
    match (step, known.stage()) {
        (MoveStep::Begin, Clearing)
        | (MoveStep::Install(_) | MoveStep::InstallUploaded { .. } | MoveStep::Complete { .. }, Incoming)
        | (MoveStep::Open, Complete)
        | (MoveStep::Drop, Fenced(_) | Going)
        | (MoveStep::Return, Leaving(_) | Fenced(_))
        | (MoveStep::Discard, Clearing | Incoming | Complete | Going) => Found::ToDo,
        (MoveStep::Leave { round, .. }, Leaving(now)) if *round == now + 1 => Found::ToDo,
        (MoveStep::Fence, Leaving(_)) => Found::ToDo,
        (MoveStep::Leave { round, .. }, Leaving(now) | Fenced(now)) if *round <= now => Found::Done,
        (MoveStep::Begin, Incoming | Complete | Here)
        | (
            MoveStep::Install(_) | MoveStep::InstallUploaded { .. } | MoveStep::Complete { .. },
            Complete | Here,
        )
        | (MoveStep::Open | MoveStep::Return, Here)
        // Answered with the record again.
        | (MoveStep::Fence, Fenced(_))
        | (MoveStep::Drop | MoveStep::Discard, Gone) => Found::Done,
        _ => Found::Stale,
    }
}

/// What a step finds where an earlier move has left the account. That one is over; if it is in the middle here, the directory was
/// recovered from a copy that lacked it, and who sends the step has looked where the account is.
fn after_another(step: &MoveStep, stage: MoveStage) -> Found {
    use MoveStage::{Clearing, Complete, Fenced, Going, Gone, Here, Incoming, Leaving};
    match (step, stage) {
        (MoveStep::Begin | MoveStep::Discard, Gone | Going | Clearing | Incoming | Complete)
        | (MoveStep::Leave { round: 1, .. }, Here | Leaving(_))
        | (MoveStep::Return, Here | Leaving(_) | Fenced(_))
        | (MoveStep::Drop, Fenced(_) | Gone | Going | Clearing | Incoming) => Found::ToDo,
        // The directory says by this move that it is here, where the other one has brought it.
        (MoveStep::Open, Here | Leaving(_)) => Found::Done,
        _ => Found::Stale,
    }
}

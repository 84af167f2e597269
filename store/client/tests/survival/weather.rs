//! What goes wrong, and how often.

use std::time::Duration;

use crate::dice::Chance;

/// How the back ends fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing goes wrong.
    Quiet,
    /// Nodes die and come back, leaders hand over, answers are lost; nobody is away for longer than a call is repeated.
    Storm(Option<Plant>),
    /// All of that, and times without a leader that are longer than a call is repeated.
    Outages,
}

/// A bug that must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A command whose answer was lost is sent again as another operation.
    NewOperationForARepeat,
    /// Who begins to lead answers before it has applied all that was acknowledged.
    StaleAfterAnElection,
}

/// What befalls one call to a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The leader's process ends before it has done anything.
    DiesBefore,
    /// It ends after the command is committed, before the answer is sent.
    DiesAfter,
    /// Committed, and the answer is lost; the leader lives.
    AnswerLost,
    /// Not carried out.
    RequestLost,
    /// Somebody else leads from now on.
    HandOver,
    /// It takes so long.
    Stall(Duration),
    /// The command is held up on its way, and is carried out when its sender has given it up.
    Late(Duration),
    /// Nobody leads for so long.
    Outage(Duration),
}

/// Of a hundred calls so many are struck: a session of forty commands meets some ten faults.
const STRUCK_PERCENT: u64 = 8;
/// Of the faults of [`Weather::Outages`], so many are outages.
const OUTAGE_PERCENT: u64 = 12;

impl Weather {
    /// Whether a session may have to say that the store cannot be reached.
    pub fn is_long(self) -> bool {
        self == Weather::Outages
    }

    /// What has been planted.
    pub fn plant(self) -> Option<Plant> {
        match self {
            Weather::Storm(plant) => plant,
            Weather::Quiet | Weather::Outages => None,
        }
    }

    /// What befalls the next call, if anything.
    pub fn strike(self, chance: &mut Chance) -> Option<Fault> {
        if self == Weather::Quiet || !chance.percent(STRUCK_PERCENT) {
            return None;
        }
        if self.is_long() && chance.percent(OUTAGE_PERCENT) {
            // Longer than `ClientOptions::default().deadline`, shorter than a body under way is waited for.
            return Some(Fault::Outage(Duration::from_secs(chance.range(21, 60))));
        }
        let short = Duration::from_millis(chance.range(5, 800));
        Some(match chance.range(0, 7) {
            0 => Fault::DiesBefore,
            1 => Fault::DiesAfter,
            2 => Fault::AnswerLost,
            3 => Fault::RequestLost,
            4 => Fault::HandOver,
            5 => Fault::Stall(short),
            _ => Fault::Late(short),
        })
    }
}

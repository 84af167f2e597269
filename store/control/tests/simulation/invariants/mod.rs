//! What must hold, whatever happened: each in a file of its own.

mod copies_are_equal;
mod each_operation_once;
mod leaders_take_turns;
mod log_time_never_goes_back;
mod no_acknowledged_command_is_lost;
mod reads_are_linearizable;
mod the_cluster_recovers;
mod votes_never_go_back;

use crate::run::Evidence;

type Check = fn(&Evidence) -> Result<(), String>;

/// The safest first: what follows from a lost command is not the cause.
const ALL: [(&str, Check); 8] = [
    ("leaders_take_turns", leaders_take_turns::check),
    ("votes_never_go_back", votes_never_go_back::check),
    ("reads_are_linearizable", reads_are_linearizable::check),
    (
        "no_acknowledged_command_is_lost",
        no_acknowledged_command_is_lost::check,
    ),
    ("each_operation_once", each_operation_once::check),
    ("log_time_never_goes_back", log_time_never_goes_back::check),
    ("copies_are_equal", copies_are_equal::check),
    ("the_cluster_recovers", the_cluster_recovers::check),
];

/// Says which do not hold.
pub fn check(evidence: &Evidence) -> Result<(), String> {
    let broken: Vec<String> = (ALL.iter())
        .filter_map(|(name, check)| Some(format!("{name}: {}", check(evidence).err()?)))
        .collect();
    match broken.is_empty() {
        true => Ok(()),
        false => Err(broken.join("\n")),
    }
}

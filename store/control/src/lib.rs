//! A cluster beyond its groups: who its nodes are, how one joins, and where copies and leaders are to be.
//!
//! - [`Papers`] are what a node proves itself with, and [`Book`] is what it knows of the others: files in a folder beside
//!   the store.
//! - [`join`] asks a member to take a new machine in; [`Desk`] answers that, and what other nodes' controllers ask.
//! - [`Renewal`] runs on every node, and sees to its certificate and to whom it trusts; [`Keeper`] has both in use.
//! - [`Controller`] runs on every node, and acts on the one that leads the meta group: it looks at all nodes, has
//!   `mailrook-placement` decide, and carries that out.
//!
//! *Architecture Invariant:* this crate decides nothing about placement and knows no mail: it gathers, carries out and
//! remembers.

mod book;
mod controller;
mod damaged;
mod desk;
mod digest;
mod fellow;
mod files;
mod gather;
mod hands;
mod introductions;
mod join;
mod keeper;
mod mend;
mod move_figures;
mod moves;
mod papers;
mod recovered;
mod renewal;
mod report;
mod rotation;
mod settings;
mod slots;
mod tries;
mod upgrade;
mod verify;
mod wire;

pub use book::{Book, Known};
pub use controller::{Addresses, Controller};
pub use damaged::DamagedDesk;
pub use desk::{Desk, DeskParts};
pub use digest::Digest;
pub use fellow::{Fellow, NoAnswer, ask_fellow};
pub use files::FileError;
pub use gather::{ClusterView, GroupState, gather};
pub use introductions::Introductions;
pub use join::{JoinFailed, Joined, join};
pub use keeper::{Keeper, NodePapers, Presents};
pub use move_figures::{MoveFigures, PAUSE_BOUNDS_MS};
pub use moves::{AccountMover, KEPT_FOR, Pace};
pub use papers::Papers;
pub use recovered::Recovered;
pub use renewal::Renewal;
pub use report::NodeReport;
pub use rotation::{AllPapers, begin_rotation, missing, papers, trust};
pub use settings::{
    FEATURE_LEVELS, LEVEL_CA_ROTATION, LEVEL_LOST_NODES, LEVEL_SLOT_MOVES, Member,
    feature_levels_up_to,
};
pub use slots::{SLOTS_AT_ONCE, SlotMover, slots_under_way};
pub use upgrade::{RAISE_AFTER, highest_common};
pub use verify::{Copies, Copy, Verdict, verify};

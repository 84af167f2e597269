//! Decides where the groups' copies and leaders are to be, and what is to be done next to get there.
//!
//! The controller on the meta leader gathers a [`View`] of the cluster, asks [`plan`] for the next few [`Action`]s, carries
//! them out, and asks again. Nothing is remembered between two plans: what is under way shows in the view. So a new
//! controller goes on where the old one died, and an action that failed is planned again.
//!
//! What a plan aims at, in this order:
//!
//! 1. No group loses its quorum by an action. What has no leader, is in the middle of a change or has no quorum of
//!    reachable voters is left alone. Of each group one thing changes at a time.
//! 2. Each group has as many copies as the settings say, on nodes that are there to stay. A copy is filled as a learner
//!    before it votes. As many vote as the largest odd number of copies: an even number survives no more failures. A
//!    replicated group is not made one that is not: three voters stay three, though one of them is gone, until another
//!    takes its place.
//! 3. The copies of a group are in as many zones as can be; nodes have about as many copies each.
//! 4. Nodes lead about as many groups each.
//!
//! Apart from that, [`slots_to_move`] says which slots of the cluster-wide tables go to another shard, and [`accounts_to_move`], when an
//! admin asks, which accounts.
//!
//! Every plan makes one of these better and none before it worse, and plans stop when nothing can be made better: there
//! is no back and forth (`tests/simulation`).
//!
//! *Architecture Invariant:* this crate knows no Raft library, no sockets, no clock and no randomness. Times come in as how
//! long something has lasted, and the same view gives the same plan.

mod accounts;
mod action;
mod cluster;
mod leaders;
mod plan;
mod slots;
mod spread;
mod status;
mod step;
mod target;
mod view;

pub use accounts::{AccountView, Measure, Relocation, accounts_to_move, worst_crowding};
pub use action::{Action, Planned};
pub use leaders::LEADER_REST_MS;
pub use plan::{ACTIONS_MAX, FILLS_MAX, FILLS_PER_NODE_MAX, TRANSFERS_MAX, plan};
pub use slots::{SlotsToMove, slots_misplaced, slots_to_move};
pub use spread::MOVES_MAX;
pub use status::{Consequence, Stuck, UnderReplicated, consequences, stuck, under_replicated};
pub use view::{GroupView, LearnerView, NodeState, NodeView, View};

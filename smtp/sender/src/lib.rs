//! The runner of the outbound queue: what a front end does so that mail leaves.
//!
//! For each shard a [`Keeper`](keeper) claims jobs, keeps their leases alive and commits what came of them. The
//! [`Dispatcher`](dispatch) brings jobs of one destination together on few connections. How a connection is made and what is said on it is the
//! [`Courier`]'s business: by SMTP to another system, or straight into a mailbox here. What a job's outcome means for its recipients
//! and its sender is decided in [`settle`], which is pure.
//!
//! Everything here may be lost at any moment: the queue in the store is what is true, and another front end takes over what
//! this one had claimed once its leases are over (DESIGN, P5).
//!
//! *Architecture Invariant:* a message's final dot is given out only under a lease that was seen alive by [`Lease::look`] before. What the
//! remote has accepted is reported until the store has it, whoever holds the claim by then.

mod body;
mod courier;
mod dispatch;
mod dsn;
mod keeper;
mod lease;
mod local;
mod metrics;
mod outcome;
mod runner;
mod schedule;
mod settings;
pub mod settle;
mod talk;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use body::{BodyReader, BodyUnreadable};
pub use courier::{Courier, Errand, Unreachable, Way};
pub use lease::{Lease, LeaseLost};
pub use local::LocalCourier;
pub use metrics::SenderMetrics;
pub use outcome::{Attempt, Outcome, Told};
pub use runner::{Runner, RunnerHandle};
pub use schedule::Schedule;
pub use settings::SenderSettings;
pub use talk::{Handshake, Io, Talk};

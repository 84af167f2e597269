//! Slots of the tables and accounts move from shard to shard while they are used, whatever becomes of who moves them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod accounts;
mod edges;
mod kills;
mod rig;
mod slots;
mod told;

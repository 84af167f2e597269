//! The client, against groups of its own process and of others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod account_removal;
mod append_many;
mod cluster;
mod delivery;
mod exactly_once;
mod log_time;
mod maildrop;
mod queue;
mod quota;
mod reads;
mod rig;
mod sweep;
mod unknown_account;

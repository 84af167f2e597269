//! The admin API: JSON over HTTP on a socket in the data directory that only the server's user can open, and if asked
//! for on loopback, behind a token.

mod client;
mod cluster;
mod desk;
mod handle;
mod moves;
pub mod protocol;
mod rebalance;
mod server;
mod sessions;
#[cfg(test)]
mod tests;
mod time;

pub use client::{Client, ClientError};
pub use desk::{Desk, Starting};
pub use handle::{Admin, ClusterHost, FIRST_PASSWORD, Failure, Host};
pub use server::AdminDoor;
pub use sessions::{AccountLoads, SESSION_PAGE, SessionFilter, SessionHost, Whom, lasting};
pub use time::rfc3339;

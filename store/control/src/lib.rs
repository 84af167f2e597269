//! A cluster beyond its groups: who its nodes are, how one joins, and where copies and leaders are to be.
//!
//! - [`Papers`] are what a node proves itself with, and [`Book`] is what it knows of the others: files in a folder beside
//!   the store.
//! - [`join`] asks a member to take a new machine in; [`Desk`] answers that, and what other nodes' controllers ask.
//! - [`Controller`] runs on every node, and acts on the one that leads the meta group: it looks at all nodes, has
//!   `mailrook-placement` decide, and carries that out.
//!
//! *Architecture Invariant:* this crate decides nothing about placement and knows no mail: it gathers, carries out and
//! remembers.

mod book;
mod controller;
mod desk;
mod files;
mod gather;
mod introductions;
mod join;
mod papers;
mod report;
mod settings;
mod verify;
mod wire;

pub use book::{Book, Known};
pub use controller::{Addresses, Controller};
pub use desk::{Desk, DeskParts};
pub use files::FileError;
pub use gather::{ClusterView, GroupState, gather};
pub use introductions::Introductions;
pub use join::{JoinFailed, Joined, join};
pub use papers::Papers;
pub use report::{Digest, NodeReport};
pub use settings::{FEATURE_LEVELS, Member};
pub use verify::{Copies, verify};

//! The store's traits, carried out by the groups of the cluster: each call is routed to the leader of the group that
//! holds its account or its table slot, in this process or on another node, sent again under the same operation id while the group cannot answer, and ended by a deadline.
//!
//! *Architecture Invariant:* this crate decides nothing about mail. It neither reads nor writes state but through a
//! group, and it reports a group that cannot be reached as just that, never as something that does not exist (P6).

mod calls;
mod client;
mod confirm;
mod confirmer;
mod deliver;
mod directory;
mod forgotten;
mod lanes;
mod load;
mod maildrop;
mod mailstore;
mod patience;
mod placement;
mod queue;
mod reads;
mod removals;
mod routes;
mod serve;
mod shards;
mod shared;
mod slots;
mod stalls;
mod sweep;
mod upload;
mod watches;
mod wire;

pub use client::{Client, ClientOptions, machines};
pub use load::{AccountLoad, LOAD_HALF_LIFE};
pub use routes::{Copies, Peers, Reach};
pub use shards::Shards;
pub use upload::new_upload;

//! The traits that everything above the store calls, with their types and an in-memory twin.
//!
//! [`Mailstore`] is the accounts' mail, [`Directory`] who they are, [`Shared`] the cluster-wide tables, [`Queue`] the mail
//! under way. The real implementation routes each call to the back end that leads the shard; the twin in [`memory`] runs
//! the same state machines over a map, for tests.
//!
//! *Architecture Invariant:* this crate knows no RocksDB and no Raft, so that what is built on it compiles and tests
//! fast.

mod directory;
mod error;
mod intent;
mod lane;
mod mailstore;
pub mod memory;
mod prepared;
mod queue;
mod shared;
mod stalls;

pub use directory::Directory;
pub use error::StoreError;
pub use intent::Intent;
pub use lane::{Begun, Lane};
pub use mailstore::{
    Append, BODY_READ_MAX, Delivery, DeliveryRecipient, MaildropLock, Mailstore, MessagePlace,
    Watch, default_mailboxes,
};
pub use prepared::{Detail, PreparedMessage, copy_range, unpack_chunk};
pub use queue::{JobReport, NewMail, Queue, QueuedMail};
pub use shared::Shared;
pub use stalls::{StallObserver, observed, observer};

pub use mailrook_mailbox as shard;
pub use mailrook_meta as meta;

use futures::future::BoxFuture;

/// What every call of the store gives. A call ends by its own deadline, with [`StoreError::Unavailable`] at the latest.
pub type Call<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

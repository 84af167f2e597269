//! The client: the groups it knows, its granted id, and what it caches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mailrook_cluster::Machines;
use mailrook_kv::StateMachine;
use mailrook_mailbox::Shard;
use mailrook_meta::{Meta, MetaCommand, MetaReply};
use mailrook_store_api::{Lane, StoreError};
use mailrook_types::{ClientId, NodeId, ShardId};
use tokio::sync::OnceCell;

use crate::{
    calls::Calls, confirmer::Confirmer, lanes::SpareLanes, load::Loads, placement::Placement,
    routes::Reach, slots::Slots, watches::Watches,
};

/// The state machine of each group: the directory's for the meta group, a shard's for every other.
pub fn machines() -> Machines {
    Arc::new(|shard| match shard {
        ShardId::META => Arc::new(Meta) as Arc<dyn StateMachine>,
        _ => Arc::new(Shard),
    })
}

/// How the client behaves.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// How long a call is tried before it ends with [`StoreError::Unavailable`]. A session's own patience is longer: the
    /// senders of SMTP wait 10 minutes for the reply to DATA (RFC 5321 §4.5.3.2.6), mail clients about one.
    pub deadline: Duration,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            deadline: Duration::from_secs(20),
        }
    }
}

/// The store, as the front ends of this process see it. Clones share everything.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) calls: Calls,
    pub(crate) placement: Placement,
    pub(crate) watches: Watches,
    pub(crate) confirmer: Confirmer,
    /// Granted at the first use, so that a process can start before the meta group can be reached.
    id: OnceCell<ClientId>,
    nonce: [u8; 16],
    lanes: AtomicU64,
    pub(crate) spare_lanes: SpareLanes,
    pub(crate) slots: Slots,
    /// What the accounts ask for here.
    pub(crate) loads: Loads,
    /// Whether all nodes are known to lock maildrops in the cluster: the feature level never falls.
    pub(crate) locks_maildrops: AtomicBool,
    /// Whether all nodes are known to know the queue of outgoing mail.
    pub(crate) has_queue: AtomicBool,
}

impl Client {
    /// A client of the groups within `reach`. `nonce` is random, new for each process: it marks the process when it is
    /// granted its id.
    pub fn new(reach: Reach, nonce: [u8; 16], options: ClientOptions) -> Client {
        Client {
            inner: Arc::new(Inner {
                calls: Calls::new(reach, options.deadline),
                placement: Placement::default(),
                watches: Watches::default(),
                confirmer: Confirmer::default(),
                id: OnceCell::new(),
                nonce,
                lanes: AtomicU64::new(1),
                spare_lanes: SpareLanes::default(),
                slots: Slots::default(),
                loads: Loads::default(),
                locks_maildrops: AtomicBool::new(false),
                has_queue: AtomicBool::new(false),
            }),
        }
    }

    /// Who leads a group, as far as this process has heard.
    pub fn leader_heard_of(&self, shard: ShardId) -> Option<NodeId> {
        self.inner.calls.leader(shard)
    }

    /// How often each group that calls were made to had another leader than before.
    pub fn leader_changes(&self) -> Vec<(ShardId, u64)> {
        self.inner.calls.leader_changes()
    }

    /// A sequence of operations that no one else uses.
    pub(crate) async fn new_lane(&self) -> Result<Lane, StoreError> {
        let grant = || async {
            let command = MetaCommand::GrantClient {
                nonce: self.inner.nonce,
            };
            match self.inner.calls.meta_command(&command).await? {
                MetaReply::Client(id) => Ok(id),
                other => Err(misfit(&other)),
            }
        };
        let id = self.inner.id.get_or_try_init(grant).await?;
        Ok(Lane::new(
            *id,
            self.inner.lanes.fetch_add(1, Ordering::Relaxed),
        ))
    }
}

/// The answer is of another kind than the question: we are at fault.
pub(crate) fn misfit(answer: &dyn std::fmt::Debug) -> StoreError {
    StoreError::Internal(format!("the answer does not fit the question: {answer:?}"))
}

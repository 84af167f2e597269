//! Calls that are held up, as the sessions that made them hear of it ([`mailrook_store_api::observed`]).
//!
//! A [`Held`] is made when a call is to be asked again, and not before, and it tells its session when it is dropped: with the call's
//! end, however that comes about.

use std::time::Duration;

use mailrook_store_api::{StallObserver, observer};
use mailrook_types::{AccountId, NodeId, ShardId, Stall, StallCause};
use tokio::time::Instant;

use crate::Client;

/// A call that is held up.
pub(crate) struct Held {
    observer: StallObserver,
    begun: Instant,
    stall: Stall,
    /// Whether it is worth a word: a redirection by who was asked first is not.
    is_told: bool,
}

impl Held {
    /// A call of a session, which was begun at `begun`; none if no session makes it.
    pub(crate) fn new(
        cause: StallCause,
        begun: Instant,
        shard: ShardId,
        leader_before: Option<NodeId>,
    ) -> Option<Held> {
        let stall = Stall {
            cause,
            shard,
            leader_before,
            leader_after: None,
            lasted: Duration::ZERO,
            replays: 0,
            done: false,
        };
        Some(Held {
            observer: observer()?,
            begun,
            stall,
            is_told: false,
        })
    }

    /// It is asked again.
    pub(crate) fn again(&mut self) {
        self.stall.replays = self.stall.replays.saturating_add(1);
    }

    /// It waited before it was asked again.
    pub(crate) fn waited(&mut self) {
        self.is_told = true;
    }

    /// It was answered.
    pub(crate) fn answered(&mut self, by: NodeId) {
        let before = self.stall.leader_before;
        self.is_told |= before.is_some_and(|before| before != by);
        self.stall.leader_after = Some(by);
        self.stall.done = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_told {
            self.stall.lasted = self.begun.elapsed();
            self.observer.tell(self.stall.clone());
        }
    }
}

/// A call about an account that its shard says is elsewhere.
pub(crate) struct Following {
    held: Held,
    client: Client,
    account: AccountId,
}

impl Following {
    /// None if no session makes the call.
    pub(crate) fn new(client: &Client, account: AccountId, begun: Instant) -> Option<Following> {
        let shard = client.inner.placement.get(account)?;
        Some(Following {
            held: Held::new(StallCause::Move, begun, shard, None)?,
            client: client.clone(),
            account,
        })
    }

    /// It is asked again; `waited` says whether some time has passed.
    pub(crate) fn again(&mut self, waited: bool) {
        self.held.again();
        self.held.is_told |= waited;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // How the calls on the way ended, they say themselves.
        self.held.stall.done = true;
        let now = self.client.inner.placement.get(self.account);
        self.held.is_told |= now.is_some_and(|now| now != self.held.stall.shard);
    }
}

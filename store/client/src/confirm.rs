//! Telling shards what senders have seen; see [`crate::confirmer`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use mailrook_mailbox::{Confirmation, ShardCommand, ShardReply};
use mailrook_store_api::StoreError;
use mailrook_types::ShardId;

use crate::{
    Client,
    client::{Inner, misfit},
    confirmer::{Trip, WAIT},
};

/// Between tries to reach a shard whose confirmations nobody waits for.
const RETRY: Duration = Duration::from_secs(1);

impl Client {
    /// Takes confirmations over: from here on they reach their shards, before anything that they concern.
    pub(crate) async fn take_over(&self, confirmations: &[Confirmation]) -> Result<(), StoreError> {
        let confirmer = &self.inner.confirmer;
        for (shard, of_shard) in self.by_shard(confirmations).await? {
            while !confirmer.add(shard, &of_shard) {
                if !self.send_waiting(shard).await? {
                    tokio::time::sleep(WAIT).await;
                }
            }
            self.attend(shard);
        }
        Ok(())
    }

    /// Has somebody see to what waits for a shard.
    fn attend(&self, shard: ShardId) {
        if self.inner.confirmer.claim(shard) {
            tokio::spawn(see_to(Arc::downgrade(&self.inner), shard));
        }
    }

    pub(crate) async fn confirm_now(
        &self,
        confirmations: Vec<Confirmation>,
    ) -> Result<(), StoreError> {
        self.take_over(&confirmations).await?;
        self.settle_now(confirmations).await
    }

    /// Waits until those of `confirmations` that are still on their way have arrived.
    pub(crate) async fn settle_now(
        &self,
        confirmations: Vec<Confirmation>,
    ) -> Result<(), StoreError> {
        let confirmer = &self.inner.confirmer;
        let mut left = confirmer.on_their_way(&confirmations);
        let settled = async {
            while !left.is_empty() {
                for shard in confirmer.holders(&left) {
                    if self.send_waiting(shard).await? {
                        // What others took along.
                        confirmer.arrival(shard, &left).await;
                    }
                }
                // Those of accounts that are moving are on their way again.
                left = confirmer.on_their_way(&left);
                if !left.is_empty() {
                    tokio::time::sleep(WAIT).await;
                }
            }
            Ok(())
        };
        let late = || StoreError::Unavailable("confirmations did not arrive in time".to_owned());
        tokio::time::timeout(self.inner.calls.deadline(), settled)
            .await
            .map_err(|_elapsed| late())?
    }

    /// Sends a command that carries confirmations. Those that the shard gives back, as their accounts are not there, wait again.
    pub(crate) async fn send_with(
        &self,
        trip: Trip<'_>,
        shard: ShardId,
        command: &ShardCommand,
    ) -> Result<ShardReply, StoreError> {
        let reply = self.inner.calls.shard_command(shard, command).await?;
        let (ShardReply::Elsewhere(back) | ShardReply::DeliverAndElsewhere(_, back)) = &reply
        else {
            trip.arrived();
            return Ok(reply);
        };
        for confirmation in back {
            self.inner.placement.doubt(confirmation.account);
        }
        trip.arrived_but_for(back);
        self.attend(shard);
        Ok(reply)
    }

    /// Sends what waits for a shard. Says whether it took all of that.
    async fn send_waiting(&self, shard: ShardId) -> Result<bool, StoreError> {
        self.redirect_waiting(shard).await?;
        let trip = self.inner.confirmer.alone(shard);
        if trip.carried.is_empty() {
            return Ok(true);
        }
        let command = ShardCommand::Confirm(trip.carried.clone());
        match self.send_with(trip, shard, &command).await? {
            ShardReply::Done => Ok(true),
            ShardReply::Elsewhere(_) => Ok(false),
            other => Err(misfit(&other)),
        }
    }

    /// What waits for a shard that its account has left goes on to where that is.
    async fn redirect_waiting(&self, shard: ShardId) -> Result<(), StoreError> {
        for account in self.inner.confirmer.accounts_waiting(shard) {
            if self.inner.placement.get(account) == Some(shard) {
                continue;
            }
            let now = self.shard_of(account).await?;
            if now == Some(shard) {
                continue;
            }
            // An account that is gone has nothing left to confirm.
            self.inner.confirmer.redirect(account, shard, now);
            if let Some(now) = now {
                self.attend(now);
            }
        }
        Ok(())
    }

    async fn by_shard(
        &self,
        confirmations: &[Confirmation],
    ) -> Result<BTreeMap<ShardId, Vec<Confirmation>>, StoreError> {
        let mut by_shard: BTreeMap<ShardId, Vec<Confirmation>> = BTreeMap::new();
        for confirmation in confirmations {
            // An account that is gone has nothing left to confirm.
            if let Some(shard) = self.shard_of(confirmation.account).await? {
                by_shard.entry(shard).or_default().push(*confirmation);
            }
        }
        Ok(by_shard)
    }
}

/// Sends what no delivery takes along, until all has arrived.
fn see_to(inner: Weak<Inner>, shard: ShardId) -> BoxFuture<'static, ()> {
    async move {
        let mut pause = WAIT;
        loop {
            tokio::time::sleep(pause).await;
            // A process that ends leaves at worst a copy, sent again on purpose within a week, taken for a repetition.
            let Some(inner) = inner.upgrade() else {
                return;
            };
            if !inner.confirmer.attend(shard) {
                return;
            }
            let sent = Client { inner }.send_waiting(shard).await;
            pause = match sent {
                Ok(true) => WAIT,
                // Accounts that are on their way: soon as a rule, and each try is an entry of the log.
                Ok(false) => (2 * pause).min(RETRY),
                Err(error) => {
                    tracing::debug!(%shard, %error, "confirmations could not be stored");
                    RETRY
                }
            };
        }
    }
    .boxed()
}

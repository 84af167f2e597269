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
                self.send_waiting(shard).await?;
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
        let on_their_way = confirmer.on_their_way(&confirmations);
        let settled = async {
            let mut left = on_their_way;
            loop {
                let by_shard = self.by_shard(&left).await?;
                for (shard, of_shard) in &by_shard {
                    self.send_waiting(*shard).await?;
                    // What others took along.
                    confirmer.arrival(*shard, of_shard).await;
                }
                // Those of accounts that are moving are on their way again.
                let sent: Vec<_> = by_shard.into_values().flatten().collect();
                left = confirmer.on_their_way(&sent);
                if left.is_empty() {
                    return Ok(());
                }
                tokio::time::sleep(WAIT).await;
            }
        };
        let late = || StoreError::Unavailable("confirmations did not arrive in time".to_owned());
        tokio::time::timeout(self.inner.calls.deadline(), settled)
            .await
            .map_err(|_elapsed| late())?
    }

    /// Sends a command that carries confirmations.
    pub(crate) async fn send_with(
        &self,
        trip: Trip<'_>,
        shard: ShardId,
        command: &ShardCommand,
    ) -> Result<ShardReply, StoreError> {
        let reply = self.inner.calls.shard_command(shard, command).await?;
        trip.arrived();
        Ok(reply)
    }

    async fn send_waiting(&self, shard: ShardId) -> Result<(), StoreError> {
        let trip = self.inner.confirmer.alone(shard);
        if trip.carried.is_empty() {
            return Ok(());
        }
        let command = ShardCommand::Confirm(trip.carried.clone());
        match self.send_with(trip, shard, &command).await? {
            ShardReply::Done => Ok(()),
            ShardReply::Elsewhere(confirmations) => self.confirm_elsewhere(&confirmations).await,
            other => Err(misfit(&other)),
        }
    }

    /// Confirmations of accounts that are not on the shard that they were sent to go on to where the accounts are.
    pub(crate) async fn confirm_elsewhere(
        &self,
        confirmations: &[Confirmation],
    ) -> Result<(), StoreError> {
        for confirmation in confirmations {
            self.inner.placement.doubt(confirmation.account);
        }
        for (shard, of_shard) in self.by_shard(confirmations).await? {
            // They waited before: no more of them do for this.
            self.inner.confirmer.add_anyway(shard, &of_shard);
            self.attend(shard);
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
                Ok(()) => WAIT,
                Err(error) => {
                    tracing::debug!(%shard, %error, "confirmations could not be stored");
                    RETRY
                }
            };
        }
    }
    .boxed()
}

//! Which shard has which slot of the cluster-wide tables, as far as this process has heard.
//!
//! What is known may be old: a shard that no longer has a slot says so, and the map is read again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mailrook_mailbox::limits;
use mailrook_meta::{MetaAnswer, MetaQuery, SlotMap};
use mailrook_store_api::StoreError;
use parking_lot::Mutex;

use crate::{Client, client::misfit, patience::Patience};

// The shards hash over as many slots as the meta group has in its map, and move as many at once.
const _: () = assert!(limits::TABLE_SLOTS as usize == mailrook_meta::TABLE_SLOTS);
const _: () = assert!(limits::SLOTS_PER_MOVE_MAX == mailrook_meta::SLOTS_PER_MOVE_MAX);

/// More than an entry has beside key and value in a step of a move: the table, two lengths, the expiry.
const ENTRY_OVERHEAD_MAX: usize = 32;
// A step fits an entry of the log, full of small entries or with the largest one, and all slots named.
const _: () = assert!(
    limits::SLOT_BYTES_MAX + limits::SLOT_ENTRIES_MAX * ENTRY_OVERHEAD_MAX + 4096
        <= mailrook_cluster::COMMAND_BYTES_MAX
);
const _: () = assert!(limits::TABLE_ENTRY_BYTES_MAX + 4096 <= mailrook_cluster::COMMAND_BYTES_MAX);

/// The map as it was read last.
#[derive(Default)]
pub(crate) struct Slots {
    known: Mutex<Option<Arc<SlotMap>>>,
    /// How often it was read.
    reads: AtomicU64,
    /// One reads it at a time; the others take what that one got.
    reading: tokio::sync::Mutex<()>,
}

impl Client {
    /// The map that is known, or read now.
    pub(crate) async fn slots(&self) -> Result<Arc<SlotMap>, StoreError> {
        let known = self.inner.slots.known.lock().clone();
        match known {
            Some(map) => Ok(map),
            None => self.read_slots().await,
        }
    }

    /// The map as it is now, after a shard said that it does not have a slot that it had by the last one.
    pub(crate) async fn newer_slots(
        &self,
        patience: &mut Patience,
    ) -> Result<Arc<SlotMap>, StoreError> {
        patience.wait("slots of the tables are").await?;
        self.read_slots().await
    }

    async fn read_slots(&self) -> Result<Arc<SlotMap>, StoreError> {
        let slots = &self.inner.slots;
        let reads = slots.reads.load(Ordering::Acquire);
        let _reading = slots.reading.lock().await;
        let known = slots.known.lock().clone();
        if let Some(map) = known
            && slots.reads.load(Ordering::Acquire) != reads
        {
            return Ok(map);
        }
        let map = match self.inner.calls.meta_query(&MetaQuery::SlotMap).await? {
            MetaAnswer::SlotMap(Some(map)) => Arc::new(*map),
            MetaAnswer::SlotMap(None) => {
                return Err(StoreError::Unavailable(
                    "the cluster has no shards yet".to_owned(),
                ));
            }
            other => return Err(misfit(&other)),
        };
        *slots.known.lock() = Some(Arc::clone(&map));
        slots.reads.fetch_add(1, Ordering::Release);
        Ok(map)
    }
}

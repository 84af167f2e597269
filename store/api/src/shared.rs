//! The cluster-wide tables of the front ends.

use mailrook_mailbox::{TableId, TableOp, TableReply};

use crate::Call;

/// Tables that all front ends share: greylist, Bayes, throttle. Entries are spread over the shards by hash.
pub trait Shared: Send + Sync + 'static {
    /// Carries out changes, each once, committed when it answers, and answers for each in order. Changes of entries on one
    /// shard are made together; those on several are not. After an error some may have been made: asked for again, they are new
    /// changes.
    fn update(&self, changes: Vec<(TableId, Vec<u8>, TableOp)>) -> Call<'_, Vec<TableReply>>;

    /// The value of an entry, unless it has expired.
    fn get(&self, table: TableId, key: Vec<u8>) -> Call<'_, Option<Vec<u8>>>;

    /// Entries whose keys start with `prefix`, from all shards, at most `limit`, none twice. What is there all the time is
    /// among them, also while slots move between shards; what comes, changes or goes meanwhile may be seen or not.
    fn scan(
        &self,
        table: TableId,
        prefix: Vec<u8>,
        limit: u32,
    ) -> Call<'_, Vec<(Vec<u8>, Vec<u8>)>>;
}

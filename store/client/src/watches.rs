//! Who waits for changes of which account.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use mailrook_cluster::Touched;
use mailrook_kv::decode;
use mailrook_store_api::{StoreError, Watch};
use mailrook_transport::Duplex;
use mailrook_types::{AccountId, ModSeq, ShardId};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Client,
    client::Inner,
    serve::{HEARTBEAT, Told},
};

/// One channel for each watched account. Channels without a watcher are removed when the account changes, and in a sweep
/// whenever their number has doubled.
#[derive(Clone, Default)]
pub(crate) struct Watches {
    state: Arc<Mutex<State>>,
    /// The shards that a task follows.
    followed: Arc<Mutex<BTreeSet<ShardId>>>,
}

#[derive(Default)]
struct State {
    accounts: HashMap<AccountId, Watched>,
    sweep_at: usize,
}

struct Watched {
    /// Where the account is; none if the directory has none of it.
    shard: Option<ShardId>,
    told: watch::Sender<ModSeq>,
}

/// The first sweep: below this, channels without a watcher cost next to nothing.
const SWEEP_AT_MIN: usize = 1024;

/// Between tries to follow a shard that cannot be reached.
const RETRY: Duration = Duration::from_millis(200);

/// A stream of what is touched on another node is given up when it says nothing for so long.
const SILENCE_MAX: Duration = Duration::from_secs(3 * HEARTBEAT.as_secs());

impl Client {
    pub(crate) async fn watch_now(&self, account: AccountId) -> Result<Watch, StoreError> {
        let watches = &self.inner.watches;
        let shard = self.shard_of(account).await?;
        let watch = watches.watch(account, shard);
        if let Some(shard) = shard {
            self.follow_shard(shard);
        }
        Ok(watch)
    }

    fn follow_shard(&self, shard: ShardId) {
        if self.inner.watches.followed.lock().insert(shard) {
            // Of this process's copy nothing is missed from here on; another node's stream begins a little later, and says
            // so.
            let first = self.inner.calls.copy(shard).map(|copy| copy.watch());
            tokio::spawn(follow(Arc::downgrade(&self.inner), shard, first));
        }
    }

    /// The account is on this shard: who watches it hears of it from there.
    pub(crate) fn rehome_watch(&self, account: AccountId, shard: ShardId) {
        if self.inner.watches.rehome(account, shard) {
            self.follow_shard(shard);
            // What was touched there before is not known.
            self.inner.watches.tell_all(shard);
        }
    }
}

/// Passes on what a shard touches, for as long as the client lives: from this process's copy, or from the leader.
async fn follow(client: Weak<Inner>, shard: ShardId, mut first: Option<mailrook_cluster::Watch>) {
    loop {
        let Some(inner) = client.upgrade() else {
            return;
        };
        let watches = inner.watches.clone();
        match inner.calls.copy(shard) {
            Some(copy) => {
                let watch = first.take().unwrap_or_else(|| {
                    let watch = copy.watch();
                    // A watcher may have looked before it began.
                    watches.tell_all(shard);
                    watch
                });
                drop((copy, inner));
                follow_copy(&client, shard, &watches, watch).await;
            }
            None => {
                let stream = inner.calls.open_watch(shard);
                drop(inner);
                if let Some(stream) = stream {
                    follow_stream(shard, &watches, stream).await;
                }
            }
        }
        // What was touched between two looks is not known.
        watches.tell_all(shard);
        tokio::time::sleep(RETRY).await;
    }
}

/// Until the copy is stopped, or is not this process's any more. One that is damaged does not say so: it is looked at when it
/// says nothing for long.
async fn follow_copy(
    client: &Weak<Inner>,
    shard: ShardId,
    watches: &Watches,
    mut watch: mailrook_cluster::Watch,
) {
    loop {
        match tokio::time::timeout(SILENCE_MAX, watch.next()).await {
            Ok(Some(Touched::Keys(keys))) => watches.tell(&keys),
            Ok(Some(Touched::Everything)) => watches.tell_all(shard),
            Ok(None) => return,
            Err(_) => {
                let has_copy = client
                    .upgrade()
                    .is_some_and(|inner| inner.calls.copy(shard).is_some());
                if !has_copy {
                    return;
                }
            }
        }
    }
}

/// Until the stream breaks, or says nothing for too long. It begins with everything: what was touched before is not known.
async fn follow_stream(shard: ShardId, watches: &Watches, mut stream: Duplex) {
    while let Ok(Some(item)) = tokio::time::timeout(SILENCE_MAX, stream.incoming.recv()).await {
        match decode(&item) {
            Ok(Told::Nothing) => {}
            Ok(Told::Keys(keys)) => watches.tell(&keys),
            Ok(Told::Everything) => watches.tell_all(shard),
            Err(error) => {
                tracing::warn!(%error, "what another node says of changes cannot be read");
                return;
            }
        }
    }
}

impl Watches {
    /// Hears of the account's changes from now on.
    pub(crate) fn watch(&self, account: AccountId, shard: Option<ShardId>) -> Watch {
        let mut state = self.state.lock();
        if state.accounts.len() >= state.sweep_at.max(SWEEP_AT_MIN) {
            state
                .accounts
                .retain(|_, watched| watched.told.receiver_count() > 0);
            state.sweep_at = state.accounts.len() * 2;
        }
        let fresh = || Watched {
            shard,
            told: watch::channel(ModSeq::ZERO).0,
        };
        let watched = state.accounts.entry(account).or_insert_with(fresh);
        // It may have become known, or another, since.
        watched.shard = shard;
        Watch::new(watched.told.subscribe())
    }

    /// Says whether a watched account was on another shard before.
    fn rehome(&self, account: AccountId, shard: ShardId) -> bool {
        let mut state = self.state.lock();
        let watched = state.accounts.get_mut(&account);
        watched.is_some_and(|watched| watched.shard.replace(shard) != Some(shard))
    }

    fn tell(&self, keys: &[(u64, u64)]) {
        let mut state = self.state.lock();
        for (account, modseq) in keys {
            if let Some(watched) = state.accounts.get(&AccountId(*account))
                && watched.told.send(ModSeq(*modseq)).is_err()
            {
                state.accounts.remove(&AccountId(*account));
            }
        }
    }

    /// Anything on the shard may have been touched.
    fn tell_all(&self, shard: ShardId) {
        self.state.lock().accounts.retain(|_, watched| {
            if watched.shard == Some(shard) {
                // The value is the last one known; that it is told again makes every watcher look.
                watched.told.send_modify(|_| {});
            }
            watched.told.receiver_count() > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_befalls_a_shard_wakes_its_own_watchers_alone() {
        let watches = Watches::default();
        let mut one = watches.watch(AccountId(1), Some(ShardId(1)));
        let mut two = watches.watch(AccountId(2), Some(ShardId(2)));
        watches.tell_all(ShardId(1));
        assert!(one.changed().now_or_never().is_some());
        assert!(two.changed().now_or_never().is_none());
        watches.tell(&[(2, 7)]);
        let told = two.changed().now_or_never();
        assert!(matches!(told, Some(Ok(ModSeq(7)))));
    }
}

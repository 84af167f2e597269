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
    accounts: HashMap<AccountId, watch::Sender<ModSeq>>,
    sweep_at: usize,
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
        let watch = watches.watch(account);
        if let Some(shard) = self.shard_of(account).await?
            && watches.followed.lock().insert(shard)
        {
            // Of this process's copy nothing is missed from here on; another node's stream begins a little later, and says
            // so.
            let first = self.inner.calls.copy(shard).map(|copy| copy.watch());
            tokio::spawn(follow(Arc::downgrade(&self.inner), shard, first));
        }
        Ok(watch)
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
                    watches.tell_all();
                    watch
                });
                drop((copy, inner));
                follow_copy(&client, shard, &watches, watch).await;
            }
            None => {
                let stream = inner.calls.open_watch(shard);
                drop(inner);
                if let Some(stream) = stream {
                    follow_stream(&watches, stream).await;
                }
            }
        }
        // What was touched between two looks is not known.
        watches.tell_all();
        tokio::time::sleep(RETRY).await;
    }
}

/// Until the copy is stopped, or is not this process's any more.
async fn follow_copy(
    client: &Weak<Inner>,
    shard: ShardId,
    watches: &Watches,
    mut watch: mailrook_cluster::Watch,
) {
    loop {
        match tokio::time::timeout(SILENCE_MAX, watch.next()).await {
            Ok(Some(Touched::Keys(keys))) => watches.tell(&keys),
            Ok(Some(Touched::Everything)) => watches.tell_all(),
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

/// Until the stream breaks, or says nothing for too long.
async fn follow_stream(watches: &Watches, mut stream: Duplex) {
    watches.tell_all();
    while let Ok(Some(item)) = tokio::time::timeout(SILENCE_MAX, stream.incoming.recv()).await {
        match decode(&item) {
            Ok(Told::Nothing) => {}
            Ok(Told::Keys(keys)) => watches.tell(&keys),
            Ok(Told::Everything) => watches.tell_all(),
            Err(error) => {
                tracing::warn!(%error, "what another node says of changes cannot be read");
                return;
            }
        }
    }
}

impl Watches {
    /// Hears of the account's changes from now on.
    pub(crate) fn watch(&self, account: AccountId) -> Watch {
        let mut state = self.state.lock();
        if state.accounts.len() >= state.sweep_at.max(SWEEP_AT_MIN) {
            state
                .accounts
                .retain(|_, sender| sender.receiver_count() > 0);
            state.sweep_at = state.accounts.len() * 2;
        }
        let sender = state
            .accounts
            .entry(account)
            .or_insert_with(|| watch::channel(ModSeq::ZERO).0);
        Watch::new(sender.subscribe())
    }

    fn tell(&self, keys: &[(u64, u64)]) {
        let mut state = self.state.lock();
        for (account, modseq) in keys {
            if let Some(sender) = state.accounts.get(&AccountId(*account))
                && sender.send(ModSeq(*modseq)).is_err()
            {
                state.accounts.remove(&AccountId(*account));
            }
        }
    }

    fn tell_all(&self) {
        // The value is the last one known; that it is told again makes every watcher look.
        self.state.lock().accounts.retain(|_, sender| {
            sender.send_modify(|_| {});
            sender.receiver_count() > 0
        });
    }
}

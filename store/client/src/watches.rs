//! Who waits for changes of which account.

use std::{collections::HashMap, sync::Arc};

use mailrook_cluster::{Group, Touched};
use mailrook_store_api::Watch;
use mailrook_types::{AccountId, ModSeq};
use parking_lot::Mutex;
use tokio::sync::watch;

/// One channel for each watched account. Channels without a watcher are removed when the account changes, and in a sweep
/// whenever their number has doubled.
#[derive(Clone, Default)]
pub(crate) struct Watches {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    accounts: HashMap<AccountId, watch::Sender<ModSeq>>,
    sweep_at: usize,
}

/// The first sweep: below this, channels without a watcher cost next to nothing.
const SWEEP_AT_MIN: usize = 1024;

impl Watches {
    /// Starts a task that passes on what `group` touches, until the group is stopped.
    pub(crate) fn follow(&self, group: &Arc<dyn Group>) {
        let watches = self.clone();
        let mut touched = group.watch();
        tokio::spawn(async move {
            while let Some(touched) = touched.next().await {
                match touched {
                    Touched::Keys(keys) => watches.tell(&keys),
                    Touched::Everything => watches.tell_all(),
                }
            }
            // Stopped: those who wait hear that their watch is gone.
            watches.state.lock().accounts.clear();
        });
    }

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

//! Who hears of a call that was held up.
//!
//! A session is held to its end within [`observed`], and who carries out its calls asks for its [`observer`] when one is held up,
//! and not before: as long as all goes well nothing is looked up, nothing is handed from call to call, and no call knows of it.

use std::{fmt, sync::Arc};

use mailrook_types::Stall;

tokio::task_local! {
    static OBSERVER: StallObserver;
}

/// Hears of the calls that were held up, each when it has come to its end.
#[derive(Clone)]
pub struct StallObserver(Arc<dyn Fn(Stall) + Send + Sync>);

impl StallObserver {
    /// One that is told by a call of `tell`, which is not to block.
    pub fn new(tell: impl Fn(Stall) + Send + Sync + 'static) -> StallObserver {
        StallObserver(Arc::new(tell))
    }

    /// Tells it.
    pub fn tell(&self, stall: Stall) {
        (self.0)(stall);
    }
}

impl fmt::Debug for StallObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StallObserver")
    }
}

/// Runs `work`; the calls that are made in it, and not in tasks of their own, are told to `observer` when they are held up.
pub fn observed<F: Future>(observer: StallObserver, work: F) -> impl Future<Output = F::Output> {
    OBSERVER.scope(observer, work)
}

/// Who is to be told of calls that are made here; nobody, where no session makes them.
pub fn observer() -> Option<StallObserver> {
    OBSERVER.try_with(StallObserver::clone).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailrook_types::{ShardId, StallCause};
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_session_hears_of_its_own_calls_alone() {
        let stall = |shard| Stall {
            cause: StallCause::FailOver,
            shard: ShardId(shard),
            leader_before: None,
            leader_after: None,
            lasted: Duration::ZERO,
            replays: 1,
            done: true,
        };
        let heard = Arc::new(Mutex::new(Vec::new()));
        let session = |name: &'static str, shard| {
            let heard = Arc::clone(&heard);
            let observer =
                StallObserver::new(move |stall: Stall| heard.lock().push((name, stall.shard.0)));
            observed(observer, async move {
                tokio::task::yield_now().await;
                observer_of_the_call().tell(stall(shard));
            })
        };
        tokio::join!(session("one", 1), session("two", 2));
        heard.lock().sort_unstable();
        assert_eq!(*heard.lock(), [("one", 1), ("two", 2)]);
        assert!(observer().is_none());
    }

    fn observer_of_the_call() -> StallObserver {
        observer().expect("a session makes the call")
    }
}

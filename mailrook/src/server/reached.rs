//! Whether the cluster's directory answers, as far as the calls show that are made anyway.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use mailrook_store_api::{
    Call, Directory, StoreError,
    meta::{MetaAnswer, MetaCommand, MetaQuery, MetaReply},
};
use parking_lot::Mutex;

/// Without an answer for so long a node is of no use to clients. A take-over after a silent partition is over by then.
const REACHED_WITHIN: Duration = Duration::from_secs(5);

/// A directory that remembers when it answered last. The controller asks it twice a second at rest, on every node, so
/// that nothing has to be asked for this alone.
pub struct Reached {
    directory: Arc<dyn Directory>,
    last: Mutex<Last>,
}

struct Last {
    answer: Instant,
    /// What was heard in the place of one since.
    error: Option<String>,
}

impl Reached {
    /// One that has answered just now.
    pub fn new(directory: Arc<dyn Directory>) -> Arc<Reached> {
        let last = Last {
            answer: Instant::now(),
            error: None,
        };
        Arc::new(Reached {
            directory,
            last: Mutex::new(last),
        })
    }

    /// Why it cannot be counted on, if so.
    pub fn trouble(&self) -> Option<String> {
        let last = self.last.lock();
        let waited = last.answer.elapsed();
        if waited <= REACHED_WITHIN {
            return None;
        }
        let seconds = waited.as_secs();
        let text = format!("the cluster's directory has not answered for {seconds} s");
        Some(match &last.error {
            Some(error) => format!("{text}: {error}"),
            None => text,
        })
    }

    async fn note<T>(&self, call: Call<'_, T>) -> Result<T, StoreError> {
        let answer = call.await;
        let mut last = self.last.lock();
        if let Err(StoreError::Unavailable(why)) = &answer {
            last.error = Some(why.clone());
        } else {
            *last = Last {
                answer: Instant::now(),
                error: None,
            };
        }
        answer
    }
}

impl Directory for Reached {
    fn command(&self, command: MetaCommand) -> Call<'_, MetaReply> {
        self.note(self.directory.command(command)).boxed()
    }

    fn query(&self, query: MetaQuery) -> Call<'_, MetaAnswer> {
        self.note(self.directory.query(query)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use mailrook_store_api::memory::MemoryCluster;

    use super::*;

    /// Answers once, and then no more within anybody's patience.
    struct Cut(MemoryCluster, Mutex<bool>);

    impl Directory for Cut {
        fn command(&self, command: MetaCommand) -> Call<'_, MetaReply> {
            self.0.command(command)
        }

        fn query(&self, query: MetaQuery) -> Call<'_, MetaAnswer> {
            match std::mem::replace(&mut *self.1.lock(), true) {
                false => self.0.query(query),
                true => {
                    async { Err(StoreError::Unavailable("nobody is there".to_owned())) }.boxed()
                }
            }
        }
    }

    #[tokio::test]
    async fn silence_shows() {
        let cut = Arc::new(Cut(MemoryCluster::new(), Mutex::new(false)));
        let reached = Reached::new(Arc::clone(&cut) as _);
        let wait = |seconds| reached.last.lock().answer -= Duration::from_secs(seconds);
        wait(4);
        reached.query(MetaQuery::Shards).await.unwrap();
        wait(4);
        assert_eq!(reached.trouble(), None);
        // A call under way may last longer than clients are to wait.
        wait(2);
        let text = "the cluster's directory has not answered for 6 s".to_owned();
        assert_eq!(reached.trouble(), Some(text.clone()));
        reached.query(MetaQuery::Shards).await.unwrap_err();
        assert_eq!(reached.trouble(), Some(text + ": nobody is there"));
        *cut.1.lock() = false;
        reached.query(MetaQuery::Shards).await.unwrap();
        assert_eq!(reached.trouble(), None);
    }
}

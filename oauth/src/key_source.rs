//! Keeps an issuer's keys: read when the first token comes, read again by age and when a token names a key that is not
//! there, and never without a pause between. What was read holds until there is something newer: an issuer that is away
//! keeps nobody out whose token was signed by a known key. But not for ever, as nobody knows then what it has taken back.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    HttpUrl, KEYS_BYTES_MAX, KeySet, KeysFrom, SetupError,
    http::{Fetcher, Question},
    verifier::Unreachable,
};

/// The keys of one issuer.
pub(crate) struct KeySource {
    place: Place,
    times: Times,
    state: Mutex<State>,
    /// Held by who reads.
    reading: tokio::sync::Mutex<()>,
}

/// Between readings.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// Older keys are read again.
    pub(crate) refresh: Duration,
    /// Older keys verify nothing.
    pub(crate) keep: Duration,
    /// The pause after a reading, good or bad.
    pub(crate) retry: Duration,
}

enum Place {
    File(PathBuf),
    Url(HttpUrl, Fetcher),
}

#[derive(Default)]
struct State {
    keys: Option<Known>,
    last_try: Option<Try>,
}

/// Keys with the moment at which they were read: which tells them from newer ones.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) keys: Arc<KeySet>,
    read_at: Instant,
}

#[derive(Clone, Copy)]
struct Try {
    at: Instant,
    failed: bool,
}

impl KeySource {
    /// A file must be there and right from the beginning; an issuer may be away.
    pub(crate) fn new(
        from: &KeysFrom,
        ca_file: Option<&Path>,
        timeout: Duration,
        times: Times,
    ) -> Result<KeySource, SetupError> {
        let place = match from {
            KeysFrom::File(path) => {
                read_file(path).map_err(|Unreachable(error)| SetupError::KeyFile(error))?;
                Place::File(path.clone())
            }
            KeysFrom::Url(url) => Place::Url(url.clone(), Fetcher::new(url, ca_file, timeout)?),
        };
        Ok(KeySource {
            place,
            times,
            state: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        })
    }

    /// The keys that there are. Old ones are handed out while newer ones are on their way, unless they are too old.
    pub(crate) async fn current(self: &Arc<Self>) -> Result<Known, Unreachable> {
        let known = self.state.lock().keys.clone();
        let Some(known) = known else {
            return self.newer_than(None).await;
        };
        let age = known.read_at.elapsed();
        if age >= self.times.keep {
            return self.newer_than(Some(&known)).await;
        }
        if age >= self.times.refresh && self.may_try() {
            let (source, old) = (Arc::clone(self), known.clone());
            // A failure was logged, and the old keys hold.
            tokio::spawn(async move { source.newer_than(Some(&old)).await.map(drop) });
        }
        Ok(known)
    }

    /// Keys that were read after `old`: reads them, unless somebody has just tried. Without an answer nobody can say that
    /// there are none.
    pub(crate) async fn newer_than(&self, old: Option<&Known>) -> Result<Known, Unreachable> {
        let _reading = self.reading.lock().await;
        {
            let state = self.state.lock();
            let newer = state
                .keys
                .as_ref()
                .filter(|known| old.is_none_or(|old| known.read_at > old.read_at));
            if let Some(newer) = newer {
                return Ok(newer.clone());
            }
            if let Some(last) = state.last_try
                && last.at.elapsed() < self.times.retry
            {
                // Whatever came of it: its issuer may have a newer one by now.
                let text = match last.failed {
                    true => "its keys could not be read a moment ago",
                    false => "the token's key is not among those that were read a moment ago",
                };
                return Err(Unreachable(text.to_owned()));
            }
        }
        let read = self.read().await;
        let mut state = self.state.lock();
        let at = Instant::now();
        let failed = read.is_err();
        state.last_try = Some(Try { at, failed });
        match read {
            Ok(keys) => {
                tracing::debug!(?keys, "the token issuer's keys were read");
                let keys = Arc::new(keys);
                let known = Known { keys, read_at: at };
                state.keys = Some(known.clone());
                Ok(known)
            }
            Err(error) => {
                let holds = |known: &Known| known.read_at.elapsed() < self.times.keep;
                let old_keys_hold = state.keys.as_ref().is_some_and(holds);
                tracing::warn!(%error, old_keys_hold, "the token issuer's keys cannot be read");
                Err(error)
            }
        }
    }

    fn may_try(&self) -> bool {
        let last = self.state.lock().last_try;
        self.reading.try_lock().is_ok()
            && last.is_none_or(|last| last.at.elapsed() >= self.times.retry)
    }

    async fn read(&self) -> Result<KeySet, Unreachable> {
        match &self.place {
            Place::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.unwrap_or_else(|error| Err(Unreachable(error.to_string())))
            }
            Place::Url(url, fetcher) => {
                let at_fault =
                    |error: &dyn std::fmt::Display| Unreachable(format!("{url}: {error}"));
                let json = fetcher.ask(url, Question::Get).await;
                let json = json.map_err(|error| at_fault(&error))?;
                KeySet::parse(&json).map_err(|error| at_fault(&error))
            }
        }
    }
}

fn read_file(path: &Path) -> Result<KeySet, Unreachable> {
    let at_fault =
        |error: &dyn std::fmt::Display| Unreachable(format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| at_fault(&error))?;
    let mut json = Vec::new();
    // One byte more shows that it is too large.
    let read = file.take(KEYS_BYTES_MAX as u64 + 1).read_to_end(&mut json);
    read.map_err(|error| at_fault(&error))?;
    KeySet::parse(&json).map_err(|error| at_fault(&error))
}

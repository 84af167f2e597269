//! tokio's watch channel, whose waiters a simulation wakes in their order.
//!
//! tokio draws at random in which order: its watchers are spread over several lists. Otherwise this is tokio's own.

use std::sync::Arc;

use futures::FutureExt;
use openraft::{
    OptionalSend,
    async_runtime::watch::{self, RecvError, SendError},
};
use tokio::{
    sync::{Notify, watch as tokio_watch},
    task::unconstrained,
};

use crate::simulation;

/// See the module.
pub(crate) struct OrderedWatch;

/// The end that changes the value.
pub(crate) struct Sender<T> {
    inner: tokio_watch::Sender<T>,
    /// Told after each change, and when the last sender is gone. Only a simulation waits for it.
    changed: Arc<Notify>,
}

/// An end that sees it.
pub(crate) struct Receiver<T> {
    inner: tokio_watch::Receiver<T>,
    changed: Arc<Notify>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender {
            inner: self.inner.clone(),
            changed: Arc::clone(&self.changed),
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver {
            inner: self.inner.clone(),
            changed: Arc::clone(&self.changed),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // Whoever waits looks once this is over.
        self.changed.notify_waiters();
    }
}

impl watch::Watch for OrderedWatch {
    type Sender<T: OptionalSend + Sync> = Sender<T>;
    type Receiver<T: OptionalSend + Sync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = tokio_watch::Ref<'a, T>;

    fn channel<T: OptionalSend + Sync>(init: T) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = tokio_watch::channel(init);
        let changed = Arc::new(Notify::new());
        let sender = Sender {
            inner: sender,
            changed: Arc::clone(&changed),
        };
        let receiver = Receiver {
            inner: receiver,
            changed,
        };
        (sender, receiver)
    }
}

impl<T: Send + Sync> watch::WatchSender<OrderedWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        let sent = self.inner.send(value);
        self.changed.notify_waiters();
        sent.map_err(|error| SendError(error.0))
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = self.inner.send_if_modified(modify);
        if modified {
            self.changed.notify_waiters();
        }
        modified
    }

    fn borrow_watched(&self) -> tokio_watch::Ref<'_, T> {
        self.inner.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver {
            inner: self.inner.subscribe(),
            changed: Arc::clone(&self.changed),
        }
    }
}

impl<T: Send + Sync> watch::WatchReceiver<OrderedWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        if !simulation::is_on() {
            return self.inner.changed().await.map_err(|_| RecvError(()));
        }
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            // Not within the task's budget: what it puts off would never be looked at again.
            if let Some(changed) = unconstrained(self.inner.changed()).now_or_never() {
                return changed.map_err(|_| RecvError(()));
            }
            notified.await;
        }
    }

    fn borrow_watched(&self) -> tokio_watch::Ref<'_, T> {
        self.inner.borrow()
    }

    fn borrow_and_update(&mut self) -> tokio_watch::Ref<'_, T> {
        self.inner.borrow_and_update()
    }
}

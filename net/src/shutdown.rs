//! How everything that runs learns that the process is about to stop.

use tokio::sync::watch;

/// Whoever holds it can ask all holders of its [`Shutdown`]s to come to an end.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// Tells that the end was asked for.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl ShutdownTrigger {
    /// A trigger and what it triggers.
    pub fn new() -> (ShutdownTrigger, Shutdown) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(sender), Shutdown(receiver))
    }

    /// Asks for the end.
    pub fn shut_down(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// A shutdown that never comes, for tests and tools.
    pub fn never() -> Shutdown {
        let (sender, receiver) = watch::channel(false);
        drop(sender);
        Shutdown(receiver)
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the end is asked for. Cancel-safe.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|requested| *requested).await.is_err() {
            // The trigger is gone without having been used: nobody will ask.
            std::future::pending::<()>().await;
        }
    }
}

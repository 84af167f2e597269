//! What a server completes by itself.

use std::{convert::Infallible, time::Duration};

use mailrook_net::Shutdown;
use mailrook_store_client::Client;
use tokio::time::sleep;
use tracing::{info, warn};

/// How often it looks whether another node left something half done. It costs one read of the directory.
const EVERY: Duration = Duration::from_secs(60);
/// How soon it tries again what failed: a shard's leader is found again, or a disk has room again, in seconds.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps house until the server stops.
pub(super) async fn run(client: Client, mut shutdown: Shutdown) {
    tokio::select! {
        () = shutdown.requested() => {}
        _ = remove_mail_of_removed(&client) => {}
        _ = sweep(&client) => {}
    }
}

/// Has shards to which no commands come remove what has expired.
async fn sweep(client: &Client) -> Infallible {
    loop {
        sleep(EVERY).await;
        if let Err(why) = client.sweep().await {
            warn!(%why, "what has expired is still there, and is tried again");
        }
    }
}

/// Removes the mail of accounts whose removal was cut short: at once, for what was left before the start, and again
/// whenever some may be left.
async fn remove_mail_of_removed(client: &Client) -> Infallible {
    loop {
        match client.complete_removals().await {
            Ok(accounts) => {
                if accounts > 0 {
                    info!(accounts, "completed the removal of accounts");
                }
                tokio::select! {
                    () = client.removal_left() => {}
                    () = sleep(EVERY) => {}
                }
            }
            Err(why) => {
                warn!(%why, "the mail of removed accounts is still there, and is tried again");
                sleep(RETRY).await;
            }
        }
    }
}

//! How long a call waits for what moves from one shard to another.

use std::time::Duration;

use mailrook_mailbox::{Answer, MoveStage, MoveStanding, Query};
use mailrook_store_api::StoreError;
use mailrook_types::AccountId;
use tokio::time::Instant;

use crate::{Client, client::misfit, stalls::Following};

/// The first wait for a move to be decided: it takes some commands to two groups.
const WAIT_MIN: Duration = Duration::from_millis(2);
/// The longest wait: what the end of a move may be noticed late by.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// Nor does a call that has waited in vain look for longer whether the directory has forgotten where the account is.
const FORGOTTEN_LOOK_MAX: Duration = Duration::from_secs(2);

/// How long a call waits for what is moving.
pub(crate) struct Patience {
    deadline: Instant,
    wait: Option<Duration>,
    /// What a session is told of it. On the heap, as hardly any call needs it.
    following: Option<Box<Following>>,
}

impl Patience {
    /// The account of a call is not where it was looked for: the session that made the call will hear of it.
    pub(crate) fn follow(&mut self, client: &Client, account: AccountId) {
        if self.following.is_none() {
            let following = Following::new(client, account, Instant::now());
            self.following = following.map(Box::new);
        }
    }

    /// Before somebody is asked again where `what` is: at first at once, as the move may be long over; then after a while, as it
    /// is under way.
    pub(crate) async fn wait(&mut self, what: &str) -> Result<(), StoreError> {
        if let Some(wait) = self.wait {
            if Instant::now() + wait >= self.deadline {
                let text = format!("{what} being moved, and that takes too long");
                return Err(StoreError::Unavailable(text));
            }
            tokio::time::sleep(wait).await;
        }
        if let Some(following) = &mut self.following {
            following.again(self.wait.is_some());
        }
        let next = self.wait.map_or(WAIT_MIN, |wait| wait * 2);
        self.wait = Some(next.min(WAIT_MAX));
        Ok(())
    }
}

impl Client {
    /// What to do when a shard says that an account is elsewhere, or on its way: look it up anew, and wait until it is served. Until
    /// then the shard is asked and not told: what it refuses would be an entry of its log, body and all, each time.
    pub(crate) async fn look_elsewhere(
        &self,
        account: AccountId,
        patience: &mut Patience,
    ) -> Result<(), StoreError> {
        patience.follow(self, account);
        let mut asked = None;
        loop {
            if let Err(error) = patience.wait("the account is").await {
                if let Some(shard) = asked {
                    let look = self.look_for_forgotten(account, shard);
                    // The caller has waited for long enough: who comes next looks again.
                    let _ = tokio::time::timeout(FORGOTTEN_LOOK_MAX, look).await;
                }
                return Err(error);
            }
            self.inner.placement.doubt(account);
            // Of one that is gone the caller says so.
            let Some(shard) = self.shard_of(account).await? else {
                return Ok(());
            };
            let query = Query::MoveStanding { account };
            asked = Some(shard);
            match self.inner.calls.shard_query(shard, &query).await? {
                Answer::MoveStanding(standing) if is_served(standing) => return Ok(()),
                Answer::MoveStanding(_) => {}
                other => return Err(misfit(&other)),
            }
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            deadline: Instant::now() + self.inner.calls.deadline(),
            wait: None,
            following: None,
        }
    }
}

fn is_served(standing: Option<MoveStanding>) -> bool {
    standing
        .is_none_or(|standing| matches!(standing.stage, MoveStage::Here | MoveStage::Leaving(_)))
}

//! Keeps the connections to a peer: one task a class.
//!
//! That of [`Class::Consensus`] is always kept, and tells how the link fares; those of the others are made when they are asked
//! for. It is pinged; when nothing is heard for a while, the link is silent: the old connection is kept, as its peer may only
//! have paused, and a new one is tried beside it, as the way may have been cut for so long that TCP takes as long again to
//! notice that it is whole. What comes first, counts.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::{
    connection::Connection,
    dial::dial,
    peer::{Peer, State},
    tcp::ConnectError,
    tls_network::Shared,
};
use crate::{Class, Link};

/// How often a peer is pinged.
const PING_EVERY: Duration = Duration::from_millis(500);

/// Three pings without an answer.
const SILENT_AFTER: Duration = Duration::from_millis(1500);

/// When a ping is late by this much, it is we who were paused: the silence is not the peer's.
const LATE: Duration = Duration::from_millis(250);

/// A dial that takes longer has failed as far as callers are concerned: they may go elsewhere.
const DIAL_PATIENCE: Duration = Duration::from_millis(250);

/// Between attempts while the peer is silent.
const SILENT_RETRY: Duration = Duration::from_millis(200);

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A connection that lived for so long was a good one: the next one is tried at once.
const GOOD_AFTER: Duration = Duration::from_secs(1);

/// How long to wait before the next attempt: not at all first, then longer each time.
#[derive(Default)]
struct Backoff {
    delay: Duration,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        // Peers that lost the same node do not come back to it at the same moment.
        delay.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    fn ended(&mut self, began: Instant) {
        if began.elapsed() >= GOOD_AFTER {
            *self = Backoff::default();
        }
    }
}

/// Keeps the connection of a class until the peer is forgotten, or the network shut down.
pub(crate) async fn keep(shared: Arc<Shared>, peer: Arc<Peer>, class: Class) {
    let keeper = Keeper {
        shared: &shared,
        peer: &peer,
        class,
    };
    let keeping = async {
        match class {
            Class::Consensus => keeper.keep_always().await,
            Class::Store | Class::Control | Class::Bulk => keeper.keep_on_demand().await,
        }
    };
    tokio::select! {
        () = keeping => {}
        () = peer.until_forgotten() => {}
        () = shared.stopped() => peer.forget("this node stops"),
    }
    // One that was being made when the others were closed.
    peer.close_all("it was removed");
}

struct Keeper<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    class: Class,
}

/// What became of a silent connection.
enum Outcome {
    Heard,
    Replaced(Arc<Connection>),
    Broken,
}

impl Keeper<'_> {
    async fn keep_on_demand(&self) {
        let slot = self.peer.slot(self.class);
        let mut backoff = Backoff::default();
        loop {
            slot.wanted.notified().await;
            let began = match self.dial().await {
                Ok(connection) => {
                    let began = Instant::now();
                    slot.state.send_replace(State::Up(Arc::clone(&connection)));
                    self.shared.check_trust(&connection);
                    connection.ended().await;
                    began
                }
                Err(error) => {
                    self.peer.log(self.class, &error.cause);
                    slot.state.send_replace(State::Failed(error.cause.into()));
                    Instant::now()
                }
            };
            backoff.ended(began);
            let delay = backoff.next();
            if matches!(*slot.state.borrow(), State::Failed(_)) {
                self.pause(delay.max(BACKOFF_MIN)).await;
                slot.state.send_replace(State::Waiting);
            } else {
                slot.state.send_replace(State::Waiting);
                self.pause(delay).await;
            }
        }
    }

    async fn keep_always(&self) {
        let mut backoff = Backoff::default();
        loop {
            match self.dial_impatiently().await {
                Ok(connection) => {
                    let began = Instant::now();
                    let cause = self.follow(connection).await;
                    tracing::debug!(peer = %self.peer.node, %cause, "the connection broke");
                    backoff.ended(began);
                    let delay = backoff.next();
                    if !delay.is_zero() {
                        self.failed(&cause, Link::Down);
                        self.pause(delay).await;
                    }
                }
                Err(error) => {
                    self.peer.log(self.class, &error.cause);
                    let link = if error.refused {
                        Link::Refused
                    } else {
                        Link::Down
                    };
                    self.failed(&error.cause, link);
                    self.pause(backoff.next().max(BACKOFF_MIN)).await;
                }
            }
        }
    }

    async fn dial(&self) -> Result<Arc<Connection>, ConnectError> {
        dial(self.shared, self.peer, self.class).await
    }

    /// Lets those who wait know when it takes long.
    async fn dial_impatiently(&self) -> Result<Arc<Connection>, ConnectError> {
        let mut dialling = std::pin::pin!(self.dial());
        tokio::select! {
            dialled = &mut dialling => return dialled,
            () = sleep(DIAL_PATIENCE) => {}
        }
        self.failed("it has not answered yet", Link::Down);
        dialling.await
    }

    fn failed(&self, cause: &str, link: Link) {
        let failed = State::Failed(cause.into());
        self.peer.slot(self.class).state.send_replace(failed);
        self.peer.set_link(link);
    }

    fn up(&self, connection: &Arc<Connection>) {
        let up = State::Up(Arc::clone(connection));
        self.peer.slot(self.class).state.send_replace(up);
        self.peer.set_link(Link::Up);
        self.shared.check_trust(connection);
    }

    /// Until there is a reason to try again.
    async fn pause(&self, delay: Duration) {
        let always = self.class == Class::Consensus;
        let mut address = self.peer.address.subscribe();
        let mut consensus = self.peer.slot(Class::Consensus).state.subscribe();
        tokio::select! {
            () = sleep(delay) => {}
            _ = consensus.changed(), if !always => {}
            () = self.peer.nudge.notified(), if always => {}
            _ = address.changed() => {}
        }
    }

    /// Watches a connection, and those that replace it, to the end.
    async fn follow(&self, mut connection: Arc<Connection>) -> Arc<str> {
        self.up(&connection);
        loop {
            if let Some(cause) = self.until_silent(&connection).await {
                self.peer
                    .slot(self.class)
                    .state
                    .send_replace(State::Waiting);
                return cause;
            }
            self.peer.set_link(Link::Silent);
            match self.outwait(&connection).await {
                Outcome::Heard => self.peer.set_link(Link::Up),
                Outcome::Replaced(new) => {
                    // The others wait for TCP as long as the old one would have.
                    self.peer
                        .close_all("it was silent, and there is a new connection");
                    self.up(&new);
                    connection = new;
                }
                Outcome::Broken => {}
            }
        }
    }

    /// Pings. None when it is silent, the cause when it has ended.
    async fn until_silent(&self, connection: &Connection) -> Option<Arc<str>> {
        let heard = connection.heard();
        let mut since = Instant::now();
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let last = (*heard.borrow()).max(since);
            tokio::select! {
                biased;
                cause = connection.ended() => return Some(cause),
                due = pings.tick() => {
                    if due.elapsed() > LATE {
                        since = Instant::now();
                    }
                    connection.ping(self.shared.introduce.introduce());
                }
                () = sleep_until(last + SILENT_AFTER) => {
                    if (*heard.borrow()).max(since) == last {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for the old connection, and tries new ones.
    async fn outwait(&self, old: &Connection) -> Outcome {
        let mut heard = old.heard();
        heard.mark_unchanged();
        let trying = async {
            loop {
                match self.dial().await {
                    Ok(new) => return Outcome::Replaced(new),
                    Err(error) if error.refused => {
                        old.close("nobody listens there any more");
                        return Outcome::Broken;
                    }
                    Err(error) => self.peer.log(self.class, &error.cause),
                }
                self.pause(SILENT_RETRY).await;
            }
        };
        tokio::select! {
            _ = heard.changed() => Outcome::Heard,
            _ = old.ended() => Outcome::Broken,
            outcome = trying => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn attempts_become_rarer_until_one_was_good() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(), Duration::ZERO);
        let first = backoff.next();
        assert!(
            first >= BACKOFF_MIN / 2 && first <= BACKOFF_MIN,
            "{first:?}"
        );
        let last = (0..10).map(|_| backoff.next()).last().unwrap();
        assert!(last >= BACKOFF_MAX / 2 && last <= BACKOFF_MAX, "{last:?}");
        let began = Instant::now();
        backoff.ended(began);
        assert!(backoff.next() >= BACKOFF_MAX / 2);
        sleep(GOOD_AFTER).await;
        backoff.ended(began);
        assert_eq!(backoff.next(), Duration::ZERO);
    }
}

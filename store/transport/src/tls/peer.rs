//! What a node knows of another one: where it is, the connections to it, how the link fares.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mailrook_types::NodeId;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, broadcast, watch},
    time::{Instant, timeout_at},
};

use super::connection::Connection;
use crate::{CallError, Class, Link};

/// The same trouble with the same peer is logged once in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The connection to a peer for one class.
#[derive(Clone)]
pub(crate) enum State {
    /// It is being made, or nobody has asked for it yet.
    Waiting,
    Up(Arc<Connection>),
    /// It could not be made, and that is tried again later.
    Failed(Arc<str>),
}

pub(crate) struct Slot {
    pub(crate) state: watch::Sender<State>,
    /// Somebody waits for it.
    pub(crate) wanted: Notify,
}

/// Addresses that a peer came from lately: one, or two while it moves.
const CAME_FROM_MAX: usize = 2;

/// Where a peer is known to be.
#[derive(Default)]
struct KnownAt {
    /// What its name gave when it was dialled last.
    looked_up: Vec<IpAddr>,
    /// Where connections came from that proved to be its own, the last one last.
    came_from: Vec<IpAddr>,
}

pub(crate) struct Peer {
    pub(crate) node: NodeId,
    /// host:port
    pub(crate) address: watch::Sender<String>,
    known_at: Mutex<KnownAt>,
    slots: [Slot; Class::ALL.len()],
    link: Mutex<Link>,
    events: broadcast::Sender<(NodeId, Link)>,
    /// There is a reason to dial before the time.
    pub(crate) nudge: Notify,
    forgotten: watch::Sender<bool>,
    logged: Mutex<Option<(Instant, String)>>,
}

/// How a peer fares, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which.
    pub node: NodeId,
    /// Where it is dialled: `host:port`.
    pub address: String,
    /// Whether it is reached.
    pub link: Link,
    /// Why not.
    pub trouble: Option<String>,
    /// Differs for each start of its process; None while it is not connected.
    pub incarnation: Option<u64>,
    /// Of its program; None while it is not connected.
    pub feature_level: Option<u32>,
}

impl Peer {
    pub(crate) fn new(
        node: NodeId,
        address: &str,
        events: broadcast::Sender<(NodeId, Link)>,
    ) -> Peer {
        let slot = |_| Slot {
            state: watch::Sender::new(State::Waiting),
            wanted: Notify::new(),
        };
        Peer {
            node,
            address: watch::Sender::new(address.to_owned()),
            known_at: Mutex::default(),
            slots: Class::ALL.map(slot),
            link: Mutex::new(Link::Down),
            events,
            nudge: Notify::new(),
            forgotten: watch::Sender::new(false),
            logged: Mutex::default(),
        }
    }

    /// Its name gave these addresses.
    pub(crate) fn looked_up(&self, found: &[SocketAddr]) {
        let found = found.iter().map(|at| at.ip().to_canonical());
        self.known_at.lock().looked_up = found.collect();
    }

    /// A connection that proved to be its own came from there.
    pub(crate) fn came_from(&self, address: IpAddr) {
        let address = address.to_canonical();
        let came_from = &mut self.known_at.lock().came_from;
        came_from.retain(|known| *known != address);
        came_from.push(address);
        if came_from.len() > CAME_FROM_MAX {
            came_from.remove(0);
        }
    }

    /// Whether it is known to be at an address, in the form that [`IpAddr::to_canonical`] gives.
    pub(crate) fn is_at(&self, address: IpAddr) -> bool {
        let known = self.known_at.lock();
        known.looked_up.contains(&address) || known.came_from.contains(&address)
    }

    pub(crate) fn slot(&self, class: Class) -> &Slot {
        match class {
            Class::Consensus => &self.slots[0],
            Class::Store => &self.slots[1],
            Class::Control => &self.slots[2],
            Class::Bulk => &self.slots[3],
        }
    }

    pub(crate) fn link(&self) -> Link {
        *self.link.lock()
    }

    pub(crate) fn set_link(&self, link: Link) {
        // Under the lock: events come in the order of the changes.
        let mut now = self.link.lock();
        if *now != link {
            tracing::info!(peer = %self.node, was = ?*now, is = ?link, "link changed");
            *now = link;
            // An error means that nobody listens.
            let _ = self.events.send((self.node, link));
        }
    }

    /// Says what is wrong, but not each time.
    pub(crate) fn log(&self, class: Class, cause: &str) {
        let mut logged = self.logged.lock();
        let known = logged
            .as_ref()
            .is_some_and(|(at, text)| text == cause && at.elapsed() < LOG_EVERY);
        if known {
            tracing::debug!(peer = %self.node, %class, cause, "cannot connect");
        } else {
            tracing::warn!(peer = %self.node, %class, cause, "cannot connect");
            *logged = Some((Instant::now(), cause.to_owned()));
        }
    }

    fn unreachable(&self, cause: &str) -> CallError {
        CallError::Unreachable {
            to: self.node,
            cause: cause.into(),
        }
    }

    /// Why nothing goes there now, if that is known.
    pub(crate) fn trouble(&self, class: Class) -> Result<(), CallError> {
        for class in [Class::Consensus, class] {
            if let State::Failed(cause) = &*self.slot(class).state.borrow() {
                return Err(self.unreachable(cause));
            }
        }
        Ok(())
    }

    /// The connection for a class, waiting for one that is being made.
    pub(crate) async fn connection(
        &self,
        class: Class,
        deadline: Instant,
    ) -> Result<Arc<Connection>, CallError> {
        let slot = self.slot(class);
        if let State::Up(connection) = &*slot.state.borrow()
            && connection.cause().is_none()
        {
            return Ok(Arc::clone(connection));
        }
        let mut state = slot.state.subscribe();
        let mut consensus = self.slot(Class::Consensus).state.subscribe();
        loop {
            let now = state.borrow_and_update().clone();
            consensus.mark_unchanged();
            if let State::Up(connection) = now
                && connection.cause().is_none()
            {
                return Ok(connection);
            }
            self.trouble(class)?;
            if *self.forgotten.borrow() {
                return Err(self.unreachable("it was removed"));
            }
            slot.wanted.notify_one();
            let changed = async {
                tokio::select! {
                    _ = state.changed() => {}
                    _ = consensus.changed() => {}
                    () = self.until_forgotten() => {}
                }
            };
            if timeout_at(deadline, changed).await.is_err() {
                return Err(self.unreachable("the time is over, and it is still being connected"));
            }
        }
    }

    /// Ends what there is; nothing new is begun.
    pub(crate) fn forget(&self, cause: &str) {
        self.forgotten.send_replace(true);
        self.close_all(cause);
    }

    /// Ends all connections.
    pub(crate) fn close_all(&self, cause: &str) {
        self.connections().for_each(|one| one.close(cause));
    }

    /// Those that there are.
    pub(crate) fn connections(&self) -> impl Iterator<Item = Arc<Connection>> {
        self.slots
            .iter()
            .filter_map(|slot| match &*slot.state.borrow() {
                State::Up(connection) => Some(Arc::clone(connection)),
                State::Waiting | State::Failed(_) => None,
            })
    }

    pub(crate) async fn until_forgotten(&self) {
        let mut forgotten = self.forgotten.subscribe();
        // An error cannot be: the sender is part of `self`.
        let _ = forgotten.wait_for(|forgotten| *forgotten).await;
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let state = self.slot(Class::Consensus).state.borrow().clone();
        let (trouble, hello) = match &state {
            State::Waiting => (None, None),
            State::Up(connection) => (None, Some(connection.hello())),
            State::Failed(cause) => (Some(cause.to_string()), None),
        };
        PeerStatus {
            node: self.node,
            address: self.address.borrow().clone(),
            link: self.link(),
            trouble,
            incarnation: hello.map(|hello| hello.incarnation),
            feature_level: hello.map(|hello| hello.feature_level),
        }
    }
}

//! Which sessions there are: what `mailrook session list` prints.

use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

use parking_lot::Mutex;

use crate::{Connection, Peer, SessionId};

/// The living sessions of a process. As many as connections: the limits of those bound it.
#[derive(Debug, Default)]
pub struct SessionRegistry {
    sessions: Mutex<HashMap<SessionId, Details>>,
}

#[derive(Clone, Debug)]
struct Details {
    protocol: &'static str,
    peer: Peer,
    tls: bool,
    since: SystemTime,
    user: Option<Box<str>>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// Its name in logs.
    pub id: SessionId,
    /// Of the listener: `imaps`.
    pub protocol: &'static str,
    /// Who is at the other end.
    pub peer: Peer,
    /// Whether TLS is active.
    pub tls: bool,
    /// When it began.
    pub since: SystemTime,
    /// Who has logged in.
    pub user: Option<String>,
}

/// A session's place in the registry. Dropping it takes the session off.
pub struct Registration {
    registry: Arc<SessionRegistry>,
    id: SessionId,
}

impl SessionRegistry {
    /// An empty one.
    pub fn new() -> Arc<SessionRegistry> {
        Arc::default()
    }

    /// Enters a session.
    pub fn enter(
        self: &Arc<SessionRegistry>,
        protocol: &'static str,
        connection: &Connection,
    ) -> Registration {
        let Connection {
            stream, peer, id, ..
        } = connection;
        let details = Details {
            protocol,
            peer: *peer,
            tls: stream.is_tls(),
            since: SystemTime::now(),
            user: None,
        };
        self.sessions.lock().insert(*id, details);
        Registration {
            registry: Arc::clone(self),
            id: *id,
        }
    }

    /// All of them, the oldest first.
    pub fn list(&self) -> Vec<SessionEntry> {
        let sessions: Vec<_> = self
            .sessions
            .lock()
            .iter()
            .map(|(id, details)| (*id, details.clone()))
            .collect();
        let entry = |(
            id,
            Details {
                protocol,
                peer,
                tls,
                since,
                user,
            },
        )| SessionEntry {
            id,
            protocol,
            peer,
            tls,
            since,
            user: user.map(String::from),
        };
        let mut entries: Vec<_> = sessions.into_iter().map(entry).collect();
        entries.sort_by_key(|entry| (entry.since, entry.id));
        entries
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Registration {
    /// The session's name in logs.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Tells who has logged in.
    pub fn set_user(&self, user: &str) {
        self.change(|details| details.user = Some(user.into()));
    }

    /// Tells that TLS was started.
    pub fn set_tls(&self) {
        self.change(|details| details.tls = true);
    }

    fn change(&self, change: impl FnOnce(&mut Details)) {
        if let Some(details) = self.registry.sessions.lock().get_mut(&self.id) {
            change(details);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.sessions.lock().remove(&self.id);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limiter, Limits, Shutdown, Stream};

    #[test]
    fn lists_who_is_there() {
        let registry = SessionRegistry::new();
        let limiter = Limiter::new(Limits::default());
        let connection = || Connection {
            stream: Stream::duplex(16).0,
            peer: Peer::Unix,
            id: SessionId::next(),
            admission: limiter.admit(None).unwrap(),
            shutdown: Shutdown::never(),
        };
        let first = registry.enter("imap", &connection());
        let second = registry.enter("pop3", &connection());
        first.set_user("user@example.test");
        first.set_tls();
        let listed: Vec<_> = registry
            .list()
            .into_iter()
            .map(|s| (s.id, s.protocol, s.user, s.tls))
            .collect();
        let user = Some("user@example.test".to_owned());
        assert_eq!(
            listed,
            [
                (first.id(), "imap", user, true),
                (second.id(), "pop3", None, false)
            ]
        );
        drop(first);
        assert_eq!(registry.len(), 1);
        drop(second);
        assert!(registry.is_empty());
    }
}

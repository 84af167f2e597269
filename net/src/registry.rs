//! Which sessions there are: what `mailrook session list` prints, and what `mailrook session kill` ends.

mod leave;
mod record;
mod story;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use mailrook_types::{AccountId, Stall};
use parking_lot::Mutex;

use crate::{Connection, SessionId, Shutdown};
pub use leave::{Farewell, LEAVE_WITHIN, Leave, Reason, ReasonError};
use record::Record;
pub use record::SessionEntry;
pub use story::{RESUMED_KEPT, Resumed};

/// The living sessions of a process. As many as connections: the limits of those bound it.
#[derive(Default)]
pub struct SessionRegistry {
    sessions: Mutex<HashMap<SessionId, Arc<Record>>>,
    teller: OnceLock<Arc<dyn TellStory>>,
}

/// Hears how sessions were held up, and went on.
pub trait TellStory: Send + Sync + 'static {
    /// A command of `session` was held up. Not to block.
    fn tell(&self, session: &SessionEntry, resumed: &Resumed);
}

/// A session's place in the registry. Dropping it takes the session off.
pub struct Registration {
    registry: Arc<SessionRegistry>,
    record: Arc<Record>,
}

impl SessionRegistry {
    /// An empty one.
    pub fn new() -> Arc<SessionRegistry> {
        Arc::default()
    }

    /// From now on `teller` hears of each story. Only the first call counts.
    pub fn tell_to(&self, teller: Arc<dyn TellStory>) {
        let _ = self.teller.set(teller);
    }

    /// Enters a session.
    pub fn enter(
        self: &Arc<SessionRegistry>,
        protocol: &'static str,
        connection: &Connection,
    ) -> Registration {
        let record = Arc::new(Record::new(protocol, connection));
        self.sessions
            .lock()
            .insert(record.id(), Arc::clone(&record));
        Registration {
            registry: Arc::clone(self),
            record,
        }
    }

    /// All of them, the oldest first.
    pub fn list(&self) -> Vec<SessionEntry> {
        self.page(None, usize::MAX, |_| true)
    }

    /// Those that are `wanted`, behind `after` if that is given, and at most `limit`. They are in the order of their ids, which is
    /// that of their age.
    pub fn page(
        &self,
        after: Option<SessionId>,
        limit: usize,
        wanted: impl Fn(&SessionEntry) -> bool,
    ) -> Vec<SessionEntry> {
        let behind = |record: &&Arc<Record>| after.is_none_or(|after| record.id() > after);
        let mut records: Vec<_> = {
            let sessions = self.sessions.lock();
            sessions.values().filter(behind).cloned().collect()
        };
        records.sort_unstable_by_key(|record| record.id());
        let entries = records.iter().map(|record| record.entry());
        entries.filter(wanted).take(limit).collect()
    }

    /// One of them, with the last of what it lived through.
    pub fn show(&self, id: SessionId) -> Option<(SessionEntry, Vec<Resumed>)> {
        let record = self.sessions.lock().get(&id).cloned()?;
        Some((record.entry(), record.story()))
    }

    /// Ends the sessions that are `wanted`: each is told why, and its connection is gone in [`LEAVE_WITHIN`] at the latest. Gives those that
    /// were not told before.
    pub fn end(
        &self,
        reason: &Reason,
        wanted: impl Fn(&SessionEntry) -> bool,
    ) -> Vec<SessionEntry> {
        let records: Vec<_> = self.sessions.lock().values().cloned().collect();
        let mut ended: Vec<_> = (records.iter())
            .map(|record| (record, record.entry()))
            .filter(|(record, entry)| wanted(entry) && record.end(reason.clone()))
            .map(|(_, entry)| entry)
            .collect();
        ended.sort_unstable_by_key(|entry| entry.id);
        ended
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.lock().len()
    }

    /// How many there are of each protocol.
    pub fn counts(&self) -> HashMap<&'static str, u64> {
        let mut counts = HashMap::new();
        for record in self.sessions.lock().values() {
            *counts.entry(record.protocol()).or_default() += 1;
        }
        counts
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tell(&self, record: &Record, resumed: Option<Resumed>) {
        if let (Some(resumed), Some(teller)) = (resumed, self.teller.get()) {
            teller.tell(&record.entry(), &resumed);
        }
    }
}

impl Registration {
    /// The session's name in logs.
    pub fn id(&self) -> SessionId {
        self.record.id()
    }

    /// Tells who has logged in.
    pub fn set_user(&self, user: &str, account: Option<AccountId>) {
        self.record.set_user(user, account);
    }

    /// Nobody has logged in after all.
    pub fn forget_user(&self) {
        self.record.forget_user();
    }

    /// Tells that TLS was started.
    pub fn set_tls(&self) {
        self.record.set_tls();
    }

    /// Tells which mailbox is selected.
    pub fn set_mailbox(&self, mailbox: Option<&str>) {
        self.record.set_mailbox(mailbox);
    }

    /// A command is under way from now on.
    pub fn begin(&self, command: &'static str) {
        self.record.begin(command);
    }

    /// The command under way is answered. If something held it up, that is told now.
    pub fn end(&self) {
        self.registry.tell(&self.record, self.record.end_command());
    }

    /// The same, of a command that goes on: it has answered what it was asked until now.
    pub fn tell_story(&self) {
        self.registry.tell(&self.record, self.record.take_story());
    }

    /// What is to be called when a call of this session was held up.
    pub fn on_stall(&self) -> impl Fn(Stall) + Send + Sync + 'static {
        let record = Arc::clone(&self.record);
        move |stall| record.hold(stall)
    }

    /// Tells when the session is to end: with the process, or alone.
    pub fn leave(&self, shutdown: Shutdown) -> Leave {
        Leave::new(shutdown, Arc::clone(&self.record))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.tell_story();
        self.registry.sessions.lock().remove(&self.record.id());
    }
}

impl fmt::Debug for SessionRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionRegistry({} sessions)", self.len())
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailrook_types::{NodeId, ShardId, StallCause};
    use tokio::time::Instant;

    use super::*;
    use crate::{Limiter, Limits, Peer, ShutdownTrigger, Stream};

    fn connection(limiter: &Arc<Limiter>) -> Connection {
        Connection {
            stream: Stream::duplex(16).0,
            peer: Peer::Unix,
            id: SessionId::next(),
            admission: limiter.admit(None).unwrap(),
            shutdown: Shutdown::never(),
        }
    }

    #[test]
    fn lists_who_is_there() {
        let registry = SessionRegistry::new();
        let limiter = Limiter::new(Limits::default());
        let first = registry.enter("imap", &connection(&limiter));
        let second = registry.enter("pop3", &connection(&limiter));
        first.set_user("user@example.test", Some(AccountId(7)));
        first.set_tls();
        first.set_mailbox(Some("INBOX"));
        first.begin("IDLE");
        let listed: Vec<_> = registry
            .list()
            .into_iter()
            .map(|s| (s.id, s.protocol, s.user, s.tls, s.mailbox, s.command))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            listed,
            [
                (
                    first.id(),
                    "imap",
                    text("user@example.test"),
                    true,
                    text("INBOX"),
                    Some("IDLE")
                ),
                (second.id(), "pop3", None, false, None, None)
            ]
        );
        assert_eq!(registry.counts()["imap"], 1);
        first.end();
        let entry = registry.show(first.id()).unwrap().0;
        assert_eq!((entry.command, entry.account), (None, Some(AccountId(7))));
        drop(first);
        assert_eq!(registry.len(), 1);
        drop(second);
        assert!(registry.is_empty());
    }

    #[test]
    fn many_are_listed_in_pages() {
        let registry = SessionRegistry::new();
        let limiter = Limiter::new(Limits {
            connections_max: 1000,
            pending_max: 1000,
            ..Limits::default()
        });
        let protocol = |n: usize| ["imap", "pop3"][n % 2];
        let sessions: Vec<_> = (0..100)
            .map(|n| registry.enter(protocol(n), &connection(&limiter)))
            .collect();
        let (mut after, mut listed) = (None, Vec::new());
        loop {
            let page = registry.page(after, 7, |entry| entry.protocol == "imap");
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 7);
            after = Some(last.id);
            listed.extend(page.iter().map(|entry| entry.id));
        }
        let mut expected: Vec<_> = sessions.iter().step_by(2).map(Registration::id).collect();
        expected.sort_unstable();
        assert_eq!(listed, expected);
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<(Option<String>, Resumed)>>);

    impl TellStory for Heard {
        fn tell(&self, session: &SessionEntry, resumed: &Resumed) {
            self.0.lock().push((session.user.clone(), resumed.clone()));
        }
    }

    #[test]
    fn a_command_that_was_held_up_is_told_once() {
        let registry = SessionRegistry::new();
        let heard = Arc::new(Heard::default());
        registry.tell_to(Arc::clone(&heard) as _);
        let limiter = Limiter::new(Limits::default());
        let session = registry.enter("imap", &connection(&limiter));
        session.set_user("user@example.test", Some(AccountId(7)));
        let hold_up = session.on_stall();
        session.begin("UID FETCH");
        hold_up(Stall {
            cause: StallCause::FailOver,
            shard: ShardId(3),
            leader_before: Some(NodeId(3)),
            leader_after: Some(NodeId(1)),
            lasted: Duration::from_millis(143),
            replays: 2,
            done: true,
        });
        assert!(heard.0.lock().is_empty(), "it is under way");
        session.end();
        session.begin("NOOP");
        session.end();
        let told = heard.0.lock().clone();
        let [(user, resumed)] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!(user.as_deref(), Some("user@example.test"));
        assert_eq!(resumed.command, Some("UID FETCH"));
        assert_eq!((resumed.replays, resumed.done), (2, true));
        let (entry, story) = registry.show(session.id()).unwrap();
        assert_eq!((entry.resumed, entry.replayed), (1, 2));
        assert_eq!(story, std::slice::from_ref(resumed));
    }

    #[tokio::test(start_paused = true)]
    async fn an_admin_ends_a_session_and_not_its_neighbour() {
        let registry = SessionRegistry::new();
        let limiter = Limiter::new(Limits::default());
        let (trigger, shutdown) = ShutdownTrigger::new();
        let first = registry.enter("imap", &connection(&limiter));
        let second = registry.enter("imap", &connection(&limiter));
        let (mut one, mut two) = (first.leave(shutdown.clone()), second.leave(shutdown));
        let reason = Reason::parse("maintenance").unwrap();
        let id = first.id();
        let begun = Instant::now();
        assert_eq!(one.asked(), None);
        let ended = registry.end(&reason, |entry| entry.id == id);
        assert_eq!(ended.len(), 1);
        assert_eq!(one.requested().await, Farewell::Ended(reason.clone()));
        assert_eq!(two.asked(), None);
        one.overdue().await;
        assert!(begun.elapsed() >= LEAVE_WITHIN);
        let again = registry.end(&reason, |entry| entry.id == id);
        assert!(again.is_empty(), "it was told before");
        assert_eq!(registry.show(id).unwrap().0.ended, Some(reason));
        trigger.shut_down();
        assert_eq!(two.requested().await, Farewell::Stopping);
    }
}

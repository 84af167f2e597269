//! What is known of one session while it lives. The session writes it, whoever lists sessions reads it.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use mailrook_types::{AccountId, Stall};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{
    leave::Reason,
    story::{Resumed, Story},
};
use crate::{Connection, Peer, SessionId, stream::Traffic};

pub(crate) struct Record {
    id: SessionId,
    protocol: &'static str,
    peer: Peer,
    since: SystemTime,
    traffic: Arc<Traffic>,
    /// Locked for a few stores at a time, by the session itself as a rule.
    state: Mutex<State>,
    ended: OnceLock<Ended>,
    told: Notify,
}

struct State {
    tls: bool,
    user: Option<Box<str>>,
    account: Option<AccountId>,
    mailbox: Option<Box<str>>,
    /// What is under way.
    command: Option<&'static str>,
    /// Since when it is, or nothing is.
    since: Instant,
    story: Option<Box<Story>>,
}

/// An admin ended the session.
pub(super) struct Ended {
    pub(super) reason: Reason,
    pub(super) at: Instant,
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
    /// The same, for whom names change.
    pub account: Option<AccountId>,
    /// The mailbox that is selected.
    pub mailbox: Option<String>,
    /// The command under way.
    pub command: Option<&'static str>,
    /// How long that has been under way, or nothing has.
    pub lasting: Duration,
    /// Bytes that came from the client.
    pub received: u64,
    /// Bytes that were sent to it.
    pub sent: u64,
    /// How many of its commands were held up, and went on.
    pub resumed: u32,
    /// How many of its calls were sent again.
    pub replayed: u32,
    /// Why an admin ended it; it is on its way out.
    pub ended: Option<Reason>,
}

impl Record {
    pub(super) fn new(protocol: &'static str, connection: &Connection) -> Record {
        let Connection {
            stream, peer, id, ..
        } = connection;
        let state = State {
            tls: stream.is_tls(),
            user: None,
            account: None,
            mailbox: None,
            command: None,
            since: Instant::now(),
            story: None,
        };
        Record {
            id: *id,
            protocol,
            peer: *peer,
            since: SystemTime::now(),
            traffic: Arc::clone(stream.traffic()),
            state: Mutex::new(state),
            ended: OnceLock::new(),
            told: Notify::new(),
        }
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn protocol(&self) -> &'static str {
        self.protocol
    }

    pub(super) fn set_tls(&self) {
        self.state.lock().tls = true;
    }

    pub(super) fn set_user(&self, user: &str, account: Option<AccountId>) {
        let mut state = self.state.lock();
        state.user = Some(user.into());
        state.account = account;
    }

    pub(super) fn forget_user(&self) {
        let mut state = self.state.lock();
        (state.user, state.account) = (None, None);
    }

    pub(super) fn set_mailbox(&self, mailbox: Option<&str>) {
        self.state.lock().mailbox = mailbox.map(Box::from);
    }

    pub(super) fn begin(&self, command: &'static str) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.command = Some(command);
        state.since = now;
    }

    /// The command under way is answered; gives what held it up.
    pub(super) fn end_command(&self) -> Option<Resumed> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.since = now;
        let command = state.command.take();
        state.story.as_mut()?.take(command)
    }

    /// A call of the session was held up.
    pub(super) fn hold(&self, stall: Stall) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.story.get_or_insert_default().hold(stall, now);
    }

    /// What held up the command under way, which goes on.
    pub(super) fn take_story(&self) -> Option<Resumed> {
        let mut state = self.state.lock();
        let command = state.command;
        state.story.as_mut()?.take(command)
    }

    /// What is remembered of what held it up, the oldest first.
    pub(super) fn story(&self) -> Vec<Resumed> {
        let state = self.state.lock();
        let story = state.story.iter();
        story.flat_map(|story| story.last.iter().cloned()).collect()
    }

    /// Has the session end; says whether it had not been told before.
    pub(super) fn end(&self, reason: Reason) -> bool {
        let at = Instant::now();
        let is_first = self.ended.set(Ended { reason, at }).is_ok();
        self.told.notify_waiters();
        is_first
    }

    pub(super) fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    /// Waits until an admin has ended the session.
    pub(super) async fn wait_for_end(&self) -> &Ended {
        loop {
            // Before the look: who ends it in between wakes it.
            let told = self.told.notified();
            if let Some(ended) = self.ended.get() {
                return ended;
            }
            told.await;
        }
    }

    pub(super) fn entry(&self) -> SessionEntry {
        let state = self.state.lock();
        let counts = state.story.as_ref();
        SessionEntry {
            id: self.id,
            protocol: self.protocol,
            peer: self.peer,
            tls: state.tls,
            since: self.since,
            user: state.user.as_deref().map(str::to_owned),
            account: state.account,
            mailbox: state.mailbox.as_deref().map(str::to_owned),
            command: state.command,
            lasting: state.since.elapsed(),
            received: self.traffic.received(),
            sent: self.traffic.sent(),
            resumed: counts.map_or(0, |story| story.resumed),
            replayed: counts.map_or(0, |story| story.replayed),
            ended: self.ended.get().map(|ended| ended.reason.clone()),
        }
    }
}

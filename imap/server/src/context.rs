//! What the sessions of a process share, and what one of them begins with.

use std::{collections::HashSet, fmt, net::IpAddr, sync::Arc, time::Duration};

use mailrook_auth::{AttemptLimits, Login, LoginPlace, LoginStep, Logins};
use mailrook_net::{BlockingPool, Connection, Registration, TlsAcceptor};
use mailrook_sasl::ChannelBindings;
use mailrook_store_api::{
    Directory, Mailstore, meta::CredentialScope, shard::limits::MAILDROP_RENEWAL,
};
use mailrook_types::AccountId;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::command::{append::MESSAGES_FACTOR, search::SEARCH_MEMORY_KIB};

/// Each message takes its memory in whole KiB: what a thousand messages in one APPEND can waste.
const APPEND_ROUNDING_MAX: u64 = 1 << 20;

/// A client that was let in.
#[derive(Debug)]
pub struct Client {
    /// Its bytes, address, name, place and the signal to end.
    pub connection: Connection,
    /// For STARTTLS and STLS; `None` where it is not offered.
    pub starttls: Option<TlsAcceptor>,
    /// Whether a password may be taken before TLS.
    pub plaintext_login: bool,
    /// Its place in the list of sessions.
    pub registration: Registration,
}

/// The bounds of sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The largest message that APPEND takes, in bytes (RFC 7889). 50 MB: what large providers take.
    pub append_limit: u32,
    /// The memory of all messages on their way in by APPEND, in bytes.
    pub append_memory_max: usize,
    /// Until the login. RFC 9051 §5.4 has no word on it; Dovecot allows three minutes.
    pub login_timeout: Duration,
    /// How late a failed login is answered, from a connection's third on.
    pub failed_login_delay: Duration,
    /// Without a command. RFC 9051 §5.4: at least 30 minutes.
    pub imap_idle_timeout: Duration,
    /// The same for POP3. RFC 1939 §3: at least 10 minutes.
    pub pop3_idle_timeout: Duration,
    /// How long a maildrop stays locked for a POP3 session of which nothing is heard. 30 seconds: after so long, and a few more, the next
    /// session takes over from one whose front end has died. Dovecot waits for 5 minutes.
    pub maildrop_lease: Duration,
    /// How often the lock is renewed: within the notice that somebody else has to wait for.
    pub maildrop_renewal: Duration,
    /// How long a POP3 login waits for a maildrop that another session has. 10 seconds, as in Dovecot: a client whose connection broke
    /// is back sooner than that is noticed. More than a notice, lest nobody waits until its end.
    pub maildrop_patience: Duration,
    /// How long a client may take nothing of what it is sent, before it is given up.
    pub write_timeout: Duration,
    /// How long the rest of a message that is on its way is asked for while the store does not answer, before the connection
    /// is closed: there is no other way to say that it does not come.
    pub under_way_patience: Duration,
}

impl Settings {
    /// The least [`Settings::append_memory_max`] for an [`Settings::append_limit`]: with less, the largest APPEND that
    /// is begun would be put off for ever.
    pub const fn append_memory_min(append_limit: u64) -> u64 {
        append_limit
            .saturating_mul(MESSAGES_FACTOR)
            .saturating_add(APPEND_ROUNDING_MAX)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            append_limit: 50 << 20,
            append_memory_max: 512 << 20,
            login_timeout: Duration::from_secs(180),
            failed_login_delay: AttemptLimits::default().delay,
            imap_idle_timeout: Duration::from_secs(31 * 60),
            pop3_idle_timeout: Duration::from_secs(10 * 60),
            maildrop_lease: Duration::from_secs(30),
            maildrop_renewal: MAILDROP_RENEWAL,
            maildrop_patience: Duration::from_secs(10),
            write_timeout: Duration::from_secs(120),
            // More than a shard is without a leader as a rule, and less than clients wait for the next byte.
            under_way_patience: Duration::from_secs(90),
        }
    }
}

/// What the sessions of a process share. A process has one: the store takes it to have one POP3 session of an account at a time.
pub struct SessionContext {
    pub(crate) store: Arc<dyn Mailstore>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) logins: Logins,
    /// Work that would hold up a thread that serves sockets: preparing messages, verifying search results.
    pub(crate) working: BlockingPool,
    pub(crate) settings: Settings,
    /// In KiB: what [`Settings::append_memory_max`] leaves.
    pub(crate) append_memory: Arc<Semaphore>,
    /// In KiB: what searches may still read into memory.
    pub(crate) search_memory: Arc<Semaphore>,
    /// The accounts whose maildrop a POP3 session of this process has open, or asks for (RFC 1939 §4).
    pub(crate) maildrops: Mutex<HashSet<AccountId>>,
}

impl SessionContext {
    /// Over a store and a directory. `working` takes the computations that are too long for a thread that serves sockets.
    pub fn new(
        store: Arc<dyn Mailstore>,
        directory: Arc<dyn Directory>,
        logins: Logins,
        working: BlockingPool,
        settings: Settings,
    ) -> Arc<SessionContext> {
        let append_memory = Arc::new(Semaphore::new(settings.append_memory_max >> 10));
        Arc::new(SessionContext {
            store,
            directory,
            logins,
            working,
            settings,
            append_memory,
            search_memory: Arc::new(Semaphore::new(SEARCH_MEMORY_KIB as usize)),
            maildrops: Mutex::default(),
        })
    }

    /// Where a client logs in.
    pub(crate) fn place(
        &self,
        scope: CredentialScope,
        ip: Option<IpAddr>,
        bindings: ChannelBindings,
    ) -> LoginPlace<'_> {
        LoginPlace {
            logins: &self.logins,
            directory: &*self.directory,
            scope,
            ip,
            bindings,
        }
    }

    /// The client's next word in an exchange.
    pub(crate) async fn respond(&self, login: &mut Login, response: &[u8]) -> LoginStep {
        login
            .respond(response, &self.logins, &*self.directory)
            .await
    }

    /// What a connection may fail at.
    pub(crate) fn attempt_limits(&self) -> AttemptLimits {
        AttemptLimits {
            delay: self.settings.failed_login_delay,
            ..AttemptLimits::default()
        }
    }
}

impl fmt::Debug for SessionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionContext")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

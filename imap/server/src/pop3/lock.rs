//! Keeps a maildrop for one session (RFC 1939 §4): in this process, which costs nothing, and in the account's shard, for the
//! whole cluster.
//!
//! The shard's lock has a lease, which is renewed for as long as the session lives. A store that does not answer ends no session: it is
//! asked again, and what nobody else has taken meanwhile is still the session's. Whether it is, the shard decides at QUIT.

use std::{mem, sync::Arc, time::Duration};

use mailrook_imap_proto::pop3::ResponseCode;
use mailrook_store_api::{
    MaildropLock, Mailstore, StoreError,
    shard::{MaildropCommand, MaildropHolder, MaildropStep},
};
use mailrook_types::AccountId;
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::Refused;
use crate::{SessionContext, Settings};

/// The first wait for a maildrop that another session has: one that ends gives it back within a moment.
const WAIT_MIN: Duration = Duration::from_millis(250);
/// The longest wait: to ask is a command of the shard's log. The last question of a login comes behind the whole of a notice.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(1);

/// Between renewals while the store does not answer.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);

/// How long a session's end waits until the lock is given back. If it takes longer, that goes on without it.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);

/// Holds a maildrop for one session.
pub(super) struct Lock {
    /// First, so that it is given back before the next session of this process asks for it.
    lease: Option<Lease>,
    _place: Place,
}

/// Holds it in this process.
struct Place {
    context: Arc<SessionContext>,
    account: AccountId,
}

/// Holds it in the account's shard. When it is dropped the lock is given back, as far as the store can be reached.
struct Lease {
    store: Arc<dyn Mailstore>,
    account: AccountId,
    holder: MaildropHolder,
    /// Whether the shard may take it for this session's.
    is_ours: bool,
    renewals: Option<JoinHandle<()>>,
}

impl Lock {
    /// Waits a little while another session has it.
    pub(super) async fn take(
        context: &Arc<SessionContext>,
        account: AccountId,
    ) -> Result<Lock, Refused> {
        let deadline = Instant::now() + context.settings.maildrop_patience;
        let mut wait = WAIT_MIN;
        loop {
            if let Some(lock) = Lock::ask(context, account).await? {
                return Ok(lock);
            }
            if Instant::now() + wait > deadline {
                return Err(Refused::with(
                    ResponseCode::InUse,
                    "another session has this mailbox",
                ));
            }
            sleep(wait).await;
            wait = (2 * wait).min(WAIT_MAX);
        }
    }

    /// `None` if another session has it.
    async fn ask(
        context: &Arc<SessionContext>,
        account: AccountId,
    ) -> Result<Option<Lock>, Refused> {
        let Some(place) = Place::take(context, account) else {
            return Ok(None);
        };
        let store = &context.store;
        // Of the sessions of this process that have had the place, the later one has the higher lane.
        let lane = store.open_lane().await;
        let holder = lane
            .map_err(|error| Refused::by_store(&error))?
            .maildrop_holder();
        let mut lease = Lease {
            store: Arc::clone(store),
            account,
            holder,
            is_ours: true,
            renewals: None,
        };
        let take = lease.command(MaildropStep::Take {
            lease_ms: lease_ms(&context.settings),
        });
        let lease = match store.maildrop(take).await {
            Ok(Ok(MaildropLock::Done)) => {
                lease.keep(&context.settings);
                Some(lease)
            }
            Ok(Ok(MaildropLock::InUse)) => {
                lease.is_ours = false;
                return Ok(None);
            }
            Ok(Ok(MaildropLock::NotYet)) => {
                lease.is_ours = false;
                None
            }
            Ok(Err(refusal)) => {
                lease.is_ours = false;
                tracing::info!(%refusal, "a maildrop is not locked");
                return Err(Refused::with(
                    ResponseCode::SysTemp,
                    "the mailbox cannot be reached now",
                ));
            }
            // It may have been taken all the same, and is given back.
            Err(error) => return Err(Refused::by_store(&error)),
        };
        Ok(Some(Lock {
            lease,
            _place: place,
        }))
    }

    /// Who holds it in the cluster; `None` where it is locked in this process alone.
    pub(super) fn holder(&self) -> Option<MaildropHolder> {
        self.lease.as_ref().map(|lease| lease.holder)
    }

    /// The shard has taken it back.
    pub(super) fn note_given_back(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.is_ours = false;
        }
    }

    /// Gives it back.
    pub(super) async fn give_back(mut self) {
        if let Some(release) = self.lease.as_mut().and_then(Lease::release) {
            let _ = timeout(RELEASE_PATIENCE, release).await;
        }
    }
}

impl Place {
    fn take(context: &Arc<SessionContext>, account: AccountId) -> Option<Place> {
        let taken = context.maildrops.lock().insert(account);
        taken.then(|| Place {
            context: Arc::clone(context),
            account,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.context.maildrops.lock().remove(&self.account);
    }
}

impl Lease {
    fn command(&self, step: MaildropStep) -> MaildropCommand {
        MaildropCommand {
            account: self.account,
            holder: self.holder,
            step,
        }
    }

    /// Renews it from now on.
    fn keep(&mut self, settings: &Settings) {
        let store = Arc::clone(&self.store);
        let renewal = self.command(MaildropStep::Renew {
            lease_ms: lease_ms(settings),
        });
        let every = settings.maildrop_renewal;
        self.renewals = Some(tokio::spawn(async move {
            let mut pause = every;
            loop {
                sleep(pause).await;
                pause = match store.maildrop(renewal).await {
                    Ok(Ok(_)) => every,
                    Ok(Err(refusal)) => {
                        tracing::info!(%refusal, account = %renewal.account, "a maildrop is lost");
                        return;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a maildrop was not renewed");
                        RENEWAL_PAUSE.min(every)
                    }
                };
            }
        }));
    }

    /// Gives it back, once, in a task of its own: sessions may end at any moment.
    fn release(&mut self) -> Option<JoinHandle<()>> {
        if let Some(renewals) = self.renewals.take() {
            renewals.abort();
        }
        if !mem::take(&mut self.is_ours) {
            return None;
        }
        let store = Arc::clone(&self.store);
        let command = self.command(MaildropStep::Release);
        // Without a runtime the process is about to end, and the lease ends soon.
        let release = Handle::try_current().ok()?.spawn(async move {
            let released: Result<_, StoreError> = store.maildrop(command).await;
            if let Err(error) = released {
                tracing::debug!(%error, "a maildrop was not given back: its lease ends");
            }
        });
        Some(release)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // It goes on by itself.
        drop(self.release());
    }
}

fn lease_ms(settings: &Settings) -> u32 {
    u32::try_from(settings.maildrop_lease.as_millis()).unwrap_or(u32::MAX)
}

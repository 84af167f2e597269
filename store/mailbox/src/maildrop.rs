//! The lock of an account's maildrop: one POP3 session at a time has it (RFC 1939 §4), in the whole cluster.
//!
//! It has a holder and a lease by the log's time. Once the lease is over another session may take it, but not at once: it gives
//! notice first, as the holder may have been unable to renew for want of a leader, and the log's time goes on meanwhile. Until
//! somebody else has taken it, it is the holder's, who may renew it, and whose QUIT counts. What QUIT removes is
//! decided in the same step as who holds the lock ([`Change::CloseMaildrop`](crate::Change::CloseMaildrop)).
//!
//! The notice is longer than a holder that lives takes to renew (`limits::MAILDROP_NOTICE`), so that such a one keeps its lock even where the
//! log's time jumps over the lease. Where the time was ahead when the lease was written, who asks later believes a lease of its own
//! length at most.
//!
//! Who takes, renews or gives back names itself, so that these steps can be sent again without an operation id. One that comes so late
//! that the session is over by then keeps others out for a lease.

use mailrook_types::{AccountId, ClientId};
use serde::{Deserialize, Serialize};

use crate::{
    limits::{MAILDROP_KEPT, MAILDROP_LEASE_MAX, MAILDROP_NOTICE, MAILDROP_NOTICE_KEPT, millis},
    record::MaildropRecord,
};

/// Maildrops are locked in their shards from this feature level on. A session that began before goes on with its process's own lock.
pub const LEVEL_POP3_LOCK: u32 = 6;

/// A step with the lock of an account's maildrop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaildropCommand {
    /// Whose mail.
    pub account: AccountId,
    /// Which session.
    pub holder: MaildropHolder,
    /// Which step.
    pub step: MaildropStep,
}

/// A session that holds a maildrop, or wants to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaildropHolder {
    /// Of which process. A process has at most one session of an account at a time, and a later one has a higher number: it takes
    /// the place of an earlier one at once.
    pub client: ClientId,
    /// Which of its sessions.
    pub session: u64,
}

/// What is done with the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaildropStep {
    /// Takes it.
    Take {
        /// For how long, by the log's time; at most [`MAILDROP_LEASE_MAX`].
        lease_ms: u32,
    },
    /// Keeps it, unless somebody else has taken it: [`Refusal::MaildropLost`](crate::Refusal::MaildropLost).
    Renew {
        /// For how long from now on.
        lease_ms: u32,
    },
    /// Gives it back. Of a lock that is another's nothing changes.
    Release,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaildropReply {
    /// It is done.
    Done,
    /// Not taken: another session has it.
    InUse,
}

/// What becomes of a session that wants the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It gets it.
    Granted,
    /// Another one has it.
    InUse,
    /// Another one had it, and is given notice.
    Notice,
}

impl MaildropRecord {
    /// Taken, or taken over, now.
    pub(crate) fn new(holder: MaildropHolder, now: i64, lease_ms: u32) -> MaildropRecord {
        let expires_ms = lease_end(now, lease_ms);
        MaildropRecord {
            holder,
            since_ms: now,
            expires_ms,
            notice_ms: None,
            queued_ms: expires_ms.saturating_add(millis(MAILDROP_KEPT)),
        }
    }

    /// Extends the lease, and takes the notice back.
    pub(crate) fn renew(&mut self, now: i64, lease_ms: u32) {
        self.expires_ms = lease_end(now, lease_ms);
        self.notice_ms = None;
    }

    /// Believes no more than a lease of `lease_ms` from now on, and no notice that is still to come: the log's time may have been ahead
    /// when they were written, or was that of another shard. Says whether there was more.
    pub(crate) fn bound(&mut self, now: i64, lease_ms: u32) -> bool {
        let believed = self.expires_ms.min(lease_end(now, lease_ms));
        let notice = self.notice_ms.filter(|at| *at <= now);
        let is_bounded = believed != self.expires_ms || notice != self.notice_ms;
        (self.expires_ms, self.notice_ms) = (believed, notice);
        is_bounded
    }

    /// Whether it counts as absent.
    pub(crate) fn is_forgotten(&self, now: i64) -> bool {
        self.forgotten_ms() <= now
    }

    fn forgotten_ms(&self) -> i64 {
        self.expires_ms.saturating_add(millis(MAILDROP_KEPT))
    }

    /// Whether `holder` may have it.
    pub(crate) fn claim(&self, holder: MaildropHolder, now: i64) -> Claim {
        if holder.client == self.holder.client {
            return match holder.session >= self.holder.session {
                true => Claim::Granted,
                // What comes late, of a session that is over.
                false => Claim::InUse,
            };
        }
        if now < self.expires_ms {
            return Claim::InUse;
        }
        match self.notice_ms {
            None => Claim::Notice,
            // Nobody led in between, as a rule: the holder could not answer it either.
            Some(at) if now >= at.saturating_add(millis(MAILDROP_NOTICE_KEPT)) => Claim::Notice,
            Some(at) if now >= at.saturating_add(millis(MAILDROP_NOTICE)) => Claim::Granted,
            Some(_) => Claim::InUse,
        }
    }

    /// What is left of it when its turn in the queue of what expires has come: nothing, or the record with its new place. It
    /// moves only then, so that renewing costs no write there.
    pub(crate) fn after_its_turn(mut self, now: i64) -> Option<MaildropRecord> {
        self.queued_ms = self.forgotten_ms();
        (self.queued_ms > now).then_some(self)
    }
}

fn lease_end(now: i64, lease_ms: u32) -> i64 {
    now.saturating_add(i64::from(lease_ms).min(millis(MAILDROP_LEASE_MAX)))
}

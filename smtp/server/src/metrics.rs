//! Counters of what the front end did, for whoever exports them.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the process started. Each only grows.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Metrics {
            /// All counters with their names.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

metrics! {
    /// Sessions that began.
    sessions_started,
    /// Sessions that ended.
    sessions_ended,
    /// Messages acknowledged: for LMTP, by at least one recipient.
    messages_accepted,
    /// Messages refused for good after their text.
    messages_refused,
    /// Messages put off with 4yz after their text.
    messages_deferred,
    /// Octets of all messages that were read to their end.
    octets_received,
    /// Copies put into mailboxes.
    copies_delivered,
    /// Copies that a repeated transmission would have added, and did not.
    copies_suppressed,
    /// RCPT answered with 250.
    recipients_accepted,
    /// RCPT refused for good.
    recipients_refused,
    /// RCPT put off with 4yz.
    recipients_deferred,
    /// Refusals because relaying was asked for.
    relays_refused,
    /// AUTH that succeeded.
    logins_succeeded,
    /// AUTH that failed.
    logins_failed,
    /// Sessions that timed out.
    timeouts,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds `n`.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

//! What the operator may set, and every bound of the runner with its reason.

use std::time::Duration;

use mailrook_types::Domain;

use crate::Schedule;

/// A lease is one and a half seconds of the log's time: with the store's notice behind it, a dead runner's jobs go on within five
/// seconds, and one lost renewal costs nothing yet.
pub(crate) const LEASE: Duration = Duration::from_millis(1500);

/// Renewed three times in that.
pub(crate) const RENEWAL: Duration = Duration::from_millis(400);

/// A lease is believed for so long after its last renewal was sent. The store gives a claim to another only after a notice of two seconds of
/// the log's time, which runs an eighth faster than ours at most: 1.78 seconds of ours.
pub(crate) const LEASE_BELIEVED: Duration = Duration::from_millis(1200);

const _: () = assert!(
    LEASE_BELIEVED.as_millis() * 9 / 8
        < mailrook_store_api::shard::limits::QUEUE_NOTICE.as_millis(),
    "a lease that is believed must be alive, also where the log's time jumped over it"
);

/// A shard is asked at least so often whether there is something to claim: what another front end left is found within it.
pub(crate) const POLL: Duration = Duration::from_millis(500);

/// After the store could not be reached it is left alone for so long.
pub(crate) const STORE_PAUSE: Duration = Duration::from_millis(500);

/// 2,000 jobs in hand: some megabytes, and seconds of work for all connections.
pub(crate) const JOBS_IN_HAND_MAX: usize = 2_000;

/// 64 reports in one command: with a notice of ordinary size each they fit an entry of the log.
pub(crate) const REPORTS_AT_ONCE: usize = 64;

/// An open connection waits so long for more mail to the same place; RFC 5321 §4.5.3.2.7 has servers wait five minutes, few do when
/// they are busy.
pub(crate) const IDLE: Duration = Duration::from_secs(2);

/// A message of up to 64 KiB is returned whole in a report of failure, unless its sender asked otherwise.
pub(crate) const RETURNED_WHOLE_MAX: u32 = 64 * 1024;

/// One of up to 1 MiB is, when its sender asked for it (RFC 3461 §4.3 leaves the limit to the reporter).
pub(crate) const RETURNED_ON_REQUEST_MAX: u32 = 1 << 20;

/// What a runner needs to know.
#[derive(Clone, Debug)]
pub struct SenderSettings {
    /// Our name, in reports.
    pub hostname: Domain,
    /// When what was deferred is tried again.
    pub schedule: Schedule,
    /// After how long a sender is told that its message is still waiting; `None` is never, unless it asked (RFC 3461 §4.1).
    pub delay_notice_after: Option<Duration>,
    /// How long a destination that could not be reached is left alone.
    pub destination_rest: Duration,
    /// For how long a report to a sender is tried.
    pub notice_lifetime: Duration,
    /// How many connections to one destination from this front end.
    pub connections_per_destination: usize,
    /// How many connections in all.
    pub connections: usize,
    /// How many jobs of one destination may be under way in one shard, from all front ends.
    pub jobs_per_destination: u32,
}

impl SenderSettings {
    /// The defaults for a front end of this name.
    pub fn new(hostname: Domain) -> SenderSettings {
        SenderSettings {
            hostname,
            schedule: Schedule::default(),
            // RFC 5321 §4.5.4.1 asks for a retry interval of half an hour at least; who waits for four hours should know.
            delay_notice_after: Some(Duration::from_secs(4 * 3600)),
            destination_rest: Duration::from_secs(60),
            // RFC 5321 §4.5.4.1: four to five days.
            notice_lifetime: Duration::from_secs(5 * 86_400),
            connections_per_destination: 20,
            connections: 200,
            jobs_per_destination: 100,
        }
    }
}

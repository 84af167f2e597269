//! Every bound of a shard, with its reason.

use std::time::Duration;

use crate::Chunk;

/// 10,000 mailboxes an account: ten times what the largest archives that import tools report hold; LIST of all of
/// them, and a RENAME or DELETE of all of them in one entry, stays in the tens of milliseconds.
pub const MAILBOXES_MAX: u32 = 10_000;

/// 10,000 subscriptions an account: one for each mailbox that there can be.
pub const SUBSCRIPTIONS_MAX: u32 = 10_000;

/// 10,000,000 messages a mailbox: the UIDs of so many fit in 10,000 records, which one command may rewrite.
pub const MESSAGES_MAX: u64 = 10_000_000;

/// 250,000 messages in one STORE, COPY or MOVE: what it changes is held in memory until it is written, some 400 bytes a message
/// in all, and every copy of the shard does it again when the log is replayed.
pub const BULK_MAX: u64 = 250_000;

/// 512 keywords a mailbox: Dovecot's mdbox and maildir carry 26 to some hundreds; a client that invents a keyword for each
/// message is stopped before the table costs more than the messages.
pub const KEYWORDS_MAX: usize = 512;

/// 64 unanswered operations in a lane: as many as a pipelining client keeps under way; more want another lane.
pub const UNANSWERED_MAX: usize = 64;

/// Kept replies live for 24 hours of log time after a lane's last operation, far longer than any retry.
pub const REPLY_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Delivery keys live for 7 days unless confirmed: longer than the 5 days for which RFC 5321 §4.5.4.1 has senders retry.
pub const DUPLICATE_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bodies without a reference stay readable for an hour, for fetches under way (DESIGN, "Bodies").
pub const BODY_KEPT: Duration = Duration::from_secs(3600);

/// An upload lives for a day at most, whatever its proposer asks.
pub const UPLOAD_KEPT_MAX: Duration = Duration::from_secs(24 * 3600);

/// A maildrop is locked for 10 minutes at most, whatever its session asks: no session lives longer without a word of its client
/// (RFC 1939 §3).
pub const MAILDROP_LEASE_MAX: Duration = Duration::from_secs(600);

/// A session renews its maildrop's lock every 2 seconds. Not the lease asks for that, but the notice, of which a holder hears nothing:
/// the log's time may jump over a lease at any moment.
pub const MAILDROP_RENEWAL: Duration = Duration::from_secs(2);

/// A renewal that was on its way to a leader that died goes to the new one after 5 seconds at most: that long a try lasts.
const RENEWAL_UNDER_WAY_MAX: Duration = Duration::from_secs(5);

/// Who finds a maildrop whose lease is over has to wait for 8 seconds until it may be taken over, so that a holder that lives and
/// reaches the shard has renewed it meanwhile.
pub const MAILDROP_NOTICE: Duration = Duration::from_secs(8);

const _: () = assert!(
    MAILDROP_RENEWAL.as_millis() + RENEWAL_UNDER_WAY_MAX.as_millis() < MAILDROP_NOTICE.as_millis(),
    "a holder that lives is to renew within the notice"
);

/// A notice that is a minute old is given anew: whoever gave it has long gone, and the holder may not have been able to renew.
pub const MAILDROP_NOTICE_KEPT: Duration = Duration::from_secs(60);

/// The lock of a maildrop is its holder's for an hour after its lease, unless somebody else takes it: longer than any time without a leader
/// after which a session is worth going on with.
pub const MAILDROP_KEPT: Duration = Duration::from_secs(3600);

/// The chunks of the largest body whose size fits the 32 bits of RFC822.SIZE.
pub const CHUNKS_MAX: u32 = (u32::MAX as u64).div_ceil(Chunk::RAW_LEN as u64) as u32;

/// 10 MiB of one APPEND beside its bodies: a thousand messages, each with ten times the envelope and structure of an
/// ordinary one. It is held in memory while it is applied.
pub const APPEND_CHUNKS_MAX: usize = 40;

/// UIDs of each mailbox that a shard leaves out when it is brought back: far more than a mailbox is given in the time that may be
/// lost, and 4,000 times in the 32 bits that there are. This and the next three are part of what the state machine makes of the log,
/// and stay as they are.
pub const SKIPPED_UIDS: u32 = 1 << 20;

/// MODSEQs of each account that a shard leaves out when it is brought back.
pub const SKIPPED_MODSEQS: u64 = 1 << 40;

/// Ids of mailboxes, and of messages, of each account that a shard leaves out when it is brought back.
pub const SKIPPED_IDS: u64 = 1 << 32;

/// UIDVALIDITYs of each account that a shard leaves out when it is brought back. They are seconds for the most part: a day and a half.
pub const SKIPPED_UID_VALIDITIES: u64 = 1 << 17;

/// Records of 1,024 UIDs in a mailbox's history of expunged messages. One command expunges at most [`MESSAGES_MAX`], which is
/// 9,767 records, so that the newest expunge is always told in full.
pub const HISTORY_RECORDS_MAX: u32 = 16_384;

/// The fixed slots over which the cluster-wide tables are hashed (DESIGN, "Sizes").
pub const TABLE_SLOTS: u16 = 4_096;

/// 64 slots in one move: a command that fences them all writes as many records. The controller moves fewer at a time.
pub const SLOTS_PER_MOVE_MAX: usize = 64;

/// 1,000 entries of moving slots in one command or answer: some milliseconds to write or to remove.
pub const SLOT_ENTRIES_MAX: usize = 1_000;

/// 256 KiB of keys and values of moving slots in one command or answer: half of what an entry of the log holds, as each of a
/// thousand entries has some bytes beside them.
pub const SLOT_BYTES_MAX: usize = 256 << 10;

/// 384 KiB of pairs, with what stands beside them, in one command or answer of a move: what an entry of the log holds, with a quarter
/// of it to spare for lengths and names.
pub const MOVED_BYTES_MAX: usize = 384 << 10;

/// 8 MiB of a pair that goes ahead of its step, as an upload: what nodes answer each other at once.
pub const MOVED_CHUNKS_MAX: usize = 32;

/// 2,000 pairs of an account that a step of a move removes: some ten milliseconds.
pub const MOVED_PAIRS_DROPPED_MAX: usize = 2_000;

/// 448 KiB of key and value in an entry of a table, which thus fits an entry of the log, whatever else the command has. The
/// largest that are put are the 256 KiB of a queued message's chunk.
pub const TABLE_ENTRY_BYTES_MAX: usize = 448 << 10;

/// 1,000 recipients of a message at one destination make several jobs of at most 100: what every receiver takes in one transaction
/// (RFC 5321 §4.5.3.1.8).
pub const RECIPIENTS_PER_JOB_MAX: usize = 100;

/// 1,000 jobs of one message: as many as a submission has recipients at most.
pub const JOBS_PER_MESSAGE_MAX: usize = 1_000;

/// 256 jobs in one claim: what a runner sends in the seconds for which it looks ahead, and some hundred KiB of answer.
pub const JOBS_CLAIMED_MAX: u32 = 256;

/// 1,000 claims in one renewal: many more than a runner has under way in a shard.
pub const CLAIMS_MAX: usize = 1_000;

/// 1,000 jobs in one change by an administrator: some ten milliseconds.
pub const JOBS_CHANGED_MAX: usize = 1_000;

/// 500 jobs in one page of a list.
pub const JOBS_LISTED_MAX: u32 = 500;

/// 100 destinations in a summary: what an operator can look at.
pub const DESTINATIONS_TOLD_MAX: usize = 100;

/// 1 KiB of what a recipient was told last: some lines of a reply (RFC 5321 §4.5.3.1.5 has 512 octets for one).
pub const LAST_TEXT_MAX: usize = 1024;

/// A claim is held for 10 minutes without a renewal at most, whatever its runner asks: RFC 5321 §4.5.3.2.6 has a sender wait as long
/// for the reply after the final dot.
pub const QUEUE_LEASE_MAX: Duration = Duration::from_secs(600);

/// A claim whose lease is over is given to another runner 2 seconds after the first that found it so. With a lease of one and a half, a
/// second at most to find it, and some for the step itself, a dead runner's jobs go on within five.
pub const QUEUE_NOTICE: Duration = Duration::from_secs(2);

/// What has expired is looked for at most once in a second of log time while nothing is overdue.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Units of overdue work that a command does beside its own, one unit being one record or one chunk: about a millisecond.
pub const SWEEP_UNITS: u32 = 256;

/// Messages of deleted mailboxes and of expunges whose remains a command removes beside its own work: about a millisecond.
pub const REAP_MESSAGES: u32 = 64;

/// The same for a tick, which has nothing else to do: about 20 ms, so that 1,000,000 messages are gone after 500 ticks.
pub const REAP_MESSAGES_TICK: u32 = 2_000;

/// A span in the log's milliseconds.
pub(crate) const fn millis(span: Duration) -> i64 {
    span.as_millis() as i64
}

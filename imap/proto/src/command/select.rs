//! SELECT and EXAMINE (RFC 9051 §6.3.2, RFC 7162 §3.1.8 and §3.2.5).

use mailrook_types::{ModSeq, UidValidity};

use super::SequenceSet;

/// `SELECT` and `EXAMINE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// The mailbox's name.
    pub mailbox: String,
    /// Whether this is `EXAMINE`.
    pub read_only: bool,
    /// The `CONDSTORE` parameter.
    pub condstore: bool,
    /// The `QRESYNC` parameter.
    pub qresync: Option<Qresync>,
}

/// What a client remembers of a mailbox (RFC 7162 §3.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qresync {
    /// The UIDVALIDITY it knows.
    pub uid_validity: UidValidity,
    /// The highest MODSEQ it has seen.
    pub mod_seq: ModSeq,
    /// The UIDs it knows; all up to UIDNEXT where it does not say. Never with `*` or `$`.
    pub known_uids: Option<SequenceSet>,
    /// Sequence numbers and their UIDs, to guess what it has seen expunged. Both without `*` and `$`.
    pub match_data: Option<(SequenceSet, SequenceSet)>,
}

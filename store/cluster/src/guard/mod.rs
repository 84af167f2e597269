//! Looks at the log and the tables before the consensus engine does.
//!
//! After a crash a log ends in a torn write, and is read up to there. A log that was damaged later may look the
//! same, and the consensus engine would go on with less than was acknowledged, without a word. So before it starts:
//!
//! - the log's files follow each other without a gap, and every batch in them is read once and its checksum compared
//!   ([`files`]); in the last file, a valid batch behind a tear, or a tear that is larger than one unsynced write, is
//!   damage;
//! - each group's vote and last entry are at least what the witness says, its entries begin where the log was cut,
//!   and reach to what the tables hold ([`groups`]).
//!
//! What fails is refused, and left as it is. A node of several then waits until the others do without its copies, and is
//! filled anew ([`DamagedNode`](crate::DamagedNode)); one that is alone must stop and say what to do.

mod batch;
mod files;
mod groups;

pub(crate) use files::{FilesReport, check_files};
pub(crate) use groups::{GroupEvidence, check_entries, check_group, log_group};

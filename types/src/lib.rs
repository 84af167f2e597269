//! The vocabulary of mail: addresses, ids, UID sets, flags, MODSEQ, operation ids.
//!
//! Values here are valid by construction: who holds an [`Address`] need not check it again.
//!
//! *Architecture Invariant:* this crate holds vocabulary only. It knows no protocol's grammar beyond an
//! address, no storage, no clock and no async runtime.

mod address;
mod flags;
mod ids;
mod mailbox_name;
mod message;
mod op;
mod stall;
mod time;
mod uid;
mod uid_set;

pub use address::{Address, AddressError, Domain, LocalPart, ReversePath};
pub use flags::{FlagUpdate, Flags, Keyword, KeywordError, SystemFlags};
pub use ids::{AccountId, BlobHash, MailboxId, MessageId, NodeId, ShardId, ThreadId, UploadId};
pub use mailbox_name::{MailboxName, MailboxNameError, SpecialUse};
pub use message::{
    BodyPart, Envelope, EnvelopeAddress, MultipartBody, PartContent, PartFields, TextPart,
};
pub use op::{ClientId, OpId};
pub use stall::{Stall, StallCause};
pub use time::Timestamp;
pub use uid::{ModSeq, Uid, UidValidity};
pub use uid_set::UidSet;

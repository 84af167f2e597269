//! UID, UIDVALIDITY and MODSEQ.

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Serialize};

macro_rules! non_zero {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// The smallest value.
            pub const MIN: $name = $name(NonZeroU32::MIN);
            /// The largest value.
            pub const MAX: $name = $name(NonZeroU32::MAX);

            /// `None` for zero, which the protocol's grammar excludes.
            pub const fn new(value: u32) -> Option<$name> {
                match NonZeroU32::new(value) {
                    Some(value) => Some($name(value)),
                    None => None,
                }
            }

            /// The number itself.
            pub const fn get(self) -> u32 {
                self.0.get()
            }

            /// The number after this one, unless this is the largest.
            pub const fn next(self) -> Option<$name> {
                match self.0.checked_add(1) {
                    Some(value) => Some($name(value)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

non_zero!(
    /// A message's unique identifier in its mailbox (RFC 9051 §2.3.1.1).
    Uid
);
non_zero!(
    /// With the mailbox's name, says which numbering its UIDs belong to (RFC 9051 §2.3.1.1).
    UidValidity
);

/// A modification sequence (RFC 7162 §3.1). Zero only where the RFC permits it: "before every change".
///
/// Mailrook counts one sequence for each account, so that a single number tells a session all that it
/// has not heard of. RFC 7162 limits the value to 63 bits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ModSeq(pub u64);

impl ModSeq {
    /// Before every change.
    pub const ZERO: ModSeq = ModSeq(0);
    /// RFC 7162 §2: a mod-sequence is an unsigned 63-bit integer.
    pub const MAX: ModSeq = ModSeq(i64::MAX as u64);
}

impl fmt::Display for ModSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

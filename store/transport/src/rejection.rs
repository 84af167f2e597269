//! Why a node is not spoken to.

use std::fmt;

/// What kind of reason it is. It goes along with the words, for who is rejected to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectCode {
    /// Whatever it is may pass, or a person mends it.
    Unspecified,
    /// What the node holds is an old copy of it, by what it said of itself. Other words of it may have come sooner, so that this
    /// is for the node to judge.
    OldCopy {
        /// How far it was, as was heard of it; at most 56 bits.
        heard: u64,
    },
    /// The node was removed from the cluster, or another has taken its place.
    Removed,
}

/// The number of a kind of reason is in the lowest byte of the code, and what it says above that.
const KIND_BITS: u32 = 8;
const OLD_COPY: u64 = 1;
const REMOVED: u64 = 2;

impl RejectCode {
    /// Its number in a frame; later ones are added.
    pub(crate) fn to_wire(self) -> u64 {
        match self {
            RejectCode::Unspecified => 0,
            RejectCode::OldCopy { heard } => heard << KIND_BITS | OLD_COPY,
            RejectCode::Removed => REMOVED,
        }
    }

    pub(crate) fn from_wire(number: u64) -> RejectCode {
        let says = number >> KIND_BITS;
        match number & ((1 << KIND_BITS) - 1) {
            OLD_COPY => RejectCode::OldCopy { heard: says },
            REMOVED => RejectCode::Removed,
            // Of a newer version, perhaps: the words are there.
            _ => RejectCode::Unspecified,
        }
    }
}

/// Why a node is not spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// For the node.
    pub code: RejectCode,
    /// For people.
    pub words: String,
}

impl From<String> for Rejection {
    fn from(words: String) -> Rejection {
        let code = RejectCode::Unspecified;
        Rejection { code, words }
    }
}

impl From<&str> for Rejection {
    fn from(words: &str) -> Rejection {
        words.to_owned().into()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::RejectCode;

    #[test]
    fn codes_keep_their_numbers() {
        for (number, code) in [
            (0, RejectCode::Unspecified),
            (0x0012_3401, RejectCode::OldCopy { heard: 0x1234 }),
            (2, RejectCode::Removed),
        ] {
            assert_eq!(code.to_wire(), number);
            assert_eq!(RejectCode::from_wire(number), code);
        }
        assert_eq!(RejectCode::from_wire(3), RejectCode::Unspecified);
    }
}

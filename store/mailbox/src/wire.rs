//! How commands, replies, queries and answers become bytes, in the log and between nodes.
//!
//! The first byte is the version of the whole; within a version, enums grow only at their ends.

use mailrook_kv::{RecordError, decode, encode};
use serde::{Deserialize, Serialize};

use crate::{Answer, AppendTo, Query, ShardCommand, ShardReply};

/// The versions. Postcard writes the variant as the first byte.
#[derive(Serialize, Deserialize)]
enum Versioned<T> {
    /// The first, in use since the first release.
    V1(T),
}

macro_rules! wire_format {
    ($name:ident, $what:literal) => {
        impl $name {
            #[doc = concat!("The bytes of this ", $what, ".")]
            pub fn encode(&self) -> Vec<u8> {
                encode(&Versioned::V1(self))
            }

            #[doc = concat!("Reads a ", $what, " of any version that this build knows.")]
            pub fn decode(bytes: &[u8]) -> Result<$name, RecordError> {
                let Versioned::V1(value) = decode(bytes)?;
                Ok(value)
            }
        }
    };
}

wire_format!(ShardCommand, "command");
wire_format!(AppendTo, "APPEND that is uploaded");
wire_format!(ShardReply, "reply");
wire_format!(Query, "query");
wire_format!(Answer, "answer");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let command = ShardCommand::Confirm(Vec::new());
        assert_eq!(ShardCommand::decode(&command.encode()), Ok(command));
        assert_eq!(
            ShardReply::decode(&ShardReply::Done.encode()),
            Ok(ShardReply::Done)
        );
    }

    #[test]
    fn refuses_a_version_of_the_future() {
        let mut bytes = ShardCommand::Tick.encode();
        bytes[0] = 1;
        assert!(ShardCommand::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn never_panics_on_garbage(mut bytes in prop::collection::vec(any::<u8>(), 0..300), tag in 0u8..8) {
            if bytes.len() > 1 {
                bytes[0] = 0;
                bytes[1] = tag;
            }
            let _ = (ShardCommand::decode(&bytes), ShardReply::decode(&bytes));
            let _ = (Query::decode(&bytes), Answer::decode(&bytes));
        }
    }
}

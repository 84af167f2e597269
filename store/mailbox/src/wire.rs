//! How commands, replies, queries and answers become bytes ([`mailrook_kv::wire_format`]).

use mailrook_kv::wire_format;

use crate::{Answer, AppendTo, MovedPairs, Query, ShardCommand, ShardReply};

wire_format!(ShardCommand, "command");
wire_format!(AppendTo, "APPEND that is uploaded");
wire_format!(MovedPairs, "pairs that are uploaded");
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

//! How commands, replies, queries and answers become bytes ([`mailrook_kv::wire_format`]).

use mailrook_kv::{RecordError, decode, encode, wire_format};
use serde::{Deserialize, Serialize};

use mailrook_types::OpId;

use crate::{MetaAnswer, MetaCommand, MetaOperation, MetaQuery, MetaReply};

wire_format!(MetaCommand, "command");
wire_format!(MetaReply, "reply");
wire_format!(MetaQuery, "query");
wire_format!(MetaAnswer, "answer");

/// What an entry of the log holds. The first variant is a command as [`MetaCommand::encode`] writes it.
#[derive(Serialize, Deserialize)]
enum Entry<T> {
    Alone(T),
    Once(OpId, T),
}

impl MetaOperation {
    /// The bytes of this operation, for the log.
    pub fn encode(&self) -> Vec<u8> {
        encode(&Entry::Once(self.op, &self.command))
    }
}

/// Reads an entry of the log: a command, and the operation that it is if it is one.
pub(crate) fn decode_entry(bytes: &[u8]) -> Result<(Option<OpId>, MetaCommand), RecordError> {
    Ok(match decode(bytes)? {
        Entry::Alone(command) => (None, command),
        Entry::Once(op, command) => (Some(op), command),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let command = MetaCommand::GrantClient { nonce: [7; 16] };
        assert_eq!(MetaCommand::decode(&command.encode()), Ok(command));
        assert_eq!(
            MetaReply::decode(&MetaReply::Done.encode()),
            Ok(MetaReply::Done)
        );
    }

    #[test]
    fn an_entry_is_a_command_or_an_operation() {
        let command = MetaCommand::GrantClient { nonce: [7; 16] };
        assert_eq!(decode_entry(&command.encode()), Ok((None, command.clone())));
        let op = OpId {
            client: mailrook_types::ClientId(1),
            lane: 2,
            n: 3,
            lowest_unanswered: 3,
        };
        let operation = MetaOperation {
            op,
            command: command.clone(),
        };
        assert_eq!(decode_entry(&operation.encode()), Ok((Some(op), command)));
    }

    #[test]
    fn refuses_a_version_of_the_future() {
        let mut bytes = MetaCommand::GrantClient { nonce: [7; 16] }.encode();
        bytes[0] = 1;
        assert!(MetaCommand::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn never_panics_on_garbage(mut bytes in prop::collection::vec(any::<u8>(), 0..300), tag in 0u8..32) {
            if bytes.len() > 1 {
                bytes[0] = 0;
                bytes[1] = tag;
            }
            let _ = (MetaCommand::decode(&bytes), MetaReply::decode(&bytes), decode_entry(&bytes));
            let _ = (MetaQuery::decode(&bytes), MetaAnswer::decode(&bytes));
        }
    }
}

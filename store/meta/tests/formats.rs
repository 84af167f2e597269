//! What earlier releases wrote is read by this one, and written in the same bytes: variants and fields are only ever
//! appended.

#![allow(clippy::unwrap_used, reason = "tests may")]

use mailrook_meta::{
    Credential, CredentialScope, MetaAnswer, MetaCommand, MetaOperation, MetaQuery, MetaRefusal,
    MetaReply, NewAccount,
};
use mailrook_types::{AccountId, Address, ClientId, Domain, NodeId, OpId, ShardId, Timestamp};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn new_account() -> NewAccount {
    NewAccount {
        address: address("u@a.test"),
        credential: Some(Credential {
            name: "main".to_owned(),
            scopes: vec![CredentialScope::Pop3],
            verifier: vec![1, 2],
            version: 3,
            created: Timestamp(5),
        }),
        quota_storage_bytes: Some(300),
        quota_messages: None,
    }
}

#[test]
fn commands_of_the_first_release() {
    let domain = Domain::parse("a.test").unwrap();
    for (command, golden) in [
        (
            MetaCommand::GrantClient { nonce: [7; 16] },
            "000007070707070707070707070707070707",
        ),
        (
            MetaCommand::SetShards(vec![ShardId(1), ShardId(300)]),
            "00010201ac02",
        ),
        (MetaCommand::AddDomain(domain), "000206612e74657374"),
        (
            MetaCommand::AddAccount(new_account()),
            "0005087540612e7465737401046d61696e0101020102030a01ac0200",
        ),
        (MetaCommand::EndRemoval(AccountId(9)), "000f09"),
    ] {
        assert_eq!(hex(&command.encode()), golden, "{command:?}");
        assert_eq!(MetaCommand::decode(&bytes(golden)), Ok(command));
    }
}

#[test]
fn an_operation_of_the_first_release() {
    let op = OpId {
        client: ClientId(1),
        lane: 2,
        n: 3,
        lowest_unanswered: 3,
    };
    let command = MetaCommand::EndRemoval(AccountId(9));
    assert_eq!(
        hex(&MetaOperation { op, command }.encode()),
        "01010203030f09"
    );
}

#[test]
fn replies_of_the_first_release() {
    for (reply, golden) in [
        (MetaReply::Done, "0000"),
        (MetaReply::Client(ClientId(5)), "000105"),
        (MetaReply::Refused(MetaRefusal::NoShards), "000408"),
        (MetaReply::Refused(MetaRefusal::StaleOperation), "00040a"),
    ] {
        assert_eq!(hex(&reply.encode()), golden, "{reply:?}");
        assert_eq!(MetaReply::decode(&bytes(golden)), Ok(reply));
    }
}

#[test]
fn queries_and_answers_of_the_first_release() {
    for (query, golden) in [
        (MetaQuery::Shards, "0007"),
        (MetaQuery::Setting("x".to_owned()), "00080178"),
        (
            MetaQuery::Removals {
                after: None,
                limit: 10,
            },
            "0009000a",
        ),
    ] {
        assert_eq!(hex(&query.encode()), golden, "{query:?}");
        assert_eq!(MetaQuery::decode(&bytes(golden)), Ok(query));
    }
    for (answer, golden) in [
        (MetaAnswer::Shards(vec![(ShardId(1), 2)]), "0006010102"),
        (MetaAnswer::Removals(Vec::new()), "000800"),
    ] {
        assert_eq!(hex(&answer.encode()), golden, "{answer:?}");
        assert_eq!(MetaAnswer::decode(&bytes(golden)), Ok(answer));
    }
}

/// What the first release's programs know comes first, so that what they stored keeps its number.
#[test]
fn new_variants_come_behind_the_old_ones() {
    let command = MetaCommand::SetCopies(3).encode();
    assert!(command[1] > MetaCommand::EndRemoval(AccountId(9)).encode()[1]);
    let reply = MetaReply::Epoch(1).encode();
    assert!(reply[1] > MetaReply::Refused(MetaRefusal::NoShards).encode()[1]);
    let refusal = MetaReply::Refused(MetaRefusal::NoSuchJoinToken).encode();
    assert!(refusal[2] > MetaReply::Refused(MetaRefusal::StaleOperation).encode()[2]);
    let forget = MetaCommand::ForgetSlotMove { id: 1 }.encode();
    assert!(forget[1] > MetaCommand::SkipIds { by: 1 }.encode()[1]);
    assert!(MetaQuery::SlotMove.encode()[1] > MetaQuery::ClusterTrust.encode()[1]);
    assert!(MetaAnswer::SlotMove(None).encode()[1] > MetaAnswer::ClusterTrust(None).encode()[1]);
    assert!(MetaAnswer::LetsIn(true).encode()[1] > MetaAnswer::SlotMove(None).encode()[1]);
    let lets_in = MetaQuery::LetsIn {
        secret_hash: [0; 32],
        node: NodeId(1),
    };
    assert!(lets_in.encode()[1] > MetaQuery::SlotMove.encode()[1]);
    assert!(
        MetaQuery::SlotMap.encode()[1] > 9,
        "the first release had ten queries"
    );
    assert!(
        MetaAnswer::SlotMap(None).encode()[1] > 8,
        "and nine answers"
    );
}

//! A real node for tests of the client, and what to put on it.

#![allow(dead_code, reason = "each test has use for some of it")]

use std::{path::Path, sync::Arc};

use mailrook_cluster::{Node, NodeOptions};
use mailrook_meta::{MetaCommand, MetaReply, NewAccount};
use mailrook_store_api::{Directory, PreparedMessage};
use mailrook_store_client::{Client, machines};
use mailrook_types::{AccountId, Address, Domain};

pub async fn open(dir: &Path) -> Node {
    let mut options = NodeOptions::new(dir);
    options.first_shards = 2;
    options.disk_reserve_bytes = 0;
    Node::open(options, machines()).await.unwrap()
}

pub async fn add_account(client: &Client, name: &str) -> AccountId {
    let domain = Domain::parse("example.test").unwrap();
    assert_eq!(
        client
            .command(MetaCommand::AddDomain(domain))
            .await
            .unwrap(),
        MetaReply::Done
    );
    let address = Address::parse(&format!("{name}@example.test")).unwrap();
    let new = NewAccount {
        address,
        credential: None,
        quota_storage_bytes: None,
        quota_messages: None,
    };
    match client.command(MetaCommand::AddAccount(new)).await.unwrap() {
        MetaReply::Account(record) => record.id,
        other => panic!("the account was not added: {other:?}"),
    }
}

pub fn message(text: &str) -> Arc<PreparedMessage> {
    Arc::new(PreparedMessage::new(format!("Subject: {text}\r\n\r\n{text}\r\n").as_bytes()).unwrap())
}

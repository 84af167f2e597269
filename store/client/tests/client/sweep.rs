//! What is left of removed mail goes also where no commands come.

use mailrook_mailbox::{Change, MailboxRef, is_overdue};
use mailrook_store_api::{Append, Mailstore};
use mailrook_store_client::ClientOptions;
use mailrook_types::{Flags, MailboxName, Timestamp};

use crate::rig::{add_account, client_of, message, open};

#[tokio::test]
async fn what_is_left_of_removed_mail_is_worked_off() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let client = client_of(
        node.groups().map(|group| (group.shard(), group)).collect(),
        ClientOptions::default(),
    )
    .await;
    let account = add_account(&client, "a").await;
    let mut lane = client.open_lane().await.unwrap();
    let name = MailboxName::parse("Trash").unwrap();
    let one = (message("one of many"), Flags::default(), Timestamp::now());
    let append = Append {
        mailbox: MailboxRef::Name(name.clone()),
        messages: vec![one; 500],
    };
    // More than one command removes on its way.
    client
        .append(&mut lane, account, append)
        .await
        .unwrap()
        .unwrap();
    let delete = Change::DeleteMailbox(name);
    client
        .change(&mut lane, account, delete)
        .await
        .unwrap()
        .unwrap();
    let is_left = || {
        let overdue = node
            .groups()
            .map(|group| group.read_at(is_overdue).unwrap().unwrap());
        overdue.collect::<Vec<_>>().contains(&true)
    };
    assert!(is_left());
    assert!(client.sweep().await.unwrap() > 0);
    assert!(!is_left());
    assert_eq!(
        client.sweep().await.unwrap(),
        0,
        "an idle shard writes nothing"
    );
}

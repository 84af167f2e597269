//! One APPEND of hundreds of messages (RFC 3502) is one command: all of it, or nothing, is seen, and it is seen once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{COMMAND_BYTES_MAX, Group, GroupError, Node};
use mailrook_mailbox::{MailboxRef, Refusal, ShardCommand};
use mailrook_store_api::{Append, Detail, Mailstore, PreparedMessage, StoreError};
use mailrook_store_client::{Client, ClientOptions};
use mailrook_types::{AccountId, Flags, MailboxName, ShardId, Timestamp, Uid, UidSet};

use crate::rig::{Meddler, add_account, meddled_client, open};

/// Every third reply is lost, and the commands that make messages visible are counted.
struct Forgetful {
    calls: AtomicUsize,
    visible: Arc<AtomicUsize>,
}

impl Meddler for Forgetful {
    fn propose<'a>(
        &'a self,
        group: &'a dyn Group,
        command: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, GroupError>> {
        async move {
            if group.shard() != ShardId::META
                && matches!(ShardCommand::decode(&command), Ok(ShardCommand::Account(_)))
            {
                self.visible.fetch_add(1, Ordering::Relaxed);
            }
            let reply = group.propose(command).await?;
            if self.calls.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
                return Err(GroupError::OutcomeUnknown);
            }
            Ok(reply)
        }
        .boxed()
    }
}

async fn client(node: &Node) -> (Client, Arc<AtomicUsize>) {
    let visible = Arc::new(AtomicUsize::new(0));
    let forgetful = || Forgetful {
        calls: AtomicUsize::new(0),
        visible: Arc::clone(&visible),
    };
    let client = meddled_client(node, ClientOptions::default(), forgetful).await;
    (client, visible)
}

/// A letter of about 8 KiB with a file attached, as it is on an ordinary day.
fn letter(n: usize) -> Arc<PreparedMessage> {
    let to: String = (0..12)
        .map(|to| format!("Somebody Number {to} <somebody-{to}-{n}@example.test>,\r\n "))
        .collect();
    let words: String = (0..400)
        .map(|word| format!("word{}ing{} ", word * 7919 % 1000, n * 31 + word))
        .collect();
    let text = format!(
        "From: Me <me@example.test>\r\nTo: {to}you@example.test\r\nSubject: the letter {n}\r\n\
         Message-ID: <{n}@example.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{words}\r\n\
         --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>{words}</p>\r\n\
         --b\r\nContent-Type: application/pdf; name=x.pdf\r\n\r\nJVBERi0xLjc=\r\n--b--\r\n"
    );
    Arc::new(PreparedMessage::new(text.as_bytes()).unwrap())
}

fn append(messages: impl Iterator<Item = Arc<PreparedMessage>>) -> Append {
    let one = |message| (message, Flags::default(), Timestamp::now());
    Append {
        mailbox: MailboxRef::Name(MailboxName::inbox()),
        messages: messages.map(one).collect(),
    }
}

async fn subjects(client: &Client, account: AccountId) -> Vec<String> {
    let store: &dyn Mailstore = client;
    let inbox = MailboxRef::Name(MailboxName::inbox());
    let status = store.status(account, inbox).await.unwrap().unwrap();
    let all = UidSet::from_range(Uid::MIN..=Uid::MAX);
    let details = store.details(account, status.id, all, 10_000).await;
    let details = details.unwrap().unwrap();
    assert_eq!(details.len() as u64, status.messages);
    let mut subjects = Vec::new();
    for detail in details {
        let body = store
            .body(account, detail.hash, 0, detail.body_size)
            .await
            .unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let (_, rest) = body.split_once("Subject: ").unwrap();
        let subject = rest.lines().next().unwrap().to_owned();
        let stored = Detail::decode(&detail.detail).unwrap().envelope.subject;
        assert_eq!(stored.as_deref(), Some(subject.as_bytes()));
        subjects.push(subject);
    }
    subjects
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_letters_are_one_command() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let (client, visible) = client(&node).await;
    let account = add_account(&client, "a").await;
    let letters: Vec<_> = (0..500).map(letter).collect();
    let carried: usize = letters.iter().map(|letter| letter.carried_len()).sum();
    assert!(carried > COMMAND_BYTES_MAX, "more than an entry of the log");
    let before = visible.load(Ordering::Relaxed);
    let mut lane = client.open_lane().await.unwrap();
    let appended = client
        .append(&mut lane, account, append(letters.iter().cloned()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(appended.uids.to_string(), "1:500");
    // One, and perhaps once more, as its reply was lost.
    assert!(visible.load(Ordering::Relaxed) - before <= 2);
    let expected: Vec<_> = (0..500).map(|n| format!("the letter {n}")).collect();
    assert_eq!(subjects(&client, account).await, expected);

    // All or nothing: one that is refused leaves none of the others.
    let nowhere = Append {
        mailbox: MailboxRef::Name(MailboxName::parse("nowhere").unwrap()),
        ..append(letters.into_iter())
    };
    let refused = client.append(&mut lane, account, nowhere).await.unwrap();
    assert_eq!(refused.unwrap_err(), Refusal::NoSuchMailbox);
    assert_eq!(subjects(&client, account).await.len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_all_bounds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let (client, _) = client(&node).await;
    let account = add_account(&client, "a").await;
    let one = letter(0);
    let mut lane = client.open_lane().await.unwrap();
    let fit = Append::CARRIED_MAX / one.carried_len();
    let most = append(std::iter::repeat_n(Arc::clone(&one), fit));
    let appended = client
        .append(&mut lane, account, most)
        .await
        .unwrap()
        .unwrap();
    let more = append(std::iter::repeat_n(one, fit + 1));
    match client.append(&mut lane, account, more).await {
        Err(StoreError::Unacceptable(_)) => {}
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(appended.uids.len(), fit as u64);
}

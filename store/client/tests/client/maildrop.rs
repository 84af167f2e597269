//! The lock of a maildrop has one holder of all processes, from the feature level on that all nodes know; and what QUIT removes is
//! removed once, or not at all. On a real node, with groups that lose every second reply.

use mailrook_mailbox::{
    Change, ChangeReply, LEVEL_POP3_LOCK, MailboxRef, MaildropCommand, MaildropHolder,
    MaildropStep, Refusal,
};
use mailrook_store_api::{Append, Lane, MaildropLock, Mailstore};
use mailrook_store_client::Client;
use mailrook_types::{AccountId, Flags, MailboxId, MailboxName, Timestamp, Uid, UidSet};

use crate::{
    exactly_once::forgetful_client,
    rig::{add_account, message, open, raise_level},
};

const TAKE: MaildropStep = MaildropStep::Take { lease_ms: 600_000 };
const RENEW: MaildropStep = MaildropStep::Renew { lease_ms: 600_000 };
const DONE: Result<MaildropLock, Refusal> = Ok(MaildropLock::Done);
const IN_USE: Result<MaildropLock, Refusal> = Ok(MaildropLock::InUse);
const NOT_YET: Result<MaildropLock, Refusal> = Ok(MaildropLock::NotYet);

/// A session of a process.
struct Session<'a> {
    client: &'a Client,
    lane: Lane,
    account: AccountId,
}

impl Session<'_> {
    async fn new(client: &Client, account: AccountId) -> Session<'_> {
        let lane = client.open_lane().await.unwrap();
        Session {
            client,
            lane,
            account,
        }
    }

    fn holder(&self) -> MaildropHolder {
        self.lane.maildrop_holder()
    }

    async fn step(&self, step: MaildropStep) -> Result<MaildropLock, Refusal> {
        let (account, holder) = (self.account, self.holder());
        let command = MaildropCommand {
            account,
            holder,
            step,
        };
        self.client.maildrop(command).await.unwrap()
    }

    async fn inbox(&self) -> (MailboxId, UidSet) {
        let store: &dyn Mailstore = self.client;
        let inbox = MailboxRef::Name(MailboxName::inbox());
        let status = store.status(self.account, inbox).await.unwrap().unwrap();
        let uids = store.uids(self.account, status.id).await.unwrap().unwrap();
        (status.id, uids)
    }

    /// Removes the first message that there is.
    async fn quit(&mut self) -> Result<ChangeReply, Refusal> {
        let (mailbox, uids) = self.inbox().await;
        let first: Option<Uid> = uids.iter().next();
        let change = Change::CloseMaildrop {
            holder: self.holder(),
            mailbox,
            uids: first.into_iter().collect(),
        };
        let account = self.account;
        self.client
            .change(&mut self.lane, account, change)
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_holds_a_maildrop() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let (one, two) = (forgetful_client(&node).await, forgetful_client(&node).await);
    let account = add_account(&one, "user").await;
    let append = Append {
        mailbox: MailboxRef::Name(MailboxName::inbox()),
        messages: ["1", "2", "3"]
            .map(|text| (message(text), Flags::default(), Timestamp(0)))
            .into(),
    };
    let mut lane = one.open_lane().await.unwrap();
    one.append(&mut lane, account, append)
        .await
        .unwrap()
        .unwrap();

    let mut first = Session::new(&one, account).await;
    let mut second = Session::new(&two, account).await;
    for session in [&first, &second] {
        assert_eq!(session.step(TAKE).await, NOT_YET, "not all nodes know it");
    }
    raise_level(&one, LEVEL_POP3_LOCK).await;
    assert_eq!(first.step(TAKE).await, DONE);
    assert_eq!(second.step(TAKE).await, IN_USE);
    assert_eq!(second.step(RENEW).await, Err(Refusal::MaildropLost));
    assert_eq!(second.quit().await, Err(Refusal::MaildropLost));
    assert_eq!(first.inbox().await.1.len(), 3);
    assert_eq!(first.step(RENEW).await, DONE);
    assert!(first.quit().await.is_ok());
    assert_eq!(first.inbox().await.1.len(), 2, "once");
    assert_eq!(second.step(TAKE).await, DONE);
    assert_eq!(second.step(MaildropStep::Release).await, DONE);
    assert_eq!(first.step(TAKE).await, DONE);
    // The next session of a process, when the last one's end was never heard of.
    let third = Session::new(&one, account).await;
    assert_eq!(third.step(TAKE).await, DONE);
    assert_eq!(first.quit().await, Err(Refusal::MaildropLost));
    assert_eq!(first.inbox().await.1.len(), 2);
}

//! Sessions that an admin ends, and those whose store was away for a moment: what the registry tells of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::FutureExt;
use mailrook_net::{LEAVE_WITHIN, Reason, Resumed, SessionEntry, TellStory};
use mailrook_sasl::{ChannelBindings, Client as SaslClient, Mechanism};
use mailrook_store_api::{
    Append, Call, Delivery, Directory, Lane, MaildropLock, Mailstore, StoreError, Watch,
    memory::MemoryCluster,
    meta::MetaCommand,
    observer,
    shard::{
        Answer, Appended, Change, ChangeReply, Confirmation, DeliveryOutcome, MaildropCommand,
        Query, Refusal,
    },
};
use mailrook_types::{AccountId, Address, BlobHash, NodeId, ShardId, Stall, StallCause};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::rig::{Door, PASSWORD, Rig, USER, Wire};
use crate::SessionContext;

/// Beyond the time that a session has for its leave, what a busy machine takes.
const BOUND: Duration = Duration::from_secs(LEAVE_WITHIN.as_secs() + 15);

fn reason() -> Reason {
    Reason::parse("come back tomorrow").unwrap()
}

/// Ends the sessions of the one user, and says how many there were.
fn end_all(rig: &Rig) -> usize {
    let ended = (rig.registry()).end(&reason(), |entry| entry.user.as_deref() == Some(USER));
    ended.len()
}

/// The one session that there is.
fn only(rig: &Rig) -> SessionEntry {
    let mut all = rig.registry().list();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[tokio::test]
async fn a_session_in_idle_is_told_why() {
    let rig = Rig::new().await;
    let mut client = rig.selected().await;
    client.play("C: a1 IDLE\nS: + idling").await;
    let entry = only(&rig);
    assert_eq!(entry.command, Some("IDLE"));
    assert_eq!(entry.mailbox.as_deref(), Some("INBOX"));
    assert_eq!(entry.account, Some(rig.account));
    assert_eq!(end_all(&rig), 1);
    client.play("S: * BYE come back tomorrow\nEND").await;
    client.session.await.unwrap();
    assert!(rig.registry().is_empty());
}

#[tokio::test]
async fn a_session_between_commands_is_told_why() {
    let rig = Rig::new().await;
    let mut client = rig.logged_in().await;
    assert_eq!(end_all(&rig), 1);
    client.play("S: * BYE come back tomorrow\nEND").await;
    client.session.await.unwrap();
}

#[tokio::test]
async fn a_session_before_its_login_is_ended_by_its_id() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Door::default());
    client.play("S: * OK [CAPABILITY ...] ...").await;
    let id = only(&rig).id;
    rig.registry().end(&reason(), |entry| entry.id == id);
    client.play("S: * BYE come back tomorrow\nEND").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_in_time() {
    let rig = Rig::new().await;
    let text = "a line of a long message\n".repeat(40_000);
    rig.add_mail(&[&format!("Subject: long\n\n{text}")]).await;
    let mut client = rig.selected().await;
    client.send(b"a1 FETCH 1 BODY.PEEK[]\r\n").await;
    let begun = Instant::now();
    while only(&rig).command != Some("FETCH") {
        assert!(begun.elapsed() < BOUND, "it does not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sent = only(&rig).sent;
    assert_eq!(end_all(&rig), 1);
    assert!(only(&rig).ended.is_some());
    let begun = Instant::now();
    let ended = timeout(BOUND, client.session).await;
    ended.expect("it goes on").unwrap();
    // It had its time.
    assert!(begun.elapsed() >= LEAVE_WITHIN - Duration::from_secs(1));
    assert!(sent > 0);
    assert!(rig.registry().is_empty());
}

#[tokio::test]
async fn a_pop3_session_is_told_why_and_removes_nothing() {
    let rig = Rig::new().await;
    rig.add_numbered(2).await;
    let door = Door {
        pop3: true,
        ..Door::default()
    };
    let login = "S: +OK ...\nC: USER user1@example.test\nS: +OK ...\nC: PASS secret\nS: +OK ...";
    let mut client = rig.connect(door);
    client.play(login).await;
    client.play("C: DELE 1\nS: +OK ...").await;
    assert_eq!(only(&rig).mailbox.as_deref(), Some("INBOX"));
    assert_eq!(end_all(&rig), 1);
    client
        .play("S: -ERR [SYS/TEMP] come back tomorrow\nEND")
        .await;
    client.session.await.unwrap();
    let mut again = rig.connect(door);
    again.play(login).await;
    again.play("C: STAT\nS: +OK 2 ...").await;
}

/// Answers a challenge of SASL.
async fn respond(wire: &mut Wire, sasl: &mut SaslClient) {
    let line = wire.line().await.unwrap();
    let challenge = line.strip_prefix("+ ").expect("a challenge");
    let response = sasl.respond(&STANDARD.decode(challenge).unwrap()).unwrap();
    wire.send(format!("{}\r\n", STANDARD.encode(response)).as_bytes())
        .await;
}

/// An exchange has read the account before it is disabled, and ends after the kill, which cannot know of it.
#[tokio::test]
async fn a_login_that_began_before_its_account_was_disabled_fails() {
    for (pop3, command, refusal) in [
        (
            false,
            "a1 AUTHENTICATE",
            "S: a1 NO [AUTHENTICATIONFAILED] ...",
        ),
        (true, "AUTH", "S: -ERR [AUTH] ..."),
    ] {
        let rig = Rig::new().await;
        let mut wire = rig.connect(Door {
            pop3,
            ..Door::default()
        });
        wire.line().await.unwrap();
        let bindings = ChannelBindings::default();
        let mut sasl = SaslClient::new(Mechanism::ScramSha256, USER, PASSWORD, &bindings);
        let first = STANDARD.encode(sasl.initial().unwrap());
        wire.send(format!("{command} SCRAM-SHA-256 {first}\r\n").as_bytes())
            .await;
        respond(&mut wire, &mut sasl).await;
        // Of the server's signature the client has nothing to say, but that it has seen it.
        let line = wire.line().await.unwrap();
        let disable = MetaCommand::SetEnabled {
            address: Address::parse(USER).unwrap(),
            enabled: false,
        };
        rig.twin.command(disable).await.unwrap();
        assert_eq!(end_all(&rig), 0, "nobody has logged in yet");
        let signature = line.strip_prefix("+ ").expect("the signature");
        sasl.respond(&STANDARD.decode(signature).unwrap()).unwrap();
        wire.send(b"\r\n").await;
        wire.play(refusal).await;
        let entry = only(&rig);
        assert_eq!((entry.user, entry.account), (None, None));
    }
}

/// The twin behind a store whose leader dies at the next question: it is asked three times, and the third answers.
struct Stalling {
    twin: MemoryCluster,
    next: Arc<AtomicBool>,
}

impl Stalling {
    fn stall(done: bool) -> Stall {
        Stall {
            cause: StallCause::FailOver,
            shard: ShardId(1),
            leader_before: Some(NodeId(3)),
            leader_after: done.then_some(NodeId(1)),
            lasted: Duration::from_millis(143),
            replays: 2,
            done,
        }
    }
}

impl Mailstore for Stalling {
    fn open_lane(&self) -> Call<'_, Lane> {
        self.twin.open_lane()
    }

    fn change<'a>(
        &'a self,
        lane: &'a mut Lane,
        account: AccountId,
        change: Change,
    ) -> Call<'a, Result<ChangeReply, Refusal>> {
        self.twin.change(lane, account, change)
    }

    fn append<'a>(
        &'a self,
        lane: &'a mut Lane,
        account: AccountId,
        append: Append,
    ) -> Call<'a, Result<Appended, Refusal>> {
        self.twin.append(lane, account, append)
    }

    fn deliver<'a>(
        &'a self,
        lane: &'a mut Lane,
        delivery: Delivery,
    ) -> Call<'a, Vec<Result<DeliveryOutcome, StoreError>>> {
        self.twin.deliver(lane, delivery)
    }

    fn confirm(&self, confirmations: Vec<Confirmation>) -> Call<'_, ()> {
        self.twin.confirm(confirmations)
    }

    fn settle(&self, confirmations: Vec<Confirmation>) -> Call<'_, ()> {
        self.twin.settle(confirmations)
    }

    fn maildrop(&self, command: MaildropCommand) -> Call<'_, Result<MaildropLock, Refusal>> {
        self.twin.maildrop(command)
    }

    fn query(&self, account: AccountId, query: Query) -> Call<'_, Answer> {
        async move {
            let answer = Mailstore::query(&self.twin, account, query).await;
            if self.next.swap(false, Ordering::SeqCst) {
                let observer = observer().expect("a session asks");
                observer.tell(Stalling::stall(answer.is_ok()));
            }
            answer
        }
        .boxed()
    }

    fn body(&self, account: AccountId, hash: BlobHash, start: u32, end: u32) -> Call<'_, Bytes> {
        self.twin.body(account, hash, start, end)
    }

    fn watch(&self, account: AccountId) -> Call<'_, Watch> {
        self.twin.watch(account)
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<Resumed>>);

impl TellStory for Told {
    fn tell(&self, session: &SessionEntry, resumed: &Resumed) {
        assert_eq!(session.user.as_deref(), Some(USER));
        self.0.lock().push(resumed.clone());
    }
}

/// A rig whose store is held up once when it is told to, and what is told of its sessions.
async fn stalling_rig() -> (Rig, Arc<AtomicBool>, Arc<Told>) {
    let mut rig = Rig::new().await;
    let next = Arc::new(AtomicBool::new(false));
    let store = Stalling {
        twin: rig.twin.clone(),
        next: Arc::clone(&next),
    };
    rig.context = SessionContext::new(
        Arc::new(store),
        Arc::new(rig.twin.clone()),
        rig.context.logins.clone(),
        rig.context.working.clone(),
        rig.context.settings.clone(),
    );
    let told = Arc::new(Told::default());
    rig.registry().tell_to(Arc::clone(&told) as _);
    (rig, next, told)
}

#[tokio::test]
async fn a_session_that_went_on_has_its_story() {
    let (rig, next, told) = stalling_rig().await;
    rig.add_numbered(3).await;
    let mut client = rig.selected().await;
    next.store(true, Ordering::SeqCst);
    client
        .play("C: a1 UID FETCH 1:* (FLAGS ENVELOPE)\nS~ a1 OK ...")
        .await;
    // A command later it is certain that the one before has been told.
    client.play("C: a2 NOOP\nS~ a2 OK ...").await;
    let stories = told.0.lock().clone();
    let [story] = stories.as_slice() else {
        panic!("{stories:?}");
    };
    assert_eq!(story.command, Some("UID FETCH"));
    assert_eq!((story.replays, story.done), (2, true));
    assert_eq!(story.leader_before, Some(NodeId(3)));
    assert_eq!(story.leader_after, Some(NodeId(1)));
    assert_eq!(story.stalled, Duration::from_millis(143));
    let entry = only(&rig);
    assert_eq!((entry.resumed, entry.replayed), (1, 2));
    assert_eq!(rig.registry().show(entry.id).unwrap().1, stories);
}

#[tokio::test]
async fn what_was_given_up_is_told_as_that() {
    let (rig, next, told) = stalling_rig().await;
    let mut client = rig.logged_in().await;
    rig.twin.set_reachable(false);
    next.store(true, Ordering::SeqCst);
    client
        .play("C: a1 STATUS INBOX (MESSAGES)\nS: a1 NO [UNAVAILABLE] ...")
        .await;
    rig.twin.set_reachable(true);
    client.play("C: a2 NOOP\nS: a2 OK ...").await;
    let stories = told.0.lock().clone();
    assert_eq!(stories.len(), 1);
    assert!(!stories[0].done && stories[0].leader_after.is_none());
    assert_eq!(only(&rig).resumed, 0);
}

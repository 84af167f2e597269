//! Several nodes, one of which is asked: each has a registry of its own, and some do not answer.

use mailrook_net::{
    Connection, Limiter, Limits, Peer, Registration, SessionRegistry, Shutdown, Stream,
};
use mailrook_types::{AccountId, Address, ShardId};

use super::*;
use crate::admin::protocol::SessionProtocol;

struct Names;

impl Heard for Names {
    fn name(&self, node: NodeId) -> String {
        format!("mail-{}", node.0)
    }

    fn place(&self, account: AccountId) -> Option<(ShardId, Option<NodeId>)> {
        (account.0 > 0).then_some((ShardId(3), Some(NodeId(2))))
    }

    fn loads(&self) -> Vec<(AccountId, u64)> {
        vec![(AccountId(7), 100), (AccountId(8), 5)]
    }
}

/// How another node answers.
enum Other {
    Lives(Arc<Here>),
    IsOlder,
    Hangs,
}

struct Others(Vec<(NodeId, String, Other)>);

impl Fellows for Others {
    fn others(&self) -> Vec<(NodeId, String)> {
        let others = self.0.iter();
        others.map(|(id, name, _)| (*id, name.clone())).collect()
    }

    fn ask(&self, node: NodeId, ask: &Ask) -> BoxFuture<'static, Result<Answer, NoAnswer>> {
        let (_, _, other) = (self.0.iter()).find(|(id, _, _)| *id == node).unwrap();
        // As it goes over the network.
        let ask = serde_json::from_slice(&serde_json::to_vec(ask).unwrap()).unwrap();
        let answer = match other {
            Other::Lives(here) => here.answer(ask).map_err(NoAnswer::Refused),
            Other::IsOlder => Err(NoAnswer::Older),
            Other::Hangs => {
                return async {
                    tokio::time::sleep(fellows::ANSWER_MAX).await;
                    Err(NoAnswer::Away("no answer: the time is over".to_owned()))
                }
                .boxed();
            }
        };
        let answer = answer.map(|answer| serde_json::to_vec(&answer).unwrap());
        async { answer.map(|bytes| serde_json::from_slice(&bytes).unwrap()) }.boxed()
    }
}

fn here(node: &str) -> Arc<Here> {
    Arc::new(Here {
        node: node.to_owned(),
        registry: SessionRegistry::new(),
        heard: Arc::new(Names),
    })
}

/// So many sessions of a user.
fn connect(here: &Here, service: &'static str, user: &str, count: usize) -> Vec<Registration> {
    let limiter = Limiter::new(Limits {
        connections_max: count,
        pending_max: count,
        ..Limits::default()
    });
    let enter = |_| {
        let connection = Connection {
            stream: Stream::duplex(16).0,
            peer: Peer::Unix,
            id: SessionId::next(),
            admission: limiter.admit(None).unwrap(),
            shutdown: Shutdown::never(),
        };
        let registration = here.registry.enter(service, &connection);
        let account = if user.starts_with("bob") { 8 } else { 7 };
        registration.set_user(user, Some(AccountId(account)));
        registration
    };
    (0..count).map(enter).collect()
}

/// `mail-1`, which is asked, with `mail-2` and others.
fn sessions(own: &Arc<Here>, others: Vec<(&str, Other)>) -> Sessions {
    let others = (2..).zip(others);
    let others = others.map(|(id, (name, other))| (NodeId(id), name.to_owned(), other));
    Sessions {
        here: Arc::clone(own),
        fellows: Some(Arc::new(Others(others.collect()))),
    }
}

fn alice() -> Address {
    Address::parse("alice@example.test").unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_sessions_of_all_nodes_are_gathered_and_who_is_silent_is_named() {
    let (one, two) = (here("mail-1"), here("mail-2"));
    let _one = connect(&one, "imaps", "alice@example.test", 2);
    let _two = connect(&two, "pop3", "bob@example.test", 1);
    let sessions = sessions(
        &one,
        vec![
            ("mail-2", Other::Lives(Arc::clone(&two))),
            ("mail-3", Other::IsOlder),
            ("mail-4", Other::Hangs),
        ],
    );
    let page = sessions.list(SessionFilter::default(), None, None);
    let page = page.await.unwrap();
    let listed: Vec<_> = (page.sessions.iter())
        .map(|session| (session.node.as_str(), session.service.as_str()))
        .collect();
    assert_eq!(
        listed,
        [("mail-1", "imaps"), ("mail-1", "imaps"), ("mail-2", "pop3")]
    );
    let first = &page.sessions[0];
    assert!(first.id.starts_with("mail-1-"), "{}", first.id);
    assert_eq!(first.shard, Some(3));
    assert_eq!(first.leader.as_deref(), Some("mail-2"));
    let silent: Vec<_> = (page.unreached.iter())
        .map(|node| (node.node.as_str(), node.why.as_str()))
        .collect();
    assert_eq!(
        silent,
        [
            (
                "mail-3",
                "its program is older and does not know this question"
            ),
            ("mail-4", "no answer: the time is over")
        ]
    );
    assert_eq!(page.next, None);

    // Who is not asked is not missed.
    let filter = SessionFilter {
        protocol: Some(SessionProtocol::Pop3),
        ..SessionFilter::default()
    };
    let page = sessions.list(filter, Some("MAIL-2".to_owned()), None);
    let page = page.await.unwrap();
    assert_eq!((page.sessions.len(), page.unreached.len()), (1, 0));
    let unknown = sessions.list(SessionFilter::default(), Some("mail-9".to_owned()), None);
    let refused = unknown.await.unwrap_err();
    assert!(refused.to_string().contains("no node"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_all_nodes_counted_is_added_up_and_who_did_not_is_named() {
    let lives = || Other::Lives(here("mail-2"));
    let all = sessions(&here("mail-1"), vec![("mail-2", lives())]);
    let loads = all.loads().await;
    assert_eq!(loads.by_account[&AccountId(7)], 200);
    assert_eq!(loads.by_account[&AccountId(8)], 10);
    assert_eq!(loads.unreached, []);
    let others = vec![
        ("mail-2", lives()),
        ("mail-3", Other::IsOlder),
        ("mail-4", Other::Hangs),
    ];
    let loads = sessions(&here("mail-1"), others).loads().await;
    let silent: Vec<_> = loads.unreached.iter().map(|of| of.node.as_str()).collect();
    assert_eq!(silent, ["mail-3", "mail-4"]);
}

#[tokio::test]
async fn many_come_in_pages_over_the_nodes() {
    let (one, two) = (here("mail-1"), here("mail-2"));
    let _one = connect(&one, "imap", "alice@example.test", 1_700);
    let _two = connect(&two, "imap", "alice@example.test", 1_700);
    let sessions = sessions(&one, vec![("mail-2", Other::Lives(Arc::clone(&two)))]);
    let (mut after, mut pages, mut ids) = (None, Vec::new(), Vec::new());
    loop {
        let page = sessions.list(SessionFilter::default(), None, after);
        let page = page.await.unwrap();
        pages.push(page.sessions.len());
        ids.extend(page.sessions.into_iter().map(|session| session.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [1_000, 1_000, 1_000, 400]);
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_there_in_time_however_many_hang() {
    let one = here("mail-1");
    let _one = connect(&one, "imap", "alice@example.test", 1);
    let names: Vec<_> = (0..20).map(|n| format!("other-{n}")).collect();
    let others = names.iter().map(|name| (name.as_str(), Other::Hangs));
    let sessions = sessions(&one, others.collect());
    let begun = Instant::now();
    let page = sessions.list(SessionFilter::default(), None, None);
    let page = page.await.unwrap();
    assert!(begun.elapsed() <= GATHER_MAX + Duration::from_millis(10));
    assert_eq!((page.sessions.len(), page.unreached.len()), (1, 20));
}

#[tokio::test]
async fn a_session_is_found_by_either_of_its_names() {
    let (one, two) = (here("mail-1"), here("mail-2"));
    let theirs = connect(&two, "imap", "alice@example.test", 1);
    let sessions = sessions(
        &one,
        vec![
            ("mail-2", Other::Lives(Arc::clone(&two))),
            ("mail-3", Other::IsOlder),
        ],
    );
    let id = theirs[0].id();
    for name in [id.to_string(), format!("mail-2-{id}")] {
        let shown = sessions.show(name).await.unwrap();
        assert_eq!(shown.session.id, format!("mail-2-{id}"));
        assert!(shown.stalls.is_empty());
    }
    // Somebody who did not answer may have it.
    let unknown = SessionId::next();
    let asked = sessions.show(unknown.to_string()).await;
    assert!(matches!(asked, Err(Failure::Unavailable(why)) if why.contains("mail-3: its program")));
    let asked = sessions.show(format!("mail-2-{unknown}")).await;
    assert!(matches!(asked, Err(Failure::Refused(_))));
    assert!(matches!(
        sessions.show("what".to_owned()).await,
        Err(Failure::Invalid(_))
    ));
}

#[tokio::test]
async fn a_users_sessions_end_on_all_nodes() {
    let (one, two) = (here("mail-1"), here("mail-2"));
    let ours = connect(&one, "imap", "alice@example.test", 2);
    let theirs = connect(&two, "pop3", "alice@example.test", 1);
    let others = connect(&two, "imap", "bob@example.test", 1);
    let sessions = sessions(
        &one,
        vec![
            ("mail-2", Other::Lives(Arc::clone(&two))),
            ("mail-3", Other::IsOlder),
        ],
    );
    let reason = Reason::parse("come back tomorrow").unwrap();
    // By the account, whatever it is called now, or by the name, where nobody knows the account.
    let alias = Address::parse("sales@example.test").unwrap();
    let unknown = sessions.end(Whom::User(alias.clone()), None, reason.clone());
    assert_eq!(unknown.await.unwrap().ended, 0);
    let other = sessions.end(Whom::User(alice()), Some(AccountId(9)), reason.clone());
    assert_eq!(other.await.unwrap().ended, 0, "the name is another's now");
    let filter = SessionFilter {
        user: Some(alias.clone()),
        account: Some(AccountId(7)),
        ..SessionFilter::default()
    };
    let listed = sessions.list(filter, None, None).await.unwrap();
    assert_eq!(listed.sessions.len(), 3);
    let ended = sessions.end(Whom::User(alias), Some(AccountId(7)), reason.clone());
    let ended = ended.await.unwrap();
    assert_eq!((ended.ended, ended.ids.len()), (3, 3));
    assert_eq!(ended.unreached[0].node, "mail-3");
    for session in ours.iter().chain(&theirs) {
        let leave = session.leave(Shutdown::never());
        assert!(leave.asked().is_some());
    }
    assert!(others[0].leave(Shutdown::never()).asked().is_none());
    let one_more = Whom::Session(format!("mail-2-{}", others[0].id()));
    let ended = sessions
        .end(one_more.clone(), None, reason.clone())
        .await
        .unwrap();
    assert_eq!((ended.ended, ended.unreached.len()), (1, 0));
    assert!(matches!(
        sessions.end(one_more, None, reason).await,
        Err(Failure::Refused(_))
    ));
}

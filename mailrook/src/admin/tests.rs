//! Admin commands over the socket, against the in-memory twin.

use std::{os::unix::fs::PermissionsExt, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use mailrook_net::{BlockingPool, Reason, ShutdownTrigger};
use mailrook_store_api::{Directory, Mailstore, memory::MemoryCluster};
use mailrook_types::{AccountId, Address};
use serde_json::{Value, json};

use super::{
    AccountLoads, Admin, AdminDoor, Client, ClientError, Desk, Failure, Host, SessionFilter,
    SessionHost, Starting, Whom,
    protocol::{
        Reply, Request, Secret, SessionDetail, SessionInfo, SessionPage, SessionsEnded, Status,
        UnreachedNode,
    },
};

struct StillHost;

fn status(not_ready_because: Vec<String>) -> Status {
    Status {
        version: "0".to_owned(),
        pid: 1,
        hostname: mailrook_types::Domain::parse("m.test").unwrap(),
        uptime_seconds: 1,
        ready: not_ready_because.is_empty(),
        not_ready_because,
        listeners: Vec::new(),
        node: Value::Null,
        cluster: None,
        cluster_unreached: None,
    }
}

impl Starting for StillHost {
    fn status(&self) -> Status {
        status(vec!["it waits".to_owned()])
    }

    fn stop(&self) {}
}

impl Host for StillHost {
    fn status(&self) -> BoxFuture<'_, Status> {
        async { status(Vec::new()) }.boxed()
    }

    fn sessions(&self) -> Arc<dyn SessionHost> {
        Arc::new(OneSession)
    }

    fn reload(&self) -> Result<(Vec<String>, Vec<String>), String> {
        Err("F:1: wrong".to_owned())
    }

    fn stop(&self) {}

    fn cluster(&self) -> Option<Arc<dyn super::ClusterHost>> {
        None
    }
}

/// One session, whose user is `one@example.test`, and a node that does not answer.
struct OneSession;

fn unreached() -> Vec<UnreachedNode> {
    vec![UnreachedNode {
        node: "m3".to_owned(),
        why: "nothing is heard of it".to_owned(),
    }]
}

fn one_session() -> SessionInfo {
    SessionInfo {
        id: "m1-0123456789".to_owned(),
        node: "m1".to_owned(),
        service: "imaps".to_owned(),
        peer: "192.0.2.7:1".to_owned(),
        tls: true,
        user: Some("one@example.test".to_owned()),
        since: "2026-03-01T08:00:00Z".to_owned(),
        mailbox: None,
        command: Some("IDLE".to_owned()),
        lasting_ms: 5,
        shard: Some(1),
        leader: None,
        received_bytes: 1,
        sent_bytes: 2,
        resumed: 0,
        replayed: 0,
        ended: None,
    }
}

impl SessionHost for OneSession {
    fn list(
        &self,
        filter: SessionFilter,
        node: Option<String>,
        after: Option<String>,
    ) -> BoxFuture<'_, Result<SessionPage, Failure>> {
        let session = one_session();
        let wanted = filter.takes(&session.service, session.user.as_deref(), None);
        let is_there = node.is_none_or(|node| node == session.node) && after.is_none();
        let page = SessionPage {
            next: Some(session.id.clone()),
            sessions: Vec::from_iter((wanted && is_there).then_some(session)),
            unreached: unreached(),
        };
        async { Ok(page) }.boxed()
    }

    fn show(&self, id: String) -> BoxFuture<'_, Result<SessionDetail, Failure>> {
        let session = one_session();
        async move {
            match id == session.id {
                true => Ok(SessionDetail {
                    session,
                    stalls: Vec::new(),
                }),
                false => Err(Failure::Refused("there is no such session".to_owned())),
            }
        }
        .boxed()
    }

    fn loads(&self) -> BoxFuture<'_, AccountLoads> {
        async { AccountLoads::default() }.boxed()
    }

    fn end(
        &self,
        whom: Whom,
        account: Option<AccountId>,
        reason: Reason,
    ) -> BoxFuture<'_, Result<SessionsEnded, Failure>> {
        let whom = match whom {
            Whom::Session(id) => id,
            Whom::User(user) => format!("{user}, account {account:?}"),
        };
        let ended = SessionsEnded {
            ended: 1,
            ids: vec![format!("{whom}: {reason}")],
            unreached: unreached(),
        };
        async { Ok(ended) }.boxed()
    }
}

struct Server {
    client: Client,
    twin: MemoryCluster,
    folder: tempfile::TempDir,
    tcp: std::net::SocketAddr,
    trigger: ShutdownTrigger,
    task: tokio::task::JoinHandle<()>,
}

fn start() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let tcp = crate::config::Address::parse("127.0.0.1:0").unwrap();
    let door = AdminDoor::open(&path, &[tcp]).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let address = door.tcp_addresses()[0];
    let twin = MemoryCluster::new();
    let admin = Admin {
        directory: Arc::new(twin.clone()) as Arc<dyn Directory>,
        mailstore: Arc::new(twin.clone()) as Arc<dyn Mailstore>,
        hashing: BlockingPool::new(2, 10),
        host: Arc::new(StillHost),
    };
    let (trigger, shutdown) = ShutdownTrigger::new();
    let desk = Desk::new(Arc::new(StillHost));
    desk.open(admin);
    let task = tokio::spawn(door.serve(desk, shutdown));
    Server {
        client: Client::new(&path),
        tcp: address,
        twin,
        folder,
        trigger,
        task,
    }
}

impl Server {
    /// What the server answers to a request in JSON, with a word for the kind of failure.
    async fn ask(&self, request: Value) -> Value {
        let request: Request = serde_json::from_value(request).unwrap();
        match self.client.call(&request).await {
            Ok(reply) => serde_json::to_value(&reply).unwrap(),
            Err(ClientError::Refused(text)) => json!({ "refused": text }),
            Err(ClientError::Unavailable(text)) => json!({ "unavailable": text }),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_process_that_starts_says_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let door = AdminDoor::open(&path, &[]).unwrap();
    let (_trigger, shutdown) = ShutdownTrigger::new();
    let desk = Desk::new(Arc::new(StillHost));
    let _task = tokio::spawn(door.serve(Arc::clone(&desk), shutdown));
    let client = Client::new(&path);
    let Ok(Reply::Status(told)) = client.call(&Request::Status).await else {
        panic!("no status");
    };
    assert_eq!(told.not_ready_because, ["it waits"]);
    let list = Request::DomainList { after: None };
    match client.call(&list).await {
        Err(ClientError::Unavailable(why)) => assert_eq!(why, "not ready: it waits"),
        other => panic!("{other:?}"),
    }
    client.call(&Request::Stop).await.unwrap();
}

/// connect(2) refuses an ordinary file as it refuses a dead process's socket; the file is somebody's data.
#[tokio::test]
async fn a_file_in_the_sockets_place_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    std::fs::write(&path, "precious").unwrap();
    let said = AdminDoor::open(&path, &[]).err().unwrap().to_string();
    assert!(said.contains("no socket"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

    // What a dead process left is replaced.
    std::fs::remove_file(&path).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    AdminDoor::open(&path, &[]).unwrap();
}

#[tokio::test]
async fn an_account_from_its_beginning_to_its_end() {
    let server = start();
    let done = json!({"done": true});
    assert_eq!(
        server
            .ask(json!({"command": "domain-add", "domain": "Example.test"}))
            .await,
        done
    );
    let added = server
        .ask(json!({"command": "account-add", "address": "user1@example.test", "password": "correct horse"}))
        .await;
    assert_eq!(added["account"]["user"], "user1@example.test");
    assert_eq!(added["account"]["passwords"], 1);
    let again = server
        .ask(
            json!({"command": "account-add", "address": "user1@example.test", "password": "other"}),
        )
        .await;
    assert_eq!(again, json!({"refused": "user1@example.test is taken"}));
    let nowhere = server
        .ask(json!({"command": "account-add", "address": "user1@other.test", "password": null}))
        .await;
    assert_eq!(
        nowhere,
        json!({"refused": "other.test is not one of the domains here"})
    );

    let renamed = server
        .ask(json!({"command": "account-rename", "from": "user1@example.test", "to": "new@example.test"}))
        .await;
    assert_eq!(
        (&renamed["account"]["user"], &renamed["account"]["id"]),
        (&json!("new@example.test"), &json!("a1"))
    );
    let quota = server
        .ask(json!({"command": "account-quota", "address": "new@example.test", "quota_bytes": 5, "quota_messages": null}))
        .await;
    assert_eq!(quota["account"]["quota_bytes"], 5);
    let off = server
        .ask(json!({"command": "account-enable", "address": "new@example.test", "enabled": false}))
        .await;
    assert_eq!(off["account"]["enabled"], false);
    let found = server
        .ask(json!({"command": "mailbox-where", "address": "new@example.test"}))
        .await;
    assert_eq!(
        found,
        json!({"user": "new@example.test", "shard": 1, "leader": "m.test", "replicas": ["m.test"]})
    );
    let list = server.ask(json!({"command": "account-list"})).await;
    assert_eq!(list["accounts"].as_array().map(Vec::len), Some(1));
    server
        .ask(json!({"command": "account-remove", "address": "new@example.test"}))
        .await;
    let gone = server
        .ask(json!({"command": "account-show", "address": "new@example.test"}))
        .await;
    assert_eq!(
        gone,
        json!({"refused": "there is no account new@example.test"})
    );
    assert_eq!(
        server
            .ask(json!({"command": "domain-remove", "domain": "example.test"}))
            .await,
        done
    );
}

#[tokio::test]
async fn passwords_are_kept_as_verifiers_that_share_a_salt() {
    let server = start();
    server
        .ask(json!({"command": "domain-add", "domain": "example.test"}))
        .await;
    let one = "one@example.test";
    server
        .ask(json!({"command": "account-add", "address": one, "password": "correct horse"}))
        .await;
    let phone = json!({"command": "password-add", "address": one, "name": "phone", "scopes": ["imap"], "password": "battery"});
    assert_eq!(server.ask(phone.clone()).await["account"]["passwords"], 2);
    assert_eq!(
        server.ask(phone).await,
        json!({"refused": "one@example.test has a password named \"phone\" already; `set` replaces it"})
    );
    let set =
        json!({"command": "password-set", "address": one, "name": "fone", "password": "staple"});
    assert_eq!(
        server.ask(set).await,
        json!({"refused": "there is no password named \"fone\""})
    );
    let bad =
        json!({"command": "password-set", "address": one, "name": "phone", "password": "a\nb"});
    assert_eq!(
        server.ask(bad).await,
        json!({"refused": "a password must not hold control characters"})
    );
    let list = server
        .ask(json!({"command": "password-list", "address": one}))
        .await;
    let names: Vec<_> = list["passwords"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["name"].clone(), p["scopes"].clone()))
        .collect();
    assert_eq!(
        names,
        [
            (json!("main"), json!([])),
            (json!("phone"), json!(["imap"]))
        ]
    );
    assert!(
        !list.to_string().contains("SCRAM"),
        "verifiers are not shown: {list}"
    );

    let record = server
        .twin
        .account(&one.to_owned().try_into().unwrap())
        .await
        .unwrap()
        .unwrap();
    let salts: Vec<_> = record
        .credentials
        .iter()
        .map(|c| {
            mailrook_sasl::Verifier::from_bytes(&c.verifier)
                .unwrap()
                .salt()
                .unwrap()
        })
        .collect();
    assert_eq!(salts[0], salts[1]);
    for credential in &record.credentials {
        let text = String::from_utf8_lossy(&credential.verifier).into_owned();
        assert!(!text.contains("correct") && !text.contains("battery"));
    }
}

#[tokio::test]
async fn aliases_and_catch_alls() {
    let server = start();
    let done = json!({"done": true});
    server
        .ask(json!({"command": "domain-add", "domain": "example.test"}))
        .await;
    server
        .ask(json!({"command": "account-add", "address": "one@example.test", "password": null}))
        .await;
    let add = json!({"command": "alias-add", "address": "all@example.test", "targets": ["one@example.test", "x@else.test"]});
    assert_eq!(server.ask(add).await, done);
    let list = server
        .ask(json!({"command": "alias-list", "domain": "example.test"}))
        .await;
    assert_eq!(
        list,
        json!({"aliases": [{"alias": "all@example.test", "targets": ["one@example.test", "x@else.test"]}]})
    );
    assert_eq!(
        server
            .ask(json!({"command": "alias-remove", "address": "all@example.test", "targets": []}))
            .await,
        done
    );
    let all = json!({"command": "domain-catch-all", "domain": "example.test", "target": "one@example.test"});
    assert_eq!(server.ask(all).await, done);
    let domains = server.ask(json!({"command": "domain-list"})).await;
    assert_eq!(domains["domains"][0]["catch_all"], "one@example.test");
    let postmaster =
        json!({"command": "alias-remove", "address": "postmaster@example.test", "targets": []});
    assert_eq!(
        server.ask(postmaster).await,
        json!({"refused": "postmaster@ exists in every domain"})
    );
}

#[tokio::test]
async fn unknown_is_not_absent() {
    let server = start();
    server.twin.set_reachable(false);
    let show = server
        .ask(json!({"command": "account-show", "address": "one@example.test"}))
        .await;
    assert!(
        show["unavailable"]
            .as_str()
            .unwrap()
            .contains("cannot be reached"),
        "{show}"
    );
}

#[tokio::test]
async fn a_reload_that_fails_says_why_and_the_end_removes_the_socket() {
    let server = start();
    assert_eq!(
        server.ask(json!({"command": "reload"})).await,
        json!({"refused": "F:1: wrong"})
    );
    let path = server.folder.path().join("admin.sock");
    assert!(
        AdminDoor::open(&path, &[]).is_err(),
        "a second server must not take the socket"
    );
    server.trigger.shut_down();
    server.task.await.unwrap();
    assert!(!path.exists());
    let error = server.client.call(&Request::Status).await.unwrap_err();
    assert!(
        error.to_string().contains("is the server running?"),
        "{error}"
    );
    // What a killed server leaves behind is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(AdminDoor::open(&path, &[]).is_ok());
}

#[tokio::test]
async fn what_is_not_understood_is_said() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = start();
    let mut socket = tokio::net::UnixStream::connect(server.folder.path().join("admin.sock"))
        .await
        .unwrap();
    let body = "{\"command\":\"domain-add\",\"domain\":\"not a domain\"}";
    let request = format!(
        "POST /v1/command HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("is no domain name"), "{answer}");
}

/// A port on loopback can be reached by everybody on this machine, and by what a browser runs.
#[tokio::test]
async fn the_port_wants_its_token() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = start();
    let token = std::fs::read_to_string(server.folder.path().join("admin.token")).unwrap();
    for (header, expected) in [
        (String::new(), "401"),
        ("Authorization: Bearer \r\n".to_owned(), "401"),
        (
            format!("Authorization: Bearer {}x\r\n", &token[..63]),
            "401",
        ),
        (format!("Authorization: Bearer {token}\r\n"), "200"),
    ] {
        let mut socket = tokio::net::TcpStream::connect(server.tcp).await.unwrap();
        let request =
            format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{header}: {answer}"
        );
    }
    let mode = std::fs::metadata(server.folder.path().join("admin.token"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_password_is_not_printed() {
    let request = Request::PasswordSet {
        address: "one@example.test".to_owned().try_into().unwrap(),
        name: "main".to_owned(),
        password: Secret::new("hunter2".to_owned()),
    };
    assert!(!format!("{request:?}").contains("hunter2"));
}

/// The client tells replies apart by their fields alone.
#[tokio::test]
async fn each_reply_is_read_as_what_it_is() {
    let server = start();
    let reply = server.client.call(&Request::Status).await.unwrap();
    assert!(matches!(reply, Reply::Status(_)), "{reply:?}");
    server
        .ask(json!({"command": "domain-add", "domain": "example.test"}))
        .await;
    let list = Request::DomainList { after: None };
    assert!(matches!(
        server.client.call(&list).await,
        Ok(Reply::Domains { .. })
    ));
    server
        .ask(json!({"command": "account-add", "address": "one@example.test", "password": null}))
        .await;
    let address: Address = "one@example.test".to_owned().try_into().unwrap();
    let list = Request::PasswordList {
        address: address.clone(),
    };
    assert!(matches!(
        server.client.call(&list).await,
        Ok(Reply::Passwords { .. })
    ));
    let found = Request::MailboxWhere { address };
    let reply = server.client.call(&found).await;
    assert!(
        matches!(&reply, Ok(Reply::Where(found)) if found.replicas == ["m.test"]),
        "{reply:?}"
    );
}

#[tokio::test]
async fn sessions_are_listed_shown_and_ended() {
    let server = start();
    // As older programs ask.
    let all = server.ask(json!({"command": "session-list"})).await;
    assert_eq!(all["sessions"][0]["id"], "m1-0123456789");
    assert_eq!(all["unreached"][0]["node"], "m3");
    assert_eq!(all["next"], "m1-0123456789");
    for (filter, count) in [
        (json!({"user": "one@example.test"}), 1),
        (json!({"user": "two@example.test"}), 0),
        (json!({"domain": "example.test", "protocol": "imap"}), 1),
        (json!({"protocol": "pop3"}), 0),
        (json!({"node": "m2"}), 0),
        (json!({"after": "m1-0123456789"}), 0),
    ] {
        let mut request = json!({"command": "session-list"});
        let fields = request.as_object_mut().unwrap();
        fields.extend(filter.as_object().unwrap().clone());
        let page = server.ask(request.clone()).await;
        assert_eq!(
            page["sessions"].as_array().unwrap().len(),
            count,
            "{request}"
        );
    }
    let show = |id: &str| server.ask(json!({"command": "session-show", "id": id}));
    assert_eq!(show("m1-0123456789").await["session"]["command"], "IDLE");
    let unknown = json!({"refused": "there is no such session"});
    assert_eq!(show("m1-9876543210").await, unknown);
    let one = server
        .ask(json!({"command": "session-kill", "id": "m1-0123456789"}))
        .await;
    let told = "m1-0123456789: ended by an administrator";
    assert_eq!(one["ids"][0], told);
    let of_user = server
        .ask(json!({"command": "session-kill", "user": "one@example.test", "reason": "go"}))
        .await;
    assert_eq!(
        (&of_user["ended"], &of_user["unreached"][0]["node"]),
        (&json!(1), &json!("m3"))
    );
    // A user is an account, by whichever name; who has none is a name alone.
    for request in [
        json!({"command": "domain-add", "domain": "example.test"}),
        json!({"command": "account-add", "address": "one@example.test", "password": "secret"}),
        json!({"command": "alias-add", "address": "sales@example.test", "targets": ["one@example.test"]}),
        json!({"command": "domain-catch-all", "domain": "example.test", "target": "one@example.test"}),
    ] {
        let done = server.ask(request).await;
        assert!(done.get("refused").is_none(), "{done}");
    }
    let id = (server
        .twin
        .account(&Address::parse("one@example.test").unwrap())
        .await)
        .unwrap()
        .unwrap()
        .id;
    let (known, unknown) = (format!("{:?}", Some(id)), "None".to_owned());
    for (user, account) in [
        ("One@Example.test", &known),
        ("SALES@example.test", &known),
        ("mistyped@example.test", &unknown),
        ("one+tag@example.test", &unknown),
        ("one@elsewhere.test", &unknown),
    ] {
        let ended = server
            .ask(json!({"command": "session-kill", "user": user}))
            .await;
        let told = ended["ids"][0].to_string();
        assert!(told.contains(&format!("account {account}:")), "{told}");
    }
    for (request, word) in [
        (json!({"command": "session-kill"}), "either"),
        (
            json!({"command": "session-kill", "id": "x", "user": "one@example.test"}),
            "either",
        ),
        (
            json!({"command": "session-kill", "id": "x", "reason": "a\r\n* OK"}),
            "printable",
        ),
    ] {
        let refused = server.ask(request).await["refused"].to_string();
        assert!(refused.contains(word), "{refused}");
    }
}

//! A whole login: TCP, TLS, SASL bound to it, the directory, and back to the list of sessions.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use mailrook_auth::Logins;
use mailrook_imap_server::Settings;
use mailrook_net::{BlockingPool, Limits, LoginThrottle, ThrottleSettings};
use mailrook_sasl::{
    ChannelBindings, FakeSaltKey, Mechanism, Password, PasswordCache, Salt, Verifier,
};
use mailrook_store_api::{
    Directory,
    memory::MemoryCluster,
    meta::{Credential, MetaCommand, MetaReply, NewAccount},
};
use mailrook_types::{Address, Domain, Timestamp};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::client::TlsStream;

use super::*;
use crate::{
    MailProtocol,
    test_door::{certificate, connect_tls, line, start},
};

const USER: &str = "user1@example.test";

/// Sessions over a store in memory, with one account.
async fn sessions() -> Arc<LocalSessions> {
    let cluster = MemoryCluster::new();
    let password = Password::prepare(b"pencil").unwrap();
    let credential = Credential {
        name: "main".to_owned(),
        scopes: vec![],
        verifier: Verifier::new(&password, Salt::random().unwrap()).to_bytes(),
        version: 0,
        created: Timestamp(0),
    };
    cluster
        .command(MetaCommand::AddDomain(
            Domain::parse("example.test").unwrap(),
        ))
        .await
        .unwrap();
    let account = NewAccount {
        address: Address::parse(USER).unwrap(),
        credential: Some(credential),
        quota_storage_bytes: None,
        quota_messages: None,
    };
    match cluster
        .command(MetaCommand::AddAccount(account))
        .await
        .unwrap()
    {
        MetaReply::Account(record) => cluster.create_account(&record).unwrap(),
        other => panic!("{other:?}"),
    }
    let logins = Logins {
        cache: Arc::new(PasswordCache::new(100, Duration::from_secs(60)).unwrap()),
        fake_salts: FakeSaltKey::new([1; 32]),
        throttle: Arc::new(LoginThrottle::new(ThrottleSettings::default())),
        hashing: BlockingPool::new(1, 10),
        tokens: None,
    };
    let (store, directory) = (Arc::new(cluster.clone()), Arc::new(cluster));
    let context = SessionContext::new(
        store,
        directory,
        logins,
        BlockingPool::new(1, 10),
        Settings::default(),
    );
    LocalSessions::new(context)
}

fn bindings(client: &TlsStream<TcpStream>) -> ChannelBindings {
    let exporter =
        client
            .get_ref()
            .1
            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None);
    ChannelBindings {
        tls_exporter: exporter.ok(),
        tls_server_end_point: None,
    }
}

async fn say(client: &mut TlsStream<TcpStream>, text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
    client.flush().await.unwrap();
}

/// The answer to AUTHENTICATE SCRAM-SHA-256-PLUS.
async fn scram(client: &mut TlsStream<TcpStream>, bindings: &ChannelBindings) -> String {
    let mut sasl = mailrook_sasl::Client::new(Mechanism::ScramSha256Plus, USER, "pencil", bindings);
    let initial = STANDARD.encode(sasl.initial().unwrap());
    say(
        client,
        &format!("a1 AUTHENTICATE SCRAM-SHA-256-PLUS {initial}\r\n"),
    )
    .await;
    loop {
        let answer = line(client).await;
        let Some(challenge) = answer.strip_prefix("+ ") else {
            return answer;
        };
        let response = sasl
            .respond(&STANDARD.decode(challenge.trim_end()).unwrap())
            .unwrap();
        say(client, &format!("{}\r\n", STANDARD.encode(response))).await;
    }
}

#[tokio::test]
async fn a_login_bound_to_its_channel() {
    let pem = certificate();
    let running = start(
        sessions().await,
        MailProtocol::Imaps,
        Limits::default(),
        &pem,
    );
    let mut client = connect_tls(running.address, &pem).await.unwrap();
    assert!(line(&mut client).await.starts_with("* OK "));
    let bindings = bindings(&client);
    let answer = scram(&mut client, &bindings).await;
    assert!(answer.starts_with("a1 OK"), "{answer}");
    assert_eq!(
        running.door.registry().list()[0].user.as_deref(),
        Some(USER)
    );

    // Somebody in the middle, with a certificate that the client trusts.
    let mut relayed = connect_tls(running.address, &pem).await.unwrap();
    line(&mut relayed).await;
    let elsewhere = ChannelBindings {
        tls_exporter: Some([0; 32]),
        tls_server_end_point: None,
    };
    let answer = scram(&mut relayed, &elsewhere).await;
    assert!(
        answer.starts_with("a1 NO [AUTHENTICATIONFAILED]"),
        "{answer}"
    );

    running.trigger.shut_down();
    assert!(line(&mut client).await.starts_with("* BYE "));
    running.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_thousand_silent_clients_and_one_at_work() {
    let pem = certificate();
    let running = start(
        sessions().await,
        MailProtocol::Imap,
        Limits::default(),
        &pem,
    );
    let mut silent = Vec::new();
    for _ in 0..1_000 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    let mut client = TcpStream::connect(running.address).await.unwrap();
    assert!(line(&mut client).await.starts_with("* OK "));
    client.write_all(b"a1 NOOP\r\n").await.unwrap();
    assert!(line(&mut client).await.starts_with("a1 OK"));
    client
        .write_all(b"a2 LOGIN user1@example.test pencil\r\n")
        .await
        .unwrap();
    let answer = line(&mut client).await;
    assert!(answer.starts_with("a2 NO [PRIVACYREQUIRED]"), "{answer}");
}

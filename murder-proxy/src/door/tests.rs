use std::time::Duration;

use mailrook_net::{Bind, Certificates, Limiter, Limits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::*;
use crate::test_door::{certificate, connect_tls, line, start};

/// Greets, takes any line for a login of that name, echoes the rest; says BYE at shutdown.
struct Greeter;

impl ClientSessions for Greeter {
    fn run(&self, session: ClientSession) -> SessionFuture {
        Box::pin(async move {
            let ClientSession {
                protocol,
                connection,
                plaintext_login,
                registration,
                ..
            } = session;
            let Connection {
                mut stream,
                admission,
                mut shutdown,
                ..
            } = connection;
            let mut answer =
                format!("* OK {protocol} plaintext={plaintext_login}\r\n").into_bytes();
            let mut buffer = vec![0; 64];
            loop {
                if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
                let len = tokio::select! {
                    read = stream.read(&mut buffer) => read.unwrap_or(0),
                    () = shutdown.requested() => {
                        let _ = stream.write_all(b"* BYE stopping\r\n").await;
                        return;
                    }
                };
                if len == 0 {
                    return;
                }
                answer = buffer[..len].to_vec();
                registration.set_user(String::from_utf8_lossy(&answer).trim_end(), None);
                admission.logged_in();
            }
        })
    }
}

#[tokio::test]
async fn lists_sessions_with_their_users() {
    let running = start(
        Arc::new(Greeter),
        MailProtocol::Imap,
        Limits::default(),
        &certificate(),
    );
    let mut client = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(line(&mut client).await, "* OK imap plaintext=false\r\n");
    client.write_all(b"user1@example.test\r\n").await.unwrap();
    line(&mut client).await;
    let listed = running.door.registry().list();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].user.as_deref(), Some("user1@example.test"));
    assert_eq!((listed[0].protocol, listed[0].tls), ("imap", false));
    assert_eq!(running.door.started(MailProtocol::Imap), 1);
    drop(client);
    while !running.door.registry().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn refuses_in_the_protocol() {
    for (protocol, refusal) in [
        (
            MailProtocol::Imap,
            "* BYE [UNAVAILABLE] Too many connections, try again later\r\n",
        ),
        (
            MailProtocol::Pop3,
            "-ERR [SYS/TEMP] Too many connections, try again later\r\n",
        ),
    ] {
        let running = start(
            Arc::new(Greeter),
            protocol,
            Limits {
                connections_max: 1,
                ..Limits::default()
            },
            &certificate(),
        );
        let mut first = TcpStream::connect(running.address).await.unwrap();
        line(&mut first).await;
        assert_eq!(
            line(&mut TcpStream::connect(running.address).await.unwrap()).await,
            refusal
        );
    }
}

#[tokio::test]
async fn drains_and_reloads_under_tls() {
    let (old, new) = (certificate(), certificate());
    let running = start(
        Arc::new(Greeter),
        MailProtocol::Imaps,
        Limits::default(),
        &old,
    );
    let mut before = connect_tls(running.address, &old).await.unwrap();
    assert_eq!(line(&mut before).await, "* OK imaps plaintext=true\r\n");
    assert!(running.door.registry().list()[0].tls);

    running
        .tls
        .replace(Certificates::from_pem(std::slice::from_ref(&new)).unwrap())
        .unwrap();
    assert!(connect_tls(running.address, &old).await.is_err());
    let mut after = connect_tls(running.address, &new).await.unwrap();
    line(&mut after).await;
    before.write_all(b"still here\r\n").await.unwrap();
    assert_eq!(line(&mut before).await, "still here\r\n");

    running.trigger.shut_down();
    assert_eq!(line(&mut before).await, "* BYE stopping\r\n");
    assert_eq!(line(&mut after).await, "* BYE stopping\r\n");
    running.task.await.unwrap().unwrap();
    assert!(running.door.registry().is_empty());
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn needs_tls_where_the_protocol_does() {
    let listener = Listener::bind(&Bind::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let door = FrontDoor::new(Arc::new(Greeter), SessionRegistry::new());
    let endpoint = Endpoint {
        protocol: MailProtocol::Pop3s,
        tls: None,
        plaintext_login: true,
        proxies: vec![],
        limiter: Limiter::new(Limits::default()),
        drain_timeout: Duration::ZERO,
    };
    let error = door
        .serve(listener, endpoint, Shutdown::never())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "pop3s needs a certificate");
}

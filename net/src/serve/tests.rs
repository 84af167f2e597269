use std::time::Instant;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};

use super::*;
use crate::{
    Bind, Certificates, Limits, ShutdownTrigger, TlsSettings,
    test_tls::{certificate_for, connect},
};

struct Server {
    address: SocketAddr,
    limiter: Arc<Limiter>,
    trigger: ShutdownTrigger,
    task: JoinHandle<()>,
}

fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooManyConnections => "421 too many connections\r\n",
        Refusal::TooManyFromAddress => "421 too many connections from you\r\n",
        Refusal::NotYet => "421 not yet\r\n",
    }
}

/// Greets with the peer's address; `login` logs in, `panic` panics, any other line is echoed. Says goodbye at
/// shutdown.
async fn session(mut connection: Connection) {
    let mut shutdown = connection.shutdown.clone();
    let greeting = match connection.peer {
        Peer::Tcp { address, .. } => format!("220 {}\r\n", address.ip()),
        Peer::Unix => "220 local\r\n".to_owned(),
    };
    let mut buffer = vec![0; 64];
    let mut answer = greeting.into_bytes();
    loop {
        if connection.stream.write_all(&answer).await.is_err()
            || connection.stream.flush().await.is_err()
        {
            return;
        }
        let len = tokio::select! {
            read = connection.stream.read(&mut buffer) => read.unwrap_or(0),
            () = shutdown.requested() => {
                let _ = connection.stream.write_all(b"421 bye\r\n").await;
                return;
            }
        };
        match &buffer[..len] {
            b"" => return,
            b"login\r\n" => connection.admission.logged_in(),
            b"panic\r\n" => panic!("as the test asked"),
            b"stay\r\n" => std::future::pending().await,
            _ => {}
        }
        answer = buffer[..len].to_vec();
    }
}

fn start_with(bind: &Bind, limits: Limits, change: impl FnOnce(&mut ServeSettings)) -> Server {
    let listener = Listener::bind(bind).unwrap();
    let address = listener
        .local_addr()
        .unwrap_or("0.0.0.0:0".parse().unwrap());
    let limiter = Limiter::new(limits);
    let mut settings = ServeSettings {
        name: "test",
        implicit_tls: None,
        proxies: vec![],
        limiter: Arc::clone(&limiter),
        refusal,
        drain_timeout: Duration::from_millis(200),
    };
    change(&mut settings);
    let (trigger, shutdown) = ShutdownTrigger::new();
    let task = tokio::spawn(serve(listener, settings, shutdown, session));
    Server {
        address,
        limiter,
        trigger,
        task,
    }
}

fn start(limits: Limits, change: impl FnOnce(&mut ServeSettings)) -> Server {
    start_with(&Bind::Tcp("127.0.0.1:0".parse().unwrap()), limits, change)
}

impl Server {
    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until so many connections are counted.
    async fn until_total(&self, total: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.limiter.counts().total != total {
            assert!(
                Instant::now() < deadline,
                "{:?}, not {total}",
                self.limiter.counts()
            );
            sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn line(client: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut line = vec![];
    while !line.ends_with(b"\n") {
        match client.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn serves_and_counts() {
    let server = start(Limits::default(), |_| {});
    let mut client = server.client().await;
    assert_eq!(line(&mut client).await, "220 127.0.0.1\r\n");
    assert_eq!(server.limiter.counts().pending, 1);
    client.write_all(b"login\r\n").await.unwrap();
    assert_eq!(line(&mut client).await, "login\r\n");
    assert_eq!(
        (
            server.limiter.counts().total,
            server.limiter.counts().pending
        ),
        (1, 0)
    );
    drop(client);
    server.until_total(0).await;
}

#[tokio::test]
async fn refuses_politely_what_is_too_much() {
    let limits = Limits {
        connections_per_address_max: 1,
        exempt: vec![],
        ..Limits::default()
    };
    let server = start(limits, |_| {});
    let mut first = server.client().await;
    line(&mut first).await;
    assert_eq!(
        line(&mut server.client().await).await,
        "421 too many connections from you\r\n"
    );
    drop(first);
    server.until_total(0).await;
    assert_eq!(line(&mut server.client().await).await, "220 127.0.0.1\r\n");
}

#[tokio::test]
async fn a_thousand_silent_connections_harm_nobody() {
    let limits = Limits {
        pending_max: 500,
        login_deadline: Some(Duration::from_secs(4)),
        ..Limits::default()
    };
    let server = start(limits, |_| {});
    let mut regular = server.client().await;
    line(&mut regular).await;
    regular.write_all(b"login\r\n").await.unwrap();
    line(&mut regular).await;

    let mut silent = vec![];
    for _ in 0..1_000 {
        silent.push(server.client().await);
    }
    assert_eq!(
        line(&mut server.client().await).await,
        "421 too many connections\r\n"
    );
    assert_eq!(server.limiter.counts().pending, 500);
    regular.write_all(b"still here\r\n").await.unwrap();
    assert_eq!(line(&mut regular).await, "still here\r\n");

    // They are ended, though none hung up; who logged in stays.
    server.until_total(1).await;
    let totals = server.limiter.totals();
    assert_eq!((totals.admitted, totals.login_overdue), (501, 500));
    assert!(totals.refused >= 501, "{totals:?}");
    assert_eq!(line(&mut server.client().await).await, "220 127.0.0.1\r\n");
    regular.write_all(b"still here\r\n").await.unwrap();
    assert_eq!(line(&mut regular).await, "still here\r\n");
}

#[tokio::test]
async fn a_panic_ends_one_session() {
    let server = start(Limits::default(), |_| {});
    let (mut a, mut b) = (server.client().await, server.client().await);
    line(&mut a).await;
    line(&mut b).await;
    a.write_all(b"panic\r\n").await.unwrap();
    assert_eq!(line(&mut a).await, "");
    b.write_all(b"alive\r\n").await.unwrap();
    assert_eq!(line(&mut b).await, "alive\r\n");
    server.until_total(1).await;
}

#[tokio::test]
async fn drains_at_shutdown() {
    let server = start(Limits::default(), |_| {});
    let (mut polite, mut stubborn) = (server.client().await, server.client().await);
    line(&mut polite).await;
    line(&mut stubborn).await;
    stubborn.write_all(b"stay\r\n").await.unwrap();
    sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    server.trigger.shut_down();
    assert_eq!(line(&mut polite).await, "421 bye\r\n");
    server.task.await.unwrap();
    assert!(
        begun.elapsed() >= Duration::from_millis(200) && begun.elapsed() < Duration::from_secs(5)
    );
    assert_eq!(line(&mut stubborn).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
    assert_eq!(server.limiter.counts().total, 0);
}

#[tokio::test]
async fn implicit_tls_and_its_slow_clients() {
    let pem = certificate_for(&["mail.example.test"]);
    let certificates = Certificates::from_pem(std::slice::from_ref(&pem)).unwrap();
    let tls_settings = TlsSettings {
        handshake_timeout: Duration::from_secs(2),
        ..TlsSettings::default()
    };
    let tls = TlsAcceptor::new(certificates, tls_settings).unwrap();
    let server = start(Limits::default(), |settings| {
        settings.implicit_tls = Some(tls)
    });

    let mut slow = vec![];
    for _ in 0..300 {
        let mut client = server.client().await;
        client.write_all(&[0x16, 3, 1]).await.unwrap();
        slow.push(client);
    }
    let mut client = connect(server.client().await, "mail.example.test", &pem)
        .await
        .unwrap();
    assert_eq!(line(&mut client).await, "220 127.0.0.1\r\n");
    // The slow ones are gone.
    server.until_total(1).await;
}

#[tokio::test]
async fn believes_a_proxy_header_of_who_may_send_one() {
    let proxies = vec!["127.0.0.2/32".parse().unwrap()];
    let limits = Limits {
        connections_per_address_max: 1,
        exempt: vec![],
        ..Limits::default()
    };
    let server = start(limits, |settings| settings.proxies = proxies);
    let from = async |source: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        socket.connect(server.address).await.unwrap()
    };
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 143\r\n";

    let mut balanced = from("127.0.0.2").await;
    balanced.write_all(HEADER).await.unwrap();
    assert_eq!(line(&mut balanced).await, "220 192.0.2.1\r\n");
    // The client counts, not the balancer.
    let mut second = from("127.0.0.2").await;
    second.write_all(HEADER).await.unwrap();
    assert_eq!(
        line(&mut second).await,
        "421 too many connections from you\r\n"
    );
    let mut other = from("127.0.0.2").await;
    other
        .write_all(b"PROXY TCP4 192.0.2.2 198.51.100.1 56324 143\r\n")
        .await
        .unwrap();
    assert_eq!(line(&mut other).await, "220 192.0.2.2\r\n");

    // From elsewhere it is what the session reads, and the address is the real one.
    let mut forger = from("127.0.0.3").await;
    forger.write_all(HEADER).await.unwrap();
    assert_eq!(line(&mut forger).await, "220 127.0.0.3\r\n");
    assert_eq!(line(&mut forger).await.as_bytes(), HEADER);

    // A balancer that sends none, or nonsense, gets nothing.
    let mut silent = from("127.0.0.2").await;
    silent
        .write_all(b"a1 CAPABILITY, and more of it\r\n")
        .await
        .unwrap();
    assert_eq!(line(&mut silent).await, "");
}

#[tokio::test]
async fn a_unix_socket_with_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp");
    let bind = Bind::Unix {
        path: path.clone(),
        mode: 0o660,
    };
    let server = start_with(&bind, Limits::default(), |_| {});
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o660
    );
    let mut client = UnixStream::connect(&path).await.unwrap();
    assert_eq!(line(&mut client).await, "220 local\r\n");

    // It is taken, until its owner is gone; a leftover is replaced; a file is not.
    assert_eq!(
        Listener::bind(&bind).unwrap_err().kind(),
        io::ErrorKind::AddrInUse
    );
    server.trigger.shut_down();
    server.task.await.unwrap();
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(Listener::bind(&bind).is_ok());
    std::fs::write(&path, "precious").unwrap();
    assert_eq!(
        Listener::bind(&bind).unwrap_err().kind(),
        io::ErrorKind::AlreadyExists
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_in_the_backlog_stops_nobody() {
    let server = start(Limits::default(), |_| {});
    for _ in 0..200 {
        let client = server.client().await;
        client.set_zero_linger().unwrap();
        drop(client);
    }
    assert_eq!(line(&mut server.client().await).await, "220 127.0.0.1\r\n");
}

#[tokio::test]
async fn turns_away_until_it_serves() {
    let listener = Listener::bind(&Bind::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let address = listener.local_addr().unwrap();
    let client = async || line(&mut TcpStream::connect(address).await.unwrap()).await;
    for (words, heard) in [(Some(refusal as fn(_) -> _), "421 not yet\r\n"), (None, "")] {
        let turned_away = async {
            for _ in 0..3 {
                assert_eq!(client().await, heard);
            }
        };
        tokio::select! {
            never = crate::turn_away(&listener, "test", words) => match never {},
            () = turned_away => {}
        }
    }
    // Who comes in between waits for the session.
    let mut early = TcpStream::connect(address).await.unwrap();
    let settings = ServeSettings {
        name: "test",
        implicit_tls: None,
        proxies: vec![],
        limiter: Limiter::new(Limits::default()),
        refusal,
        drain_timeout: Duration::ZERO,
    };
    let _serving = tokio::spawn(serve(listener, settings, Shutdown::never(), session));
    assert_eq!(line(&mut early).await, "220 127.0.0.1\r\n");
}

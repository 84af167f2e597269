//! Real sockets: TCP with implicit TLS, a unix socket, and the stop of the process.

use std::net::SocketAddr;

use mailrook_net::{
    Bind, Connection, Limiter, Limits, Listener, Peer, SessionId, Shutdown, Stream,
};
use mailrook_smtp_proto::Service;
use tokio::net::{TcpStream, UnixStream};

use super::rig::{Client, Rig};
use crate::Endpoint;

#[tokio::test]
async fn submissions_has_tls_from_the_first_byte() {
    let rig = Rig::new().await;
    let listener = Listener::bind(&Bind::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let endpoint = Endpoint {
        implicit_tls: true,
        ..rig.endpoint(Service::Submission)
    };
    let (front, shutdown) = (rig.front.clone(), rig.shutdown.clone());
    let serving = tokio::spawn(async move { front.serve(listener, endpoint, shutdown).await });
    let tcp = TcpStream::connect(address).await.unwrap();
    let mut client = Client::over(tcp).handshake(&rig.certificate).await;
    let offer = client.hello().await;
    assert!(
        offer.contains("AUTH SCRAM-SHA-256-PLUS") && !offer.contains("STARTTLS"),
        "{offer}"
    );
    rig.trigger.shut_down();
    client.talk("S: 421 4.3.2\nS: closed").await;
    serving.await.unwrap();
}

#[tokio::test]
async fn lmtp_over_a_unix_socket() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp");
    let bind = Bind::Unix {
        path: path.clone(),
        mode: 0o600,
    };
    let listener = Listener::bind(&bind).unwrap();
    let (front, shutdown) = (rig.front.clone(), rig.shutdown.clone());
    let endpoint = rig.endpoint(Service::Lmtp);
    tokio::spawn(async move { front.serve(listener, endpoint, shutdown).await });
    let mut client = Client::over(UnixStream::connect(&path).await.unwrap());
    let offer = client.hello().await;
    assert!(
        !offer.contains("STARTTLS") && !offer.contains("AUTH"),
        "{offer}"
    );
    client.message("user1@example.test", "text", "250").await;
    let mail = rig.mail("user1@example.test", "INBOX").await;
    assert!(
        mail[0]
            .0
            .contains("Received: from client.test (local)\r\n\tby mx.example.test with LMTP id "),
        "{}",
        mail[0].0
    );
}

/// What an idle connection costs, beside its buffers, of which it has none.
#[tokio::test]
async fn a_session_is_small() {
    let rig = Rig::new().await;
    let (_, theirs) = tokio::io::duplex(1);
    let connection = Connection {
        stream: Stream::from(theirs),
        peer: Peer::Unix,
        id: SessionId::next(),
        admission: Limiter::new(Limits::default()).admit(None).unwrap(),
        shutdown: Shutdown::never(),
    };
    let session = rig
        .front
        .session(rig.endpoint(Service::Mx).into(), connection);
    let size = size_of_val(&session);
    assert!(size < 8 * 1024, "{size} bytes");
}

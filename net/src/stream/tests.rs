use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{
    CertificateFiles, Certificates, TlsSettings,
    test_tls::{certificate_for, connect},
};

/// Long enough to see that nothing happens.
const SOON: Duration = Duration::from_millis(100);
/// Long enough for what must happen, on a busy machine.
const LONG: Duration = Duration::from_secs(20);

fn acceptor(pem: &crate::CertificatePem) -> TlsAcceptor {
    impatient_acceptor(pem, TlsSettings::default().handshake_timeout)
}

fn impatient_acceptor(pem: &crate::CertificatePem, handshake_timeout: Duration) -> TlsAcceptor {
    let certificates = Certificates::from_pem(std::slice::from_ref(pem)).unwrap();
    TlsAcceptor::new(
        certificates,
        TlsSettings {
            handshake_timeout,
            ..TlsSettings::default()
        },
    )
    .unwrap()
}

async fn tcp_pair() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (listener.accept().await.unwrap().0.into(), client)
}

#[tokio::test]
async fn starts_tls_in_the_middle() {
    let pem = certificate_for(&["mail.example.test"]);
    let acceptor = acceptor(&pem);
    let (mut server, mut client) = tcp_pair().await;
    assert!(!server.is_tls());
    assert_eq!(server.tls_bindings().exporter, None);

    client.write_all(b"STARTTLS\r\n").await.unwrap();
    let mut line = [0; 10];
    server.read_exact(&mut line).await.unwrap();
    server.write_all(b"220 go\r\n").await.unwrap();
    let client = async {
        client.read_exact(&mut [0; 8]).await.unwrap();
        connect(client, "mail.example.test", &pem).await.unwrap()
    };
    let (server, mut client) = tokio::join!(server.start_tls(&acceptor), client);
    let mut server = server.unwrap();

    server.write_all(b"250 hello\r\n").await.unwrap();
    server.flush().await.unwrap();
    let mut line = [0; 11];
    client.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"250 hello\r\n");

    let info = server.tls_info().unwrap();
    assert_eq!(
        (info.version, info.server_name.as_deref()),
        ("TLSv1.3", Some("mail.example.test"))
    );
    // Both ends bind to the same.
    let exported = client
        .get_ref()
        .1
        .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None)
        .unwrap();
    assert_eq!(server.tls_bindings().exporter, Some(exported));
    let certificate = CertificateDer::from_pem_slice(&pem.chain).unwrap();
    let hashed = <sha2::Sha256 as sha2::Digest>::digest(&certificate);
    assert_eq!(
        server.tls_bindings().server_end_point.as_deref(),
        Some(hashed.as_slice())
    );
    assert!(matches!(
        server.start_tls(&acceptor).await,
        Err(TlsError::AlreadyActive)
    ));
}

#[tokio::test]
async fn tls_1_2_binds_to_the_certificate_alone() {
    let pem = certificate_for(&["mail.example.test"]);
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem.chain).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (server, client) = tcp_pair().await;
    let acceptor = acceptor(&pem);
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("mail.example.test").unwrap();
    let (server, client) =
        tokio::join!(server.start_tls(&acceptor), connector.connect(name, client));
    let (server, _client) = (server.unwrap(), client.unwrap());
    assert_eq!(server.tls_info().unwrap().version, "TLSv1.2");
    assert_eq!(server.tls_bindings().exporter, None);
    assert!(server.tls_bindings().server_end_point.is_some());
}

#[tokio::test]
async fn waits_without_a_buffer() {
    let pem = certificate_for(&["mail.example.test"]);
    let acceptor = acceptor(&pem);
    for tls in [false, true] {
        let (mut server, client) = tcp_pair().await;
        let mut client: Box<dyn crate::test_tls::Io> = if tls {
            let (encrypted, client) = tokio::join!(
                server.start_tls(&acceptor),
                connect(client, "mail.example.test", &pem)
            );
            server = encrypted.unwrap();
            Box::new(client.unwrap())
        } else {
            Box::new(client)
        };
        assert!(
            timeout(SOON, server.wait_readable()).await.is_err(),
            "nothing was sent"
        );
        client.write_all(b"NOOP\r\nNOOP\r\n").await.unwrap();
        client.flush().await.unwrap();
        server.wait_readable().await.unwrap();
        let mut line = [0; 6];
        server.read_exact(&mut line).await.unwrap();
        // What is left inside counts as readable.
        timeout(LONG, server.wait_readable())
            .await
            .unwrap()
            .unwrap();
        server.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"NOOP\r\n");
        assert!(
            timeout(SOON, server.wait_readable()).await.is_err(),
            "all is read"
        );

        client.shutdown().await.unwrap();
        timeout(LONG, server.wait_readable())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(server.read(&mut line).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn waits_on_a_unix_socket() {
    let (server, mut client) = UnixStream::pair().unwrap();
    let mut server = Stream::from(server);
    client.write_all(b"QUIT\r\n").await.unwrap();
    server.wait_readable().await.unwrap();
    server.read_exact(&mut [0; 6]).await.unwrap();
    assert!(
        timeout(SOON, server.wait_readable()).await.is_err(),
        "all is read"
    );
    drop(client);
    timeout(LONG, server.wait_readable())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_slow_handshake_ends() {
    let pem = certificate_for(&["mail.example.test"]);
    let acceptor = impatient_acceptor(&pem, SOON);
    let (server, mut client) = tcp_pair().await;
    client.write_all(&[0x16, 0x03]).await.unwrap();
    assert!(matches!(
        server.start_tls(&acceptor).await,
        Err(TlsError::Timeout)
    ));

    let acceptor = self::acceptor(&pem);
    let (server, mut client) = tcp_pair().await;
    client.write_all(b"a1 LOGIN user pencil\r\n").await.unwrap();
    assert!(matches!(
        server.start_tls(&acceptor).await,
        Err(TlsError::Handshake(_))
    ));
}

#[tokio::test]
async fn a_reload_shows_the_new_certificate_and_keeps_connections() {
    let (old, new) = (
        certificate_for(&["mail.example.test"]),
        certificate_for(&["mail.example.test"]),
    );
    let folder = tempfile::tempdir().unwrap();
    let files = CertificateFiles {
        chain: folder.path().join("chain.pem"),
        key: folder.path().join("key.pem"),
    };
    let write = |chain: &[u8], key: &[u8]| {
        std::fs::write(&files.chain, chain).unwrap();
        std::fs::write(&files.key, key).unwrap();
    };
    write(&old.chain, &old.key);
    let acceptor = TlsAcceptor::from_files(vec![files.clone()], TlsSettings::default()).unwrap();
    let pair = async |trusted| {
        let (server, client) = tcp_pair().await;
        let (server, client) = tokio::join!(
            server.start_tls(&acceptor),
            connect(client, "mail.example.test", trusted)
        );
        (server, client)
    };
    let (server, client) = pair(&old).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());

    // Half a change is none.
    write(&new.chain, &old.key);
    assert!(acceptor.reload().is_err());
    assert!(pair(&old).await.1.is_ok());

    write(&new.chain, &new.key);
    acceptor.reload().unwrap();
    assert!(pair(&old).await.1.is_err());
    assert!(pair(&new).await.1.is_ok());

    server.write_all(b"* OK still here\r\n").await.unwrap();
    server.flush().await.unwrap();
    let mut line = [0; 17];
    client.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"* OK still here\r\n");
}

#[tokio::test]
async fn resumes_by_ticket() {
    let pem = certificate_for(&["mail.example.test"]);
    let acceptor = acceptor(&pem);
    let connector = crate::test_tls::connector(&pem);
    let mut resumed = vec![];
    for _ in 0..2 {
        let (server, client) = tcp_pair().await;
        let name = ServerName::try_from("mail.example.test").unwrap();
        let (server, client) =
            tokio::join!(server.start_tls(&acceptor), connector.connect(name, client));
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        server.write_all(b"x").await.unwrap();
        server.flush().await.unwrap();
        // Tickets come before it.
        client.read_exact(&mut [0]).await.unwrap();
        resumed.push(client.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed));
    }
    assert_eq!(resumed, [false, true]);
}

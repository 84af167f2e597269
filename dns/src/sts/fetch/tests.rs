//! Fetching from a web server on loopback.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::resolve::{Data, TwinResolver};

const POLICY: &str = "version: STSv1\nmode: none\nmax_age: 1\n";

/// What comes of a fetch from a server whose certificate is for `name`, and which answers that. The request is looked at, too.
async fn fetch(name: &str, is_trusted: bool, answer: String) -> Result<Bytes, FetchError> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    if is_trusted {
        roots.add(cert.der().clone()).unwrap();
    }
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        // A client that does not like the certificate leaves here, or with the answer.
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return;
        };
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let request = String::from_utf8(request).unwrap();
        assert!(
            request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains("host: mta-sts.example.test\r\n"),
            "{request}"
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    };
    let dns = TwinResolver::new();
    dns.add("mta-sts.example.test", Data::A([127, 0, 0, 1].into()));
    let fetcher = HttpsFetcher::new(Arc::new(dns), Arc::new(roots))
        .unwrap()
        .with_port(port);
    let domain = DnsName::parse("example.test").unwrap();
    let (fetched, ()) = tokio::join!(fetcher.fetch(&domain), server);
    fetched
}

fn ok(kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
}

const NAME: &str = "mta-sts.example.test";

#[tokio::test]
async fn a_policy_is_fetched() {
    for kind in ["text/plain", "Text/Plain; charset=utf-8"] {
        assert_eq!(fetch(NAME, true, ok(kind, POLICY)).await, Ok(POLICY.into()));
    }
}

#[tokio::test]
async fn what_is_no_policy() {
    assert_eq!(
        fetch(NAME, true, ok("text/html", POLICY)).await,
        Err(FetchError::NoText)
    );
    let elsewhere = "HTTP/1.1 301 Moved\r\nLocation: https://a.test/\r\nContent-Length: 0\r\n\r\n";
    let moved = fetch(NAME, true, elsewhere.to_owned()).await;
    assert_eq!(moved, Err(FetchError::Status(301)));
    let long = ok("text/plain", &"x".repeat(POLICY_BYTES_MAX + 1));
    assert!(matches!(
        fetch(NAME, true, long).await,
        Err(FetchError::Broken(_))
    ));
}

#[tokio::test]
async fn the_certificate_must_be_good_for_the_policys_host() {
    for (name, is_trusted) in [("example.test", true), (NAME, false)] {
        let fetched = fetch(name, is_trusted, ok("text/plain", POLICY)).await;
        assert!(
            matches!(fetched, Err(FetchError::Certificate(_))),
            "{fetched:?}"
        );
    }
}

#[tokio::test]
async fn where_there_is_no_server() {
    let dns = TwinResolver::new();
    dns.fail(NAME, Kind::A, LookupError::Timeout);
    let fetcher = HttpsFetcher::new(Arc::new(dns), Arc::new(RootCertStore::empty())).unwrap();
    let domain = DnsName::parse("example.test").unwrap();
    let fetched = fetcher.fetch(&domain).await;
    assert!(matches!(fetched, Err(FetchError::Lookup(_))), "{fetched:?}");
}

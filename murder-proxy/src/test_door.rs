//! A door on a free port, and clients of it, for this crate's tests.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use mailrook_net::{
    Bind, CertificatePem, Certificates, Limiter, Limits, Listener, SessionRegistry,
    ShutdownTrigger, TlsAcceptor, TlsSettings,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{ClientSessions, Endpoint, FrontDoor, MailProtocol};

pub(crate) struct Running {
    pub(crate) door: FrontDoor,
    pub(crate) address: SocketAddr,
    pub(crate) tls: TlsAcceptor,
    pub(crate) trigger: ShutdownTrigger,
    pub(crate) task: JoinHandle<io::Result<()>>,
}

pub(crate) fn certificate() -> CertificatePem {
    let made = rcgen::generate_simple_self_signed(vec!["mail.example.test".to_owned()]).unwrap();
    CertificatePem {
        chain: made.cert.pem().into(),
        key: made.signing_key.serialize_pem().into(),
    }
}

pub(crate) fn start(
    sessions: Arc<dyn ClientSessions>,
    protocol: MailProtocol,
    limits: Limits,
    pem: &CertificatePem,
) -> Running {
    let certificates = Certificates::from_pem(std::slice::from_ref(pem)).unwrap();
    let tls = TlsAcceptor::new(certificates, TlsSettings::default()).unwrap();
    let listener = Listener::bind(&Bind::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let address = listener.local_addr().unwrap();
    let door = FrontDoor::new(sessions, SessionRegistry::new());
    let endpoint = Endpoint {
        protocol,
        tls: Some(tls.clone()),
        plaintext_login: false,
        proxies: vec![],
        limiter: Limiter::new(limits),
        drain_timeout: Duration::from_secs(2),
    };
    let (trigger, shutdown) = ShutdownTrigger::new();
    let task = tokio::spawn({
        let door = door.clone();
        async move { door.serve(listener, endpoint, shutdown).await }
    });
    Running {
        door,
        address,
        tls,
        trigger,
        task,
    }
}

pub(crate) async fn line(client: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut line = vec![];
    while !line.ends_with(b"\n") {
        match timeout(Duration::from_secs(10), client.read_u8())
            .await
            .expect("an answer in time")
        {
            Ok(byte) => line.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(line).unwrap()
}

pub(crate) async fn connect_tls(
    address: SocketAddr,
    trusted: &CertificatePem,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&trusted.chain).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("mail.example.test").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, TcpStream::connect(address).await?)
        .await
}

//! A client that speaks the protocol by hand, and wrongly if need be.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use mailrook_transport::{Certificate, Class, ClusterCa, NodeKey, node_name};
use mailrook_types::NodeId;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::rig::PATIENCE;

pub const HELLO: u8 = 1;
pub const REJECT: u8 = 2;
pub const JOIN: u8 = 3;
pub const REQUEST: u8 = 16;
pub const REPLY: u8 = 17;
pub const OPEN: u8 = 19;
pub const ITEM: u8 = 20;
pub const PING: u8 = 24;
pub const PONG: u8 = 25;

pub struct Raw {
    tls: TlsStream<TcpStream>,
}

/// What a hello says.
#[derive(Clone)]
pub struct Said {
    pub magic: &'static [u8; 4],
    pub wire: (u16, u16),
    pub cluster: u128,
    pub node: u64,
    pub class: u8,
}

impl Said {
    pub fn by(cluster: u128, node: u64) -> Said {
        Said {
            magic: b"MRKN",
            wire: (1, 1),
            cluster,
            node,
            class: Class::Store as u8,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut body = self.magic.to_vec();
        body.extend(self.wire.0.to_be_bytes());
        body.extend(self.wire.1.to_be_bytes());
        body.extend(self.cluster.to_be_bytes());
        body.extend(self.node.to_be_bytes());
        body.push(self.class);
        body.extend(5u64.to_be_bytes());
        body.extend(0u32.to_be_bytes());
        body.extend([0, 0, 0, 0]);
        body
    }
}

impl Raw {
    /// To the node `to`, with a certificate or without.
    pub async fn connect(
        ca: &ClusterCa,
        at: SocketAddr,
        to: u64,
        with: Option<(Certificate, NodeKey)>,
    ) -> Result<Raw, std::io::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate().der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match with {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.pem().as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate.der().clone()], key)
                    .unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"mailrook-nodes".to_vec()];
        let name = ServerName::try_from(node_name(ca.cluster(), NodeId(to))).unwrap();
        let tcp = TcpStream::connect(at).await?;
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await?;
        Ok(Raw { tls })
    }

    /// As a member, with the hellos done.
    pub async fn member(
        ca: &ClusterCa,
        at: SocketAddr,
        to: u64,
        with: (Certificate, NodeKey),
    ) -> Raw {
        let node = with.0.node().unwrap().1;
        let mut raw = Raw::connect(ca, at, to, Some(with)).await.unwrap();
        raw.send(HELLO, 0, &Said::by(ca.cluster(), node.0).encode())
            .await;
        assert_eq!(raw.receive().await.unwrap().0, HELLO);
        raw
    }

    pub async fn send(&mut self, kind: u8, id: u64, body: &[u8]) {
        let mut frame = (9 + body.len() as u32).to_be_bytes().to_vec();
        frame.push(kind);
        frame.extend(id.to_be_bytes());
        frame.extend(body);
        self.write(&frame).await;
    }

    /// Errors show in what is received.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.tls.write_all(bytes).await;
        let _ = self.tls.flush().await;
    }

    pub async fn receive(&mut self) -> Result<(u8, u64, Bytes), std::io::Error> {
        let receiving = async {
            let length = self.tls.read_u32().await?;
            let kind = self.tls.read_u8().await?;
            let id = self.tls.read_u64().await?;
            let mut body = vec![0; length as usize - 9];
            self.tls.read_exact(&mut body).await?;
            Ok((kind, id, Bytes::from(body)))
        };
        timeout(PATIENCE, receiving).await.expect("nothing came")
    }

    /// Expects to be rejected with these words, and the end after them.
    pub async fn rejected(&mut self, words: &str) {
        let (kind, _, body) = self.receive().await.unwrap();
        let text = String::from_utf8_lossy(&body);
        assert_eq!(kind, REJECT, "{text}");
        assert!(text.contains(words), "not {words:?}, but {text:?}");
        assert!(self.receive().await.is_err());
    }
}

//! How a machine without a certificate becomes a node.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use mailrook_transport::{
    Certificate, Class, ClusterCa, Credentials, JOIN_BYTES_MAX, JoinError, JoinHandler, JoinToken,
    Link, NODE_VALIDITY, NodeKey, ask_to_join,
};
use mailrook_types::NodeId;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject},
    version::TLS13,
};
use tokio::{net::TcpListener, sync::Notify, time::timeout};
use tokio_rustls::TlsAcceptor;

use crate::rig::{CLUSTER, Node, PATIENCE, certificate, credentials, options};

/// Signs the key in a request that begins with the right secret.
struct Signer {
    ca: ClusterCa,
    secret_hash: [u8; 32],
    began: AtomicUsize,
    hold: Option<Arc<Notify>>,
}

impl JoinHandler for Signer {
    fn join(&self, _peer: SocketAddr, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        self.began.fetch_add(1, Ordering::SeqCst);
        let (secret, key) = request.split_at(request.len().min(16));
        let right = JoinToken::hash_secret(secret) == self.secret_hash;
        let signed = self.ca.sign(NodeId(2), key, NODE_VALIDITY);
        let hold = self.hold.clone();
        async move {
            if let Some(hold) = hold {
                hold.notified().await;
            }
            if !right {
                return Err("the token was used, or is not ours".into());
            }
            Ok(signed.map_err(|error| error.to_string())?.pem().into())
        }
        .boxed()
    }
}

struct Joinable {
    node: Node,
    signer: Arc<Signer>,
    token: JoinToken,
}

async fn joinable(hold: Option<Arc<Notify>>) -> Joinable {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let token = JoinToken::new(ca.fingerprint(), CLUSTER, vec![port.to_string()]).unwrap();
    let mut ours = options(credentials(&ca, 1, &[&ca]));
    let signer = Arc::new(Signer {
        ca,
        secret_hash: token.secret_hash(),
        began: AtomicUsize::new(0),
        hold,
    });
    ours.join = Some(signer.clone());
    let node = Node::start_at(ours, port).await;
    Joinable {
        node,
        signer,
        token,
    }
}

fn request(token: &JoinToken, key: &NodeKey) -> Bytes {
    [&token.secret()[..], &key.public_key_der()].concat().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_token_becomes_a_node() {
    let joinable = joinable(None).await;
    let token = JoinToken::parse(&joinable.token.to_string()).unwrap();
    let key = NodeKey::generate().unwrap();
    let address = &token.addresses()[0];
    let pem = ask_to_join(address, token.ca_fingerprint(), request(&token, &key))
        .await
        .unwrap();
    let pem = String::from_utf8(pem.to_vec()).unwrap();
    let trusted = [joinable.signer.ca.certificate().clone()];
    let mine = Credentials::new(Certificate::from_pem(&pem).unwrap(), &key, &trusted).unwrap();
    let two = Node::start(options(mine)).await;
    two.knows(&joinable.node);
    two.until(joinable.node.id, Link::Up).await;
    assert_eq!(
        two.ask(&joinable.node, Class::Store, "who").await,
        Ok("n2".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told() {
    let joinable = joinable(None).await;
    let key = NodeKey::generate().unwrap();
    let fingerprint = joinable.token.ca_fingerprint();
    let address = joinable.node.address.to_string();
    let other = JoinToken::new(fingerprint, CLUSTER, vec![address.clone()]).unwrap();
    let error = ask_to_join(&address, fingerprint, request(&other, &key))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        JoinError::Refused {
            address: address.clone(),
            cause: "the token was used, or is not ours".into()
        }
    );
    let long = vec![0; JOIN_BYTES_MAX + 1];
    let error = ask_to_join(&address, fingerprint, long.into())
        .await
        .unwrap_err();
    assert_eq!(error, JoinError::TooLong(JOIN_BYTES_MAX + 1));
    // A node that takes no such requests.
    let plain = Node::start(options(credentials(
        &joinable.signer.ca,
        3,
        &[&joinable.signer.ca],
    )))
    .await;
    let error = ask_to_join(&plain.address.to_string(), fingerprint, Bytes::new()).await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("takes no requests to join")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_another_cluster() {
    let joinable = joinable(None).await;
    let address = joinable.node.address.to_string();
    let error = ask_to_join(&address, [7; 32], Bytes::from_static(b"secret"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{address} is not of the cluster that the token is for: \
             it does not show the CA with the token's fingerprint"
        )
    );
    assert_eq!(joinable.signer.began.load(Ordering::SeqCst), 0);
}

/// Shows a chain, with the key of its first certificate. Gives what it was sent behind the handshake.
async fn impostor(
    chain: Vec<Certificate>,
    key: NodeKey,
) -> (String, tokio::task::JoinHandle<usize>) {
    let key = PrivateKeyDer::from_pem_slice(key.pem().as_bytes()).unwrap();
    let chain = chain
        .iter()
        .map(|certificate| certificate.der().clone())
        .collect();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"mailrook-nodes".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        match TlsAcceptor::from(Arc::new(config)).accept(tcp).await {
            Ok(mut tls) => {
                let mut heard = vec![];
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut heard).await;
                heard.len()
            }
            Err(_) => 0,
        }
    });
    (address, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_man_in_the_middle_hears_nothing() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let forged = ClusterCa::generate(CLUSTER).unwrap();
    let public = ca.certificate().clone();
    let (by_forged, forged_key) = certificate(&forged, 1, NODE_VALIDITY);
    // His own CA; the true one shown beside his own certificate; the true one alone, without its key.
    let (alone, alone_key) = (
        ClusterCa::generate(CLUSTER).unwrap(),
        NodeKey::generate().unwrap(),
    );
    let unsigned = alone
        .sign(NodeId(1), &alone_key.public_key_der(), NODE_VALIDITY)
        .unwrap();
    let tries = [
        (
            vec![by_forged.clone(), forged.certificate().clone()],
            NodeKey::from_pem(&forged_key.pem()).unwrap(),
            "it does not show the CA",
        ),
        (
            vec![by_forged, forged.certificate().clone(), public.clone()],
            forged_key,
            "was not signed by the CA",
        ),
        (
            vec![unsigned, public],
            alone_key,
            "was not signed by the CA",
        ),
    ];
    for (chain, key, words) in tries {
        let (address, heard) = impostor(chain, key).await;
        let asked = ask_to_join(&address, ca.fingerprint(), Bytes::from_static(b"secret"));
        let error = asked.await.unwrap_err();
        assert!(matches!(&error, JoinError::Untrusted { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(heard.await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_member_or_the_ca_itself_is_not_believed() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let (expired, key) = certificate(&ca, 1, Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (address, _) = impostor(vec![expired, ca.certificate().clone()], key).await;
    let error = ask_to_join(&address, ca.fingerprint(), Bytes::new())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("was not signed by the CA with the token's fingerprint")
    );
    assert!(error.to_string().contains("CertExpired"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_few_join_at_a_time() {
    let hold = Arc::new(Notify::new());
    let joinable = joinable(Some(hold.clone())).await;
    let address = joinable.node.address.to_string();
    let key = NodeKey::generate().unwrap();
    let ask = || {
        ask_to_join(
            &address,
            joinable.token.ca_fingerprint(),
            request(&joinable.token, &key),
        )
    };
    let asking = join_all((0..10).map(|_| ask()));
    let letting = async {
        while joinable.signer.began.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await;
        }
        // One that comes now is one too many.
        let error = ask().await.unwrap_err();
        assert!(
            error.to_string().contains("too many nodes are joining"),
            "{error}"
        );
        loop {
            hold.notify_waiters();
            tokio::task::yield_now().await;
        }
    };
    let answers = timeout(PATIENCE, async {
        tokio::select! {
            answers = asking => answers,
            () = letting => unreachable!(),
        }
    });
    let answers = answers.await.unwrap();
    assert!(answers.iter().filter(|answer| answer.is_ok()).count() >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_not_a_refusal() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = ask_to_join(&nobody.to_string(), [7; 32], Bytes::new())
        .await
        .unwrap_err();
    assert!(matches!(error, JoinError::Unreachable { .. }), "{error}");
}

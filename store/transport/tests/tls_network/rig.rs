//! A cluster for tests, and a handler that does as it is asked.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_transport::{
    CallError, Certificate, Class, ClusterCa, Credentials, Duplex, FEATURE_LEVEL_UNKNOWN, Handler,
    Handlers, Introduce, Link, NODE_VALIDITY, Network, NodeKey, RejectCode, Rejection, TlsNetwork,
    TlsNetworkOptions, WIRE_VERSIONS,
};
use mailrook_types::NodeId;
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::{Notify, broadcast},
    time::{Instant, timeout},
};

pub const CLUSTER: u128 = 0xc1;

/// Far more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(8);

pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Answers `echo …`, `fail …`, `panic`, `reply <bytes>`, `wait`, `count`; streams are echoed, or read when they are told to.
#[derive(Default)]
pub struct Obedient {
    /// Lets one `wait` go on.
    pub go: Notify,
    /// `wait`s that have begun.
    pub waiting: AtomicUsize,
    /// Somebody began to wait.
    pub began: Notify,
    /// `wait`s that have ended.
    pub waited: AtomicUsize,
    /// The streams of `keep`.
    pub kept: Mutex<Vec<Duplex>>,
    pub kept_one: Notify,
}

struct Obeying(Arc<Obedient>);

impl Handler for Obeying {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let this = Arc::clone(&self.0);
        async move {
            let (word, rest) = match request.iter().position(|b| *b == b' ') {
                Some(at) => (request.slice(..at), request.slice(at + 1..)),
                None => (request.clone(), Bytes::new()),
            };
            let rest_text = String::from_utf8_lossy(&rest[..rest.len().min(100)]).into_owned();
            match &word[..] {
                b"echo" => Ok(rest),
                b"who" => Ok(from.to_string().into()),
                b"len" => Ok(rest.len().to_string().into()),
                b"fail" => Err(rest_text),
                b"panic" => panic!("as asked"),
                b"reply" => Ok(vec![7; rest_text.parse().unwrap()].into()),
                b"wait" => {
                    this.waiting.fetch_add(1, Ordering::SeqCst);
                    this.began.notify_one();
                    this.go.notified().await;
                    this.waited.fetch_add(1, Ordering::SeqCst);
                    Ok(rest)
                }
                _ => Err("unknown request".into()),
            }
        }
        .boxed()
    }

    fn open(&self, _from: NodeId, request: Bytes, mut stream: Duplex) -> BoxFuture<'static, ()> {
        let this = Arc::clone(&self.0);
        async move {
            match &request[..] {
                b"echo" => {
                    while let Some(item) = stream.incoming.recv().await {
                        if stream.outgoing.send(item).await.is_err() {
                            return;
                        }
                    }
                }
                b"keep" => {
                    this.kept.lock().push(stream);
                    this.kept_one.notify_one();
                }
                b"panic" => panic!("as asked"),
                _ => {}
            }
        }
        .boxed()
    }
}

impl Obedient {
    pub async fn kept(&self) -> Duplex {
        loop {
            if let Some(stream) = self.kept.lock().pop() {
                return stream;
            }
            timeout(PATIENCE, self.kept_one.notified())
                .await
                .expect("no stream");
        }
    }
}

/// Says its name, and admits all or none.
#[derive(Default)]
pub struct Guard {
    pub strict: AtomicBool,
    pub admitted: Mutex<Vec<(NodeId, Bytes)>>,
    pub rejected: Mutex<Vec<(NodeId, RejectCode)>>,
}

impl Introduce for Guard {
    fn introduce(&self) -> Bytes {
        Bytes::from_static(b"hello from here")
    }

    fn admit(&self, from: NodeId, introduction: Bytes) -> Result<(), Rejection> {
        if self.strict.load(Ordering::SeqCst) {
            return Err(Rejection {
                code: RejectCode::OldCopy { heard: 9 },
                words: "your disk is an old copy".into(),
            });
        }
        self.admitted.lock().push((from, introduction));
        Ok(())
    }

    fn rejected(&self, by: NodeId, rejection: &Rejection) {
        self.rejected.lock().push((by, rejection.code));
    }
}

pub fn certificate(ca: &ClusterCa, node: u64, validity: Duration) -> (Certificate, NodeKey) {
    let key = NodeKey::generate().unwrap();
    let certificate = ca
        .sign(NodeId(node), &key.public_key_der(), validity)
        .unwrap();
    (certificate, key)
}

pub fn credentials(ca: &ClusterCa, node: u64, trusted: &[&ClusterCa]) -> Credentials {
    let (certificate, key) = certificate(ca, node, NODE_VALIDITY);
    let trusted: Vec<_> = trusted.iter().map(|ca| ca.certificate().clone()).collect();
    Credentials::new(certificate, &key, &trusted).unwrap()
}

pub fn options(credentials: Credentials) -> TlsNetworkOptions {
    TlsNetworkOptions {
        cluster: credentials.cluster(),
        node: credentials.node(),
        credentials,
        advertise: "node.example.test:7946".into(),
        wire: WIRE_VERSIONS,
        feature_level: FEATURE_LEVEL_UNKNOWN,
        introduce: Arc::new(Guard::default()),
        join: None,
    }
}

pub struct Node {
    pub id: NodeId,
    pub network: TlsNetwork,
    pub address: SocketAddr,
    pub handler: Arc<Obedient>,
}

impl Node {
    pub async fn start(options: TlsNetworkOptions) -> Node {
        Node::start_at(options, "127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(options: TlsNetworkOptions, address: SocketAddr) -> Node {
        let id = options.node;
        let network = TlsNetwork::new(options).unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = Arc::new(Obedient::default());
        network.listen(listener, handlers(&handler));
        Node {
            id,
            network,
            address,
            handler,
        }
    }

    pub fn knows(&self, other: &Node) {
        self.network
            .set_address(other.id, &other.address.to_string());
    }

    pub async fn ask(&self, to: &Node, class: Class, request: &str) -> Result<String, CallError> {
        let request = Bytes::copy_from_slice(request.as_bytes());
        let reply = self.network.call(to.id, class, request, soon()).await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }

    /// Waits until the link to a node is as said.
    pub async fn until(&self, to: NodeId, link: Link) {
        let mut links = self.network.links();
        let change = async {
            while self.network.link(to) != link {
                match links.recv().await {
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => panic!("the network is gone"),
                }
            }
        };
        if timeout(PATIENCE, change).await.is_err() {
            panic!("not {link:?}, but {:?}", self.network.peers());
        }
    }

    /// Waits until the trouble with a node is said with these words.
    pub async fn trouble(&self, to: NodeId, words: &str) {
        let deadline = soon();
        loop {
            let peers = self.network.peers();
            let trouble = peers
                .iter()
                .find(|peer| peer.node == to)
                .unwrap()
                .trouble
                .clone();
            if trouble
                .as_ref()
                .is_some_and(|trouble| trouble.contains(words))
            {
                return;
            }
            assert!(Instant::now() < deadline, "not {words:?}, but {trouble:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn handlers(handler: &Arc<Obedient>) -> Handlers {
    let of = || -> Arc<dyn Handler> { Arc::new(Obeying(Arc::clone(handler))) };
    Handlers {
        consensus: of(),
        store: of(),
        control: of(),
        bulk: of(),
    }
}

/// Nodes 1 to `count`, each connected to each.
pub async fn cluster(count: u64) -> Vec<Node> {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let mut nodes = Vec::new();
    for node in 1..=count {
        nodes.push(Node::start(options(credentials(&ca, node, &[&ca]))).await);
    }
    for node in &nodes {
        for other in &nodes {
            node.knows(other);
        }
    }
    for node in &nodes {
        for other in nodes.iter().filter(|other| other.id != node.id) {
            node.until(other.id, Link::Up).await;
        }
    }
    nodes
}

pub async fn pair() -> (Node, Node) {
    let mut nodes = cluster(2).await;
    let two = nodes.pop().unwrap();
    (nodes.pop().unwrap(), two)
}

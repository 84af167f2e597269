//! What the transport costs: two nodes on loopback, in one process, with TLS.
//!
//! ```text
//! cargo run --release -p mailrook-transport --example echo
//! ```
//!
//! The CPU time is that of both nodes together, the kernel's included.

#![allow(clippy::print_stdout)]

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_transport::{
    Class, ClusterCa, Credentials, Duplex, FEATURE_LEVEL_UNKNOWN, Handler, Handlers, Introduce,
    Link, NODE_VALIDITY, Network, NodeKey, Rejection, TlsNetwork, TlsNetworkOptions, WIRE_VERSIONS,
};
use mailrook_types::NodeId;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CLUSTER: u128 = 1;
const THERE: NodeId = NodeId(2);

/// Gives calls back; reads streams to the end, and then says how much it was.
struct Echo;

impl Handler for Echo {
    fn call(&self, _from: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        async { Ok(request) }.boxed()
    }

    fn open(&self, _from: NodeId, _request: Bytes, mut stream: Duplex) -> BoxFuture<'static, ()> {
        async move {
            let mut bytes = 0;
            while let Some(item) = stream.incoming.recv().await {
                bytes += item.len() as u64;
            }
            let _ = stream
                .outgoing
                .send(bytes.to_be_bytes().to_vec().into())
                .await;
        }
        .boxed()
    }
}

struct Anyone;

impl Introduce for Anyone {
    fn introduce(&self) -> Bytes {
        Bytes::new()
    }

    fn admit(&self, _from: NodeId, _introduction: Bytes) -> Result<(), Rejection> {
        Ok(())
    }
}

async fn node(ca: &ClusterCa, node: NodeId) -> Outcome<(TlsNetwork, String)> {
    let key = NodeKey::generate()?;
    let certificate = ca.sign(node, &key.public_key_der(), NODE_VALIDITY)?;
    let network = TlsNetwork::new(TlsNetworkOptions {
        cluster: CLUSTER,
        node,
        credentials: Credentials::new(certificate, &key, &[ca.certificate().clone()])?,
        advertise: String::new(),
        wire: WIRE_VERSIONS,
        feature_level: FEATURE_LEVEL_UNKNOWN,
        introduce: Arc::new(Anyone),
        join: None,
    })?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let handler: Arc<dyn Handler> = Arc::new(Echo);
    network.listen(
        listener,
        Handlers {
            consensus: Arc::clone(&handler),
            store: Arc::clone(&handler),
            control: Arc::clone(&handler),
            bulk: handler,
        },
    );
    Ok((network, address))
}

fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

async fn calls(network: &TlsNetwork, callers: usize, bytes: usize, each: usize) -> Outcome<()> {
    let (began, cpu_before) = (Instant::now(), cpu());
    let request = Bytes::from(vec![7; bytes]);
    let caller = |_| {
        let request = request.clone();
        async move {
            for _ in 0..each {
                let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
                network
                    .call(THERE, Class::Consensus, request.clone(), deadline)
                    .await?;
            }
            Outcome::Ok(())
        }
    };
    futures::future::try_join_all((0..callers).map(caller)).await?;
    let (took, used, all) = (began.elapsed(), cpu() - cpu_before, callers * each);
    println!(
        "calls of {bytes:>5} bytes, {callers:>4} at once: {:>8.0} calls/s, {:>6.1} µs CPU a call, {:>6.1} µs each",
        all as f64 / took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / all as f64,
        took.as_secs_f64() * 1e6 / each as f64,
    );
    Ok(())
}

async fn stream(network: &TlsNetwork, bytes: usize, items: usize) -> Outcome<()> {
    let (began, cpu_before) = (Instant::now(), cpu());
    let item = Bytes::from(vec![7; bytes]);
    let Duplex {
        outgoing,
        mut incoming,
    } = network.open(THERE, Class::Bulk, Bytes::new())?;
    for _ in 0..items {
        outgoing.send(item.clone()).await?;
    }
    drop(outgoing);
    incoming.recv().await.ok_or("the stream broke")?;
    let (took, used) = (began.elapsed(), cpu() - cpu_before);
    let megabytes = (bytes * items) as f64 / 1e6;
    println!(
        "stream of {items:>6} items of {bytes:>7} bytes: {:>6.0} MB/s, {:>5.2} ms CPU a MB",
        megabytes / took.as_secs_f64(),
        used.as_secs_f64() * 1e3 / megabytes,
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let ca = ClusterCa::generate(CLUSTER)?;
    let (here, _) = node(&ca, NodeId(1)).await?;
    let (_there, address) = node(&ca, THERE).await?;
    let mut links = here.links();
    here.set_address(THERE, &address);
    while here.link(THERE) != Link::Up {
        links.recv().await?;
    }
    calls(&here, 1, 100, 2_000).await?;
    for callers in [1, 16, 256] {
        calls(&here, callers, 100, 100_000 / callers.max(4)).await?;
    }
    calls(&here, 16, 16 << 10, 2_000).await?;
    for (bytes, items) in [
        (100, 200_000),
        (16 << 10, 50_000),
        (1 << 20, 1_000),
        (8 << 20, 125),
    ] {
        stream(&here, bytes, items).await?;
    }
    Ok(())
}

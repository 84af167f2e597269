//! The content of a copy in short, as of one entry: what is compared with the other copies.
//!
//! It is asked for by a stream, which says twice what there is: first the entry at which the copy is read, at once, and
//! then the digest, after as long as reading everything takes. Who asks and finds that another copy is elsewhere drops the
//! stream, and the reading ends.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::Node;
use mailrook_kv::{Direction, KvError, Read, Space};
use mailrook_transport::{Class, Duplex, Link, Network};
use mailrook_types::{NodeId, ShardId};
use tokio::{sync::oneshot, time::Instant};

use crate::wire::{self, Ask};

/// The digest of a copy: BLAKE3 of all keys and values, each with its length before it.
pub type Digest = [u8; 32];

/// A copy that is being read. Dropped, it is read no further.
pub(crate) struct Reading {
    /// The last entry that is applied in what is read.
    pub(crate) applied_index: u64,
    /// Its end.
    pub(crate) digest: BoxFuture<'static, Result<Digest, String>>,
}

/// Ends the reading when nobody waits for it any more.
struct Unwanted(Arc<AtomicBool>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Begins to read this node's copy of a group, as it is after entry `index` if it can be had.
pub(crate) async fn read_here(
    node: Arc<Node>,
    shard: ShardId,
    index: u64,
) -> Result<Reading, String> {
    let unwanted = Unwanted(Arc::default());
    let ends = Arc::clone(&unwanted.0);
    let (tell, told) = oneshot::channel();
    let reading = tokio::task::spawn_blocking(move || {
        let group = node
            .group(shard)
            .ok_or_else(|| format!("there is no copy of group {shard} here"))?;
        let (mut tell, mut digest) = (Some(tell), None);
        let read = group.visit_state_at(index, &mut |state, at| {
            // An error means that nobody waits for it any more, which `ends` says too.
            let _ = tell.take().map(|tell| tell.send(at));
            digest = Some(digest_of(state, &ends));
        });
        read.map_err(|error| error.to_string())?;
        let digest = digest.ok_or("the copy was not shown")?;
        digest.map_err(|error| error.to_string())
    });
    let digest = async move {
        let _unwanted = unwanted;
        let read = reading.await;
        read.map_err(|error| error.to_string())?
    }
    .boxed();
    match told.await {
        Ok(applied_index) => Ok(Reading {
            applied_index,
            digest,
        }),
        // It ended before it saw anything, and says why.
        Err(_) => match digest.await {
            Err(cause) => Err(cause),
            Ok(_) => Err("the copy was read unseen".to_owned()),
        },
    }
}

/// The same of another node's copy.
pub(crate) async fn read_there(
    member: NodeId,
    shard: ShardId,
    index: u64,
    network: &Arc<dyn Network>,
) -> Result<Reading, String> {
    let ask = wire::write(&Ask::Digest(shard, index));
    let opened = network.open(member, Class::Control, ask);
    let mut stream = opened.map_err(|error| error.to_string())?;
    let applied_index = next(&mut stream).await?;
    let network = Arc::clone(network);
    let digest = async move {
        tokio::select! {
            said = next(&mut stream) => said,
            () = until_gone(&*network, member) => Err("the node is not reached any more".to_owned()),
        }
    };
    Ok(Reading {
        applied_index,
        digest: digest.boxed(),
    })
}

/// A stream outlives silence, as the node may only be paused; whoever reads copies waits no longer than this.
const GONE_AFTER: Duration = Duration::from_secs(60);

async fn until_gone(network: &dyn Network, member: NodeId) {
    let mut heard = Instant::now();
    while heard.elapsed() < GONE_AFTER {
        if network.link(member) == Link::Up {
            heard = Instant::now();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn next<T: serde::de::DeserializeOwned>(stream: &mut Duplex) -> Result<T, String> {
    let item = stream.incoming.recv().await;
    let item = item.ok_or("the node did not answer to the end")?;
    wire::read::<Result<T, String>>(&item)?
}

/// Answers one that asks by a stream.
pub(crate) async fn serve(node: Arc<Node>, shard: ShardId, index: u64, mut stream: Duplex) {
    let reading = match read_here(node, shard, index).await {
        Ok(reading) => reading,
        Err(cause) => {
            // An error here and below means that nobody waits for it.
            let _ = stream.outgoing.send(item(Err::<u64, _>(cause))).await;
            return;
        }
    };
    let at = item(Ok(reading.applied_index));
    if stream.outgoing.send(at).await.is_err() {
        return;
    }
    tokio::select! {
        digest = reading.digest => drop(stream.outgoing.send(item(digest)).await),
        // Nothing is said on it: who asked is gone.
        _ = stream.incoming.recv() => {}
    }
}

fn item<T: serde::Serialize>(said: Result<T, String>) -> Bytes {
    wire::write(&said)
}

fn digest_of(state: &dyn Read, ends: &AtomicBool) -> Result<Digest, KvError> {
    // The first byte of every key is a table's tag, below this.
    const END: [u8; 1] = [0xff];
    let mut hasher = blake3::Hasher::new();
    for space in Space::ALL {
        state.scan(space, &[], &END, Direction::Forward, &mut |key, value| {
            for bytes in [key, value] {
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
            match ends.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
    }
    Ok(*hasher.finalize().as_bytes())
}

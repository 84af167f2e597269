//! At every step of a move one of its parties is killed: who leads the shard that the account leaves, or the one that it goes to,
//! or the directory; or all nodes at once, as when a rack loses power. Every other time the mover dies with them.
//!
//! `MAILROOK_LONG=1` has every party die at every step, and not one at each.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use mailrook_meta::MoveState;
use mailrook_types::{NodeId, ShardId};
use tokio::task::JoinSet;

use crate::{
    accounts::{Ledger, Step, add_account, ask_for, control, shard_of},
    rig::{Cluster, Mortal, PATIENCE},
};

/// Commands of a move, and some more: a mover that comes through has all of them behind it.
const STEPS: i64 = 24;

/// A node that was killed is started again so much later.
const AWAY: Duration = Duration::from_millis(150);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    Source,
    Target,
    Directory,
    All,
}

const PARTIES: [Party; 4] = [Party::Source, Party::Target, Party::Directory, Party::All];

impl Party {
    /// The nodes that are killed.
    async fn nodes(self, cluster: &Cluster, from: ShardId) -> Vec<NodeId> {
        let group = match self {
            Party::Source => from,
            Party::Target => ShardId(3 - from.0),
            Party::Directory => ShardId::META,
            Party::All => return cluster.ids(),
        };
        vec![cluster.leader(group).await]
    }
}

async fn kill(cluster: &mut Cluster, nodes: &[NodeId]) {
    for id in nodes {
        cluster.crash(*id);
    }
    tokio::time::sleep(AWAY).await;
    for id in nodes {
        cluster.start(*id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_whoever_is_killed_at_any_step() {
    let mut cluster = Cluster::new(3).await;
    // Who uses the account is at a node that lives.
    let client = cluster.outside();
    let account = add_account(&client).await.id;
    let ledger = Ledger::new(account);
    let mut users = JoinSet::new();
    let (writes, writer) = (Arc::clone(&ledger), client.clone());
    users.spawn(async move { writes.write_on(writer).await });
    let (delivers, deliverer) = (Arc::clone(&ledger), client.clone());
    users.spawn(async move { delivers.deliver_on(deliverer).await });
    let (reads, reader) = (Arc::clone(&ledger), client.clone());
    users.spawn(async move { reads.read_on(reader).await });
    let all = std::env::var_os("MAILROOK_LONG").is_some();
    let (mut moved, mut stayed, mut killed) = (0, 0, 0);
    for step in 0..STEPS {
        for (number, party) in PARTIES.into_iter().enumerate() {
            if !all && number as i64 != step % 4 {
                continue;
            }
            let from = shard_of(&client, account).await;
            ask_for(&client, account).await;
            let mut held: Vec<(Arc<Mortal>, Step)> = Vec::new();
            // The mover stops at that step, before or after it was carried out; and is held up, or dies.
            let carried_out = (step / 2 + number as i64) % 2 == 0;
            control(client.clone(), step, carried_out, &mut held).await;
            let nodes = party.nodes(&cluster, from).await;
            kill(&mut cluster, &nodes).await;
            killed += nodes.len();
            for (mortal, step) in held {
                mortal.resume.notify_one();
                // It goes on, or finds that it was overtaken, or that nobody leads.
                let _ = step.await.unwrap();
            }
            let begun = Instant::now();
            let mut held = Vec::new();
            loop {
                match control(client.clone(), i64::MAX, false, &mut held).await {
                    None => break,
                    Some(of) => match of.state {
                        MoveState::Done => moved += 1,
                        MoveState::Failed(_) => stayed += 1,
                        _ => {}
                    },
                }
                assert!(
                    begun.elapsed() < PATIENCE,
                    "no end after {party:?} at {step}"
                );
            }
        }
    }
    ledger.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = users.join_next().await {
        ended.unwrap();
    }
    eprintln!(
        "{killed} nodes killed, {moved} moves came through after it, {stayed} came to nothing, {} messages, the slowest call took {} ms",
        ledger.there.lock().len(),
        ledger.slowest_ms.load(Ordering::SeqCst)
    );
    assert!(moved > 0 && killed > STEPS as usize, "{moved}, {killed}");
    ledger.verify(&client).await;
    for shard in [1, 2] {
        cluster.verify(ShardId(shard)).await;
    }
    cluster.end().await;
}

//! Groups that lost their quorum for good.

use std::time::{Duration, Instant};

use mailrook_types::{NodeId, ShardId};

use super::{
    cluster::{Cluster, ONE, PATIENCE},
    machine::{command, value},
};
use crate::{OpenError, Recovery};

#[tokio::test(flavor = "multi_thread")]
async fn one_copy_of_three_is_brought_back() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    for key in 1..=20 {
        cluster.put(ONE, key, b"letter").await;
    }
    cluster.shows(ONE, 20, b"letter").await;
    let survivor = cluster.leader(ONE).await;
    let term = cluster.group(survivor, ONE).status().term;
    let path = cluster.path(survivor);
    assert!(matches!(
        Recovery::open(&path),
        Err(OpenError::Locked { .. })
    ));
    for id in cluster.ids() {
        cluster.stop(id).await;
    }

    let recovery = Recovery::open(&path).unwrap();
    assert_eq!(recovery.node_id(), survivor);
    let copies = recovery.copies().unwrap();
    let copy = copies.iter().find(|copy| copy.shard == ONE).unwrap();
    assert_eq!(copy.voters.len(), 3);
    assert!(copy.last_index >= 20 && copy.last_term >= term && copy.log_time_ms > 0);
    recovery.recover(ONE, Some(command(21, b"first"))).unwrap();
    recovery.recover(ShardId::META, None).unwrap();
    assert!(recovery.recover(ShardId(7), None).is_err());
    let again = recovery.copies().unwrap();
    let copy = again.iter().find(|copy| copy.shard == ONE).unwrap();
    assert!(copy.voters.iter().eq([&survivor]));
    recovery.close();

    cluster.start(survivor).await;
    assert_eq!(cluster.leader(ONE).await, survivor);
    for (key, expected) in [(20, &b"letter"[..]), (21, b"first")] {
        let found = value(&*cluster.group(survivor, ONE), key);
        assert_eq!(found.as_deref(), Some(expected));
    }
    cluster.put(ONE, 22, b"after").await;
    // And again after a restart.
    cluster.crash(survivor);
    cluster.start(survivor).await;
    cluster.put(ONE, 23, b"later").await;

    // The others come back with what they had, which may be what was lost: it is put aside, and filled anew.
    let others: Vec<NodeId> = cluster.dirs.keys().copied().collect();
    let reached = cluster.reached(ONE).await;
    for id in others.into_iter().filter(|id| *id != survivor) {
        cluster.start(id).await;
        cluster.nodes[&id].drop_copy(ShardId::META).await.unwrap();
        cluster.nodes[&id].remove_copy(ONE, reached).await.unwrap();
        for kept in ["quarantine/group-0-1", "quarantine/group-1-1"] {
            assert!(cluster.path(id).join(kept).is_dir(), "{kept}");
        }
    }
    cluster.spread(ONE).await;
    cluster.shows(ONE, 23, b"later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_before_neither_lead_nor_are_followed() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    cluster.put(ONE, 1, b"before").await;
    cluster.shows(ONE, 1, b"before").await;
    let survivor = cluster.leader(ONE).await;
    let ids = cluster.ids();
    for id in &ids {
        cluster.stop(*id).await;
    }
    let recovery = Recovery::open(&cluster.path(survivor)).unwrap();
    for shard in [ShardId::META, ONE] {
        recovery.recover(shard, None).unwrap();
    }
    recovery.close();
    cluster.start(survivor).await;
    cluster.put(ONE, 2, b"after").await;

    // The others are a quorum of the members that they know.
    let others: Vec<NodeId> = ids.into_iter().filter(|id| *id != survivor).collect();
    for id in &others {
        cluster.start(*id).await;
    }
    let after = |cluster: &Cluster| value(&*cluster.group(survivor, ONE), 2);
    for shard in [ShardId::META, ONE] {
        for id in &others {
            let begun = Instant::now();
            while !cluster.group(*id, shard).is_stopped() {
                assert_eq!(after(&cluster).as_deref(), Some(&b"after"[..]));
                assert!(begun.elapsed() < PATIENCE, "{id} goes on with {shard}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    assert_eq!(cluster.leader(ONE).await, survivor);
    // Not for this time alone.
    cluster.crash(survivor);
    cluster.start(survivor).await;
    assert_eq!(cluster.leader(ONE).await, survivor);
    assert_eq!(after(&cluster).as_deref(), Some(&b"after"[..]));
    for id in &others {
        for shard in [ShardId::META, ONE] {
            cluster.nodes[id].drop_copy(shard).await.unwrap();
        }
    }
    cluster.spread(ONE).await;
    cluster.shows(ONE, 2, b"after").await;
    // And is brought back once more, from another copy.
    for id in cluster.ids() {
        cluster.stop(id).await;
    }
    let recovery = Recovery::open(&cluster.path(others[0])).unwrap();
    recovery.recover(ONE, None).unwrap();
    recovery.close();
    cluster.start(others[0]).await;
    cluster.put(ONE, 3, b"once more").await;
    let term = cluster.group(others[0], ONE).status().term;
    assert_eq!(term >> 32, 2, "{term}");
}

#[test]
fn an_empty_directory_is_left_empty() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Recovery::open(dir.path()).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

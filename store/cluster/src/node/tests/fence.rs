//! A node that others know more of than it does itself.

use std::time::{Duration, Instant};

use mailrook_types::NodeId;

use super::{
    cluster::{Cluster, ONE, PATIENCE},
    machine::command,
};
use crate::{GroupError, GroupRole, Reached};

/// The node that joins, and follows without a vote.
const JOINED: NodeId = NodeId(1);

/// A node that alone votes, and another one.
async fn two() -> (Cluster, NodeId) {
    let cluster = Cluster::new(1, |options| options.others = vec![JOINED]).await;
    let voter = cluster.leader(ONE).await;
    assert_ne!(voter, JOINED);
    cluster.put(ONE, 1, b"before").await;
    (cluster, voter)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_alone_votes_waits_for_another_node_but_not_for_a_dead_one() {
    let (mut cluster, voter) = two().await;
    for id in [voter, JOINED] {
        cluster.stop(id).await;
    }
    // It may be an old copy that the other one would refuse.
    let begun = Instant::now();
    cluster.start(voter).await;
    let group = cluster.group(voter, ONE);
    while begun.elapsed() < Duration::from_secs(3) {
        assert_ne!(group.status().role, GroupRole::Leader, "too soon");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(group.propose(command(2, b"too soon")).await.is_err());
    assert!(group.read_barrier().await.is_err());
    drop(group);
    // The other one is dead.
    cluster.put(ONE, 2, b"alone").await;
    assert!(begun.elapsed() < PATIENCE);

    cluster.stop(voter).await;
    cluster.start(JOINED).await;
    let begun = Instant::now();
    cluster.start(voter).await;
    cluster.put(ONE, 3, b"together").await;
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(3), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_fenced_serves_no_more() {
    let (mut cluster, voter) = two().await;
    let path = cluster.path(voter).join("groups");
    let before = std::fs::read_dir(&path).unwrap().count();
    cluster.nodes[&voter].fence("it is an old copy");
    let group = cluster.group(voter, ONE);
    let stopped = |result| {
        assert!(
            matches!(&result, Err(GroupError::Stopped { cause }) if cause.contains("old copy")),
            "{result:?}"
        );
    };
    stopped(group.read_barrier().await);
    stopped(group.propose(command(2, b"late")).await.map(drop));
    stopped(group.visit_state(&mut |_, _| {}));
    let added = cluster.nodes[&voter]
        .add_copy(mailrook_types::ShardId(7), Reached::default())
        .await;
    assert!(matches!(added, Err(GroupError::Refused { .. })));
    drop(group);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), before);
    // As it was, should it turn out to be the right one after all.
    cluster.crash(voter);
    cluster.start(voter).await;
    cluster.put(ONE, 2, b"after").await;
}

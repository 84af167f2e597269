//! Proposals, reads, watches, limits, restarts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mailrook_kv::Batch;
use mailrook_types::ShardId;

use super::{
    machine::{FAIL, PANIC, TIME, command, count, value},
    open, options, parts, start,
};
use crate::{
    COMMAND_BYTES_MAX, Group, GroupError, GroupRole, OpenError, Touched, data_dir::WitnessFile,
};

const ONE: ShardId = ShardId(1);

#[tokio::test]
async fn what_is_proposed_is_applied_answered_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    for key in 1..=3u64 {
        let reply = group.propose(command(key, b"letter")).await.unwrap();
        assert_eq!(reply, Bytes::copy_from_slice(&key.to_be_bytes()));
    }
    group.read_barrier().await.unwrap();
    assert_eq!(value(&*group, 2).as_deref(), Some(&b"letter"[..]));
    assert_eq!(
        value(&*node.group(ShardId(2)).unwrap(), 2),
        None,
        "groups are apart"
    );
    let status = node.status();
    assert_eq!(status.groups.len(), 3);
    assert_eq!(status.groups[1].role, GroupRole::Leader);
    let (id, cluster) = (node.node_id(), node.cluster_id());
    node.shutdown().await;
    let node = start(dir.path()).await;
    assert_eq!((node.node_id(), node.cluster_id()), (id, cluster));
    let group = node.group(ONE).unwrap();
    group.read_barrier().await.unwrap();
    assert_eq!(value(&*group, 3).as_deref(), Some(&b"letter"[..]));
    assert_eq!(
        group.propose(command(4, b"")).await.unwrap()[7],
        4,
        "each was applied once"
    );
}

#[tokio::test]
async fn after_a_shutdown_the_witness_knows_all_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    // Within far less time than the upkeep takes.
    for key in 1..=20u64 {
        group.propose(command(key, b"letter")).await.unwrap();
    }
    let last = group.status().last_index;
    drop(group);
    node.shutdown().await;
    let witness = WitnessFile::open(dir.path().join("witness")).unwrap();
    let known = witness.content().groups[&ONE].last;
    assert_eq!(known.map(|mark| mark.index), Some(last));
}

#[tokio::test]
async fn a_node_may_be_dropped_without_a_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3u64 {
        let node = start(dir.path()).await;
        let group = node.group(ONE).unwrap();
        group.read_barrier().await.unwrap();
        assert_eq!(
            group.read(|state| count(state).unwrap()).unwrap(),
            (round - 1) * 100
        );
        let proposals = (0..100).map(|key| group.propose(command(round * 1000 + key, &[7; 3000])));
        futures::future::try_join_all(proposals).await.unwrap();
        // Whoever holds a group holds the directory.
        drop(group);
        drop(node);
        wait_for_release(dir.path()).await;
    }
}

/// What runs in the background of a dropped node lets go of its directory a little later.
async fn wait_for_release(dir: &std::path::Path) {
    let lock = std::fs::File::open(dir.join("LOCK")).unwrap();
    while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn reads_have_the_time_of_the_log() {
    const DAY_MS: i64 = 86_400_000;
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    let stamped = async |group: &dyn Group| {
        group.propose(command(TIME, b"")).await.unwrap();
        i64::from_be_bytes(value(group, TIME).unwrap().try_into().unwrap())
    };
    let read = |group: &dyn Group| group.read_at(|_, time_ms| time_ms).unwrap();
    for _ in 0..20 {
        let before = stamped(&*group).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let between = read(&*group);
        assert!(before < between, "it goes on while nothing is written");
        assert!(between <= stamped(&*group).await);
    }
    // The machine's clock was a day ahead, and is right again after a restart.
    let copy = node.inner.group(ONE).unwrap();
    let state = copy.state();
    let mut applied = state.applied();
    applied.time_ms += DAY_MS;
    let ahead = applied.time_ms;
    state.commit(Batch::default(), applied).unwrap();
    assert!(read(&*group) >= ahead);
    drop(group);
    node.shutdown().await;
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    let between = read(&*group);
    assert!((ahead..ahead + DAY_MS).contains(&between));
    assert!(between <= stamped(&*group).await);
}

#[tokio::test]
async fn a_command_that_is_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    let longest = vec![7; COMMAND_BYTES_MAX - 8];
    group.propose(command(1, &longest)).await.unwrap();
    assert_eq!(value(&*group, 1), Some(longest));
    let error = group
        .propose(command(2, &[7; COMMAND_BYTES_MAX]))
        .await
        .unwrap_err();
    assert!(matches!(error, GroupError::TooLarge { .. }) && !error.is_temporary());
}

#[tokio::test]
async fn watchers_hear_what_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    let mut watch = group.watch();
    group.propose(command(9, b"")).await.unwrap();
    assert_eq!(watch.next().await, Some(Touched::Keys([(9, 1)].into())));
    for _ in 0..3000 {
        group.propose(command(9, b"")).await.unwrap();
    }
    assert_eq!(
        watch.next().await,
        Some(Touched::Everything),
        "it was too slow"
    );
}

#[tokio::test]
async fn a_command_that_cannot_be_applied_stops_its_group_alone() {
    for bad in [PANIC, FAIL] {
        let dir = tempfile::tempdir().unwrap();
        let node = start(dir.path()).await;
        let group = node.group(ONE).unwrap();
        group.propose(command(1, b"good")).await.unwrap();
        assert_eq!(
            group.propose(command(bad, b"")).await,
            Err(GroupError::OutcomeUnknown)
        );
        let stopped = |result| matches!(result, Err(GroupError::Stopped { cause }) if cause.contains("as asked"));
        assert!(stopped(group.propose(command(2, b"")).await));
        assert!(stopped(group.read_barrier().await.map(|()| Bytes::new())));
        assert!(matches!(
            node.status().groups[1].role,
            GroupRole::Stopped { .. }
        ));
        let other = node.group(ShardId(2)).unwrap();
        other.propose(command(1, b"good")).await.unwrap();
        node.shutdown().await;
        // It stands in the log, and stops the copy again: nothing is skipped in silence.
        let node = start(dir.path()).await;
        assert!(stopped(
            node.group(ONE).unwrap().propose(command(2, b"")).await
        ));
        let other = node.group(ShardId(2)).unwrap();
        assert_eq!(value(&*other, 1).as_deref(), Some(&b"good"[..]));
        node.shutdown().await;
    }
}

#[tokio::test]
async fn the_logs_time_is_the_leaders_and_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let node = start(dir.path()).await;
        let group = node.group(ONE).unwrap();
        group.propose(command(TIME, b"")).await.unwrap();
        let time = i64::from_be_bytes(value(&*group, TIME).unwrap().try_into().unwrap());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as i64;
        assert!(time >= last && (now - 60_000..=now).contains(&time));
        assert_eq!(group.status().log_time_ms, time);
        last = time;
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_stopped_node_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    let under_way = (0..50).map(|key| group.propose(command(key, &[1; 5000])));
    let (done, ()) = tokio::join!(futures::future::join_all(under_way), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        node.shutdown().await;
    });
    assert!(done.iter().all(|result| match result {
        Ok(_) | Err(GroupError::Stopped { .. }) => true,
        Err(_) => false,
    }));
    assert!(matches!(
        group.propose(command(99, b"")).await,
        Err(GroupError::Stopped { .. })
    ));
    assert!(matches!(
        group.read_barrier().await,
        Err(GroupError::Stopped { .. })
    ));
    assert!(group.read(|_| ()).is_err());
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    let kept = done.iter().filter(|result| result.is_ok()).count() as u64;
    assert_eq!(group.read(|state| count(state).unwrap()).unwrap(), kept);
}

#[tokio::test]
async fn an_option_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut many = options(dir.path());
    many.first_shards = 64;
    let error = open::open(many, super::machines(), parts())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, OpenError::Options(_)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn starting_is_quick() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path()).await.shutdown().await;
    let started = std::time::Instant::now();
    let node = start(dir.path()).await;
    node.group(ShardId::META)
        .unwrap()
        .read_barrier()
        .await
        .unwrap();
    // An election timeout would be a second at least.
    assert!(
        started.elapsed() < Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
}

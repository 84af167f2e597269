//! Leaderships that a node gives away because it should not lead.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::cluster::{Cluster, ONE, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn a_leadership_that_is_being_handed_over_is_not_handed_over_again() {
    let cluster = Cluster::of_three(|options| options.disk_reserve_bytes = 1000).await;
    let leader = cluster.leader(ONE).await;
    let would_lead = || cluster.heard.would_lead.load(Ordering::Relaxed);
    cluster.heard.no_transfer.store(true, Ordering::Relaxed);
    cluster.set_free_bytes(leader, 500);
    let begun = Instant::now();
    while would_lead() == 0 {
        assert!(begun.elapsed() < PATIENCE, "nobody is asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Less than it takes until it is given up.
    tokio::time::sleep(Duration::from_millis(4500)).await;
    assert!(would_lead() <= 2, "{} were asked", would_lead());
    cluster.heard.no_transfer.store(false, Ordering::Relaxed);
}

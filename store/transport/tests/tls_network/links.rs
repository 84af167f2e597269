//! What is told of the way to another node, and how fast.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mailrook_transport::{CallError, Class, ClusterCa, Link, Network};
use mailrook_types::NodeId;
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};

use crate::{
    proxy::Proxy,
    rig::{CLUSTER, Node, PATIENCE, credentials, options, pair, soon},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_died_is_refused_within_milliseconds() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let one = Node::start(options(credentials(&ca, 1, &[&ca]))).await;
    // A runtime that is dropped closes its sockets as the kernel does those of a process.
    let process = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let theirs = options(credentials(&ca, 2, &[&ca]));
    let two = process.spawn(Node::start(theirs)).await.unwrap();
    one.knows(&two);
    one.until(two.id, Link::Up).await;
    let stream = one
        .network
        .open(two.id, Class::Store, Bytes::from_static(b"keep"))
        .unwrap();
    two.handler.kept_one.notified().await;
    let mut links = one.network.links();

    let died = Instant::now();
    process.shutdown_background();
    one.until(two.id, Link::Refused).await;
    let noticed = died.elapsed();
    assert!(noticed < Duration::from_millis(500), "{noticed:?}");
    timeout(PATIENCE, stream.outgoing.closed()).await.unwrap();

    // Callers are not kept waiting.
    let error = one.ask(&two, Class::Control, "echo x").await.unwrap_err();
    assert!(matches!(&error, CallError::Unreachable { .. }), "{error}");
    assert!(
        one.network
            .open(two.id, Class::Store, Bytes::new())
            .is_err()
    );
    let mut told = vec![];
    while let Ok((node, link)) = links.try_recv() {
        assert_eq!(node, two.id);
        told.push(link);
    }
    assert_eq!(told.last(), Some(&Link::Refused), "{told:?}");
    assert!(
        told.windows(2).all(|two| two[0] != two[1]),
        "only changes: {told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_started_again_is_up_again() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let one = Node::start(options(credentials(&ca, 1, &[&ca]))).await;
    let theirs = options(credentials(&ca, 2, &[&ca]));
    let two = Node::start(theirs.clone()).await;
    one.knows(&two);
    one.until(two.id, Link::Up).await;
    assert_eq!(one.ask(&two, Class::Store, "echo x").await, Ok("x".into()));
    let before = one.network.peers()[0].incarnation;
    two.network.shutdown().await;
    one.until(two.id, Link::Refused).await;
    let again = Node::start_at(theirs, two.address).await;
    // It dials us, and is dialled for that at once.
    again.knows(&one);
    again.until(one.id, Link::Up).await;
    one.until(two.id, Link::Up).await;
    assert_eq!(
        one.ask(&again, Class::Store, "echo x").await,
        Ok("x".into())
    );
    let after = one.network.peers()[0].incarnation;
    assert_ne!(before, after);
    assert_eq!(after, Some(again.network.incarnation()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_the_first_connection() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let one = Node::start(options(credentials(&ca, 1, &[&ca]))).await;
    let two = Node::start(options(credentials(&ca, 2, &[&ca]))).await;
    assert_eq!(one.network.link(two.id), Link::Down);
    one.knows(&two);
    assert_eq!(one.ask(&two, Class::Bulk, "echo x").await, Ok("x".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_is_dialled_at_once() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let one = Node::start(options(credentials(&ca, 1, &[&ca]))).await;
    let two = Node::start(options(credentials(&ca, 2, &[&ca]))).await;
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    one.network.set_address(two.id, &nobody.to_string());
    one.until(two.id, Link::Refused).await;
    one.network
        .set_address(two.id, &format!("localhost:{}", two.address.port()));
    one.until(two.id, Link::Up).await;
    one.network.forget(two.id);
    assert_eq!(one.network.link(two.id), Link::Down);
    assert!(one.network.peers().is_empty());
}

async fn through_a_proxy() -> (Node, Node, Proxy) {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let one = Node::start(options(credentials(&ca, 1, &[&ca]))).await;
    let two = Node::start(options(credentials(&ca, 2, &[&ca]))).await;
    let proxy = Proxy::start(two.address).await;
    one.network.set_address(two.id, &proxy.address.to_string());
    one.until(two.id, Link::Up).await;
    assert_eq!(one.ask(&two, Class::Store, "echo x").await, Ok("x".into()));
    (one, two, proxy)
}

async fn until_silent(one: &Node, two: &Node) {
    let cut = Instant::now();
    one.until(two.id, Link::Silent).await;
    let noticed = cut.elapsed();
    assert!(noticed > Duration::from_millis(900), "{noticed:?}");
    assert!(noticed < Duration::from_millis(2500), "{noticed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_paused_is_silent_and_its_connections_live_on() {
    let (one, two, proxy) = through_a_proxy().await;
    let stream = one
        .network
        .open(two.id, Class::Store, Bytes::from_static(b"keep"))
        .unwrap();
    let mut kept = two.handler.kept().await;
    proxy.hold();
    until_silent(&one, &two).await;
    stream
        .outgoing
        .send(Bytes::from_static(b"late"))
        .await
        .unwrap();
    proxy.open();
    let healed = Instant::now();
    one.until(two.id, Link::Up).await;
    assert!(
        healed.elapsed() < Duration::from_millis(1500),
        "{:?}",
        healed.elapsed()
    );
    assert_eq!(kept.incoming.recv().await.unwrap(), "late");
    assert_eq!(one.ask(&two, Class::Store, "echo x").await, Ok("x".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_cut_off_gets_new_connections() {
    let (one, two, proxy) = through_a_proxy().await;
    proxy.lose();
    until_silent(&one, &two).await;
    let request = Bytes::from_static(b"echo x");
    let deadline = Instant::now() + Duration::from_millis(200);
    let answer = one
        .network
        .call(two.id, Class::Store, request, deadline)
        .await;
    assert!(matches!(answer, Err(CallError::Lost { .. })), "{answer:?}");
    proxy.open();
    let healed = Instant::now();
    one.until(two.id, Link::Up).await;
    assert!(
        healed.elapsed() < Duration::from_millis(2500),
        "{:?}",
        healed.elapsed()
    );
    assert_eq!(one.ask(&two, Class::Store, "echo x").await, Ok("x".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_dropped_lets_go_of_everything() {
    let (one, two) = pair().await;
    let network = Arc::new(one.network);
    let mut stream = network
        .open(two.id, Class::Store, Bytes::from_static(b"keep"))
        .unwrap();
    let mut kept = two.handler.kept().await;
    let calling = network.call(two.id, Class::Store, Bytes::from_static(b"wait"), soon());
    let calling = tokio::spawn(calling);
    two.handler.began.notified().await;
    drop(network);
    assert!(matches!(
        calling.await.unwrap(),
        Err(CallError::Lost { .. })
    ));
    assert_eq!(stream.incoming.recv().await, None);
    assert_eq!(kept.incoming.recv().await, None);
    two.until(NodeId(1), Link::Refused).await;
}

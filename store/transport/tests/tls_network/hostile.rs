//! Garbage, slowness and greed cost a bounded amount, and hurt nobody else.

use std::time::Duration;

use mailrook_transport::{Class, ClusterCa, ITEM_BYTES_MAX, Link, NODE_VALIDITY};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use crate::{
    raw::{HELLO, ITEM, OPEN, REPLY, REQUEST, Raw},
    rig::{CLUSTER, Node, PATIENCE, certificate, credentials, options},
};

async fn node() -> (ClusterCa, Node) {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let node = Node::start(options(credentials(&ca, 1, &[&ca]))).await;
    (ca, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_hung_up_on() {
    let (_ca, one) = node().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 1000],
        &[0x16, 3, 1, 0xff, 0xff, 1, 2],
    ] {
        let mut tcp = TcpStream::connect(one.address).await.unwrap();
        tcp.write_all(garbage).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut rest = vec![];
        let read = timeout(PATIENCE, tcp.read_to_end(&mut rest)).await.unwrap();
        // At most a TLS alert.
        assert!(read.is_err() || rest.len() < 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_silent_are_few_and_hung_up_on_and_nodes_get_through() {
    let (ca, one) = node().await;
    let began = Instant::now();
    let mut silent = vec![];
    for _ in 0..100 {
        let mut tcp = TcpStream::connect(one.address).await.unwrap();
        // The beginning of a handshake, which goes on never.
        tcp.write_all(&[0x16, 3, 1]).await.unwrap();
        silent.push(tcp);
    }
    // More than may be waited for from one address were hung up on at once; the others after five seconds.
    let mut at_once = 0;
    let mut patient = vec![];
    for mut tcp in silent {
        match timeout(Duration::from_millis(20), tcp.read(&mut [0; 10])).await {
            Ok(_) => at_once += 1,
            Err(_) => patient.push(tcp),
        }
    }
    assert!(at_once >= 52, "{at_once}");
    let two = Node::start(options(credentials(&ca, 2, &[&ca]))).await;
    two.knows(&one);
    for mut tcp in patient {
        assert!(timeout(PATIENCE, tcp.read(&mut [0; 10])).await.is_ok());
    }
    assert!(began.elapsed() < Duration::from_secs(8));
    two.until(one.id, Link::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_take_the_places_of_known_nodes() {
    let (ca, one) = node().await;
    let two = Node::start(options(credentials(&ca, 2, &[&ca]))).await;
    one.knows(&two);
    one.until(two.id, Link::Up).await;
    let mut silent = vec![];
    for n in 2..130 {
        // All of 127.0.0.0/8 is this machine.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, n], 0).into()).unwrap();
        silent.push(socket.connect(one.address).await.unwrap());
    }
    two.knows(&one);
    let asked = two.ask(&one, Class::Control, "echo x");
    // The strangers are there for five.
    let asked = timeout(Duration::from_secs(3), asked).await.unwrap();
    assert_eq!(asked, Ok("x".into()));
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_must_be_short() {
    let (ca, one) = node().await;
    let member = certificate(&ca, 2, NODE_VALIDITY);
    let mut raw = Raw::connect(&ca, one.address, 1, Some(member))
        .await
        .unwrap();
    // Only its length has to come.
    raw.write(&(1u32 << 20).to_be_bytes()).await;
    raw.rejected("a frame of 1048567 bytes, more than the 65536")
        .await;
    let mut raw = Raw::connect(&ca, one.address, 1, None).await.unwrap();
    raw.send(HELLO, 0, b"").await;
    raw.rejected("it shows no certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_breaks_the_protocol_is_told_how() {
    let (ca, one) = node().await;
    let member =
        async || Raw::member(&ca, one.address, 1, certificate(&ca, 2, NODE_VALIDITY)).await;

    let mut raw = member().await;
    raw.send(99, 0, b"").await;
    raw.rejected("the unknown kind 99; is the other node of a newer version?")
        .await;

    let mut raw = member().await;
    raw.write(&(ITEM_BYTES_MAX as u32 + 10).to_be_bytes()).await;
    raw.rejected("a frame of 8388609 bytes, more than the 8388608")
        .await;

    let mut raw = member().await;
    raw.write(&[0, 0, 0, 3]).await;
    raw.rejected("a frame of 3 bytes").await;

    for (kind, words) in [
        (HELLO, "not for this side, or not now"),
        (REPLY, "not for this side, or not now"),
        (ITEM, "a stream that was not opened"),
    ] {
        let mut raw = member().await;
        raw.send(kind, 5, b"").await;
        raw.rejected(words).await;
    }

    let mut raw = member().await;
    raw.send(REQUEST, 5, b"wait").await;
    raw.send(REQUEST, 5, b"wait").await;
    raw.rejected("an id that was used before").await;

    let mut raw = member().await;
    raw.send(OPEN, 1, b"keep").await;
    for _ in 0..200 {
        raw.send(ITEM, 1, b"x").await;
    }
    raw.rejected("items beyond the window of a stream").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_agreed_are_refused_one_by_one() {
    let (ca, one) = node().await;
    let mut raw = Raw::member(&ca, one.address, 1, certificate(&ca, 2, NODE_VALIDITY)).await;
    for id in 1..=1030 {
        raw.send(REQUEST, id, b"wait").await;
    }
    for id in 1025..=1030 {
        let (_, refused, text) = raw.receive().await.unwrap();
        assert_eq!(
            (refused, &text[..]),
            (id, &b"too many requests are in work"[..])
        );
    }
    let two = Node::start(options(credentials(&ca, 3, &[&ca]))).await;
    two.knows(&one);
    assert_eq!(two.ask(&one, Class::Store, "echo x").await, Ok("x".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_takes_the_place_of_the_first() {
    let (ca, one) = node().await;
    let mut first = Raw::member(&ca, one.address, 1, certificate(&ca, 2, NODE_VALIDITY)).await;
    let mut second = Raw::member(&ca, one.address, 1, certificate(&ca, 2, NODE_VALIDITY)).await;
    assert!(first.receive().await.is_err());
    second.send(REQUEST, 1, b"echo x").await;
    assert_eq!(second.receive().await.unwrap(), (REPLY, 1, "x".into()));
}

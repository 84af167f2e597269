//! Streams: order, windows, ends.

use std::time::Duration;

use bytes::Bytes;
use mailrook_transport::{Class, Duplex, ITEM_BYTES_MAX, Network, STREAM_ITEMS_MAX};
use tokio::time::timeout;

use crate::rig::{Node, PATIENCE, pair};

fn open(from: &Node, to: &Node, class: Class, request: &'static str) -> Duplex {
    from.network
        .open(to.id, class, Bytes::from_static(request.as_bytes()))
        .unwrap()
}

async fn next(stream: &mut Duplex) -> Option<Bytes> {
    timeout(PATIENCE, stream.incoming.recv())
        .await
        .expect("no item")
}

#[tokio::test(flavor = "multi_thread")]
async fn items_come_back_in_order_and_the_end_after_them() {
    let (one, two) = pair().await;
    let Duplex {
        outgoing,
        mut incoming,
    } = open(&one, &two, Class::Store, "echo");
    let sending = tokio::spawn(async move {
        for n in 0..2000u32 {
            // Of all lengths, the empty one too.
            let mut item = n.to_be_bytes().to_vec();
            item.resize((n as usize * 37) % 50_000, 0);
            outgoing.send(item.into()).await.unwrap();
        }
    });
    for n in 0..2000u32 {
        let item = timeout(PATIENCE, incoming.recv()).await.unwrap().unwrap();
        let mut expected = n.to_be_bytes().to_vec();
        expected.resize((n as usize * 37) % 50_000, 0);
        assert!(item == expected, "item {n}");
    }
    assert_eq!(incoming.recv().await, None);
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_items_pass() {
    let (one, two) = pair().await;
    let Duplex {
        outgoing,
        mut incoming,
    } = open(&one, &two, Class::Bulk, "echo");
    let sending = tokio::spawn(async move {
        for n in 0..4u8 {
            outgoing.send(vec![n; ITEM_BYTES_MAX].into()).await.unwrap();
            // Small ones between, for which no credit is given at once.
            outgoing.send(vec![n; 1].into()).await.unwrap();
        }
    });
    for n in 0..4u8 {
        let item = timeout(PATIENCE, incoming.recv()).await.unwrap().unwrap();
        assert!(item.len() == ITEM_BYTES_MAX && item.iter().all(|byte| *byte == n));
        let item = timeout(PATIENCE, incoming.recv()).await.unwrap().unwrap();
        assert_eq!(item[..], [n]);
    }
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_too_long_ends_its_stream_only() {
    let (one, two) = pair().await;
    let mut stream = open(&one, &two, Class::Store, "echo");
    stream
        .outgoing
        .send(vec![0; ITEM_BYTES_MAX + 1].into())
        .await
        .unwrap();
    assert_eq!(next(&mut stream).await, None);
    timeout(PATIENCE, stream.outgoing.closed()).await.unwrap();
    assert_eq!(one.ask(&two, Class::Store, "echo x").await, Ok("x".into()));
}

/// Sends until nothing is taken any more.
async fn fill(stream: &Duplex, item: Bytes) -> usize {
    let mut sent = 0;
    while let Ok(done) = timeout(
        Duration::from_millis(300),
        stream.outgoing.send(item.clone()),
    )
    .await
    {
        done.unwrap();
        sent += 1;
        assert!(sent < 1000, "without bound");
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_holds_back_its_own_sender_and_nobody_else() {
    let (one, two) = pair().await;
    let slow = open(&one, &two, Class::Store, "keep");
    let small = fill(&slow, Bytes::from_static(b"x")).await;
    // The window, and a few on either side of it.
    assert!(
        (STREAM_ITEMS_MAX..STREAM_ITEMS_MAX + 10).contains(&small),
        "{small}"
    );
    let large = open(&one, &two, Class::Store, "keep");
    let sent = fill(&large, vec![0; 1 << 20].into()).await;
    // 4 MiB in the window, and a few items on either side of it.
    assert!((4..14).contains(&sent), "{sent}");

    assert_eq!(one.ask(&two, Class::Store, "echo x").await, Ok("x".into()));
    let mut other = open(&one, &two, Class::Store, "echo");
    for _ in 0..100 {
        other.outgoing.send(Bytes::from_static(b"y")).await.unwrap();
        assert_eq!(next(&mut other).await.unwrap(), "y");
    }

    let mut kept = vec![two.handler.kept().await, two.handler.kept().await];
    drop((slow, large));
    let mut taken = Vec::new();
    for stream in &mut kept {
        let mut items = 0;
        while next(stream).await.is_some() {
            items += 1;
        }
        taken.push(items);
    }
    taken.sort_unstable();
    let mut both = vec![small, sent];
    both.sort_unstable();
    assert_eq!(taken, both);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_more_stops_the_sender() {
    let (one, two) = pair().await;
    let stream = open(&one, &two, Class::Store, "keep");
    let kept = two.handler.kept().await;
    let Duplex { outgoing, incoming } = kept;
    drop(incoming);
    timeout(PATIENCE, stream.outgoing.closed()).await.unwrap();
    // The other direction is still open.
    outgoing.send(Bytes::from_static(b"x")).await.unwrap();
    let mut stream = stream;
    assert_eq!(next(&mut stream).await.unwrap(), "x");
    drop(stream.incoming);
    timeout(PATIENCE, outgoing.closed()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_breaks_at_both_ends_with_its_connection() {
    let (one, two) = pair().await;
    let mut here = open(&one, &two, Class::Store, "keep");
    let mut there = two.handler.kept().await;
    let waiting = one.ask(&two, Class::Store, "wait");
    let closing = async {
        two.handler.began.notified().await;
        one.network.forget(two.id);
    };
    let (answer, ()) = tokio::join!(waiting, closing);
    assert!(
        answer
            .as_ref()
            .is_err_and(|error| error.to_string().contains("it was removed")),
        "{answer:?}"
    );
    assert_eq!(next(&mut here).await, None);
    assert_eq!(next(&mut there).await, None);
    timeout(PATIENCE, here.outgoing.closed()).await.unwrap();
    timeout(PATIENCE, there.outgoing.closed()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_share_a_connection() {
    let (one, two) = pair().await;
    let mut streams: Vec<_> = (0..500)
        .map(|_| open(&one, &two, Class::Store, "echo"))
        .collect();
    for (n, stream) in streams.iter().enumerate() {
        stream.outgoing.send(n.to_string().into()).await.unwrap();
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        assert_eq!(next(stream).await.unwrap(), n.to_string());
    }
}

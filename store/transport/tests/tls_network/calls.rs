//! Requests and replies.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use mailrook_transport::{CallError, Class, ITEM_BYTES_MAX, Network};
use mailrook_types::NodeId;
use tokio::time::{Instant, timeout};

use crate::rig::{PATIENCE, cluster, pair, soon};

#[tokio::test(flavor = "multi_thread")]
async fn each_node_answers_each_other_in_each_class() {
    let nodes = cluster(3).await;
    for from in &nodes {
        for to in nodes.iter().filter(|to| to.id != from.id) {
            for class in Class::ALL {
                let answer = from.ask(to, class, "who").await;
                assert_eq!(answer, Ok(from.id.to_string()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_each_their_own_reply() {
    let (one, two) = pair().await;
    let calls = (0..3000).map(|n| {
        let (one, two) = (&one, &two);
        async move {
            let answer = one.ask(two, Class::Store, &format!("echo {n}")).await;
            assert_eq!(answer, Ok(n.to_string()));
        }
    });
    join_all(calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_and_a_panic_are_told_and_the_connection_lives() {
    let (one, two) = pair().await;
    let refused = |cause: &str| {
        Err(CallError::Refused {
            to: NodeId(2),
            cause: cause.into(),
        })
    };
    let ask = |request| one.ask(&two, Class::Control, request);
    assert_eq!(ask("fail no room").await, refused("no room"));
    assert_eq!(ask("panic").await, refused("its handler panicked"));
    assert_eq!(ask("echo still here").await, Ok("still here".into()));
    let mut stream = one
        .network
        .open(NodeId(2), Class::Control, Bytes::from_static(b"panic"))
        .unwrap();
    assert_eq!(stream.incoming.recv().await, None);
    assert_eq!(ask("echo still here").await, Ok("still here".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_and_oneself_cannot_be_reached() {
    let (one, _two) = pair().await;
    for (to, words) in [(9, "its address is not known"), (1, "this node itself")] {
        let network = &one.network;
        let error = network
            .call(NodeId(to), Class::Store, Bytes::new(), soon())
            .await
            .unwrap_err();
        assert!(matches!(&error, CallError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(
            network
                .open(NodeId(to), Class::Store, Bytes::new())
                .is_err()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_request_and_reply_pass_and_larger_ones_are_refused() {
    let (one, two) = pair().await;
    let mut largest = b"len ".to_vec();
    largest.resize(ITEM_BYTES_MAX, b'x');
    let call = |request| one.network.call(two.id, Class::Bulk, request, soon());
    let answer = call(largest.clone().into()).await;
    assert_eq!(answer, Ok((ITEM_BYTES_MAX - 4).to_string().into()));
    let answer = call(format!("reply {ITEM_BYTES_MAX}").into()).await;
    assert_eq!(answer.map(|reply| reply.len()), Ok(ITEM_BYTES_MAX));

    largest.push(b'x');
    let error = call(largest.clone().into()).await.unwrap_err();
    assert!(matches!(&error, CallError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("the request has 8388609 bytes"),
        "{error}"
    );
    let error = call(format!("reply {}", ITEM_BYTES_MAX + 1).into())
        .await
        .unwrap_err();
    assert!(matches!(&error, CallError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("the reply has 8388609 bytes"),
        "{error}"
    );
    assert!(
        one.network
            .open(two.id, Class::Bulk, largest.into())
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_gets_no_reply_and_the_handler_goes_on() {
    let (one, two) = pair().await;
    let deadline = Instant::now() + Duration::from_millis(100);
    let wait = Bytes::from_static(b"wait");
    let answer = one
        .network
        .call(two.id, Class::Store, wait.clone(), deadline)
        .await;
    assert!(matches!(answer, Err(CallError::Lost { .. })), "{answer:?}");
    // The same when the future is dropped.
    let dropped = one.network.call(two.id, Class::Store, wait, soon());
    assert!(timeout(Duration::from_millis(50), dropped).await.is_err());
    assert_eq!(one.ask(&two, Class::Store, "echo x").await, Ok("x".into()));
    let both = async {
        while two.handler.waited.load(Ordering::SeqCst) < 2 {
            two.handler.go.notify_one();
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, both).await.unwrap();
    assert_eq!(one.ask(&two, Class::Store, "echo y").await, Ok("y".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_are_in_work_at_once_wait() {
    let (one, two) = pair().await;
    let wait = |n: usize| {
        one.network
            .call(two.id, Class::Store, format!("wait {n}").into(), soon())
    };
    let all = join_all((0..1500).map(wait));
    let letting = async {
        loop {
            two.handler.go.notify_one();
            tokio::task::yield_now().await;
        }
    };
    let answers = tokio::select! {
        answers = all => answers,
        () = letting => unreachable!(),
    };
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer, Ok(n.to_string().into()));
    }
    assert_eq!(two.handler.waited.load(Ordering::SeqCst), 1500);
}

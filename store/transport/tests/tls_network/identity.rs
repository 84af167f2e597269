//! Who is believed, and who is not.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mailrook_transport::{
    CertificateError, Class, ClusterCa, Credentials, Link, NODE_VALIDITY, Network, RejectCode,
    TlsNetwork, WireVersions,
};
use mailrook_types::NodeId;

use crate::{
    raw::{HELLO, JOIN, PING, PONG, REPLY, REQUEST, Raw, Said},
    rig::{CLUSTER, Guard, Node, PATIENCE, certificate, credentials, options},
};

async fn node(ca: &ClusterCa, id: u64) -> Node {
    Node::start(options(credentials(ca, id, &[ca]))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_must_fit_together() {
    let (ca, other) = (
        ClusterCa::generate(CLUSTER).unwrap(),
        ClusterCa::generate(2).unwrap(),
    );
    let (certificate, key) = certificate(&ca, 1, NODE_VALIDITY);
    let (_, wrong_key) = crate::rig::certificate(&ca, 1, NODE_VALIDITY);
    let trusted = ca.certificate().clone();
    let error =
        |certificate, key, trusted: &[_]| Credentials::new(certificate, key, trusted).unwrap_err();
    let own = || certificate.clone();
    assert_eq!(error(own(), &key, &[]), CertificateError::NoTrust);
    assert_eq!(
        error(own(), &wrong_key, std::slice::from_ref(&trusted)),
        CertificateError::AnotherKey
    );
    assert_eq!(
        error(trusted.clone(), &key, std::slice::from_ref(&trusted)),
        CertificateError::NoNode
    );
    assert_eq!(error(own(), &key, &[own()]), CertificateError::NoCa);
    let foreign = error(own(), &key, &[other.certificate().clone()]);
    assert!(
        matches!(foreign, CertificateError::Another { .. }),
        "{foreign}"
    );
    let mut wrong = options(credentials(&ca, 1, &[&ca]));
    wrong.node = NodeId(2);
    let error = TlsNetwork::new(wrong).unwrap_err();
    assert!(matches!(error, CertificateError::Another { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_ca_is_not_believed() {
    let (ca, other) = (
        ClusterCa::generate(CLUSTER).unwrap(),
        ClusterCa::generate(CLUSTER).unwrap(),
    );
    let (one, two) = (node(&ca, 1).await, node(&other, 2).await);
    one.knows(&two);
    two.knows(&one);
    one.trouble(two.id, "UnknownIssuer").await;
    two.trouble(one.id, "UnknownIssuer").await;
    assert_eq!(one.network.link(two.id), Link::Down);
    // And not if it believes us, either: that is for us to say.
    let (certificate, key) = certificate(&other, 2, NODE_VALIDITY);
    let raw = Raw::connect(&ca, one.address, 1, Some((certificate, key))).await;
    // TLS 1.3 tells a client that it is not believed after the handshake.
    let error = match raw {
        Ok(mut raw) => raw.receive().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains("UnknownCA"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_at_the_address_is_not_believed() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let (one, three) = (node(&ca, 1).await, node(&ca, 3).await);
    one.network
        .set_address(NodeId(2), &three.address.to_string());
    one.trouble(NodeId(2), "not valid for name").await;
    assert_eq!(one.network.link(NodeId(2)), Link::Down);
    let error = one.ask(&three, Class::Store, "echo x").await.unwrap_err();
    assert!(
        error.to_string().contains("its address is not known"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_not_believed() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let one = node(&ca, 1).await;
    // Valid since yesterday, and until now.
    let (expired, key) = certificate(&ca, 2, Duration::ZERO);
    assert!(expired.expires() <= std::time::SystemTime::now());
    let theirs = Credentials::new(expired, &key, &[ca.certificate().clone()]).unwrap();
    // The second in which it expires is still part of it.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let two = Node::start(options(theirs)).await;
    one.knows(&two);
    two.knows(&one);
    one.trouble(two.id, "certificate expired").await;
    two.trouble(one.id, "CertificateExpired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_one_may_join_and_nothing_else() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let one = node(&ca, 1).await;
    let mut raw = Raw::connect(&ca, one.address, 1, None).await.unwrap();
    raw.send(HELLO, 0, &Said::by(CLUSTER, 2).encode()).await;
    raw.rejected("it shows no certificate").await;
    let mut raw = Raw::connect(&ca, one.address, 1, None).await.unwrap();
    raw.send(REQUEST, 1, b"echo x").await;
    raw.rejected("no hello").await;
    let member = certificate(&ca, 2, NODE_VALIDITY);
    let mut raw = Raw::connect(&ca, one.address, 1, Some(member))
        .await
        .unwrap();
    raw.send(JOIN, 0, b"please").await;
    raw.rejected("it is a member already").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_must_be_that_of_the_certificate() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let one = node(&ca, 1).await;
    let good = Said::by(CLUSTER, 2);
    let wrong = [
        (
            Said {
                magic: b"HTTP",
                ..good.clone()
            },
            "does not speak the protocol",
        ),
        (
            Said {
                cluster: 7,
                ..good.clone()
            },
            "it is of cluster 00000000000000000000000000000007",
        ),
        (
            Said {
                node: 3,
                ..good.clone()
            },
            "it says that it is n3, and its certificate that it is n2",
        ),
        (
            Said {
                wire: (2, 3),
                ..good.clone()
            },
            "it speaks the wire versions 2 to 3, and this node 1 to 1",
        ),
        (
            Said {
                class: 9,
                ..good.clone()
            },
            "unknown class 9",
        ),
    ];
    for (said, words) in wrong {
        let member = certificate(&ca, 2, NODE_VALIDITY);
        let mut raw = Raw::connect(&ca, one.address, 1, Some(member))
            .await
            .unwrap();
        raw.send(HELLO, 0, &said.encode()).await;
        raw.rejected(words).await;
    }
    let copy = certificate(&ca, 1, NODE_VALIDITY);
    let mut raw = Raw::connect(&ca, one.address, 1, Some(copy)).await.unwrap();
    raw.send(HELLO, 0, &Said::by(CLUSTER, 1).encode()).await;
    raw.rejected("is there a copy of it?").await;

    let mut raw = Raw::member(&ca, one.address, 1, certificate(&ca, 2, NODE_VALIDITY)).await;
    raw.send(REQUEST, 1, b"who").await;
    assert_eq!(raw.receive().await.unwrap(), (REPLY, 1, "n2".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_other_versions_say_so() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let one = node(&ca, 1).await;
    let version = |lowest, highest| {
        let mut options = options(credentials(&ca, 2, &[&ca]));
        options.wire = WireVersions { lowest, highest };
        options.feature_level = 5;
        options
    };
    let newer = Node::start(version(2, 3)).await;
    newer.knows(&one);
    newer
        .trouble(
            one.id,
            "it speaks the wire versions 2 to 3, and this node 1 to 1",
        )
        .await;
    newer.network.shutdown().await;
    let both = Node::start(version(1, 2)).await;
    both.knows(&one);
    one.knows(&both);
    both.until(one.id, Link::Up).await;
    one.until(both.id, Link::Up).await;
    assert_eq!(one.network.peers()[0].feature_level, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_admitted_is_told_why() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let (guard, mut ours) = (
        Arc::new(Guard::default()),
        options(credentials(&ca, 1, &[&ca])),
    );
    ours.introduce = guard.clone();
    let one = Node::start(ours).await;
    let (theirs, mut second) = (
        Arc::new(Guard::default()),
        options(credentials(&ca, 2, &[&ca])),
    );
    second.introduce = theirs.clone();
    let two = Node::start(second).await;
    two.knows(&one);
    two.until(one.id, Link::Up).await;
    assert_eq!(guard.admitted.lock()[0], (two.id, "hello from here".into()));
    // At the next ping, and at each hello from then on.
    guard.strict.store(true, Ordering::SeqCst);
    two.trouble(one.id, "it says: your disk is an old copy")
        .await;
    // With a code, as who dials.
    let told = || std::mem::take(&mut *theirs.rejected.lock());
    until_told(told).await;
    two.network.forget(one.id);
    told();
    // And as who is dialled.
    one.knows(&two);
    one.trouble(two.id, "your disk is an old copy").await;
    until_told(told).await;
    two.knows(&one);
    guard.strict.store(false, Ordering::SeqCst);
    two.until(one.id, Link::Up).await;
    one.until(two.id, Link::Up).await;
}

/// Waits until somebody was told by node 1 that it is an old copy.
async fn until_told(told: impl Fn() -> Vec<(NodeId, RejectCode)>) {
    let heard = async {
        loop {
            let told = told();
            if !told.is_empty() {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, heard).await.unwrap();
    assert_eq!(told[0], (NodeId(1), RejectCode::OldCopy { heard: 9 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_carry_introductions() {
    let ca = ClusterCa::generate(CLUSTER).unwrap();
    let (guard, mut ours) = (
        Arc::new(Guard::default()),
        options(credentials(&ca, 1, &[&ca])),
    );
    ours.introduce = guard.clone();
    let one = Node::start(ours).await;
    let mut raw = Raw::member(&ca, one.address, 1, certificate(&ca, 2, NODE_VALIDITY)).await;
    raw.send(PING, 0, b"the second").await;
    assert_eq!(raw.receive().await.unwrap().0, PONG);
    assert_eq!(guard.admitted.lock()[1], (NodeId(2), "the second".into()));
    guard.strict.store(true, Ordering::SeqCst);
    raw.send(PING, 0, b"the third").await;
    raw.rejected("your disk is an old copy").await;
}

/// Two nodes of one CA, connected.
async fn two_of(ca: &ClusterCa) -> (Node, Node) {
    let (one, two) = (node(ca, 1).await, node(ca, 2).await);
    one.knows(&two);
    one.until(two.id, Link::Up).await;
    (one, two)
}

/// Gives the node a new certificate, and others to trust.
fn replace(node: &Node, ca: &ClusterCa, trusted: &[&ClusterCa]) {
    let credentials = credentials(ca, node.id.0, trusted);
    node.network.replace_credentials(&credentials).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_proved_itself_by_a_ca_that_is_dropped_is_out_at_once() {
    let (old, new) = (
        ClusterCa::generate(CLUSTER).unwrap(),
        ClusterCa::generate(CLUSTER).unwrap(),
    );
    let (one, two) = two_of(&old).await;
    assert_eq!(one.ask(&two, Class::Store, "echo x").await, Ok("x".into()));
    let stolen = certificate(&old, 3, NODE_VALIDITY);
    let mut raw = Raw::member(&old, one.address, 1, stolen).await;
    replace(&one, &new, &[&old, &new]);
    raw.send(REQUEST, 1, b"who").await;
    assert_eq!(raw.receive().await.unwrap(), (REPLY, 1, "n3".into()));
    replace(&one, &new, &[&new]);
    raw.rejected("of a CA that is trusted no longer").await;
    // What this node had dialled ends, too: the other one has not followed.
    one.trouble(two.id, "UnknownIssuer").await;
    assert!(one.ask(&two, Class::Store, "echo x").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_is_rotated_while_all_goes_on() {
    let (old, new) = (
        ClusterCa::generate(CLUSTER).unwrap(),
        ClusterCa::generate(CLUSTER).unwrap(),
    );
    let (one, two) = two_of(&old).await;
    let ask = async |class| one.ask(&two, class, "echo x").await;
    // Each step on one node while the other is a step behind, and each with a class that is connected anew.
    replace(&one, &old, &[&old, &new]);
    replace(&two, &old, &[&old, &new]);
    assert_eq!(ask(Class::Store).await, Ok("x".into()));
    replace(&two, &new, &[&old, &new]);
    assert_eq!(ask(Class::Control).await, Ok("x".into()));
    replace(&one, &new, &[&old, &new]);
    replace(&one, &new, &[&new]);
    assert_eq!(ask(Class::Bulk).await, Ok("x".into()));
    replace(&two, &new, &[&new]);
    // What was connected by old papers is connected anew.
    assert_eq!(ask(Class::Consensus).await, Ok("x".into()));
    // Who missed it is out.
    let three = node(&old, 3).await;
    three.knows(&two);
    three.trouble(two.id, "UnknownIssuer").await;
    let error = two
        .network
        .replace_credentials(&credentials(&new, 3, &[&new]))
        .unwrap_err();
    assert!(matches!(error, CertificateError::Another { .. }), "{error}");
}

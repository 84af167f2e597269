//! How nodes come in, change and go.

use mailrook_meta::{
    FeatureLevels, JOIN_TOKENS_MAX, MetaAnswer, MetaCommand, MetaQuery, MetaReply, NODES_MAX,
    NewNode, NodeState,
};
use mailrook_types::{NodeId, Timestamp};

use crate::rig::{Group, drain, join, node, place, token};

#[test]
fn the_first_node_is_a_member_and_the_next_one_joins() {
    let mut group = Group::new();
    group.done_twice(MetaCommand::AnnounceNode(node(1)));
    assert_eq!(group.touched.first().map(|(key, _)| *key), Some(0));
    assert_eq!(
        group.refused(MetaCommand::AnnounceNode(node(2))),
        "node n2 is not a member of this cluster: it joins with a token first"
    );
    assert_eq!(
        group.refused(join(7, node(2))),
        "the join token is not known, was used already, or has expired: make a new one"
    );
    group.done_twice(token(7, 60_000));
    group.done_twice(join(7, node(2)));
    group.done(MetaCommand::AnnounceNode(node(2)));
    let ids: Vec<u64> = group.nodes().iter().map(|node| node.id.0).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_node_says_at_each_start_what_it_is() {
    let mut group = Group::with_nodes(2);
    group.done(drain(2, true));
    let joined = group.node("mail2").unwrap().joined;
    group.done_twice(MetaCommand::AnnounceNode(NewNode {
        name: "New.Name".to_owned(),
        address: "[2001:db8::1]:7701".to_owned(),
        zone: "site/rack_2".to_owned(),
        levels: FeatureLevels {
            lowest: 1,
            highest: 3,
        },
        ..node(2)
    }));
    let record = group.node("NEW.name").unwrap();
    assert_eq!(record.name, "new.name");
    assert_eq!(record.address, "[2001:db8::1]:7701");
    assert_eq!(record.zone, "site/rack_2");
    assert_eq!(record.levels.highest, 3);
    assert_eq!(record.state, NodeState::Draining, "that is not its to say");
    assert_eq!(record.joined, joined);
    assert_eq!(group.node("mail2"), None);
}

#[test]
fn a_name_is_taken_in_any_case() {
    let mut group = Group::with_nodes(2);
    let named = |id, name: &str| NewNode {
        name: name.to_owned(),
        ..node(id)
    };
    assert_eq!(
        group.refused(MetaCommand::AnnounceNode(named(2, "MAIL1"))),
        "node n1 is called mail1 already"
    );
    group.done(token(9, 60_000));
    group.refused(join(9, named(3, "mail2")));
    group.done(join(9, node(3)));
}

#[test]
fn what_cannot_be_is_refused() {
    let mut group = Group::new();
    let long = "x".repeat(64);
    for name in ["", "a b", "-a", "a.", "ä", &long] {
        let node = NewNode {
            name: name.to_owned(),
            ..node(1)
        };
        let text = group.refused(MetaCommand::AnnounceNode(node));
        assert!(text.starts_with("a node's name has"), "{name:?}: {text}");
    }
    let many_digits = "a:000007700";
    for address in [
        "host",
        "host:",
        ":1",
        "host:0",
        "host:65536",
        "a b:1",
        "::1:7",
        "[::1]",
        "[]:1",
        "a:+1",
        many_digits,
    ] {
        let node = NewNode {
            address: address.to_owned(),
            ..node(1)
        };
        let text = group.refused(MetaCommand::AnnounceNode(node));
        assert!(text.contains("host:port"), "{address:?}: {text}");
    }
    for zone in ["a b", "a:b", &long] {
        let node = NewNode {
            zone: zone.to_owned(),
            ..node(1)
        };
        group.refused(MetaCommand::AnnounceNode(node));
    }
    for (lowest, highest) in [(0, 1), (2, 1)] {
        let levels = FeatureLevels { lowest, highest };
        group.refused(MetaCommand::AnnounceNode(NewNode { levels, ..node(1) }));
    }
    group.refused(MetaCommand::AnnounceNode(node(0)));
    let plain = NewNode {
        zone: String::new(),
        address: "192.0.2.1:1".to_owned(),
        ..node(1)
    };
    group.done(MetaCommand::AnnounceNode(plain));
}

#[test]
fn a_token_lets_one_node_in() {
    let mut group = Group::with_one_node();
    group.done(token(7, 60_000));
    group.done(join(7, node(2)));
    let used = "the join token is not known, was used already, or has expired: make a new one";
    assert_eq!(group.refused(join(7, node(3))), used);
    group.done(token(7, 60_000));
    assert_eq!(
        group.refused(join(7, node(3))),
        used,
        "added again too late"
    );
    group.done(token(8, 60_000));
    assert_eq!(
        group.refused(join(8, node(2))),
        "node n2 is a member of this cluster already",
        "nobody takes the place of a node that is there"
    );
    group.time_ms = 60_000;
    assert_eq!(group.refused(join(8, node(3))), used, "it expired");
    assert!(matches!(group.apply(join(7, node(2))), MetaReply::Node(_)));
}

#[test]
fn whether_a_token_lets_a_node_in_can_be_asked_first() {
    let mut group = Group::with_one_node();
    let asked = |group: &Group, token: u64, node: u64| {
        let MetaCommand::JoinNode { secret_hash, node } = join(token, crate::rig::node(node))
        else {
            panic!()
        };
        let node = node.id;
        group.ask(MetaQuery::LetsIn { secret_hash, node }) == MetaAnswer::LetsIn(true)
    };
    assert!(!asked(&group, 7, 2));
    group.done(token(7, 60_000));
    assert!(asked(&group, 7, 2));
    group.done(join(7, node(2)));
    assert!(asked(&group, 7, 2), "the answer may have been lost");
    assert!(!asked(&group, 7, 3), "it is used");
    group.done(token(8, 60_000));
    assert!(asked(&group, 8, 3));
    group.time_ms = 60_000;
    assert!(!asked(&group, 8, 3), "it expired");
}

#[test]
fn tokens_are_few_and_short_lived() {
    let mut group = Group::with_one_node();
    let week = 7 * 24 * 3600 * 1000;
    assert_eq!(
        group.refused(token(0, 3 + week + 60_000)),
        "a limit is reached: a join token is good for at most 7 days"
    );
    assert_eq!(
        group.refused(token(0, 5)),
        "the join token would have expired already"
    );
    for secret in 0..JOIN_TOKENS_MAX as u64 {
        group.done(token(secret, 10_000 - secret.cast_signed()));
    }
    assert!(group.refused(token(200, 10_000)).contains("at most 100"));
    let MetaAnswer::JoinTokens(expiries) = group.ask(MetaQuery::JoinTokens) else {
        panic!()
    };
    assert_eq!(expiries.len(), JOIN_TOKENS_MAX);
    assert_eq!(expiries[0], Timestamp(9_901));
    group.done(join(50, node(2)));
    group.done(token(200, 20_000));
    group.time_ms = 10_000;
    group.done(token(201, 20_000));
    let left = MetaAnswer::JoinTokens(vec![Timestamp(20_000); 2]);
    assert_eq!(group.ask(MetaQuery::JoinTokens), left, "the others expired");
}

#[test]
fn a_node_is_drained_and_taken_back() {
    let mut group = Group::with_nodes(2);
    group.done_twice(drain(2, true));
    assert_eq!(group.node("mail2").unwrap().state, NodeState::Draining);
    group.done_twice(drain(2, false));
    assert_eq!(group.node("mail2").unwrap().state, NodeState::Active);
    assert_eq!(group.refused(drain(3, true)), "there is no node n3");
}

#[test]
fn a_node_with_copies_stays() {
    let mut group = Group::with_nodes(2);
    group.done(place(0, 0, &[2]));
    group.done(place(2, 0, &[2]));
    assert_eq!(
        group.refused(MetaCommand::RemoveNode(NodeId(2))),
        "node mail2 still has copies of 2 groups (0, 2): drain it first"
    );
    group.done(place(0, 1, &[1]));
    group.done(place(2, 1, &[1]));
    group.done_twice(MetaCommand::RemoveNode(NodeId(2)));
}

#[test]
fn a_removed_node_never_comes_back() {
    let mut group = Group::with_nodes(2);
    group.done(MetaCommand::RemoveNode(NodeId(2)));
    let gone = "node n2 was removed from this cluster and cannot come back: start it with an empty data directory and let it join";
    assert_eq!(group.refused(MetaCommand::AnnounceNode(node(2))), gone);
    assert_eq!(group.refused(join(2, node(2))), gone, "its own token");
    group.done(token(9, 60_000));
    assert_eq!(group.refused(join(9, node(2))), gone, "another token");
    assert_eq!(group.refused(drain(2, false)), gone);
    assert_eq!(group.refused(place(1, 0, &[2])), gone);

    // Its name is free for the node that takes its place.
    let successor = NewNode {
        name: "mail2".to_owned(),
        ..node(3)
    };
    group.done(join(9, successor));
    assert_eq!(group.node("mail2").unwrap().id, NodeId(3));
    let states: Vec<_> = group.nodes().iter().map(|node| node.is_member()).collect();
    assert_eq!(states, [true, false, true]);
    assert!(matches!(
        group.ask(MetaQuery::NodeById(NodeId(2))),
        MetaAnswer::Node(Some(_))
    ));
}

#[test]
fn a_lost_node_goes_though_records_name_it() {
    let mut group = Group::with_nodes(3);
    group.done(place(1, 0, &[2]));
    group.done(place(1, 1, &[1, 2]));
    group.done_twice(MetaCommand::RemoveLostNode(NodeId(2)));
    assert_eq!(group.node("mail2"), None);
    // What names it still can be changed, also in other ways first.
    group.done(place(1, 2, &[1, 2, 3]));
    assert!(group.refused(place(2, 0, &[2])).contains("was removed"));
    group.done(place(1, 3, &[1, 3]));
    assert!(
        group
            .refused(place(1, 4, &[1, 2, 3]))
            .contains("was removed")
    );
    assert!(
        group
            .refused(MetaCommand::AnnounceNode(node(2)))
            .contains("cannot come back")
    );
    group.done(MetaCommand::RemoveLostNode(NodeId(3)));
    assert_eq!(
        group.refused(MetaCommand::RemoveLostNode(NodeId(1))),
        "node mail1 is the last one of the cluster that has a store"
    );
    assert_eq!(
        group.refused(MetaCommand::RemoveLostNode(NodeId(9))),
        "there is no node n9"
    );
}

#[test]
fn the_last_node_stays() {
    let mut group = Group::with_nodes(2);
    group.done(MetaCommand::RemoveNode(NodeId(1)));
    assert_eq!(
        group.refused(MetaCommand::RemoveNode(NodeId(2))),
        "node mail2 is the last one of the cluster that has a store"
    );
    assert_eq!(
        group.refused(MetaCommand::RemoveNode(NodeId(3))),
        "there is no node n3"
    );
}

#[test]
fn there_is_an_end_to_the_nodes() {
    let mut group = Group::with_nodes(NODES_MAX as u64);
    group.done(token(9999, group.time_ms + 60_000));
    assert_eq!(
        group.refused(join(9999, node(5000))),
        "a limit is reached: a cluster has at most 1000 nodes"
    );
    group.done(MetaCommand::RemoveNode(NodeId(7)));
    group.done(join(9999, node(5000)));
    assert_eq!(group.nodes().len(), 1000, "a page");
    let rest = MetaQuery::Nodes {
        after: Some(NodeId(1000)),
        limit: 10,
    };
    assert!(matches!(group.ask(rest), MetaAnswer::Nodes(nodes) if nodes.len() == 1));
}

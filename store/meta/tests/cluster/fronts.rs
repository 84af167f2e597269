//! Nodes without a store: they come in, change and go, and no group ever names one.

use mailrook_meta::{
    FeatureLevels, FrontRoles, LEVEL_FRONT_NODES, MetaCommand, MetaReply, NewNode, NodeState,
};
use mailrook_types::NodeId;

use crate::rig::{Group, drain, hash, node, place, token};

const BOTH: FrontRoles = FrontRoles {
    front: true,
    proxy: true,
};

/// A node whose program knows of those without a store.
fn newer(id: u64) -> NewNode {
    NewNode {
        levels: FeatureLevels {
            lowest: 1,
            highest: LEVEL_FRONT_NODES,
        },
        ..node(id)
    }
}

fn join_front(secret: u64, node: NewNode, roles: FrontRoles) -> MetaCommand {
    MetaCommand::JoinFront {
        secret_hash: hash(secret),
        node,
        roles,
    }
}

fn announce_front(node: NewNode, roles: FrontRoles) -> MetaCommand {
    MetaCommand::AnnounceFront { node, roles }
}

/// Two nodes with a store, at the level; shard 1 is on the first.
fn group() -> Group {
    let mut group = Group::with_one_node();
    group.done(MetaCommand::AnnounceNode(newer(1)));
    group.join(newer(2));
    group.done(MetaCommand::RaiseFeatureLevel {
        to: LEVEL_FRONT_NODES,
    });
    group.done(place(1, 0, &[1]));
    group
}

fn state(group: &Group, name: &str) -> NodeState {
    group.node(name).unwrap().state
}

#[test]
fn a_node_without_a_store_joins_and_stays_one() {
    let mut group = group();
    group.done_twice(token(7, 60_000));
    group.done_twice(join_front(7, newer(3), BOTH));
    assert_eq!(state(&group, "mail3"), NodeState::Storeless(BOTH));
    let mail_alone = FrontRoles {
        proxy: false,
        ..BOTH
    };
    group.done_twice(announce_front(newer(3), mail_alone));
    assert_eq!(state(&group, "mail3"), NodeState::Storeless(mail_alone));
    assert!(!group.node("mail3").unwrap().has_store());
    assert!(group.node("mail3").unwrap().is_member());
}

#[test]
fn below_the_level_none_is_taken_in() {
    let mut group = Group::with_nodes(2);
    group.done(token(7, 60_000));
    let needs = "nodes without the store role need feature level 7, and the cluster is at 1: once every node runs a version \
                 that knows it, say `mailrook cluster upgrade`";
    assert_eq!(group.refused(join_front(7, newer(3), BOTH)), needs);
    assert_eq!(group.refused(announce_front(newer(2), BOTH)), needs);
    // The token is still good.
    group.done(MetaCommand::JoinNode {
        secret_hash: hash(7),
        node: newer(3),
    });
}

#[test]
fn no_group_gets_a_copy_there() {
    let mut group = group();
    group.done(token(7, 60_000));
    group.done(join_front(7, newer(3), BOTH));
    let no_store = "node mail3 has no store, and thus no copies: `mailrook node remove mail3` removes it at once";
    assert_eq!(group.refused(place(1, 1, &[1, 3])), no_store);
    assert_eq!(group.refused(place(2, 0, &[3])), no_store);
    for draining in [true, false] {
        assert_eq!(group.refused(drain(3, draining)), no_store);
    }
    group.done_twice(MetaCommand::RemoveNode(NodeId(3)));
    assert!(
        !group
            .nodes()
            .iter()
            .any(|node| node.id.0 == 3 && node.is_member())
    );
    let back = group.refused(announce_front(newer(3), BOTH));
    assert!(back.contains("was removed from this cluster"), "{back}");
}

#[test]
fn a_store_is_given_up_once_nothing_is_left_in_it() {
    let mut group = group();
    group.done(place(1, 1, &[1, 2]));
    let said = group.refused(announce_front(newer(2), BOTH));
    assert_eq!(
        said,
        "node mail2 still has copies of 1 groups (1): drain it first"
    );
    group.done(drain(2, true));
    group.done(place(1, 2, &[1]));
    group.done_twice(announce_front(newer(2), BOTH));
    assert_eq!(state(&group, "mail2"), NodeState::Storeless(BOTH));
    // And taken up again.
    group.done_twice(MetaCommand::AnnounceNode(newer(2)));
    assert_eq!(state(&group, "mail2"), NodeState::Active);
    group.done(place(1, 3, &[1, 2]));
}

#[test]
fn somebody_keeps_a_store() {
    let mut group = group();
    group.done(MetaCommand::RemoveNode(NodeId(2)));
    group.done(token(7, 60_000));
    group.done(join_front(7, newer(3), BOTH));
    let last = "node mail1 is the last one of the cluster that has a store";
    assert_eq!(
        group.refused(MetaCommand::RemoveLostNode(NodeId(1))),
        last,
        "what has no store cannot take its place"
    );
    let idle = FrontRoles {
        front: false,
        proxy: false,
    };
    assert_eq!(
        group.refused(announce_front(newer(3), idle)),
        "a node has at least one role"
    );
    // The first node of a cluster has its store.
    let mut empty = Group::new();
    assert!(matches!(
        empty.apply(announce_front(newer(1), BOTH)),
        MetaReply::Refused(_)
    ));
}

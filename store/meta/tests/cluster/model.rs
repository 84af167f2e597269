//! Random commands of the cluster: whatever their order, what must hold does.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_meta::{
    FeatureLevels, FrontRoles, LEVEL_FRONT_NODES, MetaCommand, MetaReply, NewNode, NodeRecord,
    NodeState,
};
use mailrook_types::NodeId;
use proptest::prelude::*;

use crate::rig::{Group, drain, hash, join, node, place, set_shards, token};

/// Mostly one that knows of nodes without a store.
fn level() -> impl Strategy<Value = u32> {
    prop_oneof![1 => 1u32..4, 3 => Just(LEVEL_FRONT_NODES)]
}

fn any_node() -> impl Strategy<Value = NewNode> {
    (1u64..6, 1u64..6, level()).prop_map(|(id, name, highest)| NewNode {
        name: format!("mail{name}"),
        levels: FeatureLevels { lowest: 1, highest },
        ..node(id)
    })
}

fn any_front() -> impl Strategy<Value = (NewNode, FrontRoles)> {
    let roles =
        (any::<bool>(), any::<bool>()).prop_map(|(front, proxy)| FrontRoles { front, proxy });
    (any_node(), roles)
}

fn any_command() -> impl Strategy<Value = MetaCommand> {
    let nodes = || prop::collection::vec(1u64..6, 0..4);
    prop_oneof![
        3 => any_node().prop_map(MetaCommand::AnnounceNode),
        2 => any_front().prop_map(|(node, roles)| MetaCommand::AnnounceFront { node, roles }),
        2 => (0u64..6, any_front()).prop_map(|(secret, (node, roles))| MetaCommand::JoinFront {
            secret_hash: hash(secret),
            node,
            roles,
        }),
        4 => (0u64..6, any_node()).prop_map(|(secret, node)| join(secret, node)),
        // A secret is drawn once, for one time to live.
        4 => (0u64..6).prop_map(|secret| token(secret, 1010 + 10 * secret.cast_signed())),
        2 => (1u64..6, any::<bool>()).prop_map(|(id, draining)| drain(id, draining)),
        2 => (1u64..6).prop_map(|id| MetaCommand::RemoveNode(NodeId(id))),
        6 => (0u32..5, 0u64..4, nodes()).prop_map(|(shard, epoch, nodes)| place(shard, epoch, &nodes)),
        1 => prop::collection::vec(1u32..5, 0..3).prop_map(|shards| set_shards(&shards)),
        1 => (0u32..5).prop_map(|to| MetaCommand::AddShards { to }),
        2 => level().prop_map(|to| MetaCommand::RaiseFeatureLevel { to }),
    ]
}

/// Those that may be sent bare.
fn may_be_repeated(command: &MetaCommand) -> bool {
    !matches!(
        command,
        MetaCommand::SetNodeDraining { .. } | MetaCommand::RemoveNode(_)
    )
}

/// What must hold in every state.
fn check(group: &Group, removed: &mut BTreeSet<NodeId>) -> Result<(), TestCaseError> {
    let nodes = group.nodes();
    let members: BTreeSet<NodeId> = nodes
        .iter()
        .filter(|node| node.is_member())
        .map(|node| node.id)
        .collect();
    prop_assert!(members.is_disjoint(removed), "a removed node is back");
    for node in &nodes {
        if matches!(node.state, NodeState::Removed { .. }) {
            removed.insert(node.id);
        } else {
            let found = group.node(&node.name.to_uppercase());
            prop_assert_eq!(found.as_ref(), Some(node), "found by its name");
        }
    }
    for record in group.placement() {
        for replica in &record.replicas {
            prop_assert!(members.contains(replica), "{:?} names no member", record);
        }
        prop_assert_eq!(record.epoch == 0, record.replicas.is_empty());
        for node in &nodes {
            let storeless = matches!(node.state, NodeState::Storeless(_));
            let named = record.replicas.contains(&node.id);
            prop_assert!(!(storeless && named), "{:?} names {:?}", record, node);
        }
    }
    prop_assert!(
        nodes.iter().any(NodeRecord::has_store),
        "nobody has a store"
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_must_hold_does(
        commands in prop::collection::vec((any_command(), any::<prop::sample::Index>()), 1..60),
    ) {
        let mut group = Group::with_one_node();
        let mut removed = BTreeSet::new();
        let mut epochs = BTreeMap::new();
        let mut joined: BTreeMap<[u8; 32], NodeId> = BTreeMap::new();
        let mut sent = Vec::new();
        for (command, again) in commands {
            let reply = group.apply(command.clone());
            let joining = match &command {
                MetaCommand::JoinNode { secret_hash, node }
                | MetaCommand::JoinFront { secret_hash, node, .. } => Some((secret_hash, node)),
                _ => None,
            };
            if let (Some((secret_hash, node)), MetaReply::Node(_)) = (joining, &reply) {
                let first = *joined.entry(*secret_hash).or_insert(node.id);
                prop_assert_eq!(first, node.id, "a token let two nodes in");
            }
            if let MetaReply::Shard(record) = &reply {
                let before = epochs.insert(record.shard, record.clone());
                let told = before.filter(|before| before.epoch >= record.epoch);
                prop_assert!(told.is_none_or(|before| before == *record), "two records of one epoch");
            }
            check(&group, &mut removed)?;
            if may_be_repeated(&command) && !matches!(reply, MetaReply::Refused(_)) {
                sent.push(command);
            }
            // A late repeat of what was done: a node that announced itself may have changed since, all else stays.
            if !sent.is_empty() {
                let late = again.get(&sent).clone();
                let before = group.contents();
                group.apply(late.clone());
                let announces = matches!(
                    late,
                    MetaCommand::AnnounceNode(_) | MetaCommand::AnnounceFront { .. }
                );
                if !announces {
                    prop_assert!(group.contents() == before, "{:?} again", late);
                }
                check(&group, &mut removed)?;
            }
        }
    }
}

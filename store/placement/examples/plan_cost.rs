//! What a plan costs for a large cluster: `cargo run --release -p mailrook-placement --example plan_cost`.

#![allow(clippy::print_stdout, reason = "it is for reading")]

use std::time::Instant;

use mailrook_placement::{GroupView, NodeState, NodeView, View, consequences, plan};
use mailrook_types::{NodeId, ShardId};

/// `shards` groups of three copies on `nodes` nodes in ten zones, and one empty node.
fn view(nodes: u64, shards: u32) -> View {
    let node = |id| NodeView {
        id: NodeId(id),
        name: format!("mail{id}"),
        zone: format!("rack-{}", id % 10),
        state: NodeState::Active,
        unreachable_for_ms: None,
        disk_full: false,
    };
    let group = |shard: u32| {
        let first = u64::from(shard) % nodes;
        let voters: Vec<_> = (0..3).map(|n| NodeId((first + n) % nodes + 1)).collect();
        GroupView {
            shard: ShardId(shard),
            leader: voters.first().copied(),
            led_for_ms: 3_600_000,
            recorded: voters.clone(),
            voters,
            learners: Vec::new(),
            lagging: Vec::new(),
            joint: false,
        }
    };
    View {
        copies: 3,
        heal_after_ms: 600_000,
        groups_per_node_max: 64,
        nodes: (1..=nodes + 1).map(node).collect(),
        groups: (0..shards).map(group).collect(),
    }
}

fn main() {
    for (nodes, shards) in [(3, 9), (20, 400), (200, 4_096), (900, 4_096)] {
        let view = view(nodes, shards);
        let begun = Instant::now();
        let actions = plan(&view).len();
        let planned = begun.elapsed();
        let begun = Instant::now();
        let lost = consequences(&view).len();
        println!(
            "{nodes} nodes, {shards} groups: {actions} actions in {planned:?}; losing each of {lost} nodes in {:?}",
            begun.elapsed()
        );
    }
}

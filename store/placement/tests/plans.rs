//! One situation after the other: what is there, and what is planned.
//!
//! A group is written as `leader* voter voter + learner learner(filling) - recorded`.

#![allow(clippy::unwrap_used, reason = "tests may")]

use mailrook_placement::{
    Action, GroupView, LearnerView, NodeState, NodeView, View, consequences, plan, stuck,
    under_replicated,
};
use mailrook_types::{NodeId, ShardId};

const HEAL_AFTER_MS: u64 = 600_000;

/// Nodes 1 to `count`, each in a zone of its own.
fn view(count: u64, groups: &[&str]) -> View {
    let node = |id| NodeView {
        id: NodeId(id),
        name: format!("mail{id}"),
        zone: format!("rack-{id}"),
        state: NodeState::Active,
        unreachable_for_ms: None,
        disk_full: false,
    };
    let groups = groups.iter().enumerate();
    View {
        copies: 3,
        heal_after_ms: HEAL_AFTER_MS,
        groups_per_node_max: 64,
        nodes: (1..=count).map(node).collect(),
        groups: groups
            .map(|(at, text)| group(u32::try_from(at).unwrap() + 1, text))
            .collect(),
    }
}

fn group(shard: u32, text: &str) -> GroupView {
    let mut group = GroupView {
        shard: ShardId(shard),
        leader: None,
        led_for_ms: 3_600_000,
        voters: Vec::new(),
        learners: Vec::new(),
        lagging: Vec::new(),
        joint: false,
        recorded: Vec::new(),
    };
    let mut part = 0;
    for word in text.split_whitespace() {
        if ["+", "-"].contains(&word) {
            part = if word == "+" { 1 } else { 2 };
            continue;
        }
        let filling = word.ends_with("(filling)");
        let digits = word.trim_end_matches("(filling)").trim_end_matches('*');
        let node = NodeId(digits.parse().unwrap());
        group.recorded.push(node);
        match part {
            0 => group.voters.push(node),
            1 => group.learners.push(LearnerView {
                node,
                caught_up: !filling,
            }),
            _ => {}
        }
        if word.ends_with('*') {
            group.leader = Some(node);
        }
    }
    group
}

fn node(view: &mut View, id: u64) -> &mut NodeView {
    view.nodes.iter_mut().find(|node| node.id.0 == id).unwrap()
}

/// `1: vote 1 2 3`
fn planned(view: &View) -> Vec<String> {
    let text = |action: &Action| {
        let shard = action.shard();
        match action {
            Action::CreateGroup { node, .. } => format!("{shard}: create {}", node.0),
            Action::AddLearner { node, .. } => format!("{shard}: add {}", node.0),
            Action::RemoveLearner { node, .. } => format!("{shard}: remove {}", node.0),
            Action::DropCopy { node, .. } => format!("{shard}: drop {}", node.0),
            Action::TransferLeader { to, .. } => format!("{shard}: lead {}", to.0),
            Action::ChangeVoters { voters, .. } => {
                let voters: Vec<_> = voters.iter().map(|id| id.0.to_string()).collect();
                format!("{shard}: vote {}", voters.join(" "))
            }
        }
    };
    plan(view).iter().map(|p| text(&p.action)).collect()
}

fn reasons(view: &View) -> Vec<String> {
    plan(view)
        .into_iter()
        .map(|planned| planned.reason)
        .collect()
}

#[test]
fn one_voter_becomes_three_at_once() {
    assert!(planned(&view(1, &["1*"])).is_empty());
    assert_eq!(planned(&view(2, &["1*"])), ["1: add 2"]);
    assert!(
        planned(&view(2, &["1* + 2"])).is_empty(),
        "two voters survive nothing that one does not"
    );
    assert_eq!(planned(&view(3, &["1* + 2"])), ["1: add 3"]);
    assert!(planned(&view(3, &["1* + 2 3(filling)"])).is_empty());
    let ready = view(3, &["1* + 2 3"]);
    assert_eq!(planned(&ready), ["1: vote 1 2 3"]);
    assert_eq!(
        reasons(&ready),
        ["mail2, mail3 has everything and can vote"]
    );
    assert!(planned(&view(3, &["1* 2 3"])).is_empty());
}

#[test]
fn patience_comes_before_healing() {
    let mut away = view(4, &["1* 2 3"]);
    node(&mut away, 3).unreachable_for_ms = Some(HEAL_AFTER_MS - 1);
    assert!(planned(&away).is_empty());
    let poor = &under_replicated(&away)[0];
    assert_eq!((poor.have, poor.want), (2, 3));
    assert_eq!(
        poor.why,
        "mail3 cannot be reached, and is replaced when it has been away for 10 min"
    );
    // Where there is nobody to replace it, that is not promised.
    for other in [NodeState::Removed, NodeState::Draining] {
        node(&mut away, 4).state = other;
        assert_eq!(
            under_replicated(&away)[0].why,
            "mail3 cannot be reached, and no other node can take its copy"
        );
    }
    node(&mut away, 4).state = NodeState::Active;

    node(&mut away, 3).unreachable_for_ms = Some(HEAL_AFTER_MS);
    assert_eq!(planned(&away), ["1: add 4"]);
    assert_eq!(
        reasons(&away),
        ["mail4 takes the place of mail3, which is gone"]
    );
    assert_eq!(under_replicated(&away)[0].why, "mail4 gets a copy next");
    away.groups = vec![group(1, "1* 2 3 + 4")];
    assert_eq!(planned(&away), ["1: vote 1 2 4"]);
    away.groups = vec![group(1, "1* 2 4 + 3")];
    assert_eq!(planned(&away), ["1: remove 3"]);
    away.groups = vec![group(1, "1* 2 4 - 3")];
    assert_eq!(planned(&away), ["1: drop 3"]);
}

#[test]
fn nobody_is_voted_out_for_want_of_another() {
    let mut gone = view(3, &["1* 2 3"]);
    node(&mut gone, 3).unreachable_for_ms = Some(HEAL_AFTER_MS);
    assert!(
        planned(&gone).is_empty(),
        "1 alone would be no copy of anything"
    );
    assert_eq!(stuck(&gone)[0].node, NodeId(3));
    assert_eq!(
        under_replicated(&gone)[0].why,
        "only 2 nodes can have a copy"
    );
    let mut five = view(5, &["1* 2 3 4 5"]);
    five.copies = 5;
    for id in [4, 5] {
        node(&mut five, id).unreachable_for_ms = Some(HEAL_AFTER_MS);
    }
    assert_eq!(
        planned(&five),
        ["1: vote 1 2 3"],
        "of five voters with two gone no other may fail; of three one may"
    );
}

#[test]
fn a_removed_node_votes_no_more() {
    let mut removed = view(3, &["1* 2 3"]);
    node(&mut removed, 3).state = NodeState::Removed;
    assert_eq!(planned(&removed), ["1: vote 1 2"]);
}

#[test]
fn what_cannot_be_changed_is_left_alone() {
    let mut lost = view(4, &["1 2* 3"]);
    lost.groups[0].leader = None;
    node(&mut lost, 3).unreachable_for_ms = Some(HEAL_AFTER_MS);
    assert!(planned(&lost).is_empty(), "no leader");
    lost.groups[0].leader = Some(NodeId(2));
    lost.groups[0].joint = true;
    assert!(planned(&lost).is_empty(), "a change is under way");
    lost.groups[0].joint = false;
    node(&mut lost, 1).unreachable_for_ms = Some(0);
    assert!(planned(&lost).is_empty(), "no quorum");
    node(&mut lost, 1).unreachable_for_ms = None;
    assert_eq!(planned(&lost), ["1: add 4"]);
}

#[test]
fn a_drained_node_gives_up_leaderships_first() {
    let mut drained = view(4, &["1* 2 3", "2* 1 3"]);
    node(&mut drained, 1).state = NodeState::Draining;
    assert_eq!(planned(&drained), ["1: lead 3", "2: add 4"]);
    assert_eq!(reasons(&drained)[0], "mail1 hands over what it has");
    drained.groups = vec![group(1, "1 2 3* + 4"), group(2, "2* 1 3 + 4(filling)")];
    assert_eq!(planned(&drained), ["1: vote 2 3 4"]);

    let mut three = view(3, &["1 2* 3"]);
    node(&mut three, 1).state = NodeState::Draining;
    assert!(planned(&three).is_empty());
    assert_eq!(
        stuck(&three)[0].why,
        "mail1 is being drained, and no other node can take its copy: add a node, or make room on one"
    );
}

#[test]
fn a_leader_without_a_vote_hands_over() {
    let mut odd = view(4, &["1 2 3 + 4*"]);
    assert_eq!(planned(&odd), ["1: lead 1"]);
    assert_eq!(reasons(&odd)[0], "mail4 leads and has no vote");
    odd.groups = vec![group(1, "1* 2 3 + 4")];
    assert_eq!(planned(&odd), ["1: remove 4"]);
}

#[test]
fn a_single_copy_moves_too() {
    let mut single = view(2, &["1*"]);
    single.copies = 1;
    node(&mut single, 1).state = NodeState::Draining;
    assert_eq!(planned(&single), ["1: add 2"]);
    single.groups = vec![group(1, "1* + 2(filling)")];
    assert!(planned(&single).is_empty());
    single.groups = vec![group(1, "1* + 2")];
    assert_eq!(planned(&single), ["1: vote 2"]);
}

#[test]
fn a_full_disk_gets_nothing_new() {
    let mut full = view(3, &["1* 2 3", "1 2* 3"]);
    node(&mut full, 2).disk_full = true;
    assert_eq!(planned(&full), ["2: lead 3"]);
    let mut grows = view(3, &["1*"]);
    node(&mut grows, 2).disk_full = true;
    assert_eq!(planned(&grows), ["1: add 3"]);
    grows.groups = vec![group(1, "1* + 2 3")];
    assert!(
        planned(&grows).is_empty(),
        "2 could not keep what it votes for"
    );
}

#[test]
fn a_voter_that_is_behind_is_not_asked_to_lead() {
    let mut drained = view(4, &["1* 2 3"]);
    node(&mut drained, 1).state = NodeState::Draining;
    drained.groups[0].lagging = vec![NodeId(2)];
    assert_eq!(planned(&drained), ["1: lead 3"]);
}

#[test]
fn copies_go_to_other_zones_first_and_to_emptier_nodes_then() {
    let mut zones = view(4, &["1* 2 4", "1* 2 4", "1*"]);
    for id in [1, 2, 3] {
        node(&mut zones, id).zone = "rack-a".to_owned();
    }
    assert_eq!(
        planned(&zones)[0],
        "3: add 4",
        "another zone, though it has more"
    );

    let mut better = view(4, &["1* 2 3"]);
    for id in [1, 2, 3] {
        node(&mut better, id).zone = "rack-a".to_owned();
    }
    assert_eq!(planned(&better), ["1: add 4"]);
    assert_eq!(
        reasons(&better),
        ["mail4 takes the place of mail1, for another zone"]
    );
    better.groups = vec![group(1, "1* 2 3 + 4")];
    assert_eq!(planned(&better), ["1: lead 2"], "1 is the one to go");
    better.groups = vec![group(1, "1 2* 3 + 4")];
    assert_eq!(planned(&better), ["1: vote 2 3 4"]);
}

#[test]
fn copies_are_made_a_few_at_a_time() {
    let groups = ["1*"; 10];
    assert_eq!(planned(&view(2, &groups)), ["1: add 2", "2: add 2"]);
    assert_eq!(planned(&view(6, &groups)).len(), 6);
}

#[test]
fn a_node_has_an_end() {
    let mut small = view(3, &["1 2* 3", "1*"]);
    small.groups_per_node_max = 1;
    assert!(planned(&small).is_empty());
    assert_eq!(
        under_replicated(&small)[0].why,
        "only 1 nodes can have a copy"
    );
}

#[test]
fn the_meta_group_comes_first() {
    let mut grows = view(3, &["1* + 2 3", "1* + 2 3"]);
    grows.groups[1].shard = ShardId::META;
    assert_eq!(planned(&grows), ["0: vote 1 2 3", "1: vote 1 2 3"]);
}

#[test]
fn a_new_shard_is_made_once() {
    let mut new = view(3, &["1* 2 3", "", ""]);
    new.copies = 1;
    new.groups[0] = group(1, "1*");
    assert_eq!(planned(&new), ["2: create 2", "3: create 3"]);
    new.groups[1].recorded = vec![NodeId(2)];
    new.groups[2].recorded = vec![NodeId(3)];
    assert!(planned(&new).is_empty(), "somebody may have made them");
}

#[test]
fn leaders_are_spread_over_chains() {
    let even = view(3, &["1* 2 3", "1* 2 3", "2* 1 3"]);
    assert_eq!(planned(&even), ["1: lead 3"]);
    // Nothing that 1 leads is on 4, which leads nothing: 3 hands one on, and gets one from 1 after that.
    let chain = ["1* 2 3", "1* 2 3", "2* 1 3", "3* 2 4"];
    let mut apart = view(4, &chain);
    apart.groups_per_node_max = 1;
    assert_eq!(planned(&apart), ["4: lead 4", "1: lead 3"]);
    let mut young = even.clone();
    young.groups[0].led_for_ms = 0;
    young.groups[1].led_for_ms = 0;
    assert!(planned(&young).is_empty(), "a fail-over settles first");
}

#[test]
fn says_what_the_next_failure_would_do() {
    let mut cluster = view(3, &["1* 2 3", "1*", "1* + 2"]);
    let losing: Vec<_> = consequences(&cluster)
        .into_iter()
        .map(|c| {
            (
                c.node.0,
                c.without_quorum.len(),
                c.without_copy.len(),
                c.elections,
            )
        })
        .collect();
    assert_eq!(losing, [(1, 2, 1, 1), (2, 0, 0, 0), (3, 0, 0, 0)]);
    node(&mut cluster, 3).unreachable_for_ms = Some(1);
    let losing: Vec<_> = consequences(&cluster)
        .into_iter()
        .map(|c| (c.node.0, c.without_quorum.len()))
        .collect();
    assert_eq!(losing, [(1, 3), (2, 1)], "3 is lost already");
}

//! How the cluster is kept.

use mailrook_meta::{
    ClusterSettings, FeatureLevels, MetaAnswer, MetaCommand, MetaQuery, MetaReply, NewNode,
};
use mailrook_types::NodeId;

use crate::rig::{Group, join, node, token};

fn settings(group: &Group) -> ClusterSettings {
    match group.ask(MetaQuery::ClusterSettings) {
        MetaAnswer::ClusterSettings(settings) => settings,
        other => panic!("{other:?}"),
    }
}

fn knowing(id: u64, lowest: u32, highest: u32) -> NewNode {
    NewNode {
        levels: FeatureLevels { lowest, highest },
        ..node(id)
    }
}

#[test]
fn copies_are_odd() {
    let mut group = Group::new();
    assert_eq!(settings(&group).copies, 3);
    for copies in [0, 2, 4, 6, 7] {
        assert_eq!(
            group.refused(MetaCommand::SetCopies(copies)),
            "a group has 1, 3 or 5 copies"
        );
    }
    group.done_twice(MetaCommand::SetCopies(5));
    assert_eq!(settings(&group).copies, 5);
}

#[test]
fn patience_has_bounds() {
    let mut group = Group::new();
    assert_eq!(settings(&group).heal_after_ms, 600_000);
    for ms in [0, 999, u64::MAX] {
        group.refused(MetaCommand::SetHealAfter { ms });
    }
    group.done_twice(MetaCommand::SetHealAfter { ms: 1000 });
    assert_eq!(settings(&group).heal_after_ms, 1000);
}

#[test]
fn the_level_rises_when_all_know_the_next() {
    let mut group = Group::new();
    let raise = |to| MetaCommand::RaiseFeatureLevel { to };
    assert!(group.refused(raise(2)).starts_with("no node has said"));
    group.done(MetaCommand::AnnounceNode(knowing(1, 1, 3)));
    group.join(knowing(2, 1, 2));
    group.join(knowing(3, 1, 1));
    assert_eq!(
        group.refused(raise(3)),
        "feature level 3 is not known to the programs of 2 nodes (mail2, mail3): upgrade them first"
    );
    group.done(MetaCommand::RemoveNode(NodeId(3)));
    group.done_twice(raise(2));
    group.done(raise(1));
    assert_eq!(settings(&group).feature_level, 2, "it never goes down");
}

#[test]
fn a_program_that_does_not_fit_stays_out() {
    let mut group = Group::new();
    group.done(MetaCommand::AnnounceNode(knowing(1, 1, 3)));
    group.join(knowing(2, 1, 3));
    group.done(MetaCommand::RaiseFeatureLevel { to: 2 });
    let too_old = "the cluster is at feature level 2, and the program of node mail2 knows only levels up to 1: install a newer version";
    assert_eq!(
        group.refused(MetaCommand::AnnounceNode(knowing(2, 1, 1))),
        too_old
    );
    group.done(token(9, 60_000));
    group.refused(join(9, knowing(3, 1, 1)));
    assert_eq!(
        group.refused(join(9, knowing(3, 3, 4))),
        "the cluster is at feature level 2, and the program of node mail3 needs at least level 3: raise the level first"
    );
    group.done(join(9, knowing(3, 2, 4)));
}

#[test]
fn numbers_are_left_out_after_a_recovery() {
    let mut group = Group::new();
    let grant = |nonce| MetaCommand::GrantClient { nonce: [nonce; 16] };
    let MetaReply::Client(first) = group.done(grant(1)) else {
        panic!()
    };
    group.done(MetaCommand::SkipIds { by: 1000 });
    assert_eq!(group.done(grant(1)), MetaReply::Client(first));
    let MetaReply::Client(next) = group.done(grant(2)) else {
        panic!()
    };
    assert_eq!(next.0, first.0 + 1001);
}

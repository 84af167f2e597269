//! Where copies, accounts and slots are.

use mailrook_meta::{
    MetaAnswer, MetaCommand, MetaQuery, MetaRefusal, MetaReply, NewAccount, SHARDS_MAX,
    ShardRecord, SlotMap, SlotMove, TABLE_SLOTS,
};
use mailrook_types::{Address, Domain, NodeId, ShardId};

use crate::rig::{Group, node, place, set_shards};

fn slots(group: &Group) -> SlotMap {
    match group.ask(MetaQuery::SlotMap) {
        MetaAnswer::SlotMap(Some(map)) => *map,
        other => panic!("{other:?}"),
    }
}

fn dealt(map: &SlotMap) -> Vec<u32> {
    (0..TABLE_SLOTS)
        .map(|slot| map.shard_of(u16::try_from(slot).unwrap()).0)
        .collect()
}

/// What a client did before there was a map: the shards in turn.
fn in_turn(shards: &[u32]) -> Vec<u32> {
    (0..TABLE_SLOTS)
        .map(|slot| shards[slot % shards.len()])
        .collect()
}

#[test]
fn every_group_is_known_before_it_is_placed() {
    let group = Group::with_one_node();
    let all: Vec<_> = group
        .placement()
        .iter()
        .map(|record| (record.shard.0, record.epoch, record.replicas.len()))
        .collect();
    assert_eq!(all, [(0, 0, 0), (1, 0, 0), (2, 0, 0)]);
    let one = |shard| MetaQuery::Placement {
        shard: Some(ShardId(shard)),
    };
    assert!(matches!(group.ask(one(2)), MetaAnswer::Placement(found) if found.len() == 1));
    assert!(matches!(group.ask(one(3)), MetaAnswer::Placement(found) if found.is_empty()));
}

#[test]
fn of_two_who_place_a_group_one_is_told() {
    let mut group = Group::with_nodes(3);
    group.done_twice(place(1, 0, &[1]));
    assert_eq!(group.touched.first().map(|(key, _)| *key), Some(0));
    let record = ShardRecord {
        shard: ShardId(1),
        epoch: 2,
        replicas: vec![NodeId(1), NodeId(3)],
    };
    assert_eq!(
        group.done_twice(place(1, 1, &[3, 1, 3])),
        MetaReply::Shard(record.clone()),
        "in order, none twice"
    );
    let refusal = MetaRefusal::EpochChanged { before: 1, now: 2 };
    assert_eq!(
        refusal.to_string(),
        "it was changed since: its epoch is 2 and no longer 1"
    );
    assert_eq!(
        group.apply(place(1, 1, &[1, 2])),
        MetaReply::Refused(refusal)
    );
    group.refused(place(1, 7, &[1, 2]));
    assert_eq!(group.placement()[1], record);
}

#[test]
fn a_record_names_members() {
    let mut group = Group::with_nodes(2);
    assert_eq!(
        group.refused(place(1, 0, &[])),
        "a group has at least one copy"
    );
    assert_eq!(
        group.refused(place(1, 0, &[1, 2])),
        "the first record of a group names the one node that makes it"
    );
    assert_eq!(group.refused(place(1, 0, &[9])), "there is no node n9");
    assert_eq!(group.refused(place(9, 0, &[1])), "there is no shard 9");
    group.done(place(1, 0, &[1]));
    let many: Vec<u64> = (1..=11).collect();
    assert!(group.refused(place(1, 1, &many)).contains("at most 10"));
    group.done(place(0, 0, &[2]));
}

#[test]
fn added_shards_wait_for_their_groups() {
    let mut group = Group::with_one_node();
    group.done(MetaCommand::AddDomain(Domain::parse("a.test").unwrap()));
    group.done_twice(MetaCommand::AddShards { to: 4 });
    let ids: Vec<_> = group.placement().iter().map(|r| r.shard.0).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    let add = |name: &str| {
        MetaCommand::AddAccount(NewAccount {
            address: Address::parse(&format!("{name}@a.test")).unwrap(),
            credential: None,
            quota_storage_bytes: None,
            quota_messages: None,
        })
    };
    let shard_of = |reply| match reply {
        MetaReply::Account(record) => record.shard.0,
        other => panic!("{other:?}"),
    };
    let shards: Vec<u32> = ["u", "v", "w"]
        .iter()
        .map(|name| shard_of(group.done(add(name))))
        .collect();
    assert_eq!(shards, [1, 2, 1], "3 and 4 have no groups yet");
    group.done(place(3, 0, &[1]));
    group.done(set_shards(&[3]));
    assert_eq!(shard_of(group.done(add("x"))), 3);

    group.done(MetaCommand::AddShards { to: 2 });
    assert_eq!(group.placement().len(), 5, "there are never fewer");
    let to = u32::try_from(SHARDS_MAX).unwrap();
    group.done(MetaCommand::AddShards { to });
    assert_eq!(
        group.refused(MetaCommand::AddShards { to: to + 1 }),
        "a limit is reached: a cluster has at most 4096 shards"
    );
    group.refused(set_shards(&[to + 1]));
    group.done(set_shards(&[to]));
}

#[test]
fn slots_stay_when_shards_are_added() {
    let mut group = Group::new();
    assert_eq!(group.ask(MetaQuery::SlotMap), MetaAnswer::SlotMap(None));
    group.done(set_shards(&[5, 2, 9]));
    let map = slots(&group);
    assert_eq!(map.epoch(), 1);
    assert_eq!(dealt(&map), in_turn(&[2, 5, 9]));
    group.done(set_shards(&[1, 2, 3]));
    group.done(MetaCommand::AddShards { to: 8 });
    assert_eq!(slots(&group), map);
    assert_eq!(
        map.shards(),
        [ShardId(2), ShardId(5), ShardId(9)],
        "the others have none yet"
    );
}

/// A cluster that was there before the map: its clients dealt the slots out themselves.
#[test]
fn an_older_cluster_keeps_its_slots() {
    let mut group = Group::new();
    group.done(set_shards(&[1, 2, 3]));
    group.forget_slot_map();
    group.done(set_shards(&[1, 2, 3]));
    let map = slots(&group);
    assert_eq!((map.epoch(), dealt(&map)), (0, in_turn(&[1, 2, 3])));
    group.done(set_shards(&[1, 2, 3, 4]));
    let map = slots(&group);
    assert_eq!((map.epoch(), dealt(&map)), (1, in_turn(&[1, 2, 3])));
}

fn begin(epoch_before: u64, slots: &[u16], from: u32, to: u32) -> MetaCommand {
    MetaCommand::BeginSlotMove {
        epoch_before,
        slots: slots.to_vec(),
        from: ShardId(from),
        to: ShardId(to),
    }
}

fn pending(group: &Group) -> Option<SlotMove> {
    match group.ask(MetaQuery::SlotMove) {
        MetaAnswer::SlotMove(pending) => pending.map(|pending| *pending),
        other => panic!("{other:?}"),
    }
}

#[test]
fn slots_move_to_a_shard_that_was_added() {
    let mut group = Group::with_one_node();
    group.done(set_shards(&[3]));
    let before = slots(&group);
    assert!(!before.has_moved());
    let begun = SlotMove {
        id: 1,
        slots: vec![0, 2],
        from: ShardId(1),
        to: ShardId(3),
        finished: false,
    };
    let reply = group.done(begin(1, &[0, 2], 1, 3));
    assert_eq!(reply, MetaReply::SlotMove(Box::new(begun.clone())));
    assert_eq!(pending(&group), Some(begun.clone()));
    let map = slots(&group);
    assert_eq!((map.epoch(), map.has_moved()), (2, true));
    assert_eq!(dealt(&map), dealt(&before), "it has only begun");
    let refused = group.refused(MetaCommand::ForgetSlotMove { id: 1 });
    assert!(refused.contains("not finished"), "{refused}");
    group.done_twice(MetaCommand::FinishSlotMove { id: 1 });
    let map = slots(&group);
    assert_eq!(map.epoch(), 3);
    let mut expected = dealt(&before);
    (expected[0], expected[2]) = (3, 3);
    assert_eq!(dealt(&map), expected);
    assert_eq!(pending(&group).map(|pending| pending.finished), Some(true));
    group.done_twice(MetaCommand::ForgetSlotMove { id: 1 });
    assert_eq!(pending(&group), None);
    // Said late, once more: the next move goes on as it is.
    let reply = group.done(begin(3, &[4], 1, 3));
    assert!(matches!(reply, MetaReply::SlotMove(second) if second.id == 2));
    group.done_twice(MetaCommand::FinishSlotMove { id: 1 });
    group.done_twice(MetaCommand::ForgetSlotMove { id: 1 });
    assert_eq!(slots(&group).epoch(), 4);
    assert_eq!(pending(&group).map(|second| second.finished), Some(false));
}

#[test]
fn a_move_that_cannot_be_is_refused() {
    let mut group = Group::new();
    let refused = group.refused(begin(0, &[0], 1, 2));
    assert!(refused.contains("no shards"), "{refused}");
    group.done(MetaCommand::AnnounceNode(node(1)));
    group.done(set_shards(&[1, 2]));
    group.done(MetaCommand::AddShards { to: 3 });
    let many: Vec<u16> = (0..=64).map(|n| n * 2).collect();
    for (command, why) in [
        (begin(0, &[0], 1, 2), "its epoch is 1"),
        (begin(1, &[], 1, 2), "1 to 64"),
        (begin(1, &many, 1, 2), "1 to 64"),
        (begin(1, &[2, 0], 1, 2), "ascending"),
        (begin(1, &[0, 0], 1, 2), "ascending"),
        (begin(1, &[4096], 1, 2), "below 4096"),
        (begin(1, &[0], 1, 1), "another shard"),
        (begin(1, &[0, 1], 1, 2), "slot 1 is not on shard 1"),
        (begin(1, &[0], 1, 3), "no shard 3"),
        (MetaCommand::FinishSlotMove { id: 1 }, "no move 1"),
        (MetaCommand::FinishSlotMove { id: 0 }, "no move 0"),
        (MetaCommand::ForgetSlotMove { id: 1 }, "no move 1"),
    ] {
        let refused = group.refused(command.clone());
        assert!(refused.contains(why), "{command:?}: {refused}");
    }
    group.done(begin(1, &[0], 1, 2));
    let refused = group.refused(begin(2, &[2], 1, 2));
    assert!(refused.contains("by move 1"), "one at a time: {refused}");
}

/// A map that was never recorded is recorded by the first move, and counts as one that has moved.
#[test]
fn an_older_clusters_slots_move_too() {
    let mut group = Group::with_one_node();
    group.forget_slot_map();
    assert_eq!(slots(&group).epoch(), 0);
    group.done(begin(0, &[0], 1, 2));
    assert!(slots(&group).has_moved());
    group.done(MetaCommand::FinishSlotMove { id: 1 });
    group.done(MetaCommand::ForgetSlotMove { id: 1 });
    assert_eq!(slots(&group).shard_of(0), ShardId(2));
    // A recovered meta group gives no id twice.
    group.done(MetaCommand::SkipIds { by: 1000 });
    let reply = group.done(begin(slots(&group).epoch(), &[0], 2, 1));
    assert!(matches!(reply, MetaReply::SlotMove(next) if next.id == 1002));
}

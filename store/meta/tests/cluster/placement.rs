//! Where copies, accounts and slots are.

use mailrook_meta::{
    MetaAnswer, MetaCommand, MetaQuery, MetaRefusal, MetaReply, NewAccount, SHARDS_MAX,
    ShardRecord, SlotMap, TABLE_SLOTS,
};
use mailrook_types::{Address, Domain, NodeId, ShardId};

use crate::rig::{Group, place, set_shards};

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

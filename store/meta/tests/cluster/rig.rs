//! A meta group in memory, and short names for what is sent to it.

use mailrook_kv::{Batch, MemoryStore, Overlay, Read, Space, StateMachine, Store};
use mailrook_meta::{
    FeatureLevels, Meta, MetaAnswer, MetaCommand, MetaQuery, MetaReply, NewNode, NodeRecord,
    ShardRecord, answer,
};
use mailrook_types::{NodeId, ShardId, Timestamp};

pub struct Group {
    pub store: MemoryStore,
    pub time_ms: i64,
    /// What watchers heard of the last command.
    pub touched: Vec<(u64, u64)>,
}

impl Group {
    pub fn new() -> Group {
        Group {
            store: MemoryStore::new(),
            time_ms: 1000,
            touched: Vec::new(),
        }
    }

    /// With node 1, which made the cluster, and two shards.
    pub fn with_one_node() -> Group {
        let mut group = Group::new();
        group.done(MetaCommand::AnnounceNode(node(1)));
        group.done(set_shards(&[1, 2]));
        group
    }

    /// With nodes 1 to `count`.
    pub fn with_nodes(count: u64) -> Group {
        let mut group = Group::with_one_node();
        for id in 2..=count {
            group.join(node(id));
        }
        group
    }

    pub fn apply(&mut self, command: MetaCommand) -> MetaReply {
        self.time_ms += 1;
        let (applied, batch) = {
            let base = self.store.snapshot();
            let base: &dyn Read = &base;
            let mut view = Overlay::new(base);
            let applied = Meta
                .apply(&mut view, self.time_ms, &command.encode())
                .unwrap();
            (applied, view.into_batch())
        };
        let reply = MetaReply::decode(&applied.reply).unwrap();
        if matches!(reply, MetaReply::Refused(_)) {
            assert!(batch.is_empty(), "{command:?} was refused and wrote");
        }
        self.store.write(batch).unwrap();
        self.touched = applied.touched;
        reply
    }

    pub fn done(&mut self, command: MetaCommand) -> MetaReply {
        let reply = self.apply(command.clone());
        assert!(
            !matches!(reply, MetaReply::Refused(_)),
            "{command:?}: {reply:?}"
        );
        reply
    }

    /// Sent twice it is as if sent once.
    pub fn done_twice(&mut self, command: MetaCommand) -> MetaReply {
        let reply = self.done(command.clone());
        let before = self.contents();
        assert_eq!(self.apply(command), reply);
        assert_eq!(self.contents(), before);
        reply
    }

    /// All that is stored, the counter of changes left out.
    pub fn contents(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let snapshot = self.store.snapshot();
        snapshot
            .pairs()
            .filter(|(_, key, _)| key[0] != 1)
            .map(|(_, key, value)| (key.to_vec(), value.to_vec()))
            .collect()
    }

    /// As it was before the slots had a record.
    pub fn forget_slot_map(&mut self) {
        let mut batch = Batch::default();
        batch.delete(Space::Index, b"\x13slots".to_vec());
        self.store.write(batch).unwrap();
    }

    pub fn refused(&mut self, command: MetaCommand) -> String {
        match self.apply(command.clone()) {
            MetaReply::Refused(refusal) => refusal.to_string(),
            other => panic!("{command:?}: {other:?}"),
        }
    }

    pub fn join(&mut self, node: NewNode) -> NodeRecord {
        let secret = node.id.0;
        self.done(token(secret, self.time_ms + 60_000));
        match self.done(join(secret, node)) {
            MetaReply::Node(record) => *record,
            other => panic!("{other:?}"),
        }
    }

    pub fn ask(&self, query: MetaQuery) -> MetaAnswer {
        let query = MetaQuery::decode(&query.encode()).unwrap();
        let answer = answer(&self.store.snapshot(), self.time_ms, &query).unwrap();
        MetaAnswer::decode(&answer.encode()).unwrap()
    }

    pub fn nodes(&self) -> Vec<NodeRecord> {
        let query = MetaQuery::Nodes {
            after: None,
            limit: u32::MAX,
        };
        match self.ask(query) {
            MetaAnswer::Nodes(nodes) => nodes,
            other => panic!("{other:?}"),
        }
    }

    pub fn node(&self, name: &str) -> Option<NodeRecord> {
        match self.ask(MetaQuery::Node(name.to_owned())) {
            MetaAnswer::Node(node) => node.map(|node| *node),
            other => panic!("{other:?}"),
        }
    }

    pub fn placement(&self) -> Vec<ShardRecord> {
        match self.ask(MetaQuery::Placement { shard: None }) {
            MetaAnswer::Placement(records) => records,
            other => panic!("{other:?}"),
        }
    }
}

pub fn node(id: u64) -> NewNode {
    NewNode {
        id: NodeId(id),
        name: format!("mail{id}"),
        address: format!("mail{id}.example.test:7700"),
        zone: "rack-1".to_owned(),
        levels: FeatureLevels {
            lowest: 1,
            highest: 9,
        },
    }
}

pub fn hash(secret: u64) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&secret.to_be_bytes());
    hash
}

pub fn token(secret: u64, expires_ms: i64) -> MetaCommand {
    MetaCommand::AddJoinToken {
        secret_hash: hash(secret),
        expires: Timestamp(expires_ms),
    }
}

pub fn join(secret: u64, node: NewNode) -> MetaCommand {
    MetaCommand::JoinNode {
        secret_hash: hash(secret),
        node,
    }
}

pub fn set_shards(shards: &[u32]) -> MetaCommand {
    MetaCommand::SetShards(shards.iter().copied().map(ShardId).collect())
}

pub fn place(shard: u32, epoch_before: u64, replicas: &[u64]) -> MetaCommand {
    MetaCommand::PlaceShard {
        shard: ShardId(shard),
        epoch_before,
        replicas: replicas.iter().copied().map(NodeId).collect(),
    }
}

pub fn drain(id: u64, draining: bool) -> MetaCommand {
    MetaCommand::SetNodeDraining {
        node: NodeId(id),
        draining,
    }
}

//! The tables of the cluster itself: nodes, tokens, placement.

use std::collections::BTreeMap;

use mailrook_kv::KvError;
use mailrook_types::{NodeId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Tables, behind};
use crate::{
    CaSigner, ClusterCa, ClusterSettings, ClusterTrust, NodeRecord, ShardRecord, SlotMap, SlotMove,
    key,
};

/// A node with how it came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRow {
    pub(crate) record: NodeRecord,
    /// The token that it joined with: joining again with it is a repeat. The first node had none.
    pub(crate) joined_with: Option<[u8; 32]>,
}

/// A join token. A used one stays until it expires: added again by a late repeat it would be good once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinToken {
    pub(crate) secret_hash: [u8; 32],
    pub(crate) expires: Timestamp,
    pub(crate) used: bool,
}

impl JoinToken {
    /// Whether it lets a node in.
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        !self.used && self.expires > now
    }
}

impl Tables<'_> {
    pub(crate) fn node(&self, id: NodeId) -> Result<Option<NodeRow>, KvError> {
        self.get(&key::node(id))
    }

    /// The member of that name, in any case.
    pub(crate) fn node_called(&self, name: &str) -> Result<Option<NodeRow>, KvError> {
        match self.get(&key::node_name(&name.to_ascii_lowercase()))? {
            Some(id) => self.node(id),
            None => Ok(None),
        }
    }

    /// Nodes, removed ones too, ascending by id.
    pub(crate) fn nodes(
        &self,
        after: Option<NodeId>,
        limit: usize,
    ) -> Result<Vec<NodeRow>, KvError> {
        let start = after.map(|id| behind(key::node(id))).unwrap_or_default();
        self.list(&key::all_nodes(), &start, limit)
    }

    /// Those that were not removed.
    pub(crate) fn members(&self) -> Result<Vec<NodeRecord>, KvError> {
        let all = self.nodes(None, usize::MAX)?.into_iter();
        Ok(all
            .map(|row| row.record)
            .filter(NodeRecord::is_member)
            .collect())
    }

    pub(crate) fn join_token(&self, hash: &[u8; 32]) -> Result<Option<JoinToken>, KvError> {
        self.get(&key::join_token(hash))
    }

    pub(crate) fn join_tokens(&self) -> Result<Vec<JoinToken>, KvError> {
        self.list(&key::all_join_tokens(), &[], usize::MAX)
    }

    /// The groups that have a record.
    pub(crate) fn placed(&self) -> Result<Vec<ShardRecord>, KvError> {
        self.list(&key::all_placements(), &[], usize::MAX)
    }

    /// Every group, ascending.
    pub(crate) fn placement(&self) -> Result<Vec<ShardRecord>, KvError> {
        let mut groups: BTreeMap<_, _> =
            [(ShardId::META, ShardRecord::unplaced(ShardId::META))].into();
        for (shard, _) in self.shards()? {
            groups.insert(shard, ShardRecord::unplaced(shard));
        }
        for record in self.placed()? {
            groups.insert(record.shard, record);
        }
        Ok(groups.into_values().collect())
    }

    /// The record of a group; `None` if there is no such shard.
    pub(crate) fn shard_record(&self, shard: ShardId) -> Result<Option<ShardRecord>, KvError> {
        if let Some(record) = self.get(&key::placement(shard))? {
            return Ok(Some(record));
        }
        let known = shard == ShardId::META || self.has_shard(shard)?;
        Ok(known.then(|| ShardRecord::unplaced(shard)))
    }

    fn has_shard(&self, shard: ShardId) -> Result<bool, KvError> {
        let row: Option<(ShardId, u64)> = self.get(&key::shard(shard))?;
        Ok(row.is_some())
    }

    pub(crate) fn cluster_settings(&self) -> Result<ClusterSettings, KvError> {
        Ok(self.get(&key::cluster(key::SETTINGS))?.unwrap_or_default())
    }

    /// The map as it was recorded.
    pub(crate) fn recorded_slot_map(&self) -> Result<Option<SlotMap>, KvError> {
        self.get(&key::cluster(key::SLOTS))
    }

    /// The map. Without a record it is what it was before there were records: all shards in turn. Whoever adds shards
    /// records it first.
    pub(crate) fn slot_map(&self) -> Result<Option<SlotMap>, KvError> {
        if let Some(map) = self.recorded_slot_map()? {
            return Ok(Some(map));
        }
        let shards: Vec<_> = self.shards()?.into_iter().map(|(shard, _)| shard).collect();
        Ok(SlotMap::deal(0, &shards))
    }

    /// The move that is under way.
    pub(crate) fn slot_move(&self) -> Result<Option<SlotMove>, KvError> {
        self.get(&key::cluster(key::SLOT_MOVE))
    }

    pub(crate) fn cluster_ca(&self) -> Result<Option<ClusterCa>, KvError> {
        self.get(&key::cluster(key::CA))
    }

    /// What will sign, while a rotation waits until everybody trusts it.
    pub(crate) fn ca_successor(&self) -> Result<Option<CaSigner>, KvError> {
        self.get(&key::cluster(key::CA_SUCCESSOR))
    }

    pub(crate) fn cluster_trust(&self) -> Result<Option<ClusterTrust>, KvError> {
        let Some(ca) = self.cluster_ca()? else {
            return Ok(None);
        };
        Ok(Some(ClusterTrust {
            epoch: ca.epoch,
            trusted: ca.trusted,
            signer: ca.signer.certificate,
            successor: self.ca_successor()?.map(|signer| signer.certificate),
        }))
    }
}

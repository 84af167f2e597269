//! Nodes: how they come in, what they say of themselves, how they go.

use std::time::Duration;

use mailrook_kv::KvError;
use mailrook_types::{NodeId, ShardId, Timestamp};

use super::{Machine, Outcome, Stop, invalid, limit};
use crate::{
    FeatureLevels, FrontRoles, MetaRefusal, MetaReply, NewNode, NodeRecord, NodeState, key,
    reply::NAMED_MAX,
    tables::{JoinToken, NodeRow, delete, put},
};

/// The most members. Each is asked and told by each other one now and then, which is a million pairs already.
pub const NODES_MAX: usize = 1000;
/// The longest name of a node: that of a label of a host's name (RFC 1035 §2.3.4).
pub const NODE_NAME_BYTES_MAX: usize = 63;
/// The longest address of a node: the longest host name, and a port.
pub const NODE_ADDRESS_BYTES_MAX: usize = 253 + 6;
/// The longest zone.
pub const ZONE_BYTES_MAX: usize = 63;
/// The most join tokens that nobody has used yet.
pub const JOIN_TOKENS_MAX: usize = 100;
/// The longest that a join token may be good for: it is as good as a key of the cluster.
pub const JOIN_TOKEN_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

impl Machine<'_, '_> {
    /// `front` is what it does, if it has no store.
    pub(super) fn announce_node(&mut self, new: NewNode, front: Option<FrontRoles>) -> Outcome {
        let new = checked(new)?;
        self.check_front(front)?;
        let present = self.tables().node(new.id)?;
        let mut row = match present {
            Some(row) => {
                member_only(&row)?;
                row
            }
            None if front.is_none() && self.tables().nodes(None, 1)?.is_empty() => {
                self.new_row(&new, None)
            }
            None => return Err(MetaRefusal::NotJoined(new.id).into()),
        };
        self.check_name(&new)?;
        self.check_levels(&new)?;
        row.record.state = match front {
            Some(roles) => {
                self.check_leaves_no_copies(&row.record)?;
                NodeState::Storeless(roles)
            }
            None if row.record.has_store() => row.record.state,
            None => NodeState::Active,
        };
        self.put_node(row, new)
    }

    /// Whether it is time for nodes without a store, and one that is such does anything at all.
    fn check_front(&self, front: Option<FrontRoles>) -> Result<(), Stop> {
        let Some(roles) = front else {
            return Ok(());
        };
        self.tables().cluster_settings()?.check_front_nodes()?;
        if roles.front || roles.proxy {
            Ok(())
        } else {
            Err(invalid("a node has at least one role"))
        }
    }

    /// Whether a node can be without a store from now on.
    fn check_leaves_no_copies(&self, record: &NodeRecord) -> Result<(), Stop> {
        self.check_in_no_group(record)?;
        if record.has_store() {
            self.check_not_last_store(record)?;
        }
        Ok(())
    }

    pub(super) fn join_node(
        &mut self,
        secret_hash: [u8; 32],
        new: NewNode,
        front: Option<FrontRoles>,
    ) -> Outcome {
        let new = checked(new)?;
        self.check_front(front)?;
        if let Some(row) = self.tables().node(new.id)? {
            member_only(&row)?;
            // The same command again. Whoever has another token must not be taken for a node that is there.
            return if row.joined_with == Some(secret_hash) {
                Ok(MetaReply::Node(Box::new(row.record)))
            } else {
                Err(MetaRefusal::NodeKnown(new.id).into())
            };
        }
        let token = self.tables().join_token(&secret_hash)?;
        let good = token.filter(|token| token.is_good(self.now));
        let token = good.ok_or(MetaRefusal::NoSuchJoinToken)?;
        self.check_name(&new)?;
        self.check_levels(&new)?;
        if self.tables().members()?.len() >= NODES_MAX {
            return Err(limit(format!("a cluster has at most {NODES_MAX} nodes")));
        }

        self.put_token(JoinToken {
            used: true,
            ..token
        });
        let mut row = self.new_row(&new, Some(secret_hash));
        if let Some(roles) = front {
            row.record.state = NodeState::Storeless(roles);
        }
        self.put_node(row, new)
    }

    fn new_row(&self, new: &NewNode, joined_with: Option<[u8; 32]>) -> NodeRow {
        NodeRow {
            record: NodeRecord {
                id: new.id,
                name: new.name.clone(),
                address: new.address.clone(),
                zone: new.zone.clone(),
                state: NodeState::Active,
                joined: self.now,
                levels: new.levels,
            },
            joined_with,
        }
    }

    /// Stores what the node says of itself, and nothing of what others say of it.
    fn put_node(&mut self, mut row: NodeRow, new: NewNode) -> Outcome {
        if row.record.name != new.name {
            delete(self.view, key::node_name(&row.record.name));
        }
        put(self.view, key::node_name(&new.name), &new.id);
        row.record = NodeRecord {
            name: new.name,
            address: new.address,
            zone: new.zone,
            levels: new.levels,
            ..row.record
        };
        put(self.view, key::node(new.id), &row);
        Ok(MetaReply::Node(Box::new(row.record)))
    }

    fn check_name(&self, new: &NewNode) -> Result<(), Stop> {
        let holder = self.tables().node_called(&new.name)?;
        match holder.map(|row| row.record.id) {
            Some(by) if by != new.id => Err(MetaRefusal::NodeNameTaken {
                name: new.name.clone(),
                by,
            }
            .into()),
            _ => Ok(()),
        }
    }

    /// Whether the node's program can work at the cluster's feature level.
    fn check_levels(&self, new: &NewNode) -> Result<(), Stop> {
        let level = self.tables().cluster_settings()?.feature_level;
        let FeatureLevels { lowest, highest } = new.levels;
        let name = new.name.clone();
        if highest < level {
            let refusal = MetaRefusal::NodeTooOld {
                name,
                highest,
                level,
            };
            return Err(refusal.into());
        }
        if lowest > level {
            let refusal = MetaRefusal::NodeTooNew {
                name,
                lowest,
                level,
            };
            return Err(refusal.into());
        }
        Ok(())
    }

    /// The row of a member.
    pub(super) fn member(&self, id: NodeId) -> Result<NodeRow, Stop> {
        let row = self.tables().node(id)?;
        let row = row.ok_or(MetaRefusal::NoSuchNode(id))?;
        member_only(&row)?;
        Ok(row)
    }

    /// The row of a member that may have copies.
    pub(super) fn member_with_store(&self, id: NodeId) -> Result<NodeRow, Stop> {
        let row = self.member(id)?;
        if row.record.has_store() {
            return Ok(row);
        }
        let name = &row.record.name;
        Err(invalid(format!(
            "node {name} has no store, and thus no copies: `mailrook node remove {name}` removes it at once"
        )))
    }

    pub(super) fn set_node_draining(&mut self, id: NodeId, draining: bool) -> Outcome {
        let mut row = self.member_with_store(id)?;
        row.record.state = if draining {
            NodeState::Draining
        } else {
            NodeState::Active
        };
        put(self.view, key::node(id), &row);
        Ok(MetaReply::Node(Box::new(row.record)))
    }

    pub(super) fn remove_node(&mut self, id: NodeId) -> Outcome {
        let row = self.tables().node(id)?;
        let row = row.ok_or(MetaRefusal::NoSuchNode(id))?;
        if !row.record.is_member() {
            return Ok(MetaReply::Node(Box::new(row.record)));
        }
        self.check_in_no_group(&row.record)?;
        self.remove_row(row)
    }

    fn check_in_no_group(&self, record: &NodeRecord) -> Result<(), Stop> {
        let groups = self.groups_on(record.id)?;
        if groups.is_empty() {
            return Ok(());
        }
        Err(MetaRefusal::NodeInUse {
            name: record.name.clone(),
            count: u32::try_from(groups.len()).unwrap_or(u32::MAX),
            groups: groups.into_iter().take(NAMED_MAX).collect(),
        }
        .into())
    }

    /// Whether copies can be had anywhere without this node.
    fn check_not_last_store(&self, record: &NodeRecord) -> Result<(), Stop> {
        let members = self.tables().members()?;
        let mut others = members.iter().filter(|other| other.id != record.id);
        if others.any(NodeRecord::has_store) {
            return Ok(());
        }
        Err(MetaRefusal::LastNode(record.name.clone()).into())
    }

    /// Records that name it stay until its copies are made elsewhere; nobody adds it to one any more.
    pub(super) fn remove_lost_node(&mut self, id: NodeId) -> Outcome {
        let row = self.tables().node(id)?;
        let row = row.ok_or(MetaRefusal::NoSuchNode(id))?;
        if !row.record.is_member() {
            return Ok(MetaReply::Node(Box::new(row.record)));
        }
        self.remove_row(row)
    }

    fn remove_row(&mut self, mut row: NodeRow) -> Outcome {
        if row.record.has_store() {
            self.check_not_last_store(&row.record)?;
        }
        let name = &row.record.name;
        // Its name may be given to the node that takes its place.
        delete(self.view, key::node_name(name));
        row.record.state = NodeState::Removed { at: self.now };
        put(self.view, key::node(row.record.id), &row);
        Ok(MetaReply::Node(Box::new(row.record)))
    }

    fn groups_on(&self, id: NodeId) -> Result<Vec<ShardId>, KvError> {
        let placed = self.tables().placed()?.into_iter();
        let there = placed.filter(|record| record.replicas.contains(&id));
        Ok(there.map(|record| record.shard).collect())
    }

    pub(super) fn add_join_token(&mut self, secret_hash: [u8; 32], expires: Timestamp) -> Outcome {
        if self.tables().join_token(&secret_hash)?.is_some() {
            return Ok(MetaReply::Done);
        }
        if expires <= self.now {
            return Err(invalid("the join token would have expired already"));
        }
        if expires > self.now.saturating_add(JOIN_TOKEN_LIFE_MAX) {
            let days = JOIN_TOKEN_LIFE_MAX.as_secs() / (24 * 3600);
            return Err(limit(format!(
                "a join token is good for at most {days} days"
            )));
        }
        let (gone, kept): (Vec<_>, Vec<_>) = self
            .tables()
            .join_tokens()?
            .into_iter()
            .partition(|token| token.expires <= self.now);
        if kept.iter().filter(|token| !token.used).count() >= JOIN_TOKENS_MAX {
            return Err(limit(format!(
                "at most {JOIN_TOKENS_MAX} join tokens may wait to be used"
            )));
        }
        for token in gone {
            delete(self.view, key::join_token(&token.secret_hash));
        }
        self.put_token(JoinToken {
            secret_hash,
            expires,
            used: false,
        });
        Ok(MetaReply::Done)
    }

    fn put_token(&mut self, token: JoinToken) {
        put(self.view, key::join_token(&token.secret_hash), &token);
    }
}

fn member_only(row: &NodeRow) -> Result<(), MetaRefusal> {
    if row.record.is_member() {
        Ok(())
    } else {
        Err(MetaRefusal::NodeRemoved(row.record.id))
    }
}

/// The node, if all it says of itself can be; its name in lower case.
fn checked(mut new: NewNode) -> Result<NewNode, Stop> {
    new.name.make_ascii_lowercase();
    if new.id.0 == 0 {
        return Err(invalid("no node has the id 0"));
    }
    if !is_name(&new.name) {
        return Err(invalid(format!(
            "a node's name has 1 to {NODE_NAME_BYTES_MAX} letters, digits, dots and hyphens, with a letter or digit at both ends"
        )));
    }
    if !is_address(&new.address) {
        return Err(invalid("a node's address is a host and a port: host:port"));
    }
    if !is_zone(&new.zone) {
        return Err(invalid(format!(
            "a zone has at most {ZONE_BYTES_MAX} letters, digits and ._/-"
        )));
    }
    let FeatureLevels { lowest, highest } = new.levels;
    if lowest == 0 || lowest > highest {
        return Err(invalid("feature levels start at 1 and do not go down"));
    }
    Ok(new)
}

fn is_name(name: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    bytes.len() <= NODE_NAME_BYTES_MAX
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && made_of(name, b".-")
}

fn is_zone(zone: &str) -> bool {
    zone.len() <= ZONE_BYTES_MAX && made_of(zone, b"._/-")
}

/// By its characters alone: what a library takes for an address may change with its version, and this may not.
fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let is_port = (1..=5).contains(&port.len())
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_host = match bracketed {
        Some(host) => host.contains(':') && made_of(host, b":."),
        None => !host.is_empty() && made_of(host, b".-_"),
    };
    address.len() <= NODE_ADDRESS_BYTES_MAX && is_port && is_host
}

/// Whether there is nothing but ASCII letters, digits and `others`.
fn made_of(text: &str, others: &[u8]) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

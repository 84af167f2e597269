//! What a node knows of the others by itself, also while nobody can be asked: its book, its links and its own copies.

use std::sync::Arc;

use mailrook_cluster::{GroupRole, GroupStatus, NodeStatus};
use mailrook_control::Book;
use mailrook_transport::{Link, PeerStatus, TlsNetwork};
use mailrook_types::NodeId;

use crate::admin::protocol::{ClusterUnreached, KnownNode, OwnCopy};

/// The others, as this node sees them.
pub struct Neighbours {
    /// What this node is called.
    own: (NodeId, String),
    book: Arc<Book>,
    tls: Arc<TlsNetwork>,
}

impl Neighbours {
    /// Of the node `own`, which is called `name`.
    pub fn new(own: NodeId, name: &str, book: Arc<Book>, tls: Arc<TlsNetwork>) -> Neighbours {
        Neighbours {
            own: (own, name.to_owned()),
            book,
            tls,
        }
    }

    /// What is known while the directory does not answer, and why it does not.
    pub fn look(&self, error: String, node: Option<&NodeStatus>) -> ClusterUnreached {
        let groups = node.map_or(&[][..], |node| &node.groups);
        ClusterUnreached {
            error,
            nodes: self.others(),
            copies: groups.iter().map(|group| self.copy(group)).collect(),
        }
    }

    /// The others, and what they are called.
    pub fn members(&self) -> Vec<(NodeId, String)> {
        let known = self.book.others().into_iter();
        let present = known.filter(|(_, known)| !known.removed);
        present.map(|(id, known)| (id, known.name)).collect()
    }

    /// Why others are not reached, a clause each; empty if all are.
    pub fn troubles(&self) -> String {
        let away = self.others().into_iter().filter(|node| node.link != UP);
        away.map(|node| node.in_words())
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn others(&self) -> Vec<KnownNode> {
        let peers = self.tls.peers();
        let known = self.book.others().into_iter();
        let present = known.filter(|(_, known)| !known.removed);
        present
            .map(|(id, known)| {
                let peer = peers.iter().find(|peer| peer.node == id);
                KnownNode {
                    id: id.0,
                    name: known.name,
                    address: known.address,
                    link: link(peer).to_owned(),
                    trouble: peer.and_then(|peer| peer.trouble.clone()),
                }
            })
            .collect()
    }

    fn copy(&self, group: &GroupStatus) -> OwnCopy {
        let names = |ids: &[u64]| ids.iter().map(|id| self.name(*id)).collect();
        OwnCopy {
            shard: group.shard.0,
            role: match &group.role {
                GroupRole::Leader => "leader",
                GroupRole::Follower => "follower",
                GroupRole::Learner => "learner",
                GroupRole::Candidate => "candidate",
                GroupRole::Stopped { .. } => "stopped",
            }
            .to_owned(),
            stopped_because: match &group.role {
                GroupRole::Stopped { cause } => Some(cause.clone()),
                _ => None,
            },
            leader: group.leader.map(|leader| self.name(leader)),
            term: group.term,
            last_index: group.last_index,
            voters: names(&group.voters),
        }
    }

    /// What a node is called.
    pub fn name(&self, id: u64) -> String {
        match NodeId(id) {
            own if own == self.own.0 => self.own.1.clone(),
            other => self.book.name(other).unwrap_or_else(|| other.to_string()),
        }
    }
}

const UP: &str = "up";

fn link(peer: Option<&PeerStatus>) -> &'static str {
    match peer.map(|peer| peer.link) {
        Some(Link::Up) => UP,
        // Before it is dialled for the first time.
        Some(Link::Down) | None => "down",
        Some(Link::Refused) => "refused",
        Some(Link::Silent) => "silent",
    }
}
